/** Reports slow work on a terminal: a pull, a build, the first boot. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

const control = /[\u0000-\u001f\u007f-\u009f]+/g

/** Prints a line. */
export const Progress: Context.Reference<(line: string) => void> = Context.Reference(
  "effect-lightbox/internal/report/progress/Progress",
  {
    defaultValue: () => (line: string) => {
      if (process.stderr.isTTY) process.stderr.write(`lightbox: ${line.replace(control, " ")}\n`)
    }
  }
)

const printed = new Set<string>()

/** A process that has printed so many lines is past its first run, and must not remember lines for ever. */
const maxLines = 1000

/** Prints each line once per process, as later runs of the same work are quick. */
export const once: Effect.Effect<(line: string) => void> = Effect.map(Progress, (print) => (line: string) => {
  if (printed.has(line) || printed.size >= maxLines) return
  printed.add(line)
  print(line)
})
