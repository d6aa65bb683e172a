/**
 * Sandboxes for programs that use promises: the objects of lightbox 0.3 and of the SDK. No declaration may mention a
 * type of Effect.
 */
// @effect-diagnostics asyncFunction:off globalDate:off
import * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Sdk from "microsandbox"
import type { Services } from "../../Driver.ts"
import { LightboxError, Replaced, Unsupported } from "../../LightboxError.ts"
import type { PublishedPort } from "../config/plain.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import * as Sandboxes from "../../Sandbox.ts"
import {
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
import { signalOf } from "./input.ts"
import { decodeStart, infoOf, Job, type JobInfo, type JobOptions } from "./jobs.ts"
import type { CallOptions } from "./options.ts"
import { decodeWaitUntil, type Probe, type WaitOptions } from "./probe.ts"
import { acquire, native, type OpenScope, run, runDriver } from "./runtime.ts"

/**
 * The status of a sandbox.
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxStatus = "created" | "starting" | "running" | "draining" | "paused" | "stopped" | "crashed"

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
  readonly ports: ReadonlyArray<PublishedPort>
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
  /** Shuts the sandbox down. */
  async stop(options?: CallOptions): Promise<void> {
    await runDriver((driver) => driver.stopSandbox(this.#info), signalOf("SandboxHandle.stop", options))
  }
  /** Ends the virtual machine immediately. */
  async kill(options?: CallOptions): Promise<void> {
    await runDriver((driver) => driver.killSandbox(this.#info), signalOf("SandboxHandle.kill", options))
  }
  /** Removes the stopped sandbox and its disk. */
  async remove(options?: CallOptions): Promise<void> {
    await runDriver((driver) => driver.removeSandbox(this.#info), signalOf("SandboxHandle.remove", options))
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
  readonly ports: ReadonlyArray<PublishedPort>
  readonly #sandbox: Sandboxes.Sandbox
  readonly #held: OpenScope
  readonly #forwards = new WeakMap<Sandboxes.Forward, Forward>()
  #isConsumed = false

  private constructor(sandbox: Sandboxes.Sandbox, held: OpenScope) {
    this.name = sandbox.name
    this.id = sandbox.id
    this.ports = sandbox.ports
    this.#sandbox = sandbox
    this.#held = held
  }

  /** @internal */
  static async open(
    effect: Effect.Effect<Sandboxes.Sandbox, LightboxError, Services | Scope.Scope>,
    signal: AbortSignal | undefined
  ): Promise<Sandbox> {
    return await acquire(effect, (sandbox, held) => new Sandbox(sandbox, held), { signal })
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
        const sandboxes = Object.entries(launched).map(([name, sandbox]) => [name, new Sandbox(sandbox, held)])
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
  /** Lists all sandboxes, running and stopped. */
  static async list(options?: CallOptions): Promise<Array<SandboxHandle>> {
    return (await run(Sandboxes.list(), signalOf("Sandbox.list", options))).map((info) => new SandboxHandle(info))
  }
  /** Removes a stopped sandbox and its disk. Succeeds if it does not exist. */
  static async remove(name: string, options?: CallOptions): Promise<void> {
    await run(Sandboxes.remove(name), signalOf("Sandbox.remove", options))
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
   * Waits until a probe succeeds, such as `{ http: 3000 }`. Rejects with the reason `NotReady`, which holds the last
   * observation, when the probe's time is over. With `job`, also as soon as that job has ended, and with the last lines
   * of its log.
   */
  async waitUntil(probe: Probe, options?: WaitOptions): Promise<void> {
    const { job, probe: checked, signal } = decodeWaitUntil({ probe }, options)
    await run(this.#use().waitUntil(checked, { job }), signal)
  }
  /** Runs a program on the terminal of this process. Returns its exit code, or 0 after Ctrl+]. */
  async attach(command: string, args?: ReadonlyArray<string>, options?: CallOptions): Promise<number> {
    const { signal } = decode.attach({ command, args }, options)
    return await run(this.#use().attach(command, args), signal)
  }
  /** Runs a shell on the terminal of this process. Returns its exit code, or 0 after Ctrl+]. */
  async attachShell(options?: CallOptions): Promise<number> {
    return await run(this.#use().attachShell, signalOf("Sandbox.attachShell", options))
  }
  /**
   * Opens a port of this host that leads to a TCP port of the guest, until it is closed or the guest is lost. Reaches
   * servers that listen only on the guest's 127.0.0.1, whatever the network. Keeps the process alive while it is open.
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

  /** Shuts the sandbox down. Its disk stays until it is removed, its name is reused, or this process exits. */
  async stop(options?: CallOptions): Promise<void> {
    await run(this.#use().stop(), signalOf("Sandbox.stop", options))
  }
  /** Shuts the sandbox down and returns the exit status. */
  async stopAndWait(options?: CallOptions): Promise<ExitStatus> {
    await this.stop(options)
    const { status } = await run(this.#use().info, signalOf("Sandbox.stopAndWait", options))
    return { code: status === "stopped" ? 0 : 1, success: status === "stopped" }
  }
  /** Ends the virtual machine immediately, even if commands hang. */
  async kill(options?: CallOptions): Promise<void> {
    await run(this.#use().kill, signalOf("Sandbox.kill", options))
  }
  /** Keeps the sandbox after this process exits. The object becomes invalid. */
  async detach(options?: CallOptions): Promise<void> {
    await run(this.#use().detach, signalOf("Sandbox.detach", options))
    this.#isConsumed = true
    await this.#held.close()
  }
  /** Returns the SDK's object for this sandbox, for what this library does not offer. */
  async raw(options?: CallOptions): Promise<Sdk.Sandbox> {
    const { info, name } = this.#use()
    const { id } = await run(info, signalOf("Sandbox.raw", options))
    if (id !== this.id) throw new LightboxError({ method: "Sandbox.raw", reason: new Replaced({ name }) })
    return await (await native("Sandbox.raw").Sandbox.get(name)).connect()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held.close()
  }

  async #exec({ args, command, cwd, env, signal, stdin, timeoutMs, user }: Program & ExecOptions): Promise<ExecOutput> {
    const result = await run(this.#use().exec(command, args, { cwd, user, env, stdin, timeout: timeoutMs }), signal)
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

interface Program {
  readonly command: string
  readonly args?: ReadonlyArray<string> | undefined
}

const inShell = <O extends { readonly script: string }>(options: O): Program & O => ({
  ...options,
  command: "sh",
  args: ["-lc", options.script]
})
