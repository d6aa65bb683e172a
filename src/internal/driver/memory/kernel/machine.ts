/** A running virtual machine: its kernel's tables. */
import type * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Net from "node:net"
import * as ByteString from "./byteString.ts"
import { type Description, Pipe, SocketDescription } from "./description.ts"
import type * as Device from "./device.ts"
import { errno, Errno, orNothing } from "./errno.ts"
import type { Memory } from "./memory.ts"
import { Process, type ProcessFields, type Program } from "./process.ts"
import * as Procfs from "./procfs.ts"
import { type Actor, root } from "./vnode.ts"
import { mayAccess, type Vfs } from "./vfs.ts"

/** How a file begins that stands for a built-in program. */
export const programMark = "\x7fPROGRAM "

export interface MachineOptions {
  readonly name: string
  readonly hostname: string
  readonly cpus: number
  /** Bytes. */
  readonly memory: number
  readonly env: ReadonlyMap<string, string>
  readonly workdir: string
  readonly user: string | undefined
  readonly programs: ReadonlyMap<string, Program>
  readonly clock: Clock.Clock
  /** Closed when the machine ends. */
  readonly scope: Scope.Scope
  /** Connects to an address that is not the machine's. Default: none can be reached. */
  readonly dialOut: ((address: string, port: number) => Effect.Effect<SocketDescription, Errno>) | undefined
  /** The file systems, without the kernel's own. */
  readonly vfs: Vfs
  readonly random: Device.Random
  /** Called when a program in the guest ends the machine. */
  readonly onPowerOff: () => void
  /** What a captured machine has, which goes on in this one. Default: it boots. */
  readonly resumed?: Pick<Memory, "bootId" | "clock" | "hostname" | "nextPid" | "uptime"> | undefined
}

export interface Account {
  readonly uid: number
  readonly gid: number
  readonly groups: ReadonlyArray<number>
  readonly home: string
}

export interface Loaded {
  readonly program: Program
  readonly argv: ReadonlyArray<string>
}

const mostInterpreters = 4

const mostWordBytes = 128 * 1024

/** A quarter of the usual stack, which also holds a pointer to each word. */
const mostArgumentBytes = 2 * 1024 * 1024
const pointerBytes = 8

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

export class Machine extends Data.Class<MachineOptions> {
  readonly now = (): number => this.clock.currentTimeMillisUnsafe()
  readonly bootedAt = this.now() - (this.resumed?.uptime ?? 0)
  readonly bootId = this.resumed?.bootId ?? Crypto.randomUUID()
  currentHostname = this.resumed?.hostname ?? this.hostname
  /** Milliseconds by which the guest's time differs from the host's: the time of a captured machine stands still. */
  timeOffset = this.resumed === undefined ? 0 : this.resumed.clock - this.now()
  readonly lost = Deferred.makeUnsafe<void>()
  /** Called with the reason when the machine ends, before its processes do. */
  readonly watchers = new Set<(problem: string) => void>()
  /** Those of `script`, by their paths. */
  readonly terminals = new Map<string, Description>()
  readonly traffic = { received: 0, sent: 0 }

  private readonly processes = new Map<number, Process>()
  private readonly listeners = new Map<number, Queue.Queue<SocketDescription>>()
  private readonly sessions = new Set<number>()
  private lastActivity = this.bootedAt
  /** Closed while the machine is paused. */
  private readonly going = Latch.makeUnsafe(true)
  private nextPid = this.resumed?.nextPid ?? 2

  constructor(options: MachineOptions) {
    super(options)
    this.vfs.mount("/proc", new Procfs.ProcFs(this).root, root)
  }

  isPaused = false

  pause(): void {
    this.isPaused = true
    this.going.closeUnsafe()
  }

  go(): void {
    this.isPaused = false
    this.going.openUnsafe()
  }

