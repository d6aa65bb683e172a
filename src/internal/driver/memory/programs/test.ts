import * as Effect from "effect/Effect"
import type { Errno } from "../kernel/errno.ts"
import type { Process } from "../kernel/process.ts"
import { mayAccess } from "../kernel/vfs.ts"

const usageError = 2

const numeric: { readonly [operator: string]: (left: number, right: number) => boolean } = {
  "-eq": (left, right) => left === right,
  "-ne": (left, right) => left !== right,
  "-lt": (left, right) => left < right,
  "-le": (left, right) => left <= right,
  "-gt": (left, right) => left > right,
  "-ge": (left, right) => left >= right
}

const textual: { readonly [operator: string]: (left: string, right: string) => boolean } = {
  "=": (left, right) => left === right,
  "==": (left, right) => left === right,
  "!=": (left, right) => left !== right,
  "<": (left, right) => left < right,
  ">": (left, right) => left > right
}

/** A mistake in an expression. */
interface Mistake {
  readonly problem: string
}

class Evaluator {
  private readonly process: Process
  private readonly words: ReadonlyArray<string>
  private position = 0
  mistake: Mistake | undefined

  constructor(process: Process, words: ReadonlyArray<string>) {
    this.process = process
    this.words = words
  }

  evaluate(): boolean {
    if (this.words.length === 0) return false
    const result = this.or()
    if (this.position < this.words.length) this.fail(`${this.words[this.position]}: unknown operand`)
    return result
  }

  private fail(problem: string): false {
    this.mistake ??= { problem }
    return false
  }

  private or(): boolean {
    let result = this.and()
    while (this.words[this.position] === "-o") {
      this.position++
      const right = this.and()
      result = result || right
    }
    return result
  }

  private and(): boolean {
    let result = this.not()
    while (this.words[this.position] === "-a") {
      this.position++
      const right = this.not()
      result = result && right
    }
    return result
  }

  private not(): boolean {
    const isLast = this.position === this.words.length - 1
    if (this.words[this.position] === "!" && !isLast) {
      this.position++
      return !this.not()
    }
    return this.primary()
  }

  private primary(): boolean {
    const [first, second, third] = this.words.slice(this.position, this.position + 3)
    if (first === undefined) return this.fail("argument expected")
    if (second !== undefined && third !== undefined) {
      const binary = this.binary(first, second, third)
      if (binary !== undefined) {
        this.position += 3
        return binary
      }
    }
    if (first === "(") {
      this.position++
      const result = this.or()
      if (this.words[this.position] !== ")") return this.fail("closing paren expected")
      this.position++
      return result
    }
    if (/^-[a-zA-Z]$/.test(first) && second !== undefined) {
      const unary = this.unary(first, second)
      if (unary !== undefined) {
        this.position += 2
        return unary
      }
    }
    this.position++
    return first !== ""
  }

  private binary(left: string, operator: string, right: string): boolean | undefined {
    const compareText = textual[operator]
    if (compareText !== undefined) return compareText(left, right)
    const compare = numeric[operator]
    if (compare !== undefined) {
      for (const word of [left, right]) {
        if (!/^\s*[-+]?\d+\s*$/.test(word)) return this.fail(`${word}: bad number`)
      }
      return compare(Number(left), Number(right))
    }
    if (operator !== "-nt" && operator !== "-ot" && operator !== "-ef") return undefined
    const one = this.process.lookAt(left)
    const other = this.process.lookAt(right)
    if (one === undefined || other === undefined) return operator === "-nt" && one !== undefined
    if (operator === "-ef") return JSON.stringify(one) === JSON.stringify(other)
    return operator === "-nt" ? one.modifiedAt > other.modifiedAt : one.modifiedAt < other.modifiedAt
  }

  private unary(operator: string, word: string): boolean | undefined {
    const { process } = this
    const stat = (isFollowed = true) => process.lookAt(word, isFollowed)
    const may = (wanted: number) => {
      const found = stat()
      return found !== undefined && mayAccess(process.actor, found, wanted)
    }
    switch (operator) {
      case "-z":
        return word === ""
      case "-n":
        return word !== ""
      case "-e":
        return stat() !== undefined
      case "-f":
        return stat()?.kind === "File"
      case "-d":
        return stat()?.kind === "Directory"
      case "-c":
        return stat()?.kind === "Device"
      case "-L":
      case "-h":
        return stat(false)?.kind === "Symlink"
      case "-s":
        return (stat()?.size ?? 0) > 0
      case "-r":
        return may(4)
      case "-w":
        return may(2)
      case "-x":
        return may(1)
      case "-u":
        return ((stat()?.mode ?? 0) & 0o4000) !== 0
      case "-g":
        return ((stat()?.mode ?? 0) & 0o2000) !== 0
      case "-k":
        return ((stat()?.mode ?? 0) & 0o1000) !== 0
      case "-t":
        return process.descriptors.get(Number(word))?.terminal !== undefined
      case "-b":
      case "-p":
      case "-S":
        return false
      default:
        return undefined
    }
  }
}

/** `test` and `[`. */
export const test = (process: Process, argv: ReadonlyArray<string>): Effect.Effect<number, Errno> => {
  const name = argv[0] ?? "test"
  const isBracket = name === "[" || name.endsWith("/[")
  if (isBracket && argv.at(-1) !== "]") return Effect.as(process.complain("sh: missing ]"), usageError)
  const evaluator = new Evaluator(process, isBracket ? argv.slice(1, -1) : argv.slice(1))
  const result = evaluator.evaluate()
  return evaluator.mistake === undefined
    ? Effect.succeed(result ? 0 : 1)
    : Effect.as(process.complain(`sh: ${evaluator.mistake.problem}`), usageError)
}
