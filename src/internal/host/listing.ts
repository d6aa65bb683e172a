/**
 * Lists and hashes files of the host for copies into a guest.
 *
 * Calls of the file system are synchronous, in short slices: an asynchronous one costs five times the time of the
 * processor, and there may be a hundred thousand. On a slow disk, files are read asynchronously.
 */
import * as Effect from "effect/Effect"
import * as Crypto from "node:crypto"
import * as FsSync from "node:fs"
import * as Path from "node:path"
import ignore from "ignore"
import type { LightboxError } from "../../LightboxError.ts"
import * as HostFiles from "./files.ts"
import * as Folders from "./folders.ts"

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } = FsSync.constants

export interface Listing {
  /** Everything to copy, sorted by name. */
  readonly files: ReadonlyArray<HostFiles.HostFile>
  /** With a cache, what its `encode` makes of them. */
  readonly encoded: Uint8Array | undefined
}

/** A file, folder or link of a tree. */
export interface Entry {
  readonly position: number
  /** Relative to the root, which is empty. */
  readonly path: string
  readonly mode: number
  readonly size: number
  /** The position of this path in the last listing. */
  readonly was: number | undefined
  /** Since the last listing. */
  readonly isUnchanged: boolean
  digest: string
  /** Any later change would show in its stamp. */
  isSettled: boolean
}

/** The result of a walk. */
export interface Walked {
  /** The children of each folder are together, in the order of the folders. */
  readonly entries: ReadonlyArray<Entry>
  readonly stamps: Stamps
  /** The names in each folder, in the same order. */
  readonly folders: ReadonlyArray<ReadonlyArray<string>>
}

/** What changes with a file: device, inode, mode, size, and the times of the last changes of its content and of itself. */
export class Stamps {
  private values: BigInt64Array
  constructor(values = new BigInt64Array(1024 * fields)) {
    this.values = values
  }
  set(position: number, { ctimeNs, dev, ino, mode, mtimeNs, size }: FsSync.BigIntStats): void {
    const at = position * fields
    if (at + fields > this.values.length) {
      const larger = new BigInt64Array(this.values.length * 2)
      larger.set(this.values)
      this.values = larger
    }
    this.values[at] = dev
    this.values[at + 1] = ino
    this.values[at + 2] = mode
    this.values[at + 3] = size
    this.values[at + 4] = mtimeNs
    this.values[at + 5] = ctimeNs
  }
  /** Checks whether a change from now on would show. */
  isSettled(position: number, nowMillis: number): boolean {
    const ctime = this.values[position * fields + 5]
    return ctime !== undefined && ctime % second !== 0n && ctime + 3n * second < BigInt(nowMillis) * 1_000_000n
  }
  /** Makes a position differ from all files. */
  clear(position: number): void {
    this.values[position * fields + 5] = never
  }
  isOf(position: number, { ctimeNs, dev, ino, mode, mtimeNs, size }: FsSync.BigIntStats): boolean {
    const { values } = this
    const at = position * fields
    return (
      values[at + 5] === ctimeNs &&
      values[at + 1] === BigInt.asIntN(64, ino) &&
      values[at + 3] === size &&
      values[at + 4] === mtimeNs &&
      values[at + 2] === mode &&
      values[at] === dev
    )
  }
  modeAndSize(position: number): { readonly mode: number; readonly size: number } {
    const at = position * fields
    return { mode: Number(this.values[at + 2]), size: Number(this.values[at + 3]) }
  }
  device(position: number): bigint | undefined {
    return this.values[position * fields]
  }
  /** Checks whether it is still the same file or folder, if not unchanged. */
  isSame(position: number, { dev, ino }: FsSync.BigIntStats): boolean {
    const at = position * fields
    return this.values[at] === dev && this.values[at + 1] === BigInt.asIntN(64, ino)
  }
  isSameFile(position: number, stats: FsSync.BigIntStats): boolean {
    return this.isSame(position, stats) && this.values[position * fields + 3] === stats.size
  }
  isFolder(position: number): boolean {
    return (this.modeAndSize(position).mode & S_IFMT) === S_IFDIR
  }
  bytes(count: number): Uint8Array {
    return new Uint8Array(this.values.buffer, this.values.byteOffset, count * stampBytes)
  }
}

