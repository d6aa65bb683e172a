/**
 * A stream that is read piece by piece, by calls from outside.
 */
// @effect-diagnostics asyncFunction:off
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { LightboxError } from "../../LightboxError.ts"
import { type OpenScope, run } from "./runtime.ts"

/** What is left to read. */
export interface Source<A> {
  /** The next pieces; none after the last. */
  readonly next: Effect.Effect<ReadonlyArray<A>, LightboxError>
  /** Ends the reading, for the given reason if it is a failure. */
  readonly end: (error?: LightboxError) => Effect.Effect<void>
}

/** Opens a stream for the life of the scope. */
export const open = Effect.fnUntraced(function* <A>(
  stream: Stream.Stream<A, LightboxError>
): Effect.fn.Return<Source<A>, never, Scope.Scope> {
  const pull = yield* Stream.toPull(stream)
  const over = yield* Deferred.make<ReadonlyArray<A>, LightboxError>()
  const end = (error?: LightboxError) =>
    Effect.asVoid(error === undefined ? Deferred.succeed(over, []) : Deferred.fail(over, error))
  // Whoever waits for more when the scope closes learns that there is no more.
  yield* Effect.addFinalizer(() => end())
  return {
    // An end that was given counts for more than what the stream itself says because of it.
    next: Effect.raceFirst(
      Deferred.await(over),
      Pull.catchDone(pull, () => Effect.succeed<ReadonlyArray<A>>([]))
    ),
    end
  }
})

/** Reads a source, and closes what it is read from after the last piece. */
export class Reader<A> {
  readonly #source: Source<A>
  readonly #held: OpenScope
  #pieces: ReadonlyArray<A> = []
  #isOver = false

  constructor(source: Source<A>, held: OpenScope) {
    this.#source = source
    this.#held = held
  }

  /** The next piece, or `null` after the last. */
  async next(signal: AbortSignal | undefined): Promise<A | null> {
    signal?.throwIfAborted()
    try {
      if (this.#pieces.length === 0 && !this.#isOver) {
        this.#pieces = await run(this.#source.next, signal)
        // What is closed by the signal has no more pieces, and may say so first.
        signal?.throwIfAborted()
      }
      const [piece, ...others] = this.#pieces
      this.#pieces = others
      if (piece !== undefined) return piece
      await this.close()
      return null
    } catch (error) {
      await this.close()
      throw signal?.aborted === true ? signal.reason : error
    }
  }

  async close(): Promise<void> {
    this.#isOver = true
    await this.#held.close()
  }
}
