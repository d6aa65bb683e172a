/** Folders in which the runtime prepares volumes. It removes them itself, unless its process is killed. */
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { unlessMissing } from "../../host/durable.ts"

/** Far longer than the creation of any volume takes: the folder does not say whose it is. */
const abandonedMillis = 60 * 60_000

/** Removes abandoned ones, and returns their paths. */
export const collect = async (home: string, options: { readonly dryRun: boolean }): Promise<ReadonlyArray<string>> => {
  const folder = Path.join(home, "volumes")
  const found: Array<string> = []
  for (const name of (await unlessMissing(Fs.readdir(folder))) ?? []) {
    if (!/^\.[^/]+\.[0-9A-Za-z]{6}$/.test(name)) continue
    const path = Path.join(folder, name)
    const stats = await unlessMissing(Fs.lstat(path))
    if (stats === undefined || !stats.isDirectory() || Date.now() - stats.ctimeMs < abandonedMillis) continue
    if (!options.dryRun) await Fs.rm(path, { recursive: true, force: true })
    found.push(path)
  }
  return found
}
