/** Removes sandboxes: one that is stopped, and one that may still run. Stop one first: cleanup/stop.promise.ts */
import { removeSandbox } from "effect-lightbox/promise"

await removeSandbox("agent-1")
await removeSandbox("agent-2", { force: true })
