/**
 * `sed`, as far as people use it.
 */
import * as Effect from "effect/Effect"
import type { Errno } from "../kernel/errno.ts"
import type { Process, Program } from "../kernel/process.ts"
import { inputs, linesOf, withOptions } from "./options.ts"
import { toRegExp } from "./text.ts"

type Address =
  | { readonly _tag: "Line"; readonly line: number }
  | { readonly _tag: "Last" }
  | { readonly _tag: "Match"; readonly pattern: RegExp }

type Action =
  | {
      readonly _tag: "Substitute"
      readonly pattern: RegExp
      readonly replacement: string
      readonly which: number
      readonly isGlobal: boolean
      readonly prints: boolean
    }
  | { readonly _tag: "Delete" | "Print" | "Number" | "Next" }
  | { readonly _tag: "Quit"; readonly code: number }
  | { readonly _tag: "Text"; readonly where: "before" | "after" | "instead"; readonly text: string }
  | { readonly _tag: "Translate"; readonly from: string; readonly to: string }
  | { readonly _tag: "Group"; readonly body: ReadonlyArray<Command> }

interface Command {
  readonly from: Address | undefined
  readonly to: Address | undefined
  readonly isNegated: boolean
  readonly action: Action
  /** Whether the line is between the two addresses. */
  isInRange: boolean
}

class Parser {
  private readonly source: string
  private readonly isExtended: boolean
  private position = 0

  constructor(source: string, isExtended: boolean) {
    this.source = source
    this.isExtended = isExtended
  }

  private get character(): string {
    return this.source[this.position] ?? ""
  }

  private skip(pattern: RegExp): void {
    while (this.character !== "" && pattern.test(this.character)) this.position++
  }

  commands(isNested = false): ReadonlyArray<Command> {
    const commands: Array<Command> = []
    for (;;) {
      this.skip(/[\s;]/)
      if (this.character === "" || (isNested && this.character === "}")) {
        if (isNested) this.position++
        return commands
      }
      const from = this.address()
      let to: Address | undefined
      if (from !== undefined && this.character === ",") {
        this.position++
        to = this.address()
      }
      this.skip(/\s/)
      const isNegated = this.character === "!"
      if (isNegated) this.position++
      this.skip(/\s/)
      commands.push({ from, to, isNegated, action: this.action(), isInRange: false })
    }
  }

  private address(): Address | undefined {
    const line = /^\d+/.exec(this.source.slice(this.position))?.[0]
    if (line !== undefined) {
      this.position += line.length
      return { _tag: "Line", line: Number(line) }
    }
    if (this.character === "$") {
      this.position++
      return { _tag: "Last" }
    }
    if (this.character !== "/") return undefined
    this.position++
    return { _tag: "Match", pattern: toRegExp(this.delimited("/"), this.isExtended) }
  }

  /** Text up to a delimiter that is not escaped. */
  private delimited(delimiter: string): string {
    let text = ""
    while (this.character !== delimiter) {
      if (this.character === "") throw new SyntaxError("unmatched delimiter")
      if (this.character === "\\") {
        const next = this.source[this.position + 1] ?? ""
        text += next === delimiter ? next : next === "n" ? "\n" : `\\${next}`
        this.position += 2
      } else {
        text += this.character
        this.position++
      }
    }
    this.position++
    return text
  }

  private action(): Action {
    const letter = this.character
    this.position++
    switch (letter) {
      case "s": {
        const delimiter = this.character
        this.position++
        const pattern = this.delimited(delimiter)
        const replacement = this.delimited(delimiter)
        const flags = /^[gpiI0-9]*/.exec(this.source.slice(this.position))?.[0] ?? ""
        this.position += flags.length
        return {
          _tag: "Substitute",
          pattern: toRegExp(pattern, this.isExtended, /i/i.test(flags) ? "gi" : "g"),
          replacement,
          which: Number(/\d+/.exec(flags)?.[0] ?? 1),
          isGlobal: flags.includes("g"),
          prints: flags.includes("p")
        }
      }
      case "y": {
        const delimiter = this.character
        this.position++
        return { _tag: "Translate", from: this.delimited(delimiter), to: this.delimited(delimiter) }
      }
      case "d":
        return { _tag: "Delete" }
      case "p":
        return { _tag: "Print" }
      case "=":
        return { _tag: "Number" }
      case "n":
        return { _tag: "Next" }
      case "q": {
        const code = /^\s*(\d*)/.exec(this.source.slice(this.position))
        this.position += code?.[0].length ?? 0
        return { _tag: "Quit", code: Number(code?.[1] ?? 0) }
      }
      case "{":
        return { _tag: "Group", body: this.commands(true) }
      case "a":
      case "i":
      case "c": {
        this.skip(/[ \t\\]/)
        if (this.character === "\n") this.position++
        const end = this.source.indexOf("\n", this.position)
        const text = this.source.slice(this.position, end === -1 ? undefined : end)
        this.position = end === -1 ? this.source.length : end
        return { _tag: "Text", where: letter === "a" ? "after" : letter === "i" ? "before" : "instead", text }
      }
      default:
        throw new SyntaxError(`unsupported command ${letter}`)
    }
  }
}

