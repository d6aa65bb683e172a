/** The HTTP server of the page, on this machine only. */
import * as NodeWS from "@effect/platform-node-shared/NodeWS"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as SocketServer from "effect/socket/SocketServer"
import * as Http from "node:http"
import type * as NodeStream from "node:stream"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { portOf, serving } from "../driver/ports.ts"
import * as Shared from "../host/http.ts"
import * as Access from "./access.ts"
import * as Assets from "./assets.ts"
import { paths, subprotocol } from "./client/names.ts"
import * as Handlers from "./handlers.ts"
import * as Protocol from "./protocol.ts"

/** Where a page is served. */
export interface Listening {
  readonly port: number
  readonly url: string
}

/** Streams that are open at once: one for each tab. */
const maxStreams = 32

const html = { "Content-Type": "text/html; charset=utf-8" }

/** Serves the page until the scope closes. */
export const serve = Effect.fnUntraced(function* (
  method: string,
  port: number
): Effect.fn.Return<Listening, LightboxError, Services | Scope.Scope> {
  let onRequest: Http.RequestListener = (_, response) => void response.destroy()
  let onUpgrade: (request: Http.IncomingMessage, socket: NodeStream.Duplex, head: Buffer) => void = (_, socket) =>
    socket.destroy()
  const sockets = new NodeWS.WebSocketServer({
    noServer: true,
    maxPayload: Protocol.maxMessageBytes,
    perMessageDeflate: false,
    handleProtocols: () => subprotocol
  })
  yield* Effect.addFinalizer(() => Effect.sync(() => sockets.clients.forEach((client) => client.terminate())))
  const server = yield* serving(
    () =>
      Http.createServer((request, response) => onRequest(request, response)).on("upgrade", (request, socket, head) =>
        onUpgrade(request, socket, head)
      ),
    { method, field: "port" },
    port
  )
  const chosen = portOf(server, port)
  const access = Access.make(chosen)

  // Streams.

  const accepted = yield* Queue.unbounded<NodeWS.WebSocket>()
  const socketServer = SocketServer.SocketServer.of({
    address: Result.getOrThrow(NetAddress.inetAddressV4(NetAddress.ipv4Loopback, chosen)),
    run: (handler) =>
      Effect.scoped(
        Effect.forever(
          Effect.flatMap(Queue.take(accepted), (webSocket) =>
            Effect.acquireRelease(Effect.succeed(webSocket), () => Effect.sync(() => webSocket.close(1000))).pipe(
              Socket.fromWebSocket,
              Effect.flatMap(handler),
              Effect.ignoreCause,
              Effect.forkScoped
            )
          )
        )
      )
  })
  yield* Layer.build(
    RpcServer.layer(Protocol.operations, { disableTracing: true, disableFatalDefects: true }).pipe(
      Layer.provide(Handlers.layer),
      Layer.provide(RpcServer.layerProtocolSocketServer),
      Layer.provide(Layer.succeed(SocketServer.SocketServer, socketServer)),
      Layer.provide(RpcSerialization.layerNdjson)
    )
  )
  onUpgrade = (request, socket, head) => {
    socket.on("error", () => socket.destroy())
    try {
      access.checkStream(request)
      if (request.url !== paths.stream) throw new Shared.Refused(404, "There is nothing at this path.")
      if (sockets.clients.size >= maxStreams) throw new Shared.Refused(503, `Expected at most ${maxStreams} streams.`)
    } catch (error) {
      return Shared.endUpgrade(socket, ...Shared.refusalOf(error))
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on("error", () => webSocket.terminate())
      // Until it is read: what comes before would be lost.
      webSocket.pause()
      Queue.offerUnsafe(accepted, webSocket)
    })
  }

  // Files.

  const answer = async (request: Http.IncomingMessage, response: Http.ServerResponse): Promise<void> => {
    access.checkHost(request)
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://host")
    for (const [name, value] of Object.entries(Assets.headers)) response.setHeader(name, value)
    if (request.method !== "GET") throw new Shared.Refused(405, "Expected GET.")
    const token = pathname === "/" ? searchParams.get("token") : null
    if (token !== null) {
      const session = access.open(token)
      if (session !== undefined) {
        response.writeHead(200, { ...html, "Set-Cookie": session.cookie }).end(Assets.login(session.key))
        return
      }
      if (access.isOpen(request)) {
        response.writeHead(303, { Location: "/" }).end()
        return
      }
    }
    if (!access.isOpen(request)) {
      throw new Shared.Refused(403, "This link works once. Run `lightbox ui` again for another one.")
    }
    if (pathname === "/") {
      response.writeHead(200, html).end(Assets.page)
      return
    }
    const asset = pathname.startsWith(paths.assets) ? await Assets.read(pathname.slice(paths.assets.length)) : undefined
    if (asset === undefined) throw new Shared.Refused(404, "There is nothing at this path.")
    response.writeHead(200, { "Content-Type": asset.type }).end(asset.body)
  }
  onRequest = (request, response) => {
    answer(request, response).catch((error: unknown) => Shared.refuse(response, error))
  }
  return { port: chosen, url: access.url }
})
