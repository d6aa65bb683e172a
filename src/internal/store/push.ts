/** Pushes snapshots to registries. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { LightboxError, Unsupported } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { Pushed, PushOptions, TransferProgress } from "../../Snapshot.ts"
import { Func, SnapshotReference } from "../config/schemas.ts"
import { callDecoder, invalid } from "../config/validation.ts"
import { fileFailure } from "../host/fileFailure.ts"
import { noteForScope } from "../ownership/labels.ts"
import * as Client from "../registry/client.ts"
import * as Repository from "../registry/repository.ts"
import * as Listener from "../report/listener.ts"
import * as Artifact from "./artifact.ts"
import * as Chunks from "./chunks.ts"
import { isResult } from "./links.ts"
import * as Names from "./names.ts"
import * as Sources from "./sources.ts"
import { definitionLabel, isArtifactName, keyLabel, type Store } from "./store.ts"

const method = "Snapshot.push"

const decodePush = callDecoder(
  method,
  Schema.Struct({ name: SnapshotReference, reference: Sources.Reference }),
  Schema.Struct({ ...Sources.access, onProgress: Schema.optional(Func) })
)

/** Transfers at once. Each holds a pack in memory. */
export const concurrency = 4

/** The number of tags of the same repository in which content is looked for. */
const maxNeighbours = 3

/** More parts of other snapshots are not used: each of them is asked for, by every pull as well. */
const maxReusedPacks = 512

/** A sink for the progress of a transfer. */
export interface Progress {
  /** Adds bytes of content that are done, and bytes that were transferred for it. */
  readonly add: (done: number, moved: number) => void
  readonly moved: () => number
}

/** Reports the progress of a transfer to a caller. */
export const progressOf = Effect.fnUntraced(function* (
  onProgress: ((progress: TransferProgress) => Effect.Effect<void>) | undefined,
  reference: string,
  total: number
): Effect.fn.Return<Progress, never, Scope.Scope> {
  const tell = onProgress === undefined ? () => {} : yield* Listener.make(onProgress)
  let progress: TransferProgress = { reference, done: 0, total, moved: 0 }
  let told = progress
  tell(progress)
  return {
    add: (done, moved) => {
      progress = { ...progress, done: progress.done + done, moved: progress.moved + moved }
      // What is there already is found faster than anybody could follow.
      if (moved === 0 && progress.done < total && progress.done < told.done + Chunks.packBytes) return
      told = progress
      tell(progress)
    },
    moved: () => progress.moved
  }
})

/** Content that the repository has. */
interface Known {
  readonly packs: ReadonlyArray<Artifact.Descriptor>
  /** Where chunks are, by digest. */
  readonly places: ReadonlyMap<string, Chunks.Place>
}

const tag = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/

/**
 * Finds what need not be sent: the content of the snapshot that has the tag, or of others in the repository. What cannot
 * be read is sent.
 */
const findKnown = Effect.fnUntraced(function* (
  repository: Repository.Repository,
  wanted: string,
  fail: (problem: string) => LightboxError
): Effect.fn.Return<Known, never> {
  const packs: Array<Artifact.Descriptor> = []
  const places = new Map<string, Chunks.Place>()
  const add = Effect.fnUntraced(function* (version: string) {
    const fetched = yield* Artifact.fetch(repository, version, fail)
    const chunks = yield* Artifact.fetchIndex(repository, fetched, fail)
    const first = packs.length
    packs.push(...Artifact.packsOf(fetched.manifest))
    for (const { digest, offset, pack, size } of chunks) {
      if (!places.has(digest)) places.set(digest, { pack: first + pack, offset, size })
    }
  }, Effect.option)
  if (Option.isNone(yield* add(wanted))) {
    const listed = yield* repository.tags.pipe(
      Effect.map((tags) => tags.filter((name) => tag.test(name) && name !== wanted)),
      Effect.orElseSucceed((): ReadonlyArray<string> => [])
    )
    const others = listed.filter((name) => name !== "latest").slice(-maxNeighbours)
    for (const name of listed.includes("latest") ? [...others, "latest"] : others) yield* add(name)
  }
  return { packs, places }
})

const sha256 = (bytes: Uint8Array): string => `sha256:${Chunks.digestOf(bytes)}`

