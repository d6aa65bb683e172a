/** Bind mounts and directory volumes: a folder of the host. Owners and modes that the guest sets stay in the guest. */
import * as Fs from "node:fs"
import { errno, Errno, fromHost } from "./errno.ts"
import {
  type Actor,
  type Attributes,
  type Entry,
  type Kind,
  type OpenFile,
  type Stat,
  Vnode,
  type Volume,
  type VolumeInfo
} from "./vnode.ts"

/** Owners and modes that guests set, by the host file's identity. */
export type GuestAttributes = Map<string, { mode?: number; uid?: number; gid?: number }>

export interface HostFolderOptions extends VolumeInfo {
  readonly path: string
  readonly isReadonly: boolean
  /** The default owner. */
  readonly owner: { readonly uid: number; readonly gid: number }
  /** The guest's modes are set on the host, too. */
  readonly mirrorsModes: boolean
  readonly limit: number | undefined
  readonly attributes: GuestAttributes
}

const onHost = <A>(run: () => A): A => {
  try {
    return run()
  } catch (cause) {
    throw cause instanceof Errno ? cause : fromHost(cause)
  }
}

const kindOf = (stats: Fs.Stats): Kind =>
  stats.isFile() ? "File" : stats.isDirectory() ? "Directory" : stats.isSymbolicLink() ? "Symlink" : "Device"

const guestFileMode = 0o600
const guestFolderMode = 0o700

export class HostFolder implements Volume {
  readonly info: HostFolderOptions
  readonly isReadonly: boolean

  constructor(options: HostFolderOptions) {
    this.info = options
    this.isReadonly = options.isReadonly
  }

  get root(): Vnode {
    return new HostNode(this, "")
  }

  usage(): { readonly total: number; readonly used: number } {
    return onHost(() => {
      if (this.info.limit !== undefined) return { total: this.info.limit, used: sizeOf(this.info.path) }
      const { bfree, blocks, bsize } = Fs.statfsSync(this.info.path)
      return { total: blocks * bsize, used: (blocks - bfree) * bsize }
    })
  }

  /** The host's path for a byte string. */
  at(path: string): Buffer {
    return Buffer.concat([Buffer.from(this.info.path), Buffer.from(path === "" ? "" : `/${path}`, "latin1")])
  }

  /** The free bytes. */
  room(): number {
    const { limit, path } = this.info
    return limit === undefined ? Number.POSITIVE_INFINITY : Math.max(0, limit - sizeOf(path))
  }
}

export const sizeOf = (folder: string | Buffer): number => {
  let size = 0
  for (const entry of Fs.readdirSync(folder, { withFileTypes: true, encoding: "buffer" })) {
    const path = Buffer.concat([Buffer.from(folder), Buffer.from("/"), entry.name])
    if (entry.isDirectory()) size += sizeOf(path)
    else if (entry.isFile()) size += Fs.lstatSync(path, { throwIfNoEntry: false })?.size ?? 0
  }
  return size
}

class HostNode extends Vnode {
  readonly volume: HostFolder
  private readonly path: string
  private readonly identity: string

  constructor(folder: HostFolder, path: string) {
    super()
    this.volume = folder
    this.path = path
    this.identity = identityOf(onHost(() => Fs.lstatSync(folder.at(path))))
  }

  stat(): Stat {
    return this.describe(onHost(() => Fs.lstatSync(this.volume.at(this.path))))
  }

  private describe(stats: Fs.Stats): Stat {
    const { attributes, mirrorsModes, owner } = this.volume.info
    const recorded = attributes.get(identityOf(stats))
    return {
      kind: kindOf(stats),
      inode: stats.ino,
      size: stats.size,
      mode: (mirrorsModes ? undefined : recorded?.mode) ?? stats.mode & 0o7777,
      uid: recorded?.uid ?? owner.uid,
      gid: recorded?.gid ?? owner.gid,
      modifiedAt: stats.mtimeMs,
      accessedAt: stats.atimeMs,
      links: stats.nlink
    }
  }

  private child(name: string): string {
    return this.path === "" ? name : `${this.path}/${name}`
  }

  lookup(name: string): Vnode | undefined {
    const path = this.child(name)
    const stats = onHost(() => Fs.lstatSync(this.volume.at(path), { throwIfNoEntry: false }))
    return stats === undefined ? undefined : new HostNode(this.volume, path)
  }

