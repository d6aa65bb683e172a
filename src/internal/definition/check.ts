/** Checks a definition before anything boots. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import type { LightboxError } from "../../LightboxError.ts"
import * as Network from "../../Network.ts"
import { LaunchDefaults, SandboxConfig } from "../../SandboxConfig.ts"
import type { Definition } from "../../Snapshot.ts"
import {
  copyOptions,
  CString,
  DurationInput,
  Env,
  Func,
  GuestPath,
  HostPath,
  ImageReference,
  Labels,
  SnapshotName,
  notBlank,
  Owner,
  recordOf,
  ScheduleSchema,
  Text,
  User,
  Word
} from "../config/schemas.ts"
import { declaredAt, decoder, invalid } from "../config/validation.ts"
import { DefinitionTypeId as TypeId } from "../config/validation.ts"

const Secret = Schema.Union([
  Schema.Redacted(CString),
  Schema.Struct({
    value: Schema.Redacted(CString),
    as: Schema.optional(Schema.Literals(["env", "file"])),
    inKey: Schema.optional(Schema.Boolean)
  })
])

const commonOptions = {
  description: Schema.optional(Schema.NonEmptyString),
  timeout: Schema.optional(DurationInput),
  retry: Schema.optional(ScheduleSchema),
  retryFrom: Schema.optional(Schema.Literals(["clean", "dirty"])),
  network: Schema.optional(Network.Network),
  cache: Schema.optional(
    Schema.Union([Schema.Literals(["auto", "never"]), Schema.Struct({ key: Schema.NonEmptyString })])
  )
}

const commandOptions = Schema.Struct({
  ...commonOptions,
  env: Schema.optional(Env),
  login: Schema.optional(Schema.Boolean),
  secrets: Schema.optional(
    recordOf(Secret, (name) =>
      /^[A-Za-z_][A-Za-z0-9_.-]*$/.test(name)
        ? undefined
        : "expected a name of letters, digits, dots, dashes and underscores"
    )
  )
})

/** Only the resolution of a Dockerfile makes it, and has checked it. */
const made = Schema.declare(Predicate.isObject, { expected: "an object" })

const StepSchema = Schema.TaggedUnion({
  Shell: { script: notBlank("a script"), options: commandOptions },
  Exec: {
    argv: Schema.TupleWithRest(Schema.Tuple([notBlank("the name of a program")]), [Word]),
    mounts: Schema.optional(Schema.Array(made)),
    proxies: Schema.optional(made),
    options: commandOptions
  },
  Copy: {
    from: HostPath,
    to: GuestPath,
    options: Schema.Struct({ ...commonOptions, ...copyOptions })
  },
  Write: {
    path: GuestPath,
    content: Schema.Union([Text, Schema.Uint8Array]),
    options: Schema.Struct({ ...commonOptions, mode: copyOptions.mode, owner: copyOptions.owner })
  },
  Add: {
    from: made,
    to: GuestPath,
    options: Schema.Struct({ ...commonOptions, ...copyOptions })
  },
  Workdir: {
    path: GuestPath,
    owner: Schema.optional(Schema.Union([Owner, Schema.Struct({ image: Schema.String })])),
    options: Schema.Struct(commonOptions)
  },
  Effect: {
    name: notBlank("a name"),
    run: Func,
    options: Schema.Struct({ ...commonOptions, key: Schema.optional(Schema.String) })
  },
  Env: { variables: Env, options: Schema.Struct({}) },
  User: { user: User, options: Schema.Struct({}) },
  Checkpoint: { options: Schema.Struct({}) },
  SkipCache: { options: Schema.Struct({}) }
})

const { mounts, network, pullPolicy, registry, resources } = SandboxConfig.fields

const DefinitionSchema = Schema.Struct({
  name: SnapshotName,
  image: Schema.optional(ImageReference),
  labels: Labels,
  defaults: LaunchDefaults,
  verification: Schema.optional(Func),
  steps: Schema.Array(StepSchema),
  network,
  pullPolicy,
  registry,
  resources,
  mounts
})

/**
 * Returns the checked launch defaults, or fails with the first invalid field. `field` names the definition itself, which
 * plain JavaScript may get wrong.
 */
export const checkDefinition = <E, R>(
  method: string,
  field: string,
  definition: Definition<E, R>
): Effect.Effect<LaunchDefaults, LightboxError> => {
  if (!Predicate.hasProperty(definition, TypeId)) {
    return Effect.fail(invalid(method, field, "expected a definition created by Snapshot.make or Snapshot.from"))
  }
  const { base, defaults, labels, name, options, steps, verification } = definition
  return decoder(
    DefinitionSchema,
    method
  )({
    name,
    image: base._tag === "Image" ? base.reference : undefined,
    labels,
    defaults,
    verification,
    steps: steps.map((step) => Struct.omit(step, ["declaredAt"])),
    ...options
  }).pipe(
    Effect.map(({ defaults }) => defaults),
    Effect.mapError((error) => {
      const [, index] = error.reason._tag === "InvalidConfig" ? (/^steps\.(\d+)/.exec(error.reason.field) ?? []) : []
      return declaredAt((index === undefined ? definition : steps[Number(index)])?.declaredAt)(error)
    })
  )
}
