/**
 * The shapes of what commands say with `--json`.
 */
import * as Schema from "effect/Schema"
import { SandboxInfo, VolumeInfo } from "../../Microsandbox.ts"
import { Plan } from "../../Plan.ts"

const labels = Schema.Record(Schema.String, Schema.String)

const snapshot = {
  name: Schema.String,
  /** The folder that holds it, on the host. */
  path: Schema.String,
  digest: Schema.String,
  key: Schema.optional(Schema.String),
  generation: Schema.optional(Schema.Int),
  image: Schema.String,
  imageDigest: Schema.String,
  /** Apparent size of the disk, in bytes. */
  size: Schema.optional(Schema.Finite),
  /** What the disk takes on the host, in bytes. */
  allocated: Schema.optional(Schema.Finite),
  labels,
  createdAt: Schema.DateTimeUtc
}

export const Snapshot = Schema.Struct(snapshot)

export const Snapshots = Schema.Array(Snapshot)

/** The last lines of a build, after those of its events. */
export const Built = Schema.TaggedStruct("Built", {
  ...snapshot,
  stepsRun: Schema.Int,
  stepsReused: Schema.Int,
  durationMillis: Schema.Finite
})

export const Plans = Schema.Array(Plan)

export const Generations = Schema.Array(
  Schema.Struct({
    generation: Schema.Int,
    key: Schema.String,
    labels,
    createdAt: Schema.DateTimeUtc,
    isCurrent: Schema.Boolean
  })
)

export const PruneReport = Schema.Struct({
  verdicts: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      definition: Schema.optional(Schema.String),
      verdict: Schema.Literals(["removed", "removable", "kept"]),
      reason: Schema.String,
      allocated: Schema.optional(Schema.Finite),
      usedAt: Schema.DateTimeUtc
    })
  ),
  /** Bytes that were, or with `--dry-run` would be, freed. */
  freed: Schema.Finite
})

/** A file of the host. */
export const File = Schema.Struct({ path: Schema.String })

export const Sandboxes = Schema.Array(SandboxInfo)

/** A sandbox that was left running. */
export const Detached = Schema.Struct({ name: Schema.String, id: Schema.String })

/** A command that has ended. */
export const Ended = Schema.Struct({
  /** -1: a signal ended it. */
  exitCode: Schema.Int,
  /** Its name, or its number if it has none. */
  signal: Schema.optional(Schema.Union([Schema.String, Schema.Finite])),
  stdout: Schema.String,
  stderr: Schema.String,
  durationMillis: Schema.Finite
})

/** Names of what is gone. */
export const Removed = Schema.Struct({ removed: Schema.Array(Schema.String) })

export const Volume = VolumeInfo

export const Volumes = Schema.Array(
  Schema.Struct({
    ...Volume.fields,
    /** With `--usage`: what it takes on the host's disk, in bytes. */
    used: Schema.optional(Schema.Finite)
  })
)

export const VolumeVerdicts = Schema.Array(
  Schema.Struct({
    name: Schema.String,
    verdict: Schema.Literals(["removed", "removable", "kept"]),
    reason: Schema.String,
    createdAt: Schema.optional(Schema.DateTimeUtc)
  })
)

export const SweepReport = Schema.Struct({
  verdicts: Schema.Array(
    Schema.Struct({
      resource: Schema.Literals(["sandbox", "ghost", "snapshot", "staging", "lock", "owner"]),
      name: Schema.String,
      verdict: Schema.Literals(["removed", "removable", "kept", "failed"]),
      reason: Schema.String
    })
  ),
  /** `false`: its time was over before everything was looked at. */
  isComplete: Schema.Boolean,
  durationMillis: Schema.Finite
})

export const Diagnosis = Schema.Struct({
  findings: Schema.Array(
    Schema.Struct({
      topic: Schema.String,
      status: Schema.Literals(["ok", "warning", "problem"]),
      found: Schema.String,
      remedy: Schema.optional(Schema.String)
    })
  ),
  isHealthy: Schema.Boolean
})

export const Demo = Schema.Struct({
  image: Schema.String,
  buildMillis: Schema.Finite,
  rebuildMillis: Schema.Finite,
  /** From the launch to after the end of the sandbox. */
  useMillis: Schema.Finite,
  output: Schema.String
})
