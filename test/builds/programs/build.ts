/**
 * Builds a snapshot in memory, on a home that others have as well, and says what happens, a word a line:
 * `build.ts HOME MODE`. In the mode `hang` the second step never ends.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Snapshot from "../../../src/Snapshot.ts"

const [home = "", mode] = process.argv.slice(2)

const definition = Snapshot.make("shared", "debian:12").pipe(
  Snapshot.shell("echo one > /root/version"),
  Snapshot.step("second", () => (mode === "hang" ? Effect.never : Effect.void)),
  Snapshot.shell("echo three > /root/version; echo written")
)

Snapshot.build(definition, {
  checkpoints: "final",
  onEvent: (event) => Console.log(event._tag === "StepStarted" ? `step ${event.index}` : event._tag)
}).pipe(
  Effect.tap(({ stepsRun }) => Console.log(`ran ${stepsRun}`)),
  Effect.provide(MicrosandboxMemory.layer({ home })),
  NodeRuntime.runMain
)
