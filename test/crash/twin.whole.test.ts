/** Kills a process wherever it calls the driver or is about to change a file: one sweep finds everything. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Schema from "effect/Schema"
import { fileURLToPath } from "node:url"
import { vi } from "vitest"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../src/Reaper.ts"
import { auditHome, prepare } from "./audit.ts"
import { killed } from "./killed.ts"

const program = fileURLToPath(new URL("programs/twin.ts", import.meta.url))

const image = "plain"

const decodePlaces = Schema.decodeEffect(Schema.fromJsonString(Schema.Record(Schema.String, Schema.String)))

const onHome = <A, E, R>(home: string, effect: Effect.Effect<A, E, R>) =>
  Effect.provide(effect, Layer.fresh(MicrosandboxMemory.layer({ home, sweep: false, memorySnapshots: true })))

layer(NodeServices.layer, { excludeTestServices: true })("a killed process", (it) => {
  it.effect(
    "leaves nothing that one sweep cannot remove, wherever it is killed",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        // Holds sockets, whose paths must be short.
        const root = yield* fs.makeTempDirectoryScoped({ prefix: "k" })
        yield* fs.makeDirectory(path.join(root, "template/files"), { recursive: true })
        yield* onHome(path.join(root, "template/home"), prepare("main", image))

        const child = yield* ChildProcess.make(process.execPath, [program, root], {
          stdout: "inherit",
          stderr: "inherit"
        })
        yield* killed(child)
        const places = yield* decodePlaces(yield* fs.readFileString(path.join(root, "killed.json")))
        assert.isAbove(Object.keys(places).length, 100)
        yield* Console.log(`killed at ${Object.keys(places).length} places`)

        // Later than every grace period for what has just started.
        const now = Date.now
        vi.spyOn(Date, "now").mockImplementation(() => now() + 60_000)
        yield* Effect.addFinalizer(() => Effect.sync(() => vi.restoreAllMocks()))
        for (const [folder, place] of Object.entries(places)) {
          const home = path.join(root, folder, "home")
          yield* onHome(
            home,
            Effect.gen(function* () {
              const report = yield* Reaper.sweep()
              assert.isTrue(report.isComplete)
              assert.deepStrictEqual(
                report.verdicts.filter(({ verdict }) => verdict === "failed"),
                [],
                place
              )
              yield* auditHome(place, "main", path.join(root, folder, "files"))
            })
          )
        }
      }),
    600_000
  )
})
