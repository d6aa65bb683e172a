/**
 * What the page and its server say to each other: RPC over one WebSocket. Times are milliseconds since 1970, durations are
 * milliseconds and sizes are bytes, so that the page needs no schemas: it has only their types.
 */
import * as Rpc from "effect/rpc/Rpc"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import * as BuildRecord from "../../BuildRecord.ts"
import * as Cleanup from "../../Cleanup.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import { intBetween } from "../config/schemas.ts"
import { FleetHost } from "../directory/models.ts"

// =============================================================================
// Limits
// =============================================================================

/** Rows in a change. */
export const maxRows = 200

/** Characters in a piece of output. */
export const maxPiece = 32 * 1024

/** Entries of a log that a page begins with. */
export const logTail = 5000

/** Entries of a folder that are listed. */
export const maxEntries = 5000

/** Bytes of a file that are shown. */
export const maxFileBytes = 256 * 1024

/** Bytes of a message of the page. */
export const maxMessageBytes = 256 * 1024

/** Characters that are typed at once: a pasted text is sent in parts. */
export const maxInput = 16 * 1024

// =============================================================================
// Models
// =============================================================================

/** Why something could not be done. */
export const Problem = Schema.Struct({
  problem: Schema.String,
  /** The tag of the error's reason. */
  reason: Schema.String,
  hint: Schema.optionalKey(Schema.String)
})

export type Problem = typeof Problem.Type

export const Sandbox = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  status: Microsandbox.SandboxStatus,
  image: Schema.optionalKey(Schema.String),
  cpus: Schema.Finite,
  memory: Schema.Finite,
  ports: Schema.Array(Microsandbox.PublishedPort),
  volumes: Schema.Array(Schema.String),
  /** The snapshot that it was launched from. */
  snapshot: Schema.optionalKey(Schema.String),
  /** Those of the program that launched it. */
  labels: Schema.Record(Schema.String, Schema.String),
  cwd: Schema.optionalKey(Schema.String),
  shell: Schema.String,
  createdAt: Schema.optionalKey(Schema.Finite)
})

export type Sandbox = typeof Sandbox.Type

const ended = {
  /** Of the record. */
  id: Schema.String,
  name: Schema.String,
  status: Microsandbox.SandboxStatus,
  image: Schema.optionalKey(Schema.String),
  snapshot: Schema.optionalKey(Schema.String),
  /** Why it was removed, in words. */
  reason: Schema.String,
  createdAt: Schema.optionalKey(Schema.Finite),
  endedAt: Schema.Finite,
  /** The program that removed it. */
  program: Schema.String,
  pid: Schema.Int
}

/** A sandbox that was removed. */
export const Ended = Schema.Struct(ended)

export type Ended = typeof Ended.Type

export const EndedDetail = Schema.Struct({
  ...ended,
  /** The last lines of its commands, and of its system log. */
  output: Schema.Array(Schema.String),
  system: Schema.Array(Schema.String)
})

export type EndedDetail = typeof EndedDetail.Type

export const Usage = Schema.Struct({
  ...Struct.omit(Microsandbox.Metrics.fields, ["rootDiskUsed", "timestamp", "uptime"]),
  id: Schema.String,
  rootDiskUsed: Schema.optionalKey(Schema.Finite),
  uptime: Schema.Finite
})

export type Usage = typeof Usage.Type

const build = {
  id: Schema.String,
  snapshot: Schema.String,
  image: Schema.String,
  status: BuildRecord.Status,
  startedAt: Schema.Finite,
  duration: Schema.optionalKey(Schema.Finite),
  stepsRun: Schema.Int,
  stepsReused: Schema.Int,
  generation: Schema.optionalKey(Schema.Int),
  problem: Schema.optionalKey(Schema.String),
  program: Schema.String,
  pid: Schema.Int,
  declaredAt: Schema.optionalKey(Schema.String),
  parent: Schema.optionalKey(Schema.String)
}

export const Build = Schema.Struct(build)

export type Build = typeof Build.Type

export const Step = Schema.Struct({
  index: Schema.Int,
  description: Schema.String,
  kind: Schema.optionalKey(Schema.String),
  declaredAt: Schema.optionalKey(Schema.String),
  /** Why there was no stored result. */
  reason: Schema.optionalKey(Schema.String),
  outcome: BuildRecord.Outcome,
  attempts: Schema.Int,
  startedAt: Schema.optionalKey(Schema.Finite),
  duration: Schema.optionalKey(Schema.Finite),
  problem: Schema.optionalKey(Schema.String)
})

