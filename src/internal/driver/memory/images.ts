/** The images of a registry, and the image cache of a home. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Cbor from "cborg"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { ImageUnavailable, InUse, NotFound } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type { Image, ImageFile, Options } from "../../../MicrosandboxMemory.ts"
import { fileFailure, requireArchive } from "../../host/fileFailure.ts"
import { checkHostPaths } from "../createChecks.ts"
import { checkReferences, mustAsk, wholeReference } from "../imageReference.ts"
import * as ByteString from "./kernel/byteString.ts"
import { programs } from "./programs/index.ts"
import { FileTree, type Lower } from "./kernel/fileTree.ts"
import { programMark } from "./kernel/machine.ts"
import { root } from "./kernel/vnode.ts"
import { Vfs } from "./kernel/vfs.ts"
import type { ImagePart } from "../parts.ts"
import type { Unnamed } from "./failure.ts"
import { readArchive, replaceFile, writeArchive } from "./files.ts"

const Stored = Schema.Struct({
  reference: Schema.String,
  digest: Schema.String,
  env: Schema.Record(Schema.String, Schema.String),
  entrypoint: Schema.Array(Schema.String),
  cmd: Schema.Array(Schema.String),
  workdir: Schema.optionalKey(Schema.String),
  user: Schema.optionalKey(Schema.String),
  tree: Schema.Uint8Array,
  /** Milliseconds since 1970. */
  createdAt: Schema.Finite
})

export type StoredImage = typeof Stored.Type

const decodeStored = Schema.decodeUnknownSync(Stored)
const decodeOptional = Schema.decodeUnknownOption(Stored)

const Archive = Schema.Struct({ kind: Schema.Literal("effect-lightbox memory images"), images: Schema.Array(Stored) })

const decodeArchive = Schema.decodeUnknownOption(Archive)

/** Files have a fixed time, so that equal files have equal digests. */
const epoch = 0

const passwd =
  "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\napp:x:1000:1000:app:/home/app:/bin/sh\n"

const groups = "root:x:0:\nnobody:x:65534:\napp:x:1000:\n"

const baseFolders = [
  "/bin",
  "/dev",
  "/etc",
  "/proc",
  "/run",
  "/sbin",
  "/sys",
  "/usr/bin",
  "/usr/local/bin",
  "/usr/sbin"
]

/** A directory in which the contents of declared images are built. */
const emptyTree = (): FileTree =>
  new FileTree({
    source: "image",
    type: "overlay",
    options: "ro",
    limit: Number.POSITIVE_INFINITY,
    now: () => epoch,
    isDisk: false
  })

const writeBase = (vfs: Vfs, installed: ReadonlyArray<string>, commands: ReadonlyArray<string>): void => {
  const write = (path: string, content: string, mode: number) =>
    vfs.write(path, root, ByteString.toBytes(content), mode)
  for (const folder of baseFolders) vfs.makeFolders(folder, "/", 0o755, root)
  vfs.makeFolders("/root", "/", 0o700, root)
  vfs.makeFolders("/home/app", "/", 0o755, root)
  vfs.setAttributes("/home/app", "/", root, { uid: 1000, gid: 1000 })
  for (const folder of ["/tmp", "/var/tmp"]) {
    vfs.makeFolders(folder, "/", 0o1777, root)
    vfs.setAttributes(folder, "/", root, { mode: 0o1777 })
  }
  write("/etc/passwd", passwd, 0o644)
  write("/etc/group", groups, 0o644)
  for (const name of installed) write(`/bin/${name}`, `${programMark}${name}\n`, 0o755)
  // Scripts, and programs that clear the environment, use this path.
  if (installed.includes("env")) write("/usr/bin/env", `${programMark}env\n`, 0o755)
  for (const name of commands) {
    const path = ByteString.fromText(name.startsWith("/") ? name : `/usr/local/bin/${name}`)
    vfs.makeFolders(path.slice(0, path.lastIndexOf("/")) || "/", "/", 0o755, root)
    write(path, `${programMark}${ByteString.fromText(name)}\n`, 0o755)
  }
}

