/**
 * Shows builds as trees: each a line for the build, and below it what it did, does, and what that writes.
 *
 * A tree is drawn again and again while its build runs, and becomes permanent, once and whole, when it ends. Only what
 * is to be seen is kept: of output, the last lines.
 */
import type { BuildEvent } from "../../BuildEvent.ts"
import * as Lines from "./buildLine.ts"
import { clean, oneLine } from "./terminalText.ts"

/** Something that a build does. */
interface Entry {
  readonly text: string
  readonly since: number
  /** A build that this one needs. */
  readonly child?: Build
  /** The step, if it is one. */
  readonly index?: number
  state: "busy" | "done" | "failed" | "interrupted" | "note"
  notes: ReadonlyArray<string>
  /** Lines below it. */
  details: ReadonlyArray<Lines.Line>
}

interface Build {
  readonly id: string
  readonly name: string
  /** Of this process. The events of a build in another process never include its first. */
  readonly isLocal: boolean
  readonly since: number
  /** Sequence number of its last event. */
  sequence: number
  parent: Build | undefined
  steps: number | undefined
  hits: number
  readonly entries: Array<Entry>
  busy: Entry | undefined
  /** Steps from which on all were cached. */
  cached: { readonly from: number; readonly to: number; readonly entry: Entry } | undefined
  isWaiting: boolean
  /** The builds of other processes that it waits for. */
  readonly followed: Set<Build>
  pull: Lines.Pull | undefined
  /** The last output lines of the current step. */
  tail: ReadonlyArray<string>
  /** The step that failed, and shows why. Those before it can run again, to keep their result. */
  explained: number | undefined
  generation: number | undefined
  /** How it ended. */
  end: readonly [Lines.Line, ...Array<Lines.Line>] | undefined
}

/** Output lines shown of a running step. */
const runningLines = 4

// =============================================================================
// Rows
// =============================================================================

/** What is left out first when a window is too small. */
const ranks = { done: 0, childDone: 1, detail: 2, output: 3, failed: 4, busy: 5, title: 6 }

interface Row extends Lines.Line {
  readonly depth: number
  readonly rank: number
}

const titleOf = (build: Build, now: number): Lines.Line => {
  if (build.end !== undefined) return build.end[0]
  const time = Lines.elapsed(now - build.since)
  const { hits, steps } = build
  if (steps === undefined) return { mark: "busy", text: build.name, notes: [time] }
  return { mark: "busy", text: build.name, notes: [`${Lines.plannedText({ hits, steps })}, ${time}`, time] }
}

const outputOf = (tail: ReadonlyArray<string>): ReadonlyArray<Lines.Line> =>
  tail.slice(-runningLines).map((text): Lines.Line => ({ mark: "output", text }))

const below = (lines: ReadonlyArray<Lines.Line>, depth: number, rank: number): ReadonlyArray<Row> =>
  lines.map((line) => ({ ...line, depth, rank }))

const detailRows = (details: ReadonlyArray<Lines.Line>, depth: number): ReadonlyArray<Row> =>
  details.map((line) => ({ ...line, depth, rank: line.mark === "output" ? ranks.detail : ranks.failed }))

/** What a build does now, and the output of that. */
const busyRows = (build: Build, entry: Entry, depth: number, now: number): ReadonlyArray<Row> => [
  { mark: "busy", text: entry.text, notes: [Lines.elapsed(now - entry.since)], depth, rank: ranks.busy },
  ...below(outputOf(build.tail), depth, ranks.output),
  ...[...build.followed].flatMap((other) =>
    Lines.hasBegun(other.pull)
      ? below([Lines.pullLine(other.pull, now)], depth + 1, ranks.busy)
      : other.busy === undefined
        ? []
        : busyRows(other, other.busy, depth + 1, now)
  )
]

const rowsOfEntry = (build: Build, entry: Entry, depth: number, now: number): ReadonlyArray<Row> => {
  if (entry.child !== undefined) return rowsOf(entry.child, depth, now)
  if (entry.state === "busy") return Lines.hasBegun(build.pull) ? [] : busyRows(build, entry, depth, now)
  const { details, notes, state, text } = entry
  const isFailed = state === "failed" || state === "interrupted"
  return [
    { mark: isFailed ? "failed" : state, text, notes, depth, rank: isFailed ? ranks.failed : ranks.done },
    ...detailRows(details, depth)
  ]
}

