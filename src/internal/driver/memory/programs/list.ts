/**
 * Commands that tell about files.
 */
import * as Effect from "effect/Effect"
import { attempt, type Errno } from "../kernel/errno.ts"
import type { Process, Program } from "../kernel/process.ts"
import { matches } from "../shell/pattern.ts"
import type { Stat } from "../kernel/vnode.ts"
import { baseName, forEach, joinPath, linesOf, withOptions } from "./options.ts"

const letters = { File: "-", Directory: "d", Symlink: "l", Device: "c" } as const

/** `-rwxr-xr-x` */
const permissionsOf = ({ kind, mode }: Stat): string => {
  const bits = [6, 3, 0].map((shift) => {
    const three = (mode >> shift) & 7
    const special = shift === 6 ? mode & 0o4000 : shift === 3 ? mode & 0o2000 : mode & 0o1000
    const letter = shift === 0 ? "t" : "s"
    const execute = special === 0 ? ((three & 1) === 0 ? "-" : "x") : (three & 1) === 0 ? letter.toUpperCase() : letter
    return `${(three & 4) === 0 ? "-" : "r"}${(three & 2) === 0 ? "-" : "w"}${execute}`
  })
  return letters[kind] + bits.join("")
}

const months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ")

const halfYear = 182 * 24 * 3600 * 1000

const dateOf = (millis: number, now: number): string => {
  const date = new Date(millis)
  const day = `${months[date.getUTCMonth()]} ${String(date.getUTCDate()).padStart(2)}`
  const clock = `${String(date.getUTCHours()).padStart(2, "0")}:${String(date.getUTCMinutes()).padStart(2, "0")}`
  return `${day} ${Math.abs(now - millis) > halfYear ? ` ${date.getUTCFullYear()}` : clock}`
}

const owner = (process: Process, table: "passwd" | "group", id: number, isNumeric: boolean): string =>
  (isNumeric ? undefined : process.machine.nameOf(table, id)) ?? String(id)

interface Listed {
  readonly name: string
  readonly path: string
  readonly stat: Stat
}

export const ls: Program = withOptions("1aAlhndRrtSFpi", (process, options) =>
  Effect.gen(function* () {
    const { machine } = process
    const isLong = options.has("l") || options.has("n")
    const show = (items: ReadonlyArray<Listed>) => {
      const sorted = items.toSorted((a, b) =>
        options.has("t") && a.stat.modifiedAt !== b.stat.modifiedAt
          ? b.stat.modifiedAt - a.stat.modifiedAt
          : options.has("S") && a.stat.size !== b.stat.size
            ? b.stat.size - a.stat.size
            : a.name < b.name
              ? -1
              : 1
      )
      return (options.has("r") ? sorted.toReversed() : sorted)
        .map(({ name, path, stat }) => {
          const shown = name + (options.has("F") || options.has("p") ? (stat.kind === "Directory" ? "/" : "") : "")
          if (!isLong) return `${shown}\n`
          const isNumeric = options.has("n")
          const target = stat.kind === "Symlink" ? ` -> ${machine.vfs.readLink(path, process.cwd, process.actor)}` : ""
          return [
            `${permissionsOf(stat)} ${String(stat.links).padStart(4)} `,
            owner(process, "passwd", stat.uid, isNumeric).padEnd(8),
            ` ${owner(process, "group", stat.gid, isNumeric).padEnd(8)} `,
            `${String(stat.size).padStart(9)} ${dateOf(stat.modifiedAt, machine.now())} ${shown}${target}\n`
          ].join("")
        })
        .join("")
    }
    const paths = options.operands.length === 0 ? ["."] : options.operands
    const files: Array<Listed> = []
    const folders: Array<string> = []
    let status = 0
    for (const path of paths) {
      const stat = yield* Effect.result(attempt(() => process.stat(path, !isLong)))
      if (stat._tag === "Failure") {
        yield* process.complain(`ls: ${path}: ${stat.failure.problem}`)
        status = 1
      } else if (stat.success.kind === "Directory" && !options.has("d")) folders.push(path)
      else files.push({ name: path, path, stat: stat.success })
    }
    yield* process.print(show(files))
    const hasTitles = paths.length > 1 || options.has("R")
    for (let index = 0; index < folders.length; index++) {
      const folder = folders[index] ?? ""
      const names = yield* Effect.result(attempt(() => process.list(folder)))
      if (names._tag === "Failure") {
        yield* process.complain(`ls: can't open '${folder}': ${names.failure.problem}`)
        status = 1
        continue
      }
      const isHidden = (name: string) => name.startsWith(".") && !options.has("a") && !options.has("A")
      const all = [...(options.has("a") ? [".", ".."] : []), ...names.success]
      const items = all
        .filter((name) => !isHidden(name))
        .flatMap((name) => {
          const path = joinPath(folder, name)
          const stat = process.lookAt(path, false)
          return stat === undefined ? [] : [{ name, path, stat }]
        })
      if (hasTitles) yield* process.print(`${index > 0 || files.length > 0 ? "\n" : ""}${folder}:\n`)
      const blocks = items.reduce((sum, { stat }) => sum + Math.ceil(stat.size / 4096) * 4, 0)
      if (isLong) yield* process.print(`total ${blocks}\n`)
      yield* process.print(show(items))
      if (options.has("R")) {
        const below = items.filter(({ name, stat }) => stat.kind === "Directory" && name !== "." && name !== "..")
        folders.splice(index + 1, 0, ...below.map(({ path }) => path))
      }
    }
    return status
  })
)

