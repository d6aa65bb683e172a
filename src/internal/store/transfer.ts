/**
 * Saves names with their generations to files, and loads them and files of other tools.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TarFiles from "modern-tar/fs"
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { pipeline } from "node:stream/promises"
import type * as Ownership from "../../Ownership.ts"
import { FileError, LightboxError, SnapshotDamaged } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { LoadOptions, SaveOptions, Snapshot } from "../../Snapshot.ts"
import { withFreePorts } from "../driver/ports.ts"
import { fileFailure } from "../host/fileFailure.ts"
import { generate, noteForScope } from "../ownership/labels.ts"
import * as Commits from "./commits.ts"
import * as Generations from "./generations.ts"
import * as Links from "./links.ts"
import * as Names from "./names.ts"
import { HostPath, SnapshotName } from "../config/schemas.ts"
import { artifactName, captureLock, Generation, keyLabel, loadLock, NameRecord, type Store } from "./store.ts"
import { callDecoder, invalid } from "../config/validation.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** The manifest of a file, which also contains an archive for each generation. */
const Manifest = Schema.Struct({
  format: Schema.Literal(1),
  name: SnapshotName,
  /** The generation to which the name points. */
  current: Schema.Int,
  generations: Schema.NonEmptyArray(Generation),
  lastBuild: NameRecord.fields.lastBuild
})

const manifestName = "lightbox.json"
const manifestCodec = Schema.fromJsonString(Schema.toCodecJson(Manifest))
const archiveName = ({ generation }: Generation): string => `generation-${generation}.msb`

const attempt = <A>(method: string, path: string, run: () => Promise<A>): Effect.Effect<A, LightboxError> =>
  Effect.tryPromise({ try: run, catch: fileFailure(method, "archive", path) })

/** Creates a folder for the scope. */
const stagingFolder = (store: Store, method: string): Effect.Effect<string, LightboxError, Scope.Scope> =>
  Effect.flatMap(store.ownership.stage, (path) =>
    Effect.acquireRelease(
      Effect.as(
        attempt(method, path, () => Fs.mkdir(path)),
        path
      ),
      () => Effect.ignore(attempt(method, path, () => Fs.rm(path, { recursive: true, force: true })))
    )
  )

/** Runs an effect while a note names what it creates. */
const noted = <A, E, R>(
  store: Store,
  kind: Ownership.Note["kind"],
  name: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, LightboxError | E, R> =>
  Effect.scopedWith((scope) => Effect.andThen(Scope.provide(noteForScope(store.ownership, kind, name), scope), effect))

// =============================================================================
// Saving
// =============================================================================

const decodeSave = callDecoder(
  "Snapshot.save",
  Schema.Struct({ path: HostPath }),
  Schema.Struct({
    generations: Schema.optional(Schema.Literals(["all", "current"])),
    withImage: Schema.optional(Schema.Boolean),
    compress: Schema.optional(Schema.Boolean)
  })
)

export const save = (
  driver: Driver,
  store: Store,
  name: string,
  path: string,
  input: SaveOptions | undefined
): Effect.Effect<void, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const method = "Snapshot.save"
      const { compress, generations, path: to, withImage = true } = yield* decodeSave({ path }, input)
      const target = Path.resolve(to)
      const partial = Path.join(Path.dirname(target), `.${Path.basename(target)}.${yield* generate}.partial`)
      const artifact = yield* driver.readSnapshotLink(name)
      const record = yield* store.readName(name)
      const current = record.generations.findLast((generation) => generation.artifact === artifact)
      const finish = <A>(write: Effect.Effect<A, LightboxError>) =>
        noted(
          store,
          "file",
          partial,
          write.pipe(
            Effect.andThen(attempt(method, target, () => Fs.rename(partial, target))),
            Effect.onError(() => Effect.ignore(attempt(method, partial, () => Fs.rm(partial, { force: true })))),
            Effect.mapError((error) => {
              const { reason } = error
              if (reason._tag !== "FileError") return error
              const path = reason.path.replaceAll(partial, target)
              const problem = reason.problem.replaceAll(partial, target)
              const { cause, code, operation } = reason
              return new LightboxError({ method, reason: new FileError({ operation, path, code, problem, cause }) })
            })
          )
        )
      if (artifact === undefined || current === undefined) {
        // Another tool can read its own snapshots.
        return yield* finish(driver.saveSnapshot(artifact ?? name, partial, { withImage, compress }))
      }
      const saved = generations === "current" ? [current] : record.generations
      const folder = yield* stagingFolder(store, method)
      const images = new Set<string>()
      for (const generation of saved) {
        const { imageDigest } = yield* driver.getSnapshot(generation.artifact)
        yield* driver.saveSnapshot(generation.artifact, Path.join(folder, archiveName(generation)), {
          // Save an image once for all its generations.
          withImage: withImage && !images.has(imageDigest),
          compress
        })
        images.add(imageDigest)
      }
      const manifest = yield* Effect.orDie(
        Schema.encodeUnknownEffect(manifestCodec)({
          format: 1,
          name,
          current: current.generation,
          generations: saved,
          ...(record.lastBuild === undefined ? {} : { lastBuild: record.lastBuild })
        })
      )
      const sources: Array<TarFiles.TarSource> = [
        { type: "content", target: manifestName, content: manifest },
        ...saved.map((generation): TarFiles.TarSource => ({
          type: "file",
          source: Path.join(folder, archiveName(generation)),
          target: archiveName(generation)
        }))
      ]
      yield* finish(
        attempt(method, partial, () => pipeline(TarFiles.packTar(sources), FsSync.createWriteStream(partial)))
      )
    })
  )

