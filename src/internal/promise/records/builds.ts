/** Records of builds for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off globalDate:off
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as BuildEvents from "../../../BuildEvent.ts"
import * as Records from "../../../BuildRecord.ts"
import type { BuildEvent } from "../../../promise.ts"
import { BuildId, intBetween, optionsStruct, SnapshotName } from "../../config/schemas.ts"
import { invalid } from "../../config/validation.ts"
import { callFields, checked, None } from "../input.ts"
import type { CallOptions } from "../options.ts"
import { run, runNow } from "../runtime.ts"
import { type MissReason, reasonOf } from "../store.ts"

/**
 * What became of a build. `lost`: its process ended without reporting, because it was killed or the machine stopped.
 * `unknown`: its process is on another machine with the same home.
 *
 * @category models
 * @since 0.1.0
 */
export type BuildStatus = "running" | "built" | "unchanged" | "failed" | "interrupted" | "lost" | "unknown"

/**
 * A build in a list.
 *
 * @category models
 * @since 0.1.0
 */
export interface BuildSummary {
  /** The `buildId` of its events. */
  readonly id: string
  readonly snapshot: string
  readonly imageRef: string
  readonly status: BuildStatus
  readonly startedAt: Date
  /** Undefined while it runs, and if its end is not known. */
  readonly durationMillis?: number
  readonly stepsRun: number
  readonly stepsReused: number
  /** The new generation of the name, if there is one. */
  readonly generation?: number
  /** Why it failed. */
  readonly problem?: string
  /** The tag of the error's reason, such as `CommandFailed`. */
  readonly reason?: string
  /** The build that needed this one, such as that of a later stage of a Dockerfile. */
  readonly parent?: string
  /** The outermost build that needed this one, if that is not its parent. */
  readonly root?: string
  /** The program that ran it, and the file and line that declared the snapshot. */
  readonly caller: { readonly program: string; readonly pid: number; readonly declaredAt?: string }
  /** The version of this library, or `unknown` if it was in a bundle. */
  readonly version: string
}

/**
 * What became of a step. `ended`: the build ended during it. `taken`: another build made the result meanwhile.
 * `pending`: the build did not come to it.
 *
 * @category models
 * @since 0.1.0
 */
export type StepOutcome = "cached" | "ran" | "failed" | "running" | "ended" | "taken" | "pending"

/**
 * A step of a recorded build, counted from 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecordedStep {
  readonly index: number
  readonly description: string
  readonly kind?: string
  /** File and line that declare the step. */
  readonly declaredAt?: string
  /** Identifies the result. */
  readonly key?: string
  /** Why there was no stored result when the build began. */
  readonly reason?: MissReason
  readonly outcome: StepOutcome
  /** 0 if it did not run. */
  readonly attempts: number
  readonly startedAt?: Date
  /** Of all its runs together. */
  readonly durationMillis?: number
  /** The last lines that its last attempt wrote, at most 50. */
  readonly output: ReadonlyArray<string>
  /** Why its last attempt failed. */
  readonly problem?: string
}

/**
 * A step of one of two compared builds.
 *
 * @category models
 * @since 0.1.0
 */
export type ComparedStep = Pick<RecordedStep, "index" | "outcome" | "attempts" | "reason" | "durationMillis">

/**
 * The difference between two builds. Steps are `same` if they have the same key, and so the same result.
 *
 * @category models
 * @since 0.1.0
 */
export interface BuildComparison {
  readonly before: BuildSummary
  readonly after: BuildSummary
  readonly steps: ReadonlyArray<{
    readonly description: string
    readonly change: "same" | "changed" | "added" | "removed"
    /** How a changed step differs from the one in the other build, if known. */
    readonly why?: MissReason
    readonly before?: ComparedStep
    readonly after?: ComparedStep
  }>
}

