/** The results of commands, and their output as text. */
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { ExecEvent, ExecTextEvent } from "../../Sandbox.ts"
import * as Duration from "effect/Duration"
import type * as Execution from "../guest/execution.ts"
import { signalNames } from "../config/signals.ts"
import { printable } from "../report/printable.ts"

const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)

/** The original bytes of results that were not decoded from JSON. */
const originals = new WeakMap<object, { readonly stdout: Uint8Array; readonly stderr: Uint8Array }>()

/**
 * The result of a command: its exit status and output.
 *
 * `stdout` and `stderr` are decoded as UTF-8; invalid bytes become U+FFFD. `Schema.decodeSync(Sandbox.ExecResult)`
 * reads the result of `JSON.stringify`, with the duration in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export class ExecResult extends Schema.Class<ExecResult>("effect-lightbox/Sandbox/ExecResult")({
  /** -1 if a signal ended the command. */
  exitCode: Schema.Int,
  /** The signal that ended the command, if known. */
  signal: Schema.optional(Schema.Union([Schema.Literals(signalNames), Schema.Int])),
  stdout: Schema.String,
  stderr: Schema.String,
  /** Time from the request to the exit. */
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
  /** The original bytes; after decoding from JSON, the text as UTF-8. */
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

/** Turns the output of a command into text, or into lines. */
export const eventText = <E, R>(
  events: Stream.Stream<ExecEvent, E, R>,
  options: { readonly lines: boolean }
): Stream.Stream<ExecTextEvent, E, R> =>
  Stream.suspend(() => {
    const decoders = { Stdout: new TextDecoder(), Stderr: new TextDecoder() }
    const rests = { Stdout: "", Stderr: "" }

    const pieces = (_tag: "Stdout" | "Stderr", text: string, isLast: boolean): ReadonlyArray<ExecTextEvent> => {
      if (!options.lines) return text === "" ? [] : [{ _tag, text }]
      const lines = (rests[_tag] + text).split(/\r?\n/)
      rests[_tag] = lines.pop() ?? ""
      if (isLast && rests[_tag] !== "") lines.push(rests[_tag])
      return lines.map((line) => ({ _tag, text: line }))
    }

    return Stream.flattenIterable(
      Stream.map(events, (event): ReadonlyArray<ExecTextEvent> => {
        switch (event._tag) {
          case "Started":
            return [event]
          case "Exited":
            return [
              ...pieces("Stdout", decoders.Stdout.decode(), true),
              ...pieces("Stderr", decoders.Stderr.decode(), true),
              event
            ]
          default:
            return pieces(event._tag, decoders[event._tag].decode(event.bytes, { stream: true }), false)
        }
      })
    )
  })
