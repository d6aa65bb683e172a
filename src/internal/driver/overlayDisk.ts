/**
 * Reads root disks: files, and overlays on the disk of a snapshot.
 *
 * A virtual machine wrote the overlay: its header, its tables and its offsets are checked, and only what this library's
 * own overlays can contain is accepted. Memory is bounded whatever the tables say.
 */
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { baseName, clusterBytes, diskName, maxBytes } from "./rootDisk.ts"
import { readAt, writeAt } from "../host/positions.ts"

/** A part of a disk. The bytes are valid until the next part is read. */
interface Part {
  readonly position: number
  readonly bytes: Buffer
}

export type Parts = AsyncIterable<Part>

const partBytes = 64 * clusterBytes

/** Reads a file. */
export async function* ofFile(path: string): Parts {
  const file = await Fs.open(path)
  try {
    const { size } = await file.stat()
    const buffer = Buffer.alloc(Math.min(partBytes, size))
    for (let position = 0; position < size; position += partBytes) {
      const bytes = buffer.subarray(0, size - position)
      await readAt(file, bytes, position)
      yield { position, bytes }
    }
  } finally {
    await file.close()
  }
}

const wrong = (problem: string): Error => new Error(`the overlay is damaged: ${problem}`)

/** Bits of an entry that are not part of its offset: whether a cluster is shared, compressed or all zeros. */
const offsetMask = 0x00ff_ffff_ffff_fe00n
const notShared = 1n << 63n
const isZero = 1n

/** The offset that an entry of a table contains. 0: none. */
const offsetOf = (entry: bigint, fileBytes: number): number => {
  if ((entry & ~(offsetMask | notShared)) !== 0n) throw wrong("an entry has unknown flags")
  const offset = Number(entry & offsetMask)
  if (offset % clusterBytes !== 0 || offset >= fileBytes) throw wrong("an entry points outside of the file")
  return offset
}

interface Layer {
  readonly size: number
  /** Puts its clusters over those of what is below it. */
  readonly apply: (position: number, bytes: Buffer) => Promise<void>
}

/** Opens an overlay for a disk of a size, or one of the runtime, which may have grown the disk. */
const opened = async (disk: Fs.FileHandle, baseSize: number | undefined): Promise<Layer> => {
  const { size: fileBytes } = await disk.stat()
  const header = Buffer.alloc(104)
  await readAt(disk, header, 0)
  const size = baseSize ?? Math.min(Number(header.readBigUInt64BE(24)), maxBytes)
  const first = Number(header.readBigUInt64BE(40))
  const tables = Math.ceil(size / clusterBytes / (clusterBytes / 8))
  const isOurs =
    header.readUInt32BE(0) === 0x514649fb &&
    header.readUInt32BE(4) === 3 &&
    2 ** header.readUInt32BE(20) === clusterBytes &&
    header.readBigUInt64BE(24) === BigInt(size) &&
    // No encryption, no snapshots, no features except that the file was not closed.
    header.readUInt32BE(32) === 0 &&
    header.readUInt32BE(60) === 0 &&
    header.readBigUInt64BE(72) <= 1n &&
    // The runtime makes room for the largest disk.
    (baseSize === undefined ? header.readUInt32BE(36) >= tables : header.readUInt32BE(36) === tables) &&
    first % clusterBytes === 0 &&
    first < fileBytes
  if (!isOurs) throw wrong("its header is not that of an overlay on this base")
  const l1 = Buffer.alloc(8 * tables)
  await readAt(disk, l1, first)
  const l2 = Buffer.alloc(clusterBytes)
  let table: number | undefined
  const apply = async (position: number, bytes: Buffer): Promise<void> => {
    const cluster = position / clusterBytes
    const index = Math.floor(cluster / (clusterBytes / 8))
    if (index >= tables) return
    const at = offsetOf(l1.readBigUInt64BE(8 * index), fileBytes)
    if (at === 0) return
    if (at !== table) await readAt(disk, l2, at)
    table = at
    for (let offset = 0; offset < bytes.length; offset += clusterBytes) {
      const entry = l2.readBigUInt64BE(8 * ((cluster + offset / clusterBytes) % (clusterBytes / 8)))
      const to = bytes.subarray(offset, offset + clusterBytes)
      const from = offsetOf(entry & ~isZero, fileBytes)
      if ((entry & isZero) !== 0n) to.fill(0)
      else if (from !== 0) await readAt(disk, to, from)
    }
  }
  return { size, apply }
}

