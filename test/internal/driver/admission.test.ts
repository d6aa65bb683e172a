/** Capacity of the machine: who gets it, in which order, and the errors of those who do not. */
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as Os from "node:os"
import type { Admission as Service } from "../../../src/Admission.ts"
import * as Admission from "../../../src/internal/driver/admission.ts"
import { waitingLaunches } from "../../../src/internal/report/metrics.ts"
import * as LightboxError from "../../../src/LightboxError.ts"
import * as Microsandbox from "../../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../../src/Sandbox.ts"
import { turn } from "../../support.ts"

const image = "plain"

const mebibyte = 1024 ** 2

/** With memory in MiB. */
const make = (budget: typeof Admission.Budget.Type, available = 8192) =>
  Admission.make({
    home: Os.tmpdir(),
    budget: { disk: 0, ...budget, memory: budget.memory === undefined ? undefined : budget.memory * mebibyte },
    defaultMemory: undefined,
    availableMemory: () => available * mebibyte
  })

/** Checking the disk first takes real time: waits for a condition meanwhile. */
const until = (isSo: () => boolean) => Effect.repeat(turn, { until: isSo })

/** Requests capacity in the background; `has` is true once granted. */
const take = Effect.fnUntraced(function* (admission: Service["Service"], memory: number) {
  const state = { has: false, isOver: false }
  const scope = yield* Scope.make()
  const fiber = yield* Scope.provide(admission.admit("test", memory * mebibyte), scope).pipe(
    Effect.tap(() => Effect.sync(() => void (state.has = true))),
    Effect.onExit(() => Effect.sync(() => void (state.isOver = true))),
    Effect.forkDetach({ startImmediately: true })
  )
  return { state, fiber, leave: Effect.andThen(Fiber.interrupt(fiber), Scope.close(scope, Exit.void)) }
})

const waiting = Effect.map(Metric.value(waitingLaunches), ({ value }) => value)

const untilWaiting = (many: number) =>
  Effect.repeat(Effect.andThen(turn, waiting), { until: (count) => count === many })

