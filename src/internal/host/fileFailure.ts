import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import * as Predicate from "effect/Predicate"
import { FileError, LightboxError, NoSpace } from "../../LightboxError.ts"
import { invalid } from "../config/validation.ts"
import * as Folders from "./folders.ts"

/** Turns a failed operation on a file of this host into an error. */
export const fileFailure =
  (method: string, operation: string, path: string) =>
  (cause: unknown): LightboxError => {
    const code = Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) ? cause.code : "UNKNOWN"
    const problem = cause instanceof Error ? Folders.nameIn(cause, path).message : String(cause)
    return new LightboxError({
      method,
      reason:
        code === "ENOSPC" || code === "EDQUOT"
          ? new NoSpace({ problem, cause })
          : new FileError({ operation, path, code, problem, cause })
    })
  }

/** Replaces a failure for a file that does not exist, on this host or in a guest. */
export const ifMissing =
  <B>(fallback: B, codes: ReadonlyArray<string> = ["ENOENT"]) =>
  <A, R>(effect: Effect.Effect<A, LightboxError, R>): Effect.Effect<A | B, LightboxError, R> =>
    Effect.catchReason(effect, "LightboxError", "FileError", ({ code }, error) =>
      codes.includes(code) ? Effect.succeed(fallback) : Effect.fail(error)
    )

/** Checks whether something is found. */
export const isFound = <A, R>(search: Effect.Effect<A, LightboxError, R>): Effect.Effect<boolean, LightboxError, R> =>
  Effect.as(search, true).pipe(Effect.catchReason("LightboxError", "NotFound", () => Effect.succeed(false)))

/** Says why a path of this host cannot be used. */
export const hostPathProblem = (path: string, cause: unknown): string =>
  Predicate.hasProperty(cause, "code") && (cause.code === "ENOENT" || cause.code === "ENOTDIR")
    ? `${path} does not exist on this host`
    : `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`

/** Names the option whose path of this host does not exist. */
export const nameMissing = (method: string, field: string, path: string) =>
  Effect.mapError((error: LightboxError) => {
    const { reason } = error
    return reason._tag === "FileError" &&
      reason.path === path &&
      (reason.code === "ENOENT" || reason.code === "ENOTDIR")
      ? invalid(method, field, hostPathProblem(path, reason))
      : error
  })

/** Refuses devices and sockets, which may have no end. A pipe ends with its writer. */
export const requireArchive = (method: string, path: string): Effect.Effect<void, LightboxError> =>
  Effect.tryPromise({
    try: async () => {
      const stats = await Fs.stat(path)
      if (stats.isFile() || stats.isDirectory() || stats.isFIFO()) return
      throw Object.assign(new Error("it is not a file"), { code: "EINVAL" })
    },
    catch: fileFailure(method, "file", path)
  })
