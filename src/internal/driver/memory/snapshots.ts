/**
 * Snapshots: folders in the home with a description and the disk. They outlive the process, and can be damaged like
 * real ones.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { AlreadyExists, type LightboxError, NotFound, SnapshotDamaged, Unsupported } from "../../../LightboxError.ts"
import * as Microsandbox from "../../../Microsandbox.ts"
import { requireEntryName } from "../../config/validation.ts"
import { fileFailure } from "../../host/fileFailure.ts"
import { isCode } from "../../host/socket.ts"
import { snapshotLinks } from "../snapshotLinks.ts"
import type { SnapshotPart } from "../parts.ts"
import { type Failure, type Unnamed, within } from "./failure.ts"
import { readArchive, readQuietly, writeArchive } from "./files.ts"
import type { ImageCache } from "./images.ts"
import * as Memory from "./kernel/memory.ts"

const { createdAt, image, imageDigest, labels, sourceSandbox } = Microsandbox.SnapshotInfo.fields

const Descriptor = Schema.Struct({
  image,
  imageDigest,
  /** Capacity of the disk, in bytes. */
  size: Schema.Finite,
  labels,
  createdAt,
  sourceSandbox,
  /** Size of the file, in bytes. */
  length: Schema.Int,
  checksum: Schema.optionalKey(Schema.String),
  /** Of the captured memory, if there is one. */
  memory: Schema.optionalKey(Schema.Struct({ length: Schema.Int, checksum: Schema.optionalKey(Schema.String) }))
})

const codec = Schema.fromJsonString(Schema.toCodecJson(Descriptor))
const decodeDescriptor = Schema.decodeUnknownOption(codec)
const encodeDescriptor = Schema.encodeSync(codec)

const Saved = Schema.Struct({
  kind: Schema.Literal("effect-lightbox memory snapshot"),
  descriptor: Schema.String,
  disk: Schema.Uint8Array,
  memory: Schema.optionalKey(Schema.Uint8Array),
  image: Schema.optionalKey(Schema.Unknown)
})

const decodeSaved = Schema.decodeUnknownOption(Saved)

const descriptorFile = "snapshot.json"
const diskFile = "upper.disk"
const memoryFile = "memory.bin"

const loadPrefix = ".load-"

export interface Captured {
  readonly disk: Uint8Array
  /** Capacity, in bytes. */
  readonly size: number
  readonly image: { readonly reference: string; readonly digest: string }
  readonly memory?: Uint8Array | undefined
}

/** A snapshot that can be booted. */
export interface Opened {
  readonly info: Microsandbox.SnapshotInfo
  readonly size: number
  readonly descriptor: string
  readonly checksum: string | undefined
  readonly memoryChecksum: string | undefined
  /** Fails with `NotFound` if another process removed it meanwhile. */
  readonly readDisk: Effect.Effect<Buffer, NotFound | LightboxError>
  /** The captured memory as it is in the file. Fails with `Unsupported` if there is none. */
  readonly readMemoryBytes: Effect.Effect<Buffer, NotFound | Unsupported | LightboxError>
  readonly readMemory: Effect.Effect<Memory.Memory, NotFound | Unsupported | SnapshotDamaged | LightboxError>
}

const damaged = (name: string, problem: string): SnapshotDamaged =>
  new SnapshotDamaged({ name, problem: `snapshot integrity check failed: ${problem}` })

const checksumOf = (bytes: Uint8Array): string => `sha256:${Crypto.createHash("sha256").update(bytes).digest("hex")}`

