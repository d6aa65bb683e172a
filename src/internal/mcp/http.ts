/** The MCP server over HTTP, on this machine only. */
import * as McpServer from "effect/ai/McpServer"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as RcMap from "effect/RcMap"
import * as Scope from "effect/Scope"
import * as Http from "node:http"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { defaultBind } from "../config/schemas.ts"
import { portOf, serving } from "../driver/ports.ts"
import * as Shared from "../host/http.ts"
import type { Policy } from "./policy.ts"
import { registrations, serverOptions } from "./server.ts"
import * as Session from "./session.ts"

const path = "/mcp"

const sessionHeader = "mcp-session-id"

const maxBody = 16 * 1024 * 1024

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
  const tokens = [{ hash: Shared.hashOfToken(token) }]
  let answer: (request: Http.IncomingMessage, response: Http.ServerResponse) => Promise<void> = () => Promise.resolve()
  const onRequest = (request: Http.IncomingMessage, response: Http.ServerResponse): void => {
    answer(request, response).catch((error: unknown) => Shared.refuse(response, error))
  }
  const server = yield* serving(() => Http.createServer(onRequest), { method: "mcp", field: "--http" }, port)
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
    Shared.checkHost(request, "http", hosts)
    Shared.checkToken(request, tokens)
    const id = request.headersDistinct[sessionHeader]?.[0] ?? ""
    // As the protocol demands: the client then starts another session.
    if (ended.has(id)) throw new Shared.Refused(404, "The session has ended, and its sandbox was removed.")
    await Shared.handle(request, response, `http://${defaultBind}`, maxBody, async (web) => {
      const answered = await handler(web)
      if (web.method === "DELETE" && answered.status === 204) await close(RcMap.invalidate(sessions, id))
      return answered
    })
  }
  return { port: chosen, url: `http://${defaultBind}:${chosen}${path}` }
})
