/** Arithmetic of the shell. */
import * as Data from "effect/Data"

export class ArithmeticProblem extends Data.TaggedError("ArithmeticProblem")<{ readonly problem: string }> {
  override get message(): string {
    return this.problem
  }
}

export interface Variables {
  readonly get: (name: string) => string | undefined
  readonly set: (name: string, value: string) => void
}

const syntaxError = () => new ArithmeticProblem({ problem: "arithmetic syntax error" })

const tokenPattern =
  /\s*(<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||\+=|-=|\*=|\/=|%=|&=|\|=|\^=|\+\+|--|[-+*/%<>=!~&|^?:()]|0[xX][\da-fA-F]+|\d+|[A-Za-z_]\w*)/y

const tokenize = (text: string): ReadonlyArray<string> => {
  const tokens: Array<string> = []
  tokenPattern.lastIndex = 0
  while (tokenPattern.lastIndex < text.trimEnd().length) {
    const match = tokenPattern.exec(text)
    if (match?.[1] === undefined) throw syntaxError()
    tokens.push(match[1])
  }
  return tokens
}

const bitwise = (run: (left: bigint, right: bigint) => bigint) => (left: number, right: number) =>
  Number(run(BigInt(left), BigInt(right)))

type Operation = readonly [precedence: number, run: (left: number, right: number) => number]

const operations: { readonly [operator: string]: Operation } = {
  "||": [0, (left, right) => Number(left !== 0 || right !== 0)],
  "&&": [1, (left, right) => Number(left !== 0 && right !== 0)],
  "|": [2, bitwise((left, right) => left | right)],
  "^": [3, bitwise((left, right) => left ^ right)],
  "&": [4, bitwise((left, right) => left & right)],
  "==": [5, (left, right) => Number(left === right)],
  "!=": [5, (left, right) => Number(left !== right)],
  "<": [6, (left, right) => Number(left < right)],
  ">": [6, (left, right) => Number(left > right)],
  "<=": [6, (left, right) => Number(left <= right)],
  ">=": [6, (left, right) => Number(left >= right)],
  "<<": [7, (left, right) => left * 2 ** right],
  ">>": [7, (left, right) => Math.floor(left / 2 ** right)],
  "+": [8, (left, right) => left + right],
  "-": [8, (left, right) => left - right],
  "*": [9, (left, right) => left * right],
  "/": [9, (left, right) => Math.trunc(left / divisor(right))],
  "%": [9, (left, right) => left % divisor(right)]
}

const tightest = 9

const divisor = (number: number): number => {
  if (number === 0) throw new ArithmeticProblem({ problem: "divide by zero" })
  return number
}

export const evaluate = (text: string, variables: Variables): number => {
  const tokens = tokenize(text)
  let position = 0
  const peek = () => tokens[position]
  const accept = (token: string) => (tokens[position] === token ? ((position += 1), true) : false)
  const valueOf = (name: string): number => {
    const value = variables.get(name) ?? ""
    return value.trim() === "" ? 0 : toNumber(value)
  }
  const toNumber = (token: string): number => {
    const number = /^0\d+$/.test(token) ? Number.parseInt(token, 8) : Number(token)
    if (!Number.isInteger(number)) throw syntaxError()
    return number
  }
  const isName = (token: string | undefined): token is string => token !== undefined && /^[A-Za-z_]/.test(token)

  const primary = (): number => {
    const token = peek()
    if (token === undefined) throw syntaxError()
    position++
    if (token === "(") {
      const value = assignment()
      if (!accept(")")) throw syntaxError()
      return value
    }
    if (token === "-") return -primary()
    if (token === "+") return primary()
    if (token === "!") return Number(primary() === 0)
    if (token === "~") return ~primary()
    if (token === "++" || token === "--") {
      const name = peek()
      if (!isName(name)) throw syntaxError()
      position++
      const value = valueOf(name) + (token === "++" ? 1 : -1)
      variables.set(name, String(value))
      return value
    }
    if (!isName(token)) return toNumber(token)
    const value = valueOf(token)
    const step = accept("++") ? 1 : accept("--") ? -1 : 0
    if (step !== 0) variables.set(token, String(value + step))
    return value
  }

  const binary = (precedence: number): number => {
    if (precedence > tightest) return primary()
    let left = binary(precedence + 1)
    for (;;) {
      const operation = operations[peek() ?? ""]
      if (operation?.[0] !== precedence) return left
      position++
      left = operation[1](left, binary(precedence + 1))
    }
  }

  const conditional = (): number => {
    const condition = binary(0)
    if (!accept("?")) return condition
    const first = assignment()
    if (!accept(":")) throw syntaxError()
    const second = assignment()
    return condition === 0 ? second : first
  }

  const assignment = (): number => {
    const name = peek()
    const operator = tokens[position + 1]
    if (!isName(name) || operator === undefined || !/^(?:[-+*/%&|^]|<<|>>)?=$/.test(operator)) return conditional()
    position += 2
    const right = assignment()
    const value = operations[operator.slice(0, -1)]?.[1](valueOf(name), right) ?? right
    variables.set(name, String(value))
    return value
  }

  if (tokens.length === 0) return 0
  const result = assignment()
  if (position < tokens.length) throw syntaxError()
  return result
}
