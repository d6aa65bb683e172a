/** The interface of all file systems. */
import type { Fifo } from "./description.ts"
import { errno } from "./errno.ts"

export interface Actor {
  readonly pid: number
  readonly uid: number
  readonly gid: number
  readonly groups: ReadonlyArray<number>
}

/** The guest's kernel and agent. */
export const root: Actor = { pid: 1, uid: 0, gid: 0, groups: [] }

export type Kind = "File" | "Directory" | "Symlink" | "Device" | "Fifo"

/** Times are in milliseconds since 1970. */
export interface Stat {
  readonly kind: Kind
  readonly inode: number
  readonly size: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly modifiedAt: number
  readonly accessedAt: number
  readonly links: number
}

export interface Attributes {
  readonly mode?: number | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  readonly modifiedAt?: number | undefined
  readonly accessedAt?: number | undefined
}

export type Entry =
  | { readonly _tag: "File"; readonly mode: number }
  | { readonly _tag: "Directory"; readonly mode: number }
  | { readonly _tag: "Fifo"; readonly mode: number }
  | { readonly _tag: "Symlink"; readonly target: string }

/** What the mount table shows of a file system. */
export interface VolumeInfo {
  readonly source: string
  readonly type: string
  readonly options: string
}

export interface Volume {
  readonly info: VolumeInfo
  readonly isReadonly: boolean
  /** Bytes. */
  readonly usage: () => { readonly total: number; readonly used: number }
  /** Writes everything to the disk, if there is one. */
  readonly sync?: () => void
}

/** An open file, which outlives its name. */
export interface OpenFile {
  /** Returns fewer bytes at the end. */
  readonly read: (offset: number, length: number) => Uint8Array
  /** Writes as much as fits before it throws. An `undefined` offset appends. */
  readonly write: (offset: number | undefined, bytes: Uint8Array) => void
  readonly stat: () => Stat
  readonly setAttributes: (attributes: Attributes) => void
  readonly truncate: (size: number) => void
  readonly close: () => void
}

/** A file, folder or symbolic link. Callers have looked up names and checked permissions. */
export abstract class Vnode {
  abstract readonly volume: Volume
  abstract stat(): Stat

  abstract lookup(name: string, actor: Actor): Vnode | undefined
  abstract list(): ReadonlyArray<string>
  abstract readLink(actor: Actor): string
  abstract open(actor: Actor, isWritten: boolean): OpenFile
  abstract make(name: string, entry: Entry, actor: Actor): Vnode

  get fifo(): Fifo | undefined {
    return undefined
  }
  /** The file is on the same volume. */
  link(_name: string, _file: Vnode): void {
    throw errno("EPERM")
  }
  /** Removes a file, a link or an empty folder. */
  remove(_name: string): void {
    throw errno("EPERM")
  }
  /** Both folders are on the same volume; the target is replaced. */
  rename(_name: string, _folder: Vnode, _newName: string): void {
    throw errno("EPERM")
  }
  setAttributes(_attributes: Attributes): void {
    throw errno("EPERM")
  }
}

/** Opens a node that overrides only some operations. */
export const openWith = (node: Vnode, overrides: Partial<OpenFile>): OpenFile => ({
  read: () => {
    throw errno("EISDIR")
  },
  write: () => {
    throw errno("EBADF")
  },
  stat: () => node.stat(),
  setAttributes: (attributes) => node.setAttributes(attributes),
  truncate: () => {
    throw errno("EISDIR")
  },
  close: () => {},
  ...overrides
})
