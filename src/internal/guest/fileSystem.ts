/**
 * Implements Effect's `FileSystem` for a guest.
 *
 * The agent does most of it and reports the kernel's errors. A few operations use the guest's programs instead; when
 * one fails, the error is derived from the state of the paths.
 */
import * as ByteSize from "effect/ByteSize"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as PlatformError from "effect/PlatformError"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import { posix as Path } from "node:path"
import type * as Guest from "../../Guest.ts"
import { FileError, LightboxError } from "../../LightboxError.ts"
import { ifMissing } from "../host/fileFailure.ts"
import { maxEntries } from "../host/files.ts"
import { makeReader } from "./bulkRead.ts"
import * as Execution from "./execution.ts"
import { openOptions, readBytes, writeTo } from "./files.ts"
import { bitsOf, fromSeconds } from "./attributes.ts"
import { watch } from "./watch.ts"
import { failure, type Operation, refusal, toPlatformError } from "./platformErrors.ts"

/** The agent allows 1024 open files per connection, including those that programs open. */
const maxOpenAtOnce = 128

/** The agent's umask. */
const umask = 0o022

const temporary = "/tmp"

/** Runs a program like the agent's file operations: as root, with messages in English. */
export const asAgent = (...argv: readonly [string, ...ReadonlyArray<string>]): Guest.Command => ({
  ...Execution.asRoot(...argv),
  env: { LC_ALL: "C" }
})

