/** Captures, copies and differences from the Promise side. */
import { assert, describe, it } from "@effect/vitest"
import * as Lightbox from "../../src/promise.ts"
import { rejection, twin } from "./support.ts"

twin()

const image = "debian:12"

describe("a sandbox", () => {
  it("is captured, compared with what it was, and copied", async () => {
    await using sandbox = await Lightbox.launchSandbox({ image, env: { COLOR: "green" } })
    await sandbox.shell("echo one > /root/file")
    const first = await Lightbox.captureSnapshot(sandbox, { name: "app", labels: { by: "hand" } })
    assert.deepStrictEqual([first.name, first.labels], ["app", [["by", "hand"]]])
    await sandbox.shell("echo three > /root/file; mkdir /root/new")
    const expected = {
      isComplete: true,
      differences: [
        { path: "/root/file", kind: "changed", type: "File", sizeBytes: 6, changes: ["size"] },
        { path: "/root/new", kind: "added", type: "Directory", sizeBytes: 0, changes: [] }
      ]
    }
    assert.deepStrictEqual(await Lightbox.diffSnapshots("app", sandbox), expected)
    await Lightbox.captureSnapshot(sandbox.name, { name: "app" })
    assert.deepStrictEqual(await Lightbox.diffSnapshots("app@1", "app@2"), expected)
    assert.isFalse((await Lightbox.diffSnapshots("app@1", "app", { limit: 1 })).isComplete)
  })

  it("has copies that are removed together", async () => {
    await using sandbox = await Lightbox.launchSandbox({ image, env: { COLOR: "green" } })
    await sandbox.shell("echo kept > /root/file")
    {
      await using copies = await Lightbox.forkSandbox(sandbox, { count: 2, name: "copy" })
      for (const copy of copies.sandboxes) {
        assert.strictEqual((await copy.shell("cat /root/file; echo $COLOR")).stdout(), "kept\ngreen\n")
      }
      assert.deepStrictEqual(
        copies.sandboxes.map(({ name }) => name),
        ["copy-1", "copy-2"]
      )
    }
    assert.deepStrictEqual(
      (await Lightbox.Sandbox.list()).map(({ name }) => name),
      [sandbox.name]
    )
    assert.strictEqual((await sandbox.exec("cat", ["/root/file"])).stdout(), "kept\n")
  })

  it("is not captured with a secret, and goes on", async () => {
    await using sandbox = await Lightbox.launchSandbox({ image })
    await sandbox.shell("echo of-a-test > /root/file")
    const error = await rejection(Lightbox.captureSnapshot(sandbox, { name: "app", secrets: { TOKEN: "of-a-test" } }))
    assert.strictEqual(error.reason._tag, "SecretLeaked")
    assert.strictEqual((await sandbox.exec("true")).code, 0)
    assert.isFalse(await Lightbox.snapshotExists("app"))
  })
})
