/**
 * Labels that the library puts on what it creates.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** Tells the sandbox of one launch from any other that has, had or will have its name. */
export const instanceLabel = "lightbox.instance"

/** What a sandbox is for: `scoped`, `pool`, `builder` or `verifier`. */
export const roleLabel = "lightbox.role"

/** Who made it: an owner's id. */
export const ownerLabel = "lightbox.owner"

/** What generated names begin with. */
export const generatedPrefix = "lightbox-"

let count = 0

/** Different at each call, in every process of this host. */
export const generate: Effect.Effect<string> = Effect.map(
  Clock.currentTimeMillis,
  (now) => `${now.toString(36)}-${process.pid.toString(36)}-${(count++).toString(36)}`
)

/** Whether a name is one that {@link generate} made different from all others. */
export const isGenerated = (name: string): boolean =>
  /^lightbox-(builder-)?[0-9a-z]{8,}-[0-9a-z]+-[0-9a-z]+$/.test(name)
