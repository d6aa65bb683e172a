/**
 * Asks a registry which image a name stands for. The runtime can only pull: this takes a request or three, and changes
 * nothing. It follows the runtime's rules for platforms, logins and authorities, so that both see the same image.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import * as Crypto from "node:crypto"
import type * as Http from "node:http"
import * as Tls from "node:tls"
import { ImageUnavailable, LightboxError } from "../../../LightboxError.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import { splitReference } from "../imageReference.ts"
import * as Login from "./registryLogin.ts"

// Loading TLS alone takes many seconds on an emulated machine.
const limit = "2 minutes"

/** The specification lets registries refuse more. */
const maxBytes = 4 * 1024 * 1024

const maxRedirects = 5

const manifestTypes: ReadonlyArray<string> = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json"
]

const accept = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  ...manifestTypes
].join(", ")

const Manifest = Schema.Struct({
  schemaVersion: Schema.Literal(2),
  mediaType: Login.maybe(Schema.String),
  /** Of an index: the manifests for each platform. */
  manifests: Login.maybe(
    Schema.Array(
      Schema.Struct({
        mediaType: Login.maybe(Schema.String),
        digest: Schema.String.check(Schema.isPattern(/^sha(256|512):[0-9a-f]{64,128}$/)),
        platform: Login.maybe(
          Schema.Struct({ os: Login.maybe(Schema.String), architecture: Login.maybe(Schema.String) })
        )
      })
    )
  )
})

const decodeManifest = Schema.decodeUnknownOption(Schema.fromJsonString(Manifest))

const decodeToken = Schema.decodeUnknownOption(
  Schema.fromJsonString(
    Schema.Union([Schema.Struct({ token: Schema.String }), Schema.Struct({ access_token: Schema.String })])
  )
)

const architecture = process.arch === "x64" ? "amd64" : process.arch

interface Problem {
  readonly kind?: Exclude<ImageUnavailable["kind"], undefined>
  readonly problem: string
  readonly cause?: unknown
}

interface Headers {
  readonly accept?: string
  readonly authorization?: string
}

interface Answer {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly body: Buffer
}

/** Returns the digest that a sandbox would boot from if it pulled the image now. */
export const askDigest = (
  method: string,
  home: string,
  reference: string,
  registry: SandboxConfig["registry"]
): Effect.Effect<string, LightboxError> => {
  const { host } = splitReference(reference)
  return ask(home, reference, registry ?? {}).pipe(
    Effect.timeoutOrElse({
      duration: limit,
      orElse: () => Effect.fail<Problem>({ kind: "Unreachable", problem: `${host} did not answer within ${limit}` })
    }),
    Effect.mapError((problem) => new LightboxError({ method, reason: new ImageUnavailable({ reference, ...problem }) }))
  )
}

/**
 * Asks the registry why the runtime could not pull: the runtime has one text for a registry that does not answer and
 * one that is not trusted. Fails with the runtime's error if that stays unknown, and keeps it as the cause otherwise.
 */
export const explaining =
  (home: string, reference: string, registry: SandboxConfig["registry"]) =>
  <A>(pull: Effect.Effect<A, LightboxError>): Effect.Effect<A, LightboxError> =>
    Effect.catchReason(pull, "LightboxError", "ImageUnavailable", ({ cause, kind }, error) =>
      kind !== undefined
        ? Effect.fail(error)
        : Effect.flip(ask(home, reference, registry ?? {})).pipe(
            Effect.timeout("10 seconds"),
            Effect.mapError(() => error),
            Effect.flatMap(({ kind, problem }) =>
              Effect.fail(
                kind === undefined
                  ? error
                  : new LightboxError({
                      method: error.method,
                      reason: new ImageUnavailable({ reference, kind, problem, cause })
                    })
              )
            )
          )
    )

const ask = Effect.fnUntraced(function* (
  home: string,
  reference: string,
  registry: NonNullable<SandboxConfig["registry"]>
): Effect.fn.Return<string, Problem> {
  const { host, repository, version } = splitReference(reference)
  const image = `${repository}${version.includes(":") ? "@" : ":"}${version}`
  const access = yield* Effect.mapError(Login.find(home, host, registry), (problem): Problem => ({ problem }))
  const { basic, isPlain } = access
  const base = `${isPlain ? "http" : "https"}://${host === "docker.io" ? "registry-1.docker.io" : host}`
  const url = yield* Effect.try({
    try: () => new URL(`${base}/v2/${repository}/manifests/${version}`),
    catch: (): Problem => ({ problem: `${host} is not the name of a registry` })
  })
  const manifest = (authorization?: string) => get(url, access, { accept, ...authorizing(authorization) })

  let answer = yield* manifest()
  if (answer.status === 401) {
    const challenge = answer.headers["www-authenticate"] ?? ""
    const authorization = /^bearer\s/i.test(challenge)
      ? `Bearer ${yield* askToken(host, repository, access, challenge)}`
      : basic && Redacted.value(basic)
    if (authorization !== undefined) answer = yield* manifest(authorization)
  }
  if (answer.status !== 200) return yield* Effect.fail(refusal(host, image, access, answer))

  const decoded = Option.getOrUndefined(decodeManifest(answer.body.toString("utf8")))
  const type = decoded?.mediaType ?? answer.headers["content-type"]?.split(";")[0]?.trim() ?? ""
  if (decoded === undefined || !(decoded.manifests || manifestTypes.includes(type))) {
    return yield* Effect.fail<Problem>({ problem: `${host} answered with something that is not an image manifest` })
  }
  if (!decoded.manifests) return `sha256:${Crypto.createHash("sha256").update(answer.body).digest("hex")}`
  const found = decoded.manifests.find(
    ({ mediaType, platform }) =>
      mediaType?.includes("attestation") !== true && platform?.os === "linux" && platform.architecture === architecture
  )
  if (found !== undefined) return found.digest
  const problem = `${host} has no variant of ${image} for linux/${architecture}`
  return yield* Effect.fail<Problem>({ kind: "NotFound", problem })
})

