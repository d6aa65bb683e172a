/** Named volumes: folders in the home, shared by all that use it. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { AlreadyExists, InUse, InvalidConfig, LightboxError, NotFound } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import { mebibyte } from "../../config/schemas.ts"
import type { VolumePart } from "../parts.ts"

const Record = Schema.Struct({
  name: Schema.String,
  kind: Schema.Literals(["directory", "disk"]),
  quota: Schema.optionalKey(Schema.Finite),
  labels: Schema.Record(Schema.String, Schema.String),
  /** Milliseconds since 1970. */
  createdAt: Schema.Finite
})

export type VolumeRecord = typeof Record.Type

const codec = Schema.fromJsonString(Record)
const decodeRecord = Schema.decodeUnknownSync(codec)
const encodeRecord = Schema.encodeSync(codec)

/** The smallest disk that fits the runtime's file system. */
export const smallestDisk = 96 * mebibyte

export const tooSmall = "image size is too small for ext4 formatting"

/** The volumes of a home. */
export class VolumeStore {
  private readonly folder: string

  constructor(home: string) {
    this.folder = Path.join(home, "volumes")
    Fs.mkdirSync(this.folder, { recursive: true })
  }

  private recordOf(name: string): string {
    return Path.join(this.folder, name, "volume.json")
  }

  /** Stands for a disk image on the host: of the same size, but always empty. */
  private diskOf(name: string): string {
    return Path.join(this.folder, name, "disk.raw")
  }

  /** The folder with the content. */
  dataOf(name: string): string {
    return Path.join(this.folder, name, "data")
  }

  get(name: string): VolumeRecord | undefined {
    const path = this.recordOf(name)
    return Fs.existsSync(path) ? decodeRecord(Fs.readFileSync(path, "utf8")) : undefined
  }

  all(): ReadonlyArray<VolumeRecord> {
    return Fs.readdirSync(this.folder).flatMap((name) => this.get(name) ?? [])
  }

  /** Creates a volume if the name is free. */
  create(record: VolumeRecord): boolean {
    try {
      Fs.mkdirSync(Path.join(this.folder, record.name))
    } catch {
      return false
    }
    Fs.mkdirSync(this.dataOf(record.name))
    if (record.kind === "disk") {
      Fs.writeFileSync(this.diskOf(record.name), "")
      Fs.truncateSync(this.diskOf(record.name), record.quota ?? 0)
    }
    Fs.writeFileSync(this.recordOf(record.name), encodeRecord(record))
    return true
  }

  remove(name: string): void {
    Fs.rmSync(Path.join(this.folder, name), { recursive: true, force: true })
  }

  info(record: VolumeRecord): Microsandbox.VolumeInfo {
    return {
      name: record.name,
      kind: record.kind,
      quota: record.quota,
      path: record.kind === "disk" ? this.diskOf(record.name) : this.dataOf(record.name),
      labels: record.labels,
      createdAt: DateTime.makeUnsafe(record.createdAt)
    }
  }
}

/** The operations on volumes. `usersOf` returns the running sandboxes that mount one. */
export const make = (
  store: VolumeStore,
  usersOf: (name: string) => Effect.Effect<ReadonlyArray<string>, LightboxError>
): VolumePart => ({
  createVolume: Effect.fnUntraced(function* ({ kind, labels, name, quota }) {
    const method = "Microsandbox.createVolume"
    const refuse = (field: string, problem: string) =>
      new LightboxError({ method, reason: new InvalidConfig({ field, problem }) })
    if (store.get(name) !== undefined) {
      return yield* new LightboxError({ method, reason: new AlreadyExists({ resource: "volume", name }) })
    }
    if (kind === "disk" && quota === undefined) return yield* refuse("quota", "disk named volumes require a size")
    if (kind === "disk" && quota !== undefined && quota < smallestDisk) return yield* refuse("quota", tooSmall)
    const createdAt = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
    const record = { name, kind, ...(quota === undefined ? {} : { quota }), labels: { ...labels }, createdAt }
    if (!store.create(record)) {
      return yield* new LightboxError({ method, reason: new AlreadyExists({ resource: "volume", name }) })
    }
    return store.info(record)
  }),
  getVolume: (name) =>
    Effect.suspend(() => {
      const record = store.get(name)
      return record === undefined
        ? Effect.fail(
            new LightboxError({
              method: "Microsandbox.getVolume",
              reason: new NotFound({ resource: "volume", name })
            })
          )
        : Effect.succeed(store.info(record))
    }),
  listVolumes: () => Effect.sync(() => store.all().map((record) => store.info(record))),
  removeVolume: Effect.fnUntraced(function* (name) {
    if (store.get(name) === undefined) return
    const usedBy = yield* usersOf(name)
    if (usedBy.length > 0) {
      return yield* new LightboxError({
        method: "Microsandbox.removeVolume",
        reason: new InUse({ resource: "volume", name, usedBy })
      })
    }
    store.remove(name)
  })
})
