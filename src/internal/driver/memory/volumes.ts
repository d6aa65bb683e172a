/** Named volumes: folders in the home, shared by all that use it. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { AlreadyExists, InUse, InvalidConfig, type LightboxError, NotFound } from "../../../LightboxError.ts"
import * as Microsandbox from "../../../Microsandbox.ts"
import { mebibyte } from "../../config/schemas.ts"
import { fileFailure } from "../../host/fileFailure.ts"
import { isCode } from "../../host/socket.ts"
import type { VolumePart } from "../parts.ts"
import type { Failure, Unnamed } from "./failure.ts"

const codec = Schema.fromJsonString(Schema.toCodecJson(Microsandbox.VolumeInfo))
const decode = Schema.decodeUnknownSync(codec)
const encode = Schema.encodeSync(codec)

const recordFile = "volume.json"
const dataFolder = "data"
/** Stands for a disk image on the host: of the same size, but always empty. */
const diskFile = "disk.raw"

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
    return Path.join(this.folder, name, recordFile)
  }

  /** The folder with the content. */
  dataOf(name: string): string {
    return Path.join(this.folder, name, dataFolder)
  }

  get(name: string): Microsandbox.VolumeInfo | undefined {
    const path = this.recordOf(name)
    return Fs.existsSync(path) ? decode(Fs.readFileSync(path, "utf8")) : undefined
  }

  all(): ReadonlyArray<Microsandbox.VolumeInfo> {
    return Fs.readdirSync(this.folder).flatMap((name) => this.get(name) ?? [])
  }

  /** Creates a volume at once, if the name is free. `staged` is a path for what is not complete. */
  create(
    request: Microsandbox.CreateVolume,
    staged: string
  ): Effect.Effect<Microsandbox.VolumeInfo, AlreadyExists | LightboxError> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const { kind, labels = {}, name, quota } = request
      const path = kind === "disk" ? Path.join(this.folder, name, diskFile) : this.dataOf(name)
      const info = { name, kind, quota, path, labels: { ...labels }, createdAt: DateTime.makeUnsafe(now) }
      return Effect.try({
        try: () => {
          Fs.mkdirSync(Path.join(staged, dataFolder), { recursive: true })
          if (kind === "disk") {
            Fs.writeFileSync(Path.join(staged, diskFile), "")
            Fs.truncateSync(Path.join(staged, diskFile), quota ?? 0)
          }
          Fs.writeFileSync(Path.join(staged, recordFile), encode(info), { flush: true })
          Fs.renameSync(staged, Path.join(this.folder, name))
          return info
        },
        catch: (cause) => {
          Fs.rmSync(staged, { recursive: true, force: true })
          return isCode(cause, "ENOTEMPTY", "EEXIST")
            ? new AlreadyExists({ resource: "volume", name })
            : fileFailure("Microsandbox.createVolume", "create", staged)(cause)
        }
      })
    })
  }

  /** Removes a volume, at once if there is a path for what is being removed. */
  remove(name: string, staged: string = Path.join(this.folder, name)): void {
    try {
      Fs.renameSync(Path.join(this.folder, name), staged)
    } catch (cause) {
      if (isCode(cause, "ENOENT")) return
      throw cause
    }
    Fs.rmSync(staged, { recursive: true, force: true })
  }
}

/** The operations on volumes. `usersOf` returns the running sandboxes that mount one. */
export const make = (
  store: VolumeStore,
  stage: Effect.Effect<string, LightboxError>,
  usersOf: (name: string) => Effect.Effect<ReadonlyArray<string>, Failure>
): Unnamed<VolumePart> => ({
  createVolume: Effect.fnUntraced(function* (request) {
    const { kind, name, quota } = request
    if (store.get(name) !== undefined) return yield* new AlreadyExists({ resource: "volume", name })
    if (kind === "disk" && (quota === undefined || quota < smallestDisk)) {
      const problem = quota === undefined ? "disk named volumes require a size" : tooSmall
      return yield* new InvalidConfig({ field: "quota", problem })
    }
    return yield* store.create(request, yield* stage)
  }),
  getVolume: (name) =>
    Effect.suspend(() => {
      const info = store.get(name)
      return info === undefined ? Effect.fail(new NotFound({ resource: "volume", name })) : Effect.succeed(info)
    }),
  listVolumes: () => Effect.sync(() => store.all()),
  removeVolume: Effect.fnUntraced(function* (name) {
    if (store.get(name) === undefined) return
    const usedBy = yield* usersOf(name)
    if (usedBy.length > 0) return yield* new InUse({ resource: "volume", name, usedBy })
    // On a full disk there is no lease, and a removal must not need room.
    const staged = yield* Effect.catchReason(stage, "LightboxError", "NoSpace", () => Effect.undefined)
    yield* Effect.try({
      try: () => store.remove(name, staged),
      catch: fileFailure("Microsandbox.removeVolume", "remove", name)
    })
  })
})
