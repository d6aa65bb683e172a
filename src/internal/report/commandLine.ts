/**
 * Shows command lines to people.
 */
import * as Redacted from "effect/Redacted"
import type { Word } from "../../Guest.ts"
import { showArgv } from "./failureText.ts"

/** Hides redacted words. */
export const redactWords = (words: ReadonlyArray<Word>): ReadonlyArray<string> =>
  words.map((word) => (Redacted.isRedacted(word) ? "<redacted>" : word))

/** Joins words on one line, quoted where necessary. */
export const show = (words: ReadonlyArray<Word>): string =>
  words.map((word) => (Redacted.isRedacted(word) ? "<redacted>" : showArgv([word]))).join(" ")
