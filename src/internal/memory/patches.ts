/**
 * Changes to an image's files, made before a sandbox boots from it for the first
 * time.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { InvalidConfig, LightboxError } from "../../LightboxError.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import * as ByteString from "./byteString.ts"
import { attempt, Errno } from "./errno.ts"
import type { FileTree } from "./fileTree.ts"
import { root } from "./vnode.ts"
import { Vfs } from "./vfs.ts"

type Patch = NonNullable<SandboxConfig["patches"]>[number]

/** Changes an image's files before the first boot. */
export const patch = (
  method: string,
  disk: FileTree,
  patches: ReadonlyArray<Patch>
): Effect.Effect<void, LightboxError> => {
  const vfs = new Vfs(disk.root)
  return Effect.forEach(
    patches,
    (one) =>
      Effect.mapError(
        attempt(() => applyPatch(vfs, one)),
        ({ problem }) =>
          new LightboxError({
            method,
            reason: new InvalidConfig({ field: "patches", problem: `patch failed: ${problem}` })
          })
      ),
    { discard: true }
  )
}

const applyPatch = (vfs: Vfs, one: Patch): void => {
  const path = ByteString.fromText(one.path)
  const folder = path.slice(0, path.lastIndexOf("/"))
  const isThere = exists(vfs, path)
  if (one._tag !== "Remove" && folder !== "") vfs.makeFolders(folder, "/", 0o755, root)
  if ("replace" in one || one._tag === "Symlink" || one._tag === "Write" || one._tag === "CopyFile") {
    if (isThere && one.replace !== true) refuse(one.path)
  }
  switch (one._tag) {
    case "Write":
    case "CopyFile": {
      const content =
        one._tag === "CopyFile"
          ? Fs.readFileSync(one.hostPath)
          : typeof one.content === "string"
            ? new TextEncoder().encode(one.content)
            : one.content
      writeFile(vfs, path, content, one.mode ?? 0o644)
      break
    }
    case "Append": {
      const file = vfs.open(path, "/", root, { read: false, write: false, append: true, create: true, mode: 0o644 })
      file.write(undefined, new TextEncoder().encode(one.content))
      file.close()
      break
    }
    case "CopyFolder": {
      copyFolder(vfs, one.hostPath, path)
      break
    }
    case "Symlink": {
      if (isThere) vfs.unlink(path, "/", root)
      vfs.make(path, "/", root, { _tag: "Symlink", target: ByteString.fromText(one.target) })
      break
    }
    case "Mkdir": {
      vfs.makeFolders(path, "/", one.mode ?? 0o755, root)
      vfs.setAttributes(path, "/", root, { mode: one.mode ?? 0o755 })
      break
    }
    case "Remove": {
      if (!isThere) break
      if (vfs.stat(path, "/", root, false).kind === "Directory") vfs.removeTree(path, "/", root)
      else vfs.unlink(path, "/", root)
      break
    }
  }
}

const refuse = (path: string): never => {
  throw new Errno({ code: "EEXIST", problem: `path exists in image layer: '${path}' (set replace to allow)` })
}

const exists = (vfs: Vfs, path: string): boolean => {
  try {
    vfs.stat(path, "/", root, false)
    return true
  } catch (cause) {
    if (cause instanceof Errno) return false
    throw cause
  }
}

const writeFile = (vfs: Vfs, path: string, content: Uint8Array, mode: number): void => {
  const file = vfs.open(path, "/", root, { read: false, write: true, create: true, truncate: true, mode })
  file.write(0, content)
  file.setAttributes({ mode })
  file.close()
}

const copyFolder = (vfs: Vfs, hostPath: string, path: string): void => {
  vfs.makeFolders(path, "/", 0o755, root)
  for (const entry of Fs.readdirSync(hostPath, { withFileTypes: true })) {
    const from = Path.join(hostPath, entry.name)
    const to = `${path}/${ByteString.fromText(entry.name)}`
    if (entry.isDirectory()) copyFolder(vfs, from, to)
    else if (entry.isSymbolicLink()) {
      vfs.make(to, "/", root, { _tag: "Symlink", target: ByteString.fromText(Fs.readlinkSync(from)) })
    } else writeFile(vfs, to, Fs.readFileSync(from), Fs.statSync(from).mode & 0o7777)
  }
}
