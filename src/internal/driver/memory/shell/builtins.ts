/** Builtins of the shell. */
import * as Effect from "effect/Effect"
import { attempt, orNothing } from "../kernel/errno.ts"
import type { Program } from "../kernel/process.ts"
import { echo } from "../programs/echo.ts"
import { kill } from "../programs/kill.ts"
import { printf } from "../programs/printf.ts"
import { test } from "../programs/test.ts"
import { signals } from "../../../config/signals.ts"
import { nameOf as signalName, parse as parseSignal } from "../kernel/signals.ts"
import { Jump, type Outcome, untilReturn } from "./outcome.ts"
import type { Shell } from "./shell.ts"

export type Builtin = (shell: Shell, argv: ReadonlyArray<string>) => Outcome

const isName = (text: string): boolean => /^[A-Za-z_]\w*$/.test(text)

const inPlace =
  (program: Program): Builtin =>
  (shell, argv) =>
    program(shell.process, argv)

const succeed: Builtin = () => Effect.succeed(0)

const cd: Builtin = Effect.fnUntraced(function* (shell, argv) {
  const { process } = shell
  const wanted = argv[1] ?? shell.get("HOME") ?? "/"
  const path = wanted === "-" ? (shell.get("OLDPWD") ?? process.cwd) : wanted
  const result = yield* Effect.result(
    attempt(() => {
      const place = process.machine.vfs.resolve(path, process.cwd, process.actor)
      process.machine.vfs.stat(`${place.path}/.`, "/", process.actor)
      return place.path
    })
  )
  if (result._tag === "Failure") {
    yield* shell.complain(`cd: line 0: can't cd to ${path}: ${result.failure.problem}`)
    return 2
  }
  shell.set("OLDPWD", process.cwd)
  process.cwd = result.success
  shell.set("PWD", process.cwd)
  if (wanted === "-") yield* process.print(`${process.cwd}\n`)
  return 0
})

const declare =
  (command: string, mark: (shell: Shell, name: string) => void): Builtin =>
  (shell, argv) =>
    Effect.gen(function* () {
      for (const word of argv.slice(1)) {
        if (word.startsWith("-")) continue
        const at = word.indexOf("=")
        const name = at === -1 ? word : word.slice(0, at)
        if (!isName(name)) return yield* shell.abort(`${command}: line 0: ${name}: bad variable name`)
        if (command === "local" && !shell.declareLocal(name))
          return yield* shell.abort("local: line 0: not in a function")
        if (at !== -1) yield* shell.assign(name, word.slice(at + 1))
        mark(shell, name)
      }
      return 0
    })

const numberOf = (shell: Shell, command: string, word: string | undefined, fallback: number) =>
  word === undefined
    ? Effect.succeed(fallback)
    : /^\d+$/.test(word)
      ? Effect.succeed(Number(word))
      : shell.abort(`${command}: line 0: Illegal number: ${word}`)

const jump =
  (kind: Jump["kind"], fallback: (shell: Shell) => number): Builtin =>
  (shell, argv) =>
    Effect.flatMap(numberOf(shell, argv[0] ?? "", argv[1], fallback(shell)), (count) =>
      shell.loops === 0 && (kind === "Break" || kind === "Continue")
        ? Effect.succeed(0)
        : Effect.fail(new Jump({ kind, count: kind === "Exit" || kind === "Return" ? count & 0xff : count }))
    )

const set: Builtin = (shell, argv) =>
  Effect.sync(() => {
    const words = argv.slice(1)
    const byName: { readonly [name: string]: string } = {
      errexit: "e",
      nounset: "u",
      xtrace: "x",
      noglob: "f",
      allexport: "a"
    }
    for (let word = words.shift(); word !== undefined; word = words.shift()) {
      if (word === "--" || !/^[-+]./.test(word)) {
        shell.positional = word === "--" ? words : [word, ...words]
        return 0
      }
      for (const letter of word.slice(1)) {
        const option = letter === "o" ? byName[words.shift() ?? ""] : letter
        if (option === undefined) continue
        if (word.startsWith("-")) shell.options.add(option)
        else shell.options.delete(option)
      }
    }
    return 0
  })

