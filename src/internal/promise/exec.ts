/** Commands for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Signal, Size } from "../config/plain.ts"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Sandboxes from "../../Sandbox.ts"
import * as Execution from "../guest/execution.ts"
import {
  Bytes,
  CString,
  Env,
  GuestPath,
  notBlank,
  optionsStruct,
  Rlimits,
  TerminalSize,
  User
} from "../config/schemas.ts"
import { printable } from "../report/printable.ts"
import { callFields, checkArgs, checked, Data, Millis, None, signalOf } from "./input.ts"
import type { CallOptions } from "./options.ts"
import * as Readers from "./reader.ts"
import { either, type OpenScope, run } from "./runtime.ts"

/**
 * Options for running a command. Times are in milliseconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface ExecOptions extends CallOptions {
  /** Working directory. Default: the sandbox's. */
  readonly cwd?: string | undefined
  /** User, by name or id. Default: the sandbox's. */
  readonly user?: string | undefined
  /** Variables added to the sandbox's. Default: none. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Input of the command. Default: empty. */
  readonly stdin?: string | Uint8Array | undefined
  /** POSIX limits by name, such as `{ nofile: 1024 }` or `{ nofile: { soft: 1024, hard: 4096 } }`. Default: the sandbox's. */
  readonly rlimits?: { readonly [name: string]: number | { readonly soft: number; readonly hard: number } } | undefined
  /** Time limit in milliseconds. Beyond it, the command is killed and the call rejects. Default: no limit. */
  readonly timeoutMs?: number | undefined
  /** Reject with the reason `CommandFailed` if the exit code is not 0. Default: `false`. */
  readonly check?: boolean | undefined
  /**
   * Limit for both outputs together, such as `"1M"`. Beyond it, the command is killed and the call rejects. Default: 256
   * MiB.
   */
  readonly maxOutput?: Size | undefined
}

/**
 * Options for running a program on the terminal of this process.
 *
 * @category options
 * @since 0.1.0
 */
export interface AttachOptions extends Pick<ExecOptions, "cwd" | "env" | "rlimits" | "signal" | "user"> {}

/**
 * Options for running a command whose output is read while it runs.
 *
 * @category options
 * @since 0.1.0
 */
export interface ExecStreamOptions extends Omit<ExecOptions, "check" | "maxOutput"> {
  /** Keep the input open for `takeStdin()`. Default: `false`, which sends `stdin` and closes the input. */
  readonly pipeStdin?: boolean | undefined
  /** Give the command a terminal of this size, in characters. Default: none. */
  readonly terminal?: { readonly rows: number; readonly columns: number } | undefined
}

/**
 * An event of a running command. `text` is `data` as UTF-8; a character split across events arrives with the second.
 *
 * @category models
 * @since 0.1.0
 */
export type ExecEvent =
  | { readonly kind: "started"; readonly pid: number }
  | { readonly kind: "stdout" | "stderr"; readonly data: Uint8Array; readonly text: string }
  | { readonly kind: "exited"; readonly code: number; readonly signal?: Signal }

/**
 * The exit status of a command. The code is -1 if a signal ended it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExitStatus {
  readonly code: number
  /** Whether the code is 0. */
  readonly success: boolean
  /** The signal that ended the command, if known. */
  readonly signal?: Signal
}

const exitStatus = ({ exitCode, signal }: Execution.Ended): ExitStatus => ({
  code: exitCode,
  success: exitCode === 0,
  ...(signal === undefined ? {} : { signal })
})

