/** The shell's language, a subset of POSIX's. */
import * as Data from "effect/Data"

export type Part =
  | { readonly _tag: "Text"; readonly text: string; readonly isQuoted: boolean }
  | {
      readonly _tag: "Parameter"
      readonly name: string
      readonly isQuoted: boolean
      /** `${#name}` */
      readonly isLength: boolean
      /** `:-`, `%%` and the like, with what follows. */
      readonly operator?: string
      readonly word?: Word
    }
  | { readonly _tag: "Substitution"; readonly body: List; readonly isQuoted: boolean }
  | { readonly _tag: "Arithmetic"; readonly expression: Word; readonly isQuoted: boolean }

export type Word = ReadonlyArray<Part>

const operators = ["<", ">", ">>", "<>", "<&", ">&", "<<"] as const

export interface Redirection {
  readonly fd: number
  readonly operator: (typeof operators)[number]
  /** A path, a descriptor, or the text of a here-document. */
  readonly target: Word
}

export interface Assignment {
  readonly name: string
  readonly value: Word
}

export type Command = { readonly redirections: ReadonlyArray<Redirection> } & (
  | { readonly _tag: "Simple"; readonly assignments: ReadonlyArray<Assignment>; readonly words: ReadonlyArray<Word> }
  | { readonly _tag: "Subshell"; readonly body: List }
  | { readonly _tag: "Group"; readonly body: List }
  | {
      readonly _tag: "If"
      readonly clauses: ReadonlyArray<{ readonly condition: List; readonly body: List }>
      readonly otherwise: List | undefined
    }
  | { readonly _tag: "Loop"; readonly condition: List; readonly body: List; readonly isUntil: boolean }
  | {
      readonly _tag: "For"
      readonly name: string
      readonly words: ReadonlyArray<Word> | undefined
      readonly body: List
    }
  | {
      readonly _tag: "Case"
      readonly word: Word
      readonly items: ReadonlyArray<{ readonly patterns: ReadonlyArray<Word>; readonly body: List }>
    }
  | { readonly _tag: "Function"; readonly name: string; readonly body: Command }
)

export interface Pipeline {
  readonly commands: ReadonlyArray<Command>
  readonly isNegated: boolean
}

export interface AndOr {
  readonly first: Pipeline
  readonly rest: ReadonlyArray<{ readonly operator: "&&" | "||"; readonly pipeline: Pipeline }>
  readonly isBackground: boolean
}

export type List = ReadonlyArray<AndOr>

/** A syntax error. `isIncomplete`: more text could mend it. */
export class SyntaxProblem extends Data.TaggedError("SyntaxProblem")<{
  readonly problem: string
  readonly isIncomplete: boolean
}> {
  override get message(): string {
    return `syntax error: ${this.problem}`
  }
}

/** Reserved words that end a list. */
const closing = new Set(["then", "elif", "else", "fi", "do", "done", "esac", "}"])

const reserved = new Set([...closing, "if", "while", "until", "for", "case", "{", "!", "in"])

const metacharacters = /[\s;&|<>()]/

interface PendingHereDocument {
  readonly delimiter: string
  readonly isLiteral: boolean
  readonly stripsTabs: boolean
  readonly fill: (body: Word) => void
}

/** Parses a script. Throws `SyntaxProblem`. */
export const parse = (source: string): List => {
  const parser = new Parser(source)
  const list = parser.list()
  parser.expectEnd()
  return list
}

class Parser {
  private readonly source: string
  private position = 0
  private pending: Array<PendingHereDocument> = []

  constructor(source: string) {
    this.source = source
  }

  private get character(): string {
    return this.source[this.position] ?? ""
  }

  private get isAtEnd(): boolean {
    return this.position >= this.source.length
  }

  private startsWith(text: string): boolean {
    return this.source.startsWith(text, this.position)
  }

  private accept(text: string): boolean {
    if (!this.startsWith(text)) return false
    this.position += text.length
    return true
  }

  private fail(problem: string, isIncomplete = false): never {
    throw new SyntaxProblem({ problem, isIncomplete })
  }