export const stat: Program = withOptions("c:Lt", (process, options) =>
  forEach(options.operands, (path) =>
    attempt(() => process.stat(path, options.has("L"))).pipe(
      Effect.flatMap((found) => process.print(`${describe(process, path, found, options.get("c"))}\n`)),
      Effect.as(0),
      Effect.catch(({ problem }) => Effect.as(process.complain(`stat: can't stat '${path}': ${problem}`), 1))
    )
  )
)

const kinds = {
  File: "regular file",
  Directory: "directory",
  Symlink: "symbolic link",
  Device: "character special file"
}

const describe = (process: Process, path: string, found: Stat, format: string | undefined): string => {
  const values: { readonly [letter: string]: () => string } = {
    a: () => found.mode.toString(8),
    A: () => permissionsOf(found),
    F: () => (found.kind === "File" && found.size === 0 ? "regular empty file" : kinds[found.kind]),
    g: () => String(found.gid),
    G: () => owner(process, "group", found.gid, false),
    h: () => String(found.links),
    n: () => path,
    s: () => String(found.size),
    u: () => String(found.uid),
    U: () => owner(process, "passwd", found.uid, false),
    X: () => String(Math.floor(found.accessedAt / 1000)),
    Y: () => String(Math.floor(found.modifiedAt / 1000)),
    y: () => new Date(found.modifiedAt).toISOString(),
    "%": () => "%"
  }
  const text = format ?? "  File: %n\n  Size: %s\tType: %F\nAccess: (%a/%A)  Uid: %u/%U  Gid: %g/%G\nModify: %y"
  return text.replace(/%([a-zA-Z%])/g, (whole, letter: string) => values[letter]?.() ?? whole)
}

