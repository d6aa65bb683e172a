/** Lines about builds, and how they fit into a window. */
import * as ByteSize from "effect/ByteSize"
import { displayWidth } from "effect/cli/CliOutput"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import { styleText } from "node:util"
import type { BuildEvent } from "../../BuildEvent.ts"
import { clean, cut, oneLine, wrap } from "./terminalText.ts"

// =============================================================================
// Lines
// =============================================================================

const marks = {
  done: ["✔", "green"],
  failed: ["✖", "red"],
  busy: ["⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "cyan"],
  started: ["›", "cyan"],
  note: ["·", "dim"],
  output: ["  │", "dim"],
  problem: [" ", "red"],
  where: ["  at", "dim"]
} as const

/** A line, independent of the width of the window. */
export interface Line {
  readonly mark: keyof typeof marks
  readonly text: string
  /** Shown behind the text: the first one that leaves enough room. */
  readonly notes?: ReadonlyArray<string>
  /** How far it is indented below the lines that it belongs to. */
  readonly depth?: number
}

/** Columns that a note must leave to the text. */
const shortestText = 16

/** Formats a line: wraps a problem if asked to, and cuts anything else at the edge of the window. */
export const show = (
  { depth = 0, mark, notes, text }: Line,
  window: { readonly columns: number; readonly color: boolean; readonly now: number; readonly wraps: boolean }
): ReadonlyArray<string> => {
  const style = (format: (typeof marks)[Line["mark"]][1], part: string) =>
    window.color && part !== "" ? styleText(format, part, { validateStream: false }) : part
  const [signs, format] = marks[mark]
  const sign = mark === "busy" ? (signs[Math.floor(window.now / 100) % signs.length] ?? "") : signs
  // A narrow window has no room for deep trees.
  const indent = " ".repeat(Math.min(depth * 2, Math.floor(window.columns / 5)))
  const room = window.columns - indent.length - displayWidth(sign) - 1
  if (room < 1) return [cut(`${indent}${sign}`, window.columns)]
  if (mark === "problem" && window.wraps)
    return wrap(text, room).map((part) => `${indent}${sign} ${style(format, part)}`)
  const least = Math.min(shortestText, displayWidth(text))
  const note = notes?.find((note) => displayWidth(note) + 2 + least <= room)
  const shown = cut(text, note === undefined ? room : room - displayWidth(note) - 2)
  const end = note === undefined ? "" : `  ${style("dim", note)}`
  const isStyled = mark === "output" || mark === "where" || mark === "problem"
  return [`${indent}${style(format, sign)} ${isStyled ? style(format, shown) : shown}${end}`]
}

/** Builds that ended and are remembered by a view, because their events can arrive twice. */
export const mostEnded = 1000

/** Formats a time as a person would say it. */
export const elapsed = (millis: number): string => {
  const unit = millis < 1000 ? 1 : millis < 60_000 ? 100 : 1000
  return Duration.format(Duration.millis(Math.floor(Math.max(0, millis) / unit) * unit))
}

export const span = (duration: Duration.Duration): string => elapsed(Duration.toMillis(duration))

export const timeOf = (event: BuildEvent): number => DateTime.toEpochMillis(event.at)

export interface View {
  /** Accepts an event and returns permanent lines. */
  readonly accept: (event: BuildEvent) => ReadonlyArray<Line>
  /** Returns so many lines at most about builds that run. They replace the previous ones. */
  readonly current: (now: number, room: number) => ReadonlyArray<Line>
  /** Returns permanent lines about builds that have not ended. */
  readonly close: (isInterrupted: boolean) => ReadonlyArray<Line>
}

export type Of<Tag extends BuildEvent["_tag"]> = Extract<BuildEvent, { readonly _tag: Tag }>

/** The number of an attempt, unless it is the first. */
export const attemptText = (step: { readonly index: number; readonly attempt?: number }): string =>
  step.attempt === undefined || step.attempt === 1 ? "" : `, attempt ${step.attempt}`

/** Says how many steps a build has. */
export const plannedText = ({ hits, steps }: Pick<Of<"Planned">, "hits" | "steps">): string =>
  `${steps} ${steps === 1 ? "step" : "steps"}${hits === 0 ? "" : `, ${hits} cached`}`

/** The lines of a part of an output, as they were written. */
export const linesOf = ({ text }: Of<"StepOutput">): ReadonlyArray<string> => text.replace(/\r?\n$/, "").split("\n")

/** Output lines shown of a failed step. */
export const mostLines = 20

/** Splits the problem of a step into its first line, and what follows: output of a command in an Effect step. */
export const problemOf = (text: string): { readonly problem: string; readonly details: ReadonlyArray<Line> } => {
  const [problem = "", ...details] = text.split("\n")
  return {
    problem: clean(problem),
    details: details.slice(-mostLines).map((line) => ({ mark: "output", text: clean(line.replace(/^ *\| /, "")) }))
  }
}

export const savedNote = ({ duration, size: bytes }: Of<"Checkpointed">): string =>
  [span(duration), ...(bytes === undefined ? [] : [size(bytes)])].join(", ")

/** Says how a build ended. */
export const finishedLine = (
  name: string,
  { duration, stepsReused, stepsRun }: Of<"Finished">,
  generation: number | undefined
): Line => {
  const facts = [
    span(duration),
    ...(stepsRun === 0 ? [] : [`${stepsRun} run`]),
    ...(stepsReused === 0 ? [] : [`${stepsReused} cached`]),
    ...(generation === undefined ? [] : [`generation ${generation}`])
  ]
  const isUnchanged = stepsRun === 0 && generation === undefined
  return { mark: "done", text: `${name} ${isUnchanged ? "up to date" : "built"}`, notes: [facts.join(", ")] }
}

/** Says how a build failed, and why unless that is known. */
export const failedLines = (name: string, event: Of<"Failed">, isKnown: boolean): readonly [Line, ...Array<Line>] => {
  const isInterrupted = event.problem === "interrupted"
  const failed: Line = {
    mark: "failed",
    text: `${name} ${isInterrupted ? "interrupted" : "failed"}`,
    notes: [`after ${span(event.duration)}`]
  }
  if (isInterrupted || isKnown) return [failed]
  // Skip indented lines: the output was shown, and the stack is in the error.
  const [first = "", ...more] = event.problem.split("\n")
  const end = more.findIndex((line) => /^\s/.test(line))
  return [
    failed,
    ...[first, ...more.slice(0, end === -1 ? undefined : end)].map((line): Line => ({
      mark: "problem",
      text: clean(line)
    }))
  ]
}

// =============================================================================
// Pulls
// =============================================================================

export interface Pull {
  readonly image: string
  readonly since: number
  /** Size of the image, if its manifest states it. */
  total: number | undefined
  readonly layers: Map<number, { readonly Downloading?: Progress; readonly Unpacking?: Progress }>
}

interface Progress {
  readonly done: number
  readonly total: number | undefined
}

/** Whether there is something to show of a pull: of a cached image, nothing but its name is resolved. */
export const hasBegun = (pull: Pull | undefined): pull is Pull => pull !== undefined && pull.layers.size > 0

/** Sums the progress of the layers seen so far. */
const progressOf = ({ layers }: Pull, phase: "Downloading" | "Unpacking"): Progress => {
  const parts = [...layers.values()].flatMap((layer) => layer[phase] ?? [])
  return {
    done: parts.reduce((sum, { done }) => sum + done, 0),
    total: parts.reduce<number | undefined>(
      (sum, { total }) => (sum === undefined || total === undefined ? undefined : sum + total),
      0
    )
  }
}

const barColumns = 20

/** Shows a pull that runs. */
export const pullLine = (pull: Pull, now: number): Line => {
  const downloaded = progressOf(pull, "Downloading")
  const total = pull.total ?? downloaded.total
  const isDownloaded = total !== undefined && downloaded.done >= total
  const { done, total: whole } = isDownloaded ? progressOf(pull, "Unpacking") : { done: downloaded.done, total }
  const time = elapsed(now - pull.since)
  const text = `${isDownloaded ? "unpacking" : "pulling"} ${pull.image}`
  if (whole === undefined || whole <= 0) return { mark: "busy", text, notes: [`${size(done)}  ${time}`, time] }
  const share = Math.min(1, Math.max(0, done / whole))
  const full = Math.round(share * barColumns)
  const percent = `${Math.floor(share * 100)}%`
  return {
    mark: "busy",
    text,
    notes: [
      `${"━".repeat(full)}${"─".repeat(barColumns - full)} ${percent}  ${size(done)} of ${size(whole)}  ${time}`,
      `${percent}  ${time}`
    ]
  }
}

/** Shows a pull that has ended. */
export const pulledLine = (pull: Pull | undefined, at: number): Line | undefined => {
  if (!hasBegun(pull)) return undefined
  const { done } = progressOf(pull, "Downloading")
  const time = elapsed(at - pull.since)
  return { mark: "done", text: `pulled ${pull.image}`, notes: [done > 0 ? `${size(done)}, ${time}` : time] }
}

/** Takes an event of a pull. */
export const takePull = (known: Pull | undefined, { at, done, image, layer, phase, total }: Of<"Pulling">): Pull => {
  const pull = known ?? {
    image: oneLine(image),
    since: DateTime.toEpochMillis(at),
    total: undefined,
    layers: new Map()
  }
  if (phase === "Resolved") pull.total = total
  if (layer !== undefined && (phase === "Downloading" || phase === "Unpacking")) {
    pull.layers.set(layer, { ...pull.layers.get(layer), [phase]: { done: done ?? 0, total } })
  }
  return pull
}

export const size = (bytes: number): string =>
  ByteSize.format(ByteSize.bytes(Math.min(Math.max(0, Math.round(bytes)), Number.MAX_SAFE_INTEGER)), { precision: 1 })
