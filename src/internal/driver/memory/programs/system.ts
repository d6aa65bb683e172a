/**
 * Commands about processes, users and the machine.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type { Description, SocketDescription } from "../kernel/description.ts"
import { attempt, errno, type Errno } from "../kernel/errno.ts"
import type { Process, Program } from "../kernel/process.ts"
import { kernelRelease } from "../kernel/procfs.ts"
import { signals } from "../../../guest/signals.ts"
import * as Signals from "../kernel/signals.ts"
import { mayAccess } from "../kernel/vfs.ts"
import { baseName, directoryName, forEach, pump, withOptions } from "./options.ts"
import { runProgram } from "./list.ts"

/** A command that says one thing. */
const say =
  (text: (process: Process) => string): Program =>
  (process) =>
    Effect.as(process.print(`${text(process)}\n`), 0)

export const succeed: Program = () => Effect.succeed(0)

export const fail: Program = () => Effect.succeed(1)

export const pwd: Program = say(({ cwd }) => cwd)

export const whoami: Program = say(({ actor, machine }) => machine.nameOf("passwd", actor.uid) ?? String(actor.uid))

export const hostname: Program = say(({ machine }) => machine.hostname)

export const nproc: Program = say(({ machine }) => String(machine.cpus))

export const sync: Program = (process) =>
  Effect.sync(() => {
    for (const { volume } of process.machine.vfs.mounted()) volume.sync?.()
    return 0
  })

const duration = (word: string): number | undefined => {
  const match = /^(\d+(?:\.\d+)?|\.\d+)([smhd]?)$/.exec(word)
  if (match === null) return undefined
  return Number(match[1]) * 1000 * ({ m: 60, h: 3600, d: 86_400 }[match[2] ?? ""] ?? 1)
}

export const sleep: Program = (process) =>
  Effect.gen(function* () {
    let total = 0
    for (const word of process.argv.slice(1)) {
      const millis = duration(word)
      if (millis === undefined) {
        yield* process.complain(`sleep: invalid number '${word}'`)
        return 1
      }
      total += millis
    }
    yield* process.sleep(total)
    return 0
  })

export const env: Program = withOptions("+iu:0", (process, options) =>
  Effect.gen(function* () {
    const words = [...options.operands]
    if (options.has("i")) process.env.clear()
    for (const name of options.all("u")) process.env.delete(name)
    while (/^[^=]+=/.test(words[0] ?? "")) {
      const word = words.shift() ?? ""
      const at = word.indexOf("=")
      process.env.set(word.slice(0, at), word.slice(at + 1))
    }
    if (words.length > 0) return yield* replace(process, words)
    const end = options.has("0") ? "\0" : "\n"
    yield* process.print([...process.env].map(([name, value]) => `${name}=${value}${end}`).join(""))
    return 0
  })
)

export const printenv: Program = withOptions("", (process, { operands }) =>
  operands.length === 0
    ? env(process)
    : forEach(operands, (name) => {
        const value = process.env.get(name)
        return value === undefined ? Effect.succeed(1) : Effect.as(process.print(`${value}\n`), 0)
      })
)

/** Goes on as another program. */
const replace = (process: Process, argv: ReadonlyArray<string>): Effect.Effect<number, Errno> => {
  const { actor, cwd, machine } = process
  const own = process.name
  const name = argv[0] ?? ""
  return Effect.matchEffect(
    attempt(() => machine.load(machine.locate(name, process.env.get("PATH"), cwd, actor), argv, cwd, actor)),
    {
      onFailure: (error) =>
        Effect.as(
          process.complain(`${own}: can't execute '${name}': ${error.problem}`),
          error.code === "EACCES" ? 126 : 127
        ),
      onSuccess: (loaded) => {
        process.argv = loaded.argv
        return loaded.program(process)
      }
    }
  )
}

export const nohup: Program = (process) =>
  Effect.suspend(() => {
    process.handlers.set(signals.SIGHUP, undefined)
    return replace(process, process.argv.slice(1))
  })

