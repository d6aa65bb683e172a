/**
 * Callbacks of callers.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/** The number of waiting values beyond which droppable ones are dropped. */
const maxWaiting = 4096

/** Time that a closing scope waits for its listener. */
const drainTimeout = "2 seconds"

/** Runs a listener in its own fiber, which may be slow, fail or hang. Returns a function that passes it a value. */
export const make = Effect.fnUntraced(function* <A>(
  listener: (value: A) => Effect.Effect<void>,
  isDroppable: (value: A) => boolean = () => false
): Effect.fn.Return<(value: A) => void, never, Scope.Scope> {
  const queue = yield* Queue.unbounded<A, Cause.Done>()
  const fiber = yield* Stream.runForEach(Stream.fromQueue(queue), (value) =>
    Effect.ignoreCause(Effect.suspend(() => listener(value)))
  ).pipe(Effect.forkDetach({ startImmediately: true }))
  yield* Effect.addFinalizer(() =>
    Queue.end(queue).pipe(
      Effect.andThen(Effect.timeoutOption(Fiber.await(fiber), drainTimeout)),
      Effect.andThen(Fiber.interrupt(fiber))
    )
  )
  return (value) => {
    if (isDroppable(value) && Queue.sizeUnsafe(queue) >= maxWaiting) return
    Queue.offerUnsafe(queue, value)
  }
})
