/** `Guest` of a virtual machine in memory. */
import * as Deferred from "effect/Deferred"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import * as Path from "node:path"
import type * as Guest from "../../../Guest.ts"
import { CommandNotStarted, FileError, GuestLost, LightboxError, type Reason } from "../../../LightboxError.ts"
import { hiddenArgv, redact, secretsOf } from "../../report/failureText.ts"
import * as Execution from "../../guest/execution.ts"
import * as OutputBuffer from "../../guest/outputBuffer.ts"
import * as ByteString from "./kernel/byteString.ts"
import type { GuestOperation } from "../../../MicrosandboxMemory.ts"
import type { Calls, Detail, Subject } from "./calls.ts"
import { type Description, OutputDescription, Pipe, TerminalDescription, setSize } from "./kernel/description.ts"
import { attempt, type Code, Errno } from "./kernel/errno.ts"
import type { Log } from "./logs.ts"
import type { Loaded, Machine } from "./kernel/machine.ts"
import { checkSignal, checkSize } from "../../config/validation.ts"
import { named, signals } from "../../config/signals.ts"
import { fromSeconds } from "../../guest/attributes.ts"
import { printable } from "../../report/printable.ts"
import { parse as parseSignal } from "./kernel/signals.ts"
import { type Attributes, root, type Stat } from "./kernel/vnode.ts"

/** The boot time that a guest reports. */
const bootMillis = 100

const connectionClosed = "the connection to it closed"

interface Wiring {
  readonly machine: Machine
  readonly calls: Calls
  readonly subject: Subject
  readonly log: Log
}

/** An open channel to a machine. */
interface Channel extends Wiring {
  /** Closed while a reader with backpressure lags behind. */
  readonly flow: Latch.Latch
  /** Called when the channel is lost. */
  readonly sessions: Set<(loss: GuestLost) => void>
  loss: GuestLost | undefined
  nextHandle: number
}

const failed = (operation: string, reason: Reason): LightboxError =>
  new LightboxError({ method: `Sandbox.${operation}`, reason })

/** Opens a channel to a machine for the scope. */
export const connect = Effect.fnUntraced(function* (
  wiring: Wiring
): Effect.fn.Return<Guest.Guest, LightboxError, Scope.Scope> {
  const { machine } = wiring
  const state = { flow: Latch.makeUnsafe(true), sessions: new Set<(loss: GuestLost) => void>(), nextHandle: 1 }
  const channel: Channel = { ...wiring, ...state, loss: undefined }
  const lost = yield* Deferred.make<LightboxError>()
  const lose = (problem: string) => {
    if (channel.loss !== undefined) return
    const loss = new GuestLost({ name: machine.name, problem })
    channel.loss = loss
    channel.flow.openUnsafe()
    Deferred.doneUnsafe(lost, Effect.succeed(new LightboxError({ method: "Guest", reason: loss })))
    for (const session of channel.sessions) session(loss)
    channel.sessions.clear()
  }
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      machine.watchers.add(lose)
      if (machine.isLost) lose(connectionClosed)
    }),
    () =>
      Effect.sync(() => {
        machine.watchers.delete(lose)
        lose(connectionClosed)
      })
  )
  return make(channel, Deferred.await(lost))
})

