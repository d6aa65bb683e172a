/** Shows how the pull of an image goes. */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Sandbox.run({ image: "oven/bun", name: "test", onPullProgress: ({ _tag }) => Console.log(_tag) }, (sandbox) =>
  Console.log(sandbox.name)
).pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
