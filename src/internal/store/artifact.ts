/** Snapshots as artifacts in a registry: what their manifests and descriptions contain, and how they are fetched. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { LightboxError, SnapshotDamaged, TransferFailed } from "../../LightboxError.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import { SnapshotName } from "../config/schemas.ts"
import { forMethod } from "../config/validation.ts"
import { checkHostPaths } from "../driver/createChecks.ts"
import * as Client from "../registry/client.ts"
import * as Repository from "../registry/repository.ts"
import * as Chunks from "./chunks.ts"
import { Generation, NameRecord } from "./store.ts"

export const artifactType = "application/vnd.effect-lightbox.snapshot.v1"
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
  mediaType: Schema.Literal(Repository.manifestType),
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

/** A snapshot in a registry. */
export interface Fetched {
  readonly manifest: Manifest
  /** Digest of the manifest, in hexadecimal. */
  readonly digest: string
  readonly config: Config
}

/** Says what went wrong. */
export const problemOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/** Fetches a blob, and checks its digest. */
const fetchBlob = Effect.fnUntraced(function* (
  repository: Repository.Repository,
  blob: Descriptor,
  maxBytes: number,
  fail: (problem: string) => LightboxError
): Effect.fn.Return<Buffer, Problem | LightboxError> {
  const { digest, size } = blob
  if (size > maxBytes) return yield* fail(`a part of it has ${size} bytes, which is too large`)
  const bytes = yield* repository.getBlob(blob)
  return `sha256:${Chunks.digestOf(bytes)}` === digest ? bytes : yield* fail(`${digest} has another content`)
})

/** Fetches the manifest and the description. `version` is a tag or a digest. */
export const fetch = Effect.fnUntraced(function* (
  repository: Repository.Repository,
  version: string,
  fail: (problem: string) => LightboxError
): Effect.fn.Return<Fetched, Problem | LightboxError> {
  const body = yield* repository.getManifest(version)
  const digest = Chunks.digestOf(body)
  if (version.includes(":") && version !== `sha256:${digest}`)
    return yield* fail("the manifest does not match the digest")
  const manifest = yield* Effect.mapError(Schema.decodeEffect(manifestCodec)(body.toString("utf8")), (): Problem => ({
    kind: "NotASnapshot",
    problem: `${repository.subjectOf(version)} is not a snapshot`
  }))
  const bytes = yield* fetchBlob(repository, manifest.config, Client.maxManifestBytes, fail)
  const config = yield* Effect.mapError(Schema.decodeEffect(configCodec)(bytes.toString("utf8")), (error) =>
    fail(`its description cannot be read: ${error.message}`)
  )
  return { manifest, digest, config }
})

/** The digests of all parts of a manifest. `undefined`: it is not one. */
export const partsOf = (manifest: Buffer): ReadonlyArray<string> | undefined =>
  Option.getOrUndefined(
    Option.map(Schema.decodeOption(manifestCodec)(manifest.toString("utf8")), ({ config, layers }) =>
      [config, ...layers].map(({ digest }) => digest)
    )
  )

/** The packs of a manifest. */
export const packsOf = ({ layers: [, ...packs] }: Manifest): ReadonlyArray<Descriptor> => packs

/** Fetches the index. */
export const fetchIndex = Effect.fnUntraced(function* (
  repository: Repository.Repository,
  { config, manifest }: Fetched,
  fail: (problem: string) => LightboxError
): Effect.fn.Return<ReadonlyArray<Chunks.Chunk & Chunks.Place>, Problem | LightboxError> {
  const packs = packsOf(manifest)
  if (packs.some(({ size }) => size > Chunks.maxPackBytes)) return yield* fail("a part of it is too large")
  const bytes = yield* fetchBlob(repository, manifest.layers[0], Chunks.maxIndexBytes, fail)
  return yield* Effect.try({
    try: () => Chunks.decodeIndex(bytes, { files: config.files, packs }),
    catch: (cause) => fail(problemOf(cause))
  })
})

/** Fetches a part of a pack. */
export const fetchRange = Effect.fnUntraced(function* (
  repository: Repository.Repository,
  pack: Descriptor,
  range: Repository.Range,
  fail: (problem: string) => LightboxError
): Effect.fn.Return<Buffer, Problem | LightboxError> {
  const bytes = yield* repository.getBlob(pack, range)
  return bytes.length === range.to - range.from ? bytes : yield* fail(`${pack.digest} has another size`)
})
