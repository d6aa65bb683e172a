/**
 * Tells callers how far a pull is.
 */
import * as Effect from "effect/Effect"
import type * as Microsandbox from "../../Microsandbox.ts"

/** What tells a request's progress. What the caller's function throws does not end the creation: it is logged. */
export const make = ({
  name,
  onPullProgress
}: Microsandbox.CreateSandbox): Effect.Effect<(progress: Microsandbox.PullProgress) => void> =>
  Effect.map(Effect.context<never>(), (context) => (progress) => {
    try {
      onPullProgress?.(progress)
    } catch (cause) {
      Effect.runForkWith(context)(Effect.logDebug(`onPullProgress of sandbox "${name}" threw`, cause))
    }
  })
