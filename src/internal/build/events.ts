/**
 * Delivers the events of a build to listeners.
 */
import type * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { BuildEvent } from "../../BuildEvent.ts"

/** An event without what all events of a build have in common. */
type Bare<Event> = Event extends BuildEvent ? Omit<Event, "buildId" | "sequence" | "snapshot" | "at"> : never

/** Emits events. */
export interface Emitter {
  readonly emit: (event: Bare<BuildEvent>) => Effect.Effect<void>
  /** For callbacks. */
  readonly emitUnsafe: (event: Bare<BuildEvent>) => void
  /** Forwards an event of another build. */
  readonly relay: (line: string) => Effect.Effect<void>
}

const codec = Schema.fromJsonString(Schema.toCodecJson(BuildEvent))

/** An event as a line of JSON. */
export const encode: (event: BuildEvent) => string = Schema.encodeSync(codec)

/** Output beyond this many waiting events is dropped; other events never are. */
const maxWaiting = 4096

/** How long a finished build waits for its listener. */
const drainTimeout = "2 seconds"

/** Creates an emitter. The listener runs in its own fiber: it can be slow, fail or hang without affecting the build. */
export const make = Effect.fnUntraced(function* (options: {
  readonly buildId: string
  readonly snapshot: string
  readonly onEvent: ((event: BuildEvent) => Effect.Effect<void>) | undefined
  /** Tells other processes, while there can be some that listen. */
  readonly tell: () => ((line: string) => void) | undefined
}): Effect.fn.Return<Emitter, never, Scope.Scope> {
  const { buildId, onEvent, snapshot, tell } = options
  const queue = yield* Queue.unbounded<BuildEvent, Cause.Done>()
  if (onEvent !== undefined) {
    const listener = yield* Stream.runForEach(Stream.fromQueue(queue), (event) =>
      Effect.ignoreCause(onEvent(event))
    ).pipe(Effect.forkDetach({ startImmediately: true }))
    yield* Effect.addFinalizer(() =>
      Queue.end(queue).pipe(
        Effect.andThen(Effect.timeoutOption(Fiber.await(listener), drainTimeout)),
        Effect.andThen(Fiber.interrupt(listener))
      )
    )
  }
  const deliver = (event: BuildEvent): void => {
    if (onEvent === undefined) return
    if (event._tag === "StepOutput" && Queue.sizeUnsafe(queue) >= maxWaiting) return
    Queue.offerUnsafe(queue, event)
  }
  const clock = yield* Effect.clockWith(Effect.succeed)
  let sequence = 0
  const emitUnsafe: Emitter["emitUnsafe"] = (bare) => {
    const event: BuildEvent = {
      ...bare,
      buildId,
      sequence: sequence++,
      snapshot,
      at: DateTime.makeUnsafe(clock.currentTimeMillisUnsafe())
    }
    tell()?.(encode(event))
    deliver(event)
  }
  return {
    emitUnsafe,
    emit: (bare) => Effect.sync(() => emitUnsafe(bare)),
    relay: (line) => Effect.ignore(Effect.map(Schema.decodeEffect(codec)(line), deliver))
  }
})
