/**
 * Commands that read text and write text. They look at bytes, as those of a
 * small guest do.
 */
import * as Effect from "effect/Effect"
import { toBytes } from "../kernel/byteString.ts"
import type { Errno } from "../kernel/errno.ts"
import type { Process, Program } from "../kernel/process.ts"
import { unescape } from "./printf.ts"
import { forEach, forEachLine, inputs, linesOf, pump, withOptions } from "./options.ts"

const cannotOpen = (path: string, problem: string): string => `can't open '${path}': ${problem}`

/** Runs something on each input's descriptor, one after the other. */
const onEach = (
  process: Process,
  paths: ReadonlyArray<string>,
  run: (fd: number, name: string, index: number) => Effect.Effect<number, Errno>,
  complaint = cannotOpen
): Effect.Effect<number, Errno> =>
  forEach([...(paths.length === 0 ? ["-"] : paths).entries()], ([index, path]) => {
    if (path === "-") return run(0, "standard input", index)
    return Effect.matchEffect(process.open(path, { read: true, write: false }), {
      onFailure: ({ problem }) => Effect.as(process.complain(`${process.name}: ${complaint(path, problem)}`), 1),
      onSuccess: (description) => {
        const fd = Math.max(9, ...process.descriptors.keys()) + 1
        process.assign(fd, description)
        return run(fd, path, index).pipe(
          Effect.catchIf(
            (error) => error.code === "EISDIR",
            (error) => Effect.as(process.complain(`${process.name}: read error: ${error.problem}`), 1)
          ),
          Effect.ensuring(
            Effect.sync(() => {
              process.descriptors.delete(fd)
              description.release()
            })
          )
        )
      }
    })
  })

export const cat: Program = withOptions("nuAbe", (process, options) => {
  let number = 0
  return onEach(process, options.operands, (fd) =>
    options.has("n")
      ? Effect.as(
          forEachLine(process, fd, (line, isComplete) =>
            Effect.as(process.print(`${String(++number).padStart(6)}\t${line}${isComplete ? "\n" : ""}`), true)
          ),
          0
        )
      : Effect.as(pump(process, fd), 0)
  )
})

const plainProblem = (path: string, problem: string): string => `${path}: ${problem}`

/** `head -5` means `head -n 5`. */
const countWords = (words: ReadonlyArray<string>): ReadonlyArray<string> =>
  words.map((word) => word.replace(/^-(\d+)$/, "-n$1"))

const rewritten =
  (program: Program): Program =>
  (process) => {
    process.argv = countWords(process.argv)
    return program(process)
  }

/** A program that writes through the C library, which does not know any more why it could not. */
const buffered =
  (program: Program): Program =>
  (process) =>
    Effect.catchIf(
      program(process),
      ({ code }) => code !== "EPIPE",
      () => Effect.as(process.complain(`${process.name}: standard output: I/O error`), 1)
    )

export const head: Program = rewritten(
  buffered(
    withOptions("n:c:qv", (process, options) =>
      onEach(
        process,
        options.operands,
        (fd, name, index) =>
          Effect.gen(function* () {
            const isTitled = options.has("v") || (options.operands.length > 1 && !options.has("q"))
            if (isTitled) yield* process.print(`${index > 0 ? "\n" : ""}==> ${name} <==\n`)
            const limit = Number(options.get("c") ?? options.get("n") ?? 10)
            if (options.has("c")) {
              for (let left = limit; left > 0;) {
                const bytes = yield* process.read(fd, left)
                if (bytes.length === 0) break
                yield* process.writeBytes(1, bytes)
                left -= bytes.length
              }
              return 0
            }
            if (limit < 0) {
              const { found } = yield* inputs(process, [fd === 0 ? "-" : name])
              const lines = linesOf(found[0]?.text ?? "").slice(0, limit)
              yield* process.print(lines.map((line) => `${line}\n`).join(""))
              return 0
            }
            let count = 0
            if (limit > 0) {
              yield* forEachLine(process, fd, (line, isComplete) =>
                Effect.as(process.print(isComplete ? `${line}\n` : line), ++count < limit)
              )
            }
            return 0
          }),
        plainProblem
      )
    )
  )
)

