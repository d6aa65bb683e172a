/** Pools for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { LaunchSettings } from "../../promise.ts"
import * as Interpreters from "../../Interpreter.ts"
import * as Pools from "../../SandboxPool.ts"
import type * as Plain from "../config/plain.ts"
import { Env, Func, GuestPath, Int53, intBetween, optionsStruct, User } from "../config/schemas.ts"
import { printable } from "../report/printable.ts"
import { poolFields } from "../sandbox/pool.ts"
import { callFields, checkArgs, checked, Millis, None, signalOf } from "./input.ts"
import { decodeInPool, Interpreter, type InterpreterOptions } from "./interpreter.ts"
import { decodeSandbox, oneSource, sandboxFields, toCore, withPromiseNames } from "./launch.ts"
import type { CallOptions } from "./options.ts"
import * as Readers from "./reader.ts"
import { abortable, acquire, type OpenScope, run } from "./runtime.ts"
import { calling, Sandbox } from "./sandbox.ts"

/**
 * Options of {@link createPool}: those of each sandbox, with either a `snapshot` or an `image`, and the size of the pool.
 *
 * @category options
 * @since 0.1.0
 */
export type PoolOptions = PoolSettings &
  Omit<LaunchSettings, "detached" | "name" | "overwrite" | "verbose"> &
  (
    | { /** Name of the snapshot to boot from. */ snapshot: string; image?: undefined }
    | { /** OCI image to boot from. */ image: string; snapshot?: undefined }
  )

/**
 * The size of a pool, and how it keeps its sandboxes fit.
 *
 * @category options
 * @since 0.1.0
 */
export interface PoolSettings {
  /** Sandboxes to keep ready. With 0, each boots on demand. Default: 1. */
  min?: number | undefined
  /** Maximum number of sandboxes: booting, ready, in use and being removed. */
  max: number
  /** Remove an unused sandbox after this time. Default: 3,600,000 (1 hour). */
  timeToLiveMs?: number | undefined
  /**
   * When the snapshot's name points to a new snapshot: `"gradual"` hands out ready sandboxes until their successors have
   * booted, `"at-once"` removes them. Default: `"gradual"`.
   */
  rollOver?: "gradual" | "at-once" | undefined
  /** How often to check each sandbox, and how long it may take to respond. Default: 1,000 each. */
  healthCheck?: { readonly intervalMs?: number | undefined; readonly timeoutMs?: number | undefined } | undefined
  /**
   * Keep one more sandbox running, and make all others copies of it with its memory. They publish no ports. A preview, for
   * runtimes that can do so; others reject with the reason `Unsupported`. Default: `false`, each boots.
   */
  fork?: boolean | undefined
  /**
   * Prepares a state that takes long, such as a database with its data: runs once, in a sandbox with the options of the
   * others, services included. That sandbox is stopped, and all others are forks of it: they boot from a copy of its
   * disk. Its processes, memory, `/tmp`, `/run` and mounts are not part of the copy. Pass the options on, so that what
   * runs ends with the call. Not for ephemeral sandboxes. Default: none.
   */
  prepare?: ((sandbox: Sandbox, options: CallOptions) => Promise<unknown>) | undefined
}

/**
 * Defaults for the commands of one user of a pool. Everything else is fixed when a sandbox boots.
 *
 * @category options
 * @since 0.1.0
 */
export interface UserOptions extends CallOptions {
  /** Variables added to the sandbox's. Default: none. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Working directory. Must exist. Default: the sandbox's. */
  readonly cwd?: string | undefined
  /** User, by name or id. Default: the sandbox's. */
  readonly user?: string | undefined
}

/**
 * Options of {@link SandboxPool.runMany}.
 *
 * @category options
 * @since 0.1.0
 */
export interface RunManyOptions extends UserOptions {
  /** Tasks that run at the same time. Default: the pool's `max`. */
  readonly concurrency?: number | undefined
  /** Attempts after a failed one, each in another sandbox. Default: 0. */
  readonly retries?: number | undefined
  /** Return results in the order of the tasks instead of completion. Default: `false`. */
  readonly ordered?: boolean | undefined
}

/**
 * The outcome of one of many tasks, with its position (from 0).
 *
 * @category models
 * @since 0.1.0
 */
export type TaskResult<A> = PromiseSettledResult<A> & { readonly index: number }

/**
 * The numbers of sandboxes in a pool, now and in total.
 *
 * @category models
 * @since 0.1.0
 */
export type PoolStats = Plain.PoolStats

const userFields = {
  ...callFields,
  env: Schema.optional(Env),
  cwd: Schema.optional(GuestPath),
  user: Schema.optional(User)
}

const decodeAcquire = checked("SandboxPool.acquire", None, optionsStruct<UserOptions>()(userFields))
const decodeUse = checked("SandboxPool.use", None, optionsStruct<UserOptions>()(userFields))

const isTasks = (u: unknown): u is Iterable<(sandbox: Sandbox) => Promise<unknown>> =>
  typeof u === "object" && u !== null && Symbol.iterator in u

const decodeRunMany = checked(
  "SandboxPool.runMany",
  Schema.Struct({ tasks: Schema.declare(isTasks, { expected: "an iterable of functions" }) }),
  optionsStruct<RunManyOptions>()({
    ...userFields,
    concurrency: Schema.optional(intBetween(1, 10_000)),
    retries: Schema.optional(Int53),
    ordered: Schema.optional(Schema.Boolean)
  })
)

/** The value that a task rejected with. */
class Rejected {
  readonly reason: unknown
  constructor(reason: unknown) {
    this.reason = reason
  }
}

/**
 * A pool of sandboxes booted in advance, each used once. It keeps the process alive until it is closed.
 *
 * @category models
 * @since 0.1.0
 */
