/**
 * Remembers the files of copied folders in the home, as the index of git does, so that unchanged ones are not read
 * again. Whatever is missing, torn, foreign or of another version counts as nothing: that only costs time.
 *
 * A file is unchanged if its device, inode, mode, size and times are those of the last time. Its content could still
 * have changed within one tick of the file system's clock. What had just been changed when it was read is therefore not
 * remembered.
 */
import * as Effect from "effect/Effect"
import * as Crypto from "node:crypto"
import { constants, type BigIntStats } from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Zlib from "node:zlib"
import type { LightboxError } from "../../LightboxError.ts"
import { makeFolder, unlessMissing } from "./durable.ts"

/** Where listings are kept, and new paths on the same file system. */
export interface Place {
  readonly home: string
  readonly stage: Effect.Effect<string, LightboxError>
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
  set(position: number, { ctimeNs, dev, ino, mode, mtimeNs, size }: BigIntStats): void {
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
    const now = BigInt(nowMillis) * 1_000_000n
    return isPast(this.values[position * fields + 4], now) && isPast(this.values[position * fields + 5], now)
  }
  /** Makes a position differ from all files. */
  clear(position: number): void {
    this.values[position * fields + 5] = never
  }
  isOf(position: number, { ctimeNs, dev, ino, mode, mtimeNs, size }: BigIntStats): boolean {
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
  device(position: number): bigint | undefined {
    return this.values[position * fields]
  }
  /** Checks whether it is still the same file, if not unchanged. */
  isSameFile(position: number, { ino, size }: BigIntStats): boolean {
    const at = position * fields
    return this.values[at + 1] === BigInt.asIntN(64, ino) && this.values[at + 3] === size
  }
  isFolder(position: number): boolean {
    return (Number(this.values[position * fields + 2]) & constants.S_IFMT) === constants.S_IFDIR
  }
  bytes(count: number): Uint8Array {
    return new Uint8Array(this.values.buffer, this.values.byteOffset, count * stampBytes)
  }
}

const second = 1_000_000_000n

/** Some file systems round times to one or two seconds. The clock of others is a few milliseconds behind. */
const isPast = (time: bigint | undefined, now: bigint): boolean =>
  time !== undefined && time + (time % second === 0n ? 3n * second : second / 10n) < now

const fields = 6
const stampBytes = fields * 8

/** No file has changed at this time. */
const never = -(2n ** 62n)

/** The last listing. */
export interface Known {
  readonly stamps: Stamps
  readonly digest: (position: number) => string
  /** The names in a folder, and the position of the first. */
  readonly children: (position: number) => { readonly names: ReadonlyArray<string>; readonly first: number } | undefined
}

export interface Cache {
  readonly known: Known | undefined
  readonly update: (walked: Walked) => Effect.Effect<void>
}

/** Changes with the format. */
const version = 1

/** NFS, SMB, 9P, FUSE, AFS, Ceph: the kernel may not know yet that a file has changed. */
const remote = new Set([0x6969, 0x517b, 0xfe534d42, 0xff534d42, 0x01021997, 0x65735546, 0x5346414f, 0x00c36400])

/** Fewer files are soon read again. */
const leastFiles = 64
const leastBytes = 4 * 1024 * 1024

/** Opens the cache of a tree, if its file system allows for one. */
export const open = (
  { home, stage }: Place,
  root: string,
  patterns: ReadonlyArray<string>
): Effect.Effect<Cache | undefined> =>
  Effect.gen(function* () {
    const { type } = yield* Effect.tryPromise(() => Fs.statfs(root))
    if (remote.has(type >>> 0)) return undefined
    const id = Crypto.hash("sha256", JSON.stringify([version, root, patterns]), "buffer")
    const folder = folderOf(home)
    const path = Path.join(folder, id.toString("hex", 0, 16))
    const known = yield* Effect.orElseSucceed(
      Effect.tryPromise(() => read(path, id)),
      () => undefined
    )
    const update = (walked: Walked) => {
      const fresh = walked.entries.filter((entry) => entry.isSettled && !entry.isUnchanged)
      const bytes = fresh.reduce((total, { size }) => total + size, 0)
      if (fresh.length < leastFiles && bytes < leastBytes) return Effect.void
      const write = Effect.flatMap(stage, (staged) =>
        Effect.tryPromise(async () => {
          await makeFolder(folder)
          await evict(home)
          try {
            // Not flushed: a torn file has another checksum.
            await Fs.writeFile(staged, encode(id, walked), { mode: 0o600 })
            await Fs.rename(staged, path)
          } finally {
            await Fs.rm(staged, { force: true })
          }
        })
      )
      return Effect.ignore(write)
    }
    return { known, update }
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

/** The id, a checksum, and the number of entries. */
const headBytes = 40
const digestLength = 64

const encode = (id: Buffer, { entries, folders, stamps }: Walked): Buffer => {
  for (const [position, { isSettled }] of entries.entries()) {
    // Another file system may be a remote one.
    if (!isSettled || stamps.device(position) !== stamps.device(0)) stamps.clear(position)
  }
  const head = Buffer.alloc(headBytes)
  head.set(id)
  head.writeUInt32LE(entries.length, 36)
  const bytes = Buffer.concat([
    head,
    stamps.bytes(entries.length),
    Buffer.from(entries.map(({ digest }) => digest.padEnd(digestLength)).join(""), "latin1"),
    Buffer.from(folders.map((names) => names.join("/")).join("\0"))
  ])
  bytes.writeUInt32LE(Zlib.crc32(bytes.subarray(36)), 32)
  return bytes
}

const decode = (bytes: Buffer, id: Buffer): Known | undefined => {
  if (bytes.length < headBytes || !bytes.subarray(0, 32).equals(id)) return undefined
  if (bytes.readUInt32LE(32) !== Zlib.crc32(bytes.subarray(36))) return undefined
  const count = bytes.readUInt32LE(36)
  const digestsAt = headBytes + count * stampBytes
  const namesAt = digestsAt + count * digestLength
  const stamps = new Stamps(new BigInt64Array(Uint8Array.from(bytes.subarray(headBytes, digestsAt)).buffer))
  const digests = bytes.toString("latin1", digestsAt, namesAt)
  const groups = bytes.toString("utf8", namesAt).split("\0")
  const folders = new Map<number, { readonly names: ReadonlyArray<string>; readonly first: number }>()
  let first = 1
  for (let position = 0; position < count; position++) {
    if (!stamps.isFolder(position)) continue
    const group = groups[folders.size] ?? ""
    const names = group === "" ? [] : group.split("/")
    folders.set(position, { names, first })
    first += names.length
  }
  return {
    stamps,
    digest: (position) => digests.slice(position * digestLength, (position + 1) * digestLength),
    children: (position) => folders.get(position)
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
