/**
 * Named volumes: storage that outlives sandboxes and that several sandboxes can
 * share.
 *
 * A volume is created by {@link ensure}, or by the first sandbox that mounts it,
 * and exists until it is removed.
 *
 * **Example** (A cache that several sandboxes share)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox, Volume } from "effect-lightbox"
 *
 * export const program = Effect.gen(function* () {
 *   yield* Volume.ensure("npm-cache", { quota: "4G", labels: { tier: "ci" } })
 *   return yield* Sandbox.run(
 *     { snapshot: "node-ci", mounts: { "/root/.npm": { volume: "npm-cache" } } },
 *     (sandbox) => sandbox.shell("npm ci")
 *   )
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import type * as Scope from "effect/Scope"
import type * as Guest from "./Guest.ts"
import * as Ownership from "./Ownership.ts"
import type { Services } from "./Driver.ts"
import type * as Cleanup from "./Cleanup.ts"
import { DurationInput, Func, Labels, Mebibytes, Name, optionsSchema } from "./internal/config/schemas.ts"
import * as HomeFiles from "./internal/ownership/files.ts"
import { callDecoder, checkObject, decodeName, decoder, invalid } from "./internal/config/validation.ts"
import { isFound } from "./internal/host/fileFailure.ts"
import * as VolumeFiles from "./internal/volume/files.ts"
import * as internal from "./internal/volume/volumes.ts"
import { AlreadyExists, LightboxError, Unsupported } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"
import type { Size } from "./SandboxConfig.ts"

/**
 * A named volume.
 *
 * @category models
 * @since 0.1.0
 */
export interface Volume extends Microsandbox.VolumeInfo {}

/**
 * The volume of a program that uses only one. Provided by {@link layer}.
 *
 * @category services
 * @since 0.1.0
 */
export const Volume: Context.Service<Volume, Volume> = Context.Service<Volume>("effect-lightbox/Volume")

/**
 * Options of {@link ensure}.
 *
 * @category options
 * @since 0.1.0
 */
export interface EnsureOptions {
  /**
   * `"directory"` (default): a folder of the host that many sandboxes can mount at once. `"disk"`: a disk image, faster
   * for many small files, that only one sandbox can mount at a time.
   */
  readonly kind?: "directory" | "disk" | undefined
  /** Capacity in whole MiB, such as `"4G"`. Required for a disk. Default: unlimited. */
  readonly quota?: Size | undefined
  /** Labels to find the volume by. Default: none. */
  readonly labels?: { readonly [key: string]: string } | undefined
  /**
   * What to do if the volume exists with a different kind, quota or labels than those given here. `"fail"` (default):
   * fail with `Drift`. `"adopt"`: return it unchanged. `"recreate"`: remove it with its content and create it, unless
   * it is in use.
   */
  readonly onDrift?: "fail" | "adopt" | "recreate" | undefined
}

/** A driver would treat an invalid name as a path. */
const Named = Schema.Struct({ name: Name })

const EnsureRequest = optionsSchema<EnsureOptions>()(
  Schema.Struct({
    kind: Schema.optional(Schema.Literals(["directory", "disk"])),
    quota: Schema.optional(Mebibytes(1)),
    labels: Schema.optional(Labels),
    onDrift: Schema.optional(Schema.Literals(["fail", "adopt", "recreate"]))
  })
)

const decodeEnsure = callDecoder("Volume.ensure", Named, EnsureRequest)
const decodeScoped = callDecoder("Volume.scoped", Named, EnsureRequest.mapFields(Struct.omit(["onDrift"])))

/**
 * Gets a volume, creating it if it does not exist.
 *
 * Fails with `Drift` if it exists with different options (see `onDrift`), and with
 * `InUse` if it must be recreated while a sandbox mounts it.
 *
 * @category operations
 * @since 0.1.0
 */
