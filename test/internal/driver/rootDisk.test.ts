import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as RootDisk from "../../../src/internal/driver/rootDisk.ts"

/** The header of an image, by the names of its specification. */
const headerOf = (image: Buffer) => ({
  magic: image.toString("latin1", 0, 4),
  version: image.readUInt32BE(4),
  backing_file: image.toString(
    "utf8",
    Number(image.readBigUInt64BE(8)),
    Number(image.readBigUInt64BE(8)) + image.readUInt32BE(16)
  ),
  cluster_size: 2 ** image.readUInt32BE(20),
  size: Number(image.readBigUInt64BE(24)),
  crypt_method: image.readUInt32BE(32),
  l1_size: image.readUInt32BE(36),
  l1_table_offset: Number(image.readBigUInt64BE(40)),
  refcount_table_offset: Number(image.readBigUInt64BE(48)),
  refcount_table_clusters: image.readUInt32BE(56),
  nb_snapshots: image.readUInt32BE(60),
  features: image.readBigUInt64BE(72) | image.readBigUInt64BE(80) | image.readBigUInt64BE(88),
  refcount_bits: 2 ** image.readUInt32BE(96),
  header_length: image.readUInt32BE(100)
})

const Size = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 64 * 1024 }))

describe("a root disk", () => {
  it.effect.prop("is an empty overlay of the size of its base", [Size], ([mebibytes]) =>
    Effect.sync(() => {
      const size = mebibytes * 1024 * 1024
      const image = Buffer.from(RootDisk.overlay("base.ext4", size))
      const header = headerOf(image)
      assert.deepInclude(header, {
        magic: "QFI\xfb",
        version: 3,
        backing_file: "base.ext4",
        cluster_size: 65_536,
        size,
        crypt_method: 0,
        refcount_table_clusters: 1,
        nb_snapshots: 0,
        features: 0n,
        refcount_bits: 16,
        header_length: 104
      })
      // An entry of the first table stands for 8,192 clusters.
      assert.strictEqual(header.l1_size, Math.ceil(size / (8_192 * 65_536)))
      const table = image.subarray(header.l1_table_offset, header.l1_table_offset + 8 * header.l1_size)
      assert.isTrue(table.every((byte) => byte === 0))
      // Each cluster of the file is counted once, and no other.
      const counts = Number(image.readBigUInt64BE(header.refcount_table_offset))
      const counted = Array.from({ length: 32_768 }, (_, cluster) => image.readUInt16BE(counts + 2 * cluster))
      const used = image.length / header.cluster_size
      assert.deepStrictEqual(
        counted,
        [...counted.keys()].map((cluster) => (cluster < used ? 1 : 0))
      )
    })
  )

  it.effect("survives the removal of its base, is reset by a write, and is removed as a whole", () =>
    Effect.promise(async () => {
      const home = Fs.mkdtempSync(Path.join(Os.tmpdir(), "lightbox-"))
      try {
        const base = Path.join(home, "upper.ext4")
        Fs.writeFileSync(base, new Uint8Array(1_048_576))
        const folder = RootDisk.folderOf(home, "one")
        const disk = await RootDisk.make(folder, base)
        Fs.rmSync(base)
        await RootDisk.write(disk)
        const fresh = Fs.readFileSync(disk)
        Fs.appendFileSync(disk, "what a boot left")
        await RootDisk.write(disk)
        assert.deepStrictEqual(Fs.readFileSync(disk), fresh)
        assert.strictEqual(headerOf(fresh).size, 1_048_576)
        assert.deepStrictEqual([await RootDisk.has(home, "one"), await RootDisk.has(home, "two")], [true, false])
        await RootDisk.remove(home, "one")
        await RootDisk.remove(home, "two")
        assert.deepStrictEqual(Fs.readdirSync(RootDisk.foldersOf(home)), [])
      } finally {
        Fs.rmSync(home, { recursive: true })
      }
    })
  )
})
