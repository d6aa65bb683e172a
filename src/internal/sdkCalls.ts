/**
 * Calls of the SDK: none of them can be called off.
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import type { LightboxError } from "../LightboxError.ts"
import * as InstallLease from "./installLease.ts"
import { sdkRetries } from "./metrics.ts"
import { fromSdk, type Subject } from "./sdkErrors.ts"
import * as SdkModule from "./sdkModule.ts"

export const transient = Schedule.min([Schedule.exponential("20 millis"), Schedule.spaced("500 millis")]).pipe(
  Schedule.jittered,
  Schedule.upTo({ times: 6 })
)

/** One call of the SDK, made again while the store is busy. */
export const call = <A>(method: string, subject: Subject, run: () => Promise<A>): Effect.Effect<A, LightboxError> =>
  Effect.tryPromise({ try: run, catch: (cause) => fromSdk(method, subject, cause) }).pipe(
    Effect.tapError((error) => (error.reason._tag === "StoreBusy" ? Metric.update(sdkRetries, 1) : Effect.void)),
    Effect.tapError((error) => {
      const home = SdkModule.localHome()
      return home !== undefined && InstallLease.isCause(error) ? InstallLease.release(home) : Effect.void
    }),
    Effect.retry({ while: (error) => error.reason._tag === "StoreBusy", schedule: transient })
  )

/**
 * A call that changes something and can not be called off: interrupted, it is waited for, and what it made is undone.
 */
export const commit = <A>(
  method: string,
  subject: Subject,
  run: () => Promise<A>,
  undo: (value: A) => Effect.Effect<void>
): Effect.Effect<A, LightboxError> =>
  Effect.callback<A, LightboxError>((resume) => {
    const pending = run()
    pending.then(
      (value) => resume(Effect.succeed(value)),
      (cause) => resume(Effect.fail(fromSdk(method, subject, cause)))
    )
    return Effect.matchEffect(Effect.tryPromise({ try: () => pending, catch: () => undefined }), {
      onFailure: () => Effect.void,
      onSuccess: undo
    })
  })

export const notFoundIsSuccess = <A>(effect: Effect.Effect<A, LightboxError>): Effect.Effect<void, LightboxError> =>
  Effect.asVoid(effect).pipe(Effect.catchReason("LightboxError", "NotFound", () => Effect.void))
