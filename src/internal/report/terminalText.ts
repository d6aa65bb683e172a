/**
 * Text from outside, made fit for a terminal.
 */
import { displayWidth } from "effect/cli/CliOutput"
import { stripVTControlCharacters } from "node:util"

/** More of a line than any window shows. */
const longestLine = 2000

/**
 * A line without what a terminal acts on (escape sequences, control characters) and what can not be seen or turns the
 * direction of text. Of a line that was written over, what was written last.
 */
export const clean = (line: string): string =>
  stripVTControlCharacters((line.split("\r").findLast((part) => part !== "") ?? "").slice(0, longestLine))
    .replaceAll("\t", "  ")
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "")
    .toWellFormed()

/** A text of several lines as one. */
export const oneLine = (text: string): string => clean(text.trim().replace(/\s*[\r\n]\s*/g, " "))

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" })

/** As much of the beginning of a text as fits into so many columns. */
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

/** Shortens a text to so many columns. */
export const cut = (text: string, columns: number): string =>
  displayWidth(text) <= columns ? text : columns < 1 ? "" : `${beginning(text, columns - 1)}…`

/** Cuts a text into lines of at most so many columns, at spaces where there are any. */
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
