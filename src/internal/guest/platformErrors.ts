/**
 * Failures of a guest, as the errors of Effect's platform services.
 */
import * as PlatformError from "effect/PlatformError"
import type { LightboxError } from "../../LightboxError.ts"

/** The reasons that programs know from Node.js, by the guest kernel's name for the failure. */
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

/** What failed: the service, its operation, and the path or command as the caller named it. */
export interface Operation {
  readonly module: "FileSystem" | "ChildProcess"
  readonly method: string
  readonly path: string
}

/** A failure with the kernel's name for it, or `UNKNOWN`. */
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

/** What was asked for makes no sense, or can not be done in a guest. */
export const refusal = (
  { method, module }: Pick<Operation, "method" | "module">,
  description: string,
  cause?: unknown
): PlatformError.PlatformError =>
  PlatformError.badArgument({ module, method, description, ...(cause === undefined ? {} : { cause }) })

/** What a service fails with for a failure of the guest; a failure of its own stays as it is. */
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
