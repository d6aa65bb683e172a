/** Lays a recorded build out as spans of time, and writes these in the formats of other tools. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Crypto from "node:crypto"
import type { BuildRecord, Spans as Otlp, Step, Trace } from "../../BuildRecord.ts"

type Attributes = { readonly [name: string]: string | number | boolean }

/** Something that took time. Times are in milliseconds since 1970. */
export interface Span {
  readonly name: string
  readonly kind: "build" | "wait" | "pull" | "boot" | "step" | "checkpoint"
  readonly start: number
  readonly end: number
  readonly attributes: Attributes
  /** Why it failed. */
  readonly problem?: string | undefined
}

/** Something that took no time. */
export interface Mark {
  readonly name: string
  readonly at: number
  readonly attributes: Attributes
}

export interface Layout {
  readonly root: Span
  readonly spans: ReadonlyArray<Span>
  readonly marks: ReadonlyArray<Mark>
}

const defined = (attributes: { readonly [name: string]: string | number | boolean | undefined }): Attributes =>
  Object.fromEntries(Object.entries(attributes).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])))

const nameOf = (step: { readonly index: number; readonly description: string }): string =>
  `${step.index} ${step.description.trim().replace(/\s*[\r\n]\s*/g, " ")}`

/** Finds what a build spent its time with. */
export const layOut = (record: BuildRecord, explain: (reason: NonNullable<Step["reason"]>) => string): Layout => {
  const { events } = record
  const millis = DateTime.toEpochMillis
  const start = millis(record.startedAt)
  const last = events.reduce((latest, { at }) => Math.max(latest, millis(at)), start)
  const end = record.duration === undefined ? last : start + Duration.toMillis(record.duration)
  const stepOf = (index: number) => record.steps.find((step) => step.index === index)
  const spans: Array<Span> = []
  const marks: Array<Mark> = []
  // One thing at a time: what has begun ends with its end, or with what comes next.
  let open: ((until: number, problem?: string) => void) | undefined
  let pulling: { readonly since: number; readonly image: string } | undefined
  const begin = (span: Omit<Span, "end" | "problem">) => {
    open = (until, problem) => {
      spans.push({ ...span, end: until, problem })
      open = undefined
    }
  }
  const endPull = (until: number) => {
    if (pulling === undefined) return
    const { image, since } = pulling
    spans.push({
      name: `pull ${image}`,
      kind: "pull",
      start: since,
      end: until,
      attributes: { "lightbox.image": image }
    })
    pulling = undefined
  }
  for (const event of events) {
    const at = millis(event.at)
    if (event._tag !== "StepOutput" && event._tag !== "Pulling") {
      endPull(at)
      open?.(at, event._tag === "StepAttemptFailed" ? event.problem : undefined)
    }
    switch (event._tag) {
      case "Waiting":
        begin({ name: "wait for another build", kind: "wait", start: at, attributes: { "lightbox.key": event.key } })
        break
      case "Pulling":
        if (event.phase === "Pulled") endPull(at)
        else pulling ??= { since: at, image: event.image }
        break
      case "Booting":
        begin({
          name: "boot",
          kind: "boot",
          start: at,
          attributes: { "lightbox.builder": event.builder, "lightbox.from": event.from }
        })
        break
      case "StepCached":
        marks.push({ name: nameOf(event), at, attributes: attributesOf(stepOf(event.index), event.index, explain) })
        break
      case "StepStarted": {
        const attributes = {
          ...attributesOf(stepOf(event.index), event.index, explain),
          "lightbox.step.attempt": event.attempt
        }
        begin({ name: nameOf(event), kind: "step", start: at, attributes })
        break
      }
      case "Checkpointing":
        begin({ name: "save", kind: "checkpoint", start: at, attributes: { "lightbox.key": event.key } })
        break
    }
  }
  endPull(end)
  open?.(end, record.status === "running" ? undefined : record.problem)
  const root: Span = {
    name: `build ${record.snapshot}`,
    kind: "build",
    start,
    end: Math.max(end, last),
    attributes: defined({
      "lightbox.build": record.id,
      "lightbox.snapshot": record.snapshot,
      "lightbox.image": record.image,
      "lightbox.image.digest": record.imageDigest,
      "lightbox.status": record.status,
      "lightbox.steps.run": record.stepsRun,
      "lightbox.steps.reused": record.stepsReused,
      "lightbox.generation": record.generation,
      "lightbox.declared_at": record.caller.declaredAt,
      "lightbox.reason": record.reason,
      "lightbox.parent": record.parent
    }),
    problem: record.problem
  }
  return { root, spans: spans.toSorted((a, b) => a.start - b.start || b.end - a.end), marks }
}

