/** Definitions as plain objects, in lightbox's dialect. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaParser from "effect/SchemaParser"
import type { LightboxError } from "../../LightboxError.ts"
import type { SnapshotConfig, SnapshotDefaults, SnapshotResources } from "../../promise.ts"
import { type Options, SandboxConfig } from "../../SandboxConfig.ts"
import * as Snapshot from "../../Snapshot.ts"
import {
  checkOwnLabel,
  CString,
  Env,
  failed,
  Func,
  GuestPath,
  ImageReference,
  intBetween,
  Labels,
  Mebibytes,
  Memory,
  Name,
  optionsStruct,
  parsed,
  PlainCommandLine,
  recordOf,
  User
} from "../config/schemas.ts"
import type { Size } from "../config/plain.ts"
import { checkObject, decoder, invalid } from "../config/validation.ts"
import { definitionIn, isDockerfile, NetworkSchema, registryOf, RegistrySchema } from "./options.ts"
import { addStep, type Call, Step } from "./steps.ts"
import { ServicesSchema } from "./probe.ts"

/** Sizes have units in this API. */
const sizeText = (schema: typeof Memory) =>
  parsed<number, Size>((input, options) =>
    typeof input === "number"
      ? failed('expected a size such as "512M" or "2G"')
      : SchemaParser.decodeUnknownEffect(schema)(input, options)
  )

type Sizes = "disk" | "maxMemory" | "memory"

export const Resources = optionsStruct<Omit<SnapshotResources, Sizes> & { [K in Sizes]?: Size | undefined }>()({
  cpus: Schema.optional(intBetween(1, 255)),
  maxCpus: Schema.optional(intBetween(1, 255)),
  memory: Schema.optional(sizeText(Memory)),
  maxMemory: Schema.optional(sizeText(Memory)),
  disk: Schema.optional(sizeText(Mebibytes(16)))
})

const Defaults = optionsStruct<Omit<SnapshotDefaults, "ports"> & Pick<Options, "ports">>()({
  workdir: Schema.optional(GuestPath),
  user: Schema.optional(User),
  shell: Schema.optional(GuestPath),
  env: Schema.optional(Env),
  cmd: Schema.optional(Schema.Array(CString)),
  ports: SandboxConfig.fields.ports,
  services: Schema.optional(ServicesSchema),
  onResume: Schema.optional(PlainCommandLine),
  labels: Schema.optional(recordOf(CString, checkOwnLabel))
})

const configFields = {
  name: Name,
  image: Schema.optional(ImageReference),
  dockerfile: Schema.optional(Schema.declare(isDockerfile, { expected: "a Dockerfile of fromDockerfile" })),
  from: Schema.optional(Schema.declare(Predicate.isObject, { expected: "a definition" })),
  resources: Schema.optional(Resources),
  workdir: Schema.optional(GuestPath),
  env: Schema.optional(Env),
  setup: Schema.optional(Schema.Array(Step)),
  labels: Schema.optional(Labels),
  defaults: Schema.optional(Defaults),
  mounts: SandboxConfig.fields.mounts,
  network: Schema.optional(NetworkSchema),
  registry: Schema.optional(RegistrySchema),
  verify: Schema.optional(Func)
}

const Config = Schema.Struct(configFields).check(
  Schema.makeFilter(({ dockerfile, from, image }) =>
    [dockerfile, from, image].filter((base) => base !== undefined).length === 1
      ? undefined
      : { path: ["image"], issue: "pass either an image or the definition to start from" }
  )
)

export const isConfig = (u: unknown): u is SnapshotConfig =>
  Predicate.hasProperty(u, "name") &&
  Predicate.isString(u.name) &&
  ((Predicate.hasProperty(u, "image") && Predicate.isString(u.image)) ||
    (Predicate.hasProperty(u, "dockerfile") && isDockerfile(u.dockerfile)) ||
    (Predicate.hasProperty(u, "from") && isConfig(u.from)))

const checked = (
  method: string,
  config: unknown,
  parents: ReadonlyArray<unknown>
): Effect.Effect<void, LightboxError> =>
  parents.includes(config)
    ? Effect.fail(invalid(method, "from", "expected a definition that does not start from itself"))
    : Effect.andThen(checkObject(method, config), () =>
        Effect.flatMap(decoder(Config, method)(config), ({ from }) =>
          from === undefined
            ? Effect.void
            : Effect.mapError(checked(method, from, [...parents, config]), within("from"))
        )
      )

const within =
  (parent: string) =>
  (error: LightboxError): LightboxError =>
    error.reason._tag === "InvalidConfig"
      ? invalid(error.method, `${parent}.${error.reason.field}`, error.reason.problem)
      : error

/** Fails with the first invalid field, under the caller's name for it. */
export const check = (method: string, config: SnapshotConfig): Effect.Effect<void, LightboxError> =>
  checked(method, config, [])

const decodeNetwork = Schema.decodeSync(NetworkSchema)
const decodeDefaults = Schema.decodeUnknownSync(Defaults)

const baseOf = <E>(config: SnapshotConfig, call: Call<E>): Snapshot.Definition<E> => {
  const { dockerfile, from, image, name } = config
  if (from !== undefined) return Snapshot.from(name, define(from, call))
  const read = dockerfile === undefined ? undefined : definitionIn(dockerfile)
  if (read === undefined) return Snapshot.make(name, image ?? "")
  return read.name === name ? read : Snapshot.from(name, read)
}

/** Creates a definition from a checked configuration. Scripts run in a login shell, as in lightbox. */
export const define = <E>(config: SnapshotConfig, call: Call<E>): Snapshot.Definition<E> => {
  const { env, labels = {}, mounts, network, registry, resources, setup = [], verify, workdir } = config
  const { workdir: cwd, ...defaults } = decodeDefaults(config.defaults ?? {})
  let definition: Snapshot.Definition<E> = baseOf(config, call).pipe(
    Snapshot.labels(labels),
    Snapshot.defaults({ ...defaults, cwd })
  )
  if (resources !== undefined) definition = Snapshot.resources(definition, resources)
  const builder = {
    ...(mounts === undefined ? {} : { mounts }),
    ...(network === undefined ? {} : { network: decodeNetwork(network) }),
    ...(registry === undefined ? {} : { registry: registryOf(registry) })
  }
  if (Object.keys(builder).length > 0) definition = Snapshot.builder(definition, builder)
  if (env !== undefined) definition = Snapshot.env(definition, env)
  if (workdir !== undefined) definition = Snapshot.workdir(definition, workdir)
  for (const step of setup) definition = addStep(definition, step, call)
  return verify === undefined ? definition : Snapshot.verify(definition, call("verify", verify))
}
