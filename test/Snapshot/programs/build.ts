/**
 * Builds a snapshot in memory, on a home shared with others, and prints what happens, one word per line:
 * `build.ts HOME MODE`. In the mode `hang` the second step never ends.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Snapshot from "../../../src/Snapshot.ts"
import { shared } from "./shared.ts"

const [home = "", mode] = process.argv.slice(2)

Snapshot.build(shared(mode === "hang" ? Effect.never : Effect.void), {
  checkpoints: "final",
  onEvent: (event) => Console.log(event._tag === "StepStarted" ? `step ${event.index}` : event._tag)
}).pipe(
  Effect.tap(({ stepsRun }) => Console.log(`ran ${stepsRun}`)),
  Effect.provide(MicrosandboxMemory.layer({ home })),
  NodeRuntime.runMain
)
