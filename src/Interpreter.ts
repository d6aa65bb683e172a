/**
 * Code interpreters: Python and JavaScript in a sandbox, with state that lasts from one run to the next.
 *
 * `Interpreter.make(sandbox, { language: "python" })` starts a context, and `interpreter.run(code)` runs code in it. What
 * the code prints, the values that it shows and the error that it ends with come back. Variables, imports and
 * functions stay until the context is restarted or its scope closes.
 *
 * **Details**
 *
 * A context is a process in the guest, `python3` (3.8 or newer) or `node` (18 or newer). Nothing has to be installed
 * for it, and the code of the interpreter is not written to the guest's disk. Contexts are independent: make as many of
 * one sandbox as its memory holds. Given a `SandboxPool`, a context takes a sandbox of its own until the scope closes.
 *
 * The value of the last expression is a result, and so is what the code passes to `display(…)`. Each result has the
 * value in several forms, by MIME type:
 *
 * | Value                                                              | Forms besides `text/plain`                |
 * | ------------------------------------------------------------------ | ----------------------------------------- |
 * | text, number, boolean, list, dictionary, plain object              | `application/json`                        |
 * | Python object with `_repr_html_` and the like, such as a DataFrame | `text/html`, `image/png`, and what it has |
 * | figure of matplotlib, open when the code ends or at `plt.show()`   | `image/png`                               |
 * | JavaScript object with `[Symbol.for("Jupyter.display")]()`         | those that it returns                     |
 * | JavaScript `Uint8Array` or `Buffer` with a PNG                     | `image/png`                               |
 *
 * `await` works at the top level of both languages. In JavaScript, `import` and `require` work as well, `const` and
 * `class` can declare a name again, and a promise as the last value is awaited. `None` and `undefined` are no results,
 * and neither is a last line of Python that ends with a semicolon.
 *
 * An error of the code is part of its outcome, with its traceback, not a failure of `run`, just as the exit code of a
 * command is.
 *
 * **Gotchas**
 *
 * Code can read nothing from standard input: it is empty. Output of background threads, timers and processes between
 * two runs belongs to the next, up to 64 KiB. JavaScript runs in a thread of Node.js, which can neither change the
 * working directory nor handle signals; a context has two processes of it, because only a new one can start without the
 * input of the first.
 *
 * The `memory` of a Python context limits its address space, of which some libraries reserve much more than they use.
 * That of a JavaScript context limits the heap, without buffers. Code that means harm can evade both: what bounds it is
 * the memory of the sandbox.
 *
 * **Example** (Let a model analyze data)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Interpreter, Sandbox } from "effect-lightbox"
 *
 * export const analyze = (code: string) =>
 *   Effect.scoped(
 *     Effect.gen(function* () {
 *       const sandbox = yield* Sandbox.launch({ snapshot: "py-data", network: "none" })
 *       const python = yield* Interpreter.make(sandbox, { language: "python", memory: "1G" })
 *       yield* python.run("import pandas as pd\ntable = pd.DataFrame({'a': [1, 2]})")
 *       const { error, results, stdout } = yield* python.run(code, { timeout: "30 seconds" })
 *       return { stdout, problem: error?.traceback, picture: results.at(-1)?.png }
 *     })
 *   )
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type * as Guest from "./Guest.ts"
import type { CodeError, Execution, Result } from "./internal/interpreter/results.ts"
import * as internal from "./internal/interpreter/interpreter.ts"
import type { LightboxError } from "./LightboxError.ts"
import type * as Sandbox from "./Sandbox.ts"
import type * as SandboxConfig from "./SandboxConfig.ts"
import type * as SandboxPool from "./SandboxPool.ts"

export { CodeError, Execution, Result } from "./internal/interpreter/results.ts"

/**
 * A language that a context can run.
 *
 * @category models
 * @since 0.1.0
 */
export type Language = "python" | "javascript"

/**
 * Options of {@link make}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The language of the code. */
  readonly language: Language
  /** The interpreter to start, such as `"/venv/bin/python"`. Default: `"python3"` or `"node"`. */
  readonly program?: string | undefined
  /**
   * Limit for the memory of this context, such as `"512M"`; at least 64 MiB. Code that needs more gets a `MemoryError`
   * in Python, and ends the context in JavaScript. Default: no limit but that of the sandbox.
   */
  readonly memory?: SandboxConfig.Size | undefined
  /** Working directory. Default: the sandbox's. */
  readonly cwd?: string | undefined
  /** User, by name or id. Default: the sandbox's. */
  readonly user?: string | undefined
  /** Variables added to the sandbox's. Redacted values are visible only in the guest. */
  readonly env?: { readonly [name: string]: Guest.Word } | undefined
  /** Time that interrupted code has to end, before its context is killed. Default: 5 seconds. */
  readonly interruptTimeout?: Duration.Input | undefined
}

