import * as Effect from "effect/Effect"
import type { Errno } from "../kernel/errno.ts"
import type { Process } from "../kernel/process.ts"

const escapes: { readonly [character: string]: string } = {
  a: "\x07",
  b: "\b",
  e: "\x1b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  '"': '"'
}

/** Backslash escapes as bytes. `\c` ends the text. */
export const unescape = (text: string): { readonly text: string; readonly isCut: boolean } => {
  let result = ""
  const pattern = /\\(?:(0?[0-7]{1,3})|x([\da-fA-F]{1,2})|([^]))|[^\\]+|\\$/g
  for (const [whole, octal, hex, character] of text.matchAll(pattern)) {
    if (octal !== undefined) result += String.fromCharCode(Number.parseInt(octal, 8) & 0xff)
    else if (hex !== undefined) result += String.fromCharCode(Number.parseInt(hex, 16))
    else if (character === "c") return { text: result, isCut: true }
    else if (character !== undefined) result += escapes[character] ?? whole
    else result += whole
  }
  return { text: result, isCut: false }
}

const pad = (text: string, flags: string, width: number, isNumber: boolean): string => {
  if (flags.includes("-")) return text.padEnd(width)
  if (!flags.includes("0") || !isNumber) return text.padStart(width)
  const sign = /^[-+]/.exec(text)?.[0] ?? ""
  return sign + text.slice(sign.length).padStart(width - sign.length, "0")
}

const numberOf = (word: string): number => {
  if (/^['"]/.test(word)) return word.charCodeAt(1)
  return word === "" ? 0 : /^[-+]?0[0-7]+$/.test(word) ? Number.parseInt(word, 8) : Number(word)
}

interface Formatted {
  readonly text: string
  readonly isCut: boolean
  readonly problem: string | undefined
}

const formatOne = (
  flags: string,
  width: number,
  precision: number | undefined,
  kind: string,
  word: string
): Formatted => {
  const sign = (number: number) => (number >= 0 && flags.includes("+") ? "+" : "")
  switch (kind) {
    case "s":
      return { text: pad(word.slice(0, precision), flags, width, false), isCut: false, problem: undefined }
    case "c":
      return { text: pad(word.slice(0, 1), flags, width, false), isCut: false, problem: undefined }
    case "b": {
      const { isCut, text } = unescape(word)
      return { text: pad(text.slice(0, precision), flags, width, false), isCut, problem: undefined }
    }
    default: {
      const number = numberOf(word)
      const isBad = Number.isNaN(number)
      const value = isBad ? 0 : number
      const whole = Math.trunc(value)
      const unsigned = whole < 0 ? BigInt.asUintN(64, BigInt(whole)) : BigInt(whole)
      const text = {
        d: () => sign(whole) + String(whole),
        i: () => sign(whole) + String(whole),
        u: () => unsigned.toString(),
        o: () => unsigned.toString(8),
        x: () => (flags.includes("#") ? "0x" : "") + unsigned.toString(16),
        X: () => (flags.includes("#") ? "0X" : "") + unsigned.toString(16).toUpperCase(),
        f: () => sign(value) + value.toFixed(precision ?? 6),
        e: () => value.toExponential(precision ?? 6).replace(/e([-+])(\d)$/, "e$10$2"),
        g: () => String(Number(value.toPrecision(precision ?? 6)))
      }[kind]
      return {
        text: pad(text?.() ?? "", flags, width, true),
        isCut: false,
        problem: isBad ? `invalid number '${word}'` : undefined
      }
    }
  }
}

/** `printf`: the format is used again as long as there are arguments. */
export const printf = (process: Process, argv: ReadonlyArray<string>): Effect.Effect<number, Errno> =>
  Effect.gen(function* () {
    const words = argv.slice(argv[1] === "--" ? 2 : 1)
    const format = words.shift()
    if (format === undefined) {
      yield* process.complain("printf: usage: printf FORMAT [ARG]...")
      return 1
    }
    let status = 0
    let output = ""
    for (;;) {
      const before = words.length
      let isCut = false
      for (const [whole, flags = "", width = "", precision, kind] of format.matchAll(
        /%%|%([-+ #0]*)(\d+|\*)?(?:\.(\d+|\*))?([a-zA-Z])|\\(?:0?[0-7]{1,3}|x[\da-fA-F]{1,2}|[^])|[^%\\]+|[%\\]/g
      )) {
        if (whole === "%%") output += "%"
        else if (kind !== undefined) {
          const actualWidth = width === "*" ? Number(words.shift() ?? 0) : Number(width)
          const actualPrecision = precision === "*" ? Number(words.shift() ?? 0) : precision
          const piece = formatOne(
            flags,
            actualWidth,
            actualPrecision === undefined ? undefined : Number(actualPrecision),
            kind,
            words.shift() ?? ""
          )
          output += piece.text
          isCut = piece.isCut
          if (piece.problem !== undefined) {
            yield* process.complain(`printf: ${piece.problem}`)
            status = 1
          }
        } else {
          const escaped = unescape(whole)
          output += escaped.text
          isCut = escaped.isCut
        }
        if (isCut) break
      }
      if (isCut || words.length === 0 || words.length === before) break
    }
    yield* process.print(output)
    return status
  })