const make = (channel: Channel, lost: Effect.Effect<LightboxError>): Guest.Guest => {
  const { calls, machine, subject } = channel
  const { vfs } = machine
  const file = <A>(operation: GuestOperation, path: string, detail: Detail, evaluate: (at: string) => A) =>
    fileCall(channel, operation, path, detail, () => evaluate(guestPath(path)))

  return {
    bootMillis,
    lost,
    spawn: (command, policy) => {
      const detail = { argv: hiddenArgv(command), cwd: command.cwd }
      return calls.run("guest.spawn", subject, detail, spawn(channel, command, policy))
    },
    stat: (path, { followSymlinks = true } = {}) =>
      file("guest.stat", path, {}, (at) => infoOf(path, vfs.stat(at, "/", root, followSymlinks))),
    readDirectoryEntries: (path) =>
      file("guest.readDirectoryEntries", path, {}, (at) =>
        vfs.list(at, "/", root).map((name) => {
          const child = at.endsWith("/") ? at + name : `${at}/${name}`
          return infoOf(ByteString.toText(child), vfs.stat(child, "/", root, false))
        })
      ),
    realPath: (path) => file("guest.realPath", path, {}, (at) => ByteString.toText(realPath(machine, at))),
    readLink: (path) => file("guest.readLink", path, {}, (at) => ByteString.toText(vfs.readLink(at, "/", root))),
    symlink: (target, path) =>
      file("guest.symlink", path, { target }, (at) =>
        vfs.make(at, "/", root, { _tag: "Symlink", target: ByteString.fromText(target) })
      ),
    makeDirectory: (path, { mode = 0o755 } = {}) =>
      file("guest.makeDirectory", path, {}, (at) => vfs.makeFolders(at, "/", mode, root)),
    removeFile: (path) => file("guest.removeFile", path, {}, (at) => vfs.unlink(at, "/", root)),
    removeDirectory: (path, { recursive = false } = {}) =>
      file("guest.removeDirectory", path, { recursive }, (at) => {
        if (!recursive) vfs.removeDirectory(at, "/", root)
        else if (vfs.stat(at, "/", root, false).kind === "Symlink") vfs.unlink(at, "/", root)
        else vfs.removeTree(at, "/", root)
      }),
    rename: (from, to) => file("guest.rename", from, { to }, (at) => vfs.rename(at, guestPath(to), "/", root)),
    copyFile: (from, to) => file("guest.copyFile", from, { to }, (at) => copyFile(machine, at, guestPath(to))),
    setAttributes: (path, attributes, { followSymlinks = true } = {}) =>
      file("guest.setAttributes", path, { attributes }, (at) => setAttributes(machine, at, attributes, followSymlinks)),
    open: (path, options) => calls.run("guest.open", subject, { path, ...options }, open(channel, path, options)),
    connect: (host, port) => calls.run("guest.connect", subject, { host, port }, dial(channel, host, port)),
    ping: calls.run(
      "guest.ping",
      subject,
      {},
      Effect.map(Effect.timed(guard(channel, "ping", Effect.yieldNow)), ([duration]) => duration)
    ),
    touch: calls.run("guest.touch", subject, {}, guard(channel, "touch", Effect.void))
  }
}

// =============================================================================
// Requests
// =============================================================================

/** Fails when the channel is lost before or during an effect. */
const guard = <A, E>(
  channel: Channel,
  operation: string,
  effect: Effect.Effect<A, E>
): Effect.Effect<A, E | LightboxError> =>
  Effect.suspend(() => {
    channel.machine.touch()
    if (channel.loss !== undefined) return Effect.fail(failed(operation, channel.loss))
    return Effect.raceFirst(
      channel.machine.whileGoing(effect),
      Effect.callback<never, LightboxError>((resume) => {
        const onLost = (loss: GuestLost) => resume(Effect.fail(failed(operation, loss)))
        channel.sessions.add(onLost)
        return Effect.sync(() => channel.sessions.delete(onLost))
      })
    )
  })

const guestPath = (path: string): string => {
  if (path.includes("\0")) throw new Errno({ code: "UNKNOWN", problem: "file name contained an unexpected NUL byte" })
  const bytes = ByteString.fromText(path)
  return path === "" || path.startsWith("/") ? bytes : `/${bytes}`
}

const fileError = (operation: string, path: string, { code, problem }: Errno): LightboxError =>
  failed(operation, new FileError({ operation, path, code, problem }))

const onFile = <A>(
  channel: Channel,
  operation: string,
  path: string,
  evaluate: () => A
): Effect.Effect<A, LightboxError> =>
  Effect.suspend(() => {
    channel.machine.touch()
    if (channel.loss !== undefined) return Effect.fail(failed(operation, channel.loss))
    const run = Effect.mapError(attempt(evaluate), (error) => fileError(operation, path, error))
    return channel.machine.isPaused ? guard(channel, operation, run) : run
  })

/** A recorded call about a file. */
const fileCall = <A>(
  channel: Channel,
  call: GuestOperation,
  path: string,
  detail: Detail,
  evaluate: () => A
): Effect.Effect<A, LightboxError> => {
  const operation = call === "guest.readDirectoryEntries" ? "readDirectory" : call.slice(call.indexOf(".") + 1)
  return channel.calls.run(call, channel.subject, { path, ...detail }, onFile(channel, operation, path, evaluate))
}

