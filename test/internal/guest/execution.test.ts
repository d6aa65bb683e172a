import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { Collector, endHolders, Tail, tail, tailBytes } from "../../../src/internal/guest/execution.ts"

const Sizes = Schema.Array(Schema.Literals([0, 1, 7, 1000, 40_000, 100_000]))

describe("collected output", () => {
  it.effect.prop("is complete, and keeps its end, whatever the sizes of its chunks", [Sizes], ([sizes]) =>
    Effect.sync(() => {
      const pieces = sizes.map((size, index) => new Uint8Array(size).fill(index + 1))
      const collector = new Collector()
      const end = new Tail()
      for (const piece of pieces) {
        collector.push(piece)
        end.push(piece)
      }
      const all = new Uint8Array(Buffer.concat(pieces))
      assert.deepStrictEqual(collector.bytes, all)
      assert.strictEqual(collector.size, all.length)
      const last = all.subarray(-2 * tailBytes)
      assert.isTrue(Buffer.from(last).equals(collector.last))
      assert.isTrue(Buffer.from(last).equals(end.last))
    })
  )

  it("shares memory between chunks of one byte", () => {
    const collector = new Collector()
    const count = 100_000
    for (let index = 0; index < count; index++) collector.push(new Uint8Array([index]))
    assert.isBelow(collector.reserved, 3 * count)
    assert.strictEqual(collector.bytes.length, count)
  })

  it("shows no part of a secret, however often it occurs", () => {
    const secret = "0123456789-secret"
    const shown = tail(new TextEncoder().encode(secret.repeat(10_000)), [secret])
    assert.notMatch(shown, /\d|secret/)
  })
})

describe("a command whose program has exited", () => {
  it.effect("is given up only after five seconds in which none of its output arrived", () =>
    Effect.gen(function* () {
      let isArriving = true
      const seen: Array<string> = []
      yield* endHolders(
        { argv: ["cat"] },
        Effect.void,
        () => false,
        () => isArriving,
        () => seen.push("killed"),
        ({ message }) => seen.push(message)
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(seen, ["killed"])
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(seen, ["killed"])
      isArriving = false
      yield* TestClock.adjust("5 seconds")
      assert.lengthOf(seen, 2)
      assert.match(seen[1] ?? "", /keeps its output open/)
    })
  )
})
