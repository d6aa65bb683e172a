/** Images of the local driver. */
import * as Effect from "effect/Effect"
import type * as Sdk from "microsandbox"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { LightboxError } from "../../../LightboxError.ts"
import { checkHostPaths } from "../createChecks.ts"
import { checkReferences, mustAsk, wholeReference } from "../imageReference.ts"
import { call, commit, notFoundIsSuccess } from "../sdk/calls.ts"
import { date } from "../sdk/sandboxes.ts"
import { requireArchive } from "../../host/fileFailure.ts"
import { hostFile } from "../snapshotLinks.ts"
import type { ImagePart } from "../parts.ts"
import type { Surface } from "../sdk/surface.ts"
import { type DriverContext, removeFile } from "./context.ts"
import * as Registry from "./registry.ts"

const imageInfo = (image: Sdk.ImageHandle) => ({
  reference: image.reference,
  digest: image.manifestDigest ?? undefined,
  size: image.sizeBytes ?? undefined,
  architecture: image.architecture ?? undefined,
  os: image.os ?? undefined,
  layers: image.layerCount,
  createdAt: date(image.createdAt),
  lastUsedAt: date(image.lastUsedAt)
})

/** Tries an operation with the given name of an image, and then with its full name. */
const byAnyName = <A>(
  reference: string,
  use: (reference: string) => Effect.Effect<A, LightboxError>
): Effect.Effect<A, LightboxError> => {
  const whole = wholeReference(reference)
  return Effect.catchReason(use(reference), "LightboxError", "NotFound", (_, error) =>
    whole === reference
      ? Effect.fail(error)
      : Effect.catchReason(use(whole), "LightboxError", "NotFound", () => Effect.fail(error))
  )
}

/** The digest of an image in the cache. */
export const cachedDigest = (
  sdk: Surface,
  method: string,
  image: string
): Effect.Effect<string | undefined, LightboxError> =>
  byAnyName(image, (reference) => call(method, { image: reference }, () => sdk.Image.get(reference))).pipe(
    Effect.map(({ manifestDigest }) => manifestDigest ?? undefined),
    Effect.catchReason("LightboxError", "NotFound", () => Effect.undefined)
  )

export const images = ({ home, pullPolicy, sdk }: DriverContext): ImagePart => ({
  loadImage: Effect.fn("Microsandbox.loadImage")(function* (path, options) {
    yield* requireArchive("Microsandbox.loadImage", path)
    const loaded = yield* call("Microsandbox.loadImage", { path }, () =>
      sdk.Image.load(Path.resolve(path), options?.tag === undefined ? {} : { tag: options.tag })
    )
    return loaded.map(imageInfo)
  }),
  saveImages: Effect.fn("Microsandbox.saveImages")(function* (references, path, options) {
    const method = "Microsandbox.saveImages"
    yield* checkReferences(references)
    yield* hostFile(method, path, () => Fs.mkdir(Path.dirname(Path.resolve(path)), { recursive: true }))
    yield* commit({
      method,
      subject: { path },
      run: () => sdk.Image.save([...references], { outputPath: Path.resolve(path), format: options?.format ?? "oci" }),
      describe: Effect.succeed,
      undo: () => removeFile(method, path)
    })
  }),
  listImages: Effect.fn("Microsandbox.listImages")(function* () {
    const all = yield* call("Microsandbox.listImages", {}, () => sdk.Image.list())
    return all.map(imageInfo)
  }),
  getImage: Effect.fn("Microsandbox.getImage")(function* (reference) {
    const { config, handle } = yield* byAnyName(reference, (reference) =>
      call("Microsandbox.getImage", { image: reference }, () => sdk.Image.inspect(reference))
    )
    const env: { [name: string]: string } = {}
    for (const entry of config?.env ?? []) {
      const at = entry.indexOf("=")
      if (at > 0) env[entry.slice(0, at)] = entry.slice(at + 1)
    }
    return {
      ...imageInfo(handle),
      env,
      entrypoint: config?.entrypoint ?? [],
      cmd: config?.cmd ?? [],
      cwd: config?.workingDir ?? undefined,
      user: config?.user ?? undefined
    }
  }),
  resolveImage: Effect.fn("Microsandbox.resolveImage")(function* (reference, options) {
    const method = "Microsandbox.resolveImage"
    yield* checkHostPaths({ registry: options?.registry })
    const cached = yield* cachedDigest(sdk, method, reference)
    if (!mustAsk(reference, cached, options?.pullPolicy ?? pullPolicy, options?.askIfMissing)) {
      return { digest: cached, isCached: cached !== undefined }
    }
    const digest = yield* Registry.askDigest(method, home, reference, options?.registry)
    return { digest, isCached: digest === cached }
  }),
  removeImage: Effect.fn("Microsandbox.removeImage")(function* (reference, options) {
    const force = options?.force ?? false
    yield* notFoundIsSuccess(
      byAnyName(reference, (reference) =>
        call("Microsandbox.removeImage", { image: reference }, () => sdk.Image.remove(reference, { force }))
      )
    )
  }),
  pruneImages: Effect.fn("Microsandbox.pruneImages")(function* () {
    const report = yield* call("Microsandbox.pruneImages", {}, () => sdk.Image.prune())
    return {
      images: report.imageRefsRemoved,
      layers: report.layersRemoved,
      bytes: report.bytesReclaimed ?? undefined
    }
  })
})
