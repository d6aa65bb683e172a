/** Sweeps as often as it can, and tells of each sweep what it removed or could not remove, as one line of JSON. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Microsandbox from "../../../src/Microsandbox.ts"
import * as Reaper from "../../../src/Reaper.ts"

Reaper.sweep().pipe(
  Effect.flatMap(({ verdicts }) =>
    Console.log(JSON.stringify(verdicts.filter(({ verdict }) => verdict === "removed" || verdict === "failed")))
  ),
  Effect.forever,
  Effect.provide(Microsandbox.layer()),
  NodeRuntime.runMain
)
