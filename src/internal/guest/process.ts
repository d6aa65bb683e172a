/**
 * The life of a process that a program started in a guest, from its start to the
 * end of what it left behind.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { writeTo } from "./attach.ts"
import * as Execution from "./execution.ts"
import { asAgent } from "./fileSystem.ts"
import { OutputBuffer } from "./outputBuffer.ts"

// =============================================================================
// End
// =============================================================================

/** How a process is asked to end. */
export interface Ending {
  /** By number. */
  readonly signal: number
  /** When it is killed if it has not ended by then. Never, if not given. */
  readonly forceKillAfter: Duration.Duration | undefined
}

/** What is known of a process while it runs, and how to end it. */
export interface Life {
  /** -1: ended by a signal. */
  readonly exitCode: Effect.Effect<number, LightboxError>
  readonly isRunning: Effect.Effect<boolean>
  /** Ends it with all that it started, and waits for that. */
  readonly end: (ending: Ending) => Effect.Effect<void, LightboxError>
}

/** How long is waited for what a process started when the process itself has ended, or was killed. */
const grace = Duration.seconds(1)

const lookInterval = Duration.millis(50)

/**
 * Called with a process group, a signal for it, how often to look whether it is still there, and a last signal. It
 * ends at once if there is no such group. Busybox takes a `--` before the group for a group that is not there.
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

/** Follows a process to its end. */
export const follow = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  running: Guest.Process,
  /** The processes that are followed, by their numbers. */
  leaders: Set<number>
): Effect.fn.Return<Life, never, Scope.Scope> {
  const state = { isOver: false }
  const over = Effect.sync(() => {
    state.isOver = true
    leaders.delete(running.pid)
  })
  leaders.add(running.pid)
  yield* Effect.forkScoped(Effect.andThen(Effect.exit(running.exitCode), over))

  // The agent reports the end when nobody has the output open any more, and what the process started may have.
  const gone = guest.stat(`/proc/${running.pid}`).pipe(
    Effect.delay(lookInterval),
    Effect.forever,
    Effect.catchReason("LightboxError", "FileError", () => over)
  )
  const ended = Effect.raceFirst(Effect.asVoid(running.exitCode), gone)

  /** Whether the reaper of orphans has children that nobody here started. Nearly always it has none. */
  const mayHaveLeftSomething = Effect.scoped(
    Effect.flatMap(guest.open("/proc/1/task/1/children", { read: true }), (file) =>
      Stream.mkString(Stream.decodeText(file.stream()))
    )
  ).pipe(
    Effect.map((children) => children.split(" ").some((pid) => pid !== "" && !leaders.has(Number(pid)))),
    Effect.catchReason("LightboxError", "FileError", () => Effect.succeed(true))
  )

  const endGroup = Effect.fnUntraced(function* (signal: number, forceKillAfter: Duration.Duration | undefined) {
    if (!(yield* mayHaveLeftSomething)) return
    const looks = Math.ceil(Duration.toMillis(forceKillAfter ?? grace) / Duration.toMillis(lookInterval))
    yield* Execution.collect<never, never>(
      guest,
      "ChildProcess.kill",
      asAgent(
        "/bin/sh",
        "-c",
        endGroupScript,
        "sh",
        String(running.pid),
        String(signal),
        String(looks),
        forceKillAfter === undefined ? "" : "KILL"
      ),
      { input: undefined, maxOutput: 65_536 }
    )
  })

  return {
    exitCode: Effect.raceFirst(running.exitCode, Execution.endWithMain(guest, running)),
    isRunning: Effect.sync(() => !state.isOver),
    end: Effect.fnUntraced(function* ({ forceKillAfter, signal }) {
      if (state.isOver) return yield* endGroup(signal, forceKillAfter)
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

// =============================================================================
// Input and output
// =============================================================================

/** Where one of the outputs goes: to those who read it, to that of this process, or nowhere. */
export type Target = "pipe" | "inherit" | "ignore"

/** The outputs of a process, each on its own. What nobody reads in time is kept on the host's disk. */
export const outputs = Effect.fnUntraced(function* (
  running: Guest.Process,
  targets: { readonly [tag in Guest.Output["_tag"]]: Target }
): Effect.fn.Return<
  { readonly [tag in Guest.Output["_tag"]]: Stream.Stream<Uint8Array, LightboxError> },
  never,
  Scope.Scope
> {
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
        return Effect.sync(() => buffers[output._tag].offer(output))
      case "inherit":
        return writeTo(hosts[output._tag], output.bytes)
      case "ignore":
        return Effect.void
    }
  }).pipe(Effect.matchEffect({ onFailure: finish, onSuccess: () => finish() }), Effect.forkScoped)

  const read = (tag: Guest.Output["_tag"]) =>
    targets[tag] === "pipe"
      ? Stream.map(Stream.fromPull(Effect.succeed(buffers[tag].take)), ({ bytes }) => bytes)
      : Stream.empty
  return { Stdout: read("Stdout"), Stderr: read("Stderr") }
})

const buffer = Effect.acquireRelease(
  Effect.sync(
    () =>
      new OutputBuffer(
        { memoryBytes: 1024 * 1024, overflow: "spill" },
        // Its source is not held up, and who reads it is told what went wrong.
        { pause: () => {}, resume: () => {}, fail: () => {} }
      )
  ),
  (buffer) => Effect.sync(() => buffer.dispose())
)

/** The input of a process, which stays open when what was run into it has ended. */
export const openInput = Effect.fnUntraced(function* (
  running: Guest.Process
): Effect.fn.Return<Sink.Sink<void, Uint8Array>, never, Scope.Scope> {
  const queue = yield* Queue.bounded<Uint8Array>(1)
  yield* Stream.run(Stream.fromQueue(queue), running.stdin).pipe(
    Effect.ignore,
    Effect.ensuring(Queue.shutdown(queue)),
    Effect.forkScoped
  )
  return Sink.forEach((bytes: Uint8Array) => Queue.offer(queue, bytes))
})
