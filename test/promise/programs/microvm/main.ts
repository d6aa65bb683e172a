/** Builds a snapshot, inspects its builder, and runs a sandbox from it: `main.ts IMAGE` */
import {
  buildSnapshot,
  configure,
  connectToSandbox,
  exec,
  LightboxError,
  listSnapshots,
  removeSandbox,
  runInSandbox,
  shell
} from "effect-lightbox/promise"
import * as assert from "node:assert/strict"
import { check } from "./checks.ts"

const [, , image = ""] = process.argv

configure({ bootTimeoutMs: 100_000 })

await buildSnapshot(
  {
    name: "quick-start",
    image,
    resources: { cpus: 1, memory: "256M" },
    env: { BAKED: "baked" },
    setup: ["mkdir /work /cache", shell("echo $BAKED > /etc/baked", "bake"), exec("test", ["-s", "/etc/baked"])],
    labels: { team: "platform" }
  },
  { debugBuilder: true }
)
const [record] = await listSnapshots()
assert.deepEqual([record?.name, record?.imageRef, record?.labels], ["quick-start", image, { team: "platform" }])

const builder = await connectToSandbox("quick-start-builder")
assert.equal((await builder.exec("cat", ["/etc/baked"])).stdout(), "baked\n")
await assert.rejects(
  removeSandbox("quick-start-builder"),
  (error) => error instanceof LightboxError && error.reason._tag === "StillRunning"
)
await removeSandbox("quick-start-builder", { force: true })

const kept = await runInSandbox(
  {
    snapshot: "quick-start",
    name: "worker",
    resources: { memory: "256M" },
    workdir: "/work",
    env: { GREETING: "Hello" },
    mounts: { "/work": "./project", "/cache": { volume: "cache" } }
  },
  async (sb) => {
    await check(sb)
    // A hung command does not keep the sandbox from being killed.
    const lost = assert.rejects(sb.exec("sleep", ["1000"]), LightboxError)
    await sb.kill()
    await lost
    return sb
  }
)
await assert.rejects(kept.exec("true"), LightboxError)
console.log("done")
