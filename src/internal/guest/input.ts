/** The input of a command while it runs. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type * as Guest from "../../Guest.ts"

/** The input of a process, which stays open after a stream was run into it. */
export const openInput = Effect.fnUntraced(function* (
  running: Guest.Process
): Effect.fn.Return<Sink.Sink<void, Uint8Array>, never, Scope.Scope> {
  const queue = yield* Queue.bounded<Uint8Array>(1)
  yield* Stream.run(Stream.fromQueue(queue), running.stdin).pipe(
    Effect.ignore,
    Effect.ensuring(Queue.shutdown(queue)),
    Effect.forkScoped
  )
  return Sink.forEach((bytes: Uint8Array) => Queue.offer(queue, bytes))
})
