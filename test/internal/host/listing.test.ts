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

/** Open folders have paths of their own. */
const resolved = (path: string): string => (path.startsWith("/proc/self/fd/") ? Fs.realpathSync(path) : path)

/** Replaces functions of the file system until the test ends. */
const replace = (module: object, functions: object) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const originals = Object.fromEntries(Object.keys(functions).map((name) => [name, Reflect.get(module, name)]))
      Object.assign(module, functions)
      Module.syncBuiltinESMExports()
      return originals
    }),
    (originals) =>
      Effect.sync(() => {
        Object.assign(module, originals)
        Module.syncBuiltinESMExports()
      })
  )

/** Runs an effect as if the clock showed another time. */
const at =
  (millis: () => number) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.andThen(replace(Date, { now: millis }), effect).pipe(Effect.scoped)

/** Changes what a look at a file shows. */
const replaceStats = (change: (stats: Fs.BigIntStats, path: string) => void) => {
  const { lstatSync } = Fs
  return replace(Fs, {
    lstatSync: (path: string, options: { readonly bigint: true; readonly throwIfNoEntry?: boolean }) => {
      const stats: unknown = lstatSync(path, options)
      if (isBigIntStats(stats)) change(stats, resolved(Path.dirname(path)) + "/" + Path.basename(path))
      return stats
    }
  })
}

