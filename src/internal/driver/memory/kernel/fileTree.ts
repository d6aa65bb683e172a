/**
 * A file system in memory, with an immutable lower part (the image) and an upper part.
 *
 * Inodes that an image, a snapshot or the last synced state share are copied before they change. A killed
 * machine falls back to the last synced state.
 */
import * as Cbor from "cborg"
import * as Schema from "effect/Schema"
import { Fifo } from "./description.ts"
import * as Device from "./device.ts"
import { errno } from "./errno.ts"
import {
  type Actor,
  type Attributes,
  type Entry,
  type OpenFile,
  type Stat,
  Vnode,
  type Volume,
  type VolumeInfo
} from "./vnode.ts"

interface Content {
  /** Shared while older than the tree's epoch. */
  readonly epoch: number
  bytes: Uint8Array
  size: number
}

interface InodeFields {
  readonly epoch: number
  mode: number
  uid: number
  gid: number
  modifiedAt: number
  accessedAt: number
  links: number
}

interface FileInode extends InodeFields {
  readonly _tag: "File"
  content: Content
}

interface DirectoryInode extends InodeFields {
  readonly _tag: "Directory"
  readonly entries: Map<string, number>
}

interface SymlinkInode extends InodeFields {
  readonly _tag: "Symlink"
  readonly target: string
}

interface DeviceInode extends InodeFields {
  readonly _tag: "Device"
  readonly device: Device.Name
}

interface FifoInode extends InodeFields {
  readonly _tag: "Fifo"
  readonly fifo: Fifo
}

type Inode = FileInode | DirectoryInode | SymlinkInode | DeviceInode | FifoInode

/** The immutable part of a tree. */
export type Lower = ReadonlyMap<number, Inode>

const blockBytes = 4096

const directoryBytes = 4096

const rootId = 1

const sizeOf = (inode: Inode): number => {
  switch (inode._tag) {
    case "File":
      return inode.content.size
    case "Directory":
      return directoryBytes
    case "Symlink":
      return inode.target.length
    case "Device":
    case "Fifo":
      return 0
  }
}

const occupied = (size: number): number => Math.ceil(size / blockBytes) * blockBytes

/** Removed content stays on the disk up to this size. */
const residueLimit = 64 * 1024 * 1024

const StoredInode = Schema.Struct({
  id: Schema.Int,
  mode: Schema.Int,
  uid: Schema.Int,
  gid: Schema.Int,
  modifiedAt: Schema.Finite,
  accessedAt: Schema.Finite,
  links: Schema.Int,
  bytes: Schema.optionalKey(Schema.Uint8Array),
  entries: Schema.optionalKey(Schema.Record(Schema.String, Schema.Int)),
  target: Schema.optionalKey(Schema.String)
})

const StoredTree = Schema.Struct({
  nextId: Schema.Int,
  inodes: Schema.Array(StoredInode),
  residue: Schema.Array(Schema.Uint8Array)
})

const decodeStored = Schema.decodeUnknownSync(StoredTree)

export interface TreeOptions extends VolumeInfo {
  /** Bytes. */
  readonly limit: number
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Removed content can still be found on the raw disk. */
  readonly isDisk: boolean
  readonly lower?: Lower | undefined
  /** Of the machine. Default: a new one. */
  readonly random?: Device.Random | undefined
}

export class FileTree implements Volume {
  readonly info: TreeOptions
  readonly isReadonly = false
  limit: number

  readonly random: Device.Random
  private readonly lower: Lower
  private upper = new Map<number, Inode>()
  private durable: { readonly upper: ReadonlyMap<number, Inode>; readonly nextId: number }
  private nextId: number
  private epoch = 1
  private used = 0
  private residue: Array<Uint8Array> = []
  private residueBytes = 0
  private readonly openCounts = new Map<number, number>()

  constructor(options: TreeOptions) {
    this.info = options
    this.limit = options.limit
    this.lower = options.lower ?? new Map()
    this.random = options.random ?? new Device.Random()
    this.nextId = Math.max(rootId, ...this.lower.keys()) + 1
    if (!this.lower.has(rootId)) {
      this.upper.set(rootId, { ...this.freshFields(0o755, 0, 0), _tag: "Directory", links: 2, entries: new Map() })
    }
    this.durable = { upper: new Map(this.upper), nextId: this.nextId }
    this.recount()
  }

  private freshFields(mode: number, uid: number, gid: number): InodeFields {
    const now = this.now()
    return { epoch: this.epoch, mode, uid, gid, modifiedAt: now, accessedAt: now, links: 1 }
  }