export const find: Program = (process) =>
  Effect.gen(function* () {
    const words = process.argv.slice(1)
    const split = words.findIndex((word) => /^[-!(]/.test(word))
    const expression = split === -1 ? [] : words.slice(split)
    const starts = split === -1 ? words : words.slice(0, split)
    let status = 0
    const visit = (path: string, depth: number): Effect.Effect<void, Errno> =>
      Effect.gen(function* () {
        const found = yield* Effect.result(attempt(() => process.stat(path, false)))
        if (found._tag === "Failure") {
          yield* process.complain(`find: ${path}: ${found.failure.problem}`)
          status = 1
          return
        }
        const limit = expression.indexOf("-maxdepth")
        const isDeletion = expression.includes("-delete")
        const isDeeper = found.success.kind === "Directory" && (limit === -1 || depth < Number(expression[limit + 1]))
        const below = () =>
          Effect.forEach(isDeeper ? process.list(path) : [], (name) => visit(joinPath(path, name), depth + 1), {
            discard: true
          })
        if (isDeletion) yield* below()
        yield* evaluateFind(process, path, found.success, depth, expression)
        if (!isDeletion) yield* below()
      })
    yield* Effect.forEach(starts.length === 0 ? ["."] : starts, (path) => visit(path, 0), { discard: true })
    return status
  })

/** Tests one file, and does with it what the expression says. All tests must hold. */
const evaluateFind = (
  process: Process,
  path: string,
  found: Stat,
  depth: number,
  expression: ReadonlyArray<string>
): Effect.Effect<void, Errno> =>
  Effect.gen(function* () {
    const words = [...expression]
    let isNegated = false
    let hasAction = false
    const types = { f: "File", d: "Directory", l: "Symlink", c: "Device" } as const
    for (let word = words.shift(); word !== undefined; word = words.shift()) {
      let holds = true
      switch (word) {
        case "!": {
          isNegated = !isNegated
          continue
        }
        case "-name":
        case "-iname": {
          const fold = (text: string) => (word === "-iname" ? text.toLowerCase() : text)
          holds = matches([{ text: fold(words.shift() ?? ""), isQuoted: false }], fold(baseName(path)))
          break
        }
        case "-path": {
          holds = matches([{ text: words.shift() ?? "", isQuoted: false }], path)
          break
        }
        case "-type": {
          const wanted = words.shift()
          holds = Object.entries(types).some(([letter, kind]) => letter === wanted && kind === found.kind)
          break
        }
        case "-mindepth": {
          holds = depth >= Number(words.shift())
          break
        }
        case "-maxdepth": {
          words.shift()
          break
        }
        case "-empty": {
          holds = found.kind === "Directory" ? process.list(path).length === 0 : found.size === 0
          break
        }
        case "-newer": {
          const reference = process.lookAt(words.shift() ?? "")
          holds = reference !== undefined && found.modifiedAt > reference.modifiedAt
          break
        }
        case "-print": {
          hasAction = true
          yield* process.print(`${path}\n`)
          break
        }
        case "-print0": {
          hasAction = true
          yield* process.print(`${path}\0`)
          break
        }
        case "-delete": {
          hasAction = true
          const { actor, cwd, machine } = process
          yield* attempt(() =>
            found.kind === "Directory"
              ? machine.vfs.removeDirectory(path, cwd, actor)
              : machine.vfs.unlink(path, cwd, actor)
          )
          break
        }
        case "-exec": {
          hasAction = true
          const end = words.findIndex((other) => other === ";" || other === "+")
          const argv = words.splice(0, end === -1 ? words.length : end + 1).slice(0, -1)
          holds =
            (yield* runProgram(
              process,
              argv.map((other) => other.replaceAll("{}", path))
            )) === 0
          break
        }
      }
      if (holds === isNegated) return
      isNegated = false
    }
    if (!hasAction) yield* process.print(`${path}\n`)
  })

/** Runs another program in a process of its own, and gives its exit code. */
export const runProgram = (process: Process, argv: ReadonlyArray<string>): Effect.Effect<number, Errno> =>
  Effect.gen(function* () {
    const name = argv[0] ?? ""
    const { actor, cwd, machine } = process
    const loaded = yield* Effect.result(
      attempt(() => machine.load(machine.locate(name, process.env.get("PATH"), cwd, actor), argv, cwd, actor))
    )
    if (loaded._tag === "Failure") {
      yield* process.complain(`${process.name}: ${name}: ${loaded.failure.problem}`)
      return loaded.failure.code === "EACCES" ? 126 : 127
    }
    const child = process.fork({ argv: loaded.success.argv })
    yield* child.start(loaded.success.program)
    const status = yield* child.ended
    return status._tag === "Exited" ? status.code : 128 + status.signal
  })

export const du: Program = withOptions("shkmac", (process, options) => {
  const unit = options.has("m") ? 1024 * 1024 : 1024
  const measure = (path: string): number => {
    const found = process.stat(path, false)
    const own = Math.ceil(found.size / 4096) * 4096
    return found.kind !== "Directory"
      ? own
      : process.list(path).reduce((sum, name) => sum + measure(joinPath(path, name)), own)
  }
  return forEach(options.operands.length === 0 ? ["."] : options.operands, (path) =>
    attempt(() => measure(path)).pipe(
      Effect.flatMap((bytes) => process.print(`${Math.ceil(bytes / unit)}\t${path}\n`)),
      Effect.as(0),
      Effect.catch(({ problem }) => Effect.as(process.complain(`du: ${path}: ${problem}`), 1))
    )
  )
})

export const df: Program = withOptions("hkmP", (process, options) => {
  const { machine } = process
  const mounts =
    options.operands.length === 0
      ? machine.vfs.mounted()
      : options.operands.flatMap((path) => {
          const mount = machine.vfs.volumeOf(machine.vfs.resolve(path, process.cwd, process.actor).path)
          return mount === undefined ? [] : [mount]
        })
  const lines = mounts.flatMap(({ path, volume }) => {
    const { total, used } = volume.usage()
    if (total === 0) return []
    const kilobytes = [total, used, total - used].map((bytes) => String(Math.ceil(bytes / 1024)).padStart(10))
    return [
      `${volume.source.padEnd(20)} ${kilobytes.join("")} ${String(Math.ceil((100 * used) / total)).padStart(3)}% ${path}\n`
    ]
  })
  return Effect.as(
    process.print(`Filesystem           1K-blocks      Used Available Use% Mounted on\n${lines.join("")}`),
    0
  )
})

export const xargs: Program = withOptions("+0n:I:rtd:", (process, options) =>
  Effect.gen(function* () {
    const text = yield* process.readAll(0)
    const items = options.has("0")
      ? text.split("\0").filter((item) => item !== "")
      : options.has("I") || options.has("d")
        ? linesOf(text)
        : (text.match(/"[^"]*"|'[^']*'|[^\s"']+/g) ?? []).map((item) => item.replace(/^(["'])(.*)\1$/, "$2"))
    const command = options.operands.length === 0 ? ["echo"] : options.operands
    if (items.length === 0 && options.has("r")) return 0
    const placeholder = options.get("I")
    const batch = Number(options.get("n") ?? Math.max(1, items.length))
    const calls: Array<ReadonlyArray<string>> = []
    if (placeholder !== undefined) {
      for (const item of items) calls.push(command.map((word) => word.replaceAll(placeholder, item)))
    } else {
      for (let start = 0; start < Math.max(1, items.length); start += batch) {
        calls.push([...command, ...items.slice(start, start + batch)])
      }
    }
    let status = 0
    for (const argv of calls) {
      const code = yield* runProgram(process, argv)
      if (code !== 0) status = code === 126 || code === 127 ? code : 123
    }
    return status
  })
)