const writeDeclared = (vfs: Vfs, path: string, declared: ImageFile | string | Uint8Array): void => {
  const at = ByteString.fromText(path)
  const folder = at.slice(0, at.lastIndexOf("/"))
  if (folder !== "") vfs.makeFolders(folder, "/", 0o755, root)
  const entry: ImageFile =
    typeof declared === "string" || declared instanceof Uint8Array ? { content: declared } : declared
  if (entry.symlink !== undefined) {
    vfs.make(at, "/", root, { _tag: "Symlink", target: ByteString.fromText(entry.symlink) })
    return
  }
  const mode = entry.mode ?? (entry.content === undefined ? 0o755 : 0o644)
  if (entry.content === undefined) vfs.makeFolders(at, "/", mode, root)
  else vfs.write(at, root, Buffer.from(entry.content), mode)
  vfs.setAttributes(at, "/", root, { mode, uid: entry.uid ?? 0, gid: entry.gid ?? 0 })
}

const encode = (installed: ReadonlyArray<string>, commands: ReadonlyArray<string>, files: Image["files"] = {}) => {
  const tree = emptyTree()
  const vfs = new Vfs(tree.root)
  writeBase(vfs, installed, commands)
  for (const [path, file] of Object.entries(files)) writeDeclared(vfs, path, file)
  tree.sync()
  return tree.encode()
}

/** The encoded files of images that declare none. Many twins have the same. */
const bases = new Map<string, Uint8Array>()

const encodeBase = (installed: ReadonlyArray<string>, commands: ReadonlyArray<string>): Uint8Array => {
  const key = JSON.stringify([installed, commands])
  const encoded = bases.get(key) ?? encode(installed, commands)
  bases.set(key, encoded)
  return encoded
}

/** A declared image with the built-in files. */
const build = (reference: string, image: Image, commands: ReadonlyArray<string>, createdAt: number): StoredImage => {
  const installed = image.programs ?? Object.keys(programs)
  const encoded = image.files === undefined ? encodeBase(installed, commands) : encode(installed, commands, image.files)
  const config = {
    env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ...image.env },
    entrypoint: image.entrypoint ?? [],
    cmd: image.cmd ?? ["sh"],
    ...(image.workdir === undefined ? {} : { workdir: image.workdir }),
    ...(image.user === undefined ? {} : { user: image.user })
  }
  // As in a registry, tags of the same image share a digest.
  return { reference, digest: digestOf(config, encoded), ...config, tree: encoded, createdAt }
}

const digestOf = (...parts: ReadonlyArray<unknown>): string => {
  const hash = Crypto.createHash("sha256")
  for (const part of parts) hash.update(part instanceof Uint8Array ? part : Cbor.encode(part))
  return `sha256:${hash.digest("hex")}`
}

/** The runtime saves unpacked layers: a pulled image has another digest after a save and a load. */
const asSaved = (image: StoredImage): StoredImage => {
  const { cmd, entrypoint, env, tree, user, workdir } = image
  return { ...image, digest: digestOf("unpacked", { env, entrypoint, cmd, workdir, user }, tree) }
}

const lowers = new Map<string, Lower>()

/** The files of an image, as the lower part of a disk. */
export const lowerOf = (image: StoredImage): Lower => {
  const known = lowers.get(image.digest)
  if (known !== undefined) return known
  const tree = emptyTree()
  tree.decode(image.tree)
  const lower = tree.freeze()
  lowers.set(image.digest, lower)
  return lower
}

const infoOf = (image: StoredImage) => {
  const createdAt = DateTime.makeUnsafe(image.createdAt)
  return {
    reference: image.reference,
    digest: image.digest,
    size: image.tree.length,
    architecture: "amd64",
    os: "linux",
    layers: 1,
    createdAt,
    lastUsedAt: createdAt
  }
}

/** The declared images, in the registry and in archives. If there are none, every reference is a plain image. */
export class Registry {
  private readonly images: Map<string, Image>
  private readonly built = new Map<string, StoredImage>()
  private readonly isOpen: boolean
  private readonly commands: ReadonlyArray<string>
  private readonly createdAt: number

