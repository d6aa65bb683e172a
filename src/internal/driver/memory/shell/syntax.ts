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

export interface Simple {
  readonly _tag: "Simple"
  readonly assignments: ReadonlyArray<{ readonly name: string; readonly value: Word }>
  readonly words: ReadonlyArray<Word>
}

export type Compound =
  | { readonly _tag: "Subshell" | "Group"; readonly body: List }
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

export type Command = { readonly redirections: ReadonlyArray<Redirection> } & (Simple | Compound)

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

// Sticky: they match at the position of the parser.
const patterns = {
  blanks: /(?:[ \t]|\\\n|#[^\n]*)*/y,
  reserved: /(?:[a-z]+|[{}!])(?=[\s;&|<>()]|$)/y,
  token: /&&|\|\||;;|[;&|<>()]|[^\s;&|<>()]+/y,
  line: /([^\n]*)(\n|$)/y,
  function: /([A-Za-z_][\w-]*)[ \t]*\([ \t]*\)/y,
  name: /[A-Za-z_]\w*/y,
  assignment: /([A-Za-z_]\w*)=/y,
  redirection: /(\d*)(<<-?|<>|<&|>&|>>|>\||<|>)/y,
  literal: /'([^']*)'/y,
  plain: /[^\\'"$`\s;&|<>()}]+|[^]/y,
  variable: /\$([A-Za-z_]\w*|[0-9@*#?$!-])/y,
  length: /#([A-Za-z_]\w*|\d+|[@*?$!-])\}/y,
  parameter: /([A-Za-z_]\w*|\d+|[@*#?$!-])(:?[-=?+]|%%|%|##|#)?/y,
  backquoted: /`((?:\\[^]|[^`\\])*)`/y
}

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

  private get isAtWordEnd(): boolean {
    return this.isAtEnd || metacharacters.test(this.character)
  }

  private startsWith(text: string): boolean {
    return this.source.startsWith(text, this.position)
  }

  private accept(text: string): boolean {
    if (!this.startsWith(text)) return false
    this.position += text.length
    return true
  }

  private expect(text: string): void {
    if (!this.accept(text)) this.unexpected(text)
  }

  private find(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.position
    return pattern.exec(this.source)
  }

  private take(pattern: RegExp): RegExpExecArray | null {
    const match = this.find(pattern)
    this.position += match?.[0].length ?? 0
    return match
  }

  private fail(problem: string, isIncomplete = false): never {
    throw new SyntaxProblem({ problem, isIncomplete })
  }

  private unexpected(wanted?: string): never {
    const expecting = wanted === undefined ? "" : ` (expecting "${wanted}")`
    if (this.isAtEnd) this.fail(`unexpected end of file${expecting}`, true)
    if (this.character === "\n") this.fail(`unexpected newline${expecting}`)
    const token = this.find(patterns.token)?.[0] ?? this.character
    return this.fail(
      `unexpected ${reserved.has(token) || metacharacters.test(token) ? `"${token}"` : "word"}${expecting}`
    )
  }

  private blanks(): void {
    this.take(patterns.blanks)
  }

  /** Skips blanks and line ends, and reads the here-documents after them. */
  private lines(): void {
    this.blanks()
    while (this.accept("\n")) {
      for (const document of this.pending.splice(0)) this.hereDocument(document)
      this.blanks()
    }
  }

  private hereDocument({ delimiter, fill, isLiteral, stripsTabs }: PendingHereDocument): void {
    let body = ""
    while (!this.isAtEnd) {
      const [, raw = "", end = ""] = this.take(patterns.line) ?? []
      const line = stripsTabs ? raw.replace(/^\t+/, "") : raw
      if (line === delimiter) break
      body += line + end
    }
    fill(isLiteral ? [{ _tag: "Text", text: body, isQuoted: true }] : new Parser(body).hereDocumentText())
  }

  private hereDocumentText(): Word {
    return this.quoted(() => this.isAtEnd, "$`\\")
  }

  expectEnd(): void {
    this.lines()
    if (!this.isAtEnd) this.unexpected()
  }

  private reservedWord(): string | undefined {
    const word = this.find(patterns.reserved)?.[0]
    return word !== undefined && reserved.has(word) ? word : undefined
  }

  private acceptWord(word: string): boolean {
    return this.reservedWord() === word && this.accept(word)
  }

  private keyword(word: string): void {
    this.lines()
    if (!this.acceptWord(word)) this.unexpected(word)
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
      const isBackground = this.accept("&")
      items.push({ ...item, isBackground })
      if (!isBackground && !this.accept(";") && this.character !== "\n" && !this.isAtListEnd) this.unexpected()
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
    while (this.acceptWord("!")) {
      isNegated = !isNegated
      this.blanks()
    }
    const commands = [this.command()]
    for (;;) {
      this.blanks()
      if (this.startsWith("||") || !this.accept("|")) return { commands, isNegated }
      this.lines()
      commands.push(this.command())
    }
  }

  private command(): Command {
    this.blanks()
    const compound = this.compound()
    return compound === undefined ? this.simple() : this.redirected(compound)
  }

  private redirected(compound: Compound): Command {
    const redirections: Array<Redirection> = []
    do this.blanks()
    while (this.redirection(redirections))
    return { ...compound, redirections }
  }

  private compound(): Compound | undefined {
    if (this.accept("(")) {
      const body = this.nonEmptyList()
      this.expect(")")
      return { _tag: "Subshell", body }
    }
    const name = this.take(patterns.function)?.[1]
    if (name !== undefined) {
      this.lines()
      return { _tag: "Function", name, body: this.redirected(this.compound() ?? this.unexpected()) }
    }
    if (this.acceptWord("{")) {
      const body = this.nonEmptyList("}")
      this.keyword("}")
      return { _tag: "Group", body }
    }
    if (this.acceptWord("if")) return this.conditional()
    if (this.acceptWord("for")) return this.forLoop()
    if (this.acceptWord("case")) return this.caseOf()
    const isUntil = this.acceptWord("until")
    if (isUntil || this.acceptWord("while")) {
      const condition = this.nonEmptyList("do")
      return { _tag: "Loop", condition, body: this.loopBody(), isUntil }
    }
    return this.reservedWord() === undefined ? undefined : this.unexpected()
  }

  private conditional(): Compound {
    const clauses: Array<{ readonly condition: List; readonly body: List }> = []
    do {
      const condition = this.nonEmptyList("then")
      this.keyword("then")
      clauses.push({ condition, body: this.nonEmptyList("elif") })
    } while (this.acceptWord("elif"))
    const otherwise = this.acceptWord("else") ? this.nonEmptyList("fi") : undefined
    this.keyword("fi")
    return { _tag: "If", clauses, otherwise }
  }

  private loopBody(): List {
    this.keyword("do")
    const body = this.nonEmptyList("done")
    this.keyword("done")
    return body
  }

  private forLoop(): Compound {
    this.blanks()
    const name = this.take(patterns.name)?.[0] ?? this.fail("bad for loop variable")
    this.lines()
    let words: Array<Word> | undefined
    if (this.acceptWord("in")) {
      words = []
      for (this.blanks(); !this.isAtEnd && !/[;\n]/.test(this.character); this.blanks()) words.push(this.word())
    }
    this.blanks()
    this.accept(";")
    return { _tag: "For", name, words, body: this.loopBody() }
  }

  private caseOf(): Compound {
    this.blanks()
    const word = this.word()
    this.keyword("in")
    const items: Array<{ readonly patterns: ReadonlyArray<Word>; readonly body: List }> = []
    for (;;) {
      this.lines()
      if (this.acceptWord("esac")) return { _tag: "Case", word, items }
      if (this.isAtEnd) this.unexpected("esac")
      this.accept("(")
      const choices: Array<Word> = []
      do {
        this.blanks()
        choices.push(this.word())
        this.blanks()
      } while (this.accept("|"))
      this.expect(")")
      items.push({ patterns: choices, body: this.list() })
      this.lines()
      if (this.reservedWord() !== "esac") this.expect(";;")
    }
  }

  private simple(): Command {
    const assignments: Array<Simple["assignments"][number]> = []
    const words: Array<Word> = []
    const redirections: Array<Redirection> = []
    for (;;) {
      this.blanks()
      if (this.redirection(redirections)) continue
      const name = words.length === 0 ? this.take(patterns.assignment)?.[1] : undefined
      if (name !== undefined) {
        assignments.push({ name, value: this.isAtWordEnd ? [] : this.word() })
        continue
      }
      if (this.isAtWordEnd) break
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
    const match = this.take(patterns.redirection)
    if (match === null) return false
    const [, given = "", operator = ""] = match
    const fd = given === "" ? (operator.startsWith("<") ? 0 : 1) : Number(given)
    this.blanks()
    if (this.isAtWordEnd) this.unexpected()
    const target = this.word()
    if (operator === "<<" || operator === "<<-") {
      const position = redirections.push({ fd, operator: "<<", target: [] }) - 1
      this.pending.push({
        delimiter: target.map((part) => (part._tag === "Text" ? part.text : "")).join(""),
        isLiteral: target.some((part) => part.isQuoted),
        stripsTabs: operator === "<<-",
        fill: (target) => {
          redirections[position] = { fd, operator: "<<", target }
        }
      })
    } else redirections.push({ fd, operator: operators.find((known) => known === operator) ?? ">", target })
    return true
  }

  private word(): Word {
    const parts: Array<Part> = []
    if (this.isAtWordEnd) this.unexpected()
    while (!this.isAtWordEnd) this.piece(parts)
    return parts
  }

  private piece(parts: Array<Part>): void {
    if (this.special(parts)) return
    if (this.accept('"')) {
      // An empty quoted text is a word.
      pushText(parts, "", true)
      parts.push(...this.quoted(() => this.character === '"', '$`"\\'))
      this.position++
    } else if (this.character === "'") {
      const text = this.take(patterns.literal)?.[1] ?? this.fail("unterminated quoted string", true)
      pushText(parts, text, true)
    } else if (!this.startsWith("\\")) pushText(parts, this.take(patterns.plain)?.[0] ?? "", false)
    else {
      pushText(parts, this.source[this.position + 1] ?? "\\", true)
      this.position += 2
    }
  }

  /** Parses text in which only `$`, backquotes and backslashes are special. */
  private quoted(isEnd: () => boolean, escapable: string): Array<Part> {
    const parts: Array<Part> = []
    while (!isEnd()) {
      if (this.isAtEnd) this.fail("unterminated quoted string", true)
      if (this.special(parts, true)) continue
      const next = this.source[this.position + 1] ?? ""
      const isEscape = this.character === "\\" && next !== "" && escapable.includes(next)
      pushText(parts, isEscape ? next : this.character, true)
      this.position += isEscape ? 2 : 1
    }
    return parts
  }

  /** Parses what is special with and without quotes, if it is here. */
  private special(parts: Array<Part>, isQuoted = false): boolean {
    if (this.accept("\\\n")) return true
    if (this.accept("$((")) parts.push({ _tag: "Arithmetic", expression: this.arithmetic(), isQuoted })
    else if (this.accept("$(")) {
      parts.push({ _tag: "Substitution", body: this.list(), isQuoted })
      this.expect(")")
    } else if (this.accept("${")) parts.push(this.parameter(isQuoted))
    else if (this.character === "$") {
      const name = this.take(patterns.variable)?.[1]
      if (name !== undefined) parts.push({ _tag: "Parameter", name, isQuoted, isLength: false })
      else if (this.accept("$")) pushText(parts, "$", isQuoted)
    } else if (this.character === "`") {
      const script = this.take(patterns.backquoted)?.[1] ?? this.fail("EOF in backquote substitution", true)
      parts.push({ _tag: "Substitution", body: parse(script.replace(/\\([`\\$])/g, "$1")), isQuoted })
    } else return false
    return true
  }

  private arithmetic(): Word {
    let depth = 0
    const isEnd = () => {
      if (this.character === "(") depth++
      if (this.character === ")") {
        if (depth === 0 && this.startsWith("))")) return true
        depth--
      }
      return false
    }
    const expression = this.quoted(isEnd, '$`"\\')
    this.position += 2
    return expression
  }

  private parameter(isQuoted: boolean): Part {
    const length = this.take(patterns.length)?.[1]
    if (length !== undefined) return { _tag: "Parameter", name: length, isQuoted, isLength: true }
    const [, name = "", operator] = this.take(patterns.parameter) ?? this.fail("bad substitution")
    if (operator === undefined) {
      if (!this.accept("}")) this.fail("bad substitution", this.isAtEnd)
      return { _tag: "Parameter", name, isQuoted, isLength: false }
    }
    const word: Array<Part> = []
    while (this.character !== "}") {
      if (this.isAtEnd) this.fail('unexpected end of file (expecting "}")', true)
      if (isQuoted && this.character !== '"') {
        word.push(...this.quoted(() => this.character === "}" || this.character === '"', '$`"\\}'))
      } else this.piece(word)
    }
    this.position++
    return { _tag: "Parameter", name, isQuoted, isLength: false, operator, word }
  }
}

const pushText = (parts: Array<Part>, text: string, isQuoted: boolean): void => {
  const last = parts.at(-1)
  if (last?._tag === "Text" && last.isQuoted === isQuoted && text !== "") {
    parts[parts.length - 1] = { _tag: "Text", text: last.text + text, isQuoted }
  } else parts.push({ _tag: "Text", text, isQuoted })
}
