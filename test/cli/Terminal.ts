/**
 * Programs in a terminal: one of the kernel's, seen through one of ours.
 */
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { Screen } from "../unit/Screen.ts"

/** Gives a program a terminal of the kernel, and passes on what it writes and what it is to read, and its status. */
const inTerminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"

const size = { columns: 100, rows: 30 }

/** Starts a program of Node.js in a terminal, killed when the scope closes. */
export const start = Effect.fnUntraced(function* (
  words: ReadonlyArray<string>,
  env: { readonly [name: string]: string }
) {
  const typed = yield* Queue.unbounded<string>()
  const resized = `stty cols ${size.columns} rows ${size.rows} && exec "$@"`
  const child = yield* ChildProcess.make(
    "python3",
    ["-c", inTerminal, "sh", "-c", resized, "sh", process.execPath, ...words],
    {
      stdin: Stream.encodeText(Stream.fromQueue(typed)),
      env: { TERM: "xterm-256color", ...env },
      extendEnv: true,
      killSignal: "SIGKILL"
    }
  )
  const screen = new Screen(size)
  const seen = yield* SubscriptionRef.make("")
  yield* Stream.decodeText(child.all).pipe(
    Stream.runForEach((text) => {
      screen.write(text)
      return Effect.flatMap(screen.lines, (lines) => SubscriptionRef.set(seen, lines.join("\n")))
    }),
    Effect.forkScoped({ startImmediately: true })
  )
  const ended = Effect.map(child.exitCode, Number)
  return {
    screen,
    /** Types a text. */
    type: (text: string) => Queue.offer(typed, text),
    /** Waits until a text is on the screen. */
    until: (text: string | RegExp) =>
      Effect.raceFirst(
        SubscriptionRef.changes(seen).pipe(
          Stream.filter((lines) => lines.search(text) >= 0),
          Stream.take(1),
          Stream.runDrain
        ),
        Effect.flatMap(ended, (status) =>
          Effect.flatMap(screen.lines, (lines) =>
            Effect.die(new Error(`it ended with status ${status}, and this on the screen:\n${lines.join("\n")}`))
          )
        )
      ),
    /** Waits for its end, and gives its status. */
    ended
  }
})
