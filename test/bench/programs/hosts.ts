/** Many hosts of a fleet on the twin, in one process: `hosts.ts DIRECTORY FOLDER COUNT`. Prints a line when all are there. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Gateway from "../../../src/Gateway.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"

const [url = "", folder = "", count = "1"] = process.argv.slice(2)

Effect.gen(function* () {
  for (let index = 0; index < Number(count); index++) {
    const twin = yield* Layer.build(
      MicrosandboxMemory.layer({ home: `${folder}/${index}`, budget: { memory: "64G", boots: 64 } })
    )
    yield* Gateway.serve({
      tokens: [{ token: Redacted.make("a-token-of-the-benchmarks") }],
      port: 0,
      directory: { url, jobs: 0 }
    }).pipe(Effect.provideContext(twin))
  }
  yield* Console.log("ready")
  return yield* Effect.never
}).pipe(Effect.scoped, NodeRuntime.runMain)
