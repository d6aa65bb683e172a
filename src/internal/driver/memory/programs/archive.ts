/** `tar` and checksums. Every export is a program, by its name. */
import * as Effect from "effect/Effect"
import * as Tar from "modern-tar"
import * as Crypto from "node:crypto"
import * as Zlib from "node:zlib"
import * as ByteString from "../kernel/byteString.ts"
import { attempt, Errno } from "../kernel/errno.ts"
import type { Process, Program } from "../kernel/process.ts"
import {
  cannotOpen,
  content,
  directoryName,
  fail,
  forEach,
  joined,
  joinPath,
  linesOf,
  type Options,
  orComplain,
  print,
  usage,
  walk,
  withOptions
} from "./options.ts"

/** `tar cf x` means `tar -cf x`. */
const withDash =
  (program: Program): Program =>
  (process, argv) =>
    program(
      process,
      argv.map((word, index) => (index === 1 && /^[a-zA-Z]+$/.test(word) ? `-${word}` : word))
    )

export const tar: Program = withDash(
  withOptions(
    "cxtvf:C:zphkOo",
    Effect.fnUntraced(function* (process, options) {
      const archive = options.get("f") ?? "-"
      const path = archive === "-" || archive.startsWith("/") ? archive : joinPath(process.cwd, archive)
      const entries = options.has("c") ? [] : yield* readArchive(process, archive, options)
      if ("code" in entries) return entries.code
      const folder = options.get("C")
      const moved =
        folder === undefined
          ? 0
          : yield* orComplain(process, `can't change directory to '${folder}'`, () => {
              process.cwd = process.resolve(folder).path
            })
      if (moved !== 0) return moved
      if (options.has("c")) return yield* create(process, options, path)
      const status = yield* options.has("x") ? extract(process, options, entries) : list(process, options, entries)
      const missing = options.operands.find(
        (operand) => !entries.some(({ header }) => isChosen(ByteString.fromText(header.name), [operand]))
      )
      return status === 0 && missing !== undefined ? yield* fail(process, `${missing}: not found in archive`) : status
    }),
    { long: { file: "f", directory: "C", create: "c", extract: "x", list: "t", gzip: "z", verbose: "v" } }
  )
)

const create = Effect.fnUntraced(function* (
  process: Process,
  options: Options,
  archive: string
): Effect.fn.Return<number, Errno> {
  const { machine } = process
  const entries: Array<Tar.TarEntry> = []
  const printName = (path: string) =>
    !options.has("v") ? Effect.void : archive === "-" ? process.complain(path) : process.print(`${path}\n`)
  const add = Effect.fnUntraced(function* (operand: string): Effect.fn.Return<number, Errno> {
    for (const { path, stat } of yield* attempt(() => walk(process, operand))) {
      const name = ByteString.toText(path.replace(/^\/+/, ""))
      const header = {
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        uname: machine.nameOf("passwd", stat.uid) ?? "",
        gname: machine.nameOf("group", stat.gid) ?? "",
        mtime: new Date(stat.modifiedAt),
        size: 0
      }
      if (stat.kind === "Directory") {
        entries.push({ header: { ...header, name: name.endsWith("/") ? name : `${name}/`, type: "directory" } })
      } else if (stat.kind === "Symlink") {
        const linkname = ByteString.toText(process.readLink(path))
        entries.push({ header: { ...header, name, type: "symlink", linkname } })
      } else if (stat.kind === "File") {
        const body = ByteString.toBytes(yield* process.readFile(path))
        entries.push({ header: { ...header, name, type: "file", size: body.length }, body })
      }
      yield* printName(path)
    }
    return 0
  })
  const status = yield* forEach(options.operands, (operand) =>
    add(operand).pipe(Effect.catch(({ problem }) => fail(process, `${operand}: ${problem}`)))
  )
  const bytes = yield* Effect.promise(() => Tar.packTar(entries))
  const output = ByteString.fromBytes(options.has("z") ? Zlib.gzipSync(bytes) : bytes)
  yield* archive === "-" ? process.print(output) : process.writeFile(archive, output)
  return status === 0 ? 0 : yield* fail(process, "error exit delayed from previous errors")
})

type Entries = ReadonlyArray<Tar.ParsedTarEntryWithData>

