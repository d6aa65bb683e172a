/** Programs about processes, users, time and the machine. Every export is a program, by its name. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { type Description, setSize, TerminalDescription } from "../kernel/description.ts"
import { type Errno, orNothing } from "../kernel/errno.ts"
import { codeOf, type Process, type Program, restartable } from "../kernel/process.ts"
import { kernelRelease } from "../kernel/procfs.ts"
import { signals } from "../../../config/signals.ts"
import * as Signals from "../kernel/signals.ts"
import { mayAccess } from "../kernel/vfs.ts"
import { baseName, directoryName, fail, forEach, parseDate, print, pump, usage, withOptions } from "./options.ts"
import { replace } from "./run.ts"

const printing = (text: (process: Process) => string): Program =>
  withOptions("", (process) => print(process, `${text(process)}\n`))

export const pwd: Program = printing(({ cwd }) => cwd)

export const whoami: Program = printing(({ actor, machine }) => machine.nameOf("passwd", actor.uid))

export const hostname: Program = withOptions(
  "",
  (process, { operands: [name] }) => {
    const { actor, machine } = process
    if (name === undefined) return print(process, `${machine.currentHostname}\n`)
    if (actor.uid !== 0) return fail(process, "sethostname: Operation not permitted")
    return Effect.sync(() => {
      machine.currentHostname = name
      return 0
    })
  },
  { most: 1 }
)

export const nproc: Program = printing(({ machine }) => String(machine.cpus))

export const sync: Program = (process) =>
  Effect.sync(() => {
    for (const { volume } of process.machine.vfs.mounted()) volume.sync?.()
    return 0
  })

const duration = (word: string): number => {
  const match = /^(\d+(?:\.\d+)?|\.\d+)([smhd]?)$/.exec(word)
  return match === null ? Number.NaN : Number(match[1]) * 1000 * ({ m: 60, h: 3600, d: 86_400 }[match[2] ?? ""] ?? 1)
}

export const sleep: Program = (process, [, ...words]) => {
  const wrong = words.find((word) => Number.isNaN(duration(word)))
  if (words.length === 0) return usage(process)
  if (wrong !== undefined) return fail(process, `invalid number '${wrong}'`)
  return Effect.as(process.sleep(words.reduce((sum, word) => sum + duration(word), 0)), 0)
}
restartable.add(sleep)

export const env: Program = withOptions("+iu:", (process, options) => {
  const words = [...options.operands]
  if (options.has("i")) process.env.clear()
  for (const name of options.all("u")) process.env.delete(name)
  while (/^[^=]+=/.test(words[0] ?? "")) {
    const [name = "", value = ""] = (words.shift() ?? "").split(/=(.*)/s)
    process.env.set(name, value)
  }
  if (words.length > 0) return replace(process, words)
  return print(process, [...process.env].map(([name, value]) => `${name}=${value}\n`).join(""))
})

export const nohup: Program = (process, argv) => {
  process.handlers.set(signals.SIGHUP, undefined)
  return replace(process, argv.slice(1))
}

/** Runs a program in a new group, which outlives the command that started it. */
export const setsid: Program = withOptions(
  "+c",
  (process, { operands }) => {
    if (process.group !== process.pid) {
      process.group = process.pid
      return replace(process, operands)
    }
    const child = process.fork()
    child.group = child.pid
    return Effect.as(
      child.start((started) => replace(started, operands)),
      0
    )
  },
  { least: 1 }
)

/** Becomes the program, with a timer that sends it a signal. */
export const timeout: Program = withOptions(
  "+s:k:",
  Effect.fnUntraced(function* (process, options) {
    const [limit = "", ...words] = options.operands
    const millis = duration(limit)
    if (Number.isNaN(millis)) return yield* fail(process, `invalid number '${limit}'`)
    const name = options.get("s") ?? "TERM"
    const signal = Signals.parse(name)
    if (signal === undefined) return yield* fail(process, `bad signal name '${name}'`)
    const patience = duration(options.get("k") ?? "")
    yield* Effect.forkIn(
      process
        .sleep(millis)
        .pipe(
          Effect.andThen(Effect.sync(() => process.signal(signal))),
          Effect.andThen(Number.isNaN(patience) ? Effect.never : process.sleep(patience)),
          Effect.andThen(Effect.sync(() => process.signal(signals.SIGKILL))),
          Effect.raceFirst(process.ended)
        ),
      process.machine.scope
    )
    return yield* replace(process, words)
  }),
  { least: 2 }
)

export const id: Program = withOptions("ugGn", (process, options) => {
  const { actor, machine } = process
  const [name] = options.operands
  const account = name === undefined ? actor : machine.account(name)
  if ("problem" in account) return fail(process, `unknown user ${name}`)
  const { gid, groups, uid } = account
  const show = (table: "passwd" | "group", ids: ReadonlyArray<number>) =>
    print(process, `${ids.map((id) => (options.has("n") ? machine.nameOf(table, id) : String(id))).join(" ")}\n`)
  if (options.has("u")) return show("passwd", [uid])
  if (options.has("g")) return show("group", [gid])
  if (options.has("G")) return show("group", groups.length === 0 ? [gid] : groups)
  const labelled = (table: "passwd" | "group", id: number) => {
    const known = machine.nameOf(table, id)
    return known === String(id) ? known : `${id}(${known})`
  }
  const all = groups.length === 0 ? "" : ` groups=${groups.map((group) => labelled("group", group)).join(",")}`
  return print(process, `uid=${labelled("passwd", uid)} gid=${labelled("group", gid)}${all}\n`)
})

