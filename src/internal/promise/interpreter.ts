/** Interpreters for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off
import * as Schema from "effect/Schema"
import type * as Interpreters from "../../Interpreter.ts"
import type { Size } from "../config/plain.ts"
import { Env, GuestPath, millis, optionsStruct, User } from "../config/schemas.ts"
import { contextFields, runFields } from "../interpreter/interpreter.ts"
import { printable } from "../report/printable.ts"
import { callFields, checked, Millis, None, signalOf } from "./input.ts"
import type { CallOptions } from "./options.ts"
import * as Readers from "./reader.ts"
import { type OpenScope, run } from "./runtime.ts"
import type { Sandbox } from "./sandbox.ts"

/**
 * Options of an interpreter.
 *
 * @category options
 * @since 0.1.0
 */
export interface InterpreterOptions extends CallOptions {
  /** The language of the code. */
  readonly language: "python" | "javascript"
  /** The interpreter to start, such as `"/venv/bin/python"`. Default: `"python3"` or `"node"`. */
  readonly program?: string | undefined
  /**
   * Limit for the memory of this context, such as `"512M"`; at least 64 MiB. Code that needs more gets a `MemoryError`
   * in Python, and ends the context in JavaScript. Default: no limit but that of the sandbox.
   */
  readonly memory?: Size | undefined
  /** Working directory. Default: the sandbox's. */
  readonly cwd?: string | undefined
  /** User, by name or id. Default: the sandbox's. */
  readonly user?: string | undefined
  /** Variables added to the sandbox's. Default: none. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Time that interrupted code has to end, before its context is killed. Default: 5,000. */
  readonly interruptTimeoutMs?: number | undefined
}

/**
 * Options for running code.
 *
 * @category options
 * @since 0.1.0
 */
export interface CodeOptions extends CallOptions {
  /** Interrupt the code after this time, and reject with the reason `TimedOut`. The state is kept. Default: no limit. */
  readonly timeoutMs?: number | undefined
  /**
   * Limit for both outputs together, such as `"10M"`; at most 64 MiB. What follows is dropped, and `truncated` is set;
   * the code runs on. Default: 1 MiB.
   */
  readonly maxOutput?: Size | undefined
  /**
   * Limit for all results together, as text; at most 64 MiB. Forms that do not fit are dropped, except for the beginning
   * of `text/plain`, and `truncated` is set. Default: 16 MiB.
   */
  readonly maxResults?: Size | undefined
}

/**
 * A value that code has shown: its last expression, an argument of `display`, or a figure of matplotlib.
 *
 * @category models
 * @since 0.1.0
 */
export class CodeResult {
  /** By MIME type. Text is as it is, `application/json` is JSON, and images other than SVG are in base64. */
  readonly data: { readonly [type: string]: string }
  readonly #result: Interpreters.Result

  /** @internal */
  constructor(result: Interpreters.Result) {
    this.data = result.data
    this.#result = result
  }
  /** `text/plain`: how the language itself would print the value. */
  get text(): string | undefined {
    return this.#result.text
  }
  get html(): string | undefined {
    return this.#result.html
  }
  /** The value of `application/json`; `undefined` if there is none, or it is not JSON. */
  get json(): unknown {
    return this.#result.json
  }
  /** The bytes of `image/png`, ready for a file. */
  get png(): Uint8Array | undefined {
    return this.#result.png
  }
  /** The bytes of a binary type, such as `"image/jpeg"`. */
  bytes(type: string): Uint8Array | undefined {
    return this.#result.bytes(type)
  }
}

/**
 * An error that code has raised and not handled.
 *
 * @category models
 * @since 0.1.0
 */
export interface CodeError {
  /** The class, such as `ZeroDivisionError`. An interrupt is `KeyboardInterrupt` in Python, `Interrupted` in JavaScript. */
  readonly name: string
  readonly message: string
  /** As the language prints it, with the lines of the code and those that it called, and nothing of the interpreter. */
  readonly traceback: string
}

/**
 * The outcome of code.
 *
 * @category models
 * @since 0.1.0
 */
export interface CodeExecution {
  readonly stdout: string
  readonly stderr: string
  /** In the order in which they were shown. */
  readonly results: ReadonlyArray<CodeResult>
  /** The text of the last result. */
  readonly text?: string | undefined
  /** Undefined if the code ended normally. */
  readonly error?: CodeError | undefined
  /** Whether output or results were dropped because of a limit. */
  readonly truncated: boolean
  /** From when the interpreter was free for this code until it ended. */
  readonly durationMs: number
}

/**
 * An event of running code. `"error"` comes at most once, and `"ended"` is the last.
 *
 * @category models
 * @since 0.1.0
 */
export type CodeEvent =
  | { readonly kind: "stdout" | "stderr"; readonly text: string }
  | { readonly kind: "result"; readonly result: CodeResult }
  | { readonly kind: "error"; readonly error: CodeError }
  | { readonly kind: "ended"; readonly truncated: boolean; readonly durationMs: number }