/** The whole tree of a build. */
const rowsOf = (build: Build, depth: number, now: number): ReadonlyArray<Row> => {
  const isDone = build.end !== undefined && build.end[0].mark === "done"
  // Its steps are in the tree, and do not matter to those of another.
  const rank = depth === 0 ? ranks.title : isDone ? ranks.childDone : ranks.busy
  return [
    { ...titleOf(build, now), depth, rank },
    ...build.entries.flatMap((entry) => rowsOfEntry(build, entry, depth + 1, now)),
    ...(Lines.hasBegun(build.pull) ? below([Lines.pullLine(build.pull, now)], depth + 1, ranks.busy) : []),
    ...below(build.end?.slice(1) ?? [], depth, ranks.failed)
  ]
}

/** Leaves out what matters least, from the top. */
const fit = (rows: ReadonlyArray<Row>, room: number): ReadonlyArray<Lines.Line> => {
  if (rows.length <= room) return rows
  const saysSo = room > 2
  const excess = rows.length - room + (saysSo ? 1 : 0)
  const left = new Set(
    rows
      .map(({ rank }, index) => ({ rank, index }))
      .toSorted((a, b) => a.rank - b.rank || a.index - b.index)
      .slice(0, excess)
      .map(({ index }) => index)
  )
  const [title, ...kept] = rows.filter((_, index) => !left.has(index))
  return [
    ...(title === undefined ? [] : [title]),
    ...(saysSo ? [{ mark: "note", text: `… ${excess} more lines`, depth: 1 } as const] : []),
    ...kept
  ]
}

/** A running build in one line. */
const summary = (build: Build, now: number): Lines.Line => {
  const child = build.entries.findLast(({ child }) => child !== undefined && child.end === undefined)?.child
  if (child !== undefined) return summary(child, now)
  const { busy, name, pull } = build
  if (Lines.hasBegun(pull)) {
    const line = Lines.pullLine(pull, now)
    return { ...line, text: `${name}: ${line.text}` }
  }
  if (busy === undefined) return titleOf(build, now)
  return { mark: "busy", text: `${name}: ${busy.text}`, notes: [Lines.elapsed(now - busy.since)] }
}

/** Divides the room among trees: small ones get what they need. */
const shares = (heights: ReadonlyArray<number>, room: number): ReadonlyArray<number> => {
  const given = heights.map(() => 0)
  let rest = room
  const order = heights.map((height, index) => ({ height, index })).toSorted((a, b) => a.height - b.height)
  for (const [at, { height, index }] of order.entries()) {
    const share = Math.min(height, Math.floor(rest / (order.length - at)))
    given[index] = share
    rest -= share
  }
  return given
}

// =============================================================================
// View
// =============================================================================

