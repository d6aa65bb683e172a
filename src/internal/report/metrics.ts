/**
 * The metrics of the library, and what its documents say about them.
 *
 * `npm run telemetry` writes {@link instruments} into the guide and the dashboard. Names already have the endings that
 * Prometheus wants, `_total` and `_seconds`, so that a metric has the same name whichever way it is exported. Each has a
 * unit: a collector takes a gauge without one for a ratio, and renames it.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"

const counter = (name: string, unit: string, description: string) =>
  Metric.counter(name, { description, incremental: true, attributes: { unit } })

const gauge = (name: string, unit: string, description: string) =>
  Metric.gauge(name, { description, attributes: { unit } })

const seconds = (name: string, description: string, boundaries: ReadonlyArray<number>) =>
  Metric.histogram(name, { description, boundaries, attributes: { unit: "seconds" } })

const outcomes = "`succeeded`, `failed` or `interrupted`"

// =============================================================================
// Builds
// =============================================================================

export const builds = counter("lightbox_builds_total", "{build}", "Builds that ended")

export const buildDuration = seconds(
  "lightbox_build_duration_seconds",
  "How long builds took, waits for other builds included",
  [0.05, 0.25, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600]
)

export const stepsRun = counter("lightbox_build_steps_run_total", "{step}", "Build steps that were run")

export const stepsReused = counter("lightbox_build_steps_reused_total", "{step}", "Build steps whose result was reused")

export const stepFailures = counter(
  "lightbox_build_step_failures_total",
  "{attempt}",
  "Attempts of build steps that failed, whether they were retried or not"
)

// =============================================================================
// Sandboxes
// =============================================================================

export const launches = counter(
  "lightbox_launches_total",
  "{launch}",
  "Boots of sandboxes that ended, those of builders included"
)

export const launchDuration = seconds(
  "lightbox_launch_duration_seconds",
  "How long successful launches took, once the budget had room",
  [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]
)

export const resumes = counter(
  "lightbox_resumes_total",
  "{launch}",
  "Launches of snapshots with memory that resumed the captured machine, or tried to and booted the disk"
)

export const waitingLaunches = gauge(
  "lightbox_launches_waiting",
  "{launch}",
  "Launches that wait for room in the budget of this process"
)

export const ownedSandboxes = gauge(
  "lightbox_sandboxes",
  "{sandbox}",
  "Sandboxes that this process launches or has launched, and will remove"
)

// =============================================================================
// Pools
// =============================================================================

export const pooled = gauge("lightbox_pool_sandboxes", "{sandbox}", "Sandboxes of the pools of this process")

export const poolWaiting = gauge("lightbox_pool_waiting", "{caller}", "Callers that wait for a sandbox of a pool")

export const poolAcquire = seconds(
  "lightbox_pool_acquire_duration_seconds",
  "How long callers waited for a sandbox of a pool",
  [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 5, 10, 30, 60]
)

export const poolBootFailures = counter(
  "lightbox_pool_boot_failures_total",
  "{boot}",
  "Sandboxes for pools that did not boot"
)

// =============================================================================
// Driver
// =============================================================================

export const bootRetries = counter(
  "lightbox_boot_retries_total",
  "{boot}",
  "Boots that exceeded the boot time limit and were tried again"
)

export const sdkRetries = counter(
  "lightbox_sdk_retries_total",
  "{call}",
  "Calls of the SDK repeated after a transient failure"
)

// =============================================================================
// Cleanup
// =============================================================================

export const releaseFailures = counter(
  "lightbox_release_failures_total",
  "{sandbox}",
  "Sandboxes that could not be removed or stopped in time when their scope closed; a sweep removes them later"
)

export const sweeps = counter("lightbox_sweeps_total", "{sweep}", "Sweeps that ended, dry runs excluded")

export const swept = counter(
  "lightbox_swept_total",
  "{resource}",
  "What dead processes left behind, and sweeps removed or failed to remove"
)

// =============================================================================
// Documents
// =============================================================================

/** A metric, as the guide and the dashboard describe it. */
export interface Instrument {
  readonly area: "Builds" | "Sandboxes" | "Pools" | "Driver" | "Cleanup"
  readonly metric: Pick<Metric.Metric<never, unknown>, "attributes" | "description" | "id" | "type">
  /** Its attributes, with their values. */
  readonly attributes?: { readonly [name: string]: string }
}

