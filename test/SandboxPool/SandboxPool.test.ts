import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { Services } from "../../src/Driver.ts"
import { BootFailed } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import type { Sandbox } from "../../src/Sandbox.ts"
import * as SandboxPool from "../../src/SandboxPool.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { turn } from "../support.ts"

// =============================================================================
// Tests on the twin
// =============================================================================

type Twin = Services | MicrosandboxMemory.Control

/** A test on its own twin, in which nothing may be left when its scope closes. */
const test = <E>(name: string, effect: Effect.Effect<void, E, Twin | Scope.Scope>) =>
  it.effect(name, () =>
    Effect.gen(function* () {
      yield* Effect.scoped(effect)
      yield* assertNothingLeft
    }).pipe(Effect.provide(MicrosandboxMemory.layer()))
  )

const assertNothingLeft = Effect.gen(function* () {
  const { inventory } = yield* MicrosandboxMemory.Control
  const { processes, sandboxes } = yield* inventory
  assert.deepStrictEqual({ processes, sandboxes }, { processes: [], sandboxes: [] })
})

const until = (pool: SandboxPool.SandboxPool, isSo: (stats: SandboxPool.Stats) => boolean) =>
  Effect.andThen(turn, pool.stats).pipe(Effect.repeat({ until: isSo }))

/** Waits until the pool has its minimum ready, and nothing else is under way. */
const warm = (pool: SandboxPool.SandboxPool) =>
  until(pool, ({ booting, leaving, min, ready }) => ready >= min && booting + leaving === 0)

/** Lets time pass in steps, and runs what each step triggers. */
const pass = (pool: SandboxPool.SandboxPool, steps: number, step: `${number} ${"seconds" | "minutes" | "millis"}`) =>
  Effect.repeat(
    Effect.andThen(
      TestClock.adjust(step),
      until(pool, ({ booting, leaving }) => booting + leaving === 0)
    ),
    { times: steps - 1 }
  )

/** A clock whose time passes while nothing runs when a process is held up, as it does if a machine sleeps. */
const makeClock = Effect.clockWith((clock) =>
  Effect.sync(() => {
    let held = 0
    const now = () => clock.currentTimeMillisUnsafe() + held
    const slow: Clock.Clock = {
      currentTimeMillisUnsafe: now,
      currentTimeMillis: Effect.sync(now),
      currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
      currentTimeNanos: clock.currentTimeNanos,
      monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
      monotonicTimeNanos: clock.monotonicTimeNanos,
      sleep: (duration) => clock.sleep(duration)
    }
    const holdUp = (millis: number) => {
      held += millis
    }
    return { clock: slow, holdUp }
  })
)

const count = (operation: MicrosandboxMemory.Operation) =>
  Effect.gen(function* () {
    const control = yield* MicrosandboxMemory.Control
    return (yield* control.calls).filter((call) => call.operation === operation)
  })

/** Waits for the next call. */
const next = (operation: MicrosandboxMemory.Operation, outcome?: MicrosandboxMemory.Call["outcome"]["_tag"]) => {
  const calls = Effect.map(
    count(operation),
    (calls) => calls.filter((call) => outcome === undefined || call.outcome._tag === outcome).length
  )
  return Effect.flatMap(calls, (before) =>
    Effect.repeat(Effect.andThen(turn, calls), { until: (after) => after > before })
  )
}

const image = "alpine:3"

const noBoot = new BootFailed({ name: "x", problem: "no", lastLines: [] })

/** Checks so rare that they do not disturb a test. */
const rarely: SandboxPool.HealthCheck = { interval: "10 minutes", timeout: "10 seconds" }

const version = (text: string) => Snapshot.make("app", image).pipe(Snapshot.write("/version", text))

const versionOf = (sandbox: Sandbox) => sandbox.readFileString("/version")

// =============================================================================
// Options
// =============================================================================

