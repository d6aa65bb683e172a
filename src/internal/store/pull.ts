/**
 * Pulls snapshots from registries.
 *
 * What is received is written to a folder of its own, and moved into the store when it is complete. The folder stays if the
 * transfer breaks, and the next one goes on from there: it believes nothing, and compares the digest of every chunk.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Struct from "effect/Struct"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { LightboxError, Unsupported } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { HostReference as HostReferenceOf, PullOptions, Snapshot } from "../../Snapshot.ts"
import { Func, HostUrl, intBetween, SecretToken, SnapshotName, SnapshotReference } from "../config/schemas.ts"
import { callDecoder } from "../config/validation.ts"
import { withFreePorts } from "../driver/ports.ts"
import { makeFolder, unlessMissing } from "../host/durable.ts"
import { fileFailure } from "../host/fileFailure.ts"
import { noteForScope } from "../ownership/labels.ts"
import type * as Client from "../registry/client.ts"
import type * as Repository from "../registry/repository.ts"
import * as Artifact from "./artifact.ts"
import * as Chunks from "./chunks.ts"
import * as Commits from "./commits.ts"
import * as Names from "./names.ts"
import { filesIn, foldersOf, pullLock } from "./pullFolders.ts"
import * as Push from "./push.ts"
import * as Sources from "./sources.ts"
import { artifactName, captureLock, definitionLabel, keyLabel, type Store } from "./store.ts"
import { discard } from "./transfer.ts"
import { writeAt } from "../host/positions.ts"

type Driver = Microsandbox.Microsandbox["Service"]

const method = "Snapshot.pull"

const HostReference = Schema.Struct({
  host: HostUrl,
  token: SecretToken,
  snapshot: Schema.optional(SnapshotReference)
})

const decodePull = callDecoder(
  method,
  Schema.Struct({ name: SnapshotName, reference: Schema.Union([Sources.Reference, HostReference]) }),
  Schema.Struct({
    overwrite: Schema.optional(Schema.Boolean),
    keep: Schema.optional(intBetween(1, Number.MAX_SAFE_INTEGER)),
    trusted: Schema.optional(Schema.Boolean),
    ...Sources.access,
    onProgress: Schema.optional(Func)
  })
)

/** As those of builds. */
const defaultKeep = 2

const attempt = <A>(path: string, run: () => Promise<A>): Effect.Effect<A, LightboxError> =>
  Effect.tryPromise({ try: run, catch: fileFailure(method, "write", path) })

export const pull = (
  driver: Driver,
  store: Store,
  givenName: string,
  givenReference: unknown,
  input: unknown,
  onProgress: PullOptions["onProgress"]
): Effect.Effect<Snapshot, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const decoded = yield* decodePull({ name: givenName, reference: givenReference }, input)
      const { keep = defaultKeep, name, overwrite = true, registry, s3, trusted = true } = decoded
      const from = decoded.reference
      if (driver.remoteHome !== undefined) {
        const options = { keep, overwrite, trusted, registry, s3, onProgress }
        return yield* driver.remoteHome.pull({ name, reference: from, ...options })
      }
      const { open, reference } = sourceOf(driver.home, from, name, { registry, s3 })
      yield* Artifact.checkRegistry(method, registry)
      // Before anything is transferred.
      yield* overwrite ? Names.requireOurs(driver, method, name) : Names.requireFree(driver, method, name)
      const fail = (problem: string) => Artifact.damaged(method, reference, problem)
      return yield* Effect.gen(function* () {
        const source = yield* open
        const fetched = yield* fetch(source, fail)
        const { generation, lastBuild } = fetched.config
        const key = trusted ? generation.key : ""
        if (key !== "" && !isKey(key)) return yield* fail("it has no proper key")
        const artifact = key === "" ? `${name}.pulled-${fetched.digest.slice(0, 16)}` : artifactName(key)
        const { isNew, result } = yield* obtain(driver, store, {
          artifact,
          fetched,
          fail,
          onProgress,
          key,
          name,
          reference,
          repository: source.repository
        })
        const { defaults } = generation
        // What is not trusted must not choose the ports of this host.
        const checked = defaults && (trusted ? defaults : withFreePorts(defaults))
        const { snapshot } = yield* Commits.commit(driver, store, {
          name,
          result,
          key,
          labels: generation.labels,
          ...(checked === undefined ? {} : { defaults: checked }),
          ...(generation.build === undefined ? {} : { build: generation.build }),
          ...(lastBuild === undefined || key === "" ? {} : { lastBuild }),
          keep,
          replaceForeign: false,
          overwrite,
          method
        }).pipe(Effect.onError(() => (isNew && key === "" ? discard(driver, store, [artifact]) : Effect.void)))
        return snapshot
      }).pipe(Artifact.failing(method, reference))
    })
  )

