import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import * as Lock from "../../../src/internal/ownership/lock.ts"

const makeFolder = FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped({ prefix: "lock" }))

const program = fileURLToPath(new URL("programs/lock.ts", import.meta.url))

/** Another process. */
const spawn = (...args: ReadonlyArray<string>) =>
  ChildProcess.make(process.execPath, [program, ...args], { stderr: "inherit", killSignal: "SIGKILL" })

/** Another process that has the lock. */
const holder = Effect.fnUntraced(function* (folder: string) {
  const child = yield* spawn("hold", folder)
  const said = yield* Stream.runHead(Stream.splitLines(Stream.decodeText(child.stdout)))
  assert.deepStrictEqual(said, yield* Effect.succeedSome("held"))
  return child
})

/** Whether the lock can be acquired without waiting. */
const isFree = (folder: string) =>
  Effect.scoped(Effect.map(Lock.tryAcquire(folder, "name"), (result) => "lock" in result))

/** Lets events of this process happen. */
const macrotask = Effect.callback<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

/** Waits for the lock in the background, and records the holder's lines. */
const waitFor = Effect.fnUntraced(function* (folder: string) {
  const hears = yield* Deferred.make<void>()
  const result = yield* Lock.tryAcquire(folder, "name")
  if ("lock" in result) return assert.fail("nobody has the lock")
  const heard = yield* Effect.forkChild(
    Stream.runCollect(Stream.tap(result.waiting, () => Deferred.succeed(hears, undefined))),
    { startImmediately: true }
  )
  return { heard, hears }
})

