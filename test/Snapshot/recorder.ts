import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { BuildEvent } from "../../src/BuildEvent.ts"

/** Remembers the events of a build, and waits for one. */
export const recorder = () => {
  const events: Array<BuildEvent> = []
  const waiting = new Map<BuildEvent["_tag"], Deferred.Deferred<void>>()
  return {
    /** So far. */
    events,
    /** For the options of a build. */
    onEvent: (event: BuildEvent): Effect.Effect<void> =>
      Effect.suspend(() => {
        events.push(event)
        const deferred = waiting.get(event._tag)
        return deferred === undefined ? Effect.void : Effect.asVoid(Deferred.succeed(deferred, undefined))
      }),
    /** Completes at the next event of the tag, or at once if there was one. */
    until: (tag: BuildEvent["_tag"]): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (events.some(({ _tag }) => _tag === tag)) return Effect.void
        const deferred = waiting.get(tag) ?? Deferred.makeUnsafe<void>()
        waiting.set(tag, deferred)
        return Deferred.await(deferred)
      }),
    /** Positions of the steps that were run, including failed attempts. */
    stepsRun: (): ReadonlyArray<number> =>
      events.flatMap((event) => (event._tag === "StepStarted" ? [event.index] : [])),
    /** All output of the steps. */
    output: (): string => events.flatMap((event) => (event._tag === "StepOutput" ? [event.text] : [])).join("")
  }
}
