/** Launches a sandbox, says so, and waits for its end: `hold.ts NAME IMAGE` */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"
import * as Sandbox from "../../../src/Sandbox.ts"

const [name = "", image = ""] = process.argv.slice(2)

Sandbox.run({ name, image }, () => Effect.andThen(Console.log("launched"), Effect.never)).pipe(
  Effect.provide(MicrosandboxLocal.layer({ memory: "256M", bootTimeout: "100 seconds" })),
  NodeRuntime.runMain
)
