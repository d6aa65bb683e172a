/** A host on real microVMs in a process of its own: `machine.ts HOME DIRECTORY`. Prints its id once it is in the fleet. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Gateway from "../../../src/Gateway.ts"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"

const [home = "", url = ""] = process.argv.slice(2)

Gateway.serve({
  tokens: [{ token: Redacted.make("a-token-of-the-tests") }],
  port: 0,
  directory: { url, jobs: 0 }
}).pipe(
  Effect.flatMap(({ host }) => Console.log(`host ${host}`)),
  Effect.andThen(Effect.never),
  Effect.scoped,
  Effect.provide(MicrosandboxLocal.layer({ home })),
  NodeRuntime.runMain
)
