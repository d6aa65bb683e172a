/**
 * Calls the command line several times on one driver in memory: `session.ts LINE...`. The line `columns COUNT` waits
 * until the terminal has so many.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Services } from "../../../src/Driver.ts"
import { Driver } from "../../../src/internal/cli/environment.ts"
import { main } from "../../../src/internal/cli/lightbox.ts"
import { runMain } from "../../../src/Lightbox.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"

const resized = (columns: number) =>
  Effect.callback<void>((resume) => {
    const check = () => {
      if (process.stdout.columns === columns) resume(Effect.void)
    }
    process.stdout.on("resize", check)
    check()
    return Effect.sync(() => process.stdout.off("resize", check))
  })

Effect.gen(function* () {
  const services = yield* Effect.context<Services>()
  for (const line of process.argv.slice(2)) {
    const [word = "", ...rest] = line.split(" ")
    yield* Console.log(`$ ${word}`)
    yield* word === "columns"
      ? resized(Number(rest[0]))
      : Effect.provideService(main([word, ...rest]), Driver, () => Layer.succeedContext(services))
  }
}).pipe(
  Effect.scoped,
  Effect.provide(MicrosandboxMemory.layer({ home: process.env["MSB_HOME"], sweep: false })),
  runMain()
)
