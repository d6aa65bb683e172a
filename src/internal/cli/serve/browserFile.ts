/**
 * A file that leads a browser to a link. Others on this machine can see the arguments of programs, so the browser is given a
 * file that only this user can read.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"

/**
 * Where it can be, the best place first. Browsers that are installed as snaps have their own folder for temporary files, and
 * see of the user's only what is not hidden in the home.
 */
export const folders = (snaps = "/var/lib/snapd"): ReadonlyArray<string> =>
  FsSync.existsSync(snaps) ? [Os.homedir(), Os.tmpdir()] : [Os.tmpdir(), Os.homedir()]

/** Writes the file for the scope. Returns nothing if it cannot be written in any of the folders. */
export const write = Effect.fnUntraced(function* (
  url: string,
  folders: ReadonlyArray<string>
): Effect.fn.Return<string | undefined, never, Scope.Scope> {
  for (const parent of folders) {
    const folder = yield* Effect.acquireRelease(
      Effect.promise(() => Fs.mkdtemp(Path.join(parent, "lightbox-ui-")).catch(() => undefined)),
      (folder) =>
        Effect.promise(async () => {
          if (folder !== undefined) await Fs.rm(folder, { recursive: true, force: true }).catch(() => {})
        })
    )
    if (folder === undefined) continue
    const file = Path.join(folder, "lightbox.html")
    const text = `<!doctype html><meta http-equiv="refresh" content="0;url=${url}">`
    const isWritten = yield* Effect.promise(() =>
      Fs.writeFile(file, text, { mode: 0o600 }).then(
        () => true,
        () => false
      )
    )
    if (isWritten) return file
  }
  return undefined
})
