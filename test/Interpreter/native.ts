/**
 * A sandbox of the twin in which the interpreters of this machine run: the twin has no Python and no Node.js. What it
 * does for other commands, and for files, is the twin's.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import * as ChildProcess from "node:child_process"
import * as Os from "node:os"
import type * as Guest from "../../src/Guest.ts"
import type * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import { named } from "../../src/internal/config/signals.ts"
import * as OutputBuffer from "../../src/internal/guest/outputBuffer.ts"
import * as Redacted from "effect/Redacted"
import type * as Sandbox from "../../src/Sandbox.ts"

/** Python itself: what is found by its name may be a script that looks for a version. */
const { status, stdout: python3 } = ChildProcess.spawnSync("python3", ["-c", "import sys; print(sys.executable)"], {
  encoding: "utf8"
})

/** Whether this machine has Python. Where it has not, the tests on microVMs have the same cases. */
export const hasPython = status === 0

const programs: { readonly [name: string]: string } = {
  ...(hasPython ? { python3: python3.trim() } : {}),
  node: process.execPath
}

const clear = (word: Guest.Word): string => (Redacted.isRedacted(word) ? Redacted.value(word) : word)

const spawn = Effect.fnUntraced(function* (program: string, { argv, env }: Guest.Command) {
  const output = yield* OutputBuffer.make({ pause: () => {}, resume: () => {}, fail: () => {} })
  const ended = yield* Deferred.make<{ readonly code: number; readonly signal: NodeJS.Signals | null }>()
  const given = Object.entries(env ?? {}).map(([name, word]) => [name, clear(word)])
  // As the agent does: a session of its own, whose process group gets the signals.
  const child = ChildProcess.spawn(program, argv.slice(1).map(clear), {
    cwd: Os.tmpdir(),
    env: { ...Object.fromEntries(given), PATH: process.env["PATH"] },
    stdio: "pipe",
    detached: true
  })
  child.stdout.on("data", (bytes: Buffer) => output.push({ _tag: "Stdout", bytes }))
  child.stderr.on("data", (bytes: Buffer) => output.push({ _tag: "Stderr", bytes }))
  child.stdin.on("error", () => {})
  child.on("close", (code, signal) => {
    output.finish()
    Deferred.doneUnsafe(ended, Effect.succeed({ code: code ?? -1, signal }))
  })
  const { pid = 0 } = child
  const kill = (signal: Guest.Signal) => {
    try {
      process.kill(-pid, signal)
    } catch {
      // It has ended.
    }
  }
  yield* Effect.addFinalizer(() => Effect.sync(() => kill("SIGKILL")))
  const running: Guest.Process = {
    pid,
    output: output.stream,
    exitCode: Effect.map(Deferred.await(ended), ({ code }) => code),
    endedBy: Effect.map(Deferred.await(ended), ({ signal }) =>
      signal === null ? undefined : named(Os.constants.signals[signal])
    ),
    stdin: Sink.forEach((bytes: Uint8Array) => Effect.sync(() => child.stdin.write(bytes))).pipe(
      Sink.mapEffect(() => Effect.sync(() => void child.stdin.end()))
    ),
    signal: (signal) => Effect.sync(() => kill(signal)),
    resize: () => Effect.void
  }
  return running
})

/** The same sandbox, with the interpreters of this machine. */
export const withInterpreters = (sandbox: Sandbox.Sandbox): Sandbox.Sandbox => ({
  ...sandbox,
  guest: {
    ...sandbox.guest,
    spawn: (command, policy) => {
      const program = programs[command.argv[0]]
      return program === undefined ? sandbox.guest.spawn(command, policy) : spawn(program, command)
    }
  }
})

/** Node.js of this machine as a command of the twin. A signal kills it. */
export const node: MicrosandboxMemory.Command = ({ argv, env, stderr, stdin, stdout }) =>
  Effect.scoped(
    Effect.gen(function* () {
      const [, ...args] = argv
      const process = yield* spawn(programs["node"] ?? "node", { argv: ["node", ...args], env })
      yield* Effect.forkScoped(Stream.run(stdin, process.stdin))
      yield* Stream.runForEach(process.output, ({ _tag, bytes }) => (_tag === "Stdout" ? stdout(bytes) : stderr(bytes)))
      return yield* process.exitCode
    })
  )
