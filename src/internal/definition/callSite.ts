/** Finds the caller of a public function. */
import * as Path from "node:path"
import * as Url from "node:url"
import { shortPath } from "../config/schemas.ts"

const ownPackage = /^(.*[\\/])(?:src|dist)[\\/]internal[\\/]definition[\\/]callSite\.[jt]s$/.exec(
  import.meta.url?.startsWith("file://") ? Url.fileURLToPath(import.meta.url) : ""
)?.[1]

/**
 * The folders of this library, with source maps or without. None in a bundle, where it is part of the user's program;
 * a CommonJS bundle has no `import.meta.url` at all.
 */
export const ownFolders: ReadonlyArray<string> =
  ownPackage === undefined ? [] : ["src", "dist"].map((folder) => `${ownPackage}${folder}${Path.sep}`)

const location = /\(?((?:file:\/\/)?[^\s()]+):(\d+):\d+\)?$/

/** The file and line of the nearest caller outside this library and the Effect runtime. */
export const callSite = (): string | undefined => {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 20
  const frames = (new Error().stack ?? "").split("\n").slice(1)
  Error.stackTraceLimit = limit
  for (const frame of frames) {
    const match = location.exec(frame.trim())
    const file = match?.[1]
    if (match === null || file === undefined || file.startsWith("node:")) continue
    const path = file.startsWith("file://") ? Url.fileURLToPath(file) : file
    if (ownFolders.some((folder) => path.startsWith(folder)) || /[\\/]node_modules[\\/]effect[\\/]/.test(path)) continue
    if (!Path.isAbsolute(path)) continue
    return `${shortPath(path)}:${match[2]}`
  }
  return undefined
}
