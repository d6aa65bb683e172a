/**
 * `tar`, `gzip` and checksums.
 */
import * as Effect from "effect/Effect"
import * as Tar from "modern-tar"
import * as Crypto from "node:crypto"
import * as Zlib from "node:zlib"
import * as ByteString from "../kernel/byteString.ts"
import { attempt, errno, type Errno } from "../kernel/errno.ts"
import type { Process, Program } from "../kernel/process.ts"
import type { Stat } from "../kernel/vnode.ts"
import { content, directoryName, forEach, joinPath, type Options, parse, withOptions } from "./options.ts"

const isGzip = (bytes: string): boolean => bytes.startsWith("\x1f\x8b")

const gunzipBytes = (bytes: string): Effect.Effect<string, Errno> =>
  attempt(() => {
    try {
      return ByteString.fromBytes(Zlib.gunzipSync(ByteString.toBytes(bytes)))
    } catch {
      throw errno("EINVAL")
    }
  })

const gzipBytes = (bytes: string): string => ByteString.fromBytes(Zlib.gzipSync(ByteString.toBytes(bytes)))

/** `tar cf x` is `tar -cf x`. */
const tarWords = (words: ReadonlyArray<string>): ReadonlyArray<string> => {
  const [first = "", ...rest] = words
  return /^[a-zA-Z]+$/.test(first) ? [`-${first}`, ...rest] : words
}

export const tar: Program = (process) => {
  const options = parse(tarWords(process.argv.slice(1)), "cxtvf:C:zphkOT:", {
    file: "f",
    directory: "C",
    create: "c",
    extract: "x",
    list: "t",
    gzip: "z",
    verbose: "v"
  })
  if (options.unknown !== undefined) {
    return Effect.as(process.complain(`tar: unrecognized option: ${options.unknown}`), 1)
  }
  const run = options.has("c")
    ? createArchive
    : options.has("x")
      ? extractArchive
      : options.has("t")
        ? listArchive
        : undefined
  if (run === undefined) return Effect.as(process.complain("tar: must specify one of -c, -x or -t"), 1)
  return Effect.gen(function* () {
    const folder = options.get("C")
    const archive = options.get("f") ?? "-"
    const path = archive === "-" || archive.startsWith("/") ? archive : joinPath(process.cwd, archive)
    if (folder !== undefined) {
      const place = yield* Effect.result(
        attempt(() => process.machine.vfs.resolve(folder, process.cwd, process.actor).path)
      )
      if (place._tag === "Failure") {
        yield* process.complain(`tar: can't change directory to '${folder}': ${place.failure.problem}`)
        return 1
      }
      process.cwd = place.success
    }
    return yield* run(process, options, path)
  })
}

const collect = (process: Process, path: string): ReadonlyArray<{ readonly path: string; readonly stat: Stat }> => {
  const stat = process.stat(path, false)
  const below =
    stat.kind === "Directory" ? process.list(path).flatMap((name) => collect(process, joinPath(path, name))) : []
  return stat.kind === "Device" ? [] : [{ path, stat }, ...below]
}

const createArchive = (process: Process, options: Options, archive: string): Effect.Effect<number, Errno> =>
  Effect.gen(function* () {
    let status = 0
    const entries: Array<Tar.TarEntry> = []
    for (const operand of options.operands) {
      const found = yield* Effect.result(attempt(() => collect(process, operand)))
      if (found._tag === "Failure") {
        yield* process.complain(`tar: ${operand}: ${found.failure.problem}`)
        status = 1
        continue
      }
      for (const { path, stat } of found.success) {
        const name = ByteString.toText(path.replace(/^\/+/, ""))
        const header = {
          mode: stat.mode,
          uid: stat.uid,
          gid: stat.gid,
          uname: process.machine.nameOf("passwd", stat.uid) ?? "",
          gname: process.machine.nameOf("group", stat.gid) ?? "",
          mtime: new Date(stat.modifiedAt)
        }
        if (stat.kind === "Directory") {
          entries.push({
            header: { ...header, name: name.endsWith("/") ? name : `${name}/`, type: "directory", size: 0 }
          })
        } else if (stat.kind === "Symlink") {
          const linkname = ByteString.toText(process.machine.vfs.readLink(path, process.cwd, process.actor))
          entries.push({ header: { ...header, name, type: "symlink", linkname, size: 0 } })
        } else {
          const body = ByteString.toBytes(yield* process.readFile(path))
          entries.push({ header: { ...header, name, type: "file", size: body.length }, body })
        }
        if (options.has("v")) yield* process.complain(path)
      }
    }
    const bytes = ByteString.fromBytes(yield* Effect.promise(() => Tar.packTar(entries)))
    const output = options.has("z") ? gzipBytes(bytes) : bytes
    yield* archive === "-" ? process.print(output) : process.writeFile(archive, output)
    return status
  })

const readArchive = (
  process: Process,
  archive: string
): Effect.Effect<ReadonlyArray<Tar.ParsedTarEntryWithData> | undefined, Errno> =>
  Effect.gen(function* () {
    const bytes = yield* Effect.result(content(process, archive))
    if (bytes._tag === "Failure") {
      yield* process.complain(`tar: can't open '${archive}': ${bytes.failure.problem}`)
      return undefined
    }
    const entries = yield* Effect.result(
      Effect.flatMap(isGzip(bytes.success) ? gunzipBytes(bytes.success) : Effect.succeed(bytes.success), (plain) =>
        Effect.tryPromise({
          try: () => Tar.unpackTar(ByteString.toBytes(plain), { strict: true }),
          catch: () => errno("EINVAL")
        })
      )
    )
    if (entries._tag === "Failure") {
      yield* process.complain("tar: invalid tar magic")
      return undefined
    }
    return entries.success
  })

