/** The keys of definitions whose files another one copies, such as the stages of a Dockerfile. */
import * as Effect from "effect/Effect"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import type { Definition } from "../../Snapshot.ts"
import { baseKey, type Home, type KeyOf, keyUnits } from "./keys.ts"
import { resolveImage } from "./lookUp.ts"
import { addedBy, prepare, type Prepared } from "./units.ts"

/** Computes each key once. */
export const makeKeyOf = (options: {
  readonly method: string
  readonly driver: Microsandbox.Microsandbox["Service"]
  readonly home: Home
  readonly pullPolicy: SandboxConfig["pullPolicy"]
  /** Whether a result may exist although the image is not cached. */
  readonly isKnown: Effect.Effect<boolean, LightboxError>
  /** The digest of an image that is not cached. */
  readonly ifUnknown: (definition: Prepared) => Effect.Effect<string, LightboxError>
}): KeyOf => {
  const { driver, home, ifUnknown, isKnown, method, pullPolicy } = options
  const known = new Map<Definition, string>()
  const keyOf: KeyOf = Effect.fnUntraced(function* (definition) {
    const found = known.get(definition)
    if (found !== undefined) return found
    const prepared = yield* prepare(method, definition)
    const { digest = yield* ifUnknown(prepared) } = yield* resolveImage(driver, prepared, { pullPolicy, isKnown })
    // No step of these runs in every build.
    const keyed = yield* keyUnits(method, prepared.units, digest, "", keyOf, home)
    const key = keyed.at(-1)?.key ?? baseKey(digest)
    known.set(definition, key)
    return key
  })
  return keyOf
}

/** Lists the definitions that a definition copies from, those that they copy from first. */
export const othersOf = (
  definition: Definition<unknown, unknown>,
  found: Set<Definition> = new Set()
): ReadonlySet<Definition> => {
  for (const step of definition.steps) {
    for (const source of addedBy(step)) {
      if (source._tag !== "Snapshot" || found.has(source.definition)) continue
      othersOf(source.definition, found)
      found.add(source.definition)
    }
  }
  return found
}