export type Step = typeof Step.Type

/** Something in a build that took time. */
export const Span = Schema.Struct({
  kind: Schema.Literals(["wait", "pull", "boot", "step", "checkpoint"]),
  name: Schema.String,
  start: Schema.Finite,
  end: Schema.Finite,
  /** Of a step. */
  index: Schema.optionalKey(Schema.Int),
  attempt: Schema.optionalKey(Schema.Int),
  isFailed: Schema.Boolean
})

export type Span = typeof Span.Type

export const BuildDetail = Schema.Struct({
  ...build,
  imageDigest: Schema.optionalKey(Schema.String),
  /** Ids of builds in other processes that it waited for. */
  followed: Schema.Array(Schema.String),
  steps: Schema.Array(Step),
  spans: Schema.Array(Span)
})

export type BuildDetail = typeof BuildDetail.Type

/** A piece of the output of a step. */
export const Output = Schema.Struct({
  attempt: Schema.Int,
  /** `gap`: output before the next piece was not recorded. */
  source: Schema.Literals(["stdout", "stderr", "gap"]),
  text: Schema.String
})

export type Output = typeof Output.Type

export const LogEntry = Schema.Struct({
  at: Schema.Finite,
  source: Microsandbox.LogEntry.fields.source,
  text: Schema.String
})

export type LogEntry = typeof LogEntry.Type

export const Job = Schema.Struct({
  id: Schema.String,
  argv: Schema.Array(Schema.String),
  terminal: Schema.Boolean,
  startedAt: Schema.Finite,
  /** In words. */
  status: Schema.String,
  state: Schema.Literals(["running", "succeeded", "failed"])
})

export type Job = typeof Job.Type

export const Entry = Schema.Struct({
  name: Schema.String,
  type: Schema.String,
  size: Schema.Finite,
  mode: Schema.Int,
  uid: Schema.Int,
  gid: Schema.Int,
  mtime: Schema.optionalKey(Schema.Finite)
})

export type Entry = typeof Entry.Type

export const Generation = Schema.Struct({
  generation: Schema.Int,
  key: Schema.String,
  createdAt: Schema.Finite,
  isCurrent: Schema.Boolean,
  image: Schema.optionalKey(Schema.String),
  steps: Schema.Array(Schema.String)
})

export const SnapshotName = Schema.Struct({
  name: Schema.String,
  image: Schema.String,
  generation: Schema.optionalKey(Schema.Int),
  size: Schema.optionalKey(Schema.Finite),
  allocated: Schema.optionalKey(Schema.Finite),
  labels: Schema.Record(Schema.String, Schema.String),
  createdAt: Schema.Finite,
  generations: Schema.Array(Generation)
})

export type SnapshotName = typeof SnapshotName.Type

/** What a prune would do with a result. */
export const Verdict = Schema.Struct({
  ...Struct.omit(Cleanup.Verdict.fields, ["resource", "createdAt", "usedAt"]),
  usedAt: Schema.optionalKey(Schema.Finite)
})

export type Verdict = typeof Verdict.Type

export const Snapshots = Schema.Struct({
  names: Schema.Array(SnapshotName),
  verdicts: Schema.Array(Verdict),
  freedBytes: Schema.Finite
})

export type Snapshots = typeof Snapshots.Type

export const Volume = Schema.Struct({
  name: Schema.String,
  kind: Microsandbox.VolumeInfo.fields.kind,
  quota: Schema.optionalKey(Schema.Finite),
  path: Schema.String,
  labels: Schema.Record(Schema.String, Schema.String),
  createdAt: Schema.optionalKey(Schema.Finite)
})

export type Volume = typeof Volume.Type

/** A host of a fleet. */
export const Host = FleetHost

export type Host = typeof Host.Type

export const Finding = Schema.Struct({
  topic: Schema.String,
  status: Schema.Literals(["ok", "warning", "problem"]),
  found: Schema.String,
  remedy: Schema.optionalKey(Schema.String)
})

export type Finding = typeof Finding.Type

// =============================================================================
// Changes
// =============================================================================

