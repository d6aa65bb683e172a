import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Ownership from "../../src/Ownership.ts"
import * as Undoing from "../../src/internal/driver/next/undoing.ts"
import { settle } from "../../src/internal/driver/sdk/calls.ts"

/** What happens, in order, if a creation is interrupted whose call goes on until `end` says how it settles. */
const interrupted = Effect.fnUntraced(function* (end: (native: PromiseWithResolvers<string>) => void) {
  const told: Array<string> = []
  const tell = (text: string) => Effect.sync(() => void told.push(text))
  const removed = yield* Deferred.make<void>()
  const ownership: Pick<Ownership.Ownership["Service"], "forget" | "note"> = {
    note: ({ kind, name }) => tell(`note ${kind} ${name}`),
    forget: ({ kind, name }) => tell(`forget ${kind} ${name}`)
  }
  const { during, undo } = yield* Undoing.make(
    ownership,
    ["copy"],
    Effect.andThen(tell("remove"), Deferred.succeed(removed, undefined))
  )
  const native = Promise.withResolvers<string>()
  const begun = yield* Deferred.make<void>()
  // As after the five seconds that an interruption waits.
  const creation = settle({
    run: () =>
      during(() => {
        Deferred.doneUnsafe(begun, Effect.void)
        return native.promise
      }),
    fail: Effect.die,
    onInterrupt: (settled) => Effect.asVoid(Effect.forkDetach(Effect.andThen(settled, undo)))
  }).pipe(Effect.onError(() => undo))
  const fiber = yield* Effect.forkChild(creation)
  yield* Deferred.await(begun)
  yield* Fiber.interrupt(fiber)
  const before = [...told]
  end(native)
  yield* Deferred.await(removed)
  return { before, after: told.slice(before.length) }
})

describe("an interrupted creation, whose call goes on", () => {
  const expected = { before: ["note sandbox copy"], after: ["forget sandbox copy", "remove"] }

  it.live("keeps its record until the call has settled, and is undone then", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* interrupted(({ resolve }) => resolve("made")), expected)
    })
  )

  it.live("is undone as well if the call fails in the end: it may have made something", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* interrupted(({ reject }) => reject(new Error("one of two"))), expected)
    })
  )
})

it.live("a creation that fails is undone at once, and notes nothing", () =>
  Effect.gen(function* () {
    const told: Array<string> = []
    const ownership: Pick<Ownership.Ownership["Service"], "forget" | "note"> = {
      note: ({ name }) => Effect.sync(() => void told.push(`note ${name}`)),
      forget: ({ name }) => Effect.sync(() => void told.push(`forget ${name}`))
    }
    const { during, undo } = yield* Undoing.make(
      ownership,
      ["copy"],
      Effect.sync(() => void told.push("remove"))
    )
    yield* Effect.exit(
      Effect.onError(
        Effect.promise(() => during(() => Promise.reject(new Error("no")))),
        () => undo
      )
    )
    assert.deepStrictEqual(told, ["remove"])
  })
)
