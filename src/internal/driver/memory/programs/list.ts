/** Programs that show files. Every export is a program, by its name. */
import * as Effect from "effect/Effect"
import { attempt, type Errno, mistake } from "../kernel/errno.ts"
import type { Process, Program } from "../kernel/process.ts"
import { matches } from "../shell/pattern.ts"
import type { Stat } from "../kernel/vnode.ts"
import { baseName, fail, forEach, joinPath, linesOf, orComplain, withOptions } from "./options.ts"
import { runProgram } from "./run.ts"

const letters = { File: "-", Directory: "d", Symlink: "l", Device: "c", Fifo: "p" } as const

const permissionsOf = ({ kind, mode }: Stat): string => {
  const bits = [6, 3, 0].map((shift) => {
    const three = (mode >> shift) & 7
    const isSpecial = ((mode >> (9 + shift / 3)) & 1) === 1
    const letter = shift === 0 ? "t" : "s"
    const execute = (three & 1) === 0 ? (isSpecial ? letter.toUpperCase() : "-") : isSpecial ? letter : "x"
    return `${(three & 4) === 0 ? "-" : "r"}${(three & 2) === 0 ? "-" : "w"}${execute}`
  })
  return letters[kind] + bits.join("")
}

const halfYear = 182 * 24 * 3600 * 1000

const dateOf = (millis: number, now: number): string => {
  const iso = new Date(millis).toISOString()
  const month = new Date(millis).toUTCString().slice(8, 11)
  const year = Math.abs(now - millis) > halfYear ? ` ${iso.slice(0, 4)}` : iso.slice(11, 16)
  return `${month} ${String(Number(iso.slice(8, 10))).padStart(2)} ${year}`
}

interface Listed {
  readonly name: string
  readonly path: string
  readonly stat: Stat
}

export const ls: Program = withOptions(
  "1aAlhndRrtSFpiL",
  Effect.fnUntraced(function* (process, options) {
    const isLong = options.has("l") || options.has("n")
    const owner = (table: "passwd" | "group", id: number) =>
      (options.has("n") ? String(id) : process.machine.nameOf(table, id)).padEnd(8)
    const order = (a: Listed, b: Listed) =>
      (options.has("t") ? b.stat.modifiedAt - a.stat.modifiedAt : options.has("S") ? b.stat.size - a.stat.size : 0) ||
      (a.name < b.name ? -1 : 1)
    const line = ({ name, path, stat }: Listed): string => {
      const shown = stat.kind === "Directory" && (options.has("F") || options.has("p")) ? `${name}/` : name
      if (!isLong) return `${shown}\n`
      const target = stat.kind === "Symlink" ? ` -> ${process.readLink(path)}` : ""
      return [
        `${permissionsOf(stat)} ${String(stat.links).padStart(4)} ${owner("passwd", stat.uid)} `,
        `${owner("group", stat.gid)} ${String(stat.size).padStart(9)} `,
        `${dateOf(stat.modifiedAt, process.machine.now())} ${shown}${target}\n`
      ].join("")
    }
    const show = (items: ReadonlyArray<Listed>) => {
      const sorted = items.toSorted(order)
      return process.print((options.has("r") ? sorted.toReversed() : sorted).map(line).join(""))
    }
    const paths = options.operands.length === 0 ? ["."] : options.operands
    const files: Array<Listed> = []
    const folders: Array<string> = []
    let status = yield* forEach(paths, (path) =>
      orComplain(process, path, () => {
        const stat = process.stat(path, !isLong || options.has("L"))
        if (stat.kind === "Directory" && !options.has("d")) folders.push(path)
        else files.push({ name: path, path, stat })
      })
    )
    yield* show(files)
    const isShown = (name: string) => !name.startsWith(".") || options.has("a") || options.has("A")
    for (let index = 0; index < folders.length; index++) {
      const folder = folders[index] ?? ""
      const names: Array<string> = options.has("a") ? [".", ".."] : []
      const failure = yield* orComplain(process, `can't open '${folder}'`, () => {
        names.push(...process.list(folder))
      })
      if (failure !== 0) {
        status = failure
        continue
      }
      const items = names.filter(isShown).flatMap((name) => {
        const path = joinPath(folder, name)
        const stat = process.lookAt(path, false)
        return stat === undefined ? [] : [{ name, path, stat }]
      })
      if (paths.length > 1 || options.has("R")) {
        yield* process.print(`${index > 0 || files.length > 0 ? "\n" : ""}${folder}:\n`)
      }
      const blocks = items.reduce((sum, { stat }) => sum + Math.ceil(stat.size / 4096) * 4, 0)
      if (isLong) yield* process.print(`total ${blocks}\n`)
      yield* show(items)
      if (options.has("R")) {
        const below = items.filter(({ name, stat }) => stat.kind === "Directory" && !/^\.\.?$/.test(name))
        folders.splice(index + 1, 0, ...below.map(({ path }) => path))
      }
    }
    return status
  })
)

