/** The home: the folder in which the runtime stores everything. */
import * as Effect from "effect/Effect"
import { statSync } from "node:fs"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import { isCode } from "./socket.ts"
import { pathProblem } from "../config/schemas.ts"
import { invalid } from "../config/validation.ts"

/** The kernel limits the length of socket paths. This leaves enough for our longest path below the home. */
const maxBytes = (process.platform === "darwin" ? 103 : 107) - "/lightbox/locks/0123456789ab-01234567".length

/** Resolves the path of the home, and fails if it is too long. */
export const resolve = (method: string, home: string | undefined): Effect.Effect<string, LightboxError> =>
  Effect.suspend(() => {
    const environment = process.env["MSB_HOME"]
    const given =
      home ?? (environment === undefined || environment === "" ? Path.join(Os.homedir(), ".microsandbox") : environment)
    const problem = pathProblem(given)
    if (problem !== undefined) return Effect.fail(invalid(method, "home", problem))
    const path = Path.resolve(given)
    return Buffer.byteLength(path) <= maxBytes
      ? Effect.succeed(path)
      : Effect.fail(
          invalid(method, "home", `expected a path of at most ${maxBytes} bytes, because sockets are created in it`)
        )
  })

/** The same, and fails if the home cannot be a folder. */
export const resolveFolder = (method: string, home: string | undefined): Effect.Effect<string, LightboxError> =>
  Effect.tap(resolve(method, home), (path) => requireFolder(method, path))

/** Refuses a home that is a file, or below one. */
export const requireFolder = (method: string, path: string): Effect.Effect<void, LightboxError> =>
  Effect.suspend(() => {
    try {
      if (statSync(path).isDirectory()) return Effect.void
    } catch (cause) {
      if (!isCode(cause, "ENOTDIR")) return Effect.void
    }
    return Effect.fail(invalid(method, "home", `${path} is not a folder`))
  })

/** Copies of disks: `reflink` shares the content, the other copies every byte. */
export type Copies = "reflink" | "full" | "unknown"

/** Copies a small file as the runtime copies disks, to see whether the file system shares its content. */
export const probeCopies = async (source: string): Promise<Copies> => {
  const target = `${source}.copy`
  try {
    await Fs.writeFile(source, new Uint8Array(65_536).fill(1))
    await Fs.copyFile(source, target, Fs.constants.COPYFILE_FICLONE_FORCE)
    return "reflink"
  } catch (cause) {
    return isCode(cause, "ENOTSUP", "EOPNOTSUPP", "EXDEV", "EINVAL", "ENOTTY") ? "full" : "unknown"
  } finally {
    await Fs.rm(source, { force: true })
    await Fs.rm(target, { force: true })
  }
}
