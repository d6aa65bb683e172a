/**
 * Talks to an OCI registry. Follows the runtime's rules for logins and authorities, so that both see the same registry.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Struct from "effect/Struct"
import type * as Http from "node:http"
import * as Tls from "node:tls"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import { splitReference } from "../driver/imageReference.ts"
import * as Login from "./login.ts"

/** The specification lets registries refuse larger manifests. */
export const maxManifestBytes = 4 * 1024 * 1024

const maxRedirects = 5

const largeBytes = 1024 * 1024

/** A connection on which nothing moves for so long is lost. */
const idleMillis = 60_000

const decodeToken = Schema.decodeUnknownOption(
  Schema.fromJsonString(
    Schema.Union([Schema.Struct({ token: Schema.String }), Schema.Struct({ access_token: Schema.String })])
  )
)

/** How registries explain themselves. */
const Errors = Schema.fromJsonString(
  Schema.Struct({ errors: Schema.Array(Schema.Struct({ code: Schema.String, message: Schema.String })) })
)

export const encodeErrors = Schema.encodeSync(Errors)

const decodeErrors = Schema.decodeUnknownOption(Errors)

/** Why a registry did not do what it was asked. `kind` is absent if trying again can help. */
export interface Problem {
  readonly kind?: "NotFound" | "Unauthorized" | "Tls" | "Unreachable" | "Refused"
  readonly problem: string
  readonly cause?: unknown
}

export interface Answer {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly body: Buffer
}

export interface Request {
  /** Default: `GET`. */
  readonly method?: "GET" | "HEAD" | "POST" | "PUT"
  /** A URL, or what follows the repository in one, such as `/manifests/latest`. */
  readonly to: string | URL
  readonly headers?: { readonly [name: string]: string }
  readonly body?: Uint8Array
  /** A larger answer is a failure. Default: {@link maxManifestBytes}. */
  readonly maxBytes?: number
}

/** A repository of a registry, with open connections. */
export interface Session {
  readonly host: string
  readonly repository: string
  /** Whether a login is used. */
  readonly hasLogin: boolean
  readonly isPlain: boolean
  /** URL of the registry. */
  readonly origin: string
  /** Logs in if the registry demands it. */
  readonly send: (request: Request) => Effect.Effect<Answer, Problem>
}

/** The pause before the second attempt. Each further pause is twice as long. */
export const Pause: Context.Reference<Duration.Input> = Context.Reference(
  "effect-lightbox/internal/registry/client/Pause",
  { defaultValue: (): Duration.Input => "500 millis" }
)

/** Tries again while that can help, up to five times. */
export const patiently = <A, R>(effect: Effect.Effect<A, Problem, R>): Effect.Effect<A, Problem, R> =>
  Effect.flatMap(Pause, (pause) =>
    Effect.retry(effect, {
      schedule: Schedule.exponential(pause),
      times: 5,
      while: ({ kind }) => kind === undefined || kind === "Unreachable"
    })
  )

const isLoopback = (host: string): boolean => {
  const name = URL.parse(`http://${host}`)?.hostname ?? ""
  return /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/.test(name)
}

/** Fails unless the status of an answer is expected. `subject` is what is asked for. */
export const expecting = (
  answer: Effect.Effect<Answer, Problem>,
  session: Pick<Session, "host" | "hasLogin" | "isPlain">,
  subject: string,
  isExpected: (status: number) => boolean = (status) => status === 200
): Effect.Effect<Answer, Problem> =>
  Effect.filterOrElse(
    answer,
    ({ status }) => isExpected(status),
    (refused) => Effect.fail(refusal(session.host, subject, session, refused))
  )

/** Asks patiently. */
export const ask = (
  session: Session,
  request: Request,
  subject: string,
  isExpected?: (status: number) => boolean
): Effect.Effect<Answer, Problem> => patiently(expecting(session.send(request), session, subject, isExpected))

type Actions = "pull" | "pull,push"

