/** This machine as the host. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Cache from "./Cache.ts"
import * as Host from "./Host.ts"
import * as Interrupt from "./Interrupt.ts"
import * as Subprocess from "./Subprocess.ts"

/**
 * Runs a command with a `MSB_HOME` and a `TMPDIR` of its own, and gives its exit status.
 *
 * **Details**
 *
 * Its processors, memory and file system are the machine's.
 */
export const run = Effect.fnUntraced(function* (options: Host.Options, images: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folder = yield* Cache.runFolder()
  const home = path.join(folder, "msb")
  const temporary = path.join(folder, "tmp")
  yield* fs.makeDirectory(temporary)
  yield* Subprocess.run("cp", ["-a", images, home])

  // The shell turns death by a signal into a status.
  const status = '"$@"; exit "$?"'
  const linked = process.platform === "linux" ? Subprocess.dieWithParent : identity<Subprocess.Words>
  const child = yield* Subprocess.spawn(linked(["sh", "-c", status, "sh", ...linked(options.command)]), {
    env: yield* Host.environment({ kind: "native", home, temporary, out: options.out }),
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
    forceKillAfter: Host.grace
  })
  const command = Effect.onInterrupt(child.exitCode, () =>
    Effect.flatMap(Interrupt.signal, (signal) =>
      Effect.ignore(
        child.kill({ killSignal: Option.getOrElse(signal, () => "SIGTERM" as const), forceKillAfter: Host.grace })
      )
    )
  )
  return yield* Host.withinTime(options, command)
}, Effect.scoped)
