/** Records of builds in other processes: of one that is killed, and of several at once. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schedule from "effect/Schedule"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as BuildRecord from "../../src/BuildRecord.ts"
import type { Services } from "../../src/Driver.ts"
import * as Records from "../../src/internal/store/records.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Building from "../Snapshot/building.ts"

const program = fileURLToPath(new URL("programs/build.ts", import.meta.url))

const start = Building.start(program)

// Holds sockets, whose paths must be short.
const makeHome = FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped({ prefix: "r" }))

const onTwin = <A, E>(home: string, effect: Effect.Effect<A, E, MicrosandboxMemory.Control | Services>) =>
  Effect.provide(effect, MicrosandboxMemory.layer({ home, sweep: false }), { local: true })

layer(NodeServices.layer, { excludeTestServices: true })("records of other processes", (it) => {
  it.effect("say that a build runs, and after a kill that it is lost, with all that was heard of it", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      const builder = yield* start(home, "hang")
      yield* builder.until("output second")
      const running = yield* onTwin(home, BuildRecord.list())
      assert.deepStrictEqual(
        running.map(({ snapshot, status, stepsRun }) => [snapshot, status, stepsRun]),
        [["hanging", "running", 2]]
      )
      yield* builder.kill
      yield* Effect.exit(builder.end)

      const lost = yield* onTwin(home, BuildRecord.get(running[0]?.id ?? ""))
      assert.strictEqual(lost.status, "lost")
      assert.deepStrictEqual(
        lost.steps.map(({ outcome, output }) => [outcome, ...output]),
        [
          ["ran", "first"],
          ["ended", "second"]
        ]
      )
      // Events are written before anyone hears of them, but output may be a little late.
      const heard = builder.said.filter((line) => !line.startsWith("output"))
      const written = lost.events.flatMap((event) =>
        event._tag === "StepStarted" ? [`step ${event.index}`] : event._tag === "StepOutput" ? [] : [event._tag]
      )
      assert.includeMembers(written, heard)

      // A sweep removes the owner, and its record stays what it is.
      yield* Effect.provide(Effect.void, MicrosandboxMemory.layer({ home }), { local: true })
      assert.deepStrictEqual(
        (yield* onTwin(home, BuildRecord.list())).map(({ status }) => status),
        ["lost"]
      )
    })
  )

  it.effect("show the end of an output that is too long to keep, while it goes on and after a kill", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      const builder = yield* start(home, "loud")
      yield* builder.until("output the reason")
      const shown = Effect.gen(function* () {
        const [summary] = yield* BuildRecord.list()
        const { status, steps } = yield* BuildRecord.get(summary?.id ?? "")
        return { status, output: steps[0]?.output ?? [] }
      })
      const running = yield* Effect.repeat(onTwin(home, shown), {
        until: ({ output }) => output.at(-1) === "the reason",
        schedule: Schedule.spaced("100 millis")
      })
      assert.strictEqual(running.status, "running")
      yield* builder.kill
      yield* Effect.exit(builder.end)
      const lost = yield* onTwin(home, shown)
      assert.strictEqual(lost.status, "lost")
      assert.deepStrictEqual(lost.output, running.output)
    })
  )

  it.effect("are whole when two processes write at the same time", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      const processes = yield* Effect.all([start(home, "one"), start(home, "two")], { concurrency: 2 })
      for (const { end, until } of processes) {
        yield* until("done")
        assert.strictEqual(Number(yield* end), 0)
      }
      const folder = Records.folderOf(home)
      const files = Fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) =>
        path.endsWith(".jsonl")
      )
      for (const file of files) {
        const lines = Fs.readFileSync(Path.join(folder, file), "utf8").trimEnd().split("\n")
        // An older record of the same result can be longer.
        const end = lines.findIndex((line) => line.startsWith('{"_tag":"Ended"'))
        for (const line of lines.slice(0, end + 1))
          assert.doesNotThrow(() => JSON.parse(line), undefined, `${file}: ${line}`)
      }
      const all = yield* onTwin(home, BuildRecord.list())
      assert.strictEqual(all.length, files.length)
      for (const name of ["one", "two"]) {
        for (let index = 0; index < 20; index++) {
          const found = all.filter(({ snapshot }) => snapshot === `${name}-${index}`)
          assert.deepStrictEqual(
            found.map(({ status, stepsRun }) => [status, stepsRun]),
            [["built", 1]]
          )
        }
      }
      // Another one may have waited for the first build.
      const reused = files.filter((path) => path.startsWith("reused"))
      assert.lengthOf(reused, 1)
      for (const { id } of all) {
        const { events, steps } = yield* onTwin(home, BuildRecord.get(id))
        assert.lengthOf(steps, 1)
        assert.strictEqual(events.at(-1)?._tag, "Finished")
      }
    })
  )
})
