/** Calls of the SDK, which cannot be cancelled. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { LightboxError } from "../../../LightboxError.ts"
import * as InstallLease from "./workaroundInstallLease.ts"
import { sdkRetries } from "../../report/metrics.ts"
import { fromSdk, type Subject } from "./errors.ts"
import * as SdkModule from "./module.ts"

export const transient = Schedule.min([Schedule.exponential("20 millis"), Schedule.spaced("500 millis")]).pipe(
  Schedule.jittered,
  Schedule.upTo({ times: 6 })
)

/** Calls the SDK, with retries while the store is busy. */
export const call = <A>(method: string, subject: Subject, run: () => Promise<A>): Effect.Effect<A, LightboxError> =>
  Effect.tryPromise({
    try: () => {
      SdkModule.keepPrivate()
      return run()
    },
    catch: (cause) => fromSdk(method, subject, cause)
  }).pipe(
    Effect.tapError((error) => (error.reason._tag === "StoreBusy" ? Metric.update(sdkRetries, 1) : Effect.void)),
    Effect.tapError((error) => {
      const home = SdkModule.localHome()
      return home !== undefined && InstallLease.isCause(error) ? InstallLease.release(home) : Effect.void
    }),
    Effect.retry({ while: (error) => error.reason._tag === "StoreBusy", schedule: transient })
  )

const leftovers = new Set<Fiber.Fiber<void>>()

/** Waits briefly for the rest of an interrupted call, which continues in the background. */
const leave = (rest: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.flatMap(Effect.forkDetach(rest), (fiber) => {
    leftovers.add(fiber)
    fiber.addObserver(() => leftovers.delete(fiber))
    return Effect.asVoid(Effect.timeoutOption(Fiber.await(fiber), "5 seconds"))
  })

/** Completes when no interrupted call is running in the background. */
export const leftoversEnd: Effect.Effect<void> = Effect.suspend(() => Effect.asVoid(Fiber.awaitAll(leftovers)))

/** Waits for a call that cannot be cancelled. After an interruption, `onInterrupt` runs in the background. */
export const settle = <A>(options: {
  readonly run: () => Promise<A>
  readonly fail: (cause: unknown) => Effect.Effect<never, LightboxError>
  readonly onInterrupt: (settled: Effect.Effect<Option.Option<A>>) => Effect.Effect<void>
}): Effect.Effect<A, LightboxError> =>
  Effect.callback<A, LightboxError>((resume) => {
    const pending = Promise.resolve().then(() => {
      SdkModule.keepPrivate()
      return options.run()
    })
    pending.then(
      (value) => resume(Effect.succeed(value)),
      (cause) => resume(options.fail(cause))
    )
    return Effect.suspend(() => leave(options.onInterrupt(Effect.option(Effect.tryPromise(() => pending)))))
  })

/**
 * Calls the SDK to create something, and `describe` to make the result of it. Undoes the creation if `describe` fails,
 * or if it completes after an interruption.
 */
export const commit = <A, B>(options: {
  readonly method: string
  readonly subject: Subject
  readonly run: () => Promise<A>
  readonly describe: (value: A) => Effect.Effect<B, LightboxError>
  readonly undo: (value: A) => Effect.Effect<void>
}): Effect.Effect<B, LightboxError> => {
  const { method, run, subject, describe, undo } = options
  const making = settle({
    run,
    fail: (cause) => Effect.fail(fromSdk(method, subject, cause)),
    onInterrupt: Effect.flatMap(Option.match({ onNone: () => Effect.void, onSome: undo }))
  })
  return Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(restore(making), (value) => Effect.onError(restore(describe(value)), () => undo(value)))
  )
}

export const notFoundIsSuccess = <A>(effect: Effect.Effect<A, LightboxError>): Effect.Effect<void, LightboxError> =>
  Effect.asVoid(effect).pipe(Effect.catchReason("LightboxError", "NotFound", () => Effect.void))

/** In this case, the name belongs to someone else. */
export const isTaken = (cause: Cause.Cause<LightboxError>): boolean => {
  const error = Cause.findErrorOption(cause)
  return Option.isSome(error) && error.value.reason._tag === "AlreadyExists"
}
