/** Files and folders that survive a power cut: what they contain, and that they exist, is flushed. */
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { isCode } from "./socket.ts"

/** Returns `undefined` for what does not exist. Other failures are rethrown: they do not prove absence. */
export const unlessMissing = <A>(look: Promise<A>): Promise<A | undefined> =>
  look.catch((cause: unknown) => (isCode(cause, "ENOENT") ? undefined : Promise.reject(cause)))

/** Flushes a file's content, or the entries of a folder. */
export const sync = async (path: string): Promise<void> => {
  const handle = await Fs.open(path)
  try {
    await handle.sync()
  } catch (cause) {
    // Not every file system can flush a folder.
    if (!isCode(cause, "EINVAL", "ENOTSUP")) throw cause
  } finally {
    await handle.close()
  }
}

/** Creates a folder for this user only, and those above it. */
export const makeFolder = async (path: string): Promise<void> => {
  const first = await Fs.mkdir(path, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  for (let made = path; made.length >= first.length; made = Path.dirname(made)) await sync(Path.dirname(made))
}

/** Creates or replaces a file, which always has its old content or all of the new. Default mode: that of the process. */
export const replaceFile = async (path: string, staged: string, content: string, mode = 0o666): Promise<void> => {
  await makeFolder(Path.dirname(path))
  try {
    await Fs.writeFile(staged, content, { mode, flush: true })
    await Fs.rename(staged, path)
  } catch (cause) {
    await Fs.rm(staged, { force: true })
    throw cause
  }
  await sync(Path.dirname(path))
}