  constructor({ commands = {}, images }: Options, createdAt: number) {
    this.images = new Map(Object.entries(images ?? {}))
    this.isOpen = images === undefined
    this.commands = Object.keys(commands)
    this.createdAt = createdAt
  }

  /** Returns nothing for an unknown reference. */
  find(reference: string): StoredImage | undefined {
    const image = this.images.get(reference) ?? (this.isOpen ? {} : undefined)
    if (image === undefined) return undefined
    const stored = this.built.get(reference) ?? build(reference, image, this.commands, this.createdAt)
    this.built.set(reference, stored)
    return stored
  }

  /** The image in an archive. */
  archived(path: string): StoredImage | undefined {
    const found = [...this.images].find(([, { archive }]) => archive !== undefined && Path.resolve(archive) === path)
    return found && this.find(found[0])
  }

  declare(reference: string, image: Image): void {
    this.images.set(reference, image)
    this.built.delete(reference)
  }
}

/** The image cache of a home. */
export class ImageCache {
  private readonly folder: string

  constructor(home: string) {
    this.folder = Path.join(home, "images")
    Fs.mkdirSync(this.folder, { recursive: true })
  }

  private read(path: string): StoredImage {
    return decodeStored(Cbor.decode(Fs.readFileSync(path)))
  }

  private fileOf(reference: string): string {
    return Path.join(this.folder, `${Crypto.hash("sha256", reference)}.image`)
  }

  get(reference: string): StoredImage | undefined {
    const path = this.fileOf(reference)
    return Fs.existsSync(path) ? this.read(path) : undefined
  }

  /** By short or full name. */
  find(reference: string): StoredImage | undefined {
    return this.get(reference) ?? this.get(wholeReference(reference))
  }

  all(): ReadonlyArray<StoredImage> {
    return Fs.readdirSync(this.folder)
      .filter((name) => name.endsWith(".image"))
      .map((name) => this.read(Path.join(this.folder, name)))
  }

  byDigest(digest: string): StoredImage | undefined {
    return this.all().find((image) => image.digest === digest)
  }

  put(image: StoredImage): void {
    replaceFile(this.fileOf(image.reference), Cbor.encode(image))
  }

  /** Restores an image from a file, if it is one. */
  restore(stored: unknown): void {
    const image = decodeOptional(stored)
    if (image._tag === "Some" && this.get(image.value.reference) === undefined) this.put(image.value)
  }

  remove(reference: string): void {
    Fs.rmSync(this.fileOf(reference), { force: true })
  }
}

const unknown = (reference: string): ImageUnavailable =>
  new ImageUnavailable({ reference, problem: `the registry has no image ${reference}`, kind: "NotFound" })

/** Returns an image from the cache, pulling it if necessary. */
export const resolve = (
  cache: ImageCache,
  registry: Registry,
  reference: string,
  policy: "always" | "if-missing" | "never",
  onProgress: (progress: Microsandbox.PullProgress) => void
): Effect.Effect<StoredImage, ImageUnavailable> =>
  Effect.suspend(() => {
    const found = cache.find(reference)
    const cached = found && { ...found, reference }
    const keep = (image: StoredImage) => {
      if (image.digest !== cache.get(reference)?.digest) cache.put(image)
    }
    if (policy === "never") {
      if (cached === undefined) {
        const problem = `image not cached: ${reference}`
        return Effect.fail(new ImageUnavailable({ reference, problem, kind: "NotCached" }))
      }
      keep(cached)
      return Effect.succeed(cached)
    }
    const wanted = policy === "if-missing" && cached !== undefined ? cached : registry.find(reference)
    if (wanted === undefined) return Effect.fail(unknown(reference))
    onProgress({ _tag: "Resolving", reference })
    const total = wanted.tree.length
    onProgress({ _tag: "Resolved", reference, digest: wanted.digest, layers: 1, total })
    if (wanted.digest !== cached?.digest) {
      onProgress({ _tag: "Downloading", layer: 0, done: total, total })
      onProgress({ _tag: "Unpacking", layer: 0, done: total, total })
    }
    keep(wanted)
    onProgress({ _tag: "Pulled", reference })
    return Effect.succeed(wanted)
  })

