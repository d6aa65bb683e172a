/** What the sandboxes of sessions are, and what they may mount and reach: a JSON file. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Services } from "../../Driver.ts"
import { LightboxError, NotFound } from "../../LightboxError.ts"
import type * as Mount from "../../Mount.ts"
import * as Network from "../../Network.ts"
import type { LaunchOptions } from "../../Sandbox.ts"
import { SandboxConfig } from "../../SandboxConfig.ts"
import * as Snapshot from "../../Snapshot.ts"
import { DurationInput, ImageReference, intBetween, notBlank, recordOf, shortPath } from "../config/schemas.ts"
import { decoder, invalid } from "../config/validation.ts"
import { checkCombination, checkHostPaths } from "../driver/createChecks.ts"
import { checkVariable } from "../config/schemas.ts"

/** Options of a sandbox that a policy can set. */
const options = Struct.pick(SandboxConfig.fields, [
  "resources",
  "cwd",
  "user",
  "shell",
  "env",
  "rlimits",
  "security",
  "network",
  "mounts",
  "maxDuration",
  "pullPolicy"
])

/** Requests to the hosts carry the value of a variable of this process, which the guest does not see. */
const Secret = Schema.Struct({
  hosts: Network.Secret.fields.hosts,
  env: Schema.optional(Schema.NonEmptyString)
})

const PolicySchema = Schema.Struct({
  image: Schema.optional(ImageReference),
  snapshot: Schema.optional(notBlank("the name of a snapshot")),
  ...options,
  secrets: Schema.optional(recordOf(Secret, checkVariable)),
  forwards: Schema.optional(Schema.Union([Schema.Literal("all"), Schema.Array(intBetween(1, 65_535))])),
  snapshots: Schema.optional(Schema.Union([Schema.Literal(false), Schema.NonEmptyString])),
  idleTimeout: Schema.optional(DurationInput)
})

const method = "mcp"

const decode = decoder(PolicySchema, method, "the policy")

/** A checked policy. */
export interface Policy {
  /** What each session's sandbox is launched with. */
  readonly launch: LaunchOptions
  /** Names the image or the snapshot. */
  readonly source: string
  readonly forwards: "all" | ReadonlyArray<number>
  readonly snapshots: string | false
  /** How long the sandbox of an HTTP session lives without a call. */
  readonly idleTimeout: Duration.Duration
}

/** Where a policy comes from: a file, and what replaces its image or snapshot. */
export interface Source {
  readonly file: string | undefined
  readonly image: string | undefined
  readonly snapshot: string | undefined
}

const readJson = (file: string): Effect.Effect<unknown, LightboxError> =>
  Effect.try({
    try: (): unknown => JSON.parse(Fs.readFileSync(file, "utf8")),
    catch: (cause) =>
      invalid(
        method,
        "--policy",
        cause instanceof SyntaxError
          ? `${shortPath(file)} is not JSON: ${cause.message}`
          : `${shortPath(file)} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`
      )
  })

/** Names the file beside the field. */
const inFile = (error: LightboxError): LightboxError =>
  error.reason._tag === "InvalidConfig" && !error.reason.field.startsWith("--")
    ? invalid(method, `--policy: ${error.reason.field}`, error.reason.problem)
    : error

/** Folders are relative to the policy, as clients start servers anywhere. */
const resolved = (folder: string, mounts: { readonly [path: string]: Mount.Mount }) =>
  Object.fromEntries(
    Object.entries(mounts).map(([path, mount]) => [
      path,
      "bind" in mount
        ? { ...mount, bind: Path.resolve(folder, mount.bind) }
        : "disk" in mount
          ? { ...mount, disk: Path.resolve(folder, mount.disk) }
          : mount
    ])
  )

const valueOf = Effect.fnUntraced(function* (name: string, { env = name, hosts }: typeof Secret.Type) {
  const value = process.env[env]
  if (value === undefined || value === "") {
    return yield* invalid(
      method,
      `secrets.${name}`,
      `the variable ${env} is not set in the environment of this process`
    )
  }
  return [name, { value: Redacted.make(value), hosts }] as const
})

/** Reads and checks a policy. Nothing boots. */
export const load = Effect.fnUntraced(function* ({
  file,
  image,
  snapshot
}: Source): Effect.fn.Return<Policy, LightboxError, Services> {
  const given = file === undefined ? {} : yield* readJson(file)
  const policy = yield* Effect.mapError(decode(given), inFile)
  const {
    forwards = "all",
    idleTimeout = Duration.minutes(15),
    image: defaultImage,
    mounts = {},
    network = "none",
    secrets = {},
    snapshot: defaultSnapshot,
    snapshots = "agent-",
    ...rest
  } = policy
  const isFlag = image !== undefined || snapshot !== undefined
  const source = isFlag ? { image, snapshot } : { image: defaultImage, snapshot: defaultSnapshot }
  if ((source.image === undefined) === (source.snapshot === undefined)) {
    return yield* invalid(method, "--image", "pass either an image or a snapshot, as a flag or in the policy")
  }
  const hidden = Effect.forEach(Object.entries(secrets), ([name, secret]) => valueOf(name, secret))
  const config = {
    ...rest,
    network,
    mounts: resolved(file === undefined ? process.cwd() : Path.dirname(Path.resolve(file)), mounts),
    secrets: Object.fromEntries(yield* Effect.mapError(hidden, inFile))
  }
  const from =
    source.image === undefined
      ? ({ _tag: "Snapshot", name: source.snapshot ?? "" } as const)
      : ({ _tag: "Image", reference: source.image } as const)
  yield* Effect.mapError(
    Effect.andThen(checkHostPaths(config), checkCombination({ name: "session", source: from, config })),
    inFile
  )
  if (from._tag === "Snapshot" && !(yield* Snapshot.exists(from.name))) {
    return yield* new LightboxError({ method, reason: new NotFound({ resource: "snapshot", name: from.name }) })
  }
  return {
    launch: { ...config, ...(from._tag === "Snapshot" ? { snapshot: from.name } : { image: from.reference }) },
    source: from._tag === "Snapshot" ? `snapshot ${from.name}` : `image ${from.reference}`,
    forwards,
    snapshots,
    idleTimeout
  }
})

/** Describes the sandbox to the model. */
export const describe = ({ launch, snapshots, source }: Policy): string => {
  const { mounts = {}, network, secrets = {} } = launch
  const mounted = Object.entries(mounts).map(([path, mount]) =>
    typeof mount === "object" && mount.readonly === true ? `${path} (read-only)` : path
  )
  const reach =
    network === "none" ? "no network" : typeof network === "string" ? `network: ${network}` : "a restricted network"
  return [
    `The tools work in a microVM of your own, from ${source}, with ${reach}.`,
    mounted.length === 0 ? "" : `Mounted: ${mounted.join(", ")}.`,
    Object.keys(secrets).length === 0
      ? ""
      : `${Object.keys(secrets).join(", ")} are placeholders: requests to their hosts carry the values.`,
    "It boots at the first call and is removed with the session. If it is lost, the next call gets a new one, without your files.",
    snapshots === false ? "" : `Names of snapshots begin with "${snapshots}".`
  ]
    .filter((line) => line !== "")
    .join(" ")
}
