/** Arithmetic of the shell. */
import * as Data from "effect/Data"

/** A wrong expression. */
export class ArithmeticProblem extends Data.TaggedError("ArithmeticProblem")<{ readonly problem: string }> {
  override get message(): string {
    return this.problem
  }
}

export interface Variables {
  readonly get: (name: string) => string | undefined
  readonly set: (name: string, value: string) => void
}

const levels: ReadonlyArray<ReadonlyArray<string>> = [
  ["||"],
  ["&&"],
  ["|"],
  ["^"],
  ["&"],
  ["==", "!="],
  ["<=", ">=", "<", ">"],
  ["<<", ">>"],
  ["+", "-"],
  ["*", "/", "%"]
]

const syntaxError = () => new ArithmeticProblem({ problem: "arithmetic syntax error" })

const tokenPattern =
  /\s*(<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||\+=|-=|\*=|\/=|%=|&=|\|=|\^=|\+\+|--|[-+*/%<>=!~&|^?:(),]|0[xX][\da-fA-F]+|\d+|[A-Za-z_]\w*)/y

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

const operations: { readonly [operator: string]: (left: number, right: number) => number } = {
  "+": (left, right) => left + right,
  "-": (left, right) => left - right,
  "*": (left, right) => left * right,
  "/": (left, right) => Math.trunc(left / right),
  "%": (left, right) => left % right,
  "<<": (left, right) => left * 2 ** right,
  ">>": (left, right) => Math.floor(left / 2 ** right),
  "<": (left, right) => Number(left < right),
  ">": (left, right) => Number(left > right),
  "<=": (left, right) => Number(left <= right),
  ">=": (left, right) => Number(left >= right),
  "==": (left, right) => Number(left === right),
  "!=": (left, right) => Number(left !== right),
  "&": bitwise((left, right) => left & right),
  "|": bitwise((left, right) => left | right),
  "^": bitwise((left, right) => left ^ right),
  "&&": (left, right) => Number(left !== 0 && right !== 0),
  "||": (left, right) => Number(left !== 0 || right !== 0)
}

const compute = (operator: string, left: number, right: number): number => {
  if (right === 0 && (operator === "/" || operator === "%")) throw new ArithmeticProblem({ problem: "divide by zero" })
  const operation = operations[operator]
  if (operation === undefined) throw syntaxError()
  return operation(left, right)
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
      const value = comma()
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

  const binary = (level: number): number => {
    const operators = levels[level]
    if (operators === undefined) return primary()
    let left = binary(level + 1)
    for (;;) {
      const operator = peek()
      if (operator === undefined || !operators.includes(operator)) return left
      position++
      left = compute(operator, left, binary(level + 1))
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
    const value = operator === "=" ? right : compute(operator.slice(0, -1), valueOf(name), right)
    variables.set(name, String(value))
    return value
  }

  const comma = (): number => {
    let value = assignment()
    while (accept(",")) value = assignment()
    return value
  }

  if (tokens.length === 0) return 0
  const result = comma()
  if (position < tokens.length) throw syntaxError()
  return result
}
