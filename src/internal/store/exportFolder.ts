/** Where a host keeps what it gives to others, for as long as they ask for it. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import { unlessMissing } from "../host/durable.ts"
import { fileFailure } from "../host/fileFailure.ts"

/** Held while a snapshot is exported, and while old exports are removed. */
export const exportLock = "exports"

export const folderOf = (home: string): string => Path.join(home, "lightbox", "exports")

/** Time after which what nobody asks for is removed. */
const keptMillis = 24 * 60 * 60 * 1000

/** Lists the files that nobody has asked for within a day. */
export const listUnused = Effect.fnUntraced(function* (
  home: string
): Effect.fn.Return<ReadonlyArray<string>, LightboxError> {
  const now = yield* Clock.currentTimeMillis
  const folder = folderOf(home)
  return yield* Effect.tryPromise({
    try: async () => {
      const unused: Array<string> = []
      for (const part of ["blobs", "tags"]) {
        for (const name of (await unlessMissing(Fs.readdir(Path.join(folder, part)))) ?? []) {
          const path = Path.join(folder, part, name)
          const stats = await unlessMissing(Fs.stat(path))
          if (stats !== undefined && now - stats.mtimeMs >= keptMillis) unused.push(path)
        }
      }
      return unused
    },
    catch: fileFailure("Reaper.sweep", "look at", folder)
  })
})
