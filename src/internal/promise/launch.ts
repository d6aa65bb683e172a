/** Options of sandboxes for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Record from "effect/Record"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { LaunchOptions, LaunchSettings } from "../../promise.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { type Options, SandboxConfig } from "../../SandboxConfig.ts"
import * as Sandboxes from "../../Sandbox.ts"
import type * as Plain from "../config/plain.ts"
import {
  Env,
  Func,
  GuestPath,
  ImageReference,
  Labels,
  Name,
  notBlank,
  optionsStruct,
  PlainCommandLine
} from "../config/schemas.ts"
import { checkObject, decoder, renameFields } from "../config/validation.ts"
import { Resources } from "./definition.ts"
import { callFields, Millis } from "./input.ts"
import { NetworkSchema, registryOf, RegistrySchema, type Registry, SecretsSchema } from "./options.ts"
import { ProbeSchema, ServicesSchema } from "./probe.ts"
import { runNow } from "./runtime.ts"
import { Sandbox } from "./sandbox.ts"

/**
 * Options of a sandbox that few programs need.
 *
 * @category options
 * @since 0.1.0
 */
export interface SandboxSettings {
  /** Default user of commands, such as `"app"` or `"1000:1000"`. Default: the image's, else root. */
  user?: string | undefined
  /** Path of the shell of services. Default: `"/bin/sh"`. */
  shell?: string | undefined
  /** Host name of the guest: up to 63 letters, digits and dashes. Default: the name of the sandbox. */
  hostname?: string | undefined
  /** Replaces the image's entrypoint. */
  entrypoint?: ReadonlyArray<string> | undefined
  /** Replaces the image's default command. */
  cmd?: ReadonlyArray<string> | undefined
  /** Scripts by name, available on the guest's `PATH`. Default: none. */
  scripts?: { readonly [name: string]: string } | undefined
  /** The init system that runs as process 1; `"auto"` detects one. Default: the runtime's own process. */
  init?: "auto" | Plain.Init | undefined
  /** POSIX limits by name, such as `{ nofile: 1024 }` or `{ nofile: { soft: 1024, hard: 4096 } }`. Default: the kernel's. */
  rlimits?: { readonly [name: string]: number | { readonly soft: number; readonly hard: number } } | undefined
  /** `"restricted"`: processes of the guest cannot mount. Default: `"default"`. */
  security?: "default" | "restricted" | undefined
  /** `"multi-tenant"`: sandboxes of other users run on this machine too. Default: `"single-tenant"`. */
  deployment?: "single-tenant" | "multi-tenant" | undefined
  /** Remove the sandbox when it stops. Default: `false`. */
  ephemeral?: boolean | undefined
  /** Stop the sandbox after this time without commands or traffic from the host, in whole seconds. Default: never. */
  idleTimeoutMs?: number | undefined
  /** Kill the sandbox after this time, without flushing its disk, in whole seconds. Default: never. */
  maxDurationMs?: number | undefined
  /** When to pull the image. Default: as configured, `"if-missing"`. */
  pullPolicy?: "always" | "if-missing" | "never" | undefined
  /** Options for pulling the image. Default: TLS, no login. */
  registry?: Registry | undefined
  /**
   * Changes to the image's files before the guest boots. The runtime recreates all parent folders of their paths, owned
   * by root. Not allowed with a snapshot. Default: none.
   */
  patches?: ReadonlyArray<Plain.Patch> | undefined
  /**
   * Whether to resume the machine of a snapshot that was built with `warm`. `true` resumes it, and boots the disk if that
   * fails, which `resumed` of the sandbox tells; `"required"` rejects instead, and `false` boots the disk. Snapshots without
   * memory always boot. Default: `true`.
   */
  resume?: boolean | "required" | undefined
  /**
   * A script for the sandbox's shell, or a program and its arguments, that runs when the sandbox has resumed, before the
   * launch resolves. `LIGHTBOX_INSTANCE` is an id that no other copy has. If it fails, the launch rejects. Default: none.
   */
  onResume?: string | readonly [program: string, ...args: ReadonlyArray<string>] | undefined
  /** Log level of the virtual machine. Default: the runtime's. */
  logLevel?: "trace" | "debug" | "info" | "warn" | "error" | undefined
  /** Interval between metrics samples, or `"off"`. Default: 1,000. */
  metricsIntervalMs?: number | "off" | undefined
  /** Receives the progress of an image pull. Default: none. */
  onPullProgress?: ((progress: Plain.PullProgress) => void) | undefined
  /** Time limit for the removal, after which a warning is logged and the rest is left behind. Default: 30,000. */
  releaseTimeoutMs?: number | undefined
}

