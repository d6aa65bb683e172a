/** Names of images. */
import * as Effect from "effect/Effect"
import type { LightboxError } from "../../LightboxError.ts"
import { invalid } from "../config/validation.ts"

/**
 * Expands `alpine` to `docker.io/library/alpine:latest`. The runtime boots `alpine` from an image loaded under the full
 * name, but does not find it in a look-up.
 */
export const wholeReference = (reference: string): string => {
  const [first = "", ...rest] = reference.split("/")
  const isRegistry = rest.length > 0 && (/[.:]/.test(first) || first === "localhost")
  const path = isRegistry ? rest.join("/") : reference.includes("/") ? reference : `library/${reference}`
  const tagged = /[:@]/.test(path) ? path : `${path}:latest`
  return `${isRegistry ? first : "docker.io"}/${tagged}`
}

/** Refuses to save nothing. */
export const checkReferences = (references: ReadonlyArray<string>): Effect.Effect<void, LightboxError> =>
  references.length === 0
    ? Effect.fail(invalid("Microsandbox.saveImages", "references", "pass at least one"))
    : Effect.void