const second = 1_000_000_000n

const fields = 6
export const stampBytes = fields * 8

/** No file has changed at this time. */
const never = -(2n ** 62n)

export interface Folder {
  readonly names: ReadonlyArray<string>
  /** The position of the first name. */
  readonly first: number
}

/** The last listing. */
export interface Known {
  readonly stamps: Stamps
  readonly encoded: Uint8Array
  readonly digest: (position: number) => string
  readonly children: (position: number) => Folder | undefined
  /** All folders, from the root. */
  readonly folders: () => Iterable<Folder & { readonly path: string }>
  readonly entries: () => ReadonlyArray<Pick<Entry, "path" | "mode" | "size" | "digest">>
}

export interface Cache {
  /** Its result is kept with the listing. */
  readonly encode: (files: ReadonlyArray<HostFiles.HostFile>) => Uint8Array
  readonly known: Known | undefined
  readonly update: (walked: Walked, encoded: Uint8Array) => Effect.Effect<void>
}

/** What a listing leaves out. */
export interface Rules {
  /** Also skips what is in an ignored folder. */
  readonly isIgnored: (path: string, isFolder: boolean) => boolean
  /** Drops some of what was listed. */
  readonly keep: (files: ReadonlyArray<HostFiles.HostFile>) => ReadonlyArray<HostFiles.HostFile>
}

/** Lists everything to copy from a path. Does not read again what a cache knows to be unchanged. */
export const list = Effect.fnUntraced(function* (
  method: string,
  root: string,
  patterns: ReadonlyArray<string>,
  cache?: Cache,
  /** Replaces the rules of the patterns. */
  rules: Rules = { isIgnored: matcher(patterns), keep: (files) => files }
): Effect.fn.Return<Listing, LightboxError> {
  const known = cache?.known
  let current = root
  const attempt = <A>(run: (walk: Walk) => Promise<A>): Effect.Effect<A, LightboxError> =>
    Effect.tryPromise({
      try: (signal) => run(new Walk(root, signal, (path) => (current = path))),
      catch: (cause) => HostFiles.failure(method, current)(cause)
    })
  if (known !== undefined && (yield* attempt((walk) => walk.isUnchanged(known)))) {
    let files: ReadonlyArray<HostFiles.HostFile> | undefined
    return {
      encoded: known.encoded,
      get files() {
        return (files ??= rules.keep(filesOf(known.entries())))
      }
    }
  }
  const walked = yield* attempt((walk) => walk.walk(rules.isIgnored, known))
  yield* Effect.forEach(
    walked.later,
    (entry) => {
      const path = Path.join(root, entry.path)
      return Effect.tryPromise({
        try: async () => (entry.digest = await digest(path, entry, walked.stamps)),
        catch: HostFiles.failure(method, path)
      })
    },
    { concurrency: 16, discard: true }
  )
  const files = rules.keep(filesOf(walked.entries))
  if (cache === undefined) return { files, encoded: undefined }
  const encoded = cache.encode(files)
  yield* cache.update(walked, encoded)
  return { files, encoded }
})

const filesOf = (
  entries: ReadonlyArray<Pick<Entry, "path" | "mode" | "size" | "digest">>
): ReadonlyArray<HostFiles.HostFile> =>
  entries
    .map(({ digest, mode, path, size }): HostFiles.HostFile => {
      const kind = kindOf(mode)
      return { path, kind, mode: mode & 0o7777, size: kind === "file" ? size : 0, digest }
    })
    .filter(({ kind, path }) => path !== "" || kind !== "folder")
    .toSorted((a, b) => (a.path < b.path ? -1 : 1))

const matcher = (patterns: ReadonlyArray<string>): ((path: string, isFolder: boolean) => boolean) => {
  if (patterns.length === 0) return () => false
  // The text of a whole file is one pattern here.
  const rules = ignore({ ignorecase: false }).add(patterns.flatMap((pattern) => pattern.split(/\r?\n/)))
  return (path, isFolder) => rules.ignores(isFolder ? `${path}/` : path)
}