/** In a session of its own, which outlives the command that it was started from. */
export const setsid: Program = (process) =>
  Effect.gen(function* () {
    const words = process.argv.slice(1)
    const isAwaited = words[0] === "-w"
    if (isAwaited) words.shift()
    const child = process.machine.makeProcess({
      parent: process.pid,
      argv: words,
      env: process.env,
      cwd: process.cwd,
      actor: process.actor,
      umask: process.umask,
      descriptors: new Map([...process.descriptors].map(([fd, description]) => [fd, description.retain()])),
      limits: process.limits
    })
    yield* child.start((started) => replace(started, words))
    if (!isAwaited) return 0
    const status = yield* child.ended
    return status._tag === "Exited" ? status.code : 128 + status.signal
  })

export const timeout: Program = withOptions("+s:k:", (process, options) =>
  Effect.gen(function* () {
    const [limit = "", ...words] = options.operands
    const millis = duration(limit)
    const signal = Signals.parse(options.get("s") ?? "TERM")
    if (millis === undefined || signal === undefined) {
      yield* process.complain(`timeout: invalid number '${limit}'`)
      return 125
    }
    const child = process.fork({ argv: words })
    yield* child.start((started) => replace(started, words))
    const ended = yield* Effect.timeoutOption(child.ended, millis)
    if (ended._tag === "Some") return ended.value._tag === "Exited" ? ended.value.code : 128 + ended.value.signal
    child.signal(signal)
    const patience = duration(options.get("k") ?? "")
    if (patience !== undefined) {
      yield* Effect.timeoutOption(child.ended, patience)
      child.signal(signals.SIGKILL)
    }
    yield* child.ended
    return 143
  })
)

export const time: Program = (process) =>
  Effect.gen(function* () {
    const start = process.machine.now()
    const code = yield* runProgram(process, process.argv.slice(1))
    const seconds = ((process.machine.now() - start) / 1000).toFixed(2)
    yield* process.complain(`real\t0m ${seconds}s\nuser\t0m 0.00s\nsys\t0m 0.00s`)
    return code
  })

export const id: Program = withOptions("ugGn", (process, options) =>
  Effect.gen(function* () {
    const { actor, machine } = process
    const [name] = options.operands
    const account = name === undefined ? { ...actor, home: "/" } : machine.account(name)
    if ("problem" in account) {
      yield* process.complain(`id: unknown user ${name}`)
      return 1
    }
    const nameOf = (table: "passwd" | "group", number: number) =>
      options.has("n") ? (machine.nameOf(table, number) ?? String(number)) : String(number)
    const labelled = (table: "passwd" | "group", number: number) => {
      const known = machine.nameOf(table, number)
      return known === undefined ? String(number) : `${number}(${known})`
    }
    if (options.has("u")) yield* process.print(`${nameOf("passwd", account.uid)}\n`)
    else if (options.has("g")) yield* process.print(`${nameOf("group", account.gid)}\n`)
    else if (options.has("G")) {
      const all = account.groups.length === 0 ? [account.gid] : account.groups
      yield* process.print(`${all.map((gid) => nameOf("group", gid)).join(" ")}\n`)
    } else {
      const groups =
        account.groups.length === 0 ? "" : ` groups=${account.groups.map((gid) => labelled("group", gid)).join(",")}`
      yield* process.print(`uid=${labelled("passwd", account.uid)} gid=${labelled("group", account.gid)}${groups}\n`)
    }
    return 0
  })
)

export const uname: Program = withOptions("asnrvmpio", (process, options) => {
  const { hostname } = process.machine
  const fields = [
    ["s", "Linux"],
    ["n", hostname],
    ["r", kernelRelease],
    ["v", "#1 SMP"],
    ["m", "x86_64"],
    ["o", "GNU/Linux"]
  ] as const
  const shown = fields.filter(([flag]) => options.has("a") || options.has(flag))
  return Effect.as(process.print(`${shown.length === 0 ? "Linux" : shown.map(([, text]) => text).join(" ")}\n`), 0)
})

const weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
const months = "January February March April May June July August September October November December".split(" ")