/** Where a reference leads, and what it is called in errors. */
const sourceOf = (
  home: string,
  from: string | HostReferenceOf,
  name: string,
  access: Sources.Access
): { readonly open: Effect.Effect<Sources.Opened, Client.Problem, Scope.Scope>; readonly reference: string } => {
  if (typeof from === "string") {
    return { open: Sources.open({ home, reference: from, ...access, actions: "pull" }), reference: from }
  }
  const { host, snapshot = name, token } = from
  return { open: Sources.openHost({ host, token }, { snapshot }), reference: `${host}/${snapshot}` }
}

const isKey = (key: string): boolean => /^[0-9a-f]{64}$/.test(key)

const decodeKey = callDecoder(
  method,
  Schema.Struct({
    key: Schema.String.check(Schema.makeFilter((key) => (isKey(key) ? undefined : "expected the key of a result"))),
    from: Schema.Struct(Struct.omit(HostReference.fields, ["snapshot"]))
  }),
  Schema.Struct({})
)

/**
 * Pulls the result of a key from another host, unless it is here. It gets no name: builds find it by its key, and a prune
 * may remove it.
 */
export const pullResult = (
  driver: Driver,
  store: Store,
  given: { readonly key: unknown; readonly from: unknown },
  onProgress: PullOptions["onProgress"]
): Effect.Effect<Microsandbox.SnapshotInfo, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { from, key } = yield* decodeKey(given, {})
      if (driver.remoteHome !== undefined) return yield* driver.remoteHome.pullResult({ key, from, onProgress })
      const artifact = artifactName(key)
      const known = yield* existing(driver, artifact, key)
      if (known !== undefined) return known
      const reference = `${from.host}/${key}`
      const fail = (problem: string) => Artifact.damaged(method, reference, problem)
      return yield* Effect.gen(function* () {
        const source = yield* Sources.openHost(from, { key })
        const fetched = yield* fetch(source, fail)
        if (fetched.config.generation.key !== key) return yield* fail("it is the result of another key")
        const wanted = { artifact, fetched, fail, onProgress, key, name: artifact, reference }
        const { result } = yield* obtain(driver, store, { ...wanted, repository: source.repository })
        yield* store.touch(key)
        return result
      }).pipe(Artifact.failing(method, reference))
    })
  )

/** Fetches the description of a snapshot, if it is for machines such as this one. */
const fetch = Effect.fnUntraced(function* (
  { repository, version }: Sources.Opened,
  fail: (problem: string) => LightboxError
): Effect.fn.Return<Artifact.Fetched, Artifact.Problem | LightboxError> {
  const fetched = yield* Artifact.fetch(repository, version, fail)
  const { architecture } = fetched.config
  if (architecture === process.arch) return fetched
  const problem = `the snapshot is for machines of the type ${architecture}, and this one is ${process.arch}`
  return yield* new LightboxError({ method, reason: new Unsupported({ feature: "pull", problem }) })
})

/** Receives a snapshot, unless it is here or another process receives it. */
const obtain = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  wanted: Wanted
): Effect.fn.Return<
  { readonly result: Microsandbox.SnapshotInfo; readonly isNew: boolean },
  Artifact.Problem | LightboxError,
  Scope.Scope
> {
  const { artifact, key } = wanted
  // A sweep removes what gets no name, and a prune spares a result that no name needs yet.
  yield* noteForScope(store.ownership, key === "" ? "unnamed" : "use", artifact)
  yield* store.lock(pullLock(artifact))
  const known = yield* existing(driver, artifact, key)
  if (known !== undefined) return { result: known, isNew: false }
  return { result: yield* receive(driver, store, wanted), isNew: true }
})

/** The result, if it is here. */
const existing = (
  driver: Driver,
  artifact: string,
  key: string
): Effect.Effect<Microsandbox.SnapshotInfo | undefined, LightboxError> =>
  driver.getSnapshot(artifact).pipe(
    Effect.map((info) => (key === "" || info.labels[keyLabel] === key ? info : undefined)),
    Effect.catchReasons("LightboxError", { NotFound: () => Effect.undefined, SnapshotDamaged: () => Effect.undefined })
  )

