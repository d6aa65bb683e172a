/** The exit status of the command line. */
import * as Data from "effect/Data"
import * as Runtime from "effect/Runtime"
import type { LightboxError } from "../../LightboxError.ts"

/** The table in the help text. */
export const table = `EXIT STATUS
  0               success
  1               failure, or \`doctor\` found a problem
  2               wrong usage; nothing was done
  124             \`run --timeout\`: the time is over
  125, 126, 127   \`run\`, \`exec\` and \`shell\`: lightbox failed, the command could not be started, or was not found
  129, 130, 143   ended by SIGHUP, SIGINT (Ctrl-C) or SIGTERM
  141             the reader of the output closed it
  other           \`run\`, \`exec\` and \`shell\`: the command's own status, or 128 plus the number of its signal (255 if unknown)`

/** The status that a shell reports for SIGPIPE. */
export const unread = 141

/** Ends the command line with a status, after all output was printed. */
export class Ended extends Data.TaggedError("Ended")<{ readonly status: number }> {
  override readonly [Runtime.errorExitCode] = this.status
  override readonly [Runtime.errorReported] = false
}

/** A failure of lightbox that must not look like the exit status of the guest's command. */
export class GuestCommandFailed extends Data.TaggedError("GuestCommandFailed")<{ readonly error: LightboxError }> {}

/** Nothing of any kind has a name. */
export class NothingFound extends Data.TaggedError("NothingFound")<{ readonly name: string }> {
  override readonly message = `There is no sandbox, snapshot, volume or image named "${this.name}"`
}

/** A failure of a step with an error of its own. */
export class StepFailed extends Data.TaggedError("StepFailed")<{ readonly error: unknown }> {}

/** Checks whether a command exits with the status of what it runs. */
export const passesOn = (commandPath: ReadonlyArray<string>): boolean =>
  ["run", "exec", "shell"].includes(commandPath[1] ?? "")

export const ofInvocation = (commandPath: ReadonlyArray<string>): number => (passesOn(commandPath) ? 125 : 2)

export const ofError = ({ reason }: LightboxError): number => (reason._tag === "InvalidConfig" ? 2 : 1)

/** Follows Docker and POSIX shells. */
export const ofGuestCommand = ({ method, reason }: LightboxError): number => {
  if (reason._tag === "TimedOut" && method === "run") return 124
  if (reason._tag !== "CommandNotStarted") return 125
  return reason.kind === "ProgramNotFound" ? 127 : 126
}
