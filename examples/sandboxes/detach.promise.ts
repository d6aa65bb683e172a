/** Launches a sandbox that outlives this script. Build it first: presets/coding-agents.promise.ts */
import { launchSandbox } from "effect-lightbox/promise"

const sb = await launchSandbox({
  snapshot: "lightbox",
  name: "agent-1",
  resources: { memory: "1G" },
  detached: true // it outlives this script, and Ctrl-C
})

const out = await sb.exec("copilot", ["--version"])
console.log(out.stdout())
