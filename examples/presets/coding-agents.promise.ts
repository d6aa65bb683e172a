/** Bakes four coding agents into the snapshot "lightbox". */
import { codingAgentsPreset } from "effect-lightbox/presets"
import { buildSnapshot } from "effect-lightbox/promise"

await buildSnapshot(codingAgentsPreset())
