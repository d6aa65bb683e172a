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
import { Bytes, intBetween } from "../config/schemas.ts"
import { decoder } from "../config/validation.ts"
import { ifMissing } from "../host/fileFailure.ts"

const defaultMode = 0o644

const writeOptions = Schema.UndefinedOr(
  Schema.Struct({
    flag: Schema.optional(Schema.Literals(["w", "wx", "w+", "wx+", "a", "ax", "a+", "ax+", "r+"])),
    mode: Schema.optional(intBetween(0, 0o7777))
  })
)

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
    method: string,
    path: string,
    options: Guest.WriteOptions | undefined
  ): Effect.fn.Return<Guest.File, LightboxError, Scope.Scope> {
    const { flag = "w", mode } = (yield* decoder(writeOptions, method)(options)) ?? {}
    const file = yield* guest.open(path, openOptions(flag, mode ?? defaultMode))
    // The agent's umask applies to the mode of a new file.
    if (mode !== undefined) yield* file.setAttributes({ mode })
    return file
  })

  const write = (method: string, path: string, data: Uint8Array, options: Guest.WriteOptions | undefined) =>
    Effect.scoped(Effect.flatMap(openToWrite(method, path, options), (file) => writeTo(file, data)))

  const entries = (path: string) =>
    Effect.map(guest.readDirectoryEntries(path), (all) => all.toSorted((a, b) => (a.path < b.path ? -1 : 1)))

  return {
    readFile: Effect.fn("Sandbox.readFile")((path, options) =>
      Effect.flatMap(maxBytesOf("Sandbox.readFile", options), (maxBytes) => readBytes(guest, path, maxBytes))
    ),
    readFileString: Effect.fn("Sandbox.readFileString")((path, options) =>
      Effect.flatMap(maxBytesOf("Sandbox.readFileString", options), (maxBytes) => readText(guest, path, maxBytes))
    ),
    stream: (path, range) =>
      Stream.unwrap(Effect.map(guest.open(path, { read: true }), (file) => file.stream(range))).pipe(
        Stream.withSpan("Sandbox.stream")
      ),
    writeFile: Effect.fn("Sandbox.writeFile")((path, data, options) => write("Sandbox.writeFile", path, data, options)),
    writeFileString: Effect.fn("Sandbox.writeFileString")((path, text, options) =>
      write("Sandbox.writeFileString", path, new TextEncoder().encode(text), options)
    ),
    sink: (path, options) => Sink.unwrap(Effect.map(openToWrite("Sandbox.sink", path, options), (file) => file.sink())),
    exists: Effect.fn("Sandbox.exists")((path) =>
      guest.stat(path).pipe(Effect.as(true), ifMissing(false, ["ENOENT", "ENOTDIR"]))
    ),
    stat: Effect.fn("Sandbox.stat")((path) => guest.stat(path)),
    readDirectory: Effect.fn("Sandbox.readDirectory")((path) =>
      Effect.map(entries(path), (all) => all.map((entry) => Path.basename(entry.path)))
    ),
    readDirectoryEntries: Effect.fn("Sandbox.readDirectoryEntries")(entries),
    makeDirectory: Effect.fn("Sandbox.makeDirectory")(guest.makeDirectory),
    remove: Effect.fn("Sandbox.remove")((path, options) =>
      guest.stat(path, { followSymlinks: false }).pipe(
        Effect.flatMap(({ type }) =>
          type === "Directory" ? guest.removeDirectory(path, { recursive: options?.recursive }) : guest.removeFile(path)
        ),
        ifMissing(undefined)
      )
    ),
    rename: Effect.fn("Sandbox.rename")(guest.rename),
    copyFile: Effect.fn("Sandbox.copyFile")(guest.copyFile),
    realPath: Effect.fn("Sandbox.realPath")(guest.realPath),
    readLink: Effect.fn("Sandbox.readLink")(guest.readLink),
    symlink: Effect.fn("Sandbox.symlink")(guest.symlink)
  }
}
