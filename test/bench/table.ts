/** Rows of benchmarks, as a person reads them. */
import * as Row from "./Row.ts"

/** A value with the digits that matter. */
export const number = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)

const verdict = (row: Row.Row): string => {
  const met = Row.isMet(row)
  if (met === undefined) return ""
  const most = [
    ...(row.target === undefined ? [] : [`${number(row.target)} x`]),
    ...(row.limit === undefined ? [] : [`${number(row.limit)} ${row.unit}`])
  ]
  return `${met ? "met" : "MISSED"}, at most ${most.join(" and ")}`
}

const values = ({ p50, p95, what }: Row.Series, unit: string): string =>
  `${what} ${number(p50)}${p95 === undefined ? "" : ` (p95 ${number(p95)})`} ${unit}`

/** A row in one line. */
export const line = (row: Row.Row): string =>
  [
    row.name,
    values(row.ours, row.unit),
    ...(row.reference === undefined ? [] : [values(row.reference, row.unit)]),
    ...(row.ratio === undefined ? [] : [`${number(row.ratio)} x`]),
    `n=${row.n}`,
    verdict(row)
  ]
    .filter((part) => part !== "")
    .join(" | ")

const optional = (value: number | undefined): string => (value === undefined ? "" : number(value))

const head = ["", "ours p50", "p95", "reference p50", "p95", "ratio", "n", "target", "compared with"]

/** Rows in a table. */
export const table = (rows: ReadonlyArray<Row.Row>): string => {
  const lines = [
    head,
    ...rows.map((row) => [
      row.name,
      `${number(row.ours.p50)} ${row.unit}`,
      optional(row.ours.p95),
      row.reference === undefined ? "" : `${number(row.reference.p50)} ${row.unit}`,
      optional(row.reference?.p95),
      row.ratio === undefined ? "" : `${number(row.ratio)} x`,
      String(row.n),
      verdict(row),
      row.reference?.what ?? ""
    ])
  ]
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  const isText = (column: number) => column === 0 || column >= 7
  return lines
    .map((line) =>
      line
        .map((text, column) => {
          const width = widths[column] ?? 0
          return isText(column) ? text.padEnd(width) : text.padStart(width)
        })
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}
