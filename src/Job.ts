/**
 * Jobs: commands in a sandbox that outlive the connection that started them.
 *
 * `sandbox.start` starts one, `sandbox.jobs` lists them, and `sandbox.job(id)` finds one: from this process or another,
 * even after the first has crashed. A job lives as long as its sandbox runs, so a sandbox that is not `detached` ends
 * it with its scope.
 *
 * **Details**
 *
 * In the guest, a supervisor script runs the command, keeps its output, and records how it ended. It needs `sh`,
 * `setsid`, `mkfifo`, `dd`, and the like: any image with busybox or coreutils has them. It runs as the command's user,
 * and keeps everything in `/var/lib/lightbox/jobs/<id>`, which only that user and root can read:
 *
 * - `job`: the boot, the supervisor, and what was started (the arguments without redacted words, not the variables).
 * - `log.<offset>`: the output, in two files at most, named after the offset of their first byte. `gap.<offset>`: the
 *   same, after output was lost because the disk was full.
 * - `running`, renamed to `ended.exited.<code>` or `ended.signaled.<number>`, which is atomic and needs no space.
 * - `pid`, `stdin` and the like: to signal and feed the command.
 *
 * Its limits (`rlimits`) apply to the supervisor, too: with `fsize`, to its log files.
 *
 * With `terminal`, a job is a session on a terminal, such as a shell or an editor, that `job.attach` connects to the
 * terminal of this process, again and again. Its log has the bytes that the terminal was sent.
 *
 * Standard output and error are one log, in the order in which they were written, so that a single offset marks a
 * reader's position. To keep them apart, redirect one: `sandbox.start("sh", ["-c", "make 2> /tmp/errors"])`.
 *
 * A log keeps at least the last half of `maxLog` bytes (default: 8 MiB). Starting a job removes all but the 50 jobs
 * that ended last. `job.remove` removes one, and removing the sandbox removes all. The folder is on the root disk, so
 * jobs are listed, as `Lost`, after a restart of the guest, and in sandboxes from a snapshot of that disk.
 *
 * **Example** (Start a job, and read it from another process)
 *
 * ```ts
 * import { Console, Effect, Stream } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const first = Effect.gen(function* () {
 *   const sandbox = yield* Sandbox.launch({ name: "worker", image: "node:22", detached: true })
 *   yield* sandbox.start("npm", ["test"], { id: "tests", cwd: "/work" })
 * })
 *
 * export const second = Effect.gen(function* () {
 *   const sandbox = yield* Sandbox.connect("worker")
 *   const job = yield* sandbox.job("tests")
 *   yield* Stream.runForEach(job.logs({ follow: true }), Console.log)
 *   return yield* job.wait
 * })
 * ```
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type * as Guest from "./Guest.ts"
import { modelSchema } from "./internal/config/schemas.ts"
import { signalNames } from "./internal/config/signals.ts"
import { TypeId } from "./internal/sandbox/jobs.ts"
import type { LightboxError } from "./LightboxError.ts"
import type { ExecOptions } from "./Sandbox.ts"
import type * as SandboxConfig from "./SandboxConfig.ts"

/**
 * Options for starting a job.
 *
 * @category options
 * @since 0.1.0
 */
export interface StartOptions extends Pick<ExecOptions, "cwd" | "user" | "env" | "rlimits"> {
  /**
   * Identifies the job in its sandbox: 1 to 64 lower-case letters, digits, dashes and underscores. Default: random. A
   * taken id fails with `AlreadyExists`, even after the job has ended, until it is removed.
   */
  readonly id?: string | undefined
  /** `"open"`: the command reads what {@link Job.write} sends. Default: `"empty"`. */
  readonly stdin?: "open" | "empty" | undefined
  /**
   * Runs the command in a terminal of this size, with its input open. Default: none. Needs `script` of util-linux in the
   * guest, which Debian and its relatives have; fails with `Unsupported` without it.
   */
  readonly terminal?: Guest.TerminalSize | undefined
  /** Limit for the kept output, such as `"64M"`; at least 128 KiB. The oldest is dropped. Default: 8 MiB. */
  readonly maxLog?: SandboxConfig.Size | undefined
}

/**
 * The state of a job. `Lost`: its end was not recorded, because the guest was restarted or the supervisor was killed.
 *
 * A command that exits with 128 plus the number of a signal, as shells do, counts as exited, except for 130 (`SIGINT`)
 * and 141 (`SIGPIPE`), which `sh` cannot tell from the signals. Where `sh` is bash, every other signal is such a code.
 * With a terminal, all such codes count as signals.
 *
 * @category models
 * @since 0.1.0
 */
export type Status = { readonly _tag: "Running" } | Ended

/**
 * The final state of a job.
 *
 * @category models
 * @since 0.1.0
 */
export type Ended =
  | { readonly _tag: "Exited"; readonly exitCode: number }
  | { readonly _tag: "Signaled"; readonly signal: Guest.Signal }
  | { readonly _tag: "Lost" }

/**
 * A job at the time of the call.
 *
 * @category models
 * @since 0.1.0
 */
