/** Named volumes: folders in the home, shared by all that use it. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { AlreadyExists, InUse, InvalidConfig, NotFound } from "../../../LightboxError.ts"
import * as Microsandbox from "../../../Microsandbox.ts"
import { mebibyte } from "../../config/schemas.ts"
import type { VolumePart } from "../parts.ts"
import type { Failure, Unnamed } from "./failure.ts"

const codec = Schema.fromJsonString(Schema.toCodecJson(Microsandbox.VolumeInfo))
const decode = Schema.decodeUnknownSync(codec)
const encode = Schema.encodeSync(codec)

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

  /** The folder with the content. */
  dataOf(name: string): string {
    return Path.join(this.folder, name, "data")
  }

  get(name: string): Microsandbox.VolumeInfo | undefined {
    const path = this.recordOf(name)
    return Fs.existsSync(path) ? decode(Fs.readFileSync(path, "utf8")) : undefined
  }

  all(): ReadonlyArray<Microsandbox.VolumeInfo> {
    return Fs.readdirSync(this.folder).flatMap((name) => this.get(name) ?? [])
  }

  /** Creates a volume if the name is free. */
  create(request: Microsandbox.CreateVolume): Effect.Effect<Microsandbox.VolumeInfo, AlreadyExists> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const { kind, labels = {}, name, quota } = request
      try {
        Fs.mkdirSync(Path.join(this.folder, name))
      } catch {
        return Effect.fail(new AlreadyExists({ resource: "volume", name }))
      }
      Fs.mkdirSync(this.dataOf(name))
      // Stands for a disk image on the host: of the same size, but always empty.
      const disk = Path.join(this.folder, name, "disk.raw")
      if (kind === "disk") {
        Fs.writeFileSync(disk, "")
        Fs.truncateSync(disk, quota ?? 0)
      }
      const path = kind === "disk" ? disk : this.dataOf(name)
      const info = { name, kind, quota, path, labels: { ...labels }, createdAt: DateTime.makeUnsafe(now) }
      Fs.writeFileSync(this.recordOf(name), encode(info))
      return Effect.succeed(info)
    })
  }

  remove(name: string): void {
    Fs.rmSync(Path.join(this.folder, name), { recursive: true, force: true })
  }
}

/** The operations on volumes. `usersOf` returns the running sandboxes that mount one. */
export const make = (
  store: VolumeStore,
  usersOf: (name: string) => Effect.Effect<ReadonlyArray<string>, Failure>
): Unnamed<VolumePart> => ({
  createVolume: Effect.fnUntraced(function* (request) {
    const { kind, name, quota } = request
    if (store.get(name) !== undefined) return yield* new AlreadyExists({ resource: "volume", name })
    if (kind === "disk" && (quota === undefined || quota < smallestDisk)) {
      const problem = quota === undefined ? "disk named volumes require a size" : tooSmall
      return yield* new InvalidConfig({ field: "quota", problem })
    }
    return yield* store.create(request)
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
    store.remove(name)
  })
})
