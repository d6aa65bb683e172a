/** Launches the sandbox `web` in memory, and calls the command line: `web.ts WORDS` */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Services } from "../../../src/Driver.ts"
import { Driver } from "../../../src/internal/cli/environment.ts"
import { main } from "../../../src/internal/cli/lightbox.ts"
import { runMain } from "../../../src/Lightbox.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../../src/Sandbox.ts"

Effect.gen(function* () {
  yield* Sandbox.launch({ image: "alpine:3", name: "web" })
  const services = yield* Effect.context<Services>()
  yield* Effect.provideService(main(process.argv.slice(2)), Driver, () => Layer.succeedContext(services))
}).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer()), runMain())
