/** What the HTTP servers of this library share: checks of requests, and handlers of the web behind Node.js. */
import * as Crypto from "node:crypto"
import * as Http from "node:http"
import * as NodeStream from "node:stream"

/** Answers a request that must not reach its handler. */
export class Refused extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** Secrets are compared by their hashes, which takes the same time wherever they differ. */
export const hash = (text: string): Buffer => Crypto.createHash("sha256").update(text).digest()

/** Refuses pages of other sites that lead a browser to a server on this machine under their own name. */
export const checkHost = ({ headers }: Http.IncomingMessage, scheme: string, hosts: ReadonlyArray<string>): void => {
  const { host = "", origin } = headers
  if (!hosts.includes(host.toLowerCase())) throw new Refused(403, `Expected the host ${hosts[0]}.`)
  if (origin !== undefined && !hosts.some((own) => origin.toLowerCase() === `${scheme}://${own}`)) {
    throw new Refused(403, "This origin is not allowed.")
  }
}

/**
 * Refuses the same, and all pages of browsers, on a server whose clients may come through a tunnel with another port.
 */
export const checkLocal = ({ headers }: Http.IncomingMessage): void => {
  if (!/^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i.test(headers.host ?? "")) {
    throw new Refused(403, "Expected a name of this machine, such as localhost.")
  }
  checkNoPage(headers)
}

/** Refuses pages of browsers. */
export const checkNoPage = ({ origin }: Http.IncomingHttpHeaders): void => {
  if (origin !== undefined) throw new Refused(403, "This origin is not allowed.")
}

/** Finds the token of a request. Compares it to all of them. */
export const checkToken = <T extends { readonly hash: Buffer }>(
  { headers }: { readonly headers: Pick<Http.IncomingHttpHeaders, "authorization"> },
  tokens: ReadonlyArray<T>
): T => {
  const given = hash(headers.authorization ?? "")
  const [found] = tokens.filter((token) => Crypto.timingSafeEqual(given, token.hash))
  if (found === undefined) {
    throw new Refused(401, "Expected the header Authorization: Bearer TOKEN, with the token of this server.")
  }
  return found
}

/** The hash of the header that carries a token. */
export const hashOfToken = (token: string): Buffer => hash(`Bearer ${token}`)

const bodyOf = async (request: Http.IncomingMessage, maxBytes: number): Promise<Uint8Array> => {
  const pieces: Array<Buffer> = []
  let length = 0
  for await (const piece of request.iterator({ destroyOnReturn: false })) {
    pieces.push(piece)
    length += piece.length
    if (length > maxBytes) throw new Refused(413, `Expected at most ${maxBytes} bytes.`)
  }
  return Buffer.concat(pieces)
}

/** Carries a request of Node.js to a handler of the web, and its response back. */
export const handle = async (
  request: Http.IncomingMessage,
  response: Http.ServerResponse,
  origin: string,
  maxBytes: number,
  handler: (request: Request) => Promise<Response>
): Promise<void> => {
  const aborting = new AbortController()
  response.once("close", () => aborting.abort())
  const body = await bodyOf(request, maxBytes)
  const headers = Object.entries(request.headersDistinct).flatMap(([name, values = []]) =>
    values.map((value): [string, string] => [name, value])
  )
  const answer = await handler(
    new Request(`${origin}${request.url ?? "/"}`, {
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

/** What a request is answered that failed before it had an answer. */
export const refusalOf = (error: unknown): readonly [status: number, text: string] =>
  error instanceof Refused ? [error.status, `${error.message}\n`] : [400, "Cannot read the request.\n"]

/** Answers a request that failed before it had an answer. */
export const refuse = (response: Http.ServerResponse, error: unknown): void => {
  // The client is gone, or has been told.
  if (response.headersSent) return void response.destroy()
  const [status, text] = refusalOf(error)
  const scheme = status === 401 ? { "WWW-Authenticate": "Bearer" } : {}
  response.writeHead(status, { "Content-Type": "text/plain", Connection: "close", ...scheme }).end(text)
}

/** Answers a request for an upgrade that is not made, and ends its connection. */
export const endUpgrade = (
  socket: NodeStream.Duplex,
  status: number,
  body: string,
  type: "text/plain" | "application/json" = "text/plain"
): void => {
  // A client that does not close its side would keep the connection, even one that proved nothing.
  socket.once("finish", () => socket.destroy())
  socket.end(
    `HTTP/1.1 ${status} ${Http.STATUS_CODES[status] ?? ""}\r\nConnection: close\r\nContent-Type: ${type}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
  )
}