/**
 * A trace in the format of Chrome's trace viewer, which Perfetto reads as well. Times are in microseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface BuildTrace {
  readonly displayTimeUnit: "ms"
  readonly traceEvents: ReadonlyArray<{
    readonly name: string
    readonly cat?: string
    /** `X`: a span; `i`: an instant; `M`: a name. */
    readonly ph: "X" | "i" | "M"
    readonly ts: number
    readonly dur?: number
    readonly pid: number
    readonly tid: number
    readonly s?: "t"
    readonly args: { readonly [name: string]: string | number | boolean }
  }>
}

/**
 * Attributes in the JSON encoding of OTLP.
 *
 * @category models
 * @since 0.1.0
 */
export type SpanAttributes = ReadonlyArray<{
  readonly key: string
  readonly value: { readonly stringValue: string } | { readonly boolValue: boolean } | { readonly intValue: string }
}>

/**
 * Spans in the JSON encoding of OTLP: the body of a request to `/v1/traces` of a collector.
 *
 * @category models
 * @since 0.1.0
 */
export interface BuildSpans {
  readonly resourceSpans: ReadonlyArray<{
    readonly resource: { readonly attributes: SpanAttributes }
    readonly scopeSpans: ReadonlyArray<{
      readonly scope: { readonly name: string; readonly version: string }
      readonly spans: ReadonlyArray<{
        readonly traceId: string
        readonly spanId: string
        readonly parentSpanId?: string
        readonly name: string
        readonly kind: number
        readonly startTimeUnixNano: string
        readonly endTimeUnixNano: string
        readonly attributes: SpanAttributes
        readonly events: ReadonlyArray<{
          readonly timeUnixNano: string
          readonly name: string
          readonly attributes: SpanAttributes
        }>
        readonly status: { readonly code: number; readonly message?: string }
      }>
    }>
  }>
}

const millisOf = ({ duration }: { readonly duration?: Duration.Duration }): { readonly durationMillis?: number } =>
  duration === undefined ? {} : { durationMillis: Duration.toMillis(duration) }

const missOf = ({ reason }: { readonly reason?: Records.Step["reason"] }): { readonly reason?: MissReason } =>
  reason === undefined ? {} : { reason: reasonOf(reason) }

const summaryOf = ({ duration, image, startedAt, ...summary }: Records.Summary): BuildSummary => ({
  ...summary,
  imageRef: image,
  startedAt: DateTime.toDateUtc(startedAt),
  ...millisOf(duration === undefined ? {} : { duration })
})

const encodeEvent = Schema.encodeSync(BuildEvents.BuildEvent)

/**
 * The record of a build: its steps, their reasons and output, and its events.
 *
 * @category models
 * @since 0.1.0
 */
export class BuildRecord implements BuildSummary {
  readonly id: string
  readonly snapshot: string
  readonly imageRef: string
  readonly status: BuildStatus
  readonly startedAt: Date
  readonly durationMillis?: number
  readonly stepsRun: number
  readonly stepsReused: number
  readonly generation?: number
  readonly problem?: string
  readonly reason?: string
  readonly parent?: string
  readonly root?: string
  readonly caller: BuildSummary["caller"]
  readonly version: string
  readonly steps: ReadonlyArray<RecordedStep>
  /** Ids of the builds in other processes that it waited for. */
  readonly followed: ReadonlyArray<string>
  /** Its own events, in order. Of a long output, the middle is left out. */
  readonly events: ReadonlyArray<BuildEvent>
  readonly #record: Records.BuildRecord

  /** @internal */
  constructor(record: Records.BuildRecord) {
    const { builderVersion: _, events, followed, imageDigest: __, steps, ...rest } = record
    const summary = summaryOf(rest)
    this.id = summary.id
    this.snapshot = summary.snapshot
    this.imageRef = summary.imageRef
    this.status = summary.status
    this.startedAt = summary.startedAt
    if (summary.durationMillis !== undefined) this.durationMillis = summary.durationMillis
    this.stepsRun = summary.stepsRun
    this.stepsReused = summary.stepsReused
    if (summary.generation !== undefined) this.generation = summary.generation
    if (summary.problem !== undefined) this.problem = summary.problem
    if (summary.reason !== undefined) this.reason = summary.reason
    if (summary.parent !== undefined) this.parent = summary.parent
    if (summary.root !== undefined) this.root = summary.root
    this.caller = summary.caller
    this.version = summary.version
    this.steps = steps.map(({ duration, inputs: ___, reason, startedAt, ...step }) => ({
      ...step,
      ...missOf(reason === undefined ? {} : { reason }),
      ...(startedAt === undefined ? {} : { startedAt: DateTime.toDateUtc(startedAt) }),
      ...millisOf(duration === undefined ? {} : { duration })
    }))
    this.followed = followed
    this.events = events.map((event) => encodeEvent(event))
    this.#record = record
  }

