/**
 * The shapes of what commands say with `--json`.
 */
import * as Schema from "effect/Schema"
import { Plan } from "../../Plan.ts"
import * as Snapshot from "../../Snapshot.ts"

const labels = Schema.Record(Schema.String, Schema.String)

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

/** A file of the host. */
export const File = Schema.Struct({ path: Schema.String })

export const Sandboxes = Schema.Array(
  Schema.Struct({
    name: Schema.String,
    id: Schema.String,
    status: Schema.String,
    image: Schema.optional(Schema.String),
    cpus: Schema.Int,
    /** MiB. */
    memory: Schema.Finite,
    volumes: Schema.Array(Schema.String),
    workdir: Schema.optional(Schema.String),
    shell: Schema.String,
    labels,
    createdAt: Schema.optional(Schema.DateTimeUtc)
  })
)

/** A sandbox that was left running. */
export const Detached = Schema.Struct({ name: Schema.String, id: Schema.String })

/** A command that has ended. */
export const Ended = Schema.Struct({
  exitCode: Schema.Int,
  stdout: Schema.String,
  stderr: Schema.String,
  durationMillis: Schema.Finite
})

/** Names of what is gone. */
export const Removed = Schema.Struct({ removed: Schema.Array(Schema.String) })

export const Volume = Schema.Struct({
  name: Schema.String,
  kind: Schema.Literals(["directory", "disk"]),
  /** MiB. */
  quota: Schema.optional(Schema.Finite),
  /** On the host: the folder with its files, or the image of a disk. */
  path: Schema.String,
  labels,
  createdAt: Schema.optional(Schema.DateTimeUtc)
})

export const Volumes = Schema.Array(
  Schema.Struct({
    ...Volume.fields,
    /** With `--usage`: what it takes on the host's disk, in bytes. */
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
  /** From the launch to after the end of the sandbox. */
  useMillis: Schema.Finite,
  output: Schema.String
})