export interface Info {
  readonly id: string
  /** The command and its arguments, without redacted words. */
  readonly argv: ReadonlyArray<string>
  readonly stdin: "open" | "empty"
  readonly terminal: boolean
  /** Process id and group of the command. Undefined until it has begun. */
  readonly pid?: number | undefined
  /** By the clock of the host that started it. */
  readonly startedAt: DateTime.Utc
  readonly status: Status
}

/**
 * The schema of {@link Status}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Status = modelSchema<Status>()(
  Schema.Union([
    Schema.Struct({ _tag: Schema.tag("Running") }),
    Schema.Struct({ _tag: Schema.tag("Exited"), exitCode: Schema.Int }),
    Schema.Struct({
      _tag: Schema.tag("Signaled"),
      signal: Schema.Union([Schema.Literals(signalNames), Schema.Int])
    }),
    Schema.Struct({ _tag: Schema.tag("Lost") })
  ])
)

/**
 * The schema of {@link Info}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Info = modelSchema<Info>()(
  Schema.Struct({
    id: Schema.String,
    argv: Schema.Array(Schema.String),
    stdin: Schema.Literals(["open", "empty"]),
    terminal: Schema.Boolean,
    pid: Schema.optional(Schema.Int),
    startedAt: Schema.DateTimeUtc,
    status: Status
  })
)

/**
 * Options for reading the log of a job.
 *
 * @category options
 * @since 0.1.0
 */
export interface LogOptions {
  /** Offset of the first byte. To go on after an interruption: `offset + bytes.length` of the last event. Default: 0. */
  readonly since?: number | undefined
  /** Read on until the job has ended, polling every 10 to 100 milliseconds. Default: `false`. */
  readonly follow?: boolean | undefined
}

/**
 * A piece of a job's log.
 *
 * `Missing`: output from `offset` on is not kept. `bytes` is its length if it was dropped for newer output, and 0 if
 * an unknown amount was lost because the guest's disk was full.
 *
 * @category models
 * @since 0.1.0
 */
export type LogEvent =
  | { readonly _tag: "Output"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly _tag: "Missing"; readonly offset: number; readonly bytes: number }

/**
 * A command that outlives the connection that started it.
 *
 * All operations can run concurrently, from several processes. They fail with `NotFound` once the job was removed, and
 * with `GuestLost` when the sandbox has stopped.
 *
 * **Gotchas**
 *
 * When the command has exited, background processes that keep its output open are killed after a second. One in its own
 * session is not; its output is no longer kept, and the job ends five seconds later.
 *
 * A job alone does not reset the idle timeout of its sandbox.
 *
 * @category models
 * @since 0.1.0
 */
export interface Job {
  readonly [TypeId]: typeof TypeId
  readonly id: string
  readonly info: Effect.Effect<Info, LightboxError>
  readonly status: Effect.Effect<Status, LightboxError>
  /** Streams the kept output. Never waits for the reader: a slow one misses what was dropped meanwhile. */
  readonly logs: (options?: LogOptions) => Stream.Stream<LogEvent, LightboxError>
  /** Waits until the job has ended and its log is complete. Interrupting it leaves the job running. */
  readonly wait: Effect.Effect<Ended, LightboxError>
  /**
   * Sends a signal to the command's process group. No effect after it has ended. Like all that needs the group, it fails
   * with `FileError` if the command has changed the record of it; {@link Job.remove} with `force` ends such a job.
   */
  readonly signal: (signal: Guest.Signal) => Effect.Effect<void, LightboxError>
  /**
   * Sends input to the command, which needs `stdin: "open"`, and leaves it open. Waits until everything is in the
   * command's pipe; input after the command closed it is dropped.
   */
  readonly write: <E = never, R = never>(
    input: string | Uint8Array | Stream.Stream<Uint8Array, E, R>
  ) => Effect.Effect<void, LightboxError | E, R>
  /** Ends the command's input. With a terminal, types Ctrl+D, and nothing can be sent afterwards. */
  readonly endInput: Effect.Effect<void, LightboxError>
  /** Resizes the job's terminal. Fails with `InvalidConfig` if it has none; no effect after it has ended. */
  readonly resize: (size: Guest.TerminalSize) => Effect.Effect<void, LightboxError>
  /**
   * Connects the job's terminal to that of this process until the job ends. Ctrl+] detaches: it returns `Running`, and
   * the job keeps running, unlike with `sandbox.attach`. Interrupting it does the same.
   *
   * **Details**
   *
   * Shows the last 32 KiB of the log first, sets the size of this terminal, and follows changes of it, which makes
   * programs that fill the screen draw it again. Several processes can attach at once: all see the same, all can type,
   * and the last to change its size decides. Without a terminal, passes input and output on as they are. Fails with
   * `InvalidConfig` if the job has no terminal.
   */
  readonly attach: Effect.Effect<Status, LightboxError>
  /**
   * Removes an ended job and its log. With `force`, kills a running one first, and everything that it has started, as the
   * job's user; without, it fails with `StillRunning`.
   */
  readonly remove: (options?: { readonly force?: boolean | undefined }) => Effect.Effect<void, LightboxError>
}

/**
 * Checks whether a value is a {@link Job}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isJob = (u: unknown): u is Job => Predicate.hasProperty(u, TypeId)
