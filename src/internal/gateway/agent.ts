/**
 * Serves a guest as the runtime's relay and agent do, for drivers whose guests are not reached through a relay. It is the
 * other side of `guest/agent.ts`, and speaks the protocol of `guest/protocol.ts`.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Duplex } from "node:stream"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { bitsOf, fromSeconds, toSeconds } from "../guest/attributes.ts"
import * as Errno from "../guest/errno.ts"
import * as Protocol from "../guest/protocol.ts"

type Payload = Protocol.Payload

const { asPayload, numberOf: numberOrNone, textOf: textOrNone } = Protocol
const text = (u: unknown): string => textOrNone(u) ?? ""
const texts = (u: unknown): ReadonlyArray<string> => (Array.isArray(u) ? u.map(text) : [])
const number = (u: unknown): number => numberOrNone(u) ?? 0
/** The ids of one connection. */
const ids = { first: 1, end: 0xffff_ffff }

/** Input that may wait for a guest before the connection is paused. */
const maxWaitingBytes = 8 * 1024 * 1024

const entryOf = (info: Guest.FileInfo): Payload => ({
  path: info.path,
  size: info.size,
  mode: info.mode | bitsOf(info.type),
  uid: info.uid,
  gid: info.gid,
  mtime: toSeconds(info.mtime) ?? null,
  atime: toSeconds(info.atime) ?? null
})

const attributesOf = (attrs: Payload): Guest.FileAttributes => ({
  mode: numberOrNone(attrs["mode"]),
  uid: numberOrNone(attrs["uid"]),
  gid: numberOrNone(attrs["gid"]),
  size: numberOrNone(attrs["size"]),
  atime: fromSeconds(numberOrNone(attrs["atime"])),
  mtime: fromSeconds(numberOrNone(attrs["mtime"]))
})

/** As the agent describes an error: after the operation, with the number at the end. */
const described = ({ message, reason }: LightboxError): string => {
  if (reason._tag !== "FileError") return message
  const errno = Errno.numberOf(reason.code)
  return errno === undefined ? reason.problem : `${reason.operation}: ${reason.problem} (os error ${errno})`
}

const rlimitsOf = (u: unknown): Guest.Command["rlimits"] =>
  Array.isArray(u)
    ? Object.fromEntries(
        u.map(asPayload).map(({ hard, resource, soft }) => [text(resource), { soft: number(soft), hard: number(hard) }])
      )
    : undefined

/** What a client sends to a command, a write or a connection, as far as the guest has not taken it. */
interface Input {
  readonly push: (data: Uint8Array) => void
  readonly end: () => void
  readonly stream: Stream.Stream<Uint8Array>
}

type Session = (type: string, payload: Payload) => void

