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

/** What the children of this process have taken so far, by their ids. */
const taken = (): ReadonlyMap<string, number> =>
  new Map(
    children().map((pid) => {
      // After the name, which may contain anything.
      const fields = read(`/proc/${pid}/stat`).split(") ").at(-1)?.split(" ") ?? []
      return [pid, (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * tick]
    })
  )

/**
 * What the children of this process take, microVMs or stand-ins without their commands, from now until the result is
 * evaluated: milliseconds.
 */
export const cpuOfSandboxes: Effect.Effect<Effect.Effect<number>> = Effect.sync(() => {
  const before = taken()
  return Effect.sync(() => [...taken()].reduce((total, [pid, time]) => total + time - (before.get(pid) ?? 0), 0))
})
