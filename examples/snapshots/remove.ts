/** Removes a snapshot. Sandboxes that were booted from it go on. */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Snapshot } from "effect-lightbox"

Effect.gen(function* () {
  yield* Snapshot.remove("tools")

  yield* Console.log(yield* Snapshot.exists("tools"))
}).pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