export const uname: Program = withOptions("asnrvmpio", (process, options) => {
  const fields = {
    s: "Linux",
    n: process.machine.currentHostname,
    r: kernelRelease,
    v: "#1 SMP",
    m: "x86_64",
    o: "GNU/Linux"
  }
  const shown = Object.entries(fields).filter(([flag]) => options.has("a") || options.has(flag))
  return print(process, `${shown.map(([, text]) => text).join(" ") || "Linux"}\n`)
})

const formatDate = (date: Date, format: string): string => {
  const iso = date.toISOString()
  const name = (options: Intl.DateTimeFormatOptions) => date.toLocaleString("en-US", { ...options, timeZone: "UTC" })
  const values: { readonly [letter: string]: () => string } = {
    Y: () => iso.slice(0, 4),
    y: () => iso.slice(2, 4),
    m: () => iso.slice(5, 7),
    d: () => iso.slice(8, 10),
    e: () => String(date.getUTCDate()).padStart(2),
    H: () => iso.slice(11, 13),
    M: () => iso.slice(14, 16),
    S: () => iso.slice(17, 19),
    N: () => `${iso.slice(20, 23)}000000`,
    s: () => String(Math.floor(date.getTime() / 1000)),
    j: () =>
      String(Math.floor((date.getTime() - Date.UTC(date.getUTCFullYear(), 0)) / 86_400_000) + 1).padStart(3, "0"),
    F: () => iso.slice(0, 10),
    T: () => iso.slice(11, 19),
    A: () => name({ weekday: "long" }),
    a: () => name({ weekday: "short" }),
    B: () => name({ month: "long" }),
    b: () => name({ month: "short" }),
    Z: () => "UTC",
    z: () => "+0000",
    "%": () => "%"
  }
  return format.replace(/%([a-zA-Z%])/g, (whole, letter: string) => values[letter]?.() ?? whole)
}

export const date: Program = withOptions("ud:r:s:I", (process, options) => {
  const { actor, machine } = process
  const wanted = options.get("s")
  if (wanted !== undefined) {
    const millis = parseDate(wanted)
    if (Number.isNaN(millis)) return fail(process, `invalid date '${wanted}'`)
    if (actor.uid !== 0) return fail(process, "can't set date: Operation not permitted")
    machine.timeOffset = millis - machine.now()
  }
  const given = options.get("d")
  const millis = given === undefined ? machine.guestNow() : parseDate(given)
  if (Number.isNaN(millis)) return fail(process, `invalid date '${given}'`)
  const format = options.operands[0]?.slice(1) ?? (options.has("I") ? "%F" : "%a %b %e %H:%M:%S UTC %Y")
  return print(process, `${formatDate(new Date(millis), format)}\n`)
})

export const seq: Program = withOptions(
  "+ws:",
  (process, options) => {
    const numbers = options.operands.map(Number)
    const [first = 1, second = 1, third] = numbers
    const [from, step, to] =
      third !== undefined ? [first, second, third] : numbers.length === 2 ? [first, 1, second] : [1, 1, first]
    if (numbers.some((number) => Number.isNaN(number)) || step === 0) return usage(process)
    const width = options.has("w") ? Math.max(String(from).length, String(to).length) : 0
    const shown = Array.from({ length: Math.max(0, Math.floor((to - from) / step) + 1) }, (_, index) =>
      String(from + index * step).padStart(width, "0")
    )
    return print(process, shown.length === 0 ? "" : `${shown.join(options.get("s") ?? "\n")}\n`)
  },
  { least: 1, most: 3 }
)

export const yes: Program = (process, argv) => {
  const line = `${argv.slice(1).join(" ") || "y"}\n`
  return Effect.forever(process.print(line.repeat(Math.ceil(4096 / line.length))))
}

export const basename: Program = withOptions(
  "",
  (process, { operands: [path = "", suffix = ""] }) => {
    const name = baseName(path)
    const isCut = suffix !== "" && name !== suffix && name.endsWith(suffix)
    return print(process, `${isCut ? name.slice(0, -suffix.length) : name}\n`)
  },
  { least: 1, most: 2 }
)

export const dirname: Program = withOptions(
  "",
  (process, { operands: [path = ""] }) => Effect.as(process.print(`${directoryName(path)}\n`), 0),
  { least: 1, most: 1 }
)

export const which: Program = withOptions("a", (process, { operands }) =>
  forEach(operands, (name) => {
    const { actor, cwd, env, machine } = process
    const path = orNothing(() => machine.locate(name, env.get("PATH"), cwd, actor))
    const stat = path === undefined ? undefined : process.lookAt(path)
    return stat !== undefined && mayAccess(actor, stat, 1) ? print(process, `${path}\n`) : Effect.succeed(1)
  })
)

