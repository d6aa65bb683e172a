/**
 * Sandboxes for programs that know promises only: the objects of lightbox 0.3
 * and of the SDK, over the handles of this library.
 *
 * No type of Effect may appear in a declaration of this module.
 */
// @effect-diagnostics asyncFunction:off globalDate:off
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Sdk from "microsandbox"
import type { Services } from "../../Driver.ts"
import { LightboxError, Replaced, Unsupported } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Sandboxes from "../../Sandbox.ts"
import {
  ExecHandle,
  type ExecOptions,
  ExecOutput,
  type ExecStreamOptions,
  type ExitStatus,
  inOurNames,
  start
} from "./exec.ts"
import { SandboxFs } from "./files.ts"
import type { CallOptions } from "./options.ts"
import { acquire, native, type OpenScope, run } from "./runtime.ts"

/**
 * The states of a sandbox.
 *
 * **Example** (Asking whether commands can run)
 *
 * ```ts
 * import type { SandboxStatus } from "effect-lightbox/promise"
 *
 * export const canRun = (status: SandboxStatus): boolean => status === "running"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxStatus = "created" | "starting" | "running" | "draining" | "paused" | "stopped" | "crashed"

/**
 * The SDK's builder of sandboxes, with the one method that lightbox names and
 * newer SDKs spell differently.
 *
 * **Example** (Watching an image being pulled)
 *
 * ```ts
 * import { Sandbox, type SandboxBuilder } from "effect-lightbox/promise"
 *
 * const builder: SandboxBuilder = Sandbox.builder("test").image("oven/bun")
 * const creation = await builder.createDetachedWithPullProgress()
 * for await (const event of creation) console.log(event.kind)
 * await creation.awaitSandbox()
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxBuilder extends Sdk.SandboxBuilder {
  /** Creates a sandbox that outlives this process, and tells how the pull of its image goes. */
  createDetachedWithPullProgress(): Promise<Sdk.PullProgressCreate>
}