/** What has changed since the page was told last. */
export const Change = Schema.Union([
  Schema.TaggedStruct("Hello", {
    home: Schema.String,
    backend: Schema.String,
    version: Schema.String,
    /** The machine of the server, if sandboxes run on others. */
    machine: Schema.optionalKey(Schema.String),
    can: Schema.Struct({
      logs: Schema.Boolean,
      snapshots: Schema.Boolean,
      volumes: Schema.Boolean
    })
  }),
  Schema.TaggedStruct("Sandboxes", { changed: Schema.Array(Sandbox), removed: Schema.Array(Schema.String) }),
  /** `removed`: they are not measured any more. */
  Schema.TaggedStruct("Usages", { usages: Schema.Array(Usage), removed: Schema.Array(Schema.String) }),
  Schema.TaggedStruct("Builds", { changed: Schema.Array(Build), removed: Schema.Array(Schema.String) }),
  /** Both lists are complete once. */
  Schema.TaggedStruct("Ready", {}),
  /** A list cannot be read for now. */
  Schema.TaggedStruct("Trouble", { of: Schema.Literals(["sandboxes", "builds"]), problem: Schema.String }),
  /** It can be read again. */
  Schema.TaggedStruct("Recovered", { of: Schema.Literals(["sandboxes", "builds"]) })
])

export type Change = typeof Change.Type

// =============================================================================
// Operations
// =============================================================================

const error = Problem

const name = Schema.String

/** Chosen by the page, and not to be guessed by another one. */
const TerminalId = Schema.String.check(Schema.isBetweenLength(16, 64))

const size = { rows: intBetween(1, 1000), columns: intBetween(1, 1000) }

export const operations = RpcGroup.make(
  Rpc.make("watch", { success: Change, stream: true }),
  // Builds.
  Rpc.make("build", { payload: { id: Schema.String }, success: BuildDetail, error, stream: true }),
  Rpc.make("buildLog", {
    payload: { id: Schema.String, index: Schema.Int },
    success: Output,
    error,
    stream: true
  }),
  // Sandboxes.
  Rpc.make("logs", { payload: { name, system: Schema.Boolean }, success: Schema.Array(LogEntry), error, stream: true }),
  Rpc.make("jobs", { payload: { name }, success: Schema.Array(Job), error, stream: true }),
  Rpc.make("jobLog", { payload: { name, id: Schema.String }, success: Schema.String, error, stream: true }),
  Rpc.make("files", {
    payload: { name, path: Schema.String },
    success: Schema.Struct({ entries: Schema.Array(Entry), isComplete: Schema.Boolean }),
    error
  }),
  Rpc.make("file", {
    payload: { name, path: Schema.String },
    success: Schema.Struct({
      /** Of a link to a folder: the folder. */
      folder: Schema.optionalKey(Schema.String),
      text: Schema.String,
      isText: Schema.Boolean,
      isComplete: Schema.Boolean
    }),
    error
  }),
  /** Forwards a port of the guest to a free port of this host while the page reads. */
  Rpc.make("forward", {
    payload: { name, port: intBetween(1, 65_535) },
    success: Schema.Struct({ url: Schema.String }),
    error,
    stream: true
  }),
  /** Runs a shell while the page reads what it writes, which is in base64. */
  Rpc.make("terminal", {
    payload: { name, id: TerminalId, ...size },
    success: Schema.String,
    error,
    stream: true
  }),
  Rpc.make("type", {
    payload: { id: TerminalId, text: Schema.String.check(Schema.isMaxLength(maxInput)) },
    error
  }),
  Rpc.make("resize", { payload: { id: TerminalId, ...size }, error }),
  Rpc.make("stop", { payload: { name, id: Schema.String }, error }),
  // Sandboxes that have ended.
  Rpc.make("ended", {
    payload: { name: Schema.optionalKey(Schema.NonEmptyString) },
    success: Schema.Array(Ended),
    error
  }),
  Rpc.make("endedDetail", { payload: { id: Schema.String }, success: EndedDetail, error }),
  // The rest.
  Rpc.make("snapshots", {
    payload: {
      keep: Schema.optionalKey(intBetween(1, 1_000_000)),
      /** Days. */
      olderThan: Schema.optionalKey(intBetween(0, 36_500))
    },
    success: Snapshots,
    error
  }),
  Rpc.make("hosts", { success: Schema.Array(Host), error }),
  Rpc.make("volumes", { success: Schema.Array(Volume), error }),
  Rpc.make("volumeUsage", { payload: { name }, success: Schema.Finite, error }),
  Rpc.make("doctor", { success: Schema.Array(Finding), error })
)
