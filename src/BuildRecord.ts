/**
 * Records of builds: what each one planned, ran and wrote, and how it ended.
 *
 * Every build leaves a record in the home, so a question such as "why did this step
 * run?" can be answered afterwards and from another process. Records contain no
 * secrets of the build. The last 200 are kept, none for longer than 30 days, and
 * all of them together up to 64 MiB. Of builds that reused a result and ran
 * nothing, only the last one of each result is kept. Of an attempt of a step, the
 * first 256 KiB and the last 32 KiB of its output are kept, and of a build 4 MiB.
 *
 * A record that cannot be written is a warning, and never fails a build. The option
 * `records: false` of a driver's layer turns recording off. To remove all records,
 * remove the folder `lightbox/builds` of the home.
 *
 * **Example** (Finding out why a build took longer than the one before)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { BuildRecord } from "effect-lightbox"
 *
 * export const program = Effect.gen(function* () {
 *   const [last, previous] = yield* BuildRecord.list({ snapshot: "node-ci", limit: 2 })
 *   if (last === undefined || previous === undefined) return
 *   const comparison = BuildRecord.compare(yield* BuildRecord.get(previous.id), yield* BuildRecord.get(last.id))
 *   yield* Console.log(comparison.steps.filter(({ change }) => change !== "same"))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import { BuildEvent } from "./BuildEvent.ts"
import { BuildId, DurationFromWholeMillis, intBetween, SnapshotName } from "./internal/config/schemas.ts"
import { decoder, optionsDecoder } from "./internal/config/validation.ts"
import { placeOf } from "./internal/ownership/labels.ts"
import { compare as compareInputs } from "./internal/plan/explanation.ts"
import * as BuildSpans from "./internal/report/buildSpans.ts"
import * as Lines from "./internal/store/recordLines.ts"
import * as Records from "./internal/store/records.ts"
import { LightboxError, NotFound } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"
import { formatReason, MissReason } from "./Plan.ts"

// =============================================================================
// Models
// =============================================================================

/**
 * The state of a build.
 *
 * - `running`: its process is alive.
 * - `built`: it made a result, or pointed the name to one.
 * - `unchanged`: everything existed, and nothing changed.
 * - `failed`, `interrupted`: as its process reported.
 * - `lost`: its process ended without reporting: it was killed, or the machine
 *   stopped.
 * - `unknown`: its process is on another machine with the same home.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Status = Lines.Status

/**
 * The type of {@link Status}.
 *
 * @category models
 * @since 0.1.0
 */
export type Status = typeof Status.Type

/**
 * The program that ran a build.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Caller = Lines.Caller

/**
 * The type of {@link Caller}.
 *
 * @category models
 * @since 0.1.0
 */
export type Caller = typeof Caller.Type

const summary = {
  /** The `buildId` of its events. */
  id: Schema.String,
  /** The definition's name. */
  snapshot: Schema.String,
  image: Schema.String,
  status: Status,
  startedAt: Schema.DateTimeUtc,
  /** Absent while it runs, and if its end is not known. In JSON: `durationMillis`. */
  duration: Schema.optionalKey(DurationFromWholeMillis),
  stepsRun: Schema.Int,
  stepsReused: Schema.Int,
  /** The new generation of the name, if there is one. */
  generation: Schema.optionalKey(Schema.Int),
  /** Why it failed. */
  problem: Schema.optionalKey(Schema.String),
  /** The tag of the error's reason, such as `CommandFailed`. */
  reason: Schema.optionalKey(Schema.String),
  /** The build that needed this one, such as that of a later stage of a Dockerfile. */
  parent: Schema.optionalKey(Schema.String),
  /** The outermost build that needed this one, if that is not its parent. */
  root: Schema.optionalKey(Schema.String),
  caller: Caller,
  /** The version of this library, or `unknown` if it was in a bundle. */
  version: Schema.String
}

/**
 * A build in a list.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Summary = Schema.Struct(summary).pipe(Schema.encodeKeys({ duration: "durationMillis" }))

/**
 * The type of {@link Summary}.
 *
 * @category models
 * @since 0.1.0
 */
export type Summary = typeof Summary.Type

/**
 * What the result of a step depends on, besides the steps before it. Secrets are
 * left out.
 *
 * @category schemas
 * @since 0.1.0
 */
export const StepInputs = Lines.StepInputs