describe("pool options", () => {
  const refused: ReadonlyArray<readonly [field: string, options: object]> = [
    ["snapshot", { max: 1 }],
    ["snapshot", { max: 1, snapshot: "a", image }],
    ["snapshot", { max: 1, snapshot: "a\0" }],
    ["snapshot", { max: 1, snapshot: 7 }],
    ["image", { max: 1, image: " " }],
    ["max", { image }],
    ["max", { image, max: 0 }],
    ["min", { image, max: 1, min: -1 }],
    ["min", { image, max: 1, min: 2 }],
    ["timeToLive", { image, max: 1, timeToLive: "never" }],
    ["rollOver", { image, max: 1, rollOver: "fast" }],
    ["healthCheck.interval", { image, max: 1, healthCheck: { interval: 0 } }],
    ["healthCheck.timeout", { image, max: 1, healthCheck: { timeout: "soon" } }],
    ["healthCheck.every", { image, max: 1, healthCheck: { every: "1 second" } }],
    ["releaseTimeout", { image, max: 1, releaseTimeout: -1 }],
    ["name", { image, max: 1, name: "one" }],
    ["overwrite", { image, max: 1, overwrite: true }],
    ["ports", { image, max: 2, ports: { 8080: 80 } }],
    ["resources.memory", { image, max: 1, resources: { memory: "1 GB" } }],
    ["mounts./../x", { image, max: 1, mounts: { "/../x": "." } }]
  ]
  it.effect.each(refused.map(([field, options]) => ({ field, options })))(
    "reject $field in $options",
    ({ field, options }) =>
      Effect.gen(function* () {
        const unchecked: SandboxPool.Options = JSON.parse(JSON.stringify(options))
        const error = yield* Effect.flip(SandboxPool.make(unchecked))
        assert.strictEqual(error.reason._tag === "InvalidConfig" && error.reason.field, field)
        assert.deepStrictEqual(yield* count("createSandbox"), [])
      }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer()))
  )

  test(
    "of one sandbox are rejected if they would need a boot",
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ image, max: 1 })
      const refused: ReadonlyArray<readonly [field: string, settings: object]> = [
        ["mounts", { mounts: { "/work": "." } }],
        ["ports", { ports: { 8080: 80 } }],
        ["resources", { resources: { cpus: 2 } }],
        ["network", { network: "none" }],
        ["colour", { colour: "red" }],
        ["env.A=B", { env: { "A=B": "c" } }],
        ["cwd", { cwd: "work" }],
        ["user", { user: "-" }]
      ]
      for (const [field, settings] of refused) {
        const error = yield* Effect.flip(pool.use(() => Effect.void, settings))
        assert.strictEqual(error.reason._tag === "InvalidConfig" && error.reason.field, field)
      }
      assert.strictEqual((yield* pool.stats).handedOut, 0)
    })
  )

  test(
    "of one sandbox apply to its commands",
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ image, max: 2, env: { A: "pool", B: "pool" } })
      const settings = { env: { B: Redacted.make("mine") }, cwd: "/tmp", user: "app" }
      const show = (sandbox: Sandbox) => Effect.map(sandbox.shell("echo $A $B $(pwd) $(id -u)"), ({ stdout }) => stdout)
      assert.strictEqual(yield* pool.use(show, settings), "pool mine /tmp 1000\n")
      assert.strictEqual(
        yield* pool.use(
          (sandbox) => Effect.map(sandbox.exec("pwd", [], { cwd: "/etc" }), ({ stdout }) => stdout),
          settings
        ),
        "/etc\n"
      )
      assert.strictEqual(yield* pool.use(show), "pool pool / 0\n")
    })
  )

  test(
    "fail at once if their snapshot does not exist",
    Effect.gen(function* () {
      const error = yield* Effect.flip(SandboxPool.make({ snapshot: "none", max: 1 }))
      assert.strictEqual(error.reason._tag, "NotFound")
    })
  )
})

// =============================================================================
// A state prepared once
// =============================================================================

