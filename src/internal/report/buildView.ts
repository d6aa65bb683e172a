/** Renders builds as permanent lines, and lines that show the current activity. */
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
  problem: [" ", "red"]
} as const

/** A line, independent of the width of the window. */
export interface Line {
  readonly mark: keyof typeof marks
  readonly text: string
  /** Shown behind the text: the first one that leaves enough room. */
  readonly notes?: ReadonlyArray<string>
}

/** Columns that a note must leave to the text. */
const shortestText = 16

/** Formats a line: wraps a problem, and cuts anything else at the edge of the window. */
export const show = (
  { mark, notes, text }: Line,
  window: { readonly columns: number; readonly color: boolean; readonly now: number }
): ReadonlyArray<string> => {
  const style = (format: (typeof marks)[Line["mark"]][1], part: string) =>
    window.color && part !== "" ? styleText(format, part, { validateStream: false }) : part
  const [signs, format] = marks[mark]
  const sign = mark === "busy" ? (signs[Math.floor(window.now / 100) % signs.length] ?? "") : signs
  const room = window.columns - displayWidth(sign) - 1
  if (room < 1) return [cut(sign, window.columns)]
  if (mark === "problem") return wrap(text, room).map((part) => `${sign} ${style(format, part)}`)
  const note = notes?.find((note) => displayWidth(note) + 2 + shortestText <= room)
  const shown = cut(text, note === undefined ? room : room - displayWidth(note) - 2)
  const end = note === undefined ? "" : `  ${style("dim", note)}`
  return [`${style(format, sign)} ${mark === "output" ? style(format, shown) : shown}${end}`]
}

/** Formats a time as a person would say it. */
export const elapsed = (millis: number): string => {
  const unit = millis < 1000 ? 1 : millis < 60_000 ? 100 : 1000
  return Duration.format(Duration.millis(Math.floor(Math.max(0, millis) / unit) * unit))
}

const span = (duration: Duration.Duration): string => elapsed(Duration.toMillis(duration))

const timeOf = (event: BuildEvent): number => DateTime.toEpochMillis(event.at)

// =============================================================================
// Builds
// =============================================================================

type Of<Tag extends BuildEvent["_tag"]> = Extract<BuildEvent, { readonly _tag: Tag }>

interface Build {
  readonly name: string
  /** Of this process. The events of a build in another process never include its first. */
  readonly isLocal: boolean
  /** Sequence number of its last event. */
  sequence: number
  steps: number | undefined
  activity: Activity
  isWaiting: boolean
  pull: Pull | undefined
  /** The last output lines of the current step. */
  tail: ReadonlyArray<string>
  /** Of the step that failed last. */
  problem: string | undefined
  generation: number | undefined
  isOver: boolean
}

interface Activity {
  readonly text: string
  readonly since: number
}

const labelOf = ({ name, steps }: Build, index?: number): string =>
  index === undefined ? `[${name}]` : `[${name} ${index}${steps === undefined ? "" : `/${steps}`}]`

const stepText = (build: Build, step: Of<"StepCached" | "StepStarted" | "StepAttemptFailed" | "StepFinished">) => {
  const attempt = "attempt" in step && step.attempt > 1 ? `, attempt ${step.attempt}` : ""
  return `${labelOf(build, step.index)} ${oneLine(step.description)}${attempt}`
}

/** Output lines shown of a failed step. */
const failedLines = 20

/** Output lines shown of a running step. */
const runningLines = 4

export interface View {
  /** Accepts an event and returns permanent lines. */
  readonly accept: (event: BuildEvent) => ReadonlyArray<Line>
  /** Returns lines about the current activity, which replace the previous ones. */
  readonly current: (now: number) => ReadonlyArray<Line>
}

