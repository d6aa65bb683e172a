/** Bakes four coding agents into the snapshot "lightbox". */
import { Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Preset, Snapshot } from "effect-lightbox"

Preset.codingAgents().pipe(Snapshot.build(), Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
