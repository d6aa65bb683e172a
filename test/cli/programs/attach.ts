/** Attaches a guest's shell to this process's terminal, and prints how it ended. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { runMain } from "../../../src/Lightbox.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../../src/Sandbox.ts"

Effect.gen(function* () {
  const control = yield* MicrosandboxMemory.Control
  const sandbox = yield* Sandbox.launch({ image: "alpine:3" })
  const status = yield* sandbox.attachShell
  const { processes } = yield* control.inventory
  yield* Console.log(`\nstatus ${status}, ${processes.length} processes, raw ${process.stdin.isRaw}`)
}).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer()), runMain())