/** How many files were opened for reading below a folder, and how many folders were read, since the last call. */
const countReads = Effect.fnUntraced(function* (folder: string) {
  const { openSync, readdirSync } = Fs
  const real = Fs.realpathSync(folder)
  const { open } = Fs.promises
  let count = 0
  const note = (path: unknown, flags?: unknown) => {
    const isFolder = typeof flags === "number" && (flags & Fs.constants.O_DIRECTORY) !== 0
    if (!isFolder && resolved(String(path)).startsWith(real)) count++
  }
  Fs.openSync = (...args) => (note(args[0], args[1]), openSync(...args))
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
    Effect.flatMap(Cache.open(place, tree, patterns), (cache) => Listing.list("Snapshot.plan", tree, patterns, cache))
  const plain = Effect.map(Listing.list("Snapshot.plan", tree, []), (listing) => listing.files)
  const { now } = Date
  /** Waits for the next tick of the file system's clock. */
  const tick = Effect.suspend(() => {
    const probe = Path.join(home, "probe")
    const touch = () => (Fs.writeFileSync(probe, "x"), Fs.statSync(probe, { bigint: true }).ctimeNs)
    const before = touch()
    return Effect.repeat(Effect.sync(touch), { until: (time) => time > before })
  }).pipe(Effect.andThen(Effect.sync(() => Fs.rmSync(Path.join(home, "probe")))))
  /** Lists as if all changes were old. Gives the number of reads of a further listing. */
  const old = at(() => now() + 10_000)
  const settled = Effect.andThen(tick, cached()).pipe(
    old,
    Effect.andThen(() => (reads(), Effect.map(cached(), reads)))
  )
  const folder = Path.join(home, "lightbox", "copied")
  const cacheFiles = () => Fs.readdirSync(folder).map((name) => Path.join(folder, name))
  return { cacheFiles, cached, folder, home, old, plain, reads, settled, tree }
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

  it.effect("detects an edit that the times of a coarse file system do not show", () =>
    Effect.gen(function* () {
      const { cached, plain, settled, tree } = yield* make
      // Whole seconds, always the same: somebody may set the clock back.
      yield* replaceStats((stats) => {
        stats.mtimeNs = 1_700_000_000_000_000_000n
        stats.ctimeNs = 1_700_000_000_000_000_000n
      })
      yield* settled
      Fs.writeFileSync(Path.join(tree, "folder-0", "file-0"), "x".repeat(100))
      assert.deepStrictEqual((yield* cached()).files, yield* plain)
    })
  )

  it.effect("remembers no file that changed less than three seconds before it was read", () =>
    Effect.gen(function* () {
      const { cached, plain, reads, tree } = yield* make
      const changed = 1_700_000_000_004
      yield* replaceStats((stats) => {
        stats.mtimeNs = BigInt(changed) * 1_000_000n
        stats.ctimeNs = BigInt(changed) * 1_000_000n
      })
      const path = Path.join(tree, "folder-0", "file-0")
      yield* cached().pipe(at(() => changed + 3000))
      Fs.writeFileSync(path, "x".repeat(100))
      assert.deepStrictEqual((yield* cached()).files, yield* plain)
      yield* cached().pipe(at(() => changed + 3001))
      reads()
      yield* cached()
      // Only the root shows its own time.
      assert.strictEqual(reads(), 1)
    })
  )

  it.effect("detects an edit that keeps the size, the inode and the time of the last change", () =>
    Effect.gen(function* () {
      const { cached, plain, settled, tree } = yield* make
      const path = Path.join(tree, "folder-0", "file-0")
      Fs.utimesSync(path, 1_700_000_000, 1_700_000_000)
      assert.strictEqual(yield* settled, 0)
      const before = Fs.statSync(path)
      Fs.writeFileSync(path, "x".repeat(100))
      Fs.utimesSync(path, 1_700_000_000, 1_700_000_000)
      const { ino, mtimeMs, size } = Fs.statSync(path)
      assert.deepStrictEqual([ino, mtimeMs, size], [before.ino, before.mtimeMs, before.size])
      assert.deepStrictEqual((yield* cached()).files, yield* plain)
    })
  )

  it.effect("reads all files again after a restart of the machine, and then no more", () =>
    Effect.gen(function* () {
      const { cacheFiles, cached, reads, settled } = yield* make
      assert.strictEqual(yield* settled, 0)
      const { readFile } = Fs.promises
      yield* replace(Fs.promises, {
        readFile: (...args: Parameters<typeof readFile>) =>
          args[0] === "/proc/sys/kernel/random/boot_id" ? Promise.resolve("another\n") : readFile(...args)
      })
      yield* cached()
      assert.isAtLeast(reads(), files)
      assert.strictEqual(yield* settled, 0)
      assert.lengthOf(cacheFiles(), 1)
    })
  )

  it.effect.each([
    ["NFS", 0x6969],
    ["FUSE and virtiofs", 0x65735546],
    ["9P", 0x01021997],
    ["FAT", 0x4d44],
    ["squashfs", 0x73717368],
    ["an unknown file system", 1]
  ] as const)("remembers nothing on %s", ([, type]) =>
    Effect.gen(function* () {
      const { folder, settled } = yield* make
      const { statfs } = Fs.promises
      yield* replace(Fs.promises, { statfs: async (path: string) => Object.assign(await statfs(path), { type }) })
      assert.isAtLeast(yield* settled, files)
      assert.isFalse(Fs.existsSync(folder))
    })
  )

  it.effect("reads files on another file system than the root again", () =>
    Effect.gen(function* () {
      const { reads, cached, settled, tree } = yield* make
      const real = Fs.realpathSync(tree)
      const { fstatSync } = Fs
      yield* replaceStats((stats, path) => {
        if (path.startsWith(Path.join(real, "folder-1/")) || path === Path.join(real, "folder-1")) stats.dev += 1n
      })
      yield* replace(Fs, {
        fstatSync: (file: number, options: { readonly bigint: true }) => {
          const stats = fstatSync(file, options)
          if (Fs.readlinkSync(`/proc/self/fd/${file}`).startsWith(Path.join(real, "folder-1"))) stats.dev += 1n
          return stats
        }
      })
      assert.strictEqual(yield* settled, files / 4 + 1)
      yield* cached()
      assert.strictEqual(reads(), files / 4 + 1)
    })
  )

  it.effect("fails if a file of another file system takes the place of a listed one", () =>
    Effect.gen(function* () {
      const { cached, tree } = yield* make
      const path = Path.join(Fs.realpathSync(tree), "folder-3", "file-3")
      const { fstatSync } = Fs
      // With the same inode and size.
      yield* replace(Fs, {
        fstatSync: (file: number, options: { readonly bigint: true }) => {
          const stats = fstatSync(file, options)
          if (Fs.readlinkSync(`/proc/self/fd/${file}`) === path) stats.dev += 1n
          return stats
        }
      })
      const error = yield* Effect.flip(cached())
      assert.include(error.reason, {
        problem: `"${Path.join(tree, "folder-3", "file-3")}" changed while it was copied`
      })
    })
  )

  it.effect("reads all files if it is asked to, and remembers them anew", () =>
    Effect.gen(function* () {
      const { cached, home, plain, settled, tree } = yield* make
      const path = Path.join(tree, "folder-0", "file-0")
      // As a write through mapped memory does, this does not show.
      const { ctimeNs, mtimeNs } = Fs.statSync(path, { bigint: true })
      yield* replaceStats((stats, at) => {
        if (at.endsWith("/file-0")) Object.assign(stats, { ctimeNs, mtimeNs })
      })
      assert.strictEqual(yield* settled, 0)
      Fs.writeFileSync(path, "x".repeat(100))
      const expected = yield* plain
      assert.notDeepEqual((yield* cached()).files, expected)
      assert.deepStrictEqual((yield* cached({ ...placeIn(home), isFresh: true })).files, expected)
      assert.deepStrictEqual((yield* cached()).files, expected)
    })
  )

  for (const [what, swap] of [
    ["a link", (path: string) => Fs.symlinkSync(`${path}.aside`, path)],
    ["a file", (path: string) => Fs.writeFileSync(path, "")],
    ["another folder", (path: string) => Fs.cpSync(`${path}.aside`, path, { recursive: true })]
  ] as const) {
    it.effect(`fails if ${what} takes the place of a folder while it is listed`, () =>
      Effect.gen(function* () {
        const { cached, settled, tree } = yield* make
        yield* settled
        Fs.writeFileSync(Path.join(tree, "folder-0", "file-0"), "x".repeat(100))
        const path = Path.join(Fs.realpathSync(tree), "folder-2")
        const { readlinkSync } = Fs
        // The last look in the root is at the link. It is read only if it is new.
        Fs.unlinkSync(Path.join(tree, "link"))
        Fs.symlinkSync("folder-3", Path.join(tree, "link"))
        yield* replace(Fs, {
          readlinkSync: (...args: Parameters<typeof readlinkSync>) => {
            if (!Fs.existsSync(`${path}.aside`)) {
              Fs.renameSync(path, `${path}.aside`)
              swap(path)
            }
            return readlinkSync(...args)
          }
        })
        const error = yield* Effect.flip(cached())
        assert.include(error.reason, {
          operation: "copy",
          problem: `"${Path.join(tree, "folder-2")}" changed while it was copied`
        })
      })
    )
  }

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
      const { cacheFiles, cached, folder, home, old, settled } = yield* make
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
      yield* old(cached(placeIn(home, "other")))
      assert.isAtMost(cacheFiles().length, 64)
      assert.include(cacheFiles(), own)
      for (const path of cacheFiles()) Fs.utimesSync(path, daysAgo(31), daysAgo(31))
      yield* Effect.promise(() => Cache.evict(home))
      assert.deepStrictEqual(cacheFiles(), [])
    })
  )
})
