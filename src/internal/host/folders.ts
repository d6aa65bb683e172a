/** Opens folders of the host below a root without following a link, even if somebody puts one there meanwhile. */
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = FsSync.constants

export interface OpenFolder {
  /** Stays valid if its parents change. */
  readonly path: string
  readonly close: () => Promise<void>
}

/** Opens the folder at some names below a root, which may be a link itself. */
export const open = async (
  root: string,
  names: ReadonlyArray<string>,
  options: { readonly make: boolean } = { make: false }
): Promise<OpenFolder> => {
  let handle = await Fs.open(root, O_RDONLY | O_DIRECTORY)
  try {
    let folder = pinned(handle.fd, root)
    for (const name of names) {
      const path = Path.join(folder, name)
      if (options.make) await Fs.mkdir(path).catch(unlessThere)
      const next = await Fs.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
      await handle.close()
      handle = next
      folder = pinned(handle.fd, path)
    }
    return { path: folder, close: () => handle.close() }
  } catch (cause) {
    await handle.close()
    throw cause
  }
}

/** Opens an existing folder as {@link open} does, without waiting. */
export const openNow = (
  root: string,
  names: ReadonlyArray<string>
): { readonly path: string; readonly descriptor: number } => {
  let descriptor = FsSync.openSync(root, O_RDONLY | O_DIRECTORY)
  try {
    let folder = pinned(descriptor, root)
    for (const name of names) {
      const path = Path.join(folder, name)
      const next = FsSync.openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
      FsSync.closeSync(descriptor)
      descriptor = next
      folder = pinned(descriptor, path)
    }
    return { path: folder, descriptor }
  } catch (cause) {
    FsSync.closeSync(descriptor)
    throw cause
  }
}

/** Uses the folder at some names below a root. */
export const use = async <A>(
  root: string,
  names: ReadonlyArray<string>,
  run: (folder: string) => Promise<A>,
  options?: { readonly make: boolean }
): Promise<A> => {
  const folder = await open(root, names, options)
  try {
    return await run(folder.path)
  } finally {
    await folder.close()
  }
}

/** Only Linux has paths of open folders. */
const pinned = (descriptor: number, path: string): string =>
  process.platform === "linux" ? `/proc/self/fd/${descriptor}` : path

/** Names a file in an error instead of the path that was opened, which means nothing to others. */
export const nameIn = (error: Error, path: string): Error => {
  error.message = error.message.replace(/'\/proc\/self\/fd\/[^']*'/g, `'${path}'`)
  return error
}

const unlessThere = (cause: unknown): void => {
  if (!(cause instanceof Error && "code" in cause && cause.code === "EEXIST")) throw cause
}
