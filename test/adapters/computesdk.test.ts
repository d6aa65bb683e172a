/** Methods of a provider for ComputeSDK, on the twin. ComputeSDK itself judges them in `test/judges/adapters`. */
import { assert, describe, it } from "@effect/vitest"
import { type CreateOptions, provider, type ProviderConfig } from "../../src/computesdk.ts"
import * as Lightbox from "../../src/promise.ts"
import { rejection, twin, untyped, wrongField } from "../promise/support.ts"

const memory = twin()

const { sandbox, snapshot, template } = provider.methods

describe("provider", () => {
  it("rejects wrong options before anything boots, and names them", async () => {
    const rows: ReadonlyArray<readonly [field: string, config: ProviderConfig, options: CreateOptions]> = [
      ["image", {}, {}],
      ["image", untyped({ image: 5 }), {}],
      ["workdir", { image: "busybox", workdir: "rel" }, {}],
      ["froce", untyped({ image: "busybox", froce: true }), {}],
      ["memoryMiB", { image: "busybox" }, { memoryMiB: 1.5 }],
      ["resources.cpus", { image: "busybox" }, { cpus: 0 }],
      ["timeout", { image: "busybox" }, { timeout: 0 }],
      ["name", { image: "busybox" }, { name: "a b" }],
      ["env", { image: "busybox" }, { envs: untyped({ A: 1 }) }]
    ]
    for (const [field, config, options] of rows) {
      const error = await rejection(sandbox.create(config, options))
      assert.match(String(wrongField(error)), new RegExp(`^${field}`), error.message)
    }
    assert.strictEqual(wrongField(await rejection(template.create({}, { name: "a" }))), "image")
    assert.strictEqual(await memory.count("createSandbox"), 0)
  })

  it("limits processors, memory and time, and keeps the options of the provider", async () => {
    const config: ProviderConfig = { image: "busybox", env: { A: "1", B: "1" }, labels: { team: "a" } }
    const made = await sandbox.create(config, { cpus: 2, memoryMiB: 256, timeout: 1500, envs: { B: "2" } })
    assert.strictEqual((await made.sandbox.shell("echo $A $B")).stdout(), "1 2\n")
    const { metadata, timeout } = await sandbox.getInfo(made.sandbox)
    assert.deepStrictEqual([metadata, timeout], [{ team: "a" }, 1500])
    await sandbox.destroy(config, made.sandboxId)
  })

  it("keeps the object of a sandbox usable when the sandbox is captured", async () => {
    const config: ProviderConfig = { image: "busybox" }
    const { sandbox: made, sandboxId } = await sandbox.create(config)
    assert.strictEqual((await sandbox.getById(config, sandboxId))?.sandbox, made)
    await snapshot.create(config, sandboxId, { name: "captured" })
    assert.strictEqual((await made.shell("echo up")).stdout(), "up\n")
    await sandbox.destroy(config, sandboxId)
    await snapshot.delete(config, "captured")
    assert.deepStrictEqual(await Lightbox.listSnapshots(), [])
  })

  it("lists what is not destroyed meanwhile, and destroys nothing that it did not make", async () => {
    const config: ProviderConfig = { image: "busybox" }
    const made = await Promise.all([1, 2, 3].map(() => sandbox.create(config, { metadata: { run: undefined } })))
    const [list] = await Promise.all([
      sandbox.list(config),
      ...made.slice(1).map(({ sandboxId }) => sandbox.destroy(config, sandboxId))
    ])
    assert.includeMembers(
      list.map(({ sandboxId }) => sandboxId),
      made.slice(0, 1).map(({ sandboxId }) => sandboxId)
    )
    await sandbox.destroy(config, made[0]?.sandboxId ?? "")
    await sandbox.destroy(config, "absent")
    await using other = await Lightbox.launchSandbox({ image: "busybox" })
    assert.strictEqual(wrongField(await rejection(sandbox.destroy(config, other.name))), "sandboxId")
    assert.strictEqual((await other.shell("echo up")).stdout(), "up\n")
  })

  it("opens one forward for a port, however often it is asked for", async () => {
    const config: ProviderConfig = { image: "busybox" }
    const made = await sandbox.create(config)
    const urls = await Promise.all([1, 2, 3].map(() => sandbox.getUrl(made.sandbox, { port: 80 })))
    assert.strictEqual(new Set(urls).size, 1)
    assert.lengthOf(await made.sandbox.forwards(), 1)
    await sandbox.destroy(config, made.sandboxId)
  })
})
