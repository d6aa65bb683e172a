/** Adds files to a builder's disk as COPY and ADD of a Dockerfile do. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import * as Path from "node:path"
import type * as Guest from "../../Guest.ts"
import { FileError, LightboxError } from "../../LightboxError.ts"
import type { AddSource } from "../../Snapshot.ts"
import { itemsOf } from "../dockerfile/ignoreFile.ts"
import * as GuestFiles from "../guest/copy.ts"
import { ifMissing } from "../host/fileFailure.ts"
import * as Archives from "../host/archives.ts"
import * as HostFiles from "../host/files.ts"
import type * as Listing from "../host/listing.ts"

export interface Request {
  readonly guest: Guest.Guest
  readonly method: string
  readonly from: AddSource
  /** Ends with a slash if it is a folder. */
  readonly to: string
  readonly mode?: number | undefined
  readonly owner?: Guest.Owner | undefined
  /** Of a build context. */
  readonly listing: Listing.Listing | undefined
  /** Files of another definition's result. */
  readonly taken: Taken | undefined
}

/** Files taken from the disk of a snapshot or an image. */
export interface Taken {
  /** An archive on this host, relative to the root of the disk. */
  readonly archive: string
  readonly items: ReadonlyArray<Item>
}

export interface Item {
  /** Relative to the source's root. */
  readonly path: string
  readonly name: string
}

interface Ids {
  readonly uid: number
  readonly gid: number
}

/** Files of any source, and how to pack them under other names. */
interface Tree {
  readonly files: ReadonlyArray<Pick<Archives.Member, "kind" | "mode" | "path"> & Partial<Ids>>
  readonly pack: (place: (path: string) => HostFiles.Place | undefined) => Stream.Stream<Uint8Array, LightboxError>
}

export const add = Effect.fnUntraced(function* (request: Request): Effect.fn.Return<void, LightboxError> {
  const { from, guest, listing, method, mode, to } = request
  const owner = yield* GuestFiles.resolveOwner(guest, method, request.owner)
  switch (from._tag) {
    case "Texts": {
      if (from.files.length === 0) yield* makeFolders(guest, to, owner)
      return yield* Effect.forEach(
        from.files,
        ({ content, name }) =>
          writeFile(request, owner, name, mode ?? 0o644, Stream.make(new TextEncoder().encode(content))),
        { discard: true }
      )
    }
    case "Url": {
      const name = Path.posix.basename(new URL(from.url).pathname)
      if (name === "" && to.endsWith("/")) return yield* failed(method, from.url, "the URL has no name for the file")
      return yield* writeFile(request, owner, name, mode ?? 0o600, download(method, from.url, from.checksum))
    }
    case "Snapshot": {
      if (request.taken === undefined) return yield* failed(method, from.definition.name, "its files were not taken")
      const { archive, items } = request.taken
      if (items.length === 0) return
      const source = { path: archive }
      const files = yield* Archives.list(method, source)
      const tree: Tree = {
        files,
        pack: (place) => Archives.repack(method, source, ({ path }) => place(path))
      }
      return yield* addTree(request, owner, tree, items)
    }
    case "Context": {
      const files = listing?.files ?? []
      const tree: Tree = {
        files,
        pack: (place) => {
          const placed = new Map(
            files.flatMap((file) => {
              const at = place(file.path)
              return at === undefined ? [] : [[file, at] as const]
            })
          )
          return packed(method, from.root, placed)
        }
      }
      const items = itemsOf(
        from.paths,
        files.map(({ path }) => path)
      ).map(({ path }) => ({
        path,
        name: Path.posix.basename(path)
      }))
      const archives = from.unpack
        ? yield* Effect.filter(
            items.filter(({ path }) => files.some((file) => file.path === path && file.kind === "file")),
            ({ path }) => Archives.isArchive(method, Path.join(from.root, path))
          )
        : []
      for (const { path } of archives) {
        const source = { path: Path.join(from.root, path), digest: files.find((file) => file.path === path)?.digest }
        const members = yield* Archives.list(method, source)
        const unpacked: Tree = {
          files: members,
          pack: (place) => Archives.repack(method, source, ({ path }) => place(path))
        }
        yield* addTree(
          { ...request, to: to.endsWith("/") ? to : `${to}/`, mode: undefined },
          // What is in an archive keeps its owners.
          undefined,
          unpacked,
          [{ path: "", name: "" }],
          true
        )
      }
      return yield* addTree(
        request,
        owner,
        tree,
        items.filter((item) => !archives.includes(item))
      )
    }
  }
})

const packed = (
  method: string,
  root: string,
  placed: ReadonlyMap<HostFiles.HostFile, HostFiles.Place>
): Stream.Stream<Uint8Array, LightboxError> =>
  HostFiles.pack(method, root, [...placed.keys()], (file) => placed.get(file) ?? { name: "", mode: 0, uid: 0, gid: 0 })

const failed = (method: string, path: string, problem: string): Effect.Effect<never, LightboxError> =>
  Effect.fail(new LightboxError({ method, reason: new FileError({ operation: "add", path, code: "EINVAL", problem }) }))

