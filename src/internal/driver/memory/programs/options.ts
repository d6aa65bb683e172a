/** Options, complaints, inputs and folder walks that programs share. */
import * as Effect from "effect/Effect"
import { attempt, type Errno } from "../kernel/errno.ts"
import type { Process, Program } from "../kernel/process.ts"
import type { Stat } from "../kernel/vnode.ts"

export interface Options {
  readonly has: (flag: string) => boolean
  readonly get: (flag: string) => string | undefined
  readonly all: (flag: string) => ReadonlyArray<string>
  readonly operands: ReadonlyArray<string>
}

interface Parsed extends Options {
  /** The first mistake, as `getopt` words it. */
  readonly problem: string | undefined
}

/** Options and operands besides the letters. */
interface Settings {
  /** Long options, by the letter that they stand for. */
  readonly long?: { readonly [name: string]: string }
  /** The least and the most operands. */
  readonly least?: number
  readonly most?: number
  /** The status after a mistake. Default: 1. */
  readonly failure?: number
}

/**
 * Parses words. `known` holds the option letters, with a colon after those that take a value; `+` in front
 * ends the options at the first operand.
 */
export const parse = (words: ReadonlyArray<string>, known: string, long: Settings["long"] = {}): Parsed => {
  const values = new Map<string, Array<string>>()
  const operands: Array<string> = []
  const rest = [...words]
  let problem: string | undefined
  const add = (flag: string, given: string | undefined) => {
    const value = known.includes(`${flag}:`) ? (given ?? rest.shift()) : ""
    if (value === undefined) problem ??= `option requires an argument -- '${flag}'`
    else values.set(flag, [...(values.get(flag) ?? []), value])
  }
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--") operands.push(...rest.splice(0))
    else if (word.startsWith("--")) {
      const [name = "", value] = word.slice(2).split(/=(.*)/s)
      const flag = long[name]
      if (flag === undefined) problem ??= `unrecognized option '${word}'`
      else add(flag, value)
    } else if (word.startsWith("-") && word !== "-") {
      for (let position = 1; position < word.length; position++) {
        const flag = word[position] ?? ""
        if (!/[^:+]/.test(flag) || !known.includes(flag)) problem ??= `invalid option -- '${flag}'`
        else add(flag, word.slice(position + 1) || undefined)
        if (known.includes(`${flag}:`)) break
      }
    } else operands.push(word, ...(known.startsWith("+") ? rest.splice(0) : []))
  }
  return {
    has: (flag) => values.has(flag),
    get: (flag) => values.get(flag)?.at(-1),
    all: (flag) => values.get(flag) ?? [],
    operands,
    problem
  }
}

/** Prints a complaint under the program's name. Returns the status of a failure. */
export const fail = (process: Process, problem: string, status = 1): Effect.Effect<number, Errno> =>
  Effect.as(process.complain(`${process.name}: ${problem}`), status)

export const usage = (process: Process, status = 1): Effect.Effect<number, Errno> =>
  Effect.as(process.complain(`Usage: ${process.name} [OPTIONS] [ARGUMENTS]`), status)

/** Creates a program that refuses unknown options, and too few or too many operands. */
export const withOptions =
  (
    known: string,
    run: (process: Process, options: Options) => Effect.Effect<number, Errno>,
    { failure = 1, least = 0, long, most = Number.POSITIVE_INFINITY }: Settings = {}
  ): Program =>
  (process, argv) => {
    const options = parse(argv.slice(1), known, long)
    const { length } = options.operands
    if (options.problem === undefined) {
      return length < least || length > most ? usage(process, failure) : run(process, options)
    }
    return Effect.andThen(process.complain(`${argv[0]}: ${options.problem}`), usage(process, failure))
  }

/** Prints a text. Returns the status of a success. */
export const print = (process: Process, text: string): Effect.Effect<number, Errno> => Effect.as(process.print(text), 0)

/** Runs code that may throw, and prints its text or complains in the usual words. Returns the status. */
export const orComplain = (
  process: Process,
  what: string,
  evaluate: () => string | void
): Effect.Effect<number, Errno> =>
  Effect.matchEffect(attempt(evaluate), {
    onFailure: ({ problem }) => fail(process, `${what}: ${problem}`),
    onSuccess: (text) => (text === undefined ? Effect.succeed(0) : print(process, text))
  })

/** Runs an effect for each item. Returns the first status that is not 0. */
export const forEach = <A>(
  items: ReadonlyArray<A>,
  run: (item: A) => Effect.Effect<number, Errno>
): Effect.Effect<number, Errno> =>
  Effect.map(Effect.forEach(items, run), (codes) => codes.find((code) => code !== 0) ?? 0)

export const content = (process: Process, path: string): Effect.Effect<string, Errno> =>
  path === "-" ? process.readAll(0) : process.readFile(path)

export interface Input {
  readonly name: string
  readonly text: string
}

type Complaint = (path: string, problem: string) => string

export const plainProblem: Complaint = (path, problem) => `${path}: ${problem}`

export const cannotOpen: Complaint = (path, problem) => `can't open '${path}': ${problem}`

/** Reads the named files, or standard input if there are none. Complains about unreadable files. */
export const inputs = Effect.fnUntraced(function* (
  process: Process,
  paths: ReadonlyArray<string>,
  complaint: Complaint | undefined = plainProblem
): Effect.fn.Return<{ readonly found: ReadonlyArray<Input>; readonly code: number }, Errno> {
  const found: Array<Input> = []
  const code = yield* forEach(paths.length === 0 ? ["-"] : paths, (name) =>
    Effect.matchEffect(content(process, name), {
      onFailure: ({ problem }) => fail(process, complaint(name, problem)),
      onSuccess: (text) => Effect.sync(() => (found.push({ name, text }), 0))
    })
  )
  return { found, code }
})

export const pump = Effect.fnUntraced(function* (process: Process, fd: number): Effect.fn.Return<void, Errno> {
  for (;;) {
    const bytes = yield* process.read(fd)
    if (bytes.length === 0) return
    yield* process.writeBytes(1, bytes)
  }
})

export const linesOf = (text: string): ReadonlyArray<string> =>
  text === "" ? [] : (text.endsWith("\n") ? text.slice(0, -1) : text).split("\n")

export const joined = (lines: ReadonlyArray<string>): string => lines.map((line) => `${line}\n`).join("")

/** The time that a date such as `@12` or `2020-01-02 03:04:05` stands for, in UTC. */
export const parseDate = (text: string): number =>
  text.startsWith("@") ? Number(text.slice(1)) * 1000 : Date.parse(/^[\d :-]+$/.test(text) ? `${text}Z` : text)

export const baseName = (path: string): string => {
  const trimmed = path.replace(/(.)\/+$/, "$1")
  return trimmed === "/" ? "/" : trimmed.slice(trimmed.lastIndexOf("/") + 1)
}

export const directoryName = (path: string): string => {
  const trimmed = path.replace(/(.)\/+$/, "$1")
  const at = trimmed.lastIndexOf("/")
  return at === -1 ? "." : at === 0 ? "/" : trimmed.slice(0, at)
}

export const joinPath = (folder: string, name: string): string =>
  folder.endsWith("/") ? folder + name : `${folder}/${name}`

/** A path and everything below it, folders first. Symbolic links are not followed. */
export const walk = (process: Process, path: string): ReadonlyArray<{ readonly path: string; readonly stat: Stat }> => {
  const stat = process.stat(path, false)
  const below = stat.kind === "Directory" ? process.list(path) : []
  return [{ path, stat }, ...below.flatMap((name) => walk(process, joinPath(path, name)))]
}
