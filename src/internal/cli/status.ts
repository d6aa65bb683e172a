/**
 * The status that the command line exits with.
 */
import * as Data from "effect/Data"
import * as Runtime from "effect/Runtime"
import type { LightboxError } from "../../LightboxError.ts"

/** What is said of them in the help. */
export const table = `EXIT STATUS
  0               it is done
  1               it failed, or \`doctor\` found a problem
  2               it was called wrongly: nothing was done
  125, 126, 127   of \`run\` and \`shell\`: lightbox failed, the command could not be started, there is no such command
  129, 130, 143   it was ended by SIGHUP, SIGINT (Ctrl-C) or SIGTERM
  141             nobody reads its output any more
  any other       of \`run\` and \`shell\`: the command's own; 128 and its number for a signal (255 if not known)`

/** What a shell gives for SIGPIPE. */
export const unread = 141

/** Ends the command line with a status; everything was said. */
export class Ended extends Data.TaggedError("Ended")<{ readonly status: number }> {
  override readonly [Runtime.errorExitCode] = this.status
  override readonly [Runtime.errorReported] = false
}

/** A failure of a command whose status would else be taken for that of the guest's. */
export class GuestCommandFailed extends Data.TaggedError("GuestCommandFailed")<{ readonly error: LightboxError }> {}

/** What a step of a definition failed with that is no error of the library. */
export class StepFailed extends Data.TaggedError("StepFailed")<{ readonly error: unknown }> {}

/** Whether the status of a command is that of what it runs. */
export const passesOn = (commandPath: ReadonlyArray<string>): boolean =>
  commandPath[1] === "run" || commandPath[1] === "shell"

export const ofInvocation = (commandPath: ReadonlyArray<string>): number => (passesOn(commandPath) ? 125 : 2)

export const ofError = ({ reason }: LightboxError): number => (reason._tag === "InvalidConfig" ? 2 : 1)

/** As of Docker, and of shells before it. */
export const ofGuestCommand = ({ reason }: LightboxError): number => {
  if (reason._tag !== "CommandNotStarted") return 125
  return reason.kind === "ProgramNotFound" ? 127 : 126
}
