/**
 * Asks a registry which image a name stands for. The runtime can only pull: this takes a request or three, and changes
 * nothing. It follows the runtime's rules for platforms, logins and authorities, so that both see the same image.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Crypto from "node:crypto"
import { ImageUnavailable, LightboxError } from "../../../LightboxError.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import { splitReference } from "../imageReference.ts"
import * as Client from "../../registry/client.ts"
import * as Login from "../../registry/login.ts"

// Loading TLS alone takes many seconds on an emulated machine.
const limit = "2 minutes"

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

const architecture = process.arch === "x64" ? "amd64" : process.arch

interface Problem {
  readonly kind?: Exclude<ImageUnavailable["kind"], undefined>
  readonly problem: string
  readonly cause?: unknown
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
  const answer = yield* Effect.scoped(
    Effect.gen(function* () {
      // As for the runtime, a registry without TLS has to be declared.
      const session = yield* Client.open({ home, reference, registry, actions: "pull", allowPlain: false })
      return yield* Client.expecting(
        session.send({ to: `/manifests/${version}`, headers: { accept } }),
        session,
        `image ${image}`
      )
    })
  ).pipe(
    Effect.mapError(({ cause, kind, problem }): Problem => ({
      ...(kind === undefined || kind === "Refused" ? {} : { kind }),
      problem,
      ...(cause === undefined ? {} : { cause })
    }))
  )

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
