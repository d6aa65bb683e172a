/** Places that keep snapshots as blobs and manifests: a repository of a registry, and whatever offers the same. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { LightboxError } from "../../LightboxError.ts"
import * as Client from "./client.ts"

export const manifestType = "application/vnd.oci.image.manifest.v1+json"

/** A part of a snapshot. */
export interface Blob {
  /** Such as `sha256:...`. */
  readonly digest: string
  /** Bytes. A larger one is not received. */
  readonly size: number
}

/** Why a place did not do what it was asked. */
export type Failure = Client.Problem | LightboxError

/** A place that keeps snapshots. It tries again while that can help. */
export interface Repository {
  /** Says of what version a problem is. */
  readonly subjectOf: (version: string) => string
  /** Gets the manifest of a tag or a digest. */
  readonly getManifest: (version: string) => Effect.Effect<Buffer, Failure>
  /** Gets a blob, or the bytes of it that a range includes. */
  readonly getBlob: (blob: Blob, range?: Range) => Effect.Effect<Buffer, Failure>
  readonly hasBlob: (digest: string) => Effect.Effect<boolean, Failure>
  /** Puts a blob, unless it is there. Returns the number of bytes sent. */
  readonly putBlob: (bytes: Buffer, digest: string) => Effect.Effect<number, Failure>
  readonly putManifest: (version: string, manifest: Buffer) => Effect.Effect<void, Failure>
  /** Lists some of the tags. */
  readonly tags: Effect.Effect<ReadonlyArray<string>, Failure>
}

/** Part of a blob, without the byte at `to`. */
export interface Range {
  readonly from: number
  readonly to: number
}

/** The header that asks for a range. The whole is asked for without. */
export const headerOf = ({ size }: Blob, range: Range | undefined): { readonly range?: string } =>
  range === undefined || (range.from === 0 && range.to === size) ? {} : { range: `bytes=${range.from}-${range.to - 1}` }

/** The range in an answer, which is the whole from those that ignore ranges. */
export const partOf = ({ body, status }: Client.Answer, range: Range | undefined): Buffer =>
  range === undefined || status === 206 ? body : body.subarray(range.from, range.to)

export const isFound = (status: number): boolean => status === 200 || status === 206

/** An answer that says whether something is there. */
export const isKnown = (status: number): boolean => status === 200 || status === 404

const TagList = Schema.fromJsonString(Schema.Struct({ tags: Schema.NullOr(Schema.Array(Schema.String)) }))

const decodeTags = Schema.decodeUnknownEffect(TagList)

/** A repository of a registry. */
export const make = (session: Client.Session): Repository => {
  const { host, origin, repository } = session
  const subjectOf = (version: string) => `${repository}${version.includes(":") ? "@" : ":"}${version}`
  const hasBlob = (digest: string): Effect.Effect<boolean, Client.Problem> =>
    Effect.map(
      Client.expecting(session.send({ method: "HEAD", to: `/blobs/${digest}` }), session, digest, isKnown),
      ({ status }) => status === 200
    )
  return {
    subjectOf,
    getManifest: (version) => {
      const accept = [manifestType, "application/vnd.oci.image.index.v1+json"].join(", ")
      const request = { to: `/manifests/${version}`, headers: { accept } }
      return Effect.map(Client.ask(session, request, `snapshot ${subjectOf(version)}`), ({ body }) => body)
    },
    getBlob: (blob, range) =>
      Effect.map(
        Client.ask(
          session,
          { to: `/blobs/${blob.digest}`, maxBytes: blob.size, headers: headerOf(blob, range) },
          `part ${blob.digest} of this snapshot`,
          isFound
        ),
        (answer) => partOf(answer, range)
      ),
    hasBlob: (digest) => Client.patiently(hasBlob(digest)),
    putBlob: (bytes, digest) =>
      Client.patiently(
        Effect.gen(function* () {
          // After a lost answer, too.
          if (yield* hasBlob(digest)) return 0
          const started = yield* session.send({
            method: "POST",
            to: "/blobs/uploads/",
            headers: { "content-length": "0" }
          })
          const { location } = started.headers
          const url = location === undefined ? null : URL.parse(location, origin)
          if (started.status !== 202 || url === null) {
            return yield* Effect.fail(Client.refusal(host, `repository ${repository}`, session, started))
          }
          if (!(url.protocol === "https:" || (url.protocol === "http:" && session.isPlain))) {
            return yield* Effect.fail<Client.Problem>({ problem: `${host} takes uploads at a URL that is not https` })
          }
          url.searchParams.set("digest", digest)
          const ended = yield* session.send({
            method: "PUT",
            to: url,
            headers: { "content-type": "application/octet-stream", "content-length": `${bytes.length}` },
            body: bytes
          })
          if (ended.status !== 201 && ended.status !== 204) {
            return yield* Effect.fail(
              // An upload that the registry has forgotten is started again.
              ended.status === 404
                ? { problem: `${host} lost an upload` }
                : Client.refusal(host, `repository ${repository}`, session, ended)
            )
          }
          return bytes.length
        })
      ),
    putManifest: (version, manifest) =>
      Effect.asVoid(
        Client.ask(
          session,
          {
            method: "PUT",
            to: `/manifests/${version}`,
            headers: { "content-type": manifestType, "content-length": `${manifest.length}` },
            body: manifest
          },
          `repository ${repository}`,
          (status) => status === 201
        )
      ),
    tags: Effect.flatMap(session.send({ to: "/tags/list?n=100" }), ({ body }) =>
      Effect.match(decodeTags(body.toString("utf8")), {
        onSuccess: ({ tags }) => tags ?? [],
        onFailure: (): ReadonlyArray<string> => []
      })
    )
  }
}