describe("a prepared pool", () => {
  const snapshots = Effect.flatMap(MicrosandboxMemory.Control, ({ inventory }) =>
    Effect.map(inventory, ({ snapshots }) => snapshots)
  )

  const writeRows = (sandbox: Sandbox) => sandbox.shell("echo row > /root/rows", { check: true })

  test(
    "hands out forks of the sandbox that was prepared once, with its options",
    Effect.gen(function* () {
      const prepared: Array<string> = []
      const before = yield* snapshots
      yield* Effect.scoped(
        Effect.gen(function* () {
          const pool = yield* SandboxPool.make({
            image,
            max: 2,
            env: { COLOR: "green" },
            resources: { memory: "128M", disk: "1G" },
            patches: [{ _tag: "Mkdir", path: "/root/patched" }],
            prepare: (sandbox) =>
              Effect.gen(function* () {
                prepared.push(sandbox.name)
                yield* sandbox.shell("rmdir /root/patched; echo row > /root/rows; echo lost > /tmp/note", {
                  check: true
                })
              })
          })
          const work = (sandbox: Sandbox) =>
            Effect.map(
              sandbox.shell("cat /root/rows; ls -d /root/patched /tmp/note; echo $COLOR; rm /root/rows"),
              ({ stdout }) => ({ name: sandbox.name, stdout })
            )
          const used = yield* Effect.all([pool.use(work), pool.use(work), pool.use(work)], { concurrency: 2 })
          assert.deepStrictEqual(
            used.map(({ stdout }) => stdout),
            ["row\ngreen\n", "row\ngreen\n", "row\ngreen\n"]
          )
          assert.strictEqual(prepared.length, 1)
          assert.strictEqual(new Set([...prepared, ...used.map(({ name }) => name)]).size, 4)
          assert.strictEqual((yield* count("captureSnapshot")).length, 1)
        })
      )
      assert.deepStrictEqual(yield* snapshots, before)
    })
  )

  test(
    "starts from a snapshot with its launch defaults, whatever its name points to later",
    Effect.gen(function* () {
      const build = (text: string) => Snapshot.build(Snapshot.defaults(version(text), { env: { VERSION: text } }))
      yield* build("1")
      const pool = yield* SandboxPool.make({ snapshot: "app", max: 1, prepare: writeRows })
      yield* build("2")
      const { stdout } = yield* pool.use((sandbox) => sandbox.shell("cat /version /root/rows; echo $VERSION"))
      assert.strictEqual(stdout, "1row\n1\n")
    })
  )

  test(
    "fails with the error of its preparation, and leaves nothing",
    Effect.gen(function* () {
      const before = yield* snapshots
      const failing = yield* Effect.flip(
        Effect.scoped(SandboxPool.make({ image, max: 1, prepare: () => Effect.fail("no data" as const) }))
      )
      assert.strictEqual(failing, "no data")
      const { inject } = yield* MicrosandboxMemory.Control
      yield* inject(MicrosandboxMemory.failAt("verifySnapshot", noBoot))
      const captured = yield* Effect.flip(Effect.scoped(SandboxPool.make({ image, max: 1, prepare: writeRows })))
      assert.strictEqual(captured.reason._tag, "BootFailed")
      assert.deepStrictEqual(yield* snapshots, before)
    })
  )

  test(
    "is interrupted while it prepares, and leaves nothing",
    Effect.gen(function* () {
      const before = yield* snapshots
      const started = yield* Deferred.make<void>()
      const making = yield* Effect.forkChild(
        Effect.scoped(
          SandboxPool.make({
            image,
            max: 1,
            prepare: () => Effect.andThen(Deferred.succeed(started, undefined), Effect.never)
          })
        )
      )
      yield* Deferred.await(started)
      yield* Fiber.interrupt(making)
      assert.deepStrictEqual(yield* snapshots, before)
    })
  )

  test(
    "refuses ephemeral sandboxes, whose disk cannot be captured",
    Effect.gen(function* () {
      const error = yield* Effect.flip(SandboxPool.make({ image, max: 1, ephemeral: true, prepare: () => Effect.void }))
      assert.strictEqual(error.reason._tag === "InvalidConfig" && error.reason.field, "prepare")
      assert.deepStrictEqual(yield* count("createSandbox"), [])
    })
  )
})

// =============================================================================
// Handing out
// =============================================================================

