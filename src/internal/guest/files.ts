/** Implements `Guest.Files` for a guest. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { posix as Path } from "node:path"
import type * as Guest from "../../Guest.ts"
import { FileError, LightboxError } from "../../LightboxError.ts"
import { Bytes, CString, FilePath, intBetween, Text } from "../config/schemas.ts"
import { callDecoder, decoder } from "../config/validation.ts"
import { ifMissing } from "../host/fileFailure.ts"

const defaultMode = 0o644

const At = Schema.Struct({ path: FilePath })
const Between = Schema.Struct({ from: FilePath, to: FilePath })
const Mode = Schema.optional(intBetween(0, 0o7777))
const Offset = Schema.optional(intBetween(0, Number.MAX_SAFE_INTEGER))
const WriteOptions = Schema.Struct({
  flag: Schema.optional(Schema.Literals(["w", "wx", "w+", "wx+", "a", "ax", "a+", "ax+", "r+"])),
  mode: Mode
})

const ReadOptions = Schema.Struct({ maxBytes: Schema.optional(Bytes) })
const decodeRead = callDecoder("Sandbox.readFile", At, ReadOptions)
const decodeReadString = callDecoder("Sandbox.readFileString", At, ReadOptions)
const decodeStream = callDecoder("Sandbox.stream", At, Schema.Struct({ offset: Offset, bytesToRead: Offset }))
const decodeSink = callDecoder("Sandbox.sink", At, WriteOptions)
const decodeWrite = callDecoder(
  "Sandbox.writeFile",
  Schema.Struct({ ...At.fields, data: Schema.Uint8Array }),
  WriteOptions
)
const decodeWriteString = callDecoder(
  "Sandbox.writeFileString",
  Schema.Struct({ ...At.fields, text: Text }),
  WriteOptions
)
const decodeMakeDirectory = callDecoder("Sandbox.makeDirectory", At, Schema.Struct({ mode: Mode }))
const decodeRemove = callDecoder("Sandbox.remove", At, Schema.Struct({ recursive: Schema.optional(Schema.Boolean) }))
const decodeSymlink = decoder(Schema.Struct({ target: CString, path: FilePath }), "Sandbox.symlink")

const onPath = <A>(method: string, use: (path: string) => Effect.Effect<A, LightboxError>) => {
  const decode = decoder(At, method)
  return Effect.fn(method)((path: string) => Effect.flatMap(decode({ path }), (checked) => use(checked.path)))
}

const onPaths = (method: string, use: (from: string, to: string) => Effect.Effect<void, LightboxError>) => {
  const decode = decoder(Between, method)
  return Effect.fn(method)((from: string, to: string) =>
    Effect.flatMap(decode({ from, to }), (checked) => use(checked.from, checked.to))
  )
}

const readOptions = Schema.UndefinedOr(Schema.Struct({ maxBytes: Schema.optional(Bytes) }))

export const maxBytesOf = (
  method: string,
  options: Guest.ReadOptions | undefined
): Effect.Effect<number, LightboxError> =>
  Effect.map(decoder(readOptions, method)(options), (checked) => checked?.maxBytes ?? defaultMaxBytes)

export const openOptions = (flag: FileSystem.OpenFlag, mode?: number): Guest.OpenOptions => ({
  read: flag.startsWith("r") || flag.endsWith("+"),
  write: flag.startsWith("w") || flag === "r+",
  append: flag.startsWith("a"),
  create: !flag.startsWith("r"),
  createNew: flag.includes("x"),
  truncate: flag.startsWith("w"),
  mode
})

export const tooLarge = (maxBytes: number): string => `it has more than ${maxBytes} bytes, the limit (maxBytes)`

export const atMost =
  (method: string, path: string, maxBytes: number) =>
  <E, R>(stream: Stream.Stream<Uint8Array, E, R>): Stream.Stream<Uint8Array, E | LightboxError, R> =>
    Stream.suspend(() => {
      let size = 0
      return Stream.tap(stream, (bytes) => {
        size += bytes.length
        if (size <= maxBytes) return Effect.void
        const reason = new FileError({ operation: "read", path, code: "EFBIG", problem: tooLarge(maxBytes) })
        return Effect.fail(new LightboxError({ method, reason }))
      })
    })

export const defaultMaxBytes = 256 * 1024 * 1024

const readStream = (guest: Guest.Guest, path: string, maxBytes: number) =>
  Effect.map(guest.open(path, { read: true }), (file) => file.stream().pipe(atMost("Sandbox.read", path, maxBytes)))

export const readBytes = (
  guest: Guest.Guest,
  path: string,
  maxBytes = defaultMaxBytes
): Effect.Effect<Uint8Array, LightboxError> =>
  Effect.scoped(Effect.flatMap(readStream(guest, path, maxBytes), (bytes) => Stream.mkUint8Array(bytes)))

/** Reads a text, by default of up to 1 MiB, such as the guest's database of users. */
export const readText = (
  guest: Guest.Guest,
  path: string,
  maxBytes = 1024 * 1024
): Effect.Effect<string, LightboxError> =>
  Effect.scoped(Effect.flatMap(readStream(guest, path, maxBytes), (bytes) => Stream.mkString(Stream.decodeText(bytes))))

