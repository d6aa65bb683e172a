/**
 * Asks a registry which image a name stands for. The runtime can only pull: this takes a request or three, and changes
 * nothing. It follows the runtime's rules for platforms, logins and authorities, so that both see the same image.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
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

const mediaTypes = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json"
].join(", ")

const Index = Schema.Struct({
  manifests: Schema.Array(
    Schema.Struct({
      mediaType: Schema.optional(Schema.String),
      digest: Schema.String.check(Schema.isPattern(/^sha(256|512):[0-9a-f]{64,128}$/)),
      platform: Schema.optional(Schema.NullOr(Schema.Struct({ os: Schema.String, architecture: Schema.String })))
    })
  )
})

const decodeIndex = Schema.decodeUnknownOption(Schema.fromJsonString(Index))

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
  const manifest = (authorization?: string) => get(url, access, { accept: mediaTypes, ...authorizing(authorization) })

  let answer = yield* manifest()
  if (answer.status === 401) {
    const challenge = answer.headers["www-authenticate"] ?? ""
    const authorization = /^bearer\s/i.test(challenge)
      ? `Bearer ${yield* askToken(host, repository, access, challenge)}`
      : basic && Redacted.value(basic)
    if (authorization !== undefined) answer = yield* manifest(authorization)
  }
  if (answer.status !== 200) return yield* Effect.fail(refusal(host, image, access, answer))

  const index = decodeIndex(answer.body.toString("utf8"))
  if (Option.isNone(index)) return `sha256:${Crypto.createHash("sha256").update(answer.body).digest("hex")}`
  const found = index.value.manifests.find(
    ({ mediaType = "", platform }) =>
      !mediaType.includes("attestation") && platform?.os === "linux" && platform.architecture === architecture
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
  const said = Object.fromEntries(
    [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = "", value = ""]) => [key.toLowerCase(), value])
  )
  const url = URL.parse(said["realm"] ?? "")
  // A password that was sent with TLS must not be sent without.
  if (url === null || !(url.protocol === "https:" || (access.isPlain && url.protocol === "http:"))) {
    return yield* Effect.fail<Problem>({ problem: `${host} does not say where to log in` })
  }
  url.searchParams.set("scope", said["scope"] ?? `repository:${repository}:pull`)
  if (said["service"] !== undefined) url.searchParams.set("service", said["service"])
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
        ? { kind: "Tls", problem: `${host} wants TLS` }
        : { problem: `${host} answered with status 400` }
    case 401:
    case 403:
      return {
        kind: "Unauthorized",
        problem: basic === undefined ? `${host} wants a login` : `${host} refused the login`
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
  const all = new Set([...Tls.getCACertificates("default"), ...Tls.getCACertificates("system"), ...authorities])
  const context = contexts.get(key) ?? Tls.createSecureContext({ ca: [...all] })
  contexts.set(key, context)
  return context
}

const get = Effect.fnUntraced(function* (
  url: URL,
  { authorities }: Login.Access,
  headers: Http.OutgoingHttpHeaders
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
      const asked = request(url, { agent, headers, signal, ...tls }, (response) => {
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
