/** Programs that read and write text, as bytes. Every export is a program, by its name. */
import * as Effect from "effect/Effect"
import { fromBytes, toBytes } from "../kernel/byteString.ts"
import type { Errno } from "../kernel/errno.ts"
import type { Process, Program } from "../kernel/process.ts"
import { classes, escape, regExpOf, regExpOrNothing } from "../shell/pattern.ts"
import { unescape } from "./printf.ts"
import {
  cannotOpen,
  fail,
  forEach,
  type Input,
  inputs,
  joined,
  linesOf,
  type Options,
  plainProblem,
  pump,
  usage,
  walk,
  withOptions
} from "./options.ts"

/** Runs something on the descriptor of each input, one after the other. */
const onEach = (
  process: Process,
  paths: ReadonlyArray<string>,
  complaint: typeof cannotOpen,
  run: (fd: number, name: string, index: number) => Effect.Effect<number, Errno>
): Effect.Effect<number, Errno> =>
  forEach([...(paths.length === 0 ? ["-"] : paths).entries()], ([index, path]) => {
    if (path === "-") return run(0, "standard input", index)
    return Effect.matchEffect(process.open(path, { read: true, write: false }), {
      onFailure: ({ problem }) => fail(process, complaint(path, problem)),
      onSuccess: (description) => {
        const fd = Math.max(9, ...process.descriptors.keys()) + 1
        process.assign(fd, description)
        return run(fd, path, index).pipe(
          Effect.catchIf(
            (error) => error.code === "EISDIR",
            ({ problem }) => fail(process, `read error: ${problem}`)
          ),
          Effect.ensuring(Effect.sync(() => process.close(fd)))
        )
      }
    })
  })

export const cat: Program = withOptions("u", (process, options) =>
  onEach(process, options.operands, cannotOpen, (fd) => Effect.as(pump(process, fd), 0))
)

/** Creates a program that prints what a function makes of its inputs. */
const filter = (
  known: string,
  transform: (found: ReadonlyArray<Input>, options: Options) => string,
  { complaint = plainProblem, failure = 1 } = {}
): Program =>
  withOptions(
    known,
    Effect.fnUntraced(function* (process, options) {
      const { code, found } = yield* inputs(process, options.operands, complaint)
      yield* process.print(transform(found, options))
      return code === 0 ? 0 : failure
    }),
    { failure }
  )

const allLines = (found: ReadonlyArray<Input>): ReadonlyArray<string> => found.flatMap(({ text }) => linesOf(text))

/** `head -5` means `head -n 5`. */
const rewritten =
  (program: Program): Program =>
  (process, argv) =>
    program(
      process,
      argv.map((word, index) => (index === 1 ? word.replace(/^-(\d+)$/, "-n$1") : word))
    )

/** Creates a program that writes through the C library, which no longer knows why a write failed. */
const buffered =
  (program: Program): Program =>
  (process, argv) =>
    Effect.catchIf(
      program(process, argv),
      ({ code }) => code !== "EPIPE",
      () => fail(process, "standard output: I/O error")
    )

const title = (name: string, index: number): string => `${index > 0 ? "\n" : ""}==> ${name} <==\n`

export const head: Program = rewritten(
  buffered(
    withOptions("n:c:qv", (process, options) => {
      const asked = options.get("c") ?? options.get("n") ?? "10"
      const limit = Number(asked)
      if (Number.isNaN(limit)) return fail(process, `invalid number '${asked}'`)
      const isTitled = options.has("v") || (options.operands.length > 1 && !options.has("q"))
      return onEach(
        process,
        options.operands,
        plainProblem,
        Effect.fnUntraced(function* (fd, name, index) {
          if (isTitled) yield* process.print(title(name, index))
          if (options.has("c")) {
            for (let left = limit; left > 0;) {
              const bytes = yield* process.read(fd, left)
              if (bytes.length === 0) break
              yield* process.writeBytes(1, bytes)
              left -= bytes.length
            }
          } else if (limit < 0) {
            yield* process.print(joined(linesOf(yield* process.readAll(fd)).slice(0, limit)))
          } else {
            for (let count = 0; count < limit; count++) {
              const line = yield* process.readLine(fd)
              if (line === "") break
              yield* process.print(line)
            }
          }
          return 0
        })
      )
    })
  )
)

export const tail: Program = rewritten(
  withOptions(
    "n:c:fqvF",
    Effect.fnUntraced(function* (process, options) {
      const { code, found } = yield* inputs(process, options.operands, cannotOpen)
      if (found.length === 0) return yield* fail(process, "no files")
      const isTitled = options.has("v") || (found.length > 1 && !options.has("q"))
      const asked = options.get("c") ?? options.get("n") ?? "10"
      const count = Math.abs(Number(asked))
      const last = <A>(all: { readonly slice: (from: number) => A }): A =>
        all.slice(asked.startsWith("+") ? count - 1 : count === 0 ? Number.POSITIVE_INFINITY : -count)
      for (const [index, { name, text }] of found.entries()) {
        if (isTitled) yield* process.print(title(name, index))
        yield* process.print(options.has("c") ? last(text) : last(text.split(/(?<=\n)/)).join(""))
      }
      if (!options.has("f") && !options.has("F")) return code
      return yield* follow(process, options.operands[0] ?? "-", found.at(-1)?.text.length ?? 0)
    })
  )
)