export const writeTo = (file: Guest.File, data: Uint8Array): Effect.Effect<void, LightboxError> =>
  Stream.run(Stream.make(data), file.sink())

export const make = (guest: Guest.Guest): Guest.Files => {
  const openToWrite = Effect.fnUntraced(function* (
    checked: Effect.Effect<typeof At.Type & typeof WriteOptions.Type, LightboxError>
  ): Effect.fn.Return<Guest.File, LightboxError, Scope.Scope> {
    const { flag = "w", mode, path } = yield* checked
    const file = yield* guest.open(path, openOptions(flag, mode ?? defaultMode))
    // The agent's umask applies to the mode of a new file.
    if (mode !== undefined) yield* file.setAttributes({ mode })
    return file
  })

  const write = (checked: Parameters<typeof openToWrite>[0], data: () => Uint8Array) =>
    Effect.scoped(Effect.flatMap(openToWrite(checked), (file) => writeTo(file, data())))

  const entries = (path: string) =>
    Effect.map(guest.readDirectoryEntries(path), (all) => all.toSorted((a, b) => (a.path < b.path ? -1 : 1)))

  return {
    readFile: Effect.fn("Sandbox.readFile")((path, options) =>
      Effect.flatMap(decodeRead({ path }, options), ({ maxBytes }) => readBytes(guest, path, maxBytes))
    ),
    readFileString: Effect.fn("Sandbox.readFileString")((path, options) =>
      Effect.flatMap(decodeReadString({ path }, options), ({ maxBytes = defaultMaxBytes }) =>
        readText(guest, path, maxBytes)
      )
    ),
    stream: (path, range) =>
      Stream.unwrap(
        Effect.flatMap(decodeStream({ path }, range), (checked) =>
          Effect.map(guest.open(checked.path, { read: true }), (file) => file.stream(checked))
        )
      ).pipe(Stream.withSpan("Sandbox.stream")),
    writeFile: Effect.fn("Sandbox.writeFile")((path, data, options) =>
      write(decodeWrite({ path, data }, options), () => data)
    ),
    writeFileString: Effect.fn("Sandbox.writeFileString")((path, text, options) =>
      write(decodeWriteString({ path, text }, options), () => new TextEncoder().encode(text))
    ),
    sink: (path, options) => Sink.unwrap(Effect.map(openToWrite(decodeSink({ path }, options)), (file) => file.sink())),
    exists: onPath("Sandbox.exists", (path) =>
      guest.stat(path).pipe(Effect.as(true), ifMissing(false, ["ENOENT", "ENOTDIR"]))
    ),
    stat: onPath("Sandbox.stat", (path) => guest.stat(path)),
    readDirectory: onPath("Sandbox.readDirectory", (path) =>
      Effect.map(entries(path), (all) => all.map((entry) => Path.basename(entry.path)))
    ),
    readDirectoryEntries: onPath("Sandbox.readDirectoryEntries", entries),
    makeDirectory: Effect.fn("Sandbox.makeDirectory")((path, options) =>
      Effect.flatMap(decodeMakeDirectory({ path }, options), () => guest.makeDirectory(path, options))
    ),
    remove: Effect.fn("Sandbox.remove")((path, options) =>
      decodeRemove({ path }, options).pipe(
        Effect.andThen(guest.stat(path, { followSymlinks: false })),
        Effect.flatMap(({ type }) =>
          type === "Directory" ? guest.removeDirectory(path, { recursive: options?.recursive }) : guest.removeFile(path)
        ),
        ifMissing(undefined)
      )
    ),
    rename: onPaths("Sandbox.rename", guest.rename),
    copyFile: onPaths("Sandbox.copyFile", guest.copyFile),
    realPath: onPath("Sandbox.realPath", guest.realPath),
    readLink: onPath("Sandbox.readLink", guest.readLink),
    symlink: Effect.fn("Sandbox.symlink")((target, path) =>
      Effect.flatMap(decodeSymlink({ target, path }), () => guest.symlink(target, path))
    )
  }
}
