/** The guest's tree of names, over the mounted file systems. Paths and names are byte strings. */
import type { Fifo } from "./description.ts"
import { errno } from "./errno.ts"
import {
  type Actor,
  type Attributes,
  type Entry,
  type OpenFile,
  openWith,
  type Stat,
  type Vnode,
  type Volume
} from "./vnode.ts"

export interface Place {
  /** Without symbolic links. */
  readonly path: string
  readonly node: Vnode
}

/** A name that may not exist yet. */
interface Target {
  readonly folder: Place
  readonly name: string
  readonly path: string
  readonly node: Vnode | undefined
}

export interface OpenFlags {
  readonly read: boolean
  readonly write: boolean
  readonly append?: boolean
  readonly create?: boolean
  readonly exclusive?: boolean
  readonly truncate?: boolean
  readonly noFollow?: boolean
  readonly mode?: number
}

interface Mount {
  readonly path: string
  readonly volume: Volume
  readonly root: Vnode
}

const longestName = 255
const longestPath = 4096
const mostLinks = 40

const permissions = { read: 4, write: 2, search: 1 } as const

export const mayAccess = (actor: Actor, stat: Stat, wanted: number): boolean => {
  if (actor.uid === 0) return wanted !== permissions.search || stat.kind === "Directory" || (stat.mode & 0o111) !== 0
  const shift = actor.uid === stat.uid ? 6 : actor.gid === stat.gid || actor.groups.includes(stat.gid) ? 3 : 0
  return ((stat.mode >> shift) & wanted) === wanted
}

const join = (folder: string, name: string): string => (folder === "/" ? `/${name}` : `${folder}/${name}`)

const parentOf = (path: string): string => path.slice(0, Math.max(1, path.lastIndexOf("/")))

export class Vfs {
  private readonly mounts = new Map<string, Mount>()

  constructor(root: Vnode) {
    this.mounts.set("/", { path: "/", volume: root.volume, root })
  }

  /** Mounts a file system, creating its folder if necessary. */
  mount(path: string, root: Vnode, actor: Actor): void {
    this.makeFolders(path, "/", 0o755, actor)
    const at = this.resolve(path, "/", actor).path
    this.mounts.set(at, { path: at, volume: root.volume, root })
  }

  /** Mounts something over an existing file or folder. */
  bind(path: string, root: Vnode, cwd: string, actor: Actor): void {
    const at = this.resolve(path, cwd, actor).path
    this.mounts.set(at, { path: at, volume: root.volume, root })
  }

  unmount(path: string, cwd: string, actor: Actor): void {
    const at = this.resolve(path, cwd, actor).path
    if (at === "/" || !this.mounts.delete(at)) throw errno("EINVAL")
  }

  mounted(): ReadonlyArray<Mount> {
    return [...this.mounts.values()]
  }

  volumeOf(path: string): Mount | undefined {
    for (let at = path; ; at = parentOf(at)) {
      const mount = this.mounts.get(at)
      if (mount !== undefined || at === "/") return mount
    }
  }

  /** Resolves an existing path. Throws `Errno`. */
  resolve(path: string, cwd: string, actor: Actor, isFollowed = true): Place {
    const target = this.walk(path, cwd, actor, isFollowed)
    if (target.node === undefined) throw errno("ENOENT")
    return { path: target.path, node: target.node }
  }

  private walk(path: string, cwd: string, actor: Actor, isFollowed: boolean, count = { links: 0 }): Target {
    if (path === "") throw errno("ENOENT")
    if (path.length >= longestPath) throw errno("ENAMETOOLONG")
    const names = path.split("/").filter((name) => name !== "" && name !== ".")
    const mustBeFolder = path.endsWith("/") || path.endsWith("/.")
    let at = path.startsWith("/") ? "/" : cwd
    let node = this.nodeAt(at, actor)
    for (const [index, name] of names.entries()) {
      const isLast = index === names.length - 1
      const stat = node.stat()
      if (stat.kind !== "Directory") throw errno("ENOTDIR")
      if (!mayAccess(actor, stat, permissions.search)) throw errno("EACCES")
      if (name === "..") {
        at = parentOf(at)
        node = this.nodeAt(at, actor)
        continue
      }
      if (name.length > longestName) throw errno("ENAMETOOLONG")
      const childPath = join(at, name)
      const child = this.mounts.get(childPath)?.root ?? node.lookup(name, actor)
      if (child === undefined) {
        if (!isLast) throw errno("ENOENT")
        return { folder: { path: at, node }, name, path: childPath, node: undefined }
      }
      if (child.stat().kind === "Symlink" && (!isLast || isFollowed || mustBeFolder)) {
        if (++count.links > mostLinks) throw errno("ELOOP")
        const rest = [child.readLink(actor), ...names.slice(index + 1)].join("/")
        return this.walk(mustBeFolder ? `${rest}/` : rest, at, actor, isFollowed, count)
      }
      if (isLast) {
        if (mustBeFolder && child.stat().kind !== "Directory") throw errno("ENOTDIR")
        return { folder: { path: at, node }, name, path: childPath, node: child }
      }
      at = childPath
      node = child
    }
    return { folder: { path: parentOf(at), node: this.nodeAt(parentOf(at), actor) }, name: "", path: at, node }
  }

