/** Builds a snapshot unless it exists, and lists all there are. */
import { buildSnapshot, listSnapshots, snapshotExists } from "effect-lightbox/promise"

if (!(await snapshotExists("tools"))) {
  await buildSnapshot({ name: "tools", image: "busybox" })
}

for (const s of await listSnapshots()) {
  console.log(s.name, s.imageRef, s.sizeBytes, s.createdAt)
}
