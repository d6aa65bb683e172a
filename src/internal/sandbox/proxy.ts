/** An HTTP server of this host in front of the servers of all sandboxes. */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as RcMap from "effect/RcMap"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import type * as Net from "node:net"
import * as NodeStream from "node:stream"
import type * as Guest from "../../Guest.ts"
import { isLightboxError, type LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import { endWith, portOf, relay, reset, serving } from "../driver/ports.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** An answer of the proxy itself. */
class Answer extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** Finds the port and the sandbox that a request is for. */
const targetOf = (request: Http.IncomingMessage): { readonly port: number; readonly name: string } | Answer => {
  const hosts = request.rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === "host")
  const host = /^(.*?)\.?(?::\d+)?$/.exec(request.headers.host ?? "")?.[1] ?? ""
  const isOwn = /(?:^|\.)localhost$/i.test(host) && hosts.length === 1
  // Proxies for any site get whole URLs.
  if (!isOwn || !/^[/*]/.test(request.url ?? "")) return new Answer(421, "This host is not served here.")
  const [, port, name] = /^(\d{1,5})-(.+)\.localhost$/i.exec(host) ?? []
  if (name === undefined || Number(port) < 1 || Number(port) > 65_535) {
    return new Answer(404, "Expected a host such as 3000-web.localhost: a port, and the name of a sandbox.")
  }
  return { port: Number(port), name }
}

const unavailable = (problem: string) => new Answer(502, problem)

type Problem = Answer | LightboxError

const isRefused = (problem: Problem): boolean => isLightboxError(problem) && problem.reason._tag === "FileError"

const isLost = (problem: Problem): boolean => isLightboxError(problem) && problem.reason._tag === "GuestLost"

/** Connects to a sandbox by its name in any case. */
const connect = Effect.fnUntraced(function* (
  driver: Driver,
  name: string
): Effect.fn.Return<Guest.Guest, Problem, Scope.Scope> {
  const all = yield* driver.listSandboxes()
  const alike = all.filter((info) => info.name.toLowerCase() === name.toLowerCase())
  const info = alike.find((info) => info.name === name) ?? alike[0]
  if (info === undefined) return yield* Effect.fail(new Answer(404, `There is no sandbox named "${name}".`))
  if (info.status !== "running") return yield* Effect.fail(unavailable(`Sandbox "${info.name}" is ${info.status}.`))
  return yield* driver.connect(info)
})

/** Headers that concern only one of the two connections. */
const hopByHop = new Set([
  "connection",
  "expect",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

/** The headers that are passed on, as names and values in turn. */
const endToEnd = ({ headers, rawHeaders }: Http.IncomingMessage): Array<string> => {
  const named = new Set((headers.connection ?? "").split(",").map((name) => name.trim().toLowerCase()))
  return rawHeaders.filter((_, index) => {
    const name = rawHeaders[index - (index % 2)]?.toLowerCase() ?? ""
    // The host and the length stay, whatever a client says.
    return !hopByHop.has(name) && (!named.has(name) || name === "host" || name === "content-length")
  })
}

const requestHeaders = (request: Http.IncomingMessage): Array<string> => {
  const { headers, method = "GET" } = request
  const framing =
    headers["transfer-encoding"] !== undefined
      ? ["Transfer-Encoding", "chunked"]
      : headers["content-length"] === undefined && !["GET", "HEAD", "OPTIONS", "DELETE", "TRACE"].includes(method)
        ? ["Content-Length", "0"]
        : []
  return [...endToEnd(request), ...framing, "Connection", "close"]
}

/** Passes a request on, and its response back, until the response has ended on this host. */
const exchange = (
  request: Http.IncomingMessage,
  response: Http.ServerResponse,
  connection: NodeStream.Duplex
): Effect.Effect<void, Answer> =>
  Effect.callback((resume) => {
    const upstream = Http.request({
      createConnection: () => connection,
      method: request.method,
      path: request.url,
      headers: requestHeaders(request),
      setHost: false
    })
    const refuse = () => {
      if (response.headersSent) response.destroy()
      else resume(Effect.fail(unavailable("The server in the sandbox did not answer with HTTP.")))
    }
    upstream.on("error", refuse)
    upstream.on("upgrade", refuse)
    upstream.on("response", (answer) => {
      response.sendDate = false
      try {
        response.writeHead(answer.statusCode ?? 502, answer.statusMessage, endToEnd(answer))
      } catch {
        return refuse()
      }
      response.flushHeaders()
      // A cut answer ends the connection, so that it does not look complete.
      NodeStream.pipeline(answer, response, () => {})
    })
    response.on("close", () => resume(Effect.void))
    // Not a pipeline, which would close the connection to the client before it gets an answer.
    request.pipe(upstream)
    return Effect.sync(() => {
      upstream.destroy()
      response.destroy()
    })
  })

/** Terminals show it, and the name in it is from outside. */
const describe = (answer: Answer): string => `${answer.message.replace(/[^ -~]/g, "?")}\n`

const ownHeaders = { "Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff" }

/** Listens for the scope, and returns the port. */
export const serve = Effect.fnUntraced(function* (
  driver: Driver,
  method: string,
  port: number
): Effect.fn.Return<number, LightboxError, Scope.Scope> {
  const guests = yield* RcMap.make({ lookup: (name: string) => connect(driver, name), idleTimeToLive: "1 minute" })
  const run = yield* FiberSet.makeRuntime<never, void>()

  /** Opens a connection to what a request is for. */
  const dial = Effect.fnUntraced(function* (
    request: Http.IncomingMessage
  ): Effect.fn.Return<Guest.Connection, Problem, Scope.Scope> {
    const target = targetOf(request)
    if (target instanceof Answer) return yield* Effect.fail(target)
    const { name, port } = target
    return yield* Effect.tapError(
      Effect.flatMap(RcMap.get(guests, name), (guest) => guest.connect("127.0.0.1", port)),
      (error) => (isRefused(error) ? Effect.void : RcMap.invalidate(guests, name))
    ).pipe(
      // The sandbox may have been restarted.
      Effect.retry({ times: 1, while: (error) => isLost(error) }),
      Effect.mapError((error) =>
        isRefused(error) ? unavailable(`Nothing listens on port ${port} of sandbox "${name}".`) : error
      )
    )
  })

  const toAnswer = Effect.mapError((error: Problem) => (error instanceof Answer ? error : unavailable(error.message)))

  const onRequest = (request: Http.IncomingMessage, response: Http.ServerResponse) => {
    const passOn = Effect.gen(function* () {
      const connection = yield* dial(request)
      const [near, far] = NodeStream.duplexPair()
      for (const end of [near, far]) end.on("error", () => {})
      yield* Effect.forkScoped(
        relay(far, connection, () => near.destroy(new Error("The connection to the guest was cut.")))
      )
      yield* exchange(request, response, near)
    })
    const answer = (own: Answer) =>
      Effect.sync(() => {
        // What is left of the body is not read.
        response.writeHead(own.status, { ...ownHeaders, Connection: "close" }).end(describe(own))
      })
    run(Effect.scoped(passOn).pipe(toAnswer, Effect.catch(answer)))
  }

  const onUpgrade = (request: Http.IncomingMessage, socket: Net.Socket, head: Buffer) => {
    socket.on("error", () => {})
    const lines = [`${request.method} ${request.url} HTTP/${request.httpVersion}`]
    for (let index = 0; index < request.rawHeaders.length; index += 2) {
      lines.push(`${request.rawHeaders[index]}: ${request.rawHeaders[index + 1]}`)
    }
    const passOn = Effect.flatMap(dial(request), (connection) => {
      // From here on, only the guest's server knows what the bytes mean.
      socket.unshift(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), head]))
      return relay(socket, connection, () => reset(socket))
    })
    const answer = (own: Answer) =>
      Effect.sync(() => {
        const fields = Object.entries({ ...ownHeaders, Connection: "close" }).map((field) => field.join(": "))
        const first = `HTTP/1.1 ${own.status} ${Http.STATUS_CODES[own.status]}`
        endWith(socket, [first, ...fields, "", describe(own)].join("\r\n"))
      })
    run(Effect.scoped(passOn).pipe(toAnswer, Effect.catch(answer)))
  }

  const server = yield* serving(
    // Uploads may take long.
    () => Http.createServer({ requestTimeout: 0 }, onRequest).on("upgrade", onUpgrade),
    { method, field: "port" },
    port
  )
  return portOf(server, port)
})
