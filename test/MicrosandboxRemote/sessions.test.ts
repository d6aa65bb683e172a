/** How a host keeps the sessions of programs, and how long. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Sessions from "../../src/internal/gateway/sessions.ts"
import * as Tokens from "../../src/internal/gateway/tokens.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import { Ownership } from "../../src/Ownership.ts"
import { failsWith } from "../Microsandbox/Bench.ts"
import * as Support from "./support.ts"

const tokenOf = (name: string) =>
  Tokens.make({ name, token: Redacted.make(`a-token-of-the-program-${name}`), scopes: ["write"] })

const token = tokenOf("one")

/** The sessions of a host on the twin. */
const sessions = Effect.gen(function* () {
  const context = yield* Layer.build(MicrosandboxMemory.layer({ home: yield* Support.folder("h") }))
  return yield* Sessions.make({
    driver: Context.get(context, Microsandbox.Microsandbox),
    ownership: Context.get(context, Ownership),
    lease: Duration.seconds(30),
    leave: () => Effect.void,
    maxRequests: 10,
    maxSessions: 2
  })
})

describe("a session", () => {
  it.effect("counts the operations that run, and ends something even if there are too many", () =>
    Effect.gen(function* () {
      const { once, open } = yield* sessions
      const session = yield* open(token)
      const runs: Sessions.Runs<void> = new WeakMap()
      const begin = (id: string, isEnding: boolean, effect: Effect.Effect<void> = Effect.void) =>
        Effect.asVoid(once(session, id, runs, effect, { isEnding }))
      const end = yield* Deferred.make<void>()
      // Results are kept, for those whose answer is lost.
      for (let number = 0; number < 10; number++) yield* begin(`done ${number}`, false)
      yield* Effect.yieldNow
      for (let number = 0; number < 10; number++) yield* begin(`runs ${number}`, false, Deferred.await(end))
      yield* failsWith("NoCapacity", begin("one more", false))
      yield* begin("an end", true)
      yield* Deferred.succeed(end, undefined)
      yield* Effect.yieldNow
      yield* begin("one more", false)
    })
  )

  it.effect("is refused to a token that has too many, and not to others", () =>
    Effect.gen(function* () {
      const { end, open } = yield* sessions
      const first = yield* open(token)
      yield* open(token)
      yield* failsWith("NoCapacity", open(token))
      yield* open(tokenOf("other"))
      yield* end(first)
      yield* open(token)
    })
  )

  it.effect("lasts as long as its program is heard of, whatever becomes of the clock and of the host", () =>
    Effect.gen(function* () {
      const clock = yield* Effect.clockWith(Effect.succeed)
      const shift = { wall: 0, monotonic: 0 }
      const wall = () => clock.currentTimeMillisUnsafe() + shift.wall
      const monotonic = () => clock.monotonicTimeNanosUnsafe() + BigInt(shift.monotonic) * 1_000_000n
      const moving: Clock.Clock = {
        sleep: (duration) => clock.sleep(duration),
        currentTimeMillisUnsafe: wall,
        currentTimeMillis: Effect.sync(wall),
        currentTimeNanosUnsafe: () => BigInt(wall()) * 1_000_000n,
        currentTimeNanos: Effect.sync(() => BigInt(wall()) * 1_000_000n),
        monotonicTimeNanosUnsafe: monotonic,
        monotonicTimeNanos: Effect.sync(monotonic)
      }
      const onClock = Effect.provideService(Clock.Clock, moving)
      const { open } = yield* onClock(sessions)
      const { scope } = yield* onClock(open(token))
      const ended = yield* Deferred.make<void>()
      yield* Scope.addFinalizer(scope, Deferred.succeed(ended, undefined))
      // Somebody sets the clock.
      shift.wall += 3_600_000
      yield* TestClock.adjust("8 seconds")
      assert.isFalse(yield* Deferred.isDone(ended))
      // The process is paused: the program may have been heard of.
      shift.monotonic += 3_600_000
      yield* TestClock.adjust("29 seconds")
      assert.isFalse(yield* Deferred.isDone(ended))
      yield* TestClock.adjust("20 seconds")
      yield* Deferred.await(ended)
    })
  )

  it.effect("ends while an operation of another hangs, and in the end without its own", () =>
    Effect.gen(function* () {
      const { end, once, open } = yield* sessions
      const hangs = yield* Deferred.make<void>()
      yield* Effect.addFinalizer(() => Deferred.succeed(hangs, undefined))
      const hanging = Effect.uninterruptible(Deferred.await(hangs))
      const begin = (session: Sessions.Session) =>
        Effect.andThen(once(session, "one", new WeakMap(), hanging, { isEnding: false }), Effect.yieldNow)
      yield* begin(yield* open(token))
      // The host ends this one while it serves the other.
      yield* TestClock.adjust("20 seconds")
      const other = yield* open(token)
      const ended = yield* Deferred.make<void>()
      yield* Scope.addFinalizer(other.scope, Deferred.succeed(ended, undefined))
      yield* TestClock.adjust("40 seconds")
      yield* Deferred.await(ended)

      const third = yield* open(token)
      yield* begin(third)
      const ending = yield* Effect.forkChild(end(third), { startImmediately: true })
      yield* TestClock.adjust("29 seconds")
      assert.isUndefined(ending.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(ending)
    })
  )
})
