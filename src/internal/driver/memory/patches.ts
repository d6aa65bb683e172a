/** Changes to an image's files before the first boot. */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { InvalidConfig } from "../../../LightboxError.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import * as ByteString from "./kernel/byteString.ts"
import { attempt, Errno } from "./kernel/errno.ts"
import type { FileTree } from "./kernel/fileTree.ts"
import { type Kind, root } from "./kernel/vnode.ts"
import { Vfs } from "./kernel/vfs.ts"

type Patch = NonNullable<SandboxConfig["patches"]>[number]

interface Patched {
  readonly vfs: Vfs
  readonly made: Set<string>
}

export const patch = (disk: FileTree, patches: ReadonlyArray<Patch>): Effect.Effect<void, InvalidConfig> => {
  const patched: Patched = { vfs: new Vfs(disk.root), made: new Set() }
  return Effect.forEach(
    patches,
    (one) =>
      Effect.mapError(
        attempt(() => applyPatch(patched, one)),
        ({ problem }) => new InvalidConfig({ field: "patches", problem: `patch failed: ${problem}` })
      ),
    { discard: true }
  )
}

const refuse = (problem: string): never => {
  throw new Errno({ code: "EINVAL", problem })
}

/** Reads the host, which may have changed since the check. */
const ofHost = <A>(read: () => A): A => {
  try {
    return read()
  } catch (cause) {
    return refuse(cause instanceof Error ? cause.message : String(cause))
  }
}

const kindNames = {
  File: "regular file",
  Directory: "directory",
  Symlink: "symlink",
  Device: "character device",
  Fifo: "fifo"
}

/** Refuses a patch that does not fit what is at its path. */
const check = (one: Patch, kind: Kind | undefined): void => {
  if (one._tag === "Append" && kind !== "File") {
    const problem = kind === undefined ? "file not found in rootfs" : "target is not a regular file"
    refuse(`cannot append to '${one.path}': ${problem}`)
  }
  if (one._tag === "Mkdir" && kind !== undefined && kind !== "Directory") {
    refuse(`cannot create directory at '${one.path}': path exists and is not a directory (${kindNames[kind]})`)
  }
  const mayExist = one._tag === "Append" || one._tag === "Mkdir" || one._tag === "Remove" || one.replace === true
  if (kind !== undefined && !mayExist) refuse(`path exists in image layer: '${one.path}' (set replace to allow)`)
}

const applyPatch = (patched: Patched, one: Patch): void => {
  const { made, vfs } = patched
  const path = ByteString.fromText(one.path)
  const kind = kindAt(vfs, path)
  check(one, kind)
  if (one._tag === "Remove" && kind === undefined) return
  makeParents(patched, path)
  switch (one._tag) {
    case "Write":
      return writeFile(patched, path, Buffer.from(one.content), one.mode ?? 0o644)
    case "CopyFile":
      return writeFile(patched, path, contentOf(one.hostPath), one.mode ?? modeOf(one.hostPath))
    case "Append": {
      const content = Buffer.concat([vfs.read(path, root), Buffer.from(one.content)])
      // A file of the image gets the default mode.
      return writeFile(patched, path, content, made.has(path) ? vfs.stat(path, "/", root).mode : 0o644)
    }
    case "CopyFolder":
      return copyFolder(patched, one.hostPath, path)
    case "Symlink":
      return symlink(patched, ByteString.fromText(one.target), path)
    case "Mkdir":
      // A folder of the image keeps its mode.
      if (kind === undefined || made.has(path)) makeFolder(patched, path, one.mode ?? 0o755)
      return
    case "Remove":
      return clear(patched, path)
  }
}

const kindAt = (vfs: Vfs, path: string): Kind | undefined => {
  try {
    return vfs.stat(path, "/", root, false).kind
  } catch (cause) {
    if (cause instanceof Errno) return undefined
    throw cause
  }
}

/** Creates the parents of a path. The image's own get the usual owner and mode. */
const makeParents = (patched: Patched, path: string): void => {
  const names = path.split("/").filter((name) => name !== "")
  for (let count = 1; count < names.length; count++) {
    const folder = `/${names.slice(0, count).join("/")}`
    const kind = kindAt(patched.vfs, folder)
    if (kind !== undefined && kind !== "Directory") {
      refuse(`patch path parent is not a directory: '${folder}' (${kindNames[kind]})`)
    }
    if (!patched.made.has(folder)) makeFolder(patched, folder, 0o755)
  }
}

/** Everything belongs to root and dates from 1970. */
const finish = ({ made, vfs }: Patched, path: string, mode: number): void => {
  vfs.setAttributes(path, "/", root, { mode, uid: 0, gid: 0, modifiedAt: 0 }, false)
  made.add(path)
}

const makeFolder = (patched: Patched, path: string, mode: number): void => {
  patched.vfs.makeFolders(path, "/", mode, root)
  finish(patched, path, mode)
}

const symlink = (patched: Patched, target: string, path: string): void => {
  clear(patched, path)
  patched.vfs.make(path, "/", root, { _tag: "Symlink", target })
  finish(patched, path, 0o777)
}

const writeFile = (patched: Patched, path: string, content: Uint8Array, mode: number): void => {
  clear(patched, path)
  patched.vfs.write(path, root, content, mode)
  finish(patched, path, mode)
}

const clear = ({ made, vfs }: Patched, path: string): void => {
  const kind = kindAt(vfs, path)
  if (kind === "Directory") vfs.removeTree(path, "/", root)
  else if (kind !== undefined) vfs.unlink(path, "/", root)
  for (const one of made) if (one === path || one.startsWith(`${path}/`)) made.delete(one)
}

const contentOf = (hostPath: string): Uint8Array => ofHost(() => Fs.readFileSync(hostPath))

const modeOf = (hostPath: string): number => ofHost(() => Fs.statSync(hostPath)).mode & 0o7777

const copyFolder = (patched: Patched, hostPath: string, path: string): void => {
  if (kindAt(patched.vfs, path) !== "Directory") clear(patched, path)
  makeFolder(patched, path, modeOf(hostPath))
  for (const entry of ofHost(() => Fs.readdirSync(hostPath, { withFileTypes: true }))) {
    const from = Path.join(hostPath, entry.name)
    const to = `${path}/${ByteString.fromText(entry.name)}`
    if (entry.isDirectory()) copyFolder(patched, from, to)
    else if (entry.isSymbolicLink()) symlink(patched, ByteString.fromText(ofHost(() => Fs.readlinkSync(from))), to)
    else if (entry.isFile()) writeFile(patched, to, contentOf(from), modeOf(from))
    else refuse(`CopyDir source contains an unsupported file type: '${from}'`)
  }
}
