/** Snapshots as artifacts in a registry: what their manifests and descriptions contain, and how they are fetched. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { LightboxError, SnapshotDamaged, TransferFailed, Unsupported } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import { SnapshotName } from "../config/schemas.ts"
import { forMethod } from "../config/validation.ts"
import { checkHostPaths } from "../driver/createChecks.ts"
import * as Files from "../ownership/files.ts"
import * as Client from "../registry/client.ts"
import * as Chunks from "./chunks.ts"
import { Generation, NameRecord } from "./store.ts"

export const artifactType = "application/vnd.effect-lightbox.snapshot.v1"
export const manifestType = "application/vnd.oci.image.manifest.v1+json"
export const configType = "application/vnd.effect-lightbox.snapshot.config.v1+json"
export const indexType = "application/vnd.effect-lightbox.snapshot.index.v1+zstd"
export const packType = "application/vnd.effect-lightbox.snapshot.pack.v1+zstd"

const Digest = Schema.String.check(Schema.isPattern(/^sha256:[0-9a-f]{64}$/))

const Descriptor = Schema.Struct({
  mediaType: Schema.String,
  digest: Digest,
  size: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))
})

export type Descriptor = typeof Descriptor.Type

/** The first layer is the index; packs follow. */
export const Manifest = Schema.Struct({
  schemaVersion: Schema.Literal(2),
  mediaType: Schema.Literal(manifestType),
  artifactType: Schema.Literal(artifactType),
  config: Schema.Struct({ ...Descriptor.fields, mediaType: Schema.Literal(configType) }),
  layers: Schema.NonEmptyArray(Descriptor),
  annotations: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
})

export type Manifest = typeof Manifest.Type

const { artifact: _, generation: _number, ...described } = Generation.fields

/** The record of a generation, and the files of its snapshot. */
export const Config = Schema.Struct({
  format: Schema.Literal(1),
  name: SnapshotName,
  /** As Node.js names it. */
  architecture: Schema.String,
  image: Schema.String,
  imageDigest: Schema.String,
  files: Schema.NonEmptyArray(
    Schema.Struct({
      name: Schema.String.check(Schema.isPattern(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)),
      /** At most 16 TiB. */
      size: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 44 }))
    })
  ).check(
    Schema.makeFilter((files) =>
      files.length <= 16 && new Set(files.map(({ name }) => name)).size === files.length
        ? undefined
        : "expected at most 16 files with different names"
    )
  ),
  generation: Schema.Struct(described),
  lastBuild: NameRecord.fields.lastBuild
})

export type Config = typeof Config.Type

const manifestCodec = Schema.fromJsonString(Manifest)
const configCodec = Schema.fromJsonString(Schema.toCodecJson(Config))

export const encodeManifest = (manifest: Manifest): Effect.Effect<Buffer> =>
  Effect.map(Effect.orDie(Schema.encodeEffect(manifestCodec)(manifest)), (text) => Buffer.from(text))

export const encodeConfig = (config: Config): Effect.Effect<Buffer> =>
  Effect.map(Effect.orDie(Schema.encodeEffect(configCodec)(config)), (text) => Buffer.from(text))

/** Why a registry did not do what it was asked, or that it has something else. */
export type Problem = Client.Problem | { readonly kind: "NotASnapshot"; readonly problem: string }

/** Turns problems of a registry into errors that name the reference. */
export const failing =
  (method: string, reference: string) =>
  <A, R>(effect: Effect.Effect<A, Problem | LightboxError, R>): Effect.Effect<A, LightboxError, R> =>
    Effect.mapError(effect, (error) =>
      error instanceof LightboxError
        ? error
        : new LightboxError({ method, reason: new TransferFailed({ reference, ...error }) })
    )

export const damaged = (method: string, reference: string, problem: string): LightboxError =>
  new LightboxError({ method, reason: new SnapshotDamaged({ name: reference, problem }) })

/** Refuses certificates that do not exist. */
export const checkRegistry = (
  method: string,
  registry: SandboxConfig["registry"]
): Effect.Effect<void, LightboxError> =>
  Effect.mapError(checkHostPaths({ registry }), forMethod(method, "Microsandbox.createSandbox"))

/** The home whose files are transferred. */
export const homeHere = (
  driver: Microsandbox.Microsandbox["Service"],
  method: string
): Effect.Effect<string, LightboxError> => {
  const home = Files.onThisMachine(driver)
  const problem = "the snapshots are on another machine: push and pull there"
  return home === undefined
    ? Effect.fail(new LightboxError({ method, reason: new Unsupported({ feature: "registries", problem }) }))
    : Effect.succeed(home)
}