  private unexpected(wanted?: string): never {
    const expecting = wanted === undefined ? "" : ` (expecting "${wanted}")`
    if (this.isAtEnd) this.fail(`unexpected end of file${expecting}`, true)
    if (this.character === "\n") this.fail(`unexpected newline${expecting}`)
    const token =
      /^(?:&&|\|\||;;|[;&|<>()]|[^\s;&|<>()]+)/.exec(this.source.slice(this.position))?.[0] ?? this.character
    return this.fail(
      `unexpected ${reserved.has(token) || metacharacters.test(token) ? `"${token}"` : "word"}${expecting}`
    )
  }

  private blanks(): void {
    const skipped = /^(?:[ \t]|\\\n|#[^\n]*)*/.exec(this.source.slice(this.position))
    this.position += skipped?.[0].length ?? 0
  }

  /** Skips blanks and line ends, and reads the here-documents after them. */
  private lines(): void {
    for (;;) {
      this.blanks()
      if (this.character !== "\n") return
      this.position++
      this.hereDocuments()
    }
  }

  private hereDocuments(): void {
    const { pending } = this
    this.pending = []
    for (const { delimiter, fill, isLiteral, stripsTabs } of pending) {
      let body = ""
      for (;;) {
        if (this.isAtEnd) break
        const end = this.source.indexOf("\n", this.position)
        const raw = this.source.slice(this.position, end === -1 ? undefined : end)
        this.position = end === -1 ? this.source.length : end + 1
        const line = stripsTabs ? raw.replace(/^\t+/, "") : raw
        if (line === delimiter) break
        body += end === -1 ? line : `${line}\n`
      }
      fill(isLiteral ? [{ _tag: "Text", text: body, isQuoted: true }] : new Parser(body).hereDocumentText())
    }
  }

  private hereDocumentText(): Word {
    const parts: Array<Part> = []
    this.quoted(parts, () => this.isAtEnd, "$`\\")
    return parts
  }

  expectEnd(): void {
    this.lines()
    if (!this.isAtEnd) this.unexpected()
  }

  /** The reserved word at this position. */
  private reservedWord(): string | undefined {
    const match = /^(?:[a-z]+|[{}!])(?=[\s;&|<>()]|$)/.exec(this.source.slice(this.position, this.position + 16))
    const word = match?.[0]
    return word !== undefined && reserved.has(word) ? word : undefined
  }

  private get isAtListEnd(): boolean {
    return this.isAtEnd || this.character === ")" || this.startsWith(";;") || closing.has(this.reservedWord() ?? "")
  }

  /** Parses commands up to a reserved word that closes, a closing parenthesis or the end. */
  list(): List {
    const items: Array<AndOr> = []
    for (;;) {
      this.lines()
      if (this.isAtListEnd) return items
      const item = this.andOr()
      this.blanks()
      if (this.startsWith(";;")) return [...items, item]
      const isBackground = this.character === "&"
      items.push(isBackground ? { ...item, isBackground } : item)
      if (this.character === ";" || isBackground) this.position++
      else if (this.character !== "\n" && !this.isAtListEnd) this.unexpected()
    }
  }

  private nonEmptyList(wanted?: string): List {
    const list = this.list()
    if (list.length === 0) this.unexpected(this.isAtEnd ? wanted : undefined)
    return list
  }

  private andOr(): AndOr {
    const first = this.pipeline()
    const rest: Array<AndOr["rest"][number]> = []
    for (;;) {
      this.blanks()
      const operator = this.accept("&&") ? "&&" : this.accept("||") ? "||" : undefined
      if (operator === undefined) return { first, rest, isBackground: false }
      this.lines()
      rest.push({ operator, pipeline: this.pipeline() })
    }
  }

  private pipeline(): Pipeline {
    let isNegated = false
    this.blanks()
    while (this.reservedWord() === "!") {
      this.position++
      isNegated = !isNegated
      this.blanks()
    }
    const commands = [this.command()]
    for (;;) {
      this.blanks()
      if (this.character !== "|" || this.startsWith("||")) return { commands, isNegated }
      this.position++
      this.lines()
      commands.push(this.command())
    }
  }

  private command(): Command {
    this.blanks()
    const compound = this.compound()
    if (compound === undefined) return this.simple()
    const redirections: Array<Redirection> = []
    for (;;) {
      this.blanks()
      if (!this.redirection(redirections)) return { ...compound, redirections }
    }
  }

  private compound(): Command | undefined {
    const redirections: ReadonlyArray<Redirection> = []
    if (this.character === "(") {
      this.position++
      const body = this.nonEmptyList()
      if (!this.accept(")")) this.unexpected(")")
      return { _tag: "Subshell", body, redirections }
    }
    const functionName = /^([A-Za-z_][\w-]*)[ \t]*\([ \t]*\)/.exec(this.source.slice(this.position))
    if (functionName !== null) {
      this.position += functionName[0].length
      this.lines()
      const body = this.compound() ?? this.unexpected()
      return { _tag: "Function", name: functionName[1] ?? "", body, redirections }
    }
    const word = this.reservedWord()
    if (word === undefined) return undefined
    const start = this.position
    this.position += word.length
    switch (word) {
      case "{": {
        const body = this.nonEmptyList("}")
        this.keyword("}")
        return { _tag: "Group", body, redirections }
      }
      case "if":
        return this.conditional()
      case "while":
      case "until": {
        const condition = this.nonEmptyList("do")
        return { _tag: "Loop", condition, body: this.loopBody(), isUntil: word === "until", redirections }
      }
      case "for":
        return this.forLoop()
      case "case":
        return this.caseOf()
      default: {
        this.position = start
        return this.unexpected()
      }
    }
  }

  private keyword(word: string): void {
    this.lines()
    if (this.reservedWord() !== word) this.unexpected(word)
    this.position += word.length
  }

  private conditional(): Command {
    const clauses: Array<{ readonly condition: List; readonly body: List }> = []
    let otherwise: List | undefined
    for (;;) {
      const condition = this.nonEmptyList("then")
      this.keyword("then")
      clauses.push({ condition, body: this.nonEmptyList("elif") })
      const word = this.reservedWord()
      if (word === "elif") {
        this.position += word.length
        continue
      }
      if (word === "else") {
        this.position += word.length
        otherwise = this.nonEmptyList("fi")
      }
      this.keyword("fi")
      return { _tag: "If", clauses, otherwise, redirections: [] }
    }
  }

  private loopBody(): List {
    this.keyword("do")
    const body = this.nonEmptyList("done")
    this.keyword("done")
    return body
  }

  private forLoop(): Command {
    this.blanks()
    const name = /^[A-Za-z_]\w*/.exec(this.source.slice(this.position))?.[0]
    if (name === undefined) this.fail("bad for loop variable")
    this.position += name.length
    this.lines()
    let words: Array<Word> | undefined
    if (this.reservedWord() === "in") {
      this.position += 2
      words = []
      for (;;) {
        this.blanks()
        if (this.isAtEnd || this.character === ";" || this.character === "\n") break
        words.push(this.word())
      }
    }
    this.blanks()
    if (this.character === ";") this.position++
    return { _tag: "For", name, words, body: this.loopBody(), redirections: [] }
  }

  private caseOf(): Command {
    this.blanks()
    const word = this.word()
    this.keyword("in")
    const items: Array<{ readonly patterns: ReadonlyArray<Word>; readonly body: List }> = []
    for (;;) {
      this.lines()
      if (this.reservedWord() === "esac") break
      if (this.isAtEnd) this.unexpected("esac")
      this.accept("(")
      const patterns: Array<Word> = []
      do {
        this.blanks()
        patterns.push(this.word())
        this.blanks()
      } while (this.accept("|"))
      if (!this.accept(")")) this.unexpected(")")
      const body = this.list()
      items.push({ patterns, body })
      this.lines()
      if (!this.accept(";;") && this.reservedWord() !== "esac") this.unexpected(";;")
    }
    this.position += "esac".length
    return { _tag: "Case", word, items, redirections: [] }
  }

  private simple(): Command {
    const assignments: Array<Assignment> = []
    const words: Array<Word> = []
    const redirections: Array<Redirection> = []
    for (;;) {
      this.blanks()
      if (this.redirection(redirections)) continue
      const assigned = words.length === 0 ? /^([A-Za-z_]\w*)=/.exec(this.source.slice(this.position)) : null
      if (assigned !== null) {
        this.position += assigned[0].length
        const isEmpty = this.isAtEnd || metacharacters.test(this.character)
        assignments.push({ name: assigned[1] ?? "", value: isEmpty ? [] : this.word() })
        continue
      }
      if (this.isAtEnd || metacharacters.test(this.character)) break
      words.push(this.word())
      // Only a function has a parenthesis after its name.
      this.blanks()
      if (words.length === 1 && assignments.length === 0 && this.accept("(")) {
        this.blanks()
        this.unexpected(")")
      }
    }
    if (assignments.length === 0 && words.length === 0 && redirections.length === 0) this.unexpected()
    return { _tag: "Simple", assignments, words, redirections }
  }

  private redirection(redirections: Array<Redirection>): boolean {
    const match = /^(\d*)(<<-?|<>|<&|>&|>>|>\||<|>)/.exec(this.source.slice(this.position))
    const operator = match?.[2]
    if (match === null || operator === undefined) return false
    this.position += match[0].length
    const fd = match[1] === "" || match[1] === undefined ? (operator.startsWith("<") ? 0 : 1) : Number(match[1])
    this.blanks()
    if (this.isAtEnd || metacharacters.test(this.character)) this.unexpected()
    if (operator === "<<" || operator === "<<-") {
      const word = this.word()
      const position = redirections.length
      redirections.push({ fd, operator: "<<", target: [] })
      this.pending.push({
        delimiter: word.map((part) => (part._tag === "Text" ? part.text : "")).join(""),
        isLiteral: word.some((part) => part.isQuoted),
        stripsTabs: operator === "<<-",
        fill: (target) => {
          redirections[position] = { fd, operator: "<<", target }
        }
      })
      return true
    }
    const kept = operators.find((known) => known === operator) ?? ">"
    redirections.push({ fd, operator: kept, target: this.word() })
    return true
  }

  private word(): Word {
    const parts: Array<Part> = []
    const start = this.position
    while (!this.isAtEnd && !metacharacters.test(this.character)) this.wordPart(parts)
    if (this.position === start) this.unexpected()
    return parts
  }

  private wordPart(parts: Array<Part>): void {
    switch (this.character) {
      case "\\": {
        if (this.startsWith("\\\n")) this.position += 2
        else {
          pushText(parts, this.source[this.position + 1] ?? "\\", true)
          this.position += 2
        }
        break
      }
      case "'": {
        const end = this.source.indexOf("'", this.position + 1)
        if (end === -1) this.fail("unterminated quoted string", true)
        pushText(parts, this.source.slice(this.position + 1, end), true)
        this.position = end + 1
        break
      }
      case '"': {
        this.position++
        // An empty quoted text is a word.
        pushText(parts, "", true)
        this.quoted(parts, () => this.character === '"', '$`"\\')
        this.position++
        break
      }
      case "$": {
        this.dollar(parts, false)
        break
      }
      case "`": {
        this.backquote(parts, false)
        break
      }
      default: {
        const run = /^[^\\'"$`\s;&|<>()]+/.exec(this.source.slice(this.position))?.[0] ?? this.character
        pushText(parts, run, false)
        this.position += run.length
      }
    }
  }

  /** Parses text in which only `$`, backquotes and backslashes are special. */
  private quoted(parts: Array<Part>, isEnd: () => boolean, escapable: string): void {
    while (!isEnd()) {
      if (this.isAtEnd) this.fail("unterminated quoted string", true)
      const next = this.source[this.position + 1] ?? ""
      if (this.character === "\\" && next === "\n") this.position += 2
      else if (this.character === "\\" && next !== "" && escapable.includes(next)) {
        pushText(parts, next, true)
        this.position += 2
      } else if (this.character === "$") this.dollar(parts, true)
      else if (this.character === "`") this.backquote(parts, true)
      else {
        pushText(parts, this.character, true)
        this.position++
      }
    }
  }

  private dollar(parts: Array<Part>, isQuoted: boolean): void {
    if (this.accept("$((")) {
      parts.push({ _tag: "Arithmetic", expression: this.arithmetic(), isQuoted })
    } else if (this.accept("$(")) {
      const body = this.list()
      if (!this.accept(")")) this.unexpected(")")
      parts.push({ _tag: "Substitution", body, isQuoted })
    } else if (this.accept("${")) {
      parts.push(this.parameter(isQuoted))
    } else {
      const name = /^\$([A-Za-z_]\w*|[0-9@*#?$!-])/.exec(this.source.slice(this.position))?.[1]
      this.position += 1 + (name?.length ?? 0)
      if (name === undefined) pushText(parts, "$", isQuoted)
      else parts.push({ _tag: "Parameter", name, isQuoted, isLength: false })
    }
  }

  private arithmetic(): Word {
    const parts: Array<Part> = []
    let depth = 0
    this.quoted(
      parts,
      () => {
        if (this.character === "(") depth++
        if (this.character === ")") {
          if (depth === 0 && this.startsWith("))")) return true
          depth--
        }
        return false
      },
      '$`"\\'
    )
    this.position += 2
    return parts
  }

  private parameter(isQuoted: boolean): Part {
    const rest = this.source.slice(this.position)
    const length = /^#([A-Za-z_]\w*|\d+|[@*?$!-])\}/.exec(rest)
    if (length !== null) {
      this.position += length[0].length
      return { _tag: "Parameter", name: length[1] ?? "", isQuoted, isLength: true }
    }
    const match = /^([A-Za-z_]\w*|\d+|[@*#?$!-])(:?[-=?+]|%%|%|##|#)?/.exec(rest)
    if (match === null) this.fail("bad substitution")
    this.position += match[0].length
    const [, name = "", operator] = match
    if (operator === undefined) {
      if (!this.accept("}")) this.fail("bad substitution", this.isAtEnd)
      return { _tag: "Parameter", name, isQuoted, isLength: false }
    }
    const word: Array<Part> = []
    while (this.character !== "}") {
      if (this.isAtEnd) this.fail('unexpected end of file (expecting "}")', true)
      if (isQuoted && this.character !== '"') {
        this.quoted(word, () => this.character === "}" || this.character === '"', '$`"\\}')
      } else if (/[\s;&|<>()]/.test(this.character)) {
        pushText(word, this.character, false)
        this.position++
      } else {
        const run = /^[^\\'"$`\s;&|<>()}]+/.exec(this.source.slice(this.position))?.[0]
        if (run === undefined) this.wordPart(word)
        else {
          pushText(word, run, false)
          this.position += run.length
        }
      }
    }
    this.position++
    return { _tag: "Parameter", name, isQuoted, isLength: false, operator, word }
  }

  private backquote(parts: Array<Part>, isQuoted: boolean): void {
    let script = ""
    this.position++
    while (this.character !== "`") {
      if (this.isAtEnd) this.fail("EOF in backquote substitution", true)
      const next = this.source[this.position + 1] ?? ""
      if (this.character === "\\" && (next === "`" || next === "\\" || next === "$")) {
        script += next
        this.position += 2
      } else {
        script += this.character
        this.position++
      }
    }
    this.position++
    parts.push({ _tag: "Substitution", body: parse(script), isQuoted })
  }
}

const pushText = (parts: Array<Part>, text: string, isQuoted: boolean): void => {
  const last = parts.at(-1)
  if (last?._tag === "Text" && last.isQuoted === isQuoted && (text !== "" || last.text !== "")) {
    parts[parts.length - 1] = { _tag: "Text", text: last.text + text, isQuoted }
  } else parts.push({ _tag: "Text", text, isQuoted })
}
