/** Removes sandboxes: one that is stopped, and one that may still run. Stop one first: cleanup/stop.ts */
import { Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Effect.gen(function* () {
  yield* Sandbox.remove("agent-1")
  yield* Sandbox.remove("agent-2", { force: true })
}).pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