const errorOf = ({ message, name, traceback }: Interpreters.CodeError): CodeError => ({ name, message, traceback })

const eventOf = (event: Interpreters.Event): CodeEvent => {
  switch (event._tag) {
    case "Stdout":
      return { kind: "stdout", text: event.text }
    case "Stderr":
      return { kind: "stderr", text: event.text }
    case "Result":
      return { kind: "result", result: new CodeResult(event.result) }
    case "Error":
      return { kind: "error", error: errorOf(event.error) }
    case "Ended":
      return { kind: "ended", truncated: event.truncated, durationMs: millis(event.duration) }
  }
}

/**
 * An interpreter: a process in the sandbox that runs code and keeps its state until it is closed, or restarted.
 *
 * Runs happen one after the other; a second one waits. They reject with the reason `InterpreterLost`, which has the last
 * lines of output, once the process has ended, as when memory ran out or the code called `exit`. An abort interrupts the
 * code and keeps the state; if it does not end in time, the process is killed, and the next run rejects.
 *
 * **Example** (Keep a picture that code has drawn)
 *
 * ```ts
 * import type { Sandbox } from "effect-lightbox/promise"
 * import { writeFile } from "node:fs/promises"
 *
 * export const plot = async (sb: Sandbox) => {
 *   await using python = await sb.interpreter({ language: "python" })
 *   await python.run("import matplotlib.pyplot as plt")
 *   const { error, results } = await python.run("plt.plot([1, 4, 9])", { timeoutMs: 30_000 })
 *   if (error !== undefined) throw new Error(error.traceback)
 *   const png = results.at(-1)?.png
 *   if (png !== undefined) await writeFile("plot.png", png)
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class Interpreter implements AsyncDisposable {
  readonly language: "python" | "javascript"
  /** The sandbox that the code runs in, for its files. */
  readonly sandbox: Sandbox
  readonly #interpreter: Interpreters.Interpreter
  readonly #held: OpenScope

  /** @internal */
  constructor(interpreter: Interpreters.Interpreter, held: OpenScope, sandbox: Sandbox) {
    this.language = interpreter.language
    this.sandbox = sandbox
    this.#interpreter = interpreter
    this.#held = held
  }
  /** Runs code and returns its output, results and error. */
  async run(code: string, options?: CodeOptions): Promise<CodeExecution> {
    const { code: text, signal, timeoutMs, ...limits } = decodeRun({ code }, options)
    const done = await run(this.#interpreter.run(text, { ...limits, timeout: timeoutMs }), signal)
    return {
      stdout: done.stdout,
      stderr: done.stderr,
      results: done.results.map((result) => new CodeResult(result)),
      text: done.text,
      error: done.error === undefined ? undefined : errorOf(done.error),
      truncated: done.truncated,
      durationMs: millis(done.duration)
    }
  }
  /** Runs code and yields what happens. Leaving the loop early interrupts the code. */
  async *runStream(code: string, options?: CodeOptions): AsyncIterableIterator<CodeEvent> {
    const { code: text, signal, timeoutMs, ...limits } = decodeRunStream({ code }, options)
    const events = this.#interpreter.runStream(text, { ...limits, timeout: timeoutMs })
    for await (const event of Readers.iterate(events, signal)) yield eventOf(event)
  }
  /** Interrupts the code that runs, if any. Resolves once it has ended, or was killed because it did not. */
  async interrupt(options?: CallOptions): Promise<void> {
    await run(this.#interpreter.interrupt, signalOf("Interpreter.interrupt", options))
  }
  /** Starts the process again, without its state. */
  async restart(options?: CallOptions): Promise<void> {
    await run(this.#interpreter.restart, signalOf("Interpreter.restart", options))
  }
  /** Ends the process, and removes the sandbox if it came from a pool. */
  async close(): Promise<void> {
    await this.#held.close()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held.close()
  }
}

printable(Interpreter.prototype, "Interpreter", ({ language, sandbox }) => ({ language, sandbox: sandbox.name }))

const Options = optionsStruct<InterpreterOptions>()({
  ...callFields,
  ...contextFields,
  cwd: Schema.optional(GuestPath),
  user: Schema.optional(User),
  env: Schema.optional(Env),
  interruptTimeoutMs: Schema.optional(Millis)
})

const decoded = (method: string) => {
  const decode = checked(method, None, Options)
  return (options: InterpreterOptions) => {
    const { interruptTimeoutMs, signal, ...rest } = decode({}, options)
    return { signal, options: { ...rest, interruptTimeout: interruptTimeoutMs } }
  }
}

/** @internal */
export const decodeInSandbox = decoded("Sandbox.interpreter")

/** @internal */
export const decodeInPool = decoded("SandboxPool.interpreter")

const Code = Schema.Struct({ code: Schema.String })

const RunOptions = optionsStruct<CodeOptions>()({ ...callFields, ...runFields, timeoutMs: Schema.optional(Millis) })

const decodeRun = checked("Interpreter.run", Code, RunOptions)

const decodeRunStream = checked("Interpreter.runStream", Code, RunOptions)
