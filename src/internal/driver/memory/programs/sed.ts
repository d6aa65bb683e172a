/** The part of `sed` that people use most: `s`, `d`, `p` and `q`, at lines, ranges and patterns. */
import * as Effect from "effect/Effect"
import type { Program } from "../kernel/process.ts"
import { fail, inputs, linesOf, withOptions } from "./options.ts"
import { regExpOf, regExpOrNothing } from "../shell/pattern.ts"

type Address = (line: string, number: number, isLast: boolean) => boolean

interface Command {
  readonly from: Address | undefined
  readonly to: Address | undefined
  readonly isNegated: boolean
  readonly letter: string
  readonly replace: (line: string) => string
  readonly flags: string
  isInRange: boolean
}

const commandPattern =
  /\s*(?:(\d+|\$|\/(?:\\.|[^/])*\/)(?:,(\d+|\$|\/(?:\\.|[^/])*\/))?)?\s*(!?)\s*(?:([dpq])|s([^\n\\])((?:\\[^]|(?!\5)[^])*)\5((?:\\[^]|(?!\5)[^])*)\5([gpiI0-9]*))\s*(?:[;\n]|$)\s*/y

const addressOf = (text: string | undefined, isExtended: boolean): Address | undefined => {
  if (text === undefined) return undefined
  if (text === "$") return (_, __, isLast) => isLast
  if (/^\d/.test(text)) return (_, number) => number === Number(text)
  const pattern = regExpOf(text.slice(1, -1).replaceAll("\\/", "/"), isExtended)
  return (line) => pattern.test(line)
}

const expand = (replacement: string, groups: ReadonlyArray<string>): string =>
  replacement.replace(/\\(\d)|\\([^])|&/g, (_, group: string | undefined, escaped: string | undefined) =>
    escaped !== undefined ? ({ n: "\n", t: "\t" }[escaped] ?? escaped) : (groups[Number(group ?? 0)] ?? "")
  )

/** Parses a script. Throws `SyntaxError`. */
const parse = (script: string, isExtended: boolean): ReadonlyArray<Command> => {
  const commands: Array<Command> = []
  for (commandPattern.lastIndex = 0; commandPattern.lastIndex < script.length;) {
    const match = commandPattern.exec(script)
    if (match === null) throw new SyntaxError("unsupported command")
    const [, from, to, negation, letter = "s", delimiter = "", pattern = "", replacement = "", flags = ""] = match
    const plain = (text: string) => text.replaceAll(`\\${delimiter}`, delimiter)
    const expression = regExpOf(plain(pattern).replaceAll("\\n", "\n"), isExtended, /i/i.test(flags) ? "gi" : "g")
    const which = Number(/\d+/.exec(flags)?.[0] ?? 1)
    commands.push({
      from: addressOf(from, isExtended),
      to: addressOf(to, isExtended),
      isNegated: negation === "!",
      letter,
      flags,
      isInRange: false,
      replace: (line) => {
        let count = 0
        return line.replace(expression, (...parts) =>
          ++count === which || (count > which && flags.includes("g"))
            ? expand(
                plain(replacement),
                parts.map((part) => (typeof part === "string" ? part : ""))
              )
            : parts[0]
        )
      }
    })
  }
  return commands
}

const isSelected = (command: Command, ...at: Parameters<Address>): boolean => {
  if (command.from === undefined) return true
  if (command.to === undefined) return command.from(...at)
  if (command.isInRange) command.isInRange = !command.to(...at)
  else if (command.from(...at)) command.isInRange = true
  else return false
  return true
}

const run = (commands: ReadonlyArray<Command>, text: string, isQuiet: boolean): string => {
  const lines = linesOf(text)
  let output = ""
  for (const [index, original] of lines.entries()) {
    let line = original
    let isDeleted = false
    let isOver = false
    for (const command of commands) {
      if (isSelected(command, line, index + 1, index === lines.length - 1) === command.isNegated) continue
      const before = line
      if (command.letter === "s") line = command.replace(line)
      if (command.letter === "p" || (command.flags.includes("p") && line !== before)) output += `${line}\n`
      isDeleted ||= command.letter === "d"
      isOver ||= command.letter === "q"
      if (isDeleted || isOver) break
    }
    if (!isDeleted && !isQuiet) output += `${line}\n`
    if (isOver) return output
  }
  // A last line without an end stays without one.
  return text.endsWith("\n") ? output : output.replace(/\n$/, "")
}

export const sed: Program = withOptions(
  "nEre:i",
  Effect.fnUntraced(function* (process, options) {
    const scripts = options.has("e") ? options.all("e") : options.operands.slice(0, 1)
    const paths = options.has("e") ? options.operands : options.operands.slice(1)
    const commands = regExpOrNothing(() => parse(scripts.join("\n"), options.has("E") || options.has("r")))
    if (commands === undefined) return yield* fail(process, "unsupported command")
    const { code, found } = yield* inputs(process, paths)
    if (!options.has("i")) {
      yield* process.print(run(commands, found.map(({ text }) => text).join(""), options.has("n")))
      return code
    }
    for (const { name, text } of found) {
      yield* process.writeFile(name, run(commands, text, options.has("n")), process.stat(name).mode)
    }
    return code
  })
)
