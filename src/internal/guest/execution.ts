/** Runs commands to completion in any guest. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Struct from "effect/Struct"
import type * as Guest from "../../Guest.ts"
import { CommandFailed, LightboxError, OutputTooLarge, Unknown } from "../../LightboxError.ts"
import { forMethod, timeLimit } from "../config/validation.ts"
import * as FailureText from "../report/failureText.ts"

export interface Ended {
  /** -1: a signal ended it. */
  readonly exitCode: number
  /** The signal that ended it, if known. */
  readonly signal?: Guest.Signal | undefined
}

export const ended = (process: Guest.Process): Effect.Effect<Ended, LightboxError> =>
  Effect.flatMap(process.exitCode, (exitCode) =>
    exitCode >= 0
      ? Effect.succeed({ exitCode, signal: undefined })
      : Effect.map(process.endedBy, (signal) => ({ exitCode, signal }))
  )

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
    guest
      .spawn(
        {
          ...command,
          cwd: command.cwd ?? cwd,
          user: command.user ?? user,
          env: { ...env, ...command.env }
        },
        output
      )
      .pipe(Effect.tap((process) => Effect.sync(() => defaults.set(process, Object.values(env ?? {})))))
})

/** Variables that commands got from {@link withDefaults}. */
const defaults = new WeakMap<Guest.Process, ReadonlyArray<Guest.Word>>()

const secretsOf = (process: Guest.Process, { argv, env }: Pick<Guest.Command, "argv" | "env">) =>
  FailureText.secretsOf({ argv: [...argv, ...(defaults.get(process) ?? [])], env })

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

/** Waits until a process is gone. The guest is asked: the agent reports an exit only when all outputs are closed. */
export const gone = (
  stat: Guest.Guest["stat"],
  pid: number,
  interval: Duration.Input = "1 second",
  isOver: () => boolean = () => false
): Effect.Effect<void> => {
  const has = (path: string, otherwise: (error: LightboxError) => Effect.Effect<boolean>) =>
    stat(path).pipe(Effect.as(true), Effect.catch(otherwise))
  const isThere = Effect.suspend(() =>
    isOver()
      ? Effect.succeed(false)
      : has(`/proc/${pid}`, ({ reason }) =>
          // Without `/proc`, nobody knows.
          reason._tag === "FileError" && reason.code === "ENOENT"
            ? Effect.map(
                has("/proc/1", () => Effect.succeed(false)),
                (hasProc) => !hasProc
              )
            : Effect.succeed(true)
        )
  )
  // Every command begins to wait, so this costs no schedule.
  const wait: Effect.Effect<void> = Effect.flatMap(Effect.delay(isThere, interval), (isThere) =>
    isThere ? wait : Effect.void
  )
  return wait
}

/**
 * Ends a command whose program has exited, but whose output a process in the background holds open: after a second its
 * process group is killed, and if that does not help, it fails after five seconds in which no output arrived.
 */
export const endHolders = (
  { argv, detaches = false }: Guest.Command,
  exited: Effect.Effect<unknown>,
  isOver: () => boolean,
  /** Whether output has arrived since this was last asked, or waits for its reader. */
  isArriving: () => boolean,
  kill: () => void,
  giveUp: (error: LightboxError) => void
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    if (detaches) return
    yield* exited
    if (isOver()) return
    yield* Effect.sleep("1 second")
    if (isOver()) return
    kill()
    // The end comes after all output, which takes its time on a slow connection.
    do {
      yield* Effect.sleep("5 seconds")
      if (isOver()) return
    } while (isArriving())
    const problem = `${FailureText.shortArgv(argv)} has exited, but a process in its own session keeps its output open, so the guest does not report its exit code. Redirect the output of that process, as in "setsid server > /dev/null 2>&1 &"`
    giveUp(new LightboxError({ method: "Sandbox.spawn", reason: new Unknown({ problem }) }))
  }).pipe(Effect.forkScoped, Effect.asVoid)

const blockBytes = 64 * 1024

const joined = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const { buffer, byteLength, byteOffset } = Buffer.concat(parts)
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** Collects output. Small pieces share memory: one by one, they would take hundreds of times their size. */
export class Collector {
  size = 0
  /** Bytes of memory. */
  reserved = 0
  private readonly parts: Array<Uint8Array> = []
  private block = new Uint8Array()
  private used = 0

  push(bytes: Uint8Array): void {
    if (bytes.length > this.block.length - this.used) {
      this.close()
      this.block = new Uint8Array(Math.max(bytes.length, Math.min(this.size, blockBytes)))
      this.reserved += this.block.length
    }
    this.block.set(bytes, this.used)
    this.used += bytes.length
    this.size += bytes.length
  }

  get bytes(): Uint8Array {
    this.close()
    return joined(this.parts)
  }

  get last(): Uint8Array {
    this.close()
    let size = 0
    const first = this.parts.findLastIndex((part) => (size += part.length) >= shownBytes)
    return joined(this.parts.slice(Math.max(0, first))).subarray(-shownBytes)
  }