/** Serves a guest until the other side closes the stream, or the guest is lost. */
export const serve = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  socket: Duplex
): Effect.fn.Return<void, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const runSync = Effect.runSyncWith(yield* Effect.context<never>())
  const fork = yield* FiberSet.makeRuntime<never>()
  const sessions = new Map<number, Session>()
  const handles = new Map<number, { readonly file: Guest.File; readonly scope: Scope.Closeable }>()
  const folders = new Map<number, Array<Guest.FileInfo>>()
  let nextHandle = 1
  let waitingBytes = 0

  const taken = (bytes: number) => {
    waitingBytes -= bytes
    if (waitingBytes <= maxWaitingBytes && socket.isPaused()) socket.resume()
  }
  const makeInput = (): Input => {
    const queue = runSync(Queue.unbounded<Uint8Array, Cause.Done>())
    return {
      push: (data) => {
        if (!Queue.offerUnsafe(queue, data)) return
        waitingBytes += data.length
        if (waitingBytes > maxWaitingBytes) socket.pause()
      },
      end: () => Queue.endUnsafe(queue),
      stream: Stream.tap(Stream.fromQueue(queue), (data) => Effect.sync(() => taken(data.length)))
    }
  }

  /** What is left of an input must not hold up the connection. */
  const drop = (input: Input) =>
    Effect.sync(() => {
      input.end()
      fork(Stream.runDrain(input.stream))
    })

  const write = (frame: Uint8Array): Effect.Effect<void> =>
    Effect.callback((resume) => {
      if (socket.destroyed || socket.write(frame)) return resume(Effect.void)
      const done = () => {
        socket.off("drain", done).off("close", done)
        resume(Effect.void)
      }
      socket.once("drain", done).once("close", done)
      return Effect.sync(() => socket.off("drain", done).off("close", done))
    })
  const send = (id: number, type: string, payload: Payload) =>
    Effect.suspend(() => write(Protocol.encode(id, type, payload)))
  const sendLast = (id: number, type: string, payload: Payload) =>
    Effect.suspend(() => {
      sessions.delete(id)
      const frame = Protocol.encode(id, type, payload)
      frame[8] = 1
      return write(frame)
    })
  const chunks = (bytes: Uint8Array): ReadonlyArray<Uint8Array> =>
    Array.from({ length: Math.ceil(bytes.length / Protocol.maxChunkBytes) }, (_, index) =>
      bytes.subarray(index * Protocol.maxChunkBytes, (index + 1) * Protocol.maxChunkBytes)
    )
  const sendData = (id: number, type: string, bytes: Uint8Array) =>
    Effect.forEach(chunks(bytes), (data) => send(id, type, { data }), { discard: true })

  /** Runs a request. A guest that is lost ends the connection, as its relay would. */
  const run = (
    id: number,
    onError: (error: LightboxError) => Effect.Effect<void>,
    effect: Effect.Effect<void, LightboxError>
  ) =>
    fork(
      effect.pipe(
        Effect.catch((error) =>
          error.reason._tag === "GuestLost" ? Effect.sync(() => socket.destroy()) : onError(error)
        ),
        Effect.catchDefect((defect) => sendLast(id, "core.error", { message: String(defect) }))
      )
    )

  // Files.

  const respond = (id: number, data: Payload | null = null) =>
    sendLast(id, "core.fs.response", { ok: true, error: null, data })
  const refused = (id: number) => (error: LightboxError) =>
    sendLast(id, "core.fs.response", { ok: false, error: described(error), data: null })
  const badHandle = (id: number) =>
    sendLast(id, "core.fs.response", { ok: false, error: "no such handle (os error 9)", data: null })

  const onOpen = Effect.fnUntraced(function* (id: number, path: string, options: Payload) {
    const own = yield* Scope.fork(scope)
    const file = yield* guest
      .open(path, {
        read: options["read"] === true,
        write: options["write"] === true,
        append: options["append"] === true,
        create: options["create"] === true,
        createNew: options["create_new"] === true,
        truncate: options["truncate"] === true,
        mode: numberOrNone(options["mode"])
      })
      .pipe(
        Scope.provide(own),
        Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
      )
    handles.set(nextHandle, { file, scope: own })
    yield* respond(id, { Handle: nextHandle++ })
  })

  const fileOperation = (id: number, name: string, op: Payload): Effect.Effect<void, LightboxError> => {
    const path = text(op["path"])
    const handle = number(op["handle"])
    const followSymlinks = op["follow_symlink"] !== false
    const done = (effect: Effect.Effect<void, LightboxError>) => Effect.andThen(effect, respond(id))
    const onFile = (use: (file: Guest.File) => Effect.Effect<void, LightboxError>) => {
      const file = handles.get(handle)?.file
      return file === undefined ? badHandle(id) : use(file)
    }
    switch (name) {
      case "Stat":
        return Effect.flatMap(guest.stat(path, { followSymlinks }), (info) => respond(id, { Stat: entryOf(info) }))
      case "FStat":
        return onFile((file) => Effect.flatMap(file.stat, (info) => respond(id, { Stat: entryOf(info) })))
      case "OpenDir":
        return Effect.flatMap(guest.readDirectoryEntries(path), (entries) => {
          folders.set(nextHandle, [...entries])
          return respond(id, { Handle: nextHandle++ })
        })
      case "ReadDir":
        return respond(id, { List: (folders.get(handle) ?? []).splice(0, number(op["limit"])).map(entryOf) })
      case "CloseHandle": {
        const open = handles.get(handle)
        handles.delete(handle)
        folders.delete(handle)
        return Effect.andThen(open === undefined ? Effect.void : Scope.close(open.scope, Exit.void), respond(id))
      }
      case "RealPath":
        return Effect.flatMap(guest.realPath(path), (found) => respond(id, { Path: found }))
      case "ReadLink":
        return Effect.flatMap(guest.readLink(path), (found) => respond(id, { Path: found }))
      case "Symlink":
        return done(guest.symlink(text(op["target"]), text(op["link_path"])))
      case "Mkdir":
        return done(guest.makeDirectory(path, { mode: numberOrNone(op["mode"]) }))
      case "Remove":
        return done(guest.removeFile(path))
      case "RemoveDir":
        return done(guest.removeDirectory(path, { recursive: op["recursive"] === true }))
      case "Rename":
        return done(guest.rename(text(op["src"]), text(op["dst"])))
      case "Copy":
        return done(guest.copyFile(text(op["src"]), text(op["dst"])))
      case "SetStat":
        return done(guest.setAttributes(path, attributesOf(asPayload(op["attrs"])), { followSymlinks }))
      case "FSetStat":
        return onFile((file) => done(file.setAttributes(attributesOf(asPayload(op["attrs"])))))
      case "OpenFile":
        return onOpen(id, path, asPayload(op["options"]))
      case "Read":
        return onFile((file) =>
          done(
            Stream.runForEach(
              file.stream({ offset: number(op["offset"]), bytesToRead: numberOrNone(op["len"]) }),
              (bytes) => sendData(id, "core.fs.data", bytes)
            )
          )
        )
      default:
        return sendLast(id, "core.fs.response", { ok: false, error: `${name} is not supported`, data: null })
    }
  }

  const onWrite = (id: number, op: Payload) => {
    const file = handles.get(number(op["handle"]))?.file
    const input = makeInput()
    sessions.set(id, (type, { data }) => {
      if (type !== "core.fs.data" || !(data instanceof Uint8Array)) return
      if (data.length > 0) input.push(data)
      else input.end()
    })
    const written =
      file === undefined
        ? badHandle(id)
        : Effect.andThen(Stream.run(input.stream, file.sink(number(op["offset"]))), respond(id))
    run(
      id,
      refused(id),
      Effect.onError(written, () => drop(input))
    )
  }

  // Commands.

  const onExec = (id: number, request: Payload) => {
    const input = makeInput()
    const early: Array<readonly [string, Payload]> = []
    let process: Guest.Process | undefined
    const control = (type: string, payload: Payload) => {
      if (process === undefined) return void early.push([type, payload])
      const change =
        type === "core.exec.signal"
          ? process.signal(number(payload["signal"]))
          : process.resize({ rows: number(payload["rows"]), columns: number(payload["cols"]) })
      fork(Effect.ignore(change))
    }
    sessions.set(id, (type, payload) => {
      const { data } = payload
      if (type === "core.exec.signal" || type === "core.exec.resize") control(type, payload)
      else if (type === "core.exec.stdin" && data instanceof Uint8Array) {
        if (data.length > 0) input.push(data)
        else input.end()
      }
    })
    const env = texts(request["env"]).map((variable) => {
      const end = variable.indexOf("=")
      return [variable.slice(0, end), variable.slice(end + 1)]
    })
    const command: Guest.Command = {
      argv: [text(request["cmd"]), ...texts(request["args"])],
      env: Object.fromEntries(env),
      cwd: textOrNone(request["cwd"]),
      user: textOrNone(request["user"]),
      rlimits: rlimitsOf(request["rlimits"]),
      ...(request["tty"] === true
        ? { terminal: { rows: number(request["rows"]), columns: number(request["cols"]) } }
        : {}),
      // The client sees to processes that hold the outputs.
      detaches: true
    }
    const ran = Effect.scoped(
      Effect.gen(function* () {
        const started = yield* guest.spawn(command, { overflow: "suspend" })
        process = started
        yield* send(id, "core.exec.started", { pid: started.pid })
        for (const [type, payload] of early) control(type, payload)
        yield* Effect.forkScoped(Effect.ignore(Stream.run(input.stream, started.stdin)))
        yield* Stream.runForEach(started.output, ({ _tag, bytes }) =>
          sendData(id, _tag === "Stdout" ? "core.exec.stdout" : "core.exec.stderr", bytes)
        )
        yield* sendLast(id, "core.exec.exited", { code: yield* started.exitCode })
      })
    )
    const failed = ({ message, reason }: LightboxError) =>
      reason._tag === "CommandNotStarted"
        ? sendLast(id, "core.exec.failed", {
            kind: Protocol.startProblems[reason.kind],
            message: reason.problem,
            ...(reason.errno === undefined ? {} : { errno_name: reason.errno })
          })
        : sendLast(id, "core.error", { message })
    run(id, failed, Effect.ensuring(ran, drop(input)))
  }

  // Connections.

  const onConnect = (id: number, request: Payload) => {
    const input = makeInput()
    const own = Scope.forkUnsafe(scope)
    sessions.set(id, (type, { data }) => {
      if (type === "core.tcp.data" && data instanceof Uint8Array) input.push(data)
      else if (type === "core.tcp.eof") input.end()
      else if (type === "core.tcp.close")
        fork(Effect.andThen(Scope.close(own, Exit.void), sendLast(id, "core.tcp.closed", {})))
    })
    const carried = Effect.gen(function* () {
      const { read, write } = yield* guest.connect(text(request["host"]), number(request["port"]))
      yield* send(id, "core.tcp.connected", {})
      const toClient = Effect.andThen(
        Stream.runForEach(read, (bytes) => sendData(id, "core.tcp.data", bytes)),
        send(id, "core.tcp.eof", {})
      )
      yield* Effect.all([toClient, Stream.run(input.stream, write)], { concurrency: 2, discard: true })
      yield* sendLast(id, "core.tcp.closed", {})
    }).pipe(
      Scope.provide(own),
      Effect.onExit((exit) => Scope.close(own, exit)),
      Effect.ensuring(drop(input))
    )
    const running = Effect.forkIn(
      carried.pipe(
        Effect.catch((error) =>
          error.reason._tag === "GuestLost"
            ? Effect.sync(() => socket.destroy())
            : sendLast(id, "core.tcp.failed", { error: described(error) })
        )
      ),
      own
    )
    fork(running)
  }

  const onMessage = ({ id, payload, type }: Protocol.Message): void => {
    const simple = (answer: string, effect: Effect.Effect<unknown, LightboxError>) =>
      run(
        id,
        ({ message }) => sendLast(id, "core.error", { message }),
        Effect.andThen(effect, sendLast(id, answer, {}))
      )
    switch (type) {
      case "core.ping":
        return void simple("core.pong", guest.ping)
      case "core.touch":
        return void simple("core.touched", guest.touch)
      case "core.exec.request":
        return onExec(id, payload)
      case "core.tcp.connect":
        return onConnect(id, payload)
      case "core.fs.request": {
        const op = asPayload(payload["op"])
        const [name = ""] = Object.keys(op)
        const fields = asPayload(op[name])
        if (name === "Write") return onWrite(id, fields)
        return void run(id, refused(id), fileOperation(id, name, fields))
      }
      default:
        sessions.get(id)?.(type, payload)
    }
  }

  const greeting = new Uint8Array(8)
  new DataView(greeting.buffer).setUint32(0, ids.first)
  new DataView(greeting.buffer).setUint32(4, ids.end)
  yield* write(greeting)
  yield* send(0, "core.ready", { ready_time_ns: Math.round(guest.bootMillis * 1_000_000) })
  yield* Effect.raceFirst(
    Effect.asVoid(guest.lost),
    Effect.callback<void>((resume) => {
      const decoder = new Protocol.Decoder()
      // What it expects first is for clients.
      decoder.push(greeting, ignored, ignored)
      socket.on("data", (chunk: Uint8Array) => {
        try {
          decoder.push(chunk, ignored, onMessage)
        } catch {
          socket.destroy()
        }
      })
      socket.on("error", () => socket.destroy())
      socket.on("close", () => resume(Effect.void))
      if (socket.destroyed) resume(Effect.void)
    })
  )
  socket.destroy()
})

const ignored = (): void => undefined
