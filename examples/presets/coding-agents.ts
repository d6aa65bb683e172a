/** Bakes four coding agents into the snapshot "lightbox". */
import { Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Snapshot } from "effect-lightbox"
import { codingAgentsPreset } from "effect-lightbox/presets"

Snapshot.build(Snapshot.define(codingAgentsPreset())).pipe(
  Effect.provide(MicrosandboxLocal.layer()),
  Lightbox.runMain()
)