/** All metrics, in the order in which documents show them. */
export const instruments: ReadonlyArray<Instrument> = [
  { area: "Builds", metric: builds, attributes: { outcome: outcomes } },
  { area: "Builds", metric: buildDuration, attributes: { outcome: outcomes } },
  { area: "Builds", metric: stepsRun },
  { area: "Builds", metric: stepsReused },
  { area: "Builds", metric: stepFailures },
  { area: "Sandboxes", metric: launches, attributes: { outcome: outcomes } },
  { area: "Sandboxes", metric: launchDuration },
  {
    area: "Sandboxes",
    metric: resumes,
    attributes: { outcome: "`resumed`, or `booted` if that failed" }
  },
  { area: "Sandboxes", metric: waitingLaunches },
  {
    area: "Sandboxes",
    metric: ownedSandboxes,
    attributes: { role: "`scoped`, `pool`, `builder`, `verifier`, or `detached` until it is" }
  },
  { area: "Pools", metric: pooled, attributes: { state: "`ready`, `used`, `booting` or `leaving`" } },
  { area: "Pools", metric: poolWaiting },
  { area: "Pools", metric: poolAcquire },
  { area: "Pools", metric: poolBootFailures },
  { area: "Driver", metric: bootRetries },
  { area: "Driver", metric: sdkRetries },
  { area: "Cleanup", metric: releaseFailures },
  { area: "Cleanup", metric: sweeps, attributes: { outcome: "`complete` or `incomplete`" } },
  {
    area: "Cleanup",
    metric: swept,
    attributes: { resource: "such as `sandbox` or `snapshot`", verdict: "`removed` or `failed`" }
  }
]

// =============================================================================
// Updates
// =============================================================================

const outcomeOf = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isSuccess(exit) ? "succeeded" : Exit.hasInterrupts(exit) ? "interrupted" : "failed"

/** Counts how an effect ends, and how many seconds it takes. */
export const observing = (of: {
  readonly count?: typeof builds | undefined
  readonly duration: typeof buildDuration
  /** Whether the duration has the outcome as an attribute. Default: only that of a success counts. */
  readonly byOutcome?: boolean | undefined
}) => {
  const { byOutcome, count, duration } = of
  const record = (start: number, exit: Exit.Exit<unknown, unknown>) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const outcome = { outcome: outcomeOf(exit) }
      const taken = (now - start) / 1000
      const timed = byOutcome === true ? Metric.withAttributes(duration, outcome) : duration
      return Effect.andThen(
        count === undefined ? Effect.void : Metric.update(Metric.withAttributes(count, outcome), 1),
        byOutcome === true || Exit.isSuccess(exit) ? Metric.update(timed, taken) : Effect.void
      )
    })
  return <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(Clock.currentTimeMillis, (start) => Effect.onExit(effect, (exit) => record(start, exit)))
}

/** Adds one to a gauge until the scope closes, or until `end` has run. */
export const held = (metric: typeof ownedSandboxes, attributes: { readonly [name: string]: string }) =>
  Effect.gen(function* () {
    const gauge = Metric.withAttributes(metric, attributes)
    let isHeld = true
    const end = Effect.suspend(() => {
      if (!isHeld) return Effect.void
      isHeld = false
      return Metric.modify(gauge, -1)
    })
    yield* Effect.acquireRelease(Metric.modify(gauge, 1), () => end)
    return { end }
  })
