/** The shapes of what commands print with `--json`. */
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import * as BuildRecord from "../../BuildRecord.ts"
import { FleetHost as FleetHostState } from "../directory/models.ts"
import * as Job from "../../Job.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import { Plan } from "../../Plan.ts"
import * as SandboxRecord from "../../SandboxRecord.ts"
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

export const Builds = Schema.Array(BuildRecord.Summary)

export const EndedSandboxes = Schema.Array(SandboxRecord.Summary)

export const Generations = Schema.Array(Snapshot.Generation)

export const File = Schema.Struct({ path: Schema.String })

export const Sandboxes = Schema.Array(Microsandbox.SandboxInfo)

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

export const Proxy = Schema.Struct({ port: Schema.Int })

/** The token is that of the environment if it is missing. */
export const Mcp = Schema.Struct({ url: Schema.String, token: Schema.optionalKey(Schema.String) })

/** As above, and the id of the host in the directory of its fleet. */
export const Serving = Schema.Struct({ ...Mcp.fields, host: Schema.optionalKey(Schema.String) })

/** The link works once. */
export const Ui = Schema.Struct({ url: Schema.String })

/** A context, without its token. */
export const Context = Schema.Struct({
  name: Schema.String,
  /** Absent: this machine. */
  url: Schema.optionalKey(Schema.String),
  isCurrent: Schema.Boolean
})

export const Ports = Schema.Array(Microsandbox.PublishedPort)

/** The members of a group. */
export const Group = Schema.Array(
  Schema.Struct({ member: Schema.String, name: Schema.String, ports: Schema.Array(Microsandbox.PublishedPort) })
)

/** A line that a service of a group has written. */
export const GroupOutput = Schema.Struct({ member: Schema.String, service: Schema.String, line: Schema.String })

/** Under a key such as `started` or `stopped`, the names of the sandboxes that changed, or were waited for. */
export const Changed = Schema.Record(Schema.String, Schema.Array(Schema.String))

export const Copied = Schema.Struct({
  from: Schema.String,
  /** Where it is now: in a sandbox, `NAME:/path`. */
  to: Schema.String
})

export const LogEntry = Schema.Struct({
  timestamp: Schema.DateTimeUtc,
  source: Microsandbox.LogEntry.fields.source,
  session: Schema.optional(Schema.Finite),
  text: Schema.String,
  cursor: Schema.String
})

export const Usages = Schema.Array(
  Schema.Struct({
    name: Schema.String,
    ...Struct.omit(Microsandbox.Metrics.fields, ["uptime"]),
    uptimeMillis: Schema.Finite
  })
)

export const Inspected = Schema.Array(
  Schema.Union([
    Schema.Struct({ type: Schema.Literal("sandbox"), ...Microsandbox.SandboxInfo.fields }),
    Schema.Struct({
      type: Schema.Literal("snapshot"),
      ...Snapshot.Snapshot.fields,
      generations: Generations
    }),
    Schema.Struct({ type: Schema.Literal("volume"), ...Microsandbox.VolumeInfo.fields }),
    Schema.Struct({ type: Schema.Literal("image"), ...Microsandbox.ImageDetail.fields })
  ])
)

export const Images = Schema.Array(Microsandbox.ImageInfo)

export const Jobs = Schema.Array(Schema.Struct({ sandbox: Schema.String, ...Job.Info.fields }))

export const JobStarted = Schema.Struct({ id: Schema.String })

export const JobEnded = Schema.Struct({ id: Schema.String, status: Job.Status })

/** One line per piece; the bytes of output are in base64. */
export const JobOutput = Schema.Union([
  Schema.Struct({ _tag: Schema.tag("Output"), offset: Schema.Int, bytes: Schema.Uint8Array }),
  Schema.Struct({ _tag: Schema.tag("Missing"), offset: Schema.Int, bytes: Schema.Int })
])

/** A host of a fleet that has changed. */
export const FleetHost = Schema.Struct({ host: Schema.String })

export const FleetHosts = Schema.Array(FleetHostState)

/** A result has an exit code, where it ran and for how long, or a problem. */
export const FleetJobs = Schema.Array(
  Schema.Struct({
    id: Schema.String,
    state: Schema.Literals(["waiting", "running", "ended"]),
    command: Schema.Array(Schema.String),
    source: Schema.String,
    runs: Schema.Int,
    submittedAt: Schema.DateTimeUtc,
    startedAt: Schema.optional(Schema.DateTimeUtc),
    endedAt: Schema.optional(Schema.DateTimeUtc),
    exitCode: Schema.optional(Schema.Int),
    host: Schema.optional(Schema.String),
    durationMillis: Schema.optional(Schema.Finite),
    problem: Schema.optional(Schema.String)
  })
)

export const Removed = Schema.Struct({ removed: Schema.Array(Schema.String) })

export const Volume = Microsandbox.VolumeInfo

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
