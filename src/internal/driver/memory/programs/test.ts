import * as Effect from "effect/Effect"
import { attempt, type Errno, mistake } from "../kernel/errno.ts"
import type { Process } from "../kernel/process.ts"
import { mayAccess } from "../kernel/vfs.ts"
import { fail } from "./options.ts"

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

const may = (process: Process, path: string, wanted: number): boolean => {
  const stat = process.lookAt(path)
  return stat !== undefined && mayAccess(process.actor, stat, wanted)
}

const isKind = (kind: string) => (process: Process, path: string) => process.lookAt(path)?.kind === kind

const isLink = (process: Process, path: string) => process.lookAt(path, false)?.kind === "Symlink"

const unary: { readonly [operator: string]: (process: Process, word: string) => boolean } = {
  "-z": (_, word) => word === "",
  "-n": (_, word) => word !== "",
  "-e": (process, word) => process.lookAt(word) !== undefined,
  "-f": isKind("File"),
  "-d": isKind("Directory"),
  "-c": isKind("Device"),
  "-L": isLink,
  "-h": isLink,
  "-s": (process, word) => (process.lookAt(word)?.size ?? 0) > 0,
  "-r": (process, word) => may(process, word, 4),
  "-w": (process, word) => may(process, word, 2),
  "-x": (process, word) => may(process, word, 1),
  "-t": (process, word) => process.descriptors.get(Number(word))?.terminal !== undefined,
  "-b": () => false,
  "-p": isKind("Fifo"),
  "-S": () => false
}

const evaluate = (process: Process, words: ReadonlyArray<string>): boolean => {
  let position = 0
  const accept = (word: string) => words[position] === word && ++position > 0
  const or = (): boolean => {
    let result = and()
    while (accept("-o")) result = and() || result
    return result
  }
  const and = (): boolean => {
    let result = not()
    while (accept("-a")) result = not() && result
    return result
  }
  const not = (): boolean => (position < words.length - 1 && accept("!") ? !not() : primary())
  const primary = (): boolean => {
    const [first, second, third] = words.slice(position, position + 3)
    if (first === undefined) throw mistake("argument expected")
    if (second !== undefined && third !== undefined) {
      const result = binary(first, second, third)
      if (result !== undefined) {
        position += 3
        return result
      }
    }
    if (accept("(")) {
      const result = or()
      if (!accept(")")) throw mistake("closing paren expected")
      return result
    }
    const check = unary[first]
    position += check === undefined || second === undefined ? 1 : 2
    return check === undefined || second === undefined ? first !== "" : check(process, second)
  }
  const binary = (left: string, operator: string, right: string): boolean | undefined => {
    const compare = numeric[operator]
    if (compare === undefined) return textual[operator]?.(left, right)
    const wrong = [left, right].find((word) => !/^\s*[-+]?\d+\s*$/.test(word))
    if (wrong !== undefined) throw mistake(`${wrong}: bad number`)
    return compare(Number(left), Number(right))
  }
  if (words.length === 0) return false
  const result = or()
  if (position < words.length) throw mistake(`${words[position]}: unknown operand`)
  return result
}

export const test = (process: Process, argv: ReadonlyArray<string>): Effect.Effect<number, Errno> => {
  const isBracket = /(?:^|\/)\[$/.test(argv[0] ?? "")
  if (isBracket && argv.at(-1) !== "]") return fail(process, "missing ]", usageError)
  return Effect.matchEffect(
    attempt(() => evaluate(process, argv.slice(1, isBracket ? -1 : undefined))),
    {
      onFailure: ({ problem }) => fail(process, problem, usageError),
      onSuccess: (holds) => Effect.succeed(holds ? 0 : 1)
    }
  )
}
