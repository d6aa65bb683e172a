/** Starts a job in a running sandbox, and follows its output until it is killed: `job.ts SANDBOX ID SCRIPT` */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"
import * as Sandbox from "../../../src/Sandbox.ts"

const [name = "", id = "", script = ""] = process.argv.slice(2)

Effect.gen(function* () {
  const sandbox = yield* Sandbox.connect(name)
  const job = yield* sandbox.start("sh", ["-c", script], { id })
  yield* Stream.runForEach(job.logs({ follow: true }), (event) =>
    Effect.sync(() => process.stdout.write(event._tag === "Output" ? event.bytes : ""))
  )
}).pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()), NodeRuntime.runMain)