  list(): ReadonlyArray<string> {
    return onHost(() =>
      Fs.readdirSync(this.volume.at(this.path), { encoding: "buffer" }).map((name) => name.toString("latin1"))
    )
  }

  readLink(): string {
    return onHost(() => Fs.readlinkSync(this.volume.at(this.path), { encoding: "buffer" }).toString("latin1"))
  }

  make(name: string, entry: Entry, actor: Actor): Vnode {
    const path = this.child(name)
    const at = this.volume.at(path)
    const { attributes, mirrorsModes } = this.volume.info
    onHost(() => {
      switch (entry._tag) {
        case "File":
          return Fs.closeSync(Fs.openSync(at, "wx", mirrorsModes ? entry.mode : guestFileMode))
        case "Directory":
          return Fs.mkdirSync(at, { mode: mirrorsModes ? entry.mode : guestFolderMode })
        case "Fifo":
          throw errno("EPERM")
        case "Symlink":
          return Fs.symlinkSync(Buffer.from(entry.target, "latin1"), at)
      }
    })
    const node = new HostNode(this.volume, path)
    attributes.set(node.identity, {
      uid: actor.uid,
      gid: actor.gid,
      ...(entry._tag === "Symlink" ? {} : { mode: entry.mode & 0o7777 })
    })
    return node
  }

  override link(name: string, file: Vnode): void {
    if (!(file instanceof HostNode)) throw errno("EXDEV")
    onHost(() => Fs.linkSync(this.volume.at(file.path), this.volume.at(this.child(name))))
  }

  override remove(name: string): void {
    const at = this.volume.at(this.child(name))
    onHost(() => (Fs.lstatSync(at).isDirectory() ? Fs.rmdirSync(at) : Fs.unlinkSync(at)))
  }

  override rename(name: string, folder: Vnode, newName: string): void {
    if (!(folder instanceof HostNode)) throw errno("EXDEV")
    onHost(() => Fs.renameSync(this.volume.at(this.child(name)), this.volume.at(folder.child(newName))))
  }

  override setAttributes({ accessedAt, gid, mode, modifiedAt, uid }: Attributes): void {
    const { attributes, mirrorsModes } = this.volume.info
    const at = this.volume.at(this.path)
    onHost(() => {
      if (mode !== undefined && mirrorsModes) Fs.chmodSync(at, mode)
      if (modifiedAt !== undefined || accessedAt !== undefined) {
        const stats = Fs.lstatSync(at)
        Fs.lutimesSync(at, (accessedAt ?? stats.atimeMs) / 1000, (modifiedAt ?? stats.mtimeMs) / 1000)
      }
    })
    attributes.set(this.identity, {
      ...attributes.get(this.identity),
      ...(mode === undefined ? {} : { mode: mode & 0o7777 }),
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid })
    })
  }

  open(_actor: Actor, isWritten: boolean): OpenFile {
    const at = this.volume.at(this.path)
    const flags = Fs.constants.O_NOFOLLOW | (isWritten ? Fs.constants.O_RDWR : Fs.constants.O_RDONLY)
    const fd = onHost(() => Fs.openSync(at, flags))
    return {
      read: (offset, length) =>
        onHost(() => {
          const bytes = Buffer.alloc(Math.max(0, Math.min(length, Fs.fstatSync(fd).size - offset)))
          return bytes.subarray(0, bytes.length === 0 ? 0 : Fs.readSync(fd, bytes, 0, bytes.length, offset))
        }),
      write: (position, bytes) =>
        onHost(() => {
          const { size } = Fs.fstatSync(fd)
          const offset = position ?? size
          const possible = Math.max(0, Math.min(bytes.length, size + this.volume.room() - offset))
          for (let written = 0; written < possible;) {
            written += Fs.writeSync(fd, bytes, written, possible - written, offset + written)
          }
          if (possible < bytes.length) throw errno("ENOSPC")
        }),
      stat: () => this.describe(onHost(() => Fs.fstatSync(fd))),
      setAttributes: (attributes) => this.setAttributes(attributes),
      truncate: (size) =>
        onHost(() => {
          if (size - Fs.fstatSync(fd).size > this.volume.room()) throw errno("ENOSPC")
          Fs.ftruncateSync(fd, size)
        }),
      close: () => onHost(() => Fs.closeSync(fd))
    }
  }
}

/** Inode numbers are reused; the birth time distinguishes the files. */
const identityOf = (stats: Fs.Stats): string => `${stats.dev}:${stats.ino}:${stats.birthtimeMs}`
