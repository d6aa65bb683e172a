/** Definitions as plain objects, in lightbox's dialect. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type { LightboxError } from "../../LightboxError.ts"
import type { SnapshotConfig } from "../../promise.ts"
import { SandboxConfig } from "../../SandboxConfig.ts"
import * as Snapshot from "../../Snapshot.ts"
import { CString, Env, GuestPath, ImageReference, Labels, Name, notBlank } from "../config/schemas.ts"
import { decoder } from "../config/validation.ts"

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

const Config = Schema.Struct({
  name: Name,
  image: ImageReference,
  resources: SandboxConfig.fields.resources,
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
  Effect.asVoid(decoder(Config, method)(config))

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
