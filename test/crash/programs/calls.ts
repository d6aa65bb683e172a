/** Does one part of the work, or sweeps, in a home: `calls.ts PART HOME FILES`. The library made of `calls.c` kills it. */
import * as Effect from "effect/Effect"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../../src/Reaper.ts"
import { parts } from "../work.ts"

const [part = "", home = "", files = ""] = process.argv.slice(2)

const work = part === "sweep" ? () => Reaper.sweep() : parts[part]
if (work === undefined) throw new Error(`there is no part ${part}`)

Effect.scoped(work("main", "plain", files))
  .pipe(Effect.provide(MicrosandboxMemory.layer({ home, sweep: false, memorySnapshots: true })), Effect.runPromise)
  .catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
