/**
 * A build, watched in three ways at once: on a terminal, as lines of JSON, and as spans and metrics. Then a sandbox that
 * boots from it, as spans and metrics.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Otlp from "effect/observability/Otlp"
import * as Layer from "effect/Layer"
import type * as BuildEvent from "effect-lightbox/BuildEvent"
import * as BuildReporter from "effect-lightbox/BuildReporter"
import * as Sandbox from "effect-lightbox/Sandbox"
import * as Snapshot from "effect-lightbox/Snapshot"
import { Collector } from "./collector.ts"

const definition = Snapshot.make("build-events", "busybox").pipe(
  Snapshot.resources({ cpus: 1, memory: "256M" }),
  Snapshot.workdir("/srv"),
  Snapshot.shell("echo hello > greeting", { description: "write a greeting" }),
  Snapshot.shell("for n in 1 2 3 4 5 6; do echo line $n; sleep 0.3; done", { description: "take a while" }),
  Snapshot.shell("cat greeting")
)

/** Builds for a person, who looks at standard error, and for a program, which gets the lines. */
const build = Effect.fn("build")(function* (lines: Array<string>) {
  const terminal = yield* BuildReporter.terminal()
  const ndjson = BuildReporter.ndjson({ output: { write: (line) => lines.push(line) } })
  const onEvent = (event: BuildEvent.BuildEvent) => Effect.andThen(terminal(event), ndjson(event))
  yield* Snapshot.build(definition, { onEvent })
  yield* Snapshot.build(definition, { onEvent })
}, Effect.scoped)

/** Runs a command in a sandbox that boots from the result. */
const use = Effect.scoped(
  Effect.gen(function* () {
    const sandbox = yield* Sandbox.launch({ snapshot: "build-events", network: "none" })
    yield* sandbox.exec("cat", ["/srv/greeting"])
  })
)

/** Every build, step, boot and call of the runtime is a span already: all it takes is an exporter. */
const observed = (collector: Collector["Service"]) =>
  Otlp.layerJson({ baseUrl: collector.url, resource: { serviceName: "build-events" } }).pipe(
    Layer.provide(FetchHttpClient.layer)
  )

type Span = Collector["Service"]["spans"][number]

const showSpan = ({ attributes, endTimeUnixNano, name, startTimeUnixNano, status }: Span): string => {
  const millis = Number(BigInt(endTimeUnixNano) - BigInt(startTimeUnixNano)) / 1_000_000
  const ours = attributes.flatMap(({ key, value }) =>
    key.startsWith("lightbox.") ? [`${key.slice("lightbox.".length)}=${Object.values(value)[0]}`] : []
  )
  return `${name}  ${millis.toFixed(0)} ms${status.code === 2 ? "  failed" : ""}  ${ours.join(" ")}`.trimEnd()
}

/** Spans below a span, as a tree of a few levels. */
const tree = (spans: ReadonlyArray<Span>, parent: string | undefined, depth: number): ReadonlyArray<string> =>
  depth > 3
    ? []
    : spans
        .filter((span) => span.parentSpanId === parent)
        .toSorted((a, b) => (a.startTimeUnixNano < b.startTimeUnixNano ? -1 : 1))
        .flatMap((span) => [`${"  ".repeat(depth)}${showSpan(span)}`, ...tree(spans, span.spanId, depth + 1)])

export const program = Effect.gen(function* () {
  const collector = yield* Collector
  const lines: Array<string> = []
  yield* Effect.andThen(build(lines), use).pipe(Effect.provide(observed(collector)))
  yield* Snapshot.remove("build-events")

  yield* Console.log(`\n${lines.length} events; the first and the last:`)
  yield* Console.log([lines[0], lines.at(-1)].join("").trimEnd())

  yield* Console.log("\nSpans, as the collector has them:")
  yield* Console.log(tree(collector.spans, undefined, 0).join("\n"))

  yield* Console.log("\nMetrics:")
  yield* Effect.forEach(collector.metrics, ([name, value]) =>
    name.startsWith("lightbox_") ? Console.log(`${name}  ${value}`) : Effect.void
  )
}).pipe(Effect.provide(Collector.layer))
