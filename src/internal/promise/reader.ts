/** Reads a stream piece by piece, on demand. */
// @effect-diagnostics asyncFunction:off
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { acquire, type OpenScope, run } from "./runtime.ts"

export interface Source<A> {
  /** The next pieces; empty after the last. */
  readonly next: Effect.Effect<ReadonlyArray<A>, LightboxError>
  /** Stops reading, with an error or normally. */
  readonly end: (error?: LightboxError) => Effect.Effect<void>
}

/** Opens a stream, closed with the scope. */
export const open = Effect.fnUntraced(function* <A>(
  stream: Stream.Stream<A, LightboxError>
): Effect.fn.Return<Source<A>, never, Scope.Scope> {
  const pull = yield* Stream.toPull(stream)
  const over = yield* Deferred.make<ReadonlyArray<A>, LightboxError>()
  const end = (error?: LightboxError) =>
    Effect.asVoid(error === undefined ? Deferred.succeed(over, []) : Deferred.fail(over, error))
  // Completes pending reads when the scope closes.
  yield* Effect.addFinalizer(() => end())
  return {
    // An explicit end takes precedence over the error it causes in the stream.
    next: Effect.raceFirst(
      Deferred.await(over),
      Pull.catchDone(pull, () => Effect.succeed<ReadonlyArray<A>>([]))
    ),
    end
  }
})

/** Reads a source and closes it after the last piece. */
export class Reader<A> {
  readonly #source: Source<A>
  readonly #held: OpenScope
  #pieces: ReadonlyArray<A> = []
  #isOver = false
  #failure: { readonly error: unknown } | undefined

  constructor(source: Source<A>, held: OpenScope) {
    this.#source = source
    this.#held = held
  }

  async next(signal: AbortSignal | undefined): Promise<A | null> {
    // A made-up end would look like that of the command.
    if (this.#failure !== undefined) throw this.#failure.error
    signal?.throwIfAborted()
    try {
      if (this.#pieces.length === 0 && !this.#isOver) {
        this.#pieces = await run(this.#source.next, signal)
        // A source closed by the signal looks complete, so check the signal first.
        signal?.throwIfAborted()
      }
      const [piece, ...others] = this.#pieces
      this.#pieces = others
      if (piece !== undefined) return piece
      await this.close()
      return null
    } catch (error) {
      await this.close()
      this.#failure = { error: signal?.aborted === true ? signal.reason : error }
      throw this.#failure.error
    }
  }

  async close(): Promise<void> {
    this.#isOver = true
    await this.#held.close()
  }
}

/** Reads a stream that closes when the caller stops reading, or when the signal aborts. */
export async function* iterate<A>(
  stream: Stream.Stream<A, LightboxError, Services>,
  signal: AbortSignal | undefined
): AsyncGenerator<A, void, undefined> {
  const opened = Effect.flatMap(Effect.context<Services>(), (context) => open(Stream.provideContext(stream, context)))
  const reader = await acquire(opened, (source, held) => new Reader(source, held), { forLife: signal })
  try {
    for (let piece = await reader.next(signal); piece !== null; piece = await reader.next(signal)) yield piece
  } finally {
    await reader.close()
  }
}
