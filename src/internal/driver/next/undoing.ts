/** Undoes what calls of the runtime have created, which cannot be cancelled. */
import * as Effect from "effect/Effect"
import type * as Ownership from "../../../Ownership.ts"
import { generate } from "../../ownership/labels.ts"

interface Undoing {
  /** Makes a call of the runtime that creates. */
  readonly during: <A>(create: () => Promise<A>) => Promise<A>
  /**
   * Removes what was created, and what is recorded of it. While the runtime still creates, it only sees to it that no sweep
   * drops the records: what appears later is theirs. It must then run again once the call has settled.
   */
  readonly undo: Effect.Effect<void>
}

/** `remove` removes sandboxes of these names, and their records. */
export const make = Effect.fnUntraced(function* (
  { forget, note }: Pick<Ownership.Ownership["Service"], "forget" | "note">,
  names: ReadonlyArray<string>,
  remove: Effect.Effect<void>
): Effect.fn.Return<Undoing> {
  const notes = yield* Effect.forEach(names, (name) =>
    Effect.map(generate, (token): Ownership.Note => ({ kind: "sandbox", token, name }))
  )
  let calls = 0
  let isNoted = false
  const free = Effect.suspend(() => {
    if (!isNoted) return Effect.void
    isNoted = false
    return Effect.forEach(notes, forget, { discard: true })
  })
  const undo: Effect.Effect<void> = Effect.suspend(() => {
    if (calls === 0) return Effect.andThen(free, remove)
    if (isNoted) return Effect.void
    isNoted = true
    return Effect.forEach(notes, note, { discard: true }).pipe(
      Effect.ignore({ log: "Warn" }),
      // It has settled meanwhile, and was undone before all was noted.
      Effect.andThen(Effect.suspend(() => (isNoted ? Effect.void : Effect.forEach(notes, forget, { discard: true }))))
    )
  })
  return {
    during: async (create) => {
      calls++
      try {
        return await create()
      } finally {
        calls--
      }
    },
    undo: Effect.uninterruptible(undo)
  }
})
