/** Definitions as plain objects, in lightbox's dialect. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaParser from "effect/SchemaParser"
import type { LightboxError } from "../../LightboxError.ts"
import type { SnapshotConfig, SnapshotResources } from "../../promise.ts"
import * as Snapshot from "../../Snapshot.ts"
import {
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
  parsed
} from "../config/schemas.ts"
import type { Size } from "../config/plain.ts"
import { checkObject, decoder } from "../config/validation.ts"

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
  labels: Schema.optional(Labels)
})

export const isConfig = (u: unknown): u is SnapshotConfig =>
  Predicate.hasProperty(u, "name") &&
  Predicate.isString(u.name) &&
  Predicate.hasProperty(u, "image") &&
  Predicate.isString(u.image)

/** Fails with the first invalid field, under the caller's name for it. */
export const check = (method: string, config: SnapshotConfig): Effect.Effect<void, LightboxError> =>
  Effect.andThen(checkObject(method, config), Effect.asVoid(decoder(Config, method)(config)))

/** Creates a definition. Scripts run in a login shell, as in lightbox. */
export const define = ({
  env,
  image,
  labels = {},
  name,
  resources,
  setup = [],
  workdir
}: SnapshotConfig): Snapshot.Definition => {
  let definition = Snapshot.make(name, image).pipe(Snapshot.labels(labels))
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
}
