/**
 * Programs in a terminal: one of the kernel's, seen through one of ours.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as ChildProcess from "effect/process/ChildProcess"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as CommandLine from "effect/process/CommandLine"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { Screen } from "../Screen.ts"

/** Gives a command a terminal of the kernel, and passes on what it writes and what it is to read, and its status. */
const inTerminal = (words: ReadonlyArray<string>): ReadonlyArray<string> => [
  "-c",
  // The `script` of macOS reads pipes, but not the sockets that Node.js gives to its children. The shell stays, for
  // `script` waits for all its children, and would for `cat`.
  'exec < <(cat 2> /dev/null); script -q "$@"; exit $?',
  "bash",
  ...(process.platform === "darwin"
    ? ["/dev/null", ...words]
    : ["-e", "-c", Result.getOrThrow(CommandLine.join(words)), "/dev/null"])
]

/** Starts a program of Node.js in a terminal, killed when the scope closes. */
export const start = Effect.fnUntraced(function* (
  words: ReadonlyArray<string>,
  env: { readonly [name: string]: string },
  size: { readonly columns: number; readonly rows: number } = { columns: 100, rows: 30 }
) {
  const typed = yield* Queue.unbounded<string>()
  // Where its input is no terminal, `script` turns off what a terminal shows of what is typed.
  const prepared = `stty echo cols ${size.columns} rows ${size.rows} && tty > "$TERMINAL_NAME" && exec "$@"`
  const name = yield* FileSystem.FileSystem.use((fs) => fs.makeTempFileScoped())
  const child = yield* ChildProcess.make("bash", inTerminal(["sh", "-c", prepared, "sh", process.execPath, ...words]), {
    stdin: Stream.encodeText(Stream.fromQueue(typed)),
    env: { TERM: "xterm-256color", SHELL: "/bin/sh", TERMINAL_NAME: name, ...env },
    extendEnv: true,
    killSignal: "SIGKILL"
  })
  const screen = new Screen(size)
  const seen = yield* SubscriptionRef.make("")
  const shown = yield* Stream.decodeText(child.all).pipe(
    Stream.runForEach((text) => {
      screen.write(text)
      return Effect.flatMap(screen.lines, (lines) => SubscriptionRef.set(seen, lines.join("\n")))
    }),
    Effect.forkScoped({ startImmediately: true })
  )
  const ended = Effect.andThen(Fiber.join(shown), Effect.map(child.exitCode, Number))
  return {
    screen,
    /** Types a text. */
    type: (text: string) => Queue.offer(typed, text),
    /** Resizes it. */
    resize: (columns: number, rows: number) =>
      Effect.andThen(
        screen.resize({ columns, rows }),
        ChildProcessSpawner.ChildProcessSpawner.use((spawner) =>
          spawner.exitCode(
            ChildProcess.make("bash", ["-c", `stty cols ${columns} rows ${rows} < "$(cat "$0")"`, name], {
              stdin: "ignore"
            })
          )
        )
      ),
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
    /** Waits for its end, and returns its status. */
    ended
  }
})
