/** Pattern 3: fills a cache once, before many sandboxes need it. Build it first: snapshots/list.promise.ts */
import { launchSandbox, runInSandbox } from "effect-lightbox/promise"

const mounts = { "/root/.cache/huggingface": { volume: "hf-cache" } }

await runInSandbox(
  { snapshot: "tools", name: "prime", mounts },
  (sb) => sb.shell("cd /root/.cache/huggingface && dd if=/dev/zero of=weights bs=1M count=8") // a download
)

await Promise.all(
  ["worker-1", "worker-2"].map(async (name) => {
    const sb = await launchSandbox({ snapshot: "tools", name, mounts })
    console.log((await sb.shell("md5sum /root/.cache/huggingface/weights")).stdout())
  })
)