// =============================================================================
// Schemas
// =============================================================================

const core = SandboxConfig.fields

// Numeric text is a port, too, since the keys of objects are text.
const portOf = (port: unknown): unknown => (typeof port === "string" && /^\d+$/.test(port) ? Number(port) : port)

const flag = Schema.optional(Schema.Boolean)

/** @internal Fields of every sandbox, with the method's own in addition. */
export const sandboxFields = {
  ...callFields,
  snapshot: Schema.optional(notBlank("the name of a snapshot")),
  image: Schema.optional(ImageReference),
  resources: Schema.optional(Resources),
  workdir: Schema.optional(GuestPath),
  env: Schema.optional(Env),
  ports: core.ports,
  mounts: core.mounts,
  labels: Schema.optional(Labels),
  rootDisk: core.rootDisk,
  network: Schema.optional(NetworkSchema),
  secrets: Schema.optional(SecretsSchema),
  services: Schema.optional(ServicesSchema),
  user: core.user,
  shell: core.shell,
  hostname: core.hostname,
  entrypoint: core.entrypoint,
  cmd: core.cmd,
  scripts: core.scripts,
  init: core.init,
  rlimits: core.rlimits,
  security: core.security,
  deployment: core.deployment,
  ephemeral: core.ephemeral,
  idleTimeoutMs: Schema.optional(Millis),
  maxDurationMs: Schema.optional(Millis),
  pullPolicy: core.pullPolicy,
  registry: Schema.optional(RegistrySchema),
  patches: core.patches,
  resume: core.resume,
  onResume: Schema.optional(PlainCommandLine),
  logLevel: core.logLevel,
  metricsIntervalMs: Schema.optional(Schema.Union([Schema.Literal("off"), Millis])),
  onPullProgress: Schema.optional(Func),
  releaseTimeoutMs: Schema.optional(Millis)
}

const LaunchFields = optionsStruct<
  Omit<LaunchSettings, "onPullProgress" | "ports" | "resources"> &
    Pick<Options, "ports"> & {
      resources?: typeof Resources.Encoded | undefined
      snapshot?: string | undefined
      image?: string | undefined
      onPullProgress?: ((...args: never) => unknown) | undefined
    }
>()({
  ...sandboxFields,
  name: Schema.optional(Name),
  overwrite: flag,
  detached: flag,
  verbose: flag
})

interface Source {
  readonly image?: string | undefined
  readonly snapshot?: string | undefined
}

/** @internal Demands one source. */
export const oneSource = Schema.makeFilter(({ image, snapshot }: Source) =>
  (image === undefined) === (snapshot === undefined)
    ? { path: ["snapshot"], issue: "pass either a snapshot or an image" }
    : undefined
)

const Launch = LaunchFields.check(oneSource)

const decoded = Effect.fnUntraced(function* <S extends Schema.Codec<unknown, unknown>>(
  schema: S,
  method: string,
  options: object
): Effect.fn.Return<S["Type"], LightboxError> {
  yield* checkObject(method, options)
  const ports: unknown = Reflect.get(options, "ports")
  const plain = Predicate.isObject(ports) ? Record.map(ports, portOf) : ports
  return yield* decoder(schema, method)({ ...options, ports: plain })
})

/** @internal Decodes options of sandboxes. */
export const decodeSandbox = <S extends Schema.Codec<unknown, unknown>>(
  schema: S,
  method: string,
  options: object
): S["Type"] => runNow(decoded(schema, method, options))

/** Names of this API for those of the core. */
const names = {
  cwd: "workdir",
  idleTimeout: "idleTimeoutMs",
  maxDuration: "maxDurationMs",
  metricsInterval: "metricsIntervalMs",
  "network.dns.queryTimeout": "network.dns.queryTimeoutMs",
  timeToLive: "timeToLiveMs",
  releaseTimeout: "releaseTimeoutMs",
  "healthCheck.interval": "healthCheck.intervalMs",
  "healthCheck.timeout": "healthCheck.timeoutMs"
}

