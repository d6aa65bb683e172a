/** Files in the home of the twin, and archives on the host. */
import * as Option from "effect/Option"
import * as Cbor from "cborg"
import * as Fs from "node:fs"
import * as Path from "node:path"

/** Reads a file that another process may remove at any time. */
export const readQuietly = (path: string): Buffer | undefined => {
  try {
    return Fs.readFileSync(path)
  } catch {
    return undefined
  }
}

/** Replaces a file at once. */
export const replaceFile = (path: string, content: string | Uint8Array): void => {
  const staged = `${path}.${process.pid}`
  Fs.writeFileSync(staged, content)
  Fs.renameSync(staged, path)
}

export const writeArchive = (path: string, content: object): void => {
  Fs.mkdirSync(Path.dirname(Path.resolve(path)), { recursive: true })
  Fs.writeFileSync(path, Cbor.encode(content))
}

/** Decodes an archive. Returns `undefined` if it is something else. */
export const readArchive = <A>(decode: (u: unknown) => Option.Option<A>, bytes: Uint8Array): A | undefined => {
  try {
    return Option.getOrUndefined(decode(Cbor.decode(bytes)))
  } catch {
    return undefined
  }
}
