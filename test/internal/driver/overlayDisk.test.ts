/** Reading an overlay: what it shows, and what is not believed. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as OverlayDisk from "../../../src/internal/driver/overlayDisk.ts"
import * as RootDisk from "../../../src/internal/driver/rootDisk.ts"
import { temporary } from "../../support.ts"

const cluster = 65_536

/** An overlay on a base, with some of its clusters replaced: by bytes, or by zeros. */
const make = async (
  root: string,
  size: number,
  base: ReadonlyMap<number, number>,
  changes: ReadonlyMap<number, number | "zeros">
) => {
  const path = Path.join(root, "upper.ext4")
  const file = Fs.openSync(path, "w")
  Fs.ftruncateSync(file, size)
  for (const [at, byte] of base) Fs.writeSync(file, new Uint8Array(cluster).fill(byte), 0, undefined, at * cluster)
  Fs.ftruncateSync(file, size)
  Fs.closeSync(file)
  const folder = Path.join(root, "disk")
  const disk = await RootDisk.make(folder, path)
  await RootDisk.write(disk)
  const header: Buffer = Fs.readFileSync(disk)
  const image = [header]
  const first = Number(header.readBigUInt64BE(40))
  let end = Fs.statSync(disk).size
  const append = (bytes: Buffer) => {
    image.push(bytes)
    end += bytes.length
    return end - bytes.length
  }
  const tables = new Map<number, Buffer>()
  for (const [at, change] of changes) {
    const index = Math.floor(at / 8192)
    const table = tables.get(index) ?? Buffer.alloc(cluster)
    tables.set(index, table)
    const entry = change === "zeros" ? 1n : (1n << 63n) | BigInt(append(Buffer.alloc(cluster, change)))
    table.writeBigUInt64BE(entry, 8 * (at % 8192))
  }
  for (const [index, table] of tables) header.writeBigUInt64BE((1n << 63n) | BigInt(append(table)), first + 8 * index)
  Fs.writeFileSync(disk, Buffer.concat(image))
  return { folder, disk }
}

const read = async (parts: OverlayDisk.Parts): Promise<Buffer> => {
  const all: Array<Buffer> = []
  for await (const { bytes } of parts) all.push(Buffer.from(bytes))
  return Buffer.concat(all)
}

const At = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 69 }))
const Byte = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 255 }))

