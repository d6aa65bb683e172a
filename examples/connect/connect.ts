/** Finds what runs, and uses it from another process. Launch it first: sandboxes/detach.ts */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Effect.gen(function* () {
  for (const h of yield* Sandbox.list()) yield* Console.log(h.name, h.status)

  const sandbox = yield* Sandbox.connect("agent-1")
  yield* Console.log((yield* sandbox.shell("pi --version")).stdout)
}).pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