/** A snapshot in a registry. */
export interface Fetched {
  readonly manifest: Manifest
  /** Digest of the manifest, in hexadecimal. */
  readonly digest: string
  readonly config: Config
}

const problemOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/** Fetches a blob, and checks its digest. */
const fetchBlob = Effect.fnUntraced(function* (
  session: Client.Session,
  { digest, size }: Descriptor,
  maxBytes: number,
  fail: (problem: string) => LightboxError
): Effect.fn.Return<Buffer, Problem | LightboxError> {
  if (size > maxBytes) return yield* fail(`a part of it has ${size} bytes, which is too large`)
  const { body } = yield* Client.patiently(
    Effect.filterOrElse(
      session.send({ to: `/blobs/${digest}`, maxBytes: size }),
      ({ status }) => status === 200,
      (answer) => Effect.fail(Client.refusal(session.host, `part ${digest} of this snapshot`, session, answer))
    )
  )
  if (`sha256:${Chunks.digestOf(body)}` !== digest) return yield* fail(`${digest} has another content`)
  return body
})

/** Fetches the manifest and the description. `version` is a tag or a digest. */
export const fetch = Effect.fnUntraced(function* (
  session: Client.Session,
  version: string,
  fail: (problem: string) => LightboxError
): Effect.fn.Return<Fetched, Problem | LightboxError> {
  const { host, repository } = session
  const isDigest = version.includes(":")
  const subject = `${repository}${isDigest ? "@" : ":"}${version}`
  const accept = [manifestType, "application/vnd.oci.image.index.v1+json"].join(", ")
  const { body } = yield* Client.patiently(
    Effect.filterOrElse(
      session.send({ to: `/manifests/${version}`, headers: { accept } }),
      ({ status }) => status === 200,
      (answer) => Effect.fail(Client.refusal(host, `snapshot ${subject}`, session, answer))
    )
  )
  const digest = Chunks.digestOf(body)
  if (isDigest && version !== `sha256:${digest}`) return yield* fail("the manifest does not match the digest")
  const manifest = yield* Effect.mapError(Schema.decodeEffect(manifestCodec)(body.toString("utf8")), (): Problem => ({
    kind: "NotASnapshot",
    problem: `${subject} is not a snapshot`
  }))
  const bytes = yield* fetchBlob(session, manifest.config, Client.maxManifestBytes, fail)
  const config = yield* Effect.mapError(Schema.decodeEffect(configCodec)(bytes.toString("utf8")), (error) =>
    fail(`its description cannot be read: ${error.message}`)
  )
  return { manifest, digest, config }
})

/** The packs of a manifest. */
export const packsOf = ({ layers: [, ...packs] }: Manifest): ReadonlyArray<Descriptor> => packs

/** Fetches the index. */
export const fetchIndex = Effect.fnUntraced(function* (
  session: Client.Session,
  { config, manifest }: Fetched,
  fail: (problem: string) => LightboxError
): Effect.fn.Return<ReadonlyArray<Chunks.Chunk & Chunks.Place>, Problem | LightboxError> {
  const packs = packsOf(manifest)
  if (packs.some(({ size }) => size > Chunks.maxPackBytes)) return yield* fail("a part of it is too large")
  const bytes = yield* fetchBlob(session, manifest.layers[0], Chunks.maxIndexBytes, fail)
  return yield* Effect.try({
    try: () => Chunks.decodeIndex(bytes, { files: config.files, packs }),
    catch: (cause) => fail(problemOf(cause))
  })
})

/** Fetches a part of a pack. The answer of a registry that ignores ranges is the whole. */
export const fetchRange = Effect.fnUntraced(function* (
  session: Client.Session,
  { digest, size }: Descriptor,
  from: number,
  to: number,
  fail: (problem: string) => LightboxError
): Effect.fn.Return<Buffer, Problem | LightboxError> {
  const isWhole = from === 0 && to === size
  const { body, status } = yield* Client.patiently(
    Effect.filterOrElse(
      session.send({
        to: `/blobs/${digest}`,
        maxBytes: size,
        ...(isWhole ? {} : { headers: { range: `bytes=${from}-${to - 1}` } })
      }),
      ({ status }) => status === 200 || (status === 206 && !isWhole),
      (answer) => Effect.fail(Client.refusal(session.host, `part ${digest} of this snapshot`, session, answer))
    )
  )
  const bytes = status === 206 ? body : body.subarray(from, to)
  return bytes.length === to - from ? bytes : yield* fail(`${digest} has another size`)
})
