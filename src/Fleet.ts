/**
 * Runs jobs on the hosts of a fleet: commands that are data, that run at least once whatever dies meanwhile, and whose
 * results are kept.
 *
 * Import it as `effect-lightbox/Fleet`. The hosts run `lightbox host --directory`, or `Gateway.serve` with a `directory`.
 *
 * **Details**
 *
 * A job is written into the directory of the fleet under its id. One of the hosts conducts it: it launches a sandbox, placed
 * like all sandboxes of a fleet, runs the command, records how it ended, and removes the sandbox. If a host dies, another one
 * runs the job again. The program that asked may end meanwhile: whoever asks for the same id gets the same result, and
 * nothing runs.
 *
 * **Gotchas**
 *
 * - A job runs at least once, not exactly once: a host may die after the command has ended and before its result was
 *   recorded. Two runs of one job have a sandbox at the same time only while a host is cut off from the directory, or
 *   frozen: it counts as lost, and its command may go on.
 * - Commands, variables and results are stored in the directory as they are. Do not put secrets into them.
 * - Whoever can write to the directory can run jobs on its hosts, without a token.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Guest from "./Guest.ts"
import { DurationInput, intBetween } from "./internal/config/schemas.ts"
import { decoder, invalid, optionsDecoder, timeLimit } from "./internal/config/validation.ts"
import { DirectoryUrl, redacted } from "./internal/directory/url.ts"
import type * as Client from "./internal/fleet/client.ts"
import * as internal from "./internal/fleet/client.ts"
import * as Models from "./internal/fleet/models.ts"
import type { LightboxError } from "./LightboxError.ts"
import type * as SandboxConfig from "./SandboxConfig.ts"

// =============================================================================
// Models
// =============================================================================

/**
 * A job: a command, and the sandbox that it runs in. It is plain data, at most 1 MiB as JSON.
 *
 * @category models
 * @since 0.1.0
 */
export interface Job {
  /**
   * Identifies the job in the fleet: 1 to 200 characters of ASCII, without spaces. Asking again with the same id returns
   * the result of the first time, for 7 days after it ended.
   */
  readonly id: string
  /** Image to boot, such as `"node:22"`. Pass either `image` or `snapshot`. */
  readonly image?: string | undefined
  /** Name of the snapshot to boot. It may move before the job runs. */
  readonly snapshot?: string | undefined
  /** A script for the sandbox's shell, or a program and its arguments. */
  readonly command: string | readonly [string, ...ReadonlyArray<string>]
  /** Variables added to the sandbox's. They are stored as they are: no secrets. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Working directory. Default: the sandbox's. */
  readonly cwd?: string | undefined
  /** User, by name or id. Default: the sandbox's. */
  readonly user?: string | undefined
  /** Default: those of every sandbox, or of the snapshot. */
  readonly resources?: SandboxConfig.Resources | undefined
  /** Time limit of each run, beyond which it is killed. Default: 1 hour. */
  readonly timeout?: Duration.Input | undefined
  /**
   * How often to run the job again after a nonzero exit code or the time limit, up to 1000. Default: 0. Runs that are lost
   * with a host do not count.
   */
  readonly retries?: number | undefined
}

/**
 * The result of a job: how its command ended, or why it could not be run.
 *
 * @category models
 * @since 0.1.0
 */
export type JobResult = Exited | Failed

/**
 * The command ended in the last run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Exited {
  readonly _tag: "Exited"
  readonly id: string
  /** -1 if a signal ended the command. */
  readonly exitCode: number
  /** The signal that ended the command, if known. */
  readonly signal?: Guest.Signal | undefined
  /** The last 64 KiB, decoded as UTF-8. */
  readonly stdout: string
  /** The last 64 KiB, decoded as UTF-8. */
  readonly stderr: string
  /** Whether an output was longer than what is here. */
  readonly isTruncated: boolean
  /** The id of the host on which it ran. */
  readonly host: string
  /** How many runs were begun. */
  readonly runs: number
  /** Duration of the last run. */
  readonly duration: Duration.Duration
}

