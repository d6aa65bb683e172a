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
import { ifMissing } from "../host/fileFailure.ts"

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

/** Reads a whole file. */
export const readBytes = (guest: Guest.Guest, path: string): Effect.Effect<Uint8Array, LightboxError> =>
  Effect.scoped(Effect.flatMap(guest.open(path, { read: true }), (file) => Stream.mkUint8Array(file.stream())))

export const readText = (guest: Guest.Guest, path: string): Effect.Effect<string, LightboxError> =>
  Effect.scoped(
    Effect.flatMap(guest.open(path, { read: true }), (file) => Stream.mkString(Stream.decodeText(file.stream())))
  )

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
    readFile: Effect.fn("Sandbox.readFile")((path) => readBytes(guest, path)),
    readFileString: Effect.fn("Sandbox.readFileString")((path) => readText(guest, path)),
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
