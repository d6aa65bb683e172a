/** The shapes of what commands print with `--json`. */
import * as Schema from "effect/Schema"
import { PublishedPort, SandboxInfo, VolumeInfo } from "../../Microsandbox.ts"
import { Plan } from "../../Plan.ts"
import * as Snapshot from "../../Snapshot.ts"
export const Snapshots = Schema.Array(Snapshot.Snapshot)

/** The last lines of a build, after those of its events. */
export const Built = Schema.TaggedStruct("Built", {
  ...Snapshot.Snapshot.fields,
  stepsRun: Schema.Int,
  stepsReused: Schema.Int,
  durationMillis: Schema.Finite
})

export const Plans = Schema.Array(Plan)

export const Generations = Schema.Array(Snapshot.Generation)

export const File = Schema.Struct({ path: Schema.String })

export const Sandboxes = Schema.Array(SandboxInfo)

export const Detached = Schema.Struct({ name: Schema.String, id: Schema.String })

export const Ended = Schema.Struct({
  /** -1 if a signal ended the command. */
  exitCode: Schema.Int,
  /** A name, or a number if it has none. */
  signal: Schema.optional(Schema.Union([Schema.String, Schema.Finite])),
  stdout: Schema.String,
  stderr: Schema.String,
  durationMillis: Schema.Finite
})

export const Ports = Schema.Array(PublishedPort)

export const Removed = Schema.Struct({ removed: Schema.Array(Schema.String) })

export const Volume = VolumeInfo

export const Volumes = Schema.Array(
  Schema.Struct({
    ...Volume.fields,
    /** Bytes on the host's disk, with `--usage`. */
    used: Schema.optional(Schema.Finite)
  })
)

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
  /** From the launch to the end of the sandbox. */
  useMillis: Schema.Finite,
  output: Schema.String
})