const types = {
  File: "File",
  Directory: "Directory",
  Symlink: "SymbolicLink",
  Device: "CharacterDevice",
  Fifo: "FIFO"
} as const

const infoOf = (path: string, stat: Stat): Guest.FileInfo => ({
  path,
  type: types[stat.kind],
  size: stat.size,
  mode: stat.mode,
  uid: stat.uid,
  gid: stat.gid,
  mtime: fromSeconds(Math.floor(stat.modifiedAt / 1000)),
  atime: fromSeconds(Math.floor(stat.accessedAt / 1000))
})

// =============================================================================
// Files
// =============================================================================

const unsupported = (problem: string): Errno => new Errno({ code: "UNKNOWN", problem })

/** The agent prefixes its errors with the operation. */
const at = <A>(step: string, evaluate: () => A): A => {
  try {
    return evaluate()
  } catch (cause) {
    if (!(cause instanceof Errno)) throw cause
    throw new Errno({ code: cause.code, problem: `${step}: ${cause.problem}` })
  }
}

/** In milliseconds, cut to the seconds that the agent knows. */
const timesOf = ({ atime, mtime }: Guest.FileAttributes): Attributes => {
  const millisOf = (time: DateTime.Utc | undefined) => time && Math.floor(time.epochMilliseconds / 1000) * 1000
  return { accessedAt: millisOf(atime), modifiedAt: millisOf(mtime) }
}

/** The agent returns a path without a target unchanged. */
const realPath = ({ vfs }: Machine, path: string): string => {
  try {
    return vfs.resolve(path, "/", root).path
  } catch (cause) {
    if (cause instanceof Errno && cause.code === "ENOENT") return Path.posix.normalize(path)
    throw cause
  }
}

const setAttributes = ({ vfs }: Machine, path: string, attributes: Guest.FileAttributes, isFollowed: boolean): void => {
  const { gid, mode, size, uid } = attributes
  const set = (step: string, attributes: Attributes) =>
    at(step, () => vfs.setAttributes(path, "/", root, attributes, isFollowed))
  if (mode !== undefined) {
    if (!isFollowed && vfs.stat(path, "/", root, false).kind === "Symlink") {
      throw unsupported("setstat: chmod on symlink without following is not supported")
    }
    set("chmod", { mode })
  }
  if (uid !== undefined || gid !== undefined) set("chown", { uid, gid })
  if (size !== undefined) {
    at("open for truncate", () => {
      const file = vfs.open(path, "/", root, { read: false, write: true })
      try {
        file.truncate(size)
      } finally {
        file.close()
      }
    })
  }
  const times = timesOf(attributes)
  if (times.accessedAt !== undefined || times.modifiedAt !== undefined) set("utimens", times)
}

const copyFile = ({ vfs }: Machine, from: string, to: string): void => {
  const { kind, mode } = vfs.stat(from, "/", root)
  if (kind !== "File") {
    throw unsupported("copy: the source path is neither a regular file nor a symlink to a regular file")
  }
  // As with the real agent, a file copied to itself is empty.
  vfs.write(to, root, new Uint8Array(), mode)
  vfs.write(to, root, vfs.read(from, root), mode)
  vfs.setAttributes(to, "/", root, { mode })
}

const checkOpenOptions = ({ append, create, createNew, read, truncate, write }: Guest.OpenOptions): void => {
  if (read !== true && write !== true && append !== true) {
    throw unsupported("open: must specify at least one of read, write, or append access")
  }
  const isMade = create === true || createNew === true
  if ((isMade && write !== true && append !== true) || (truncate === true && write !== true)) {
    throw unsupported("open: creating or truncating a file requires write or append access")
  }
}

const windowBytes = 2 * 1024 * 1024

const defaultMode = 0o644

/** The agent creates files with the umask of a system service. */
const agentMask = 0o022

