import * as Effect from "effect/Effect"
import type { Errno } from "../kernel/errno.ts"
import type { Process } from "../kernel/process.ts"
import { fail } from "./options.ts"

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

/** Replaces backslash escapes by bytes. `\c` ends the text. */
export const unescape = (text: string): { readonly text: string; readonly isCut: boolean } => {
  let result = ""
  const pattern = /\\(?:(0?[0-7]{1,3})|x([\da-fA-F]{1,2})|([^]))|[^\\]+|\\$/g
  for (const [whole, octal, hex, character] of text.matchAll(pattern)) {
    if (octal !== undefined) result += String.fromCharCode(Number.parseInt(octal, 8) & 0xff)
    else if (hex !== undefined) result += String.fromCharCode(Number.parseInt(hex, 16))
    else if (character === "c") return { text: result, isCut: true }
    else result += character === undefined ? whole : (escapes[character] ?? whole)
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
  return /^[-+]?0[0-7]+$/.test(word) ? Number.parseInt(word, 8) : Number(word)
}

type Format = (value: number, flags: string, precision: number | undefined) => string

const signed: Format = (value, flags) => `${value >= 0 && flags.includes("+") ? "+" : ""}${Math.trunc(value)}`

const unsigned =
  (base: number, prefix: string): Format =>
  (value, flags) =>
    (flags.includes("#") ? prefix : "") + BigInt.asUintN(64, BigInt(Math.trunc(value))).toString(base)

const formats: { readonly [kind: string]: Format } = {
  d: signed,
  i: signed,
  u: unsigned(10, ""),
  o: unsigned(8, ""),
  x: unsigned(16, "0x"),
  X: (...of) => unsigned(16, "0x")(...of).toUpperCase(),
  f: (value, flags, precision) => (value >= 0 && flags.includes("+") ? "+" : "") + value.toFixed(precision ?? 6),
  e: (value, _, precision) => value.toExponential(precision ?? 6).replace(/e([-+])(\d)$/, "e$10$2"),
  g: (value, _, precision) => String(Number(value.toPrecision(precision ?? 6)))
}

const directive =
  /%%|%([-+ #0]*)(\d+|\*)?(?:\.(\d+|\*))?([a-zA-Z])|\\(?:0?[0-7]{1,3}|x[\da-fA-F]{1,2}|[^])|[^%\\]+|[%\\]/g

/** Formats as `printf` does, which uses its format again as long as there are arguments. */
export const printf = Effect.fnUntraced(function* (
  process: Process,
  argv: ReadonlyArray<string>
): Effect.fn.Return<number, Errno> {
  const words = argv.slice(argv[1] === "--" ? 2 : 1)
  const format = words.shift()
  if (format === undefined) return yield* fail(process, "usage: printf FORMAT [ARGUMENT...]", 2)
  const asked = (text: string | undefined) => (text === "*" ? Number(words.shift() ?? 0) : Number(text ?? 0))
  let status = 0
  let output = ""
  for (;;) {
    const before = words.length
    let isCut = false
    for (const [whole, flags = "", width, precision, kind] of format.matchAll(directive)) {
      if (whole === "%%") output += "%"
      else if (kind === undefined) {
        const escaped = unescape(whole)
        output += escaped.text
        isCut = escaped.isCut
      } else {
        const [columns, digits] = [asked(width), precision === undefined ? undefined : asked(precision)]
        const word = words.shift() ?? ""
        const number = numberOf(word)
        const toText = formats[kind]
        if (toText !== undefined) {
          if (Number.isNaN(number)) status = yield* fail(process, `invalid number '${word}'`)
          output += pad(toText(number || 0, flags, digits), flags, columns, true)
        } else if (/[scb]/.test(kind)) {
          const escaped = kind === "b" ? unescape(word) : { text: word, isCut: false }
          output += pad(escaped.text.slice(0, kind === "c" ? 1 : digits), flags, columns, false)
          isCut = escaped.isCut
        } else return yield* Effect.andThen(process.print(output), fail(process, `${whole}: invalid format`))
      }
      if (isCut) break
    }
    if (isCut || words.length === 0 || words.length === before) break
  }
  yield* process.print(output)
  return status
})
