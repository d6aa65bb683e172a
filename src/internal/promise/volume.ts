/**
 * Volumes for programs that know promises only.
 *
 * No type of Effect may appear in a declaration of this module.
 */
// @effect-diagnostics asyncFunction:off globalDate:off
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { AlreadyExists, LightboxError } from "../../LightboxError.ts"
import * as Volumes from "../../Volume.ts"
import { mebibyte } from "../config/schemas.ts"
import { listMeasured, type Measured, measured } from "../volume/volumes.ts"
import type { CallOptions } from "./options.ts"
import { run } from "./runtime.ts"

/**
 * Makes a volume.
 *
 * **Example** (Two gigabytes for a cache)
 *
 * ```ts
 * import { Volume } from "effect-lightbox/promise"
 *
 * await Volume.builder("npm-cache").quota(2048).label("tier", "ci").create()
 * ```
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
  /** A folder of the host, which many sandboxes can mount at once. The default. */
  directory(): this {
    this.#kind = "directory"
    return this
  }
  /** A disk image, which one sandbox can mount at a time. It needs a size. */
  disk(): this {
    this.#kind = "disk"
    return this
  }
  /** How much it may hold, in MiB. */
  quota(mib: number): this {
    this.#quota = mib * mebibyte
    return this
  }
  /** How large a disk is, in MiB. */
  size(mib: number): this {
    return this.quota(mib)
  }
  label(key: string, value: string): this {
    this.#labels[key] = value
    return this
  }
  /** Makes it. Rejects when there is one of the name. */
  async create(options?: CallOptions): Promise<Volume> {
    const name = this.#name
    const made = Volumes.exists(name).pipe(
      Effect.flatMap((exists) =>
        exists
          ? Effect.fail(
              new LightboxError({
                method: "Volume.builder",
                reason: new AlreadyExists({ resource: "volume", name })
              })
            )
          : Volumes.ensure(name, { kind: this.#kind, quota: this.#quota, labels: this.#labels })
      )
    )
    return new Volume(await run(measured(made), options?.signal))
  }
}

/**
 * A volume as it was when it was looked up.
 *
 * **Example** (How full it is)
 *
 * ```ts
 * import type { VolumeHandle } from "effect-lightbox/promise"
 *
 * export const share = ({ quotaMib, usedBytes }: VolumeHandle): number | undefined =>
 *   quotaMib === null ? undefined : usedBytes / (quotaMib * 1_048_576)
 * ```
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
  /** Removes the volume and all that is in it. Rejects while a sandbox that runs mounts it. */
  async remove(options?: CallOptions): Promise<void> {
    await run(Volumes.remove(this.name), options?.signal)
  }
}

/**
 * Volumes by name.
 *
 * **Example** (What a volume holds)
 *
 * ```ts
 * import { Volume } from "effect-lightbox/promise"
 *
 * for (const { name, usedBytes } of await Volume.list()) console.log(name, usedBytes)
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class Volume extends VolumeHandle {
  /** Begins to make a volume. */
  static builder(name: string): VolumeBuilder {
    return new VolumeBuilder(name)
  }
  /** Looks a volume up. Rejects when there is none. */
  static async get(name: string, options?: CallOptions): Promise<Volume> {
    return new Volume(await run(measured(Volumes.get(name)), options?.signal))
  }
  /** All volumes. */
  static async list(options?: CallOptions): Promise<Array<Volume>> {
    return (await run(listMeasured, options?.signal)).map((volume) => new Volume(volume))
  }
  /** Removes a volume and all that is in it; one that does not exist is no failure. */
  static async remove(name: string, options?: CallOptions): Promise<void> {
    await run(Volumes.remove(name), options?.signal)
  }
}
