/**
 * The secrets of a definition's steps, and how they are kept out of what is
 * shown.
 */
import * as Redacted from "effect/Redacted"
import type { Step, StepSecret } from "../../Snapshot.ts"

/** A secret in clear. */
export interface SecretValue {
  readonly name: string
  readonly value: string
}

/** The value of a secret, and how its step gets it. */
export const normalize = (secret: StepSecret): { readonly value: string; readonly as: "env" | "file" } =>
  Redacted.isRedacted(secret)
    ? { value: Redacted.value(secret), as: "env" }
    : { value: Redacted.value(secret.value), as: secret.as ?? "env" }

/** All secrets of some steps, redacted arguments included. */
export const ofSteps = (steps: ReadonlyArray<Step<unknown, unknown>>): ReadonlyArray<SecretValue> =>
  steps.flatMap((step) => {
    if (step._tag !== "Shell" && step._tag !== "Exec") return []
    const named = Object.entries(step.options.secrets ?? {}).map(([name, secret]) => ({
      name,
      value: normalize(secret).value
    }))
    const words =
      step._tag === "Exec"
        ? step.argv.flatMap((word) =>
            Redacted.isRedacted(word) ? [{ name: "an argument", value: Redacted.value(word) }] : []
          )
        : []
    return [...named, ...words].filter(({ value }) => value !== "")
  })

/** What is not to be shown of some secrets: each, and the lines of one that has several. The longest come first. */
const partsOf = (secrets: ReadonlyArray<SecretValue>): ReadonlyArray<string> =>
  [
    ...new Set(secrets.flatMap(({ value }) => [value, ...value.split("\n").filter((line) => line.trim().length >= 4)]))
  ].toSorted((a, b) => b.length - a.length)

/** A text without the secrets, line by line for secrets of several lines. */
export const redact = (secrets: ReadonlyArray<SecretValue>, text: string): string =>
  // The longest first: one may be a part of another.
  partsOf(secrets).reduce((shown, part) => shown.replaceAll(part, "<redacted>"), text)

/** The last place up to `end` where a text can be cut with no secret on both sides, whatever is still to come. */
export const cutBefore = (secrets: ReadonlyArray<SecretValue>, text: string, end: number): number => {
  const parts = partsOf(secrets)
  const longest = parts[0]?.length ?? 0
  let cut = end
  for (let start = end - 1; start >= 0 && start > cut - longest; start--) {
    const isInside = parts.some(
      (part) => start + part.length > cut && text.startsWith(part.slice(0, text.length - start), start)
    )
    if (isInside) cut = start
  }
  return cut
}
