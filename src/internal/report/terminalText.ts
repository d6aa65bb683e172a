/** Makes untrusted text safe for a terminal. */
import { displayWidth } from "effect/cli/CliOutput"
import { stripVTControlCharacters } from "node:util"

/** Longer than any window is wide. */
const longestLine = 2000

/**
 * Removes escape sequences, control characters and invisible or direction-changing characters from a line. Of an
 * overwritten line, keeps the last text.
 */
export const clean = (line: string): string =>
  stripVTControlCharacters((line.split("\r").findLast((part) => part !== "") ?? "").slice(0, longestLine))
    .replaceAll("\t", "  ")
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "")
    .toWellFormed()

/** Joins lines into one. */
export const oneLine = (text: string): string => clean(text.trim().replace(/\s*[\r\n]\s*/g, " "))

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" })

/** Takes the beginning of a text that fits into the columns. */
const beginning = (text: string, columns: number): string => {
  let room = columns
  let end = 0
  for (const { index, segment } of graphemes.segment(text)) {
    room -= displayWidth(segment)
    if (room < 0) break
    end = index + segment.length
  }
  return text.slice(0, end)
}

/** Shortens a text to the columns. */
export const cut = (text: string, columns: number): string =>
  displayWidth(text) <= columns ? text : columns < 1 ? "" : `${beginning(text, columns - 1)}…`

/** Wraps a text at spaces, where possible. */
export const wrap = (text: string, columns: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  let rest = text
  while (displayWidth(rest) > columns) {
    const line = beginning(rest, columns)
    if (line === "") return lines
    const space = rest[line.length] === " " ? line.length : line.lastIndexOf(" ")
    lines.push(space > 0 ? line.slice(0, space) : line)
    rest = rest.slice(space > 0 ? space : line.length).trimStart()
  }
  return [...lines, rest]
}

/** Counts the rows of a window that a line takes when the terminal wraps it, which splits no wide character. */
export const rowsOf = (line: string, columns: number): number => {
  const width = displayWidth(line)
  if (width <= columns) return 1
  let rows = 1
  let used = 0
  for (const { segment } of graphemes.segment(stripVTControlCharacters(line))) {
    const needed = displayWidth(segment)
    if (used + needed > columns) {
      rows++
      used = 0
    }
    used += needed
  }
  return rows
}
