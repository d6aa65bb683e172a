/** Processes of the guest: each is a fiber, which a fatal signal interrupts. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import { fromBytes, fromText, toBytes } from "./byteString.ts"
import { type Description, fromFile } from "./description.ts"
import { attempt, errno, type Errno, orNothing } from "./errno.ts"
import type { Loaded, Machine } from "./machine.ts"
import { signals } from "../../../config/signals.ts"
import { ignoredByDefault } from "./signals.ts"
import type { Attributes, Entry, OpenFile, Stat, Actor } from "./vnode.ts"
import type { OpenFlags, Place } from "./vfs.ts"

export type Program = (process: Process, argv: ReadonlyArray<string>) => Effect.Effect<number, Errno>

/** The programs that start anew when a machine resumes. Of others, nothing is left but the process, which waits. */
export const restartable = new WeakSet<Program>()

export type ExitStatus =
  | { readonly _tag: "Exited"; readonly code: number }
  | { readonly _tag: "Signaled"; readonly signal: number }

export interface ProcessFields {
  readonly pid: number
  readonly parent: number
  /** The process group, whose processes share signals. */
  readonly group: number
  readonly argv: ReadonlyArray<string>
  readonly env: ReadonlyMap<string, string>
  readonly cwd: string
  readonly actor: Omit<Actor, "pid">
  readonly umask: number
  readonly descriptors: ReadonlyMap<number, Description>
  readonly limits: ReadonlyMap<string, Limit>
  /** Default: now. */
  readonly startedAt?: number | undefined
  /** Default: `false`. */
  readonly isResumed?: boolean | undefined
}

export interface Limit {
  readonly soft: number
  readonly hard: number
}

export const codeOf = (status: ExitStatus): number => (status._tag === "Exited" ? status.code : 128 + status.signal)

const readBytes = 64 * 1024

/** Reads everything up to the end. */
export const toEnd = (read: () => Effect.Effect<Uint8Array, Errno>): Effect.Effect<string, Errno> => {
  const chunks: Array<string> = []
  return Effect.whileLoop({
    while: () => chunks.at(-1) !== "",
    body: read,
    step: (bytes) => chunks.push(fromBytes(bytes))
  }).pipe(Effect.map(() => chunks.join("")))
}

export class Process {
  readonly machine: Machine
  readonly pid: number
  readonly parent: number
  group: number
  readonly actor: Actor
  argv: ReadonlyArray<string>
  readonly env: Map<string, string>
  cwd: string
  umask: number
  readonly descriptors: Map<number, Description>
  readonly limits: Map<string, Limit>
  /** In hundredths of a second since the boot, as in `/proc/PID/stat`. */
  readonly startedAt: number
  /** Whether it was running when its machine was captured. */
  readonly isResumed: boolean
  readonly exit = Deferred.makeUnsafe<ExitStatus>()
  /** Handlers of signals; `undefined` ignores a signal. */
  readonly handlers = new Map<number, (() => void) | undefined>()

  private readonly running = Latch.makeUnsafe(true)
  private fiber: Fiber.Fiber<unknown> | undefined
  private endedBy: number | undefined

  constructor(machine: Machine, fields: ProcessFields) {
    this.machine = machine
    this.pid = fields.pid
    this.parent = fields.parent
    this.startedAt = fields.startedAt ?? Math.floor((machine.now() - machine.bootedAt) / 10)
    this.isResumed = fields.isResumed ?? false
    this.group = fields.group
    this.actor = { ...fields.actor, pid: fields.pid }
    this.argv = fields.argv
    this.env = new Map(fields.env)
    this.cwd = fields.cwd
    this.umask = fields.umask
    this.descriptors = new Map(fields.descriptors)
    this.limits = new Map(fields.limits)
  }

  get name(): string {
    const path = this.argv[0] ?? ""
    return path.slice(path.lastIndexOf("/") + 1)
  }

  fork(change: Partial<Pick<ProcessFields, "argv" | "group">> = {}): Process {
    const child = this.machine.makeProcess({
      parent: this.pid,
      group: change.group ?? this.group,
      argv: change.argv ?? this.argv,
      env: this.env,
      cwd: this.cwd,
      actor: this.actor,
      umask: this.umask,
      descriptors: new Map([...this.descriptors].map(([fd, description]) => [fd, description.retain()])),
      limits: this.limits
    })
    for (const [signal, handler] of this.handlers) if (handler === undefined) child.handlers.set(signal, undefined)
    return child
  }

