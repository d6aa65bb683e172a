/** Packs files of the host for copies into a guest, and unpacks what comes from one. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import * as TarFiles from "modern-tar/fs"
import { isUtf8 } from "node:buffer"
import * as Crypto from "node:crypto"
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import { fileFailure } from "./fileFailure.ts"
import * as Folders from "./folders.ts"

/** The identity of a file: everything that a copy preserves, without the time of the last change. */
export interface HostFile {
  /** Relative to the copied path, with slashes; empty for a single file. */
  readonly path: string
  readonly kind: "file" | "folder" | "link"
  readonly mode: number
  readonly size: number
  /** Of the content, or of the link's target. */
  readonly digest: string
}

export const failure = (method: string, path: string) => fileFailure(method, "copy", path)

export const refusal = (problem: string): Error => Object.assign(new Error(problem), { code: "EINVAL" })

export const onlyFiles = "only files, folders and symbolic links can be copied"

export const nameOf = (bytes: Buffer): string => {
  if (isUtf8(bytes)) return bytes.toString()
  const shown = bytes.toString("latin1").replace(/[^ -~]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16)}`)
  throw refusal(`the name ${shown} is not UTF-8`)
}

const linkTarget = async (path: string): Promise<string> => nameOf(await Fs.readlink(path, "buffer"))

/** The names that lead to a folder of the listing. */
export const namesOf = (path: string): ReadonlyArray<string> => (path === "" || path === "." ? [] : path.split("/"))

/** A folder of the listing that a link or a file has replaced. */
export const ifReplaced =
  (path: string) =>
  (cause: unknown): never => {
    throw Predicate.hasProperty(cause, "code") && (cause.code === "ENOTDIR" || cause.code === "ELOOP")
      ? changed(path)
      : cause
  }

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = FsSync.constants

/** Opens a file, but not a link or pipe that took its place since the listing. Only the copied path may be a link. */
export const open = async (
  path: string,
  isTop: boolean,
  shown = path
): Promise<readonly [file: Fs.FileHandle, stats: FsSync.Stats]> => {
  const file = await Fs.open(path, O_RDONLY | O_NONBLOCK | (isTop ? 0 : O_NOFOLLOW))
  const stats = await file.stat()
  if (stats.isFile()) return [file, stats]
  await file.close()
  throw changed(shown)
}

export const chunksOf = (file: Fs.FileHandle): AsyncIterable<Uint8Array> =>
  file.createReadStream({ autoClose: false, highWaterMark: 1024 * 1024 })

export const changed = (path: string): Error => new Error(`"${path}" changed while it was copied`)

/** Packs listed files as a tar stream, without names of the host's users. */
export const pack = (
  method: string,
  root: string,
  files: ReadonlyArray<HostFile>,
  place: (file: HostFile) => Place
): Stream.Stream<Uint8Array, LightboxError> =>
  Stream.suspend(() => Stream.fromAsyncIterable(archiveOf(root, files, place), failure(method, root)))

/** How a file appears in an archive. */
export interface Place {
  readonly name: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

/** The copied files must match the key. */
async function* archiveOf(
  root: string,
  files: ReadonlyArray<HostFile>,
  place: (file: HostFile) => Place
): AsyncGenerator<Uint8Array> {
  let folder: (Folders.OpenFolder & { readonly name: string }) | undefined
  try {
    for (const file of files) {
      const name = Path.posix.dirname(file.path)
      const full = Path.join(root, file.path)
      if (file.path !== "" && folder?.name !== name) {
        await folder?.close()
        folder = undefined
        folder = { ...(await Folders.open(root, namesOf(name)).catch(ifReplaced(Path.dirname(full)))), name }
      }
      const at = folder === undefined ? full : Path.join(folder.path, Path.basename(full))
      try {
        yield* entryOf(at, full, file, place(file))
      } catch (cause) {
        throw cause instanceof Error ? Folders.nameIn(cause, full) : cause
      }
    }
  } finally {
    await folder?.close()
  }
  yield archiveEnd
}

async function* entryOf(
  /** Leads to what was listed, even if a parent was replaced. */
  at: string,
  full: string,
  { digest, kind, path, size }: HostFile,
  place: Place
): AsyncGenerator<Uint8Array> {
  const header = { ...place, size, target: "" }
  if (kind === "file") {
    const [file, { mtime }] = await open(at, path === "", full)
    try {
      yield headerOf({ ...header, type: "0", mtime })
      const hash = Crypto.createHash("sha256")
      let rest = size
      for await (const chunk of chunksOf(file)) {
        rest -= chunk.length
        if (rest < 0) throw changed(full)
        hash.update(chunk)
        yield chunk
      }
      if (hash.digest("hex") !== digest) throw changed(full)
      yield paddingOf(size)
    } finally {
      await file.close()
    }
  } else {
    const { mtime } = await Fs.lstat(at)
    const target = kind === "link" ? await linkTarget(at) : ""
    if (kind === "link" && Crypto.hash("sha256", target) !== digest) throw changed(full)
    yield headerOf({
      ...header,
      ...(kind === "link" ? { type: "2" } : { type: "5", name: `${place.name}/` }),
      target,
      mtime
    })
  }
}

const blockBytes = 512

/** What ends an archive. */
export const archiveEnd = new Uint8Array(2 * blockBytes)

export interface TarHeader {
  readonly name: string
  readonly type: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly mtime: Date
  readonly target: string
}

export const paddingOf = (size: number): Uint8Array => new Uint8Array(-size & (blockBytes - 1))

const nameBytes = 100

/** Encodes a header with GNU's extensions for long names and large numbers: busybox ignores those of POSIX. */
export const headerOf = (header: TarHeader): Uint8Array => {
  const long = (type: string, text: string) => {
    const bytes = Buffer.from(`${text}\0`)
    return bytes.length <= nameBytes
      ? []
      : [
          blockOf({ ...header, name: "././@LongLink", target: "", type, size: bytes.length }),
          bytes,
          paddingOf(bytes.length)
        ]
  }
  return Buffer.concat([...long("K", header.target), ...long("L", header.name), blockOf(header)])
}

const maxTime = 8 ** 11 - 1

const blockOf = ({ gid, mode, mtime, name, size, target, type, uid }: TarHeader): Buffer => {
  const block = Buffer.alloc(blockBytes)
  const text = (value: string, at: number) => Buffer.from(value).copy(block, at, 0, nameBytes - 1)
  const number = (value: number, at: number, length: number) => {
    const octal = value.toString(8).padStart(length - 1, "0")
    if (octal.length < length) return block.write(octal, at)
    block[at] = 0x80
    return block.writeUIntBE(value, at + length - 6, 6)
  }
  text(name, 0)
  number(mode, 100, 8)
  number(uid, 108, 8)
  number(gid, 116, 8)
  number(size, 124, 12)
  number(Math.min(Math.max(0, Math.floor(mtime.getTime() / 1000)), maxTime), 136, 12)
  block.write(`${" ".repeat(8)}${type}`, 148)
  text(target, 157)
  block.write("ustar  ", 257)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, "0")}\0`, 148)
  return block
}

