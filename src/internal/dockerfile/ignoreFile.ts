/** Which files of a build context an instruction copies: the rules of `.dockerignore`, and patterns of sources. */
import { compilePattern, hasWrongBrackets } from "../config/wildcards.ts"

/** A pattern that matches everything below what it matches, too. */
interface Rule {
  readonly matches: (path: string) => boolean
  readonly isException: boolean
}

/** The patterns of Go, as which Docker reads both. */
const dialect = { negations: "^", hasEscapes: true, hasBraces: false, crosses: "folders" } as const

/** Docker refuses these patterns of both. */
export const isWrongPattern = (pattern: string): boolean => hasWrongBrackets(pattern, dialect)

/** Removes empty and dot segments, and resolves `..` as far as the root. */
export const cleaned = (path: string): string => {
  const names: Array<string> = []
  for (const name of path.split("/")) {
    if (name === "..") names.pop()
    else if (name !== "" && name !== ".") names.push(name)
  }
  return names.join("/")
}

const rulesOf = (lines: ReadonlyArray<string>): ReadonlyArray<Rule> =>
  lines.flatMap((line): ReadonlyArray<Rule> => {
    const trimmed = line.replace(/^\ufeff/, "").trim()
    if (trimmed === "" || line.startsWith("#")) return []
    const isException = trimmed.startsWith("!")
    const pattern = cleaned(isException ? trimmed.slice(1).trim() : trimmed)
    if (pattern === "") return []
    return [{ isException, matches: compilePattern(pattern, dialect, true) }]
  })

/** The paths of a context that an instruction copies, relative to it and in slashes. */
export interface Selection {
  /** May have wildcards. */
  readonly paths: ReadonlyArray<string>
  /** The lines of a `.dockerignore`. */
  readonly ignore: ReadonlyArray<string>
}

export const hasWildcard = (path: string): boolean => /[*?[]/.test(path)

/** Something that a source stands for. */
export interface Item {
  readonly path: string
  /** The position of its source. */
  readonly source: number
}

const segmentsOf = (path: string): ReadonlyArray<string> => (path === "" ? [] : path.split("/"))

const matchesOf = (source: string): ReadonlyArray<(name: string) => boolean> =>
  segmentsOf(cleaned(source)).map((segment) => compilePattern(segment, { ...dialect, crosses: "never" }))

/** Finds what sources stand for among sorted paths. */
export const itemsOf = (sources: ReadonlyArray<string>, paths: ReadonlyArray<string>): ReadonlyArray<Item> =>
  sources.flatMap((source, index) => {
    const matches = matchesOf(source)
    if (matches.length === 0) return [{ path: "", source: index }]
    return paths
      .filter((path) => {
        const names = segmentsOf(path)
        return names.length === matches.length && matches.every((matches, index) => matches(names[index] ?? ""))
      })
      .map((path) => ({ path, source: index }))
  })

/** Tells which paths of a context an ignore file leaves out. The last rule that matches decides. */
export const ignorerOf = (lines: ReadonlyArray<string>): ((path: string) => boolean) => leftOutBy(rulesOf(lines))

const leftOutBy =
  (rules: ReturnType<typeof rulesOf>) =>
  (path: string): boolean =>
    rules.findLast(({ matches }) => matches(path))?.isException === false

/** Compiles a selection for a walk through a context, which skips ignored folders. */
export const compile = ({ ignore, paths }: Selection) => {
  const rules = rulesOf(ignore)
  const isLeftOut = leftOutBy(rules)
  const hasExceptions = rules.some(({ isException }) => isException)
  const sources = paths.map(matchesOf)
  return {
    isIgnored: (path: string, isFolder: boolean): boolean => {
      const names = segmentsOf(path)
      const isWanted = sources.some(
        (matches) =>
          (isFolder || names.length >= matches.length) &&
          matches.every((matches, index) => index >= names.length || matches(names[index] ?? ""))
      )
      return !isWanted || (isLeftOut(path) && !(isFolder && hasExceptions))
    },
    /** Drops folders that were only walked through. */
    keep: <F extends { readonly path: string; readonly kind: string }>(files: ReadonlyArray<F>): ReadonlyArray<F> => {
      const needed = new Set<string>()
      const isInside = (path: string) => {
        const { length } = segmentsOf(path)
        return sources.some((matches) => length >= matches.length)
      }
      return files
        .toReversed()
        .filter(({ kind, path }) => {
          const isKept = kind !== "folder" || (isInside(path) && (!isLeftOut(path) || needed.has(path)))
          if (isKept) {
            for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1))
              needed.add(path.slice(0, at))
          }
          return isKept
        })
        .toReversed()
    }
  }
}
