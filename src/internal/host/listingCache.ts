/**
 * Remembers the files of copied folders in the home, as the index of git does, so that unchanged ones are not read
 * again. Whatever is missing, torn, foreign or of another version counts as nothing: that only costs time.
 *
 * A file is unchanged if its device, inode, mode, size and times are those of the last time. Only the ctime cannot be
 * set by programs. A change does not show in it
 *
 * - within one tick of the clock, and until a long write ends: what changed less than three seconds ago is not remembered;
 * - if times are whole seconds, as the clock can be set back by some: such files are not remembered;
 * - if a power cut keeps the time and loses the content, or the reverse: nothing is remembered across boots;
 * - on file systems that make up times or inodes, or have other writers than this kernel: only some are used at all;
 * - if a program writes into memory that it has mapped: Snapshot.copy documents it.
 */
import * as Effect from "effect/Effect"
import * as Crypto from "node:crypto"
import { constants } from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Zlib from "node:zlib"
import type { LightboxError } from "../../LightboxError.ts"
import type { HostFile } from "./files.ts"
import { makeFolder, unlessMissing } from "./durable.ts"
import { type Cache, type Folder, type Known, stampBytes, Stamps, type Walked } from "./listing.ts"

/** Where listings are kept, and new paths on the same file system. */
export interface Place {
  readonly home: string
  /** Changes with what `encode` makes of the same files. */
  readonly encoding: string
  /** Its result is kept with the listing. */
  readonly encode: (files: ReadonlyArray<HostFile>) => Uint8Array
  readonly stage: Effect.Effect<string, LightboxError>
  /** Reads all files, and remembers them anew. */
  readonly isFresh?: boolean
}

/** Changes with the format. */
const version = 1

/** ext2 to ext4, XFS, btrfs, tmpfs and overlayfs: this kernel sets their ctime, and nobody else writes to them. */
const trusted = new Set([0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630])

/** A smaller tree is soon read again. */
const leastFiles = 64
const leastBytes = 4 * 1024 * 1024

/** Opens the cache of a tree, if its file system allows for one. Only Linux has boots and file systems that are known. */
export const open = (
  { encode, encoding, home, isFresh, stage }: Place,
  root: string,
  patterns: ReadonlyArray<string>
): Effect.Effect<Cache | undefined> =>
  Effect.gen(function* () {
    const { type } = yield* Effect.tryPromise(() => Fs.statfs(root))
    if (!trusted.has(type >>> 0)) return undefined
    const boot = yield* Effect.tryPromise(() => Fs.readFile("/proc/sys/kernel/random/boot_id", "utf8"))
    const tree = [version, encoding, root, patterns]
    const folder = folderOf(home)
    const path = Path.join(folder, Crypto.hash("sha256", JSON.stringify(tree)).slice(0, 32))
    const id = Crypto.hash("sha256", JSON.stringify([boot, ...tree]), "buffer")
    if (isFresh === true) yield* Effect.tryPromise(() => Fs.rm(path, { force: true }))
    const known = yield* Effect.orElseSucceed(
      Effect.tryPromise(() => read(path, id)),
      () => undefined
    )
    const update = (walked: Walked, encoded: Uint8Array) => {
      const { entries } = walked
      const bytes = entries.reduce((total, { size }) => total + size, 0)
      const isWorthwhile = entries.length >= leastFiles || bytes >= leastBytes
      if (!isWorthwhile || !entries.some(({ isSettled, isUnchanged }) => isSettled && !isUnchanged)) return Effect.void
      const write = Effect.flatMap(stage, (staged) =>
        Effect.tryPromise(async () => {
          await makeFolder(folder)
          await evict(home)
          try {
            // Not flushed: a torn file has another checksum.
            await Fs.writeFile(staged, bytesOf(id, walked, encoded), { mode: 0o600 })
            await Fs.rename(staged, path)
          } finally {
            await Fs.rm(staged, { force: true })
          }
        })
      )
      return Effect.ignore(write)
    }
    return { encode, known, update }
  }).pipe(Effect.orElseSucceed(() => undefined))

const folderOf = (home: string): string => Path.join(home, "lightbox", "copied")

const read = async (path: string, id: Buffer): Promise<Known | undefined> => {
  const file = await Fs.open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const { mode, mtimeMs, size, uid } = await file.stat()
    if (uid !== process.getuid?.() || (mode & 0o077) !== 0 || size > maxBytes) return undefined
    const known = decode(await file.readFile(), id)
    if (Date.now() - mtimeMs > dayMillis) await file.utimes(new Date(), new Date())
    return known
  } finally {
    await file.close()
  }
}

