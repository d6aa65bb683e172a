/**
 * Builds a snapshot of three steps and prints what happens, one word per line: `build.ts NAME IMAGE`. With `hang` as
 * third argument, the second step never ends.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Microsandbox from "../../../src/Microsandbox.ts"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"
import * as Snapshot from "../../../src/Snapshot.ts"

const [name = "", image = "", mode] = process.argv.slice(2)

const definition = Snapshot.make(name, image).pipe(
  Snapshot.shell("echo one > /root/version"),
  Snapshot.step("wait", () => (mode === "hang" ? Effect.never : Effect.void)),
  Snapshot.shell("echo another process > /root/version; echo written")
)

const saying =
  (word: string) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.andThen(Console.log(word), effect)

Snapshot.build(definition, {
  checkpoints: "final",
  onEvent: (event) => Console.log(event._tag === "StepStarted" ? `step ${event.index}` : event._tag)
}).pipe(
  Effect.updateService(Microsandbox.Microsandbox, (driver) => ({
    ...driver,
    createSandbox: (request) => saying("boot")(driver.createSandbox(request)),
    captureSnapshot: (request) => saying("capture")(driver.captureSnapshot(request)),
    linkSnapshot: (link, artifact) => saying("link")(driver.linkSnapshot(link, artifact))
  })),
  Effect.provide(MicrosandboxLocal.layer({ memory: "256M", bootTimeout: "100 seconds" })),
  NodeRuntime.runMain
)