/** Flushes a file or a folder. */
const flush = (path: string): void => {
  const file = Fs.openSync(path, "r")
  try {
    Fs.fsyncSync(file)
  } finally {
    Fs.closeSync(file)
  }
}

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
  readonly open = Effect.fnUntraced({ self: this }, function* (name: string): Effect.fn.Return<
    Opened,
    NotFound | SnapshotDamaged
  > {
    const path = this.pathOf(name)
    const missing = new NotFound({ resource: "snapshot", name })
    if (!Fs.existsSync(path)) return yield* missing
    const text = readQuietly(Path.join(path, descriptorFile))?.toString("utf8") ?? ""
    const descriptor = Option.getOrUndefined(decodeDescriptor(text))
    if (descriptor === undefined) return yield* damaged(name, "the descriptor cannot be read")
    const { checksum, length, memory, size, ...described } = descriptor
    const disk = Path.join(path, diskFile)
    const stats = Fs.statSync(disk, { throwIfNoEntry: false })
    if (stats === undefined) return yield* damaged(name, `missing upper file: ${disk}`)
    if (stats.size !== length) {
      return yield* damaged(name, `upper size mismatch: descriptor says ${length}, file is ${stats.size}`)
    }
    const memoryPath = Path.join(path, memoryFile)
    const memoryStats = memory && Fs.statSync(memoryPath, { throwIfNoEntry: false })
    if (memory !== undefined && memoryStats?.size !== memory.length) {
      return yield* damaged(name, `the memory is missing, or has another size: ${memoryPath}`)
    }
    const digest = checksumOf(Buffer.from(text))
    const allocated = (stats.blocks + (memoryStats?.blocks ?? 0)) * 512
    const read = (file: string) =>
      Effect.try({
        try: () => Fs.readFileSync(file),
        catch: (cause) =>
          isCode(cause, "ENOENT") ? missing : fileFailure("Microsandbox.getSnapshot", "read", file)(cause)
      })
    const readMemoryBytes: Opened["readMemoryBytes"] =
      memory === undefined
        ? Effect.fail(new Unsupported({ feature: "resume", problem: `the snapshot "${name}" is only a disk` }))
        : read(memoryPath)
    return {
      info: {
        ...described,
        name: Path.basename(name),
        digest,
        path,
        size,
        allocated,
        ...(memory === undefined ? {} : { memory: memory.length })
      },
      size,
      descriptor: text,
      checksum,
      memoryChecksum: memory?.checksum,
      readDisk: read(disk),
      readMemoryBytes,
      readMemory: Effect.flatMap(readMemoryBytes, (bytes): Effect.Effect<Memory.Memory, SnapshotDamaged> => {
        const decoded = Memory.decode(bytes)
        const isSame = memory?.checksum === undefined || memory.checksum === checksumOf(bytes)
        return decoded === undefined || !isSame
          ? Effect.fail(damaged(name, `the memory cannot be read: ${memoryPath}`))
          : Effect.succeed(decoded)
      })
    }
  })

  /** Writes a snapshot atomically. */
  put(
    name: string,
    descriptor: string,
    { disk, memory }: Pick<Captured, "disk" | "memory">,
    staged = `.${name}.staging`
  ): void {
    const staging = Path.join(this.folder, staged)
    Fs.rmSync(staging, { recursive: true, force: true })
    Fs.mkdirSync(staging)
    Fs.writeFileSync(Path.join(staging, diskFile), disk, { flush: true })
    if (memory !== undefined) Fs.writeFileSync(Path.join(staging, memoryFile), memory, { flush: true })
    Fs.writeFileSync(Path.join(staging, descriptorFile), descriptor, { flush: true })
    Fs.renameSync(staging, Path.join(this.folder, name))
  }

  private list(isListed: (entry: Fs.Dirent) => boolean): ReadonlyArray<string> {
    const entries = Fs.readdirSync(this.folder, { withFileTypes: true })
    return entries.filter(isListed).map(({ name }) => name)
  }

  links(): ReadonlyArray<string> {
    return this.list((entry) => entry.isSymbolicLink())
  }

  /** Damages the content of a snapshot's disk or memory, or removes the disk. */
  damage(name: string, part: "content" | "disk" | "memory"): Effect.Effect<void, Failure> {
    return Effect.flatMap(this.open(name), ({ info, readDisk, readMemoryBytes }) =>
      Effect.map(part === "memory" ? readMemoryBytes : readDisk, (bytes) => {
        const path = Path.join(info.path, part === "memory" ? memoryFile : diskFile)
        if (part === "disk") return Fs.rmSync(path)
        const middle = bytes.length >> 1
        bytes[middle] = (bytes[middle] ?? 0) ^ 0xff
        Fs.writeFileSync(path, bytes)
      })
    )
  }

  /** All entries except links, damaged or not. */
  names(): ReadonlyArray<string> {
    return this.list((entry) => entry.isDirectory() && !entry.name.startsWith("."))
  }
}

type SnapshotOperations = SnapshotPart & Pick<Microsandbox.MemoryOperations, "captureMemory" | "searchMemory">

/**
 * The operations on snapshots. `capture` returns the disk of a stopped sandbox, and `captureRunning` that of a running one
 * with its memory.
 */