export const tail: Program = rewritten(
  withOptions("n:c:fqvF", (process, options) =>
    Effect.gen(function* () {
      const { code, found } = yield* inputs(process, options.operands, cannotOpen)
      if (found.length === 0) {
        yield* process.complain("tail: no files")
        return 1
      }
      for (const [index, { name, text }] of found.entries()) {
        const isTitled = options.has("v") || (found.length > 1 && !options.has("q"))
        if (isTitled) yield* process.print(`${index > 0 ? "\n" : ""}==> ${name} <==\n`)
        const asked = options.get("c") ?? options.get("n") ?? "10"
        const count = Math.abs(Number(asked))
        if (options.has("c")) {
          yield* process.print(asked.startsWith("+") ? text.slice(count - 1) : count === 0 ? "" : text.slice(-count))
          continue
        }
        const lines = text.split(/(?<=\n)/)
        yield* process.print(
          (asked.startsWith("+") ? lines.slice(count - 1) : count === 0 ? [] : lines.slice(-count)).join("")
        )
      }
      if (options.has("f") || options.has("F"))
        return yield* follow(process, options.operands[0] ?? "-", found.at(-1)?.text.length ?? 0)
      return code
    })
  )
)

const followMillis = 250

/** Shows what is added to a file, for ever. */
const follow = (process: Process, path: string, from: number): Effect.Effect<never, Errno> =>
  Effect.gen(function* () {
    let offset = from
    for (;;) {
      yield* process.sleep(followMillis)
      const text = yield* process.readFile(path)
      if (text.length < offset) offset = 0
      yield* process.print(text.slice(offset))
      offset = text.length
    }
  })

export const wc: Program = withOptions("lwcmL", (process, options) =>
  Effect.gen(function* () {
    const { code, found } = yield* inputs(process, options.operands, plainProblem)
    const all = !["l", "w", "c", "m", "L"].some(options.has)
    const totals = [0, 0, 0]
    const show = (counts: ReadonlyArray<number>, name: string) => {
      const shown = counts.filter(
        (_, index) =>
          all ||
          (index === 0 ? options.has("l") : index === 1 ? options.has("w") : options.has("c") || options.has("m"))
      )
      const text = shown.length === 1 ? String(shown[0]) : shown.map((count) => String(count).padStart(9)).join(" ")
      return process.print(`${text}${name === "-" ? "" : ` ${name}`}\n`)
    }
    for (const { name, text } of found) {
      const counts = [text.split("\n").length - 1, text.match(/\S+/g)?.length ?? 0, text.length]
      for (const [index, count] of counts.entries()) totals[index] = (totals[index] ?? 0) + count
      yield* show(counts, options.operands.length === 0 ? "-" : name)
    }
    if (found.length > 1) yield* show(totals, "total")
    return code
  })
)

/** A regular expression of POSIX, basic or extended, as one of JavaScript's. */
export const toRegExp = (pattern: string, isExtended: boolean, flags = ""): RegExp => {
  const classes = (text: string) =>
    text.replace(/\[:(\w+):\]/g, (_, name: string) =>
      name === "space"
        ? "\\s"
        : name === "digit"
          ? "0-9"
          : name === "upper"
            ? "A-Z"
            : name === "lower"
              ? "a-z"
              : name === "alpha"
                ? "a-zA-Z"
                : name === "alnum"
                  ? "a-zA-Z0-9"
                  : ""
    )
  const brackets: Array<string> = []
  const outside = pattern.replace(/\[\^?\]?(?:\[:\w+:\]|[^\]])*\]/g, (bracket) => {
    brackets.push(
      classes(bracket)
        .replace(/^\[(\^?)\]/, "[$1\\]")
        .replace(/\\(?![\]sdw])/g, "\\\\")
    )
    return `\0${brackets.length - 1}\0`
  })
  const translated = isExtended
    ? outside
    : outside
        .replace(/\\?[(){}+?|]/g, (token) => (token.startsWith("\\") ? token.slice(1) : `\\${token}`))
        .replace(/^\*/, "\\*")
  const source = translated
    .replace(/\\[<>]/g, "\\b")
    .replace(/\0(\d+)\0/g, (_, index: string) => brackets[Number(index)] ?? "")
  return new RegExp(source, flags)
}

