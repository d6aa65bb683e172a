/** The HTTP server of a host. */
import * as NodeWS from "@effect/platform-node-shared/NodeWS"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as HttpEffect from "effect/http/HttpEffect"
import type * as Headers from "effect/http/Headers"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import * as NodeStream from "node:stream"
import { Admission } from "../../Admission.ts"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { HostUnavailable, isLightboxError, LightboxError as Failure } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import { Ownership } from "../../Ownership.ts"
import { invalid } from "../config/validation.ts"
import { endpoint, portOf, serving } from "../driver/ports.ts"
import * as Protocol from "../driver/remote/protocol.ts"
import * as Shared from "../host/http.ts"
import * as Agent from "./agent.ts"
import * as Handlers from "./handlers.ts"
import * as Member from "./member.ts"
import * as Paths from "./paths.ts"
import * as Registry from "./registry.ts"
import * as Sessions from "./sessions.ts"
import type { Token } from "./tokens.ts"

/** Where a server listens. */
export interface Listening {
  readonly port: number
  readonly url: string
  /** Its id in the directory of a fleet. */
  readonly host: string | undefined
}

export interface Options {
  readonly method: string
  readonly port: number
  readonly bind: string
  readonly tls: { readonly certificate: string; readonly key: string } | undefined
  readonly tokens: ReadonlyArray<Token>
  readonly folders: ReadonlyArray<string>
  readonly lease: Duration.Duration
  readonly maxFile: number
  /** The fleet that the host is part of, and the URL at which its programs reach it. */
  readonly member: (Member.Options & { readonly address: string | undefined }) | undefined
}

export const isLoopback = (bind: string): boolean => bind === "::1" || (Net.isIPv4(bind) && bind.startsWith("127."))

const encodeError = Schema.encodeSync(Protocol.ErrorBody)

/** The statuses of errors, for whoever does not read their bodies. */
const statuses: { readonly [tag: string]: number } = {
  NotFound: 404,
  Unsupported: 501,
  InvalidConfig: 400,
  NoCapacity: 503,
  GuestBusy: 503
}

const statusOf = ({ reason }: LightboxError): number =>
  reason._tag === "HostUnavailable"
    ? reason.kind === "Forbidden"
      ? 403
      : reason.kind === "Ended"
        ? 410
        : 400
    : (statuses[reason._tag] ?? 409)

/** Archives that a program may have at a host at once. */
const maxFiles = 64

const isUpgraded = /^\/v1\/sandboxes\/([^/?]{1,512})\/agent$/

const textOf = (value: string | ReadonlyArray<string> | undefined): string | undefined =>
  typeof value === "string" ? value : value?.[0]

const readPem = (method: string, field: string, path: string) =>
  Effect.tryPromise({
    try: () => Fs.readFile(path),
    catch: (cause) => invalid(method, field, `cannot read ${path}: ${String(cause)}`)
  })

const readTls = (method: string, tls: Options["tls"]) =>
  tls === undefined
    ? Effect.undefined
    : // One after the other: of two files that cannot be read, the first is named.
      Effect.all({
        cert: readPem(method, "tls.certificate", tls.certificate),
        key: readPem(method, "tls.key", tls.key)
      })

/** Waits until a socket is closed. */
const closed = (socket: NodeStream.Duplex): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const done = () => resume(Effect.void)
    if (socket.closed) return done()
    socket.once("close", done)
    return Effect.sync(() => socket.off("close", done))
  })

/** Finds the real paths of folders that clients may use. */
const readFolders = (method: string, folders: ReadonlyArray<string>) =>
  Effect.forEach(folders, (folder, index) =>
    Effect.tryPromise({
      try: async () => {
        if (!(await Fs.stat(folder)).isDirectory()) throw new Error("it is not a folder")
        return Fs.realpath(folder)
      },
      catch: (cause) =>
        invalid(
          method,
          `allowMounts.${index}`,
          `cannot share ${folder}: ${cause instanceof Error ? cause.message : ""}`
        )
    })
  )