// =============================================================================
// Loading
// =============================================================================

const decodeLoad = callDecoder(
  "Snapshot.load",
  Schema.Struct({ path: HostPath }),
  Schema.Struct({
    name: Schema.optional(SnapshotName),
    overwrite: Schema.optional(Schema.Boolean),
    trusted: Schema.optional(Schema.Boolean)
  })
)

const method = "Snapshot.load"

const damaged = (name: string, problem: string): LightboxError =>
  new LightboxError({ method, reason: new SnapshotDamaged({ name, problem }) })

/** Checks whether `save` wrote a file: a tar begins with the name of its first entry. */
const isOurs = (path: string): Effect.Effect<boolean, LightboxError> =>
  attempt(method, path, async () => {
    const file = await Fs.open(path)
    try {
      if (!(await file.stat()).isFile()) throw Object.assign(new Error("it is not a file"), { code: "EINVAL" })
      const { buffer } = await file.read(Buffer.alloc(100), 0, 100, 0)
      return buffer.toString("latin1").split("\0")[0] === manifestName
    } finally {
      await file.close()
    }
  })

export const load = (
  driver: Driver,
  store: Store,
  input: string,
  inputOptions: LoadOptions | undefined
): Effect.Effect<Snapshot, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const options = yield* decodeLoad({ path: input }, inputOptions)
      const path = Path.resolve(options.path)
      if (!(yield* isOurs(path))) {
        if (options.name === undefined) {
          return yield* invalid(
            method,
            "name",
            "the file was not written by save; if it is an archive of the runtime, pass a name for it"
          )
        }
        const { name } = options
        yield* requireFree(driver, name, options.overwrite)
        const artifact = yield* foreignName(name)
        const adopted = Effect.gen(function* () {
          const { createdAt } = yield* Effect.scoped(
            Effect.andThen(store.lock(loadLock), loadArchive(driver, store, path, artifact))
          ).pipe(nameFile(path))
          const generation = {
            generation: 1,
            key: "",
            artifact,
            labels: {},
            createdAt: DateTime.toEpochMillis(createdAt)
          }
          return yield* Commits.adopt(driver, store, {
            name,
            current: 1,
            generations: [generation],
            overwrite: options.overwrite === true
          })
        }).pipe(Effect.onError(() => discard(driver, store, [artifact])))
        return yield* noted(store, "unnamed", artifact, adopted)
      }
      const folder = yield* stagingFolder(store, method)
      const expected = /^(lightbox\.json|generation-\d+\.msb)$/
      yield* attempt(method, path, () =>
        pipeline(
          FsSync.createReadStream(path),
          TarFiles.unpackTar(folder, {
            strict: true,
            filter: (header) => header.type === "file" && expected.test(header.name)
          })
        )
      ).pipe(Effect.mapError((error) => (isFileFailure(error) ? error : damaged(path, error.message))))
      const text = yield* attempt(method, path, () => Fs.readFile(Path.join(folder, manifestName), "utf8"))
      const manifest = yield* Effect.mapError(Schema.decodeEffect(manifestCodec)(text), (error) =>
        damaged(path, `its list of contents cannot be read: ${error.message}`)
      )
      const name = options.name ?? manifest.name
      yield* requireFree(driver, name, options.overwrite)

      const loaded: Array<string> = []
      return yield* Effect.gen(function* () {
        const generations: Array<Generation> = []
        for (const generation of manifest.generations) {
          const archive = Path.join(folder, archiveName(generation))
          // Builds use a result by its key, whatever its name: the file's word for it is not enough.
          const { artifact, key } =
            options.trusted === true && generation.key !== ""
              ? generation
              : { artifact: yield* foreignName(name), key: "" }
          // A sweep removes what gets no name, and a prune spares a result that no name needs yet.
          yield* noteForScope(store.ownership, key === "" ? "unnamed" : "use", artifact)
          const isNew = yield* Effect.scoped(
            loadGeneration(driver, store, archive, { ...generation, artifact, key })
          ).pipe(nameFile(path))
          // Results are kept: a build can use them, and a prune removes them.
          if (isNew && key === "") loaded.push(artifact)
          const { defaults, ...rest } = generation
          // Nor must it choose the ports of this host.
          const checked = defaults && (options.trusted === true ? defaults : withFreePorts(defaults))
          generations.push({ ...rest, ...(checked === undefined ? {} : { defaults: checked }), artifact, key })
        }
        return yield* Commits.adopt(driver, store, {
          ...manifest,
          name,
          generations,
          overwrite: options.overwrite === true
        })
      }).pipe(Effect.onError(() => discard(driver, store, loaded)))
    })
  )

