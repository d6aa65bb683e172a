/**
 * A collector of OpenTelemetry data over HTTP, that keeps what it is sent. A real one is any that speaks OTLP.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { createServer } from "node:http"

const Value = Schema.Struct({
  stringValue: Schema.optionalKey(Schema.String),
  intValue: Schema.optionalKey(Schema.Union([Schema.Finite, Schema.String])),
  doubleValue: Schema.optionalKey(Schema.Finite),
  boolValue: Schema.optionalKey(Schema.Boolean)
})

const Attributes = Schema.Array(Schema.Struct({ key: Schema.String, value: Value }))

const Span = Schema.Struct({
  spanId: Schema.String,
  parentSpanId: Schema.optionalKey(Schema.String),
  name: Schema.String,
  startTimeUnixNano: Schema.String,
  endTimeUnixNano: Schema.String,
  attributes: Attributes,
  status: Schema.Struct({ code: Schema.Int })
})

const Traces = Schema.Struct({
  resourceSpans: Schema.Array(Schema.Struct({ scopeSpans: Schema.Array(Schema.Struct({ spans: Schema.Array(Span) })) }))
})

const Metric = Schema.Struct({
  name: Schema.String,
  sum: Schema.optionalKey(
    Schema.Struct({
      dataPoints: Schema.Array(
        Schema.Struct({
          asInt: Schema.optionalKey(Schema.Union([Schema.Finite, Schema.String])),
          asDouble: Schema.optionalKey(Schema.Finite)
        })
      )
    })
  )
})

const Metrics = Schema.Struct({
  resourceMetrics: Schema.Array(
    Schema.Struct({ scopeMetrics: Schema.Array(Schema.Struct({ metrics: Schema.Array(Metric) })) })
  )
})

/** What it was sent. */
export class Collector extends Context.Service<
  Collector,
  {
    readonly url: string
    /** So far. */
    readonly spans: ReadonlyArray<typeof Span.Type>
    /** The last values of counters, by name. */
    readonly counters: ReadonlyMap<string, number>
  }
>()("effect-lightbox/examples/build-events/collector") {
  static readonly layer: Layer.Layer<Collector> = Layer.effect(
    Collector,
    Effect.gen(function* () {
      const spans: Array<typeof Span.Type> = []
      const counters = new Map<string, number>()
      yield* HttpServer.serveEffect(
        Effect.gen(function* () {
          const request = yield* HttpServerRequest.HttpServerRequest
          if (request.url === "/v1/traces") {
            const { resourceSpans } = yield* HttpServerRequest.schemaBodyJson(Traces)
            spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)))
          }
          if (request.url === "/v1/metrics") {
            const { resourceMetrics } = yield* HttpServerRequest.schemaBodyJson(Metrics)
            const metrics = resourceMetrics.flatMap(({ scopeMetrics }) =>
              scopeMetrics.flatMap(({ metrics }) => metrics)
            )
            for (const { name, sum } of metrics) {
              for (const { asDouble, asInt } of sum?.dataPoints ?? []) counters.set(name, Number(asInt ?? asDouble))
            }
          }
          return yield* HttpServerResponse.json({})
        })
      )
      return { url: yield* HttpServer.addressFormattedWith(Effect.succeed), spans, counters }
    })
  ).pipe(Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })), Layer.orDie)
}
