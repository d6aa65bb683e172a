/**
 * Watches files of a guest.
 *
 * A script in the guest polls every 250 milliseconds and prints a listing when it has changed. This works the same in
 * every image with a shell, `find` and `stat`; the kernel's notifications need a program that few images have.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import { posix as Path } from "node:path"
import type * as Guest from "../../Guest.ts"
import { CommandNotStarted, FileError, LightboxError } from "../../LightboxError.ts"
import { typeOf } from "./attributes.ts"

/**
 * Arguments: the separator of records, and the arguments of `find`. A record has the inode, change time, size, mode and
 * path. Writes only complete listings.
 */
const script = `
mark=$1; shift
command -v find >/dev/null && stat -c %i / >/dev/null || exit 127
last=none
while :; do
  now=$(find "$@" -exec stat -c "$mark%i %z|%s|%f|%n" {} + 2>/dev/null)
  if [ "$now" != "$last" ]; then
    printf '%s\\n%send' "$now" "$mark"
    last=$now
  fi
  sleep 0.25 2>/dev/null || sleep 1
done
`

/** Identifies a file and shows whether it changed. */
interface Entry {
  readonly inode: string
  readonly state: string
}

type Listing = ReadonlyMap<string, Entry>

const isDirectory = (mode: string): boolean => typeOf(Number.parseInt(mode, 16)) === "Directory"

/** Emits the events of a file, or of a folder and its content, with names relative to the folder. */
export const watch = (
  guest: Guest.Guest,
  path: string,
  info: Guest.FileInfo,
  options: FileSystem.WatchOptions | undefined
): Stream.Stream<FileSystem.WatchEvent, LightboxError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const root = Path.resolve(path)
      const mark = `${Crypto.randomUUID()} `
      const folder = info.type === "Directory" ? root : Path.dirname(root)
      const search =
        info.type !== "Directory"
          ? [root, "-maxdepth", "0"]
          : [root, "-mindepth", "1", ...(options?.recursive === true ? [] : ["-maxdepth", "1"])]
      const process = yield* guest.spawn({ argv: ["/bin/sh", "-c", script, "sh", mark, ...search], user: "0:0" })
      return process.output.pipe(
        Stream.filter(({ _tag }) => _tag === "Stdout"),
        Stream.map(({ bytes }) => bytes),
        Stream.decodeText,
        Stream.mapAccum(
          () => "",
          (pending: string, text) => {
            const parts = (pending + text).split(`\n${mark}end`)
            return [parts.pop() ?? "", parts]
          }
        ),
        Stream.mapAccum(
          (): Listing | undefined => undefined,
          (before, text) => {
            const after = parse(text, mark, folder)
            if (before === undefined) options?.onReady?.()
            return [after, before === undefined ? [] : changes(before, after)]
          }
        ),
        Stream.concat(Stream.fromEffect(Effect.flatMap(process.exitCode, ended(path))))
      )
    })
  )

const ended =
  (path: string) =>
  (exitCode: number): Effect.Effect<never, LightboxError> =>
    Effect.fail(
      new LightboxError({
        method: "Sandbox.watch",
        reason:
          exitCode === 127
            ? new CommandNotStarted({
                argv: ["find"],
                kind: "ProgramNotFound",
                problem: "watching needs the programs find and stat in the guest"
              })
            : new FileError({
                operation: "watch",
                path,
                code: "UNKNOWN",
                problem: "the watching process in the guest has ended"
              })
      })
    )

const parse = (text: string, mark: string, folder: string): Listing =>
  new Map(
    text.split(mark).flatMap((record) => {
      const match = /^(\d+) ([^|]*)\|(\d+)\|([0-9a-f]+)\|([\s\S]*?)\n?$/.exec(record)
      if (match === null) return []
      const [, inode = "", changed = "", size = "", mode = "", name = ""] = match
      // A folder's time changes with its entries, which have events of their own.
      return [[Path.relative(folder, name), { inode, state: isDirectory(mode) ? mode : `${changed} ${size} ${mode}` }]]
    })
  )

const changes = (before: Listing, after: Listing): ReadonlyArray<FileSystem.WatchEvent> => [
  ...[...before.keys()].flatMap((path): ReadonlyArray<FileSystem.WatchEvent> =>
    after.has(path) ? [] : [{ _tag: "Remove", path }]
  ),
  ...[...after].flatMap(([path, entry]): ReadonlyArray<FileSystem.WatchEvent> => {
    const old = before.get(path)
    if (old?.inode !== entry.inode) return [{ _tag: "Create", path }]
    return old.state === entry.state ? [] : [{ _tag: "Update", path }]
  })
]