/** @internal Names of this API for those of the core in errors. */
export const withPromiseNames = renameFields(names)

/** @internal The same in errors of groups. */
export const withMemberNames = (members: ReadonlyArray<string>) =>
  renameFields(
    Object.fromEntries(
      members.flatMap((member) => Object.entries(names).map(([core, own]) => [`${member}.${core}`, `${member}.${own}`]))
    )
  )

/** @internal The same in errors of forks, whose options are inside of those of the call. */
export const withForkNames = withMemberNames(["options"])

const SandboxFields = Schema.Struct(sandboxFields)

const {
  image: _image,
  onPullProgress: _onPullProgress,
  releaseTimeoutMs: _releaseTimeoutMs,
  signal: _signal,
  snapshot: _snapshot,
  ...forkFields
} = sandboxFields

/** @internal Options of a sandbox apart from its source and its launch. */
export const ForkFields = Schema.Struct(forkFields)

/** @internal Converts checked options to those of the core. */
export const configOf = ({
  idleTimeoutMs,
  maxDurationMs,
  metricsIntervalMs,
  registry,
  secrets,
  workdir,
  ...rest
}: typeof ForkFields.Type) => ({
  ...rest,
  cwd: workdir,
  idleTimeout: idleTimeoutMs,
  maxDuration: maxDurationMs,
  metricsInterval: metricsIntervalMs,
  registry: registryOf(registry),
  secrets: secrets && Record.map(secrets, (secret) => ({ ...secret, value: Redacted.make(secret.value) }))
})

/** @internal The same with the source and the launch. `onPullProgress` is the caller's own function. */
export const toCore = (
  {
    image,
    onPullProgress: _listener,
    releaseTimeoutMs,
    signal: _aborted,
    snapshot = "",
    ...rest
  }: typeof SandboxFields.Type,
  onPullProgress: LaunchSettings["onPullProgress"]
) => ({
  ...configOf(rest),
  ...(image === undefined ? { snapshot } : { image }),
  releaseTimeout: releaseTimeoutMs,
  onPullProgress:
    onPullProgress === undefined
      ? undefined
      : (progress: Plain.PullProgress) => Effect.sync(() => onPullProgress(progress))
})

/** @internal The options of a member of a group in the form of the core. */
export const memberOptions = (method: string, { ready, ...options }: LaunchOptions & { readonly ready?: unknown }) =>
  Effect.gen(function* () {
    const {
      detached: _detached,
      overwrite: _overwrite,
      verbose: _verbose,
      ...fields
    } = yield* decoded(Launch, method, options)
    const { ready: probe } = yield* decodeReady(method)({ ready })
    return {
      ...toCore({ ...fields, rootDisk: fields.rootDisk ?? "auto" }, options.onPullProgress),
      ready: probe
    }
  })

const decodeReady = (method: string) => decoder(Schema.Struct({ ready: Schema.optional(ProbeSchema) }), method)

const print = (line: string): void => {
  process.stdout.write(`[lightbox] ${line}\n`)
}

/** Launches a sandbox; with a name in `defaults`, gets or creates it within a time limit. */
export const launched = async (
  method: string,
  options: LaunchOptions,
  defaults: { readonly rootDisk: "auto" | "copy"; readonly name?: string; readonly timeoutMs?: number | undefined }
): Promise<Sandbox> => {
  const { detached, name, overwrite = true, verbose, ...fields } = decodeSandbox(Launch, method, options)
  if (verbose === true) print(`launching "${name ?? "a sandbox"}" from "${fields.image ?? fields.snapshot}"`)
  const { releaseTimeout, ...asked } = toCore(
    { ...fields, rootDisk: fields.rootDisk ?? defaults.rootDisk },
    options.onPullProgress
  )
  const opened =
    defaults.name === undefined
      ? Sandboxes.launch({ ...asked, name, detached, overwrite, releaseTimeout })
      : Sandboxes.getOrCreate(defaults.name, { ...asked, timeout: defaults.timeoutMs })
  return await Sandbox.open(Effect.mapError(opened, withPromiseNames), fields.signal)
}
