/** Implements `Guest` with the agent's protocol. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import * as Struct from "effect/Struct"
import { posix as Path } from "node:path"
import type * as Guest from "../../Guest.ts"
import { CommandNotStarted, FileError, LightboxError, Unknown } from "../../LightboxError.ts"
import { maxEntries } from "../host/files.ts"
import { hiddenArgv, redact, secretsOf } from "../report/failureText.ts"
import type { AgentConnection, Session } from "./connection.ts"
import * as Execution from "./execution.ts"
import * as Protocol from "./protocol.ts"
import * as Errno from "./errno.ts"
import { printable } from "../report/printable.ts"
import * as OutputBuffer from "./outputBuffer.ts"
import { checkSignal, checkSize } from "../config/validation.ts"
import { endsProcess, fromKernelLog, named, signals } from "../config/signals.ts"
import { fromSeconds, toSeconds, typeOf } from "./attributes.ts"

export const make = (connection: AgentConnection): Guest.Guest => {
  const request = requester(connection)
  const file = fileRequester(request)

  const stat: Guest.Guest["stat"] = (path, options) =>
    Effect.map(file("stat", path, { Stat: { path, follow_symlink: options?.followSymlinks ?? true } }), ({ data }) =>
      fileInfo(field(data, "Stat"), path)
    )
  const log = kernelLog(connection, stat)

  return {
    bootMillis: connection.bootMillis,
    lost: connection.lost,
    spawn: (command, policy) => spawn(connection, stat, log, command, policy),
    stat,
    readDirectoryEntries: (path) =>
      Effect.scoped(
        Effect.gen(function* () {
          const handle = yield* openHandle(connection, file, "readDirectory", path, { OpenDir: { path } })
          const entries: Array<Guest.FileInfo> = []
          // In batches, because the listing of a folder may exceed the size of a message.
          const limit = 512
          for (;;) {
            const { data } = yield* file("readDirectory", path, { ReadDir: { handle, limit } })
            const batch = field(data, "List")
            if (!Array.isArray(batch)) return entries
            if (batch.length > limit || entries.length > maxEntries) {
              return yield* fileError("readDirectory", path, `the guest listed more than ${maxEntries} entries`)
            }
            for (const entry of batch) {
              const info = entryOf(entry, path)
              if (info === undefined) {
                return yield* fileError("readDirectory", path, "the guest listed an entry that is not in the folder")
              }
              entries.push(info)
            }
            if (batch.length < limit) return entries
          }
        })
      ),
    realPath: (path) => Effect.flatMap(file("realPath", path, { RealPath: { path } }), pathOf("realPath", path, "/")),
    readLink: (path) => Effect.flatMap(file("readLink", path, { ReadLink: { path } }), pathOf("readLink", path, "")),
    symlink: (target, path) => Effect.asVoid(file("symlink", path, { Symlink: { target, link_path: path } })),
    makeDirectory: (path, options) =>
      Effect.asVoid(file("makeDirectory", path, { Mkdir: { path, mode: options?.mode ?? null } })),
    removeFile: (path) => Effect.asVoid(file("removeFile", path, { Remove: { path } })),
    removeDirectory: (path, options) =>
      Effect.asVoid(file("removeDirectory", path, { RemoveDir: { path, recursive: options?.recursive ?? false } })),
    rename: (from, to) => Effect.asVoid(file("rename", from, { Rename: { src: from, dst: to } })),
    copyFile: (from, to) => Effect.asVoid(file("copyFile", from, { Copy: { src: from, dst: to } })),
    setAttributes: (path, attributes, options) =>
      Effect.asVoid(
        file("setAttributes", path, {
          SetStat: { path, follow_symlink: options?.followSymlinks ?? true, attrs: setAttrs(attributes) }
        })
      ),
    open: (path, options) => open(connection, file, path, options),
    connect: (host, port) => connect(connection, host, port),
    ping: Effect.gen(function* () {
      const start = yield* Clock.currentTimeNanos
      yield* request("ping", "core.ping", {})
      return Duration.nanos((yield* Clock.currentTimeNanos) - start)
    }),
    touch: Effect.asVoid(request("touch", "core.touch", {}))
  }
}

type Requester = (
  operation: string,
  type: string,
  payload: Protocol.Payload,
  listeners?: Listeners
) => Effect.Effect<Protocol.Payload, LightboxError>

interface Listeners {
  /** Receives the data that precedes the response. Returns `false` if the guest must not send it. */
  readonly onData?: (bytes: Uint8Array) => boolean
  /** Receives the response of a request whose caller was interrupted. */
  readonly onLate?: (payload: Protocol.Payload) => void
}

