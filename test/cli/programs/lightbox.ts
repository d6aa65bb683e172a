/** The command line on the driver in memory, which keeps everything in `MSB_HOME`: `lightbox.ts WORDS` */
import * as Effect from "effect/Effect"
import { Driver } from "../../../src/internal/cli/environment.ts"
import { main } from "../../../src/internal/cli/lightbox.ts"
import { runMain } from "../../../src/Lightbox.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"

main(process.argv.slice(2)).pipe(
  Effect.provideService(Driver, ({ sweep }) => MicrosandboxMemory.layer({ home: process.env["MSB_HOME"], sweep })),
  runMain()
)
