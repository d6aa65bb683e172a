import * as Predicate from "effect/Predicate"
import { FileError, LightboxError, NoSpace } from "../../LightboxError.ts"

/** What the failure of an operation on a file of this host is for those who asked for it. */
export const fileFailure =
  (method: string, operation: string, path: string) =>
  (cause: unknown): LightboxError => {
    const code = Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) ? cause.code : "UNKNOWN"
    const problem = cause instanceof Error ? cause.message : String(cause)
    return new LightboxError({
      method,
      reason:
        code === "ENOSPC" || code === "EDQUOT"
          ? new NoSpace({ problem, cause })
          : new FileError({ operation, path, code, problem, cause })
    })
  }
