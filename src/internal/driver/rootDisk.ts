/**
 * Root disks that hold only what a sandbox changes, above the disk of the snapshot that it was launched from.
 *
 * Where a file system can not share what is the same in two files, the runtime copies all that was baked in for every
 * sandbox. It also boots from a disk that the user brings, and a QCOW2 image may lie above another file: then a launch
 * costs the same whatever was baked in. A hard link keeps what is below as long as the sandbox is there, even if the
 * snapshot is removed.
 */
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { isCode } from "../host/socket.ts"

/** What sandboxes have of their own, by the token of their creation. */
export const foldersOf = (home: string): string => Path.join(home, "lightbox", "disks")

export const folderOf = (home: string, instance: string): string => Path.join(foldersOf(home), instance)

const baseName = "base.ext4"
const diskName = "disk.qcow2"

/** Makes a folder for the disk of a sandbox, and tells the path of the disk, which is yet to be written. */
export const make = async (folder: string, base: string): Promise<string> => {
  await Fs.mkdir(folder, { recursive: true, mode: 0o700 })
  await Fs.link(base, Path.join(folder, baseName))
  return Path.join(folder, diskName)
}

/** Writes a disk that looks like what is below it, in place of what is there. */
export const write = async (disk: string): Promise<void> => {
  const { size } = await Fs.stat(Path.join(Path.dirname(disk), baseName))
  await Fs.writeFile(disk, overlay(baseName, size), { mode: 0o600 })
}

/** Removes the disk of a sandbox, if it has one. */
export const remove = (home: string, instance: string): Promise<void> =>
  Fs.rm(folderOf(home, instance), { recursive: true, force: true })

/** Whether a sandbox has a disk of this kind. */
export const has = (home: string, instance: string): Promise<boolean> =>
  Fs.access(folderOf(home, instance)).then(
    () => true,
    (cause) => (isCode(cause, "ENOENT") ? false : Promise.reject(cause))
  )

const clusterBits = 16
const clusterBytes = 1 << clusterBits
/** What an entry of the first table leads to: a cluster of entries of eight bytes, each for one cluster. */
const bytesOfTable = clusterBytes * (clusterBytes / 8)

/** The largest disk that one cluster of tables can say everything of: 4 TiB. */
export const maxBytes = bytesOfTable * (clusterBytes / 8)

/** By cluster: the header, the table of the tables of counts, the counts, and the first table of what is where. */
const clusters = { header: 0, refcountTable: 1, refcounts: 2, l1Table: 3 } as const
const clusterCount = Object.keys(clusters).length

/** An empty image (QCOW2, version 3) of up to {@link maxBytes}, above a raw file beside it. */
export const overlay = (backing: string, size: number): Uint8Array => {
  const name = Buffer.from(backing)
  const image = Buffer.alloc(clusterCount * clusterBytes)
  const words = (offset: number, ...values: ReadonlyArray<number>) =>
    values.forEach((value, index) => image.writeUInt32BE(value, offset + 4 * index))
  const long = (offset: number, value: number) => image.writeBigUInt64BE(BigInt(value), offset)
  const headerBytes = 104
  const format = Buffer.from("raw")
  // After the header: what format the file below has, the end of such extensions, and the name of the file.
  const nameAt = headerBytes + 8 + 8 + 8
  words(0, 0x514649fb, 3)
  long(8, nameAt)
  words(16, name.length, clusterBits)
  long(24, size)
  words(32, 0, Math.ceil(size / bytesOfTable))
  long(40, clusters.l1Table * clusterBytes)
  long(48, clusters.refcountTable * clusterBytes)
  words(56, 1)
  const refcountOrder = 4
  words(96, refcountOrder, headerBytes)
  words(headerBytes, 0xe2792aca, format.length)
  format.copy(image, headerBytes + 8)
  name.copy(image, nameAt)
  long(clusters.refcountTable * clusterBytes, clusters.refcounts * clusterBytes)
  for (let cluster = 0; cluster < clusterCount; cluster++) {
    image.writeUInt16BE(1, clusters.refcounts * clusterBytes + 2 * cluster)
  }
  return image
}
