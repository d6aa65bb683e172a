/** Reads the records of builds for a page, and follows those that run. */
import * as Cache from "effect/Cache"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs/promises"
import * as BuildRecord from "../../BuildRecord.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Plan from "../../Plan.ts"
import { unlessMissing } from "../host/durable.ts"
import * as BuildSpans from "../report/buildSpans.ts"
import * as Records from "../store/records.ts"
import { Interval } from "./changes.ts"
import * as Protocol from "./protocol.ts"

export interface Builds {
  /** Lists recorded builds, the last one first. */
  readonly list: Effect.Effect<ReadonlyArray<Protocol.Build>, LightboxError>
  /** Streams a build as it changes, until it has ended. */
  readonly follow: (id: string) => Stream.Stream<Protocol.BuildDetail, LightboxError>
  /** Streams the output of a step, until the build has ended. */
  readonly log: (id: string, index: number) => Stream.Stream<Protocol.Output, LightboxError>
}

const method = "Page.serve"

/** Records that are read at once. */
const concurrency = 16

/** Records that are kept after they were read, for pages that show several parts of one. */
const capacity = 4

const buildOf = ({ caller, duration, startedAt, ...record }: BuildRecord.Summary): Protocol.Build => {
  const { generation, id, image, parent, problem, snapshot, status, stepsReused, stepsRun } = record
  return {
    id,
    snapshot,
    image,
    status,
    stepsRun,
    stepsReused,
    startedAt: DateTime.toEpochMillis(startedAt),
    program: caller.program,
    pid: caller.pid,
    ...(caller.declaredAt === undefined ? {} : { declaredAt: caller.declaredAt }),
    ...(duration === undefined ? {} : { duration: Duration.toMillis(duration) }),
    ...(generation === undefined ? {} : { generation }),
    ...(problem === undefined ? {} : { problem }),
    ...(parent === undefined ? {} : { parent })
  }
}

const stepOf = (step: BuildRecord.Step): Protocol.Step => {
  const { attempts, declaredAt, description, duration, index, kind, outcome, problem, reason, startedAt } = step
  return {
    index,
    description,
    outcome,
    attempts,
    ...(kind === undefined ? {} : { kind }),
    ...(declaredAt === undefined ? {} : { declaredAt }),
    ...(reason === undefined ? {} : { reason: Plan.formatReason(reason) }),
    ...(startedAt === undefined ? {} : { startedAt: DateTime.toEpochMillis(startedAt) }),
    ...(duration === undefined ? {} : { duration: Duration.toMillis(duration) }),
    ...(problem === undefined ? {} : { problem })
  }
}

const spanOf = ({ attributes, end, kind, name, problem, start }: BuildSpans.Span): ReadonlyArray<Protocol.Span> => {
  const { "lightbox.step.attempt": attempt, "lightbox.step.index": index } = attributes
  if (kind === "build") return []
  return [
    {
      kind,
      name,
      start,
      end,
      isFailed: problem !== undefined,
      ...(typeof index === "number" ? { index } : {}),
      ...(typeof attempt === "number" ? { attempt } : {})
    }
  ]
}

const detailOf = (record: BuildRecord.BuildRecord): Protocol.BuildDetail => ({
  ...buildOf(record),
  ...(record.imageDigest === undefined ? {} : { imageDigest: record.imageDigest }),
  followed: record.followed,
  steps: record.steps.map(stepOf),
  spans: BuildSpans.layOut(record, Plan.formatReason).spans.flatMap(spanOf)
})

/** Collects what a step has written after an event, in pieces of a bounded size. */
const outputAfter = (
  record: BuildRecord.BuildRecord,
  index: number,
  after: number
): { readonly pieces: ReadonlyArray<Protocol.Output>; readonly last: number } => {
  const pieces: Array<Protocol.Output> = []
  let last = after
  let before = -1
  let attempt = 0
  for (const event of record.events) {
    // Events of followed builds have their own numbers.
    if (event.buildId !== record.id) continue
    const isGap = before >= 0 && event.sequence > before + 1
    before = event.sequence
    if (event._tag === "StepStarted" && event.index === index) attempt = event.attempt
    if (event.sequence <= after) continue
    last = Math.max(last, event.sequence)
    if (!("index" in event) || event.index !== index) continue
    // Of a long output, the middle is not recorded.
    if (isGap && attempt > 0) pieces.push({ attempt, source: "gap", text: "" })
    if (event._tag !== "StepOutput") continue
    const { stream: source, text } = event
    const previous = pieces.at(-1)
    if (previous?.source === source && previous.attempt === attempt && previous.text.length < Protocol.maxPiece) {
      pieces[pieces.length - 1] = { ...previous, text: previous.text + text }
    } else pieces.push({ attempt, source, text })
  }
  return { pieces, last }
}

/** Makes the reader. Records that have not changed are not read again. */
export const make = Effect.fnUntraced(function* (
  driver: Microsandbox.Microsandbox["Service"]
): Effect.fn.Return<Builds> {
  const { home } = driver
  const interval = yield* Interval
  const provided = Effect.provideService(Microsandbox.Microsandbox, driver)

  /** Tells versions of a record apart. A process can die without a change of its record. */
  const versionOf = Effect.fnUntraced(function* (entry: Records.Entry) {
    const stats = yield* Effect.promise(() => unlessMissing(Fs.stat(entry.path)).catch(() => undefined))
    const fate = entry.owner === undefined ? "ended" : yield* Records.fateOf(home, entry.owner)
    return stats === undefined ? undefined : `${entry.path} ${stats.size} ${stats.mtimeMs} ${fate}`
  })

  let known = new Map<string, Protocol.Build>()
  const list = Effect.gen(function* () {
    const found = yield* Effect.forEach(
      yield* Records.entries(method, home),
      Effect.fnUntraced(function* (entry) {
        const version = yield* versionOf(entry)
        if (version === undefined) return []
        const before = known.get(version)
        if (before !== undefined) return [[version, before] as const]
        const summary = yield* BuildRecord.summaryOf(method, home, entry)
        return summary === undefined ? [] : [[version, buildOf(summary)] as const]
      }),
      { concurrency }
    )
    known = new Map(found.flat())
    return [...known.values()].toSorted((a, b) => b.startedAt - a.startedAt)
  })

  const records = yield* Cache.make({
    capacity,
    lookup: (key: string) => provided(BuildRecord.get(key.slice(0, key.indexOf(" "))))
  })
  const versions = (id: string): Stream.Stream<BuildRecord.BuildRecord, LightboxError> =>
    Effect.gen(function* () {
      const entry = (yield* Records.entries(method, home)).find((one) => one.id === id)
      return entry === undefined ? "" : ((yield* versionOf(entry)) ?? "")
    }).pipe(
      (version) => Stream.fromEffectSchedule(version, Schedule.spaced(interval)),
      Stream.changes,
      Stream.mapEffect((version) => Cache.get(records, `${id} ${version}`)),
      Stream.takeUntil(({ status }) => status !== "running")
    )

  return {
    list,
    follow: (id) => Stream.map(versions(id), detailOf),
    log: (id, index) =>
      Stream.suspend(() => {
        let last = -1
        return Stream.flatMap(versions(id), (record) => {
          const output = outputAfter(record, index, last)
          last = output.last
          return Stream.fromIterable(output.pieces)
        })
      }).pipe(Stream.rechunk(1))
  }
})
