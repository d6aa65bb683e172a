/** A host on the twin in a process of its own: `host.ts HOME DIRECTORY`. Prints its id once it is part of the fleet. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Gateway from "../../../src/Gateway.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"

const [home = "", url = ""] = process.argv.slice(2)

Gateway.serve({ tokens: [{ token: Redacted.make("a-token-of-the-tests") }], port: 0, directory: { url } }).pipe(
  Effect.flatMap(({ host }) => Console.log(`host ${host}`)),
  Effect.andThen(Effect.never),
  Effect.scoped,
  Effect.provide(MicrosandboxMemory.layer({ home, budget: { memory: "2G" } })),
  NodeRuntime.runMain
)