/**
 * The type of {@link StepInputs}.
 *
 * @category models
 * @since 0.1.0
 */
export type StepInputs = typeof StepInputs.Type

/**
 * What became of a step.
 *
 * - `cached`: a stored result was used.
 * - `ran`, `failed`, `running`
 * - `ended`: the build ended during the step, which did not report its own end.
 * - `taken`: another build made the result meanwhile.
 * - `pending`: the build did not come to it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Outcome = Schema.Literals(["cached", "ran", "failed", "running", "ended", "taken", "pending"])

/**
 * The type of {@link Outcome}.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = typeof Outcome.Type

/**
 * A step of a build.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Step = Schema.Struct({
  ...Lines.planned,
  outcome: Outcome,
  /** 0 if it did not run. */
  attempts: Schema.Int,
  startedAt: Schema.optionalKey(Schema.DateTimeUtc),
  /** Of all its runs together: a retry also runs the steps before it again. In JSON: `durationMillis`. */
  duration: Schema.optionalKey(DurationFromWholeMillis),
  /** The last lines that its last attempt wrote, at most 50. */
  output: Schema.Array(Schema.String),
  /** Why its last attempt failed. */
  problem: Schema.optionalKey(Schema.String)
}).pipe(Schema.encodeKeys({ duration: "durationMillis" }))

/**
 * The type of {@link Step}.
 *
 * @category models
 * @since 0.1.0
 */
export type Step = typeof Step.Type

/**
 * The record of a build.
 *
 * @category schemas
 * @since 0.1.0
 */
export const BuildRecord = Schema.Struct({
  ...summary,
  /** Digest of the base image. */
  imageDigest: Schema.optionalKey(Schema.String),
  /** The version of the way in which steps are built. */
  builderVersion: Schema.optionalKey(Schema.String),
  steps: Schema.Array(Step),
  /** Ids of the builds in other processes that it waited for. */
  followed: Schema.Array(Schema.String),
  /** Its own events, in order. Of a long output, the middle is left out. */
  events: Schema.Array(BuildEvent)
}).pipe(Schema.encodeKeys({ duration: "durationMillis" }))

/**
 * The type of {@link BuildRecord}.
 *
 * @category models
 * @since 0.1.0
 */
export type BuildRecord = typeof BuildRecord.Type

// =============================================================================
// Lines
// =============================================================================

const decodeLine = Schema.decodeOption(
  Schema.fromJsonString(Schema.toCodecJson(Schema.Union([Lines.Line, BuildEvent])))
)

const decodeEnd = Schema.decodeOption(Schema.fromJsonString(Schema.toCodecJson(Lines.End)))

type Fate = "running" | "lost" | "unknown"

const summarize = (
  { _tag, startedAt, ...head }: typeof Lines.Head.Type,
  end: typeof Lines.End.Type | undefined,
  fate: Fate,
  steps: Pick<Summary, "stepsRun" | "stepsReused">
): Summary => {
  const common = { ...head, startedAt: DateTime.makeUnsafe(startedAt) }
  if (end === undefined) return { ...common, status: fate, ...steps }
  const { _tag: _, at: __, durationMillis, ...rest } = end
  return { ...common, ...rest, duration: Duration.millis(durationMillis) }
}

/** Lines shown of the output of a step. */
const shownLines = 50