const followMillis = 250

/** Prints what is added to a file, until the process ends. */
const follow = Effect.fnUntraced(function* (
  process: Process,
  path: string,
  from: number
): Effect.fn.Return<never, Errno> {
  let offset = from
  for (;;) {
    yield* process.sleep(followMillis)
    const text = yield* process.readFile(path)
    if (text.length < offset) offset = 0
    yield* process.print(text.slice(offset))
    offset = text.length
  }
})

export const wc: Program = filter("lwcm", (found, options) => {
  const columns = ["l", "w", "c"].filter((flag) => options.has(flag) || (flag === "c" && options.has("m")))
  const wanted = columns.length === 0 ? ["l", "w", "c"] : columns
  const width = wanted.length === 1 && found.length < 2 ? 0 : 9
  const rows = found.map(({ name, text }) => ({
    name: options.operands.length === 0 ? "" : ` ${name}`,
    counts: { l: text.split("\n").length - 1, w: text.match(/\S+/g)?.length ?? 0, c: text.length }
  }))
  const total = (flag: "l" | "w" | "c") => rows.reduce((sum, { counts }) => sum + counts[flag], 0)
  if (rows.length > 1) rows.push({ name: " total", counts: { l: total("l"), w: total("w"), c: total("c") } })
  return joined(
    rows.map(({ counts, name }) => {
      const shown = Object.entries(counts).filter(([flag]) => wanted.includes(flag))
      return shown.map(([, count]) => String(count).padStart(width)).join(" ") + name
    })
  )
})

export const grep: Program = withOptions(
  "EFGivnclqrRhHowxse:",
  Effect.fnUntraced(function* (process, options) {
    const operands = [...options.operands]
    const patterns = options.has("e") ? options.all("e") : operands.splice(0, 1)
    if (patterns.length === 0) return yield* usage(process, 2)
    const isFixed = options.has("F") || process.name === "fgrep"
    const isExtended = options.has("E") || process.name === "egrep"
    const expressions = regExpOrNothing(() =>
      patterns
        .flatMap((pattern) => pattern.split("\n"))
        .map((line) => {
          const source = isFixed ? escape(line) : regExpOf(line, isExtended).source
          const whole = options.has("x") ? `^(?:${source})$` : options.has("w") ? `\\b(?:${source})\\b` : source
          return new RegExp(whole, options.has("i") ? "gi" : "g")
        })
    )
    if (expressions === undefined) return yield* fail(process, `bad regex '${patterns[0]}'`, 2)
    const isRecursive = options.has("r") || options.has("R")
    const paths = (isRecursive && operands.length === 0 ? ["."] : operands).flatMap((path) => {
      if (path === "-" || process.lookAt(path)?.kind !== "Directory") return [path]
      return isRecursive ? walk(process, path).flatMap(({ path, stat }) => (stat.kind === "File" ? [path] : [])) : []
    })
    if (paths.length === 0 && operands.length > 0) return 1
    const readable = options.has("s") ? paths.filter((path) => process.lookAt(path) !== undefined) : paths
    if (readable.length === 0 && paths.length > 0) return 2
    const { code, found } = yield* inputs(process, readable)
    const isNamed = !options.has("h") && (options.has("H") || isRecursive || found.length > 1)
    let isAnything = false
    for (const { name, text } of found) {
      const label = isNamed ? `${name}:` : ""
      const shown = linesOf(text).flatMap((line, index) => {
        const hits = expressions.flatMap((expression) => [...line.matchAll(expression)])
        if (hits.length > 0 === options.has("v")) return []
        const prefix = options.has("n") ? `${label}${index + 1}:` : label
        const parts = options.has("o") ? hits.flatMap(([hit]) => (hit === "" ? [] : [hit])) : [line]
        return [parts.map((part) => prefix + part)]
      })
      isAnything ||= shown.length > 0
      if (options.has("q")) continue
      if (options.has("l")) yield* process.print(shown.length > 0 ? `${name}\n` : "")
      else yield* process.print(options.has("c") ? `${label}${shown.length}\n` : joined(shown.flat()))
    }
    return code !== 0 && !(options.has("q") && isAnything) ? 2 : isAnything ? 0 : 1
  }),
  { failure: 2 }
)

export const sort: Program = filter(
  "nrufbk:t:s",
  (found, options) => {
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
    const direction = options.has("r") ? -1 : 1
    const compare = (a: string, b: string): number => {
      for (const key of keys) {
        const order = compareKeys(keyOf(a, key), keyOf(b, key), options.has("n") || /n/.test(key))
        if (order !== 0) return /r/.test(key) ? -order : order
      }
      return keys.length === 0 ? compareKeys(a, b, options.has("n")) : 0
    }
    const sorted = allLines(found).toSorted((a, b) => direction * (compare(a, b) || compareKeys(a, b, false)))
    return joined(
      sorted.filter((line, index) => !options.has("u") || index === 0 || compare(line, sorted[index - 1] ?? "") !== 0)
    )
  },
  { failure: 2 }
)

