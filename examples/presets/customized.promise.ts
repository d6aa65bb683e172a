/** The agents' preset under another name, with more memory, labels, and one more step. */
import { codingAgentsPreset } from "effect-lightbox/presets"
import { buildSnapshot, shell } from "effect-lightbox/promise"

const cfg = codingAgentsPreset({
  name: "agents-xl",
  resources: { memory: "2G" },
  labels: { tier: "premium" }
})
cfg.setup.push(shell("bun install -g prettier", "prettier"))

await buildSnapshot(cfg, { verbose: true })
