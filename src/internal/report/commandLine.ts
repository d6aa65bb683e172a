/**
 * Shows command lines to people.
 */
import * as Redacted from "effect/Redacted"
import type { Word } from "../../Guest.ts"
import { showArgv } from "./failureText.ts"

/** Words without the values of redacted ones. */
export const redactWords = (words: ReadonlyArray<Word>): ReadonlyArray<string> =>
  words.map((word) => (Redacted.isRedacted(word) ? "<redacted>" : word))

/** Words on one line, quoted where they would not be read as one word. */
export const show = (words: ReadonlyArray<Word>): string =>
  words.map((word) => (Redacted.isRedacted(word) ? "<redacted>" : showArgv([word]))).join(" ")
