/**
 * How commands of a script end.
 */
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type { Errno } from "../kernel/errno.ts"

/** What leaves a list of commands before its end. */
export class Jump extends Data.TaggedError("Jump")<{
  readonly kind: "Exit" | "Return" | "Break" | "Continue"
  /** The status of an exit or return; how many loops otherwise. */
  readonly count: number
}> {}

export type Outcome = Effect.Effect<number, Errno | Jump>