/**
 * The output and exit status of a command. A nonzero code does not reject.
 *
 * **Example** (Read the result)
 *
 * ```ts
 * import type { Sandbox } from "effect-lightbox/promise"
 *
 * export const test = async (sb: Sandbox): Promise<void> => {
 *   const out = await sb.shell("npm test")
 *   if (!out.success) console.error(`exit code ${out.code}`, out.stderr())
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class ExecOutput {
  /** -1: a signal ended it. */
  readonly code: number
  /** Whether the code is 0. */
  readonly success: boolean
  /** The signal that ended the command, if known. */
  declare readonly signal?: Signal
  readonly #stdout: Uint8Array
  readonly #stderr: Uint8Array

  /** @internal */
  constructor(end: Execution.Ended, stdout: Uint8Array, stderr: Uint8Array) {
    this.code = end.exitCode
    this.success = end.exitCode === 0
    if (end.signal !== undefined) this.signal = end.signal
    this.#stdout = stdout
    this.#stderr = stderr
  }
  get status(): ExitStatus {
    return exitStatus({ exitCode: this.code, signal: this.signal })
  }
  /** Standard output as UTF-8. */
  stdout(): string {
    return new TextDecoder().decode(this.#stdout)
  }
  /** Standard error as UTF-8. */
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

printable(ExecOutput.prototype, "ExecOutput", (output) => ({
  exitCode: output.code,
  ...(output.signal === undefined ? {} : { signal: output.signal }),
  stdout: output.stdout(),
  stderr: output.stderr()
}))

/**
 * The input of a running command.
 *
 * **Example** (Send input to a program)
 *
 * ```ts
 * import type { Sandbox } from "effect-lightbox/promise"
 *
 * export const sort = async (sb: Sandbox, lines: Iterable<string>): Promise<string> => {
 *   const handle = await sb.execStream("sort", [], { pipeStdin: true })
 *   const stdin = await handle.takeStdin()
 *   for (const line of lines) await stdin?.write(`${line}\n`)
 *   await stdin?.close()
 *   return (await handle.collect()).stdout()
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class ExecSink implements AsyncDisposable {
  readonly #queue: Queue.Queue<Uint8Array, Cause.Done>

  /** @internal */
  constructor(queue: Queue.Queue<Uint8Array, Cause.Done>) {
    this.#queue = queue
  }
  /** Writes data, and resolves when there is room for more. After the command has exited, data is dropped. */
  async write(data: Uint8Array | string, options?: CallOptions): Promise<void> {
    checkArgs("ExecSink.write", { data })
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data
    await run(Effect.asVoid(Queue.offer(this.#queue, bytes)), signalOf("ExecSink.write", options))
  }
  /** Closes the input; the command reads the end of it. */
  async close(options?: CallOptions): Promise<void> {
    await run(Effect.asVoid(Queue.end(this.#queue)), signalOf("ExecSink.close", options))
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** @internal */
export interface Started {
  readonly process: Guest.Process
  readonly events: Readers.Source<ExecEvent>
  readonly sink: ExecSink | undefined
  /** Calls back once the command has ended. */
  readonly onEnd: (callback: () => void) => void
}

/**
 * A running command. Read its events with `for await`, or one at a time with `recv()`. Leaving the loop early kills the
 * command.
 *
 * A signal passed when starting the command kills it whenever it aborts; one passed to `recv`, `wait` or `collect` does
 * so only during that call.
 *
 * **Example** (Print output as it arrives)
 *
 * ```ts
 * import type { Sandbox } from "effect-lightbox/promise"
 *
 * export const install = async (sb: Sandbox): Promise<void> => {
 *   for await (const event of await sb.shellStream("npm install")) {
 *     if (event.kind === "stdout") process.stdout.write(event.data)
 *     if (event.kind === "exited") console.log(`exit code ${event.code}`)
 *   }
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class ExecHandle implements AsyncIterable<ExecEvent>, AsyncDisposable {
  /** The process id in the guest. */
  readonly pid: number
  readonly #process: Guest.Process
  readonly #reader: Readers.Reader<ExecEvent>
  readonly #signal: AbortSignal | undefined
  #sink: ExecSink | undefined
  #end: Execution.Ended = { exitCode: -1, signal: undefined }

  /** @internal */
  constructor(started: Started, held: OpenScope, signal: AbortSignal | undefined) {
    this.pid = started.process.pid
    this.#process = started.process
    this.#reader = new Readers.Reader(started.events, held)
    this.#signal = signal
    this.#sink = started.sink
    // Nothing is left to kill, and a handle that is not read to its end would be held by the process.
    started.onEnd(held.release)
  }

  /** Returns the next event, or `null` after the last. */
  async recv(options?: CallOptions): Promise<ExecEvent | null> {
    const event = await this.#reader.next(either(this.#signal, signalOf("ExecHandle.recv", options)))
    if (event?.kind === "exited") {
      this.#end = { exitCode: event.code, signal: event.signal }
      await this.#reader.close()
    }
    return event
  }
  /** Returns the command's input on the first call, if started with `pipeStdin`. */
  async takeStdin(): Promise<ExecSink | null> {
    const sink = this.#sink ?? null
    this.#sink = undefined
    return sink
  }
  /** Waits for the command to exit, dropping unread output. */
  async wait(options?: CallOptions): Promise<ExitStatus> {
    while ((await this.recv(options)) !== null);
    return exitStatus(this.#end)
  }
  /** Waits for the command to exit and returns the unread output. */
  async collect(options?: CallOptions): Promise<ExecOutput> {
    const parts = { stdout: new Execution.Collector(), stderr: new Execution.Collector() }
    for (let event = await this.recv(options); event !== null; event = await this.recv(options)) {
      if (event.kind === "stdout" || event.kind === "stderr") parts[event.kind].push(event.data)
    }
    return new ExecOutput(this.#end, parts.stdout.bytes, parts.stderr.bytes)
  }
  /** Sends a signal, by number, to the command's process group. */
  async signal(number: number, options?: CallOptions): Promise<void> {
    checkArgs("ExecHandle.signal", { number })
    await run(this.#process.signal(number), signalOf("ExecHandle.signal", options))
  }
  /** Kills the command's process group. */
  async kill(options?: CallOptions): Promise<void> {
    await run(this.#process.signal("SIGKILL"), signalOf("ExecHandle.kill", options))
  }
  /** Resizes the terminal, in characters. */
  async resize(rows: number, columns: number, options?: CallOptions): Promise<void> {
    const size = decodeSize({ rows, columns }, undefined)
    await run(this.#process.resize(size), signalOf("ExecHandle.resize", options))
  }
  async *[Symbol.asyncIterator](): AsyncIterator<ExecEvent> {
    try {
      for (let event = await this.recv(); event !== null; event = await this.recv()) yield event
    } finally {
      await this.#reader.close()
    }
  }
  /** Kills the command if it is still running. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.close()
  }
}

printable(ExecHandle.prototype, "ExecHandle", ({ pid }) => ({ pid }))

const method = "Sandbox.execStream"

const decodeSize = checked("ExecHandle.resize", TerminalSize, None)

const Program = Schema.Struct({
  command: notBlank("the name of a program"),
  args: Schema.optional(Schema.Array(CString))
})

const Script = Schema.Struct({ script: CString })

const attachFields = {
  ...callFields,
  cwd: Schema.optional(GuestPath),
  user: Schema.optional(User),
  env: Schema.optional(Env),
  rlimits: Schema.optional(Rlimits)
}

const execFields = {
  ...attachFields,
  stdin: Schema.optional(Data),
  timeoutMs: Schema.optional(Millis)
}

const ExecSchema = optionsStruct<ExecOptions>()({
  ...execFields,
  check: Schema.optional(Schema.Boolean),
  maxOutput: Schema.optional(Bytes)
})

const StreamSchema = optionsStruct<ExecStreamOptions>()({
  ...execFields,
  pipeStdin: Schema.optional(Schema.Boolean),
  terminal: Schema.optional(TerminalSize)
})

/** @internal */
export const decode = {
  exec: checked("Sandbox.exec", Program, ExecSchema),
  shell: checked("Sandbox.shell", Script, ExecSchema),
  execStream: checked("Sandbox.execStream", Program, StreamSchema),
  shellStream: checked("Sandbox.shellStream", Script, StreamSchema),
  attach: checked("Sandbox.attach", Program, optionsStruct<AttachOptions>()(attachFields))
}

/** @internal Starts a command, killed when the scope closes. */
export const start = Effect.fnUntraced(function* (
  sandbox: Sandboxes.Sandbox,
  argv: readonly [string, ...Array<string>],
  { cwd, env, pipeStdin, rlimits, stdin, terminal, timeoutMs, user }: ExecStreamOptions
): Effect.fn.Return<Started, LightboxError, Scope.Scope> {
  const limit = timeoutMs === undefined ? undefined : Duration.millis(timeoutMs)
  const process = yield* sandbox.spawn(argv[0], argv.slice(1), { cwd, user, env, rlimits, terminal })
  const decoders = { Stdout: new TextDecoder(), Stderr: new TextDecoder() }
  const tails = { Stdout: new Execution.Tail(), Stderr: new Execution.Tail() }
  const output: Stream.Stream<ExecEvent, LightboxError> = Stream.map(process.output, ({ _tag, bytes }) => {
    if (limit !== undefined) tails[_tag].push(bytes)
    return {
      kind: _tag === "Stdout" ? "stdout" : "stderr",
      data: bytes,
      text: decoders[_tag].decode(bytes, { stream: true })
    }
  })
  const exited = Effect.map(Execution.ended(process), ({ exitCode, signal }): ExecEvent => ({
    kind: "exited",
    code: exitCode,
    ...(signal === undefined ? {} : { signal })
  }))
  const events = yield* Readers.open(
    Stream.make<[ExecEvent]>({ kind: "started", pid: process.pid }).pipe(
      Stream.concat(output),
      Stream.concat(Stream.fromEffect(exited))
    )
  )
  const input = yield* Effect.acquireRelease(Queue.bounded<Uint8Array, Cause.Done>(16), Queue.shutdown)
  const isPipe = pipeStdin === true
  const fed = isPipe ? Stream.fromQueue(input) : (stdin ?? Stream.empty)
  const ended = { is: false, callback: () => {} }
  yield* Effect.exit(process.exitCode).pipe(
    Execution.failures(method, { argv }, process, tails).within(limit),
    Effect.catch((error) => Effect.andThen(events.end(error), Effect.ignore(process.signal("SIGKILL")))),
    Effect.andThen(
      Effect.sync(() => {
        ended.is = true
        ended.callback()
      })
    ),
    Effect.raceFirst(Execution.feed<never, never>(process, fed).pipe(Effect.catch(() => Effect.never))),
    Effect.forkScoped
  )
  const onEnd = (callback: () => void) => {
    ended.callback = callback
    if (ended.is) callback()
  }
  return { process, events, sink: isPipe ? new ExecSink(input) : undefined, onEnd }
})