export const ensure = Effect.fn("Volume.ensure")(function* (
  name: string,
  options?: EnsureOptions
): Effect.fn.Return<Volume, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  const { onDrift = "fail", ...request } = yield* decodeEnsure({ name }, options)
  const { kind = "directory", quota } = request
  if (kind === "disk" && quota === undefined) {
    return yield* invalid("Volume.ensure", "quota", "a disk volume needs a size")
  }
  const create = driver.createVolume({ ...request, kind })
  return yield* driver.getVolume(request.name).pipe(
    Effect.catchReason("LightboxError", "NotFound", () => create),
    // Another caller created it in between, or only its folder is there.
    Effect.catchReason("LightboxError", "AlreadyExists", (_, error) =>
      Effect.catchReason(driver.getVolume(request.name), "LightboxError", "NotFound", () => Effect.fail(error))
    ),
    Effect.flatMap((volume) => {
      const drift = internal.drift(volume, request)
      if (drift === undefined || onDrift === "adopt") return Effect.succeed(volume)
      return onDrift === "fail"
        ? Effect.fail(new LightboxError({ method: "Volume.ensure", reason: drift }))
        : recreate(request.name, request, create)
    })
  )
})

/** Under a lock, so that only the first of several concurrent callers recreates the volume. */
const recreate = Effect.fnUntraced(function* (
  name: string,
  request: internal.Wanted,
  create: Effect.Effect<Volume, LightboxError>
): Effect.fn.Return<Volume, LightboxError, Microsandbox.Microsandbox | Scope.Scope> {
  const driver = yield* Microsandbox.Microsandbox
  yield* HomeFiles.lock(driver, `recreate:${name}`)
  const volume = yield* driver.getVolume(name)
  if (internal.drift(volume, request) === undefined) return volume
  yield* remove(name)
  return yield* create
}, Effect.scoped)

/**
 * Creates a volume that is removed, with its content, when the scope closes.
 *
 * Fails with `AlreadyExists` if the name is taken. Launch the sandboxes that mount
 * it later in the same scope, or in a scope that closes earlier. If the process is
 * killed, the volume remains: sweeps never remove volumes.
 *
 * **Example** (Passing files from one sandbox to the next)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox, Volume } from "effect-lightbox"
 *
 * export const handOver = Effect.scoped(
 *   Effect.gen(function* () {
 *     const { name } = yield* Volume.scoped("hand-over", { quota: "1G" })
 *     const mounts = { "/out": { volume: name } }
 *     yield* Sandbox.run({ snapshot: "compiler", mounts }, (sandbox) => sandbox.shell("make DESTDIR=/out install"))
 *     return yield* Sandbox.run({ snapshot: "tester", mounts }, (sandbox) => sandbox.shell("/out/bin/test"))
 *   })
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const scoped = Effect.fn("Volume.scoped")(function* (
  name: string,
  options?: Omit<EnsureOptions, "onDrift">
): Effect.fn.Return<Volume, LightboxError, Microsandbox.Microsandbox | Scope.Scope> {
  const driver = yield* Microsandbox.Microsandbox
  const request = yield* decodeScoped({ name }, options)
  if (yield* exists(request.name)) {
    return yield* new LightboxError({
      method: "Volume.scoped",
      reason: new AlreadyExists({ resource: "volume", name: request.name })
    })
  }
  return yield* Effect.acquireRelease(
    driver.createVolume({ ...request, kind: request.kind ?? "directory" }),
    () =>
      remove(request.name).pipe(
        Effect.timeout("30 seconds"),
        Effect.ignore({ log: "Warn", message: `Could not remove volume "${request.name}"` })
      ),
    { interruptible: true }
  )
})

/**
 * Gets a volume by name. Fails with `NotFound`.
 *
 * @category operations
 * @since 0.1.0
 */
export const get = Effect.fn("Volume.get")(
  (name: string): Effect.Effect<Volume, LightboxError, Microsandbox.Microsandbox> =>
    Effect.andThen(
      decodeName("Volume.get", name),
      Microsandbox.Microsandbox.use((driver) => driver.getVolume(name))
    )
)

/**
 * Lists all volumes.
 *
 * @category operations
 * @since 0.1.0
 */
export const list = Effect.fn("Volume.list")(
  (): Effect.Effect<ReadonlyArray<Volume>, LightboxError, Microsandbox.Microsandbox> =>
    Microsandbox.Microsandbox.use((driver) => driver.listVolumes())
)

/**
 * Checks whether a volume exists.
 *
 * @category operations
 * @since 0.1.0
 */
export const exists = Effect.fn("Volume.exists")(
  (name: string): Effect.Effect<boolean, LightboxError, Microsandbox.Microsandbox> => isFound(get(name))
)

/**
 * Removes a volume and its content, if it exists, or what is left of it after a
 * process was killed. Fails with `InUse`, naming the sandboxes, while running
 * sandboxes mount it.
 *
 * @category operations
 * @since 0.1.0
 */