/** Creates a view of any number of builds. */
export const make = (): Lines.View => {
  const builds = new Map<string, Build>()
  const ended = new Set<string>()

  const roots = (): ReadonlyArray<Build> =>
    [...builds.values()].filter((build) => build.parent === undefined && !isFollowed(build))

  const isFollowed = (build: Build): boolean =>
    !build.isLocal && [...builds.values()].some(({ followed }) => followed.has(build))

  const buildOf = (event: BuildEvent): Build => {
    const known = builds.get(event.buildId)
    if (known !== undefined) return known
    const build: Build = {
      id: event.buildId,
      name: oneLine(event.snapshot),
      isLocal: event.sequence === 0,
      since: Lines.timeOf(event),
      sequence: -1,
      parent: undefined,
      steps: undefined,
      hits: 0,
      entries: [],
      busy: undefined,
      cached: undefined,
      isWaiting: false,
      followed: new Set(),
      pull: undefined,
      tail: [],
      explained: undefined,
      generation: undefined,
      end: undefined
    }
    if (!build.isLocal) waitingFor(build.name)?.followed.add(build)
    builds.set(build.id, build)
    return build
  }

  /** The build that waits for one in another process, which may be of another snapshot that begins like it. */
  const waitingFor = (name: string): Build | undefined => {
    const waiting = [...builds.values()].filter(({ isLocal, isWaiting }) => isLocal && isWaiting)
    return waiting.find((build) => build.name === name) ?? waiting[0]
  }

  /** Forgets a build, and those in its tree. */
  const forget = (build: Build): void => {
    builds.delete(build.id)
    ended.add(build.id)
    for (const [id] of ended.entries()) {
      if (ended.size <= Lines.mostEnded) break
      ended.delete(id)
    }
    for (const { child } of build.entries) if (child !== undefined) forget(child)
    for (const other of build.followed) forget(other)
  }

  const push = (build: Build, entry: Omit<Entry, "details" | "notes"> & Partial<Entry>): Entry => {
    const whole: Entry = { details: [], notes: [], ...entry }
    build.entries.push(whole)
    build.cached = undefined
    return whole
  }

  const begin = (build: Build, event: BuildEvent, text: string, index?: number): void => {
    // Begun again, such as a boot that took too long.
    if (build.busy !== undefined) {
      build.busy.state = "note"
      build.busy.notes = [Lines.elapsed(Lines.timeOf(event) - build.busy.since)]
    }
    build.busy = push(build, {
      text,
      since: Lines.timeOf(event),
      state: "busy",
      ...(index === undefined ? {} : { index })
    })
  }

  /** Ends what a build does. If its beginning is not known, adds it. */
  const finish = (build: Build, event: BuildEvent, text: string, fields: Partial<Entry>): Entry => {
    const old = build.busy
    build.busy = undefined
    const entry: Entry = {
      since: old?.since ?? Lines.timeOf(event),
      ...(old?.index === undefined ? {} : { index: old.index }),
      details: [],
      notes: [],
      state: "done",
      ...fields,
      text
    }
    const at = old === undefined ? -1 : build.entries.indexOf(old)
    if (at < 0) build.entries.push(entry)
    else build.entries[at] = entry
    build.cached = undefined
    return entry
  }

  /** A build continues when the one that it waited for has ended, or died without a last event. */
  const endWaiting = (build: Build, event: BuildEvent): void => {
    if (!build.isWaiting) return
    build.isWaiting = false
    const others = [...build.followed]
    build.followed.clear()
    if (event._tag !== "Failed") {
      const time = Lines.elapsed(Lines.timeOf(event) - (build.busy?.since ?? build.since))
      finish(build, event, "waited for another build of this snapshot", { state: "note", notes: [time] })
    }
    for (const other of others) {
      const next = waitingFor(other.name)
      if (next === undefined) forget(other)
      else next.followed.add(other)
    }
  }

  /** Nothing of a build goes on. */
  const seal = (build: Build, how: "interrupted" | "failed" | "still running"): void => {
    const { busy } = build
    if (busy !== undefined) {
      busy.state = how === "still running" ? "note" : how
      busy.notes = how === "failed" ? [] : [how]
      busy.details = [...busy.details, ...outputOf(build.tail)]
      build.busy = undefined
    }
    build.tail = []
    build.pull = undefined
    for (const { child } of build.entries) {
      if (child === undefined || child.end !== undefined) continue
      seal(child, how)
      child.end = unfinished(child.name, how)
    }
  }

  const unfinished = (name: string, how: string): readonly [Lines.Line] => [
    { mark: how === "still running" ? "note" : "failed", text: `${name} ${how}` }
  ]

  const end = (build: Build): ReadonlyArray<Lines.Line> => {
    if (build.parent !== undefined) return []
    const rows = rowsOf(build, 0, 0)
    const isMerelyFollowed = isFollowed(build)
    for (const { followed } of builds.values()) followed.delete(build)
    forget(build)
    // The build that waits for it is about to report the same.
    return isMerelyFollowed ? [] : rows
  }

  const stepText = (
    build: Build,
    step: { readonly index: number; readonly description: string; readonly attempt?: number }
  ): string =>
    `${step.index}${build.steps === undefined ? "" : `/${build.steps}`} ${oneLine(step.description)}${Lines.attemptText(step)}`

  const cached = (build: Build, event: Lines.Of<"StepCached">): void => {
    const { index } = event
    const known = build.cached
    if (known === undefined || known.to + 1 !== index) {
      const entry = push(build, {
        text: stepText(build, event),
        since: 0,
        state: "done",
        notes: ["cached"]
      })
      build.cached = { from: index, to: index, entry }
      return
    }
    build.entries.pop()
    const entry = push(build, { text: `steps ${known.from}–${index} cached`, since: 0, state: "done" })
    build.cached = { ...known, to: index, entry }
  }

  const accept = (event: BuildEvent): ReadonlyArray<Lines.Line> => {
    if (ended.has(event.buildId)) return []
    const build = buildOf(event)
    // Events of a build in this process arrive twice if another one waits for it.
    if (event.sequence <= build.sequence || build.end !== undefined) return []
    build.sequence = event.sequence
    endWaiting(build, event)
    const at = Lines.timeOf(event)
    switch (event._tag) {
      case "Planned": {
        build.steps = event.steps
        build.hits = event.hits
        const parent = event.parent === undefined ? undefined : builds.get(event.parent)
        // Not one of its own tree, whatever events say.
        if (parent === undefined || build.parent !== undefined || treeOf(parent).has(build)) break
        build.parent = parent
        push(parent, { text: build.name, since: at, state: "busy", child: build })
        break
      }
      case "Waiting":
        begin(build, event, "waiting for another build of this snapshot")
        build.isWaiting = true
        break
      case "Pulling":
        if (event.phase === "Pulled") pulled(build, at)
        else build.pull = Lines.takePull(build.pull, event)
        break
      case "Booting":
        begin(build, event, "booting")
        break
      case "Booted":
        pulled(build, at)
        finish(build, event, "booted", { notes: [Lines.span(event.duration)] })
        break
      case "StepCached":
        cached(build, event)
        break
      case "StepStarted":
        build.tail = []
        if (event.index >= (build.explained ?? 0)) build.explained = undefined
        begin(build, event, stepText(build, event), event.index)
        break
      case "StepOutput":
        build.tail = [...build.tail, ...Lines.linesOf(event).slice(-Lines.mostLines).map(clean)].slice(-Lines.mostLines)
        break
      case "StepAttemptFailed": {
        const { details, problem } = Lines.problemOf(event.problem)
        const time = Lines.elapsed(at - (build.busy?.since ?? at))
        finish(build, event, stepText(build, event), {
          state: "failed",
          index: event.index,
          notes: [`failed after ${time}`],
          details: [
            { mark: "problem", text: problem },
            ...(event.declaredAt === undefined ? [] : [{ mark: "where", text: clean(event.declaredAt) } as const]),
            // The output of commands in an Effect step is only in their error.
            ...(build.tail.length > 0 ? build.tail.map((text): Lines.Line => ({ mark: "output", text })) : details)
          ]
        })
        build.tail = []
        build.explained = event.index
        break
      }
      case "StepFinished":
        build.tail = []
        finish(build, event, stepText(build, event), { notes: [Lines.span(event.duration)] })
        // Why it failed before matters less now.
        for (const entry of build.entries) {
          if (entry.state === "failed" && entry.index === event.index) entry.details = entry.details.slice(0, 1)
        }
        break
      case "Checkpointing":
        begin(build, event, `saving ${savedOf(build, event.index)}`)
        break
      case "Checkpointed":
        finish(build, event, `saved ${savedOf(build, event.index)}`, { notes: [Lines.savedNote(event)] })
        break
      case "Committed":
        build.generation = event.generation
        break
      case "Finished":
        seal(build, "still running")
        // Nothing happened but that all steps were found.
        if (event.stepsRun === 0 && build.cached?.entry === build.entries[0]) build.entries.length = 0
        build.end = [Lines.finishedLine(build.name, event, build.generation)]
        return end(build)
      case "Failed":
        build.end = Lines.failedLines(build.name, event, build.explained !== undefined)
        seal(build, event.problem === "interrupted" ? "interrupted" : "failed")
        return end(build)
    }
    return []
  }

  const savedOf = ({ steps }: Build, index: number): string =>
    index === steps ? "the snapshot" : `the result of step ${index}`

  const treeOf = (build: Build): ReadonlySet<Build> => {
    const found = new Set<Build>()
    for (let one: Build | undefined = build; one !== undefined; one = one.parent) found.add(one)
    return found
  }

  const pulled = (build: Build, at: number): void => {
    const line = Lines.pulledLine(build.pull, at)
    build.pull = undefined
    if (line === undefined) return
    const entry: Entry = { text: line.text, since: at, state: "done", notes: line.notes ?? [], details: [] }
    const boot = build.busy === undefined ? -1 : build.entries.indexOf(build.busy)
    build.entries.splice(boot < 0 ? build.entries.length : boot, 0, entry)
  }

  return {
    accept,
    current: (now, room) => {
      const running = roots()
      if (running.length * 2 > room) {
        const shown = running.length > room ? Math.max(0, room - 1) : running.length
        const more = running.length - shown
        return [
          ...running.slice(0, shown).map((build) => summary(build, now)),
          ...(more === 0 || room === 0 ? [] : [{ mark: "note", text: `… ${more} more builds` } as const])
        ]
      }
      const trees = running.map((build) => rowsOf(build, 0, now))
      const given = shares(
        trees.map(({ length }) => length),
        room
      )
      return trees.flatMap((rows, index) => fit(rows, given[index] ?? 0))
    },
    close: (isInterrupted) => {
      const how = isInterrupted ? "interrupted" : "still running"
      return roots().flatMap((build) => {
        seal(build, how)
        build.end = unfinished(build.name, how)
        return end(build)
      })
    }
  }
}