/**
 * A sandbox as it was when it was looked up, running or not.
 *
 * **Example** (Starting what is stopped)
 *
 * ```ts
 * import { Sandbox } from "effect-lightbox/promise"
 *
 * const handle = await Sandbox.get("agent-1")
 * const sb = handle.status === "running" ? await handle.connect() : await handle.startDetached()
 * console.log((await sb.shell("uptime")).stdout())
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class SandboxHandle {
  readonly name: string
  /** Changes when a sandbox is removed and another of its name is created. */
  readonly id: string
  readonly status: SandboxStatus
  readonly labels: { readonly [key: string]: string }
  /** The ports of the guest that are published on this host. */
  readonly ports: ReadonlyArray<Microsandbox.PublishedPort>
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
  /** Connects to the sandbox, which must run. */
  async connect(options?: CallOptions): Promise<Sandbox> {
    return await Sandbox.open(Sandboxes.connect(this.name), options?.signal)
  }
  /** Boots the stopped sandbox; it ends with this process unless it is detached. */
  async start(options?: CallOptions): Promise<Sandbox> {
    return await Sandbox.open(Sandboxes.start(this.name), options?.signal)
  }
  /** Boots the stopped sandbox; it outlives this process. */
  async startDetached(options?: CallOptions): Promise<Sandbox> {
    return await Sandbox.open(Sandboxes.start(this.name, { detached: true }), options?.signal)
  }
  /** Shuts the sandbox down. */
  async stop(options?: CallOptions): Promise<void> {
    await run(
      Microsandbox.Microsandbox.use((driver) => driver.stopSandbox(this.#info)),
      options?.signal
    )
  }
  /** Ends the virtual machine at once. */
  async kill(options?: CallOptions): Promise<void> {
    await run(
      Microsandbox.Microsandbox.use((driver) => driver.killSandbox(this.#info)),
      options?.signal
    )
  }
  /** Removes the stopped sandbox with its disk. */
  async remove(options?: CallOptions): Promise<void> {
    await run(
      Microsandbox.Microsandbox.use((driver) => driver.removeSandbox(this.#info)),
      options?.signal
    )
  }
  /** Looks it up again. */
  async refresh(options?: CallOptions): Promise<SandboxHandle> {
    return await Sandbox.get(this.name, options)
  }
}

/**
 * A running sandbox.
 *
 * **Details**
 *
 * Everything can be called concurrently, and takes an `AbortSignal`. `await using`
 * ends and removes the sandbox at the end of the block if this process launched
 * it, stops it if this process started it, and otherwise just leaves it.
 *
 * **Example** (Two commands at once)
 *
 * ```ts
 * import { launchSandbox } from "effect-lightbox/promise"
 *
 * await using sb = await launchSandbox({ snapshot: "node-ci", name: "job-1" })
 * const [lint, test] = await Promise.all([sb.shell("npm run lint"), sb.shell("npm test")])
 * console.log(lint.code, test.code)
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class Sandbox implements AsyncDisposable {
  readonly name: string
  /** Changes when the sandbox is removed and another of its name is created. */
  readonly id: string
  /** The ports of the guest that are published on this host, with the port that was chosen for host port 0. */
  readonly ports: ReadonlyArray<Microsandbox.PublishedPort>
  readonly #sandbox: Sandboxes.Sandbox
  readonly #held: OpenScope
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

  /** The SDK's own builder, for what this library does not offer. What it makes is not released by it. */
  static builder(name: string): SandboxBuilder {
    const builder = native("Sandbox.builder").Sandbox.builder(name)
    return Object.assign(builder, {
      createDetachedWithPullProgress: () => builder.detached(true).createWithPullProgress()
    })
  }
  /** Looks a sandbox up. Rejects when there is none. */
  static async get(name: string, options?: CallOptions): Promise<SandboxHandle> {
    return new SandboxHandle(await run(Sandboxes.get(name), options?.signal))
  }
  /** All sandboxes, running and stopped. */
  static async list(options?: CallOptions): Promise<Array<SandboxHandle>> {
    return (await run(Sandboxes.list(), options?.signal)).map((info) => new SandboxHandle(info))
  }
  /** Removes a stopped sandbox with its disk; one that does not exist is no failure. */
  static async remove(name: string, options?: CallOptions): Promise<void> {
    await run(Sandboxes.remove(name), options?.signal)
  }

  /** Runs a program, without a shell, to its end. */
  async exec(command: string, args?: ReadonlyArray<string>, options?: ExecOptions): Promise<ExecOutput> {
    const result = await run(
      this.#use()
        .exec(command, args, {
          cwd: options?.cwd,
          user: options?.user,
          env: options?.env,
          stdin: options?.stdin,
          timeout: options?.timeoutMs
        })
        .pipe(Effect.mapError(inOurNames)),
      options?.signal
    )
    return new ExecOutput(result, result.stdoutBytes, result.stderrBytes)
  }
  /** Runs a script in a login shell (`sh -lc`) to its end. */
  async shell(script: string, options?: ExecOptions): Promise<ExecOutput> {
    return await this.exec("sh", ["-lc", script], options)
  }
  /** Starts a program, without a shell, to read while it runs. */
  async execStream(command: string, args?: ReadonlyArray<string>, options?: ExecStreamOptions): Promise<ExecHandle> {
    return await acquire(
      start(this.#use(), [command, ...(args ?? [])], options),
      (started, held) => new ExecHandle(started, held, options?.signal),
      { forLife: options?.signal }
    )
  }
  /** Starts a script in a login shell (`sh -lc`), to read while it runs. */
  async shellStream(script: string, options?: ExecStreamOptions): Promise<ExecHandle> {
    return await this.execStream("sh", ["-lc", script], options)
  }
  /** Runs a program with the terminal of this process; resolves with its exit code, or 0 after Ctrl+]. */
  async attach(command: string, args?: ReadonlyArray<string>, options?: CallOptions): Promise<number> {
    return await run(this.#use().attach(command, args), options?.signal)
  }
  /** Runs a shell with the terminal of this process; resolves with its exit code, or 0 after Ctrl+]. */
  async attachShell(options?: CallOptions): Promise<number> {
    return await run(this.#use().attachShell, options?.signal)
  }
  /** The files of the sandbox. */
  fs(): SandboxFs {
    return new SandboxFs(this.#use())
  }

  /** Shuts the sandbox down. Its disk stays until it is removed, its name is used again, or this process ends. */
  async stop(options?: CallOptions): Promise<void> {
    await run(this.#use().stop(), options?.signal)
  }
  /** Shuts the sandbox down, and tells how that ended. */
  async stopAndWait(options?: CallOptions): Promise<ExitStatus> {
    await this.stop(options)
    const { status } = await run(this.#use().info, options?.signal)
    return { code: status === "stopped" ? 0 : 1, success: status === "stopped" }
  }
  /** Ends the virtual machine at once, even with commands hanging in it. */
  async kill(options?: CallOptions): Promise<void> {
    await run(this.#use().kill, options?.signal)
  }
  /** Lets the sandbox outlive this process. The object is of no more use. */
  async detach(options?: CallOptions): Promise<void> {
    await run(this.#use().detach, options?.signal)
    this.#isConsumed = true
    await this.#held.close()
  }
  /** The SDK's own object for this sandbox, for what this library does not offer. */
  async raw(options?: CallOptions): Promise<Sdk.Sandbox> {
    const { info, name } = this.#use()
    const { id } = await run(info, options?.signal)
    if (id !== this.id) throw new LightboxError({ method: "Sandbox.raw", reason: new Replaced({ name }) })
    return await (await native("Sandbox.raw").Sandbox.get(name)).connect()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held.close()
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
