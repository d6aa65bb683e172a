/** Pools whose sandboxes are copies of a running one. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { BootFailed } from "../../src/LightboxError.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import type { Sandbox } from "../../src/Sandbox.ts"
import * as SandboxPool from "../../src/SandboxPool.ts"
import * as Snapshot from "../../src/Snapshot.ts"

const image = "plain"

const twin = (options: MicrosandboxMemory.Options = {}) =>
  Layer.fresh(MicrosandboxMemory.layer({ memorySnapshots: true, sweep: false, ...options }))

const textOf = (sandbox: Sandbox, script: string) =>
  Effect.map(sandbox.shell(script, { check: true }), ({ stdout }) => stdout.trim())

const sandboxes = Effect.flatMap(MicrosandboxMemory.Control, ({ inventory }) =>
  Effect.map(inventory, ({ sandboxes }) => sandboxes.map(({ name }) => name))
)

/** Calls of an operation so far, and of how many of them a sandbox booted. */
const count = (operation: MicrosandboxMemory.Operation) =>
  Effect.flatMap(MicrosandboxMemory.Control, ({ calls }) =>
    Effect.map(calls, (all) => all.filter((call) => call.operation === operation).length)
  )

describe("a pool of copies", () => {
  it.live("prepares one sandbox, and hands out copies with its memory", () =>
    Effect.gen(function* () {
      let prepared = 0
      yield* Effect.scoped(
        Effect.gen(function* () {
          const pool = yield* SandboxPool.make({
            image,
            fork: true,
            min: 0,
            max: 3,
            services: { idle: { command: "exec sleep 1000" } },
            prepare: (sandbox) =>
              Effect.andThen(
                Effect.sync(() => prepared++),
                sandbox.shell("echo ready > /tmp/state", { check: true })
              )
          })
          const work = (sandbox: Sandbox) =>
            Effect.gen(function* () {
              assert.strictEqual(sandbox.resumed, "memory")
              assert.strictEqual((yield* (yield* sandbox.job("idle")).status)._tag, "Running")
              return yield* textOf(sandbox, "cat /tmp/state; echo used > /tmp/state; hostname")
            })
          const answers = yield* Effect.all([pool.use(work), pool.use(work), pool.use(work)], {
            concurrency: "unbounded"
          })
          assert.strictEqual(new Set(answers).size, 3)
          for (const answer of answers) assert.match(answer, /^ready\n/)
          assert.deepStrictEqual([prepared, yield* count("createSandbox")], [1, 1])
        })
      )
      assert.deepStrictEqual(yield* sandboxes, [])
    }).pipe(Effect.provide(twin()))
  )

  it.live("replaces the sandbox that is copied when it has ended, or its snapshot has changed", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const version = (n: number) =>
        Snapshot.build(Snapshot.make("tools", image).pipe(Snapshot.shell(`echo ${n} > /version`)))
      yield* version(1)
      const boots = yield* count("createSandbox")
      const pool = yield* SandboxPool.make({
        snapshot: "tools",
        fork: true,
        min: 0,
        max: 1,
        healthCheck: { interval: "1 millis" }
      })
      const read = pool.use((sandbox) => textOf(sandbox, "cat /version"))
      assert.strictEqual(yield* read, "1")
      const [parent = ""] = yield* sandboxes
      yield* control.kill(parent)
      assert.strictEqual(yield* read, "1")
      assert.strictEqual((yield* count("createSandbox")) - boots, 2)
      yield* version(2)
      assert.strictEqual(yield* Effect.repeat(read, { until: (text) => text === "2" }), "2")
      assert.strictEqual((yield* sandboxes).length, 1)
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )

  it.live("is not made if its sandbox cannot be prepared", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        SandboxPool.make({ image, fork: true, max: 1, prepare: () => Effect.fail("no data") })
      )
      assert.strictEqual(error, "no data")
      assert.deepStrictEqual(yield* sandboxes, [])
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )

  it.live("tells users why no copy can be made", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const pool = yield* SandboxPool.make({ image, fork: true, min: 0, max: 1 })
      yield* control.inject(
        MicrosandboxMemory.failAt("forkSandbox", new BootFailed({ name: "x", problem: "no memory", lastLines: [] }))
      )
      const { reason } = yield* Effect.flip(pool.use(() => Effect.void))
      assert.strictEqual(reason._tag, "BootFailed")
      yield* pool.use(() => Effect.void)
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )

  it.live("publishes no ports, and needs a driver that can do so", () =>
    Effect.gen(function* () {
      const { reason } = yield* Effect.flip(SandboxPool.make({ image, fork: true, max: 1, ports: { 0: 80 } }))
      assert.deepInclude(reason, { _tag: "InvalidConfig", field: "ports" })
      const other = yield* Effect.flip(SandboxPool.make({ image, fork: true, max: 1 }))
      assert.deepInclude(other.reason, { _tag: "Unsupported", feature: "fork" })
      assert.strictEqual(yield* count("createSandbox"), 0)
    }).pipe(Effect.scoped, Effect.provide(twin({ memorySnapshots: false })))
  )
})
