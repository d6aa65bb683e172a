/**
 * What is written from the lists of metrics and spans: tables of the guide, and a dashboard for Grafana.
 */
import { type Instrument, instruments } from "../../src/internal/report/metrics.ts"
import * as Spans from "./spans.ts"

/** Where it is written, by path in the repository. */
export const guide = "examples/guides/telemetry.md"
export const dashboardFile = "examples/telemetry/grafana-dashboard.json"

// =============================================================================
// Tables
// =============================================================================

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n")

const unitOf = ({ metric }: Instrument): string => metric.attributes?.["unit"] ?? ""

const metrics = (): string =>
  table(
    ["Metric", "Kind", "Unit", "Attributes", "Meaning"],
    instruments.map((instrument) => [
      `\`${instrument.metric.id}\``,
      instrument.metric.type.toLowerCase(),
      unitOf(instrument).replaceAll(/[{}]/g, ""),
      Object.entries(instrument.attributes ?? {})
        .map(([name, values]) => `\`${name}\`: ${values}`)
        .join("; "),
      instrument.metric.description ?? ""
    ])
  )

const spans = (): string =>
  table(
    ["Module", "Spans"],
    Object.entries(Spans.operations).map(([module, names]) => [
      `\`${module}\``,
      names.map((name) => `\`${module}.${name}\``).join(", ")
    ])
  )

const attributes = (): string =>
  table(
    ["Attribute", "Spans", "Meaning"],
    Spans.attributes.map(({ meaning, name, on, spans }) => [
      `\`${name}\``,
      on ?? spans.map((span) => `\`${span}\``).join(", "),
      meaning
    ])
  )

const tables: { readonly [name: string]: () => string } = { metrics, spans, attributes }

/** The guide, with its tables written anew. Fails if it has no place for one. */
export const withTables = (text: string): string =>
  Object.entries(tables).reduce((text, [name, write]) => {
    const begin = `<!-- Written by npm run telemetry: ${name} -->`
    const end = `<!-- The end of ${name} -->`
    const [before = "", rest] = text.split(begin)
    const [, after] = (rest ?? "").split(end)
    if (after === undefined) throw new Error(`${guide} has no place for the table of ${name}`)
    return `${before}${begin}\n\n${write()}\n\n${end}${after}`
  }, text)

// =============================================================================
// Dashboard
// =============================================================================

const datasource = { type: "prometheus", uid: "${datasource}" }

const filter = 'job=~"$job"'

interface Query {
  readonly expr: string
  readonly legend: string
}

/** The queries of a panel. Names in Prometheus are those of the metrics. */
const queriesOf = ({ attributes = {}, metric }: Instrument): ReadonlyArray<Query> => {
  const names = Object.keys(attributes)
  const by = names.length === 0 ? "" : ` by (${names.join(", ")})`
  const legend = names.length === 0 ? "all" : names.map((name) => `{{${name}}}`).join(" ")
  switch (metric.type) {
    case "Counter":
      return [{ expr: `sum${by} (rate(${metric.id}{${filter}}[$__rate_interval])) * 60`, legend }]
    case "Histogram":
      return [0.5, 0.95].map((share) => ({
        expr: `histogram_quantile(${share}, sum by (le) (rate(${metric.id}_bucket{${filter}}[$__rate_interval])))`,
        legend: `p${share * 100}`
      }))
    default:
      return [{ expr: `sum${by} (${metric.id}{${filter}})`, legend }]
  }
}

const titles: { readonly [kind: string]: string } = { Counter: " per minute", Histogram: " (p50, p95)" }

/** The name of a metric in words: `lightbox_build_steps_run_total` is "Build steps run". */
const titleOf = ({ metric }: Instrument): string => {
  const words = metric.id
    .replace(/^lightbox_/, "")
    .replace(/_(total|seconds)$/, "")
    .replaceAll("_", " ")
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${titles[metric.type] ?? ""}`
}

/** Units of Grafana: counts per minute, seconds, or a plain number. */
const units: { readonly [kind: string]: string } = { Counter: "cpm", Histogram: "s" }

const width = 8
const height = 8
const columns = 24

const panelOf = (instrument: Instrument, id: number, x: number, y: number) => ({
  id,
  type: "timeseries",
  title: titleOf(instrument),
  description: instrument.metric.description ?? "",
  datasource,
  gridPos: { h: height, w: width, x, y },
  fieldConfig: {
    defaults: {
      unit: units[instrument.metric.type] ?? "short",
      min: 0,
      ...(instrument.metric.type === "Gauge" ? { decimals: 0 } : {}),
      custom: {
        drawStyle: "line",
        lineWidth: 1,
        fillOpacity: instrument.metric.type === "Histogram" ? 0 : 20,
        showPoints: "never",
        stacking: { mode: instrument.metric.type === "Histogram" ? "none" : "normal", group: "A" }
      }
    },
    overrides: []
  },
  options: {
    legend: { displayMode: "list", placement: "bottom", showLegend: true, calcs: [] },
    tooltip: { mode: "multi", sort: "desc" }
  },
  targets: queriesOf(instrument).map(({ expr, legend }, index) => ({
    refId: String.fromCharCode("A".charCodeAt(0) + index),
    datasource,
    editorMode: "code",
    expr,
    legendFormat: legend,
    range: true
  }))
})

type Panel = ReturnType<typeof panelOf> | ReturnType<typeof rowOf>

const rowOf = (title: string, id: number, y: number) => ({
  id,
  type: "row",
  title,
  collapsed: false,
  gridPos: { h: 1, w: columns, x: 0, y },
  panels: []
})

/** A row for each area, and a panel for each metric in it. */
const panels = (): ReadonlyArray<Panel> => {
  const all: Array<Panel> = []
  let y = 0
  for (const [area, inArea = []] of Map.groupBy(instruments, ({ area }) => area)) {
    all.push(rowOf(area, all.length + 1, y))
    y += 1
    for (const [index, instrument] of inArea.entries()) {
      const x = (index * width) % columns
      if (index > 0 && x === 0) y += height
      all.push(panelOf(instrument, all.length + 1, x, y))
    }
    y += height
  }
  return all
}

/** The dashboard, as Grafana 11 and later import it. */
export const dashboard = () => ({
  uid: "effect-lightbox",
  title: "effect-lightbox",
  description: "Builds, sandboxes, pools, the driver and cleanup of programs that use effect-lightbox",
  tags: ["effect-lightbox"],
  schemaVersion: 41,
  version: 1,
  editable: true,
  graphTooltip: 1,
  refresh: "30s",
  time: { from: "now-1h", to: "now" },
  timezone: "browser",
  annotations: { list: [] },
  links: [],
  templating: {
    list: [
      { name: "datasource", label: "Data source", type: "datasource", query: "prometheus", refresh: 1, hide: 0 },
      {
        name: "job",
        label: "Service",
        type: "query",
        datasource,
        definition: "label_values(lightbox_sweeps_total, job)",
        query: { qryType: 1, query: "label_values(lightbox_sweeps_total, job)", refId: "job" },
        refresh: 2,
        sort: 1,
        multi: true,
        includeAll: true,
        allValue: ".*",
        current: { selected: true, text: ["All"], value: ["$__all"] },
        hide: 0
      }
    ]
  },
  panels: panels()
})
