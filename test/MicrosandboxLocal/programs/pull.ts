/** Pulls an image into a home: `pull.ts HOME IMAGE`. Its process is killed while it does. */
import * as Effect from "effect/Effect"
import { native } from "../../../src/internal/driver/local/driver.ts"

const [home = "", image = ""] = process.argv.slice(2)

await native(home).pipe(
  Effect.flatMap((sdk) =>
    Effect.promise(() =>
      sdk.Sandbox.builder("killed")
        .image(image)
        .pullPolicy("always")
        .registry((registry) => registry.insecure())
        .create()
    )
  ),
  Effect.runPromise
)
