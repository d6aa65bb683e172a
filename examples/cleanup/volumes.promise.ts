/** Removes the volumes of a label that are old. */
import { ensureVolume, listVolumes, removeVolume } from "effect-lightbox/promise"

const month = 30 * 24 * 60 * 60 * 1000

await ensureVolume("pr-1234", { labels: { ttl: "30d" } })

const expired = (await listVolumes()).filter(
  (v) => v.labels["ttl"] === "30d" && v.createdAt !== null && Date.now() - v.createdAt.getTime() > month
)
for (const v of expired) await removeVolume(v.name)

console.log(`${expired.length} removed`)
