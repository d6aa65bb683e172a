/** Uses a sandbox that another process left, removes it, and holds its own: `visit.ts` */
import { configure, connectToSandbox, listVolumes, runInSandbox, Sandbox } from "effect-lightbox/promise"
import * as assert from "node:assert/strict"
import { check } from "./checks.ts"

configure({ bootTimeoutMs: 100_000 })

const sb = await connectToSandbox("agent-1")
await check(sb)
await sb.stop()
const handle = await Sandbox.get("agent-1")
assert.equal(handle.status, "stopped")
await handle.remove()
assert.deepEqual(
  (await listVolumes()).map(({ name }) => name),
  ["cache"]
)

await runInSandbox({ snapshot: "quick-start", name: "held", resources: { memory: "256M" } }, async (held) => {
  assert.equal((await held.exec("cat", ["/etc/baked"])).stdout(), "baked\n")
  console.log("ready")
  await held.exec("sleep", ["1000"])
})