const attributesOf = (
  step: Step | undefined,
  index: number,
  explain: (reason: NonNullable<Step["reason"]>) => string
): Attributes =>
  defined({
    "lightbox.step.index": index,
    "lightbox.step.kind": step?.kind,
    "lightbox.step.cached": step === undefined ? undefined : step.outcome === "cached",
    "lightbox.step.reason": step?.reason === undefined ? undefined : explain(step.reason),
    "lightbox.step.declared_at": step?.declaredAt,
    "lightbox.key": step?.key
  })

type Explain = Parameters<typeof layOut>[1]

/** The format of Chrome's trace viewer and of Perfetto. Times are in microseconds. */
export const toTrace = (record: BuildRecord, explain: Explain): Trace => {
  const { marks, root, spans } = layOut(record, explain)
  const process = { pid: 1, tid: 1 }
  return {
    displayTimeUnit: "ms",
    traceEvents: [
      { name: "process_name", ph: "M", ts: 0, ...process, args: { name: `lightbox ${record.snapshot}` } },
      { name: "thread_name", ph: "M", ts: 0, ...process, args: { name: record.id } },
      ...[root, ...spans].map(({ attributes, end, kind, name, problem, start }) => ({
        name,
        cat: kind,
        ph: "X" as const,
        ts: start * 1000,
        dur: (end - start) * 1000,
        ...process,
        args: { ...attributes, ...(problem === undefined ? {} : { problem }) }
      })),
      ...marks.map(({ at, attributes, name }) => ({
        name: `${name} (cached)`,
        cat: "step",
        ph: "i" as const,
        ts: at * 1000,
        s: "t" as const,
        ...process,
        args: attributes
      }))
    ]
  }
}

const idOf = (length: number, ...parts: ReadonlyArray<string | number>): string =>
  Crypto.hash("sha256", parts.join("\n")).slice(0, length)

const nanos = (millis: number): string => `${Math.round(millis)}000000`

const attributesIn = (attributes: Attributes): Otlp["resourceSpans"][number]["resource"]["attributes"] =>
  Object.entries(attributes).map(([key, value]) => ({
    key,
    value:
      typeof value === "string"
        ? { stringValue: value }
        : typeof value === "boolean"
          ? { boolValue: value }
          : { intValue: `${value}` }
  }))

const [statusUnset, statusError] = [0, 2]

/** The JSON encoding of OTLP, as a collector takes it at `/v1/traces`. */
export const toOtlp = (record: BuildRecord, explain: Explain): Otlp => {
  const { marks, root, spans } = layOut(record, explain)
  // Builds that ran for each other are one trace.
  const traceId = idOf(32, record.root ?? record.parent ?? record.id)
  const rootId = idOf(16, record.id, "build")
  const spanOf = ({ attributes, end, name, problem, start }: Span) => ({
    traceId,
    name,
    kind: 1,
    startTimeUnixNano: nanos(start),
    endTimeUnixNano: nanos(end),
    attributes: attributesIn(attributes),
    events: [],
    status: problem === undefined ? { code: statusUnset } : { code: statusError, message: problem }
  })
  return {
    resourceSpans: [
      {
        resource: {
          attributes: attributesIn({
            "service.name": "effect-lightbox",
            "service.version": record.version,
            "process.pid": record.caller.pid,
            "process.command": record.caller.program
          })
        },
        scopeSpans: [
          {
            scope: { name: "effect-lightbox", version: record.version },
            spans: [
              {
                ...spanOf(root),
                spanId: rootId,
                ...(record.parent === undefined ? {} : { parentSpanId: idOf(16, record.parent, "build") }),
                events: marks.map(({ at, attributes, name }) => ({
                  timeUnixNano: nanos(at),
                  name: `cached: ${name}`,
                  attributes: attributesIn(attributes)
                }))
              },
              ...spans.map((span, position) => ({
                ...spanOf(span),
                spanId: idOf(16, record.id, position, span.name),
                parentSpanId: rootId
              }))
            ]
          }
        ]
      }
    ]
  }
}
