/**
 * The directory in which the runtime keeps everything.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import { isCode } from "./socket.ts"
import { invalid } from "../config/validation.ts"

/** The kernel takes so many bytes for the path of a socket, and the longest of ours below the home needs the rest. */
const maxBytes = (process.platform === "darwin" ? 103 : 107) - "/lightbox/locks/0123456789ab-01234567".length

/** Where the home is, if it may be there. */
export const resolve = (method: string, home: string | undefined): Effect.Effect<string, LightboxError> =>
  Effect.suspend(() => {
    const environment = process.env["MSB_HOME"]
    const path = Path.resolve(
      home ?? (environment === undefined || environment === "" ? Path.join(Os.homedir(), ".microsandbox") : environment)
    )
    return Buffer.byteLength(path) <= maxBytes
      ? Effect.succeed(path)
      : Effect.fail(
          invalid(method, "home", `expected a path of at most ${maxBytes} bytes, because sockets are created in it`)
        )
  })

/** How a file system copies the disks of sandboxes: sharing what is the same, or byte by byte. */
export type Copies = "reflink" | "full" | "unknown"

/** Copies a small file as the runtime copies disks, and looks whether the file system could share its content. */
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
