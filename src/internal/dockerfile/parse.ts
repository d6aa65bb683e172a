/**
 * Parses a Dockerfile into instructions, as BuildKit does: directives, continued lines, comments between them, flags and
 * here-documents. Nothing is expanded yet.
 */
import { type Position, Problem } from "./problem.ts"
import { type Lexer, unquoted, wordsInJson, wordsOf } from "./words.ts"

/** A file in the text of an instruction. */
export interface Heredoc {
  readonly name: string
  readonly content: string
  /** As written, for a shell. */
  readonly raw: string
  /** Its variables are expanded: the name has no quotes. */
  readonly expands: boolean
}

/** A flag of an instruction, such as `--from=build`. */
export interface Flag {
  readonly name: string
  /** Absent if there is no `=`. */
  readonly value: string | undefined
  readonly at: Position
}

export interface Instruction {
  /** In upper case. */
  readonly keyword: string
  readonly flags: ReadonlyArray<Flag>
  /** Everything after the flags, in one line. */
  readonly rest: string
  readonly heredocs: ReadonlyArray<Heredoc>
  readonly at: Position
  /** As written, without continuations. */
  readonly source: string
}

export interface Dockerfile {
  readonly lexer: Lexer
  readonly instructions: ReadonlyArray<Instruction>
}

const keywords = new Set([
  "ADD",
  "ARG",
  "CMD",
  "COPY",
  "ENTRYPOINT",
  "ENV",
  "EXPOSE",
  "FROM",
  "HEALTHCHECK",
  "LABEL",
  "MAINTAINER",
  "ONBUILD",
  "RUN",
  "SHELL",
  "STOPSIGNAL",
  "USER",
  "VOLUME",
  "WORKDIR"
])

const withHeredocs = new Set(["ADD", "COPY", "RUN"])

const directive = /^#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*$/

/** The frontends that this one stands in for. */
const frontend = /^(?:docker\.io\/)?docker\/dockerfile(?:-upstream)?(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?$/

const isComment = (line: string): boolean => /^\s*#/.test(line)

export const parse = (text: string): Dockerfile => {
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/)
  for (const [index, line] of lines.entries()) {
    if (line.includes("\0"))
      throw new Problem({ line: index + 1, column: line.indexOf("\0") + 1 }, "expected no NUL character")
  }
  let next = 0
  let escape: "\\" | "`" = "\\"
  const seen = new Set<string>()
  for (; next < lines.length; next++) {
    const [, name = "", value = ""] = directive.exec(lines[next] ?? "") ?? []
    const key = name.toLowerCase()
    if (!["syntax", "escape", "check"].includes(key)) break
    const at = { line: next + 1, column: 1 }
    if (seen.has(key)) throw new Problem(at, `the directive ${key} is repeated`)
    seen.add(key)
    if (key === "syntax" && !frontend.test(value)) {
      throw new Problem(at, `the frontend ${value} is not supported, only docker/dockerfile`)
    }
    if (key === "escape") {
      if (value !== "\\" && value !== "`") throw new Problem(at, "expected a backslash or a backtick as the escape")
      escape = value
    }
  }
  const lexer: Lexer = { escape }
  const continued = escape === "\\" ? /(^|[^\\])\\[ \t]*$/ : /(^|[^`])`[ \t]*$/
  const instructions: Array<Instruction> = []
  while (next < lines.length) {
    const first = lines[next] ?? ""
    if (first.trim() === "" || isComment(first)) {
      next++
      continue
    }
    const at = { line: next + 1, column: first.length - first.trimStart().length + 1 }
    let joined = ""
    let line: string | undefined = first.trimStart()
    for (;;) {
      next++
      const isContinued: boolean = continued.test(line)
      joined += isContinued ? line.replace(continued, "$1") : line
      if (!isContinued) break
      while (next < lines.length && (isComment(lines[next] ?? "") || lines[next]?.trim() === "")) next++
      line = lines[next]
      if (line === undefined) break
    }
    const [, word = "", after = ""] = /^(\S+)\s*(.*)$/s.exec(joined.trimEnd()) ?? []
    const keyword = word.toUpperCase()
    if (!keywords.has(keyword)) throw new Problem(at, `${word} is not an instruction of a Dockerfile`)
    const { flags, rest } = flagsOf(after, at, lexer)
    const heredocs: Array<Heredoc> = []
    for (const { expands, isChomped, name, word } of withHeredocs.has(keyword) ? heredocsIn(rest, lexer, at) : []) {
      const body: Array<string> = []
      for (;;) {
        const line = lines[next++]
        // The last line end of the text is not a line.
        if (line === undefined) throw new Problem(at, `the here-document ${word} has no end`)
        if ((isChomped ? line.replace(/^\t+/, "") : line) === name) break
        body.push(line)
      }
      const lined = (all: ReadonlyArray<string>) => all.map((line) => `${line}\n`).join("")
      heredocs.push({
        name,
        expands,
        content: lined(isChomped ? body.map((line) => line.replace(/^\t+/, "")) : body),
        raw: `${lined(body)}${name}`
      })
    }
    if (rest === "" && keyword !== "CMD" && keyword !== "ENTRYPOINT") {
      throw new Problem(at, `${keyword} needs an argument`)
    }
    instructions.push({ keyword, flags, rest, heredocs, at, source: joined.trim() })
  }
  return { lexer, instructions }
}

const flagsOf = (
  text: string,
  at: Position,
  lexer: Lexer
): { readonly flags: ReadonlyArray<Flag>; readonly rest: string } => {
  const flags: Array<Flag> = []
  let rest = text
  while (rest.startsWith("--")) {
    const [word = ""] = wordsOf(rest, lexer, at)
    rest = rest.slice(word.length).trimStart()
    if (word === "--") break
    const [, name = "", value] = /^--([^=]+)(?:=(.*))?$/s.exec(unquoted(word, lexer)) ?? []
    if (name === "") throw new Problem(at, `${word} is not a flag`)
    flags.push({ name, value, at })
  }
  return { flags, rest }
}

/** Recognizes a word such as `<<EOF`, `3<<EOF` or `<<-"EOF"`. */
export const heredocIn = (word: string, lexer: Lexer) => {
  const [, strip = "", quoted = ""] = /^\d*<<(-?)([^<]+)$/.exec(word) ?? []
  if (quoted === "") return undefined
  const name = unquoted(quoted, lexer)
  // A shell would call other names that, too, but no end could be told.
  return name === "" || /\s/.test(name) ? undefined : { word, name, isChomped: strip === "-", expands: name === quoted }
}

const heredocsIn = (rest: string, lexer: Lexer, at: Position) =>
  rest.includes("<<") && wordsInJson(rest) === undefined
    ? wordsOf(rest, lexer, at, true).flatMap((word) => heredocIn(word, lexer) ?? [])
    : []