const formatDate = (date: Date, format: string): string => {
  const two = (number: number) => String(number).padStart(2, "0")
  const values: { readonly [letter: string]: () => string } = {
    Y: () => String(date.getUTCFullYear()),
    y: () => two(date.getUTCFullYear() % 100),
    m: () => two(date.getUTCMonth() + 1),
    d: () => two(date.getUTCDate()),
    e: () => String(date.getUTCDate()).padStart(2),
    H: () => two(date.getUTCHours()),
    M: () => two(date.getUTCMinutes()),
    S: () => two(date.getUTCSeconds()),
    N: () => String(date.getUTCMilliseconds() * 1_000_000).padStart(9, "0"),
    s: () => String(Math.floor(date.getTime() / 1000)),
    F: () => formatDate(date, "%Y-%m-%d"),
    T: () => formatDate(date, "%H:%M:%S"),
    A: () => weekdays[date.getUTCDay()] ?? "",
    a: () => (weekdays[date.getUTCDay()] ?? "").slice(0, 3),
    B: () => months[date.getUTCMonth()] ?? "",
    b: () => (months[date.getUTCMonth()] ?? "").slice(0, 3),
    Z: () => "UTC",
    z: () => "+0000",
    "%": () => "%"
  }
  return format.replace(/%([a-zA-Z%])/g, (whole, letter: string) => values[letter]?.() ?? whole)
}

export const date: Program = withOptions("ud:r:I", (process, options) => {
  const given = options.get("d")
  const millis =
    given === undefined
      ? process.machine.now()
      : given.startsWith("@")
        ? Number(given.slice(1)) * 1000
        : Date.parse(given)
  if (Number.isNaN(millis)) return Effect.as(process.complain(`date: invalid date '${given}'`), 1)
  const format = options.operands[0]?.slice(1) ?? (options.has("I") ? "%F" : "%a %b %e %H:%M:%S UTC %Y")
  return Effect.as(process.print(`${formatDate(new Date(millis), format)}\n`), 0)
})

export const seq: Program = withOptions("ws:", (process, options) =>
  Effect.gen(function* () {
    const numbers = options.operands.map(Number)
    const [first = 1, second, third] = numbers
    const [from, step, to] =
      third !== undefined ? [first, second ?? 1, third] : second !== undefined ? [first, 1, second] : [1, 1, first]
    if (numbers.some((number) => Number.isNaN(number)) || step === 0) {
      yield* process.complain("seq: invalid number")
      return 1
    }
    const separator = options.get("s") ?? "\n"
    const width = options.has("w") ? Math.max(String(from).length, String(to).length) : 0
    let batch = ""
    for (let value = from; step > 0 ? value <= to : value >= to; value += step) {
      batch += (value === from ? "" : separator) + String(value).padStart(width, "0")
      if (batch.length < 4096) continue
      yield* process.print(batch)
      batch = ""
    }
    yield* process.print(`${batch}\n`)
    return 0
  })
)

export const yes: Program = (process) => {
  const line = `${process.argv.length > 1 ? process.argv.slice(1).join(" ") : "y"}\n`
  const lines = line.repeat(Math.ceil(4096 / line.length))
  return Effect.forever(process.print(lines))
}

export const basename: Program = withOptions("", (process, { operands: [path = "", suffix = ""] }) => {
  const name = baseName(path)
  const isCut = suffix !== "" && name !== suffix && name.endsWith(suffix)
  return Effect.as(process.print(`${isCut ? name.slice(0, -suffix.length) : name}\n`), 0)
})

export const dirname: Program = withOptions("", (process, { operands: [path = ""] }) =>
  Effect.as(process.print(`${directoryName(path)}\n`), 0)
)

export const which: Program = withOptions("a", (process, { operands }) =>
  forEach(operands, (name) => {
    const { actor, cwd, env: variables, machine } = process
    return attempt(() => {
      const path = machine.locate(name, variables.get("PATH"), cwd, actor)
      if (!mayAccess(actor, machine.vfs.stat(path, cwd, actor), 1)) throw errno("EACCES")
      return path
    }).pipe(
      Effect.flatMap((path) => process.print(`${path}\n`)),
      Effect.as(0),
      Effect.orElseSucceed(() => 1)
    )
  })
)

