/** Jobs for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off globalDate:off
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import type { Signal, Size } from "../config/plain.ts"
import type * as Jobs from "../../Job.ts"
import {
  Bytes,
  CString,
  Env,
  GuestPath,
  Int53,
  notBlank,
  optionsStruct,
  Rlimits,
  TerminalSize,
  User
} from "../config/schemas.ts"
import { printable } from "../report/printable.ts"
import { callFields, checked, Data, None, signalOf } from "./input.ts"
import type { CallOptions } from "./options.ts"
import * as Readers from "./reader.ts"
import { run } from "./runtime.ts"

/**
 * Options for starting a job.
 *
 * @category options
 * @since 0.1.0
 */
export interface JobOptions extends CallOptions {
  /** Identifies the job in its sandbox: lower-case letters, digits, dashes and underscores. Default: random. */
  readonly id?: string | undefined
  /** Working directory. Default: the sandbox's. */
  readonly cwd?: string | undefined
  /** User, by name or id. Default: the sandbox's. */
  readonly user?: string | undefined
  /** Variables added to the sandbox's. Default: none. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** POSIX limits by name, such as `{ nofile: 1024 }`. Default: the sandbox's. */
  readonly rlimits?: { readonly [name: string]: number | { readonly soft: number; readonly hard: number } } | undefined
  /** `"open"`: the command reads what {@link Job.write} sends. Default: `"empty"`. */
  readonly stdin?: "open" | "empty" | undefined
  /**
   * Runs the command in a terminal of this size, with its input open. Default: none. Needs `script` of util-linux in the
   * guest, which Debian and its relatives have; rejects with `Unsupported` without it.
   */
  readonly terminal?: { readonly rows: number; readonly columns: number } | undefined
  /** Limit for the kept output, such as `"64M"`; at least 128 KiB. The oldest is dropped. Default: 8 MiB. */
  readonly maxLog?: Size | undefined
}

/**
 * The state of a job. `"lost"`: its end was not recorded, because the guest was restarted or the supervisor was killed.
 *
 * @category models
 * @since 0.1.0
 */
export type JobStatus =
  | { readonly kind: "running" }
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "signaled"; readonly signal: Signal }
  | { readonly kind: "lost" }

/**
 * A job at the time of the call.
 *
 * @category models
 * @since 0.1.0
 */
export interface JobInfo {
  readonly id: string
  /** The command and its arguments. */
  readonly argv: ReadonlyArray<string>
  readonly stdin: "open" | "empty"
  readonly terminal: boolean
  /** Process id and group of the command. Undefined until it has begun. */
  readonly pid?: number | undefined
  readonly startedAt: Date
  readonly status: JobStatus
}

/**
 * Options for reading the log of a job.
 *
 * @category options
 * @since 0.1.0
 */
export interface JobLogOptions extends CallOptions {
  /** Offset of the first byte. To go on after an interruption: `offset + data.length` of the last event. Default: 0. */
  readonly since?: number | undefined
  /** Read on until the job has ended. Default: `false`. */
  readonly follow?: boolean | undefined
}

/**
 * A piece of a job's log. `text` is `data` as UTF-8; a character split across events arrives with the second.
 *
 * `"missing"`: output from `offset` on is not kept. `bytes` is its length, or 0 if an unknown amount was lost because
 * the guest's disk was full.
 *
 * @category models
 * @since 0.1.0
 */
export type JobLogEvent =
  | { readonly kind: "output"; readonly offset: number; readonly data: Uint8Array; readonly text: string }
  | { readonly kind: "missing"; readonly offset: number; readonly bytes: number }

const statusOf = (status: Jobs.Status): JobStatus => {
  switch (status._tag) {
    case "Running":
      return { kind: "running" }
    case "Exited":
      return { kind: "exited", code: status.exitCode }
    case "Signaled":
      return { kind: "signaled", signal: status.signal }
    case "Lost":
      return { kind: "lost" }
  }
}

/** @internal */
export const infoOf = ({ startedAt, status, ...rest }: Jobs.Info): JobInfo => ({
  ...rest,
  startedAt: DateTime.toDateUtc(startedAt),
  status: statusOf(status)
})

/**
 * A command that outlives the connection that started it, and this process, but not its sandbox. All methods take an
 * `AbortSignal`, which leaves the job running.
 *
 * @category models
 * @since 0.1.0
 */
export class Job {
  readonly id: string
  readonly #job: Jobs.Job

