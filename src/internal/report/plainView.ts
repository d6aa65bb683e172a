/** Prints builds line by line, for outputs that keep what is written. */
import type { BuildEvent } from "../../BuildEvent.ts"
import * as Lines from "./buildLine.ts"
import { clean, oneLine } from "./terminalText.ts"

interface Build {
  readonly id: string
  readonly name: string
  /** Of this process. The events of a build in another process never include its first. */
  readonly isLocal: boolean
  /** Sequence number of its last event. */
  sequence: number
  steps: number | undefined
  /** When its current activity began. */
  since: number
  isWaiting: boolean
  pull: Lines.Pull | undefined
  /** The current step has written something. */
  hasOutput: boolean
  /** The step that failed, and shows why. Those before it can run again, to keep their result. */
  explained: number | undefined
  generation: number | undefined
  isOver: boolean
}

const labelOf = ({ name, steps }: Build, index?: number): string =>
  index === undefined ? `[${name}]` : `[${name} ${index}${steps === undefined ? "" : `/${steps}`}]`

const stepText = (build: Build, step: Lines.Of<"StepCached" | "StepStarted" | "StepAttemptFailed" | "StepFinished">) =>
  `${labelOf(build, step.index)} ${oneLine(step.description)}${Lines.attemptText(step)}`

/** Creates a view of any number of builds. */
export const make = (): Lines.View => {
  const builds = new Map<string, Build>()
  const ended = new Set<string>()

  const end = (build: Build): void => {
    build.isOver = true
    ended.add(build.id)
    for (const oldest of ended) {
      if (ended.size <= Lines.mostEnded) break
      ended.delete(oldest)
      builds.delete(oldest)
    }
  }

  const buildOf = (event: BuildEvent): Build => {
    const known = builds.get(event.buildId)
    if (known !== undefined) return known
    const build: Build = {
      id: event.buildId,
      name: oneLine(event.snapshot),
      isLocal: event.sequence === 0,
      sequence: -1,
      steps: undefined,
      since: Lines.timeOf(event),
      isWaiting: false,
      pull: undefined,
      hasOutput: false,
      explained: undefined,
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
    for (const other of others) if (!other.isLocal && !other.isOver) end(other)
  }

  const accept = (event: BuildEvent): ReadonlyArray<Lines.Line> => {
    const build = buildOf(event)
    // Events of a build in this process arrive twice if another one waits for it.
    if (event.sequence <= build.sequence || build.isOver) return []
    build.sequence = event.sequence
    endWaiting(build)
    const { since } = build
    if (event._tag !== "StepOutput" && event._tag !== "Pulling") build.since = Lines.timeOf(event)

    switch (event._tag) {
      case "Planned":
        build.steps = event.steps
        return [{ mark: "note", text: `${labelOf(build)} ${Lines.plannedText(event)}` }]
      case "Waiting":
        build.isWaiting = true
        return [{ mark: "started", text: `${labelOf(build)} waiting for another build of this snapshot` }]
      case "Pulling":
        return pulling(build, event)
      case "Booting":
        return [{ mark: "started", text: `${labelOf(build)} booting` }]
      case "Booted":
        return [
          ...pulled(build, Lines.timeOf(event)),
          { mark: "done", text: `${labelOf(build)} booted`, notes: [Lines.span(event.duration)] }
        ]
      case "StepCached":
        return [{ mark: "done", text: stepText(build, event), notes: ["cached"] }]
      case "StepStarted":
        build.hasOutput = false
        if (event.index >= (build.explained ?? 0)) build.explained = undefined
        return [{ mark: "started", text: stepText(build, event) }]
      case "StepOutput":
        build.hasOutput = true
        return Lines.linesOf(event).map((line) => ({
          mark: "output",
          text: `${labelOf(build, event.index)} ${clean(line)}`
        }))
      case "StepAttemptFailed": {
        const { details, problem } = Lines.problemOf(event.problem)
        build.explained = event.index
        return [
          {
            mark: "failed",
            text: stepText(build, event),
            notes: [`failed after ${Lines.elapsed(Lines.timeOf(event) - since)}`]
          },
          { mark: "problem", text: problem },
          ...(build.hasOutput ? [] : details)
        ]
      }
      case "StepFinished":
        return [{ mark: "done", text: stepText(build, event), notes: [Lines.span(event.duration)] }]
      case "Checkpointing": {
        const what = event.index === build.steps ? "snapshot" : "result"
        return [{ mark: "started", text: `${labelOf(build, event.index)} saving the ${what}` }]
      }
      case "Checkpointed": {
        const what = event.index === build.steps ? "snapshot saved" : "result kept"
        return [{ mark: "note", text: `${labelOf(build, event.index)} ${what}`, notes: [Lines.savedNote(event)] }]
      }
      case "Committed":
        build.generation = event.generation
        return []
      case "Finished": {
        end(build)
        // The waiting build is about to report the same.
        if (!build.isLocal) return []
        return [Lines.finishedLine(labelOf(build), event, build.generation)]
      }
      case "Failed":
        end(build)
        // The failed step already showed why.
        return Lines.failedLines(labelOf(build), event, build.explained !== undefined)
    }
  }

  const pulled = (build: Build, at: number): ReadonlyArray<Lines.Line> => {
    const line = Lines.pulledLine(build.pull, at)
    build.pull = undefined
    return line === undefined ? [] : [{ ...line, text: `${labelOf(build)} ${line.text}` }]
  }

  const pulling = (build: Build, event: Lines.Of<"Pulling">): ReadonlyArray<Lines.Line> => {
    if (event.phase === "Pulled") return pulled(build, Lines.timeOf(event))
    const hadBegun = Lines.hasBegun(build.pull)
    build.pull = Lines.takePull(build.pull, event)
    if (hadBegun || !Lines.hasBegun(build.pull)) return []
    return [{ mark: "started", text: `${labelOf(build)} pulling ${build.pull.image}` }]
  }

  return { accept, current: () => [], close: () => [] }
}