/**
 * The command could not be run, such as for lack of its snapshot, took longer than its time limit, or its runs were lost five
 * times.
 *
 * @category models
 * @since 0.1.0
 */
export interface Failed {
  readonly _tag: "Failed"
  readonly id: string
  readonly error: LightboxError
  readonly runs: number
}

/**
 * The schema of {@link JobResult}, to store results or send them.
 *
 * @category schemas
 * @since 0.1.0
 */
export const JobResult: Schema.Codec<JobResult, unknown> = Models.Result

/**
 * A job at the time of the call.
 *
 * @category models
 * @since 0.1.0
 */
export interface Info {
  readonly id: string
  /** `"waiting"`: it has not begun. `"running"`: it has, and may wait for its next run. */
  readonly state: "waiting" | "running" | "ended"
  /** The program and its arguments, or a script. */
  readonly command: ReadonlyArray<string>
  /** The snapshot or the image. */
  readonly source: string
  /** How many runs have begun. */
  readonly runs: number
  readonly submittedAt: DateTime.Utc
  /** When the first run began. */
  readonly startedAt: DateTime.Utc | undefined
  readonly endedAt: DateTime.Utc | undefined
  readonly result: JobResult | undefined
}

// =============================================================================
// The service
// =============================================================================

/**
 * The hosts of a directory, as those that run jobs.
 *
 * @category services
 * @since 0.1.0
 */
export class Fleet extends Context.Service<
  Fleet,
  {
    /** Has a checked job run, and waits for its result. */
    readonly run: (method: string, job: Client.Checked) => Effect.Effect<JobResult, LightboxError>
    /** Lists the jobs that were submitted last. */
    readonly jobs: (limit: number) => Effect.Effect<ReadonlyArray<Info>, LightboxError>
  }
>()("effect-lightbox/Fleet") {}

/**
 * Options of {@link layer}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * The directory of the hosts: the path of an SQLite file for hosts on this machine, or a URL such as
   * `postgres://lightbox@db.example.com/fleet`, which needs the package `@effect/sql-pg`.
   */
  readonly directory: string | Redacted.Redacted<string>
  /** Run jobs on hosts of this architecture. Default: that of all hosts. Required if they have several. */
  readonly architecture?: "x64" | "arm64" | undefined
}

const decodeLayer = decoder(
  Schema.Struct({
    directory: DirectoryUrl,
    architecture: Schema.optional(Schema.Literals(["x64", "arm64"]))
  }),
  "Fleet.layer"
)

const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Fleet["Service"], LightboxError, Scope.Scope> {
  const { architecture, directory } = yield* decodeLayer(options)
  return yield* internal.make({ directory: redacted(directory), architecture })
})

/**
 * Provides {@link Fleet} by a directory. It needs no token: all that it does is to write jobs and to read results.
 *
 * Fails with `InvalidConfig` naming a wrong option, with `HostUnavailable` if the directory cannot be opened, and with
 * `Unsupported` if its hosts are of a version that runs jobs in another way.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<Fleet, LightboxError> => Layer.effect(Fleet, make(options))

/**
 * Provides {@link Fleet} by a directory, with options from `Config`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Fleet, LightboxError | Config.ConfigError> =>
  Layer.effect(Fleet, Effect.flatMap(Config.unwrap(options), make))

// =============================================================================
// Operations
// =============================================================================

/**
 * Options of {@link run}.
 *
 * @category options
 * @since 0.1.0
 */
