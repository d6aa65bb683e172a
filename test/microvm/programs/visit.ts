/** Connects to a sandbox that another process has launched, runs a command in it, and removes it: `visit.ts NAME` */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"
import * as Sandbox from "../../../src/Sandbox.ts"

const [name = ""] = process.argv.slice(2)

Effect.scoped(
  Effect.gen(function* () {
    const sandbox = yield* Sandbox.connect(name)
    const { stdout } = yield* sandbox.shell("cat /root/note", { check: true })
    yield* Console.log(stdout.trim())
  })
).pipe(
  Effect.andThen(Sandbox.remove(name, { force: true })),
  Effect.provide(MicrosandboxLocal.layer()),
  NodeRuntime.runMain
)
