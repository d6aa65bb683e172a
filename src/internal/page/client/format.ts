/** Numbers and times as people read them, and text that cannot do anything. */

export const bytes = (count: number | undefined): string => {
  if (count === undefined) return "–"
  const units = ["B", "KiB", "MiB", "GiB", "TiB"]
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10))
  const value = count / 1024 ** power
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`
}

export const duration = (millis: number | undefined): string => {
  if (millis === undefined) return ""
  if (millis < 1000) return `${Math.round(millis)} ms`
  const seconds = millis / 1000
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60]
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min ${rest} s`
}

export const age = (at: number | undefined, now: number): string => {
  if (at === undefined) return "–"
  const seconds = Math.max(0, Math.round((now - at) / 1000))
  if (seconds < 60) return `${seconds} s ago`
  const minutes = Math.round(seconds / 60)
  if (minutes < 60) return `${minutes} min ago`
  const hours = Math.round(minutes / 60)
  return hours < 48 ? `${hours} h ago` : `${Math.round(hours / 24)} days ago`
}

const times = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" })

export const time = (at: number): string => times.format(at)

/** Cuts a text into parts of up to so many characters. None ends within a character of two code units. */
export const cut = (text: string, most: number): ReadonlyArray<string> => {
  const parts: Array<string> = []
  for (let from = 0; from < text.length;) {
    const to = from + most
    const isSplit = (text.codePointAt(to - 1) ?? 0) > 0xffff && to < text.length
    const end = isSplit ? to - 1 : to
    parts.push(text.slice(from, end))
    from = end
  }
  return parts
}

export const plural = (count: number, word: string): string =>
  `${count.toLocaleString()} ${word}${count === 1 ? "" : "s"}`

/** Control sequences of terminals, and characters that would hide or reorder text. */
const sequences =
  /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b]*(?:\u001b\\)?|.)?/g
const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/**
 * A text of a guest as it is: what would hide or reorder some of it is shown as a mark. Other than in a log, nothing is left
 * out, so that names and files that differ look different.
 */
export const plain = (text: string): string => text.replaceAll("\r\n", "\n").replaceAll(hidden, "\ufffd")

/** The same in one line, such as the name of a file. */
export const plainLine = (text: string): string => text.replaceAll(/[\t\n]/g, "\ufffd").replaceAll(hidden, "\ufffd")

/** One line of a description or a command. */
export const oneLine = (text: string): string =>
  plain(text)
    .trim()
    .replaceAll(/\s*\n\s*/g, " ")

/** Longer lines are cut. */
const longest = 4000

/** What a terminal would show of a line. */
export const clean = (line: string): string => {
  const shown = line.endsWith("\r") ? line.slice(0, -1) : line
  const text = shown
    .slice(shown.lastIndexOf("\r") + 1)
    .replaceAll(sequences, "")
    .replaceAll(hidden, "")
  return text.length > longest ? `${text.slice(0, longest)}…` : text
}

export const mode = (bits: number, type: string): string => {
  const kind = { Directory: "d", SymbolicLink: "l" }[type] ?? "-"
  const all = "rwxrwxrwx"
  return (
    kind +
    all
      .split("")
      .map((letter, at) => ((bits & (1 << (8 - at))) === 0 ? "-" : letter))
      .join("")
  )
}
