/**
 * Snapshots: folders in the home with a description and the disk. They outlive the process, and can be damaged like
 * real ones.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Cbor from "cborg"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { AlreadyExists, LightboxError, NotFound, SnapshotDamaged } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import { isCode } from "../../host/socket.ts"
import { fileFailure } from "../../host/fileFailure.ts"
import { snapshotLinks } from "../snapshotLinks.ts"
import type { ImageCache } from "./images.ts"
import type { SnapshotPart } from "../parts.ts"

const Descriptor = Schema.Struct({
  image: Schema.String,
  imageDigest: Schema.String,
  /** Capacity of the disk, in bytes. */
  size: Schema.Finite,
  /** Size of the file, in bytes. */
  length: Schema.Int,
  labels: Schema.Record(Schema.String, Schema.String),
  createdAt: Schema.String,
  sourceSandbox: Schema.String,
  checksum: Schema.optionalKey(Schema.String)
})

type Descriptor = typeof Descriptor.Type

const codec = Schema.fromJsonString(Descriptor)
const decodeDescriptor = Schema.decodeUnknownResult(codec)
const encodeDescriptor = Schema.encodeSync(codec)

const Saved = Schema.Struct({
  kind: Schema.Literal("effect-lightbox memory snapshot"),
  descriptor: Schema.String,
  disk: Schema.Uint8Array,
  image: Schema.optionalKey(Schema.Unknown)
})

const decodeSaved = Schema.decodeUnknownOption(Saved)

const descriptorFile = "snapshot.json"
const diskFile = "upper.disk"

const loadPrefix = ".load-"

export interface Captured {
  readonly sandbox: string
  readonly disk: Uint8Array
  /** Capacity, in bytes. */
  readonly size: number
  readonly image: { readonly reference: string; readonly digest: string }
}

/** A snapshot that can be booted. */
export interface Opened {
  readonly info: Microsandbox.SnapshotInfo
  readonly size: number
  readonly descriptor: string
  readonly checksum: string | undefined
  /** Fails with `NotFound` if another process removed it meanwhile. */
  readonly readDisk: Effect.Effect<Buffer, LightboxError>
}

const checksumOf = (bytes: Uint8Array): string => `sha256:${Crypto.createHash("sha256").update(bytes).digest("hex")}`

/** The snapshots of a home. */
export class SnapshotStore {
  readonly folder: string

  constructor(home: string) {
    this.folder = Path.join(home, "snapshots")
    Fs.mkdirSync(this.folder, { recursive: true })
  }

  /** Resolves a name or link in the folder, or a path with a slash. */
  pathOf(name: string): string {
    return name.includes("/") ? name : Path.join(this.folder, name)
  }

  /** Reads a snapshot from the disk. */
  open(method: string, name: string): Effect.Effect<Opened, LightboxError> {
    return Effect.suspend(() => {
      const path = this.pathOf(name)
      const damaged = (problem: string) =>
        Effect.fail(
          new LightboxError({
            method,
            reason: new SnapshotDamaged({ name, problem: `snapshot integrity check failed: ${problem}` })
          })
        )
      const missing = () => new LightboxError({ method, reason: new NotFound({ resource: "snapshot", name }) })
      if (!Fs.existsSync(path)) return Effect.fail(missing())
      const text = readQuietly(Path.join(path, descriptorFile))?.toString("utf8") ?? ""
      const decoded = decodeDescriptor(text)
      if (decoded._tag === "Failure") return damaged("the descriptor cannot be read")
      const descriptor = decoded.success
      const disk = Path.join(path, diskFile)
      const stats = Fs.statSync(disk, { throwIfNoEntry: false })
      if (stats === undefined) return damaged(`missing upper file: ${disk}`)
      if (stats.size !== descriptor.length) {
        return damaged(`upper size mismatch: descriptor says ${descriptor.length}, file is ${stats.size}`)
      }
      return Effect.succeed({
        info: {
          name: Path.basename(name),
          digest: checksumOf(Buffer.from(text)),
          path,
          image: descriptor.image,
          imageDigest: descriptor.imageDigest,
          size: descriptor.size,
          allocated: stats.blocks * 512,
          labels: descriptor.labels,
          createdAt: DateTime.makeUnsafe(descriptor.createdAt),
          sourceSandbox: descriptor.sourceSandbox
        },
        size: descriptor.size,
        descriptor: text,
        checksum: descriptor.checksum,
        readDisk: Effect.try({
          try: () => Fs.readFileSync(disk),
          catch: (cause) => (isCode(cause, "ENOENT") ? missing() : fileFailure(method, "read", disk)(cause))
        })
      })
    })
  }

