/** Looks around where a build failed. */
import { buildSnapshot, connectToSandbox, defineSnapshot, removeSandbox } from "effect-lightbox/promise"

const cfg = defineSnapshot({ name: "broken", image: "busybox", setup: ["mkdir /work", "cat /work/package.json"] })

await buildSnapshot(cfg, { debugBuilder: true }).catch(console.error)

const sb = await connectToSandbox(`${cfg.name}-builder`)
await sb.attachShell()

await removeSandbox(sb.name, { force: true })
