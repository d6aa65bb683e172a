/** What a program of a fleet notes of its operations, before and after each. */
import * as Schema from "effect/Schema"

export const Line = Schema.Struct({
  operation: Schema.Literals(["launch", "command", "build", "close"]),
  id: Schema.String,
  /** Absent at its beginning. */
  seconds: Schema.optional(Schema.Finite),
  ended: Schema.optional(Schema.Literals(["succeeded", "failed", "unknown"])),
  reason: Schema.optional(Schema.String),
  message: Schema.optional(Schema.String)
})

export type Line = typeof Line.Type
