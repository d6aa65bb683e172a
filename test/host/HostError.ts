/** What can go wrong in the test host itself, each with the exit status that tells it apart. */
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"

/** This machine can't be a host, nor emulate one, as it is (`EX_UNAVAILABLE`). */
export class HostUnavailable extends Schema.TaggedError<HostUnavailable>()("HostUnavailable", {
  message: Schema.String
}) {
  override readonly [Runtime.errorExitCode] = 69
}

/** The host ended before the command did, or never came up (`EX_SOFTWARE`). */
export class HostCrashed extends Schema.TaggedError<HostCrashed>()("HostCrashed", {
  message: Schema.String
}) {
  override readonly [Runtime.errorExitCode] = 70
}

/** The command did not end within its time limit (as `timeout(1)` tells it). */
export class TimeLimitReached extends Schema.TaggedError<TimeLimitReached>()("TimeLimitReached", {
  message: Schema.String
}) {
  override readonly [Runtime.errorExitCode] = 124
}