const isChosen = (name: string, operands: ReadonlyArray<string>): boolean =>
  operands.length === 0 ||
  operands.some((operand) => name === operand || name.startsWith(`${operand.replace(/\/$/, "")}/`))

const extractArchive = (process: Process, options: Options, archive: string): Effect.Effect<number, Errno> =>
  Effect.gen(function* () {
    const entries = yield* readArchive(process, archive)
    if (entries === undefined) return 1
    const { actor, machine } = process
    let status = 0
    for (const { data, header } of entries) {
      const name = ByteString.fromText(header.name).replace(/^\/+/, "")
      if (!isChosen(name, options.operands) || name.split("/").includes("..")) continue
      if (options.has("v")) yield* process.print(`${name}\n`)
      const path = name.replace(/(.)\/+$/, "$1")
      const result = yield* Effect.result(
        attempt(() => {
          const folder = directoryName(path)
          if (folder !== ".") machine.vfs.makeFolders(folder, process.cwd, 0o755, actor)
          const attributes = {
            mode: header.mode ?? 0o644,
            ...(actor.uid === 0 ? { uid: header.uid ?? 0, gid: header.gid ?? 0 } : {}),
            ...(header.mtime === undefined ? {} : { modifiedAt: header.mtime.getTime() })
          }
          const existing = process.lookAt(path, false)
          if (header.type === "directory") {
            if (existing?.kind !== "Directory") process.make(path, { _tag: "Directory", mode: attributes.mode })
            process.setAttributes(path, attributes)
            return
          }
          if (existing !== undefined) machine.vfs.unlink(path, process.cwd, actor)
          const target = ByteString.fromText(header.linkname ?? "")
          if (header.type === "symlink") {
            process.make(path, { _tag: "Symlink", target })
            process.setAttributes(path, { uid: attributes.uid, gid: attributes.gid }, false)
          } else if (header.type === "link") machine.vfs.link(target, path, process.cwd, actor)
          else {
            const file = process.openFile(path, { read: false, write: true, create: true, truncate: true })
            try {
              file.write(0, data ?? new Uint8Array())
            } finally {
              file.close()
            }
            process.setAttributes(path, attributes)
          }
        })
      )
      if (result._tag === "Failure") {
        yield* process.complain(`tar: can't open '${path}': ${result.failure.problem}`)
        status = 1
        break
      }
    }
    return status
  })

const listArchive = (process: Process, options: Options, archive: string): Effect.Effect<number, Errno> =>
  Effect.gen(function* () {
    const entries = yield* readArchive(process, archive)
    if (entries === undefined) return 1
    for (const { header } of entries) {
      const name = ByteString.fromText(header.name)
      if (isChosen(name, options.operands)) yield* process.print(`${name}\n`)
    }
    return 0
  })

export const gzip: Program = withOptions("dckf123456789", (process, options) => {
  const isExpansion = options.has("d") || process.name === "gunzip" || process.name === "zcat"
  const isToOutput = options.has("c") || process.name === "zcat" || options.operands.length === 0
  const convert = (text: string) => (isExpansion ? gunzipBytes(text) : Effect.succeed(gzipBytes(text)))
  return forEach(options.operands.length === 0 ? ["-"] : options.operands, (path) =>
    Effect.gen(function* () {
      const output = yield* Effect.flatMap(content(process, path), convert)
      if (isToOutput) {
        yield* process.print(output)
        return 0
      }
      yield* process.writeFile(isExpansion ? path.replace(/\.gz$/, "") : `${path}.gz`, output, process.stat(path).mode)
      if (!options.has("k")) yield* attempt(() => process.machine.vfs.unlink(path, process.cwd, process.actor))
      return 0
    }).pipe(Effect.catch(({ problem }) => Effect.as(process.complain(`${process.name}: ${path}: ${problem}`), 1)))
  )
})

/** `md5sum` and its kin; `-c` checks a list that one of them made. */
export const checksum = (algorithm: string): Program =>
  withOptions("cbs", (process, options) =>
    forEach(options.operands.length === 0 ? ["-"] : options.operands, (path) =>
      content(process, path).pipe(
        Effect.flatMap((text) =>
          options.has("c")
            ? check(process, algorithm, text)
            : Effect.as(process.print(`${Crypto.hash(algorithm, ByteString.toBytes(text))}  ${path}\n`), 0)
        ),
        Effect.catch(({ problem }) =>
          Effect.as(process.complain(`${process.name}: can't open '${path}': ${problem}`), 1)
        )
      )
    )
  )

const check = (process: Process, algorithm: string, list: string): Effect.Effect<number, Errno> =>
  forEach(
    list.split("\n").filter((line) => line !== ""),
    (line) => {
      const [, expected, path = ""] = /^(\w+) [ *](.*)$/.exec(line) ?? []
      return Effect.flatMap(content(process, path), (text) => {
        const isSame = Crypto.hash(algorithm, ByteString.toBytes(text)) === expected
        return Effect.as(process.print(`${path}: ${isSame ? "OK" : "FAILED"}\n`), isSame ? 0 : 1)
      })
    }
  )
