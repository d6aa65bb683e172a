/** What `top` shows: lines that fit into a window, of which only those that are seen are made. */
import { displayWidth } from "effect/cli/CliOutput"
import { styleText } from "node:util"
import { cut, oneLine } from "../../report/terminalText.ts"
import { bytes } from "../environment.ts"
import { ageOf, short, type Detail, type Reading, type RunningBuild } from "./readings.ts"

export type Order = "name" | "cpu" | "memory" | "age"

export interface State {
  readings: ReadonlyArray<Reading>
  details: ReadonlyMap<string, Detail>
  builds: ReadonlyArray<RunningBuild>
  /** The number of builds, of which some may not be read. */
  buildCount: number
  order: Order
  /** Rows above the first one that is seen. */
  offset: number
  showsJobs: boolean
  /** Why the last reading failed. */
  problem: string | undefined
}

export interface Window {
  readonly columns: number
  readonly rows: number
  readonly color: boolean
  readonly now: number
}

// =============================================================================
// Order
// =============================================================================

/** What is not known comes last. */
const descending = (a: number | undefined, b: number | undefined): number =>
  a === undefined || b === undefined ? Number(a === undefined) - Number(b === undefined) : b - a

const byName = (a: Reading, b: Reading): number => (a.info.name < b.info.name ? -1 : 1)

const orders: { readonly [order in Order]: (a: Reading, b: Reading) => number } = {
  name: byName,
  cpu: (a, b) => descending(a.usage?.cpuPercent, b.usage?.cpuPercent) || byName(a, b),
  memory: (a, b) => descending(a.usage?.memory, b.usage?.memory) || byName(a, b),
  // The oldest first.
  age: (a, b) => descending(ageOf(a, 0), ageOf(b, 0)) || byName(a, b)
}

/** Puts readings into the order that was chosen. */
const sorted = ({ order, readings }: State): ReadonlyArray<Reading> => readings.toSorted(orders[order])

// =============================================================================
// Room
// =============================================================================

/** Builds take a quarter of the window. */
const buildsIn = ({ builds }: State, { rows }: Window): number => Math.min(builds.length, Math.floor(rows / 4))

/** Sandboxes that the window has room for, besides its first line, the titles, the builds and the keys. */
export const roomIn = (state: State, window: Window): number => {
  const builds = buildsIn(state, window)
  return Math.max(0, window.rows - 3 - (builds === 0 ? 0 : builds + 1))
}

/** The sandboxes that are seen. Moves the offset back to where there are any. */
export const seen = (state: State, window: Window): ReadonlyArray<Reading> => {
  const room = roomIn(state, window)
  state.offset = Math.max(0, Math.min(state.offset, state.readings.length - room))
  return sorted(state).slice(state.offset, state.offset + room)
}

// =============================================================================
// Tables
// =============================================================================

interface Column<Row> {
  readonly title: string
  readonly cell: (row: Row) => string
  readonly isNumber?: boolean
  /** It is cut where it does not fit. */
  readonly isCut?: boolean
}

const gap = 2

/**
 * Lays out rows in columns, the most important first. Columns that do not fit are left out, and the first one is cut to
 * what the others leave.
 */
const table = <Row>(
  columns: readonly [Column<Row>, ...Array<Column<Row>>],
  rows: ReadonlyArray<Row>,
  room: number
): ReadonlyArray<string> => {
  const cells = columns.map(({ cell, title }) => [title, ...rows.map((row) => oneLine(cell(row)))])
  const wanted = cells.map((texts) => Math.max(...texts.map((text) => displayWidth(text))))
  const [first = 0, ...others] = wanted
  const least = Math.min(first, Math.max(12, Math.floor(room * 0.4)))
  const widths: Array<number> = []
  let rest = room
  for (const [index, other] of others.entries()) {
    const left = rest - least - gap
    const width = columns[index + 1]?.isCut === true ? Math.min(other, left) : other
    if (width > left || width < 1) break
    widths.push(width)
    rest -= gap + width
  }
  widths.unshift(Math.max(0, Math.min(first, rest)))
  return (cells[0] ?? []).map((_, y) =>
    widths
      .map((width, x) => {
        const text = cut(cells[x]?.[y] ?? "", width)
        const padding = " ".repeat(Math.max(0, width - displayWidth(text)))
        return columns[x]?.isNumber === true ? padding + text : text + padding
      })
      .join(" ".repeat(gap))
      .trimEnd()
  )
}

