import type * as Effect from "effect/Effect"
import type { Errno } from "../kernel/errno.ts"
import type { Process } from "../kernel/process.ts"
import { print } from "./options.ts"
import { unescape } from "./printf.ts"

/** `echo` with `-n`, `-e` and `-E`. */
export const echo = (process: Process, argv: ReadonlyArray<string>): Effect.Effect<number, Errno> => {
  const words = argv.slice(1)
  let hasNewline = true
  let isEscaped = false
  while (/^-[neE]+$/.test(words[0] ?? "")) {
    const flags = words.shift() ?? ""
    if (flags.includes("n")) hasNewline = false
    if (flags.includes("e")) isEscaped = true
  }
  const text = words.join(" ")
  const { isCut, text: shown } = isEscaped ? unescape(text) : { isCut: false, text }
  return print(process, hasNewline && !isCut ? `${shown}\n` : shown)
}