/** Reads the lines of a record. Skips those that are torn, or of another version. */
const parse = (lines: ReadonlyArray<string>, fate: Fate): BuildRecord | undefined => {
  const all = lines.flatMap((line) => Option.toArray(decodeLine(line)))
  // Nothing that is behind the end belongs to it.
  const decoded = all.slice(0, all.findIndex((line) => line._tag === "Ended") + 1 || all.length)
  const head = decoded.find((line) => line._tag === "Build")
  if (head === undefined) return undefined
  const end = decoded.find((line) => line._tag === "Ended")
  // A result that vanished, or an image that moved, is planned again.
  const plan = decoded.findLast((line) => line._tag === "Plan")
  const followed = decoded.flatMap((line) => (line._tag === "Followed" ? [line.buildId] : []))
  const events = decoded.flatMap((line) =>
    line._tag === "Build" ||
    line._tag === "Plan" ||
    line._tag === "Followed" ||
    line._tag === "Omitted" ||
    line._tag === "Ended"
      ? []
      : [line]
  )
  const steps = new Map<number, Step>()
  for (const step of plan?.steps ?? []) {
    const outcome = step.reason === undefined ? "cached" : "pending"
    steps.set(step.index, { ...step, outcome, attempts: 0, output: [] })
  }
  const change = (of: { readonly index: number; readonly description: string }, fields: Partial<Step>) => {
    const { description, index } = of
    const known = steps.get(index) ?? { index, description, outcome: "pending", attempts: 0, output: [] }
    steps.set(index, { ...known, ...fields })
  }
  /** When the current run of a step began. */
  let begun: DateTime.Utc | undefined
  const spent = (index: number, until: DateTime.Utc): Pick<Step, "duration"> => {
    const { duration = Duration.zero } = steps.get(index) ?? {}
    const run = begun === undefined ? Duration.zero : DateTime.distance(begun, until)
    begun = undefined
    return { duration: Duration.sum(duration, run) }
  }
  // The last line of each stream, if it has no end yet.
  const rest = { stdout: "", stderr: "" }
  const takeRest = (): ReadonlyArray<string> => {
    const left = Object.values(rest).filter((line) => line !== "")
    Object.assign(rest, { stdout: "", stderr: "" })
    return left
  }
  for (const line of decoded) {
    switch (line._tag) {
      case "StepCached":
        change(line, { outcome: "cached" })
        break
      case "StepStarted": {
        takeRest()
        begun = line.at
        const startedAt = steps.get(line.index)?.startedAt ?? line.at
        change(line, { outcome: "running", attempts: line.attempt, startedAt, output: [] })
        break
      }
      case "StepOutput": {
        const all = `${rest[line.stream]}${line.text}`.split("\n")
        rest[line.stream] = all.pop() ?? ""
        const output = [...(steps.get(line.index)?.output ?? []), ...all].slice(-shownLines)
        change(line, { output })
        break
      }
      case "Omitted": {
        const step = steps.get(line.index)
        if (step !== undefined) change(step, { output: [...step.output, `… (${line.length} characters left out)`] })
        break
      }
      case "StepAttemptFailed":
      case "StepFinished": {
        const output = [...(steps.get(line.index)?.output ?? []), ...takeRest()]
        change(line, {
          attempts: line.attempt,
          output: output.slice(-shownLines),
          ...spent(line.index, line.at),
          ...(line._tag === "StepFinished" ? { outcome: "ran" } : { outcome: "failed", problem: line.problem })
        })
        break
      }
    }
  }
  const isOver = end !== undefined || fate !== "running"
  const isDone = end?.status === "built" || end?.status === "unchanged"
  const ended = [...steps.values()].map((step): Step => {
    if (step.outcome === "running") {
      const output = [...step.output, ...takeRest()].slice(-shownLines)
      const until = end === undefined ? events.at(-1)?.at : DateTime.makeUnsafe(end.at)
      return isOver
        ? { ...step, output, outcome: "ended", ...(until === undefined ? {} : spent(step.index, until)) }
        : { ...step, output }
    }
    // Another build made it.
    return step.outcome === "pending" && isDone ? { ...step, outcome: "taken" } : step
  })
  return {
    ...summarize(head, end, fate, {
      stepsRun: ended.filter(({ attempts }) => attempts > 0).length,
      stepsReused: ended.filter(({ outcome }) => outcome === "cached").length
    }),
    ...(plan === undefined ? {} : { imageDigest: plan.imageDigest, builderVersion: plan.builderVersion }),
    steps: ended.toSorted((a, b) => a.index - b.index),
    followed,
    events
  }
}

// =============================================================================
// Operations
// =============================================================================

/**
 * Options of {@link list}.
 *
 * @category options
 * @since 0.1.0
 */
export interface ListOptions {
  /** Only builds of this snapshot. Default: of all. */
  readonly snapshot?: string | undefined
  /** Maximum number of builds. Default: unlimited. */
  readonly limit?: number | undefined
}

const decodeList = optionsDecoder(
  "BuildRecord.list",
  Schema.Struct({ snapshot: Schema.optional(SnapshotName), limit: Schema.optional(intBetween(1, 1_000_000)) })
)

/**
 * Reads the beginning and the end of a record, or all of one without an end.
 *
 * @internal
 * @category internals
 * @since 0.1.0
 */
