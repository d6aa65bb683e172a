/** Volumes for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off globalDate:off
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { AlreadyExists, LightboxError } from "../../LightboxError.ts"
import * as Volumes from "../../Volume.ts"
import { Labels, mebibyte, Name } from "../config/schemas.ts"
import { decoder } from "../config/validation.ts"
import { listMeasured, type Measured, measured } from "../volume/volumes.ts"
import { Quota, signalOf } from "./input.ts"
import type { CallOptions } from "./options.ts"
import { run, runNow } from "./runtime.ts"

export const bytesOf = (mib: number | undefined) => (mib === undefined ? undefined : mib * mebibyte)

const decodeBuilder = decoder(Schema.Struct({ name: Name, quota: Quota, labels: Labels }), "Volume.builder")

/**
 * Creates a volume.
 *
 * @category models
 * @since 0.1.0
 */
export class VolumeBuilder {
  readonly #name: string
  readonly #labels: { [key: string]: string } = {}
  #kind: "directory" | "disk" = "directory"
  #quota: number | undefined

  /** @internal */
  constructor(name: string) {
    this.#name = name
  }
  /** Uses a host folder, which many sandboxes can mount at once. The default. */
  directory(): this {
    this.#kind = "directory"
    return this
  }
  /** Uses a disk image, which one sandbox can mount at a time. Needs a size. */
  disk(): this {
    this.#kind = "disk"
    return this
  }
  /** Sets the maximum size, in MiB. */
  quota(mib: number): this {
    this.#quota = mib
    return this
  }
  /** Sets the size of a disk, in MiB. */
  size(mib: number): this {
    return this.quota(mib)
  }
  label(key: string, value: string): this {
    this.#labels[key] = value
    return this
  }
  /** Creates the volume. Rejects if the name is taken. */
  async create(options?: CallOptions): Promise<Volume> {
    const given = { name: this.#name, quota: this.#quota, labels: this.#labels }
    const { labels, name, quota } = runNow(decodeBuilder(given))
    const made = Volumes.exists(name).pipe(
      Effect.flatMap((exists) =>
        exists
          ? Effect.fail(
              new LightboxError({
                method: "Volume.builder",
                reason: new AlreadyExists({ resource: "volume", name })
              })
            )
          : Volumes.ensure(name, { kind: this.#kind, quota: bytesOf(quota), labels })
      )
    )
    return new Volume(await run(measured(made), signalOf("VolumeBuilder.create", options)))
  }
}

/**
 * A volume, as of the time it was looked up.
 *
 * @category models
 * @since 0.1.0
 */
export class VolumeHandle {
  readonly name: string
  readonly kind: "directory" | "disk"
  readonly quotaMib: number | null
  readonly usedBytes: number
  readonly labels: ReadonlyArray<readonly [key: string, value: string]>
  readonly createdAt: Date | null

  /** @internal */
  constructor({ usedBytes, volume }: Measured) {
    this.name = volume.name
    this.kind = volume.kind
    this.quotaMib = volume.quota === undefined ? null : volume.quota / mebibyte
    this.usedBytes = usedBytes
    this.labels = Object.entries(volume.labels)
    this.createdAt = volume.createdAt === undefined ? null : DateTime.toDateUtc(volume.createdAt)
  }
  /** Removes the volume and its content. Rejects while a running sandbox mounts it. */
  async remove(options?: CallOptions): Promise<void> {
    await run(Volumes.remove(this.name), signalOf("VolumeHandle.remove", options))
  }
}

/**
 * A named volume.
 *
 * @category models
 * @since 0.1.0
 */
export class Volume extends VolumeHandle {
  /** Creates a builder for a volume. */
  static builder(name: string): VolumeBuilder {
    return new VolumeBuilder(name)
  }
  /** Gets a volume by name. Rejects if it does not exist. */
  static async get(name: string, options?: CallOptions): Promise<Volume> {
    return new Volume(await run(measured(Volumes.get(name)), signalOf("Volume.get", options)))
  }
  /** Lists the volumes on this host. */
  static async list(options?: CallOptions): Promise<Array<Volume>> {
    return (await run(listMeasured, signalOf("Volume.list", options))).map((volume) => new Volume(volume))
  }
  /** Removes a volume and its content. Succeeds if it does not exist. */
  static async remove(name: string, options?: CallOptions): Promise<void> {
    await run(Volumes.remove(name), signalOf("Volume.remove", options))
  }
}
