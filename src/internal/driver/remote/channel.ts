/** A connection to a guest through a host, as the stream of bytes that its relay serves. */
import * as NodeWS from "@effect/platform-node-shared/NodeWS"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Http from "node:http"
import type { LightboxError } from "../../../LightboxError.ts"
import type { Channel } from "../../guest/connection.ts"
import * as Failures from "./failures.ts"
import * as Protocol from "./protocol.ts"

const maxBodyLength = 65_536

const bodyOf = async (response: Http.IncomingMessage): Promise<string> => {
  let body = ""
  response.setEncoding("utf8")
  for await (const piece of response) {
    body += String(piece)
    if (body.length > maxBodyLength) break
  }
  return body
}

/** Opens a connection until the scope closes. Both sides wait for each other. */
export const open = (options: {
  readonly method: string
  readonly host: string
  readonly url: URL
  readonly headers: { readonly [name: string]: string }
  /** For the answer to the request to connect. */
  readonly timeout: Duration.Duration
}): Effect.Effect<Channel, LightboxError, Scope.Scope> => {
  const { headers, host, method, timeout, url } = options
  const toError = Failures.toError(method, host)
  const opening = Effect.callback<Channel, LightboxError>((resume) => {
    const webSocket = new NodeWS.WebSocket(url, {
      headers,
      handshakeTimeout: Duration.toMillis(timeout),
      perMessageDeflate: false,
      maxPayload: Protocol.maxPieceBytes,
      // Masks protect proxies from scripts of browsers. Without them, neither side touches each byte.
      generateMask: (mask) => mask.fill(0)
    })
    let socket: Http.IncomingMessage["socket"] | undefined
    webSocket.on("upgrade", (response) => {
      socket = response.socket
    })
    webSocket.on("open", () => {
      const stream = NodeWS.createWebSocketStream(webSocket)
      // It would wait for this side, which has nothing to say to a connection that is gone.
      stream.on("end", () => stream.destroy())
      resume(Effect.succeed(Object.assign(stream, { ref: () => socket?.ref(), unref: () => socket?.unref() })))
    })
    webSocket.on("unexpected-response", (request, response) => {
      const refused = Effect.map(
        Effect.promise(() => bodyOf(response).catch(() => "")),
        (body) => toError(Failures.ofAnswer(response.statusCode ?? 0, body))
      )
      resume(
        refused.pipe(
          Effect.flatMap((error) => Effect.fail(error)),
          Effect.ensuring(Effect.sync(() => request.destroy()))
        )
      )
    })
    webSocket.on("error", (cause) => resume(Effect.fail(toError(Failures.ofConnection(cause)))))
    return Effect.sync(() => webSocket.terminate())
  })
  return Effect.acquireRelease(opening, (channel) => Effect.sync(() => channel.destroy()), { interruptible: true })
}
