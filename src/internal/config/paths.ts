/** Paths relative to the working directory, which may have been removed. */
import * as Path from "node:path"

/** The working directory, unless it was removed. */
export const workingFolder = (): string | undefined => {
  try {
    return process.cwd()
  } catch {
    return undefined
  }
}

/** The problem with a path of the host, if there is one. */
export const pathProblem = (path: string): string | undefined =>
  path === ""
    ? "expected a path on the host"
    : Path.isAbsolute(path) || workingFolder() !== undefined
      ? undefined
      : folderGone

export const folderGone = "expected an absolute path, because the working directory does not exist anymore"

/** Shortens a path below the working directory. */
export const shorten = (path: string): string => {
  const folder = workingFolder()
  const relative = folder === undefined ? path : Path.relative(folder, path)
  return relative.startsWith("..") ? path : relative
}
