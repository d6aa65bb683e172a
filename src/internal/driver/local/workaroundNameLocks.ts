/** The runtime's locks of sandbox names: two empty files for every name ever used, which the runtime never removes. */
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { isGenerated } from "../../ownership/labels.ts"

const pathsOf = (home: string, name: string): ReadonlyArray<string> => {
  const file = `${Crypto.hash("sha256", name).slice(0, 32)}.lock`
  return ["locks", "creation-locks"].map((folder) => Path.join(home, "run", folder, file))
}

/**
 * Removes the locks of a removed sandbox with a generated name. Other names are reused, and removing a lock that
 * another process holds would break it.
 */
export const remove = async (home: string, name: string): Promise<void> => {
  if (!isGenerated(name)) return
  await Promise.all(pathsOf(home, name).map((path) => Fs.rm(path, { force: true })))
}
