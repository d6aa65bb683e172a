/**
 * The secrets of a definition's steps, and their redaction.
 */
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { Reason, Unknown } from "../../LightboxError.ts"
import type { Step, StepSecret } from "../../Snapshot.ts"
import * as FailureText from "../report/failureText.ts"

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

/** Lines of a key file that every key file has. */
const isFrame = (line: string): boolean => /^-+(BEGIN|END) .*-+$/.test(line)

/** The texts to search a disk for. Shorter ones are found by chance. */
export const searched = (secrets: ReadonlyArray<SecretValue>): ReadonlyArray<SecretValue> =>
  secrets.flatMap(({ name, value }) => {
    const [whole = "", ...lines] = FailureText.forms(value, 8)
    return [...new Set([...(whole.length >= 4 ? [whole] : []), ...lines.filter((line) => !isFrame(line))])].map(
      (value) => ({ name, value })
    )
  })

/** Lists all redacted values in options, such as the password of a registry. */
export const inOptions = (options: unknown): ReadonlyArray<SecretValue> => {
  if (Redacted.isRedacted(options)) {
    const value = Redacted.value(options)
    return Predicate.isString(value) && value !== "" ? [{ name: "an option", value }] : []
  }
  if (Array.isArray(options)) return options.flatMap(inOptions)
  return Predicate.isObject(options) ? Object.values(options).flatMap(inOptions) : []
}

const valuesOf = (secrets: ReadonlyArray<SecretValue>) => secrets.map(({ value }) => value)

/** Redacts secrets in a text. */
export const redact = (secrets: ReadonlyArray<SecretValue>, text: string): string =>
  FailureText.redact(valuesOf(secrets), text)

/** Redacts secrets in texts. */
export const redacting = (secrets: ReadonlyArray<SecretValue>): ((text: string) => string) =>
  FailureText.redacting(valuesOf(secrets))

/** Redacts secrets in all texts of a plain value, except under some keys. */
export const redactAll = (
  redact: (text: string) => string,
  value: unknown,
  except: ReadonlySet<string> = new Set(["_tag"])
): unknown => {
  const hide = (u: unknown): unknown =>
    Predicate.isString(u)
      ? redact(u)
      : Array.isArray(u)
        ? u.map(hide)
        : Predicate.isObject(u)
          ? Object.fromEntries(Object.entries(u).map(([key, value]) => [key, except.has(key) ? value : hide(value)]))
          : u
  return hide(value)
}

const reasons = Schema.toCodecJson(Reason)

/** Redacts secrets in all that a reason says, its cause included. */
export const redactReason = (secrets: ReadonlyArray<SecretValue>, reason: Reason): Reason => {
  if (secrets.length === 0) return reason
  return Option.getOrElse(
    Schema.decodeUnknownOption(reasons)(redactAll(redacting(secrets), Schema.encodeSync(reasons)(reason))),
    () => new Unknown({ problem: redact(secrets, reason.message) })
  )
}

/** Finds the last position up to `end` where a cut splits no secret, whatever follows. */
export const cutBefore = (secrets: ReadonlyArray<SecretValue>, text: string, end: number): number => {
  const parts = FailureText.partsOf(valuesOf(secrets))
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
