/**
 * Sandboxes for programs that know promises only: the objects of lightbox 0.3
 * and of the SDK, over the handles of this library.
 *
 * No type of Effect may appear in a declaration of this module.
 */
// @effect-diagnostics asyncFunction:off globalDate:off newPromise:off
import type * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Sdk from "microsandbox"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type * as Guest from "../../Guest.ts"
import { LightboxError, Unsupported } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Sandboxes from "../../Sandbox.ts"
import * as Execution from "../execution.ts"
import { type OpenScope, openScope, run } from "./runtime.ts"

// =============================================================================
// Commands
// =============================================================================

/** Options of a command. Times are in milliseconds. */
export interface ExecOptions {
  readonly cwd?: string | undefined
  readonly user?: string | undefined
  readonly env?: { readonly [name: string]: string } | undefined
  /** What the command reads. Default: nothing, its input is closed. */
  readonly stdin?: string | Uint8Array | undefined
  /** Kill the command after so many milliseconds, and reject. Default: never. */
  readonly timeoutMs?: number | undefined
  /** Kill the command when this aborts, and reject with its reason. */
  readonly signal?: AbortSignal | undefined
}

/** Options of a command whose output is read while it runs. */
export interface ExecStreamOptions extends ExecOptions {
  /** Keep the input open, for `takeStdin()`. Default: `false`, the command reads `stdin` and then the end. */
  readonly pipeStdin?: boolean | undefined
  /** Give the command a terminal. Default: none. */
  readonly terminal?: { readonly rows: number; readonly columns: number } | undefined
}

/** What happens while a command runs. */
export type ExecEvent =
  | { readonly kind: "started"; readonly pid: number }
  | { readonly kind: "stdout"; readonly data: Uint8Array }
  | { readonly kind: "stderr"; readonly data: Uint8Array }
  | { readonly kind: "exited"; readonly code: number }

/** How a command ended. */
export interface ExitStatus {
  readonly code: number
  readonly success: boolean
}

/** What a command wrote, and how it ended. A code other than 0 is a result, not a rejection. */
export class ExecOutput {
  readonly #exitCode: number
  readonly #stdout: Uint8Array
  readonly #stderr: Uint8Array