const open = (
  channel: Channel,
  path: string,
  options: Guest.OpenOptions
): Effect.Effect<Guest.File, LightboxError, Scope.Scope> => {
  const { calls, machine, subject } = channel
  const { append = false, create = false, createNew = false, mode = defaultMode } = options
  const { read: isRead = false, truncate = false, write: isWritten = false } = options
  const opened = onFile(channel, "open", path, () => {
    checkOpenOptions(options)
    const handle = channel.nextHandle++
    const flags = {
      read: isRead,
      write: isWritten,
      append,
      create: create || createNew,
      exclusive: createNew,
      truncate
    }
    return { handle, ...machine.vfs.open(guestPath(path), "/", root, { ...flags, mode: mode & ~agentMask }) }
  })

  return Effect.map(
    Effect.acquireRelease(opened, (file) => Effect.sync(() => file.close())),
    ({ handle, ...file }): Guest.File => {
      // An endless transfer must yield to other fibers.
      const transfer = <A>(operation: "read" | "write", isAllowed: boolean, evaluate: () => A) =>
        Effect.tap(
          onFile(channel, operation, path, () => {
            const access = operation === "read" ? "reading" : "writing"
            if (!isAllowed) throw unsupported(`${operation}: handle ${handle} is not open for ${access}`)
            return evaluate()
          }),
          () => Effect.yieldNow
        )
      return {
        stream: (range = {}) => {
          const { bytesToRead = Number.POSITIVE_INFINITY, offset: start = 0 } = range
          const windows = Stream.paginate(start, (offset) => {
            const length = Math.min(windowBytes, start + bytesToRead - offset)
            if (length <= 0) return Effect.succeed([[], Option.none()])
            return Effect.map(
              transfer("read", isRead, () => file.read(offset, length)),
              (bytes) => (bytes.length === 0 ? [[], Option.none()] : [[bytes], Option.some(offset + bytes.length)])
            )
          })
          return calls.stream("file.stream", subject, { path, ...range }, windows)
        },
        sink: (offset = 0) =>
          Sink.suspend(() => {
            let position = offset
            const write = (bytes: Uint8Array) =>
              transfer("write", isWritten || append, () => {
                file.write(append ? undefined : position, bytes)
                position += bytes.length
              })
            return Sink.forEachArray((pieces: ReadonlyArray<Uint8Array>) => {
              const written = Effect.forEach(pieces, write, { discard: true })
              return calls.run("file.sink", subject, { path, offset: position }, written)
            })
          }),
        stat: fileCall(channel, "file.stat", path, {}, () => infoOf(path, file.stat())),
        setAttributes: (attributes) =>
          fileCall(channel, "file.setAttributes", path, { attributes }, () => {
            if (attributes.size !== undefined) file.truncate(attributes.size)
            // The agent uses this order.
            file.setAttributes({ mode: attributes.mode })
            file.setAttributes({ uid: attributes.uid, gid: attributes.gid, ...timesOf(attributes) })
          })
      }
    }
  )
}

// =============================================================================
// Commands
// =============================================================================

const clear = (word: Guest.Word): string => ByteString.fromText(Redacted.isRedacted(word) ? Redacted.value(word) : word)

const startProblems: { readonly [code in Code]?: CommandNotStarted["kind"] } = {
  EACCES: "PermissionDenied",
  ENOENT: "ProgramNotFound",
  ENOEXEC: "NotExecutable",
  ENOTDIR: "ProgramNotFound"
}

const notStarted = (
  command: Guest.Command,
  kind: CommandNotStarted["kind"],
  problem: string,
  errno?: string
): LightboxError =>
  failed(
    "spawn",
    new CommandNotStarted({
      argv: hiddenArgv(command),
      kind,
      problem: redact(secretsOf(command), problem),
      ...(errno === undefined ? {} : { errno })
    })
  )

/** Resolves the user, the program and the working directory of a command. */
const prepare = (machine: Machine, command: Guest.Command) =>
  Effect.gen(function* () {
    const account = machine.account(command.user ?? machine.user)
    if ("problem" in account) return yield* notStarted(command, "UnknownUser", account.problem)
    const workdir = ByteString.fromText(command.cwd ?? machine.workdir)
    const cwd = yield* Effect.mapError(
      attempt(() => {
        const place = machine.vfs.resolve(workdir, "/", root)
        machine.vfs.stat(`${place.path}/.`, "/", root)
        return place.path
      }),
      ({ code, problem }) => notStarted(command, "BadWorkdir", `${ByteString.toText(workdir)}: ${problem}`, code)
    )
    const env = new Map(machine.env)
    env.set("HOME", account.home)
    for (const [name, value] of Object.entries(command.env ?? {})) env.set(ByteString.fromText(name), clear(value))
    const argv = command.argv.map(clear)
    const actor = { pid: 0, uid: account.uid, gid: account.gid, groups: account.groups }
    const loaded: Loaded = yield* Effect.mapError(
      attempt(() =>
        machine.exec(machine.locate(argv[0] ?? "", env.get("PATH"), cwd, actor), { argv, env, cwd, actor })
      ),
      ({ code, problem }) =>
        notStarted(command, (code === "UNKNOWN" ? undefined : startProblems[code]) ?? "Other", problem, code)
    )
    return { cwd, env, actor, loaded }
  })

