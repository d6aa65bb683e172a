/**
 * Sandboxes booted in advance, each used once.
 *
 * A pool keeps sandboxes ready and hands one out within milliseconds. After use, the sandbox is removed and a
 * replacement boots in the background: no two users share a sandbox.
 *
 * **Example** (Run an agent's tools)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { MicrosandboxLocal, SandboxPool } from "effect-lightbox"
 *
 * export const program = Effect.gen(function* () {
 *   const pool = yield* SandboxPool.make({ snapshot: "py-data", min: 2, max: 8, network: "none" })
 *   return yield* pool.use((sandbox) => sandbox.exec("python", ["-c", "print(6 * 7)"], { timeout: "10 seconds" }))
 * }).pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()))
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Services } from "./Driver.ts"
import type * as Guest from "./Guest.ts"
import type * as Plain from "./internal/config/plain.ts"
import * as internal from "./internal/sandbox/pool.ts"
import type { LightboxError } from "./LightboxError.ts"
import type * as Sandbox from "./Sandbox.ts"
import type * as SandboxConfig from "./SandboxConfig.ts"

// =============================================================================
// Models
// =============================================================================

/**
 * Settings of one user that apply to the commands run over the handle. Other options are fixed at boot; passing them
 * fails with `InvalidConfig`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings {
  /** Variables added to the sandbox's. Redacted values are visible only in the guest. */
  readonly env?: { readonly [name: string]: Guest.Word } | undefined
  /** Working directory. Must exist. */
  readonly cwd?: string | undefined
  /** User, by name or id. Default: the sandbox's. */
  readonly user?: string | undefined
}

/**
 * The numbers of sandboxes in a pool, now and in total.
 *
 * @category models
 * @since 0.1.0
 */
export type Stats = Plain.PoolStats

/**
 * The result of one of many jobs, with its position (from 0).
 *
 * @category models
 * @since 0.1.0
 */
export interface JobResult<out A, out E = never> {
  readonly index: number
  readonly exit: Exit.Exit<A, E>
}

/**
 * Options of {@link SandboxPool} `runMany`.
 *
 * @category options
 * @since 0.1.0
 */
export interface RunManyOptions<E = never, R = never> {
  /** Jobs that run at the same time. Default: the pool's `max`. */
  readonly concurrency?: number | undefined
  /** Schedule for retrying a job in another sandbox. Default: no retries. */
  readonly retry?: Schedule.Schedule<unknown, E | LightboxError, never, R> | undefined
  /** Emit results in the order of the jobs instead of completion. Default: `false`. */
  readonly ordered?: boolean | undefined
  /** Variables, folder and user of the sandboxes. Default: those of the pool. */
  readonly settings?: Settings | undefined
}

/**
 * A pool of sandboxes.
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxPool {
  /**
   * Acquires a sandbox, which is removed when the scope closes. Waits for one if none is ready; fails with the boot
   * error if none can boot.
   */
  readonly acquire: (settings?: Settings) => Effect.Effect<Sandbox.Sandbox, LightboxError, Scope.Scope>
  /** Passes a sandbox to a function and removes it when the function's effect ends, even on failure or interruption. */
  readonly use: <A, E, R>(
    f: (sandbox: Sandbox.Sandbox) => Effect.Effect<A, E, R>,
    settings?: Settings
  ) => Effect.Effect<A, LightboxError | E, Exclude<R, Scope.Scope>>
  /**
   * Runs each job in a fresh sandbox, several at a time. Failed jobs do not stop the others; ending the stream
   * interrupts running jobs. Fails only with `InvalidConfig`.
   */
  readonly runMany: <A, E, R, R2 = never>(
    jobs: Iterable<(sandbox: Sandbox.Sandbox) => Effect.Effect<A, E, R>>,
    options?: RunManyOptions<E, R2>
  ) => Stream.Stream<JobResult<A, LightboxError | E>, LightboxError, Exclude<R, Scope.Scope> | R2>
  readonly stats: Effect.Effect<Stats>
}

/**
 * The service tag for a program's only pool, provided by {@link layer}.
 *
 * @category services
 * @since 0.1.0
 */
export const SandboxPool: Context.Service<SandboxPool, SandboxPool> =
  Context.Service<SandboxPool>("effect-lightbox/SandboxPool")

// =============================================================================
// Making
// =============================================================================

/**
 * Options of {@link make}: those of `Sandbox.launch` for each sandbox, and the size of the pool.
 *
 * @category options
 * @since 0.1.0
 */
