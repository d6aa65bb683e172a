/**
 * What commands have in common: options, and files to read.
 */
import * as Effect from "effect/Effect"
import { fromBytes } from "../kernel/byteString.ts"
import type { Errno } from "../kernel/errno.ts"
import { attempt } from "../kernel/errno.ts"
import type { Process, Program } from "../kernel/process.ts"

/** The words of a command line, sorted. */
export interface Options {
  readonly has: (flag: string) => boolean
  /** The value of an option, the last one if it was given more than once. */
  readonly get: (flag: string) => string | undefined
  readonly all: (flag: string) => ReadonlyArray<string>
  readonly operands: ReadonlyArray<string>
  /** The first word that is no option that the command knows. */
  readonly unknown: string | undefined
}

/**
 * Sorts the words of a command line. `known` has the letters of the options,
 * those with a value followed by a colon; `long` maps long options to letters.
 */
export const parse = (
  words: ReadonlyArray<string>,
  known: string,
  long: { readonly [name: string]: string } = {}
): Options => {
  const values = new Map<string, Array<string>>()
  const operands: Array<string> = []
  let unknown: string | undefined
  const add = (flag: string, value: string) => values.set(flag, [...(values.get(flag) ?? []), value])
  const takesValue = (flag: string) => known.includes(`${flag}:`)
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? ""
    if (word === "--") {
      operands.push(...words.slice(index + 1))
      break
    }
    if (word.startsWith("--")) {
      const [name = "", value] = word.slice(2).split(/=(.*)/s)
      const flag = long[name]
      if (flag === undefined) unknown ??= name
      else add(flag, takesValue(flag) ? (value ?? words[++index] ?? "") : "")
    } else if (word.startsWith("-") && word !== "-") {
      for (let position = 1; position < word.length; position++) {
        const flag = word[position] ?? ""
        if (flag === ":" || !known.includes(flag)) {
          unknown ??= flag
          break
        }
        if (!takesValue(flag)) {
          add(flag, "")
          continue
        }
        const rest = word.slice(position + 1)
        add(flag, rest === "" ? (words[++index] ?? "") : rest)
        break
      }
    } else {
      operands.push(word)
      if (known.startsWith("+")) {
        operands.push(...words.slice(index + 1))
        break
      }
    }
  }
  return {
    has: (flag) => values.has(flag),
    get: (flag) => values.get(flag)?.at(-1),
    all: (flag) => values.get(flag) ?? [],
    operands,
    unknown
  }
}

/** A program that knows certain options, and refuses all others. */
export const withOptions =
  (
    known: string,
    run: (process: Process, options: Options) => Effect.Effect<number, Errno>,
    long: { readonly [name: string]: string } = {}
  ): Program =>
  (process) => {
    const options = parse(process.argv.slice(1), known, long)
    return options.unknown === undefined
      ? run(process, options)
      : Effect.as(process.complain(`${process.name}: unrecognized option: ${options.unknown}`), 1)
  }

/** Does something that may fail, and complains in the usual words. Gives the exit code. */
export const orComplain = (process: Process, what: string, evaluate: () => unknown): Effect.Effect<number, Errno> =>
  attempt(evaluate).pipe(
    Effect.as(0),
    Effect.catch(({ problem }) => Effect.as(process.complain(`${process.name}: ${what}: ${problem}`), 1))
  )

/** Runs something for each operand, and gives 1 if any of them failed. */
export const forEach = <A>(
  items: ReadonlyArray<A>,
  run: (item: A) => Effect.Effect<number, Errno>
): Effect.Effect<number, Errno> =>
  Effect.map(Effect.forEach(items, run), (codes) => codes.find((code) => code !== 0) ?? 0)

/** The content of a file, or of the standard input for `-`. */
export const content = (process: Process, path: string): Effect.Effect<string, Errno> =>
  path === "-" ? process.readAll(0) : process.readFile(path)

/** An input that could be read. */
export interface Input {
  readonly name: string
  readonly text: string
}

/** All inputs of a command that reads its standard input if it is given none. */
export const inputs = (
  process: Process,
  paths: ReadonlyArray<string>,
  complaint: (path: string, problem: string) => string = (path, problem) => `${path}: ${problem}`
): Effect.Effect<{ readonly found: ReadonlyArray<Input>; readonly code: number }, Errno> =>
  Effect.gen(function* () {
    const found: Array<Input> = []
    let code = 0
    for (const name of paths.length === 0 ? ["-"] : paths) {
      const text = yield* Effect.result(content(process, name))
      if (text._tag === "Success") found.push({ name, text: text.success })
      else {
        yield* process.complain(`${process.name}: ${complaint(name, text.failure.problem)}`)
        code = 1
      }
    }
    return { found, code }
  })

/** Passes bytes on until there are no more. */
export const pump = (process: Process, fd: number): Effect.Effect<void, Errno> =>
  Effect.gen(function* () {
    for (;;) {
      const bytes = yield* process.read(fd)
      if (bytes.length === 0) return
      yield* process.writeBytes(1, bytes)
    }
  })

/** The lines of a text, without their ends. */
export const linesOf = (text: string): ReadonlyArray<string> =>
  text === "" ? [] : (text.endsWith("\n") ? text.slice(0, -1) : text).split("\n")

/** Reads line by line, as the lines come. */
export const forEachLine = (
  process: Process,
  fd: number,
  onLine: (line: string, isComplete: boolean) => Effect.Effect<boolean, Errno>
): Effect.Effect<void, Errno> =>
  Effect.gen(function* () {
    let rest = ""
    for (;;) {
      const bytes = yield* process.read(fd)
      if (bytes.length === 0) break
      const lines = (rest + fromBytes(bytes)).split("\n")
      rest = lines.pop() ?? ""
      for (const line of lines) if (!(yield* onLine(line, true))) return
    }
    if (rest !== "") yield* onLine(rest, false)
  })

/** The last part of a path. */
export const baseName = (path: string): string => {
  const trimmed = path.replace(/(.)\/+$/, "$1")
  return trimmed === "/" ? "/" : trimmed.slice(trimmed.lastIndexOf("/") + 1)
}

/** A path without its last part. */
export const directoryName = (path: string): string => {
  const trimmed = path.replace(/(.)\/+$/, "$1")
  const at = trimmed.lastIndexOf("/")
  return at === -1 ? "." : at === 0 ? "/" : trimmed.slice(0, at)
}

export const joinPath = (folder: string, name: string): string =>
  folder.endsWith("/") ? folder + name : `${folder}/${name}`