export const remove = Effect.fn("Volume.remove")(
  (name: string): Effect.Effect<void, LightboxError, Microsandbox.Microsandbox> =>
    Effect.andThen(
      decodeName("Volume.remove", name),
      Microsandbox.Microsandbox.use((driver) =>
        Effect.andThen(driver.removeVolume(name), internal.forgetPrimed(driver, name))
      )
    )
)

// =============================================================================
// Sharing
// =============================================================================

/**
 * Acquires an exclusive lock on a volume for the scope. Other callers of this
 * function, in any process, wait for it. Sandboxes can still mount the volume.
 *
 * **Example** (One migration at a time)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox, Volume } from "effect-lightbox"
 *
 * export const migrate = Effect.scoped(
 *   Effect.gen(function* () {
 *     const { name } = yield* Volume.exclusive("database")
 *     yield* Sandbox.run({ snapshot: "postgres", mounts: { "/data": { volume: name } } }, (sandbox) =>
 *       sandbox.shell("migrate /data", { check: true })
 *     )
 *   })
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const exclusive = Effect.fn("Volume.exclusive")(function* (
  name: string
): Effect.fn.Return<Volume, LightboxError, Microsandbox.Microsandbox | Scope.Scope> {
  const driver = yield* Microsandbox.Microsandbox
  const volume = yield* driver.getVolume(yield* decodeName("Volume.exclusive", name))
  yield* HomeFiles.lock(driver, `volume:${name}`)
  return volume
})

/**
 * Options of {@link prime}.
 *
 * @category options
 * @since 0.1.0
 */
export interface PrimeOptions extends EnsureOptions {
  /** Identifies the content. A different key fills the volume again. Default: fill it once. */
  readonly key?: string | undefined
}

const decodePrime = callDecoder(
  "Volume.prime",
  Schema.Struct({ name: Name, fill: Func }),
  Schema.Struct({ ...EnsureRequest.fields, key: Schema.optional(Schema.String) })
)

/**
 * Gets a volume that is filled only once. The first caller fills it; other callers,
 * in any process, wait. If filling fails or is interrupted, the next caller fills
 * it.
 *
 * **Example** (Installing dependencies once)
 *
 * ```ts
 * import { Sandbox, Volume } from "effect-lightbox"
 *
 * export const dependencies = Volume.prime("dependencies", ({ name }) =>
 *   Sandbox.run({ snapshot: "node-ci", mounts: { "/root/.npm": { volume: name } } }, (sandbox) =>
 *     sandbox.shell("npm ci", { check: true })
 *   )
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const prime = Effect.fn("Volume.prime")(function* <E, R>(
  name: string,
  fill: (volume: Volume) => Effect.Effect<unknown, E, R>,
  options?: PrimeOptions
): Effect.fn.Return<Volume, LightboxError | E, Services | R> {
  const driver = yield* Microsandbox.Microsandbox
  const ownership = yield* Ownership.Ownership
  const { key = "" } = yield* decodePrime({ name, fill }, options)
  const { key: _, ...request } = options ?? {}
  const volume = yield* ensure(name, request)
  if (yield* internal.isPrimed(driver, volume, key)) return volume
  return yield* Effect.scoped(
    Effect.gen(function* () {
      yield* HomeFiles.lock(driver, `prime:${name}`)
      // Another process may have recreated it while this one waited.
      const current = yield* ensure(name, request)
      if (yield* internal.isPrimed(driver, current, key)) return current
      yield* fill(current)
      yield* internal.setPrimed(driver, ownership, current, key)
      return current
    })
  )
})

// =============================================================================
// From the host
// =============================================================================

/**
 * Disk usage of a volume.
 *
 * @category models
 * @since 0.1.0
 */
export interface Usage {
  /** Bytes on the host's disk. */
  readonly used: number
  /** Capacity in bytes. `undefined`: unlimited. */
  readonly quota: number | undefined
}

/**
 * Measures a volume. Reads the metadata of every file, which takes time if there
 * are many.
 *
 * @category operations
 * @since 0.1.0
 */
export const usage = Effect.fn("Volume.usage")(function* (
  name: string
): Effect.fn.Return<Usage, LightboxError, Microsandbox.Microsandbox> {
  const { usedBytes, volume } = yield* internal.measured(get(name))
  return { used: usedBytes, quota: volume.quota }
})