/** Connects to the registry of a reference for the scope. `actions` are what a token is to permit. */
export const open = Effect.fnUntraced(function* (options: {
  readonly home: string
  readonly reference: string
  readonly registry: SandboxConfig["registry"]
  readonly actions: Actions
  /** Use HTTP without TLS if the registry is on this machine and does not speak TLS. */
  readonly allowPlain: boolean
}): Effect.fn.Return<Session, Problem, Scope.Scope> {
  const { actions, allowPlain, home, reference, registry = {} } = options
  const { host, repository } = splitReference(reference)
  const found = yield* Effect.mapError(Login.find(home, host, registry), (problem): Problem => ({
    kind: "Refused",
    problem
  }))
  const send = yield* connections
  const baseOf = (isPlain: boolean) =>
    `${isPlain ? "http" : "https"}://${host === "docker.io" ? "registry-1.docker.io" : host}`
  const isAsked = allowPlain && !found.isPlain && registry.insecure === undefined && isLoopback(host)
  const isPlain =
    found.isPlain ||
    (isAsked &&
      (yield* Effect.match(follow(send, new URL(`${baseOf(false)}/v2/`), found, {}), {
        onSuccess: () => false,
        onFailure: ({ problem }) => problem === noTls(host)
      })))
  return makeSession({ send, host, repository, origin: baseOf(isPlain), access: { ...found, isPlain }, actions })
})

/** Connects to a host of this library, which serves its snapshots as a registry does, for the scope. */
export const openHost = (options: {
  readonly url: string
  readonly token: Redacted.Redacted<string>
  readonly repository: string
}): Effect.Effect<Session, never, Scope.Scope> => {
  const { repository, token, url } = options
  const basic = Redacted.make(`Bearer ${Redacted.value(token)}`)
  const access = { isPlain: url.startsWith("http:"), authorities: [], basic }
  return Effect.map(connections, (send) =>
    makeSession({ send, host: url, repository, origin: url, access, actions: "pull", authorization: basic })
  )
}

const makeSession = (options: {
  readonly send: Send
  readonly host: string
  readonly repository: string
  readonly origin: string
  readonly access: Login.Access
  readonly actions: Actions
  /** What is sent before it is demanded. Default: nothing. */
  readonly authorization?: Redacted.Redacted<string>
}): Session => {
  const { access, actions, host, origin, repository, send } = options
  const base = `${origin}/v2/${repository}`
  let authorization = options.authorization && Redacted.value(options.authorization)

  const urlOf = (to: string | URL) =>
    Effect.try({
      try: () => (Predicate.isString(to) ? new URL(`${base}${to}`) : to),
      catch: (): Problem => ({ kind: "Refused", problem: `${host} is not the name of a registry` })
    })

  return {
    host,
    repository,
    hasLogin: access.basic !== undefined,
    isPlain: access.isPlain,
    origin,
    send: Effect.fnUntraced(function* (request) {
      const url = yield* urlOf(request.to)
      // An upload may go to another host, which gets no login.
      const isOwn = url.host === URL.parse(base)?.host
      const asked = Effect.suspend(() =>
        follow(send, url, access, {
          ...request,
          headers: { ...request.headers, ...(isOwn ? authorizing(authorization) : {}) }
        })
      )
      const used = authorization
      const answer = yield* asked
      if (answer.status !== 401 || !isOwn) return answer
      // Concurrent requests share the token that one of them got.
      if (authorization !== used) return yield* asked
      const challenge = answer.headers["www-authenticate"] ?? ""
      const next = /^bearer\s/i.test(challenge)
        ? `Bearer ${yield* askToken(send, { host, repository, access, challenge, actions })}`
        : access.basic && Redacted.value(access.basic)
      if (next === undefined || (next === used && !/^bearer\s/i.test(challenge))) return answer
      authorization = next
      return yield* asked
    })
  }
}

const authorizing = (authorization: string | undefined) => (authorization === undefined ? {} : { authorization })

