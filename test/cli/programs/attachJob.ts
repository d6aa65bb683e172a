/** Attaches this process's terminal to a job, twice, and prints how that ended. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { runMain } from "../../../src/Lightbox.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../../src/Sandbox.ts"

Effect.gen(function* () {
  const sandbox = yield* Sandbox.launch({ image: "alpine:3" })
  const job = yield* sandbox.start("sh", [], { terminal: { rows: 24, columns: 80 } })
  const first = yield* job.attach
  yield* Console.log(`\n${first._tag}, raw ${process.stdin.isRaw}`)
  const second = yield* job.attach
  yield* Console.log(`\n${JSON.stringify(second)}, raw ${process.stdin.isRaw}`)
}).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer()), runMain())