describe("a pool", () => {
  test(
    "hands out ready sandboxes, each to one user, and boots more",
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ image, min: 2, max: 4 })
      const ids = new Set<string>()
      for (let n = 0; n < 6; n++) {
        yield* warm(pool)
        const booted = (yield* count("createSandbox")).length
        const id = yield* pool.use((sandbox) =>
          Effect.gen(function* () {
            yield* warm(pool)
            assert.strictEqual((yield* count("createSandbox")).length, booted + 1)
            assert.strictEqual((yield* sandbox.shell("cat /seen; touch /seen")).stdout, "")
            return sandbox.id
          })
        )
        ids.add(id)
        assert.notInclude(
          (yield* Effect.flatMap(Microsandbox.Microsandbox, (driver) => driver.listSandboxes())).map(({ id }) => id),
          id
        )
      }
      assert.strictEqual(ids.size, 6)
      const stats = yield* warm(pool)
      assert.deepStrictEqual(stats, {
        min: 2,
        max: 4,
        ready: 2,
        booting: 0,
        used: 0,
        leaving: 0,
        waiting: 0,
        booted: 8,
        failed: 0,
        handedOut: 6
      })
    })
  )

  test(
    "boots only on demand with a min of 0",
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ image, min: 0, max: 2, healthCheck: rarely })
      yield* pass(pool, 3, "20 minutes")
      assert.strictEqual((yield* pool.stats).booted, 0)
      yield* pool.use(() => Effect.void)
      yield* pass(pool, 3, "20 minutes")
      const { booted, ready } = yield* pool.stats
      assert.deepStrictEqual({ booted, ready }, { booted: 1, ready: 0 })
    })
  )

  test(
    "never exceeds its max, and serves users in order",
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const pool = yield* SandboxPool.make({ image, min: 2, max: 3 })
      const served: Array<number> = []
      const users = yield* Effect.forEach(Array.from({ length: 12 }), (_, n) =>
        pool
          .use(() =>
            Effect.gen(function* () {
              served.push(n)
              assert.isAtMost((yield* driver.listSandboxes()).length, 3)
              const { booting, leaving, ready, used } = yield* pool.stats
              assert.isAtMost(booting + leaving + ready + used, 3)
              yield* turn
            })
          )
          .pipe(Effect.forkChild({ startImmediately: true }))
      )
      yield* Fiber.joinAll(users)
      assert.deepStrictEqual(
        served,
        Array.from({ length: 12 }, (_, n) => n)
      )
    })
  )

  it.effect("boots only what the driver's budget has room for", () =>
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const pool = yield* SandboxPool.make({ image, min: 4, max: 4 })
      yield* until(pool, ({ ready }) => ready === 2)
      for (let n = 0; n < 4; n++) {
        yield* pool.use(() => Effect.map(driver.listSandboxes(), (all) => assert.strictEqual(all.length, 2)))
        yield* until(pool, ({ ready }) => ready === 2)
      }
      const { booted, booting, failed } = yield* pool.stats
      assert.deepStrictEqual({ booted, booting, failed }, { booted: 6, booting: 2, failed: 0 })
    }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer({ budget: { sandboxes: 2 } })))
  )

  test(
    "skips a user interrupted while waiting, and serves the next one",
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ image, min: 0, max: 1 })
      const scope = yield* Scope.make()
      const first = yield* Scope.provide(pool.acquire(), scope)
      const second = yield* Effect.forkChild(
        pool.use(() => Effect.void),
        { startImmediately: true }
      )
      const third = yield* Effect.forkChild(
        pool.use(({ id }) => Effect.succeed(id)),
        { startImmediately: true }
      )
      assert.strictEqual((yield* pool.stats).waiting, 2)
      yield* Fiber.interrupt(second)
      assert.strictEqual((yield* pool.stats).waiting, 1)
      yield* Scope.close(scope, Exit.void)
      assert.notStrictEqual(yield* Fiber.join(third), first.id)
      assert.strictEqual((yield* pool.stats).booted, 2)
    })
  )

  test(
    "gives up a sandbox that its user detached",
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const pool = yield* SandboxPool.make({ image, min: 0, max: 1 })
      const name = yield* pool.use((sandbox) => Effect.as(sandbox.detach, sandbox.name), { cwd: "/tmp" })
      const left = yield* driver.getSandbox(name)
      assert.strictEqual(left.status, "running")
      yield* driver.removeSandbox(left, { force: true })
      yield* pool.use(() => Effect.void)
    })
  )

  test(
    "is a service, and several services",
    Effect.gen(function* () {
      class One extends SandboxPool.Service<One>()("One", { image, max: 1 }) {}
      class Two extends SandboxPool.Service<Two>()("Two", { image, max: 2 }) {}
      const maxes = Effect.gen(function* () {
        const pools = [yield* SandboxPool.SandboxPool, yield* One, yield* Two]
        return yield* Effect.forEach(pools, (pool) => Effect.map(pool.stats, ({ max }) => max))
      })
      const driver = yield* Effect.context<Twin>()
      const layers = Layer.mergeAll(SandboxPool.layer({ image, max: 3 }), One.layer, Two.layer)
      assert.deepStrictEqual(
        yield* Effect.provide(maxes, Layer.provide(layers, Layer.succeedContext(driver))),
        [3, 1, 2]
      )
    })
  )

  test(
    "is made from the configuration",
    Effect.gen(function* () {
      const live = SandboxPool.layerConfig({ image: Config.succeed(image), max: Config.succeed(4) })
      const { max } = yield* Effect.provide(
        Effect.flatMap(SandboxPool.SandboxPool, ({ stats }) => stats),
        live
      )
      assert.strictEqual(max, 4)
    })
  )
})