const kinds = {
  File: "regular file",
  Directory: "directory",
  Symlink: "symbolic link",
  Fifo: "fifo",
  Device: "character special file"
}

/** Bits of a mode that tell the type. */
const typeBits = { File: 0o100000, Directory: 0o040000, Symlink: 0o120000, Fifo: 0o010000, Device: 0o020000 }

const plainFormat = "  File: %n\n  Size: %s\tType: %F\nAccess: (%a/%A)  Uid: %u/%U  Gid: %g/%G\nModify: %y"

const describe = (process: Process, path: string, found: Stat, format: string): string => {
  const values: { readonly [letter: string]: () => string | number } = {
    a: () => found.mode.toString(8),
    A: () => permissionsOf(found),
    f: () => (typeBits[found.kind] | found.mode).toString(16),
    F: () => kinds[found.kind],
    g: () => found.gid,
    G: () => process.machine.nameOf("group", found.gid),
    h: () => found.links,
    i: () => found.inode,
    n: () => path,
    N: () => (found.kind === "Symlink" ? `'${path}' -> '${process.readLink(path)}'` : path),
    s: () => found.size,
    u: () => found.uid,
    U: () => process.machine.nameOf("passwd", found.uid),
    X: () => Math.floor(found.accessedAt / 1000),
    Y: () => Math.floor(found.modifiedAt / 1000),
    y: () => new Date(found.modifiedAt).toISOString(),
    z: () => new Date(found.modifiedAt).toISOString(),
    "%": () => "%"
  }
  return format.replace(/%([a-zA-Z%])/g, (whole, letter: string) => String(values[letter]?.() ?? whole))
}

export const stat: Program = withOptions(
  "c:L",
  (process, options) =>
    forEach(options.operands, (path) =>
      orComplain(process, `can't stat '${path}'`, () => {
        const found = process.stat(path, options.has("L"))
        return `${describe(process, path, found, options.get("c") ?? plainFormat)}\n`
      })
    ),
  { least: 1 }
)

interface Visited {
  readonly path: string
  readonly stat: Stat
  isPruned: boolean
}

type Test = (file: Visited) => Effect.Effect<boolean, Errno>

/** A parsed expression, and what holds for the whole walk. */
interface Expression {
  readonly test: Test
  readonly least: number
  readonly most: number
  readonly isContentFirst: boolean
  /** Programs that run once, with all paths. */
  readonly batches: ReadonlyArray<{ readonly argv: ReadonlyArray<string>; readonly paths: Array<string> }>
}

const findTypes: { readonly [letter: string]: Stat["kind"] } = { f: "File", d: "Directory", l: "Symlink", c: "Device" }

