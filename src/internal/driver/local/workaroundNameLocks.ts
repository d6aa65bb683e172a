/**
 * The runtime's locks of the names of sandboxes: two empty files for each name
 * that ever was, which the runtime never removes.
 */
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { isGenerated } from "../../ownership/labels.ts"

const pathsOf = (home: string, name: string): ReadonlyArray<string> => {
  const file = `${Crypto.hash("sha256", name).slice(0, 32)}.lock`
  return ["locks", "creation-locks"].map((folder) => Path.join(home, "run", folder, file))
}

/**
 * Removes the locks of a sandbox that is gone, if its name looks like a generated one: whoever makes a sandbox of the
 * same name meanwhile would hold a lock that others do not see, and names that somebody has chosen are used again.
 */
export const remove = async (home: string, name: string): Promise<void> => {
  if (!isGenerated(name)) return
  await Promise.all(pathsOf(home, name).map((path) => Fs.rm(path, { force: true })))
}
