/**
 * OCI images in the local cache. Snapshots and sandboxes are based on them.
 *
 * Images are pulled when a sandbox or build needs them. Without a registry, load
 * them from an archive in the format of `docker save` or in the OCI layout.
 *
 * **Example** (Working offline)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Image, Sandbox } from "effect-lightbox"
 *
 * export const offline = Effect.gen(function* () {
 *   yield* Image.load("./node-22.tar", { tag: "node:22" })
 *   return yield* Sandbox.run({ image: "node:22", pullPolicy: "never" }, (sandbox) => sandbox.exec("node", ["-v"]))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Cleanup from "./Cleanup.ts"
import type { LightboxError } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"
import { HostPath, ImageReference } from "./internal/config/schemas.ts"
import { decoder, optionsDecoder } from "./internal/config/validation.ts"
import { wholeReference } from "./internal/driver/imageReference.ts"

const decodeLoad = optionsDecoder("Image.load", Schema.Struct({ tag: Schema.optional(ImageReference) }))

/**
 * Loads the images of an archive into the cache and returns them. `tag` is an
 * additional name for the first one. Fails with `FileError` if the file does not
 * exist, and with `ImageUnavailable` if it is not an image archive.
 *
 * @category operations
 * @since 0.1.0
 */
export const load = Effect.fn("Image.load")(function* (
  path: string,
  options?: { readonly tag?: string | undefined }
): Effect.fn.Return<ReadonlyArray<Microsandbox.ImageInfo>, LightboxError, Microsandbox.Microsandbox> {
  const checked = yield* decodeLoad(options)
  const driver = yield* Microsandbox.Microsandbox
  return yield* driver.loadImage(yield* decoder(HostPath, "Image.load", "path")(path), checked)
})

/**
 * Saves cached images to an archive, in the OCI layout or in the format of `docker
 * save`. Fails with `NotFound` if an image is not cached.
 *
 * **Gotchas**
 *
 * Layers are saved uncompressed, so a pulled image has a different digest when it
 * is loaded again, and snapshots based on it do not boot. To move a snapshot
 * together with its image, use `Snapshot.save`.
 *
 * @category operations
 * @since 0.1.0
 */
export const save = Effect.fn("Image.save")(function* (
  references: ReadonlyArray<string>,
  path: string,
  options?: { readonly format?: "docker" | "oci" | undefined }
): Effect.fn.Return<void, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  yield* driver.saveImages(references, yield* decoder(HostPath, "Image.save", "path")(path), options)
})

/**
 * Lists all cached images.
 *
 * @category operations
 * @since 0.1.0
 */
export const list = Effect.fn("Image.list")(
  (): Effect.Effect<ReadonlyArray<Microsandbox.ImageInfo>, LightboxError, Microsandbox.Microsandbox> =>
    Microsandbox.Microsandbox.use((driver) => driver.listImages())
)

/**
 * Gets an image and its configuration. Fails with `NotFound` if it is not cached.
 *
 * @category operations
 * @since 0.1.0
 */
export const get = Effect.fn("Image.get")(
  (reference: string): Effect.Effect<Microsandbox.ImageDetail, LightboxError, Microsandbox.Microsandbox> =>
    Microsandbox.Microsandbox.use((driver) => driver.getImage(reference))
)

/**
 * Removes a name from the cache, if it exists; removing the last name removes the
 * image. Fails with `InUse` if a sandbox, running or not, is based on the image.
 * `force` removes the name anyway, unless it is the last one.
 *
 * @category operations
 * @since 0.1.0
 */
export const remove = Effect.fn("Image.remove")(
  (
    reference: string,
    options?: { readonly force?: boolean | undefined }
  ): Effect.Effect<void, LightboxError, Microsandbox.Microsandbox> =>
    Microsandbox.Microsandbox.use((driver) => driver.removeImage(reference, options))
)

const decodePrune = optionsDecoder("Image.prune", Schema.Struct({ dryRun: Schema.optional(Schema.Boolean) }))

/**
 * Removes images that no sandbox and no snapshot uses. With `dryRun`, only reports them.
 *
 * @category operations
 * @since 0.1.0
 */
export const prune = Effect.fn("Image.prune")(function* (options?: {
  readonly dryRun?: boolean | undefined
}): Effect.fn.Return<Cleanup.Report, LightboxError, Microsandbox.Microsandbox> {
  const { dryRun = false } = yield* decodePrune(options)
  const driver = yield* Microsandbox.Microsandbox
  const before = yield* driver.listImages()
  const bytes = dryRun ? undefined : (yield* driver.pruneImages()).bytes
  const kept = dryRun
    ? yield* inUse(driver, before)
    : new Set((yield* driver.listImages()).map(({ reference }) => reference))
  const report = Cleanup.Report.of(
    before.map(({ createdAt, lastUsedAt, reference, size }) => ({
      resource: "image",
      name: reference,
      verdict: kept.has(reference) ? "kept" : dryRun ? "removable" : "removed",
      reason: kept.has(reference) ? "a sandbox or snapshot uses it" : "no sandbox or snapshot uses it",
      ...(size === undefined ? {} : { bytes: size }),
      ...(createdAt === undefined ? {} : { createdAt }),
      ...(lastUsedAt === undefined ? {} : { usedAt: lastUsedAt })
    })),
    { dryRun }
  )
  // Images share layers, so their sizes do not add up to what was freed.
  return bytes === undefined
    ? report
    : new Cleanup.Report({ verdicts: report.verdicts, freedBytes: bytes, dryRun: false, isComplete: true })
})

const inUse = Effect.fnUntraced(function* (
  driver: Microsandbox.Microsandbox["Service"],
  images: ReadonlyArray<Microsandbox.ImageInfo>
): Effect.fn.Return<ReadonlySet<string>, LightboxError> {
  const cached = new Map(images.map(({ digest, reference }) => [wholeReference(reference), digest]))
  const digests = new Set([
    ...(yield* driver.listSnapshots()).map(({ imageDigest }) => imageDigest),
    ...(yield* driver.listSandboxes()).map(
      ({ image, imageDigest }) => imageDigest ?? (image === undefined ? undefined : cached.get(wholeReference(image)))
    )
  ])
  return new Set(
    images.flatMap(({ digest, reference }) => (digest !== undefined && digests.has(digest) ? [reference] : []))
  )
})