const method = (operation: string) => `Sandbox.${operation}`

const during = (operation: string, error: LightboxError): LightboxError =>
  new LightboxError({ method: method(operation), reason: error.reason })

const protocolError = (operation: string, payload: Protocol.Payload): LightboxError =>
  new LightboxError({
    method: method(operation),
    reason: new Unknown({ problem: text(payload["message"]) ?? "the guest refused the request" })
  })

/** The response that the agent would give for a path of that length. */
const tooLong: Protocol.Payload = { ok: false, error: "File name too long (os error 36)" }

const requester =
  (connection: AgentConnection): Requester =>
  (operation, type, payload, { onData, onLate } = {}) =>
    Effect.callback((resume) => {
      let isAbandoned = false
      const id = connection.open({
        onMessage: ({ payload, type }) => {
          const { data } = payload
          if (isAbandoned) onLate?.(payload)
          else if (type === "core.error") resume(Effect.fail(protocolError(operation, payload)))
          else if (type !== "core.fs.data") resume(Effect.succeed(payload))
          else if (data instanceof Uint8Array && onData?.(data) === false) {
            connection.close(id)
            resume(Effect.fail(protocolError(operation, { message: "the guest sent more than was asked for" })))
          }
        },
        onLost: (error) => resume(Effect.fail(during(operation, error)))
      })
      if (!connection.post(id, type, payload)) {
        connection.close(id)
        resume(Effect.succeed(tooLong))
      }
      return Effect.sync(() => {
        isAbandoned = true
        if (onLate === undefined) connection.close(id)
      })
    })

interface FileResponse {
  readonly data?: unknown
}

type FileRequester = (
  operation: string,
  path: string,
  op: Protocol.Payload,
  listeners?: Listeners
) => Effect.Effect<FileResponse, LightboxError>

const fileRequester =
  (request: Requester): FileRequester =>
  (operation, path, op, listeners) =>
    Effect.flatMap(request(operation, "core.fs.request", { op }, listeners), (payload) =>
      fileResponse(operation, path, payload)
    )

const fileResponse = (
  operation: string,
  path: string,
  payload: Protocol.Payload
): Effect.Effect<FileResponse, LightboxError> =>
  payload["ok"] === true
    ? Effect.succeed(payload)
    : Effect.fail(fileError(operation, path, text(payload["error"]) ?? "the guest gave no reason"))

const fileError = (operation: string, path: string, message: string): LightboxError =>
  new LightboxError({
    method: method(operation),
    reason: new FileError({ operation, path, ...Errno.parse(message) })
  })

/** Handles the messages of a session by their type. */
const dispatch =
  (handlers: { readonly [type: string]: (payload: Protocol.Payload) => unknown }): Session["onMessage"] =>
  ({ payload, type }) => {
    if (Object.hasOwn(handlers, type)) handlers[type]?.(payload)
  }

const text = Protocol.textOf

const field = (u: unknown, key: string): unknown => (Predicate.hasProperty(u, key) ? u[key] : undefined)

const maxPathLength = 4096
const maxNameLength = 255