  private now(): number {
    return this.info.now()
  }

  get root(): Vnode {
    return new TreeNode(this, rootId)
  }

  usage(): { readonly total: number; readonly used: number } {
    return { total: this.limit, used: this.used }
  }

  sync(): void {
    this.durable = { upper: new Map(this.upper), nextId: this.nextId }
    this.epoch++
  }

  /** Drops what was not written to the disk, as a power loss does. */
  revert(): void {
    this.upper = new Map(this.durable.upper)
    this.nextId = this.durable.nextId
    this.epoch++
    this.recount()
  }

  /** Encodes the disk, without the image below it. */
  encode(): Uint8Array {
    const inodes: Array<typeof StoredInode.Type> = []
    for (const [id, inode] of this.durable.upper) {
      const { accessedAt, gid, links, mode, modifiedAt, uid } = inode
      const fields = { id, mode, uid, gid, modifiedAt, accessedAt, links }
      if (inode._tag === "File") {
        inodes.push({ ...fields, bytes: inode.content.bytes.slice(0, inode.content.size) })
      } else if (inode._tag === "Directory") {
        inodes.push({ ...fields, entries: Object.fromEntries(inode.entries) })
      } else if (inode._tag === "Symlink") {
        inodes.push({ ...fields, target: inode.target })
      } else if (inode._tag === "Fifo") inodes.push(fields)
    }
    return Cbor.encode({ nextId: this.durable.nextId, inodes, residue: this.residue })
  }

  /** Restores an encoded disk. Throws if the bytes are something else. */
  decode(stored: Uint8Array): void {
    const { inodes, nextId, residue } = decodeStored(Cbor.decode(stored))
    this.upper = new Map(
      inodes.map(({ bytes, entries, id, target, ...rest }): [number, Inode] => {
        const fields = { ...rest, epoch: 0 }
        if (target !== undefined) return [id, { ...fields, _tag: "Symlink", target }]
        if (entries !== undefined)
          return [id, { ...fields, _tag: "Directory", entries: new Map(Object.entries(entries)) }]
        if (bytes === undefined) return [id, { ...fields, _tag: "Fifo", fifo: new Fifo() }]
        return [id, { ...fields, _tag: "File", content: { epoch: 0, bytes, size: bytes.length } }]
      })
    )
    this.nextId = nextId
    this.residue = [...residue]
    this.residueBytes = residue.reduce((sum, bytes) => sum + bytes.length, 0)
    this.durable = { upper: new Map(this.upper), nextId }
    this.recount()
  }

  /** Returns the content as the lower part of other trees. */
  freeze(): Lower {
    return new Map([...this.lower, ...this.upper])
  }

  inode(id: number): Inode {
    const inode = this.upper.get(id) ?? this.lower.get(id)
    if (inode === undefined) throw errno("ENOENT")
    return inode
  }

  directory(id: number): DirectoryInode {
    const inode = this.inode(id)
    if (inode._tag !== "Directory") throw errno("ENOTDIR")
    return inode
  }

  /** Returns an inode that is not shared, copying it if necessary. */
  writable(id: number): Inode {
    const inode = this.inode(id)
    if (inode.epoch === this.epoch && this.upper.has(id)) return inode
    const copy: Inode =
      inode._tag === "Directory"
        ? { ...inode, epoch: this.epoch, entries: new Map(inode.entries) }
        : { ...inode, epoch: this.epoch }
    if (!this.upper.has(id)) this.charge(this.sizeOnDisk(inode))
    this.upper.set(id, copy)
    return copy
  }

  file(id: number): FileInode {
    const inode = this.inode(id)
    if (inode._tag !== "File") throw errno(inode._tag === "Directory" ? "EISDIR" : "EINVAL")
    return inode
  }

  private ownFile(id: number): FileInode {
    this.writable(id)
    const inode = this.file(id)
    if (inode.content.epoch !== this.epoch) {
      inode.content = {
        epoch: this.epoch,
        bytes: inode.content.bytes.slice(0, inode.content.size),
        size: inode.content.size
      }
    }
    return inode
  }