export type Options<E = never, R = never, E2 = never, R2 = never> = Sandbox.SourceOptions<E, R> &
  Omit<SandboxConfig.Options, "name"> &
  Pick<Sandbox.LaunchOptions, "onPullProgress" | "releaseTimeout"> & {
    /** Sandboxes to keep ready. With 0, each boots on demand. Default: 1. */
    readonly min?: number | undefined
    /** Maximum number of sandboxes: booting, ready, in use and being removed. */
    readonly max: number
    /**
     * Remove an unused sandbox after this time. Its successor boots at a random moment in the last quarter. Default: 1
     * hour.
     */
    readonly timeToLive?: Duration.Input | undefined
    /**
     * When the snapshot's name points to a new snapshot: `"gradual"` (the default) hands out ready sandboxes until
     * their successors have booted, `"at-once"` removes them immediately and lets users wait.
     */
    readonly rollOver?: "gradual" | "at-once" | undefined
    readonly healthCheck?: HealthCheck | undefined
    /**
     * Keep one more sandbox running, and make all others copies of it with its memory, as `Sandbox.fork` with `memory`
     * does: they are there in a moment, with services that run. It does not count for `max`, only for the driver's budget,
     * and is replaced when it ends or its snapshot has changed. Its copies publish no ports. Needs a driver that can do so;
     * others fail with `Unsupported`. Default: `false`, each boots.
     */
    readonly fork?: boolean | undefined
    /**
     * Prepares a state that takes long, such as a database with its data: runs once, in a sandbox with the options of the
     * others, services included. That sandbox is stopped, and all others are forks of it: they boot from a copy of its
     * disk. Its processes, memory, `/tmp` and mounts are not part of the copy. Not for ephemeral sandboxes.
     * With `fork`, it is not stopped, and everything is part of the copies. Default: none.
     */
    readonly prepare?: ((sandbox: Sandbox.Sandbox) => Effect.Effect<unknown, E2, R2>) | undefined
  }

/**
 * The health check of ready sandboxes.
 *
 * @category options
 * @since 0.1.0
 */
export interface HealthCheck {
  /** Interval of checking each sandbox, and the snapshot that the name points to. Default: 1 second. */
  readonly interval?: Duration.Input | undefined
  /** Time limit for a response. Default: 1 second. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * Creates a pool that lives until the scope closes, which removes all its sandboxes, including those in use.
 *
 * **Details**
 *
 * All options are checked first; an invalid one fails with `InvalidConfig`, which names it. Waits for `prepare` and fails
 * with its error, but does not wait for sandboxes to boot. Boots count against the driver's admission limits. A failed boot is retried after a pause that grows to 10
 * seconds; users waiting meanwhile get the error.
 *
 * A sandbox whose connection ends is replaced immediately, one that hangs when it misses a health check. Handing out
 * checks a sandbox again only if its last response is older than two intervals, for example because the process was
 * suspended.
 *
 * A pool follows a snapshot given by name: when the name points to a new snapshot, or to one with other launch defaults,
 * new sandboxes boot from it. A snapshot given otherwise stays fixed, and so does what `prepare` leaves, which is removed
 * with the pool. With a `max` above 1, the ports of the launch
 * defaults are published on free ports of 127.0.0.1.
 *
 * **Example** (Run many programs, each in a clean sandbox)
 *
 * ```ts
 * import { Console, Effect, Stream } from "effect"
 * import { type Sandbox, SandboxPool } from "effect-lightbox"
 *
 * export const test = (versions: ReadonlyArray<string>) =>
 *   Effect.scoped(
 *     Effect.gen(function* () {
 *       const pool = yield* SandboxPool.make({ snapshot: "node-ci", min: 3, max: 3 })
 *       const jobs = versions.map((version) => (sandbox: Sandbox.Sandbox) => sandbox.shell(`nvm exec ${version} npm test`))
 *       yield* Stream.runForEach(pool.runMany(jobs), ({ exit, index }) => Console.log(versions[index], exit._tag))
 *     })
 *   )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E = never, R = never, E2 = never, R2 = never>(
  options: Options<E, R, E2, R2>
): Effect.Effect<SandboxPool, LightboxError | E | E2, Services | Scope.Scope | R | R2> =>
  internal.make(options, (...args) =>
    Effect.flatMap(
      // Few programs need it.
      Effect.promise(() => import("./internal/build/capture.ts")),
      (Capture) => Capture.prepared(...args)
    )
  )

// =============================================================================
// Layers
// =============================================================================

/**
 * Provides {@link SandboxPool}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <E = never, R = never, E2 = never, R2 = never>(
  options: Options<E, R, E2, R2>
): Layer.Layer<SandboxPool, LightboxError | E | E2, Services | Exclude<R | R2, Scope.Scope>> =>
  Layer.effect(SandboxPool, make(options))

/**
 * Provides {@link SandboxPool} with options read from the configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<SandboxPool, LightboxError | Config.ConfigError, Services> =>
  Layer.effect(
    SandboxPool,
    Effect.flatMap(Config.unwrap(options), (options) => make(options))
  )

/**
 * Creates a service class for one of several pools. Its `layer` makes the pool.
 *
 * @category constructors
 * @since 0.1.0
 */
export const Service =
  <Self>() =>
  <const Id extends string, E = never, R = never, E2 = never, R2 = never>(
    id: Id,
    options: Options<E, R, E2, R2>
  ): Context.ServiceClass<Self, Id, SandboxPool> & {
    readonly layer: Layer.Layer<Self, LightboxError | E | E2, Services | Exclude<R | R2, Scope.Scope>>
  } => {
    const service = Context.Service<Self, SandboxPool>()(id)
    return Object.assign(service, { layer: Layer.effect(service, make(options)) })
  }