/** A snapshot that may have some of the content: what the name points to, else the newest result of the definition. */
const relative = Effect.fnUntraced(function* (
  driver: Driver,
  name: string,
  definition: string
): Effect.fn.Return<Microsandbox.SnapshotInfo | undefined, LightboxError> {
  const origin = (yield* driver.readSnapshotLink(name)) ?? (yield* driver.readSnapshotLink(definition))
  const found = origin === undefined ? undefined : yield* existing(driver, origin, "")
  if (found !== undefined) return found
  const results = (yield* driver.listSnapshots()).filter(({ labels }) => labels[definitionLabel] === definition)
  return results.toSorted((a, b) => b.createdAt.epochMilliseconds - a.createdAt.epochMilliseconds)[0]
})

interface Wanted {
  readonly artifact: string
  readonly key: string
  readonly name: string
  readonly reference: string
  readonly repository: Repository.Repository
  readonly fetched: Artifact.Fetched
  readonly onProgress: PullOptions["onProgress"]
  readonly fail: (problem: string) => LightboxError
}

/** Receives a snapshot, and moves it into the store. */
const receive = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  wanted: Wanted
): Effect.fn.Return<Microsandbox.SnapshotInfo, Artifact.Problem | LightboxError, Scope.Scope> {
  const { artifact, fail, fetched, key, name, onProgress, reference, repository } = wanted
  const { files } = fetched.config
  const folder = Path.join(foldersOf(driver.home), artifact)
  const clear = attempt(folder, () => Fs.rm(folder, { recursive: true, force: true }))
  const chunks = yield* Artifact.fetchIndex(repository, fetched, fail)
  const sizeOf = ({ file }: Chunks.Chunk) => files[file]?.size ?? 0
  const lengthOf = (chunk: Chunks.Chunk) => Chunks.lengthOf(chunk, sizeOf(chunk))
  const total = chunks.reduce((sum, chunk) => sum + lengthOf(chunk), 0)
  const progress = yield* Push.progressOf(onProgress, reference, total)

  return yield* Effect.gen(function* () {
    const isResumed = yield* attempt(folder, () => prepare(folder, fetched.digest))
    const handles = yield* openAll(
      filesIn(folder),
      files.map((file) => ({ ...file, flags: isResumed ? "r+" : "w+" }))
    )
    const local = yield* relative(driver, name, fetched.config.name)
    const seeds =
      local === undefined
        ? []
        : yield* openAll(
            local.path,
            files.map(({ name }) => ({ name, flags: "r" }))
          )

    const missing = yield* Effect.tryPromise({
      try: (signal) =>
        findMissing(chunks, {
          handles,
          isResumed,
          seeds,
          sizeOf,
          signal,
          found: (chunk) => progress.add(lengthOf(chunk), 0)
        }),
      catch: fileFailure(method, "write", folder)
    })
    const packs = Artifact.packsOf(fetched.manifest)
    yield* Effect.forEach(
      rangesOf(missing),
      Effect.fnUntraced(function* (range) {
        const pack = packs[range.pack]
        if (pack === undefined) return yield* fail("its index contradicts its files")
        const bytes = yield* Artifact.fetchRange(repository, pack, range, fail)
        for (const chunk of range.chunks) {
          const handle = handles[chunk.file]
          if (handle === undefined) continue
          const at = chunk.offset - range.from
          const content = yield* Effect.try({
            try: () => Chunks.unpack(bytes.subarray(at, at + chunk.size), chunk, sizeOf(chunk)),
            catch: (cause) => fail(Artifact.problemOf(cause))
          })
          yield* attempt(folder, () => writeAt(handle, content, chunk.number * Chunks.chunkBytes))
        }
        progress.add(
          range.chunks.reduce((sum, chunk) => sum + lengthOf(chunk), 0),
          bytes.length
        )
      }),
      { concurrency: Push.concurrency, discard: true }
    )
    // The end of a file may be a hole.
    for (const [file, { size }] of files.entries()) {
      const handle = handles[file]
      if (handle !== undefined) yield* attempt(folder, () => handle.truncate(size))
    }

    // A build may be about to make the same result.
    if (key !== "") yield* store.lock(captureLock(artifact))
    const made = yield* existing(driver, artifact, key)
    if (made !== undefined) return made
    yield* driver.removeSnapshot(artifact)
    return yield* Effect.gen(function* () {
      const info = yield* driver.importSnapshot(filesIn(folder), artifact)
      if (key !== "" && info.labels[keyLabel] !== key) return yield* fail("its content does not match its description")
      yield* driver.verifySnapshot(artifact)
      return info
    }).pipe(Effect.onError(() => Effect.ignore(driver.removeSnapshot(artifact))))
  }).pipe(
    Effect.scoped,
    Effect.onExit((exit) => (Exit.isSuccess(exit) || !canContinue(exit) ? Effect.ignore(clear) : Effect.void))
  )
})