  add(
    parent: number,
    name: string,
    entry: Entry | { readonly _tag: "Device"; readonly device: Device.Name },
    actor: Actor
  ): number {
    const folder = this.directory(parent)
    this.charge(entry._tag === "Directory" ? directoryBytes : 0)
    const id = this.nextId++
    // A set-group-ID folder passes its group on.
    const inherited = folder.mode & 0o2000
    const gid = inherited === 0 ? actor.gid : folder.gid
    const { epoch } = this
    const fresh = (mode: number) => this.freshFields(mode & 0o7777, actor.uid, gid)
    const inode = ((): Inode => {
      switch (entry._tag) {
        case "File":
          return { ...fresh(entry.mode), _tag: "File", content: { epoch, bytes: new Uint8Array(), size: 0 } }
        case "Directory":
          return { ...fresh(entry.mode | inherited), _tag: "Directory", links: 2, entries: new Map() }
        case "Symlink":
          return { ...fresh(0o777), ...entry }
        case "Device":
          return { ...fresh(0o666), ...entry }
        case "Fifo":
          return { ...fresh(entry.mode), _tag: "Fifo", fifo: new Fifo() }
      }
    })()
    this.upper.set(id, inode)
    this.setEntry(parent, name, id)
    return id
  }

  setEntry(parent: number, name: string, id: number | undefined): void {
    const folder = this.writable(parent)
    if (folder._tag !== "Directory") throw errno("ENOTDIR")
    if (id === undefined) folder.entries.delete(name)
    else folder.entries.set(name, id)
    folder.modifiedAt = this.now()
  }

  /** Drops a link. The last one removes the inode, unless it is open. */
  dropLink(id: number): void {
    const inode = this.writable(id)
    inode.links = inode._tag === "Directory" ? 0 : inode.links - 1
    if (inode.links === 0 && !this.openCounts.has(id)) this.discard(id)
  }

  private discard(id: number): void {
    const inode = this.upper.get(id)
    if (inode === undefined) return
    if (inode._tag === "File") this.leaveResidue(inode.content.bytes.subarray(0, inode.content.size))
    this.used -= this.sizeOnDisk(inode)
    this.upper.delete(id)
  }

  private leaveResidue(bytes: Uint8Array): void {
    if (!this.info.isDisk || bytes.length === 0) return
    this.residue.push(bytes.slice())
    this.residueBytes += bytes.length
    while (this.residueBytes > residueLimit) this.residueBytes -= this.residue.shift()?.length ?? 0
  }

  private sizeOnDisk(inode: Inode): number {
    return inode._tag === "Symlink" ? 0 : occupied(sizeOf(inode))
  }

  private charge(bytes: number): void {
    if (bytes > 0 && this.used + bytes > this.limit) throw errno("ENOSPC")
    this.used += bytes
  }

  private recount(): void {
    this.used = 0
    for (const inode of this.upper.values()) this.used += this.sizeOnDisk(inode)
  }

  opened(id: number): void {
    this.openCounts.set(id, (this.openCounts.get(id) ?? 0) + 1)
  }

  closed(id: number): void {
    const count = (this.openCounts.get(id) ?? 1) - 1
    if (count > 0) {
      this.openCounts.set(id, count)
      return
    }
    this.openCounts.delete(id)
    if (this.upper.get(id)?.links === 0) this.discard(id)
  }

  read(id: number, offset: number, length: number): Uint8Array {
    const { content } = this.file(id)
    return content.bytes.slice(Math.min(offset, content.size), Math.min(offset + length, content.size))
  }

  write(id: number, position: number | undefined, bytes: Uint8Array): void {
    const inode = this.ownFile(id)
    const { content } = inode
    const offset = position ?? content.size
    const end = Math.max(content.size, offset + bytes.length)
    const room = this.limit - this.used + occupied(content.size)
    const possible = Math.max(0, Math.min(bytes.length, room - offset))
    if (possible > 0) {
      this.resize(inode, Math.min(end, Math.max(content.size, offset + possible)))
      content.bytes.set(bytes.subarray(0, possible), offset)
      inode.modifiedAt = this.now()
    }
    if (possible < bytes.length) throw errno("ENOSPC")
  }

  truncate(id: number, size: number): void {
    const inode = this.ownFile(id)
    if (size < inode.content.size) this.leaveResidue(inode.content.bytes.subarray(size, inode.content.size))
    this.resize(inode, size)
    inode.modifiedAt = this.now()
  }

  private resize({ content }: FileInode, size: number): void {
    this.charge(occupied(size) - occupied(content.size))
    if (size > content.bytes.length) {
      const grown = new Uint8Array(Math.max(size, Math.min(2 * content.bytes.length, size + 16 * 1024 * 1024)))
      grown.set(content.bytes.subarray(0, content.size))
      content.bytes = grown
    } else if (size < content.size) content.bytes.fill(0, size, content.size)
    content.size = size
  }
}

