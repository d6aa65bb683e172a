/** Processes that build, for tests of several. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Stream from "effect/Stream"

/** Starts a process that builds: what it has printed, and a wait for a line. */
export const start = (program: string) =>
  Effect.fnUntraced(function* (home: string, mode: string) {
    const child = yield* ChildProcess.make(process.execPath, [program, home, mode], {
      stdin: "ignore",
      stderr: "inherit",
      killSignal: "SIGKILL"
    })
    const said: Array<string> = []
    const waiting = new Map<string, Deferred.Deferred<void>>()
    const output = yield* Effect.forkScoped(
      Stream.runForEach(Stream.splitLines(Stream.decodeText(child.stdout)), (line) => {
        said.push(line)
        const deferred = waiting.get(line)
        return deferred === undefined ? Effect.void : Deferred.succeed(deferred, undefined)
      }),
      { startImmediately: true }
    )
    return {
      said,
      until: (line: string) =>
        Effect.suspend(() => {
          if (said.includes(line)) return Effect.void
          const deferred = Deferred.makeUnsafe<void>()
          waiting.set(line, deferred)
          return Deferred.await(deferred)
        }),
      end: Effect.andThen(Fiber.join(output), child.exitCode),
      kill: child.kill({ killSignal: "SIGKILL" })
    }
  })
