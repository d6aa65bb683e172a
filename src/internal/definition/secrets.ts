/**
 * The secrets of a definition's steps, and their redaction.
 */
import * as Redacted from "effect/Redacted"
import {
  BootFailed,
  CommandFailed,
  CommandNotStarted,
  FileError,
  OutputTooLarge,
  type Reason,
  TimedOut,
  Unknown
} from "../../LightboxError.ts"
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

/** Lines of a key file that every key file has. */
const isFrame = (line: string): boolean => /^-+(BEGIN|END) .*-+$/.test(line)

/** A secret as tools write it: without space around it, or one of its lines of at least this length. */
const forms = (value: string, shortestLine: number): ReadonlyArray<string> => [
  value.trim(),
  ...value
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line.length >= shortestLine)
]

/** The texts to redact: each secret, and each line of those with several. Longest first. */
const partsOf = (secrets: ReadonlyArray<SecretValue>): ReadonlyArray<string> =>
  [...new Set(secrets.flatMap(({ value }) => [value, ...forms(value, 4)]))]
    .filter((part) => part !== "")
    .toSorted((a, b) => b.length - a.length)

/** The texts to search a disk for. Shorter ones are found by chance. */
export const searched = (secrets: ReadonlyArray<SecretValue>): ReadonlyArray<SecretValue> =>
  secrets.flatMap(({ name, value }) => {
    const [whole = "", ...lines] = forms(value, 8)
    return [...new Set([...(whole.length >= 4 ? [whole] : []), ...lines.filter((line) => !isFrame(line))])].map(
      (value) => ({ name, value })
    )
  })

/** Drops the end of a secret from the beginning of a text that was cut there. */
export const withoutSplit = (secrets: ReadonlyArray<SecretValue>, text: string): string =>
  text.slice(
    Math.max(
      0,
      ...partsOf(secrets).map((part) => {
        for (let length = part.length - 1; length > 0; length--) if (text.startsWith(part.slice(-length))) return length
        return 0
      })
    )
  )

/** Redacts secrets in a text. */
export const redact = (secrets: ReadonlyArray<SecretValue>, text: string): string =>
  partsOf(secrets).reduce((shown, part) => shown.replaceAll(part, "<redacted>"), text)

/** Redacts secrets in what a reason quotes. */
export const redactReason = (secrets: ReadonlyArray<SecretValue>, reason: Reason): Reason => {
  const hide = (text: string) => redact(secrets, text)
  const output = ({ stderr, stdout }: Partial<Pick<CommandFailed, "stdout" | "stderr">>) => ({
    ...(stdout === undefined ? {} : { stdout: hide(stdout) }),
    ...(stderr === undefined ? {} : { stderr: hide(stderr) })
  })
  if (secrets.length === 0) return reason
  switch (reason._tag) {
    case "CommandFailed":
      return new CommandFailed({ ...reason, argv: reason.argv.map(hide), ...output(reason) })
    case "OutputTooLarge":
      return new OutputTooLarge({ ...reason, argv: reason.argv.map(hide), ...output(reason) })
    case "TimedOut":
      return new TimedOut({ ...reason, operation: hide(reason.operation), ...output(reason) })
    case "CommandNotStarted":
      return new CommandNotStarted({ ...reason, argv: reason.argv.map(hide), problem: hide(reason.problem) })
    case "FileError":
      return new FileError({ ...reason, path: hide(reason.path), problem: hide(reason.problem) })
    case "BootFailed":
      return new BootFailed({ ...reason, problem: hide(reason.problem), lastLines: reason.lastLines.map(hide) })
    case "Unknown":
      return new Unknown({ ...reason, problem: hide(reason.problem) })
    default:
      return reason
  }
}

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
