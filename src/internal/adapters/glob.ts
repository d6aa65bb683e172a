/** Patterns of file names. */
import { compilePattern } from "../config/wildcards.ts"

/**
 * Compiles a pattern of paths: `*` and `?` stay within a name, `**` crosses folders, `[…]` is one of several characters,
 * and `{a,b}` one of several texts. Everything else stands for itself.
 */
export const globPattern = (pattern: string): ((path: string) => boolean) =>
  compilePattern(pattern, { negations: "!^", hasEscapes: false, hasBraces: true, crosses: "everywhere" })
