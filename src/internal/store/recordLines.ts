/** The lines of a record of a build, besides its events. */
import * as Schema from "effect/Schema"
import { MissReason } from "../../Plan.ts"

export const Status = Schema.Literals(["running", "built", "unchanged", "failed", "interrupted", "lost", "unknown"])

export const Caller = Schema.Struct({
  /** The script, relative to its working directory. */
  program: Schema.String,
  pid: Schema.Int,
  /** The file and line that declared the snapshot. */
  declaredAt: Schema.optionalKey(Schema.String)
})

export const StepInputs = Schema.Struct({
  /** JSON of the step's arguments. */
  arguments: Schema.String,
  environment: Schema.Record(Schema.String, Schema.String),
  /** Kind, mode, size and digest of copied files by path. Left out if there are more than 200. */
  files: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
})

/** What is known of a step before it runs. */
export const planned = {
  /** From 1. */
  index: Schema.Int,
  description: Schema.String,
  kind: Schema.optionalKey(Schema.String),
  /** The file and line that declared it. */
  declaredAt: Schema.optionalKey(Schema.String),
  /** Identifies the result. */
  key: Schema.optionalKey(Schema.String),
  /** Why there was no stored result when the build began. */
  reason: Schema.optionalKey(MissReason),
  inputs: Schema.optionalKey(StepInputs)
}

/** The first line. */
export const Head = Schema.TaggedStruct("Build", {
  id: Schema.String,
  snapshot: Schema.String,
  image: Schema.String,
  /** Milliseconds since 1970. */
  startedAt: Schema.Finite,
  caller: Caller,
  version: Schema.String,
  parent: Schema.optionalKey(Schema.String),
  root: Schema.optionalKey(Schema.String)
})

export const decodeHead = Schema.decodeOption(Schema.fromJsonString(Schema.toCodecJson(Head)))

/** The last line. */
export const End = Schema.TaggedStruct("Ended", {
  /** Milliseconds since 1970. */
  at: Schema.Finite,
  durationMillis: Schema.Finite,
  status: Status,
  stepsRun: Schema.Int,
  stepsReused: Schema.Int,
  generation: Schema.optionalKey(Schema.Int),
  problem: Schema.optionalKey(Schema.String),
  reason: Schema.optionalKey(Schema.String)
})

/** Whether a line is the last one of a build that has ended. */
export const isEnd = (line: string): boolean => line.startsWith('{"_tag":"Ended"')

export const Line = Schema.Union([
  Head,
  Schema.TaggedStruct("Plan", {
    imageDigest: Schema.String,
    key: Schema.String,
    builderVersion: Schema.String,
    steps: Schema.Array(Schema.Struct(planned))
  }),
  Schema.TaggedStruct("Followed", { buildId: Schema.String }),
  /** So many characters of output are left out before the lines that follow. */
  Schema.TaggedStruct("Omitted", { index: Schema.Int, length: Schema.Int }),
  End
])

export type Line = typeof Line.Type