  /** Finds the node of a path without symbolic links. */
  private nodeAt(path: string, actor: Actor): Vnode {
    const mount = this.volumeOf(path)
    if (mount === undefined) throw errno("ENOENT")
    let node = mount.root
    const rest = path.slice(mount.path === "/" ? 1 : mount.path.length + 1)
    for (const name of rest === "" ? [] : rest.split("/")) {
      const child = node.lookup(name, actor)
      if (child === undefined) throw errno("ENOENT")
      node = child
    }
    return node
  }

  /** Resolves a name for a change; the roots of mounts cannot be changed. */
  private writable(path: string, cwd: string, actor: Actor): Target {
    const target = this.walk(path, cwd, actor, false)
    if (target.name === "") throw errno("EBUSY")
    return target
  }

  private checkFolder({ node }: Place, actor: Actor): void {
    if (node.volume.isReadonly) throw errno("EROFS")
    if (!mayAccess(actor, node.stat(), permissions.write | permissions.search)) throw errno("EACCES")
  }

  /** Resolves a file to remove or rename. In a folder with the sticky bit, that takes its owner. */
  private removable(path: string, cwd: string, actor: Actor): Target & { readonly node: Vnode } {
    const { folder, name, node, path: at } = this.writable(path, cwd, actor)
    if (node === undefined) throw errno("ENOENT")
    this.checkFolder(folder, actor)
    const stat = folder.node.stat()
    const isOwner = [0, stat.uid, node.stat().uid].includes(actor.uid)
    if ((stat.mode & 0o1000) !== 0 && !isOwner) throw errno("EPERM")
    return { folder, name, node, path: at }
  }

  private isBusy(path: string): boolean {
    return [...this.mounts.keys()].some((mount) => mount === path || mount.startsWith(`${path}/`))
  }

  stat(path: string, cwd: string, actor: Actor, isFollowed = true): Stat {
    return this.resolve(path, cwd, actor, isFollowed).node.stat()
  }

  list(path: string, cwd: string, actor: Actor): ReadonlyArray<string> {
    const { node } = this.resolve(path, cwd, actor)
    const stat = node.stat()
    if (stat.kind !== "Directory") throw errno("ENOTDIR")
    if (!mayAccess(actor, stat, permissions.read)) throw errno("EACCES")
    return node.list()
  }

  readLink(path: string, cwd: string, actor: Actor): string {
    return this.resolve(path, cwd, actor, false).node.readLink(actor)
  }

  open(path: string, cwd: string, actor: Actor, flags: OpenFlags): OpenFile & { readonly path: string } {
    const target = this.walk(path, cwd, actor, flags.noFollow !== true && flags.exclusive !== true)
    const isWritten = flags.write || flags.append === true
    if (target.node === undefined) {
      if (flags.create !== true) throw errno("ENOENT")
      this.checkFolder(target.folder, actor)
      const made = target.folder.node.make(target.name, { _tag: "File", mode: flags.mode ?? 0o666 }, actor)
      return { ...made.open(actor, isWritten), path: target.path }
    }
    if (flags.create === true && flags.exclusive === true) throw errno("EEXIST")
    const stat = target.node.stat()
    if (stat.kind === "Symlink") throw errno("ELOOP")
    if (stat.kind === "Directory" && (isWritten || flags.create === true)) throw errno("EISDIR")
    const wanted = (flags.read ? permissions.read : 0) | (isWritten ? permissions.write : 0)
    if (!mayAccess(actor, stat, wanted)) throw errno("EACCES")
    if (isWritten && target.node.volume.isReadonly && stat.kind !== "Device") throw errno("EROFS")
    if (stat.kind === "Directory") return { ...openWith(target.node, {}), path: target.path }
    const file = target.node.open(actor, isWritten)
    if (flags.truncate === true && isWritten) file.truncate(0)
    return { ...file, path: target.path }
  }

  /** Finds a named pipe that the actor may open. */
  fifo(path: string, cwd: string, actor: Actor, { read, write }: OpenFlags): Fifo | undefined {
    const { node } = this.walk(path, cwd, actor, true)
    const wanted = (read ? permissions.read : 0) | (write ? permissions.write : 0)
    if (node?.fifo !== undefined && !mayAccess(actor, node.stat(), wanted)) throw errno("EACCES")
    return node?.fifo
  }

