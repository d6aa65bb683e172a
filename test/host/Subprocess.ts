/** Child processes that the test host and the image builds use. */
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessHandle } from "effect/process/ChildProcessSpawner"
import * as CommandLine from "effect/process/CommandLine"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import * as Interrupt from "./Interrupt.ts"

/** A tool that ended with another status than 0. */
export class ToolFailed extends Schema.TaggedError<ToolFailed>()("ToolFailed", {
  command: Schema.String,
  exitCode: Schema.Int,
  output: Schema.String
}) {
  override readonly [Runtime.errorExitCode] = 70
  override get message() {
    return `${this.command} ended with status ${this.exitCode}\n${this.output.trimEnd()}`.trimEnd()
  }
}

/** A program and its arguments. */
export type Words = readonly [program: string, ...args: Array<string>]

/** Starts a process for the time of the scope. */
export const spawn = ([program, ...args]: Words, options: ChildProcess.CommandOptions) =>
  ChildProcess.make(program, args, options)

/**
 * The same on Linux, but killed when this process is gone, however it went.
 *
 * **Gotchas**
 *
 * Only the process itself: what it starts has to see to that on its own.
 */
export const dieWithParent = (words: Words): Words => ["setpriv", "--pdeathsig", "KILL", ...words]

/**
 * Runs a tool to its end and gives its standard output.
 *
 * **Details**
 *
 * A status other than 0 is a {@link ToolFailed} with everything that the tool printed.
 */
export const run = Effect.fnUntraced(function* (
  program: string,
  args: ReadonlyArray<string>,
  options?: Pick<ChildProcess.CommandOptions, "cwd" | "env">
) {
  const child = yield* spawn([program, ...args], {
    stdin: "ignore",
    ...options,
    // Where the tools of the system administrator are.
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, ...options?.env },
    extendEnv: true
  })
  const text = (stream: typeof child.stdout) => Stream.mkString(Stream.decodeText(stream))
  const [stdout, stderr, exitCode] = yield* Effect.all([text(child.stdout), text(child.stderr), child.exitCode], {
    concurrency: "unbounded"
  })
  if (exitCode !== 0) {
    return yield* new ToolFailed({
      command: CommandLine.display([program, ...args]),
      exitCode,
      output: stdout + stderr
    })
  }
  return stdout
}, Effect.scoped)

/** The exit status of a process: that of SIGKILL for one that a signal ended, whichever it was. */
export const exitStatus = (child: ChildProcessHandle): Effect.Effect<number> =>
  Effect.orElseSucceed(child.exitCode, (): number => Interrupt.exitStatus("SIGKILL"))

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Runs a command of this repository in its folder, shows what it prints, and gives its exit status. */
export const foreground = Effect.fnUntraced(function* (words: Words) {
  const child = yield* spawn(words, {
    cwd: root,
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
    forceKillAfter: "30 seconds"
  })
  return yield* exitStatus(child)
}, Effect.scoped)
