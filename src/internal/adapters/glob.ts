/** Patterns of file names. */

const literal = (character: string): string => character.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`)

/** The end of a bracket expression, of which the first character may be a bracket itself. */
const endOf = (pattern: string, start: number): number =>
  pattern.indexOf("]", start + (/^\[[!^]?\]?/.exec(pattern.slice(start))?.[0].length ?? 1))

/**
 * Translates a pattern of paths: `*` and `?` stay within a name, `**` crosses folders, `[…]` is one of several characters,
 * and `{a,b}` one of several texts. Everything else stands for itself.
 */
export const globPattern = (pattern: string): RegExp => {
  let source = ""
  let depth = 0
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern.charAt(at)
    if (pattern.startsWith("**/", at)) {
      source += "(?:.*/)?"
      at += 2
    } else if (pattern.startsWith("**", at)) {
      source += ".*"
      at += 1
    } else if (character === "*") source += "[^/]*"
    else if (character === "?") source += "[^/]"
    else if (character === "[" && endOf(pattern, at) > at) {
      const end = endOf(pattern, at)
      const inside = pattern.slice(at + 1, end).replaceAll(/[\\[\]]/g, String.raw`\$&`)
      source += `[${inside.replace(/^!/, "^")}]`
      at = end
    } else if (character === "{" && pattern.includes("}", at)) {
      depth++
      source += "(?:"
    } else if (character === "}" && depth > 0) {
      depth--
      source += ")"
    } else if (character === "," && depth > 0) source += "|"
    else source += literal(character)
  }
  try {
    return new RegExp(`^${source}$`, "s")
  } catch {
    // Such as a range that runs backwards, or an unclosed brace inside of another.
    return new RegExp(`^${literal(pattern)}$`, "s")
  }
}
