/** Ports of this host that are forwarded to a guest. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import type * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import * as Dgram from "node:dgram"
import type * as Http from "node:http"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import type { LightboxError } from "../../LightboxError.ts"
import type { PublishedPort } from "../../Microsandbox.ts"
import type { LaunchDefaults, Options, SandboxConfig } from "../../SandboxConfig.ts"
import { defaultBind } from "../config/schemas.ts"
import { invalid } from "../config/validation.ts"
import { isCode } from "../host/socket.ts"

/** Normalizes the ports of a configuration. */
export const publishedPorts = ({ ports }: Pick<Options, "ports">): ReadonlyArray<PublishedPort> =>
  Array.isArray(ports)
    ? ports.map(({ bind = defaultBind, guest, host = 0, protocol = "tcp" }) => ({ host, guest, protocol, bind }))
    : Object.entries(ports ?? {}).map(([host, guest]) => ({
        host: Number(host),
        guest: Number(guest),
        protocol: "tcp",
        bind: defaultBind
      }))

/** Publishes the ports of launch defaults on free ports of 127.0.0.1. */
export const withFreePorts = (defaults: LaunchDefaults): LaunchDefaults =>
  defaults.ports === undefined
    ? defaults
    : { ...defaults, ports: publishedPorts(defaults).map((port) => ({ ...port, host: 0, bind: defaultBind })) }

export const listenOn = (
  options: Net.ListenOptions,
  onConnection?: (socket: Net.Socket) => void
): Promise<Net.Server> => {
  const server = Net.createServer({ allowHalfOpen: true }, (socket) => {
    // A socket that nobody reads yet may fail as well.
    socket.on("error", () => {})
    onConnection?.(socket)
  })
  return listening(server.unref(), options)
}

/** Makes a server listen. */
export const listening = <S extends Net.Server>(server: S, options: Net.ListenOptions): Promise<S> =>
  new Promise((resolve, reject) => {
    server.once("error", reject)
    server.listen(options, () => {
      // Later errors are of connections that could not be accepted.
      server.off("error", reject).on("error", () => {})
      resolve(server)
    })
  })

/** Makes an HTTP server listen until the scope closes, which also ends its connections, other than those upgraded. */
export const serving = (
  make: () => Http.Server,
  call: { readonly method: string; readonly field: string },
  port: number,
  bind: string = defaultBind
): Effect.Effect<Http.Server, LightboxError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: () => listening(make(), { port, host: bind }),
      catch: (cause) => portRefused(call, port, bind, cause)
    }),
    (server) =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  )

/** The port that was asked for, or the one that was chosen for port 0. */
export const portOf = (listening: Net.Server | Dgram.Socket, asked: number): number => {
  const address = listening.address()
  return typeof address === "object" && address !== null ? address.port : asked
}

/** An address and a port as URLs have them. */
export const endpoint = ({ bind, host }: Pick<PublishedPort, "bind" | "host">): string =>
  `${Net.isIPv6(bind) ? `[${bind}]` : bind}:${host}`

/** Ends a socket with a last message, which the other side has a moment to read. It may never end its own side. */
export const endWith = (socket: Net.Socket, message: Uint8Array | string): void => {
  socket.end(message).resume()
  setTimeout(() => socket.destroy(), 1000).unref()
}

/**
 * Carries data between a socket of this host and a connection into the guest until both sides have ended. Each side can
 * end before the other. A failure of either side, or interruption, calls `reset`: truncated data must not look complete.
 * A server that has stopped reading has a moment to end its answer, which is then complete.
 */
export const relay = <E>(
  socket: Duplex,
  {
    read,
    write
  }: { readonly read: Stream.Stream<Uint8Array, E>; readonly write: Sink.Sink<void, Uint8Array, never, E> },
  reset: () => void
): Effect.Effect<void> => {
  const received = Stream.fromAsyncIterable<Uint8Array, unknown>(socket.iterator({ destroyOnReturn: false }), identity)
  const answered = Latch.makeUnsafe()
  const toGuest = Stream.run(received, write).pipe(
    Effect.catch((error) =>
      Effect.timeoutOrElse(answered.await, { duration: "2 seconds", orElse: () => Effect.fail(error) })
    )
  )
  const toHost = Effect.andThen(
    Stream.runForEach(read, (bytes) => send(socket, bytes)),
    Effect.andThen(
      Effect.sync(() => socket.end()),
      answered.open
    )
  )
  return Effect.all([toGuest, toHost], { concurrency: 2 }).pipe(
    Effect.onExit((exit) => Effect.sync(() => (Exit.isSuccess(exit) ? socket.destroy() : reset()))),
    Effect.ignore
  )
}

/**
 * Closes a connection so that its peer fails. Not between `end` and its completion, when all data is on its way: Node.js
 * refuses to reset such a socket, never closes it, and then this process cannot exit.
 */
