/**
 * Named volumes: storage that outlives sandboxes and that any number of them can
 * share.
 *
 * A volume is made by {@link ensure}, or by the first sandbox that mounts it with
 * `Mount.volume`, and stays until it is removed.
 *
 * **Example** (A cache for a fleet)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Mount, Sandbox, Volume } from "effect-lightbox"
 *
 * export const program = Effect.gen(function* () {
 *   yield* Volume.ensure("npm-cache", { quota: "4G", labels: { tier: "ci" } })
 *   return yield* Sandbox.run(
 *     { snapshot: "node-ci", mounts: { "/root/.npm": Mount.volume("npm-cache") } },
 *     (sandbox) => sandbox.shell("npm ci")
 *   )
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Labels, Mebibytes, Name } from "./internal/schemas.ts"
import { decoder, invalid } from "./internal/validation.ts"
import type { LightboxError } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"

/**
 * A named volume.
 *
 * **Example** (Showing how full it is)
 *
 * ```ts
 * import type { Volume } from "effect-lightbox"
 *
 * export const show = (volume: Volume.Volume): string =>
 *   `${volume.name}: ${volume.used} bytes of ${volume.quota ?? "unlimited"} MiB`
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Volume extends Microsandbox.VolumeInfo {}

/**
 * The service of a program's one volume, as {@link layer} provides it.
 *
 * **Example** (Mounting the volume of the context)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Mount, Sandbox, Volume } from "effect-lightbox"
 *
 * export const sandbox = Effect.flatMap(Volume.Volume, ({ name }) =>
 *   Sandbox.launch({ snapshot: "node-ci", mounts: { "/cache": Mount.volume(name) } })
 * )
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const Volume: Context.Service<Volume, Volume> = Context.Service<Volume>("effect-lightbox/Volume")

/**
 * Options of {@link ensure}.
 *
 * **Example** (A disk of its own file system)
 *
 * ```ts
 * import type { Volume } from "effect-lightbox"
 *
 * export const options: Volume.EnsureOptions = { kind: "disk", quota: "10G" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface EnsureOptions {
  /**
   * `"directory"`, the default, is a folder of the host that many sandboxes can mount at once. `"disk"` is a disk image,
   * quicker for many small files, that one sandbox can mount at a time.
   */
  readonly kind?: "directory" | "disk" | undefined
  /** How much it may hold: `"4G"`, or MiB. Default: unlimited; a disk needs it. */
  readonly quota?: string | number | undefined
  readonly labels?: { readonly [key: string]: string } | undefined
}

const decodeName = decoder(Name, "Volume.ensure", "name")

const decodeOptions = decoder(
  Schema.Struct({
    kind: Schema.optional(Schema.Literals(["directory", "disk"])),
    quota: Schema.optional(Mebibytes(1)),
    labels: Schema.optional(Labels)
  }),
  "Volume.ensure"
)

/**
 * A volume of a name, made if there is none.
 *
 * **Details**
 *
 * Kind, quota and labels count when the volume is made; one that exists is given
 * as it is.
 *
 * **Example** (Once per program)
 *
 * ```ts
 * import { Volume } from "effect-lightbox"
 *
 * export const cache = Volume.ensure("npm-cache", { quota: "4G" })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const ensure = Effect.fn("Volume.ensure")(function* (
  name: string,
  options?: EnsureOptions
): Effect.fn.Return<Volume, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  const checkedName = yield* decodeName(name)
  const { kind = "directory", labels, quota } = yield* decodeOptions(options ?? {})
  if (kind === "disk" && quota === undefined) {
    return yield* invalid("Volume.ensure", "quota", "expected the size of the disk")
  }
  return yield* driver.getVolume(checkedName).pipe(
    Effect.catchReason("LightboxError", "NotFound", () =>
      driver.createVolume({ name: checkedName, kind, quota, labels })
    ),
    // Somebody else made it in between.
    Effect.catchReason("LightboxError", "AlreadyExists", () => driver.getVolume(checkedName))
  )
})

/**
 * A volume by its name. Fails with `NotFound`.
 *
 * **Example** (Asking for its labels)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Volume } from "effect-lightbox"
 *
 * export const labels = Effect.map(Volume.get("npm-cache"), (volume) => volume.labels)
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const get = (name: string): Effect.Effect<Volume, LightboxError, Microsandbox.Microsandbox> =>
  Microsandbox.Microsandbox.use((driver) => driver.getVolume(name))

/**
 * All volumes.
 *
 * **Example** (Those of a team)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Volume } from "effect-lightbox"
 *
 * export const ours = Effect.map(Volume.list, (all) => all.filter((volume) => volume.labels["team"] === "platform"))
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const list: Effect.Effect<
  ReadonlyArray<Volume>,
  LightboxError,
  Microsandbox.Microsandbox
> = Microsandbox.Microsandbox.use((driver) => driver.listVolumes)

/**
 * Whether there is a volume of a name.
 *
 * **Example** (Asking)
 *
 * ```ts
 * import { Volume } from "effect-lightbox"
 *
 * export const isThere = Volume.exists("npm-cache")
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const exists = (name: string): Effect.Effect<boolean, LightboxError, Microsandbox.Microsandbox> =>
  get(name).pipe(
    Effect.as(true),
    Effect.catchReason("LightboxError", "NotFound", () => Effect.succeed(false))
  )

/**
 * Removes a volume and all that is in it; what does not exist is no failure.
 * Fails with `InUse`, naming the sandboxes, while one that runs mounts it.
 *
 * **Example** (Removing)
 *
 * ```ts
 * import { Volume } from "effect-lightbox"
 *
 * export const removed = Volume.remove("npm-cache")
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const remove = (name: string): Effect.Effect<void, LightboxError, Microsandbox.Microsandbox> =>
  Microsandbox.Microsandbox.use((driver) => driver.removeVolume(name))

/**
 * Provides {@link Volume}, made if there is none. It stays when the layer is
 * closed.
 *
 * **Example** (A layer on the driver's)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Microsandbox, Volume } from "effect-lightbox"
 *
 * export const live = Volume.layer("npm-cache", { quota: "4G" }).pipe(Layer.provide(Microsandbox.layer()))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  name: string,
  options?: EnsureOptions
): Layer.Layer<Volume, LightboxError, Microsandbox.Microsandbox> => Layer.effect(Volume, ensure(name, options))

/**
 * A service class for one volume of several: its own tag, with a `layer` that
 * makes it.
 *
 * **Example** (Two caches in one program)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Volume } from "effect-lightbox"
 *
 * class Npm extends Volume.Service<Npm>()("Npm", "npm-cache") {}
 * class Pip extends Volume.Service<Pip>()("Pip", "pip-cache", { quota: "2G" }) {}
 *
 * export const names = Effect.gen(function* () {
 *   return [(yield* Npm).name, (yield* Pip).name]
 * }).pipe(Effect.provide(Layer.mergeAll(Npm.layer, Pip.layer)))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const Service =
  <Self>() =>
  <const Id extends string>(
    id: Id,
    name: string,
    options?: EnsureOptions
  ): Context.ServiceClass<Self, Id, Volume> & {
    readonly layer: Layer.Layer<Self, LightboxError, Microsandbox.Microsandbox>
  } => {
    const service = Context.Service<Self, Volume>()(id)
    return Object.assign(service, { layer: Layer.effect(service, ensure(name, options)) })
  }
