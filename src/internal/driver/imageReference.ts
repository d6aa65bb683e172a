/** Names of images. */
import * as Effect from "effect/Effect"
import type { LightboxError } from "../../LightboxError.ts"
import { invalid } from "../config/validation.ts"

/**
 * Expands `alpine` to `docker.io/library/alpine:latest`. The runtime boots `alpine` from an image loaded under the full
 * name, but does not find it in a look-up.
 */
export const wholeReference = (reference: string): string => {
  const { host, path } = split(reference)
  return `${host}/${/[:@]/.test(path) ? path : `${path}:latest`}`
}

const split = (reference: string): { readonly host: string; readonly path: string } => {
  const [first = "", ...rest] = reference.split("/")
  return rest.length > 0 && (/[.:]/.test(first) || first === "localhost")
    ? { host: first, path: rest.join("/") }
    : { host: "docker.io", path: reference.includes("/") ? reference : `library/${reference}` }
}

/** Splits the name of an image into the parts that a registry is asked for: the version is a digest, else a tag. */
export const splitReference = (
  reference: string
): { readonly host: string; readonly repository: string; readonly version: string } => {
  const { host, path } = split(reference)
  const [named = "", digest] = path.split("@")
  const [repository = "", tag = "latest"] = named.split(":")
  return { host, repository, version: digest ?? tag }
}

/** Whether a registry has to be asked what a name stands for. What a digest stands for never changes. */
export const mustAsk = (
  reference: string,
  cached: string | undefined,
  pullPolicy: "always" | "if-missing" | "never" | undefined,
  askIfMissing = false
): boolean =>
  cached === undefined
    ? pullPolicy === "always" || (askIfMissing && pullPolicy !== "never")
    : pullPolicy === "always" && !reference.includes("@")

/** Refuses to save nothing. */
export const checkReferences = (references: ReadonlyArray<string>): Effect.Effect<void, LightboxError> =>
  references.length === 0
    ? Effect.fail(invalid("Microsandbox.saveImages", "references", "pass at least one"))
    : Effect.void
