/**
 * Sandboxes for programs that use promises: the objects of lightbox 0.3 and of the SDK. No declaration may mention a
 * type of Effect.
 */
// @effect-diagnostics asyncFunction:off globalDate:off
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Sdk from "microsandbox"
import type { Services } from "../../Driver.ts"
import { isLightboxError, LightboxError, Replaced, Unknown, Unsupported } from "../../LightboxError.ts"
import type * as Plain from "../config/plain.ts"
import * as Interpreters from "../../Interpreter.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Sandboxes from "../../Sandbox.ts"
import { GuestPath, intBetween, Labels, millis, optionsStruct } from "../config/schemas.ts"
import * as Logs from "../sandbox/logs.ts"
import {
  type AttachOptions,
  ExecHandle,
  type ExecOptions,
  ExecOutput,
  type ExecStreamOptions,
  type ExitStatus,
  decode,
  start
} from "./exec.ts"
import { decodeForward, Forward, type ForwardOptions } from "./forward.ts"
import { SandboxFs } from "./files.ts"
import { callFields, checked, Millis, None, signalOf } from "./input.ts"
import { decodeInSandbox, Interpreter, type InterpreterOptions } from "./interpreter.ts"
import { decodeStart, infoOf, Job, type JobInfo, type JobOptions } from "./jobs.ts"
import type { CallOptions } from "./options.ts"
import { decodeWaitUntil, type Probe, type WaitOptions } from "./probe.ts"
import * as Readers from "./reader.ts"
import { acquire, native, type OpenScope, run, runDriver } from "./runtime.ts"

/**
 * The status of a sandbox.
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxStatus = "created" | "starting" | "running" | "draining" | "paused" | "stopped" | "crashed"

/**
 * Options for stopping a sandbox.
 *
 * @category options
 * @since 0.1.0
 */
export interface StopOptions extends CallOptions {
  /** Kill the sandbox after this time. Default: 10,000. */
  readonly timeoutMs?: number | undefined
}

/**
 * Options for removing a sandbox.
 *
 * @category options
 * @since 0.1.0
 */
export interface RemoveOptions extends CallOptions {
  /** Kill the sandbox first if it is running. Default: `false`. */
  readonly force?: boolean | undefined
}

/**
 * Use of resources by a sandbox. Sizes are in bytes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Metrics extends Plain.ResourceUsage {
  /** Time since boot, in milliseconds. */
  readonly uptimeMs: number
  readonly timestamp: Date
}

/**
 * A line, or part of a line, of a sandbox's log. `"output"`: from a command with a terminal. `"system"`: from the runtime
 * and the kernel.
 *
 * @category models
 * @since 0.1.0
 */
export interface LogEntry {
  readonly timestamp: Date
  readonly source: "stdout" | "stderr" | "output" | "system"
  /** Identifies the command that wrote it. Not a process id. */
  readonly session?: number | undefined
  readonly data: Uint8Array
  readonly text: string
  /** Pass it as `after` to go on from here. */
  readonly cursor: string
}

/**
 * Options for reading the log of a sandbox.
 *
 * @category options
 * @since 0.1.0
 */
export interface LogOptions extends CallOptions {
  /** Default: all except `"system"`. */
  readonly sources?: ReadonlyArray<LogEntry["source"]> | undefined
  /** Return only the last `tail` entries. Default: all. */
  readonly tail?: number | undefined
  /** Return only entries after this cursor. Cannot be combined with `tail`. */
  readonly after?: string | undefined
  /** Wait for new entries until the sandbox stops. Default: `false`. */
  readonly follow?: boolean | undefined
}

/**
 * Changes to an existing sandbox.
 *
 * @category options
 * @since 0.1.0
 */
export interface SandboxChange extends Omit<Plain.ModifySandbox, "cwd"> {
  /** Default working directory of commands. */
  readonly workdir?: string | undefined
}

