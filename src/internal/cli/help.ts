/** Help texts that fit into the window. */
import * as CliOutput from "effect/cli/CliOutput"
import type { FlagDoc, HelpDoc } from "effect/cli/HelpDoc"
import { stripVTControlCharacters } from "node:util"
import * as Status from "./status.ts"

/** Effect lists all choices twice. */
const short = (flag: FlagDoc): FlagDoc => (flag.type.startsWith("<") ? { ...flag, type: "CHOICE" } : flag)

/** Formats a help text. */
export const format = (doc: HelpDoc, options: { readonly colors: boolean; readonly columns: number }): string => {
  const { commandPath = [], globalFlags = [] } = doc
  const text = CliOutput.defaultFormatter(options).formatHelpDoc({ ...doc, globalFlags: globalFlags.map(short) })
  const all = commandPath.length === 1 ? `${text}\n\n${Status.table}` : text
  return all
    .split("\n")
    .flatMap((line) => wrapRow(line, options.columns))
    .join("\n")
}

/** Wraps the right column of a row below itself, or below the left one where the window is narrow. */
const wrapRow = (line: string, columns: number): ReadonlyArray<string> => {
  const plain = stripVTControlCharacters(line)
  if (CliOutput.displayWidth(plain) <= columns) return [line]
  const left = /^ {2}\S.*? {2,}(?=\S)/.exec(plain)?.[0].length ?? 2
  const isNarrow = left > 0.6 * columns
  const indent = " ".repeat(isNarrow ? 6 : left)
  const lines: Array<string> = []
  let current = ""
  let width = 0
  for (const word of line.split(/(?<=\S)(?= )/)) {
    const size = CliOutput.displayWidth(stripVTControlCharacters(word))
    const begins = isNarrow && lines.length === 0 && width > 0 && width <= left && / {2}/.test(word)
    if (width > 0 && (width + size > columns || begins)) {
      lines.push(current)
      current = `${indent}${word.trimStart()}`
      width = CliOutput.displayWidth(stripVTControlCharacters(current))
    } else {
      current += word
      width += size
    }
  }
  return [...lines, current]
}