describe("the budget", () => {
  it.effect("is released by a launch that fails or times out, while its scope is still open", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const reason = new LightboxError.BootFailed({ name: "worker", problem: "it did not boot", lastLines: [] })
      yield* control.inject(
        MicrosandboxMemory.failAt("createSandbox", reason),
        MicrosandboxMemory.failAt("connect", reason, { nth: 1 })
      )
      const launch = Sandbox.launch({ image, name: "worker" })
      // The first does not boot, the second boots but cannot be reached, the third works.
      yield* launch.pipe(Effect.retry({ times: 2 }))
      const late = yield* Effect.forkChild(Effect.timeoutOption(Sandbox.launch({ image }), "5 seconds"))
      yield* untilWaiting(1)
      yield* TestClock.adjust("5 seconds")
      assert.isTrue(Option.isNone(yield* Fiber.join(late)))
      assert.strictEqual(yield* waiting, 0)
      assert.deepStrictEqual((yield* control.inventory).sandboxes, [{ name: "worker", status: "running" }])
    }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer({ budget: { sandboxes: 1 } })))
  )

  it.effect("admits 200 launches four at a time, in order", () =>
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      let running = 0
      let most = 0
      const four = yield* Deferred.make<void>()
      const order: Array<number> = []
      yield* Effect.forEach(
        Array.from({ length: 200 }, (_, index) => index),
        (index) =>
          Sandbox.run({ image }, (sandbox) =>
            Effect.gen(function* () {
              order.push(index)
              most = Math.max(most, ++running)
              // The first four wait for each other.
              if (running === 4) yield* Deferred.succeed(four, undefined)
              yield* Deferred.await(four)
              assert.strictEqual((yield* sandbox.exec("echo", [`${index}`])).stdout, `${index}\n`)
              running--
            })
          ),
        { concurrency: "unbounded", discard: true }
      )
      assert.strictEqual(most, 4)
      // Four at a time can overtake each other, but nobody is overtaken by many.
      assert.strictEqual(new Set(order).size, 200)
      for (const [position, index] of order.entries()) assert.isAtMost(Math.abs(position - index), 8)
      assert.deepStrictEqual(yield* driver.listSandboxes(), [])
    }).pipe(Effect.provide(MicrosandboxMemory.layer({ budget: { sandboxes: 4 } })))
  )

  it.effect("is granted in order, also to small requests", () =>
    Effect.gen(function* () {
      const admission = yield* make({ memory: 1000 })
      const first = yield* take(admission, 800)
      yield* until(() => first.state.has)
      const large = yield* take(admission, 500)
      yield* untilWaiting(1)
      const small = yield* take(admission, 100)
      yield* untilWaiting(2)
      assert.deepStrictEqual([large.state.has, small.state.has], [false, false])
      yield* first.leave
      yield* until(() => large.state.has && small.state.has)
      yield* large.leave
      yield* small.leave
    })
  )

  it.effect("says what is short when a request waited too long", () =>
    Effect.gen(function* () {
      const admission = yield* make({ sandboxes: 1, memory: 1000, timeout: Duration.minutes(10) })
      const first = yield* take(admission, 600)
      yield* until(() => first.state.has)
      const second = yield* take(admission, 300)
      yield* untilWaiting(1)
      yield* TestClock.adjust("10 minutes")
      const error = yield* Effect.flip(Fiber.join(second.fiber))
      assert.strictEqual(error.reason._tag, "NoCapacity")
      assert.include(error.message, "600 of 1000 MiB")
      assert.include(error.message, "1 may run")
      yield* second.leave
      assert.strictEqual(yield* waiting, 0)
      // It holds nothing.
      yield* first.leave
      const third = yield* take(admission, 1000)
      yield* until(() => third.state.has)
      yield* third.leave
    })
  )

  it.effect("rejects at once what can never fit", () =>
    Effect.gen(function* () {
      const reasonOf = (admission: Service["Service"], memory: number) =>
        Effect.map(Effect.flip(Effect.scoped(admission.admit("test", memory * mebibyte))), ({ reason }) => reason)
      assert.deepInclude(yield* reasonOf(yield* make({ memory: 1000 }), 1001), {
        _tag: "InvalidConfig",
        field: "resources.memory"
      })
      assert.strictEqual((yield* reasonOf(yield* make({}, 400), 401))._tag, "NoCapacity")
      const noDisk = yield* reasonOf(yield* make({ disk: 1e15 }), 1)
      assert.strictEqual(noDisk._tag, "NoSpace")
    })
  )

  it.effect("admits several at once or none, and rejects at once those that never fit together", () =>
    Effect.gen(function* () {
      const admission = yield* make({ sandboxes: 3, memory: 1000 })
      const several = (...memories: ReadonlyArray<number>) => {
        const all = memories.map((memory) => memory * mebibyte)
        return (besides: ReadonlyArray<number> = []) => admission.admitAll("test", all, besides)
      }
      for (const never of [several(1, 1, 1, 1)(), several(600, 600)(), several(300)([800 * mebibyte])]) {
        const { reason } = yield* Effect.flip(Effect.scoped(never))
        assert.strictEqual(reason._tag, "NoCapacity")
      }
      const first = yield* take(admission, 600)
      yield* until(() => first.state.has)
      const state = { has: false }
      const scope = yield* Scope.make()
      const fiber = yield* several(300, 300)().pipe(
        Effect.tap(() => Effect.sync(() => void (state.has = true))),
        Scope.provide(scope),
        Effect.forkDetach({ startImmediately: true })
      )
      yield* untilWaiting(2)
      // Neither takes room alone, and nobody overtakes them.
      const small = yield* take(admission, 10)
      yield* untilWaiting(3)
      assert.deepStrictEqual([state.has, small.state.has], [false, false])
      yield* first.leave
      yield* until(() => state.has && small.state.has)
      const [one] = yield* Fiber.join(fiber)
      // Each room is given back by itself, once.
      const large = yield* take(admission, 690)
      yield* untilWaiting(1)
      yield* one?.release ?? Effect.void
      yield* until(() => large.state.has)
      yield* Scope.close(scope, Exit.void)
      const last = yield* take(admission, 300)
      yield* until(() => last.state.has)
      for (const { leave } of [small, large, last]) yield* leave
    })
  )

  it.effect("has room for two groups after each other, and for no group or forks beyond it", () =>
    Effect.gen(function* () {
      const group = Sandbox.group({
        db: { image },
        web: { image, dependsOn: { db: { ports: [1] } } }
      })
      yield* Effect.forEach([1, 2, 3], () => Effect.scoped(group), { concurrency: "unbounded" })
      const tooMany = Effect.scoped(Sandbox.group({ a: { image }, b: { image }, c: { image } }))
      assert.deepInclude(yield* Effect.flip(tooMany), { method: "Sandbox.group" })
      const forked = Sandbox.launch({ image }).pipe(
        Effect.flatMap((original) => Sandbox.fork(original, { count: 2 })),
        Effect.scoped
      )
      const { method, reason } = yield* Effect.flip(forked)
      assert.deepStrictEqual([method, reason._tag], ["Sandbox.fork", "NoCapacity"])
      const { calls } = yield* MicrosandboxMemory.Control
      assert.isFalse((yield* calls).some(({ operation }) => operation === "captureSnapshot"))
    }).pipe(Effect.provide(MicrosandboxMemory.layer({ budget: { sandboxes: 2 } })))
  )

  it.effect("drops a waiter that is interrupted, and admits the next", () =>
    Effect.gen(function* () {
      const admission = yield* make({ memory: 1000 })
      const first = yield* take(admission, 600)
      yield* until(() => first.state.has)
      const large = yield* take(admission, 1000)
      yield* untilWaiting(1)
      const small = yield* take(admission, 400)
      yield* untilWaiting(2)
      yield* large.leave
      yield* until(() => small.state.has)
      yield* first.leave
      yield* small.leave
      assert.strictEqual(yield* waiting, 0)
    })
  )

  it.effect("is released by a detached sandbox, and by an early release", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const first = yield* Sandbox.launch({ image, name: "first" })
          yield* first.detach
          yield* Sandbox.launch({ image, name: "second" })
        })
      )
      yield* Sandbox.remove("first", { force: true })
      const admission = yield* make({ sandboxes: 1 })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const room = yield* admission.admit("test", 1)
          yield* room.release
          yield* room.release
          yield* admission.admit("test", 1)
          const next = yield* take(admission, 1)
          yield* untilWaiting(1)
          assert.isFalse(next.state.has)
          yield* next.leave
        })
      )
    }).pipe(Effect.provide(MicrosandboxMemory.layer({ budget: { sandboxes: 1 } })))
  )

  it.effect("limits how many boot at once", () =>
    Effect.gen(function* () {
      const { boot } = yield* make({ boots: 3 })
      let booting = 0
      let most = 0
      const go = yield* Deferred.make<void>()
      const fibers = yield* Effect.forEach(Array.from({ length: 20 }), () =>
        Effect.forkChild(
          boot(
            Effect.gen(function* () {
              most = Math.max(most, ++booting)
              yield* Deferred.await(go)
              booting--
            })
          ),
          { startImmediately: true }
        )
      )
      assert.strictEqual(booting, 3)
      yield* Deferred.succeed(go, undefined)
      yield* Effect.forEach(fibers, Fiber.join, { discard: true })
      assert.strictEqual(most, 3)
    })
  )

  const int = (minimum: number, maximum: number) =>
    Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

  it.effect.prop(
    "is never exceeded, and completely free in the end",
    {
      sandboxes: int(1, 5),
      memory: int(100, 1000),
      steps: Arbitrary.array(Arbitrary.all({ need: int(1, 400), leaves: int(0, 30) }), { maxLength: 40 })
    },
    ({ memory, sandboxes, steps }) =>
      Effect.gen(function* () {
        const admission = yield* make({ sandboxes }, memory)
        const there: Array<{ readonly need: number } & Effect.Success<ReturnType<typeof take>>> = []
        const check = () => {
          const inside = there.filter(({ state }) => state.has)
          assert.isAtMost(inside.length, sandboxes)
          assert.isAtMost(
            inside.reduce((total, { need }) => total + need, 0),
            memory
          )
        }
        for (const { leaves, need } of steps) {
          there.push({ need, ...(yield* take(admission, need)) })
          yield* until(() => true)
          check()
          // One leaves, whether it was granted, waits, or was rejected.
          const [going] = leaves < there.length ? there.splice(leaves, 1) : []
          if (going !== undefined) yield* going.leave
          check()
        }
        for (const one of there.splice(0)) yield* one.leave
        const all = yield* take(admission, memory)
        yield* until(() => all.state.isOver)
        assert.isTrue(all.state.has)
        yield* all.leave
      }),
    { arbitrary: { runs: 100 }, timeout: 60_000 }
  )
})