export const summaryOf = Effect.fnUntraced(function* (
  method: string,
  home: string,
  entry: Records.Entry
): Effect.fn.Return<Summary | undefined, LightboxError> {
  const ends = yield* Records.read(method, home, entry, "ends")
  const [first, ...rest] = ends?.lines ?? []
  const head = Option.getOrUndefined(Lines.decodeHead(first ?? ""))
  if (head === undefined) return undefined
  const end = rest.find(Lines.isEnd)
  const decoded = end === undefined ? Option.none() : decodeEnd(end)
  if (Option.isSome(decoded)) return summarize(head, decoded.value, "lost", { stepsRun: 0, stepsReused: 0 })
  const whole = ends?.isWhole === true ? ends : yield* Records.read(method, home, entry, "all")
  const record = parse(whole?.lines ?? [], yield* Records.fateOf(home, entry.owner))
  if (record === undefined) return undefined
  return summaryIn(record)
})

/**
 * Lists recorded builds, the last one first.
 *
 * @category operations
 * @since 0.1.0
 */
export const list = Effect.fn("BuildRecord.list")(function* (
  options?: ListOptions
): Effect.fn.Return<ReadonlyArray<Summary>, LightboxError, Microsandbox.Microsandbox> {
  const method = "BuildRecord.list"
  const { limit, snapshot } = yield* decodeList(options)
  const { home } = yield* Microsandbox.Microsandbox
  const found = yield* Effect.forEach(yield* Records.entries(method, home), (entry) => summaryOf(method, home, entry), {
    concurrency: 16
  })
  return found
    .flatMap((one) => (one === undefined || (snapshot !== undefined && one.snapshot !== snapshot) ? [] : [one]))
    .toSorted(
      (a, b) =>
        DateTime.toEpochMillis(b.startedAt) - DateTime.toEpochMillis(a.startedAt) || placeOf(b.id) - placeOf(a.id)
    )
    .slice(0, limit)
})

const decodeGet = decoder(Schema.Struct({ id: BuildId }), "BuildRecord.get")

/**
 * Gets the record of a build by its id. Fails with `NotFound` if there is none,
 * because it was never recorded, or is older than what is kept.
 *
 * @category operations
 * @since 0.1.0
 */
export const get = Effect.fn("BuildRecord.get")(function* (
  id: string
): Effect.fn.Return<BuildRecord, LightboxError, Microsandbox.Microsandbox> {
  const method = "BuildRecord.get"
  const { id: wanted } = yield* decodeGet({ id })
  const { home } = yield* Microsandbox.Microsandbox
  for (const entry of yield* Records.entries(method, home)) {
    if (entry.id !== undefined && entry.id !== wanted) continue
    const part = entry.id === undefined ? "ends" : "all"
    const found = yield* Records.read(method, home, entry, part)
    if (Option.getOrUndefined(Lines.decodeHead(found?.lines[0] ?? ""))?.id !== wanted) continue
    const whole = found?.isWhole === true ? found : yield* Records.read(method, home, entry, "all")
    const record = parse(whole?.lines ?? [], yield* Records.fateOf(home, entry.owner))
    if (record !== undefined) return record
  }
  return yield* new LightboxError({ method, reason: new NotFound({ resource: "build", name: wanted }) })
})

// =============================================================================
// Comparison
// =============================================================================

/**
 * A step of one of two compared builds.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ComparedStep = Schema.Struct({
  index: Schema.Int,
  outcome: Outcome,
  attempts: Schema.Int,
  /** Why there was no stored result when that build began. */
  reason: Schema.optionalKey(MissReason),
  duration: Schema.optionalKey(DurationFromWholeMillis)
}).pipe(Schema.encodeKeys({ duration: "durationMillis" }))

/**
 * The type of {@link ComparedStep}.
 *
 * @category models
 * @since 0.1.0
 */
export type ComparedStep = typeof ComparedStep.Type

/**
 * The difference between two builds. Steps are `same` if they have the same key, and
 * so the same result.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Comparison = Schema.Struct({
  before: Summary,
  after: Summary,
  steps: Schema.Array(
    Schema.Struct({
      description: Schema.String,
      change: Schema.Literals(["same", "changed", "added", "removed"]),
      /** How a changed step differs from the one in the other build, if known. */
      why: Schema.optionalKey(MissReason),
      before: Schema.optionalKey(ComparedStep),
      after: Schema.optionalKey(ComparedStep)
    })
  )
})

/**
 * The type of {@link Comparison}.
 *
 * @category models
 * @since 0.1.0
 */
