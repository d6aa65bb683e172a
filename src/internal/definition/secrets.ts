/**
 * The secrets of a definition's steps, and their redaction.
 */
import * as Redacted from "effect/Redacted"
import type { Step, StepSecret } from "../../Snapshot.ts"

/** An unwrapped secret. */
export interface SecretValue {
  readonly name: string
  readonly value: string
}

export const normalize = (secret: StepSecret): { readonly value: string; readonly as: "env" | "file" } =>
  Redacted.isRedacted(secret)
    ? { value: Redacted.value(secret), as: "env" }
    : { value: Redacted.value(secret.value), as: secret.as ?? "env" }

/** Lists the secrets of steps, including redacted arguments. */
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

/** The texts to redact: each secret, and each line of those with several. Longest first. */
const partsOf = (secrets: ReadonlyArray<SecretValue>): ReadonlyArray<string> =>
  [
    ...new Set(secrets.flatMap(({ value }) => [value, ...value.split("\n").filter((line) => line.trim().length >= 4)]))
  ].toSorted((a, b) => b.length - a.length)

/** Redacts secrets in a text. */
export const redact = (secrets: ReadonlyArray<SecretValue>, text: string): string =>
  partsOf(secrets).reduce((shown, part) => shown.replaceAll(part, "<redacted>"), text)

/** Finds the last position up to `end` where a cut splits no secret, whatever follows. */
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
