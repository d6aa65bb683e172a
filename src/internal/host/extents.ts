/**
 * Finds the holes of sparse files. Node.js cannot ask for them, but GNU tar can, and begins an archive with the answer:
 * reading 4 GiB of holes would take seconds, and fill the cache of the kernel with zeros.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { Readable } from "node:stream"

/** A part of a file, from its first byte to the one after its last. */
export interface Extent {
  readonly from: number
  readonly to: number
}

/** With less to skip, reading all of it is as fast. */
const leastHoles = 64 * 1024 * 1024

/** More parts are a sign that this is not understood. */
const maxExtents = 1_000_000

const blockBytes = 512

/** Reads a stream in pieces of a given length. */
const pieces = (stream: Readable): ((length: number) => Promise<Buffer>) => {
  const chunks: AsyncIterator<Buffer> = stream[Symbol.asyncIterator]()
  let rest: Buffer = Buffer.alloc(0)
  return async (length) => {
    while (rest.length < length) {
      const next = await chunks.next()
      if (next.done === true) throw new Error("the archive ends too soon")
      rest = Buffer.concat([rest, next.value])
    }
    const piece = rest.subarray(0, length)
    rest = rest.subarray(length)
    return piece
  }
}

const padded = (length: number): number => Math.ceil(length / blockBytes) * blockBytes

/** Reads the parts that have data from the beginning of an archive (format `posix`, sparse files of version 1.0). */
const readMap = async (stream: Readable, size: number): Promise<ReadonlyArray<Extent> | undefined> => {
  const take = pieces(stream)
  const lengthIn = (header: Buffer) => Number.parseInt(header.toString("latin1", 124, 135), 8)
  const extended = await take(blockBytes)
  if (extended.toString("latin1", 156, 157) !== "x") return undefined
  const text = (await take(padded(lengthIn(extended)))).toString("latin1")
  const isSparse = ["major=1", "minor=0", `realsize=${size}`].every((field) => text.includes(` GNU.sparse.${field}\n`))
  const header = await take(blockBytes)
  if (!isSparse || header.toString("latin1", 156, 157) !== "0") return undefined
  // A number of parts, and position and length of each, one per line.
  let map = ""
  let lines = 0
  const numbers = async (count: number): Promise<ReadonlyArray<number>> => {
    while (lines < count) {
      const block = (await take(blockBytes)).toString("latin1")
      lines += block.split("\n").length - 1
      map += block
    }
    return map.split("\n", count).map(Number)
  }
  const [count = Number.NaN] = await numbers(1)
  if (!(count <= maxExtents)) return undefined
  const [, ...all] = await numbers(1 + 2 * count)
  const extents: Array<Extent> = []
  for (let index = 0; index < count; index++) {
    const from = all[2 * index] ?? Number.NaN
    const length = all[2 * index + 1] ?? Number.NaN
    const isNext = from >= (extents.at(-1)?.to ?? 0) && length >= 0 && from + length <= size
    if (!isNext) return undefined
    extents.push({ from, to: from + length })
  }
  return extents
}

/** Lists the parts of a file that may have data. Where the holes cannot be found, that is all of it. */
export const list = async (path: string, signal: AbortSignal): Promise<ReadonlyArray<Extent>> => {
  const { blocks, size } = await Fs.stat(path)
  const whole = [{ from: 0, to: size }]
  if (size - blocks * blockBytes < leastHoles) return whole
  const args = ["--create", "--sparse", "--format=posix", "--file=-", "--directory", Path.dirname(path)]
  const child = ChildProcess.spawn("tar", [...args, "--", `./${Path.basename(path)}`], {
    stdio: ["ignore", "pipe", "ignore"],
    signal
  })
  // A program that is not there, or that was ended here.
  child.on("error", () => child.stdout.destroy())
  try {
    return (await readMap(child.stdout, size)) ?? whole
  } catch {
    return whole
  } finally {
    child.stdout.destroy()
    child.kill("SIGKILL")
  }
}
