/**
 * OCI images in the local cache: what snapshots are built on and sandboxes boot
 * from.
 *
 * Images are pulled when a sandbox or a build needs them. On a machine without a
 * registry they come from an archive, made by `docker save` or any tool that
 * writes the OCI layout.
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
import type * as Effect from "effect/Effect"
import type { LightboxError } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"

/**
 * Reads images from an archive into the cache, and gives those it found. `tag`
 * is an additional name for the first.
 *
 * Fails with `FileError` when there is no such file, and `ImageUnavailable` when
 * it is not an archive of images.
 *
 * **Example** (Loading under a name)
 *
 * ```ts
 * import { Image } from "effect-lightbox"
 *
 * export const loaded = Image.load("./tools.tar", { tag: "tools:1" })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const load = (
  path: string,
  options?: { readonly tag?: string | undefined }
): Effect.Effect<ReadonlyArray<Microsandbox.ImageInfo>, LightboxError, Microsandbox.Microsandbox> =>
  Microsandbox.Microsandbox.use((driver) => driver.loadImage(path, options))

/**
 * Writes images from the cache to an archive, in the OCI layout or that of
 * `docker save`. Fails with `NotFound` for an image that is not in the cache.
 *
 * **Gotchas**
 *
 * Layers are saved as they are when they are unpacked. So an image that was
 * pulled has another digest when it comes back, and snapshots that are based on
 * it do not boot from that: they are saved with their image by `Snapshot.save`.
 *
 * **Example** (Taking an image along)
 *
 * ```ts
 * import { Image } from "effect-lightbox"
 *
 * export const saved = Image.save(["node:22"], "./node-22.tar")
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const save = (
  references: ReadonlyArray<string>,
  path: string,
  options?: { readonly format?: "docker" | "oci" | undefined }
): Effect.Effect<void, LightboxError, Microsandbox.Microsandbox> =>
  Microsandbox.Microsandbox.use((driver) => driver.saveImages(references, path, options))

/**
 * All images in the cache.
 *
 * **Example** (Adding up their sizes)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Image } from "effect-lightbox"
 *
 * export const bytes = Effect.map(Image.list, (all) => all.reduce((sum, image) => sum + (image.size ?? 0), 0))
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const list: Effect.Effect<
  ReadonlyArray<Microsandbox.ImageInfo>,
  LightboxError,
  Microsandbox.Microsandbox
> = Microsandbox.Microsandbox.use((driver) => driver.listImages)

/**
 * An image with its configuration. Fails with `NotFound` when it is not in the
 * cache.
 *
 * **Example** (Asking for the user that commands run as)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Image } from "effect-lightbox"
 *
 * export const user = Effect.map(Image.inspect("node:22"), (image) => image.user ?? "root")
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const inspect = (
  reference: string
): Effect.Effect<Microsandbox.ImageDetail, LightboxError, Microsandbox.Microsandbox> =>
  Microsandbox.Microsandbox.use((driver) => driver.inspectImage(reference))

/**
 * Removes a name from the cache, and with its last name the image; what is not
 * there is no failure. Fails with `InUse` while there is a sandbox that is based
 * on the image, running or not. `force` removes the name all the same, unless it
 * is the last one.
 *
 * **Example** (Removing)
 *
 * ```ts
 * import { Image } from "effect-lightbox"
 *
 * export const removed = Image.remove("node:20")
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const remove = (
  reference: string,
  options?: { readonly force?: boolean | undefined }
): Effect.Effect<void, LightboxError, Microsandbox.Microsandbox> =>
  Microsandbox.Microsandbox.use((driver) => driver.removeImage(reference, options))

/**
 * Removes the images that no sandbox and no snapshot needs, and tells what that
 * freed.
 *
 * **Example** (Making room)
 *
 * ```ts
 * import { Image } from "effect-lightbox"
 *
 * export const freed = Image.prune
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const prune: Effect.Effect<Microsandbox.ImagePruneReport, LightboxError, Microsandbox.Microsandbox> =
  Microsandbox.Microsandbox.use((driver) => driver.pruneImages)
