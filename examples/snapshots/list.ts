/** Builds a snapshot unless it exists, which takes no asking, and lists all there are. */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Snapshot } from "effect-lightbox"

Effect.gen(function* () {
  yield* Snapshot.build(Snapshot.make("tools", "busybox"))

  for (const s of yield* Snapshot.list()) {
    yield* Console.log(s.name, s.image, s.size, s.createdAt)
  }
}).pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