  /** Runs a program; its end is the end of the process. */
  start(program: Program): Effect.Effect<void> {
    return Effect.suspend(() => {
      const run = Effect.suspend(() => program(this, this.argv)).pipe(
        Effect.catch((error) => {
          if (error.code === "EPIPE") {
            this.endedBy ??= signals.SIGPIPE
            return Effect.succeed(-1)
          }
          return Effect.as(Effect.ignore(this.complain(`${this.name}: write error: ${error.problem}`)), 1)
        }),
        // Report a defect in a declared command to its author.
        Effect.tapDefect((defect) =>
          Effect.andThen(
            Effect.sync(() => (this.endedBy ??= signals.SIGABRT)),
            Effect.ignore(this.complain(fromText(`${this.name}: ${Cause.pretty(Cause.die(defect))}`)))
          )
        )
      )
      return Effect.map(Effect.forkIn(run, this.machine.scope), (fiber) => {
        this.fiber = fiber
        // Runs even if the process is ended before it begins.
        fiber.addObserver((exit) => this.finish(Exit.isSuccess(exit) ? exit.value : -1))
        if (this.endedBy !== undefined) fiber.interruptUnsafe()
      })
    })
  }

  get ended(): Effect.Effect<ExitStatus> {
    return Deferred.await(this.exit)
  }

  signal(signal: number): void {
    if (signal === 0 || Deferred.isDoneUnsafe(this.exit)) return
    if (signal === signals.SIGCONT) this.running.openUnsafe()
    if (signal === signals.SIGSTOP) {
      this.running.closeUnsafe()
      return
    }
    if (signal !== signals.SIGKILL && this.handlers.has(signal)) {
      this.handlers.get(signal)?.()
      return
    }
    if (ignoredByDefault.has(signal)) return
    this.endedBy ??= signal
    this.fiber?.interruptUnsafe()
  }

  private finish(code: number): void {
    for (const description of this.descriptors.values()) description.release()
    this.descriptors.clear()
    this.machine.forget(this)
    const status: ExitStatus =
      this.endedBy === undefined ? { _tag: "Exited", code: code & 0xff } : { _tag: "Signaled", signal: this.endedBy }
    Deferred.doneUnsafe(this.exit, Effect.succeed(status))
  }

  /** Waits while the process or its machine is stopped. */
  private get mayRun(): Effect.Effect<unknown> {
    return this.machine.whileGoing(this.running.await)
  }

  /** Gets a descriptor, once the process is not stopped. */
  private descriptor(fd: number): Effect.Effect<Description, Errno> {
    return Effect.flatMap(this.mayRun, () => {
      const description = this.descriptors.get(fd)
      return description === undefined ? Effect.fail(errno("EBADF")) : Effect.succeed(description)
    })
  }

  /** Sets a descriptor, closing the one it replaces. */
  assign(fd: number, description: Description): void {
    this.descriptors.get(fd)?.release()
    this.descriptors.set(fd, description)
  }

  setEnv(env: ReadonlyMap<string, string>): void {
    this.env.clear()
    for (const [name, value] of env) this.env.set(name, value)
  }

  close(fd: number): void {
    this.descriptors.get(fd)?.release()
    this.descriptors.delete(fd)
  }

  read(fd: number, length = readBytes): Effect.Effect<Uint8Array, Errno> {
    return Effect.flatMap(this.descriptor(fd), (description) => description.read(length))
  }

  readAll(fd: number): Effect.Effect<string, Errno> {
    return toEnd(() => this.read(fd))
  }

  /** Reads exactly one line: others may read on. */
  readLine(fd: number): Effect.Effect<string, Errno> {
    return Effect.gen({ self: this }, function* () {
      let line = ""
      for (;;) {
        const bytes = yield* this.read(fd, 1)
        if (bytes.length === 0) return line
        line += fromBytes(bytes)
        if (line.endsWith("\n")) return line
      }
    })
  }

  writeBytes(fd: number, bytes: Uint8Array): Effect.Effect<void, Errno> {
    return Effect.flatMap(this.descriptor(fd), (description) => description.write(bytes))
  }

  print(text: string): Effect.Effect<void, Errno> {
    return this.writeBytes(1, toBytes(text))
  }

