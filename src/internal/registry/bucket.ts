/** A place for snapshots in a bucket of S3, or of a service that speaks its protocol. */
import { AwsV4Signer } from "aws4fetch"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import type { S3 } from "../../Snapshot.ts"
import { withoutSlash } from "../config/schemas.ts"
import * as Client from "./client.ts"
import { headerOf, isFound, isKnown, partOf, type Repository } from "./repository.ts"

/** A folder of a bucket, and how to reach it. What is absent is read from the variables that the tools of AWS read. */
export interface Options extends S3 {
  readonly bucket: string
  /** Without slashes at its ends. */
  readonly prefix: string
  /** A file with certificates of authorities. */
  readonly caCerts: string | undefined
}

const variable = (...names: ReadonlyArray<string>): string | undefined =>
  names.map((name) => process.env[name]).find((value) => value !== undefined && value !== "")

const hashOf = (body: Uint8Array): string => Crypto.hash("sha256", body)

const noBody = new Uint8Array()

/** Says what an answer is about, if it says so: `<Code>` and `<Message>`. */
const explanation = (body: Buffer): { readonly code: string; readonly message: string } => {
  const text = body.subarray(0, 16_384).toString("utf8")
  const read = (tag: string) => new RegExp(`<${tag}>([^<]*)</${tag}>`).exec(text)?.[1] ?? ""
  return { code: read("Code"), message: read("Message") }
}

/** Opens a folder of a bucket for the scope. */
export const open = Effect.fnUntraced(function* (
  given: Options
): Effect.fn.Return<Repository, Client.Problem, Scope.Scope> {
  const { bucket, caCerts, prefix } = given
  const region = given.region ?? variable("AWS_REGION", "AWS_DEFAULT_REGION") ?? "us-east-1"
  const endpoint = withoutSlash(
    given.endpoint ?? variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") ?? `https://s3.${region}.amazonaws.com`
  )
  const accessKeyId = given.accessKeyId ?? variable("AWS_ACCESS_KEY_ID")
  const secretAccessKey =
    given.secretAccessKey === undefined ? variable("AWS_SECRET_ACCESS_KEY") : Redacted.value(given.secretAccessKey)
  // A token belongs to the keys that it came with.
  const sessionToken =
    given.accessKeyId === undefined
      ? variable("AWS_SESSION_TOKEN")
      : given.sessionToken && Redacted.value(given.sessionToken)
  const base = URL.parse(endpoint)
  if (base === null) return yield* Effect.fail<Client.Problem>({ kind: "Refused", problem: `${endpoint} is not a URL` })
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    const problem = "there is no access key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return yield* Effect.fail<Client.Problem>({ kind: "Unauthorized", problem })
  }
  const authorities =
    caCerts === undefined
      ? []
      : [
          yield* Effect.tryPromise({
            try: () => Fs.readFile(caCerts, "utf8"),
            catch: (): Client.Problem => ({ kind: "Refused", problem: `${caCerts} cannot be read` })
          })
        ]
  const send = yield* Client.connect(authorities)
  const { host } = base
  const folder = prefix === "" ? "" : `${prefix}/`

  const once = (request: {
    readonly method: "GET" | "HEAD" | "PUT"
    /** Of the object. */
    readonly key?: string
    readonly query?: string
    readonly body?: Buffer
    readonly maxBytes?: number
    readonly headers?: { readonly [name: string]: string }
  }): Effect.Effect<Client.Answer, Client.Problem> =>
    Effect.gen(function* () {
      const { body, headers, key = "", maxBytes, method, query = "" } = request
      const url = `${endpoint}/${bucket}/${key === "" ? "" : `${folder}${key}`}${query}`
      const signed = yield* Effect.tryPromise({
        try: () =>
          new AwsV4Signer({
            method,
            url,
            headers: { ...headers, "X-Amz-Content-Sha256": hashOf(body ?? noBody) },
            accessKeyId,
            secretAccessKey,
            ...(sessionToken === undefined ? {} : { sessionToken }),
            service: "s3",
            region
          }).sign(),
        // Such as a key with the end of a line, which no header can have. The cause would show it.
        catch: (): Client.Problem => ({ kind: "Refused", problem: "the access key cannot sign a request" })
      })
      return yield* send(signed.url, {
        method,
        headers: {
          ...Object.fromEntries(signed.headers),
          ...headers,
          ...(body === undefined ? {} : { "content-length": `${body.length}` })
        },
        ...(body === undefined ? {} : { body }),
        ...(maxBytes === undefined ? {} : { maxBytes })
      })
    })

  /** Explains an answer that is none. */
  const refusal = (answer: Client.Answer, subject: string): Client.Problem => {
    const { code, message } = explanation(answer.body)
    const said = message === "" ? "" : `: ${message}`
    if (code === "NoSuchBucket") return { kind: "NotFound", problem: `${host} has no bucket ${bucket}` }
    if (answer.status === 403) return { kind: "Unauthorized", problem: `${host} refused the access key${said}` }
    const { kind, problem } = Client.refusal(host, subject, { hasLogin: true, isPlain: false }, answer)
    return { ...(kind === undefined ? {} : { kind }), problem: answer.status === 404 ? problem : `${problem}${said}` }
  }
  const ask = (
    request: Parameters<typeof once>[0],
    subject: string,
    isExpected: (status: number) => boolean = (status) => status === 200
  ): Effect.Effect<Client.Answer, Client.Problem> =>
    Client.patiently(
      Effect.filterOrElse(
        once(request),
        ({ status }) => isExpected(status),
        (answer) => Effect.fail(refusal(answer, subject))
      )
    )
  const blob = (digest: string): string => `blobs/${digest.replace(":", "/")}`
  const subjectOf = (version: string) => `s3://${bucket}/${prefix}${version.includes(":") ? "@" : ":"}${version}`
  const put = (key: string, body: Buffer) => ask({ method: "PUT", key, body }, `bucket ${bucket}`)
  const hasBlob = (digest: string) =>
    Effect.map(ask({ method: "HEAD", key: blob(digest) }, digest, isKnown), ({ status }) => status === 200)
  return {
    subjectOf,
    getManifest: (version) =>
      Effect.map(
        ask(
          { method: "GET", key: version.includes(":") ? blob(version) : `tags/${version}` },
          `snapshot ${subjectOf(version)}`
        ),
        ({ body }) => body
      ),
    getBlob: (wanted, range) =>
      Effect.map(
        ask(
          { method: "GET", key: blob(wanted.digest), maxBytes: wanted.size, headers: headerOf(wanted, range) },
          `part ${wanted.digest} of this snapshot`,
          isFound
        ),
        (answer) => partOf(answer, range)
      ),
    hasBlob,
    putBlob: Effect.fnUntraced(function* (bytes, digest) {
      if (yield* hasBlob(digest)) return 0
      yield* put(blob(digest), bytes)
      return bytes.length
    }),
    // Also as a blob, by which a digest finds it.
    putManifest: (version, manifest) =>
      Effect.asVoid(
        Effect.andThen(put(blob(`sha256:${hashOf(manifest)}`), manifest), put(`tags/${version}`, manifest))
      ),
    tags: Effect.map(
      ask(
        {
          method: "GET",
          query: `?list-type=2&max-keys=100&prefix=${encodeURIComponent(`${folder}tags/`)}`
        },
        `bucket ${bucket}`
      ),
      ({ body }) =>
        [...body.toString("utf8").matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = ""]) => key.slice(folder.length + 5))
    )
  }
})