export class SandboxPool implements AsyncDisposable {
  readonly #pool: Pools.SandboxPool
  readonly #held: OpenScope

  /** @internal */
  constructor(pool: Pools.SandboxPool, held: OpenScope) {
    this.#pool = pool
    this.#held = held
  }
  /**
   * Takes a sandbox, which is removed at the end of the `await using` block. Waits for one if none is ready; rejects with
   * the boot's error if none can boot.
   */
  async acquire(options?: UserOptions): Promise<Sandbox> {
    const { signal, ...settings } = decodeAcquire({}, options)
    return await Sandbox.open(this.#pool.acquire(settings), signal)
  }
  /** Passes a sandbox to a callback, and removes it when the callback resolves or rejects, or the signal aborts. */
  async use<A>(use: (sandbox: Sandbox) => Promise<A>, options?: UserOptions): Promise<A> {
    checkArgs("SandboxPool.use", { use })
    const { signal, ...settings } = decodeUse({}, options)
    await using sandbox = await Sandbox.open(this.#pool.acquire(settings), signal)
    return await abortable(
      signal,
      () => sandbox[Symbol.asyncDispose](),
      () => use(sandbox)
    )
  }
  /**
   * Runs each task in a fresh sandbox, several at a time, and yields their outcomes. A task that rejects does not stop
   * the others. Leaving the loop early removes the sandboxes of running tasks.
   */
  async *runMany<A>(
    tasks: Iterable<(sandbox: Sandbox) => Promise<A>>,
    options?: RunManyOptions
  ): AsyncIterableIterator<TaskResult<A>> {
    const { concurrency, ordered, retries = 0, signal, tasks: _tasks, ...settings } = decodeRunMany({ tasks }, options)
    const toJob = (task: (sandbox: Sandbox) => Promise<A>) => (sandbox: Parameters<typeof Sandbox.borrow>[0]) =>
      Effect.tryPromise({
        try: async () => await task(Sandbox.borrow(sandbox)),
        catch: (reason) => new Rejected(reason)
      })
    const outcomes = this.#pool
      .runMany(mapped(tasks, toJob), {
        concurrency,
        ordered,
        settings,
        ...(retries === 0 ? {} : { retry: Schedule.recurs(retries) })
      })
      .pipe(
        Stream.map(({ exit, index }): TaskResult<A> =>
          Exit.isSuccess(exit)
            ? { index, status: "fulfilled", value: exit.value }
            : { index, status: "rejected", reason: reasonOf(Cause.squash(exit.cause)) }
        )
      )
    yield* Readers.iterate(outcomes, signal)
  }
  /** Starts an interpreter in a sandbox of its own, which is removed when the interpreter is closed. */
  async interpreter(options: InterpreterOptions): Promise<Interpreter> {
    const decoded = decodeInPool(options)
    return await acquire(
      Interpreters.make(this.#pool, decoded.options),
      (source, held) => new Interpreter(source, held, Sandbox.borrow(source.sandbox)),
      { signal: decoded.signal }
    )
  }
  async stats(options?: CallOptions): Promise<PoolStats> {
    return await run(this.#pool.stats, signalOf("SandboxPool.stats", options))
  }
  /** Removes all sandboxes, including those in use. */
  async close(): Promise<void> {
    await this.#held.close()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held.close()
  }
}

printable(SandboxPool.prototype, "SandboxPool", () => ({}))

const reasonOf = (failure: unknown): unknown => (failure instanceof Rejected ? failure.reason : failure)

function* mapped<A, B>(values: Iterable<A>, f: (value: A) => B): Iterable<B> {
  for (const value of values) yield f(value)
}

const Pool = Schema.Struct({
  ...sandboxFields,
  ...poolFields,
  prepare: Schema.optional(Func),
  timeToLiveMs: Schema.optional(Millis),
  healthCheck: Schema.optional(
    Schema.Struct({ intervalMs: Schema.optional(Millis), timeoutMs: Schema.optional(Millis) })
  )
}).check(oneSource)

/**
 * Creates a pool of sandboxes. Waits for `prepare`, but not for them to boot.
 *
 * The pool keeps `min` sandboxes ready and hands one out within milliseconds. After use, the sandbox is removed
 * and a replacement boots in the background. It follows the snapshot's name: after a build, new sandboxes boot from the
 * new snapshot. A failed boot is retried after a pause that grows to 10 seconds; users waiting meanwhile get the error.
 *
 * **Example** (Handle requests, each in a clean sandbox)
 *
 * ```ts
 * import { createPool } from "effect-lightbox/promise"
 *
 * await using pool = await createPool({ image: "python:3.12-slim", network: "none", min: 2, max: 8 })
 * const out = await pool.use((sb) => sb.exec("python3", ["-c", "print(6 * 7)"], { timeoutMs: 5_000 }))
 * console.log(out.stdout())
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const createPool = async (options: PoolOptions): Promise<SandboxPool> => {
  const {
    fork,
    healthCheck,
    max,
    min,
    prepare: _prepare,
    rollOver,
    timeToLiveMs,
    ...fields
  } = decodeSandbox(Pool, "createPool", options)
  const made = Pools.make({
    ...toCore(fields, options.onPullProgress),
    fork,
    min,
    max,
    prepare: options.prepare && calling('"prepare"', options.prepare),
    rollOver,
    timeToLive: timeToLiveMs,
    healthCheck: healthCheck && { interval: healthCheck.intervalMs, timeout: healthCheck.timeoutMs }
  })
  return await acquire(Effect.mapError(made, withPromiseNames), (pool, held) => new SandboxPool(pool, held), {
    signal: fields.signal
  })
}