/** Reads the overlay in a folder made by `RootDisk.make`. */
export const ofOverlay = (folder: string): Parts =>
  layered([Path.join(folder, baseName), Path.join(folder, diskName)], false)

/** Reads a disk in layers of the runtime: a file, and overlays, each on all that come before it. */
export const ofLayers = (paths: readonly [string, ...ReadonlyArray<string>]): Parts => layered(paths, true)

async function* layered([base, ...overlays]: readonly [string, ...ReadonlyArray<string>], isOfRuntime: boolean): Parts {
  const files = [await Fs.open(base)]
  try {
    for (const path of overlays) files.push(await Fs.open(path))
    const [lowest, ...others] = files
    if (lowest === undefined) return
    const { size: baseSize } = await lowest.stat()
    const layers: Array<Layer> = []
    for (const file of others) layers.push(await opened(file, isOfRuntime ? undefined : baseSize))
    const size = layers.at(-1)?.size ?? baseSize
    const buffer = Buffer.alloc(Math.min(partBytes, size))
    for (let position = 0; position < size; position += partBytes) {
      const bytes = buffer.subarray(0, size - position)
      await readAt(lowest, bytes, position)
      for (const { apply } of layers) await apply(position, bytes)
      yield { position, bytes }
    }
  } finally {
    for (const file of files) await file.close()
  }
}

/**
 * Searches a disk for byte strings, including those that span two parts. Stops between two parts if aborted.
 *
 * All are looked for in one pass (Wu and Manber): the two bytes where a beginning could end tell how far the next place
 * is where one can.
 */
export const search = async (
  parts: Parts,
  needles: ReadonlyArray<Uint8Array>,
  signal?: AbortSignal
): Promise<ReadonlyArray<boolean>> => {
  const found = needles.map((needle) => needle.length === 0)
  const wanted = needles.flatMap((needle, index) => (needle.length > 0 ? [{ index, needle: Buffer.from(needle) }] : []))
  /** The length of all beginnings. */
  const length = wanted.reduce((least, { needle }) => Math.min(least, needle.length), 32)
  const overlap = wanted.reduce((most, { needle }) => Math.max(most, needle.length), 1) - 1
  const pairAt = (bytes: Buffer, end: number) => ((length > 1 ? (bytes[end - 1] ?? 0) : 0) << 8) | (bytes[end] ?? 0)
  const steps = new Uint8Array(1 << 16).fill(Math.max(1, length - 1))
  const byBeginning = new Map<string, typeof wanted>()
  for (const entry of wanted) {
    const { needle } = entry
    const beginning = needle.toString("latin1", 0, length)
    byBeginning.set(beginning, [...(byBeginning.get(beginning) ?? []), entry])
    for (let end = Math.min(1, length - 1); end < length; end++) {
      const pair = pairAt(needle, end)
      steps[pair] = Math.min(steps[pair] ?? 0, length - 1 - end)
    }
  }
  let last: Buffer = Buffer.alloc(0)
  for await (const { bytes } of parts) {
    signal?.throwIfAborted()
    if (wanted.length === 0) break
    const window = Buffer.concat([last, bytes])
    for (let end = length - 1; end < window.length;) {
      const step = steps[pairAt(window, end)] ?? 1
      if (step > 0) {
        end += step
        continue
      }
      const start = end - length + 1
      for (const { index, needle } of byBeginning.get(window.toString("latin1", start, end + 1)) ?? []) {
        found[index] ||= window.subarray(start, start + needle.length).equals(needle)
      }
      end++
    }
    last = window.subarray(window.length - Math.min(overlap, window.length))
  }
  return found
}

const zeros = Buffer.alloc(clusterBytes)

/** Writes a disk to a new file that occupies no space for zeros, and flushes it. Stops between two parts if aborted. */
export const write = async (parts: Parts, path: string, signal: AbortSignal): Promise<void> => {
  const file = await Fs.open(path, "wx", 0o600)
  try {
    let size = 0
    for await (const { bytes, position } of parts) {
      signal.throwIfAborted()
      for (let offset = 0; offset < bytes.length; offset += clusterBytes) {
        const block = bytes.subarray(offset, offset + clusterBytes)
        if (!block.equals(zeros.subarray(0, block.length))) await writeAt(file, block, position + offset)
      }
      size = position + bytes.length
    }
    await file.truncate(size)
    await file.sync()
  } finally {
    await file.close()
  }
}