/** Creates a view of any number of builds. Unless it is live, starts and output are permanent lines. */
export const make = ({ isLive }: { readonly isLive: boolean }): View => {
  const builds = new Map<string, Build>()

  const buildOf = (event: BuildEvent): Build => {
    const known = builds.get(event.buildId)
    if (known !== undefined) return known
    const build: Build = {
      name: oneLine(event.snapshot),
      isLocal: event.sequence === 0,
      sequence: -1,
      steps: undefined,
      activity: { text: "", since: timeOf(event) },
      isWaiting: false,
      pull: undefined,
      tail: [],
      problem: undefined,
      generation: undefined,
      isOver: false
    }
    builds.set(event.buildId, build)
    return build
  }

  /** A build continues when the one that it waited for has ended, or died without a last event. */
  const endWaiting = (build: Build): void => {
    if (!build.isWaiting) return
    build.isWaiting = false
    const others = [...builds.values()]
    if (others.some(({ isWaiting }) => isWaiting)) return
    for (const other of others) if (!other.isLocal) other.isOver = true
  }

  const begin = (build: Build, since: number, text: string): ReadonlyArray<Line> => {
    build.activity = { text, since }
    return isLive ? [] : [{ mark: "started", text }]
  }

  const accept = (event: BuildEvent): ReadonlyArray<Line> => {
    const build = buildOf(event)
    // Events of a build in this process arrive twice if another one waits for it.
    if (event.sequence <= build.sequence || build.isOver) return []
    build.sequence = event.sequence
    endWaiting(build)
    const { activity } = build
    if (event._tag !== "StepOutput" && event._tag !== "Pulling") {
      build.activity = { text: `${labelOf(build)} working`, since: timeOf(event) }
    }

    switch (event._tag) {
      case "Planned": {
        build.steps = event.steps
        const cached = event.hits === 0 ? "" : `, ${event.hits} cached`
        return [
          { mark: "note", text: `${labelOf(build)} ${event.steps} ${event.steps === 1 ? "step" : "steps"}${cached}` }
        ]
      }
      case "Waiting":
        build.isWaiting = true
        return begin(build, timeOf(event), `${labelOf(build)} waiting for another build of this snapshot`)
      case "Pulling":
        return pulling(build, event, timeOf(event))
      case "Booting":
        return begin(build, timeOf(event), `${labelOf(build)} booting`)
      case "Booted":
        return [
          ...pulled(build, timeOf(event)),
          { mark: "done", text: `${labelOf(build)} booted`, notes: [span(event.duration)] }
        ]
      case "StepCached":
        return [{ mark: "done", text: stepText(build, event), notes: ["cached"] }]
      case "StepStarted":
        build.tail = []
        build.problem = undefined
        return begin(build, timeOf(event), stepText(build, event))
      case "StepOutput": {
        const lines = event.text
          .replace(/\r?\n$/, "")
          .split("\n")
          .map(clean)
        build.tail = [...build.tail, ...lines].slice(-failedLines)
        return isLive ? [] : lines.map((line) => ({ mark: "output", text: `${labelOf(build, event.index)} ${line}` }))
      }
      case "StepAttemptFailed": {
        const [problem = "", ...details] = event.problem.split("\n")
        const notes = [`failed after ${elapsed(timeOf(event) - activity.since)}`]
        // The output of commands in an Effect step is only in their error.
        const wrote = build.tail.length > 0 ? build.tail : details.map((line) => clean(line.replace(/^ *\| /, "")))
        const isShown = !isLive && build.tail.length > 0
        build.tail = []
        build.problem = problem
        return [
          { mark: "failed", text: stepText(build, event), notes },
          { mark: "problem", text: clean(problem) },
          ...(isShown ? [] : wrote.slice(-failedLines)).map((text): Line => ({ mark: "output", text }))
        ]
      }
      case "StepFinished":
        build.tail = []
        return [{ mark: "done", text: stepText(build, event), notes: [span(event.duration)] }]
      case "Checkpointing": {
        const what = event.index === build.steps ? "snapshot" : "result"
        return begin(build, timeOf(event), `${labelOf(build, event.index)} saving the ${what}`)
      }
      case "Checkpointed": {
        const notes = [span(event.duration)]
        return [{ mark: "note", text: `${labelOf(build, event.index)} result kept`, notes }]
      }
      case "Committed":
        build.generation = event.generation
        return []
      case "Finished": {
        build.isOver = true
        // The waiting build is about to report the same.
        if (!build.isLocal) return []
        const { duration, stepsReused, stepsRun } = event
        const facts = [
          span(duration),
          ...(stepsRun === 0 ? [] : [`${stepsRun} run`]),
          ...(stepsReused === 0 ? [] : [`${stepsReused} cached`]),
          ...(build.generation === undefined ? [] : [`generation ${build.generation}`])
        ]
        const isUnchanged = stepsRun === 0 && build.generation === undefined
        const text = `${labelOf(build)} ${isUnchanged ? "up to date" : "built"}`
        return [{ mark: "done", text, notes: [facts.join(", ")] }]
      }
      case "Failed": {
        build.isOver = true
        const notes = [`after ${span(event.duration)}`]
        if (event.problem === "interrupted") {
          return [{ mark: "failed", text: `${labelOf(build)} interrupted`, notes }]
        }
        // Skip indented lines: the output was shown, and the stack is in the error.
        const [first = "", ...more] = event.problem.split("\n")
        const end = more.findIndex((line) => /^\s/.test(line))
        const failed: Line = { mark: "failed", text: `${labelOf(build)} failed`, notes }
        // The failed step already showed it.
        if (build.problem !== undefined) return [failed]
        return [
          failed,
          ...[first, ...more.slice(0, end === -1 ? undefined : end)].map((line): Line => ({
            mark: "problem",
            text: clean(line)
          }))
        ]
      }
    }
  }

  const pulling = (
    build: Build,
    { done, image, layer, phase, total }: Of<"Pulling">,
    at: number
  ): ReadonlyArray<Line> => {
    if (phase === "Pulled") return pulled(build, at)
    const pull = (build.pull ??= { image: oneLine(image), since: at, total: undefined, layers: new Map() })
    if (phase === "Resolved") pull.total = total
    if (layer === undefined || (phase !== "Downloading" && phase !== "Unpacking")) return []
    const isFirst = pull.layers.size === 0
    pull.layers.set(layer, { ...pull.layers.get(layer), [phase]: { done: done ?? 0, total } })
    return isLive || !isFirst ? [] : [{ mark: "started", text: `${labelOf(build)} pulling ${pull.image}` }]
  }

  return {
    accept,
    current: (now) =>
      [...builds.values()].flatMap((build): ReadonlyArray<Line> => {
        if (build.isOver) return []
        if (build.pull !== undefined && build.pull.layers.size > 0) return [pullLine(build, build.pull, now)]
        const { text, since } = build.activity
        return [
          { mark: "busy", text: text === "" ? labelOf(build) : text, notes: [elapsed(now - since)] },
          ...build.tail.slice(-runningLines).map((text): Line => ({ mark: "output", text }))
        ]
      })
  }
}

