/** Stops a sandbox that another process has launched. Its disk stays. Launch it first: sandboxes/detach.ts */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Effect.gen(function* () {
  const sandbox = yield* Sandbox.connect("agent-1")
  yield* sandbox.stop() // or, if it hangs: yield* sandbox.kill

  const { name, status } = yield* Sandbox.get("agent-1")
  yield* Console.log(name, status)
}).pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