/** Nothing if what was to be compiled is no regular expression. */
const compile = <A>(make: () => A): A | undefined => {
  try {
    return make()
  } catch (cause) {
    if (cause instanceof SyntaxError) return undefined
    throw cause
  }
}

export const grep: Program = withOptions("EFGivnclLqrRhHowxse:m:A:B:C:", (process, options) =>
  Effect.gen(function* () {
    const operands = [...options.operands]
    const patterns = options.has("e") ? options.all("e") : [operands.shift() ?? ""]
    const isFixed = options.has("F") || process.name === "fgrep"
    const isExtended = options.has("E") || process.name === "egrep"
    const expressions = compile(() =>
      patterns.flatMap((pattern) =>
        pattern.split("\n").map((line) => {
          const source = isFixed ? line.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&") : toRegExp(line, isExtended).source
          const whole = options.has("x") ? `^(?:${source})$` : options.has("w") ? `\\b(?:${source})\\b` : source
          return new RegExp(whole, options.has("i") ? "gi" : "g")
        })
      )
    )
    if (expressions === undefined) {
      yield* process.complain("grep: bad regex")
      return 2
    }
    const isRecursive = options.has("r") || options.has("R")
    const paths = isRecursive ? filesBelow(process, operands.length === 0 ? ["."] : operands) : operands
    const { code, found } = yield* inputs(process, paths, plainProblem)
    const isNamed = !options.has("h") && (options.has("H") || isRecursive || found.length > 1)
    const limit = Number(options.get("m") ?? Number.POSITIVE_INFINITY)
    let isAnything = false
    for (const { name, text } of found) {
      const prefix = isNamed ? `${name}:` : ""
      let count = 0
      let shown = ""
      for (const [index, line] of linesOf(text).entries()) {
        if (count >= limit) break
        const hits = expressions.flatMap((expression) => [...line.matchAll(expression)])
        if (hits.length > 0 === options.has("v")) continue
        count++
        const number = options.has("n") ? `${index + 1}:` : ""
        shown += options.has("o")
          ? hits.map(([hit]) => `${prefix}${number}${hit}\n`).join("")
          : `${prefix}${number}${line}\n`
      }
      isAnything ||= count > 0
      if (options.has("q")) continue
      if (options.has("l")) yield* process.print(count > 0 ? `${name}\n` : "")
      else if (options.has("L")) yield* process.print(count > 0 ? "" : `${name}\n`)
      else if (options.has("c")) yield* process.print(`${prefix}${count}\n`)
      else yield* process.print(shown)
    }
    return code !== 0 && !(options.has("q") && isAnything) ? 2 : isAnything ? 0 : 1
  })
)

const filesBelow = (process: Process, paths: ReadonlyArray<string>): ReadonlyArray<string> =>
  paths.flatMap((path) =>
    process.lookAt(path)?.kind === "Directory"
      ? filesBelow(
          process,
          process
            .list(path)
            .toSorted()
            .map((name) => (path.endsWith("/") ? path + name : `${path}/${name}`))
        )
      : [path]
  )

