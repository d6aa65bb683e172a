/**
 * Tells a person who waits at a terminal what takes so long: a pull, a build, the first boot.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

const control = /[\u0000-\u001f\u007f-\u009f]+/g

/** Where the lines go. */
export const Progress: Context.Reference<(line: string) => void> = Context.Reference(
  "effect-lightbox/internal/report/progress/Progress",
  {
    defaultValue: () => (line: string) => {
      if (process.stderr.isTTY) process.stderr.write(`lightbox: ${line.replace(control, " ")}\n`)
    }
  }
)

const said = new Set<string>()

/** Says each line once per process: later runs of the same work are quick. */
export const once: Effect.Effect<(line: string) => void> = Effect.map(Progress, (say) => (line: string) => {
  if (said.has(line)) return
  said.add(line)
  say(line)
})