/** The users of an image. */
export interface ImageUsers {
  readonly sandboxes: number
  readonly snapshots: number
}

/** The operations on images. `usersOf` returns the users of a digest. */
export const make = (
  cache: ImageCache,
  registry: Registry,
  pullPolicy: "always" | "if-missing" | "never" | undefined,
  usersOf: (digest: string) => Effect.Effect<ImageUsers>
): Unnamed<ImagePart> => {
  const find = (reference: string): Effect.Effect<StoredImage, NotFound> =>
    Effect.suspend(() => {
      const image = cache.find(reference)
      return image === undefined
        ? Effect.fail(new NotFound({ resource: "image", name: reference }))
        : Effect.succeed(image)
    })
  return {
    loadImage: Effect.fnUntraced(function* (path, options) {
      yield* requireArchive("Microsandbox.loadImage", path)
      const bytes = yield* Effect.try({
        try: () => Fs.readFileSync(path),
        catch: fileFailure("Microsandbox.loadImage", "file", path)
      })
      const declared = registry.archived(Path.resolve(path))
      const images = declared === undefined ? readArchive(decodeArchive, bytes)?.images : [declared]
      if (images === undefined) {
        const problem = "the in-memory driver only loads archives that it saved or that were declared"
        return yield* new ImageUnavailable({ reference: path, problem })
      }
      const [first] = images
      const tagged =
        options?.tag === undefined || first === undefined ? images : [...images, { ...first, reference: options.tag }]
      for (const image of tagged) cache.put(image)
      return tagged.map(infoOf)
    }),
    saveImages: Effect.fnUntraced(function* (references, path) {
      yield* checkReferences(references)
      const images = yield* Effect.forEach(references, (reference) =>
        Effect.map(find(reference), (image) => asSaved({ ...image, reference }))
      )
      yield* Effect.try({
        try: () => writeArchive(path, { kind: "effect-lightbox memory images", images }),
        catch: fileFailure("Microsandbox.saveImages", "file", path)
      })
    }),
    listImages: () => Effect.sync(() => cache.all().map(infoOf)),
    getImage: (reference) =>
      Effect.map(find(reference), (image) => {
        const { cmd, entrypoint, env, user, workdir } = image
        return { ...infoOf(image), env, entrypoint, cmd, cwd: workdir, user }
      }),
    resolveImage: Effect.fnUntraced(function* (reference, options) {
      yield* checkHostPaths({ registry: options?.registry })
      const cached = cache.find(reference)?.digest
      if (!mustAsk(reference, cached, options?.pullPolicy ?? pullPolicy, options?.askIfMissing)) {
        return { digest: cached, isCached: cached !== undefined }
      }
      const digest = registry.find(reference)?.digest
      return digest === undefined ? yield* unknown(reference) : { digest, isCached: digest === cached }
    }),
    removeImage: Effect.fnUntraced(function* (reference, options) {
      const image = cache.find(reference)
      if (image === undefined) return
      const isLast = cache.all().filter(({ digest }) => digest === image.digest).length === 1
      const { sandboxes } = yield* usersOf(image.digest)
      if (sandboxes > 0 && (isLast || options?.force !== true)) {
        return yield* new InUse({ resource: "image", name: reference, usedBy: [] })
      }
      cache.remove(image.reference)
    }),
    pruneImages: Effect.fnUntraced(function* () {
      const unused = yield* Effect.filter(cache.all(), ({ digest }) =>
        Effect.map(usersOf(digest), ({ sandboxes, snapshots }) => sandboxes + snapshots === 0)
      )
      for (const { reference } of unused) cache.remove(reference)
      const trees = new Map(unused.map(({ digest, tree }) => [digest, tree.length]))
      const bytes = [...trees.values()].reduce((sum, size) => sum + size, 0)
      return { images: unused.length, layers: trees.size, bytes: trees.size === 0 ? undefined : bytes }
    })
  }
}
