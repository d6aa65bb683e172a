/** Errors of the guest's kernel. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"

/** Wording of the guest's C library. */
const problems = {
  E2BIG: "Argument list too long",
  EACCES: "Permission denied",
  EADDRINUSE: "Address in use",
  EBADF: "Bad file descriptor",
  EBUSY: "Resource busy",
  ECONNREFUSED: "Connection refused",
  EEXIST: "File exists",
  EINVAL: "Invalid argument",
  EIO: "I/O error",
  EISDIR: "Is a directory",
  ELOOP: "Symbolic link loop",
  EMLINK: "Too many links",
  ENAMETOOLONG: "Filename too long",
  ENOENT: "No such file or directory",
  ENOEXEC: "Exec format error",
  ENOSPC: "No space left on device",
  ENOTDIR: "Not a directory",
  ENOTEMPTY: "Directory not empty",
  EPERM: "Operation not permitted",
  EPIPE: "Broken pipe",
  EROFS: "Read-only file system",
  ESRCH: "No such process",
  EXDEV: "Cross-device link"
} as const

export type Code = keyof typeof problems

/** Thrown by file systems, which are synchronous, and the failure of everything else. */
export class Errno extends Data.TaggedError("Errno")<{ readonly code: Code | "UNKNOWN"; readonly problem: string }> {
  override get message(): string {
    return this.problem
  }
}

export const errno = (code: Code): Errno => new Errno({ code, problem: problems[code] })

export const mistake = (problem: string): Errno => new Errno({ code: "EINVAL", problem })

const isCode = (u: unknown): u is Code => Predicate.isString(u) && u in problems

/** Translates an error of the host's file system. */
export const fromHost = (cause: unknown): Errno => {
  const code = Predicate.hasProperty(cause, "code") ? cause.code : undefined
  if (code === "EDQUOT") return errno("ENOSPC")
  return isCode(code) ? errno(code) : new Errno({ code: "UNKNOWN", problem: String(cause) })
}

/** Returns nothing where an `Errno` is thrown. */
export const orNothing = <A>(evaluate: () => A): A | undefined => {
  try {
    return evaluate()
  } catch (cause) {
    if (cause instanceof Errno) return undefined
    throw cause
  }
}

/** Turns a thrown `Errno` into a failure. */
export const attempt = <A>(evaluate: () => A): Effect.Effect<A, Errno> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(evaluate())
    } catch (cause) {
      if (cause instanceof Errno) return Effect.fail(cause)
      throw cause
    }
  })