const shift: Builtin = (shell, argv) =>
  Effect.flatMap(numberOf(shell, "shift", argv[1], 1), (count) => {
    if (count > shell.positional.length) return Effect.succeed(1)
    shell.positional = shell.positional.slice(count)
    return Effect.succeed(0)
  })

const read: Builtin = Effect.fnUntraced(function* (shell, argv) {
  const isRaw = argv.includes("-r")
  const names = argv.slice(1).filter((word) => !word.startsWith("-"))
  let line = yield* shell.process.readLine(0)
  if (!isRaw) while (line.endsWith("\\\n")) line = line.slice(0, -2) + (yield* shell.process.readLine(0))
  const isComplete = line.endsWith("\n")
  const text = (isComplete ? line.slice(0, -1) : line).replace(isRaw ? /(?!)/g : /\\(.)/g, "$1")
  const separators = (shell.get("IFS") ?? " \t\n").replace(/[\\\]^-]/g, "\\$&")
  let rest = separators === "" ? text : text.replace(new RegExp(`^[${separators}]+|[${separators}]+$`, "g"), "")
  for (const [index, name] of (names.length === 0 ? ["REPLY"] : names).entries()) {
    const isLast = index >= names.length - 1
    const end = isLast || separators === "" ? -1 : rest.search(new RegExp(`[${separators}]`))
    yield* shell.assign(name, end === -1 ? rest : rest.slice(0, end))
    rest = end === -1 ? "" : rest.slice(end).replace(new RegExp(`^[${separators}]+`), "")
  }
  return isComplete ? 0 : 1
})

const wait: Builtin = Effect.fnUntraced(function* (shell, argv) {
  const pids = argv.slice(1).map(Number)
  let status = 0
  if (pids.some((pid) => Number.isNaN(pid))) return 2
  for (const pid of pids.length === 0 ? shell.children.keys() : pids) {
    const child = shell.children.get(pid)
    if (child === undefined) {
      status = 127
      continue
    }
    const ended = yield* shell.waitInterruptibly(child)
    if (ended !== undefined) shell.children.delete(pid)
    const code = ended === undefined ? 128 + signals.SIGTERM : yield* shell.statusOf(ended)
    if (pids.length > 0) status = code
  }
  return status
})

const trap: Builtin = Effect.fnUntraced(function* (shell, argv) {
  const [, action, ...names] = argv
  if (action === undefined) {
    for (const [signal, text] of shell.traps)
      yield* shell.process.print(`trap -- '${text}' ${signalName(signal) ?? "EXIT"}\n`)
    return 0
  }
  const isReset = names.length === 0
  for (const name of isReset ? [action] : names) {
    const signal = name === "EXIT" ? 0 : parseSignal(name)
    if (signal === undefined) {
      yield* shell.complain(`trap: line 0: ${name}: invalid signal specification`)
      return 1
    }
    shell.trap(signal, isReset || action === "-" ? undefined : action)
  }
  return 0
})

const type: Builtin = Effect.fnUntraced(function* (shell, argv) {
  let status = 0
  for (const name of argv.slice(1)) {
    const kind = kindOf(shell, name)
    yield* shell.process.print(kind === undefined ? `${name}: not found\n` : `${name} is ${kind.description}\n`)
    if (kind === undefined) status = 127
  }
  return status
})

const kindOf = (shell: Shell, name: string): { readonly description: string; readonly path: string } | undefined => {
  if (shell.functions.has(name)) return { description: "a function", path: name }
  if (builtins.has(name)) return { description: "a shell builtin", path: name }
  const { actor, cwd, machine } = shell.process
  const path = orNothing(() => machine.locate(name, shell.get("PATH"), cwd, actor))
  return path === undefined || shell.process.lookAt(path) === undefined ? undefined : { description: path, path }
}

