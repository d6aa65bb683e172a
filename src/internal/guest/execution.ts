/** Runs commands to completion in any guest. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type * as Guest from "../../Guest.ts"
import { CommandFailed, isLightboxError, LightboxError, OutputTooLarge } from "../../LightboxError.ts"
import * as FailureText from "../report/failureText.ts"
import { timeLimit } from "../config/validation.ts"

export interface Ended {
  /** -1: a signal ended it. */
  readonly exitCode: number
  /** The signal that ended it, if known. */
  readonly signal?: Guest.Signal | undefined
}

export const ended = (process: Guest.Process): Effect.Effect<Ended, LightboxError> =>
  Effect.all({ exitCode: process.exitCode, signal: process.endedBy })

export interface Collected extends Ended {
  readonly stdout: Uint8Array
  readonly stderr: Uint8Array
  readonly duration: Duration.Duration
}

/** Wraps a guest so that its commands default to the given fields. */
export const withDefaults = (
  guest: Guest.Guest,
  { env, user, cwd }: Pick<Guest.Command, "env" | "user" | "cwd">
): Guest.Guest => ({
  ...guest,
  spawn: (command, output) =>
    guest.spawn(
      {
        ...command,
        cwd: command.cwd ?? cwd,
        user: command.user ?? user,
        env: { ...env, ...command.env }
      },
      output
    )
})

export type Input<E, R> = string | Uint8Array | Stream.Stream<Uint8Array, E, R>

export const stdinFor = (input: unknown): Guest.Command["stdin"] => (input === undefined ? "empty" : "open")

/** Sends all input to a command, then never completes: only the command's exit ends it. */
export const feed = <E, R>(process: Guest.Process, input: Input<E, R>): Effect.Effect<never, LightboxError | E, R> =>
  Effect.andThen(
    Stream.run(
      typeof input === "string"
        ? Stream.make(new TextEncoder().encode(input))
        : input instanceof Uint8Array
          ? Stream.make(input)
          : input,
      process.stdin
    ),
    Effect.never
  )

/**
 * Kills a command's background processes after it has exited: the agent reports the exit only when all processes have
 * closed the output, which they may never do.
 */
export const endWithMain = (guest: Guest.Guest, process: Guest.Process): Effect.Effect<never, LightboxError> =>
  guest.stat(`/proc/${process.pid}`).pipe(
    Effect.delay("1 second"),
    Effect.forever,
    Effect.catchReason("LightboxError", "FileError", () => process.signal("SIGKILL")),
    Effect.andThen(Effect.never)
  )

/** Replaces the method of errors with the one that the caller called. */
export const withMethod =
  (method: string) =>
  <E>(error: E): E | LightboxError =>
    isLightboxError(error) && error.method === "Sandbox.spawn"
      ? new LightboxError({ method, reason: error.reason })
      : error

export const joined = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const { buffer, byteLength, byteOffset } = Buffer.concat(parts)
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** Makes a command that runs as root, as the agent's own operations do. */
export const asRoot = (...argv: Guest.Command["argv"]): Guest.Command => ({ argv, user: "0:0", cwd: "/" })

/** Runs a command, by default without input, and collects its output, up to `maxOutput` bytes (default: 64 KiB). */
export const collect = <E = never, R = never>(
  guest: Guest.Guest,
  method: string,
  command: Guest.Command,
  { input, maxOutput = 65_536 }: { readonly input?: Input<E, R> | undefined; readonly maxOutput?: number } = {}
): Effect.Effect<Collected, LightboxError | E, R> =>
  Effect.scoped(
    Effect.gen(function* () {
      const start = yield* Clock.currentTimeNanos
      const process = yield* guest.spawn({ ...command, stdin: stdinFor(input) })
      const parts: { readonly [tag in Guest.Output["_tag"]]: Array<Uint8Array> } = { Stdout: [], Stderr: [] }
      const sizes = { Stdout: 0, Stderr: 0 }
      const read = Stream.runForEach(process.output, ({ _tag, bytes }) => {
        sizes[_tag] += bytes.length
        parts[_tag].push(bytes)
        if (sizes.Stdout + sizes.Stderr <= maxOutput) return Effect.void
        const reason = new OutputTooLarge({ argv: FailureText.redactWords(command.argv), limitBytes: maxOutput })
        return Effect.fail(new LightboxError({ method, reason }))
      })
      yield* input === undefined ? read : Effect.raceFirst(read, feed(process, input))
      return {
        ...(yield* ended(process)),
        stdout: joined(parts.Stdout),
        stderr: joined(parts.Stderr),
        duration: Duration.nanos((yield* Clock.currentTimeNanos) - start)
      }
    })
  ).pipe(Effect.mapError(withMethod(method)))

export const within = (method: string, argv: ReadonlyArray<Guest.Word>, limit: Duration.Duration | undefined) =>
  timeLimit(method, FailureText.showArgv(argv), limit)

export const failed = (
  method: string,
  argv: ReadonlyArray<Guest.Word>,
  end: Ended,
  stdout: Uint8Array,
  stderr: Uint8Array
): LightboxError =>
  new LightboxError({
    method,
    reason: new CommandFailed({
      argv: FailureText.redactWords(argv),
      ...endFields(end),
      stdout: tail(stdout),
      stderr: tail(stderr)
    })
  })

export const endFields = ({ exitCode, signal }: Ended): { readonly exitCode: number; readonly signal?: string } =>
  signal === undefined ? { exitCode } : { exitCode, signal: typeof signal === "number" ? `signal ${signal}` : signal }

/** The bytes of output that an error keeps. */
export const tailBytes = 16 * 1024

const tailLines = 50

export const tail = (bytes: Uint8Array): string =>
  new TextDecoder()
    .decode(bytes.subarray(Math.max(0, bytes.length - tailBytes)))
    .split("\n")
    .slice(-tailLines - 1)
    .join("\n")
