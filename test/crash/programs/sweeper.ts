/**
 * Sweeps as often as it can, and tells of each sweep what it removed or could not remove, as one line of JSON:
 * `sweeper.ts [BACKEND HOME]`, by default on microVMs in the home of the environment.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type { LightboxError } from "../../../src/LightboxError.ts"
import type { Services } from "../../../src/Driver.ts"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../../src/Reaper.ts"

const [backend, home] = process.argv.slice(2)

const driver: Layer.Layer<Services, LightboxError> =
  backend === "memory" ? MicrosandboxMemory.layer({ home }) : MicrosandboxLocal.layer({ home })

Reaper.sweep().pipe(
  Effect.flatMap(({ verdicts }) =>
    Console.log(JSON.stringify(verdicts.filter(({ verdict }) => verdict === "removed" || verdict === "failed")))
  ),
  Effect.forever,
  Effect.provide(driver),
  NodeRuntime.runMain
)