export const uniq: Program = filter(
  "cdu",
  (found, options) => {
    const groups: Array<{ readonly line: string; count: number }> = []
    for (const line of allLines(found)) {
      const last = groups.at(-1)
      if (last?.line === line) last.count++
      else groups.push({ line, count: 1 })
    }
    const wanted = groups.filter(({ count }) => !(options.has("d") && count === 1) && !(options.has("u") && count > 1))
    return joined(wanted.map(({ count, line }) => (options.has("c") ? `${String(count).padStart(7)} ${line}` : line)))
  },
  { complaint: cannotOpen }
)

const inRanges = (spec: string): ((position: number) => boolean) => {
  const ranges = spec.split(",").map((part) => {
    const [from = "", to = from] = part.split("-")
    return { from: Number(from || 1), to: Number(to || Number.POSITIVE_INFINITY) }
  })
  return (position) => ranges.some(({ from, to }) => position >= from && position <= to)
}

export const cut: Program = withOptions(
  "d:f:c:b:s",
  Effect.fnUntraced(function* (process, options) {
    const spec = options.get("f") ?? options.get("c") ?? options.get("b")
    if (spec === undefined) return yield* fail(process, "expected a list of bytes, characters, or fields")
    const isWanted = inRanges(spec)
    const delimiter = options.has("f") ? (options.get("d") ?? "\t") : ""
    const { code, found } = yield* inputs(process, options.operands)
    for (const line of allLines(found)) {
      const isWhole = options.has("f") && !line.includes(delimiter)
      if (isWhole && options.has("s")) continue
      const kept = line.split(delimiter).filter((_, index) => isWanted(index + 1))
      yield* process.print(`${isWhole ? line : kept.join(delimiter)}\n`)
    }
    return code
  })
)

/** The characters of a set such as `a-z` or `[:digit:]`. */
const characters = (set: string): string => {
  const all = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).join("")
  return unescape(set)
    .text.replace(
      /\[:(\w+):\]/g,
      (_, name: string) => all.match(new RegExp(`[${classes[name] ?? ""}]`, "g"))?.join("") ?? ""
    )
    .replace(/([^])-([^])/g, (_, from: string, to: string) => all.slice(from.charCodeAt(0), to.charCodeAt(0) + 1))
}

export const tr: Program = withOptions(
  "dsc",
  Effect.fnUntraced(function* (process, options) {
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
  }),
  { least: 1 }
)

export const tee: Program = withOptions(
  "ai",
  Effect.fnUntraced(function* (process, options) {
    const isAppended = options.has("a")
    const targets = [1]
    const status = yield* forEach(options.operands, (path) =>
      Effect.matchEffect(
        process.open(path, { read: false, write: true, create: true, append: isAppended, truncate: !isAppended }),
        {
          onFailure: ({ problem }) => fail(process, `${path}: ${problem}`),
          onSuccess: (description) =>
            Effect.sync(() => {
              const fd = 9 + targets.length
              process.assign(fd, description)
              targets.push(fd)
              return 0
            })
        }
      )
    )
    for (;;) {
      const bytes = yield* process.read(0)
      if (bytes.length === 0) return status
      for (const fd of targets) yield* process.writeBytes(fd, bytes)
    }
  })
)

export const base64: Program = filter("dw:", (found, options) => {
  const width = Number(options.get("w") ?? 76)
  return found
    .map(({ text }) => {
      if (options.has("d")) return fromBytes(Buffer.from(text, "base64"))
      const encoded = Buffer.from(toBytes(text)).toString("base64")
      return joined(encoded.match(new RegExp(`.{1,${width || ""}}`, "g")) ?? [])
    })
    .join("")
})

/** Copies blocks of `bs=` bytes, at most `count=`; a short read is a block, too. */
export const dd: Program = Effect.fnUntraced(function* (process, [, ...words]) {
  const operands = new Map(
    words.map((word): [string, string] => [word.split("=", 1)[0] ?? "", word.slice(word.indexOf("=") + 1)])
  )
  const size = Number(operands.get("bs") ?? 512)
  const count = Number(operands.get("count") ?? Number.POSITIVE_INFINITY)
  const wrong = [...operands.keys()].find((name) => name !== "bs" && name !== "count")
  if (wrong !== undefined || !(size > 0) || !(count >= 0))
    return yield* fail(process, `invalid argument '${wrong ?? words.join(" ")}'`)
  let whole = 0
  let parts = 0
  while (whole + parts < count) {
    const bytes = yield* process.read(0, size)
    if (bytes.length === 0) break
    if (bytes.length === size) whole++
    else parts++
    yield* process.writeBytes(1, bytes)
  }
  const records = `${whole}+${parts} records`
  yield* process.complain(`${records} in\n${records} out`)
  return 0
})