  complain(line: string): Effect.Effect<void, Errno> {
    return this.writeBytes(2, toBytes(`${line}\n`))
  }

  sleep(millis: number): Effect.Effect<void> {
    return Effect.asVoid(Effect.andThen(Effect.sleep(millis), this.mayRun))
  }

  open(path: string, flags: OpenFlags): Effect.Effect<Description, Errno> {
    return Effect.suspend(() => {
      const number = this.ownDescriptor(path)
      if (number !== undefined) return Effect.map(this.descriptor(number), (description) => description.retain())
      const terminal = this.machine.terminals.get(path)
      if (terminal !== undefined) return Effect.succeed(terminal.retain())
      return Effect.flatMap(
        attempt(() => this.machine.vfs.fifo(path, this.cwd, this.actor, flags)),
        (fifo) =>
          fifo === undefined
            ? attempt(() => fromFile(this.openFile(path, flags), flags.append))
            : fifo.open(flags.read, flags.write)
      )
    })
  }

  openFile(path: string, flags: OpenFlags): OpenFile {
    return this.machine.vfs.open(path, this.cwd, this.actor, {
      ...flags,
      mode: (flags.mode ?? 0o666) & ~this.umask
    })
  }

  using<A>(path: string, flags: OpenFlags, use: (file: OpenFile) => A): A {
    const file = this.openFile(path, flags)
    try {
      return use(file)
    } finally {
      file.close()
    }
  }

  /** The descriptor behind a path such as `/dev/stdin`. */
  private ownDescriptor(path: string): number | undefined {
    const standard = ["/dev/stdin", "/dev/stdout", "/dev/stderr"].indexOf(path)
    if (standard !== -1) return standard
    const number = /^\/(?:dev|proc\/self)\/fd\/(\d+)$/.exec(path)?.[1]
    return number === undefined ? undefined : Number(number)
  }

  private withOpen<A>(
    path: string,
    flags: OpenFlags,
    use: (description: Description) => Effect.Effect<A, Errno>
  ): Effect.Effect<A, Errno> {
    return Effect.acquireUseRelease(this.open(path, flags), use, (description) =>
      Effect.sync(() => description.release())
    )
  }

  readFile(path: string): Effect.Effect<string, Errno> {
    return this.withOpen(path, { read: true, write: false }, ({ read }) => toEnd(() => read(1024 * 1024)))
  }

  writeFile(path: string, content: string, mode = 0o666): Effect.Effect<void, Errno> {
    const flags = { read: false, write: true, create: true, truncate: true, mode }
    return this.withOpen(path, flags, ({ write }) => write(toBytes(content)))
  }

  stat(path: string, isFollowed = true): Stat {
    return this.machine.vfs.stat(path, this.cwd, this.actor, isFollowed)
  }

  lookAt(path: string, isFollowed = true): Stat | undefined {
    return orNothing(() => this.stat(path, isFollowed))
  }

  resolve(path: string): Place {
    return this.machine.vfs.resolve(path, this.cwd, this.actor)
  }

  readLink(path: string): string {
    return this.machine.vfs.readLink(path, this.cwd, this.actor)
  }

  /** Removes a file, or a folder with everything in it. */
  remove(path: string): void {
    const { vfs } = this.machine
    if (this.lookAt(path, false)?.kind === "Directory") vfs.removeTree(path, this.cwd, this.actor)
    else vfs.unlink(path, this.cwd, this.actor)
  }

  load(argv: ReadonlyArray<string>, path = this.env.get("PATH")): Effect.Effect<Loaded, Errno> {
    const { actor, cwd, env, machine } = this
    return attempt(() => machine.exec(machine.locate(argv[0] ?? "", path, cwd, actor), { argv, env, cwd, actor }))
  }

  list(path: string): ReadonlyArray<string> {
    return this.machine.vfs.list(path, this.cwd, this.actor)
  }

  make(path: string, entry: Entry): void {
    const masked = entry._tag === "Symlink" ? entry : { ...entry, mode: entry.mode & ~this.umask }
    this.machine.vfs.make(path, this.cwd, this.actor, masked)
  }

  makeFolders(path: string): void {
    this.machine.vfs.makeFolders(path, this.cwd, 0o777 & ~this.umask, this.actor)
  }

  setAttributes(path: string, attributes: Attributes, isFollowed = true): void {
    this.machine.vfs.setAttributes(path, this.cwd, this.actor, attributes, isFollowed)
  }
}
