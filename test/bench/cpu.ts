/** How much processor time sandboxes take. */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"

/** Milliseconds per tick of Linux's clock. */
const tick = 10

const read = (path: string): string => {
  try {
    return Fs.readFileSync(path, "utf8")
  } catch {
    // It has ended, or this is not Linux.
    return ""
  }
}

const children = (): ReadonlyArray<string> =>
  process.platform === "linux"
    ? Fs.readdirSync("/proc/self/task").flatMap((thread) =>
        read(`/proc/self/task/${thread}/children`).split(" ").filter(Boolean)
      )
    : []

/** What the children of this process have taken so far: the microVMs, or the stand-ins without their commands. */
export const cpuOfSandboxes: Effect.Effect<number> = Effect.sync(() =>
  children().reduce((total, pid) => {
    // After the name, which may contain anything.
    const fields = read(`/proc/${pid}/stat`).split(") ").at(-1)?.split(" ") ?? []
    return total + (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * tick
  }, 0)
)