const command: Builtin = Effect.fnUntraced(function* (shell, argv) {
  const isQuestion = argv[1] === "-v" || argv[1] === "-V"
  if (isQuestion) {
    const kind = kindOf(shell, argv[2] ?? "")
    if (kind === undefined) return 127
    yield* shell.process.print(`${kind.path}\n`)
    return 0
  }
  const words = argv.slice(argv[1] === "-p" ? 2 : 1)
  const [name] = words
  if (name === undefined) return 0
  return yield* builtins.get(name)?.(shell, words) ?? shell.external(words)
})

const exec: Builtin = Effect.fnUntraced(function* (shell, argv) {
  if (argv.length === 1) return 0
  shell.process.setEnv(shell.exported())
  const status = yield* shell.execute(argv.slice(1), "exec: line 0: ")
  return yield* new Jump({ kind: "Exit", count: status })
})

const dot: Builtin = Effect.fnUntraced(function* (shell, argv) {
  const path = argv[1] ?? ""
  const content = yield* Effect.result(shell.process.readFile(path))
  if (content._tag === "Failure")
    return yield* shell.abort(`.: line 0: can't open '${path}': ${content.failure.problem}`)
  return yield* untilReturn(shell.source(content.success))
})

const umask: Builtin = Effect.fnUntraced(function* (shell, argv) {
  const mask = argv[1]
  if (mask === undefined) yield* shell.process.print(`${shell.process.umask.toString(8).padStart(4, "0")}\n`)
  else shell.process.umask = Number.parseInt(mask, 8) & 0o777
  return 0
})

const limitNames: { readonly [letter: string]: string } = {
  c: "core",
  d: "data",
  f: "fsize",
  l: "memlock",
  n: "nofile",
  s: "stack",
  t: "cpu",
  u: "nproc",
  v: "as"
}

const defaultLimits: { readonly [name: string]: number } = { core: 0, nofile: 1024 }

/** Shows or sets limits, which are not enforced. */
const ulimit: Builtin = (shell, argv) =>
  Effect.suspend(() => {
    const words = argv.slice(1)
    const letters = words.filter((word) => word.startsWith("-")).join("")
    const name = limitNames[/[cdflnstuv]/.exec(letters)?.[0] ?? "f"] ?? "fsize"
    const value = words.find((word) => /^\d+$/.test(word))
    const { limits } = shell.process
    const current = limits.get(name)
    if (value === undefined) {
      const shown = (letters.includes("H") ? current?.hard : current?.soft) ?? defaultLimits[name] ?? "unlimited"
      return Effect.as(shell.process.print(`${shown}\n`), 0)
    }
    limits.set(name, {
      soft: Number(value),
      hard: letters.includes("S") ? (current?.hard ?? Number(value)) : Number(value)
    })
    return Effect.succeed(0)
  })

const table: { readonly [name: string]: Builtin } = {
  ":": succeed,
  ".": dot,
  "[": inPlace(test),
  alias: succeed,
  break: jump("Break", () => 1),
  cd,
  command,
  continue: jump("Continue", () => 1),
  echo: inPlace(echo),
  eval: (shell, argv) => shell.source(argv.slice(1).join(" ")),
  exec,
  exit: jump("Exit", (shell) => shell.status),
  export: declare("export", (shell, name) => shell.export(name)),
  false: () => Effect.succeed(1),
  kill: inPlace(kill),
  local: declare("local", () => {}),
  printf: inPlace(printf),
  pwd: (shell) => Effect.as(shell.process.print(`${shell.process.cwd}\n`), 0),
  read,
  readonly: declare("readonly", (shell, name) => {
    const variable = shell.variables.get(name)
    if (variable !== undefined) variable.isReadonly = true
  }),
  return: jump("Return", (shell) => shell.status),
  set,
  shift,
  test: inPlace(test),
  trap,
  true: succeed,
  type,
  ulimit,
  umask,
  unset: (shell, argv) =>
    Effect.sync(() => {
      for (const name of argv.slice(1)) {
        if (argv[1] === "-f") shell.functions.delete(name)
        else shell.variables.delete(name)
      }
      return 0
    }),
  wait
}

export const builtins: ReadonlyMap<string, Builtin> = new Map(Object.entries(table))