const pathOf =
  (operation: string, path: string, start: string) =>
  ({ data }: FileResponse): Effect.Effect<string, LightboxError> => {
    const found = text(field(data, "Path")) ?? ""
    return found !== "" && found.startsWith(start) && found.length <= maxPathLength && !found.includes("\0")
      ? Effect.succeed(found)
      : Effect.fail(fileError(operation, path, "the guest gave no path"))
  }

const entryOf = (u: unknown, folder: string): Guest.FileInfo | undefined => {
  const info = fileInfo(u, folder)
  const name = info.path.slice(info.path.lastIndexOf("/") + 1)
  const isName = name.length <= maxNameLength && !["", ".", ".."].includes(name) && !name.includes("\0")
  const isInFolder = info.path === `${folder}/${name}` || Path.normalize(info.path) === Path.join(folder, name)
  return isName && isInFolder ? info : undefined
}

/** A size, an id or the bits of a mode; 0 if it cannot be one. */
const count = (u: unknown): number => {
  const value = Protocol.numberOf(u)
  return value !== undefined && Number.isSafeInteger(value) && value >= 0 ? value : 0
}

const fileInfo = (u: unknown, path: string): Guest.FileInfo => ({
  path: text(field(u, "path")) ?? path,
  type: typeOf(count(field(u, "mode"))),
  size: count(field(u, "size")),
  mode: count(field(u, "mode")) & 0o7777,
  uid: count(field(u, "uid")),
  gid: count(field(u, "gid")),
  mtime: fromSeconds(Protocol.numberOf(field(u, "mtime"))),
  atime: fromSeconds(Protocol.numberOf(field(u, "atime")))
})

const setAttrs = (attributes: Guest.FileAttributes): Protocol.Payload => ({
  mode: attributes.mode ?? null,
  uid: attributes.uid ?? null,
  gid: attributes.gid ?? null,
  size: attributes.size ?? null,
  atime: toSeconds(attributes.atime) ?? null,
  mtime: toSeconds(attributes.mtime) ?? null
})

const openHandle = (
  connection: AgentConnection,
  file: FileRequester,
  operation: string,
  path: string,
  op: Protocol.Payload
): Effect.Effect<number, LightboxError, Scope.Scope> => {
  const close = (handle: number) => {
    // Nobody waits for the response: the agent closes files in order, and the rest with the connection.
    const id = connection.open({ onMessage: () => {}, onLost: () => {} })
    connection.post(id, "core.fs.request", { op: { CloseHandle: { handle } } })
  }
  const handleOf = ({ data }: FileResponse) => Protocol.numberOf(field(data, "Handle"))
  return Effect.acquireRelease(
    Effect.flatMap(
      file(operation, path, op, {
        onLate: (response) => {
          const handle = handleOf(response)
          if (handle !== undefined) close(handle)
        }
      }),
      (response) => {
        const handle = handleOf(response)
        return handle === undefined
          ? Effect.fail(fileError(operation, path, "the guest gave no file handle"))
          : Effect.succeed(handle)
      }
    ),
    (handle) => Effect.sync(() => close(handle)),
    { interruptible: true }
  )
}

/** Bytes per read request: large enough to amortize the round trip, small enough to buffer. */
const windowBytes = 2 * Protocol.maxChunkBytes

