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
    const expected: Lightbox.SnapshotDiff = {
      isComplete: true,
      differences: [
        {
          path: "/root/file",
          kind: "changed",
          type: "File",
          sizeBytes: 6,
          before: { type: "File", sizeBytes: 4 },
          changes: ["size"]
        },
        { path: "/root/new", kind: "added", type: "Directory", sizeBytes: 0, changes: [] }
      ]
    }
    assert.deepStrictEqual(await Lightbox.diffSnapshots("app", sandbox), expected)
    await Lightbox.captureSnapshot(sandbox.name, { name: "app" })
    assert.deepStrictEqual(await Lightbox.diffSnapshots("app@1", "app@2"), expected)
    assert.isFalse((await Lightbox.diffSnapshots("app@1", "app", { limit: 1 })).isComplete)
    assert.deepStrictEqual(await Lightbox.diffSnapshots(first, "app@2"), expected)
    const paths = (await Lightbox.diffSnapshots({ image }, first)).differences.map(({ path }) => path)
    assert.deepStrictEqual(paths, ["/root/file"])
    const tagged = await Lightbox.Snapshot.tag("app@1", "old")
    assert.deepStrictEqual(await Lightbox.diffSnapshots(tagged, "app"), expected)
    assert.strictEqual((await rejection(Lightbox.Snapshot.tag("app", "old"))).reason._tag, "AlreadyExists")
    assert.strictEqual((await Lightbox.Snapshot.tag("app", "old", { overwrite: true })).name, "old")
  })

  it("has copies with other options, also when another handle launched it", async () => {
    await using sandbox = await Lightbox.launchSandbox({
      image,
      name: "original",
      env: { COLOR: "green" },
      workdir: "/root"
    })
    const connected = await Lightbox.connectToSandbox("original")
    const error = await rejection(Lightbox.forkSandbox(connected))
    assert.strictEqual(error.reason._tag, "Unsupported")
    const colors = async (source: Lightbox.Sandbox, options: Lightbox.ForkSettings) => {
      await using copies = await Lightbox.forkSandbox(source, { options })
      return await Promise.all(
        copies.sandboxes.map(async (copy) => (await copy.exec("sh", ["-c", "pwd; echo $COLOR"])).stdout())
      )
    }
    assert.deepStrictEqual(await colors(connected, { env: { COLOR: "red" } }), ["/\nred\n"])
    // The rest is as at the launch.
    await using again = await Lightbox.launchSandbox({ image, name: "other", env: { COLOR: "blue" }, workdir: "/root" })
    assert.deepStrictEqual(await colors(again, { idleTimeoutMs: 60_000 }), ["/root\nblue\n"])
    const wrong = await rejection(Lightbox.forkSandbox(again, { options: { workdir: "relative" } }))
    assert.deepInclude(wrong.reason, { _tag: "InvalidConfig", field: "options.workdir" })
    assert.strictEqual(sandbox.name, "original")
  })

  it("has copies that go on when one is detached", async () => {
    await using sandbox = await Lightbox.launchSandbox({ image, name: "original" })
    {
      await using copies = await Lightbox.forkSandbox(sandbox, { count: 2, name: "copy" })
      const [first, second] = copies.sandboxes
      await first?.detach()
      assert.strictEqual((await second?.exec("true"))?.code, 0)
      await first?.[Symbol.asyncDispose]()
      assert.strictEqual((await second?.exec("true"))?.code, 0)
    }
    assert.deepStrictEqual((await Lightbox.Sandbox.list()).map(({ name }) => name).toSorted(), ["copy-1", "original"])
    assert.strictEqual((await rejection(Lightbox.Sandbox.remove("copy-1"))).reason._tag, "StillRunning")
    await Lightbox.Sandbox.remove("copy-1", { force: true })
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
