import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Arbitrary from "effect/Arbitrary"
import * as Crypto from "node:crypto"
import Fs from "node:fs"
import * as Module from "node:module"
import * as Path from "node:path"
import type { HostFile } from "../../../src/internal/host/files.ts"
import * as Listing from "../../../src/internal/host/listing.ts"
import * as Cache from "../../../src/internal/host/listingCache.ts"
import { temporary } from "../../support.ts"

const encode = (files: ReadonlyArray<HostFile>): Uint8Array => Buffer.from(JSON.stringify(files))

const placeIn = (home: string, encoding = "json"): Cache.Place => ({
  home,
  stage: Effect.sync(() => Path.join(home, `staged-${Crypto.randomUUID()}`)),
  encoding,
  encode
})

/** How many files were opened for reading below a folder, and how many folders were read, since the last call. */
const countReads = Effect.fnUntraced(function* (folder: string) {
  const { openSync, readdirSync } = Fs
  const { open } = Fs.promises
  let count = 0
  const note = (path: unknown) => {
    if (String(path).startsWith(folder)) count++
  }
  Fs.openSync = (...args) => (note(args[0]), openSync(...args))
  // A slow disk is read asynchronously.
  Fs.promises.open = (...args) => (note(args[0]), open(...args))
  Object.assign(Fs, {
    readdirSync: (...args: Parameters<typeof readdirSync>) => (note(args[0]), readdirSync(...args))
  })
  Module.syncBuiltinESMExports()
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      Object.assign(Fs, { openSync, readdirSync })
      Fs.promises.open = open
      Module.syncBuiltinESMExports()
    })
  )
  return () => {
    const reads = count
    count = 0
    return reads
  }
})

const isBigIntStats = (value: unknown): value is Fs.BigIntStats =>
  Predicate.hasProperty(value, "mtimeNs") && typeof value.mtimeNs === "bigint"

const files = 80

/** A home, and a tree of files of one size in four folders, with a link. */
const make = Effect.gen(function* () {
  const home = yield* temporary
  const tree = yield* temporary
  for (let index = 0; index < files; index++) {
    const folder = Path.join(tree, `folder-${index % 4}`)
    Fs.mkdirSync(folder, { recursive: true })
    Fs.writeFileSync(Path.join(folder, `file-${index}`), String(index).padStart(100))
  }
  Fs.symlinkSync("folder-1/file-1", Path.join(tree, "link"))
  const reads = yield* countReads(tree)
  const cached = (place = placeIn(home), patterns: ReadonlyArray<string> = []) =>
    Listing.list("Snapshot.plan", tree, patterns, place)
  const plain = Effect.map(Listing.list("Snapshot.plan", tree, []), (listing) => listing.files)
  /** Lists until nothing is read, as what has just changed is read again. */
  const settled = Effect.suspend(() => (reads(), Effect.map(cached(), reads))).pipe(
    Effect.repeat({ until: (count) => count === 0 })
  )
  const folder = Path.join(home, "lightbox", "copied")
  const cacheFiles = () => Fs.readdirSync(folder).map((name) => Path.join(folder, name))
  return { cacheFiles, cached, folder, home, plain, reads, settled, tree }
})

const Edit = Schema.Struct({
  kind: Schema.Literals([
    "content",
    "content and time",
    "rename over",
    "mode",
    "link",
    "link over file",
    "remove",
    "add",
    "add a folder",
    "swap",
    "swap folders"
  ]),
  at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: files - 1 })),
  other: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: files - 1 }))
})

let unique = 100