export const sort: Program = withOptions("nrufbk:t:o:cs", (process, options) =>
  Effect.gen(function* () {
    const { code, found } = yield* inputs(process, options.operands, plainProblem)
    if (code !== 0) return 2
    const separator = options.get("t")
    const keyOf = (line: string, spec: string): string => {
      const [from = 1, to = Number.POSITIVE_INFINITY] = spec.split(",").map((part) => Number.parseInt(part, 10))
      const fields = separator === undefined ? line.trimStart().split(/\s+/) : line.split(separator)
      return fields.slice(from - 1, to).join(separator ?? " ")
    }
    const compareKeys = (a: string, b: string, isNumeric: boolean): number => {
      if (isNumeric) return (Number.parseFloat(a) || 0) - (Number.parseFloat(b) || 0)
      const [one, other] = options.has("f") ? [a.toLowerCase(), b.toLowerCase()] : [a, b]
      return one < other ? -1 : one > other ? 1 : 0
    }
    const keys = options.all("k")
    const compare = (a: string, b: string): number => {
      for (const key of keys) {
        const order = compareKeys(keyOf(a, key), keyOf(b, key), options.has("n") || /n/.test(key))
        if (order !== 0) return /r/.test(key) ? -order : order
      }
      return keys.length === 0 ? compareKeys(a, b, options.has("n")) : 0
    }
    const lines = found
      .flatMap(({ text }) => linesOf(text))
      .toSorted((a, b) => compare(a, b) || compareKeys(a, b, false))
    if (options.has("r")) lines.reverse()
    const unique = options.has("u")
      ? lines.filter((line, index) => index === 0 || compare(line, lines[index - 1] ?? "") !== 0)
      : lines
    const output = unique.map((line) => `${line}\n`).join("")
    const target = options.get("o")
    yield* target === undefined ? process.print(output) : process.writeFile(target, output)
    return 0
  })
)

export const uniq: Program = withOptions("cdui", (process, options) =>
  Effect.gen(function* () {
    const { code, found } = yield* inputs(process, options.operands.slice(0, 1), plainProblem)
    const fold = (line: string) => (options.has("i") ? line.toLowerCase() : line)
    const groups: Array<{ readonly line: string; count: number }> = []
    for (const line of linesOf(found[0]?.text ?? "")) {
      const last = groups.at(-1)
      if (last !== undefined && fold(last.line) === fold(line)) last.count++
      else groups.push({ line, count: 1 })
    }
    for (const { count, line } of groups) {
      if ((options.has("d") && count === 1) || (options.has("u") && count > 1)) continue
      yield* process.print(options.has("c") ? `${String(count).padStart(7)} ${line}\n` : `${line}\n`)
    }
    return code
  })
)

/** Positions such as `1,3-5,7-`. */
const inRanges = (spec: string): ((position: number) => boolean) => {
  const ranges = spec.split(",").map((part) => {
    const [from = "", to] = part.split("-")
    return {
      from: from === "" ? 1 : Number(from),
      to: to === undefined ? Number(from) : to === "" ? Number.POSITIVE_INFINITY : Number(to)
    }
  })
  return (position) => ranges.some(({ from, to }) => position >= from && position <= to)
}

export const cut: Program = withOptions("d:f:c:b:s", (process, options) =>
  Effect.gen(function* () {
    const spec = options.get("f") ?? options.get("c") ?? options.get("b")
    if (spec === undefined) {
      yield* process.complain("cut: expected a list of bytes, characters, or fields")
      return 1
    }
    const isWanted = inRanges(spec)
    const delimiter = options.get("d") ?? "\t"
    const { code, found } = yield* inputs(process, options.operands, plainProblem)
    for (const { text } of found) {
      for (const line of linesOf(text)) {
        const isWhole = options.has("f") && !line.includes(delimiter)
        if (isWhole && options.has("s")) continue
        const kept = options.has("f")
          ? line
              .split(delimiter)
              .filter((_, index) => isWanted(index + 1))
              .join(delimiter)
          : line
              .split("")
              .filter((_, index) => isWanted(index + 1))
              .join("")
        yield* process.print(`${isWhole ? line : kept}\n`)
      }
    }
    return code
  })
)

