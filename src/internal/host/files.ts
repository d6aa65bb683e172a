/** Finds, hashes and packs files of the host for copies into a guest. */
import * as Effect from "effect/Effect"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import ignore from "ignore"
import * as Tar from "modern-tar"
import * as TarFiles from "modern-tar/fs"
import * as Crypto from "node:crypto"
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { Readable, Writable } from "node:stream"
import { TransformStream } from "node:stream/web"
import type { LightboxError } from "../../LightboxError.ts"
import { fileFailure } from "./fileFailure.ts"

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

const wholeFileBytes = 4 * 1024 * 1024

const failure = (method: string, path: string) => fileFailure(method, "copy", path)

/** Lists everything to copy from a path, sorted by name. */
export const list = Effect.fnUntraced(function* (
  method: string,
  root: string,
  patterns: ReadonlyArray<string>
): Effect.fn.Return<ReadonlyArray<HostFile>, LightboxError> {
  const attempt = <A>(path: string, run: () => Promise<A>) =>
    Effect.tryPromise({ try: run, catch: failure(method, path) })
  const refuse = (path: string) =>
    failure(method, path)(new Error("only files, folders and symbolic links can be copied"))
  const isIgnored = matcher(patterns)
  const top = yield* attempt(root, () => Fs.stat(root))
  const found: Array<{ readonly path: string; readonly stats: FsSync.Stats }> = []
  if (top.isFile()) found.push({ path: "", stats: top })
  else if (!top.isDirectory()) return yield* refuse(root)
  else {
    const folders = [""]
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      const inside = folder
      const entries = yield* attempt(Path.join(root, inside), () => Fs.readdir(Path.join(root, inside)))
      for (const name of entries) {
        const path = inside === "" ? name : `${inside}/${name}`
        const stats = yield* attempt(Path.join(root, path), () => Fs.lstat(Path.join(root, path)))
        if (isIgnored(path, stats.isDirectory())) continue
        if (stats.isDirectory()) folders.push(path)
        else if (!stats.isFile() && !stats.isSymbolicLink()) {
          return yield* refuse(Path.join(root, path))
        }
        found.push({ path, stats })
      }
    }
  }
  found.sort((a, b) => (a.path < b.path ? -1 : 1))
  return yield* Effect.forEach(
    found,
    ({ path, stats }) => {
      const full = Path.join(root, path)
      return Effect.map(
        attempt(full, () => digest(full, stats)),
        (digest): HostFile => ({
          path,
          kind: stats.isDirectory() ? "folder" : stats.isSymbolicLink() ? "link" : "file",
          mode: stats.mode & 0o7777,
          size: stats.isFile() ? stats.size : 0,
          digest
        })
      )
    },
    { concurrency: 16 }
  )
})

const matcher = (patterns: ReadonlyArray<string>): ((path: string, isFolder: boolean) => boolean) => {
  if (patterns.length === 0) return () => false
  const rules = ignore().add([...patterns])
  return (path, isFolder) => rules.ignores(isFolder ? `${path}/` : path)
}

const digest = async (path: string, stats: FsSync.Stats): Promise<string> => {
  if (stats.isDirectory()) return ""
  if (stats.isSymbolicLink()) return Crypto.hash("sha256", await Fs.readlink(path))
  if (stats.size <= wholeFileBytes) return Crypto.hash("sha256", await Fs.readFile(path))
  const hash = Crypto.createHash("sha256")
  for await (const chunk of FsSync.createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk)
  return hash.digest("hex")
}

/** Passes data through, and fails at the end if its digest has changed. */
const unchanged = (path: string, digest: string): TransformStream<Uint8Array, Uint8Array> => {
  const hash = Crypto.createHash("sha256")
  return new TransformStream({
    transform: (chunk, controller) => {
      hash.update(chunk)
      controller.enqueue(chunk)
    },
    flush: () => requireDigest(path, hash.digest("hex"), digest)
  })
}

/** The copied files must match the key. */
const requireDigest = (path: string, found: string, expected: string): void => {
  if (found !== expected) throw new Error(`"${path}" changed while it was copied`)
}

/** Packs listed files as a tar stream, without names of the host's users. */
export const pack = (
  method: string,
  root: string,
  files: ReadonlyArray<HostFile>,
  options: {
    /** Name of a single file in the archive. */
    readonly name: string
    readonly mode: number | undefined
    readonly owner: { readonly uid: number; readonly gid: number }
  }
): Stream.Stream<Uint8Array, LightboxError> =>
  Stream.suspend(() => {
    const { controller, readable } = Tar.createTarPacker()
    const add = async ({ digest, kind, mode, path, size }: HostFile) => {
      const full = Path.join(root, path)
      const linkname = kind === "link" ? await Fs.readlink(full) : undefined
      if (linkname !== undefined) requireDigest(full, Crypto.hash("sha256", linkname), digest)
      const entry = controller.add({
        name: path === "" ? options.name : kind === "folder" ? `${path}/` : path,
        type: kind === "folder" ? "directory" : kind === "link" ? "symlink" : "file",
        size,
        mode: modeOf(mode, kind === "folder", options.mode),
        mtime: (await Fs.lstat(full)).mtime,
        uid: options.owner.uid,
        gid: options.owner.gid,
        ...(linkname === undefined ? {} : { linkname })
      })
      // The packer fails if the size of a file has changed since the listing.
      if (kind === "file") {
        await Readable.toWeb(FsSync.createReadStream(full)).pipeThrough(unchanged(full, digest)).pipeTo(entry)
      } else await entry.close()
    }
    const addAll = async () => {
      for (const file of files) await add(file)
      controller.finalize()
    }
    addAll().catch((error: unknown) => controller.error(error))
    return Stream.fromReadableStream({ evaluate: () => readable, onError: failure(method, root) })
  })

/** Derives the mode of a folder from a file's: it can be entered by whoever may read it. */
const modeOf = (source: number, isFolder: boolean, wanted: number | undefined): number =>
  wanted === undefined ? source & 0o7777 : isFolder ? wanted | ((wanted & 0o444) >> 2) : wanted

/** Permission bits only: set-ID bits stay in the guest. */
const permissions = 0o777

/**
 * Unpacks a tar stream into a folder of the host, creating it if necessary. Refuses paths and links that point outside.
 */
export const unpack = <E, R>(
  method: string,
  root: string,
  archive: Stream.Stream<Uint8Array, E, R>
): Effect.Effect<void, LightboxError | E, R> =>
  Stream.run(
    archive,
    Sink.fromWritableStream({
      evaluate: () =>
        Writable.toWeb(
          TarFiles.unpackTar(root, {
            map: (header) => ({ ...header, ...(header.mode === undefined ? {} : { mode: header.mode & permissions }) })
          })
        ),
      onError: failure(method, root)
    })
  )

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
    Stream.run(
      content,
      Sink.fromWritableStream({
        evaluate: () => Writable.toWeb(FsSync.createWriteStream(path, { mode: options.mode & permissions })),
        onError: failure(method, path)
      })
    )
  )