/** Edits a tree, with little that a stat shows. */
const edit = (tree: string, { at, kind, other }: typeof Edit.Type): void => {
  const pathOf = (index: number) => Path.join(tree, `folder-${index % 4}`, `file-${index}`)
  const content = () => String(unique++).padStart(100)
  const path = pathOf(at)
  const stats = Fs.lstatSync(path, { throwIfNoEntry: false })
  const write = (to: string) => {
    Fs.rmSync(to, { force: true })
    Fs.writeFileSync(to, content())
    if (stats !== undefined) Fs.utimesSync(to, stats.atime, stats.mtime)
  }
  const swap = (one: string, two: string) => {
    const aside = Path.join(tree, "aside")
    Fs.renameSync(one, aside)
    Fs.renameSync(two, one)
    Fs.renameSync(aside, two)
  }
  switch (kind) {
    case "content":
      if (stats?.isFile() === true) Fs.writeFileSync(path, content())
      return
    case "content and time":
      if (stats?.isFile() !== true) return
      Fs.writeFileSync(path, content())
      return Fs.utimesSync(path, stats.atime, stats.mtime)
    case "rename over":
      write(`${path}.new`)
      return Fs.renameSync(`${path}.new`, path)
    case "mode":
      if (stats?.isFile() === true) Fs.chmodSync(path, (stats.mode & 0o777) ^ 0o100)
      return
    case "link":
      Fs.unlinkSync(Path.join(tree, "link"))
      return Fs.symlinkSync(`folder-${at % 4}/file-${other % 10}`, Path.join(tree, "link"))
    case "link over file":
      Fs.symlinkSync(content(), `${path}.new`)
      return Fs.renameSync(`${path}.new`, path)
    case "remove":
      return Fs.rmSync(path, { force: true })
    case "add":
      return write(path)
    case "add a folder":
      return void Fs.mkdirSync(Path.join(tree, `folder-${at % 4}`, `more-${other}`), { recursive: true })
    case "swap":
      if (at !== other && stats !== undefined && Fs.lstatSync(pathOf(other), { throwIfNoEntry: false }) !== undefined) {
        swap(path, pathOf(other))
      }
      return
    case "swap folders":
      if (at % 4 !== other % 4) swap(Path.join(tree, `folder-${at % 4}`), Path.join(tree, `folder-${other % 4}`))
  }
}

const Rounds = Schema.Array(Schema.Array(Edit).check(Schema.isMaxLength(4))).check(Schema.isMaxLength(8))

