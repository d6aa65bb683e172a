/**
 * Rows of benchmarks as a plot in SVG: how ours compares with the reference, as dots on a scale of ratios.
 *
 * It is drawn by hand: what it takes is a scale and some text, less than what a library for charts would need to be told,
 * and the libraries need a browser's DOM to measure text. The picture is narrow, so that it can be read on a phone. It
 * follows the reader's color scheme, and brings its own background, because the page around it may not.
 */
import type * as Places from "./places.ts"
import * as Row from "./Row.ts"
import { number } from "./table.ts"

/** What is drawn: what `bench.json` has. */
export interface Report {
  readonly measured: ReadonlyArray<Places.Measured>
  readonly compared: ReadonlyArray<Row.Row>
}

// =============================================================================
// What is shown
// =============================================================================

interface Group {
  readonly title: string
  readonly caption: string
  readonly rows: ReadonlyArray<Row.Row>
}

const titles: { readonly [place in Row.Place]: string } = {
  machine: "On this machine, with the driver in memory",
  "stand-in": "With a stand-in for the microVM",
  microvms: "On microVMs",
  reflinks: "On microVMs, with reflinks"
}

const isDrawable = (value: number | undefined): value is number =>
  value !== undefined && Number.isFinite(value) && value > 0

const isShown = ({ ratio, reference }: Row.Row): boolean => isDrawable(ratio) && isDrawable(reference?.p50)

const counts = (rows: ReadonlyArray<Row.Row>): string => {
  const all = rows.map(({ n }) => n)
  const [least, most] = [Math.min(...all), Math.max(...all)]
  return least === most ? `n=${least}` : `n=${least} to ${most}`
}

const groupsOf = ({ compared, measured }: Report): ReadonlyArray<Group> =>
  [
    ...measured.map(({ host, node, place, platform, processors, rows }) => ({
      title: titles[place],
      caption: `${host} host, ${platform}, ${processors} ${processors === 1 ? "processor" : "processors"}, Node.js ${node}`,
      rows: rows.filter(isShown)
    })),
    { title: "File systems", caption: "reflinks (XFS) beside ext4", rows: compared.filter(isShown) }
  ].flatMap((group) =>
    group.rows.length === 0 ? [] : [{ ...group, caption: `${group.caption}, ${counts(group.rows)}` }]
  )

/** The same row of an earlier report: what is measured and what it is compared with have the same names. */
const earlier = (before: Report | undefined) => {
  const keyOf = (title: string, { name, reference }: Row.Row) => JSON.stringify([title, name, reference?.what])
  const found = new Map(
    (before === undefined ? [] : groupsOf(before)).flatMap(({ rows, title }) =>
      rows.map((row) => [keyOf(title, row), row.ratio] as const)
    )
  )
  return (title: string, row: Row.Row): number | undefined => found.get(keyOf(title, row))
}

// =============================================================================
// Scale
// =============================================================================

/** Where values are on a line from 0 to 1, and which of them are named. */
export interface Scale {
  readonly kind: "linear" | "log"
  readonly at: (value: number) => number
  readonly ticks: ReadonlyArray<number>
}

/** The first round step that divides a span into at most so many parts. */
const roundStep = (span: number, most: number): number => {
  const power = 10 ** Math.floor(Math.log10(span / most))
  return power * ([1, 2, 5].find((factor) => (power * factor * most) / span >= 1 - 1e-9) ?? 10)
}

/** A linear scale from 0 if all values are of a size, else a logarithmic one. It includes 1, the reference. */
export const scaleOf = (values: ReadonlyArray<number>): Scale => {
  const all = [1, ...values.filter(isDrawable)]
  const [least, most] = [Math.min(...all), Math.max(...all)]
  if (most <= 4 && least >= 0.1) {
    const step = roundStep(most * 1.05, 5)
    const end = Math.ceil((most * 1.05) / step) * step
    const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, index) =>
      Number((index * step).toPrecision(6))
    )
    return { kind: "linear", at: (value) => value / end, ticks }
  }
  const [from, to] = [Math.floor(Math.log10(least / 1.2)), Math.ceil(Math.log10(most * 1.2))]
  const every = Math.ceil((to - from) / 6)
  const ticks = Array.from({ length: to - from + 1 }, (_, index) => from + index)
    // The reference has a tick, however many there are.
    .filter((power) => power % every === 0)
    .map((power) => Number((10 ** power).toPrecision(6)))
  return { kind: "log", at: (value) => (Math.log10(value) - from) / (to - from), ticks }
}

// =============================================================================
// Text
// =============================================================================

const escapes: { readonly [character: string]: string } = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&apos;"
}