/** Exchanges a login, or none, for a token that permits `actions`. */
const askToken = Effect.fnUntraced(function* (
  send: Send,
  {
    access,
    actions,
    challenge,
    host,
    repository
  }: {
    readonly host: string
    readonly repository: string
    readonly access: Login.Access
    readonly challenge: string
    readonly actions: Actions
  }
): Effect.fn.Return<string, Problem> {
  const parameters = Object.fromEntries(
    [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = "", value = ""]) => [key.toLowerCase(), value])
  )
  const url = URL.parse(parameters["realm"] ?? "")
  // A password that was sent with TLS must not be sent without.
  if (url === null || !(url.protocol === "https:" || (access.isPlain && url.protocol === "http:"))) {
    return yield* Effect.fail<Problem>({ problem: `${host} does not say where to log in` })
  }
  const scope = `repository:${repository}:${actions}`
  // What is asked first may need less than what follows.
  url.searchParams.set("scope", actions === "pull" ? (parameters["scope"] ?? scope) : scope)
  if (parameters["service"] !== undefined) url.searchParams.set("service", parameters["service"])
  const answer = yield* follow(send, url, access, {
    headers: authorizing(access.basic && Redacted.value(access.basic))
  })
  const token = decodeToken(answer.body.toString("utf8"))
  if (answer.status === 200 && Option.isSome(token)) {
    return "token" in token.value ? token.value.token : token.value.access_token
  }
  return yield* Effect.fail(refusal(host, repository, { hasLogin: access.basic !== undefined, ...access }, answer))
})

/** Explains an answer that is none. `subject` is what was asked for. */
export const refusal = (
  host: string,
  subject: string,
  { hasLogin, isPlain }: Pick<Session, "hasLogin" | "isPlain">,
  { body, status }: Answer
): Problem => {
  switch (status) {
    case 400:
      return isPlain && /HTTPS/.test(body.toString("utf8"))
        ? { kind: "Tls", problem: `${host} requires TLS` }
        : { kind: "Refused", problem: `${host} answered with status 400` }
    case 401:
    case 403:
      return {
        kind: "Unauthorized",
        problem: hasLogin ? `${host} refused the login` : `${host} requires a login`
      }
    case 404:
      return { kind: "NotFound", problem: `${host} has no ${subject}` }
    default: {
      const said = Option.getOrUndefined(decodeErrors(body.toString("utf8")))?.errors[0]?.message
      return {
        ...(status >= 400 && status < 500 && ![408, 425, 429].includes(status) ? { kind: "Refused" } : {}),
        problem: `${host} answered with status ${status}${said === undefined ? "" : `: ${said.slice(0, 500)}`}`
      }
    }
  }
}

const isTls = /CERT|SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL|EPROTO|PEM/

const noTls = (host: string): string => `${host} does not use TLS`

const lost = (host: string, cause: unknown): Problem => {
  const code = Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) ? cause.code : ""
  const text = cause instanceof Error ? cause.message : String(cause)
  if (/wrong version number|packet length too long/i.test(text)) {
    return { kind: "Tls", problem: noTls(host), cause }
  }
  return isTls.test(code)
    ? { kind: "Tls", problem: `the certificate of ${host} is not trusted: ${text.split(";")[0]}`, cause }
    : { kind: "Unreachable", problem: `${host} cannot be reached: ${code === "" ? text : code}`, cause }
}

const contexts = new Map<string, Tls.SecureContext>()

/** Trusts what the runtime trusts: the authorities of Node.js, of the system, and those given. Parsing them is slow. */
const contextOf = (authorities: ReadonlyArray<string>): Tls.SecureContext => {
  const key = authorities.join("\n")
  const known = contexts.get(key)
  if (known !== undefined) return known
  const all = new Set([...Tls.getCACertificates("default"), ...Tls.getCACertificates("system"), ...authorities])
  const context = Tls.createSecureContext({ ca: [...all] })
  contexts.set(key, context)
  return context
}

type Send = (url: URL, access: Login.Access, request: Omit<Request, "to">) => Effect.Effect<Answer, Problem>