// =============================================================================
// Pulls
// =============================================================================

interface Pull {
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

const pullLine = (build: Build, pull: Pull, now: number): Line => {
  const downloaded = progressOf(pull, "Downloading")
  const total = pull.total ?? downloaded.total
  const isDownloaded = total !== undefined && downloaded.done >= total
  const { done, total: whole } = isDownloaded ? progressOf(pull, "Unpacking") : { done: downloaded.done, total }
  const time = elapsed(now - pull.since)
  const text = `${labelOf(build)} ${isDownloaded ? "unpacking" : "pulling"} ${pull.image}`
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

const pulled = (build: Build, at: number): ReadonlyArray<Line> => {
  const { pull } = build
  build.pull = undefined
  // A cached image is only resolved.
  if (pull === undefined || pull.layers.size === 0) return []
  const { done } = progressOf(pull, "Downloading")
  const time = elapsed(at - pull.since)
  return [
    {
      mark: "done",
      text: `${labelOf(build)} pulled ${pull.image}`,
      notes: [done > 0 ? `${size(done)}, ${time}` : time]
    }
  ]
}

const size = (bytes: number): string =>
  ByteSize.format(ByteSize.bytes(Math.min(Math.max(0, Math.round(bytes)), Number.MAX_SAFE_INTEGER)), { precision: 1 })