describe("listing", () => {
  it.effect("does not read an unchanged tree again", () =>
    Effect.gen(function* () {
      const { cached, plain, reads, settled, tree } = yield* make
      const first = yield* cached()
      assert.isAtLeast(reads(), files)
      yield* settled
      const second = yield* cached()
      assert.strictEqual(reads(), 0)
      assert.deepStrictEqual(second.encoded, first.encoded)
      assert.deepStrictEqual(second.files, yield* plain)
      Fs.writeFileSync(Path.join(tree, "folder-0", "file-0"), "x".repeat(100))
      reads()
      const third = yield* cached()
      assert.strictEqual(reads(), 1)
      assert.deepStrictEqual(third.files, yield* plain)
      assert.notDeepEqual(third.files, first.files)
    })
  )

  it.effect.prop(
    "lists after any edits what it lists without a cache",
    { rounds: Arbitrary.schema(Rounds) },
    ({ rounds }) =>
      Effect.gen(function* () {
        const { cached, plain, settled, tree } = yield* make
        yield* settled
        for (const edits of rounds) {
          for (const one of edits) edit(tree, one)
          const { encoded, files } = yield* cached()
          const expected = yield* plain
          assert.deepStrictEqual(files, expected)
          assert.deepStrictEqual(encoded, encode(expected))
        }
      }).pipe(Effect.scoped),
    { arbitrary: { runs: 10 } }
  )

  it.effect("sees an edit that the times of a coarse file system do not show", () =>
    Effect.gen(function* () {
      const { cached, plain, tree } = yield* make
      const { lstatSync } = Fs
      const second = 1_000_000_000n
      const coarse = (stats: Fs.BigIntStats) => {
        stats.mtimeNs -= stats.mtimeNs % second
        stats.ctimeNs -= stats.ctimeNs % second
        return stats
      }
      Object.assign(Fs, {
        lstatSync: (path: string, options: { readonly bigint: true; readonly throwIfNoEntry?: boolean }) => {
          const stats: unknown = lstatSync(path, options)
          return isBigIntStats(stats) ? coarse(stats) : stats
        }
      })
      Module.syncBuiltinESMExports()
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          Object.assign(Fs, { lstatSync })
          Module.syncBuiltinESMExports()
        })
      )
      const path = Path.join(tree, "folder-0", "file-0")
      for (let round = 0; round < 20; round++) {
        Fs.writeFileSync(path, String(round).padStart(100))
        yield* cached()
        Fs.writeFileSync(path, String(round).padEnd(100))
        assert.deepStrictEqual((yield* cached()).files, yield* plain)
      }
    })
  )

  it.effect("reads a tree again whose cache is torn, foreign, or open to others, and writes a new one", () =>
    Effect.gen(function* () {
      const { cacheFiles, cached, plain, reads, settled } = yield* make
      yield* settled
      const [path = ""] = cacheFiles()
      const whole = Fs.readFileSync(path)
      const replaced =
        (content: Uint8Array, mode = 0o600) =>
        () => {
          Fs.rmSync(path)
          Fs.writeFileSync(path, content, { mode })
          Fs.chmodSync(path, mode)
        }
      const flipped = (at: number) => whole.map((byte, index) => (index === at ? byte ^ 1 : byte))
      const expected = yield* plain
      for (const spoil of [
        () => Fs.rmSync(path),
        ...[0, 10, 47, 48, 1000, whole.length - 1].map((length) => replaced(whole.subarray(0, length))),
        ...[0, 33, 37, 41, 60, 2000, whole.length - 1].map((at) => replaced(flipped(at))),
        replaced(Buffer.concat([whole, Buffer.from("more")])),
        replaced(new Uint8Array(whole.length)),
        replaced(whole, 0o644),
        () => {
          Fs.renameSync(path, `${path}-elsewhere`)
          Fs.symlinkSync(`${path}-elsewhere`, path)
        }
      ]) {
        spoil()
        reads()
        assert.deepStrictEqual((yield* cached()).files, expected)
        assert.isAtLeast(reads(), files)
        assert.strictEqual(yield* settled, 0)
      }
    })
  )

  it.effect("does not take the cache of another root, other patterns or another encoding", () =>
    Effect.gen(function* () {
      const { cacheFiles, cached, home, reads, settled, tree } = yield* make
      yield* settled
      const [own = ""] = cacheFiles()
      const patterns = ["folder-1/"]
      const without = yield* cached(placeIn(home), patterns)
      assert.isAtLeast(reads(), files / 2)
      assert.deepStrictEqual(
        without.files,
        yield* Effect.map(Listing.list("x", tree, patterns), (plain) => plain.files)
      )
      yield* cached(placeIn(home, "other"))
      assert.isAtLeast(reads(), files)
      for (const path of cacheFiles()) if (path !== own) Fs.copyFileSync(own, path)
      assert.deepStrictEqual((yield* cached(placeIn(home), patterns)).files, without.files)
    })
  )

  it.effect("is right while two write their cache at once", () =>
    Effect.gen(function* () {
      const { cached, plain, settled, tree } = yield* make
      for (let round = 0; round < 10; round++) {
        Fs.writeFileSync(Path.join(tree, "folder-1", "file-1"), String(round).padStart(100))
        const found = yield* Effect.replicateEffect(cached(), 4, { concurrency: "unbounded" })
        for (const { files } of found) assert.deepStrictEqual(files, yield* plain)
      }
      assert.strictEqual(yield* settled, 0)
    })
  )

  it.effect("keeps its cache to the user, and leaves nothing else", () =>
    Effect.gen(function* () {
      const { cacheFiles, folder, home, settled } = yield* make
      yield* settled
      assert.strictEqual(Fs.statSync(folder).mode & 0o777, 0o700)
      assert.deepStrictEqual(
        cacheFiles().map((path) => Fs.statSync(path).mode & 0o777),
        [0o600]
      )
      assert.deepStrictEqual(Fs.readdirSync(home), ["lightbox"])
    })
  )

  it.effect("costs nothing but time where no cache can be written", () =>
    Effect.gen(function* () {
      const { cached, home, plain } = yield* make
      Fs.writeFileSync(Path.join(home, "lightbox"), "in the way")
      assert.deepStrictEqual((yield* cached()).files, yield* plain)
    })
  )

  it.effect("bounds the number of caches, and removes those that were not used for a month", () =>
    Effect.gen(function* () {
      const { cacheFiles, cached, folder, home, settled } = yield* make
      yield* settled
      const [own = ""] = cacheFiles()
      const daysAgo = (days: number) => Date.now() / 1000 - days * 24 * 60 * 60
      for (let index = 0; index < 100; index++) {
        const path = Path.join(folder, `other-${index}`)
        Fs.writeFileSync(path, "")
        Fs.utimesSync(path, daysAgo(1), daysAgo(1 + index / 10))
      }
      Fs.utimesSync(own, daysAgo(20), daysAgo(20))
      // Its use is noted.
      yield* cached()
      yield* cached(placeIn(home, "other"))
      assert.isAtMost(cacheFiles().length, 64)
      assert.include(cacheFiles(), own)
      for (const path of cacheFiles()) Fs.utimesSync(path, daysAgo(31), daysAgo(31))
      yield* Effect.promise(() => Cache.evict(home))
      assert.deepStrictEqual(cacheFiles(), [])
    })
  )
})
