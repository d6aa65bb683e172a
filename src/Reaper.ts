/**
 * Sweeps: removal of what dead processes left behind, whether they were killed,
 * crashed or ended by a power failure.
 *
 * Before the library creates anything, it records which process owns it. A process
 * proves that it is alive with a socket, which the kernel closes when the process
 * ends. A sweep removes what dead processes own: sandboxes, names that failed
 * creations still occupy, unfinished captures, temporary files, locks, scoped
 * snapshots, snapshots that an interrupted removal or load left without a name, and
 * folders that an interrupted creation or removal left of a volume.
 * It never removes volumes, other snapshots, anything detached, or anything that
 * belongs to living processes or other tools.
 *
 * Every driver's layer sweeps when it is built and every 30 seconds, so a killed process leaves nothing behind for more
 * than a minute. {@link layer} also removes detached sandboxes whose time to live has expired.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
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
import { optionsDecoder } from "./internal/config/validation.ts"
import type { LightboxError } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"

/**
 * Options of {@link sweep}.
 *
 * @category options
 * @since 0.1.0
 */
export interface SweepOptions {
  /** Report what would be removed, without removing it. Default: `false`. */
  readonly dryRun?: boolean | undefined
  /** Time limit. Default: 1 minute. */
  readonly timeout?: Duration.Input | undefined
}

const decodeOptions = optionsDecoder(
  "Reaper.sweep",
  Schema.Struct({ dryRun: Schema.optional(Schema.Boolean), timeout: Schema.optional(DurationInput) })
)

const decodeLayer = optionsDecoder("Reaper.layer", Schema.Struct({ interval: Schema.optional(DurationInput) }))

/**
 * Removes what dead processes left behind, and detached sandboxes whose time to
 * live has expired. Concurrent sweeps, even in other processes, are safe.
 *
 * Reports what could not be removed as `failed`. Fails only with `InvalidConfig`.
 *
 * **Example** (Printing what a sweep would remove)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { MicrosandboxLocal, Reaper } from "effect-lightbox"
 *
 * export const program = Reaper.sweep({ dryRun: true }).pipe(
 *   Effect.flatMap(Console.log),
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
  const { dryRun, timeout } = yield* decodeOptions(options)
  const driver = yield* Microsandbox.Microsandbox
  const limits = { dryRun: dryRun ?? false, timeout: timeout ?? Duration.minutes(1) }
  const report =
    driver.remoteHome === undefined
      ? yield* internal.sweep(driver, yield* Ownership.Ownership, { all: true, ...limits })
      : yield* driver.remoteHome.sweep(limits)
  const countOf = (wanted: Cleanup.Verdict["verdict"]) =>
    report.verdicts.filter(({ verdict }) => verdict === wanted).length
  yield* Effect.annotateCurrentSpan({
    "lightbox.swept.removed": countOf("removed"),
    "lightbox.swept.failed": countOf("failed")
  })
  return report
})

/**
 * Options of {@link layer}.
 *
 * @category options
 * @since 0.1.0
 */
export interface LayerOptions {
  /** Pause between two sweeps. Default: 5 minutes. */
  readonly interval?: Duration.Input | undefined
}

const repeat = Effect.fnUntraced(function* (options?: LayerOptions) {
  const { interval = Duration.minutes(5) } = yield* decodeLayer(options)
  yield* sweep().pipe(Effect.tap(internal.log), Effect.repeat(Schedule.spaced(interval)), Effect.forkScoped)
})

/**
 * Sweeps at an interval (default: 5 minutes), starting immediately, until the layer
 * closes. Logs the sandboxes and names it removes, and what it cannot remove.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: LayerOptions): Layer.Layer<never, LightboxError, Services> =>
  Layer.effectDiscard(repeat(options))

/**
 * Sweeps like {@link layer}, with options read from the configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<LayerOptions>
): Layer.Layer<never, LightboxError | Config.ConfigError, Services> =>
  Layer.effectDiscard(Effect.flatMap(Config.unwrap(options), repeat))