/** Serves the driver until the scope closes. Then all sessions end, and what belongs to them is removed. */
export const serve = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Listening, LightboxError, Services | Scope.Scope> {
  const { bind, lease, maxFile, method, port, tokens } = options
  const driver = yield* Microsandbox.Microsandbox
  const ownership = yield* Ownership
  const admission = yield* Admission
  const tls = yield* readTls(method, options.tls)
  const folders = yield* readFolders(method, options.folders)
  const member =
    options.member === undefined
      ? undefined
      : yield* Member.make(method, options.member, { driver, ownership, admission, lease })
  const rooms: Handlers.Rooms = new Map()
  const sessions = yield* Sessions.make({ driver, ownership, lease, leave: Handlers.leave(rooms) })

  const tokenOf = (headers: { readonly authorization?: string | undefined }): Effect.Effect<Token, LightboxError> =>
    Effect.try({
      try: () => Shared.checkToken({ headers }, tokens),
      catch: () =>
        new Failure({
          method,
          reason: new HostUnavailable({ host: "", kind: "Unauthorized", problem: "it does not accept the token" })
        })
    })
  const handlers = Handlers.make({
    driver,
    ownership,
    admission,
    sessions,
    rooms,
    lease,
    host: member?.id,
    allowed: { folders },
    onBoot: member?.onBoot ?? (() => Effect.void),
    whileCreating: member?.whileCreating ?? ((_, effect) => effect),
    tokenOf: (headers: Headers.Headers) => tokenOf({ authorization: headers["authorization"] })
  })
  const rpc = yield* RpcServer.toHttpEffect(Protocol.operations, {
    disableTracing: true,
    disableFatalDefects: true
  }).pipe(Effect.provide(Layer.merge(Protocol.operations.toLayer(handlers), RpcSerialization.layerNdjson)))
  const webHandler = HttpEffect.toWebHandler(rpc)
  const run = yield* FiberSet.makeRuntimePromise<never>()

  const sessionOf = (request: Http.IncomingMessage) =>
    Effect.gen(function* () {
      const token = yield* tokenOf(request.headers)
      yield* Sessions.requireScope(token, "write")
      return yield* sessions.find(textOf(request.headers[Protocol.headers.session]), token)
    })

  // Archives.

  const receive = async (request: Http.IncomingMessage, response: Http.ServerResponse): Promise<void> => {
    const session = await run(sessionOf(request))
    if (session.files.size >= maxFiles) throw new Shared.Refused(429, `Expected at most ${maxFiles} archives at once.`)
    const path = await run(session.ownership.stage)
    let length = 0
    const limit = new NodeStream.Transform({
      transform: (piece: Uint8Array, _, done) => {
        length += piece.length
        if (length > maxFile) done(new Shared.Refused(413, `Expected at most ${maxFile} bytes.`))
        else done(null, piece)
      }
    })
    try {
      await NodeStream.promises.pipeline(
        request.iterator({ destroyOnReturn: false }),
        limit,
        FsSync.createWriteStream(path, { flags: "wx", mode: 0o600 })
      )
    } catch (cause) {
      await Fs.rm(path, { force: true })
      throw cause
    }
    const id = Crypto.randomBytes(12).toString("hex")
    session.files.set(id, path)
    response.writeHead(200, { "Content-Type": "text/plain" }).end(id)
  }

  const send = async (request: Http.IncomingMessage, response: Http.ServerResponse, id: string): Promise<void> => {
    const session = await run(sessionOf(request))
    const path = session.files.get(id)
    if (path === undefined) throw new Shared.Refused(404, "There is no such file.")
    const { size } = await Fs.stat(path)
    response.writeHead(200, { "Content-Type": "application/octet-stream", "Content-Length": size })
    await NodeStream.promises.pipeline(FsSync.createReadStream(path), response)
  }

  // Requests.

  const registry = Registry.make(driver, ownership, run)
  const pathOf = (request: Http.IncomingMessage): string => new URL(request.url ?? "/", "http://host").pathname
  const check = (request: Http.IncomingMessage): void => {
    if (isLoopback(bind)) Shared.checkLocal(request)
    else Shared.checkNoPage(request.headers)
    Shared.checkToken(request, tokens)
    // Hosts of other versions read snapshots, and so do the tools of registries.
    if (pathOf(request).startsWith(Registry.prefix)) return
    const generation = textOf(request.headers[Protocol.headers.generation])
    if (generation !== String(Protocol.generation)) {
      throw new Shared.Refused(426, `Expected ${Protocol.headers.generation}: ${Protocol.generation}, of this version.`)
    }
  }
  const answer = async (request: Http.IncomingMessage, response: Http.ServerResponse): Promise<void> => {
    check(request)
    const path = pathOf(request)
    if (path.startsWith(Registry.prefix)) return registry(request, response, path)
    if (path === Protocol.paths.rpc && request.method === "POST") {
      return Shared.handle(request, response, "http://host", Protocol.maxBodyBytes, webHandler)
    }
    if (path === Protocol.paths.files && request.method === "PUT") return receive(request, response)
    const file = path.startsWith(`${Protocol.paths.files}/`) ? path.slice(Protocol.paths.files.length + 1) : undefined
    if (file !== undefined && request.method === "GET") return send(request, response, file)
    throw new Shared.Refused(404, "There is nothing at this path.")
  }
  const refuse = (response: Http.ServerResponse, error: unknown): void => {
    if (!isLightboxError(error) || response.headersSent) return Shared.refuse(response, error)
    response.writeHead(statusOf(error), { "Content-Type": "application/json", Connection: "close" })
    response.end(encodeError(error))
  }
  const onRequest = (request: Http.IncomingMessage, response: Http.ServerResponse): void => {
    answer(request, response).catch((error: unknown) => refuse(response, error))
  }

  // Guests.

  const sockets = new NodeWS.WebSocketServer({
    noServer: true,
    maxPayload: Protocol.maxPieceBytes,
    perMessageDeflate: false
  })
  /** Accepts a connection to a guest once the guest is reached, and carries its bytes until either side ends. */
  const carry = Effect.fnUntraced(function* (
    request: Http.IncomingMessage,
    upgrade: () => Effect.Effect<NodeStream.Duplex>
  ): Effect.fn.Return<void, LightboxError, Scope.Scope> {
    const session = yield* sessionOf(request)
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://host")
    const sandbox = {
      id: decodeURIComponent(isUpgraded.exec(pathname)?.[1] ?? ""),
      name: searchParams.get("name") ?? ""
    }
    yield* Paths.checkName("Microsandbox.connect", sandbox.name)
    // It ends with the session, which does not keep what has ended before.
    const ended = yield* Latch.make()
    const own = yield* Effect.acquireRelease(Scope.fork(session.scope), (own) => Scope.close(own, Exit.void))
    yield* Scope.addFinalizer(own, ended.open)
    // What cannot be upgraded any more is closed, and is not called back.
    const orGone = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.raceFirst(
        Effect.asSome(effect),
        Effect.as(Effect.raceFirst(ended.await, closed(request.socket)), Option.none())
      )
    if (driver.openAgent === undefined) {
      const opened = yield* orGone(
        Effect.flatMap(driver.connect(sandbox), (guest) => Effect.map(upgrade(), (socket) => ({ guest, socket })))
      )
      if (Option.isNone(opened)) return
      const { guest, socket } = opened.value
      return yield* Effect.raceFirst(Agent.serve(guest, socket), ended.await).pipe(
        Effect.ensuring(Effect.sync(() => socket.destroy()))
      )
    }
    const opened = yield* orGone(
      Effect.flatMap(driver.openAgent(sandbox), (agent) => Effect.map(upgrade(), (socket) => ({ agent, socket })))
    )
    if (Option.isNone(opened)) return
    const { agent, socket } = opened.value
    yield* Effect.raceFirst(
      Effect.callback<void>((resume) => {
        const done = () => resume(Effect.void)
        NodeStream.pipeline(agent, socket, agent, done)
        return Effect.sync(() => socket.destroy())
      }),
      ended.await
    )
  }, Effect.scoped)
  const onUpgrade = (request: Http.IncomingMessage, socket: NodeStream.Duplex, head: Buffer): void => {
    socket.on("error", () => socket.destroy())
    const reject = (error: unknown): void => {
      if (isLightboxError(error)) Shared.endUpgrade(socket, statusOf(error), encodeError(error), "application/json")
      else Shared.endUpgrade(socket, ...Shared.refusalOf(error))
    }
    try {
      check(request)
      if (!isUpgraded.test(pathOf(request))) {
        throw new Shared.Refused(404, "There is nothing at this path.")
      }
    } catch (error) {
      return reject(error)
    }
    let isUpgradedNow = false
    const upgrade = () =>
      Effect.callback<NodeStream.Duplex>((resume) => {
        sockets.handleUpgrade(request, socket, head, (webSocket) => {
          isUpgradedNow = true
          const stream = NodeWS.createWebSocketStream(webSocket)
          stream.on("error", () => stream.destroy())
          stream.on("end", () => stream.destroy())
          resume(Effect.succeed(stream))
        })
      })
    run(carry(request, upgrade)).catch((error: unknown) => {
      if (isUpgradedNow) socket.destroy()
      else reject(error)
    })
  }

  const scheme = tls === undefined ? "http" : "https"
  yield* Effect.addFinalizer(() => Effect.sync(() => sockets.clients.forEach((client) => client.terminate())))
  const server = yield* serving(
    () => {
      const created = tls === undefined ? Http.createServer(onRequest) : Https.createServer(tls, onRequest)
      // An archive takes as long as it takes.
      created.requestTimeout = 0
      return created.on("upgrade", onUpgrade)
    },
    { method, field: "port" },
    port,
    bind
  )
  const chosen = portOf(server, port)
  const url = `${scheme}://${endpoint({ bind, host: chosen })}`
  if (member !== undefined) yield* member.join(options.member?.address ?? url)
  return { port: chosen, url, host: member?.id }
})
