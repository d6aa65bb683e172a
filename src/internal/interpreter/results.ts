/** What code returns. */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { printable } from "../report/printable.ts"

/**
 * A value that code has shown: its last expression, an argument of `display`, or a figure of matplotlib. One value in
 * several forms, by MIME type.
 *
 * Text is as it is, `application/json` is JSON, and images other than SVG are in base64. `Schema.decodeSync(Interpreter.Result)`
 * reads the result of `JSON.stringify`.
 *
 * @category models
 * @since 0.1.0
 */
export class Result extends Schema.Class<Result>("effect-lightbox/Interpreter/Result")({
  data: Schema.Record(Schema.String, Schema.String)
}) {
  /** `text/plain`: how the language itself would print the value. */
  get text(): string | undefined {
    return this.data["text/plain"]
  }
  get html(): string | undefined {
    return this.data["text/html"]
  }
  /** The value of `application/json`; `undefined` if there is none, or it is not JSON. */
  get json(): unknown {
    try {
      return JSON.parse(this.data["application/json"] ?? "")
    } catch {
      return undefined
    }
  }
  /** The bytes of `image/png`, ready for a file. */
  get png(): Uint8Array | undefined {
    return this.bytes("image/png")
  }
  /** The bytes of a binary type, such as `"image/jpeg"`. */
  bytes(type: string): Uint8Array | undefined {
    const base64 = this.data[type]
    return base64 === undefined ? undefined : new Uint8Array(Buffer.from(base64, "base64"))
  }
}

/**
 * An error that code has raised and not handled.
 *
 * @category models
 * @since 0.1.0
 */
export class CodeError extends Schema.Class<CodeError>("effect-lightbox/Interpreter/CodeError")({
  /** The class, such as `ZeroDivisionError`. An interrupt is `KeyboardInterrupt` in Python, `Interrupted` in JavaScript. */
  name: Schema.String,
  message: Schema.String,
  /** As the language prints it, with the lines of the code and those that it called, and nothing of the interpreter. */
  traceback: Schema.String
}) {}

/**
 * The outcome of one run.
 *
 * @category models
 * @since 0.1.0
 */
export class Execution extends Schema.Class<Execution>("effect-lightbox/Interpreter/Execution")({
  stdout: Schema.String,
  stderr: Schema.String,
  /** In the order in which they were shown. */
  results: Schema.Array(Result),
  /** Undefined if the code ended normally. */
  error: Schema.optional(CodeError),
  /** Whether output or results were dropped because of a limit. */
  truncated: Schema.Boolean,
  /** From when the interpreter was free for this code until it ended. */
  duration: Schema.DurationFromMillis
}) {
  /** The text of the last result. */
  get text(): string | undefined {
    return this.results.at(-1)?.text
  }
  /** Whether the code ended without an error. */
  get isSuccess(): boolean {
    return this.error === undefined
  }
}

printable(Execution.prototype, "Execution", ({ duration, ...shown }) => ({
  ...shown,
  duration: Duration.toMillis(duration)
}))
