/** Connects a command in the guest to the terminal of this process. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { ended } from "./execution.ts"
import { statusOf } from "../config/signals.ts"

/** Ctrl+] leaves the command, as in `telnet`. */
const detachByte = 0x1d

/** Checks whether this process has a terminal. */
export const isTerminal = (): boolean => process.stdin.isTTY && process.stdout.isTTY

export const size = (): Guest.TerminalSize => ({
  rows: process.stdout.rows ?? 24,
  columns: process.stdout.columns ?? 80
})

interface Session<A> {
  /** Passes the output on until its end. */
  readonly run: Effect.Effect<A, LightboxError>
  readonly send: (keys: Stream.Stream<Uint8Array>) => Effect.Effect<unknown, LightboxError>
  readonly resize: (size: Guest.TerminalSize) => Effect.Effect<void, LightboxError>
}

/** Connects this process's input and terminal until the session ends, or until Ctrl+], which returns nothing. */
export const connect = <A>({
  resize,
  run,
  send
}: Session<A>): Effect.Effect<A | undefined, LightboxError, Scope.Scope> =>
  Effect.gen(function* () {
    if (!isTerminal()) return yield* Effect.raceFirst(run, Effect.andThen(send(keyboard), Effect.never))
    const left = yield* Deferred.make<void>()
    yield* rawMode
    yield* followSize(resize)
    const keys = Stream.takeWhile(keyboard, (bytes) => !leaves(bytes))
    return yield* Effect.raceAllFirst([
      run,
      Effect.as(send(Stream.onEnd(keys, Deferred.succeed(left, undefined))), undefined),
      // A guest that hangs takes no input.
      Effect.as(Effect.andThen(Deferred.await(left), Effect.sleep("1 second")), undefined)
    ])
  })

/**
 * Runs a command with this process's input and output, in a terminal if there is one. Returns its exit code; if a
 * signal ended it, 128 plus the signal's number, or 255 if unknown. Ctrl+] ends the command and returns 0 immediately.
 */
export const attach = (
  guest: Guest.Guest,
  command: Omit<Guest.Command, "terminal">
): Effect.Effect<number, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const running = yield* guest.spawn(
        isTerminal()
          ? { ...command, terminal: size(), env: { TERM: process.env["TERM"] ?? "xterm", ...command.env } }
          : command
      )
      const output = Stream.runForEach(running.output, ({ _tag, bytes }) =>
        writeTo(_tag === "Stdout" ? process.stdout : process.stderr, bytes)
      )
      const status = yield* connect({
        run: Effect.andThen(output, Effect.map(ended(running), statusOf)),
        send: (keys) => Stream.run(keys, running.stdin),
        resize: running.resize
      })
      return status ?? 0
    })
  )

const leaves = (bytes: Uint8Array): boolean => bytes.includes(detachByte)

const setRawMode = (isRaw: boolean) => Effect.sync(() => process.stdin.setRawMode(isRaw))

/** Passes on each key at once, and Ctrl+C as a key, until the scope closes. */
export const rawMode: Effect.Effect<unknown, never, Scope.Scope> = Effect.acquireRelease(setRawMode(true), () =>
  setRawMode(false)
)

const followSize = (
  resize: (size: Guest.TerminalSize) => Effect.Effect<void, LightboxError>
): Effect.Effect<void, never, Scope.Scope> =>
  Stream.runForEach(resizes, () => Effect.ignore(resize(size()))).pipe(Effect.forkScoped, Effect.asVoid)

/** Emits whenever the terminal of this process changes its size. */
export const resizes: Stream.Stream<void> = Stream.callback<void>((queue) => {
  const onResize = () => Queue.offerUnsafe(queue, undefined)
  return Effect.acquireRelease(
    Effect.sync(() => process.stdout.on("resize", onResize)),
    () => Effect.sync(() => process.stdout.off("resize", onResize))
  )
})

/** Reads the next chunk of standard input. Between reads, the input is paused, so that nothing piles up. */
const nextInput = Effect.callback<Uint8Array, Cause.Done>((resume) => {
  const { stdin } = process
  if (stdin.readableEnded) return resume(Cause.done())
  const stop = () => stdin.off("data", onData).off("end", onEnd).pause()
  const onData = (bytes: Uint8Array) => {
    stop()
    resume(Effect.succeed(bytes))
  }
  const onEnd = () => {
    stop()
    resume(Cause.done())
  }
  stdin.on("data", onData).on("end", onEnd).resume()
  return Effect.sync(stop)
})

/** Keyboard input, until the end of the input. Does not keep the process alive afterwards. */
export const keyboard: Stream.Stream<Uint8Array> = Stream.fromEffectRepeat(nextInput)

/** Writes to an output of this process, with backpressure. */
export const writeTo = (stream: NodeJS.WriteStream, bytes: Uint8Array): Effect.Effect<void> =>
  Effect.callback((resume) => {
    stream.write(bytes, () => resume(Effect.void))
  })
