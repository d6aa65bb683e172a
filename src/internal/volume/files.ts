/**
 * The files of a volume on the host.
 *
 * A guest may put links into its mounted volume at any time, even during an operation: no link is followed, at any
 * depth.
 */
import * as Effect from "effect/Effect"
import { constants } from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { InvalidConfig, LightboxError } from "../../LightboxError.ts"
import type { Files } from "../../Volume.ts"
import { fileFailure, ifMissing } from "../host/fileFailure.ts"
import * as Folders from "../host/folders.ts"
import { maxBytesOf, tooLarge } from "../guest/files.ts"
import { hasControl } from "../config/schemas.ts"

const { O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_TRUNC, O_WRONLY } = constants

/** Splits a path of a volume into names. */
const namesOf = (method: string, path: string): Effect.Effect<ReadonlyArray<string>, LightboxError> => {
  const names = typeof path === "string" ? path.split("/").filter((name) => name !== "" && name !== ".") : [".."]
  return names.includes("..") || hasControl(path)
    ? Effect.fail(
        new LightboxError({
          method,
          reason: new InvalidConfig({ field: "path", problem: 'expected a path without ".." or control characters' })
        })
      )
    : Effect.succeed(names)
}

const opened = async <A>(path: string, flags: number, use: (file: Fs.FileHandle) => Promise<A>): Promise<A> => {
  // Do not block on a pipe without a writer.
  const file = await Fs.open(path, flags | O_NOFOLLOW | O_NONBLOCK, 0o644)
  try {
    if (!(await file.stat()).isFile()) throw Object.assign(new Error("not a file"), { code: "EINVAL" })
    return await use(file)
  } finally {
    await file.close()
  }
}

/** The operations on the files below a folder. */
export const make = (method: string, root: string): Files => {
  const at = <A>(
    operation: string,
    path: string,
    use: (folder: string, name: string) => Promise<A>,
    options = { make: false }
  ): Effect.Effect<A, LightboxError> =>
    Effect.flatMap(namesOf(method, path), (names) =>
      Effect.tryPromise({
        try: () => Folders.use(root, names.slice(0, -1), (folder) => use(folder, names.at(-1) ?? "."), options),
        catch: fileFailure(method, operation, path)
      })
    )
  const readFile: Files["readFile"] = (path, options) =>
    Effect.flatMap(maxBytesOf(method, options), (maxBytes) =>
      at("read", path, (folder, name) =>
        opened(Path.join(folder, name), O_RDONLY, async (file) => {
          const { size } = await file.stat()
          if (size > maxBytes) throw Object.assign(new Error(tooLarge(maxBytes)), { code: "EFBIG" })
          return await file.readFile()
        })
      )
    )
  const writeFile: Files["writeFile"] = (path, data) =>
    at(
      "write",
      path,
      (folder, name) => opened(Path.join(folder, name), O_WRONLY | O_CREAT | O_TRUNC, (file) => file.writeFile(data)),
      { make: true }
    )
  return {
    readFile,
    readFileString: (path, options) => Effect.map(readFile(path, options), (bytes) => new TextDecoder().decode(bytes)),
    writeFile,
    writeFileString: (path, text) => writeFile(path, new TextEncoder().encode(text)),
    readDirectory: (path) =>
      Effect.flatMap(namesOf(method, path), (names) =>
        Effect.tryPromise({
          try: () => Folders.use(root, names, async (folder) => (await Fs.readdir(folder)).toSorted()),
          catch: fileFailure(method, "readDirectory", path)
        })
      ),
    exists: (path) =>
      Effect.as(
        at("stat", path, (folder, name) => Fs.lstat(Path.join(folder, name))),
        true
      ).pipe(ifMissing(false, ["ENOENT", "ENOTDIR"])),
    remove: (path) =>
      at("remove", path, async (folder, name) => {
        const target = Path.join(folder, name)
        await ((await Fs.lstat(target)).isDirectory() ? Fs.rmdir(target) : Fs.unlink(target))
      }).pipe(ifMissing(undefined))
  }
}

/** Bytes that a file or folder uses on the disk. */
export const sizeOf = (method: string, path: string): Effect.Effect<number, LightboxError> => {
  // A guest may remove a file meanwhile.
  const size = async (path: string): Promise<number> => {
    const stats = await Fs.lstat(path, { bigint: false }).catch(() => undefined)
    if (stats === undefined) return 0
    let bytes = stats.blocks * blockBytes
    if (stats.isDirectory()) {
      for (const name of await Fs.readdir(path).catch(() => [])) bytes += await size(Path.join(path, name))
    }
    return bytes
  }
  return Effect.tryPromise({ try: () => size(path), catch: fileFailure(method, "stat", path) })
}

const blockBytes = 512
