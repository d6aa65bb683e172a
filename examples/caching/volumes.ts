/** Makes a volume with a quota and labels, looks at it, and removes it. */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Volume } from "effect-lightbox"

Effect.gen(function* () {
  yield* Volume.ensure("npm-cache", { quota: "2G", labels: { tier: "ci" } })

  for (const v of yield* Volume.list()) yield* Console.log(v.name, v.quota, yield* Volume.usage(v.name), v.labels)

  yield* Volume.remove("npm-cache")
  yield* Console.log(yield* Volume.exists("npm-cache"))
}).pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
