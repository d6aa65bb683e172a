/** Launches a sandbox that outlives this script. Build it first: presets/coding-agents.promise.ts */
import { launchSandbox } from "effect-lightbox/promise"

const sb = await launchSandbox({
  snapshot: "lightbox",
  name: "agent-1",
  resources: { memory: "1G" },
  detached: true // Ctrl-C in this terminal does not reach it
})

const out = await sb.exec("copilot", ["--version"])
console.log(out.stdout())

await sb.detach() // or: await sb.stop()
