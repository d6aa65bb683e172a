/** Loads a snapshot saved from another home, and prints what it contains: `load.ts HOME PATH` */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"
import * as Sandbox from "../../../src/Sandbox.ts"
import * as Snapshot from "../../../src/Snapshot.ts"

const [home = "", path = ""] = process.argv.slice(2)

Effect.gen(function* () {
  const loaded = yield* Snapshot.load(path)
  const generations = yield* Snapshot.generations(loaded.name)
  const version = yield* Sandbox.run({ snapshot: loaded }, (sandbox) => sandbox.readFileString("/root/version"))
  yield* Console.log(`${loaded.name}, generation ${loaded.generation} of ${generations.length}: ${version.trim()}`)
}).pipe(
  Effect.provide(MicrosandboxLocal.layer({ home, memory: "256M", bootTimeout: "100 seconds", pullPolicy: "never" })),
  NodeRuntime.runMain
)