  /** Writes a snapshot atomically. */
  put(name: string, descriptor: string, disk: Uint8Array, staged = `.${name}.staging`): void {
    const staging = Path.join(this.folder, staged)
    Fs.rmSync(staging, { recursive: true, force: true })
    Fs.mkdirSync(staging)
    Fs.writeFileSync(Path.join(staging, diskFile), disk, { flush: true })
    Fs.writeFileSync(Path.join(staging, descriptorFile), descriptor, { flush: true })
    Fs.renameSync(staging, Path.join(this.folder, name))
  }

  links(): ReadonlyArray<string> {
    return Fs.readdirSync(this.folder, { withFileTypes: true })
      .filter((entry) => entry.isSymbolicLink())
      .map(({ name }) => name)
  }

  /** Damages the content of a snapshot's disk, or removes the disk. */
  damage(method: string, name: string, part: "content" | "disk"): Effect.Effect<void, LightboxError> {
    return Effect.flatMap(this.open(method, name), ({ info, readDisk }) =>
      Effect.map(readDisk, (bytes) => {
        const path = Path.join(info.path, diskFile)
        if (part === "disk") return Fs.rmSync(path)
        const middle = bytes.length >> 1
        bytes[middle] = (bytes[middle] ?? 0) ^ 0xff
        Fs.writeFileSync(path, bytes)
      })
    )
  }

