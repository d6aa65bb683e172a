import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Readable } from "node:stream"
import { keyboard } from "../../../src/internal/guest/attach.ts"

/** Replaces standard input. */
const withInput = (input: Readable) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = Object.getOwnPropertyDescriptor(process, "stdin")
      Object.defineProperty(process, "stdin", { value: input, configurable: true })
      return before
    }),
    (before) => Effect.sync(() => before !== undefined && Object.defineProperty(process, "stdin", before))
  )

/** Lets Node.js do everything that is due. */
const idle = Effect.forEach(
  Array.from({ length: 20 }),
  () => Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void))),
  { discard: true }
)

describe("keyboard", () => {
  it.effect("reads only as fast as its reader, and to the end", () =>
    Effect.gen(function* () {
      const chunk = new Uint8Array(64 * 1024)
      let produced = 0
      yield* withInput(
        new Readable({
          read() {
            this.push(produced++ < 100 ? chunk : null)
          }
        })
      )
      let read = 0
      yield* Stream.runForEach(keyboard, ({ length }) =>
        Effect.gen(function* () {
          read += length / chunk.length
          yield* idle
          assert.isAtMost(produced - read, 3)
        })
      )
      assert.strictEqual(read, 100)
      // The end stays the end.
      yield* Stream.runDrain(keyboard)
    }).pipe(Effect.scoped)
  )

  it.effect("loses nothing when its reader stops and another goes on", () =>
    Effect.gen(function* () {
      yield* withInput(Readable.from(["a", "b", "c"].map((text) => Buffer.from(text))))
      const first = yield* Stream.mkString(Stream.decodeText(Stream.take(keyboard, 1)))
      yield* idle
      const rest = yield* Stream.mkString(Stream.decodeText(keyboard))
      assert.deepStrictEqual([first, rest], ["a", "bc"])
    }).pipe(Effect.scoped)
  )
})
