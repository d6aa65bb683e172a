/** Copies files and folders into and out of a guest. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Path from "node:path"
import type * as Guest from "../../Guest.ts"
import { FileError, LightboxError } from "../../LightboxError.ts"
import * as Execution from "./execution.ts"
import { ifMissing } from "../host/fileFailure.ts"
import { atMost, readText } from "./files.ts"
import * as HostFiles from "../host/files.ts"

export const copyIn = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  method: string,
  options: {
    readonly from: string
    readonly to: string
    readonly files: ReadonlyArray<HostFiles.HostFile>
    readonly mode?: number | undefined
    readonly owner?: Guest.Owner | undefined
  }
): Effect.fn.Return<void, LightboxError> {
  const { files, from, to } = options
  const isSingle = files.length === 1 && files[0]?.path === ""
  const folder = isSingle ? Path.posix.dirname(to) : to
  const owner = yield* resolveOwner(guest, method, options.owner)
  const existing = yield* isSingle
    ? Effect.as(requirePlace(method, to, "file", yield* typeAt(guest, to)), new Map<string, Existing>())
    : existingFolders(guest, method, to, files)
  yield* guest.makeDirectory(folder)
  if (!isSingle && owner !== undefined && !existing.has("")) yield* guest.setAttributes(folder, owner)
  const archive = HostFiles.pack(
    method,
    Path.resolve(from),
    files.filter(({ path }) => isSingle || !existing.has(path)),
    ({ kind, mode, path }) => ({
      name: path === "" ? Path.posix.basename(to) : path,
      mode: HostFiles.modeOf(mode, kind === "folder", options.mode),
      ...(owner ?? { uid: 0, gid: 0 })
    })
  )
  yield* extract(guest, method, folder, archive)
})

/** Extracts a tar stream in a folder of the guest. */
export const extract = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  method: string,
  folder: string,
  archive: Stream.Stream<Uint8Array, LightboxError>
): Effect.fn.Return<void, LightboxError> {
  const argv = ["tar", "-xf", "-", "-C", folder] as const
  yield* Execution.collect(guest, method, Execution.asRoot(...argv), {
    input: archive,
    maxOutput: 1024 * 1024,
    check: true
  })
})

type Place = FileSystem.File.Type | undefined

export const typeAt = (guest: Guest.Guest, path: string): Effect.Effect<Place, LightboxError> =>
  guest.stat(path).pipe(
    Effect.map(({ type }) => type),
    ifMissing(undefined)
  )

const failed = (method: string, path: string, code: string, problem: string) =>
  new LightboxError({ method, reason: new FileError({ operation: "copy", path, code, problem }) })

/** Copies replace files and links, but no folder by a file, nor a file by a folder. */
const requirePlace = (
  method: string,
  path: string,
  kind: HostFiles.HostFile["kind"],
  found: Place
): Effect.Effect<void, LightboxError> => {
  const isFolder = found === "Directory"
  if (kind === "folder" && found !== undefined && !isFolder) {
    return Effect.fail(failed(method, path, "ENOTDIR", "a folder cannot replace what is not a folder"))
  }
  return kind !== "folder" && (isFolder || path.endsWith("/"))
    ? Effect.fail(failed(method, path, "EISDIR", "a file cannot replace a folder: add the file's name to the path"))
    : Effect.void
}

/** A folder, or a link to one. */
type Existing = "folder" | "link"

/** Finds the copied folders that the guest has, perhaps behind links. Only some kinds of `tar` would leave them as they are. */
export const existingFolders = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  method: string,
  to: string,
  files: ReadonlyArray<Pick<HostFiles.HostFile, "kind" | "path">>
): Effect.fn.Return<ReadonlyMap<string, Existing>, LightboxError> {
  const children = Map.groupBy(files, ({ path }) => Path.posix.dirname(path).replace(/^\.$/, ""))
  const top = yield* typeAt(guest, to)
  yield* requirePlace(method, to, "folder", top)
  const existing = new Map<string, Existing>(top === undefined ? [] : [["", "folder"]])
  for (const folder of existing.keys()) {
    const place = Path.posix.join(to, folder)
    const entries = yield* guest.readDirectoryEntries(place)
    const types = new Map(entries.map(({ path, type }) => [Path.posix.basename(path), type]))
    for (const { kind, path } of children.get(folder) ?? []) {
      const target = Path.posix.join(to, path)
      const type = types.get(Path.posix.basename(path))
      const found = kind === "folder" && type === "SymbolicLink" ? ((yield* typeAt(guest, target)) ?? type) : type
      yield* requirePlace(method, target, kind, found)
      if (kind === "folder" && found === "Directory") existing.set(path, type === "SymbolicLink" ? "link" : "folder")
    }
  }
  return existing
})

