/** Snapshots with memory, forks and pauses, for programs that use promises. */
import { assert, describe, it } from "@effect/vitest"
import * as Lightbox from "../../src/promise.ts"
import { useTwin } from "../../src/testing.ts"
import { rejection } from "./support.ts"

const web: Lightbox.SnapshotConfig = {
  name: "web",
  image: "plain",
  defaults: {
    services: { idle: { command: "echo loaded > /dev/shm/state; exec sleep 1000", ready: { file: "/dev/shm/state" } } },
    onResume: 'echo "$LIGHTBOX_SANDBOX" > /root/hook'
  }
}

describe("promises", () => {
  it("build a warm snapshot, and launch sandboxes that resume it", async () => {
    await using _twin = await useTwin({ memorySnapshots: true })
    await Lightbox.buildSnapshot(web, { warm: true })
    await using sb = await Lightbox.launchSandbox({ snapshot: "web", name: "one", resume: "required" })
    assert.strictEqual(sb.resumed, "memory")
    assert.strictEqual((await sb.shell("cat /dev/shm/state /root/hook")).stdout(), "loaded\none\n")
    await using cold = await Lightbox.launchSandbox({ snapshot: "web", resume: false })
    assert.isNull(cold.resumed)
    const failed = await rejection(Lightbox.launchSandbox({ snapshot: "web", onResume: ["sh", "-c", "exit 3"] }))
    assert.strictEqual(failed.reason._tag, "CommandFailed")
  })

  it("copy, pause and grow a running sandbox", async () => {
    await using _twin = await useTwin({ memorySnapshots: true })
    await using sb = await Lightbox.launchSandbox({ image: "plain", name: "original" })
    await sb.shell("echo memory > /tmp/file")
    await using copies = await Lightbox.forkSandbox(sb, { memory: true, count: 2, name: "copy" })
    for (const copy of copies.sandboxes) {
      assert.strictEqual(copy.resumed, "memory")
      assert.strictEqual((await copy.shell("cat /tmp/file")).stdout(), "memory\n")
    }
    await sb.pause()
    assert.strictEqual((await Lightbox.Sandbox.get("original")).status, "paused")
    await sb.resume()
    const handle = await Lightbox.Sandbox.get("original")
    await handle.pause()
    await handle.resume()
    await sb.growRootDisk("8G")
    assert.strictEqual((await sb.shell("cat /tmp/file")).stdout(), "memory\n")
  })

  it("take copies of one prepared sandbox from a pool", async () => {
    await using _twin = await useTwin({ memorySnapshots: true })
    await using pool = await Lightbox.createPool({
      image: "plain",
      fork: true,
      min: 0,
      max: 2,
      prepare: (sb) => sb.shell("echo ready > /tmp/state")
    })
    const read = (sb: Lightbox.Sandbox) => sb.shell("cat /tmp/state; rm /tmp/state")
    for (const out of await Promise.all([pool.use(read), pool.use(read)])) assert.strictEqual(out.stdout(), "ready\n")
  })

  it("are rejected where the driver cannot do so", async () => {
    await using _twin = await useTwin()
    await using sb = await Lightbox.launchSandbox({ image: "plain" })
    for (const asked of [
      Lightbox.buildSnapshot(web, { warm: true }),
      Lightbox.forkSandbox(sb, { memory: true }),
      Lightbox.createPool({ image: "plain", max: 1, fork: true }),
      sb.pause(),
      sb.resume(),
      sb.growRootDisk("8G")
    ]) {
      assert.strictEqual((await rejection(asked)).reason._tag, "Unsupported")
    }
  })
})
