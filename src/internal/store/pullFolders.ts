/** Where pulls from registries keep what they have received, until it is complete. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import { unlessMissing } from "../host/durable.ts"
import { fileFailure } from "../host/fileFailure.ts"

/** Held while a result is pulled. */
export const pullLock = (artifact: string): string => `pull:${artifact}`

export const foldersOf = (home: string): string => Path.join(home, "lightbox", "pulls")

/** What was received of a snapshot. */
export const filesIn = (folder: string): string => Path.join(folder, "files")

/** Time after which what a broken pull has received is removed. */
const keptMillis = 24 * 60 * 60 * 1000

/** Lists what broken pulls have received, and that is too old to go on from. */
export const listAbandoned = Effect.fnUntraced(function* (
  home: string
): Effect.fn.Return<
  ReadonlyArray<{ readonly artifact: string; readonly lock: string; readonly path: string }>,
  LightboxError
> {
  const now = yield* Clock.currentTimeMillis
  const folders = foldersOf(home)
  return yield* Effect.tryPromise({
    try: async () => {
      const found: Array<{ readonly artifact: string; readonly lock: string; readonly path: string }> = []
      for (const artifact of (await unlessMissing(Fs.readdir(folders))) ?? []) {
        const path = Path.join(folders, artifact)
        const files = (await unlessMissing(Fs.readdir(filesIn(path)))) ?? []
        const times = await Promise.all(
          [path, ...files.map((file) => Path.join(filesIn(path), file))].map(
            async (path) => (await unlessMissing(Fs.stat(path)))?.mtimeMs ?? 0
          )
        )
        if (now - Math.max(...times) >= keptMillis) found.push({ artifact, lock: pullLock(artifact), path })
      }
      return found
    },
    catch: fileFailure("Snapshot.pull", "write", folders)
  })
})
