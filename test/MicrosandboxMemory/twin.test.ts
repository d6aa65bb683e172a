/** What the twin promises beyond the contract: time, logs, and what other processes have. */
import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxConfig from "../../src/SandboxConfig.ts"
import { temporary } from "../support.ts"

const image = "plain"

const twin = (options?: MicrosandboxMemory.Options) => Layer.fresh(MicrosandboxMemory.layer(options))

describe("layerConfig", () => {
  it.effect("takes options from the configuration, and names a missing one", () => {
    const configured = (settings: { readonly [name: string]: string }) =>
      MicrosandboxMemory.layerConfig({
        memory: Config.schema(SandboxConfig.Size, "SANDBOX_MEMORY"),
        commands: Config.succeed({ greet: (invocation) => Effect.as(invocation.stdout("hello"), 0) })
      }).pipe(Layer.fresh, Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(settings))))
    const program = Sandbox.run({ image }, (sandbox) =>
      Effect.all([sandbox.shell("greet"), Effect.map(sandbox.info, ({ memory }) => memory)])
    )
    return Effect.gen(function* () {
      const [greeting, memory] = yield* Effect.provide(program, configured({ SANDBOX_MEMORY: "256M" }))
      assert.deepStrictEqual([greeting.stdout, memory], ["hello", 256 * 1024 ** 2])
      const missing = yield* Effect.flip(Effect.provide(program, configured({})))
      assert.strictEqual(missing._tag, "ConfigError")
      assert.include(missing.message, "SANDBOX_MEMORY")
    })
  })
})

describe("logs", () => {
  it.effect("reject an invalid cursor and a cursor with a tail, and name the option", () =>
    Sandbox.run({ image }, (sandbox) =>
      Effect.gen(function* () {
        yield* sandbox.exec("echo", ["one"])
        const [entry] = yield* Stream.runCollect(sandbox.logs())
        for (const [query, field] of [
          [{ after: "nonsense" }, "after"],
          [{ after: entry?.cursor, tail: 1 }, "tail"]
        ] as const) {
          const { reason } = yield* Effect.flip(Stream.runCollect(sandbox.logs(query)))
          assert.deepInclude(reason, { _tag: "InvalidConfig", field })
        }
      })
    ).pipe(Effect.provide(twin()))
  )
})

describe("waiting for a status", () => {
  it.effect("ends when the status is reached or the time limit is over", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image, name: "job" })
      const waiting = yield* Effect.forkChild(Sandbox.waitFor("job", "stopped"), { startImmediately: true })
      const late = yield* Effect.forkChild(Effect.flip(Sandbox.waitFor("job", "crashed", { timeout: "45 seconds" })), {
        startImmediately: true
      })
      yield* TestClock.adjust("29 seconds")
      assert.isUndefined(waiting.pollUnsafe())
      yield* sandbox.stop()
      yield* TestClock.adjust("250 millis")
      assert.deepInclude(yield* Fiber.join(waiting), { name: "job", status: "stopped" })

      yield* TestClock.adjust("15 seconds")
      assert.isUndefined(late.pollUnsafe())
      yield* TestClock.adjust("750 millis")
      const { method, reason } = yield* Fiber.join(late)
      assert.strictEqual(method, "Sandbox.waitFor")
      assert.deepInclude(reason, { _tag: "TimedOut", limitMillis: 45_000 })
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )

  it.effect("takes 30 seconds by default, and fails at once for an unknown sandbox", () =>
    Effect.gen(function* () {
      assert.deepInclude((yield* Effect.flip(Sandbox.waitFor("job", "stopped"))).reason, {
        _tag: "NotFound",
        name: "job"
      })
      yield* Sandbox.launch({ image, name: "job" })
      const waiting = yield* Effect.forkChild(Effect.flip(Sandbox.waitFor("job", "stopped")), {
        startImmediately: true
      })
      yield* TestClock.adjust("30 seconds")
      assert.deepInclude((yield* Fiber.join(waiting)).reason, { _tag: "TimedOut", limitMillis: 30_000 })
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )
})

