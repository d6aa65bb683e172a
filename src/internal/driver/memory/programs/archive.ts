/** `tar` and checksums. Every export is a program, by its name. */
import * as Effect from "effect/Effect"
import * as Tar from "modern-tar"
import * as Crypto from "node:crypto"
import * as Zlib from "node:zlib"
import * as ByteString from "../kernel/byteString.ts"
import { attempt, Errno, mistake } from "../kernel/errno.ts"
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
    (process, options) =>
      Effect.catchIf(
        run(process, options),
        ({ code }) => code !== "EPIPE",
        ({ problem }) => fail(process, problem)
      ),
    { long: { file: "f", directory: "C", create: "c", extract: "x", list: "t", gzip: "z", verbose: "v" } }
  )
)

const run = Effect.fnUntraced(function* (process: Process, options: Options): Effect.fn.Return<number, Errno> {
  if (!["c", "x", "t"].some(options.has)) return yield* usage(process)
  const archive = options.get("f") ?? "-"
  const path = archive === "-" || archive.startsWith("/") ? archive : joinPath(process.cwd, archive)
  const entries = options.has("c") ? [] : yield* readArchive(process, archive)
  const folder = options.get("C")
  if (folder !== undefined) {
    const place = yield* described(`can't change directory to '${folder}'`, () => process.resolve(folder))
    process.cwd = place.path
  }
  if (options.has("c")) return yield* create(process, options, path)
  const isChosen = (name: string, operand: string) =>
    name === operand || name.startsWith(`${operand.replace(/\/$/, "")}/`)
  const named = entries.map((entry) => ({ entry, name: ByteString.fromText(entry.header.name) }))
  const chosen = named.filter(
    ({ name }) => options.operands.length === 0 || options.operands.some((operand) => isChosen(name, operand))
  )
  if (options.has("x")) for (const { entry, name } of chosen) yield* extract(process, options, name, entry)
  else yield* process.print(joined(chosen.map(({ name }) => name)))
  const missing = options.operands.find((operand) => !chosen.some(({ name }) => isChosen(name, operand)))
  return missing === undefined ? 0 : yield* fail(process, `${missing}: not found in archive`)
})

/** Runs code that may throw, with what it was about in front of the problem. */
const described = <A>(what: string, evaluate: () => A): Effect.Effect<A, Errno> =>
  Effect.mapError(attempt(evaluate), ({ code, problem }) => new Errno({ code, problem: `${what}: ${problem}` }))

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
        uname: machine.nameOf("passwd", stat.uid),
        gname: machine.nameOf("group", stat.gid),
        // As busybox does with times before 1970.
        mtime: new Date(Math.max(0, stat.modifiedAt)),
        size: 0
      }
      if (stat.kind === "Directory") {
        entries.push({ header: { ...header, name: name.endsWith("/") ? name : `${name}/`, type: "directory" } })
      } else if (stat.kind === "Symlink") {
        const linkname = ByteString.toText(process.readLink(path))
        entries.push({ header: { ...header, name, type: "symlink", linkname } })
      } else if (stat.kind === "Fifo") entries.push({ header: { ...header, name, type: "fifo" } })
      else if (stat.kind === "File") {
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

const readArchive = (process: Process, archive: string): Effect.Effect<ReadonlyArray<Entry>, Errno> =>
  content(process, archive).pipe(
    Effect.mapError(({ problem }) => mistake(cannotOpen(archive, problem))),
    Effect.flatMap((text) =>
      Effect.tryPromise({
        try: async () => {
          const bytes = ByteString.toBytes(text)
          return await Tar.unpackTar(text.startsWith("\x1f\x8b") ? Zlib.gunzipSync(bytes) : bytes, { strict: true })
        },
        catch: () => mistake(text.length < 512 ? "short read" : "invalid tar magic")
      })
    )
  )

type Entry = Tar.ParsedTarEntryWithData

const extract = Effect.fnUntraced(function* (
  process: Process,
  options: Options,
  name: string,
  entry: Entry
): Effect.fn.Return<void, Errno> {
  const path = name.replace(/^\/+/, "").replace(/(.)\/+$/, "$1")
  if (path.split("/").includes("..")) return
  if (options.has("v")) yield* process.print(`${name}\n`)
  if (options.has("O")) yield* process.writeBytes(1, entry.data ?? new Uint8Array())
  else yield* described(`can't open '${path}'`, () => put(process, path, entry))
})

const put = (process: Process, path: string, { data, header }: Entry): void => {
  const { actor, cwd, machine } = process
  const folder = directoryName(path)
  if (folder !== ".") machine.vfs.makeFolders(folder, cwd, 0o755, actor)
  const attributes = {
    mode: header.mode ?? 0o644,
    ...(actor.uid === 0 ? { uid: header.uid ?? 0, gid: header.gid ?? 0 } : {}),
    ...(header.mtime === undefined ? {} : { modifiedAt: header.mtime.getTime() })
  }
  const existing = process.lookAt(path, header.type === "directory")
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
  if (header.type === "fifo") {
    process.make(path, { _tag: "Fifo", mode: attributes.mode })
    return process.setAttributes(path, attributes)
  }
  process.using(path, { read: false, write: true, create: true, truncate: true }, (file) =>
    file.write(0, data ?? new Uint8Array())
  )
  process.setAttributes(path, attributes)
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