const spawn = Effect.fnUntraced(function* (
  channel: Channel,
  command: Guest.Command,
  policy: Guest.OutputPolicy | undefined
): Effect.fn.Return<Guest.Process, LightboxError, Scope.Scope> {
  const { calls, log, machine, subject } = channel
  const { actor, cwd, env, loaded } = yield* guard(channel, "spawn", prepare(machine, command))
  const exit = yield* Deferred.make<number, LightboxError>()
  const output = yield* OutputBuffer.make(
    { pause: () => channel.flow.closeUnsafe(), resume: () => channel.flow.openUnsafe(), fail: () => kill() },
    policy
  )

  const session = log.nextSession()
  let openOutputs = command.terminal === undefined ? 2 : 1
  let exitCode: number | undefined
  let endedBy: Guest.Signal | undefined
  const finishIfEnded = () => {
    if (exitCode === undefined || openOutputs > 0 || channel.loss !== undefined) return
    channel.sessions.delete(fail)
    machine.endSession(session)
    output.finish()
    Deferred.doneUnsafe(exit, Effect.succeed(exitCode))
  }
  const fail = (loss: GuestLost) => failWith(failed("spawn", loss))
  const failWith = (error: LightboxError) => {
    machine.endSession(session)
    output.finish(error)
    Deferred.doneUnsafe(exit, Effect.fail(error))
  }
  const onWrite = (tag: "Stdout" | "Stderr") => (bytes: Uint8Array) =>
    channel.flow.await.pipe(
      Effect.andThen(
        Effect.sync(() => {
          const source = command.terminal !== undefined ? "output" : tag === "Stdout" ? "stdout" : "stderr"
          log.add(machine.now(), source, session, bytes)
          if (policy?.overflow !== "discard") output.push({ _tag: tag, bytes })
        })
      ),
      // A command that only writes must yield to readers.
      Effect.andThen(Effect.yieldNow)
    )
  const onClose = () => {
    openOutputs--
    finishIfEnded()
  }

  const input = new Pipe()
  const terminal =
    command.terminal === undefined
      ? undefined
      : new TerminalDescription({
          terminal: {
            name: "/dev/pts/0",
            ...command.terminal,
            onSize: () => machine.signalGroup(process.group, signals.SIGWINCH)
          },
          onWrite: onWrite("Stdout"),
          onClose,
          onInterrupt: () => machine.signalGroup(process.group, signals.SIGINT)
        })
  const descriptors: ReadonlyArray<Description> =
    terminal === undefined
      ? [
          input.reader,
          new OutputDescription(onWrite("Stdout"), onClose),
          new OutputDescription(onWrite("Stderr"), onClose)
        ]
      : [terminal, terminal.retain(), terminal.retain()]
  const process = machine.makeProcess({
    parent: 1,
    argv: loaded.argv,
    env,
    cwd,
    actor,
    umask: 0o022,
    descriptors: new Map(descriptors.entries()),
    limits: limitsOf(command)
  })
  const kill = () => machine.signalGroup(process.group, signals.SIGKILL)

  machine.beginSession(session)
  channel.sessions.add(fail)
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      channel.sessions.delete(fail)
      if (Deferred.isDoneUnsafe(exit)) return
      machine.endSession(session)
      kill()
    })
  )
  yield* process.start(loaded.program)
  yield* Effect.forkIn(
    Effect.map(process.ended, (status) => {
      exitCode = status._tag === "Exited" ? status.code : -1
      endedBy = status._tag === "Signaled" ? named(status.signal) : undefined
      finishIfEnded()
    }),
    machine.scope
  )

  // Nothing is under way between this guest and its host.
  const isArriving = () => false
  yield* Execution.endHolders(command, process.ended, () => Deferred.isDoneUnsafe(exit), isArriving, kill, failWith)

  let isInputOpen = true
  /** Written until the command reads it, ends, or closes its side. */
  const feed = (bytes: Uint8Array): Effect.Effect<void, LightboxError> =>
    Effect.suspend(() => {
      if (channel.loss !== undefined) return Effect.fail(failed("spawn", channel.loss))
      if (!isInputOpen || Deferred.isDoneUnsafe(exit)) return Effect.void
      const written = terminal === undefined ? input.writer.write(bytes) : terminal.type(bytes)
      const ignored = Effect.catchTag(written, "Errno", () =>
        Effect.sync(() => {
          isInputOpen = false
        })
      )
      return guard(channel, "spawn", Effect.raceFirst(ignored, Effect.asVoid(process.ended)))
    })
  const endInput = Effect.sync(() => {
    if (!isInputOpen) return
    isInputOpen = false
    if (terminal === undefined) input.writer.release()
    else terminal.hangUp()
  })

  if (command.stdin === "empty") yield* endInput
  const { pid } = process
  const call = <A>(name: "stdin" | "signal" | "resize", detail: Detail, effect: Effect.Effect<A, LightboxError>) =>
    calls.run(`process.${name}`, subject, { pid, ...detail }, effect)
  const running: Guest.Process = {
    pid,
    output: output.stream,
    exitCode: Deferred.await(exit),
    endedBy: Effect.map(Deferred.await(exit), () => endedBy),
    stdin: Sink.forEach((bytes: Uint8Array) => call("stdin", { bytes: bytes.length }, feed(bytes))).pipe(
      Sink.mapEffect(() => endInput)
    ),
    signal: (signal) => {
      const send = Effect.suspend(() => {
        if (Deferred.isDoneUnsafe(exit)) return Effect.void
        if (channel.loss !== undefined) return Effect.fail(failed("spawn", channel.loss))
        return Effect.sync(() => machine.signalGroup(process.group, parseSignal(String(signal)) ?? 0))
      })
      return Effect.andThen(checkSignal(signal), call("signal", { signal }, send))
    },
    resize: (size) => {
      const set = Effect.sync(() => {
        if (terminal !== undefined) setSize(terminal.terminal, size)
      })
      return Effect.andThen(checkSize(size), call("resize", { ...size }, set))
    }
  }
  return printable(running, "Process", ({ pid }) => ({ pid }))
})