// =============================================================================
// What waits
// =============================================================================

describe("a ready sandbox", () => {
  test(
    "is replaced at once when it dies",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const pool = yield* SandboxPool.make({ image, min: 2, max: 3 })
      yield* warm(pool)
      const { sandboxes } = yield* control.inventory
      for (const { name } of sandboxes) yield* control.kill(name)
      const { booted } = yield* until(pool, ({ booted, ready }) => booted === 4 && ready === 2)
      assert.strictEqual(booted, 4)
      const dead = sandboxes.map(({ name }) => name)
      yield* pool.use(({ name }) => Effect.sync(() => assert.notInclude(dead, name)))
    })
  )

  test(
    "is replaced when it does not answer a health check",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const healthCheck = { interval: "5 seconds", timeout: "2 seconds" } as const
      const pool = yield* SandboxPool.make({ image, min: 1, max: 2, healthCheck })
      yield* warm(pool)
      yield* control.inject(MicrosandboxMemory.hangAt("guest.ping"))
      yield* pass(pool, 6, "1 seconds")
      assert.strictEqual((yield* pool.stats).booted, 1)
      yield* pass(pool, 1, "1 seconds")
      yield* until(pool, ({ booted, ready }) => booted === 2 && ready === 1)
    })
  )

  test(
    "is checked before it is handed out if its last answer is old",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const healthCheck = { interval: "5 seconds", timeout: "2 seconds" } as const
      const { clock, holdUp } = yield* makeClock
      const pool = yield* SandboxPool.make({ image, min: 1, max: 2, healthCheck }).pipe(
        Effect.provideService(Clock.Clock, clock)
      )
      yield* warm(pool)
      const pings = Effect.map(count("guest.ping"), (calls) => calls.length)
      const user = pool.use(({ name }) => Effect.succeed(name))

      holdUp(10_000)
      yield* user
      assert.strictEqual(yield* pings, 0)

      yield* warm(pool)
      holdUp(10_001)
      yield* user
      assert.strictEqual(yield* pings, 1)

      yield* warm(pool)
      const [hanging] = (yield* control.inventory).sandboxes
      yield* control.inject(MicrosandboxMemory.hangAt("guest.ping"))
      holdUp(10_001)
      const served = yield* Effect.forkChild(user, { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      assert.notStrictEqual(yield* Fiber.join(served), hanging?.name)
    })
  )

  test(
    "is renewed before its time to live ends, at a time of its own",
    Effect.gen(function* () {
      const healthCheck = { interval: "1 minute", timeout: "10 seconds" } as const
      const pool = yield* SandboxPool.make({ image, min: 8, max: 16, timeToLive: "60 minutes", healthCheck })
      yield* warm(pool)
      yield* pass(pool, 44, "1 minutes")
      assert.strictEqual((yield* pool.stats).booted, 8)
      for (let minute = 45; minute <= 61; minute++) {
        yield* pass(pool, 1, "1 minutes")
        assert.isAtLeast((yield* pool.stats).ready, 8)
      }
      const boots = (yield* count("createSandbox")).map(({ at }) => at)
      assert.strictEqual(boots.length, 16)
      assert.isAbove(new Set(boots.slice(8)).size, 1)
      const now = boots[0] ?? 0
      assert.isTrue(boots.slice(8).every((at) => at - now >= 45 * 60_000))
    })
  )

  test(
    "is removed when its time to live ends, even without a replacement",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const pool = yield* SandboxPool.make({ image, min: 1, max: 2, timeToLive: "60 minutes", healthCheck: rarely })
      yield* warm(pool)
      const [first] = (yield* control.inventory).sandboxes
      yield* control.inject(MicrosandboxMemory.failAt("createSandbox", noBoot, { times: 1_000_000 }))
      yield* pass(pool, 61, "1 minutes")
      const { ready } = yield* pool.stats
      assert.strictEqual(ready, 0)
      assert.deepStrictEqual((yield* control.inventory).sandboxes, [])
      yield* control.clearFaults
      const user = yield* Effect.forkChild(
        pool.use(({ name }) => Effect.succeed(name)),
        { startImmediately: true }
      )
      yield* pass(pool, 1, "10 seconds")
      assert.notStrictEqual(yield* Fiber.join(user), first?.name)
    })
  )
})

// =============================================================================
// Generations
// =============================================================================

