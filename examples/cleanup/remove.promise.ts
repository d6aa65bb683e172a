/** Removes sandboxes: one that is stopped, and one that may still run. */
import { removeSandbox } from "effect-lightbox/promise"

await removeSandbox("agent-1")
await removeSandbox("agent-2", { force: true })
