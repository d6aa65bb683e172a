/**
 * Root disks as overlays on the disk of a snapshot.
 *
 * Without reflinks, the runtime copies the whole disk of the snapshot for every sandbox. It also boots from a disk that
 * the user brings, and a QCOW2 image may have a backing file: then a launch costs the same however large the snapshot
 * is. A hard link keeps the backing file even if the snapshot is removed.
 */
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { isCode } from "../host/socket.ts"

/** One folder per sandbox, named after the token of its creation. */
export const foldersOf = (home: string): string => Path.join(home, "lightbox", "disks")

export const folderOf = (home: string, instance: string): string => Path.join(foldersOf(home), instance)

/** The file with the disk of a snapshot, or of a sandbox with a copy. */
export const diskFile = "upper.ext4"

export const baseName = "base.ext4"
export const diskName = "disk.qcow2"

/** Creates the folder for the disk of a sandbox. Returns the path of the disk, which does not exist yet. */
export const make = async (folder: string, base: string): Promise<string> => {
  await Fs.mkdir(folder, { recursive: true, mode: 0o700 })
  await Fs.link(base, Path.join(folder, baseName))
  return Path.join(folder, diskName)
}

/** Writes an empty overlay, replacing an existing one. */
export const write = async (disk: string): Promise<void> => {
  const { size } = await Fs.stat(Path.join(Path.dirname(disk), baseName))
  await Fs.writeFile(disk, overlay(baseName, size), { mode: 0o600 })
}

/** Removes the disk of a sandbox, if it has one. */
export const remove = (home: string, instance: string): Promise<void> =>
  Fs.rm(folderOf(home, instance), { recursive: true, force: true })

export const has = (home: string, instance: string): Promise<boolean> =>
  Fs.access(folderOf(home, instance)).then(
    () => true,
    (cause) => (isCode(cause, "ENOENT") ? false : Promise.reject(cause))
  )

const clusterBits = 16
export const clusterBytes = 1 << clusterBits
/** Bytes that an entry of the first table covers: a cluster of eight-byte entries, one per cluster. */
const bytesOfTable = clusterBytes * (clusterBytes / 8)

/** The largest disk that one cluster of tables covers: 4 TiB. */
export const maxBytes = bytesOfTable * (clusterBytes / 8)

/** Clusters: header, reference count table, reference counts, first table. */
const clusters = { header: 0, refcountTable: 1, refcounts: 2, l1Table: 3 } as const
const clusterCount = Object.keys(clusters).length

/** Encodes an empty QCOW2 image (version 3) of up to {@link maxBytes} with a raw backing file beside it. */
export const overlay = (backing: string, size: number): Uint8Array => {
  const name = Buffer.from(backing)
  const image = Buffer.alloc(clusterCount * clusterBytes)
  const words = (offset: number, ...values: ReadonlyArray<number>) =>
    values.forEach((value, index) => image.writeUInt32BE(value, offset + 4 * index))
  const long = (offset: number, value: number) => image.writeBigUInt64BE(BigInt(value), offset)
  const headerBytes = 104
  const format = Buffer.from("raw")
  // After the header: the backing format, the end of extensions, and the name of the backing file.
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
