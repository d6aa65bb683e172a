/** The agents' preset under another name, with more memory, labels, and one more step. */
import { Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Preset, Snapshot } from "effect-lightbox"
import * as BuildReporter from "effect-lightbox/BuildReporter"

const agents = Preset.codingAgents({
  name: "agents-xl",
  resources: { memory: "2G" },
  labels: { tier: "premium" }
}).pipe(Snapshot.shell("bun install -g prettier", { description: "prettier" }))

Effect.gen(function* () {
  yield* Snapshot.build(agents, { onEvent: yield* BuildReporter.terminal() })
}).pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