export const reset = (socket: Net.Socket): void => {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy()
  else socket.resetAndDestroy()
}

const send = (socket: Duplex, bytes: Uint8Array): Effect.Effect<void, Error> =>
  Effect.callback((resume) => {
    socket.write(bytes, (error) => resume(error === null || error === undefined ? Effect.void : Effect.fail(error)))
  })

export const bindTo = (port: number, bind: string): Promise<Dgram.Socket> =>
  new Promise((resolve, reject) => {
    const socket = Dgram.createSocket(Net.isIPv6(bind) ? "udp6" : "udp4")
    socket.unref()
    socket.once("error", reject)
    socket.bind(port, bind, () => {
      socket.off("error", reject)
      resolve(socket)
    })
  })

export const portRefused = (
  call: { readonly method: string; readonly field: string },
  port: number,
  bind: string,
  cause: unknown
): LightboxError =>
  invalid(
    call.method,
    call.field,
    isCode(cause, "EADDRINUSE")
      ? `port ${port} of ${bind} is in use on this host`
      : `this host does not let port ${port} of ${bind} be listened on: ${String(cause)}`
  )

/** The failure of a sandbox whose port cannot be listened on. */
export const createRefused = (port: number, bind: string, cause: unknown): LightboxError =>
  portRefused({ method: "Microsandbox.createSandbox", field: `ports.${port}` }, port, bind, cause)

// A port stays in use while a connection to it is open.
const hangUp = (socket: Net.Socket): void => void socket.destroy()

const closed = (listening: Net.Server | Dgram.Socket) =>
  Effect.promise(() => new Promise<void>((resolve) => listening.close(() => resolve())))

/** Listens on a port, or a free one for port 0, for the scope. Returns it. */
const take = ({ bind, guest, host, protocol }: PublishedPort) =>
  Effect.acquireRelease(
    Effect.tryPromise<Net.Server | Dgram.Socket, LightboxError>({
      try: () => (protocol === "tcp" ? listenOn({ port: host, host: bind }, hangUp) : bindTo(host, bind)),
      catch: (cause) => createRefused(host, bind, cause)
    }),
    closed
  ).pipe(Effect.map((taken): PublishedPort => ({ host: portOf(taken, host), guest, protocol, bind })))

/** Ports of sandboxes that do not listen yet, where the kernel cannot keep them. */
const reserved = new Set<string>()

/**
 * Keeps other launches off a port for the scope, those of other processes as well. On Linux, an abstract socket stands
 * for the port: it ends with its process, and belongs to the network namespace, as ports do.
 */
const reserve = ({ bind, host, protocol }: PublishedPort): Effect.Effect<unknown, LightboxError, Scope.Scope> => {
  const key = `effect-lightbox/${protocol}/${bind}/${host}`
  const inUse = createRefused(host, bind, { code: "EADDRINUSE" })
  if (process.platform !== "linux") {
    return Effect.acquireRelease(
      Effect.suspend(() => (reserved.has(key) ? Effect.fail(inUse) : Effect.succeed(reserved.add(key)))),
      () => Effect.sync(() => reserved.delete(key))
    )
  }
  return Effect.acquireRelease(
    Effect.tryPromise({
      try: () => listenOn({ path: `\0${key}` }, hangUp),
      catch: (cause) => (isCode(cause, "EADDRINUSE") ? inUse : createRefused(host, bind, cause))
    }),
    closed
  )
}

/**
 * Creates a sandbox after checking that its ports are free, and replaces host port 0 by a free one. The runtime boots a
 * sandbox with a port in use without an error, and nothing ever reaches it. A chosen port that is taken meanwhile is
 * chosen again.
 */
export const withPorts = <A>(
  config: SandboxConfig,
  create: (config: SandboxConfig) => Effect.Effect<A, LightboxError>
): Effect.Effect<A, LightboxError> => {
  const wanted = publishedPorts(config)
  if (wanted.length === 0) return create(config)
  return Effect.gen(function* () {
    const scope = yield* Effect.scope
    const keep = (port: PublishedPort) => Scope.provide(reserve(port), scope)
    // A port that another launch waits for must not be touched.
    const claim = (port: PublishedPort) =>
      port.host === 0 ? Effect.tap(take(port), keep) : Effect.andThen(keep(port), take(port))
    // Hold all at once, as two may conflict.
    return yield* create({ ...config, ports: yield* Effect.scoped(Effect.forEach(wanted, claim)) })
  }).pipe(
    Effect.scoped,
    Effect.retry({
      times: 3,
      while: ({ reason }) =>
        reason._tag === "InvalidConfig" &&
        reason.field.startsWith("ports.") &&
        !wanted.some(({ host }) => reason.field === `ports.${host}`)
    })
  )
}