  /** All entries except links, damaged or not. */
  names(): ReadonlyArray<string> {
    return Fs.readdirSync(this.folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
      .map(({ name }) => name)
  }
}

const readQuietly = (path: string): Buffer | undefined => {
  try {
    return Fs.readFileSync(path)
  } catch {
    return undefined
  }
}

/** The operations on snapshots. `capture` returns the disk of a stopped sandbox. */
export const make = (options: {
  readonly store: SnapshotStore
  readonly cache: ImageCache
  readonly stage: Effect.Effect<string, LightboxError>
  readonly capture: (method: string, sandbox: string) => Effect.Effect<Captured, LightboxError>
}): SnapshotPart => {
  const { cache, capture, stage, store } = options
  const { folder } = store
  const at = (name: string) => Path.join(folder, name)
  const isTaken = (name: string) => Fs.lstatSync(at(name), { throwIfNoEntry: false }) !== undefined
  const taken = (method: string, name: string) =>
    new LightboxError({ method, reason: new AlreadyExists({ resource: "snapshot", name }) })
  const onHost = <A>(method: string, path: string, run: () => A): Effect.Effect<A, LightboxError> =>
    Effect.try({ try: run, catch: fileFailure(method, "file", path) })

  const getSnapshot = (name: string): Effect.Effect<Microsandbox.SnapshotInfo, LightboxError> =>
    Effect.map(store.open("Microsandbox.getSnapshot", name), ({ info }) => info)

  return {
    ...snapshotLinks({ folder, stage, getSnapshot }),
    getSnapshot,
    captureSnapshot: Effect.fnUntraced(function* ({ integrity, labels, name, sandbox }) {
      const method = "Microsandbox.captureSnapshot"
      const { disk, image, size } = yield* capture(method, sandbox)
      if (isTaken(name)) return yield* taken(method, name)
      const descriptor: Descriptor = {
        image: image.reference,
        imageDigest: image.digest,
        size,
        length: disk.length,
        labels: { ...labels },
        createdAt: new Date(yield* Clock.currentTimeMillis).toISOString(),
        sourceSandbox: sandbox,
        ...(integrity === true ? { checksum: checksumOf(disk) } : {})
      }
      yield* onHost(method, at(name), () => store.put(name, encodeDescriptor(descriptor), disk))
      return yield* getSnapshot(name)
    }),
    listSnapshots: () =>
      Effect.suspend(() =>
        Effect.map(
          Effect.forEach(store.names(), (name) =>
            getSnapshot(name).pipe(
              Effect.map((info) => [info]),
              // As in the runtime, damaged snapshots are not listed.
              Effect.orElseSucceed(() => [])
            )
          ),
          (found) => found.flat()
        )
      ),
    listDamagedSnapshots: () =>
      Effect.suspend(() => Effect.filter(store.names(), (name) => Effect.isFailure(getSnapshot(name)))),
    removeSnapshot: (name) =>
      onHost("Microsandbox.removeSnapshot", name, () =>
        Fs.rmSync(store.pathOf(name), { recursive: true, force: true })
      ),
    verifySnapshot: Effect.fnUntraced(function* (name) {
      const method = "Microsandbox.verifySnapshot"
      const { checksum, readDisk } = yield* store.open(method, name)
      if (checksum === undefined) return false
      const actual = checksumOf(yield* readDisk)
      if (actual === checksum) return true
      const problem = `snapshot integrity check failed: upper integrity mismatch: descriptor=${checksum}, file=${actual}`
      return yield* new LightboxError({ method, reason: new SnapshotDamaged({ name, problem }) })
    }),
    saveSnapshot: Effect.fnUntraced(function* (name, path, saving) {
      const method = "Microsandbox.saveSnapshot"
      const { descriptor, info, readDisk } = yield* store.open(method, name)
      const disk = yield* readDisk
      const image = saving?.withImage === true ? cache.byDigest(info.imageDigest) : undefined
      yield* onHost(method, path, () => {
        Fs.mkdirSync(Path.dirname(Path.resolve(path)), { recursive: true })
        Fs.writeFileSync(
          path,
          Cbor.encode({
            kind: "effect-lightbox memory snapshot",
            descriptor,
            disk,
            ...(image === undefined ? {} : { image })
          })
        )
      })
    }),
    loadSnapshot: Effect.fnUntraced(function* (path, name) {
      const method = "Microsandbox.loadSnapshot"
      const bytes = yield* onHost(method, path, () => Fs.readFileSync(path))
      if (isTaken(name)) return yield* taken(method, name)
      const saved = decodeQuietly(bytes)
      if (saved === undefined) {
        return yield* new LightboxError({
          method,
          reason: new SnapshotDamaged({ name, problem: `${path} is not a snapshot archive` })
        })
      }
      yield* onHost(method, at(name), () => {
        cache.restore(saved.image)
        store.put(name, saved.descriptor, saved.disk, `${loadPrefix}${name}`)
      })
      return yield* getSnapshot(name)
    }),
    renameSnapshot: Effect.fnUntraced(function* (name, to) {
      const method = "Microsandbox.renameSnapshot"
      if (isTaken(to)) return yield* taken(method, to)
      if (!isTaken(name)) {
        return yield* new LightboxError({ method, reason: new NotFound({ resource: "snapshot", name }) })
      }
      yield* onHost(method, at(to), () => Fs.renameSync(at(name), at(to)))
    }),
    removeStaging: (of, options) =>
      onHost("Microsandbox.removeStaging", folder, () => {
        const found = Fs.readdirSync(folder)
          .filter((name) => ("snapshot" in of ? name === `.${of.snapshot}.staging` : name.startsWith(loadPrefix)))
          .map(at)
          .filter((path) => "snapshot" in of || Fs.statSync(path).birthtimeMs >= of.loadsSince)
        if (options?.dryRun === true) return found
        for (const path of found) Fs.rmSync(path, { recursive: true, force: true })
        return found
      })
  }
}

const decodeQuietly = (bytes: Uint8Array): typeof Saved.Type | undefined => {
  try {
    const saved = decodeSaved(Cbor.decode(bytes))
    return saved._tag === "Some" ? saved.value : undefined
  } catch {
    return undefined
  }
}