/** Derives the mode of a folder from a file's: it can be entered by whoever may read it. */
export const modeOf = (source: number, isFolder: boolean, wanted: number | undefined): number =>
  wanted === undefined ? source & 0o7777 : isFolder ? wanted | ((wanted & 0o444) >> 2) : wanted

/** Permission bits only: set-ID bits stay in the guest. */
const permissions = 0o777

export const maxEntries = 1_000_000

/**
 * Unpacks a tar stream into a folder of the host, creating it if necessary. Refuses paths and links that point outside,
 * and what would not arrive as it was. On failure, the links that it made are removed: they were not checked yet.
 */
export const unpack = <E, R>(
  method: string,
  root: string,
  archive: Stream.Stream<Uint8Array, E, R>
): Effect.Effect<void, LightboxError | E, R> =>
  Effect.suspend(() => {
    const links: Array<string> = []
    let count = 0
    const writable = TarFiles.unpackTar(root, {
      strict: true,
      map: (header) => {
        const { linkname = "", mode, name, type } = header
        if (++count > maxEntries) throw refusal(`there are more than ${maxEntries} files`)
        if (type !== "file" && type !== "directory" && type !== "symlink" && type !== "link") {
          throw refusal(`${name} is a pipe or device: ${onlyFiles}`)
        }
        if (/[\\\uFFFD]/.test(name)) throw refusal(`the name ${name} has a backslash, or is not UTF-8`)
        if (linkname.includes("\uFFFD")) throw refusal(`the target of ${name} is not UTF-8`)
        if (type === "symlink") links.push(Path.join(root, name))
        return { ...header, ...(mode === undefined ? {} : { mode: mode & permissions }) }
      }
    }).on("error", () => {})
    const send = (start: (done: (error?: Error | null) => void) => void): Effect.Effect<void, LightboxError> =>
      Effect.uninterruptible(
        Effect.callback((resume) =>
          start((error) => resume(error ? Effect.fail(failure(method, root)(writable.errored ?? error)) : Effect.void))
        )
      )
    const removeLinks = async () => {
      writable.destroy()
      for (const path of links.toReversed())
        await Fs.readlink(path)
          .then(() => Fs.unlink(path))
          .catch(() => {})
    }
    return Stream.runForEach(archive, (bytes) => send((done) => writable.write(bytes, done))).pipe(
      Effect.andThen(send((done) => writable.end(done))),
      Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Effect.promise(removeLinks)))
    )
  })

/** Writes a file of the host, creating parent folders. */
export const write = <E, R>(
  method: string,
  path: string,
  content: Stream.Stream<Uint8Array, E, R>,
  options: { readonly mode: number }
): Effect.Effect<void, LightboxError | E, R> =>
  Effect.andThen(
    Effect.tryPromise({
      try: () => Fs.mkdir(Path.dirname(path), { recursive: true }),
      catch: failure(method, path)
    }),
    Effect.acquireUseRelease(
      Effect.tryPromise({ try: () => Fs.open(path, "w", options.mode & permissions), catch: failure(method, path) }),
      (file) =>
        Stream.runForEach(content, (bytes) =>
          Effect.tryPromise({ try: () => file.writeFile(bytes), catch: failure(method, path) })
        ).pipe(
          // Some file systems report only now that there is no room.
          Effect.andThen(Effect.tryPromise({ try: () => file.close(), catch: failure(method, path) }))
        ),
      (file) => Effect.promise(() => file.close().catch(() => {}))
    )
  )