export const make = (guest: Guest.Guest, cwd: string): FileSystem.FileSystem => {
  const gate = Semaphore.makeUnsafe(maxOpenAtOnce)
  const limited = Semaphore.withPermit(gate)

  const at = <A, R>(
    method: string,
    path: string,
    use: (path: string) => Effect.Effect<A, LightboxError | PlatformError.PlatformError, R>
  ): Effect.Effect<A, PlatformError.PlatformError, R> => {
    const operation: Operation = { module: "FileSystem", method, path }
    if (path.includes("\0")) return Effect.fail(refusal(operation, "a path cannot contain NUL characters"))
    if (path === "") return Effect.fail(failure(operation, { code: "ENOENT", problem: "a path cannot be empty" }))
    return Effect.mapError(use(path.startsWith("/") ? path : Path.join(cwd, path)), toPlatformError(operation))
  }

  const atBoth = <A, R>(
    method: string,
    fromPath: string,
    toPath: string,
    use: (from: string, to: string) => Effect.Effect<A, LightboxError | PlatformError.PlatformError, R>
  ) => at(method, fromPath, (from) => at(method, toPath, (to) => use(from, to)))

  const lstat = (path: string) => guest.stat(path, { followSymlinks: false })

  /** Sets attributes computed from numbers, once these are known to be whole. */
  const setAttributes = (
    method: string,
    path: string,
    numbers: { readonly [name: string]: number },
    attributes: () => Guest.FileAttributes
  ) =>
    at(method, path, (absolute) =>
      Effect.flatMap(requireIntegers(method, numbers), () => guest.setAttributes(absolute, attributes()))
    )

  /** Returns the attributes of a path, or `undefined` if it does not exist. */
  const lookUp = (path: string): Effect.Effect<Guest.FileInfo | undefined, LightboxError> =>
    ifMissing(undefined)(lstat(path))

  const run = (...argv: readonly [string, ...ReadonlyArray<string>]) =>
    Execution.collect(guest, "FileSystem", asAgent(...argv))

  /** Runs a program that creates `path`. On failure, derives the error from the path instead of the message. */
  const runToMake = Effect.fnUntraced(function* (
    method: string,
    path: string,
    ...argv: readonly [string, ...ReadonlyArray<string>]
  ) {
    const { exitCode, stderr } = yield* run(...argv)
    if (exitCode === 0) return
    if ((yield* lookUp(path)) !== undefined) return yield* failed(method, path, "EEXIST", "File exists")
    yield* requireDirectory(method, Path.dirname(path))
    return yield* failed(method, path, "UNKNOWN", new TextDecoder().decode(stderr).trim())
  })

  const requireDirectory = Effect.fnUntraced(function* (method: string, path: string) {
    const { type } = yield* guest.stat(path)
    if (type !== "Directory") return yield* failed(method, path, "ENOTDIR", "Not a directory")
  })

  const open: FileSystem.FileSystem["open"] = (path, options) =>
    at("open", path, (absolute) =>
      options?.noFollow === true
        ? Effect.fail(refusal({ module: "FileSystem", method: "open" }, "noFollow is not supported in a guest"))
        : Effect.map(guest.open(absolute, openOptions(options?.flag ?? "r", options?.mode)), (file) =>
            makeFile(file, path, options?.flag?.startsWith("a") === true, run("sync", absolute))
          )
    )

  const readWhole = makeReader(guest, (path) => limited(readBytes(guest, path)))

  const writeWhole = (path: string, data: Uint8Array, options: Guest.OpenOptions) =>
    limited(Effect.scoped(Effect.flatMap(guest.open(path, options), (file) => writeTo(file, data))))

  const access: FileSystem.FileSystem["access"] = (path, options) =>
    at("access", path, (absolute) =>
      Effect.gen(function* () {
        yield* guest.stat(absolute)
        if (options?.writable !== true) return
        // Root can write everywhere except on read-only mounts.
        const { exitCode } = yield* run("test", "-w", absolute)
        if (exitCode !== 0) return yield* failed("access", path, "EROFS", "Read-only file system")
      })
    )

  const remove = (method: string, path: string, options: Parameters<FileSystem.FileSystem["remove"]>[1]) =>
    at(method, path, (absolute) =>
      Effect.gen(function* () {
        const { type } = yield* lstat(absolute)
        if (type !== "Directory") return yield* guest.removeFile(absolute)
        if (options?.recursive !== true) {
          return yield* failed(method, path, "UNKNOWN", "it is a directory, and the option recursive was not given")
        }
        return yield* guest.removeDirectory(absolute, { recursive: true })
      }).pipe(ifMissing(undefined, options?.force === true ? ["ENOENT"] : []))
    )

  const link: FileSystem.FileSystem["link"] = (fromPath, toPath) =>
    atBoth("link", fromPath, toPath, (from, to) =>
      Effect.gen(function* () {
        const { type } = yield* lstat(from)
        if (type === "Directory") return yield* failed("link", fromPath, "EPERM", "it is a directory")
        // `ln` would create the link inside an existing folder.
        if ((yield* lookUp(to)) !== undefined) return yield* failed("link", toPath, "EEXIST", "File exists")
        return yield* runToMake("link", to, "ln", from, to)
      })
    )

  const makeDirectory: FileSystem.FileSystem["makeDirectory"] = (path, options) =>
    at("makeDirectory", path, (absolute) => {
      const mode = options?.mode === undefined ? undefined : options.mode & ~umask
      if (options?.recursive === true) {
        return mode === undefined ? guest.makeDirectory(absolute) : makeDirectories(absolute, mode)
      }
      // The agent creates parents and accepts an existing folder, but programs use mkdir(2) as a lock.
      const flags = mode === undefined ? [] : ["-m", mode.toString(8)]
      return runToMake("makeDirectory", absolute, "mkdir", ...flags, absolute)
    })

  /** Creates a folder and its parents with a mode, leaving existing ones unchanged. */
  const makeDirectories = (path: string, mode: number): Effect.Effect<void, LightboxError> =>
    Effect.catchReason(
      requireDirectory("makeDirectory", path),
      "LightboxError",
      "FileError",
      (reason, error): Effect.Effect<void, LightboxError> =>
        reason.code === "ENOENT"
          ? Effect.andThen(makeDirectories(Path.dirname(path), mode), guest.makeDirectory(path, { mode }))
          : Effect.fail(error)
    )

  const makeTempDirectory = (
    method: string,
    options: Parameters<FileSystem.FileSystem["makeTempDirectory"]>[0]
  ): Effect.Effect<string, PlatformError.PlatformError> =>
    Effect.suspend(() => {
      const folder = options?.directory === undefined ? temporary : Path.join(options.directory, ".")
      const path = `${options?.prefix === undefined ? `${folder}/` : Path.join(folder, options.prefix)}${random()}`
      return at(method, path, (absolute) =>
        Effect.andThen(requireDirectory(method, Path.dirname(absolute)), guest.makeDirectory(absolute, { mode: 0o700 }))
      ).pipe(Effect.as(path))
    })

  const makeTempFile = Effect.fnUntraced(function* (
    method: string,
    options: Parameters<FileSystem.FileSystem["makeTempFile"]>[0]
  ) {
    const folder = yield* makeTempDirectory(method, options)
    const path = Path.join(folder, `${random()}${options?.suffix ?? ""}`)
    yield* at(method, path, (absolute) => writeWhole(absolute, new Uint8Array(), openOptions("wx")))
    return path
  })

  /** Removes the temporary files of a scope. If the guest is lost, so are they. */
  const discard = (method: string, path: string) =>
    Effect.ignore(remove(method, path, { recursive: true, force: true }), { log: "Debug" })

  const entriesOf = (folder: string): Effect.Effect<ReadonlyArray<Entry>, LightboxError> =>
    Effect.map(limited(guest.readDirectoryEntries(folder)), (entries) =>
      entries.map((info) => ({ name: Path.basename(info.path), info }))
    )

  const namesBelow = (
    folder: string,
    count = { entries: 0 },
    prefix = ""
  ): Effect.Effect<ReadonlyArray<string>, LightboxError> =>
    Effect.flatMap(entriesOf(folder), (entries) => {
      count.entries += entries.length
      if (count.entries > maxEntries) {
        return Effect.fail(failed("readDirectory", folder, "EFBIG", `there are more than ${maxEntries} files`))
      }
      return Effect.map(
        Effect.forEach(
          entries,
          ({ info, name }) =>
            info.type === "Directory"
              ? Effect.map(namesBelow(`${folder}/${name}`, count, `${prefix}${name}/`), (below) => [
                  prefix + name,
                  ...below
                ])
              : Effect.succeed([prefix + name]),
          { concurrency: "unbounded" }
        ),
        (names) => names.flat()
      )
    })

  const copy: FileSystem.FileSystem["copy"] = (fromPath, toPath, options) =>
    atBoth("copy", fromPath, toPath, (from, to) =>
      Effect.gen(function* () {
        const [source, target] = yield* Effect.all([lstat(from), lookUp(to)], { concurrency: "unbounded" })
        if (`${Path.resolve(to)}/`.startsWith(`${Path.resolve(from)}/`)) {
          return yield* failed("copy", toPath, "EINVAL", "the target is the source, or inside it")
        }
        if (target === undefined) yield* guest.makeDirectory(Path.dirname(to))
        if (source.type !== "Directory" || target !== undefined || options?.preserveTimestamps === true) {
          return yield* copyEach({ path: from, info: source }, { path: to, info: target }, options ?? {})
        }
        // One program instead of a message per file. The agent's umask must not apply to copies.
        const { exitCode, stderr } = yield* run("sh", "-c", 'umask 0; exec cp -R -P "$1" "$2"', "sh", from, to)
        if (exitCode !== 0) {
          return yield* failed("copy", toPath, "UNKNOWN", new TextDecoder().decode(stderr).trim())
        }
      })
    )

  const copyEach = (
    from: { readonly path: string; readonly info: Guest.FileInfo },
    to: { readonly path: string; readonly info: Guest.FileInfo | undefined },
    options: CopyOptions
  ): Effect.Effect<void, LightboxError> =>
    Effect.gen(function* () {
      if (to.info !== undefined && (from.info.type === "Directory") !== (to.info.type === "Directory")) {
        return yield* failed("copy", to.path, "UNKNOWN", "a directory cannot replace a file, nor a file a directory")
      }
      const { type } = from.info
      if (type === "Directory") {
        if (to.info === undefined) yield* guest.makeDirectory(to.path)
        const [sources, targets] = yield* Effect.all(
          [entriesOf(from.path), to.info === undefined ? Effect.succeed([]) : entriesOf(to.path)],
          { concurrency: "unbounded" }
        )
        const existing = new Map(targets.map(({ info, name }) => [name, info]))
        yield* Effect.forEach(
          sources,
          ({ info, name }) =>
            copyEach(
              { path: `${from.path}/${name}`, info },
              { path: `${to.path}/${name}`, info: existing.get(name) },
              options
            ),
          { concurrency: "unbounded", discard: true }
        )
        if (to.info === undefined) yield* guest.setAttributes(to.path, { mode: from.info.mode })
      } else {
        if (type !== "File" && type !== "SymbolicLink") {
          return yield* failed("copy", from.path, "UNKNOWN", "it is neither a file nor a directory nor a link")
        }
        if (to.info !== undefined && options.overwrite !== true) return
        if (to.info !== undefined) yield* guest.removeFile(to.path)
        if (type === "SymbolicLink") return yield* guest.symlink(yield* guest.readLink(from.path), to.path)
        yield* limited(guest.copyFile(from.path, to.path))
      }
      if (options.preserveTimestamps === true) {
        const { atime, mtime } = from.info
        yield* guest.setAttributes(to.path, { atime, mtime })
      }
    })

  return FileSystem.make({
    access,
    chmod: (path, mode) => setAttributes("chmod", path, { mode }, () => ({ mode: mode & 0o7777 })),
    chown: (path, uid, gid) =>
      // As in chown(2), -1 means unchanged.
      setAttributes("chown", path, { uid, gid }, () => ({
        uid: uid < 0 ? undefined : uid,
        gid: gid < 0 ? undefined : gid
      })),
    copy,
    copyFile: (from, to) => atBoth("copyFile", from, to, guest.copyFile),
    link,
    lstat: (path) => at("lstat", path, (absolute) => Effect.map(lstat(absolute), infoOf)),
    makeDirectory,
    makeTempDirectory: (options) => makeTempDirectory("makeTempDirectory", options),
    makeTempDirectoryScoped: (options) =>
      Effect.acquireRelease(makeTempDirectory("makeTempDirectoryScoped", options), (path) =>
        discard("makeTempDirectoryScoped", path)
      ),
    makeTempFile: (options) => makeTempFile("makeTempFile", options),
    makeTempFileScoped: (options) =>
      Effect.acquireRelease(makeTempFile("makeTempFileScoped", options), (path) =>
        discard("makeTempFileScoped", Path.dirname(path))
      ),
    open,
    readDirectory: (path, options) =>
      at("readDirectory", path, (absolute) =>
        options?.recursive === true
          ? Effect.map(namesBelow(absolute), (names) => [...names])
          : Effect.map(entriesOf(absolute), (entries) => entries.map(({ name }) => name))
      ),
    readDirectoryEntries: (path) =>
      at("readDirectoryEntries", path, (absolute) =>
        Effect.map(entriesOf(absolute), (entries) => entries.map(({ info, name }) => ({ name, type: info.type })))
      ),
    readFile: (path) => at("readFile", path, readWhole),
    readLink: (path) => at("readLink", path, guest.readLink),
    realPath: (path) =>
      at("realPath", path, (absolute) =>
        // The agent also resolves a missing file if its folder exists.
        Effect.andThen(guest.stat(absolute), guest.realPath(absolute))
      ),
    remove: (path, options) => remove("remove", path, options),
    rename: (from, to) => atBoth("rename", from, to, guest.rename),
    stat: (path) => at("stat", path, (absolute) => Effect.map(guest.stat(absolute), infoOf)),
    symlink: (target, path) => at("symlink", path, (absolute) => guest.symlink(target, absolute)),
    truncate: (path, length = 0) => setAttributes("truncate", path, { length }, () => ({ size: Math.max(0, length) })),
    utimes: (path, accessed, modified) => {
      const [atime, mtime] = [secondsOf(accessed), secondsOf(modified)]
      return setAttributes("utimes", path, { atime, mtime }, () => ({
        atime: fromSeconds(atime),
        mtime: fromSeconds(mtime)
      }))
    },
    watch: (path, options) =>
      Stream.unwrap(
        at("watch", path, (absolute) =>
          Effect.map(guest.stat(absolute), (info) =>
            Stream.mapError(
              watch(guest, absolute, info, options),
              toPlatformError({ module: "FileSystem", method: "watch", path })
            )
          )
        )
      ),
    writeFile: (path, data, options) =>
      at("writeFile", path, (absolute) => writeWhole(absolute, data, openOptions(options?.flag ?? "w", options?.mode)))
  })
}