const infos = ({ machine }: Process) => machine.pids().flatMap((pid) => machine.processInfo(pid) ?? [])

export const ps: Program = withOptions("+awefuxlo:", (process) => {
  const lines = infos(process)
    .toSorted((a, b) => a.pid - b.pid)
    .map(({ actor, argv, pid }) => {
      const user = process.machine.nameOf("passwd", actor.uid)
      return `${String(pid).padStart(5)} ${user.padEnd(8)} ${argv.join(" ")}\n`
    })
  return print(process, `PID   USER     COMMAND\n${lines.join("")}`)
})

export const pgrep: Program = withOptions("fx", (process, options) => {
  const pattern = new RegExp(options.operands[0] ?? "")
  const found = infos(process).filter(
    ({ argv, name, pid }) => pid !== process.pid && pid !== 1 && pattern.test(options.has("f") ? argv.join(" ") : name)
  )
  return Effect.as(process.print(found.map(({ pid }) => `${pid}\n`).join("")), found.length === 0 ? 1 : 0)
})

const terminalOf = (process: Process) => process.descriptors.get(0)?.terminal

export const tty: Program = (process) => {
  const terminal = terminalOf(process)
  return Effect.as(process.print(`${terminal?.name ?? "not a tty"}\n`), terminal === undefined ? 1 : 0)
}

/** Shows or sets the size; other settings have no effect. */
export const stty: Program = (process, argv) => {
  const terminal = terminalOf(process)
  if (terminal === undefined) return fail(process, "standard input: Not a tty")
  if (argv[1] === "size") return print(process, `${terminal.rows} ${terminal.columns}\n`)
  const given = (name: string, otherwise: number) => Number(argv[argv.indexOf(name) + 1 || argv.length] ?? otherwise)
  return Effect.sync(() => {
    setSize(terminal, { rows: given("rows", terminal.rows), columns: given("cols", terminal.columns) })
    return 0
  })
}

/** Runs a command for the shell in a terminal of its own, between the input and the output. Records nothing. */
export const script: Program = withOptions(
  "qefc:",
  Effect.fnUntraced(function* (process, options) {
    const { machine } = process
    const child = process.fork()
    child.group = child.pid
    const name = `/dev/pts/${child.pid}`
    const terminal = new TerminalDescription({
      terminal: { name, rows: 0, columns: 0, onSize: () => machine.signalGroup(child.group, signals.SIGWINCH) },
      onWrite: (bytes) => process.writeBytes(1, bytes),
      onClose: () => machine.terminals.delete(name),
      onInterrupt: () => machine.signalGroup(child.group, signals.SIGINT)
    })
    machine.terminals.set(name, terminal)
    for (const fd of [0, 1, 2]) child.assign(fd, fd === 0 ? terminal : terminal.retain())
    const type: Effect.Effect<void, Errno> = Effect.flatMap(process.read(0), (bytes) =>
      bytes.length === 0 ? Effect.sync(terminal.hangUp) : Effect.andThen(terminal.type(bytes), type)
    )
    yield* child.start((started) => replace(started, ["sh", "-c", options.get("c") ?? "sh"]))
    const status = yield* Effect.raceFirst(child.ended, Effect.andThen(Effect.ignore(type), Effect.never)).pipe(
      Effect.ensuring(Effect.sync(() => machine.signalGroup(child.group, signals.SIGHUP)))
    )
    return options.has("e") ? codeOf(status) : 0
  })
)

/** Ends the machine, and waits for that. */
export const reboot: Program = (process) => {
  const { actor, machine } = process
  if (actor.uid !== 0) return fail(process, "Operation not permitted")
  machine.onPowerOff()
  return Effect.as(Deferred.await(machine.lost), 0)
}

/** Connects, or with `-l` takes one connection; `-e` runs a program on it. */
export const nc: Program = (process, [, ...words]) =>
  Effect.gen(function* () {
    const after = (flag: string) => (words.includes(flag) ? words.slice(words.indexOf(flag) + 1) : undefined)
    const program = after("-e")
    const socket = words.includes("-l")
      ? yield* Effect.scoped(Effect.flatMap(process.machine.listen(Number(after("-p")?.[0])), Queue.take))
      : yield* process.machine.dial(words.at(-2) ?? "", Number(words.at(-1)))
    if (program !== undefined) {
      process.assign(0, socket.retain())
      process.assign(1, socket)
      return yield* replace(process, program)
    }
    const fd = 10
    process.assign(fd, socket)
    yield* Effect.raceFirst(pump(process, fd), Effect.andThen(send(process, socket), Effect.never))
    return 0
  }).pipe(Effect.catch(({ problem }) => fail(process, problem)))

/** Sends the input, and then closes the writing side. */
const send = Effect.fnUntraced(function* (
  process: Process,
  socket: Description & { readonly endOutput: () => void }
): Effect.fn.Return<void, Errno> {
  for (;;) {
    const bytes = process.descriptors.has(0) ? yield* process.read(0) : new Uint8Array()
    if (bytes.length === 0) return socket.endOutput()
    yield* socket.write(bytes)
  }
})
