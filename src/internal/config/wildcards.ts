/**
 * Matches paths with patterns, of which several kinds exist. Follows all ways at once: a regular expression would try one
 * after the other, which takes minutes for some patterns of a few stars.
 */

export interface Dialect {
  /** What begins the brackets of all other characters. */
  readonly negations: string
  /** A backslash takes the special meaning of the next character. */
  readonly hasEscapes: boolean
  /** `{a,b}` is one of several patterns. */
  readonly hasBraces: boolean
  /** `**` crosses folders: everywhere, or only whole ones, as in a `.dockerignore`, or not at all. */
  readonly crosses: "everywhere" | "folders" | "never"
}

/** Positions in a path, in ascending order. */
type Positions = ReadonlyArray<number>

/** Returns where a part of a pattern may end that begins at one of some positions. */
type Part = (path: string, starts: Positions) => Positions

const inOrder = (positions: Iterable<number>): Positions => [...new Set(positions)].toSorted((a, b) => a - b)

const literal =
  (text: string): Part =>
  (path, starts) => {
    const ends: Array<number> = []
    for (const start of starts) if (path.startsWith(text, start)) ends.push(start + text.length)
    return ends
  }

const one =
  (matches: (character: string) => boolean): Part =>
  (path, starts) => {
    const ends: Array<number> = []
    for (const start of starts) if (start < path.length && matches(path.charAt(start))) ends.push(start + 1)
    return ends
  }

/** Any number of characters within a name. */
const star: Part = (path, starts) => {
  const ends: Array<number> = []
  for (const start of starts) {
    if (start <= (ends.at(-1) ?? -1)) continue
    const slash = path.indexOf("/", start)
    for (let end = start; end <= (slash === -1 ? path.length : slash); end++) ends.push(end)
  }
  return ends
}

const anything: Part = (path, [first = 0]) =>
  Array.from({ length: path.length - first + 1 }, (_, index) => first + index)

/** Any number of whole folders. */
const folders: Part = (path, starts) => {
  const [first = 0] = starts
  const ends = [...starts]
  for (let at = path.indexOf("/", first); at !== -1; at = path.indexOf("/", at + 1)) ends.push(at + 1)
  return starts.length === 1 ? ends : inOrder(ends)
}

const oneOf =
  (patterns: ReadonlyArray<ReadonlyArray<Part>>): Part =>
  (path, starts) =>
    inOrder(patterns.flatMap((parts) => endsOf(parts, path, starts)))

const endsOf = (parts: ReadonlyArray<Part>, path: string, starts: Positions): Positions => {
  let ends = starts
  for (const part of parts) {
    if (ends.length === 0) return ends
    ends = part(path, ends)
  }
  return ends
}

/** Reads brackets. Returns nothing if they have no end, or a range that runs backwards. */
const bracketsAt = (pattern: string, start: number, { hasEscapes, negations }: Dialect) => {
  let at = start + 1
  const isNegated = at < pattern.length && negations.includes(pattern.charAt(at))
  if (isNegated) at++
  const ranges: Array<readonly [from: string, to: string]> = []
  const next = (): string => {
    if (hasEscapes && pattern[at] === "\\") at++
    return pattern.charAt(at++)
  }
  // The first character may be a bracket itself.
  for (const first = at; at < pattern.length && (pattern[at] !== "]" || at === first);) {
    const from = next()
    const isRange = pattern[at] === "-" && at + 1 < pattern.length && pattern[at + 1] !== "]"
    if (isRange) at++
    const to = isRange ? next() : from
    if (to < from) return undefined
    ranges.push([from, to])
  }
  const matches = (character: string) => ranges.some(([from, to]) => from <= character && character <= to) !== isNegated
  return pattern[at] === "]" ? { end: at, matches } : undefined
}

/** Whether a pattern has brackets that stand for themselves, which some programs refuse. */
export const hasWrongBrackets = (pattern: string, dialect: Dialect): boolean => {
  for (let at = 0; at < pattern.length; at++) {
    if (pattern[at] === "\\" && dialect.hasEscapes) at++
    else if (pattern[at] === "[") {
      const brackets = bracketsAt(pattern, at, dialect)
      if (brackets === undefined) return true
      at = brackets.end
    }
  }
  return false
}

/**
 * Compiles a pattern: `*` and `?` stay within a name, `[…]` is one of several characters. What has no end stands for
 * itself. `isInside`: paths match, too, that are inside a folder that does.
 */
export const compilePattern = (pattern: string, dialect: Dialect, isInside = false): ((path: string) => boolean) => {
  let parts: Array<Part> = []
  let text = ""
  const add = (part?: Part) => {
    if (text !== "") parts.push(literal(text))
    if (part !== undefined) parts.push(part)
    text = ""
  }
  const open: Array<{ readonly before: Array<Part>; readonly patterns: Array<Array<Part>> }> = []
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern.charAt(at)
    const brackets = character === "[" ? bracketsAt(pattern, at, dialect) : undefined
    const braces = open.at(-1)
    if (character === "*" && pattern[at + 1] === "*" && dialect.crosses !== "never") {
      at++
      const isFolder = pattern[at + 1] === "/"
      if (isFolder) at++
      add(isFolder || (dialect.crosses === "folders" && at + 1 < pattern.length) ? folders : anything)
    } else if (character === "*") add(star)
    else if (character === "?") add(one((character) => character !== "/"))
    else if (brackets !== undefined) {
      at = brackets.end
      add(one(brackets.matches))
    } else if (character === "{" && dialect.hasBraces) {
      add()
      open.push({ before: parts, patterns: [] })
      parts = []
    } else if (character === "," && braces !== undefined) {
      add()
      braces.patterns.push(parts)
      parts = []
    } else if (character === "}" && braces !== undefined) {
      add()
      open.pop()
      parts = [...braces.before, oneOf([...braces.patterns, parts])]
    } else text += character === "\\" && dialect.hasEscapes ? pattern.charAt(++at) : character
  }
  add()
  for (const { before, patterns } of open.toReversed()) {
    parts = [...before, literal("{"), ...patterns.flatMap((parts) => [...parts, literal(",")]), ...parts]
  }
  return (path) => {
    const ends = endsOf(parts, path, [0])
    return ends.at(-1) === path.length || (isInside && ends.some((end) => path[end] === "/"))
  }
}