interface Entry {
  readonly name: string
  readonly info: Guest.FileInfo
}

type CopyOptions = NonNullable<Parameters<FileSystem.FileSystem["copy"]>[2]>

const failed = (operation: string, path: string, code: string, problem: string): LightboxError =>
  new LightboxError({ method: `FileSystem.${operation}`, reason: new FileError({ operation, path, code, problem }) })

const requireIntegers = (
  method: string,
  numbers: { readonly [name: string]: number }
): Effect.Effect<void, PlatformError.PlatformError> => {
  const wrong = Object.keys(numbers).find((name) => !Number.isSafeInteger(numbers[name]))
  return wrong === undefined
    ? Effect.void
    : Effect.fail(refusal({ module: "FileSystem", method }, `expected a whole number for ${wrong}`))
}

const random = (): string => Crypto.randomBytes(6).toString("hex")

/** The agent's times are in whole seconds. */
const secondsOf = (time: Date | number): number => Math.floor(time instanceof Date ? time.getTime() / 1000 : time)

// =============================================================================
// Information
// =============================================================================

const dateOf = (time: DateTime.Utc | undefined): Option.Option<Date> =>
  Option.map(Option.fromNullishOr(time), DateTime.toDateUtc)

const infoOf = (info: Guest.FileInfo): FileSystem.File.Info => ({
  type: info.type,
  mode: bitsOf(info.type) | info.mode,
  size: ByteSize.bytes(info.size),
  mtime: dateOf(info.mtime),
  atime: dateOf(info.atime),
  uid: Option.some(info.uid),
  gid: Option.some(info.gid),
  // Not available from the agent.
  dev: BigInt(0),
  birthtime: Option.none(),
  ino: Option.none(),
  nlink: Option.none(),
  rdev: Option.none(),
  blksize: Option.none(),
  blocks: Option.none()
})