/** A snapshot that is sent, as its records describe it. */
interface Described {
  readonly info: Microsandbox.SnapshotInfo
  readonly files: Artifact.Config["files"]
  /** The description, encoded. */
  readonly config: Buffer
  /** Name of the snapshot. */
  readonly title: string
}

/** Describes a snapshot for those who pull it. */
export const describe = Effect.fnUntraced(function* (
  driver: Microsandbox.Microsandbox["Service"],
  store: Store,
  { found, info, name }: Names.Found
): Effect.fn.Return<Described, LightboxError> {
  const record = yield* Effect.orElseSucceed(store.readName(name), () => ({ lastBuild: undefined }))
  const isCurrent = (yield* driver.readSnapshotLink(name)) === info.name
  const [first, ...others] = yield* reading(info.path, async () => {
    const entries = await Fs.readdir(info.path, { withFileTypes: true })
    const names = entries.filter((entry) => entry.isFile()).map((entry) => entry.name)
    return await Promise.all(
      names.toSorted().map(async (name) => ({ name, size: (await Fs.stat(Path.join(info.path, name))).size }))
    )
  })
  if (first === undefined) return yield* Artifact.damaged(method, name, "it has no files")
  const files: Artifact.Config["files"] = [first, ...others]
  const key = isResult(info) ? (info.labels[keyLabel] ?? "") : ""
  const title = isArtifactName(name) ? (info.labels[definitionLabel] ?? untitled) : name
  const config = yield* Artifact.encodeConfig({
    format: 1,
    name: title,
    architecture: process.arch,
    image: info.image,
    imageDigest: info.imageDigest,
    files,
    generation:
      found === undefined
        ? // The result of a key may have no name.
          { key: name === info.name ? key : "", labels: {}, createdAt: info.createdAt.epochMilliseconds }
        : {
            key,
            labels: found.labels,
            ...(found.defaults === undefined ? {} : { defaults: found.defaults }),
            ...(found.build === undefined ? {} : { build: found.build }),
            createdAt: found.createdAt
          },
    // It explains later misses of builds, of which this is the last.
    ...(isCurrent && record.lastBuild !== undefined ? { lastBuild: record.lastBuild } : {})
  })
  return { info, files, config, title }
})

/** The title of a result whose definition is unknown. */
const untitled = "result"

const reading = <A>(path: string, run: (signal: AbortSignal) => Promise<A>): Effect.Effect<A, LightboxError> =>
  Effect.tryPromise({ try: run, catch: fileFailure(method, "read", path) })

