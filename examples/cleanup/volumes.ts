/** Removes the volumes of a label that are old. */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Volume } from "effect-lightbox"

Effect.gen(function* () {
  yield* Volume.ensure("pr-1234", { labels: { ttl: "30d" } })

  for (const v of yield* Volume.prune({ labels: { ttl: "30d" }, olderThan: "30 days" })) {
    yield* Console.log(`${v.name}: ${v.verdict}, ${v.reason}`)
  }
}).pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
