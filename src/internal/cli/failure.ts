/**
 * How the command line says that something failed: what, and what to do now.
 */
import * as Cause from "effect/Cause"
import type { NonShowHelpErrors } from "effect/cli/CliError"
import * as Schema from "effect/Schema"
import { InvalidConfig, isLightboxError, LightboxError } from "../../LightboxError.ts"
import { clean } from "../report/terminalText.ts"
import { toJson } from "./environment.ts"
import * as Status from "./status.ts"

/** What `--json` says of a failure. */
export const Failure = Schema.Struct({
  message: Schema.String,
  hint: Schema.optionalKey(Schema.String),
  /** What the command line exits with. */
  status: Schema.Int,
  /** Whether trying the same again can help. */
  isRetryable: Schema.Boolean,
  /** Whether it certainly had no effect, or may have had one. */
  outcome: Schema.Literals(["failed", "unknown"]),
  /** The error of the library, if it is one. */
  error: Schema.optionalKey(LightboxError)
})

export type Failure = typeof Failure.Type

// =============================================================================
// What failed
// =============================================================================

const hinted = (hint: string | undefined): { readonly hint?: string } => (hint === undefined ? {} : { hint })

/** A wrong word on the command line. */
export const ofInvocation = (
  commandPath: ReadonlyArray<string>,
  errors: ReadonlyArray<NonShowHelpErrors>
): Failure => ({
  message: errors.map(({ message }) => message).join("\n"),
  hint: `${commandPath.join(" ")} --help tells what it takes`,
  status: Status.ofInvocation(commandPath),
  isRetryable: false,
  outcome: "failed"
})

const ofLightboxError = (error: LightboxError, status: number): Failure => ({
  message: error.message,
  ...hinted(hintOf(error)),
  status,
  isRetryable: error.isRetryable,
  outcome: error.outcome,
  error
})

/** Whatever a command failed with, or died of. */
export const ofCause = (cause: Cause.Cause<unknown>): Failure => {
  const error = Cause.squash(cause)
  if (error instanceof Status.GuestCommandFailed)
    return ofLightboxError(error.error, Status.ofGuestCommand(error.error))
  if (isLightboxError(error)) return ofLightboxError(error, Status.ofError(error))
  const shown = error instanceof Status.StepFailed ? Cause.fail(error.error) : cause
  return { message: Cause.pretty(shown), status: 1, isRetryable: false, outcome: "unknown" }
}

/** Calls the fields of an `InvalidConfig` what the command line calls them: the longest name that a field begins with. */
export const nameFlags =
  (names: { readonly [field: string]: string }) =>
  (error: LightboxError): LightboxError => {
    const { method, reason } = error
    if (reason._tag !== "InvalidConfig") return error
    const name = Object.keys(names)
      .filter((name) => reason.field === name || reason.field.startsWith(`${name}.`))
      .toSorted((a, b) => b.length - a.length)[0]
    const flag = name === undefined ? undefined : names[name]
    if (name === undefined || flag === undefined) return error
    const field = `${flag}${reason.field.slice(name.length).replace(".", " ")}`
    return new LightboxError({ method, reason: new InvalidConfig({ field, problem: reason.problem }) })
  }

// =============================================================================
// What to do now
// =============================================================================

const lists = {
  sandbox: "lightbox ps tells which there are",
  snapshot: "lightbox ls tells which there are",
  generation: "lightbox ls NAME tells which there are",
  volume: "lightbox volume ls tells which there are",
  image: undefined,
  step: undefined
}

const hintOf = ({ builder, method, reason, step }: LightboxError): string | undefined => {
  if (builder !== undefined) return `lightbox shell ${builder} opens a shell in the builder`
  switch (reason._tag) {
    case "NotFound":
      return lists[reason.resource]
    case "AlreadyExists":
      if (reason.resource !== "snapshot") return `lightbox rm ${reason.name} makes the name free`
      // A build takes every name but one that another tool has given.
      return method === "Snapshot.build"
        ? "--replace-foreign takes the name from the other tool"
        : "--overwrite lets the name lead to the new one"
    case "StillRunning":
      return "--force kills it first"
    case "NotRunning":
      return "lightbox ps tells what runs"
    case "NoVirtualization":
    case "RuntimeMissing":
      return "lightbox doctor looks at this machine"
    case "NoSpace":
      return "lightbox prune --dry-run tells what could be removed"
    case "CommandFailed":
      return step === undefined ? undefined : "with --keep-builder, the builder stays to be looked into"
    case "SnapshotDamaged":
      return "lightbox build --force makes it again"
    default:
      return reason.isRetryable ? "trying again can help" : undefined
  }
}

// =============================================================================
// Saying it
// =============================================================================

const indented = (text: string): string => text.split("\n").map(clean).join("\n")

const encode = toJson(Failure)

/** As a line of JSON, or as a text without anything that a terminal would act on. */
export const show = (failure: Failure, options: { readonly json: boolean }): string => {
  if (options.json) return encode(failure)
  const { hint, message } = failure
  return `error: ${indented(message)}${hint === undefined ? "" : `\nhint: ${hint}`}`
}