layer(NodeServices.layer, { excludeTestServices: true })("lock", (it) => {
  it.effect("is held by one holder until its scope closes", () =>
    Effect.gen(function* () {
      const folder = yield* makeFolder
      const scope = yield* Scope.make()
      yield* Scope.provide(Lock.acquire(folder, "name"), scope)
      assert.isFalse(yield* isFree(folder))
      assert.isTrue(yield* Effect.scoped(Effect.map(Lock.tryAcquire(folder, "other"), (result) => "lock" in result)))
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(yield* isFree(folder))
    })
  )

  it.effect("is released on failure and interruption", () =>
    Effect.gen(function* () {
      const folder = yield* makeFolder
      const held = Effect.andThen(Lock.acquire(folder, "name"), Effect.fail("on purpose"))
      assert.strictEqual(yield* Effect.flip(Effect.scoped(held)), "on purpose")
      assert.isTrue(yield* isFree(folder))

      const taken = yield* Deferred.make<void>()
      const fiber = yield* Lock.acquire(folder, "name").pipe(
        Effect.andThen(Deferred.succeed(taken, undefined)),
        Effect.andThen(Effect.never),
        Effect.scoped,
        Effect.forkChild
      )
      yield* Deferred.await(taken)
      assert.isFalse(yield* isFree(folder))
      yield* Fiber.interrupt(fiber)
      assert.isTrue(yield* isFree(folder))
    })
  )

  it.effect("is taken over at once from a killed process", () =>
    Effect.gen(function* () {
      const folder = yield* makeFolder
      const child = yield* holder(folder)
      const first = yield* Lock.tryAcquire(folder, "name")
      assert.isTrue("waiting" in first)
      const next = yield* Effect.forkChild(Effect.scoped(Lock.acquire(folder, "name")), { startImmediately: true })
      yield* child.kill({ killSignal: "SIGKILL" })
      if ("waiting" in first) assert.deepStrictEqual(yield* Stream.runCollect(first.waiting), [])
      yield* Fiber.join(next)
      assert.isTrue(yield* isFree(folder))
    })
  )

  it.effect("sends the holder's lines to those who wait, complete", () =>
    Effect.gen(function* () {
      const folder = yield* makeFolder
      const scope = yield* Scope.make()
      const lock = yield* Scope.provide(Lock.acquire(folder, "name"), scope)
      const lines = ["one", "zwei ∞", "x".repeat(100_000)]
      const waiters = yield* Effect.forEach([1, 2], () => waitFor(folder))
      // The holder must have accepted the connections.
      yield* Effect.repeat(
        Effect.andThen(
          Effect.sync(() => lock.send("ping")),
          macrotask
        ),
        { until: () => waiters.every(({ hears }) => Deferred.isDoneUnsafe(hears)) }
      )
      for (const line of lines) lock.send(line)
      yield* Scope.close(scope, Exit.void)
      for (const { heard } of waiters) {
        assert.deepStrictEqual(
          (yield* Fiber.join(heard)).filter((line) => line !== "ping"),
          lines
        )
      }
    })
  )

  it.effect("sends lines between processes", () =>
    Effect.gen(function* () {
      const folder = yield* makeFolder
      const child = yield* holder(folder)
      const { heard, hears } = yield* waitFor(folder)
      yield* Stream.fromEffectRepeat(Effect.as(macrotask, new TextEncoder().encode("hello\n"))).pipe(
        Stream.run(child.stdin),
        Effect.raceFirst(Deferred.await(hears))
      )
      yield* child.kill({ killSignal: "SIGKILL" })
      const lines = yield* Fiber.join(heard)
      assert.deepStrictEqual([...new Set(lines.flatMap((line) => line.split("\n")))], ["hello"])
    })
  )

  it.effect("admits one fiber at a time", () =>
    Effect.gen(function* () {
      const folder = yield* makeFolder
      let inside = 0
      let rounds = 0
      const round = Effect.scoped(
        Effect.gen(function* () {
          yield* Lock.acquire(folder, "name")
          assert.strictEqual(++inside, 1)
          yield* Effect.yieldNow
          assert.strictEqual(inside--, 1)
          rounds++
        })
      )
      yield* Effect.forEach(Array.from({ length: 60 }), () => round, { concurrency: 12, discard: true })
      assert.strictEqual(rounds, 60)
    })
  )

  it.effect("admits one process at a time, even if some are killed", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* makeFolder
      yield* fs.writeFileString(`${folder}/count`, "0")
      const children = yield* Effect.forEach([1, 2, 3], () => spawn("count", folder, "20"))
      const victim = yield* holder(folder)
      yield* victim.kill({ killSignal: "SIGKILL" })
      const codes = yield* Effect.forEach(children, (child) => child.exitCode, { concurrency: "unbounded" })
      assert.deepStrictEqual(codes.map(Number), [0, 0, 0])
      const count = yield* Schema.decodeEffect(Schema.FiniteFromString)(yield* fs.readFileString(`${folder}/count`))
      assert.strictEqual(count, 60)
    })
  )

  it.effect("leaves no files when released", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* makeFolder
      yield* Effect.scoped(Lock.acquire(folder, "name"))
      assert.deepStrictEqual(yield* fs.readDirectory(folder), [])
    })
  )

  it.effect("is collected only after its holder was killed", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* makeFolder
      const child = yield* holder(folder)
      const before = yield* fs.readDirectory(folder)
      assert.deepStrictEqual(yield* Lock.collect(folder, { dryRun: false }), [])
      assert.deepStrictEqual(yield* fs.readDirectory(folder), before)
      assert.isFalse(yield* isFree(folder))
      yield* child.kill({ killSignal: "SIGKILL" })
      assert.strictEqual((yield* Lock.collect(folder, { dryRun: true })).length, 1)
      assert.deepStrictEqual(yield* fs.readDirectory(folder), before)
      yield* Lock.collect(folder, { dryRun: false })
      assert.deepStrictEqual(yield* fs.readDirectory(folder), [])
      assert.isTrue(yield* isFree(folder))
    })
  )

  it.effect("is free if its number is not a link to a socket, and removes only the number", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* makeFolder
      const scope = yield* Scope.make()
      yield* Scope.provide(Lock.acquire(folder, "name"), scope)
      const number = (yield* fs.readDirectory(folder)).find((entry) => entry.endsWith(".1")) ?? ""
      yield* Scope.close(scope, Exit.void)
      const inWay = [
        fs.writeFileString(`${folder}/${number}`, ""),
        fs.writeFileString(`${folder}/${number}`, "not a socket"),
        fs.symlink(".", `${folder}/${number}`),
        fs.symlink("../kept", `${folder}/${number}`),
        fs.symlink(`${"0".repeat(12)}-${"0".repeat(8)}`, `${folder}/${number}`)
      ]
      // A backup file of a number does not count.
      yield* fs.writeFileString(`${folder}/${number}~`, "")
      assert.isTrue(yield* isFree(folder))
      yield* fs.remove(`${folder}/${number}~`)
      yield* fs.writeFileString(`${folder}/kept`, "")
      for (const make of inWay) {
        yield* make
        assert.isTrue(yield* isFree(folder))
        assert.deepStrictEqual(yield* fs.readDirectory(folder), ["kept"])
        yield* make
        yield* Lock.collect(folder, { dryRun: false })
        assert.deepStrictEqual(yield* fs.readDirectory(folder), ["kept"])
      }
    })
  )

  it.effect.skipIf(process.platform !== "linux")("is held by a stopped process, however many others have tried", () =>
    Effect.gen(function* () {
      const folder = yield* makeFolder
      const child = yield* holder(folder)
      const fs = yield* FileSystem.FileSystem
      process.kill(child.pid, "SIGSTOP")
      yield* Effect.repeat(Effect.andThen(macrotask, fs.readFileString(`/proc/${child.pid}/stat`)), {
        until: (stat) => stat.includes(") T ")
      })
      yield* Effect.forEach(
        Array.from({ length: 1200 }),
        () =>
          Effect.scoped(Effect.map(Lock.tryAcquire(folder, "name"), (result) => assert.isTrue("waiting" in result))),
        { concurrency: 50, discard: true }
      )
      assert.deepStrictEqual(yield* Lock.collect(folder, { dryRun: false }), [])
    })
  )

  it.effect("has nothing to collect without a folder", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* Lock.collect(`${yield* makeFolder}/none`, { dryRun: false }), [])
    })
  )
})