/**
 * Access to the files of a volume from this host. Paths are relative to the volume.
 * Symbolic links are not followed, because a sandbox could have pointed them at
 * files of the host. Operations fail with `FileError`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Files extends Pick<Guest.Files, "exists" | "readDirectory" | "readFile" | "readFileString"> {
  /** Replaces the file, and creates its parent directories. */
  readonly writeFile: (path: string, data: Uint8Array) => Effect.Effect<void, LightboxError>
  readonly writeFileString: (path: string, text: string) => Effect.Effect<void, LightboxError>
  /** Removes a file, a link or an empty directory. Succeeds if nothing is there. */
  readonly remove: (path: string) => Effect.Effect<void, LightboxError>
}

/**
 * Opens the files of a volume on this host, mounted or not. Fails with `NotFound`,
 * and with `Unsupported` for a disk, whose file system only a guest can read, and
 * for a volume on another machine.
 *
 * **Example** (Seeding a volume)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Volume } from "effect-lightbox"
 *
 * export const seed = Effect.gen(function* () {
 *   const { name } = yield* Volume.ensure("settings")
 *   const files = yield* Volume.files(name)
 *   yield* files.writeFileString("app/config.json", JSON.stringify({ debug: true }))
 * })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const files = Effect.fn("Volume.files")(function* (
  name: string
): Effect.fn.Return<Files, LightboxError, Microsandbox.Microsandbox> {
  const { kind, path } = yield* get(name)
  if (kind === "disk") {
    return yield* new LightboxError({
      method: "Volume.files",
      reason: new Unsupported({
        feature: "files of a disk volume",
        problem: "mount the volume in a sandbox to read its files"
      })
    })
  }
  const { capabilities } = yield* Microsandbox.Microsandbox
  if (!capabilities.volumeFiles) {
    return yield* new LightboxError({
      method: "Volume.files",
      reason: new Unsupported({
        feature: "files of a volume without a sandbox",
        problem: "they are on another machine; mount the volume in a sandbox to reach them"
      })
    })
  }
  return VolumeFiles.make("Volume.files", path)
})

// =============================================================================
// Pruning
// =============================================================================

/**
 * Options of {@link prune}. At least one of `labels` and `olderThan` is required.
 *
 * @category options
 * @since 0.1.0
 */
export interface PruneOptions {
  /** Remove only volumes with all these labels. */
  readonly labels?: { readonly [key: string]: string } | undefined
  /** Remove only volumes created longer ago than this. */
  readonly olderThan?: Duration.Input | undefined
  /** Report what would be removed, without removing it. Default: `false`. */
  readonly dryRun?: boolean | undefined
}

const decodePrune = decoder(
  optionsSchema<PruneOptions>()(
    Schema.Struct({
      labels: Schema.optional(Labels),
      olderThan: Schema.optional(DurationInput),
      dryRun: Schema.optional(Schema.Boolean)
    })
  ),
  "Volume.prune"
)

/**
 * Removes volumes by label and age, with their content. The report lists every
 * matching volume. Volumes mounted by a running sandbox are kept.
 *
 * @category operations
 * @since 0.1.0
 */
export const prune = Effect.fn("Volume.prune")(function* (
  options: PruneOptions
): Effect.fn.Return<Cleanup.Report, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  yield* checkObject("Volume.prune", options)
  const checked = yield* decodePrune(options)
  if (checked.olderThan === undefined && Object.keys(checked.labels ?? {}).length === 0) {
    return yield* invalid("Volume.prune", "labels", "pass labels or an age: without them, all volumes would be removed")
  }
  return yield* internal.prune(driver, checked)
})

// =============================================================================
// Layers
// =============================================================================

/**
 * Provides {@link Volume}, created if it does not exist. It remains when the layer
 * closes.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  name: string,
  options?: EnsureOptions
): Layer.Layer<Volume, LightboxError, Microsandbox.Microsandbox> => Layer.effect(Volume, ensure(name, options))

/**
 * Provides {@link Volume} with options read from the configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  name: string,
  options: Config.Wrap<EnsureOptions>
): Layer.Layer<Volume, LightboxError | Config.ConfigError, Microsandbox.Microsandbox> =>
  Layer.effect(
    Volume,
    Effect.flatMap(Config.unwrap(options), (options) => ensure(name, options))
  )

/**
 * Creates a service class with a `layer` that provides its volume, for programs
 * with several volumes.
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
