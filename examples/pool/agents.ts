/**
 * Launches agents side by side, which go on working when this program is through.
 *
 * Build it first: presets/coding-agents.ts
 */
import { Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Effect.forEach(
  ["agent-1", "agent-2"],
  (name) => Sandbox.run({ snapshot: "lightbox", name, overwrite: true, detached: true }, () => Effect.void),
  { concurrency: "unbounded" }
).pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
