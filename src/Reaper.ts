/**
 * The sweeper: removes what processes have left that ended without releasing
 * what they had, whether they were killed, crashed, or lost with the machine.
 *
 * Everything that the library makes belongs to the process that makes it, and is
 * noted before it exists. A process proves that it lives with a socket, which the
 * kernel closes with it. A sweep removes what belongs to processes that are gone:
 * sandboxes, names that failed creations have left taken, unfinished captures,
 * staged files and locks. It touches nothing of a process that lives, nothing
 * that was detached, nothing that other tools made, and no volume. Of snapshots it
 * touches only those of a scope, and what a removal or a load that was cut short
 * has left without a name.
 *
 * `MicrosandboxLocal.layer` looks at its start for processes that are gone, which
 * takes one look into a folder when there is none. A process that runs for long
 * adds {@link layer}.
 *
 * **Example** (Sweeping every ten minutes)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { MicrosandboxLocal, Reaper } from "effect-lightbox"
 *
 * export const live = Reaper.layer({ interval: "10 minutes" }).pipe(Layer.provideMerge(MicrosandboxLocal.layer()))
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Ownership from "./Ownership.ts"
import type { Services } from "./Driver.ts"
import type * as Cleanup from "./Cleanup.ts"
import * as internal from "./internal/reaper/sweep.ts"
import { DurationInput } from "./internal/config/schemas.ts"
import { decoder } from "./internal/config/validation.ts"
import type { LightboxError } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"

/**
 * Options of {@link sweep}.
 *
 * **Example** (Only looking)
 *
 * ```ts
 * import type { Reaper } from "effect-lightbox"
 *
 * export const options: Reaper.SweepOptions = { dryRun: true }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface SweepOptions {
  /** Tell what would be removed, and remove nothing. Default: `false`. */
  readonly dryRun?: boolean | undefined
  /** How long it may take. Default: 1 minute. */
  readonly timeout?: Duration.Input | undefined
}

const decodeOptions = decoder(
  Schema.Struct({ dryRun: Schema.optional(Schema.Boolean), timeout: Schema.optional(DurationInput) }),
  "Reaper.sweep"
)

const decodeInterval = decoder(Schema.UndefinedOr(DurationInput), "Reaper.layer", "interval")

/**
 * Looks at everything that there is, once, and removes what belongs to processes
 * that are gone, and sandboxes that were detached for a time that is over.
 *
 * What can not be removed is reported, not thrown; the only failure is
 * `InvalidConfig`. Any number of sweeps at once, here and in other processes, do
 * no harm.
 *
 * **Example** (A report)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { MicrosandboxLocal, Reaper } from "effect-lightbox"
 *
 * export const program = Reaper.sweep({ dryRun: true }).pipe(
 *   Effect.flatMap(({ verdicts }) => Console.table(verdicts)),
 *   Effect.provide(MicrosandboxLocal.layer({ sweep: false }))
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const sweep = Effect.fn("Reaper.sweep")(function* (
  options?: SweepOptions
): Effect.fn.Return<Cleanup.Report, LightboxError, Services> {
  const { dryRun, timeout } = yield* decodeOptions(options ?? {})
  const driver = yield* Microsandbox.Microsandbox
  return yield* internal.sweep(driver, yield* Ownership.Ownership, {
    all: true,
    dryRun: dryRun ?? false,
    timeout: timeout ?? Duration.minutes(1)
  })
})

/**
 * Sweeps at once and then at an interval (default 5 minutes), in the background,
 * until the layer is closed. Logs the sandboxes that it removes, the names that it
 * makes free, and whatever it can not remove.
 *
 * **Example** (In a service)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { MicrosandboxLocal, Reaper } from "effect-lightbox"
 *
 * export const live = Reaper.layer().pipe(Layer.provideMerge(MicrosandboxLocal.layer()))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: {
  readonly interval?: Duration.Input | undefined
}): Layer.Layer<never, LightboxError, Services> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const interval = (yield* decodeInterval(options?.interval)) ?? Duration.minutes(5)
      yield* sweep().pipe(Effect.tap(internal.log), Effect.repeat(Schedule.spaced(interval)), Effect.forkScoped)
    })
  )
