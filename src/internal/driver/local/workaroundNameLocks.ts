/**
 * The runtime's locks of sandbox names: two empty files for every name ever used, which the runtime never removes, and in
 * 0.7 a third one.
 */
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { isGenerated } from "../../ownership/labels.ts"

const pathsOf = (home: string, name: string): ReadonlyArray<string> => {
  const file = Crypto.hash("sha256", name).slice(0, 32)
  return [`locks/${file}.lock`, `locks/${file}.snapshot-lineage.lock`, `creation-locks/${file}.lock`].map((path) =>
    Path.join(home, "run", path)
  )
}

/**
 * Removes the locks of a removed sandbox with a generated name. Other names are reused, and removing a lock that
 * another process holds would break it.
 */
export const remove = async (home: string, name: string): Promise<void> => {
  if (!isGenerated(name)) return
  await Promise.all(pathsOf(home, name).map((path) => Fs.rm(path, { force: true })))
}
