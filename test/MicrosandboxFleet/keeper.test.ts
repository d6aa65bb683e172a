/** What one host does for all of a fleet. */
import { assert, describe, it } from "@effect/vitest"
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import type { Services } from "../../src/Driver.ts"
import { lockMillis } from "../../src/internal/directory/directory.ts"
import * as Keeper from "../../src/internal/fleet/keeper.ts"
import * as Gateway from "../../src/Gateway.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { failsWith } from "../Microsandbox/Bench.ts"
import * as Cases from "../internal/directory/cases.ts"
import { quiet } from "../support.ts"
import * as Support from "./support.ts"

/** A host that may be the keeper, and counts how often it was asked for the fleet. */
const candidate = Effect.fnUntraced(function* (
  url: string,
  holder: string,
  services: Effect.Effect<Context.Context<Services>, never> = Effect.never
) {
  const directory = yield* Cases.open(url)
  let pruned = 0
  const scope = yield* Effect.scope
  const counted = Effect.andThen(
    Effect.sync(() => {
      pruned += 1
    }),
    services
  )
  const keeper = Keeper.make({ directory, holder, services: counted, scope })
  const tend = Effect.flatMap(directory.time, (now) => keeper.tend({ now, isSettled: true }))
  return { directory, tend, leave: keeper.leave, count: () => pruned }
})

const nightly = Keeper.encodePrune({ cron: "0 3 * * *", olderThan: Duration.days(7) })

const at = (time: string) => TestClock.setTime(DateTime.toEpochMillis(DateTime.makeUnsafe(time)))

describe("the keeper of a fleet", () => {
  it.effect("is one host at a time, and another one when that dies or leaves", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* candidate(url, "a")
      const b = yield* candidate(url, "b")
      const keeper = Effect.map(
        a.directory.sql<{ holder: string }>`SELECT holder FROM lightbox_locks WHERE name = ${Keeper.lockName}`,
        (found) => found[0]?.holder
      )
      yield* a.tend
      yield* b.tend
      assert.strictEqual(yield* keeper, "a")
      yield* TestClock.adjust(lockMillis / 2)
      yield* a.tend
      yield* TestClock.adjust(lockMillis / 2 + 1)
      yield* b.tend
      assert.strictEqual(yield* keeper, "a")
      // It is not heard of any more.
      yield* TestClock.adjust(lockMillis)
      yield* b.tend
      assert.strictEqual(yield* keeper, "b")
      yield* a.tend
      assert.strictEqual(yield* keeper, "b")
      yield* b.leave
      yield* a.tend
      assert.strictEqual(yield* keeper, "a")
      yield* b.leave
      assert.strictEqual(yield* keeper, "a")
    })
  )

  it.effect("is the only one that gives up the sandboxes of hosts that are gone", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* candidate(url, "a")
      const b = yield* candidate(url, "b")
      yield* a.directory.register(Cases.registration("gone"))
      yield* a.directory.claim(Cases.claim("worker", "gone", "r1"))
      yield* TestClock.adjust("2 minutes")
      yield* a.directory.lock(Keeper.lockName, "a")
      yield* b.tend
      assert.deepInclude(yield* a.directory.find("worker"), { state: "creating" })
      yield* a.directory.unlock(Keeper.lockName, "a")
      yield* a.tend
      assert.deepInclude(yield* a.directory.find("worker"), { state: "lost" })
    })
  )

  it.effect("prunes at each time of a schedule once, whoever it is then", () =>
    Effect.gen(function* () {
      yield* at("2026-01-01T12:00:00Z")
      const url = yield* Support.directory
      const a = yield* candidate(url, "a")
      const b = yield* candidate(url, "b")
      const beat = a.directory.register({ ...Cases.registration("host"), prune: nightly })
      const both = Effect.all([beat, a.tend, b.tend])
      yield* both
      yield* at("2026-01-02T02:59:59Z")
      yield* both
      assert.deepStrictEqual([a.count(), b.count()], [0, 0])
      yield* at("2026-01-02T03:00:01Z")
      yield* both
      yield* both
      assert.deepStrictEqual([a.count(), b.count()], [0, 1])
      // It dies in the middle of that. The next one has its own turn, and what was missed is done once.
      yield* at("2026-01-04T12:00:00Z")
      yield* beat
      yield* a.tend
      yield* a.tend
      assert.deepStrictEqual([a.count(), b.count()], [1, 1])
      // No host wants it any more.
      yield* a.directory.register(Cases.registration("host"))
      yield* at("2026-01-06T12:00:00Z")
      yield* a.tend
      yield* b.tend
      assert.deepStrictEqual([a.count(), b.count()], [1, 1])
    })
  )

  it.effect("removes the results of the fleet that nobody has used for so long", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const { control } = yield* Support.host(url, { member: { prune: { cron: "* * * * *", olderThan: "1 minute" } } })
      const { services } = yield* Support.program(url)
      const run = <A, E>(effect: Effect.Effect<A, E, Services>) => Effect.provideContext(effect, services)
      const definition = Snapshot.make("app", "busybox").pipe(Snapshot.shell("echo one"), Snapshot.shell("echo two"))
      yield* run(Snapshot.build(definition, { checkpoints: "every-step" }))
      const snapshots = Effect.map(control.inventory, (all) => all.snapshots.length)
      const before = yield* snapshots
      const step = Effect.andThen(TestClock.adjust("250 millis"), quiet)
      yield* Effect.andThen(step, snapshots).pipe(Effect.repeat({ until: (count) => count < before }))
      assert.strictEqual((yield* run(Sandbox.run({ snapshot: "app" }, (sandbox) => sandbox.exec("true")))).exitCode, 0)
    })
  )

  it.effect("refuses schedules and jobs that cannot be, before it listens", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const refused = (member: object, options: object = {}) =>
        Effect.map(
          failsWith(
            "InvalidConfig",
            Gateway.serve({
              tokens: [{ token: Support.token }],
              port: 0,
              directory: { url, ...member },
              ...options
            }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer()))
          ),
          ({ field }) => field
        )
      assert.strictEqual(yield* refused({ prune: { cron: "at night" } }), "directory.prune.cron")
      assert.strictEqual(yield* refused({ prune: { cron: "0 0 30 2 *" } }), "directory.prune.cron")
      assert.strictEqual(
        yield* refused({ prune: { cron: "0 3 * * *", olderThan: "-1 day" } }),
        "directory.prune.olderThan"
      )
      assert.strictEqual(yield* refused({ jobs: -1 }), "directory.jobs")
      const reading = { tokens: [{ token: Support.token, scopes: ["read"] }] }
      assert.strictEqual(yield* refused({ jobs: 1 }, reading), "directory.jobs")
      assert.strictEqual(yield* refused({ prune: { cron: "0 3 * * *" } }, reading), "directory.prune")
    })
  )
})