const open = (
  connection: AgentConnection,
  file: FileRequester,
  path: string,
  options: Guest.OpenOptions
): Effect.Effect<Guest.File, LightboxError, Scope.Scope> =>
  Effect.map(
    openHandle(connection, file, "open", path, {
      OpenFile: {
        path,
        options: {
          read: options.read ?? false,
          write: options.write ?? false,
          append: options.append ?? false,
          create: options.create ?? false,
          create_new: options.createNew ?? false,
          truncate: options.truncate ?? false,
          mode: options.mode ?? null
        }
      }
    }),
    (handle): Guest.File => ({
      stream: (range) => {
        const start = range?.offset ?? 0
        const end = start + (range?.bytesToRead ?? Number.POSITIVE_INFINITY)
        return Stream.paginate(start, (offset) => {
          const length = Math.min(windowBytes, end - offset)
          if (length <= 0) return Effect.succeed([[], Option.none()])
          return Effect.map(readWindow(file, path, handle, offset, length), (bytes) => [
            bytes.length === 0 ? [] : [bytes],
            bytes.length < length ? Option.none() : Option.some(offset + length)
          ])
        })
      },
      sink: (offset = 0) =>
        Sink.suspend(() => {
          let at = offset
          return Sink.forEachArray((pieces: ReadonlyArray<Uint8Array>) => {
            return Effect.forEach(
              split(Protocol.concat(pieces), windowBytes),
              (window) =>
                Effect.suspend(() => {
                  const start = at
                  at += window.length
                  return writeWindow(connection, path, handle, start, window)
                }),
              { discard: true }
            )
          })
        }),
      stat: Effect.map(file("stat", path, { FStat: { handle } }), ({ data }) => fileInfo(field(data, "Stat"), path)),
      setAttributes: (attributes) =>
        Effect.asVoid(file("setAttributes", path, { FSetStat: { handle, attrs: setAttrs(attributes) } }))
    })
  )

const readWindow = (
  file: FileRequester,
  path: string,
  handle: number,
  offset: number,
  length: number
): Effect.Effect<Uint8Array, LightboxError> =>
  Effect.suspend(() => {
    const chunks: Array<Uint8Array> = []
    let size = 0
    const onData = (bytes: Uint8Array) => {
      if (bytes.length > 0) chunks.push(bytes)
      size += bytes.length
      return size <= length
    }
    return Effect.map(file("read", path, { Read: { handle, offset, len: length } }, { onData }), () =>
      Protocol.concat(chunks)
    )
  })

const writeWindow = Effect.fnUntraced(function* (
  connection: AgentConnection,
  path: string,
  handle: number,
  offset: number,
  bytes: Uint8Array
): Effect.fn.Return<void, LightboxError> {
  const answer = yield* Deferred.make<FileResponse, LightboxError>()
  const id = connection.open({
    onMessage: ({ payload }) => Deferred.doneUnsafe(answer, fileResponse("write", path, payload)),
    onLost: (error) => Deferred.doneUnsafe(answer, Effect.fail(during("write", error)))
  })
  const end = { data: new Uint8Array() }
  const send = Effect.gen(function* () {
    yield* connection.send(id, "core.fs.request", { op: { Write: { handle, offset, len: bytes.length } } })
    for (const data of split(bytes, Protocol.maxChunkBytes)) yield* connection.send(id, "core.fs.data", { data })
    yield* connection.send(id, "core.fs.data", end)
  })
  yield* send.pipe(
    // Otherwise the agent would wait for the rest.
    Effect.onInterrupt(() => Effect.sync(() => connection.post(id, "core.fs.data", end))),
    Effect.andThen(Deferred.await(answer)),
    Effect.ensuring(Effect.sync(() => connection.close(id)))
  )
})

const split = (bytes: Uint8Array, size: number): ReadonlyArray<Uint8Array> => {
  const parts: Array<Uint8Array> = []
  for (let start = 0; start < bytes.length; start += size) parts.push(bytes.subarray(start, start + size))
  return parts
}

/** Writes in pieces that fit into a message, and then ends the input. */
const inChunks = (
  write: (data: Uint8Array) => Effect.Effect<void, LightboxError>,
  end: Effect.Effect<void, LightboxError>
): Sink.Sink<void, Uint8Array, never, LightboxError> =>
  Sink.forEach((bytes: Uint8Array) =>
    Effect.forEach(split(bytes, Protocol.maxChunkBytes), write, { discard: true })
  ).pipe(Sink.mapEffect(() => end))