export const ps: Program = (process) => {
  const { machine } = process
  const lines = machine
    .pids()
    .toSorted((a, b) => a - b)
    .flatMap((pid) => {
      const info = machine.processInfo(pid)
      if (info === undefined) return []
      const user = machine.nameOf("passwd", info.actor.uid) ?? String(info.actor.uid)
      return [`${String(pid).padStart(5)} ${user.padEnd(8)} ${info.argv.join(" ")}\n`]
    })
  return Effect.as(process.print(`PID   USER     COMMAND\n${lines.join("")}`), 0)
}

export const pgrep: Program = withOptions("fx", (process, options) =>
  Effect.gen(function* () {
    const { machine, pid: own } = process
    const pattern = new RegExp(options.operands[0] ?? "")
    const found = machine.pids().filter((pid) => {
      const info = machine.processInfo(pid)
      return (
        pid !== own &&
        pid !== 1 &&
        info !== undefined &&
        pattern.test(options.has("f") ? info.argv.join(" ") : info.name)
      )
    })
    if (process.name === "pkill") for (const pid of found) machine.process(pid)?.signal(signals.SIGTERM)
    else yield* process.print(found.map((pid) => `${pid}\n`).join(""))
    return found.length === 0 ? 1 : 0
  })
)

export const tty: Program = (process) => {
  const terminal = process.descriptors.get(0)?.terminal
  return Effect.as(
    process.print(terminal === undefined ? "not a tty\n" : `${terminal.name}\n`),
    terminal === undefined ? 1 : 0
  )
}

export const stty: Program = (process) => {
  const terminal = process.descriptors.get(0)?.terminal
  if (terminal === undefined) return Effect.as(process.complain("stty: standard input: Not a tty"), 1)
  const text = process.argv[1] === "size" ? `${terminal.rows} ${terminal.columns}\n` : ""
  return Effect.as(process.print(text), 0)
}

export const mount: Program = (process) =>
  process.argv.length > 1
    ? Effect.as(process.complain("mount: permission denied (are you root?)"), 1)
    : Effect.as(
        process.print(
          process.machine.vfs
            .mounted()
            .map(({ path, volume }) => `${volume.source} on ${path} type ${volume.type} (${volume.options})\n`)
            .join("")
        ),
        0
      )

const ending =
  (end: (machine: Process["machine"]) => Effect.Effect<unknown>): Program =>
  (process) =>
    process.actor.uid === 0
      ? Effect.as(end(process.machine), 0)
      : Effect.as(process.complain(`${process.name}: Operation not permitted`), 1)

/** `reboot` ends the machine, and waits for that. */
export const reboot: Program = ending((machine) => {
  machine.powerOff()
  return Deferred.await(machine.lost)
})

/** `poweroff` and `halt` only stop it: it has nothing that could turn it off, and nobody outside hears of it. */
export const halt: Program = ending(() => Effect.never)

/** Netcat: connects, or with `-l` takes one connection; `-e` runs a program on it. */
export const nc: Program = (process) =>
  Effect.scoped(
    Effect.gen(function* () {
      const words = process.argv.slice(1)
      const isListening = words.includes("-l")
      const portAt = words.indexOf("-p")
      const programAt = words.indexOf("-e")
      const program = programAt === -1 ? undefined : words.slice(programAt + 1)
      const socket: SocketDescription = isListening
        ? yield* Effect.flatMap(process.machine.listen(Number(words[portAt + 1])), Queue.take)
        : yield* process.machine.dial(words.at(-2) ?? "", Number(words.at(-1)))
      if (program !== undefined) {
        process.assign(0, socket.retain())
        process.assign(1, socket)
        return yield* replace(process, program)
      }
      const fd = 10
      process.assign(fd, socket)
      const send = relay(process, process.descriptors.get(0), socket)
      yield* Effect.raceFirst(pump(process, fd), Effect.andThen(send, Effect.never))
      return 0
    })
  ).pipe(Effect.catch(({ problem }) => Effect.as(process.complain(`nc: ${problem}`), 1)))

/** Sends what is read, and then tells the far end that there is no more. */
const relay = (
  process: Process,
  input: Description | undefined,
  socket: SocketDescription
): Effect.Effect<void, Errno> =>
  Effect.gen(function* () {
    for (;;) {
      const bytes = input === undefined ? new Uint8Array() : yield* process.read(0)
      if (bytes.length === 0) return socket.endOutput()
      yield* socket.write(bytes)
    }
  })
