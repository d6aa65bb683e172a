/**
 * Who may use the page. The link has a token that works once. It gives the browser a cookie, which every request needs,
 * and the page a key, which its stream needs as well.
 *
 * Each run has a host of its own under `localhost`, which browsers find on this machine. A server that has the port before or
 * after it, such as one in a guest, has another host: what it left in a browser (a worker, cached files, cookies, storage)
 * does not concern this page, and it is not sent this page's cookie.
 */
import * as Crypto from "node:crypto"
import type * as Http from "node:http"
import * as Shared from "../host/http.ts"
import { subprotocol } from "./client/names.ts"

export interface Session {
  /** For the header `Set-Cookie`. */
  readonly cookie: string
  /** For the page. */
  readonly key: string
}

export interface Access {
  /** The link, which works once. */
  readonly url: string
  /** Refuses requests under other names, and of pages of other sites. */
  readonly checkHost: (request: Http.IncomingMessage) => void
  /** Opens the session if the token is right, and has not been used. */
  readonly open: (token: string) => Session | undefined
  /** Checks the cookie of a request. */
  readonly isOpen: (request: Http.IncomingMessage) => boolean
  /** Refuses a stream that the page of this session did not ask for. */
  readonly checkStream: (request: Http.IncomingMessage) => void
}

const secret = (): string => Crypto.randomBytes(32).toString("base64url")

const isSame = (given: string, hash: Buffer): boolean => Crypto.timingSafeEqual(Shared.hash(given), hash)

/** The values of a cookie: a browser can send several. */
const cookiesOf = ({ headers }: Http.IncomingMessage, name: string): ReadonlyArray<string> =>
  (headers.cookie ?? "").split(";").flatMap((part) => {
    const [key = "", value = ""] = part.trim().split("=", 2)
    return key === name ? [value] : []
  })

/** Makes the access to the page on a port. Only hashes of its secrets are kept. */
export const make = (port: number): Access => {
  const host = `lightbox-${Crypto.randomBytes(16).toString("hex")}.localhost:${port}`
  // Cookies of servers on other ports have other names.
  const name = `lightbox-${port}`
  const token = secret()
  let unused: Buffer | undefined = Shared.hash(token)
  let session: { readonly cookie: Buffer; readonly key: Buffer } | undefined

  const isOpen = (request: Http.IncomingMessage): boolean => {
    const known = session
    return known !== undefined && cookiesOf(request, name).some((value) => isSame(value, known.cookie))
  }
  const checkHost = ({ headers }: Http.IncomingMessage): void => {
    // The host is in no answer: whoever has not opened the link need not know it.
    if (headers.host?.toLowerCase() !== host) throw new Shared.Refused(403, "Expected the host of the link.")
    if (headers.origin !== undefined && headers.origin.toLowerCase() !== `http://${host}`) {
      throw new Shared.Refused(403, "This origin is not allowed.")
    }
  }

  return {
    url: `http://${host}/?token=${token}`,
    checkHost,
    isOpen,
    open: (given) => {
      if (unused === undefined || !isSame(given, unused)) return undefined
      unused = undefined
      const [cookie, key] = [secret(), secret()]
      session = { cookie: Shared.hash(cookie), key: Shared.hash(key) }
      return { cookie: `${name}=${cookie}; HttpOnly; SameSite=Strict; Path=/`, key }
    },
    checkStream: (request) => {
      checkHost(request)
      // Browsers always send it with a WebSocket.
      if (request.headers.origin === undefined) throw new Shared.Refused(403, "Expected an origin.")
      const known = session
      const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((part) => part.trim())
      const hasKey = offered.some(
        (part) =>
          part.startsWith(`${subprotocol}.`) &&
          known !== undefined &&
          isSame(part.slice(subprotocol.length + 1), known.key)
      )
      if (!isOpen(request) || !hasKey) throw new Shared.Refused(403, "Expected the page of `lightbox ui`.")
    }
  }
}