describe("a snapshot name that moves to another generation", () => {
  const healthCheck = { interval: "5 seconds", timeout: "5 seconds" } as const

  test(
    "is followed without a gap",
    Effect.gen(function* () {
      yield* Snapshot.build(version("1"))
      const pool = yield* SandboxPool.make({ snapshot: "app", min: 2, max: 3, healthCheck })
      yield* warm(pool)
      yield* Snapshot.build(version("2"))
      yield* TestClock.adjust("5 seconds")
      // From now on there is a moment at which new ones boot: whenever it is, something is ready.
      yield* until(pool, ({ booted, ready }) => {
        assert.isAtLeast(ready, 2)
        return booted === 4 && ready === 2
      })
      yield* warm(pool)
      assert.strictEqual(yield* pool.use(versionOf), "2")
      assert.strictEqual(yield* pool.use(versionOf), "2")
    })
  )

  test(
    "is followed one sandbox at a time when there is no room for more",
    Effect.gen(function* () {
      yield* Snapshot.build(version("1"))
      const pool = yield* SandboxPool.make({ snapshot: "app", min: 3, max: 3, healthCheck })
      yield* warm(pool)
      yield* Snapshot.build(version("2"))
      yield* TestClock.adjust("5 seconds")
      yield* until(pool, ({ booted, leaving, ready }) => {
        assert.isAtLeast(ready, 2)
        return booted === 6 && ready === 3 && leaving === 0
      })
      assert.strictEqual(yield* pool.use(versionOf), "2")
    })
  )

  test(
    "keeps old sandboxes in use until a new one boots",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* Snapshot.build(version("1"))
      const pool = yield* SandboxPool.make({ snapshot: "app", min: 1, max: 2, healthCheck })
      yield* warm(pool)
      yield* Snapshot.build(version("2"))
      yield* control.inject(MicrosandboxMemory.failAt("createSandbox", noBoot, { times: 2 }))
      yield* pass(pool, 1, "5 seconds")
      assert.strictEqual(yield* pool.use(versionOf), "1")
      yield* pass(pool, 10, "1 seconds")
      yield* warm(pool)
      assert.strictEqual(yield* pool.use(versionOf), "2")
    })
  )

  test(
    'is followed at once with rollOver "at-once"',
    Effect.gen(function* () {
      yield* Snapshot.build(version("1"))
      const pool = yield* SandboxPool.make({ snapshot: "app", min: 2, max: 3, healthCheck, rollOver: "at-once" })
      yield* warm(pool)
      yield* Snapshot.build(version("2"))
      yield* TestClock.adjust("5 seconds")
      yield* until(pool, ({ booted, leaving }) => leaving > 0 || booted > 2)
      assert.strictEqual(yield* pool.use(versionOf), "2")
    })
  )

  test(
    "is followed at once by a sandbox that is still booting",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* Snapshot.build(version("1"))
      const pool = yield* SandboxPool.make({ snapshot: "app", min: 1, max: 2, healthCheck, rollOver: "at-once" })
      yield* warm(pool)
      yield* control.inject(MicrosandboxMemory.delayAt("createSandbox", "8 seconds"))
      const boot = yield* Effect.forkChild(next("createSandbox"), { startImmediately: true })
      yield* pool.use(() => Effect.void)
      yield* Fiber.join(boot)
      yield* Snapshot.build(version("2"))
      const look = yield* Effect.forkChild(next("getSnapshot", "Succeeded"), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(look)
      const user = yield* Effect.forkChild(pool.use(versionOf), { startImmediately: true })
      yield* pass(pool, 1, "5 seconds")
      assert.strictEqual(yield* Fiber.join(user), "2")
    })
  )

  test(
    "is checked before handing out if the last check is old",
    Effect.gen(function* () {
      const { clock, holdUp } = yield* makeClock
      yield* Snapshot.build(version("1"))
      const pool = yield* SandboxPool.make({ snapshot: "app", min: 1, max: 2, healthCheck, rollOver: "at-once" }).pipe(
        Effect.provideService(Clock.Clock, clock)
      )
      yield* warm(pool)
      yield* Snapshot.build(version("2"))
      assert.strictEqual(yield* pool.use(versionOf), "1")
      holdUp(10_001)
      assert.strictEqual(yield* pool.use(versionOf), "2")
    })
  )

  test(
    "is ignored when the name is removed",
    Effect.gen(function* () {
      yield* Snapshot.build(version("1"))
      const pool = yield* SandboxPool.make({ snapshot: "app", min: 1, max: 2, healthCheck })
      yield* warm(pool)
      yield* Snapshot.remove("app")
      yield* pass(pool, 1, "5 seconds")
      assert.strictEqual(yield* pool.use(versionOf), "1")
    })
  )

  test(
    "is not followed when the pool was given the snapshot itself",
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ snapshot: Snapshot.build(version("1")), min: 1, max: 2, healthCheck })
      yield* warm(pool)
      yield* Snapshot.build(version("2"))
      yield* pass(pool, 3, "5 seconds")
      assert.strictEqual((yield* pool.stats).booted, 1)
      assert.strictEqual(yield* pool.use(versionOf), "1")
    })
  )
})

