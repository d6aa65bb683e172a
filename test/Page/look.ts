/** Serves the page on a twin, to look at it while it is developed: `node test/Page/look.ts [PORT]` */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Lightbox from "../../src/Lightbox.ts"
import * as Page from "../../src/Page.ts"
import * as World from "./world.ts"

Effect.gen(function* () {
  yield* World.make
  yield* Console.log((yield* Page.serve({ port: Number(process.argv[2] ?? 0) })).url)
  return yield* Effect.never
}).pipe(Effect.scoped, Effect.provide(World.layer(1)), Lightbox.runMain())