const limitsOf = (command: Guest.Command): ReadonlyMap<string, { readonly soft: number; readonly hard: number }> =>
  new Map(
    Object.entries(command.rlimits ?? {}).map(([name, limit]) => [
      name,
      typeof limit === "number" ? { soft: limit, hard: limit } : limit
    ])
  )

// =============================================================================
// Connections into the guest
// =============================================================================

const dial = Effect.fnUntraced(function* (
  channel: Channel,
  host: string,
  port: number
): Effect.fn.Return<Guest.Connection, LightboxError, Scope.Scope> {
  const { machine } = channel
  const target = `${host}:${port}`
  const socket = yield* Effect.acquireRelease(
    guard(
      channel,
      "connect",
      Effect.mapError(machine.dial(host, port), ({ code, problem }) =>
        fileError("connect", target, new Errno({ code, problem: `connect ${target}: ${problem}` }))
      )
    ),
    (socket) => Effect.sync(() => socket.release())
  )
  const read = guard(
    channel,
    "connect",
    Effect.orElseSucceed(socket.read(64 * 1024), () => new Uint8Array())
  )
  return {
    read: Stream.paginate(undefined, () =>
      Effect.map(read, (bytes) => {
        machine.traffic.sent += bytes.length
        return bytes.length === 0 ? [[], Option.none()] : [[bytes], Option.some(undefined)]
      })
    ),
    write: Sink.forEach((bytes: Uint8Array) => {
      machine.traffic.received += bytes.length
      return guard(channel, "connect", Effect.ignore(socket.write(bytes)))
    }).pipe(Sink.mapEffect(() => Effect.sync(() => socket.endOutput())))
  }
})