/** Follows redirects. A login goes to no other host, and nothing leaves TLS. */
const follow = Effect.fnUntraced(function* (
  send: Send,
  url: URL,
  access: Login.Access,
  request: Omit<Request, "to">
): Effect.fn.Return<Answer, Problem> {
  let from = url
  let sent = request
  for (let redirects = 0; ; redirects++) {
    const answer = yield* send(from, access, sent)
    const { location } = answer.headers
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return answer
    const to = URL.parse(location, from)
    if (redirects === maxRedirects) {
      return yield* Effect.fail<Problem>({ problem: `${url.host} redirected more than ${maxRedirects} times` })
    }
    if (to === null || !(to.protocol === "https:" || (to.protocol === "http:" && from.protocol === "http:"))) {
      return yield* Effect.fail<Problem>({ problem: `${from.host} redirects to a URL that is not https` })
    }
    if (to.host !== from.host) sent = { ...sent, headers: Struct.omit(sent.headers ?? {}, ["authorization"]) }
    from = to
  }
})

/** Sends requests to one service, without following redirects, on connections that are kept until the scope closes. */
export const connect = (
  authorities: ReadonlyArray<string>
): Effect.Effect<(url: URL, request: Omit<Request, "to">) => Effect.Effect<Answer, Problem>, never, Scope.Scope> =>
  Effect.map(connections, (send) => {
    const access: Login.Access = { isPlain: false, authorities, basic: undefined }
    return (url, request) => send(url, access, request)
  })

/** Sends requests on connections that are kept until the scope closes. */
const connections: Effect.Effect<Send, never, Scope.Scope> = Effect.gen(function* () {
  const agents = new Map<string, Http.Agent>()
  yield* Effect.addFinalizer(() => Effect.sync(() => agents.forEach((agent) => agent.destroy())))
  return Effect.fnUntraced(function* (url, { authorities }, { body, headers, maxBytes = maxManifestBytes, method }) {
    // These take a while to load, and most programs never ask.
    const { Agent, request } = yield* Effect.promise(() =>
      url.protocol === "http:" ? import("node:http") : import("node:https")
    )
    return yield* Effect.callback<Answer, Problem>((resume, signal) => {
      const fail = (cause: unknown) => resume(Effect.fail(lost(url.host, cause)))
      try {
        const agent = agents.get(url.protocol) ?? new Agent({ keepAlive: true, proxyEnv: process.env })
        agents.set(url.protocol, agent)
        const tls = url.protocol === "http:" ? {} : { secureContext: contextOf(authorities) }
        const asked = request(
          url,
          { agent, method: method ?? "GET", headers: { ...headers }, signal, ...tls },
          (response) => {
            const length = Number(response.headers["content-length"] ?? 0)
            // The parts of a large answer would be in memory twice.
            const whole = length > largeBytes && length <= maxBytes ? Buffer.allocUnsafeSlow(length) : undefined
            const parts: Array<Buffer> = []
            let size = 0
            response.on("error", fail)
            response.on("data", (part: Buffer) => {
              size += part.length
              if (size <= maxBytes) {
                if (whole === undefined) parts.push(part)
                else part.copy(whole, size - part.length)
                return
              }
              const limit = `${Math.ceil(maxBytes / 1024 / 1024)} MiB`
              resume(Effect.fail({ problem: `${url.host} answered with more than ${limit}` }))
              asked.destroy()
            })
            response.on("end", () =>
              resume(
                Effect.succeed({
                  status: response.statusCode ?? 0,
                  headers: response.headers,
                  body: whole?.subarray(0, size) ?? Buffer.concat(parts)
                })
              )
            )
          }
        )
        asked.setTimeout(idleMillis, () =>
          asked.destroy(new Error(`nothing was received for ${idleMillis / 1000} seconds`))
        )
        asked.on("error", fail)
        asked.end(body)
      } catch (cause) {
        fail(cause)
      }
    })
  })
})
