/** Converts failures of a guest to errors of Effect's platform services. */
import * as PlatformError from "effect/PlatformError"
import type { LightboxError } from "../../LightboxError.ts"

/** The reasons that Node.js's services use, by errno. */
const tags: { readonly [code: string]: PlatformError.SystemErrorTag } = {
  ENOENT: "NotFound",
  EACCES: "PermissionDenied",
  EPERM: "PermissionDenied",
  EEXIST: "AlreadyExists",
  EISDIR: "BadResource",
  ENOTDIR: "BadResource",
  ELOOP: "BadResource",
  EBUSY: "Busy"
}

/** The failed service and operation, with the caller's path or command. */
export interface Operation {
  readonly module: "FileSystem" | "ChildProcess"
  readonly method: string
  readonly path: string
}

export const failure = (
  { method, module, path }: Operation,
  options: { readonly code: string; readonly problem: string; readonly cause?: unknown }
): PlatformError.PlatformError =>
  PlatformError.systemError({
    _tag: tags[options.code] ?? "Unknown",
    module,
    method,
    pathOrDescriptor: path,
    description: `${options.problem} (${options.code})`,
    ...(options.cause === undefined ? {} : { cause: options.cause })
  })

/** Creates an error for an invalid request, or one that a guest cannot serve. */
export const refusal = (
  { method, module }: Pick<Operation, "method" | "module">,
  description: string,
  cause?: unknown
): PlatformError.PlatformError =>
  PlatformError.badArgument({ module, method, description, ...(cause === undefined ? {} : { cause }) })

/** Converts a failure of the guest; other errors are unchanged. */
export const toPlatformError =
  (operation: Operation) =>
  (cause: LightboxError | PlatformError.PlatformError): PlatformError.PlatformError => {
    if (PlatformError.isPlatformError(cause)) return cause
    const { reason } = cause
    switch (reason._tag) {
      case "FileError":
        return failure(operation, { code: reason.code, problem: reason.problem, cause })
      case "CommandNotStarted":
        return operation.module === "FileSystem"
          ? refusal(operation, `this needs the program ${reason.argv[0]} in the guest`, cause)
          : failure(operation, { code: reason.errno ?? "UNKNOWN", problem: reason.problem, cause })
      default:
        return failure(operation, { code: "UNKNOWN", problem: reason.message, cause })
    }
  }
