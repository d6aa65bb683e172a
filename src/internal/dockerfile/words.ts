/** Splits texts of a Dockerfile into words, and expands variables in them, as BuildKit does. */
import { type Position, Problem } from "./problem.ts"

export interface Lexer {
  readonly escape: "\\" | "`"
}

/** Looks up a variable; `undefined` if it is not set. */
export type Lookup = (name: string) => string | undefined

/**
 * Splits at blanks outside quotes, which stay in the words. `lenient`: for text that may belong to a shell, in which a
 * quote without an end is none of our business.
 */
export const wordsOf = (text: string, { escape }: Lexer, at: Position, lenient = false): ReadonlyArray<string> => {
  const words: Array<string> = []
  let word = ""
  let quote = ""
  for (let index = 0; index < text.length; index++) {
    const char = text[index] ?? ""
    if (quote === "" && /\s/.test(char)) {
      if (word !== "") words.push(word)
      word = ""
      continue
    }
    word += char
    if (char === escape && quote !== "'") word += text[++index] ?? ""
    else if (quote === char) quote = ""
    else if (quote === "" && (char === "'" || char === '"')) quote = char
  }
  if (quote !== "" && !lenient) throw new Problem(at, `a ${quote} has no end`)
  return word === "" ? words : [...words, word]
}

/** The words of a JSON array of strings, or nothing for any other text. */
export const wordsInJson = (text: string): ReadonlyArray<string> | undefined => {
  if (!text.startsWith("[")) return undefined
  try {
    const words: unknown = JSON.parse(text)
    return Array.isArray(words) && words.every((word) => typeof word === "string") ? words : undefined
  } catch {
    return undefined
  }
}

/** Removes quotes without expanding anything. */
export const unquoted = (text: string, lexer: Lexer): string => {
  let result = ""
  let quote = ""
  for (let index = 0; index < text.length; index++) {
    const char = text[index] ?? ""
    if (char === lexer.escape && quote !== "'") result += text[++index] ?? ""
    else if (quote === char) quote = ""
    else if (quote === "" && (char === "'" || char === '"')) quote = char
    else result += char
  }
  return result
}

/** Expands variables in one word and removes its quotes. */
export const expand = (text: string, lexer: Lexer, at: Position, lookup: Lookup): string =>
  new Expansion(text, lexer, at, lookup, false).run()

/** Expands variables, and leaves quotes as they are: for the text of a file, in which only a backslash escapes. */
export const expandText = (text: string, at: Position, lookup: Lookup): string =>
  new Expansion(text, { escape: "\\" }, at, lookup, true).run()

/** Names of variables, and those that only a shell has, such as `$1` and `$@`: they are not set. */
const names = /^(?:[A-Za-z_][A-Za-z0-9_]*|\d+|[@*#?$!-])/

class Expansion {
  private index = 0
  private readonly text: string
  private readonly lexer: Lexer
  private readonly at: Position
  private readonly lookup: Lookup
  private readonly isFile: boolean

  constructor(text: string, lexer: Lexer, at: Position, lookup: Lookup, isFile: boolean) {
    this.text = text
    this.lexer = lexer
    this.at = at
    this.lookup = lookup
    this.isFile = isFile
  }

  run(): string {
    return this.until("")
  }

  /** Expands up to a character, which is consumed, or to the end. */
  private until(end: string): string {
    const { isFile, lexer, text } = this
    let result = ""
    while (this.index < text.length) {
      const char = text[this.index++] ?? ""
      if (char === end) return result
      if (char === "$") result += this.variable()
      else if (char === lexer.escape) {
        const next = text[this.index++] ?? ""
        result += next
      } else if (char === "'" && !isFile) result += this.single()
      else if (char === '"' && !isFile) result += this.double()
      else result += char
    }
    if (end !== "") throw new Problem(this.at, `a ${end} is missing`)
    return result
  }

  private single(): string {
    const end = this.text.indexOf("'", this.index)
    if (end === -1) throw new Problem(this.at, "a ' has no end")
    const inside = this.text.slice(this.index, end)
    this.index = end + 1
    return inside
  }

  private double(): string {
    let result = ""
    for (;;) {
      const char = this.text[this.index++]
      if (char === undefined) throw new Problem(this.at, 'a " has no end')
      if (char === '"') return result
      if (char === "$") result += this.variable()
      else if (char === this.lexer.escape) {
        const next = this.text[this.index++] ?? ""
        result += next === '"' || next === "$" || next === this.lexer.escape ? next : char + next
      } else result += char
    }
  }

  private valueOf(name: string): string | undefined {
    return /^[A-Za-z_]/.test(name) ? this.lookup(name) : undefined
  }

  private variable(): string {
    const rest = this.text.slice(this.index)
    const name = names.exec(rest)?.[0]
    if (name !== undefined) {
      this.index += name.length
      return this.valueOf(name) ?? ""
    }
    if (!rest.startsWith("{")) return "$"
    const inner = names.exec(rest.slice(1))?.[0]
    if (inner === undefined) throw new Problem(this.at, "expected the name of a variable after ${")
    this.index += 1 + inner.length
    const [, operator] = /^(:?[-+?]|##?|%%?|\/\/?|\})/.exec(this.text.slice(this.index)) ?? []
    if (operator === undefined) throw new Problem(this.at, `the modifier of \${${inner}} is not supported`)
    this.index += operator.length
    const value = this.valueOf(inner)
    if (operator === "}") return value ?? ""
    if (operator.startsWith("/")) {
      const pattern = this.until("/")
      const replacement = this.until("}")
      return (value ?? "").replace(globOf(pattern, operator === "//" ? "gs" : "s"), () => replacement)
    }
    const word = this.until("}")
    const isSet = operator.startsWith(":") ? value !== undefined && value !== "" : value !== undefined
    switch (operator.replace(":", "")) {
      case "-":
        return isSet ? (value ?? "") : word
      case "+":
        return isSet ? word : ""
      case "?":
        if (!isSet) throw new Problem(this.at, `${inner}: ${word === "" ? "it is not set" : word}`)
        return value ?? ""
      default:
        return trimmed(value ?? "", word, operator)
    }
  }
}

/** A pattern of a shell as an expression. */
const globOf = (pattern: string, flags: string): RegExp =>
  new RegExp(
    pattern.replace(/[*?]|[^A-Za-z0-9_\s]/g, (char) => (char === "*" ? ".*" : char === "?" ? "." : `\\${char}`)),
    flags
  )

/** Removes the shortest or the longest match from the beginning or the end. */
const trimmed = (value: string, pattern: string, operator: string): string => {
  const isStart = operator.startsWith("#")
  const lengths = Array.from({ length: value.length + 1 }, (_, length) => length)
  const whole = new RegExp(`^(?:${globOf(pattern, "s").source})$`, "s")
  const part = (length: number) => (isStart ? value.slice(0, length) : value.slice(value.length - length))
  const found = (operator.length === 2 ? lengths.toReversed() : lengths).find((length) => whole.test(part(length)))
  if (found === undefined) return value
  return isStart ? value.slice(found) : value.slice(0, value.length - found)
}
