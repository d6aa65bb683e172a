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

const NumberPoints = Schema.Struct({
  dataPoints: Schema.Array(
    Schema.Struct({
      attributes: Attributes,
      asInt: Schema.optionalKey(Schema.Union([Schema.Finite, Schema.String])),
      asDouble: Schema.optionalKey(Schema.Finite)
    })
  )
})

const HistogramPoints = Schema.Struct({
  dataPoints: Schema.Array(
    Schema.Struct({
      attributes: Attributes,
      count: Schema.Union([Schema.Finite, Schema.String]),
      sum: Schema.optionalKey(Schema.Finite)
    })
  )
})

const Metric = Schema.Struct({
  name: Schema.String,
  sum: Schema.optionalKey(NumberPoints),
  gauge: Schema.optionalKey(NumberPoints),
  histogram: Schema.optionalKey(HistogramPoints)
})

const Metrics = Schema.Struct({
  resourceMetrics: Schema.Array(
    Schema.Struct({ scopeMetrics: Schema.Array(Schema.Struct({ metrics: Schema.Array(Metric) })) })
  )
})

/** The attributes of a series, besides its unit. */
const labelsOf = (attributes: typeof Attributes.Type): string => {
  const labels = attributes.flatMap(({ key, value }) => (key === "unit" ? [] : [`${key}=${value.stringValue}`]))
  return labels.length === 0 ? "" : `{${labels.join(",")}}`
}

/** The series of a metric, each with its last value: of a histogram, how many there were, and their sum. */
const seriesOf = ({ gauge, histogram, name, sum }: typeof Metric.Type): ReadonlyArray<readonly [string, number]> => [
  ...(sum ?? gauge ?? { dataPoints: [] }).dataPoints.map(
    ({ asDouble, asInt, attributes }) => [`${name}${labelsOf(attributes)}`, Number(asInt ?? asDouble)] as const
  ),
  ...(histogram?.dataPoints ?? []).flatMap(({ attributes, count, sum = 0 }) => [
    [`${name}_count${labelsOf(attributes)}`, Number(count)] as const,
    [`${name}_sum${labelsOf(attributes)}`, sum] as const
  ])
]

/** What it was sent. */
export class Collector extends Context.Service<
  Collector,
  {
    readonly url: string
    /** So far. */
    readonly spans: ReadonlyArray<typeof Span.Type>
    /** The last values of metrics, by name and attributes. */
    readonly metrics: ReadonlyMap<string, number>
  }
>()("effect-lightbox/examples/build-events/collector") {
  static readonly layer: Layer.Layer<Collector> = Layer.effect(
    Collector,
    Effect.gen(function* () {
      const spans: Array<typeof Span.Type> = []
      const metrics = new Map<string, number>()
      yield* HttpServer.serveEffect(
        Effect.gen(function* () {
          const request = yield* HttpServerRequest.HttpServerRequest
          if (request.url === "/v1/traces") {
            const { resourceSpans } = yield* HttpServerRequest.schemaBodyJson(Traces)
            spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)))
          }
          if (request.url === "/v1/metrics") {
            const { resourceMetrics } = yield* HttpServerRequest.schemaBodyJson(Metrics)
            const sent = resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
            for (const [name, value] of sent.flatMap(seriesOf)) metrics.set(name, value)
          }
          return yield* HttpServerResponse.json({})
        })
      )
      return { url: yield* HttpServer.addressFormattedWith(Effect.succeed), spans, metrics }
    })
  ).pipe(Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })), Layer.orDie)
}
