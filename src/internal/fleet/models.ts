/** A job of a fleet as it is written into the directory, and what came of it. */
import * as Schema from "effect/Schema"
import type * as Fleet from "../../Fleet.ts"
import { LightboxError } from "../../LightboxError.ts"
import { SandboxConfig } from "../../SandboxConfig.ts"
import {
  CString,
  DurationFromWholeMillis,
  DurationInput,
  Env,
  GuestPath,
  ImageReference,
  intBetween,
  modelSchema,
  optionsSchema,
  pattern,
  PlainCommandLine,
  SnapshotReference,
  User
} from "../config/schemas.ts"
import { signalNames } from "../config/signals.ts"

/** The largest job that the directory takes, in characters of JSON. */
export const maxSpec = 1024 * 1024

const shared = {
  command: PlainCommandLine,
  env: Schema.optional(Env),
  cwd: Schema.optional(GuestPath),
  user: Schema.optional(User),
  retries: Schema.optional(intBetween(0, 1000))
}

/** What programs ask for. */
export const Job = optionsSchema<Fleet.Job>()(
  Schema.Struct({
    id: pattern(/^[!-~]{1,200}$/, "1 to 200 characters of ASCII, without spaces"),
    image: Schema.optional(ImageReference),
    snapshot: Schema.optional(SnapshotReference),
    resources: SandboxConfig.fields.resources,
    timeout: Schema.optional(DurationInput),
    ...shared
  }).check(
    Schema.makeFilter(({ image, snapshot }) =>
      (image === undefined) === (snapshot === undefined)
        ? { path: ["snapshot"], issue: "pass either a snapshot or an image" }
        : undefined
    )
  )
)

/** What the directory has of it. */
export const Spec = Schema.fromJsonString(
  Schema.toCodecJson(
    Schema.Struct({
      image: Schema.optional(CString),
      snapshot: Schema.optional(CString),
      // They were checked: sizes are bytes.
      resources: Schema.optional(
        Schema.Struct({
          cpus: Schema.optional(Schema.Finite),
          maxCpus: Schema.optional(Schema.Finite),
          memory: Schema.optional(Schema.Finite),
          maxMemory: Schema.optional(Schema.Finite),
          disk: Schema.optional(Schema.Finite)
        })
      ),
      timeout: DurationFromWholeMillis,
      ...shared
    })
  )
)

export type Spec = typeof Spec.Type

export const Result = modelSchema<Fleet.JobResult>()(
  Schema.Union([
    Schema.TaggedStruct("Exited", {
      id: Schema.String,
      exitCode: Schema.Int,
      signal: Schema.optional(Schema.Union([Schema.Literals(signalNames), Schema.Int])),
      stdout: Schema.String,
      stderr: Schema.String,
      isTruncated: Schema.Boolean,
      host: Schema.String,
      runs: Schema.Int,
      duration: DurationFromWholeMillis
    }),
    Schema.TaggedStruct("Failed", {
      id: Schema.String,
      error: LightboxError,
      runs: Schema.Int
    })
  ])
)

/** What the directory has of a result. */
export const Recorded = Schema.fromJsonString(Schema.toCodecJson(Result))
