/**
 * Sandboxes that were booted before they are asked for, each for one use.
 *
 * A pool keeps some sandboxes ready and hands one out in less than a
 * millisecond. It is removed after its use and another one boots in the
 * background: no two users ever see the same sandbox.
 *
 * **Example** (Running tools of an agent)
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
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Services } from "./Driver.ts"
import type * as Guest from "./Guest.ts"
import * as internal from "./internal/sandbox/pool.ts"
import type { LightboxError } from "./LightboxError.ts"
import type * as Sandbox from "./Sandbox.ts"
import type * as SandboxConfig from "./SandboxConfig.ts"

// =============================================================================
// Models
// =============================================================================

/**
 * What one user of a sandbox wants otherwise than the pool has it: what holds for
 * the commands that are run over the handle. Everything else a sandbox boots
 * with; the pool refuses it with `InvalidConfig`.
 *
 * **Example** (A tenant's surroundings)
 *
 * ```ts
 * import { Redacted } from "effect"
 * import type { SandboxPool } from "effect-lightbox"
 *
 * export const settings: SandboxPool.Settings = {
 *   env: { TENANT: "acme", TOKEN: Redacted.make("s3cret") },
 *   cwd: "/work",
 *   user: "app"
 * }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings {
  /** Added to the sandbox's. Redacted values appear nowhere but in the guest. */
  readonly env?: { readonly [name: string]: Guest.Word } | undefined
  /** It must exist. */
  readonly cwd?: string | undefined
  readonly user?: string | undefined
}

/**
 * How many sandboxes a pool has, and had.
 *
 * **Example** (Telling whether all is well)
 *
 * ```ts
 * import type { SandboxPool } from "effect-lightbox"
 *
 * export const isWarm = (stats: SandboxPool.Stats): boolean => stats.ready >= stats.min
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Stats {
  readonly min: number
  readonly max: number
  /** Wait to be handed out. */
  readonly ready: number
  readonly booting: number
  /** Were handed out. */
  readonly used: number
  /** Are being removed. */
  readonly leaving: number
  /** Users that wait for a sandbox. */
  readonly waiting: number
  /** Boots that succeeded, in all. */
  readonly booted: number
  /** Boots that failed, in all. */
  readonly failed: number
  /** Sandboxes that were handed out, in all. */
  readonly handedOut: number
}

/**
 * What became of one of many jobs: its position among them, from 0, and how it
 * ended.
 *
 * **Example** (Those that failed)
 *
 * ```ts
 * import { Exit } from "effect"
 * import type { SandboxPool } from "effect-lightbox"
 *
 * export const failed = <A, E>(results: ReadonlyArray<SandboxPool.JobResult<A, E>>): ReadonlyArray<number> =>
 *   results.filter(({ exit }) => Exit.isFailure(exit)).map(({ index }) => index)
 * ```
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
 * **Example** (Three attempts, results in the order of the jobs)
 *
 * ```ts
 * import { Schedule } from "effect"
 * import type { SandboxPool } from "effect-lightbox"
 *
 * export const options: SandboxPool.RunManyOptions = { retry: Schedule.recurs(2), ordered: true }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface RunManyOptions<E = never, R = never> {
  /** Default: the pool's `max`. */
  readonly concurrency?: number | undefined
  /** When to try a job again, in another sandbox. Default: never. */
  readonly retry?: Schedule.Schedule<unknown, E | LightboxError, never, R> | undefined
  /** Give the results in the order of the jobs, not as they come. Default: `false`. */
  readonly ordered?: boolean | undefined
  readonly settings?: Settings | undefined
}

/**
 * A pool of sandboxes.
 *
 * **Example** (Taking a pool as a parameter)
 *
 * ```ts
 * import type { SandboxPool } from "effect-lightbox"
 *
 * export const answer = (pool: SandboxPool.SandboxPool) =>
 *   pool.use((sandbox) => sandbox.exec("python", ["-c", "print(6 * 7)"]))
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxPool {
  /**
   * Hands a sandbox out until the scope closes, which removes it. If none is ready, waits for one; fails with the error
   * of the boot when none can be had.
   */
  readonly acquire: (settings?: Settings) => Effect.Effect<Sandbox.Sandbox, LightboxError, Scope.Scope>
  /** Hands a sandbox to a function, and removes it when the function's effect ends, however it ends. */
  readonly use: <A, E, R>(
    f: (sandbox: Sandbox.Sandbox) => Effect.Effect<A, E, R>,
    settings?: Settings
  ) => Effect.Effect<A, LightboxError | E, Exclude<R, Scope.Scope>>
  /**
   * Runs each job in a sandbox of its own, several at a time. However one ends, the others go on; ending the stream
   * ends those that run. Fails with `InvalidConfig` only.
   */
  readonly runMany: <A, E, R, R2 = never>(
    jobs: Iterable<(sandbox: Sandbox.Sandbox) => Effect.Effect<A, E, R>>,
    options?: RunManyOptions<E, R2>
  ) => Stream.Stream<JobResult<A, LightboxError | E>, LightboxError, Exclude<R, Scope.Scope> | R2>
  readonly stats: Effect.Effect<Stats>
}