export interface RunOptions {
  /** Stop waiting for a result after this time, and fail with `TimedOut`. The job goes on. Default: no limit. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * Options of {@link runMany}.
 *
 * @category options
 * @since 0.1.0
 */
export interface RunManyOptions extends RunOptions {
  /** How many of the jobs are given to the fleet at once, 1 to 10000. Default: 64. */
  readonly concurrency?: number | undefined
}

const runFields = { timeout: Schema.optional(DurationInput) }
const decodeRun = optionsDecoder("Fleet.run", Schema.Struct(runFields))
const decodeRunMany = optionsDecoder(
  "Fleet.runMany",
  Schema.Struct({ ...runFields, concurrency: Schema.optional(intBetween(1, 10_000)) })
)

const waiting = (method: string, id: string, limit: Duration.Duration | undefined) =>
  timeLimit(method, `waiting for job "${id}"`, limit)

/**
 * Runs a job on the fleet, and waits for its result. A nonzero exit code is a result, too.
 *
 * Interrupting it, or the end of this program, does not stop the job: run it again with the same id to get its result.
 *
 * Fails with `InvalidConfig` naming a wrong field, with `AlreadyExists` if there is another job of this id, and with
 * `HostUnavailable` if the directory is away or has no host that is alive.
 *
 * @category operations
 * @since 0.1.0
 */
export const run = Effect.fn("Fleet.run")(function* (
  job: Job,
  options?: RunOptions
): Effect.fn.Return<JobResult, LightboxError, Fleet> {
  const method = "Fleet.run"
  const { timeout } = yield* decodeRun(options)
  const checked = yield* internal.check(method, job)
  const fleet = yield* Fleet
  return yield* waiting(method, checked.id, timeout)(fleet.run(method, checked))
})

/**
 * Runs jobs on the fleet, and returns their results in the order of the jobs, each as soon as it and those before it are
 * there. All jobs are checked before the first one runs.
 *
 * Fails like {@link run}. A failure names the job that it is about, and leaves the others to the fleet: run them again with
 * the same ids to get their results.
 *
 * **Example** (Running tests in many sandboxes)
 *
 * ```ts
 * import { Console, Effect, Stream } from "effect"
 * import * as Fleet from "effect-lightbox/Fleet"
 *
 * const jobs = ["unit", "api", "ui"].map((suite): Fleet.Job => ({
 *   id: `tests-of-4f2a-${suite}`,
 *   snapshot: "node-ci",
 *   command: ["npm", "run", `test:${suite}`],
 *   retries: 1
 * }))
 *
 * export const program = Fleet.runMany(jobs).pipe(
 *   Stream.runForEach((result) =>
 *     Console.log(result.id, result._tag === "Exited" ? result.exitCode : result.error.message)
 *   ),
 *   Effect.provide(Fleet.layer({ directory: "sqlite:fleet.db" }))
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const runMany = (
  jobs: Iterable<Job>,
  options?: RunManyOptions
): Stream.Stream<JobResult, LightboxError, Fleet> => {
  const method = "Fleet.runMany"
  return Stream.unwrap(
    Effect.gen(function* () {
      const { concurrency = 64, timeout } = yield* decodeRunMany(options)
      const all = [...jobs]
      const checked = yield* Effect.forEach(all, (job, index) => internal.check(method, job, `jobs.${index}`))
      const seen = new Set<string>()
      for (const [index, { id }] of checked.entries()) {
        if (seen.has(id)) return yield* invalid(method, `jobs.${index}.id`, `there is another job "${id}" before it`)
        seen.add(id)
      }
      const fleet = yield* Fleet
      return Stream.fromIterable(checked).pipe(
        Stream.mapEffect((job) => waiting(method, job.id, timeout)(fleet.run(method, job)), { concurrency })
      )
    })
  )
}

const decodeLimit = optionsDecoder("Fleet.jobs", Schema.Struct({ limit: Schema.optional(intBetween(1, 100_000)) }))

/**
 * Lists the jobs that were submitted last, the latest first, at most `limit` (default: 100). Those that ended more than 7
 * days ago are forgotten.
 *
 * @category operations
 * @since 0.1.0
 */
export const jobs = Effect.fn("Fleet.jobs")(function* (options?: {
  readonly limit?: number | undefined
}): Effect.fn.Return<ReadonlyArray<Info>, LightboxError, Fleet> {
  const { limit = 100 } = yield* decodeLimit(options)
  const fleet = yield* Fleet
  return yield* fleet.jobs(limit)
})
