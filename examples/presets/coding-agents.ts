/** Bakes four coding agents into the snapshot "lightbox". */
import { Effect } from "effect"
import { Lightbox, Microsandbox, Snapshot } from "effect-lightbox"
import { codingAgentsPreset } from "effect-lightbox/presets"

Snapshot.build(Snapshot.define(codingAgentsPreset())).pipe(Effect.provide(Microsandbox.layer()), Lightbox.runMain())