  /** Runs an effect once the machine is not paused. */
  whileGoing<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return this.isPaused ? Effect.andThen(this.going.await, effect) : effect
  }

  /** The guest's time, in milliseconds since 1970. */
  readonly guestNow = (): number => this.now() + this.timeOffset

  get lastPid(): number {
    return this.nextPid - 1
  }

  get isLost(): boolean {
    return Deferred.isDoneUnsafe(this.lost)
  }

  lose(problem: string): void {
    for (const watcher of this.watchers) watcher(problem)
    Deferred.doneUnsafe(this.lost, Effect.void)
  }

  touch(): void {
    this.lastActivity = this.now()
  }

  beginSession(session: number): void {
    this.touch()
    this.sessions.add(session)
  }

  endSession(session: number): void {
    this.touch()
    this.sessions.delete(session)
  }

  /** Milliseconds since the last activity. */
  get idleMillis(): number {
    return this.sessions.size > 0 ? 0 : this.now() - this.lastActivity
  }

  makeProcess(
    fields: Omit<ProcessFields, "pid" | "group"> & {
      readonly group?: number | undefined
      /** Default: the next one. */
      readonly pid?: number | undefined
    }
  ): Process {
    const pid = fields.pid ?? this.nextPid++
    const process = new Process(this, { ...fields, pid, group: fields.group ?? pid })
    this.processes.set(pid, process)
    return process
  }

  forget(process: Process): void {
    this.processes.delete(process.pid)
  }

  process(pid: number): Process | undefined {
    return this.processes.get(pid)
  }

  all(): ReadonlyArray<Process> {
    return [...this.processes.values()]
  }

  pids(): ReadonlyArray<number> {
    return [1, ...this.processes.keys()]
  }

  readonly processInfo = (pid: number): Procfs.ProcessInfo | undefined =>
    pid === 1
      ? { pid, parent: 0, group: 1, name: "init", argv: ["/init"], env: new Map(), cwd: "/", actor: root, startedAt: 0 }
      : this.processes.get(pid)

  signalGroup(group: number, signal: number): void {
    for (const process of this.processes.values()) if (process.group === group) process.signal(signal)
  }

  /** Signals every process that the sender may signal, except itself. */
  signalAll(actor: Actor, signal: number): void {
    for (const process of this.processes.values()) {
      const isAllowed = actor.uid === 0 || actor.uid === process.actor.uid
      if (process.pid !== actor.pid && isAllowed) process.signal(signal)
    }
  }

  /** Finds a program on a path. Throws `Errno`. */
  locate(name: string, path: string | undefined, cwd: string, actor: Actor): string {
    if (name.includes("/")) return name
    let isDenied = false
    for (const folder of (path ?? defaultPath).split(":")) {
      const candidate = `${folder === "" ? "." : folder}/${name}`
      const stat = orNothing(() => this.vfs.stat(candidate, cwd, actor))
      if (stat?.kind === "File" && mayAccess(actor, stat, 1)) return candidate
      isDenied ||= stat !== undefined
    }
    throw errno(isDenied ? "EACCES" : "ENOENT")
  }

  /** Loads a program that a process executes, within Linux's limits of arguments and variables. Throws `Errno`. */
  exec(
    path: string,
    { actor, argv, cwd, env }: Pick<ProcessFields, "argv" | "cwd" | "env"> & { actor: Actor }
  ): Loaded {
    const loaded = this.load(path, argv, cwd, actor)
    const words = [...loaded.argv, ...Array.from(env, ([name, value]) => `${name}=${value}`)]
    const total = words.reduce((sum, word) => sum + word.length + 1 + pointerBytes, 0)
    if (total > mostArgumentBytes || words.some((word) => word.length >= mostWordBytes)) throw errno("E2BIG")
    return loaded
  }

  /** Loads a program, following `#!`. Throws `Errno`. */
  private load(path: string, argv: ReadonlyArray<string>, cwd: string, actor: Actor, depth = 0): Loaded {
    const place = this.vfs.resolve(path, cwd, actor)
    const stat = place.node.stat()
    const isForbidden = this.vfs.volumeOf(place.path)?.volume.info.options.split(",").includes("noexec") === true
    if (stat.kind !== "File" || isForbidden || !mayAccess(actor, stat, 1)) throw errno("EACCES")
    const file = place.node.open(actor, false)
    const head = ByteString.fromBytes(file.read(0, 256)).split("\n")[0] ?? ""
    file.close()
    if (head.startsWith(programMark)) {
      const program = this.programs.get(head.slice(programMark.length))
      if (program === undefined) throw errno("ENOENT")
      return { program, argv }
    }
    if (!head.startsWith("#!")) throw errno("ENOEXEC")
    if (depth === mostInterpreters) throw errno("ELOOP")
    const [, interpreter = "", argument] = /^#!\s*(\S*)\s*(.*)$/.exec(head.trimEnd()) ?? []
    const rest = argument === undefined || argument === "" ? [] : [argument]
    return this.load(interpreter, [interpreter, ...rest, path, ...argv.slice(1)], cwd, actor, depth + 1)
  }

  private readTable(path: string): ReadonlyArray<ReadonlyArray<string>> {
    const bytes = orNothing(() => this.vfs.read(path, root)) ?? new Uint8Array()
    const lines = ByteString.fromBytes(bytes).split("\n")
    return lines.filter((line) => line !== "").map((line) => line.split(":"))
  }

  /** Looks up `"app"`, `"1000"`, `"app:staff"` or `"1000:1000"`. Default: root. */
  account(user: string | undefined): Account | { readonly problem: string } {
    if (user === undefined) return { uid: 0, gid: 0, groups: [], home: "/root" }
    const [name = "", group] = ByteString.fromText(user).split(":")
    const passwd = this.readTable("/etc/passwd")
    const groups = this.readTable("/etc/group")
    const isNumber = (id: string) => /^\d+$/.test(id)
    const entry = passwd.find(([login]) => login === name) ?? passwd.find(([, , uid]) => isNumber(name) && uid === name)
    if (entry === undefined && !isNumber(name)) return { problem: `guest user not found: ${name}` }
    const [login = "", , uid = name, primary = "0", , home = "/"] = entry ?? []
    const account = { uid: Number(uid), home: home === "" ? "/" : home }
    if (group === undefined) {
      const gid = Number(primary)
      const member = groups.filter(([, , , members = ""]) => members.split(",").includes(login))
      return { ...account, gid, groups: entry === undefined ? [] : [gid, ...member.map(([, , id]) => Number(id))] }
    }
    const found = groups.find(([known]) => known === group)
    if (found === undefined && !isNumber(group)) return { problem: `guest group not found: ${group}` }
    const gid = Number(found?.[2] ?? group)
    return { ...account, gid, groups: [gid] }
  }

  /** Looks up the name of an id. Default: the id. */
  nameOf(table: "passwd" | "group", id: number): string {
    return this.readTable(`/etc/${table}`).find((fields) => fields[2] === String(id))?.[0] ?? String(id)
  }

  idOf(table: "passwd" | "group", name: string): number | undefined {
    const entry = this.readTable(`/etc/${table}`).find((fields) => fields[0] === name)
    return entry === undefined ? (/^\d+$/.test(name) ? Number(name) : undefined) : Number(entry[2])
  }

  /** Listens on a port until the scope closes, which resets the connections that nobody has taken. */
  listen(port: number): Effect.Effect<Queue.Dequeue<SocketDescription>, Errno, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.suspend(() => {
        if (this.listeners.has(port)) return Effect.fail(errno("EADDRINUSE"))
        return Effect.tap(Queue.unbounded<SocketDescription>(), (queue) =>
          Effect.sync(() => this.listeners.set(port, queue))
        )
      }),
      (queue) =>
        Effect.sync(() => this.listeners.delete(port)).pipe(
          Effect.andThen(Queue.clear(queue)),
          Effect.map((left) => left.forEach((socket) => socket.release())),
          Effect.andThen(Queue.shutdown(queue))
        )
    )
  }

  private lookUpHost(name: string): string | undefined {
    const text = orNothing(() => this.vfs.read("/etc/hosts", root))
    const lines = text === undefined ? [] : new TextDecoder().decode(text).split("\n")
    return lines.map((line) => line.split(/\s+/)).find(([, ...names]) => names.includes(name))?.[0]
  }

  /** Connects to a port of the machine, or of an address that `/etc/hosts` may give a name. */
  dial(host: string, port: number): Effect.Effect<SocketDescription, Errno> {
    return Effect.suspend(() => {
      const address = Net.isIPv4(host) ? host : this.lookUpHost(host)
      if (address !== undefined && !address.startsWith("127.") && address !== "0.0.0.0" && this.dialOut !== undefined) {
        return this.dialOut(address, port)
      }
      if (!["localhost", "127.0.0.1", "::1", "0.0.0.0", this.currentHostname].includes(host)) {
        const isAddress = /^[\d.]+$|:/.test(host)
        return Effect.fail(
          new Errno({
            code: "UNKNOWN",
            problem: isAddress ? "Network unreachable" : "failed to lookup address information: Name does not resolve"
          })
        )
      }
      const listener = this.listeners.get(port)
      if (listener === undefined) return Effect.fail(errno("ECONNREFUSED"))
      const outgoing = new Pipe()
      const incoming = new Pipe()
      Queue.offerUnsafe(listener, new SocketDescription(outgoing, incoming))
      return Effect.succeed(new SocketDescription(incoming, outgoing))
    })
  }
}