/** Parses what follows the paths. Throws `Errno`. */
const parseExpression = (process: Process, words: Array<string>): Expression => {
  const whole = {
    least: 0,
    most: Number.POSITIVE_INFINITY,
    isContentFirst: words.includes("-delete") || words.includes("-depth")
  }
  const batches: Array<Expression["batches"][number] & { readonly paths: Array<string> }> = []
  let hasAction = false
  const accept = (...known: ReadonlyArray<string>): boolean =>
    known.includes(words[0] ?? "") && words.shift() !== undefined
  const valueOf = (word: string): string => {
    const next = words.shift()
    if (next === undefined) throw mistake(`${word} requires an argument`)
    return next
  }
  const checks: { readonly [word: string]: (word: string) => (file: Visited) => boolean } = {
    "-name": (word) => {
      const pattern = [{ text: valueOf(word), isQuoted: false }]
      return ({ path }) => matches(pattern, baseName(path))
    },
    "-path": (word) => {
      const pattern = [{ text: valueOf(word), isQuoted: false }]
      return ({ path }) => matches(pattern, path)
    },
    "-type": (word) => {
      const letter = valueOf(word)
      const kind = findTypes[letter]
      if (kind === undefined) throw mistake(`invalid argument '${letter}' to '-type'`)
      return ({ stat }) => stat.kind === kind
    },
    "-empty":
      () =>
      ({ path, stat }) =>
        (stat.kind === "Directory" ? process.list(path).length : stat.size) === 0,
    "-mindepth": (word) => {
      whole.least = Number(valueOf(word))
      return () => true
    },
    "-maxdepth": (word) => {
      whole.most = Number(valueOf(word))
      return () => true
    },
    "-depth": () => () => true,
    "-prune": () => (file) => (file.isPruned = true)
  }
  const actions: { readonly [word: string]: (file: Visited) => Effect.Effect<unknown, Errno> } = {
    "-print": ({ path }) => process.print(`${path}\n`),
    "-print0": ({ path }) => process.print(`${path}\0`),
    "-delete": ({ path, stat }) =>
      attempt(() =>
        stat.kind === "Directory"
          ? process.machine.vfs.removeDirectory(path, process.cwd, process.actor)
          : process.remove(path)
      )
  }
  const either = (): Test => {
    let left = both()
    while (accept("-o", "-or")) {
      const [one, other] = [left, both()]
      left = (file) => Effect.flatMap(one(file), (holds) => (holds ? Effect.succeed(true) : other(file)))
    }
    return left
  }
  const both = (): Test => {
    let left: Test = () => Effect.succeed(true)
    while (words[0] !== undefined && !["-o", "-or", ")"].includes(words[0])) {
      accept("-a", "-and")
      const [one, other] = [left, primary()]
      left = (file) => Effect.flatMap(one(file), (holds) => (holds ? other(file) : Effect.succeed(false)))
    }
    return left
  }
  const primary = (): Test => {
    if (accept("(")) {
      const inner = either()
      accept(")")
      return inner
    }
    if (accept("!", "-not")) {
      const inner = primary()
      return (file) => Effect.map(inner(file), (holds) => !holds)
    }
    const word = words.shift() ?? ""
    const action = word === "-exec" ? execution() : actions[word]
    if (action !== undefined) {
      hasAction = true
      return (file) => Effect.map(action(file), (holds) => holds !== false)
    }
    const check = checks[word]?.(word)
    if (check === undefined) throw mistake(`unrecognized: ${word}`)
    return (file) => attempt(() => check(file))
  }
  const execution = (): Test => {
    const end = words.findIndex((other) => other === ";" || other === "+")
    if (end === -1) throw mistake("-exec requires an argument")
    const [argv, isBatch] = [words.splice(0, end), words.shift() === "+"]
    if (!isBatch) {
      const argvOf = (path: string) => argv.map((other) => other.replaceAll("{}", path))
      return ({ path }) => Effect.map(runProgram(process, argvOf(path)), (code) => code === 0)
    }
    const batch = { argv: argv.filter((other) => other !== "{}"), paths: new Array<string>() }
    batches.push(batch)
    return ({ path }) => Effect.sync(() => batch.paths.push(path) > 0)
  }
  const test = either()
  if (words.length > 0) throw mistake(`unrecognized: ${words[0]}`)
  if (hasAction) return { ...whole, batches, test }
  return {
    ...whole,
    batches,
    test: (file) => Effect.tap(test(file), (holds) => (holds ? process.print(`${file.path}\n`) : Effect.void))
  }
}

