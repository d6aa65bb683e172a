/** Delivers the events of a build. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { BuildEvent } from "../../BuildEvent.ts"
import * as Listener from "../report/listener.ts"
import * as Progress from "../report/progress.ts"
import type { Recording } from "./recording.ts"

/** An event without the common fields. */
type Bare<Event> = Event extends BuildEvent ? Omit<Event, "buildId" | "sequence" | "snapshot" | "at"> : never

export interface Emitter {
  readonly emit: (event: Bare<BuildEvent>) => Effect.Effect<void>
  /** Forwards an event of another build. */
  readonly relay: (line: string) => Effect.Effect<void>
}

const codec = Schema.fromJsonString(Schema.toCodecJson(BuildEvent))

export const encode: (event: BuildEvent) => string = Schema.encodeSync(codec)

export const decode = Schema.decodeOption(codec)

/** Creates an emitter. The listener runs in its own fiber: it can be slow, fail or hang without affecting the build. */
export const make = Effect.fnUntraced(function* (options: {
  readonly buildId: string
  readonly snapshot: string
  readonly onEvent: ((event: BuildEvent) => Effect.Effect<void>) | undefined
  readonly recording: Recording
  /** Sends lines to waiting processes while the build holds its lock. */
  readonly send: () => ((line: string) => void) | undefined
}): Effect.fn.Return<Emitter, never, Scope.Scope> {
  const { buildId, onEvent, recording, snapshot, send } = options
  const print = yield* Progress.once
  const deliver =
    onEvent === undefined
      ? (event: BuildEvent) => printProgress(print, event)
      : yield* Listener.make(onEvent, ({ _tag }: BuildEvent) => _tag === "StepOutput")
  const clock = yield* Effect.clockWith(Effect.succeed)
  let sequence = 0
  const emit = (bare: Bare<BuildEvent>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const event: BuildEvent = {
        ...bare,
        buildId,
        sequence: sequence++,
        snapshot,
        at: DateTime.makeUnsafe(clock.currentTimeMillisUnsafe())
      }
      return Effect.andThen(
        recording.take(event),
        Effect.sync(() => {
          send()?.(encode(event))
          deliver(event)
        })
      )
    })
  const relay = (event: BuildEvent): void => {
    recording.follow(event.buildId)
    deliver(event)
  }
  return {
    emit,
    relay: (line) => Effect.ignore(Effect.map(Schema.decodeEffect(codec)(line), relay))
  }
})

/** Prints slow work of a build without a listener. */
const printProgress = (print: (line: string) => void, event: BuildEvent): void => {
  switch (event._tag) {
    case "Waiting":
      return print(`waiting for another build of "${event.snapshot}"`)
    case "Pulling":
      return event.phase === "Downloading" ? print(`pulling ${event.image}`) : undefined
    case "Booting":
      return print(`building "${event.snapshot}"`)
    case "StepStarted":
      return print(`building "${event.snapshot}": ${event.description}`)
    case "Checkpointing":
      return print(`saving "${event.snapshot}"`)
    default:
  }
}