/** The replacement for one match. */
const expand = (replacement: string, groups: ReadonlyArray<string | undefined>): string =>
  replacement.replace(/\\(\d)|\\([^])|&/g, (whole, group: string | undefined, escaped: string | undefined) =>
    group !== undefined
      ? (groups[Number(group)] ?? "")
      : escaped !== undefined
        ? escaped === "t"
          ? "\t"
          : escaped
        : whole === "&"
          ? (groups[0] ?? "")
          : whole
  )

/** What a script makes of some lines. */
const run = (
  commands: ReadonlyArray<Command>,
  lines: ReadonlyArray<string>,
  isQuiet: boolean
): { readonly output: string; readonly code: number } => {
  let output = ""
  for (let index = 0; index < lines.length; index++) {
    let space = lines[index] ?? ""
    let isDeleted = false
    let quit: number | undefined
    let after = ""
    const isAt = (address: Address) =>
      address._tag === "Line"
        ? address.line === index + 1
        : address._tag === "Last"
          ? index === lines.length - 1
          : address.pattern.test(space)
    const isSelected = (command: Command): boolean => {
      if (command.from === undefined) return true
      if (command.to === undefined) return isAt(command.from)
      if (!command.isInRange) {
        if (!isAt(command.from)) return false
        command.isInRange = !(command.to._tag === "Line" && command.to.line <= index + 1)
        return true
      }
      if (isAt(command.to)) command.isInRange = false
      return true
    }
    const execute = (all: ReadonlyArray<Command>): void => {
      for (const command of all) {
        if (isDeleted || quit !== undefined) return
        if (isSelected(command) === command.isNegated) continue
        const { action } = command
        switch (action._tag) {
          case "Substitute": {
            let count = 0
            const before = space
            space = space.replace(action.pattern, (...parts) => {
              count++
              const [whole] = parts
              const isWanted = action.isGlobal ? count >= action.which : count === action.which
              const end = parts.findIndex((part) => typeof part === "number")
              const groups = parts.slice(0, end).map((part) => (part === undefined ? undefined : String(part)))
              return isWanted ? expand(action.replacement, groups) : whole
            })
            if (action.prints && (space !== before || count >= action.which)) output += `${space}\n`
            break
          }
          case "Translate": {
            space = Array.from(space, (byte) => action.to[action.from.indexOf(byte)] ?? byte).join("")
            break
          }
          case "Delete": {
            isDeleted = true
            break
          }
          case "Print": {
            output += `${space}\n`
            break
          }
          case "Number": {
            output += `${index + 1}\n`
            break
          }
          case "Next": {
            if (!isQuiet) output += `${space}\n`
            index++
            space = lines[index] ?? ""
            isDeleted = index >= lines.length
            break
          }
          case "Quit": {
            quit = action.code
            break
          }
          case "Text": {
            if (action.where === "after") after += `${action.text}\n`
            else output += `${action.text}\n`
            isDeleted = action.where === "instead"
            break
          }
          case "Group": {
            execute(action.body)
            break
          }
        }
      }
    }
    execute(commands)
    if (!isDeleted && !isQuiet) output += `${space}\n`
    output += after
    if (quit !== undefined) return { output, code: quit }
  }
  return { output, code: 0 }
}

export const sed: Program = withOptions("nEre:f:is", (process, options) =>
  Effect.gen(function* () {
    const operands = [...options.operands]
    const scripts = [...options.all("e")]
    for (const path of options.all("f")) scripts.push(yield* process.readFile(path))
    if (scripts.length === 0) scripts.push(operands.shift() ?? "")
    const commands = parseScript(scripts.join("\n"), options.has("E") || options.has("r"))
    if ("problem" in commands) {
      yield* process.complain(`sed: ${commands.problem}`)
      return 1
    }
    const { code, found } = yield* inputs(process, operands)
    if (options.has("i")) {
      for (const { name, text } of found) {
        const stat = process.stat(name)
        yield* process.writeFile(name, run(commands.parsed, linesOf(text), options.has("n")).output, stat.mode)
      }
      return code
    }
    const all = found.map(({ text }) => text).join("")
    const result = run(commands.parsed, linesOf(all), options.has("n"))
    // A last line without an end stays without one.
    const isCut = all !== "" && !all.endsWith("\n") && result.output.endsWith("\n")
    yield* print(process, isCut ? result.output.slice(0, -1) : result.output)
    return result.code === 0 ? code : result.code
  })
)

const print = (process: Process, text: string): Effect.Effect<void, Errno> => process.print(text)

const parseScript = (
  script: string,
  isExtended: boolean
): { readonly parsed: ReadonlyArray<Command> } | { readonly problem: string } => {
  try {
    return { parsed: new Parser(script, isExtended).commands() }
  } catch (cause) {
    if (cause instanceof SyntaxError) return { problem: cause.message }
    throw cause
  }
}