  /** @internal */
  constructor(exitCode: number, stdout: Uint8Array, stderr: Uint8Array) {
    this.#exitCode = exitCode
    this.#stdout = stdout
    this.#stderr = stderr
  }
  /** -1: it was ended by a signal. */
  get code(): number {
    return this.#exitCode
  }
  /** Whether the code is 0. */
  get success(): boolean {
    return this.#exitCode === 0
  }
  get status(): ExitStatus {
    return { code: this.code, success: this.success }
  }
  /** As UTF-8. */
  stdout(): string {
    return new TextDecoder().decode(this.#stdout)
  }
  /** As UTF-8. */
  stderr(): string {
    return new TextDecoder().decode(this.#stderr)
  }
  stdoutBytes(): Uint8Array {
    return this.#stdout
  }
  stderrBytes(): Uint8Array {
    return this.#stderr
  }
}

/** The input of a running command. */
export class ExecSink implements AsyncDisposable {
  readonly #queue: Queue.Queue<Uint8Array, Cause.Done>

  /** @internal */
  constructor(queue: Queue.Queue<Uint8Array, Cause.Done>) {
    this.#queue = queue
  }
  /** Writes, and resolves when there is room for more. */
  async write(data: Uint8Array | string): Promise<void> {
    await run(Effect.asVoid(Queue.offer(this.#queue, typeof data === "string" ? new TextEncoder().encode(data) : data)))
  }
  /** Closes the input: the command reads its end. */
  async close(): Promise<void> {
    await run(Effect.asVoid(Queue.end(this.#queue)))
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** A running command: its events with `for await`, or one by one with `recv()`. */
export class ExecHandle implements AsyncIterable<ExecEvent>, AsyncDisposable {
  readonly #process: Guest.Process
  readonly #held: OpenScope
  readonly #signal: AbortSignal | undefined
  readonly #events: AsyncIterator<ExecEvent>
  #sink: ExecSink | undefined

  private constructor(
    process: Guest.Process,
    held: OpenScope,
    signal: AbortSignal | undefined,
    events: AsyncIterator<ExecEvent>,
    sink: ExecSink | undefined
  ) {
    this.#process = process
    this.#held = held
    this.#signal = signal
    this.#events = events
    this.#sink = sink
  }

  /** @internal */
  static async start(
    sandbox: Sandboxes.Sandbox,
    argv: readonly [string, ...Array<string>],
    options: ExecStreamOptions | undefined
  ): Promise<ExecHandle> {
    const held = openScope()
    const { signal } = options ?? {}
    const abort = () => void held.close()
    try {
      const started = await run(
        Effect.gen(function* () {
          const process = yield* sandbox.spawn(argv[0], argv.slice(1), {
            workdir: options?.cwd,
            user: options?.user,
            env: options?.env,
            terminal: options?.terminal
          })
          const input = yield* Queue.bounded<Uint8Array, Cause.Done>(16)
          const isPipe = options?.pipeStdin === true
          yield* Effect.forkScoped(
            Execution.feed<never, never>(process, isPipe ? Stream.fromQueue(input) : options?.stdin)
          )
          if (options?.timeoutMs !== undefined) {
            yield* Effect.forkScoped(Effect.delay(Effect.ignore(process.signal("SIGKILL")), options.timeoutMs))
          }
          const output: Stream.Stream<ExecEvent, LightboxError> = Stream.map(process.output, ({ _tag, bytes }) => ({
            kind: _tag === "Stdout" ? "stdout" : "stderr",
            data: bytes
          }))
          const exited = Effect.map(process.exitCode, (code): ExecEvent => ({ kind: "exited", code }))
          const started: ExecEvent = { kind: "started", pid: process.pid }
          const events = Stream.make(started).pipe(Stream.concat(output), Stream.concat(Stream.fromEffect(exited)))
          const context = yield* Effect.context<never>()
          return {
            process,
            events: Stream.toAsyncIterableWith(events, context)[Symbol.asyncIterator](),
            sink: isPipe ? new ExecSink(input) : undefined
          }
        }).pipe(Scope.provide(held.scope)),
        signal
      )
      signal?.addEventListener("abort", abort, { once: true })
      return new ExecHandle(started.process, held, signal, started.events, started.sink)
    } catch (error) {
      await held.close()
      throw error
    }
  }

  /** The next event, or `null` after the last. */
  async recv(): Promise<ExecEvent | null> {
    try {
      const next = await this.#events.next()
      if (next.done !== true && next.value.kind !== "exited") return next.value
      await this.#held.close()
      return next.done === true ? null : next.value
    } catch (error) {
      await this.#held.close()
      throw this.#signal?.aborted === true ? this.#signal.reason : error
    }
  }
  /** The command's input, once, if it was started with `pipeStdin`. */
  async takeStdin(): Promise<ExecSink | null> {
    const sink = this.#sink ?? null
    this.#sink = undefined
    return sink
  }
  /** Waits for the end, dropping what the command writes. */
  async wait(): Promise<ExitStatus> {
    const { code, success } = await this.collect()
    return { code, success }
  }
  /** Waits for the end, and gives what the command wrote that was not read yet. */
  async collect(): Promise<ExecOutput> {
    const parts = { stdout: [] as Array<Uint8Array>, stderr: [] as Array<Uint8Array> }
    let code = -1
    for await (const event of this) {
      if (event.kind === "stdout" || event.kind === "stderr") parts[event.kind].push(event.data)
      else if (event.kind === "exited") code = event.code
    }
    return new ExecOutput(code, Buffer.concat(parts.stdout), Buffer.concat(parts.stderr))
  }
  /** Sends a signal, by its number, to the command and all that it started. */
  async signal(signal: number): Promise<void> {
    await run(this.#process.signal(signal))
  }
  /** Kills the command and all that it started. */
  async kill(): Promise<void> {
    await run(this.#process.signal("SIGKILL"))
  }
  /** Changes the size of the terminal. */
  async resize(rows: number, columns: number): Promise<void> {
    await run(this.#process.resize({ rows, columns }))
  }
  async *[Symbol.asyncIterator](): AsyncIterator<ExecEvent> {
    try {
      for (let event = await this.recv(); event !== null; event = await this.recv()) yield event
    } finally {
      await this.#held.close()
    }
  }
  /** Kills the command if it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held.close()
  }
}

// =============================================================================
// Files
// =============================================================================

/** An entry of a folder. */
export interface FsEntry {
  readonly path: string
  readonly kind: "file" | "directory" | "symlink" | "other"
  readonly size: number
  readonly mode: number
  readonly modified: Date | null
}

const kinds = { File: "file", Directory: "directory", Symlink: "symlink", Other: "other" } as const

const fsEntry = (info: Guest.FileInfo): FsEntry => ({
  path: info.path,
  kind: kinds[info.kind],
  size: info.size,
  mode: info.mode,
  modified: info.modifiedAt === undefined ? null : new Date(info.modifiedAt * 1000)
})

/** The files of a running sandbox. Paths are absolute. */
export class SandboxFs {
  readonly #sandbox: Sandboxes.Sandbox

  /** @internal */
  constructor(sandbox: Sandboxes.Sandbox) {
    this.#sandbox = sandbox
  }
  async read(path: string): Promise<Uint8Array> {
    return await run(this.#sandbox.readFile(path))
  }
  async readToString(path: string): Promise<string> {
    return await run(this.#sandbox.readFileString(path))
  }
  /** Reads in pieces. */
  async *readStream(path: string): AsyncGenerator<Uint8Array, void, undefined> {
    const context = await run(Effect.context<never>())
    yield* Stream.toAsyncIterableWith(this.#sandbox.readStream(path), context)
  }
  async write(path: string, data: Uint8Array | string): Promise<void> {
    await run(this.#sandbox.writeFile(path, data))
  }
  /** Writes in pieces. */
  async writeStream(path: string, data: AsyncIterable<Uint8Array>): Promise<void> {
    await run(
      Stream.run(Stream.orDie(Stream.fromAsyncIterable(data, (cause) => cause)), this.#sandbox.writeStream(path))
    )
  }
  async list(path: string): Promise<Array<FsEntry>> {
    return (await run(this.#sandbox.list(path))).map(fsEntry)
  }
  async mkdir(path: string): Promise<void> {
    await run(this.#sandbox.makeDirectory(path))
  }
  async removeDir(path: string): Promise<void> {
    await run(this.#sandbox.remove(path, { recursive: true }))
  }
  async remove(path: string): Promise<void> {
    await run(this.#sandbox.guest.removeFile(path))
  }
  async copy(from: string, to: string): Promise<void> {
    await run(this.#sandbox.copyFile(from, to))
  }
  async rename(from: string, to: string): Promise<void> {
    await run(this.#sandbox.rename(from, to))
  }
  async stat(path: string): Promise<FsEntry> {
    return fsEntry(await run(this.#sandbox.stat(path)))
  }
  async exists(path: string): Promise<boolean> {
    return await run(this.#sandbox.exists(path))
  }
  /** Copies a file of the host into the guest. */
  async copyFromHost(hostPath: string, guestPath: string): Promise<void> {
    await this.writeStream(guestPath, Fs.createReadStream(Path.resolve(hostPath)))
  }
  /** Copies a file of the guest to the host. */
  async copyToHost(guestPath: string, hostPath: string): Promise<void> {
    await Fs.promises.writeFile(Path.resolve(hostPath), this.readStream(guestPath))
  }
}

// =============================================================================
// Sandboxes
// =============================================================================

/** The states of a sandbox. */
export type SandboxStatus = "created" | "starting" | "running" | "draining" | "paused" | "stopped" | "crashed"

/** A sandbox as it was when it was looked up, running or not. */
export class SandboxHandle {
  readonly name: string
  readonly id: string
  readonly status: SandboxStatus
  readonly labels: { readonly [key: string]: string }
  readonly createdAt: Date | null
  readonly #info: Microsandbox.SandboxInfo

  /** @internal */
  constructor(info: Microsandbox.SandboxInfo) {
    this.name = info.name
    this.id = info.id
    this.status = info.status
    this.labels = info.labels
    this.createdAt = info.createdAt === undefined ? null : DateTime.toDateUtc(info.createdAt)
    this.#info = info
  }
  /** Connects to the sandbox, which must run. */
  async connect(): Promise<Sandbox> {
    return await Sandbox.connect(this.name)
  }
  /** Boots the stopped sandbox; it ends with this process unless it is detached. */
  async start(): Promise<Sandbox> {
    return await Sandbox.open(Sandboxes.start(this.name))
  }
  /** Boots the stopped sandbox; it outlives this process. */
  async startDetached(): Promise<Sandbox> {
    return await Sandbox.open(Sandboxes.start(this.name, { detached: true }))
  }
  /** Shuts the sandbox down. */
  async stop(): Promise<void> {
    await run(Microsandbox.Microsandbox.use((driver) => driver.stopSandbox(this.#info)))
  }
  /** Ends the virtual machine at once. */
  async kill(): Promise<void> {
    await run(Microsandbox.Microsandbox.use((driver) => driver.killSandbox(this.#info)))
  }
  /** Removes the stopped sandbox with its disk. */
  async remove(): Promise<void> {
    await run(Microsandbox.Microsandbox.use((driver) => driver.removeSandbox(this.#info)))
  }
  /** Looks it up again. */
  async refresh(): Promise<SandboxHandle> {
    return await Sandbox.get(this.name)
  }
}

/** A running sandbox. */
export class Sandbox implements AsyncDisposable {
  readonly name: string
  readonly id: string
  readonly #sandbox: Sandboxes.Sandbox
  readonly #held: OpenScope
  #isConsumed = false

  private constructor(sandbox: Sandboxes.Sandbox, held: OpenScope) {
    this.name = sandbox.name
    this.id = sandbox.id
    this.#sandbox = sandbox
    this.#held = held
  }

  /** @internal */
  static async open(
    acquire: Effect.Effect<Sandboxes.Sandbox, LightboxError, Microsandbox.Microsandbox | Scope.Scope>,
    signal?: AbortSignal
  ): Promise<Sandbox> {
    const held = openScope()
    try {
      return new Sandbox(await run(Scope.provide(acquire, held.scope), signal), held)
    } catch (error) {
      await held.close()
      throw error
    }
  }

  /** @internal */
  static async connect(name: string, signal?: AbortSignal): Promise<Sandbox> {
    return await Sandbox.open(Sandboxes.connect(name), signal)
  }

  /** @internal For the life of a callback: released by the scope of the effect that made it. */
  static within(sandbox: Sandboxes.Sandbox): Sandbox {
    return new Sandbox(sandbox, {
      scope: Scope.makeUnsafe(),
      close: () => run(sandbox.kill),
      forget: () => {}
    })
  }

  /** The SDK's own builder, for what this library does not offer. What it makes is not released by it. */
  static async builder(name: string): Promise<Sdk.SandboxBuilder> {
    await run(Effect.asVoid(Microsandbox.Microsandbox))
    return (await import("microsandbox")).Sandbox.builder(name)
  }
  /** Looks a sandbox up. Rejects when there is none. */
  static async get(name: string): Promise<SandboxHandle> {
    return new SandboxHandle(await run(Sandboxes.get(name)))
  }
  /** All sandboxes, running and stopped. */
  static async list(): Promise<Array<SandboxHandle>> {
    return (await run(Sandboxes.list())).map((info) => new SandboxHandle(info))
  }
  /** Removes a stopped sandbox with its disk. */
  static async remove(name: string): Promise<void> {
    await run(Sandboxes.remove(name))
  }

  /** Runs a program, without a shell, to its end. */
  async exec(command: string, args?: ReadonlyArray<string>, options?: ExecOptions): Promise<ExecOutput> {
    return await this.#collect(this.#use().exec(command, args, execOptions(options)), options)
  }
  /** Runs a script in a login shell (`sh -lc`) to its end. */
  async shell(script: string, options?: ExecOptions): Promise<ExecOutput> {
    return await this.#collect(this.#use().exec("sh", ["-lc", script], execOptions(options)), options)
  }
  /** Starts a program, without a shell, to read while it runs. */
  async execStream(command: string, args?: ReadonlyArray<string>, options?: ExecStreamOptions): Promise<ExecHandle> {
    return await ExecHandle.start(this.#use(), [command, ...(args ?? [])], options)
  }
  /** Starts a script in a login shell (`sh -lc`), to read while it runs. */
  async shellStream(script: string, options?: ExecStreamOptions): Promise<ExecHandle> {
    return await ExecHandle.start(this.#use(), ["sh", "-lc", script], options)
  }
  /** Runs a program with the terminal of this process; resolves with its exit code, or 0 after Ctrl+]. */
  async attach(command: string, args?: ReadonlyArray<string>): Promise<number> {
    return await run(this.#use().attach(command, args))
  }
  /** Runs a shell with the terminal of this process; resolves with its exit code, or 0 after Ctrl+]. */
  async attachShell(): Promise<number> {
    return await run(this.#use().attachShell)
  }
  /** The files of the sandbox. */
  fs(): SandboxFs {
    return new SandboxFs(this.#use())
  }

  /** Shuts the sandbox down. Its record and disk stay, until it is removed or its name is used again. */
  async stop(): Promise<void> {
    await run(this.#use().stop())
  }
  /** Shuts the sandbox down, and tells how that ended. */
  async stopAndWait(): Promise<ExitStatus> {
    await this.stop()
    const { status } = await run(this.#use().info)
    return { code: status === "stopped" ? 0 : 1, success: status === "stopped" }
  }
  /** Ends the virtual machine at once, even with commands hanging in it. */
  async kill(): Promise<void> {
    await run(this.#use().kill)
  }
  /** Lets the sandbox outlive this process. The object is of no more use. */
  async detach(): Promise<void> {
    await run(this.#use().detach)
    this.#isConsumed = true
    await this.#held.close()
  }
  /** The SDK's own object for this sandbox, for what this library does not offer. */
  async raw(): Promise<Sdk.Sandbox> {
    const { Sandbox: native } = await import("microsandbox")
    return await (await native.get(this.#use().name)).connect()
  }
  /** Ends the sandbox and removes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held.close()
  }

  #use(): Sandboxes.Sandbox {
    if (!this.#isConsumed) return this.#sandbox
    throw new LightboxError({
      method: "Sandbox",
      reason: new Unsupported({ feature: this.name, problem: "handle consumed by detach(); connect to it again" })
    })
  }

  async #collect(
    effect: Effect.Effect<Sandboxes.ExecResult, LightboxError>,
    options: ExecOptions | undefined
  ): Promise<ExecOutput> {
    const { exitCode, stderrBytes, stdoutBytes } = await run(effect, options?.signal)
    return new ExecOutput(exitCode, stdoutBytes, stderrBytes)
  }
}

const execOptions = (options: ExecOptions | undefined): Sandboxes.ExecOptions => ({
  workdir: options?.cwd,
  user: options?.user,
  env: options?.env,
  stdin: options?.stdin,
  timeout: options?.timeoutMs
})