// =============================================================================
// Open files
// =============================================================================

const makeFile = (
  file: Guest.File,
  path: string,
  isAppending: boolean,
  sync: Effect.Effect<unknown, LightboxError>
): FileSystem.File => {
  const zero = BigInt(0)
  let cursor = zero

  const on = <A>(
    method: string,
    effect: Effect.Effect<A, LightboxError>
  ): Effect.Effect<A, PlatformError.PlatformError> =>
    Effect.mapError(effect, toPlatformError({ module: "FileSystem", method, path }))

  const refuse = (method: string, description: string) =>
    Effect.fail(refusal({ module: "FileSystem", method }, description))

  const readAt = (method: string, length: number, position: bigint | undefined) =>
    Effect.suspend(() => {
      const from = position ?? cursor
      if (from < zero) return refuse(method, "Cannot read before the start of the file")
      return Effect.map(
        on(method, Stream.mkUint8Array(file.stream({ offset: Number(from), bytesToRead: length }))),
        (bytes) => {
          if (position === undefined) cursor = from + BigInt(bytes.length)
          return bytes
        }
      )
    })

  const write = (method: string, bytes: Uint8Array) =>
    Effect.suspend(() => {
      const from = cursor
      return Effect.map(on(method, Stream.run(Stream.make(bytes), file.sink(Number(from)))), () => {
        if (!isAppending) cursor = from + BigInt(bytes.length)
      })
    })

  return {
    [FileSystem.FileTypeId]: FileSystem.FileTypeId,
    stat: on("stat", Effect.map(file.stat, infoOf)),
    seek: (offset, from) =>
      Effect.suspend(() => {
        const to = from === "start" ? offset : cursor + offset
        if (to < zero) return refuse("seek", "Cannot seek before the start of the file")
        cursor = to
        return Effect.succeed(to)
      }),
    sync: on("sync", Effect.asVoid(sync)),
    read: (buffer, options) =>
      Effect.map(readAt("read", buffer.length, options?.position), (bytes) => {
        buffer.set(bytes)
        return bytes.length
      }),
    readAlloc: (size, options) =>
      Number.isSafeInteger(size) && size >= 0
        ? Effect.map(readAt("readAlloc", size, options?.position), (bytes) =>
            bytes.length === 0 ? Option.none() : Option.some(bytes)
          )
        : refuse("readAlloc", "size must be a non-negative integer"),
    truncate: (length = 0) =>
      Effect.andThen(
        requireIntegers("truncate", { length }),
        Effect.map(on("truncate", file.setAttributes({ size: Math.max(0, length) })), () => {
          if (!isAppending && cursor > BigInt(length)) cursor = BigInt(length)
        })
      ),
    write: (buffer) => Effect.as(write("write", buffer), buffer.length),
    writeAll: (buffer) => write("writeAll", buffer)
  }
}
