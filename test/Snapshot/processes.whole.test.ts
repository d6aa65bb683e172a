/** Builds of the same definition in several processes. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { fileURLToPath } from "node:url"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "./support.ts"
import * as Building from "./building.ts"

const program = fileURLToPath(new URL("programs/build.ts", import.meta.url))

const start = Building.start(program)

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
