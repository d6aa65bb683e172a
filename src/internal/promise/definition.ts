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
  GuestPath,
  ImageReference,
  intBetween,
  Labels,
  Memory,
  Name,
  notBlank,
  optionsStruct,
  parsed,
  recordOf,
  User
} from "../config/schemas.ts"
import type { Size } from "../config/plain.ts"
import { checkObject, decoder } from "../config/validation.ts"
import { ServicesSchema } from "./probe.ts"

const description = Schema.optional(Schema.NonEmptyString)

const Step = Schema.Union([
  notBlank("a script"),
  Schema.Struct({ kind: Schema.Literal("shell"), script: notBlank("a script"), description }),
  Schema.Struct({
    kind: Schema.Literal("exec"),
    cmd: notBlank("the name of a program"),
    args: Schema.optional(Schema.Array(CString)),
    description
  })
])

const MemoryText = parsed<number, Size>((input, options) =>
  typeof input === "number"
    ? failed('expected a size such as "512M" or "2G"')
    : SchemaParser.decodeUnknownEffect(Memory)(input, options)
)

export const Resources = optionsStruct<Omit<SnapshotResources, "memory"> & { memory?: Size | undefined }>()({
  cpus: Schema.optional(intBetween(1, 255)),
  memory: Schema.optional(MemoryText)
})

const Config = Schema.Struct({
  name: Name,
  image: ImageReference,
  resources: Schema.optional(Resources),
  workdir: Schema.optional(GuestPath),
  env: Schema.optional(Env),
  setup: Schema.optional(Schema.Array(Step)),
  labels: Schema.optional(Labels),
  defaults: Schema.optional(
    optionsStruct<Omit<SnapshotDefaults, "ports"> & Pick<Options, "ports">>()({
      workdir: Schema.optional(GuestPath),
      user: Schema.optional(User),
      shell: Schema.optional(GuestPath),
      env: Schema.optional(Env),
      cmd: Schema.optional(Schema.Array(CString)),
      ports: SandboxConfig.fields.ports,
      services: Schema.optional(ServicesSchema),
      labels: Schema.optional(recordOf(CString, checkOwnLabel))
    })
  )
})

export const isConfig = (u: unknown): u is SnapshotConfig =>
  Predicate.hasProperty(u, "name") &&
  Predicate.isString(u.name) &&
  Predicate.hasProperty(u, "image") &&
  Predicate.isString(u.image)

/**
 * Creates a definition, or fails with the first invalid field, under the caller's name for it. Scripts run in a login
 * shell, as in lightbox.
 */
export const define = Effect.fnUntraced(function* (
  method: string,
  config: SnapshotConfig
): Effect.fn.Return<Snapshot.Definition, LightboxError> {
  yield* checkObject(method, config)
  const { defaults = {}, env, image, labels = {}, name, resources, setup = [], workdir } = yield* decode(method, config)
  const { workdir: cwd, ...rest } = defaults
  let definition = Snapshot.make(name, image).pipe(Snapshot.labels(labels), Snapshot.defaults({ ...rest, cwd }))
  if (resources !== undefined) definition = Snapshot.resources(definition, resources)
  if (env !== undefined) definition = Snapshot.env(definition, env)
  if (workdir !== undefined) definition = Snapshot.workdir(definition, workdir)
  for (const step of setup) {
    definition =
      typeof step === "string"
        ? Snapshot.shell(definition, step, { login: true })
        : step.kind === "shell"
          ? Snapshot.shell(definition, step.script, { login: true, description: step.description })
          : Snapshot.exec(definition, step.cmd, step.args, { description: step.description })
  }
  return definition
})

const decode = (method: string, config: SnapshotConfig) => decoder(Config, method)(config)