/** Sends a snapshot to a place, and then its manifest under a tag. `reference` is for those who watch. */
export const send = Effect.fnUntraced(function* (
  repository: Repository.Repository,
  { config, files, info, title }: Described,
  to: {
    readonly tag: string
    readonly reference: string
    readonly onProgress: PushOptions["onProgress"]
  }
): Effect.fn.Return<Pushed, Artifact.Problem | LightboxError, Scope.Scope> {
  const { reference, tag } = to
  const fail = (problem: string) => Artifact.damaged(method, reference, problem)
  const paths = files.map(({ name }) => Path.join(info.path, name))
  const sizeOf = ({ file, number }: Chunks.Chunk) => Chunks.lengthOf({ number }, files[file]?.size ?? 0)
  const chunks: Array<Chunks.Chunk> = []
  for (const [file, path] of paths.entries()) {
    chunks.push(...(yield* reading(info.path, (signal) => Chunks.scan(path, file, signal))))
  }
  const total = chunks.reduce((sum, chunk) => sum + sizeOf(chunk), 0)
  const progress = yield* progressOf(to.onProgress, reference, total)

  // Reuse packs that are there, and of which this snapshot needs half.
  const known = yield* findKnown(repository, tag, fail)
  const used = new Map<number, number>()
  const digests = new Set(chunks.map(({ digest }) => digest))
  for (const digest of digests) {
    const place = known.places.get(digest)
    if (place !== undefined) used.set(place.pack, (used.get(place.pack) ?? 0) + place.size)
  }
  const worthwhile = [...used]
    .filter(([pack, bytes]) => 2 * bytes >= (known.packs[pack]?.size ?? Infinity))
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, maxReusedPacks)
    // What is pushed twice has the same manifest.
    .toSorted(([a], [b]) => a - b)
  const kept = yield* Effect.filter(
    worthwhile.flatMap(([pack]) => {
      const descriptor = known.packs[pack]
      return descriptor === undefined ? [] : [{ pack, descriptor }]
    }),
    ({ descriptor }) => repository.hasBlob(descriptor.digest),
    { concurrency }
  )
  const packs = kept.map(({ descriptor }) => descriptor)
  const numbers = new Map(kept.map(({ pack }, index) => [pack, index]))
  const places = new Map<string, Chunks.Place>()
  const missing: Array<Chunks.Chunk> = []
  for (const chunk of chunks) {
    const place = known.places.get(chunk.digest)
    const pack = place === undefined ? undefined : numbers.get(place.pack)
    if (place !== undefined && pack !== undefined) {
      places.set(chunk.digest, { ...place, pack })
      progress.add(sizeOf(chunk), 0)
    } else if (digests.delete(chunk.digest)) missing.push(chunk)
    // The same content is sent once.
    else progress.add(sizeOf(chunk), 0)
  }

  const sent = Stream.fromAsyncIterable(Chunks.packsOf(paths, missing), fileFailure(method, "read", info.path))
  yield* sent.pipe(
    Stream.mapEffect(
      (pack) => {
        const digest = sha256(pack.bytes)
        return Effect.map(repository.putBlob(pack.bytes, digest), (moved) => {
          progress.add(pack.length, moved)
          return { chunks: pack.chunks, digest, size: pack.bytes.length }
        })
      },
      { concurrency }
    ),
    Stream.runForEach(({ chunks, digest, size }) =>
      Effect.sync(() => {
        for (const chunk of chunks) places.set(chunk.digest, { ...chunk, pack: packs.length })
        packs.push({ mediaType: Artifact.packType, digest, size })
      })
    )
  )

  const placed = chunks.flatMap((chunk) => {
    const place = places.get(chunk.digest)
    return place === undefined ? [] : [{ ...chunk, ...place }]
  })
  if (placed.length < chunks.length) return yield* fail("it changed while it was read")
  const index = Chunks.encodeIndex(placed)
  const [indexDigest, configDigest] = [sha256(index), sha256(config)]
  const manifest = yield* Artifact.encodeManifest({
    schemaVersion: 2,
    mediaType: Repository.manifestType,
    artifactType: Artifact.artifactType,
    config: { mediaType: Artifact.configType, digest: configDigest, size: config.length },
    layers: [{ mediaType: Artifact.indexType, digest: indexDigest, size: index.length }, ...packs],
    annotations: { "org.opencontainers.image.title": title, "org.opencontainers.image.base.name": info.image }
  })
  if (manifest.length > Client.maxManifestBytes || config.length > Client.maxManifestBytes) {
    const problem = "the snapshot is too large for a registry"
    return yield* new LightboxError({ method, reason: new Unsupported({ feature: "push", problem }) })
  }
  progress.add(0, yield* repository.putBlob(index, indexDigest))
  progress.add(0, yield* repository.putBlob(config, configDigest))
  yield* repository.putManifest(tag, manifest)
  progress.add(0, manifest.length)
  return { reference, digest: sha256(manifest), total, moved: progress.moved() }
})

export const push = (
  driver: Microsandbox.Microsandbox["Service"],
  store: Store,
  givenName: string,
  givenReference: string,
  input: unknown,
  onProgress: PushOptions["onProgress"]
): Effect.Effect<Pushed, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { name, reference, registry, s3 } = yield* decodePush({ name: givenName, reference: givenReference }, input)
      if (reference.includes("@")) {
        return yield* invalid(method, "reference", "expected a tag: the digest is that of what is pushed")
      }
      if (driver.remoteHome !== undefined)
        return yield* driver.remoteHome.push({ name, reference, registry, s3, onProgress })
      yield* Artifact.checkRegistry(method, registry)
      const found = yield* Names.find(driver, store, method, name)
      // A prune must not remove it meanwhile.
      yield* noteForScope(store.ownership, "use", found.info.name)
      yield* driver.verifySnapshot(found.info.name)
      const described = yield* describe(driver, store, found)
      // Pushes to one place take turns: the second finds what the first has sent.
      yield* store.lock(`push:${reference}`)
      return yield* Effect.flatMap(
        Sources.open({ home: driver.home, reference, registry, s3, actions: "pull,push" }),
        ({ repository, version: tag }) => send(repository, described, { tag, reference, onProgress })
      ).pipe(Artifact.failing(method, reference))
    })
  )
