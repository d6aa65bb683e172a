/** Manages a process in a guest, from its start until its children have ended. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { writeTo } from "./attach.ts"
import * as Execution from "./execution.ts"
import { asAgent } from "./fileSystem.ts"
import * as Files from "./files.ts"
import * as OutputBuffer from "./outputBuffer.ts"

export interface Ending {
  readonly signal: number
  /** Time until `SIGKILL`. Default: never. */
  readonly forceKillAfter: Duration.Duration | undefined
}

/** A running process and how to end it. */
export interface Life {
  /** -1: ended by a signal. */
  readonly exitCode: Effect.Effect<number, LightboxError>
  readonly isRunning: Effect.Effect<boolean>
  /** Ends the process and its children, and waits for them. */
  readonly end: (ending: Ending) => Effect.Effect<void, LightboxError>
}

/** Grace period for the children of a process that has ended or was killed. */
const grace = Duration.seconds(1)

const pollInterval = Duration.millis(50)

/**
 * Arguments: a process group, a signal, the number of polls, and a final signal. Exits immediately if the group does
 * not exist. No `--` before the group: busybox would take it for a missing group.
 */
const endGroupScript = `
kill "-$2" "-$1" 2>/dev/null || exit 0
n=0
while [ "$n" -lt "$3" ] && kill -0 "-$1" 2>/dev/null; do
  n=$((n + 1))
  sleep 0.05 2>/dev/null || sleep 1
done
[ -z "$4" ] || kill "-$4" "-$1" 2>/dev/null
`

export const follow = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  running: Guest.Process,
  leaders: Set<number>
): Effect.fn.Return<Life, never, Scope.Scope> {
  const state = { hasEnded: false }
  const over = Effect.sync(() => {
    state.hasEnded = true
    leaders.delete(running.pid)
  })
  leaders.add(running.pid)
  yield* Effect.addFinalizer(() => over)
  yield* Effect.forkScoped(Effect.andThen(Effect.exit(running.exitCode), over))

  // The agent reports the exit once all processes have closed the output, and children may still have it
  // open.
  const exited = Effect.andThen(Execution.gone(guest.stat, running.pid, pollInterval), over)
  const ended = Effect.raceFirst(Effect.asVoid(running.exitCode), exited)

  /** Whether init has children that nobody here started. Usually it has none. */
  const mayHaveOrphans = Files.readText(guest, "/proc/1/task/1/children").pipe(
    Effect.map((children) => children.split(" ").some((pid) => pid !== "" && !leaders.has(Number(pid)))),
    Effect.catchReason("LightboxError", "FileError", () => Effect.succeed(true))
  )

  const endGroup = Effect.fnUntraced(function* (signal: number, forceKillAfter: Duration.Duration | undefined) {
    if (!(yield* mayHaveOrphans)) return
    const polls = Math.ceil(Duration.toMillis(forceKillAfter ?? grace) / Duration.toMillis(pollInterval))
    const args = [String(running.pid), String(signal), String(polls), forceKillAfter === undefined ? "" : "KILL"]
    yield* Execution.collect(guest, "ChildProcess.kill", asAgent("/bin/sh", "-c", endGroupScript, "sh", ...args))
  })

  return {
    exitCode: running.exitCode,
    isRunning: Effect.sync(() => !state.hasEnded),
    end: Effect.fnUntraced(function* ({ forceKillAfter, signal }) {
      if (state.hasEnded) return yield* endGroup(signal, forceKillAfter)
      yield* running.signal(signal)
      if (forceKillAfter === undefined) {
        yield* ended
      } else if (Option.isNone(yield* Effect.timeoutOption(ended, forceKillAfter))) {
        yield* running.signal("SIGKILL")
        yield* Effect.timeoutOption(ended, grace)
      }
      yield* endGroup(0, forceKillAfter)
    })
  }
})

/** The target of an output: its readers, this process's output, or nothing. */
export type Target = "pipe" | "inherit" | "ignore"

/** The outputs of a process as separate streams. Unread output is buffered on the host's disk. */
export const outputs = Effect.fnUntraced(function* (
  running: Guest.Process,
  targets: { readonly [tag in Guest.Output["_tag"]]: Target }
): Effect.fn.Return<
  { readonly [tag in Guest.Output["_tag"]]: Stream.Stream<Uint8Array, LightboxError> },
  never,
  Scope.Scope
> {
  // The source is never paused, and errors are reported to the reader.
  const source = { pause: () => {}, resume: () => {}, fail: () => {} }
  const buffer = OutputBuffer.make(source, { memoryBytes: 1024 * 1024 })
  const buffers = { Stdout: yield* buffer, Stderr: yield* buffer }
  const hosts = { Stdout: process.stdout, Stderr: process.stderr }
  const finish = (error?: LightboxError) =>
    Effect.sync(() => {
      buffers.Stdout.finish(error)
      buffers.Stderr.finish(error)
    })
  yield* Stream.runForEach(running.output, (output) => {
    switch (targets[output._tag]) {
      case "pipe":
        return Effect.sync(() => buffers[output._tag].push(output))
      case "inherit":
        return writeTo(hosts[output._tag], output.bytes)
      case "ignore":
        return Effect.void
    }
  }).pipe(Effect.matchEffect({ onFailure: finish, onSuccess: () => finish() }), Effect.forkScoped)

  const read = (tag: Guest.Output["_tag"]) =>
    targets[tag] === "pipe" ? Stream.map(buffers[tag].stream, ({ bytes }) => bytes) : Stream.empty
  return { Stdout: read("Stdout"), Stderr: read("Stderr") }
})
