/**
 * OCI images in the local cache, from which snapshots are built and sandboxes boot.
 *
 * Images are pulled when a sandbox or a build needs them. Without a registry, load
 * them from an archive, made by `docker save` or any tool that writes the OCI
 * layout.
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
import * as Cleanup from "./Cleanup.ts"
import type { LightboxError } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"

/**
 * Loads the images in an archive into the cache and returns them. `tag` is an
 * additional name for the first.
 *
 * Fails with `FileError` if the file does not exist, and with `ImageUnavailable`
 * if it is not an archive of images.
 *
 * @category operations
 * @since 0.1.0
 */
export const load = Effect.fn("Image.load")(function* (
  path: string,
  options?: { readonly tag?: string | undefined }
): Effect.fn.Return<ReadonlyArray<Microsandbox.ImageInfo>, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  return yield* driver.loadImage(path, options)
})

/**
 * Saves images from the cache to an archive, in the OCI layout or in that of
 * `docker save`. Fails with `NotFound` if an image is not in the cache.
 *
 * **Gotchas**
 *
 * Layers are saved unpacked. A pulled image therefore has another digest when it is
 * loaded again, and snapshots based on it do not boot from it. `Snapshot.save`
 * saves a snapshot together with its image.
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
  return yield* driver.saveImages(references, path, options)
})

/**
 * Lists all images in the cache.
 *
 * @category operations
 * @since 0.1.0
 */
export const list = Effect.fn("Image.list")(function* (): Effect.fn.Return<
  ReadonlyArray<Microsandbox.ImageInfo>,
  LightboxError,
  Microsandbox.Microsandbox
> {
  const driver = yield* Microsandbox.Microsandbox
  return yield* driver.listImages
})

/**
 * Gets an image and its configuration. Fails with `NotFound` if it is not in the
 * cache.
 *
 * **Example** (Asking which user commands run as)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Image } from "effect-lightbox"
 *
 * export const user = Effect.map(Image.get("node:22"), (image) => image.user ?? "root")
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const get = Effect.fn("Image.get")(function* (
  reference: string
): Effect.fn.Return<Microsandbox.ImageDetail, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  return yield* driver.inspectImage(reference)
})

/**
 * Removes a name from the cache, and the image with its last name. Does nothing if
 * the name does not exist. Fails with `InUse` if a sandbox, running or not, is
 * based on the image. `force` removes the name anyway, unless it is the last one.
 *
 * @category operations
 * @since 0.1.0
 */
export const remove = Effect.fn("Image.remove")(function* (
  reference: string,
  options?: { readonly force?: boolean | undefined }
): Effect.fn.Return<void, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  return yield* driver.removeImage(reference, options)
})

/**
 * Removes images that no sandbox and no snapshot uses.
 *
 * @category operations
 * @since 0.1.0
 */
export const prune = Effect.fn("Image.prune")(function* (): Effect.fn.Return<
  Cleanup.Report,
  LightboxError,
  Microsandbox.Microsandbox
> {
  const driver = yield* Microsandbox.Microsandbox
  const before = yield* driver.listImages
  const { bytes } = yield* driver.pruneImages
  const kept = new Set((yield* driver.listImages).map(({ reference }) => reference))
  const report = Cleanup.Report.of(
    before.map(({ createdAt, lastUsedAt, reference, size }) => ({
      resource: "image",
      name: reference,
      verdict: kept.has(reference) ? "kept" : "removed",
      reason: kept.has(reference) ? "a sandbox or snapshot uses it" : "no sandbox or snapshot uses it",
      ...(size === undefined ? {} : { bytes: size }),
      ...(createdAt === undefined ? {} : { createdAt }),
      ...(lastUsedAt === undefined ? {} : { usedAt: lastUsedAt })
    })),
    { dryRun: false }
  )
  // Images share layers: the runtime knows what it freed.
  return bytes === undefined
    ? report
    : new Cleanup.Report({ verdicts: report.verdicts, freedBytes: bytes, dryRun: false, isComplete: true })
})