/** Names the file instead of what it was to become. */
const nameFile = (path: string) =>
  Effect.mapError((error: LightboxError) =>
    error.reason._tag === "SnapshotDamaged" ? damaged(path, error.reason.problem) : error
  )

/** Removes what a failed load or capture has left, unless the name already points to it. */
export const discard = (driver: Driver, store: Store, loaded: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.ignore(
    Effect.scoped(Effect.andThen(Links.lockNames(store), Generations.removeUnneeded(driver, store, loaded)))
  )

/** Names a snapshot that is not the result of a key. */
const foreignName = (name: string): Effect.Effect<string> => Effect.map(generate, (id) => `${name}.loaded-${id}`)

/** Checks whether the machine failed, not the file. */
const isFileFailure = ({ reason }: LightboxError): boolean =>
  reason._tag === "NoSpace" || (reason._tag === "FileError" && reason.code !== "UNKNOWN")

const requireFree = (
  driver: Driver,
  name: string,
  overwrite: boolean | undefined
): Effect.Effect<void, LightboxError> => (overwrite === true ? Effect.void : Names.requireFree(driver, method, name))

/** Loads an archive under a name. */
const loadArchive = (
  driver: Driver,
  store: Store,
  path: string,
  name: string
): Effect.Effect<Microsandbox.SnapshotInfo, LightboxError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => noted(store, "load", String(now), driver.loadSnapshot(path, name)))

/** Loads the result of a generation, unless it exists. Returns `true` if it was loaded. */
const loadGeneration = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  archive: string,
  { artifact, generation, key }: Generation
): Effect.fn.Return<boolean, LightboxError, Scope.Scope> {
  if (key !== "" && (!/^[0-9a-f]{64}$/.test(key) || artifact !== artifactName(key))) {
    return yield* damaged(archive, `generation ${generation} has no proper key`)
  }
  yield* store.lock(loadLock)
  // A build may be about to make the same result.
  if (key !== "") yield* store.lock(captureLock(artifact))
  const isThere = yield* driver.getSnapshot(artifact).pipe(
    Effect.map(({ labels }) => labels[keyLabel] === key),
    Effect.catchReasons("LightboxError", {
      NotFound: () => Effect.succeed(false),
      SnapshotDamaged: () => Effect.succeed(false)
    })
  )
  if (isThere) return false
  yield* driver.removeSnapshot(artifact)
  // Also on interruption: the next load would take it for complete.
  return yield* Effect.gen(function* () {
    const snapshot = yield* loadArchive(driver, store, archive, artifact)
    if (key !== "" && snapshot.labels[keyLabel] !== key)
      return yield* damaged(artifact, "its content does not match the description in the file")
    yield* driver.verifySnapshot(artifact)
    return true
  }).pipe(Effect.onError(() => Effect.ignore(driver.removeSnapshot(artifact))))
})
