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

const size = (): Guest.TerminalSize => ({ rows: process.stdout.rows ?? 24, columns: process.stdout.columns ?? 80 })

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
      const isTerminal = process.stdin.isTTY && process.stdout.isTTY
      const running = yield* guest.spawn(
        isTerminal
          ? { ...command, terminal: size(), env: { TERM: process.env["TERM"] ?? "xterm", ...command.env } }
          : command
      )
      const detached = yield* Deferred.make<void>()
      if (isTerminal) {
        yield* rawMode
        yield* followSize(running)
      }
      const output = Stream.runForEach(running.output, ({ _tag, bytes }) =>
        writeTo(_tag === "Stdout" ? process.stdout : process.stderr, bytes)
      )
      const input = Stream.run(
        isTerminal ? Stream.takeWhile(keyboard, (bytes) => !leaves(bytes)) : keyboard,
        running.stdin
      )
      const fed = isTerminal
        ? Effect.andThen(input, Deferred.succeed(detached, undefined))
        : Effect.andThen(input, Effect.never)
      return yield* Effect.raceAllFirst([
        Effect.andThen(output, Effect.map(ended(running), statusOf)),
        Effect.andThen(fed, Effect.never),
        Effect.as(Deferred.await(detached), 0)
      ])
    })
  )

const leaves = (bytes: Uint8Array): boolean => bytes.includes(detachByte)

const setRawMode = (isRaw: boolean) => Effect.sync(() => process.stdin.setRawMode(isRaw))

const rawMode = Effect.acquireRelease(setRawMode(true), () => setRawMode(false))

const followSize = (running: Guest.Process): Effect.Effect<void, never, Scope.Scope> =>
  Stream.callback<void>((queue) => {
    const onResize = () => Queue.offerUnsafe(queue, undefined)
    return Effect.acquireRelease(
      Effect.sync(() => process.stdout.on("resize", onResize)),
      () => Effect.sync(() => process.stdout.off("resize", onResize))
    )
  }).pipe(
    Stream.runForEach(() => Effect.ignore(running.resize(size()))),
    Effect.forkScoped,
    Effect.asVoid
  )

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
