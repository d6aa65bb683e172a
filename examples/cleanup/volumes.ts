/** Removes the volumes of a label that are old. */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Volume } from "effect-lightbox"

Effect.gen(function* () {
  yield* Volume.ensure("pr-1234", { labels: { ttl: "30d" } })

  const report = yield* Volume.prune({ labels: { ttl: "30d" }, olderThan: "30 days" })
  for (const { name, reason, verdict } of report.verdicts) yield* Console.log(`${name}: ${verdict}, ${reason}`)
}).pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
