/** How commands of a script end. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { Errno } from "../kernel/errno.ts"

/** Leaves a list of commands early. */
export class Jump extends Data.TaggedError("Jump")<{
  readonly kind: "Exit" | "Return" | "Break" | "Continue"
  /** The status of an exit or return, or the number of loops. */
  readonly count: number
}> {}

export type Outcome = Effect.Effect<number, Errno | Jump>

/** Ends what `return` ends: a function or a sourced script. */
export const untilReturn = (outcome: Outcome): Outcome =>
  Effect.catchTag(outcome, "Jump", (jump) => (jump.kind === "Return" ? Effect.succeed(jump.count) : Effect.fail(jump)))