const clear = (word: Guest.Word): string => (Redacted.isRedacted(word) ? Redacted.value(word) : word)

const spawn = Effect.fnUntraced(function* (
  connection: AgentConnection,
  stat: Guest.Guest["stat"],
  kernelLog: Effect.Effect<string>,
  command: Guest.Command,
  policy: Guest.OutputPolicy | undefined
): Effect.fn.Return<Guest.Process, LightboxError, Scope.Scope> {
  const argv = hiddenArgv(command)
  const started = yield* Deferred.make<number, LightboxError>()
  const exit = yield* Deferred.make<number, LightboxError>()
  let isReleased = false
  const stdin = { isOpen: command.stdin !== "empty" }
  /** The last signal sent to end the command. */
  let sent: Guest.Signal | undefined

  if (command.terminal !== undefined && command.cwd !== undefined) {
    // With a terminal, the agent would silently run the command in another directory.
    yield* requireFolder(stat, argv, command, command.cwd)
  }

  const output = yield* OutputBuffer.make(
    { pause: () => connection.pause(), resume: () => connection.resume(), fail: () => kill() },
    policy
  )
  let hasArrived = false
  const push = (_tag: Guest.Output["_tag"], bytes: unknown) => {
    hasArrived = true
    if (policy?.overflow !== "discard" && bytes instanceof Uint8Array) output.push({ _tag, bytes })
  }
  const fail = (error: LightboxError) => {
    stdin.isOpen = false
    output.finish(error)
    Deferred.doneUnsafe(started, Effect.fail(error))
    Deferred.doneUnsafe(exit, Effect.fail(error))
  }

  // Cached apart from the normal path, because `Effect.cached` costs a fiber.
  /** A dying agent loses track of its commands before the connection ends. So it is asked whether it still lives. */
  const lives = yield* Effect.cached(
    requester(connection)("spawn", "core.ping", {}).pipe(
      Effect.catchReason("LightboxError", "Unknown", () => Effect.void),
      Effect.timeoutOrElse({ duration: "5 seconds", orElse: () => Effect.void })
    )
  )
  const exitCode = Effect.filterOrElse(
    Deferred.await(exit),
    (code) => code >= 0 || isReleased,
    (code) => Effect.as(lives, code)
  )

  const id = connection.open({
    onMessage: dispatch({
      "core.exec.started": ({ pid }) => Deferred.doneUnsafe(started, Effect.succeed(count(pid))),
      "core.exec.stdout": ({ data }) => push("Stdout", data),
      "core.exec.stderr": ({ data }) => push("Stderr", data),
      "core.exec.stdin.error": () => (stdin.isOpen = false),
      "core.exec.exited": (payload) => {
        stdin.isOpen = false
        output.finish()
        const code = Protocol.numberOf(payload["code"])
        Deferred.doneUnsafe(exit, Effect.succeed(code !== undefined && Number.isInteger(code) ? code : -1))
      },
      "core.exec.failed": (payload) => fail(notStarted(problemOf(argv, command, payload))),
      "core.error": (payload) => fail(protocolError("spawn", payload))
    }),
    onLost: (error) => fail(during("spawn", error))
  })
  const kill = () => {
    sent = "SIGKILL"
    connection.post(id, "core.exec.signal", { signal: signals.SIGKILL })
  }

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      if (!Deferred.isDoneUnsafe(exit)) kill()
      isReleased = true
      Deferred.doneUnsafe(exit, Effect.succeed(-1))
      connection.close(id)
    })
  )

  const send = (type: string, payload: Protocol.Payload) =>
    Effect.mapError(connection.send(id, type, payload), (error) => during("spawn", error))

  yield* send("core.exec.request", {
    cmd: command.argv[0],
    args: command.argv.slice(1).map(clear),
    env: Object.entries(command.env ?? {}).map(([name, value]) => `${name}=${clear(value)}`),
    cwd: command.cwd ?? null,
    user: command.user ?? null,
    tty: command.terminal !== undefined,
    rows: command.terminal?.rows ?? 24,
    cols: command.terminal?.columns ?? 80,
    rlimits: Object.entries(command.rlimits ?? {}).map(([resource, limit]) =>
      typeof limit === "number"
        ? { resource, soft: limit, hard: limit }
        : { resource, soft: limit.soft, hard: limit.hard }
    )
  })
  if (command.stdin === "empty") connection.post(id, "core.exec.stdin", { data: new Uint8Array() })

  const pid = yield* Deferred.await(started).pipe(
    Effect.catchReason("LightboxError", "CommandNotStarted", ({ errno, kind, problem }, error) => {
      // The kernel reports a missing program and a missing working directory alike.
      if (kind !== "ProgramNotFound" && kind !== "BadWorkdir") return Effect.fail(error)
      const isFolderFine = command.cwd === undefined ? Effect.void : requireFolder(stat, argv, command, command.cwd)
      return Effect.andThen(isFolderFine, notStarted({ argv, kind: "ProgramNotFound", problem, errno }))
    })
  )

  const isOver = () => Deferred.isDoneUnsafe(exit)
  const isArriving = () => {
    const is = hasArrived || connection.isPaused
    hasArrived = false
    return is
  }
  yield* Execution.endHolders(
    command,
    Execution.gone(stat, pid, "1 second", isOver),
    isOver,
    isArriving,
    () => connection.post(id, "core.exec.signal", { signal: signals.SIGKILL }),
    fail
  )

  const write = (data: Uint8Array): Effect.Effect<void, LightboxError> =>
    Effect.suspend(() => (stdin.isOpen ? send("core.exec.stdin", { data }) : Effect.void))

  // The agent reports that a signal ended the command, but not which.
  const logged = yield* Effect.cached(Effect.map(kernelLog, (log) => fromKernelLog(log, pid)))
  const endedBy = Effect.flatMap(exitCode, (code) =>
    code < 0 && sent === undefined ? logged : Effect.succeed(code < 0 ? sent : undefined)
  )

  const process: Guest.Process = {
    pid,
    output: output.stream,
    exitCode,
    endedBy,
    stdin: inChunks(write, write(new Uint8Array())),
    signal: (signal) =>
      Effect.flatMap(checkSignal(signal), () => {
        if (Deferred.isDoneUnsafe(exit)) return Effect.void
        if (endsProcess(signal)) sent = named(signal)
        return send("core.exec.signal", { signal: typeof signal === "number" ? signal : signals[signal] })
      }),
    resize: (size) =>
      Effect.flatMap(checkSize(size), () =>
        Deferred.isDoneUnsafe(exit) ? Effect.void : send("core.exec.resize", { rows: size.rows, cols: size.columns })
      )
  }
  return printable(process, "Process", () => ({ pid }))
})

