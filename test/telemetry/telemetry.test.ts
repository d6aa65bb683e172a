import { assert, describe, it } from "@effect/vitest"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Otlp from "effect/observability/Otlp"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import * as Tracer from "effect/Tracer"
import * as Fs from "node:fs"
import { createServer } from "node:http"
import * as Path from "node:path"
import { instruments } from "../../src/internal/report/metrics.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as SandboxPool from "../../src/SandboxPool.ts"
import * as Sources from "../package/sources.ts"
import * as Documents from "./documents.ts"
import * as Spans from "./spans.ts"
import { elsewhere, secret, twin, work } from "./work.ts"

const read = (path: string) => Fs.readFileSync(Path.join(Sources.root, path), "utf8")

const documented = Object.entries(Spans.operations).flatMap(([module, names]) =>
  names.map((name) => `${module}.${name}`)
)

const isPublic = (name: string): boolean => (name.split(".")[0] ?? "") in Spans.operations

/** The spans of the work. */
const emitted = Effect.gen(function* () {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  yield* Effect.withTracer(work, tracer)
  return spans
}).pipe(Effect.scoped, Effect.provide(twin, { local: true }))

/** Runs an effect with metrics of its own. */
const measured = Effect.provideServiceEffect(
  Metric.MetricRegistry,
  Effect.sync(() => new Map())
)

describe("spans", () => {
  it.live("that are documented are those that the library emits, with their attributes", () =>
    Effect.gen(function* () {
      const spans = (yield* emitted).filter(({ name }) => isPublic(name))
      const names = [...new Set([...spans.map(({ name }) => name), ...elsewhere])]
      assert.deepStrictEqual(names.toSorted(), documented.toSorted())
      const found = new Map<string, Set<string>>()
      for (const { attributes, name } of spans) {
        for (const attribute of attributes.keys()) {
          found.set(attribute, (found.get(attribute) ?? new Set()).add(name))
        }
      }
      assert.deepStrictEqual(
        [...found].map(([name, spans]) => `${name}: ${[...spans].toSorted().join(" ")}`).toSorted(),
        Spans.attributes.map(({ name, spans }) => `${name}: ${spans.toSorted().join(" ")}`).toSorted()
      )
    })
  )

  it("that the code names are documented, except for those of drivers", () => {
    const made = /(?:\bfn|withSpan|withName|withStore|onPaths?|traced)\((?:[^"`]{0,80}, )?\s*"([A-Z]\w+\.\w+)"/g
    const inCode = Sources.modules.flatMap((path) => [...read(path).matchAll(made)].map(([, name = ""]) => name))
    assert.isAbove(inCode.length, 100)
    assert.deepStrictEqual(
      inCode.filter((name) => !name.startsWith("Microsandbox.") && !documented.includes(name)),
      []
    )
  })
})

describe("telemetry", () => {
  it.live("arrives at a collector with the documented names, and without secrets", () =>
    Effect.gen(function* () {
      const received: Array<{ readonly path: string; readonly body: string }> = []
      yield* HttpServer.serveEffect(
        Effect.gen(function* () {
          const request = yield* HttpServerRequest.HttpServerRequest
          received.push({ path: request.url, body: yield* request.text })
          return yield* HttpServerResponse.json({})
        })
      )
      const baseUrl = yield* HttpServer.addressFormattedWith(Effect.succeed)
      // The exporter sends what is left when its layer closes.
      yield* work.pipe(
        Effect.scoped,
        Effect.provide(twin, { local: true }),
        Effect.provide(
          Otlp.layerJson({ baseUrl, resource: { serviceName: "test" } }).pipe(Layer.provide(FetchHttpClient.layer))
        )
      )
      const bodies = (path: string) => received.filter((one) => one.path === path).map(({ body }) => body)
      const namesIn = (path: string) =>
        [
          ...bodies(path)
            .join("\n")
            .matchAll(/"name":"([^"]+)"/g)
        ].map(([, name]) => name)
      const spans = new Set(namesIn("/v1/traces"))
      assert.deepStrictEqual(
        documented.filter((name) => !spans.has(name) && !elsewhere.includes(name)),
        []
      )
      const metrics = new Set(namesIn("/v1/metrics"))
      for (const { metric } of instruments) if (!isRare.has(metric.id)) assert.include([...metrics], metric.id)
      // What failed says why, so that nothing of it can have been left out.
      assert.include(bodies("/v1/traces").join(), "exited with code 3")
      assert.notInclude(received.map(({ body }) => body).join(), secret)
    }).pipe(Effect.scoped, Effect.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })), measured)
  )

  it.live("counts builds, launches and what pools have", () =>
    Effect.gen(function* () {
      const definition = Snapshot.make("counted", "plain").pipe(Snapshot.shell("echo 1"), Snapshot.shell("echo 2"))
      yield* Snapshot.build(definition)
      yield* Snapshot.build(definition)
      yield* Effect.exit(Snapshot.build(definition.pipe(Snapshot.shell("exit 3"))))
      const counted = yield* PrometheusMetrics.format()
      assert.include(counted, 'lightbox_builds_total{outcome="succeeded"} 2\n')
      assert.include(counted, 'lightbox_builds_total{outcome="failed"} 1\n')
      assert.include(counted, "lightbox_build_steps_run_total 2\n")
      assert.include(counted, "lightbox_build_steps_reused_total 2\n")
      assert.include(counted, "lightbox_build_step_failures_total 1\n")
      assert.include(counted, 'lightbox_build_duration_seconds_count{outcome="succeeded"} 2\n')
      assert.include(counted, 'lightbox_sandboxes{role="builder"} 0\n')
      yield* Effect.scoped(
        Effect.gen(function* () {
          const pool = yield* SandboxPool.make({ image: "plain", min: 1, max: 1 })
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* pool.acquire()
              const held = yield* PrometheusMetrics.format()
              assert.include(held, 'lightbox_pool_sandboxes{state="used"} 1\n')
              assert.include(held, 'lightbox_sandboxes{role="pool"} 1\n')
              assert.include(held, "lightbox_pool_acquire_duration_seconds_count 1\n")
            })
          )
        })
      )
      const after = yield* PrometheusMetrics.format()
      for (const state of ["ready", "used", "booting", "leaving"]) {
        assert.notMatch(after, new RegExp(`lightbox_pool_sandboxes\\{state="${state}"\\} [^0]`))
      }
      assert.include(after, "lightbox_pool_waiting 0\n")
      assert.include(after, 'lightbox_sandboxes{role="pool"} 0\n')
    }).pipe(Effect.provide(twin, { local: true }), measured)
  )
})

