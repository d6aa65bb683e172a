/** Builds of the same definition in several processes. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "./support.ts"

const program = fileURLToPath(new URL("programs/build.ts", import.meta.url))

/** A process that builds: what it has printed, and a wait for a word. */
const start = Effect.fnUntraced(function* (home: string, mode: string) {
  const child = yield* ChildProcess.make(process.execPath, [program, home, mode], {
    stdin: "ignore",
    stderr: "inherit",
    killSignal: "SIGKILL"
  })
  const said: Array<string> = []
  const waiting = new Map<string, Deferred.Deferred<void>>()
  const output = yield* Effect.forkScoped(
    Stream.runForEach(Stream.splitLines(Stream.decodeText(child.stdout)), (line) => {
      said.push(line)
      const deferred = waiting.get(line)
      return deferred === undefined ? Effect.void : Deferred.succeed(deferred, undefined)
    }),
    { startImmediately: true }
  )
  return {
    said,
    until: (line: string) =>
      Effect.suspend(() => {
        if (said.includes(line)) return Effect.void
        const deferred = Deferred.makeUnsafe<void>()
        waiting.set(line, deferred)
        return Deferred.await(deferred)
      }),
    end: Effect.andThen(Fiber.join(output), child.exitCode),
    kill: child.kill({ killSignal: "SIGKILL" })
  }
})

layer(NodeServices.layer, { excludeTestServices: true })("builds in several processes", (it) => {
  it.effect("run as one, and another process takes over when the building one is killed", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      // Holds sockets, whose paths must be short.
      const home = yield* fs.makeTempDirectoryScoped({ prefix: "b" })
      const holder = yield* start(home, "hang")
      yield* holder.until("step 2")
      const waiters = yield* Effect.all([start(home, "wait"), start(home, "wait")], { concurrency: 2 })
      for (const waiter of waiters) yield* waiter.until("Waiting")
      yield* holder.kill
      for (const waiter of waiters) assert.strictEqual(Number(yield* waiter.end), 0)
      const ran = waiters.flatMap(({ said }) => said.filter((line) => line.startsWith("ran ")))
      assert.sameMembers(ran, ["ran 0", "ran 3"])

      const version = yield* Effect.provide(
        Effect.andThen(Snapshot.generations("shared"), (all) =>
          Effect.map(Support.readIn("shared", "/root/version"), (content) => [all.length, content] as const)
        ),
        MicrosandboxMemory.layer({ home })
      )
      assert.deepStrictEqual(version, [1, "three\n"])
    })
  )
})