export const find: Program = Effect.fnUntraced(function* (process, [, ...words]) {
  const split = words.findIndex((word) => /^[-!(]/.test(word))
  const starts = split === -1 ? words : words.slice(0, split)
  const parsed = yield* Effect.result(attempt(() => parseExpression(process, split === -1 ? [] : words.slice(split))))
  if (parsed._tag === "Failure") return yield* fail(process, parsed.failure.problem)
  const { batches, isContentFirst, least, most, test } = parsed.success
  let status = 0
  const visit = (path: string, depth: number): Effect.Effect<void, Errno> =>
    Effect.gen(function* () {
      const found = yield* Effect.result(attempt(() => process.stat(path, false)))
      if (found._tag === "Failure") {
        status = yield* fail(process, `${path}: ${found.failure.problem}`)
        return
      }
      const file: Visited = { path, stat: found.success, isPruned: false }
      const action = depth >= least ? test(file) : Effect.void
      if (!isContentFirst) yield* action
      if (file.stat.kind === "Directory" && depth < most && !file.isPruned) {
        yield* Effect.forEach(process.list(path), (name) => visit(joinPath(path, name), depth + 1), { discard: true })
      }
      if (isContentFirst) yield* action
    })
  yield* Effect.forEach(starts.length === 0 ? ["."] : starts, (path) => visit(path, 0), { discard: true })
  for (const { argv, paths } of batches) if (paths.length > 0) yield* runProgram(process, [...argv, ...paths])
  return status
})

export const df: Program = withOptions(
  "hkmP",
  Effect.fnUntraced(function* (process, options) {
    const { vfs } = process.machine
    yield* process.print("Filesystem           1K-blocks      Used Available Use% Mounted on\n")
    const mounts = [...(options.operands.length === 0 ? vfs.mounted() : [])]
    const status = yield* forEach(options.operands, (path) => {
      const mount = process.lookAt(path) && vfs.volumeOf(process.resolve(path).path)
      if (mount === undefined) return fail(process, `${path}: can't find mount point`)
      mounts.push(mount)
      return Effect.succeed(0)
    })
    for (const { path, volume } of mounts) {
      const { total, used } = volume.usage()
      if (total === 0) continue
      const kilobytes = [total, used, total - used].map((bytes) => String(Math.ceil(bytes / 1024)).padStart(10))
      const percent = String(Math.ceil((100 * used) / total)).padStart(3)
      yield* process.print(`${volume.info.source.padEnd(20)} ${kilobytes.join("")} ${percent}% ${path}\n`)
    }
    return status
  })
)

/** As busybox has it: 32 KiB, without what POSIX reserves. */
const mostArguments = 32 * 1024 - 2048

const bytesOf = (words: ReadonlyArray<string>): number => words.reduce((sum, word) => sum + word.length + 1, 0)

/** Divides words into batches that are not empty, unless all are. */
const batches = (words: ReadonlyArray<string>, most: number, bytes: number): ReadonlyArray<ReadonlyArray<string>> => {
  let last: Array<string> = []
  let left = bytes
  const all = [last]
  for (const word of words) {
    left -= word.length + 1
    if (last.length > 0 && (last.length >= most || left < 0)) {
      all.push((last = []))
      left = bytes - word.length - 1
    }
    last.push(word)
  }
  return all
}

export const xargs: Program = withOptions(
  "+0n:I:r",
  Effect.fnUntraced(function* (process, options) {
    const text = yield* process.readAll(0)
    const items = options.has("0")
      ? text.split("\0").filter((item) => item !== "")
      : options.has("I")
        ? linesOf(text)
        : (text.match(/"[^"]*"|'[^']*'|[^\s"']+/g) ?? []).map((item) => item.replace(/^(["'])(.*)\1$/, "$2"))
    const command = options.operands.length === 0 ? ["echo"] : options.operands
    if (items.length === 0 && options.has("r")) return 0
    const placeholder = options.get("I")
    const batch = Number(options.get("n") ?? Number.POSITIVE_INFINITY)
    const calls =
      placeholder === undefined
        ? batches(items, batch, mostArguments - bytesOf(command)).map((taken) => [...command, ...taken])
        : items.map((item) => command.map((word) => word.replaceAll(placeholder, item)))
    const codes = yield* Effect.forEach(calls, (argv) => runProgram(process, argv))
    const failed = codes.findLast((code) => code !== 0)
    return failed === undefined ? 0 : failed === 126 || failed === 127 ? failed : 123
  })
)