/** The characters of a set such as `a-z` or `[:digit:]`. */
const characters = (set: string): string => {
  const all = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).join("")
  const named: { readonly [name: string]: RegExp } = {
    alpha: /[a-zA-Z]/g,
    digit: /[0-9]/g,
    alnum: /[a-zA-Z0-9]/g,
    upper: /[A-Z]/g,
    lower: /[a-z]/g,
    space: /[\t-\r ]/g,
    blank: /[ \t]/g,
    punct: /[!-/:-@[-`{-~]/g,
    cntrl: /[\0-\x1f\x7f]/g
  }
  return unescape(set)
    .text.replace(/\[:(\w+):\]/g, (_, name: string) => all.match(named[name] ?? /$^/g)?.join("") ?? "")
    .replace(/([^])-([^])/g, (_, from: string, to: string) => all.slice(from.charCodeAt(0), to.charCodeAt(0) + 1))
}

export const tr: Program = withOptions("dsc", (process, options) =>
  Effect.gen(function* () {
    const [first = "", second] = options.operands.map(characters)
    const isMember = (character: string) => first.includes(character) !== options.has("c")
    let last = ""
    for (;;) {
      const bytes = yield* process.read(0)
      if (bytes.length === 0) return 0
      let output = ""
      for (const byte of bytes) {
        const character = String.fromCharCode(byte)
        const isMapped = isMember(character)
        if (options.has("d") && isMapped) continue
        const position = options.has("c") ? Number.POSITIVE_INFINITY : first.indexOf(character)
        const mapped =
          isMapped && second !== undefined && !options.has("d")
            ? (second[Math.min(position, second.length - 1)] ?? character)
            : character
        if (options.has("s") && mapped === last && (second ?? first).includes(mapped)) continue
        output += mapped
        last = mapped
      }
      yield* process.print(output)
    }
  })
)

export const tee: Program = withOptions("ai", (process, options) =>
  Effect.gen(function* () {
    const targets: Array<number> = []
    let status = 0
    for (const path of options.operands) {
      const opened = yield* Effect.result(
        process.open(path, {
          read: false,
          write: true,
          create: true,
          append: options.has("a"),
          truncate: !options.has("a")
        })
      )
      if (opened._tag === "Failure") {
        yield* process.complain(`tee: ${path}: ${opened.failure.problem}`)
        status = 1
        continue
      }
      const fd = 10 + targets.length
      process.assign(fd, opened.success)
      targets.push(fd)
    }
    for (;;) {
      const bytes = yield* process.read(0)
      if (bytes.length === 0) return status
      for (const fd of [1, ...targets]) yield* process.writeBytes(fd, bytes)
    }
  })
)

/** A command that turns the whole input into an output. */
const filter = (transform: (text: string) => string): Program =>
  withOptions("", (process, options) =>
    Effect.gen(function* () {
      const { code, found } = yield* inputs(process, options.operands, plainProblem)
      for (const { text } of found) yield* process.print(transform(text))
      return code
    })
  )

export const tac: Program = filter((text) =>
  linesOf(text)
    .toReversed()
    .map((line) => `${line}\n`)
    .join("")
)

export const rev: Program = filter((text) =>
  linesOf(text)
    .map((line) => `${Array.from(line).toReversed().join("")}\n`)
    .join("")
)

export const nl: Program = filter((text) =>
  linesOf(text)
    .map((line, index) => `${String(index + 1).padStart(6)}\t${line}\n`)
    .join("")
)

export const base64: Program = withOptions("dw:", (process, options) =>
  Effect.gen(function* () {
    const { code, found } = yield* inputs(process, options.operands, plainProblem)
    for (const { text } of found) {
      if (options.has("d")) yield* process.writeBytes(1, Buffer.from(text, "base64"))
      else {
        const width = Number(options.get("w") ?? 76)
        const encoded = Buffer.from(toBytes(text)).toString("base64")
        yield* process.print(
          `${width === 0 ? encoded : (encoded.match(new RegExp(`.{1,${width}}`, "g")) ?? []).join("\n")}\n`
        )
      }
    }
    return code
  })
)

export const cmp: Program = withOptions("s", (process, options) =>
  Effect.gen(function* () {
    const { code, found } = yield* inputs(process, options.operands, plainProblem)
    const [one, other] = found
    if (code !== 0 || one === undefined || other === undefined) return 2
    if (one.text === other.text) return 0
    if (!options.has("s")) {
      let at = 0
      while (one.text[at] === other.text[at]) at++
      const line = one.text.slice(0, at).split("\n").length
      yield* process.print(`${one.name} ${other.name} differ: char ${at + 1}, line ${line}\n`)
    }
    return 1
  })
)
