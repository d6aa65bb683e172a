/** Reports slow work on a terminal: a pull, a build, the first boot. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { clean } from "./terminalText.ts"

/** Prints a line; tests replace it. */
export const Progress: Context.Reference<(line: string) => void> = Context.Reference(
  "effect-lightbox/internal/report/progress/Progress",
  {
    defaultValue: () => (line: string) => {
      if (process.stderr.isTTY) process.stderr.write(`lightbox: ${clean(line)}\n`)
    }
  }
)

const printed = new Set<string>()

/** Prints each line once per process, as later runs of the same work are quick. */
export const once: Effect.Effect<(line: string) => void> = Effect.map(Progress, (print) => (line: string) => {
  if (printed.has(line)) return
  printed.add(line)
  print(line)
})
