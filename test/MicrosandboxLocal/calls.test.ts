/** Calls that cannot be cancelled, with promises of our own. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import { sdkRetries } from "../../src/internal/report/metrics.ts"
import { call, commit, leftoversEnd } from "../../src/internal/driver/sdk/calls.ts"
import { LightboxError, NotFound } from "../../src/LightboxError.ts"

const failure = new LightboxError({ method: "test", reason: new NotFound({ resource: "volume", name: "cache" }) })

/** Tells what was made, and what was undone. */
const making = (
  undone: Array<string>,
  run: () => Promise<string>,
  describe: (value: string) => Effect.Effect<string, LightboxError> = Effect.succeed
) =>
  commit({
    method: "test",
    subject: { volume: "cache" },
    run,
    describe,
    undo: (value) => Effect.sync(() => undone.push(value))
  })

describe("a call while the store is busy", () => {
  const locked = () => new Error("[Database] database error: (code: 5) database is locked")

  /** Fails the given number of times; returns the number of calls, and the number of counted retries. */
  const calling = Effect.fnUntraced(function* (failures: number, error: () => Error) {
    let calls = 0
    const { count: before } = yield* Metric.value(sdkRetries)
    const running = yield* Effect.forkChild(
      Effect.result(
        call("test", { volume: "cache" }, () => (++calls > failures ? Promise.resolve(calls) : Promise.reject(error())))
      ),
      { startImmediately: true }
    )
    yield* TestClock.adjust("1 minute")
    const result = yield* Fiber.join(running)
    return { calls, result, retries: (yield* Metric.value(sdkRetries)).count - before }
  })

  it.effect("is retried", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* calling(2, locked), { calls: 3, result: Result.succeed(3), retries: 2 })
    })
  )

  it.effect("gives up after a while", () =>
    Effect.gen(function* () {
      const { calls, result } = yield* calling(100, locked)
      assert.strictEqual(calls, 7)
      assert.isTrue(Result.isFailure(result) && result.failure.reason._tag === "StoreBusy")
    })
  )

  it.effect("is not retried if it fails for another reason", () =>
    Effect.gen(function* () {
      const { calls, result, retries } = yield* calling(1, () => new Error("[VolumeNotFound] volume not found: cache"))
      assert.deepStrictEqual([calls, retries], [1, 0])
      assert.isTrue(Result.isFailure(result) && result.failure.reason._tag === "NotFound")
    })
  )
})

describe("a call that creates something", () => {
  it.effect("undoes nothing if it succeeds or creates nothing", () =>
    Effect.gen(function* () {
      const undone: Array<string> = []
      assert.strictEqual(yield* making(undone, () => Promise.resolve("made")), "made")
      for (const run of [
        () => Promise.reject(new Error("refused")),
        () => {
          throw new Error("refused")
        }
      ]) {
        assert.include((yield* Effect.flip(making(undone, run))).message, "refused")
      }
      assert.deepStrictEqual(undone, [])
    })
  )

  it.effect("undoes what it created if that cannot be described", () =>
    Effect.gen(function* () {
      const undone: Array<string> = []
      const failing = making(
        undone,
        () => Promise.resolve("made"),
        () => Effect.fail(failure)
      )
      assert.strictEqual(yield* Effect.flip(failing), failure)
      assert.deepStrictEqual(undone, ["made"])

      const isTelling = yield* Deferred.make<void>()
      const telling = yield* Effect.forkChild(
        making(
          undone,
          () => Promise.resolve("made again"),
          () => Effect.andThen(Deferred.succeed(isTelling, undefined), Effect.never)
        )
      )
      yield* Deferred.await(isTelling)
      yield* Fiber.interrupt(telling)
      assert.deepStrictEqual(undone, ["made", "made again"])
    })
  )

  it.effect("delays an interruption for a limited time, and undoes what it creates later", () =>
    Effect.gen(function* () {
      const undone: Array<string> = []
      const { promise, resolve } = Promise.withResolvers<string>()
      const isRunning = yield* Deferred.make<void>()
      const running = yield* Effect.forkChild(
        making(undone, () => {
          Deferred.doneUnsafe(isRunning, Effect.void)
          return promise
        })
      )
      yield* Deferred.await(isRunning)
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(running), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(undone, [])
      resolve("late")
      yield* leftoversEnd
      assert.deepStrictEqual(undone, ["late"])
    })
  )
})