  /** @internal */
  constructor(job: Jobs.Job) {
    this.id = job.id
    this.#job = job
  }
  async info(options?: CallOptions): Promise<JobInfo> {
    return infoOf(await run(this.#job.info, signalOf("Job.info", options)))
  }
  async status(options?: CallOptions): Promise<JobStatus> {
    return statusOf(await run(this.#job.status, signalOf("Job.status", options)))
  }
  /** Waits until the job has ended and its log is complete. */
  async wait(options?: CallOptions): Promise<Exclude<JobStatus, { readonly kind: "running" }>> {
    const ended = statusOf(await run(this.#job.wait, signalOf("Job.wait", options)))
    return ended.kind === "running" ? { kind: "lost" } : ended
  }
  /** Reads the kept output. Never makes the job wait: a slow reader misses what was dropped meanwhile. */
  async *logs(options?: JobLogOptions): AsyncIterableIterator<JobLogEvent> {
    const { signal, ...query } = decodeLogs({}, options)
    const decoder = new TextDecoder()
    for await (const event of Readers.iterate(this.#job.logs(query), signal)) {
      const { offset } = event
      yield event._tag === "Missing"
        ? { kind: "missing", offset, bytes: event.bytes }
        : { kind: "output", offset, data: event.bytes, text: decoder.decode(event.bytes, { stream: true }) }
    }
  }
  /** Sends a signal to the command's process group. No effect after it has ended. */
  async signal(signal: Signal, options?: CallOptions): Promise<void> {
    await run(this.#job.signal(signal), signalOf("Job.signal", options))
  }
  /** Kills the command's process group. */
  async kill(options?: CallOptions): Promise<void> {
    await run(this.#job.signal("SIGKILL"), signalOf("Job.kill", options))
  }
  /** Sends input to the command, which needs `stdin: "open"`, and leaves it open. */
  async write(data: string | Uint8Array, options?: CallOptions): Promise<void> {
    const { signal, ...checked } = decodeWrite({ data }, options)
    await run(this.#job.write<never, never>(checked.data), signal)
  }
  /** Resizes the job's terminal, in characters. Rejects if it has none. */
  async resize(rows: number, columns: number, options?: CallOptions): Promise<void> {
    const { signal, ...size } = decodeResize({ rows, columns }, options)
    await run(this.#job.resize(size), signal)
  }
  /**
   * Connects the job's terminal to that of this process until the job ends. Ctrl+] detaches: the job runs on, and the
   * status is `"running"`. An abort leaves it running, too. Shows the last 32 KiB of the log first, and follows the size
   * of this process's terminal. Rejects if the job has no terminal.
   */
  async attach(options?: CallOptions): Promise<JobStatus> {
    return statusOf(await run(this.#job.attach, signalOf("Job.attach", options)))
  }
  /** Ends the command's input. With a terminal, types Ctrl+D, and nothing can be sent afterwards. */
  async endInput(options?: CallOptions): Promise<void> {
    await run(this.#job.endInput, signalOf("Job.endInput", options))
  }
  /** Removes an ended job and its log. With `force`, kills a running one first; without, it rejects. */
  async remove(options?: CallOptions & { readonly force?: boolean | undefined }): Promise<void> {
    const { force, signal } = decodeRemove({}, options)
    await run(this.#job.remove({ force }), signal)
  }
}

printable(Job.prototype, "Job", ({ id }) => ({ id }))

const decodeLogs = checked(
  "Job.logs",
  None,
  optionsStruct<JobLogOptions>()({
    ...callFields,
    since: Schema.optional(Int53),
    follow: Schema.optional(Schema.Boolean)
  })
)

const decodeWrite = checked("Job.write", Schema.Struct({ data: Data }), Schema.Struct(callFields))

const decodeResize = checked("Job.resize", TerminalSize, Schema.Struct(callFields))

const decodeRemove = checked(
  "Job.remove",
  None,
  Schema.Struct({ ...callFields, force: Schema.optional(Schema.Boolean) })
)

/** @internal */
export const decodeStart = checked(
  "Sandbox.start",
  Schema.Struct({ command: notBlank("the name of a program"), args: Schema.optional(Schema.Array(CString)) }),
  optionsStruct<JobOptions>()({
    ...callFields,
    id: Schema.optional(Schema.String),
    cwd: Schema.optional(GuestPath),
    user: Schema.optional(User),
    env: Schema.optional(Env),
    rlimits: Schema.optional(Rlimits),
    stdin: Schema.optional(Schema.Literals(["open", "empty"])),
    terminal: Schema.optional(TerminalSize),
    maxLog: Schema.optional(Bytes)
  })
)
