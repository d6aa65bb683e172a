/** Reports the progress of a pull. */
import * as Effect from "effect/Effect"
import type * as Microsandbox from "../../Microsandbox.ts"

/** Creates the reporter of a request. An exception of the caller's function is logged and does not end the creation. */
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