const sandboxColumns = (
  { details, showsJobs }: State,
  now: number
): readonly [Column<Reading>, ...Array<Column<Reading>>] => [
  { title: "NAME", cell: ({ info }) => info.name },
  {
    title: "CPU",
    isNumber: true,
    cell: ({ usage }) => (usage === undefined ? "-" : `${usage.cpuPercent.toFixed(1)}%`)
  },
  {
    title: "MEMORY",
    isNumber: true,
    cell: ({ usage }) => (usage === undefined ? "-" : `${bytes(usage.memory)}/${bytes(usage.memoryLimit)}`)
  },
  {
    title: "AGE",
    isNumber: true,
    cell: (reading) => {
      const age = ageOf(reading, now)
      return age === undefined ? "-" : short(age)
    }
  },
  ...(showsJobs
    ? [{ title: "JOBS", isNumber: true, cell: ({ info }: Reading) => `${details.get(info.id)?.jobs ?? "-"}` }]
    : []),
  { title: "OWNER", cell: ({ info }) => details.get(info.id)?.owner ?? "" },
  { title: "LEASE", cell: ({ info }) => details.get(info.id)?.lease ?? "" },
  { title: "READ", isNumber: true, cell: ({ usage }) => bytes(usage?.diskRead) },
  { title: "WRITTEN", isNumber: true, cell: ({ usage }) => bytes(usage?.diskWritten) },
  { title: "RECEIVED", isNumber: true, cell: ({ usage }) => bytes(usage?.networkReceived) },
  { title: "SENT", isNumber: true, cell: ({ usage }) => bytes(usage?.networkSent) }
]

const buildColumns = (now: number): readonly [Column<RunningBuild>, ...Array<Column<RunningBuild>>] => [
  { title: "BUILD", cell: ({ snapshot }) => snapshot },
  { title: "TIME", isNumber: true, cell: ({ startedAt }) => short(now - startedAt) },
  { title: "STEP", isCut: true, cell: ({ step }) => step }
]

// =============================================================================
// Frame
// =============================================================================

const summary = ({ buildCount, offset, problem, readings }: State, room: number): string => {
  if (problem !== undefined) return oneLine(problem)
  const cpu = readings.reduce((sum, { usage }) => sum + (usage?.cpuPercent ?? 0), 0)
  const memory = readings.reduce((sum, { usage }) => sum + (usage?.memory ?? 0), 0)
  const part = readings.length > room ? ` (${offset + 1}–${Math.min(readings.length, offset + room)})` : ""
  return [
    `${readings.length} ${readings.length === 1 ? "sandbox" : "sandboxes"}${part}`,
    `${buildCount} ${buildCount === 1 ? "build" : "builds"}`,
    `CPU ${cpu.toFixed(1)}%`,
    `memory ${bytes(memory)}`
  ].join(", ")
}

const keys: ReadonlyArray<readonly [key: string, does: string, order?: Order]> = [
  ["q", "quit"],
  ["c", "CPU", "cpu"],
  ["m", "memory", "memory"],
  ["n", "name", "name"],
  ["a", "age", "age"],
  ["j", "jobs"],
  ["↑↓", "scroll"]
]

/** The lines of the window, at most as many as it has. */
export const frame = (state: State, window: Window): ReadonlyArray<string> => {
  const { color, columns, now, rows } = window
  const style = (format: "bold" | "dim" | "red", text: string): string =>
    color && text !== "" ? styleText(format, text, { validateStream: false }) : text
  const readings = seen(state, window)
  const room = roomIn(state, window)
  const [titles = "", ...lines] = table(sandboxColumns(state, now), readings, columns)
  const shownBuilds = buildsIn(state, window)
  const more = state.buildCount - shownBuilds
  const [buildTitles = "", ...buildLines] =
    shownBuilds === 0 ? [] : table(buildColumns(now), state.builds.slice(0, shownBuilds), columns)
  const body = [
    style(state.problem === undefined ? "bold" : "red", cut(summary(state, room), columns)),
    style("dim", cut(readings.length === 0 ? "No sandbox is running." : titles, columns)),
    ...lines.map((line) => cut(line, columns)),
    ...Array.from({ length: room - lines.length }, () => ""),
    ...(shownBuilds === 0
      ? []
      : [
          style("dim", cut(more === 0 ? buildTitles : `${buildTitles}  and ${more} more`, columns)),
          ...buildLines.map((line) => cut(line, columns))
        ]),
    footer(state, columns, style)
  ]
  return rows < 3 ? body.slice(0, rows) : body
}

const footer = (
  { order, showsJobs }: State,
  columns: number,
  style: (format: "bold" | "dim", text: string) => string
): string => {
  let used = 0
  const shown: Array<string> = []
  for (const [key, does, sorts] of keys) {
    const text = `${key} ${does}`
    const width = displayWidth(text) + (shown.length === 0 ? 0 : gap)
    if (used + width > columns) break
    used += width
    shown.push(style(sorts === order || (key === "j" && showsJobs) ? "bold" : "dim", text))
  }
  return shown.join(" ".repeat(gap))
}