describe("an overlay", () => {
  const Text = Schema.String.check(Schema.isPattern(/^[ab\0]*$/))

  it.effect.prop(
    "is searched for many byte strings in one pass",
    [Schema.Array(Text), Schema.Array(Text)],
    ([texts, words]) =>
      Effect.promise(async () => {
        const parts = texts.map((text) => Buffer.from(text))
        async function* read(): OverlayDisk.Parts {
          let position = 0
          for (const bytes of parts) {
            yield { position, bytes }
            position += bytes.length
          }
        }
        const whole = Buffer.concat(parts)
        const needles = [...words, ...words.map((word) => `a${word}b`), "ab", whole.toString()].map((word) =>
          Buffer.from(word)
        )
        assert.deepStrictEqual(
          await OverlayDisk.search(read(), needles),
          needles.map((needle) => whole.includes(needle))
        )
      })
  )

  it.effect.prop(
    "shows its own clusters, and those of its base everywhere else, in a copy without its zeros, too",
    [
      Schema.Array(Schema.Tuple([At, Byte])),
      Schema.Array(Schema.Tuple([At, Schema.Union([Byte, Schema.Literal("zeros")])])),
      Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 2 * cluster }))
    ],
    ([base, changes, rest]) =>
      Effect.gen(function* () {
        const root = yield* temporary
        const size = 69 * cluster + rest
        yield* Effect.promise(async () => {
          const { folder } = await make(root, size, new Map(base), new Map(changes))
          const expected = Buffer.alloc(71 * cluster)
          for (const [at, byte] of new Map(base)) expected.fill(byte, at * cluster, (at + 1) * cluster)
          for (const [at, change] of new Map(changes)) {
            expected.fill(change === "zeros" ? 0 : change, at * cluster, (at + 1) * cluster)
          }
          const shown = await read(OverlayDisk.ofOverlay(folder))
          assert.isTrue(shown.equals(expected.subarray(0, size)))
          const copy = Path.join(root, "copy")
          await OverlayDisk.write(OverlayDisk.ofOverlay(folder), copy, new AbortController().signal)
          assert.isTrue(Fs.readFileSync(copy).equals(shown))
          const used = new Set([...base, ...changes].map(([at]) => at)).size
          assert.isAtMost(Fs.statSync(copy).blocks * 512, (used + 1) * cluster)
          assert.isTrue((await read(OverlayDisk.ofFile(copy))).equals(shown))
          Fs.rmSync(copy)
        })
      }).pipe(Effect.scoped),
    { arbitrary: { runs: 20 } }
  )

  it.effect("of the runtime is one of several layers, and may be larger than what is below it", () =>
    Effect.gen(function* () {
      const root = yield* temporary
      yield* Effect.promise(async () => {
        const size = 2 * cluster
        const first = await make(root, size, new Map([[0, 1]]), new Map([[1, 2]]))
        const second = Path.join(root, "second")
        Fs.mkdirSync(second)
        const grown = await make(second, 3 * cluster, new Map(), new Map([[2, 3]]))
        const layers = [Path.join(first.folder, RootDisk.baseName), first.disk, grown.disk] as const
        const expected = Buffer.concat([1, 2, 3].map((byte) => Buffer.alloc(cluster, byte)))
        assert.isTrue((await read(OverlayDisk.ofLayers(layers))).equals(expected))
        const [base] = layers
        assert.isTrue(
          (await read(OverlayDisk.ofLayers([base]))).equals(
            Buffer.concat([Buffer.alloc(cluster, 1), Buffer.alloc(cluster)])
          )
        )
      })
    })
  )

  it.effect("is refused when its header, its tables or its offsets are not those of this library", () =>
    Effect.gen(function* () {
      const root = yield* temporary
      yield* Effect.promise(async () => {
        const { disk, folder } = await make(root, 200 * cluster, new Map([[3, 1]]), new Map([[9, 7]]))
        const good = Fs.readFileSync(disk)
        const first = Number(good.readBigUInt64BE(40))
        const second = Number(good.readBigUInt64BE(first) & 0xffff_ffff_ffffn)
        const entry = second + 8 * 9
        const long = (at: number, value: bigint) => (image: Buffer) => image.writeBigUInt64BE(value, at)
        const word = (at: number, value: number) => (image: Buffer) => image.writeUInt32BE(value, at)
        const end = BigInt(good.length)
        for (const [name, damage] of Object.entries({
          "another format": word(0, 0),
          "an older version": word(4, 2),
          "other clusters": word(20, 12),
          "another size": long(24, 1n),
          encryption: word(32, 1),
          "fewer tables": word(36, 0),
          "more tables": word(36, 0xffff_ffff),
          "tables outside of the file": long(40, end),
          "snapshots of its own": word(60, 1),
          "unknown features": long(72, 4n),
          "a table outside of the file": long(first, end),
          "a table that is not aligned": long(first, 512n),
          "unknown flags of a table": long(first, BigInt(second) | (1n << 60n)),
          "a cluster outside of the file": long(entry, (1n << 63n) | (end + 65_536n)),
          "a cluster far outside of the file": long(entry, 0x00ff_ffff_ffff_0000n),
          "a compressed cluster": long(entry, (1n << 62n) | 65_536n)
        })) {
          const image = Buffer.from(good)
          damage(image)
          Fs.writeFileSync(disk, image)
          await read(OverlayDisk.ofOverlay(folder)).then(
            () => assert.fail(`${name} was read`),
            (error) => assert.match(String(error), /the overlay is damaged/, name)
          )
        }
        for (const length of [0, 50, first, first + cluster]) {
          Fs.writeFileSync(disk, good.subarray(0, length))
          await read(OverlayDisk.ofOverlay(folder)).then(
            () => assert.fail(`${length} bytes were read`),
            (error) => assert.match(String(error), /the overlay is damaged/, String(length))
          )
        }
      })
    }).pipe(Effect.scoped)
  )

  it.effect("is searched across its clusters, and given up when its copy is aborted", () =>
    Effect.gen(function* () {
      const root = yield* temporary
      yield* Effect.promise(async () => {
        const { disk, folder } = await make(
          root,
          200 * cluster,
          new Map([[63, 1]]),
          new Map([
            [64, 2],
            [66, 3]
          ])
        )
        const needle = (...runs: ReadonlyArray<readonly [length: number, byte: number]>) =>
          Buffer.concat(runs.map(([length, byte]) => Buffer.alloc(length, byte)))
        assert.deepStrictEqual(
          await OverlayDisk.search(OverlayDisk.ofOverlay(folder), [
            // Between two parts, within one, at an end, and in the file only.
            needle([9, 1], [9, 2]),
            needle([9, 2], [cluster, 0], [9, 3]),
            needle([9, 0], [9, 3]),
            needle([9, 2], [9, 3])
          ]),
          [true, true, true, false]
        )
        assert.isTrue(Fs.readFileSync(disk).includes(needle([9, 2], [9, 3])))
        const given = await OverlayDisk.search(
          OverlayDisk.ofOverlay(folder),
          [needle([1, 9])],
          AbortSignal.abort()
        ).then(
          () => "searched",
          () => "given up"
        )
        assert.strictEqual(given, "given up")
        const copy = Path.join(root, "copy")
        const aborted = await OverlayDisk.write(OverlayDisk.ofOverlay(folder), copy, AbortSignal.abort()).then(
          () => "written",
          () => "given up"
        )
        assert.strictEqual(aborted, "given up")
      })
    }).pipe(Effect.scoped)
  )
})
