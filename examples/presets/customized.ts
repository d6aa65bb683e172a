/** The agents' preset under another name, with more memory, labels, and one more step. */
import { Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Snapshot } from "effect-lightbox"
import * as BuildReporter from "effect-lightbox/BuildReporter"
import { codingAgentsPreset } from "effect-lightbox/presets"

const preset = codingAgentsPreset({
  name: "agents-xl",
  resources: { memory: "2G" },
  labels: { tier: "premium" }
})

const agents = Snapshot.define(preset).pipe(Snapshot.shell("bun install -g prettier", { description: "prettier" }))

Effect.gen(function* () {
  yield* Snapshot.build(agents, { onEvent: yield* BuildReporter.terminal() })
}).pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