export type Comparison = typeof Comparison.Type

/** More pairs than this are matched by position. */
const maxPairs = 1_000_000

/** Matches steps: those with the same description in the same order, and between them by position. */
const align = (
  before: ReadonlyArray<Step>,
  after: ReadonlyArray<Step>
): ReadonlyArray<readonly [before: Step | undefined, after: Step | undefined]> => {
  const isLike = (a: Step | undefined, b: Step | undefined) => a?.kind === b?.kind && a?.description === b?.description
  const width = after.length + 1
  const isLarge = (before.length + 1) * width > maxPairs
  // The length of the longest common sequence of what follows.
  const common = new Uint32Array(isLarge ? 0 : (before.length + 1) * width)
  for (let i = isLarge ? -1 : before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      common[i * width + j] = isLike(before[i], after[j])
        ? 1 + (common[(i + 1) * width + j + 1] ?? 0)
        : Math.max(common[(i + 1) * width + j] ?? 0, common[i * width + j + 1] ?? 0)
    }
  }
  const pairs: Array<readonly [Step | undefined, Step | undefined]> = []
  let [left, right]: [Array<Step>, Array<Step>] = [[], []]
  const close = () => {
    for (let at = 0; at < Math.max(left.length, right.length); at++) pairs.push([left[at], right[at]])
    left = []
    right = []
  }
  let [i, j] = [0, 0]
  for (;;) {
    const [a, b] = [before[i], after[j]]
    if (a === undefined && b === undefined) break
    if (a !== undefined && b !== undefined && isLike(a, b)) {
      close()
      pairs.push([a, b])
      i++
      j++
    } else if (
      b === undefined ||
      (a !== undefined && (common[(i + 1) * width + j] ?? 0) >= (common[i * width + j + 1] ?? 0))
    ) {
      if (a !== undefined) left.push(a)
      i++
    } else {
      right.push(b)
      j++
    }
  }
  close()
  return pairs
}

/** Why two steps in the same place have different results, apart from the steps before. */
const whyOf = (before: Step, after: Step): MissReason | undefined => {
  if (after.reason?._tag === "Forced") return after.reason
  const { inputs: was, kind: wasKind = "" } = before
  const { inputs: now, kind = "" } = after
  if (was === undefined || now === undefined) return undefined
  const hasFiles = (was.files === undefined) === (now.files === undefined)
  return (
    compareInputs(
      { kind: wasKind, ...was, files: hasFiles ? (was.files ?? {}) : {} },
      { kind, ...now, files: hasFiles ? (now.files ?? {}) : {} }
    ) ?? (hasFiles ? undefined : { _tag: "FilesChanged", files: [] })
  )
}

/**
 * Compares two builds: which steps differ, why, and how long each took.
 *
 * Steps are matched by their descriptions. What is said about why they differ is
 * found in the records themselves, so the builds can be of any time, and of
 * different snapshots.
 *
 * @category comparison
 * @since 0.1.0
 */
export const compare = (before: BuildRecord, after: BuildRecord): Comparison => {
  const base: MissReason | undefined =
    before.builderVersion !== undefined &&
    after.builderVersion !== undefined &&
    before.builderVersion !== after.builderVersion
      ? { _tag: "BuilderChanged", was: before.builderVersion, now: after.builderVersion }
      : before.imageDigest !== undefined && after.imageDigest !== undefined && before.imageDigest !== after.imageDigest
        ? { _tag: "BaseChanged", was: before.imageDigest, now: after.imageDigest }
        : undefined
  let first: number | undefined
  const steps = align(before.steps, after.steps).map(([a, b]): Comparison["steps"][number] => {
    const common = {
      description: b?.description ?? a?.description ?? "",
      ...(a === undefined ? {} : { before: comparedStep(a) }),
      ...(b === undefined ? {} : { after: comparedStep(b) })
    }
    if (a === undefined || b === undefined) {
      first ??= b?.index ?? a?.index
      return { ...common, change: a === undefined ? "added" : "removed" }
    }
    if (a.key === b.key && (a.key !== undefined || a.description === b.description)) {
      return { ...common, change: "same" }
    }
    const why =
      first === undefined && base !== undefined
        ? base
        : (whyOf(a, b) ??
          (first !== undefined
            ? { _tag: "EarlierChanged" as const, index: first }
            : // Too many to be recorded.
              b.kind === "Copy" || b.kind === "Add"
              ? { _tag: "FilesChanged" as const, files: [] }
              : undefined))
    first ??= b.index
    return { ...common, change: "changed", ...(why === undefined ? {} : { why }) }
  })
  return { before: summaryIn(before), after: summaryIn(after), steps }
}

