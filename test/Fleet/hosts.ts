/** Hosts of a fleet on the twin, each in a process of its own. */
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import * as Support from "../MicrosandboxFleet/support.ts"

const program = fileURLToPath(new URL("../MicrosandboxFleet/programs/host.ts", import.meta.url))

/** Starts a host, and waits until it is part of the fleet. It ends with the scope. */
export const start = Effect.fnUntraced(function* (directory: string) {
  const home = yield* Support.folder("h")
  const child = yield* ChildProcess.make(process.execPath, [program, home, directory], {
    stdin: "ignore",
    stderr: "inherit",
    killSignal: "SIGKILL"
  })
  const lines = Stream.splitLines(Stream.decodeText(child.stdout))
  const first = yield* Stream.runHead(Stream.filter(lines, (line) => line.startsWith("host ")))
  const id = first._tag === "Some" ? first.value.slice("host ".length) : ""
  return { id, kill: Effect.andThen(child.kill({ killSignal: "SIGKILL" }), Effect.exit(child.exitCode)) }
})
