/**
 * Labels of what the library creates, and notes of it.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { LightboxError } from "../../LightboxError.ts"
import type { Note, Ownership } from "../../Ownership.ts"

/** Identifies a sandbox, even if its name is reused. */
export const instanceLabel = "lightbox.instance"

/** The purpose of a sandbox: `scoped`, `detached`, `pool`, `builder` or `verifier`. */
export const roleLabel = "lightbox.role"

/** The id of the owner. */
export const ownerLabel = "lightbox.owner"

/** Digests of the options of a launch, by option. */
export const optionsLabel = "lightbox.options"

/** The snapshot that a sandbox was launched from, by name or path. */
export const snapshotLabel = "lightbox.snapshot"

/** Prefix of generated names. */
export const generatedPrefix = "lightbox-"

let count = 0

/** Returns an id that is unique on this host. */
export const generate: Effect.Effect<string> = Effect.map(
  Clock.currentTimeMillis,
  (now) => `${now.toString(36)}-${process.pid.toString(36)}-${(count++).toString(36)}`
)

/** Prefix of generated names of builders. */
const builderPrefix = `${generatedPrefix}builder-`

/** Generates a name for a sandbox. */
export const generateName = (kind?: "builder"): Effect.Effect<string> =>
  Effect.map(generate, (id) => `${kind === undefined ? generatedPrefix : builderPrefix}${id}`)

const generated = new RegExp(`^(${builderPrefix}|${generatedPrefix})[0-9a-z]{8,}-[0-9a-z]+-[0-9a-z]+$`)

/** Checks whether a name looks generated. Such names are hardly ever chosen or reused. */
export const isGenerated = (name: string): boolean => generated.test(name)

/** Notes what this process creates or uses, until the scope closes. After a failure, an `unnamed` note stays for a sweep. */
export const noteForScope = (
  ownership: Ownership["Service"],
  kind: Note["kind"],
  name: string
): Effect.Effect<void, LightboxError, Scope.Scope> =>
  Effect.flatMap(generate, (token) =>
    Effect.acquireRelease(ownership.note({ kind, token, name }), (_, exit) =>
      kind === "unnamed" && Exit.isFailure(exit) ? Effect.void : ownership.forget({ kind, token, name })
    )
  )
