/** Removes a snapshot. Sandboxes that were booted from it go on. */
import { removeSnapshot, snapshotExists } from "effect-lightbox/promise"

await removeSnapshot("tools", { force: true })

console.log(await snapshotExists("tools"))