// =============================================================================
// Failures
// =============================================================================

describe("a failed boot", () => {
  test(
    "fails waiting users, is retried with growing pauses, and recovers",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* control.inject(MicrosandboxMemory.failAt("createSandbox", noBoot, { times: 1_000_000 }))
      const pool = yield* SandboxPool.make({ image, min: 3, max: 3, healthCheck: rarely })
      const error = yield* Effect.flip(pool.use(() => Effect.void))
      assert.strictEqual(error.reason._tag, "BootFailed")
      yield* pass(pool, 600, "1 seconds")
      const calls = yield* count("createSandbox")
      // Three at first, then one at a time, no more than one in 7.5 seconds in the end.
      assert.isAtLeast(calls.length, 3 + 600 / 10)
      assert.isAtMost(calls.length, 3 + 8 + 600 / 7.5)
      const pauses = calls.slice(3).map(({ at }, n) => at - (calls[n + 2]?.at ?? at))
      assert.isAbove(Math.min(...pauses), 0)

      const waiting = yield* Effect.forkChild(
        pool.use(() => Effect.void),
        { startImmediately: true }
      )
      assert.strictEqual((yield* pool.stats).waiting, 1)
      yield* pass(pool, 1, "10 seconds")
      const exit = yield* Fiber.await(waiting)
      assert.isTrue(Exit.isFailure(exit))

      yield* control.clearFaults
      const served = yield* Effect.forkChild(
        pool.use(() => Effect.succeed("served")),
        { startImmediately: true }
      )
      yield* pass(pool, 1, "10 seconds")
      assert.strictEqual(yield* Fiber.join(served), "served")
      yield* warm(pool)
    })
  )

  test(
    "does not fail users while another boot is under way",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* control.inject(
        MicrosandboxMemory.failAt("createSandbox", noBoot),
        MicrosandboxMemory.delayAt("createSandbox", "1 minute", { nth: 2 })
      )
      const pool = yield* SandboxPool.make({ image, min: 2, max: 2, healthCheck: rarely })
      const user = yield* Effect.forkChild(
        pool.use(() => Effect.succeed("served")),
        { startImmediately: true }
      )
      yield* until(pool, ({ failed }) => failed === 1)
      const creations = Effect.map(
        control.calls,
        (calls) => calls.filter(({ operation }) => operation === "createSandbox").length
      )
      yield* Effect.repeat(Effect.andThen(turn, creations), { until: (count) => count === 2 })
      yield* pass(pool, 1, "1 minutes")
      assert.strictEqual(yield* Fiber.join(user), "served")
    })
  )

  test(
    "reports a defect as a defect",
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const broken = { ...driver, connect: () => Effect.die("broken") }
      const pool = yield* SandboxPool.make({ image, min: 0, max: 1 }).pipe(
        Effect.provideService(Microsandbox.Microsandbox, broken)
      )
      const exit = yield* Effect.exit(pool.use(() => Effect.void))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    })
  )
})

// =============================================================================
// The end
// =============================================================================