const kindOf = (mode: number): HostFiles.HostFile["kind"] => {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "folder"
    case S_IFLNK:
      return "link"
    case S_IFREG:
      return "file"
    default:
      throw HostFiles.refusal(HostFiles.onlyFiles)
  }
}

/** Other work of this process waits at most this long. */
const sliceMillis = 10

/** Larger files are read asynchronously. */
const smallBytes = 256 * 1024

/** With more on average, a disk is slow. */
const slowMillis = 3

/** A walk through a tree. Reports the path that it is at. */
class Walk {
  private readonly root: string
  private readonly signal: AbortSignal
  private readonly report: (path: string) => void
  private began = performance.now()
  private now = Date.now()

  constructor(root: string, signal: AbortSignal, report: (path: string) => void) {
    this.root = root
    this.signal = signal
    this.report = report
  }

  private isDue(): boolean {
    return performance.now() - this.began > sliceMillis
  }

  private async pause(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    this.signal.throwIfAborted()
    this.began = performance.now()
    this.now = Date.now()
  }

  private lookAtRoot(): FsSync.BigIntStats {
    this.report(this.root)
    return FsSync.statSync(this.root, { bigint: true })
  }

  /** Checks whether nothing has changed since a listing. */
  async isUnchanged(known: Known): Promise<boolean> {
    if (!known.stamps.isOf(0, this.lookAtRoot())) return false
    for (const { first, names, path } of known.folders()) {
      const prefix = path === "" ? "" : `${path}/`
      for (const [index, name] of names.entries()) {
        if (this.isDue()) await this.pause()
        const full = `${this.root}/${prefix}${name}`
        this.report(full)
        const stats = FsSync.lstatSync(full, { bigint: true, throwIfNoEntry: false })
        if (stats === undefined || !known.stamps.isOf(first + index, stats)) return false
      }
    }
    return true
  }

  /** Walks the tree and reads its small files. */
  async walk(
    isIgnored: (path: string, isFolder: boolean) => boolean,
    known: Known | undefined
  ): Promise<Walked & { readonly later: ReadonlyArray<Entry> }> {
    const { report, root } = this
    const stamps = new Stamps()
    const entries: Array<Entry> = []
    const toRead: Array<Entry> = []
    const add = (path: string, stats: FsSync.BigIntStats, was: number | undefined) => {
      const position = entries.length
      stamps.set(position, stats)
      const [mode, size] = [Number(stats.mode), Number(stats.size)]
      const isUnchanged = was !== undefined && known?.stamps.isOf(was, stats) === true
      const digest = isUnchanged ? known.digest(was) : ""
      const entry: Entry = { position, path, mode, size, was, isUnchanged, digest, isSettled: isUnchanged }
      entries.push(entry)
      return entry
    }

    const top = add("", this.lookAtRoot(), known === undefined ? undefined : 0)
    if (kindOf(top.mode) === "file" && !top.isUnchanged) toRead.push(top)
    const folders: Array<ReadonlyArray<string>> = []
    for (const folder of entries) {
      if (kindOf(folder.mode) !== "folder") continue
      if (this.isDue()) await this.pause()
      const before = folder.was === undefined ? undefined : known?.children(folder.was)
      const prefix = folder.path === "" ? "" : `${folder.path}/`
      const isSame = folder.isUnchanged && before !== undefined
      if (!isSame) folder.isSettled = stamps.isSettled(folder.position, this.now)
      const positions = new Map(before?.names.map((name, index) => [name, before.first + index]))
      // Nothing is looked at through a link that has taken the place of a folder.
      const { descriptor, path } = this.openFolder(folder, stamps)
      try {
        const names = isSame ? before.names : readNames(path, root, prefix, isIgnored, report)
        for (const name of names) {
          if (this.isDue()) await this.pause()
          const at = `${path}/${name}`
          report(`${root}/${prefix}${name}`)
          const entry = add(prefix + name, FsSync.lstatSync(at, { bigint: true }), positions.get(name))
          if (entry.isUnchanged) continue
          const kind = kindOf(entry.mode)
          if (kind === "file") toRead.push(entry)
          if (kind !== "link") continue
          entry.isSettled = stamps.isSettled(entry.position, this.now)
          entry.digest = Crypto.hash("sha256", HostFiles.nameOf(FsSync.readlinkSync(at, "buffer")))
        }
        folders.push(names)
      } finally {
        FsSync.closeSync(descriptor)
      }
    }

    const later: Array<Entry> = []
    const start = performance.now()
    for (const [count, entry] of toRead.entries()) {
      if (this.isDue()) await this.pause()
      const full = Path.join(root, entry.path)
      report(full)
      entry.isSettled = stamps.isSettled(entry.position, this.now)
      const isSlow = count >= 16 && (performance.now() - start) / count > slowMillis
      if (isSlow || entry.size > smallBytes) later.push(entry)
      else entry.digest = digestNow(full, entry, stamps)
    }
    return { entries, stamps, folders, later }
  }

