/** The MCP server over HTTP, on this machine only. */
import * as McpServer from "effect/ai/McpServer"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as RcMap from "effect/RcMap"
import * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Http from "node:http"
import * as NodeStream from "node:stream"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { defaultBind } from "../config/schemas.ts"
import { listening, portOf, portRefused } from "../driver/ports.ts"
import type { Policy } from "./policy.ts"
import { registrations, serverOptions } from "./server.ts"
import * as Session from "./session.ts"

const path = "/mcp"

const sessionHeader = "mcp-session-id"

const maxBody = 16 * 1024 * 1024

/** Answers a request that the server of MCP must not see. */
class Refused extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

const hash = (text: string): Buffer => Crypto.createHash("sha256").update(text).digest()

/** Refuses pages of other sites that lead a browser here under their own name, and those without the token. */
const check = ({ headers }: Http.IncomingMessage, hosts: ReadonlyArray<string>, authorization: Buffer): void => {
  const { host = "", origin } = headers
  if (!hosts.includes(host.toLowerCase())) throw new Refused(403, `Expected the host ${hosts[0]}.`)
  if (origin !== undefined && !hosts.some((own) => origin.toLowerCase() === `http://${own}`)) {
    throw new Refused(403, "This origin is not allowed.")
  }
  if (!Crypto.timingSafeEqual(hash(headers.authorization ?? ""), authorization)) {
    throw new Refused(401, "Expected the header Authorization: Bearer TOKEN, with the token of this server.")
  }
}

const bodyOf = async (request: Http.IncomingMessage): Promise<Uint8Array> => {
  const pieces: Array<Buffer> = []
  let length = 0
  for await (const piece of request.iterator({ destroyOnReturn: false })) {
    pieces.push(piece)
    length += piece.length
    if (length > maxBody) throw new Refused(413, `Expected at most ${maxBody} bytes.`)
  }
  return Buffer.concat(pieces)
}

/** Carries a request of Node.js to a handler of the web, and its response back. */
const handle = async (
  request: Http.IncomingMessage,
  response: Http.ServerResponse,
  handler: (request: Request) => Promise<Response>
): Promise<void> => {
  const aborting = new AbortController()
  response.once("close", () => aborting.abort())
  const body = await bodyOf(request)
  const headers = Object.entries(request.headersDistinct).flatMap(([name, values = []]) =>
    values.map((value): [string, string] => [name, value])
  )
  const answer = await handler(
    new Request(`http://${defaultBind}${request.url ?? "/"}`, {
      method: request.method ?? "GET",
      headers,
      ...(body.length === 0 ? {} : { body: new Blob([Buffer.from(body)]) }),
      signal: aborting.signal
    })
  )
  response.writeHead(answer.status, Object.fromEntries(answer.headers))
  if (answer.body === null) response.end()
  else await NodeStream.promises.pipeline(answer.body, response)
}

/** Where a server listens. */
export interface Listening {
  readonly port: number
  readonly url: string
}

/** Serves sessions until the scope closes. Each has a sandbox, which is removed with it, or after an idle time. */
export const serve = Effect.fnUntraced(function* (
  policy: Policy,
  { port, token }: { readonly port: number; readonly token: string }
): Effect.fn.Return<Listening, LightboxError, Services | Scope.Scope> {
  const ended = new Set<string>()
  const sessions = yield* RcMap.make({
    lookup: Effect.fnUntraced(function* (id: string) {
      const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
      // Before the sandbox is removed: a call would boot another one.
      yield* Effect.addFinalizer(() => Effect.sync(() => ended.add(id)))
      return yield* Scope.provide(Session.make(policy), scope)
    }),
    idleTimeToLive: policy.idleTimeout
  })
  const authorization = hash(`Bearer ${token}`)
  let answer: (request: Http.IncomingMessage, response: Http.ServerResponse) => Promise<void> = () => Promise.resolve()
  const onRequest = (request: Http.IncomingMessage, response: Http.ServerResponse): void => {
    answer(request, response).catch((error: unknown) => {
      // The client is gone, or has been told.
      if (response.headersSent) return void response.destroy()
      const [status, text] =
        error instanceof Refused ? [error.status, error.message] : [400, "Cannot read the request."]
      const scheme = status === 401 ? { "WWW-Authenticate": "Bearer" } : {}
      response.writeHead(status, { "Content-Type": "text/plain", Connection: "close", ...scheme }).end(`${text}\n`)
    })
  }
  const server = yield* Effect.acquireRelease(
    Effect.tryPromise({
      try: () => listening(Http.createServer(onRequest), { port, host: defaultBind }),
      catch: (cause) => portRefused({ method: "mcp", field: "--http" }, port, defaultBind, cause)
    }),
    (server) =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  )
  const chosen = portOf(server, port)
  const hosts = [`${defaultBind}:${chosen}`, `localhost:${chosen}`]
  const app = McpServer.layerHttp({
    ...serverOptions(policy),
    path,
    allowedOrigins: hosts.map((host) => `http://${host}`),
    allowSessionTermination: true,
    registrations: registrations((id = "") => RcMap.get(sessions, id))
  })
  const routed = yield* Effect.orDie(HttpRouter.toHttpEffect(app))
  const handler = HttpEffect.toWebHandler(routed)
  const close = yield* FiberSet.makeRuntimePromise<never, void>()
  answer = async (request, response) => {
    check(request, hosts, authorization)
    const id = request.headersDistinct[sessionHeader]?.[0] ?? ""
    // As the protocol demands: the client then starts another session.
    if (ended.has(id)) throw new Refused(404, "The session has ended, and its sandbox was removed.")
    await handle(request, response, async (web) => {
      const answered = await handler(web)
      if (web.method === "DELETE" && answered.status === 204) await close(RcMap.invalidate(sessions, id))
      return answered
    })
  }
  return { port: chosen, url: `http://${defaultBind}:${chosen}${path}` }
})
