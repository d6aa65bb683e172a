import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Microsandbox from "../../src/Microsandbox.ts"
import type * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxPool from "../../src/SandboxPool.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "../microvm/support.ts"
import { isEmulated } from "../support.ts"

const resources = { cpus: 1, memory: "128M" } as const

// Each job boots a microVM, which takes an emulated host seconds.
const count = isEmulated ? 10 : 50

const until = (pool: SandboxPool.SandboxPool, isSo: (stats: SandboxPool.Stats) => boolean) =>
  pool.stats.pipe(Effect.repeat({ until: isSo, schedule: Schedule.spaced("100 millis") }))

layer(Support.layer, { excludeTestServices: true })("pools", (it) => {
  it.effect(
    `run ${count} jobs in 3 sandboxes, none seeing another's files`,
    () =>
      Effect.gen(function* () {
        const jobs = Array.from(
          { length: count },
          (_, n) => (sandbox: Sandbox.Sandbox) =>
            Effect.gen(function* () {
              const { stdout } = yield* sandbox.shell(
                `cat /root/seen /tmp/seen; echo ${n} | tee /root/seen > /tmp/seen`
              )
              assert.strictEqual(stdout, "")
              if (n % 10 === 7) return yield* Effect.fail(n)
              return { id: sandbox.id, seen: yield* sandbox.readFileString("/root/seen") }
            })
        )
        const results = yield* Effect.scoped(
          Effect.gen(function* () {
            const pool = yield* SandboxPool.make({ image: Support.image, resources, min: 3, max: 3 })
            const results = yield* Stream.runCollect(pool.runMany(jobs, { ordered: true }))
            assert.isAtMost(
              (yield* Effect.flatMap(Microsandbox.Microsandbox, (driver) => driver.listSandboxes())).length,
              3
            )
            return results
          })
        )
        const done = results.flatMap(({ exit, index }) => (Exit.isSuccess(exit) ? [{ index, ...exit.value }] : []))
        assert.deepStrictEqual(
          results.filter(({ exit }) => Exit.isFailure(exit)).map(({ index }) => index),
          Array.from({ length: count / 10 }, (_, tens) => 10 * tens + 7)
        )
        for (const { index, seen } of done) assert.strictEqual(seen, `${index}\n`)
        assert.strictEqual(new Set(done.map(({ id }) => id)).size, count - count / 10)
        yield* Support.assertNothingLeft()
      }),
    1_800_000
  )

  it.effect(
    "replace a dead sandbox, follow a snapshot name, and give commands their settings",
    () =>
      Effect.gen(function* () {
        const driver = yield* Microsandbox.Microsandbox
        const build = (version: string) =>
          Snapshot.build(
            Snapshot.make("pooled", Support.image).pipe(
              Snapshot.resources(resources),
              Snapshot.write("/srv/version", version)
            )
          )
        yield* build("one")
        yield* Effect.scoped(
          Effect.gen(function* () {
            const pool = yield* SandboxPool.make({ snapshot: "pooled", resources, min: 1, max: 2 })
            yield* until(pool, ({ ready }) => ready === 1)

            const [waiting] = yield* driver.listSandboxes()
            assert.isDefined(waiting)
            if (waiting !== undefined) yield* driver.killSandbox(waiting)
            yield* until(pool, ({ booted, ready }) => booted === 2 && ready === 1)
            const settings = { env: { WHO: "tenant" }, cwd: "/srv" }
            const first = yield* pool.use((sandbox) => sandbox.shell("cat version; pwd; echo $WHO"), settings)
            assert.strictEqual(first.stdout, "one/srv\ntenant\n")

            yield* build("two")
            yield* until(pool, ({ booted, ready }) => booted >= 4 && ready === 1)
            const second = yield* pool.use((sandbox) => sandbox.readFileString("/srv/version"))
            assert.strictEqual(second, "two")
          })
        )
        yield* Snapshot.remove("pooled")
        yield* Support.assertNothingLeft({ snapshots: [] })
      }),
    600_000
  )

  it.effect(
    "hand out forks of a prepared sandbox, which do not disturb each other",
    () =>
      Effect.gen(function* () {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const pool = yield* SandboxPool.make({
              image: Support.image,
              resources,
              min: 0,
              max: 1,
              services: {
                rows: { command: "cp /root/rows /run/new; mv /run/new /run/rows; exec sleep 1000", restart: "no" }
              },
              prepare: (sandbox) => sandbox.shell("seq 1 1000 > /root/rows", { check: true })
            })
            const work = pool.use((sandbox) =>
              Effect.andThen(
                sandbox.waitUntil({ file: "/run/rows" }),
                sandbox.shell("wc -l < /run/rows; rm /root/rows")
              )
            )
            for (const { stdout } of [yield* work, yield* work]) assert.strictEqual(stdout, "1000\n")
          })
        )
        yield* Support.assertNothingLeft({ snapshots: [] })
      }),
    600_000
  )
})
