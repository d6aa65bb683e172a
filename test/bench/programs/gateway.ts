/** A host in a process of its own, as others reach it: `gateway.ts PLACE`. Prints its URL. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Gateway from "../../../src/Gateway.ts"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"
import * as StandIn from "../standIn/StandIn.ts"

const driver =
  process.argv[2] === "stand-in"
    ? StandIn.layer
    : MicrosandboxLocal.layer({ memory: "256M", bootTimeout: "100 seconds" })

Gateway.serve({ tokens: [{ token: Redacted.make("a-token-of-the-benchmarks") }], port: 0 }).pipe(
  Effect.flatMap(({ url }) => Console.log(`url ${url}`)),
  Effect.andThen(Effect.never),
  Effect.scoped,
  Effect.provide(Layer.provideMerge(driver, NodeServices.layer)),
  NodeRuntime.runMain
)
