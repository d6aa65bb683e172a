/** Writes to outputs of this process. */
import * as Effect from "effect/Effect"
import type { Output } from "../../BuildReporter.ts"

/** Writes a text, and waits while the output is full. */
export const write = (output: Output, text: string): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const isFull = output.write(text) === false
    if (isFull && output.once !== undefined) output.once("drain", () => resume(Effect.void))
    else resume(Effect.void)
  })