  private close(): void {
    if (this.used > 0) this.parts.push(this.block.subarray(0, this.used))
    this.block = this.block.subarray(this.used)
    this.used = 0
  }
}

/** Keeps the last bytes of an output: as many as errors show, or as `size` says. */
export class Tail {
  private kept = new Uint8Array()
  private used = 0
  private readonly size: number
  /** Of all that was added. */
  total = 0

  constructor(size: number = shownBytes) {
    this.size = size
  }

  push(bytes: Uint8Array): void {
    this.total += bytes.length
    const added = bytes.subarray(-this.size)
    if (this.used + added.length > this.kept.length) {
      const before = this.last
      this.kept = new Uint8Array(Math.min(2 * this.size, 2 * (before.length + added.length)))
      this.kept.set(before)
      this.used = before.length
    }
    this.kept.set(added, this.used)
    this.used += added.length
  }

  get last(): Uint8Array {
    return this.kept.subarray(Math.max(0, this.used - this.size), this.used)
  }
}

/** The ends of both outputs of a command. */
export interface Tails {
  readonly Stdout: { readonly last: Uint8Array }
  readonly Stderr: { readonly last: Uint8Array }
}

/** Makes a command that runs as root, as the agent's own operations do. */
export const asRoot = (...argv: Guest.Command["argv"]): Guest.Command => ({ argv, user: "0:0", cwd: "/" })

/** Describes the failures of a command, without its redacted words. */
export const failures = (
  method: string,
  command: Pick<Guest.Command, "argv" | "env">,
  process: Guest.Process,
  { Stderr, Stdout }: Tails
) => {
  const fields = () => {
    const secrets = secretsOf(process, command)
    const argv = FailureText.redactWords(command.argv).map((word) => FailureText.redact(secrets, word))
    return { argv, stdout: tail(Stdout.last, secrets), stderr: tail(Stderr.last, secrets) }
  }
  return {
    exit: (end: Ended) => new LightboxError({ method, reason: new CommandFailed({ ...fields(), ...endFields(end) }) }),
    tooLarge: (limitBytes: number) =>
      new LightboxError({ method, reason: new OutputTooLarge({ ...fields(), limitBytes }) }),
    /** Fails after the limit. */
    within: (
      limit: Duration.Duration | undefined
    ): (<A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LightboxError, R>) =>
      limit === undefined
        ? identity
        : timeLimit(method, FailureText.shortArgv(fields().argv), limit, () =>
            Struct.pick(fields(), ["stdout", "stderr"])
          )
  }
}

/** Runs a command, by default without input, and collects its output, up to `maxOutput` bytes (default: 64 KiB). */
export const collect = <E = never, R = never>(
  guest: Guest.Guest,
  method: string,
  command: Guest.Command,
  {
    check = false,
    input,
    limit,
    maxOutput = 65_536
  }: {
    readonly input?: Input<E, R> | undefined
    readonly maxOutput?: number
    readonly limit?: Duration.Duration | undefined
    /** Fail if the exit code is not 0. */
    readonly check?: boolean | undefined
  } = {}
): Effect.Effect<Collected, LightboxError | E, R> =>
  Effect.scoped(
    Effect.gen(function* () {
      const start = yield* Clock.currentTimeNanos
      const process = yield* guest.spawn({ ...command, stdin: stdinFor(input) })
      const parts = { Stdout: new Collector(), Stderr: new Collector() }
      const failure = failures(method, command, process, parts)
      const read = Stream.runForEach(process.output, ({ _tag, bytes }) => {
        parts[_tag].push(bytes)
        return parts.Stdout.size + parts.Stderr.size <= maxOutput
          ? Effect.void
          : Effect.fail(failure.tooLarge(maxOutput))
      })
      const end = yield* (input === undefined ? read : Effect.raceFirst(read, feed(process, input))).pipe(
        Effect.andThen(ended(process)),
        failure.within(limit)
      )
      if (check && end.exitCode !== 0) return yield* failure.exit(end)
      return {
        ...end,
        stdout: parts.Stdout.bytes,
        stderr: parts.Stderr.bytes,
        duration: Duration.nanos((yield* Clock.currentTimeNanos) - start)
      }
    })
  ).pipe(Effect.mapError(forMethod(method, "Sandbox.spawn")))

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

/** More than is kept, because secrets are hidden first. */
const shownBytes = 2 * tailBytes

const tailLines = 50

/** Decodes the last lines, without secrets. */
export const tail = (bytes: Uint8Array, secrets: ReadonlyArray<string> = []): string => {
  const text = new TextDecoder().decode(bytes.subarray(-shownBytes))
  return FailureText.redact(secrets, bytes.length < shownBytes ? text : FailureText.withoutSplit(secrets, text))
    .slice(-tailBytes)
    .split("\n")
    .slice(-tailLines - 1)
    .join("\n")
}
