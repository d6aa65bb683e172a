/** Reads tar archives on this host, and packs what they contain under other names. Archives are not trusted. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Tar from "modern-tar"
import * as ChildProcess from "node:child_process"
import * as Crypto from "node:crypto"
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Zlib from "node:zlib"
import type { LightboxError } from "../../LightboxError.ts"
import * as HostFiles from "./files.ts"

/** A file of an archive. */
export interface Member {
  /** Relative to the root of the archive, which is empty. */
  readonly path: string
  readonly kind: "file" | "folder" | "link"
  /** Another name of a file before it. */
  readonly sameAs: string | undefined
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

export interface Source {
  readonly path: string
  /** Must match the content of the file, if it is given. */
  readonly digest?: string | undefined
}

type Compression = "bzip2" | "gzip" | "xz" | "zstd"

const magics: ReadonlyArray<readonly [compression: Compression, bytes: ReadonlyArray<number>]> = [
  ["gzip", [0x1f, 0x8b]],
  ["bzip2", [0x42, 0x5a, 0x68]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]]
]

const compressionOf = (head: Uint8Array): Compression | undefined =>
  magics.find(([, bytes]) => bytes.every((byte, index) => head[index] === byte))?.[0]

const isTar = (head: Uint8Array): boolean => Buffer.from(head.subarray(257, 262)).toString() === "ustar"

const headOf = async (path: string, length: number): Promise<Uint8Array> => {
  const file = await Fs.open(path)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

/** The uncompressed bytes of a file. Node.js knows no xz and no bzip2: the programs of this host do. */
const bytesOf = async function* ({ digest, path }: Source): AsyncGenerator<Uint8Array> {
  const compression = compressionOf(await headOf(path, 6))
  const hash = Crypto.createHash("sha256")
  const file = FsSync.createReadStream(path, { highWaterMark: 1024 * 1024 })
  const raw = digest === undefined ? file : file.on("data", (chunk) => hash.update(chunk))
  if (compression === undefined) yield* raw
  else if (compression === "gzip" || compression === "zstd") {
    const unzip = compression === "gzip" ? Zlib.createGunzip() : Zlib.createZstdDecompress()
    raw.on("error", (error) => unzip.destroy(error)).pipe(unzip)
    yield* unzip
  } else {
    const child = ChildProcess.spawn(compression, ["-dc"], { stdio: ["pipe", "pipe", "ignore"] })
    const ended = new Promise<void>((resolve, reject) => {
      child.once("error", () =>
        reject(HostFiles.refusal(`this machine has no program ${compression}, which unpacks it`))
      )
      child.once("exit", (code) => (code === 0 ? resolve() : reject(HostFiles.refusal(`${compression} failed`))))
    })
    ended.catch(() => {})
    child.stdin.on("error", () => {})
    raw.pipe(child.stdin)
    try {
      yield* child.stdout
      await ended
    } finally {
      child.kill()
    }
  }
  if (digest !== undefined && hash.digest("hex") !== digest) throw HostFiles.changed(path)
}

/** Whether a file is an archive, compressed or not. */
export const isArchive = (method: string, path: string): Effect.Effect<boolean, LightboxError> =>
  Effect.tryPromise({
    try: async () => {
      const head = await headOf(path, 512)
      if (compressionOf(head) === undefined) return isTar(head)
      try {
        for await (const chunk of bytesOf({ path })) return isTar(chunk)
      } catch {
        return false
      }
      return false
    },
    catch: HostFiles.failure(method, path)
  })

const kinds: { readonly [type: string]: Member["kind"] } = {
  file: "file",
  link: "file",
  directory: "folder",
  symlink: "link"
}

/** A name inside the root. */
const nameIn = (name: string): string => {
  const names = name.split("/").filter((part) => part !== "" && part !== ".")
  if (names.includes("..")) throw HostFiles.refusal(`the name ${name} points outside of the archive`)
  return names.join("/")
}

const memberOf = ({ gid = 0, linkname = "", mode = 0o644, name, type = "file", uid = 0 }: Tar.TarHeader): Member => {
  const kind = kinds[type]
  if (kind === undefined) throw HostFiles.refusal(`${name} is a pipe or device: ${HostFiles.onlyFiles}`)
  return {
    path: nameIn(name),
    kind,
    sameAs: type === "link" ? nameIn(linkname) : undefined,
    mode: mode & 0o7777,
    uid,
    gid
  }
}

async function* entriesOf(source: Source): AsyncGenerator<Tar.ParsedTarEntry> {
  const { readable, writable } = Tar.createTarDecoder({ strict: true })
  const writer = writable.getWriter()
  const feeding = (async () => {
    for await (const chunk of bytesOf(source)) await writer.write(chunk)
    await writer.close()
  })()
  // Whoever reads gets the failure.
  feeding.catch((cause: unknown) => writer.abort(cause).catch(() => {}))
  let count = 0
  for await (const entry of readable) {
    if (++count > HostFiles.maxEntries) throw HostFiles.refusal(`there are more than ${HostFiles.maxEntries} files`)
    yield entry
  }
  await feeding
}

/** Lists an archive. */
export const list = (method: string, source: Source): Effect.Effect<ReadonlyArray<Member>, LightboxError> =>
  Effect.tryPromise({
    try: async () => {
      const members: Array<Member> = []
      for await (const { body, header } of entriesOf(source)) {
        await body.cancel()
        members.push(memberOf(header))
      }
      return members
    },
    catch: HostFiles.failure(method, source.path)
  })

/** Packs members of an archive as a tar stream, as `place` says. */
export const repack = (
  method: string,
  source: Source,
  place: (member: Member) => HostFiles.Place | undefined
): Stream.Stream<Uint8Array, LightboxError> =>
  Stream.suspend(() => Stream.fromAsyncIterable(repacked(source, place), HostFiles.failure(method, source.path)))

async function* repacked(
  source: Source,
  place: (member: Member) => HostFiles.Place | undefined
): AsyncGenerator<Uint8Array> {
  for await (const { body, header } of entriesOf(source)) {
    const member = memberOf(header)
    const placed = place(member)
    if (placed === undefined) {
      await body.cancel()
      continue
    }
    const same = member.sameAs === undefined ? undefined : place({ ...member, path: member.sameAs, sameAs: undefined })
    if (member.sameAs !== undefined && same === undefined) {
      throw HostFiles.refusal(`${header.name} is a hard link to ${member.sameAs}, which is not copied`)
    }
    const { linkname = "", mtime = new Date(0), size } = header
    const [type, target, length] =
      same !== undefined
        ? ["1", same.name, 0]
        : member.kind === "folder"
          ? ["5", "", 0]
          : member.kind === "link"
            ? ["2", linkname, 0]
            : ["0", "", size]
    const name = member.kind === "folder" ? `${placed.name}/` : placed.name
    yield HostFiles.headerOf({ ...placed, name, type, target, size: length, mtime })
    if (length === 0) await body.cancel()
    else {
      yield* body
      yield HostFiles.paddingOf(length)
    }
  }
  yield HostFiles.archiveEnd
}