  /** Compares this build with a later one: which steps differ, why, and how long each took. */
  compareTo(after: BuildRecord): BuildComparison {
    if (!Predicate.isObject(after) || !(#record in after)) {
      return runNow(Effect.fail(invalid("BuildRecord.compareTo", "after", "expected a record that getBuild returned")))
    }
    const comparison = Records.compare(this.#record, after.#record)
    return {
      before: summaryOf(comparison.before),
      after: summaryOf(comparison.after),
      steps: comparison.steps.map(({ after, before, why, ...step }) => ({
        ...step,
        ...(why === undefined ? {} : { why: reasonOf(why) }),
        ...(before === undefined ? {} : { before: comparedStep(before) }),
        ...(after === undefined ? {} : { after: comparedStep(after) })
      }))
    }
  }
  /** Converts the record to a trace for Perfetto and Chrome's trace viewer. Output is left out. */
  toTrace(): BuildTrace {
    return Records.toTrace(this.#record)
  }
  /** Converts the record to spans for a collector of OpenTelemetry. Output is left out. */
  toOtlp(): BuildSpans {
    return Records.toOtlp(this.#record)
  }
}

const comparedStep = ({ duration, reason, ...step }: Records.ComparedStep): ComparedStep => ({
  ...step,
  ...missOf(reason === undefined ? {} : { reason }),
  ...millisOf(duration === undefined ? {} : { duration })
})

/**
 * Options of {@link listBuilds}.
 *
 * @category options
 * @since 0.1.0
 */
export interface ListBuildsOptions extends CallOptions {
  /** Only builds of this snapshot. Default: of all. */
  readonly snapshot?: string | undefined
  /** Maximum number of builds. Default: unlimited. */
  readonly limit?: number | undefined
}

const decodeList = checked(
  "listBuilds",
  None,
  optionsStruct<ListBuildsOptions>()({
    ...callFields,
    snapshot: Schema.optional(SnapshotName),
    limit: Schema.optional(intBetween(1, 1_000_000))
  })
)

/**
 * Lists the recorded builds of this machine, the last one first. The last 200 are kept, for up to 30 days and 64 MiB; of
 * builds that reused a result and ran nothing, only the last one of each result. `configure({ records: false })` turns
 * recording off.
 *
 * **Example** (See what the last build of a snapshot ran, and why)
 *
 * ```ts
 * import { getBuild, listBuilds } from "effect-lightbox/promise"
 *
 * const [last] = await listBuilds({ snapshot: "node-ci", limit: 1 })
 * if (last !== undefined) {
 *   for (const { description, outcome, reason } of (await getBuild(last.id)).steps) {
 *     console.log(outcome, description, reason?._tag)
 *   }
 * }
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const listBuilds = async (options?: ListBuildsOptions): Promise<Array<BuildSummary>> => {
  const { limit, signal, snapshot } = decodeList({}, options)
  return (await run(Records.list({ snapshot, limit }), signal)).map(summaryOf)
}

const decodeGet = checked("getBuild", Schema.Struct({ id: BuildId }), Schema.Struct(callFields))

/**
 * Gets the record of a build by its id. Rejects with `NotFound` if there is none, because it was never recorded, or is
 * older than what is kept.
 *
 * @category operations
 * @since 0.1.0
 */
export const getBuild = async (id: string, options?: CallOptions): Promise<BuildRecord> => {
  const { id: wanted, signal } = decodeGet({ id }, options)
  return new BuildRecord(await run(Records.get(wanted), signal))
}
