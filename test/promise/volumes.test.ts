import { assert, describe, it } from "@effect/vitest"
import {
  buildSnapshot,
  ensureVolume,
  launchSandbox,
  listVolumes,
  removeVolume,
  runInSandbox,
  Volume,
  volumeExists,
  VolumeHandle
} from "../../src/promise.ts"
import { rejection, twin, untyped, wrongField } from "./support.ts"

const memory = twin()

describe("volumes", () => {
  it("are created with quota and labels, in lightbox's shape", async () => {
    const made = await ensureVolume("npm-cache", { quotaMib: 2048, labels: { tier: "ci", ttl: "30d" } })
    assert.deepInclude(made, { name: "npm-cache", quotaMib: 2048 })
    assert.isNumber(made.usedBytes)
    assert.deepStrictEqual(made.labels, { tier: "ci", ttl: "30d" })
    assert.instanceOf(made.createdAt, Date)
    assert.deepStrictEqual(await listVolumes(), [made])
    assert.isTrue(await volumeExists("npm-cache"))
    assert.isFalse(await volumeExists("npm"))
  })

  it("keep their settings if they exist", async () => {
    const made = await ensureVolume("cache", { quotaMib: 64, labels: { a: "1" } })
    assert.deepStrictEqual(await ensureVolume("cache", { quotaMib: 128, labels: { a: "2" } }), made)
    assert.deepStrictEqual(await ensureVolume("cache"), made)
    assert.strictEqual(await memory.count("createVolume"), 1)
  })

  it("have no quota and no labels by default", async () => {
    assert.deepInclude(await ensureVolume("plain"), { quotaMib: null, labels: {} })
  })

  it("keep and measure what sandboxes write, until they are removed", async () => {
    await buildSnapshot({ name: "base", image: "debian:12" })
    await runInSandbox({ snapshot: "base", name: "s", mounts: { "/cache": { volume: "cache" } } }, (sb) =>
      sb.fs().write("/cache/f", "x".repeat(5000))
    )
    const [volume] = await listVolumes()
    assert.isAtLeast(volume?.usedBytes ?? 0, 5000)
    assert.deepInclude(volume, { name: "cache", quotaMib: null, labels: {} })
    await removeVolume("cache")
    assert.deepStrictEqual(await listVolumes(), [])
    await removeVolume("cache")
    const out = await runInSandbox({ snapshot: "base", name: "s", mounts: { "/c": { volume: "cache" } } }, (sb) =>
      sb.exec("ls", ["/c"])
    )
    assert.strictEqual(out.stdout(), "")
  })

  it("cannot be removed while mounted, and the error names the sandbox", async () => {
    await buildSnapshot({ name: "base", image: "debian:12" })
    {
      await using _ = await launchSandbox({ snapshot: "base", name: "user", mounts: { "/c": { volume: "cache" } } })
      const error = await rejection(removeVolume("cache"))
      assert.strictEqual(error.reason._tag, "InUse")
      assert.include(error.message, '"user"')
      assert.isTrue(await volumeExists("cache"))
    }
    await removeVolume("cache")
    assert.isFalse(await volumeExists("cache"))
  })

  it.each([
    [() => ensureVolume("a b"), "name"],
    [() => ensureVolume("a", { quotaMib: 0 }), "quotaMib"],
    [() => ensureVolume("a", { quotaMib: 1.5 }), "quotaMib"],
    [() => ensureVolume("a", untyped({ labels: { a: 1 } })), "labels.a"]
  ])("reject invalid input: %s", async (call, field) => {
    assert.strictEqual(wrongField(await rejection(call())), field)
    assert.strictEqual(await memory.count("createVolume"), 0)
  })

  it("can be managed under the SDK's names", async () => {
    const made = await Volume.builder("cache").quota(64).label("tier", "ci").label("a", "b").create()
    assert.instanceOf(made, VolumeHandle)
    const found = await Volume.get("cache")
    assert.instanceOf(found, VolumeHandle)
    assert.deepInclude(found, { name: "cache", kind: "directory", quotaMib: 64 })
    assert.isNumber(found.usedBytes)
    assert.deepStrictEqual(found.labels, [
      ["tier", "ci"],
      ["a", "b"]
    ])
    assert.strictEqual((await rejection(Volume.builder("cache").create())).reason._tag, "AlreadyExists")
    assert.strictEqual((await rejection(Volume.builder("disk").disk().create())).reason._tag, "InvalidConfig")
    assert.strictEqual((await Volume.builder("disk").disk().size(128).create()).kind, "disk")
    assert.deepStrictEqual(
      (await Volume.list()).map(({ name }) => name),
      ["cache", "disk"]
    )
    await found.remove()
    await Volume.remove("disk")
    await Volume.remove("disk")
    assert.deepStrictEqual(await Volume.list(), [])
    assert.strictEqual((await rejection(Volume.get("cache"))).reason._tag, "NotFound")
  })
})