/**
 * Options of a run.
 *
 * @category options
 * @since 0.1.0
 */
export interface RunOptions {
  /** Interrupt the code after this time, and fail with `TimedOut`. The state is kept. Default: no limit. */
  readonly timeout?: Duration.Input | undefined
  /**
   * Limit for both outputs together, such as `"10M"`; at most 64 MiB. What follows is dropped, and `truncated` is set;
   * the code runs on. Default: 1 MiB.
   */
  readonly maxOutput?: SandboxConfig.Size | undefined
  /**
   * Limit for all results together, as text; at most 64 MiB. Forms that do not fit are dropped, except for the beginning
   * of `text/plain`, and `truncated` is set. Default: 16 MiB.
   */
  readonly maxResults?: SandboxConfig.Size | undefined
}

/**
 * An event of running code. `Error` comes at most once, and `Ended` is the last.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  | { readonly _tag: "Stdout" | "Stderr"; readonly text: string }
  | { readonly _tag: "Result"; readonly result: Result }
  | { readonly _tag: "Error"; readonly error: CodeError }
  | {
      readonly _tag: "Ended"
      /** Whether output or results were dropped because of a limit. */
      readonly truncated: boolean
      readonly duration: Duration.Duration
    }

/**
 * A context: a process in the guest that runs code and keeps its state.
 *
 * Runs happen one after the other; a second one waits. They fail with `TimedOut` after their time limit; with
 * `InterpreterLost`, which has the last lines of output, once the process has ended, as when memory ran out or the code
 * called `exit`, until {@link Interpreter.restart}; and with `GuestLost` when the sandbox has stopped.
 *
 * **Details**
 *
 * Interrupting the effect of a run, or reading only part of its stream, interrupts the code and keeps the state. If the
 * code does not end within `interruptTimeout`, the process is killed: a later run fails with `InterpreterLost`, which
 * says so. What counts for a time limit is the time from when the run has its turn.
 *
 * **Gotchas**
 *
 * An interrupt is a `SIGINT` to the process and those that it has started. Python raises `KeyboardInterrupt`, which code
 * can catch. JavaScript ends what runs, without its `finally` blocks, and stops waiting for a promise, while what the
 * promise stands for goes on. Interrupting an endless callback of a timer ends the context.
 *
 * @category models
 * @since 0.1.0
 */
export interface Interpreter {
  readonly [internal.TypeId]: typeof internal.TypeId
  readonly language: Language
  /** The sandbox that the code runs in, for its files. */
  readonly sandbox: Sandbox.Sandbox
  /** Runs code and returns its output, results and error. */
  readonly run: (code: string, options?: RunOptions) => Effect.Effect<Execution, LightboxError>
  /** Runs code and streams what happens. Ending the stream early interrupts the code. */
  readonly runStream: (code: string, options?: RunOptions) => Stream.Stream<Event, LightboxError>
  /**
   * Interrupts the code that runs, if any, which then ends with an error. Returns once it has ended, or once the process
   * was killed because it did not.
   */
  readonly interrupt: Effect.Effect<void>
  /**
   * Starts the process again, without its state. Kills it if it is alive; a run then fails with `InterpreterLost`, while
   * those that wait for their turn run in the new one. If that does not start, it can be restarted again.
   */
  readonly restart: Effect.Effect<void, LightboxError>
}

/**
 * Checks whether a value is an {@link Interpreter}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isInterpreter = (u: unknown): u is Interpreter => Predicate.hasProperty(u, internal.TypeId)

/**
 * Starts a context in a sandbox, or in one that it takes from a pool, until the scope closes: then its processes are
 * killed, and the pool's sandbox is removed. Returns once the interpreter is ready.
 *
 * Fails with `InvalidConfig`, with `CommandNotStarted` if the guest does not have the language, with `InterpreterLost`
 * if it ends at once, and with `TimedOut` if it is not ready after a minute.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: (
  source: Sandbox.Sandbox | SandboxPool.SandboxPool,
  options: Options
) => Effect.Effect<Interpreter, LightboxError, Scope.Scope> = internal.make