/** The log of the guest's kernel, or an empty string if it is not available. Gives up after three failures in a row. */
const kernelLog = (connection: AgentConnection, stat: Guest.Guest["stat"]): Effect.Effect<string> => {
  let failures = 0
  const dmesg: Guest.Command = { argv: ["dmesg"], cwd: "/", user: "0:0", stdin: "empty" }
  const read = Effect.gen(function* () {
    const { exitCode, output } = yield* spawn(connection, stat, Effect.succeed(""), dmesg, undefined)
    const text = yield* Stream.mkString(Stream.decodeText(Stream.map(output, ({ bytes }) => bytes)))
    failures = (yield* exitCode) > 0 ? failures + 1 : 0
    return text
  }).pipe(
    Effect.tapError(({ reason }) =>
      Effect.sync(() => {
        if (reason._tag === "CommandNotStarted") failures++
      })
    ),
    Effect.scoped,
    Effect.timeout("2 seconds"),
    Effect.orElseSucceed(() => "")
  )
  return Effect.suspend(() => (failures < 3 ? read : Effect.succeed("")))
}

const problems = new Map(Struct.keys(Protocol.startProblems).map((kind) => [Protocol.startProblems[kind], kind]))

type NotStarted = Pick<CommandNotStarted, "argv" | "kind" | "problem"> & { readonly errno: string | undefined }