export const make = (options: {
  readonly store: SnapshotStore
  readonly cache: ImageCache
  readonly stage: Effect.Effect<string, LightboxError>
  readonly capture: (sandbox: string) => Effect.Effect<Captured, Failure>
  readonly captureRunning: (sandbox: string) => Effect.Effect<Captured, Failure>
}): Unnamed<SnapshotOperations> => {
  const { cache, capture, captureRunning, stage, store } = options
  const { folder } = store
  const at = (name: string) => Path.join(folder, name)
  const isTaken = (name: string) => Fs.lstatSync(at(name), { throwIfNoEntry: false }) !== undefined
  const taken = (name: string) => new AlreadyExists({ resource: "snapshot", name })
  const onHost = <A>(method: string, path: string, run: () => A): Effect.Effect<A, LightboxError> =>
    Effect.try({ try: run, catch: fileFailure(method, "file", path) })
  const getSnapshot = (name: string) => Effect.map(store.open(name), ({ info }) => info)

  const captureAs = (method: string, captured: (sandbox: string) => Effect.Effect<Captured, Failure>) =>
    Effect.fnUntraced(function* ({
      integrity,
      labels,
      name,
      sandbox
    }: Microsandbox.CaptureSnapshot): Effect.fn.Return<Microsandbox.SnapshotInfo, Failure> {
      yield* requireEntryName(method, name)
      const { disk, image, memory, size } = yield* captured(sandbox)
      if (isTaken(name)) return yield* taken(name)
      const sumOf = (bytes: Uint8Array) => (integrity === true ? { checksum: checksumOf(bytes) } : {})
      const descriptor = encodeDescriptor({
        image: image.reference,
        imageDigest: image.digest,
        size,
        length: disk.length,
        labels: { ...labels },
        createdAt: yield* DateTime.now,
        sourceSandbox: sandbox,
        ...sumOf(disk),
        ...(memory === undefined ? {} : { memory: { length: memory.length, ...sumOf(memory) } })
      })
      yield* onHost(method, at(name), () => store.put(name, descriptor, { disk, memory }))
      return yield* getSnapshot(name)
    })

  return {
    ...snapshotLinks({ folder, stage, getSnapshot: (name) => within("Microsandbox.getSnapshot", getSnapshot(name)) }),
    getSnapshot,
    captureSnapshot: captureAs("Microsandbox.captureSnapshot", capture),
    captureMemory: captureAs("Microsandbox.captureMemory", captureRunning),
    searchMemory: Effect.fnUntraced(function* (name, needles) {
      const { readMemoryBytes } = yield* store.open(name)
      const bytes = yield* readMemoryBytes
      return needles.map((needle) => bytes.indexOf(needle) !== -1)
    }),
    listSnapshots: () =>
      Effect.suspend(() =>
        // As in the runtime, damaged snapshots are not listed.
        Effect.map(Effect.partition(store.names(), getSnapshot), ([found]) => found)
      ),
    listDamagedSnapshots: () =>
      Effect.suspend(() => Effect.filter(store.names(), (name) => Effect.isFailure(getSnapshot(name)))),
    removeSnapshot: (name) =>
      Effect.andThen(
        requireEntryName("Microsandbox.removeSnapshot", name),
        onHost("Microsandbox.removeSnapshot", name, () => Fs.rmSync(at(name), { recursive: true, force: true }))
      ),
    verifySnapshot: Effect.fnUntraced(function* (name) {
      const { checksum, memoryChecksum, readDisk, readMemory } = yield* store.open(name)
      if (checksum === undefined) return false
      const actual = checksumOf(yield* readDisk)
      if (actual !== checksum) {
        return yield* damaged(name, `upper integrity mismatch: descriptor=${checksum}, file=${actual}`)
      }
      // It compares the checksum.
      if (memoryChecksum !== undefined) yield* readMemory
      return true
    }),
    saveSnapshot: Effect.fnUntraced(function* (name, path, saving) {
      const { descriptor, info, readDisk, readMemoryBytes } = yield* store.open(name)
      const disk = yield* readDisk
      const memory = info.memory === undefined ? {} : { memory: yield* readMemoryBytes }
      const image = saving?.withImage === true ? cache.byDigest(info.imageDigest) : undefined
      const saved = { kind: "effect-lightbox memory snapshot", descriptor, disk, ...memory, ...(image && { image }) }
      yield* onHost("Microsandbox.saveSnapshot", path, () => writeArchive(path, saved))
    }),
    loadSnapshot: Effect.fnUntraced(function* (path, name) {
      const method = "Microsandbox.loadSnapshot"
      yield* requireEntryName(method, name)
      const bytes = yield* onHost(method, path, () => Fs.readFileSync(path))
      if (isTaken(name)) return yield* taken(name)
      const saved = readArchive(decodeSaved, bytes)
      if (saved === undefined) {
        return yield* new SnapshotDamaged({ name, problem: `${path} is not a snapshot archive` })
      }
      yield* onHost(method, at(name), () => {
        cache.restore(saved.image)
        store.put(name, saved.descriptor, saved, `${loadPrefix}${name}`)
      })
      return yield* getSnapshot(name)
    }),
    importSnapshot: Effect.fnUntraced(function* (from, name) {
      const method = "Microsandbox.importSnapshot"
      yield* requireEntryName(method, name)
      if (isTaken(name)) return yield* taken(name)
      yield* onHost(method, from, () => {
        for (const entry of Fs.readdirSync(from)) flush(Path.join(from, entry))
        flush(from)
        Fs.renameSync(from, at(name))
      })
      return yield* Effect.tapError(getSnapshot(name), () =>
        Effect.sync(() => Fs.rmSync(at(name), { recursive: true, force: true }))
      )
    }),
    renameSnapshot: Effect.fnUntraced(function* (name, to) {
      const method = "Microsandbox.renameSnapshot"
      yield* requireEntryName(method, name)
      yield* requireEntryName(method, to, "to")
      if (isTaken(to)) return yield* taken(to)
      if (!isTaken(name)) return yield* new NotFound({ resource: "snapshot", name })
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
