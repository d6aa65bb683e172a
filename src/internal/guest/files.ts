/** Implements `Guest.Files` for a guest. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { posix as Path } from "node:path"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { intBetween } from "../config/schemas.ts"
import { decoder } from "../config/validation.ts"

const defaultMode = 0o644

const writeOptions = Schema.UndefinedOr(
  Schema.Struct({
    flag: Schema.optional(Schema.Literals(["w", "wx", "w+", "wx+", "a", "ax", "a+", "ax+", "r+"])),
    mode: Schema.optional(intBetween(0, 0o7777))
  })
)

export const openOptions = (flag: FileSystem.OpenFlag, mode?: number): Guest.OpenOptions => ({
  read: flag.startsWith("r") || flag.endsWith("+"),
  write: flag.startsWith("w") || flag === "r+",
  append: flag.startsWith("a"),
  create: !flag.startsWith("r"),
  createNew: flag.includes("x"),
  truncate: flag.startsWith("w"),
  mode
})

const isMissing = (code: string): boolean => code === "ENOENT" || code === "ENOTDIR"

export const make = (guest: Guest.Guest): Guest.Files => {
  const openToRead = (path: string) => guest.open(path, { read: true })

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
    Effect.scoped(
      Effect.flatMap(openToWrite(method, path, options), (file) => Stream.run(Stream.make(data), file.sink()))
    )

  const entries = (path: string) =>
    Effect.map(guest.readDirectoryEntries(path), (all) => all.toSorted((a, b) => (a.path < b.path ? -1 : 1)))

  return {
    readFile: Effect.fn("Sandbox.readFile")(function* (path) {
      return yield* Effect.flatMap(openToRead(path), (file) => Stream.mkUint8Array(file.stream()))
    }, Effect.scoped),
    readFileString: Effect.fn("Sandbox.readFileString")(function* (path) {
      return yield* Effect.flatMap(openToRead(path), (file) => Stream.mkString(Stream.decodeText(file.stream())))
    }, Effect.scoped),
    stream: (path, range) =>
      Stream.unwrap(Effect.map(openToRead(path), (file) => file.stream(range))).pipe(Stream.withSpan("Sandbox.stream")),
    writeFile: Effect.fn("Sandbox.writeFile")(function* (path, data, options) {
      yield* write("Sandbox.writeFile", path, data, options)
    }),
    writeFileString: Effect.fn("Sandbox.writeFileString")(function* (path, text, options) {
      yield* write("Sandbox.writeFileString", path, new TextEncoder().encode(text), options)
    }),
    sink: (path, options) => Sink.unwrap(Effect.map(openToWrite("Sandbox.sink", path, options), (file) => file.sink())),
    exists: Effect.fn("Sandbox.exists")(function* (path) {
      return yield* guest.stat(path).pipe(
        Effect.as(true),
        Effect.catchReason("LightboxError", "FileError", ({ code }, error) =>
          isMissing(code) ? Effect.succeed(false) : Effect.fail(error)
        )
      )
    }),
    stat: Effect.fn("Sandbox.stat")(function* (path) {
      return yield* guest.stat(path)
    }),
    readDirectory: Effect.fn("Sandbox.readDirectory")(function* (path) {
      return (yield* entries(path)).map((entry) => Path.basename(entry.path))
    }),
    readDirectoryEntries: Effect.fn("Sandbox.readDirectoryEntries")(function* (path) {
      return yield* entries(path)
    }),
    makeDirectory: Effect.fn("Sandbox.makeDirectory")(function* (path, options) {
      yield* guest.makeDirectory(path, options)
    }),
    remove: Effect.fn("Sandbox.remove")(function* (path, options) {
      yield* guest.stat(path, { followSymlinks: false }).pipe(
        Effect.flatMap(({ type }) =>
          type === "Directory" ? guest.removeDirectory(path, { recursive: options?.recursive }) : guest.removeFile(path)
        ),
        Effect.catchReason("LightboxError", "FileError", ({ code }, error) =>
          code === "ENOENT" ? Effect.void : Effect.fail(error)
        )
      )
    }),
    rename: Effect.fn("Sandbox.rename")(function* (from, to) {
      yield* guest.rename(from, to)
    }),
    copyFile: Effect.fn("Sandbox.copyFile")(function* (from, to) {
      yield* guest.copyFile(from, to)
    }),
    realPath: Effect.fn("Sandbox.realPath")(function* (path) {
      return yield* guest.realPath(path)
    }),
    readLink: Effect.fn("Sandbox.readLink")(function* (path) {
      return yield* guest.readLink(path)
    }),
    symlink: Effect.fn("Sandbox.symlink")(function* (target, path) {
      yield* guest.symlink(target, path)
    })
  }
}
