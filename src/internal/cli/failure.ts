/** Reports the failures of the command line. */
import * as Cause from "effect/Cause"
import type { NonShowHelpErrors } from "effect/cli/CliError"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { isLightboxError, LightboxError } from "../../LightboxError.ts"
import { folderGone, shortPath } from "../config/schemas.ts"
import { invalid, renameFields } from "../config/validation.ts"
import { hintFor, what } from "../report/failureText.ts"
import { clean } from "../report/terminalText.ts"
import { styleText } from "node:util"
import { toJson } from "./environment.ts"
import * as Help from "./help.ts"
import * as Status from "./status.ts"

/** A failure as `--json` prints it. */
export const Failure = Schema.Struct({
  message: Schema.String,
  hint: Schema.optionalKey(Schema.String),
  status: Schema.Int,
  isRetryable: Schema.Boolean,
  /** `unknown`: it may have had an effect. */
  outcome: Schema.Literals(["failed", "unknown"]),
  error: Schema.optionalKey(LightboxError)
})

export type Failure = typeof Failure.Type

const hinted = (hint: string | undefined): { readonly hint?: string } => (hint === undefined ? {} : { hint })

/** Describes wrong usage. */
export const ofInvocation = (commandPath: ReadonlyArray<string>, errors: ReadonlyArray<NonShowHelpErrors>): Failure => {
  // The flags of an unknown command are unknown, too.
  const unknown = errors.filter(({ _tag }) => _tag === "UnknownSubcommand")
  const shown = unknown.length > 0 ? unknown : errors
  const advice = shown.flatMap((error) => Help.adviceFor(error) ?? [])
  return {
    message: shown.map(Help.problemOf).join("\n"),
    hint: advice.length > 0 ? [...new Set(advice)].join("\n") : `${commandPath.join(" ")} --help shows the usage`,
    status: Status.ofInvocation(commandPath),
    isRetryable: false,
    outcome: "failed"
  }
}

const ofLightboxError = (error: LightboxError, status: number): Failure => ({
  message: what(error),
  ...hinted(hintFor("cli", error)),
  status,
  isRetryable: error.isRetryable,
  outcome: error.outcome,
  error
})

/** Describes a failure or defect of a command. */
export const ofCause = (cause: Cause.Cause<unknown>): Failure => {
  const error = Cause.squash(cause)
  if (error instanceof Status.GuestCommandFailed)
    return ofLightboxError(error.error, Status.ofGuestCommand(error.error))
  // The parser of arguments resolves paths.
  if (Predicate.hasProperty(error, "syscall") && error.syscall === "uv_cwd") {
    return ofLightboxError(invalid("lightbox", "FILE", folderGone), 1)
  }
  if (isLightboxError(error)) return ofLightboxError(error, Status.ofError(error))
  if (error instanceof Status.NothingFound) {
    const hint = "`lightbox ps`, `ls`, `volume ls` and `images` list what there is"
    return { message: error.message, hint, status: 1, isRetryable: false, outcome: "failed" }
  }
  const shown = error instanceof Status.StepFailed ? Cause.fail(error.error) : cause
  return { message: Cause.pretty(shown), status: 1, isRetryable: false, outcome: "unknown" }
}

/** Replaces the field of an `InvalidConfig` by the flag. */
export const nameFlags = (names: { readonly [field: string]: string }): ((error: LightboxError) => LightboxError) =>
  renameFields(names, " ")

/** Reports a file that does not exist as an invalid argument. */
export const nameFile =
  (path: string) =>
  (error: LightboxError): LightboxError => {
    const { method, reason } = error
    return reason._tag === "FileError" && reason.code === "ENOENT" && reason.path === path
      ? invalid(method, "FILE", `there is no file ${shortPath(path)}`)
      : error
  }

export const namedArgument = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | LightboxError, R> =>
  Effect.mapError(effect, (error) =>
    isLightboxError(error) ? nameFlags({ name: "NAME", reference: "NAME" })(error) : error
  )

const indented = (text: string): string => text.split("\n").map(clean).join("\n")

const encode = toJson(Failure)

/** Formats a failure as a line of JSON, or as text without control characters. */
export const show = (failure: Failure, options: { readonly json: boolean }): string => {
  if (options.json) return encode(failure)
  const { hint, message } = failure
  return `${styleText("red", "error:", { stream: process.stderr })} ${indented(message)}${hint === undefined ? "" : `\nhint: ${hint}`}`
}