const notStarted = ({ errno, ...fields }: NotStarted): LightboxError =>
  new LightboxError({
    method: method("spawn"),
    reason: new CommandNotStarted({ ...fields, ...(errno === undefined ? {} : { errno }) })
  })

const problemOf = (argv: ReadonlyArray<string>, command: Guest.Command, payload: Protocol.Payload): NotStarted => {
  const message = redact(secretsOf(command), text(payload["message"]) ?? "the guest gave no reason")
  const errno = text(payload["errno_name"])
  const isUser = command.user !== undefined && /user|group/.test(message) && errno === undefined
  return {
    argv,
    kind: isUser ? "UnknownUser" : (problems.get(text(payload["kind"]) ?? "") ?? "Other"),
    // The agent prefixes the program's name.
    problem: Errno.parse(message.replace(/^(spawn "[^"]*"|exec session error): /, "")).problem,
    errno
  }
}

const requireFolder = (
  stat: Guest.Guest["stat"],
  argv: ReadonlyArray<string>,
  command: Guest.Command,
  cwd: string
): Effect.Effect<void, LightboxError> => {
  const missing = (problem: string, errno: string) =>
    notStarted({ argv, kind: "BadWorkdir", problem: `${redact(secretsOf(command), cwd)}: ${problem}`, errno })
  return stat(cwd).pipe(
    Effect.catchReason("LightboxError", "FileError", ({ code, problem }) => Effect.fail(missing(problem, code))),
    Effect.filterOrFail(
      ({ type }) => type === "Directory",
      () => missing("Not a directory", "ENOTDIR")
    ),
    Effect.asVoid
  )
}

const connect = Effect.fnUntraced(function* (
  connection: AgentConnection,
  host: string,
  port: number
): Effect.fn.Return<Guest.Connection, LightboxError, Scope.Scope> {
  const opened = yield* Deferred.make<void, LightboxError>()
  const state = { isOpen: true }
  const input = yield* OutputBuffer.make({
    pause: () => connection.pause(),
    resume: () => connection.resume(),
    fail: () => close()
  })
  const fail = (error: LightboxError) => {
    state.isOpen = false
    input.finish(error)
    Deferred.doneUnsafe(opened, Effect.fail(error))
  }
  const refuse = ({ error, message }: Protocol.Payload) =>
    fail(fileError("connect", `${host}:${port}`, text(error) ?? text(message) ?? "refused"))
  const id = connection.open({
    onMessage: dispatch({
      "core.tcp.connected": () => Deferred.doneUnsafe(opened, Effect.void),
      "core.tcp.data": ({ data: bytes }) => {
        if (bytes instanceof Uint8Array) input.push({ _tag: "Stdout", bytes })
      },
      "core.tcp.eof": () => input.finish(),
      "core.tcp.closed": () => {
        state.isOpen = false
        input.finish()
      },
      "core.tcp.failed": refuse,
      "core.error": refuse
    }),
    onLost: (error) => fail(during("connect", error))
  })
  const close = () => connection.post(id, "core.tcp.close", {})
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      if (state.isOpen) close()
      connection.close(id)
    })
  )
  yield* connection.send(id, "core.tcp.connect", { host, port })
  yield* Deferred.await(opened)

  const write = (type: string, payload: Protocol.Payload) =>
    Effect.suspend(() => (state.isOpen ? connection.send(id, type, payload) : Effect.void))
  return {
    read: Stream.map(input.stream, ({ bytes }) => bytes),
    write: inChunks((data) => write("core.tcp.data", { data }), write("core.tcp.eof", {}))
  }
})