/** Creates a folder with its parents, which get the owner as well. */
export const makeFolders = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  path: string,
  owner: Ids | undefined
): Effect.fn.Return<boolean, LightboxError> {
  const missing: Array<string> = []
  for (let at = Path.posix.resolve(path); at !== "/"; at = Path.posix.dirname(at)) {
    if ((yield* GuestFiles.typeAt(guest, at)) !== undefined) break
    missing.unshift(at)
  }
  for (const folder of missing) {
    yield* guest.makeDirectory(folder)
    yield* guest.setAttributes(folder, { mode: 0o755, ...owner })
  }
  return missing.length > 0
})

/** Writes one file, into a folder or under a name. */
const writeFile = Effect.fnUntraced(function* (
  { guest, to }: Request,
  owner: Ids | undefined,
  name: string,
  mode: number,
  content: Stream.Stream<Uint8Array, LightboxError>
): Effect.fn.Return<void, LightboxError> {
  const isFolder = to.endsWith("/") || (yield* GuestFiles.typeAt(guest, to)) === "Directory"
  const path = isFolder ? Path.posix.join(to, name) : to
  yield* makeFolders(guest, Path.posix.dirname(path), owner)
  yield* ifMissing(undefined)(guest.removeFile(path))
  yield* Effect.scoped(
    Effect.gen(function* () {
      const file = yield* guest.open(path, { write: true, create: true, truncate: true })
      yield* Stream.run(content, file.sink())
      yield* file.setAttributes({ mode, uid: 0, gid: 0, ...owner })
    })
  )
})

/** Downloads on this host, and compares the checksum. */
const download = (
  method: string,
  url: string,
  checksum: string | undefined
): Stream.Stream<Uint8Array, LightboxError> =>
  Stream.suspend(() => {
    const failure = (cause: unknown) =>
      new LightboxError({
        method,
        reason: new FileError({
          operation: "download",
          path: url,
          code: "EIO",
          problem: cause instanceof Error ? cause.message : String(cause)
        })
      })
    const controller = new AbortController()
    const chunks = async function* () {
      try {
        const response = await fetch(url, { signal: controller.signal })
        if (!response.ok) throw new Error(`the server answered ${response.status}`)
        const hash = Crypto.createHash("sha256")
        for await (const chunk of response.body ?? []) {
          hash.update(chunk)
          yield chunk
        }
        const found = `sha256:${hash.digest("hex")}`
        if (checksum !== undefined && found !== checksum) throw new Error(`its checksum is ${found}, not ${checksum}`)
      } finally {
        controller.abort()
      }
    }
    return Stream.fromAsyncIterable(chunks(), failure)
  })

/** Copies items of a tree: files into a folder or under a name, and what is in folders. */
const addTree = Effect.fnUntraced(function* (
  { guest, method, mode, to }: Request,
  owner: Ids | undefined,
  tree: Tree,
  items: ReadonlyArray<Item>,
  keepsOwners = false
): Effect.fn.Return<void, LightboxError> {
  if (items.length === 0) return
  const kinds = new Map(tree.files.map((file) => [file.path, file]))
  const isFolderItem = ({ path }: Item) => path === "" || kinds.get(path)?.kind === "folder"
  const isFolder =
    to.endsWith("/") ||
    items.length > 1 ||
    items.some(isFolderItem) ||
    (yield* GuestFiles.typeAt(guest, to)) === "Directory"
  const root = isFolder ? Path.posix.resolve(to) : Path.posix.dirname(to)
  const nameOf = (path: string): string | undefined => {
    for (const item of items) {
      if (item.path === path && !isFolderItem(item)) return isFolder ? item.name : Path.posix.basename(to)
      const prefix = item.path === "" ? "" : `${item.path}/`
      if (isFolderItem(item) && path !== item.path && path !== "" && path.startsWith(prefix)) {
        return path.slice(prefix.length)
      }
    }
    return undefined
  }
  const placed = tree.files.flatMap((file) => {
    const path = nameOf(file.path)
    return path === undefined ? [] : [{ ...file, path }]
  })
  const isNew = yield* makeFolders(guest, root, owner)
  const [only] = items
  const top = isNew && items.length === 1 && only !== undefined ? kinds.get(only.path) : undefined
  if (top?.kind === "folder") yield* guest.setAttributes(root, { mode: mode ?? top.mode })
  const existing = yield* GuestFiles.existingFolders(guest, method, root, placed)
  const attributesOf = (file: Tree["files"][number]) => ({
    mode: file.kind === "link" ? file.mode : (mode ?? file.mode),
    uid: owner?.uid ?? (keepsOwners ? (file.uid ?? 0) : 0),
    gid: owner?.gid ?? (keepsOwners ? (file.gid ?? 0) : 0)
  })
  yield* GuestFiles.extract(
    guest,
    method,
    root,
    tree.pack((path) => {
      const file = kinds.get(path)
      const name = nameOf(path)
      if (file === undefined || name === undefined || (file.kind === "folder" && existing.has(name))) return undefined
      return { name, ...attributesOf(file) }
    })
  )
  const whole = keepsOwners ? kinds.get("") : undefined
  if (whole !== undefined) yield* guest.setAttributes(root, attributesOf(whole))
  // A copied folder replaces the attributes of an existing one, unless it is the destination.
  for (const file of placed) {
    if (file.kind === "folder" && existing.get(file.path) === "folder") {
      yield* guest.setAttributes(Path.posix.join(root, file.path), attributesOf(file))
    }
  }
})
