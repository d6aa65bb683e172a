/** Makes a volume with a quota and labels, looks at it, and removes it. */
import { ensureVolume, listVolumes, removeVolume, volumeExists } from "effect-lightbox/promise"

await ensureVolume("npm-cache", { quotaMib: 2048, labels: { tier: "ci" } })

for (const v of await listVolumes()) console.log(v.name, v.quotaMib, v.usedBytes, v.labels)

await removeVolume("npm-cache")
console.log(await volumeExists("npm-cache"))