const comparedStep = ({ attempts, duration, index, outcome, reason }: Step): ComparedStep => ({
  index,
  outcome,
  attempts,
  ...(reason === undefined ? {} : { reason }),
  ...(duration === undefined ? {} : { duration })
})

const summaryIn = (record: BuildRecord): Summary =>
  Struct.omit(record, ["builderVersion", "events", "followed", "imageDigest", "steps"])

// =============================================================================
// Exports
// =============================================================================

const Arguments = Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Finite, Schema.Boolean]))

/**
 * A trace in the format of Chrome's trace viewer, which Perfetto reads as well.
 * Times are in microseconds.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Trace = Schema.Struct({
  displayTimeUnit: Schema.Literal("ms"),
  traceEvents: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      cat: Schema.optionalKey(Schema.String),
      /** `X`: a span; `i`: an instant; `M`: a name. */
      ph: Schema.Literals(["X", "i", "M"]),
      ts: Schema.Finite,
      dur: Schema.optionalKey(Schema.Finite),
      pid: Schema.Int,
      tid: Schema.Int,
      s: Schema.optionalKey(Schema.Literal("t")),
      args: Arguments
    })
  )
})

/**
 * The type of {@link Trace}.
 *
 * @category models
 * @since 0.1.0
 */
export type Trace = typeof Trace.Type

const Attributes = Schema.Array(
  Schema.Struct({
    key: Schema.String,
    value: Schema.Union([
      Schema.Struct({ stringValue: Schema.String }),
      Schema.Struct({ boolValue: Schema.Boolean }),
      Schema.Struct({ intValue: Schema.String })
    ])
  })
)

/**
 * Spans in the JSON encoding of OTLP: the body of a request to `/v1/traces` of a
 * collector.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Spans = Schema.Struct({
  resourceSpans: Schema.Array(
    Schema.Struct({
      resource: Schema.Struct({ attributes: Attributes }),
      scopeSpans: Schema.Array(
        Schema.Struct({
          scope: Schema.Struct({ name: Schema.String, version: Schema.String }),
          spans: Schema.Array(
            Schema.Struct({
              traceId: Schema.String,
              spanId: Schema.String,
              parentSpanId: Schema.optionalKey(Schema.String),
              name: Schema.String,
              kind: Schema.Int,
              startTimeUnixNano: Schema.String,
              endTimeUnixNano: Schema.String,
              attributes: Attributes,
              events: Schema.Array(
                Schema.Struct({ timeUnixNano: Schema.String, name: Schema.String, attributes: Attributes })
              ),
              status: Schema.Struct({ code: Schema.Int, message: Schema.optionalKey(Schema.String) })
            })
          )
        })
      )
    })
  )
})

/**
 * The type of {@link Spans}.
 *
 * @category models
 * @since 0.1.0
 */
export type Spans = typeof Spans.Type

/**
 * Converts a record to a trace that Perfetto and Chrome's trace viewer show: the
 * build with its waits, pulls, boots, attempts of steps and saved results. Output is
 * left out.
 *
 * @category exports
 * @since 0.1.0
 */
export const toTrace = (record: BuildRecord): Trace => BuildSpans.toTrace(record, formatReason)

/**
 * Converts a record to spans for a collector of OpenTelemetry. Ids are derived from
 * the build, so an export can be repeated. Output is left out.
 *
 * **Example** (Sending a build to a collector)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { BuildRecord } from "effect-lightbox"
 *
 * const encode = Schema.encodeSync(Schema.fromJsonString(BuildRecord.Spans))
 *
 * export const send = (record: BuildRecord.BuildRecord) =>
 *   Effect.tryPromise(() =>
 *     fetch("http://127.0.0.1:4318/v1/traces", {
 *       method: "POST",
 *       headers: { "content-type": "application/json" },
 *       body: encode(BuildRecord.toOtlp(record))
 *     })
 *   )
 * ```
 *
 * @category exports
 * @since 0.1.0
 */
export const toOtlp = (record: BuildRecord): Spans => BuildSpans.toOtlp(record, formatReason)
