/** Patterns with `*`, `?` and brackets, and the regular expressions of POSIX. */
import { orNothing } from "../kernel/errno.ts"
import type { Process } from "../kernel/process.ts"

/** A piece of a pattern; quoted text is literal. */
export interface Segment {
  readonly text: string
  readonly isQuoted: boolean
}

export const textOf = (segments: ReadonlyArray<Segment>): string => segments.map(({ text }) => text).join("")

export const escape = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")

export const toRegExpSource = (segments: ReadonlyArray<Segment>, isShortest = false): string => {
  let source = ""
  for (const { isQuoted, text } of segments) {
    if (isQuoted) {
      source += escape(text)
      continue
    }
    for (let position = 0; position < text.length; position++) {
      const character = text[position] ?? ""
      if (character === "*") source += isShortest ? "[^]*?" : "[^]*"
      else if (character === "?") source += "[^]"
      else if (character === "[") {
        const bracket = /^\[([!^]?)(\]?(?:\[:\w+:\]|[^\]])*)\]/.exec(text.slice(position))
        if (bracket === null) source += "\\["
        else {
          const members = (bracket[2] ?? "").replace(/\\|^\]/g, "\\$&")
          source += `[${bracket[1] === "" ? "" : "^"}${withClasses(members)}]`
          position += bracket[0].length - 1
        }
      } else source += escape(character)
    }
  }
  return source
}

/** Classes of characters, as they stand between the brackets of a regular expression. */
export const classes: { readonly [name: string]: string } = {
  space: "\\s",
  blank: " \\t",
  digit: "0-9",
  upper: "A-Z",
  lower: "a-z",
  alpha: "a-zA-Z",
  alnum: "a-zA-Z0-9",
  punct: "!-\\/:-@\\[-`{-~",
  xdigit: "0-9a-fA-F",
  cntrl: "\\0-\\x1f\\x7f"
}

const withClasses = (bracket: string): string =>
  bracket.replace(/\[:(\w+):\]/g, (_, name: string) => classes[name] ?? "")

export const matches = (segments: ReadonlyArray<Segment>, text: string): boolean =>
  new RegExp(`^${toRegExpSource(segments)}$`).test(text)

const isActive = ({ isQuoted, text }: Segment): boolean => !isQuoted && /[*?[]/.test(text)

/** Returns the matching files in order, or the pattern itself if there are none. */
export const expandPath = (process: Process, segments: ReadonlyArray<Segment>): ReadonlyArray<string> => {
  const literal = textOf(segments)
  if (!segments.some(isActive)) return [literal]
  const levels: Array<Array<Segment>> = [[]]
  for (const { isQuoted, text } of segments) {
    for (const [index, piece] of text.split("/").entries()) {
      if (index > 0) levels.push([])
      if (piece !== "") levels.at(-1)?.push({ text: piece, isQuoted })
    }
  }
  const isAbsolute = literal.startsWith("/")
  let found = [isAbsolute ? "/" : ""]
  for (const level of isAbsolute ? levels.slice(1) : levels) {
    if (level.length === 0) continue
    const name = textOf(level)
    found = found.flatMap((folder) => {
      const at = (entry: string) => (folder === "" || folder === "/" ? folder + entry : `${folder}/${entry}`)
      if (!level.some(isActive)) return process.lookAt(at(name), false) === undefined ? [] : [at(name)]
      const expression = new RegExp(`^${toRegExpSource(level)}$`)
      return (orNothing(() => process.list(folder === "" ? "." : folder)) ?? [])
        .filter((entry) => expression.test(entry) && (!entry.startsWith(".") || name.startsWith(".")))
        .toSorted()
        .map(at)
    })
  }
  return found.length === 0 ? [literal] : found
}

/** Translates a POSIX regular expression, basic or extended. Throws `SyntaxError`. */
export const regExpOf = (pattern: string, isExtended: boolean, flags = ""): RegExp => {
  const brackets: Array<string> = []
  const outside = pattern.replace(/\[\^?\]?(?:\[:\w+:\]|[^\]])*\]/g, (bracket) => {
    brackets.push(withClasses(bracket.replace(/^\[(\^?)\]/, "[$1\\]").replace(/\\(?!\])/g, "\\\\")))
    return `\0${brackets.length - 1}\0`
  })
  const translated = isExtended
    ? outside
    : outside
        .replace(/\\?[(){}+?|]/g, (token) => (token.startsWith("\\") ? token.slice(1) : `\\${token}`))
        .replace(/^\*/, "\\*")
  const source = translated
    .replace(/\\[<>]/g, "\\b")
    .replace(/\0(\d+)\0/g, (_, index: string) => brackets[Number(index)] ?? "")
  return new RegExp(source, flags)
}

/** Returns nothing for an invalid regular expression. */
export const regExpOrNothing = <A>(make: () => A): A | undefined => {
  try {
    return make()
  } catch (cause) {
    if (cause instanceof SyntaxError) return undefined
    throw cause
  }
}