/** The id, a checksum, the number of entries, and the length of the names. */
const headBytes = 48
const checkedFrom = 36
const digestLength = 64

const bytesOf = (id: Buffer, { entries, folders, stamps }: Walked, encoded: Uint8Array): Buffer => {
  for (const { isSettled, position } of entries) {
    // Another file system may be one that is not trusted.
    if (!isSettled || stamps.device(position) !== stamps.device(0)) stamps.clear(position)
  }
  const names = Buffer.from(folders.map((names) => names.join("/")).join("\0"))
  const head = Buffer.alloc(headBytes)
  head.set(id)
  head.writeUInt32LE(entries.length, checkedFrom)
  head.writeUInt32LE(names.length, checkedFrom + 4)
  const digests = entries.map(({ digest }) => digest.padEnd(digestLength)).join("")
  const bytes = Buffer.concat([head, stamps.bytes(entries.length), Buffer.from(digests, "latin1"), names, encoded])
  bytes.writeUInt32LE(Zlib.crc32(bytes.subarray(checkedFrom)), checkedFrom - 4)
  return bytes
}

const decode = (bytes: Buffer, id: Buffer): Known | undefined => {
  if (bytes.length < headBytes || !bytes.subarray(0, id.length).equals(id)) return undefined
  if (bytes.readUInt32LE(checkedFrom - 4) !== Zlib.crc32(bytes.subarray(checkedFrom))) return undefined
  const count = bytes.readUInt32LE(checkedFrom)
  const digestsAt = headBytes + count * stampBytes
  const namesAt = digestsAt + count * digestLength
  const encodedAt = namesAt + bytes.readUInt32LE(checkedFrom + 4)
  const stamps = new Stamps(new BigInt64Array(Uint8Array.from(bytes.subarray(headBytes, digestsAt)).buffer))
  const groups = bytes.toString("utf8", namesAt, encodedAt).split("\0")
  const byPosition = new Map<number, Folder>()
  let first = 1
  for (let position = 0; position < count; position++) {
    if (!stamps.isFolder(position)) continue
    const group = groups[byPosition.size] ?? ""
    const names = group === "" ? [] : group.split("/")
    byPosition.set(position, { names, first })
    first += names.length
  }
  const digest = (position: number) =>
    bytes.toString("latin1", digestsAt + position * digestLength, digestsAt + (position + 1) * digestLength).trimEnd()
  const folders = function* () {
    const paths = new Map([[0, ""]])
    for (const [position, { first, names }] of byPosition) {
      const path = paths.get(position) ?? ""
      const prefix = path === "" ? "" : `${path}/`
      for (const [index, name] of names.entries()) {
        if (byPosition.has(first + index)) paths.set(first + index, prefix + name)
      }
      yield { path, names, first }
    }
  }
  const entries = () => {
    const of = (position: number, path: string) => ({
      path,
      ...stamps.modeAndSize(position),
      digest: digest(position)
    })
    const all = [of(0, "")]
    for (const { first, names, path } of folders()) {
      const prefix = path === "" ? "" : `${path}/`
      for (const [index, name] of names.entries()) all.push(of(first + index, prefix + name))
    }
    return all
  }
  return {
    stamps,
    encoded: bytes.subarray(encodedAt),
    digest,
    children: (position) => byPosition.get(position),
    folders,
    entries
  }
}

const dayMillis = 24 * 60 * 60 * 1000

/** What was not used for this long is removed. */
const maxAgeMillis = 30 * dayMillis
const maxListings = 64
const maxBytes = 256 * 1024 * 1024

/** Removes listings that were not used for long, and the oldest of too many. */
export const evict = async (home: string): Promise<void> => {
  const folder = folderOf(home)
  const found = await Promise.all(
    ((await unlessMissing(Fs.readdir(folder))) ?? []).map(async (name) => {
      const path = Path.join(folder, name)
      const stats = await unlessMissing(Fs.lstat(path))
      return { path, usedAt: stats?.mtimeMs ?? 0, size: stats?.size ?? 0 }
    })
  )
  let room = maxBytes
  for (const [position, { path, size, usedAt }] of found.toSorted((a, b) => b.usedAt - a.usedAt).entries()) {
    room -= size
    const isKept = position < maxListings - 1 && room >= 0 && Date.now() - usedAt <= maxAgeMillis
    if (!isKept) await Fs.rm(path, { recursive: true, force: true })
  }
}
