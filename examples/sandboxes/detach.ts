/** Launches a sandbox that outlives this program. Build it first: presets/coding-agents.ts */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Effect.gen(function* () {
  const sandbox = yield* Sandbox.launch({
    snapshot: "lightbox",
    name: "agent-1",
    resources: { memory: "1G" },
    overwrite: true,
    detached: true // it outlives this program, and Ctrl-C
  })

  const out = yield* sandbox.exec("copilot", ["--version"])
  yield* Console.log(out.stdout)
}).pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
