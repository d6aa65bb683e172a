/**
 * Builds snapshots in memory, on a home shared with others, and prints the events, one per line: `build.ts HOME MODE`.
 * In the mode `hang` the second step never ends, and in the mode `loud` it writes more than is recorded before; otherwise it builds many, of which half reuse the same result.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type { BuildEvent } from "../../../src/BuildEvent.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Snapshot from "../../../src/Snapshot.ts"

const [home = "", mode = ""] = process.argv.slice(2)

const say = (event: BuildEvent) =>
  Console.log(
    event._tag === "StepStarted"
      ? `step ${event.index}`
      : event._tag === "StepOutput"
        ? `output ${event.text.trim()}`
        : event._tag
  )

const hanging = Snapshot.make("hanging", "plain").pipe(
  Snapshot.shell("echo first"),
  Snapshot.shell("echo second; sleep 100000")
)

const loud = Snapshot.make("loud", "plain").pipe(
  Snapshot.shell("i=0; while [ $i -lt 700 ]; do printf '%0999d\\n' $i; i=$((i+1)); done; echo the reason; sleep 100000")
)

const same = Snapshot.shell(Snapshot.make("same", "plain"), "echo same")

const many = Effect.gen(function* () {
  yield* Snapshot.build(same)
  for (let index = 0; index < 20; index++) {
    const own = Snapshot.shell(Snapshot.make(`${mode}-${index}`, "plain"), `echo ${mode} ${index}`)
    yield* Effect.all([Snapshot.build(own), Snapshot.build(same)], { concurrency: 2 })
  }
  yield* Console.log("done")
})

const one = mode === "hang" ? hanging : mode === "loud" ? loud : undefined

Effect.suspend(() => (one === undefined ? many : Effect.asVoid(Snapshot.build(one, { onEvent: say })))).pipe(
  Effect.provide(MicrosandboxMemory.layer({ home })),
  NodeRuntime.runMain
)