const readArchive = Effect.fnUntraced(function* (
  process: Process,
  archive: string,
  options: Options
): Effect.fn.Return<Entries | { readonly code: number }, Errno> {
  if (!options.has("x") && !options.has("t")) return { code: yield* usage(process) }
  const read = content(process, archive).pipe(
    Effect.mapError(({ code, problem }) => new Errno({ code, problem: cannotOpen(archive, problem) })),
    Effect.flatMap((text) =>
      Effect.tryPromise({
        try: async () => {
          const bytes = ByteString.toBytes(text)
          return await Tar.unpackTar(text.startsWith("\x1f\x8b") ? Zlib.gunzipSync(bytes) : bytes, { strict: true })
        },
        catch: () => new Errno({ code: "EINVAL", problem: text.length < 512 ? "short read" : "invalid tar magic" })
      })
    )
  )
  return yield* Effect.matchEffect(read, {
    onFailure: ({ problem }) => Effect.map(fail(process, problem), (code) => ({ code })),
    onSuccess: (entries) => Effect.succeed(entries)
  })
})

const isChosen = (name: string, operands: ReadonlyArray<string>): boolean =>
  operands.length === 0 ||
  operands.some((operand) => name === operand || name.startsWith(`${operand.replace(/\/$/, "")}/`))

const extract = Effect.fnUntraced(function* (
  process: Process,
  options: Options,
  entries: Entries
): Effect.fn.Return<number, Errno> {
  for (const entry of entries) {
    const name = ByteString.fromText(entry.header.name).replace(/^\/+/, "")
    if (!isChosen(name, options.operands) || name.split("/").includes("..")) continue
    if (options.has("v")) yield* process.print(`${name}\n`)
    const path = name.replace(/(.)\/+$/, "$1")
    const status = options.has("O")
      ? yield* Effect.as(process.writeBytes(1, entry.data ?? new Uint8Array()), 0)
      : yield* orComplain(process, `can't open '${path}'`, () => put(process, path, entry))
    if (status !== 0) return status
  }
  return 0
})

const put = (process: Process, path: string, { data, header }: Entries[number]): void => {
  const { actor, cwd, machine } = process
  const folder = directoryName(path)
  if (folder !== ".") machine.vfs.makeFolders(folder, cwd, 0o755, actor)
  const attributes = {
    mode: header.mode ?? 0o644,
    ...(actor.uid === 0 ? { uid: header.uid ?? 0, gid: header.gid ?? 0 } : {}),
    ...(header.mtime === undefined ? {} : { modifiedAt: header.mtime.getTime() })
  }
  const existing = process.lookAt(path, false)
  if (header.type === "directory") {
    if (existing?.kind !== "Directory") process.make(path, { _tag: "Directory", mode: attributes.mode })
    return process.setAttributes(path, attributes)
  }
  if (existing !== undefined) machine.vfs.unlink(path, cwd, actor)
  const target = ByteString.fromText(header.linkname ?? "")
  if (header.type === "link") return machine.vfs.link(target, path, cwd, actor)
  if (header.type === "symlink") {
    process.make(path, { _tag: "Symlink", target })
    return process.setAttributes(path, { uid: attributes.uid, gid: attributes.gid }, false)
  }
  process.using(path, { read: false, write: true, create: true, truncate: true }, (file) =>
    file.write(0, data ?? new Uint8Array())
  )
  process.setAttributes(path, attributes)
}

const list = (process: Process, options: Options, entries: Entries): Effect.Effect<number, Errno> => {
  const names = entries.map(({ header }) => ByteString.fromText(header.name))
  return print(process, joined(names.filter((name) => isChosen(name, options.operands))))
}

/** Creates `md5sum` and similar programs; `-c` checks a list that one of them made. */
const checksum = (algorithm: string): Program => {
  const hashOf = (text: string) => Crypto.hash(algorithm, ByteString.toBytes(text))
  return withOptions("cbs", (process, options) => {
    const check = Effect.fnUntraced(function* (list: string): Effect.fn.Return<number, Errno> {
      const lines = linesOf(list)
      let wrong = 0
      for (const line of lines) {
        const [, expected, path = ""] = /^(\w+) [ *](.*)$/.exec(line) ?? []
        const isSame = hashOf(yield* content(process, path)) === expected
        if (!isSame) wrong++
        yield* process.print(`${path}: ${isSame ? "OK" : "FAILED"}\n`)
      }
      if (wrong === 0) return 0
      return yield* fail(process, `WARNING: ${wrong} of ${lines.length} computed checksums did NOT match`)
    })
    return forEach(options.operands.length === 0 ? ["-"] : options.operands, (path) =>
      content(process, path).pipe(
        Effect.flatMap((text) => (options.has("c") ? check(text) : print(process, `${hashOf(text)}  ${path}\n`))),
        Effect.catch(({ problem }) => fail(process, cannotOpen(path, problem)))
      )
    )
  })
}

export const md5sum: Program = checksum("md5")

export const sha1sum: Program = checksum("sha1")

export const sha256sum: Program = checksum("sha256")

export const sha512sum: Program = checksum("sha512")