/**
 * The changes that a modification makes, and conflicts that prevent it.
 *
 * @category models
 * @since 0.1.0
 */
export type ModificationPlan = Plain.ModificationPlan

/**
 * The SDK's sandbox builder, with the one method that newer SDKs spell differently from lightbox.
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxBuilder extends Sdk.SandboxBuilder {
  /** Creates a detached sandbox and reports the progress of the image pull. */
  createDetachedWithPullProgress(): Promise<Sdk.PullProgressCreate>
}

/**
 * A sandbox, running or not, as of the time it was looked up.
 *
 * @category models
 * @since 0.1.0
 */
export class SandboxHandle {
  readonly name: string
  /** Identifies the sandbox, even if its name is reused. */
  readonly id: string
  readonly status: SandboxStatus
  readonly labels: { readonly [key: string]: string }
  /** The guest's ports published on this host. */
  readonly ports: ReadonlyArray<Plain.PublishedPort>
  readonly createdAt: Date | null
  readonly #info: Microsandbox.SandboxInfo

  /** @internal */
  constructor(info: Microsandbox.SandboxInfo) {
    this.name = info.name
    this.id = info.id
    this.status = info.status
    this.labels = info.labels
    this.ports = info.ports
    this.createdAt = info.createdAt === undefined ? null : DateTime.toDateUtc(info.createdAt)
    this.#info = info
  }
  /** Connects to the sandbox, which must be running. */
  async connect(options?: CallOptions): Promise<Sandbox> {
    return await Sandbox.open(Sandboxes.connect(this.name), signalOf("SandboxHandle.connect", options))
  }
  /** Boots the stopped sandbox. It ends with this process unless it is detached. */
  async start(options?: CallOptions): Promise<Sandbox> {
    return await Sandbox.open(Sandboxes.start(this.name), signalOf("SandboxHandle.start", options))
  }
  /** Boots the stopped sandbox, which keeps running after this process exits. */
  async startDetached(options?: CallOptions): Promise<Sandbox> {
    return await Sandbox.open(
      Sandboxes.start(this.name, { detached: true }),
      signalOf("SandboxHandle.startDetached", options)
    )
  }
  /**
   * Stops the sandbox if it runs, and boots it again with the same disk. Earlier objects become invalid. It ends with this
   * process unless `detached`.
   */
  async restart(options?: StopOptions & { readonly detached?: boolean | undefined }): Promise<Sandbox> {
    const { detached, signal, timeoutMs } = decodeRestart({}, options)
    return await Sandbox.open(Sandboxes.restart(this.name, { detached, timeout: timeoutMs }), signal)
  }
  /** Shuts the sandbox down. */
  async stop(options?: StopOptions): Promise<void> {
    const { signal, timeoutMs } = decodeStop({}, options)
    await runDriver((driver) => driver.stopSandbox(this.#info, { timeout: timeoutMs }), signal)
  }
  /** Waits until the sandbox has a status. Rejects with the reason `TimedOut` after `timeoutMs` (default: 30,000). */
  async waitFor(
    status: SandboxStatus,
    options?: CallOptions & { readonly timeoutMs?: number | undefined }
  ): Promise<SandboxHandle> {
    const { signal, timeoutMs } = decodeWaitFor({ status }, options)
    return new SandboxHandle(await run(Sandboxes.waitFor(this.name, status, { timeout: timeoutMs }), signal))
  }
  /** Reads the log entries so far, also of a stopped sandbox. With `follow`, also new ones. */
  logs(options?: LogOptions): AsyncIterableIterator<LogEntry> {
    return logsOf((query) =>
      Stream.unwrap(Microsandbox.Microsandbox.useSync((driver) => Logs.read(driver, this.#info, query)))
    )("SandboxHandle.logs", options)
  }
  /** Halts the sandbox, which keeps its memory. Rejects with the reason `Unsupported` if the runtime cannot do so. */
  async pause(options?: CallOptions): Promise<void> {
    await run(Sandboxes.pause(this.name), signalOf("SandboxHandle.pause", options))
  }
  /** Lets the paused sandbox go on, and sets its clock. */
  async resume(options?: CallOptions): Promise<void> {
    await run(Sandboxes.resume(this.name), signalOf("SandboxHandle.resume", options))
  }
  /** Ends the virtual machine immediately. */
  async kill(options?: CallOptions): Promise<void> {
    await runDriver((driver) => driver.killSandbox(this.#info), signalOf("SandboxHandle.kill", options))
  }
  /** Removes the sandbox and its disk. Rejects if it is running, unless `force`, which kills it first. */
  async remove(options?: RemoveOptions): Promise<void> {
    const { signal, ...rest } = decodeHandleRemove({}, options)
    await runDriver((driver) => driver.removeSandbox(this.#info, rest), signal)
  }
  /** Looks the sandbox up again. */
  async refresh(options?: CallOptions): Promise<SandboxHandle> {
    return await Sandbox.get(this.name, options)
  }
}

/**
 * A running sandbox.
 *
 * All methods can run concurrently and take an `AbortSignal`. At the end of an `await using` block, the sandbox is
 * removed if this process launched it, stopped if this process started it, and left running otherwise.
 *
 * @category models
 * @since 0.1.0
 */
export class Sandbox implements AsyncDisposable {
  readonly name: string
  /** Identifies the sandbox, even if its name is reused. */
  readonly id: string
  /** The guest's ports published on this host, including the port chosen for host port 0. */
  readonly ports: ReadonlyArray<Plain.PublishedPort>
  readonly #sandbox: Sandboxes.Sandbox
  readonly #held: Pick<OpenScope, "close">
  readonly #forwards = new WeakMap<Sandboxes.Forward, Forward>()
  /** Others have the same scope: only all of them together are removed. */
  readonly #isShared: boolean
  #isConsumed = false

  private constructor(sandbox: Sandboxes.Sandbox, held: Pick<OpenScope, "close">, isShared = false) {
    this.name = sandbox.name
    this.id = sandbox.id
    this.ports = sandbox.ports
    this.#sandbox = sandbox
    this.#held = held
    this.#isShared = isShared
  }

  /** @internal */
  static async open(
    effect: Effect.Effect<Sandboxes.Sandbox, LightboxError, Services | Scope.Scope>,
    signal: AbortSignal | undefined
  ): Promise<Sandbox> {
    return await acquire(effect, (sandbox, held) => new Sandbox(sandbox, held), { signal })
  }

  /** @internal A sandbox that another scope removes. */
  static borrow(sandbox: Sandboxes.Sandbox): Sandbox {
    return new Sandbox(sandbox, { close: async () => {} })
  }

  /** @internal */
  static inner(sandbox: Sandbox): Sandboxes.Sandbox {
    return sandbox.#use()
  }

  /** @internal */
  static allOf(sandboxes: ReadonlyArray<Sandboxes.Sandbox>, held: OpenScope): ReadonlyArray<Sandbox> {
    return sandboxes.map((sandbox) => new Sandbox(sandbox, held, true))
  }

  /** @internal */
  static async openGroup<Name extends string>(
    members: { readonly [K in Name]: unknown },
    effect: Effect.Effect<{ readonly [name: string]: Sandboxes.Sandbox }, LightboxError, Services | Scope.Scope>,
    signal: AbortSignal | undefined
  ): Promise<{ readonly [K in Name]: Sandbox } & AsyncDisposable> {
    const isGroup = (made: AsyncDisposable): made is { readonly [K in Name]: Sandbox } & AsyncDisposable =>
      Object.keys(members).every((name) => name in made)
    return await acquire(
      effect,
      (launched, held) => {
        const sandboxes = Object.entries(launched).map(([name, sandbox]) => [name, new Sandbox(sandbox, held, true)])
        const made = { ...Object.fromEntries(sandboxes), [Symbol.asyncDispose]: () => held.close() }
        if (isGroup(made)) return made
        throw new Error("a member is missing")
      },
      { signal }
    )
  }

  /** Returns the SDK's builder, for what this library does not offer. This library does not release its sandboxes. */
  static builder(name: string): SandboxBuilder {
    const builder = native("Sandbox.builder").Sandbox.builder(name)
    return Object.assign(builder, {
      createDetachedWithPullProgress: () => builder.detached(true).createWithPullProgress()
    })
  }
  /** Gets a sandbox by name. Rejects if it does not exist. */
  static async get(name: string, options?: CallOptions): Promise<SandboxHandle> {
    return new SandboxHandle(await run(Sandboxes.get(name), signalOf("Sandbox.get", options)))
  }
  /** Lists all sandboxes, running and stopped. With `labels`, only those that have all of them. */
  static async list(
    options?: CallOptions & { readonly labels?: { readonly [key: string]: string } | undefined }
  ): Promise<Array<SandboxHandle>> {
    const { labels, signal } = decodeList({}, options)
    return (await run(Sandboxes.list({ labels }), signal)).map((info) => new SandboxHandle(info))
  }
  /**
   * Removes a sandbox and its disk. Succeeds if it does not exist. Rejects if it is running, unless `force`, which kills it
   * first.
   */
  static async remove(name: string, options?: RemoveOptions): Promise<void> {
    const { signal, ...rest } = decodeRemove({}, options)
    await run(Sandboxes.remove(name, rest), signal)
  }

  /** `"memory"`: the launch or the fork resumed a captured machine, whose processes go on. `null` if it booted. */
  get resumed(): "memory" | null {
    return this.#sandbox.resumed ?? null
  }

  /** Runs a program without a shell and returns its output. */
  async exec(command: string, args?: ReadonlyArray<string>, options?: ExecOptions): Promise<ExecOutput> {
    return await this.#exec(decode.exec({ command, args }, options))
  }
  /** Runs a script in a login shell (`sh -lc`) and returns its output. */
  async shell(script: string, options?: ExecOptions): Promise<ExecOutput> {
    return await this.#exec(inShell(decode.shell({ script }, options)))
  }
  /** Starts a program without a shell and streams its events. */
  async execStream(command: string, args?: ReadonlyArray<string>, options?: ExecStreamOptions): Promise<ExecHandle> {
    return await this.#start(decode.execStream({ command, args }, options))
  }
  /** Starts a script in a login shell (`sh -lc`) and streams its events. */
  async shellStream(script: string, options?: ExecStreamOptions): Promise<ExecHandle> {
    return await this.#start(inShell(decode.shellStream({ script }, options)))
  }
  /** Starts a job: a program that outlives this process, but not the sandbox. Resolves once its supervisor runs. */
  async start(command: string, args?: ReadonlyArray<string>, options?: JobOptions): Promise<Job> {
    const { args: words, command: program, signal, ...rest } = decodeStart({ command, args }, options)
    return new Job(await run(this.#use().start(program, words, rest), signal))
  }
  /** Lists the jobs of the sandbox, whichever process started them, in the order of their starts. */
  async jobs(options?: CallOptions): Promise<Array<JobInfo>> {
    return (await run(this.#use().jobs, signalOf("Sandbox.jobs", options))).map(infoOf)
  }
  /** Finds a job, whichever process started it. Rejects if it does not exist. */
  async job(id: string, options?: CallOptions): Promise<Job> {
    return new Job(await run(this.#use().job(id), signalOf("Sandbox.job", options)))
  }
  /**
   * Waits until a probe succeeds, such as `{ http: 3000 }`. Rejects with the reason `NotReady`, which contains the last
   * observation, after the probe's timeout. With `job`, it also rejects, with the last lines of the job's log, as soon
   * as the job has ended and one last attempt fails.
   */
  async waitUntil(probe: Probe, options?: WaitOptions): Promise<void> {
    const { job, probe: checked, signal } = decodeWaitUntil({ probe }, options)
    await run(this.#use().waitUntil(checked, { job }), signal)
  }
  /**
   * Starts an interpreter of Python or JavaScript, whose state lasts from one run of code to the next, until it is
   * closed. The sandbox needs the language, and nothing else.
   */
  async interpreter(options: InterpreterOptions): Promise<Interpreter> {
    const decoded = decodeInSandbox(options)
    return await acquire(
      Interpreters.make(this.#use(), decoded.options),
      (source, held) => new Interpreter(source, held, this),
      { signal: decoded.signal }
    )
  }
  /** Runs a program on the terminal of this process. Returns its exit code, or 0 after Ctrl+]. */
  async attach(command: string, args?: ReadonlyArray<string>, options?: AttachOptions): Promise<number> {
    const { args: words, command: program, signal, ...rest } = decode.attach({ command, args }, options)
    return await run(this.#use().attach(program, words, rest), signal)
  }
  /** Runs a shell on the terminal of this process. Returns its exit code, or 0 after Ctrl+]. */
  async attachShell(options?: CallOptions): Promise<number> {
    return await run(this.#use().attachShell, signalOf("Sandbox.attachShell", options))
  }
  /**
   * Opens a port on this host and forwards it to a TCP port of the guest, until it is closed or the guest is lost.
   * Reaches servers that listen only on the guest's 127.0.0.1, whatever the network. Keeps the process alive while it
   * is open.
   */
  async forward(guestPort: number, options?: ForwardOptions): Promise<Forward> {
    const { bind, guestPort: port, host, signal } = decodeForward({ guestPort }, options)
    const opened = await acquire(
      this.#use().forward(port, { host, bind }),
      (source, held) => ({ source, forward: new Forward(source, held) }),
      { signal }
    )
    this.#forwards.set(opened.source, opened.forward)
    return opened.forward
  }
  /** Returns the open forwards that were opened through this object. */
  async forwards(options?: CallOptions): Promise<Array<Forward>> {
    const open = await run(this.#use().forwards, signalOf("Sandbox.forwards", options))
    return open.flatMap((source) => this.#forwards.get(source) ?? [])
  }
  /** The files of the sandbox. */
  fs(): SandboxFs {
    return new SandboxFs(this.#use())
  }

  /** Measures the current use of resources. Rejects with the reason `Unsupported` if metrics are off. */
  async metrics(options?: CallOptions): Promise<Metrics> {
    const { timestamp, uptime, ...rest } = await run(this.#use().metrics, signalOf("Sandbox.metrics", options))
    return { ...rest, uptimeMs: millis(uptime), timestamp: DateTime.toDateUtc(timestamp) }
  }
  /** Reads the log entries of all commands so far; with `follow`, also new ones, until the sandbox stops. */
  logs(options?: LogOptions): AsyncIterableIterator<LogEntry> {
    const { logs } = this.#use()
    return logsOf(logs)("Sandbox.logs", options)
  }
  /** Changes the sandbox, or plans the change without making it. */
  async modify(change: SandboxChange, options?: CallOptions): Promise<ModificationPlan> {
    const { workdir, ...rest } = decodeModify({}, change)
    const modified = this.#use().modify({ ...rest, cwd: workdir })
    const plan = await run(modified, signalOf("Sandbox.modify", options))
    const named = <A extends { readonly field: string }>(entry: A): A =>
      entry.field === "cwd" ? { ...entry, field: "workdir" } : entry
    return {
      applied: plan.applied,
      changes: plan.changes.map(named),
      conflicts: plan.conflicts.map(named),
      warnings: plan.warnings.map(named)
    }
  }
  /** Measures the round trip of a message to the guest, in milliseconds. */
  async ping(options?: CallOptions): Promise<number> {
    return Duration.toMillis(await run(this.#use().ping, signalOf("Sandbox.ping", options)))
  }
  /** Resets the idle timeout. */
  async touch(options?: CallOptions): Promise<void> {
    await run(this.#use().touch, signalOf("Sandbox.touch", options))
  }

  /**
   * Shuts the sandbox down, killing it after `timeoutMs` (default: 10,000). Its disk stays until it is removed, its name
   * is reused, or this process exits.
   */
  async stop(options?: StopOptions): Promise<void> {
    const { signal, timeoutMs } = decodeStop({}, options)
    await run(this.#use().stop({ timeout: timeoutMs }), signal)
  }
  /** Shuts the sandbox down and returns the exit status. */
  async stopAndWait(options?: CallOptions): Promise<ExitStatus> {
    await this.stop(options)
    const { status } = await run(this.#use().info, signalOf("Sandbox.stopAndWait", options))
    return { code: status === "stopped" ? 0 : 1, success: status === "stopped" }
  }
  /**
   * Halts the sandbox, which keeps its memory. What is sent to it waits until it resumes. Rejects with the reason
   * `Unsupported` if the runtime cannot do so.
   */
  async pause(options?: CallOptions): Promise<void> {
    await run(this.#use().pause, signalOf("Sandbox.pause", options))
  }
  /** Lets a paused sandbox go on, and sets its clock. */
  async resume(options?: CallOptions): Promise<void> {
    await run(this.#use().resume, signalOf("Sandbox.resume", options))
  }
  /** Grows the root disk while the sandbox runs, to a size such as `"8G"`. It cannot shrink. */
  async growRootDisk(size: Exclude<Plain.Size, number>, options?: CallOptions): Promise<void> {
    await run(this.#use().growRootDisk(size), signalOf("Sandbox.growRootDisk", options))
  }
  /** Ends the virtual machine immediately, even if commands hang. */
  async kill(options?: CallOptions): Promise<void> {
    await run(this.#use().kill, signalOf("Sandbox.kill", options))
  }
  /**
   * Keeps the sandbox after this process exits. The object becomes invalid. Other members of its group, and other copies
   * of one original, go on.
   */
  async detach(options?: CallOptions): Promise<void> {
    await run(this.#use().detach, signalOf("Sandbox.detach", options))
    await this.#consume()
  }
  /** Like {@link Sandbox.detach}, for a limited time: a later sweep removes the sandbox, running or not. */
  async detachFor(timeToLiveMs: number, options?: CallOptions): Promise<void> {
    const { signal, timeToLiveMs: checked } = decodeDetachFor({ timeToLiveMs }, options)
    await run(this.#use().detachFor(checked), signal)
    await this.#consume()
  }
  /** Returns the SDK's object for this sandbox, for what this library does not offer. */
  async raw(options?: CallOptions): Promise<Sdk.Sandbox> {
    const { info, name } = this.#use()
    const { id } = await run(info, signalOf("Sandbox.raw", options))
    if (id !== this.id) throw new LightboxError({ method: "Sandbox.raw", reason: new Replaced({ name }) })
    return await (await native("Sandbox.raw").Sandbox.get(name)).connect()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isShared || !this.#isConsumed) await this.#held.close()
  }

  async #consume(): Promise<void> {
    this.#isConsumed = true
    if (!this.#isShared) await this.#held.close()
  }
  async #exec({ args, command, signal, timeoutMs, ...rest }: Program & ExecOptions): Promise<ExecOutput> {
    const { check, cwd, env, maxOutput, rlimits, stdin, user } = rest
    const options = { check, cwd, env, maxOutput, rlimits, stdin, user, timeout: timeoutMs }
    const result = await run(this.#use().exec(command, args, options), signal)
    return new ExecOutput(result, result.stdoutBytes, result.stderrBytes)
  }
  async #start({ args = [], command, ...options }: Program & ExecStreamOptions): Promise<ExecHandle> {
    const { signal } = options
    return await acquire(
      start(this.#use(), [command, ...args], options),
      (started, held) => new ExecHandle(started, held, signal),
      { forLife: signal }
    )
  }
  #use(): Sandboxes.Sandbox {
    if (!this.#isConsumed) return this.#sandbox
    throw new LightboxError({
      method: "Sandbox",
      reason: new Unsupported({
        feature: this.name,
        problem: "handle consumed by detach(); connect to the sandbox again"
      })
    })
  }
}

const timeout = { ...callFields, timeoutMs: Schema.optional(Millis) }

const decodeStop = checked("Sandbox.stop", None, optionsStruct<StopOptions>()(timeout))
const removal = optionsStruct<RemoveOptions>()({ ...callFields, force: Schema.optional(Schema.Boolean) })
const decodeRemove = checked("Sandbox.remove", None, removal)
const decodeHandleRemove = checked("SandboxHandle.remove", None, removal)
const decodeRestart = checked(
  "SandboxHandle.restart",
  None,
  Schema.Struct({ ...timeout, detached: Schema.optional(Schema.Boolean) })
)
const decodeWaitFor = checked(
  "SandboxHandle.waitFor",
  Schema.Struct({ status: Microsandbox.SandboxStatus }),
  Schema.Struct(timeout)
)
const decodeList = checked("Sandbox.list", None, Schema.Struct({ ...callFields, labels: Schema.optional(Labels) }))
const decodeDetachFor = checked("Sandbox.detachFor", Schema.Struct({ timeToLiveMs: Millis }), Schema.Struct(callFields))
const { cwd: _, ...changes } = Microsandbox.ModifySandbox.fields
const decodeModify = checked(
  "Sandbox.modify",
  None,
  optionsStruct<SandboxChange>()({ ...changes, workdir: Schema.optional(GuestPath) })
)
const LogSchema = optionsStruct<LogOptions>()({
  ...callFields,
  sources: Schema.optional(Schema.Array(Microsandbox.LogEntry.fields.source)),
  tail: Schema.optional(intBetween(1, 0xffff_ffff)),
  after: Schema.optional(Schema.NonEmptyString),
  follow: Schema.optional(Schema.Boolean)
})

const logsOf = (
  read: (
    query: Microsandbox.LogQuery & { readonly follow?: boolean | undefined }
  ) => Stream.Stream<Microsandbox.LogEntry, LightboxError, Services>
) =>
  async function* (method: string, options: LogOptions | undefined): AsyncGenerator<LogEntry> {
    const { signal, ...query } = checked(method, None, LogSchema)({}, options)
    const decoder = new TextDecoder()
    for await (const { bytes, cursor, session, source, timestamp } of Readers.iterate(read(query), signal)) {
      yield {
        timestamp: DateTime.toDateUtc(timestamp),
        source,
        ...(session === undefined ? {} : { session }),
        data: bytes,
        text: decoder.decode(bytes),
        cursor
      }
    }
  }

interface Program {
  readonly command: string
  readonly args?: ReadonlyArray<string> | undefined
}

const inShell = <O extends { readonly script: string }>(options: O): Program & O => ({
  ...options,
  command: "sh",
  args: ["-lc", options.script]
})

/** @internal Calls a function of the caller with a sandbox, until the effect is interrupted. */
export const calling =
  (method: string, run: (sandbox: Sandbox, options: CallOptions) => Promise<unknown>) =>
  (sandbox: Sandboxes.Sandbox): Effect.Effect<unknown, LightboxError> =>
    Effect.tryPromise({
      try: async (signal) => await run(Sandbox.borrow(sandbox), { signal }),
      catch: (cause) =>
        isLightboxError(cause)
          ? cause
          : new LightboxError({
              method,
              reason: new Unknown({ problem: cause instanceof Error ? cause.message : String(cause), cause })
            })
    })