/** Whether what was received is of use: not if it is wrong, and not if it fills the disk. */
const canContinue = (exit: Exit.Failure<unknown, Artifact.Problem | LightboxError>): boolean =>
  !exit.cause.reasons.some(
    (reason) => reason._tag === "Die" || (reason._tag === "Fail" && reason.error instanceof LightboxError)
  )

/** Prepares a folder. Returns `true` if it has what was received of the same snapshot before. */
const prepare = async (folder: string, digest: string): Promise<boolean> => {
  const mark = Path.join(folder, "digest")
  if ((await unlessMissing(Fs.readFile(mark, "utf8"))) === digest) {
    // The files may have been moved into the store, and removed with a result that did not get its name.
    return (await Fs.mkdir(filesIn(folder), { recursive: true })) === undefined
  }
  await Fs.rm(folder, { recursive: true, force: true })
  await makeFolder(filesIn(folder))
  await Fs.writeFile(mark, digest)
  return false
}

/** Opens files for the scope. Those that do not exist are absent. */
const openAll = (
  folder: string,
  files: ReadonlyArray<{ readonly name: string; readonly flags: string }>
): Effect.Effect<ReadonlyArray<Fs.FileHandle | undefined>, LightboxError, Scope.Scope> =>
  Effect.forEach(files, ({ flags, name }) => {
    const path = Path.join(folder, name)
    return Effect.acquireRelease(
      attempt(path, async () => {
        const file = await unlessMissing(Fs.open(path, flags, 0o600))
        // A process was killed before it made all of them.
        return file ?? (flags === "r+" ? await Fs.open(path, "w+", 0o600) : undefined)
      }),
      (handle) => Effect.promise(async () => handle?.close())
    )
  })

/** Takes chunks from what was received before, and from the current generation of the name. Returns the others. */
const findMissing = async (
  chunks: ReadonlyArray<Chunks.Chunk & Chunks.Place>,
  options: {
    readonly handles: ReadonlyArray<Fs.FileHandle | undefined>
    readonly isResumed: boolean
    readonly seeds: ReadonlyArray<Fs.FileHandle | undefined>
    readonly sizeOf: (chunk: Chunks.Chunk) => number
    readonly found: (chunk: Chunks.Chunk) => void
    readonly signal: AbortSignal
  }
): Promise<ReadonlyArray<Chunks.Chunk & Chunks.Place>> => {
  const { found, handles, isResumed, seeds, signal, sizeOf } = options
  const buffer = Buffer.alloc(Chunks.chunkBytes)
  const missing: Array<Chunks.Chunk & Chunks.Place> = []
  const has = async (file: Fs.FileHandle | undefined, chunk: Chunks.Chunk) =>
    file !== undefined && Chunks.digestOf(await Chunks.readChunk(file, buffer, chunk, sizeOf(chunk))) === chunk.digest
  for (const chunk of chunks) {
    signal.throwIfAborted()
    const handle = handles[chunk.file]
    if (isResumed && (await has(handle, chunk))) found(chunk)
    else if (handle !== undefined && (await has(seeds[chunk.file], chunk))) {
      await writeAt(handle, buffer.subarray(0, Chunks.lengthOf(chunk, sizeOf(chunk))), chunk.number * Chunks.chunkBytes)
      found(chunk)
    } else missing.push(chunk)
  }
  return missing
}

/** A part of a pack, with the chunks to take from it. */
interface Range {
  readonly pack: number
  readonly from: number
  to: number
  readonly chunks: Array<Chunks.Chunk & Chunks.Place>
}

/** Bytes that are received in vain rather than asked for another time. */
const maxGap = 128 * 1024

const rangesOf = (chunks: ReadonlyArray<Chunks.Chunk & Chunks.Place>): ReadonlyArray<Range> => {
  const ranges: Array<Range> = []
  for (const chunk of chunks.toSorted((a, b) => a.pack - b.pack || a.offset - b.offset)) {
    const { offset, pack, size } = chunk
    const last = ranges.at(-1)
    if (last !== undefined && last.pack === pack && offset <= last.to + maxGap) {
      last.to = Math.max(last.to, offset + size)
      last.chunks.push(chunk)
    } else ranges.push({ pack, from: offset, to: offset + size, chunks: [chunk] })
  }
  return ranges
}
