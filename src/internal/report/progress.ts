/**
 * Tells a person who waits at a terminal what takes so long: a pull, a build, the first boot.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { clean } from "./terminalText.ts"

/** Where the lines go. */
export const Progress: Context.Reference<(line: string) => void> = Context.Reference(
  "effect-lightbox/internal/report/progress/Progress",
  {
    defaultValue: () => (line: string) => {
      if (process.stderr.isTTY) process.stderr.write(`lightbox: ${clean(line)}\n`)
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