/** Text for an SVG. XML has no place for most control characters. */
export const escape = (text: string): string =>
  text.replaceAll(/[&<>"']/g, (character) => escapes[character] ?? "").replaceAll(/[^\P{Cc}\t\n\r]/gu, "\u{fffd}")

const fontSize = 14
const smallSize = 12

/** The width of a text, or a bit more: nothing here can measure it. */
export const widthOf = (text: string, size: number): number => Array.from(text).length * size * 0.56

/** Lines of at most a width. A word that is longer is cut. */
export const wrap = (text: string, width: number, size: number): ReadonlyArray<string> => {
  const most = Math.max(1, Math.floor(width / (size * 0.56)))
  const words = text
    .split(/\s+/)
    .filter((word) => word !== "")
    .flatMap((word) =>
      Array.from(word).length <= most ? [word] : (word.match(new RegExp(`.{1,${most}}`, "gu")) ?? [])
    )
  const lines: Array<string> = []
  for (const word of words) {
    const last = lines.at(-1)
    if (last !== undefined && Array.from(`${last} ${word}`).length <= most) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}

/** A ratio as people say it: `"0.99×"`, or `"1,500× less"` for very small ones. */
const ratioText = (ratio: number): string =>
  ratio >= 0.1 ? `${number(ratio)}×` : `${Number((1 / ratio).toPrecision(2)).toLocaleString("en-US")}× less`

const valueText = (value: number, unit: string): string =>
  unit === "ms" && value >= 10_000
    ? `${number(value / 1000)} s`
    : `${value >= 1000 ? Math.round(value).toLocaleString("en-US") : number(value)} ${unit}`

// =============================================================================
// Drawing
// =============================================================================

const width = 480
const margin = 16
const inner = width - 2 * margin

const style = `
text { font: ${fontSize}px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.group { font-weight: 600 }
.small { font-size: ${smallSize}px; fill: #59636e }
.ratio { font-weight: 600 }
.bad { fill: #c62a2a; stroke: #c62a2a }
.page { fill: #ffffff }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.one { stroke: #59636e; stroke-width: 1.5 }
.ours { fill: #0b62d6; stroke: #0b62d6 }
.reference { stroke: #9aa4af }
.whisker { stroke-width: 3; stroke-linecap: round }
.before { fill: none; stroke: #0b62d6; stroke-width: 1.5 }
.target { stroke: #bc6400; stroke-width: 2; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .small { fill: #9198a1 }
  .bad { fill: #ff7b72; stroke: #ff7b72 }
  .page { fill: #0d1117 }
  .grid { stroke: #3d444d }
  .one { stroke: #9198a1 }
  .ours { fill: #58a6ff; stroke: #58a6ff }
  .reference { stroke: #656c76 }
  .before { stroke: #58a6ff }
  .target { stroke: #f0a04b }
}
text.bad { stroke: none }
`

const fixed = (value: number): string => String(Number(value.toFixed(1)))

const textAt = (x: number, y: number, text: string, names: string, anchor?: "end" | "middle"): string =>
  `<text x="${fixed(x)}" y="${fixed(y)}"${names === "" ? "" : ` class="${names}"`}${anchor === undefined ? "" : ` text-anchor="${anchor}"`}>${escape(text)}</text>`

const line = (x1: number, y1: number, x2: number, y2: number, names: string): string =>
  `<line x1="${fixed(x1)}" y1="${fixed(y1)}" x2="${fixed(x2)}" y2="${fixed(y2)}" class="${names}"/>`

/** Draws a report. With an earlier one, each row shows its ratio then as a hollow dot. */
export const svg = (report: Report, options?: { readonly before?: Report | undefined }): string => {
  const groups = groupsOf(report)
  const ratioBefore = earlier(options?.before)
  const all = groups.flatMap(({ rows, title }) =>
    rows.flatMap((row) => {
      const { p50 = 1, p95 } = row.reference ?? {}
      return [row.ratio, (row.ours.p95 ?? 0) / p50, (p95 ?? 0) / p50, row.target, ratioBefore(title, row)]
    })
  )
  const scale = scaleOf(all.filter(isDrawable))
  const x = (value: number): number => margin + 4 + Math.min(1, Math.max(0, scale.at(value))) * (inner - 8)
  const parts: Array<string> = []
  let y = margin

  const paragraph = (text: string, names: string, size: number): void => {
    for (const part of wrap(text, inner, size)) {
      y += size + 4
      parts.push(textAt(margin, y, part, names))
    }
  }

  /** A dot is ours at p50, with a line to p95; below it, a line is the reference from its p50, which is 1, to its p95. */
  const track = (row: Row.Row, title: string): void => {
    const { p50 = 1, p95 } = row.reference ?? {}
    const ratio = row.ratio ?? 1
    const names = Row.isMet(row) === false ? "bad" : "ours"
    const before = ratioBefore(title, row)
    y += 16
    // Not behind the text, which would be harder to read.
    for (const tick of scale.ticks) parts.push(line(x(tick), y - 11, x(tick), y + 12, tick === 1 ? "one" : "grid"))
    if (isDrawable(p95)) parts.push(line(x(1), y + 5, x(p95 / p50), y + 5, "reference whisker"))
    if (isDrawable(row.ours.p95)) parts.push(line(x(ratio), y, x(row.ours.p95 / p50), y, `${names} whisker`))
    if (row.target !== undefined && isDrawable(row.target)) {
      const at = x(row.target)
      parts.push(
        `<path d="M${fixed(at)} ${y - 8}V${y + 9}M${fixed(at)} ${y - 8}h-5M${fixed(at)} ${y + 9}h-5" class="target"/>`
      )
    }
    if (isDrawable(before)) parts.push(`<circle cx="${fixed(x(before))}" cy="${y}" r="7.5" class="before"/>`)
    parts.push(`<circle cx="${fixed(x(ratio))}" cy="${y}" r="5" class="${names}"/>`)
    y += 14
  }

  const draw = (row: Row.Row, title: string): void => {
    const isMissed = Row.isMet(row) === false
    const label = `${ratioText(row.ratio ?? 1)}${isMissed ? ", missed" : ""}`
    y += 8
    const top = y
    for (const part of wrap(row.name, inner - widthOf(label, fontSize) - 12, fontSize)) {
      y += fontSize + 4
      parts.push(textAt(margin, y, part, ""))
    }
    parts.push(textAt(width - margin, top + fontSize + 4, label, isMissed ? "ratio bad" : "ratio", "end"))
    const { reference } = row
    if (reference !== undefined) {
      const values = `${valueText(row.ours.p50, row.unit)}, ${valueText(reference.p50, row.unit)} for`
      paragraph(`${values} ${reference.what}, n=${row.n}`, "small", smallSize)
    }
    track(row, title)
  }

  /** Names of ticks, without those that would touch the one before. The reference's comes first. */
  const axis = (): void => {
    y += smallSize + 2
    const named: Array<readonly [from: number, to: number]> = []
    for (const tick of scale.ticks.toSorted((a, b) => (a === 1 ? -1 : b === 1 ? 1 : a - b))) {
      const text = `${tick}×`
      const half = widthOf(text, smallSize) / 2
      const at = Math.min(width - margin - half, Math.max(margin + half, x(tick)))
      if (named.some(([from, to]) => at + half + 6 > from && at - half - 6 < to)) continue
      named.push([at - half, at + half])
      parts.push(textAt(at, y, text, "small", "middle"))
    }
  }

  paragraph("Ratio to the reference", "title", 16)
  const shown = groups.flatMap(({ rows }) => rows)
  const hasTargets = shown.some(({ target }) => target !== undefined)
  const hasLines = shown.some(({ ours }) => isDrawable(ours.p95))
  const legend = [
    "Left is better. Dot: median (p50).",
    ...(hasLines ? ["Line: up to p95. Gray line: the reference, up to its p95."] : []),
    ...(hasTargets ? ["Bracket: the target, at most."] : []),
    ...(options?.before === undefined ? [] : ["Ring: the earlier value."])
  ]
  paragraph(legend.join(" "), "small", smallSize)
  if (scale.kind === "log") paragraph("The scale is logarithmic.", "small", smallSize)
  const hidden = [...report.measured.flatMap(({ rows }) => rows), ...report.compared].filter(
    (row) => !isShown(row)
  ).length
  for (const { caption, rows, title } of groups) {
    y += 12
    paragraph(title, "group", fontSize)
    paragraph(caption, "small", smallSize)
    for (const row of rows) draw(row, title)
    axis()
  }
  if (groups.length === 0) paragraph("Nothing was measured that has a reference.", "small", smallSize)
  if (hidden > 0) {
    y += 8
    const rows = hidden === 1 ? "1 row has" : `${hidden} rows have`
    paragraph(`${rows} no reference, and no place here.`, "small", smallSize)
  }
  const height = Math.ceil(y + margin)
  const summary = groups
    .flatMap(({ rows }) => rows.map((row) => `${row.name}: ${ratioText(row.ratio ?? 1)}`))
    .join("; ")
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="t d">
<title id="t">Benchmarks: ratio to the reference</title>
<desc id="d">${escape(summary)}</desc>
<style>${style}</style>
<rect width="${width}" height="${height}" class="page"/>
${parts.join("\n")}
</svg>
`
}