const authorizing = (authorization: string | undefined) => (authorization === undefined ? {} : { authorization })

/** Exchanges a login, or none, for a token that permits to pull. */
const askToken = Effect.fnUntraced(function* (
  host: string,
  repository: string,
  access: Login.Access,
  challenge: string
): Effect.fn.Return<string, Problem> {
  const parameters = Object.fromEntries(
    [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = "", value = ""]) => [key.toLowerCase(), value])
  )
  const url = URL.parse(parameters["realm"] ?? "")
  // A password that was sent with TLS must not be sent without.
  if (url === null || !(url.protocol === "https:" || (access.isPlain && url.protocol === "http:"))) {
    return yield* Effect.fail<Problem>({ problem: `${host} does not say where to log in` })
  }
  url.searchParams.set("scope", parameters["scope"] ?? `repository:${repository}:pull`)
  if (parameters["service"] !== undefined) url.searchParams.set("service", parameters["service"])
  const answer = yield* get(url, access, authorizing(access.basic && Redacted.value(access.basic)))
  const token = decodeToken(answer.body.toString("utf8"))
  if (answer.status === 200 && Option.isSome(token)) {
    return "token" in token.value ? token.value.token : token.value.access_token
  }
  return yield* Effect.fail(refusal(host, repository, access, answer))
})

const refusal = (host: string, image: string, { basic, isPlain }: Login.Access, { body, status }: Answer): Problem => {
  switch (status) {
    case 400:
      return isPlain && /HTTPS/.test(body.toString("utf8"))
        ? { kind: "Tls", problem: `${host} requires TLS` }
        : { problem: `${host} answered with status 400` }
    case 401:
    case 403:
      return {
        kind: "Unauthorized",
        problem: basic === undefined ? `${host} requires a login` : `${host} refused the login`
      }
    case 404:
      return { kind: "NotFound", problem: `${host} has no image ${image}` }
    default:
      return { problem: `${host} answered with status ${status}` }
  }
}

const isTls = /CERT|SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL|EPROTO|PEM/

const lost = (host: string, cause: unknown): Problem => {
  const code = Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) ? cause.code : ""
  const text = cause instanceof Error ? cause.message : String(cause)
  if (/wrong version number|packet length too long/i.test(text)) {
    return { kind: "Tls", problem: `${host} does not use TLS`, cause }
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

/** Follows redirects. A login goes to no other host, and nothing leaves TLS. */
const get = Effect.fnUntraced(function* (
  url: URL,
  access: Login.Access,
  headers: Headers
): Effect.fn.Return<Answer, Problem> {
  let from = url
  let sent: Headers = headers
  for (let redirects = 0; ; redirects++) {
    const answer = yield* getOnce(from, access, sent)
    const { location } = answer.headers
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return answer
    const to = URL.parse(location, from)
    if (redirects === maxRedirects) {
      return yield* Effect.fail<Problem>({ problem: `${url.host} redirected more than ${maxRedirects} times` })
    }
    if (to === null || !(to.protocol === "https:" || (to.protocol === "http:" && from.protocol === "http:"))) {
      return yield* Effect.fail<Problem>({ problem: `${from.host} redirects to a URL that is not https` })
    }
    if (to.host !== from.host) sent = Struct.omit(sent, ["authorization"])
    from = to
  }
})

const getOnce = Effect.fnUntraced(function* (
  url: URL,
  { authorities }: Login.Access,
  headers: Headers
): Effect.fn.Return<Answer, Problem> {
  // These take a while to load, and most programs never ask.
  const { Agent, request } = yield* Effect.promise(() =>
    url.protocol === "http:" ? import("node:http") : import("node:https")
  )
  return yield* Effect.callback<Answer, Problem>((resume, signal) => {
    const fail = (cause: unknown) => resume(Effect.fail(lost(url.host, cause)))
    try {
      const agent = new Agent({ proxyEnv: process.env })
      const tls = url.protocol === "http:" ? {} : { secureContext: contextOf(authorities) }
      const asked = request(url, { agent, headers: { ...headers }, signal, ...tls }, (response) => {
        const parts: Array<Buffer> = []
        let size = 0
        response.on("error", fail)
        response.on("data", (part: Buffer) => {
          size += part.length
          if (size <= maxBytes) return void parts.push(part)
          resume(Effect.fail({ problem: `${url.host} answered with more than 4 MiB` }))
          asked.destroy()
        })
        response.on("end", () =>
          resume(
            Effect.succeed({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(parts)
            })
          )
        )
      })
      asked.on("error", fail)
      asked.end()
    } catch (cause) {
      fail(cause)
    }
  })
})