  read(path: string, actor: Actor): Uint8Array {
    const file = this.open(path, "/", actor, { read: true, write: false })
    const bytes = file.read(0, file.stat().size)
    file.close()
    return bytes
  }

  /** Replaces the content of a file, creating it if necessary. */
  write(path: string, actor: Actor, bytes: Uint8Array, mode: number): void {
    const file = this.open(path, "/", actor, { read: false, write: true, create: true, truncate: true, mode })
    try {
      file.write(0, bytes)
    } finally {
      file.close()
    }
  }

  make(path: string, cwd: string, actor: Actor, entry: Entry): void {
    if (entry._tag === "Symlink" && entry.target.length >= longestPath) throw errno("ENAMETOOLONG")
    const target = this.walk(entry._tag === "Directory" ? path.replace(/(.)\/+$/, "$1") : path, cwd, actor, false)
    if (target.node !== undefined) throw errno("EEXIST")
    this.checkFolder(target.folder, actor)
    target.folder.node.make(target.name, entry, actor)
  }

  /** Creates a folder and its missing parents. */
  makeFolders(path: string, cwd: string, mode: number, actor: Actor): void {
    let at = path.startsWith("/") ? "/" : cwd
    const names = path.split("/").filter((name) => name !== "")
    for (const [index, name] of names.entries()) {
      at = join(at, name)
      const found = this.walk(at, "/", actor, true)
      const isLast = index === names.length - 1
      if (found.node === undefined) this.make(at, "/", actor, { _tag: "Directory", mode: isLast ? mode : 0o755 })
      else if (found.node.stat().kind !== "Directory") throw errno(isLast ? "EEXIST" : "ENOTDIR")
    }
  }

  link(from: string, to: string, cwd: string, actor: Actor): void {
    const source = this.resolve(from, cwd, actor, false)
    if (source.node.stat().kind === "Directory") throw errno("EPERM")
    const target = this.writable(to, cwd, actor)
    if (target.node !== undefined) throw errno("EEXIST")
    if (source.node.volume !== target.folder.node.volume) throw errno("EXDEV")
    this.checkFolder(target.folder, actor)
    target.folder.node.link(target.name, source.node)
  }

  unlink(path: string, cwd: string, actor: Actor): void {
    this.removeEntry(path, cwd, actor, false)
  }

  removeDirectory(path: string, cwd: string, actor: Actor): void {
    this.removeEntry(path.replace(/(.)\/+$/, "$1"), cwd, actor, true)
  }

  private removeEntry(path: string, cwd: string, actor: Actor, isFolder: boolean): void {
    const { folder, name, node, path: at } = this.removable(path, cwd, actor)
    if ((node.stat().kind === "Directory") !== isFolder) throw errno(isFolder ? "ENOTDIR" : "EISDIR")
    if (this.isBusy(at)) throw errno("EBUSY")
    folder.node.remove(name)
  }

  /** Removes a folder recursively. Fails with EBUSY at mounts. */
  removeTree(path: string, cwd: string, actor: Actor): void {
    const { node, path: at } = this.resolve(path, cwd, actor, false)
    if (node.stat().kind !== "Directory") throw errno("ENOTDIR")
    for (const name of node.list()) {
      const child = join(at, name)
      if (this.stat(child, "/", actor, false).kind === "Directory") this.removeTree(child, "/", actor)
      else this.unlink(child, "/", actor)
    }
    this.removeDirectory(at, "/", actor)
  }

  rename(from: string, to: string, cwd: string, actor: Actor): void {
    const source = this.removable(from, cwd, actor)
    const target = this.writable(to, cwd, actor)
    if (this.isBusy(source.path) || (target.node !== undefined && this.isBusy(target.path))) throw errno("EBUSY")
    if (source.folder.node.volume !== target.folder.node.volume) throw errno("EXDEV")
    if (target.path.startsWith(`${source.path}/`)) throw errno("EINVAL")
    if (target.node === undefined) this.checkFolder(target.folder, actor)
    else this.removable(to, cwd, actor)
    source.folder.node.rename(source.name, target.folder.node, target.name)
  }

  setAttributes(path: string, cwd: string, actor: Actor, attributes: Attributes, isFollowed = true): void {
    const { node } = this.resolve(path, cwd, actor, isFollowed)
    if (node.volume.isReadonly) throw errno("EROFS")
    const stat = node.stat()
    const isOwner = actor.uid === 0 || actor.uid === stat.uid
    const changesOwner = attributes.uid !== undefined && attributes.uid !== stat.uid
    const changesGroup =
      attributes.gid !== undefined && attributes.gid !== actor.gid && !actor.groups.includes(attributes.gid)
    if (!isOwner || (actor.uid !== 0 && (changesOwner || changesGroup))) throw errno("EPERM")
    node.setAttributes(attributes)
  }
}