class TreeNode extends Vnode {
  readonly volume: FileTree
  readonly id: number

  constructor(tree: FileTree, id: number) {
    super()
    this.volume = tree
    this.id = id
  }

  stat(): Stat {
    const inode = this.volume.inode(this.id)
    const { accessedAt, gid, links, mode, modifiedAt, uid } = inode
    return { kind: inode._tag, inode: this.id, size: sizeOf(inode), mode, uid, gid, modifiedAt, accessedAt, links }
  }

  override get fifo(): Fifo | undefined {
    const inode = this.volume.inode(this.id)
    return inode._tag === "Fifo" ? inode.fifo : undefined
  }

  private child(name: string): number {
    const id = this.volume.directory(this.id).entries.get(name)
    if (id === undefined) throw errno("ENOENT")
    return id
  }

  lookup(name: string): Vnode | undefined {
    const id = this.volume.directory(this.id).entries.get(name)
    return id === undefined ? undefined : new TreeNode(this.volume, id)
  }

  list(): ReadonlyArray<string> {
    return [...this.volume.directory(this.id).entries.keys()]
  }

  readLink(): string {
    const inode = this.volume.inode(this.id)
    if (inode._tag !== "Symlink") throw errno("EINVAL")
    return inode.target
  }

  make(name: string, entry: Entry, actor: Actor): Vnode {
    return new TreeNode(this.volume, this.volume.add(this.id, name, entry, actor))
  }

  override link(name: string, file: Vnode): void {
    if (!(file instanceof TreeNode)) throw errno("EXDEV")
    this.volume.writable(file.id).links++
    this.volume.setEntry(this.id, name, file.id)
  }

  override remove(name: string): void {
    const id = this.child(name)
    const inode = this.volume.inode(id)
    if (inode._tag === "Directory" && inode.entries.size > 0) throw errno("ENOTEMPTY")
    this.volume.setEntry(this.id, name, undefined)
    this.volume.dropLink(id)
  }

  override rename(name: string, folder: Vnode, newName: string): void {
    if (!(folder instanceof TreeNode)) throw errno("EXDEV")
    const tree = this.volume
    const id = this.child(name)
    const replaced = tree.directory(folder.id).entries.get(newName)
    if (replaced === id) return
    if (replaced !== undefined) {
      const isFolder = tree.inode(id)._tag === "Directory"
      const other = tree.inode(replaced)
      if (isFolder && other._tag !== "Directory") throw errno("ENOTDIR")
      if (!isFolder && other._tag === "Directory") throw errno("EISDIR")
      if (other._tag === "Directory" && other.entries.size > 0) throw errno("ENOTEMPTY")
    }
    tree.setEntry(this.id, name, undefined)
    tree.setEntry(folder.id, newName, id)
    if (replaced !== undefined) tree.dropLink(replaced)
  }

  override setAttributes(attributes: Attributes): void {
    const inode = this.volume.writable(this.id)
    const { gid = inode.gid, uid = inode.uid } = attributes
    // A new owner clears the set-ID bits, as in Linux.
    const isGiven = attributes.uid !== undefined || attributes.gid !== undefined
    if (isGiven && inode._tag === "File") inode.mode &= (inode.mode & 0o010) === 0 ? ~0o4000 : ~0o6000
    inode.uid = uid
    inode.gid = gid
    if (attributes.mode !== undefined) inode.mode = attributes.mode & 0o7777
    if (attributes.modifiedAt !== undefined) inode.modifiedAt = attributes.modifiedAt
    if (attributes.accessedAt !== undefined) inode.accessedAt = attributes.accessedAt
  }

  open(): OpenFile {
    const { id, volume: tree } = this
    const inode = tree.inode(id)
    if (inode._tag === "Device") return Device.open(inode.device, () => this.stat(), tree.random)
    if (inode._tag === "Symlink") throw errno("ELOOP")
    if (inode._tag === "Fifo") throw errno("EINVAL")
    tree.opened(id)
    return {
      read: (offset, length) => tree.read(id, offset, length),
      write: (offset, bytes) => tree.write(id, offset, bytes),
      stat: () => this.stat(),
      setAttributes: (attributes) => this.setAttributes(attributes),
      truncate: (size) => tree.truncate(id, size),
      close: () => tree.closed(id)
    }
  }
}
