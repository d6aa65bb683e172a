/** Launches a sandbox on a hosted service, and dies: `dying.ts URL API-KEY HOME` */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as MicrosandboxCloud from "../../../src/MicrosandboxCloud.ts"
import * as Sandbox from "../../../src/Sandbox.ts"

const [url, apiKey = "", home] = process.argv.slice(2)

await Sandbox.run({ image: "alpine", name: "orphan" }, () =>
  Effect.sync(() => process.kill(process.pid, "SIGKILL"))
).pipe(Effect.provide(MicrosandboxCloud.layer({ apiKey: Redacted.make(apiKey), url, home })), Effect.runPromise)