/**
 * The service of a program's one pool, as {@link layer} provides it.
 *
 * **Example** (Using the pool of the context)
 *
 * ```ts
 * import { SandboxPool } from "effect-lightbox"
 *
 * export const kernel = SandboxPool.SandboxPool.use((pool) => pool.use((sandbox) => sandbox.exec("uname", ["-r"])))
 * ```
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
 * Options of {@link make}: what the sandboxes are, as for `Sandbox.launch`, and
 * how many.
 *
 * **Example** (Options in a variable)
 *
 * ```ts
 * import type { SandboxPool } from "effect-lightbox"
 *
 * export const options: SandboxPool.Options = {
 *   snapshot: "node-ci",
 *   resources: { memory: "1G" },
 *   min: 2,
 *   max: 8,
 *   timeToLive: "30 minutes"
 * }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export type Options<E = never, R = never> = Sandbox.SourceOptions<E, R> &
  Omit<SandboxConfig.Options, "name"> &
  Pick<Sandbox.LaunchOptions, "onPullProgress" | "releaseTimeout"> & {
    /** How many are kept ready. 0: each boots when it is asked for. Default: 1. */
    readonly min?: number | undefined
    /** How many there are at most: booting, ready, handed out and being removed. */
    readonly max: number
    /**
     * After how long a sandbox that nobody used is removed. In the last quarter of it, at a moment that is another for
     * each, its successor boots. Default: 1 hour.
     */
    readonly timeToLive?: Duration.Input | undefined
    /**
     * When the snapshot's name moves on, go on handing out what is ready until its successors are (`"gradual"`, the
     * default), or remove it at once and let users wait (`"at-once"`).
     */
    readonly rollOver?: "gradual" | "at-once" | undefined
    readonly healthCheck?: HealthCheck | undefined
  }

/**
 * How a pool looks after the sandboxes that are ready.
 *
 * **Example** (Often)
 *
 * ```ts
 * import type { SandboxPool } from "effect-lightbox"
 *
 * export const healthCheck: SandboxPool.HealthCheck = { interval: "200 millis", timeout: "100 millis" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface HealthCheck {
  /** How often each is asked for an answer, and the snapshot's name for what it leads to. Default: 1 second. */
  readonly interval?: Duration.Input | undefined
  /** How long an answer may take. Default: 1 second. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * Makes a pool that lives until the scope closes, which removes all its
 * sandboxes, those that are in use included.
 *
 * **Details**
 *
 * All options are checked first; a wrong one fails with `InvalidConfig` and its
 * name. It does not wait for sandboxes to boot. They boot within the budget of
 * the driver, and what fails to boot is tried again after a pause that grows to
 * 10 seconds; who waits meanwhile gets the error.
 *
 * Nothing has to be asked at the moment of handing out. A sandbox whose
 * connection ends is replaced at once, and one that hangs when it leaves a
 * question of the health check unanswered. Only if the last answer is older than
 * two intervals, because the process was held up for instance, is a sandbox asked
 * once more before it is handed out.
 *
 * A snapshot given by name is followed: when the name moves to another
 * generation, the pool does, too. One that is given otherwise stays what it is.
 *
 * **Example** (Many programs, each in a clean sandbox)
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
export const make = <E = never, R = never>(
  options: Options<E, R>
): Effect.Effect<SandboxPool, LightboxError | E, Services | Scope.Scope | R> => internal.make(options)

// =============================================================================
// Layers
// =============================================================================

/**
 * Provides {@link SandboxPool}.
 *
 * **Example** (A pool on a snapshot that is built when needed)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { MicrosandboxLocal, SandboxPool, Snapshot } from "effect-lightbox"
 *
 * const tools = Snapshot.make("tools", "alpine:3.20").pipe(Snapshot.shell("apk add git"))
 *
 * export const live = SandboxPool.layer({ snapshot: Snapshot.build(tools), min: 2, max: 4 }).pipe(
 *   Layer.provide(MicrosandboxLocal.layer())
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <E = never, R = never>(
  options: Options<E, R>
): Layer.Layer<SandboxPool, LightboxError | E, Services | Exclude<R, Scope.Scope>> =>
  Layer.effect(SandboxPool, make(options))

/**
 * A service class for one pool of several: its own tag, with a `layer` that makes
 * it.
 *
 * **Example** (Two pools in one program)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { SandboxPool } from "effect-lightbox"
 *
 * class Node extends SandboxPool.Service<Node>()("Node", { snapshot: "node", max: 4 }) {}
 * class Python extends SandboxPool.Service<Python>()("Python", { snapshot: "python", max: 4 }) {}
 *
 * export const program = Effect.gen(function* () {
 *   const node = yield* Node
 *   const python = yield* Python
 *   return [yield* node.stats, yield* python.stats]
 * }).pipe(Effect.provide(Layer.mergeAll(Node.layer, Python.layer)))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const Service =
  <Self>() =>
  <const Id extends string, E = never, R = never>(
    id: Id,
    options: Options<E, R>
  ): Context.ServiceClass<Self, Id, SandboxPool> & {
    readonly layer: Layer.Layer<Self, LightboxError | E, Services | Exclude<R, Scope.Scope>>
  } => {
    const service = Context.Service<Self, SandboxPool>()(id)
    return Object.assign(service, { layer: Layer.effect(service, make(options)) })
  }
