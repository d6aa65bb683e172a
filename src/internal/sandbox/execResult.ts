/**
 * The result of a command.
 */
import * as Schema from "effect/Schema"
import * as Duration from "effect/Duration"
import type * as Execution from "../guest/execution.ts"
import { SignalSchema } from "../guest/signals.ts"
import { printable } from "../report/printable.ts"

const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)

/** The bytes of results that were not decoded from JSON. */
const originals = new WeakMap<object, { readonly stdout: Uint8Array; readonly stderr: Uint8Array }>()

/**
 * How a command ended, and what it wrote.
 *
 * **Details**
 *
 * `stdout` and `stderr` are decoded as UTF-8; invalid bytes become U+FFFD. It is
 * a schema: `JSON.stringify` gives what `Schema.decodeSync(Sandbox.ExecResult)`
 * reads, with the duration in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export class ExecResult extends Schema.Class<ExecResult>("effect-lightbox/Sandbox/ExecResult")({
  /** -1 if a signal ended the command. */
  exitCode: Schema.Int,
  /** The signal that ended the command, if one did and it is known. */
  signal: Schema.optional(SignalSchema),
  stdout: Schema.String,
  stderr: Schema.String,
  /** From the request to the end. */
  duration: Schema.DurationFromMillis
}) {
  /** @internal */
  static fromCollected({ duration, exitCode, signal, stderr, stdout }: Execution.Collected): ExecResult {
    const result = new ExecResult({
      exitCode,
      ...(signal === undefined ? {} : { signal }),
      stdout: decode(stdout),
      stderr: decode(stderr),
      duration
    })
    originals.set(result, { stdout, stderr })
    return result
  }
  /** What was written, as it was; of a decoded result, the text as UTF-8. */
  get stdoutBytes(): Uint8Array {
    return originals.get(this)?.stdout ?? encode(this.stdout)
  }
  get stderrBytes(): Uint8Array {
    return originals.get(this)?.stderr ?? encode(this.stderr)
  }
  /** Whether the exit code is 0. */
  get isSuccess(): boolean {
    return this.exitCode === 0
  }
}

printable(ExecResult.prototype, "ExecResult", ({ duration, ...shown }) => ({
  ...shown,
  duration: Duration.toMillis(duration)
}))