describe("closing a pool", () => {
  it.effect("removes ready, used, booting and leaving sandboxes, and interrupts waiting users", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const scope = yield* Scope.make()
      const pool = yield* Scope.provide(SandboxPool.make({ image, min: 2, max: 4, healthCheck: rarely }), scope)
      yield* warm(pool)
      const users = yield* Scope.make()
      const used = yield* Scope.provide(pool.acquire(), users)
      const leaving = yield* Scope.make()
      yield* Scope.provide(pool.acquire(), leaving)
      yield* warm(pool)
      yield* control.inject(
        MicrosandboxMemory.delayAt("removeSandbox", "5 seconds"),
        MicrosandboxMemory.delayAt("createSandbox", "5 seconds", { times: 10 })
      )
      const left = yield* Effect.forkChild(Scope.close(leaving, Exit.void), { startImmediately: true })
      yield* Effect.forEach([1, 2], () => Scope.provide(pool.acquire(), users))
      const waiting = yield* Effect.forkChild(Scope.provide(pool.acquire(), users), { startImmediately: true })
      const stats = yield* until(pool, ({ booting, leaving, waiting }) => booting + leaving + waiting > 0)
      assert.strictEqual(stats.used + stats.leaving + stats.booting, 4)
      const command = yield* Effect.forkChild(used.shell("sleep 1000"), { startImmediately: true })

      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(waiting)))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(closing)
      yield* assertNothingLeft
      assert.isTrue(Exit.isFailure(yield* Fiber.await(command)))
      assert.isTrue(Exit.hasInterrupts(yield* Effect.exit(Effect.scoped(pool.acquire()))))
      yield* Fiber.join(left)
      yield* Scope.close(users, Exit.void)
    }).pipe(Effect.provide(MicrosandboxMemory.layer()))
  )
})

// =============================================================================
// Many jobs
// =============================================================================

describe("many jobs", () => {
  const job = (n: number) => (sandbox: Sandbox) =>
    Effect.gen(function* () {
      const { stdout } = yield* sandbox.shell(`cat /seen; echo ${n} > /seen`)
      if (n % 5 === 3) return yield* Effect.fail(`job ${n}`)
      if (n % 5 === 4) return yield* Effect.die(`job ${n}`)
      return stdout + n
    })

  const jobs = Array.from({ length: 20 }, (_, n) => job(n))

  test(
    "run in clean sandboxes, isolated from each other, with ordered results on request",
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ image, min: 3, max: 3 })
      const results = yield* Stream.runCollect(pool.runMany(jobs, { ordered: true }))
      const shown = results.map(({ exit, index }) =>
        Exit.match(exit, {
          onSuccess: (value) => `${index} ${value}`,
          onFailure: (cause) => `${index} ${String(Cause.squash(cause))}`
        })
      )
      assert.deepStrictEqual(
        shown,
        jobs.map((_, n) => (n % 5 >= 3 ? `${n} job ${n}` : `${n} ${n}`))
      )
      assert.strictEqual((yield* pool.stats).handedOut, 20)
    })
  )

  test(
    "emit results as they complete, with no more running than the pool's max",
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ image, min: 3, max: 3, healthCheck: rarely })
      yield* warm(pool)
      let running = 0
      const waits = ["30 seconds", "10 seconds", "20 seconds", "40 seconds"] as const
      const results = yield* pool
        .runMany(
          waits.map(
            (wait) => () =>
              Effect.acquireUseRelease(
                Effect.sync(() => assert.isAtMost(++running, 3)),
                () => Effect.sleep(wait),
                () => Effect.sync(() => running--)
              )
          )
        )
        .pipe(Stream.runCollect, Effect.forkChild({ startImmediately: true }))
      yield* until(pool, ({ used }) => used === 3)
      yield* pass(pool, 12, "5 seconds")
      assert.deepStrictEqual(
        (yield* Fiber.join(results)).map(({ index }) => index),
        [1, 2, 0, 3]
      )
    })
  )

  test(
    "are retried in other sandboxes",
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ image, min: 1, max: 2 })
      const ids = new Set<string>()
      const results = yield* Stream.runCollect(
        pool.runMany(
          [
            ({ id }) =>
              Effect.suspend(() => {
                ids.add(id)
                return ids.size < 3 ? Effect.fail("again") : Effect.succeed("done")
              })
          ],
          { retry: Schedule.recurs(5) }
        )
      )
      assert.deepStrictEqual(results, [{ index: 0, exit: Exit.succeed("done") }])
      assert.strictEqual(ids.size, 3)
    })
  )

  test(
    "end with the stream, and start only on demand",
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ image, min: 1, max: 2 })
      let begun = 0
      function* endless() {
        for (;;) {
          begun++
          yield () => Effect.succeed(begun)
        }
      }
      const some = yield* Stream.runCollect(Stream.take(pool.runMany(endless()), 5))
      assert.strictEqual(some.length, 5)
      assert.isBelow(begun, 30)
      yield* warm(pool)
    })
  )

  test(
    "reject invalid options",
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ image, max: 1 })
      const error = yield* Effect.flip(Stream.runCollect(pool.runMany(jobs, { concurrency: 0 })))
      assert.strictEqual(error.reason._tag === "InvalidConfig" && error.reason.field, "concurrency")
    })
  )
})
