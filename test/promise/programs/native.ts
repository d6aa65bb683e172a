/** Uses the local driver for what needs no microVM: `native.ts` */
import * as assert from "node:assert/strict"
import {
  connectToSandbox,
  ensureRuntime,
  ensureVolume,
  LightboxError,
  listSnapshots,
  listVolumes,
  removeVolume,
  Sandbox,
  volumeExists
} from "../../../src/promise.ts"

await ensureRuntime()
assert.deepEqual([await listSnapshots(), await Sandbox.list()], [[], []])
const volume = await ensureVolume("cache", { quotaMib: 64, labels: { tier: "ci" } })
assert.deepEqual([volume.name, volume.quotaMib, volume.labels], ["cache", 64, { tier: "ci" }])
assert.deepEqual(await ensureVolume("cache", { quotaMib: 128 }), volume)
assert.deepEqual(await listVolumes(), [volume])
await removeVolume("cache")
assert.equal(await volumeExists("cache"), false)
await assert.rejects(
  connectToSandbox("none"),
  (error) => error instanceof LightboxError && error.reason._tag === "NotFound"
)
// The SDK's own builder, unused.
assert.equal(typeof Sandbox.builder("unused").createDetachedWithPullProgress, "function")
console.log("done")
