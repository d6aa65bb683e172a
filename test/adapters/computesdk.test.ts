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
})
