/** What goes wrong between a program and a host, as errors of the library. */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { HostUnavailable, isLightboxError, LightboxError, Unknown } from "../../../LightboxError.ts"
import * as Protocol from "./protocol.ts"

type Kind = HostUnavailable["kind"]

/** A request that was not answered as expected. */
export class Failed extends Error {
  readonly kind: Kind
  /** The error that the host answered with. */
  readonly error: LightboxError | undefined
  constructor(kind: Kind, problem: string, options: { readonly cause?: unknown; readonly error?: LightboxError } = {}) {
    super(problem, { cause: options.cause })
    this.kind = kind
    this.error = options.error
  }
}

const decodeBody = Schema.decodeOption(Protocol.ErrorBody)

/** The codes with which no request arrives. */
const unreached = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
  "UND_ERR_CONNECT_TIMEOUT"
])

const untrusted = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ERR_TLS/

const codeOf = (cause: unknown): string => {
  const code = Predicate.hasProperty(cause, "code") && typeof cause.code === "string" ? cause.code : ""
  return code !== "" || !Predicate.hasProperty(cause, "cause") ? code : codeOf(cause.cause)
}

/** A failure of the connection. */
export const ofConnection = (cause: unknown): Failed => {
  if (cause instanceof Failed) return cause
  const code = codeOf(cause)
  if (untrusted.test(code)) {
    const problem = `its certificate is not trusted (${code}); name the file of its authority in NODE_EXTRA_CA_CERTS`
    return new Failed("Unreachable", problem, { cause })
  }
  const message = cause instanceof Error ? cause.message : String(cause)
  return unreached.has(code)
    ? new Failed("Unreachable", `it does not answer (${code})`, { cause })
    : new Failed("Lost", `the connection broke (${code === "" ? message : code})`, { cause })
}

/** A failure by the status of an answer, and its body. */
export const ofAnswer = (status: number, body: string): Failed => {
  const error = decodeBody(body)
  if (error._tag === "Some") return new Failed("Refused", error.value.message, { error: error.value })
  const said = body.trim().slice(0, 500)
  switch (status) {
    case 401:
      return new Failed("Unauthorized", "it does not accept the token")
    case 426:
      return new Failed("Refused", "it is of another version of this library")
    case 502:
    case 503:
    case 504:
      return new Failed("Lost", `something between answered with status ${status}`)
    default:
      return new Failed("Refused", `it answered with status ${status}${said === "" ? "" : `: ${said}`}`)
  }
}

/** Sends a request over HTTP, and fails unless it succeeds. */
export const request: typeof fetch = async (input, init) => {
  let response: Response
  try {
    response = await fetch(input, init)
  } catch (cause) {
    throw ofConnection(cause)
  }
  if (response.ok) return response
  throw ofAnswer(response.status, await response.text().catch(() => ""))
}

const failedIn = (cause: unknown, depth = 0): Failed | undefined => {
  if (cause instanceof Failed) return cause
  if (depth > 8 || !Predicate.isObject(cause)) return undefined
  const inner = failedIn(Predicate.hasProperty(cause, "reason") ? cause.reason : undefined, depth + 1)
  return inner ?? failedIn(Predicate.hasProperty(cause, "cause") ? cause.cause : undefined, depth + 1)
}

/** Makes an error of the library of any failure. */
export const toError =
  (method: string, host: string) =>
  (failure: unknown): LightboxError => {
    const unavailable = (kind: Kind, problem: string, cause?: unknown) =>
      new LightboxError({
        method,
        reason: new HostUnavailable({ host, kind, problem, ...(cause === undefined ? {} : { cause }) })
      })
    if (isLightboxError(failure)) {
      const { reason } = failure
      // The host does not know the URL by which it is reached.
      return reason._tag === "HostUnavailable" && reason.host === ""
        ? unavailable(reason.kind, reason.problem)
        : failure
    }
    const failed = failedIn(failure)
    if (failed?.error !== undefined) return toError(method, host)(failed.error)
    if (failed !== undefined) return unavailable(failed.kind, failed.message, failed.cause)
    const message = failure instanceof Error ? failure.message : String(failure)
    return unavailable("Lost", `its answer cannot be read (${message})`, failure)
  }

/** A host that fails at something that it should be able to do. */
export const ofDefect = (method: string, defect: unknown): LightboxError =>
  new LightboxError({
    method,
    reason: new Unknown({ problem: `the host failed: ${defect instanceof Error ? defect.message : String(defect)}` })
  })

/** Whether asking again may bring the answer. */
export const isTransient = ({ reason }: LightboxError): boolean =>
  reason._tag === "HostUnavailable" && (reason.kind === "Unreachable" || reason.kind === "Lost")

export const isEnded = ({ reason }: LightboxError): boolean =>
  reason._tag === "HostUnavailable" && reason.kind === "Ended"