  /** Opens a folder that must be the one that was listed. */
  private openFolder({ path, position }: Entry, stamps: Stamps): ReturnType<typeof Folders.openNow> {
    const full = Path.join(this.root, path)
    this.report(full)
    try {
      const opened = Folders.openNow(this.root, HostFiles.namesOf(path))
      if (stamps.isSame(position, FsSync.fstatSync(opened.descriptor, { bigint: true }))) return opened
      FsSync.closeSync(opened.descriptor)
    } catch (cause) {
      return HostFiles.ifReplaced(full)(cause)
    }
    throw HostFiles.changed(full)
  }
}

/** Reads the names in a folder that are not ignored. */
const readNames = (
  /** Leads to the folder, even if a parent was replaced. */
  at: string,
  root: string,
  prefix: string,
  isIgnored: (path: string, isFolder: boolean) => boolean,
  report: (path: string) => void
): ReadonlyArray<string> => {
  const folder = Path.join(root, prefix)
  report(folder)
  const names = FsSync.readdirSync(at, { withFileTypes: true }).flatMap((entry) =>
    isIgnored(prefix + entry.name, entry.isDirectory()) ? [] : [entry.name]
  )
  // It stands for bytes that are not UTF-8, but a name may also contain it.
  if (names.some((name) => name.includes("\uFFFD"))) {
    for (const bytes of FsSync.readdirSync(at, { encoding: "buffer" })) {
      const name = bytes.toString()
      report(Path.join(folder, name))
      if (names.includes(name)) HostFiles.nameOf(bytes)
    }
  }
  return names
}

const buffer = Buffer.allocUnsafeSlow(smallBytes + 1)

/** Hashes a small file. */
const digestNow = (path: string, { path: relative, position }: Entry, stamps: Stamps): string => {
  const file = FsSync.openSync(path, O_RDONLY | O_NONBLOCK | (relative === "" ? 0 : O_NOFOLLOW))
  try {
    const stats = FsSync.fstatSync(file, { bigint: true })
    if (!stamps.isSameFile(position, stats)) throw HostFiles.changed(path)
    let length = 0
    for (let count = -1; count !== 0 && length < buffer.length; length += count) {
      count = FsSync.readSync(file, buffer, length, buffer.length - length, null)
    }
    if (BigInt(length) !== stats.size) throw HostFiles.changed(path)
    return Crypto.hash("sha256", buffer.subarray(0, length))
  } finally {
    FsSync.closeSync(file)
  }
}

const digest = async (path: string, { path: relative, position }: Entry, stamps: Stamps): Promise<string> => {
  const [file] = await HostFiles.open(path, relative === "")
  try {
    if (!stamps.isSameFile(position, await file.stat({ bigint: true }))) throw HostFiles.changed(path)
    const hash = Crypto.createHash("sha256")
    for await (const chunk of HostFiles.chunksOf(file)) hash.update(chunk)
    return hash.digest("hex")
  } finally {
    await file.close()
  }
}