const isCopied = (method: string, path: string, { type }: Guest.FileInfo): Effect.Effect<boolean, LightboxError> =>
  type === "Directory" || type === "File"
    ? Effect.succeed(type === "Directory")
    : Effect.fail(failed(method, path, "EINVAL", "only files and folders can be copied"))

/** Copies a file or a folder's content to the host. The guest's data is not trusted. */
export const copyOut = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  method: string,
  from: string,
  to: string,
  maxBytes = defaultMaxBytes
): Effect.fn.Return<void, LightboxError, Scope.Scope> {
  const target = Path.resolve(to)
  const isFolder = yield* isCopied(method, from, yield* guest.stat(from))
  if (!isFolder) {
    const file = yield* guest.open(from, { read: true })
    const info = yield* file.stat
    yield* isCopied(method, from, info)
    return yield* HostFiles.write(method, target, file.stream().pipe(atMost(method, from, maxBytes)), info)
  }
  const archive = archiveOf(guest, method, from, ["."], (complaints) => !/: socket ignored$/m.test(complaints))
  yield* HostFiles.unpack(method, target, atMost(method, from, maxBytes)(archive))
}, Effect.scoped)

/** Packs files below a folder of a guest, as they are read. Fails at the end if `tar` failed, or left out too much. */
export const archiveOf = (
  guest: Guest.Guest,
  method: string,
  folder: string,
  names: ReadonlyArray<string>,
  isWhole: (complaints: string) => boolean = () => true
): Stream.Stream<Uint8Array, LightboxError> => {
  const argv = ["tar", "-cf", "-", "-C", folder, "--", ...names] as const
  // `suspend` limits the guest to the speed of this host's disk.
  const spawned = guest.spawn(
    { ...Execution.asRoot(...argv), stdin: "empty", env: tarVariables },
    { overflow: "suspend" }
  )
  const complaints: Array<Uint8Array> = []
  return Stream.unwrap(
    Effect.map(spawned, (process) =>
      process.output.pipe(
        Stream.filterMap(({ _tag, bytes }) => {
          if (_tag === "Stdout") return Result.succeed(bytes)
          if (complaints.length < maxComplaints) complaints.push(bytes)
          return Result.failVoid
        }),
        Stream.concat(
          Stream.drain(
            Stream.fromEffect(
              Effect.flatMap(Execution.ended(process), (end) => {
                const stderr = Buffer.concat(complaints)
                return end.exitCode === 0 && isWhole(stderr.toString())
                  ? Effect.void
                  : Effect.fail(Execution.failed(method, argv, end, new Uint8Array(), stderr))
              })
            )
          )
        )
      )
    )
  )
}

/** For GNU tar, in whose own format only it can read times before 1970. */
export const tarVariables = { LC_ALL: "C", TAR_OPTIONS: "--format=posix --pax-option=delete=atime,delete=ctime" }

const defaultMaxBytes = 16 * 1024 ** 3

const maxComplaints = 64

/** Resolves names of users and groups with the guest's databases. */
export const resolveOwner = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  method: string,
  owner: Guest.Owner | undefined
): Effect.fn.Return<{ readonly uid: number; readonly gid: number } | undefined, LightboxError> {
  if (owner === undefined || typeof owner === "object") return owner
  const [user = "", group] = owner.split(":")
  const isNumber = (id: string) => /^\d+$/.test(id)
  const isId = (id: string) => isNumber(id) && Number(id) < 0xff_ff_ff_ff
  // Numeric ids need no lookup; a guest may have neither file.
  const find = (path: string, id: string) =>
    readText(guest, path).pipe(
      Effect.map((text) =>
        text
          .split("\n")
          .map((line) => line.split(":"))
          .find((fields) => fields[0] === id || fields[2] === id)
      ),
      ifMissing(undefined)
    )
  const unknown = (path: string, id: string) =>
    new LightboxError({
      method,
      reason: new FileError({
        operation: "chown",
        path,
        code: "EINVAL",
        problem: `the guest has no such user or group: ${id}`
      })
    })
  const account = yield* find("/etc/passwd", user)
  if (account === undefined && !isNumber(user)) return yield* unknown("/etc/passwd", user)
  const [, , uid = user, primary = uid] = account ?? []
  const members = group === undefined || isNumber(group) ? undefined : yield* find("/etc/group", group)
  const gid = group === undefined ? primary : isNumber(group) ? group : members?.[2]
  if (gid === undefined || !isId(gid)) return yield* unknown("/etc/group", group ?? primary)
  if (!isId(uid)) return yield* unknown("/etc/passwd", user)
  return { uid: Number(uid), gid: Number(gid) }
})
