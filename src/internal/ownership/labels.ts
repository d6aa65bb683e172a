/**
 * Labels that the library puts on what it creates.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** Tells the sandbox of one launch from any other that has, had or will have its name. */
export const instanceLabel = "lightbox.instance"

/** What a sandbox is for: `scoped`, `detached`, `pool`, `builder` or `verifier`. */
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

/** What generated names of builders begin with. */
const builderPrefix = `${generatedPrefix}builder-`

/** A name for a sandbox that nobody has chosen one for. */
export const generateName = (kind?: "builder"): Effect.Effect<string> =>
  Effect.map(generate, (id) => `${kind === undefined ? generatedPrefix : builderPrefix}${id}`)

const generated = new RegExp(`^(${builderPrefix}|${generatedPrefix})[0-9a-z]{8,}-[0-9a-z]+-[0-9a-z]+$`)

/** Whether a name looks like one of {@link generateName}: hardly anybody chooses it, or uses it again. */
export const isGenerated = (name: string): boolean => generated.test(name)