/** Metrics of what does not happen on the twin unless it is made to fail. */
const isRare = new Set([
  "lightbox_boot_retries_total",
  "lightbox_sdk_retries_total",
  "lightbox_pool_boot_failures_total",
  "lightbox_release_failures_total",
  "lightbox_swept_total"
])

describe("metrics", () => {
  it("are all listed, with a description, and a unit that no collector takes for a ratio", () => {
    const listed = instruments.map(({ metric }) => metric.id)
    assert.deepStrictEqual([...new Set(listed)], listed)
    const inCode = [...read("src/internal/report/metrics.ts").matchAll(/^ {2}"(lightbox_\w+)"|\("(lightbox_\w+)"/gm)]
    assert.deepStrictEqual(listed.toSorted(), inCode.map(([, one, other]) => one ?? other ?? "").toSorted())
    for (const { metric } of instruments) {
      assert.isNotEmpty(metric.description, metric.id)
      assert.notInclude(["", "1", undefined], metric.attributes?.["unit"], metric.id)
    }
  })

  it("have names that Prometheus would give them", () => {
    for (const { metric } of instruments) {
      assert.match(metric.id, /^lightbox_[a-z]+(_[a-z]+)*$/)
      assert.strictEqual(metric.id.endsWith("_total"), metric.type === "Counter", metric.id)
      assert.strictEqual(metric.id.endsWith("_seconds"), metric.attributes?.["unit"] === "seconds", metric.id)
    }
  })
})

/** A document, without the widths of columns. */
const plain = (text: string): string => text.replaceAll(/ {2,}/g, " ").replaceAll(/-{3,}/g, "---")

describe("documents", () => {
  it("show the tables of metrics and spans as they are", () => {
    const text = read(Documents.guide)
    assert.strictEqual(plain(Documents.withTables(text)), plain(text), "run npm run telemetry")
  })

  it("have the dashboard as it is", () => {
    assert.deepStrictEqual(JSON.parse(read(Documents.dashboardFile)), Documents.dashboard(), "run npm run telemetry")
  })
})

describe("the dashboard", () => {
  const { panels, schemaVersion, templating } = Documents.dashboard()
  const plots = panels.filter((panel) => panel.type === "timeseries" && "targets" in panel)

  it("has a row for each area, and a panel for each metric", () => {
    assert.isAtLeast(schemaVersion, 39)
    assert.deepStrictEqual(
      panels.filter(({ type }) => type === "row").map(({ title }) => title),
      [...new Set(instruments.map(({ area }) => area))]
    )
    assert.strictEqual(plots.length, instruments.length)
    const ids = panels.map(({ id }) => id)
    assert.deepStrictEqual([...new Set(ids)], ids)
  })

  it("asks only for documented metrics, of the chosen source and service", () => {
    assert.deepStrictEqual(
      templating.list.map(({ name }) => name),
      ["datasource", "job"]
    )
    const ids = instruments.map(({ metric }) => metric.id)
    for (const panel of plots) {
      if (!("targets" in panel)) continue
      for (const { datasource, expr } of panel.targets) {
        assert.strictEqual(datasource.uid, "${datasource}")
        const [, name = ""] = /(lightbox_\w+?)(?:_bucket)?\{job=~"\$job"\}/.exec(expr) ?? []
        assert.include(ids, name, expr)
      }
    }
  })

  it("puts no panel over another", () => {
    for (const [index, { gridPos: a }] of panels.entries()) {
      assert.isAtMost(a.x + a.w, 24)
      for (const { gridPos: b } of panels.slice(index + 1)) {
        const isApart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y
        assert.isTrue(isApart, `${JSON.stringify(a)} and ${JSON.stringify(b)}`)
      }
    }
  })
})