describe("the life of a sandbox", () => {
  const statusOf = (name: string) => Effect.map(Sandbox.get(name), ({ status }) => status)

  it.effect("ends after its idle timeout, with its disk flushed", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image, name: "idler", idleTimeout: "1 minute" })
      yield* sandbox.writeFileString("/root/kept", "kept")
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(yield* statusOf("idler"), "running")
      // A command counts as long as it runs.
      const command = yield* Effect.forkChild(sandbox.exec("sleep", ["90"]), { startImmediately: true })
      yield* TestClock.adjust("90 seconds")
      assert.strictEqual((yield* Fiber.join(command)).exitCode, 0)
      yield* TestClock.adjust("50 seconds")
      yield* sandbox.touch
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(yield* statusOf("idler"), "running")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* statusOf("idler"), "stopped")
      const again = yield* Sandbox.start("idler")
      assert.strictEqual(yield* again.readFileString("/root/kept"), "kept")
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )

  it.effect("ends after its maximum duration, even when busy, without flushing its disk", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image, name: "job", maxDuration: "1 hour" })
      yield* sandbox.shell("echo kept > /root/kept; sync; echo lost > /root/lost")
      const command = yield* Effect.forkChild(Effect.flip(sandbox.exec("sleep", ["1d"])), { startImmediately: true })
      yield* TestClock.adjust("59 minutes")
      assert.strictEqual(yield* statusOf("job"), "running")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(command)).reason._tag, "GuestLost")
      assert.strictEqual(yield* statusOf("job"), "stopped")
      const again = yield* Sandbox.start("job")
      assert.deepStrictEqual([yield* again.exists("/root/kept"), yield* again.exists("/root/lost")], [true, false])
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )

  it.effect("leaves nothing of an ephemeral sandbox, however it ends", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const launch = (name: string) => Sandbox.launch({ image, name, ephemeral: true, idleTimeout: "1 minute" })
      const stopped = yield* launch("stopped")
      const killed = yield* launch("killed")
      yield* launch("idle")
      yield* stopped.stop()
      yield* killed.kill
      assert.deepStrictEqual((yield* control.inventory).sandboxes, [{ name: "idle", status: "running" }])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual((yield* control.inventory).sandboxes, [])
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )
})

describe("a patch", () => {
  it.effect("is rejected if its file cannot be read", () =>
    Effect.gen(function* () {
      const hostPath = Path.join(yield* temporary, "large")
      Fs.writeFileSync(hostPath, "")
      // More than is read at once.
      Fs.truncateSync(hostPath, 2 ** 31)
      const patches = [{ _tag: "CopyFile", path: "/opt/large", hostPath }] as const
      const { reason } = yield* Effect.flip(Effect.scoped(Sandbox.launch({ image, patches })))
      assert.deepInclude(reason, { _tag: "InvalidConfig", field: "patches" })
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )
})

describe("an image in the cache", () => {
  it.effect("is not changed by booting from it", () =>
    Effect.gen(function* () {
      const { home } = yield* Microsandbox.Microsandbox
      const folder = Path.join(home, "images")
      const files = Effect.sync(() => Fs.readdirSync(folder).map((name) => Fs.statSync(Path.join(folder, name)).ino))
      const boot = (pullPolicy: "always" | "if-missing" | "never") =>
        Sandbox.run({ image, pullPolicy }, () => Effect.void)
      yield* boot("if-missing")
      const pulled = yield* files
      assert.strictEqual(pulled.length, 1)
      for (const policy of ["if-missing", "always", "never"] as const) {
        yield* boot(policy)
        assert.deepStrictEqual(yield* files, pulled, policy)
      }
    }).pipe(Effect.provide(twin()))
  )
})

describe("a path longer than the kernel accepts", () => {
  it.effect("fails with ENAMETOOLONG, as a file and as a link target", () =>
    Sandbox.run({ image }, ({ guest }) =>
      Effect.gen(function* () {
        const path = "/a".repeat(2048)
        yield* guest.symlink(path.slice(1), "/root/longest")
        for (const request of [guest.stat(path), guest.symlink(path, "/root/longer")]) {
          const { reason } = yield* Effect.flip(Effect.asVoid(request))
          assert.deepInclude(reason, { _tag: "FileError", code: "ENAMETOOLONG" })
        }
      })
    ).pipe(Effect.provide(twin()))
  )
})

describe("a sandbox of another process", () => {
  it.effect("is listed, but rejects what only its own process can do", () =>
    Effect.gen(function* () {
      const { home } = yield* Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.launch({ image, name: "other" })
          yield* sandbox.exec("echo", ["one"])
          yield* sandbox.detach
          return yield* Microsandbox.Microsandbox
        })
      ).pipe(Effect.provide(twin({ home: yield* temporary })))
      // The closed layer's memory is lost.
      yield* Effect.gen(function* () {
        const driver = yield* Microsandbox.Microsandbox
        const info = yield* driver.getSandbox("other")
        assert.deepStrictEqual(yield* driver.listSandboxes(), [info])
        const operations: ReadonlyArray<Effect.Effect<unknown, LightboxError>> = [
          driver.readLogs(info),
          driver.readMetrics(info),
          driver.startSandbox(info),
          driver.modifySandbox(info, { labels: { a: "b" } })
        ]
        for (const operation of operations) {
          assert.deepInclude((yield* Effect.flip(operation)).reason, {
            _tag: "Unsupported",
            feature: "a sandbox of another process"
          })
        }
      }).pipe(Effect.provide(twin({ home })))
    }).pipe(Effect.scoped)
  )
})
