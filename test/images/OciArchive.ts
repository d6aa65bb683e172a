/** OCI image archives of one layer, made of files that this machine has. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import * as Cache from "../host/Cache.ts"
import * as Host from "../host/Host.ts"
import { run } from "../host/Subprocess.ts"

/** An image, up to its files. */
export interface Image {
  readonly name: string
  /** What it is loaded under. */
  readonly references: readonly [string, ...Array<string>]
  /** Changes whenever the same name is to be built anew. */
  readonly revision: number
}

/** Arguments that let the same files give the same tar: neither their order on disk, nor when or by whom they were made. */
export const reproducible: ReadonlyArray<string> = ["--format=gnu", "--sort=name", "--mtime=@0", "--numeric-owner"]

const architecture = process.arch === "x64" ? "amd64" : process.arch

const digest = Effect.fnUntraced(function* (file: string) {
  const fs = yield* FileSystem.FileSystem
  const hash = yield* Stream.runFold(
    fs.stream(file),
    () => Crypto.createHash("sha256"),
    (hash, bytes) => hash.update(bytes)
  )
  return hash.digest("hex")
})

const pack = Effect.fnUntraced(function* (image: Image, folder: string, layer: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const layout = path.join(folder, "layout")
  const blobs = path.join(layout, "blobs/sha256")
  yield* fs.makeDirectory(blobs, { recursive: true })

  const addFile = Effect.fnUntraced(function* (mediaType: string, file: string) {
    const sha256 = yield* digest(file)
    const size = Number((yield* fs.stat(file)).size)
    yield* fs.rename(file, path.join(blobs, sha256))
    return { mediaType, digest: `sha256:${sha256}`, size }
  })
  const addJson = Effect.fnUntraced(function* (mediaType: string, value: unknown) {
    const file = path.join(folder, "blob.json")
    yield* fs.writeFileString(file, JSON.stringify(value))
    return yield* addFile(mediaType, file)
  })

  const diffId = `sha256:${yield* digest(layer)}`
  yield* run("gzip", ["--no-name", layer])
  const config = yield* addJson("application/vnd.oci.image.config.v1+json", {
    architecture,
    os: "linux",
    config: { Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], Cmd: ["sh"] },
    rootfs: { type: "layers", diff_ids: [diffId] }
  })
  const manifest = yield* addJson("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config,
    layers: [yield* addFile("application/vnd.oci.image.layer.v1.tar+gzip", `${layer}.gz`)]
  })
  const manifests = image.references.map((reference) => ({
    ...manifest,
    annotations: { "org.opencontainers.image.ref.name": reference }
  }))
  yield* fs.writeFileString(path.join(layout, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }))
  yield* fs.writeFileString(path.join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }))
  const archive = path.join(folder, "archive.tar")
  const owner = ["--owner=0", "--group=0", "--mode=u=rwX,go=rX"]
  yield* run("tar", ["--create", "--file", archive, "--directory", layout, ...reproducible, ...owner, "."])
  return archive
})

/**
 * The path of an image's archive in the cache folder, made at the first time.
 *
 * **Details**
 *
 * `makeLayer` makes the layer, a plain tar of the root file system, in a folder that is gone afterwards, and gives
 * its path.
 */
export const cached = Effect.fnUntraced(function* <E, R>(
  image: Image,
  makeLayer: (folder: string) => Effect.Effect<string, E, R>
) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const archives = yield* Cache.folder("archives")
  const archive = path.join(archives, `${image.name}-${architecture}-${image.revision}.tar`)
  if (yield* fs.exists(archive)) return archive
  return yield* Effect.gen(function* () {
    if (yield* fs.exists(archive)) return archive
    yield* Host.say(`building the image ${image.references[0]}`)
    const folder = yield* Cache.runFolder()
    const layer = yield* makeLayer(folder)
    yield* fs.rename(yield* pack(image, folder, layer), archive)
    return archive
  }).pipe(Effect.scoped, Cache.withLock(archives))
})
