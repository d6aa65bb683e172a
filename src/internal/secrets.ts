/**
 * The secrets of a definition's steps, and how they are kept out of what is
 * shown.
 */
import * as Redacted from "effect/Redacted"
import type { Step, StepSecret } from "../Snapshot.ts"

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

/** A text without the secrets, line by line for secrets of several lines. */
export const redact = (secrets: ReadonlyArray<SecretValue>, text: string): string => {
  const parts = new Set(
    secrets.flatMap(({ value }) => [value, ...value.split("\n").filter((line) => line.trim().length >= 4)])
  )
  // The longest first: one may be a part of another.
  return [...parts]
    .toSorted((a, b) => b.length - a.length)
    .reduce((shown, part) => shown.replaceAll(part, "<redacted>"), text)
}
