/** Copies files and folders into and out of a guest. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Path from "node:path"
import type * as Guest from "../../Guest.ts"
import { FileError, LightboxError } from "../../LightboxError.ts"
import * as Execution from "./execution.ts"
import { readText } from "./files.ts"
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
  const isNew = Option.isNone(yield* Effect.option(guest.stat(folder)))
  yield* guest.makeDirectory(folder)
  if (isNew && !isSingle && owner !== undefined) yield* guest.setAttributes(folder, owner)
  const archive = HostFiles.pack(method, Path.resolve(from), files, {
    name: Path.posix.basename(to),
    mode: options.mode,
    owner: owner ?? { uid: 0, gid: 0 }
  })
  const argv = ["tar", "-xf", "-", "-C", folder] as const
  const end = yield* Execution.collect(guest, method, Execution.asRoot(...argv), {
    input: archive,
    maxOutput: 1024 * 1024
  })
  if (end.exitCode !== 0) return yield* Execution.failed(method, argv, end, end.stdout, end.stderr)
})

/** Copies a file or a folder's content to the host. The guest's data is not trusted. */
export const copyOut = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  method: string,
  from: string,
  to: string
): Effect.fn.Return<void, LightboxError, Scope.Scope> {
  const { mode, type } = yield* guest.stat(from)
  const target = Path.resolve(to)
  if (type !== "Directory") {
    const file = yield* guest.open(from, { read: true })
    return yield* HostFiles.write(method, target, file.stream(), { mode })
  }
  const argv = ["tar", "-cf", "-", "-C", from, "."] as const
  // `suspend` limits the guest to the speed of this host's disk.
  const process = yield* guest.spawn({ ...Execution.asRoot(...argv), stdin: "empty" }, { overflow: "suspend" })
  const complaints: Array<Uint8Array> = []
  const archive = process.output.pipe(
    Stream.filterMap(({ _tag, bytes }) => {
      if (_tag === "Stdout") return Result.succeed(bytes)
      if (complaints.length < maxComplaints) complaints.push(bytes)
      return Result.failVoid
    })
  )
  yield* HostFiles.unpack(method, target, archive)
  const end = yield* Execution.ended(process)
  if (end.exitCode !== 0) {
    return yield* Execution.failed(method, argv, end, new Uint8Array(), Buffer.concat(complaints))
  }
}, Effect.scoped)

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
  // Numeric ids need no lookup; a guest may have neither file.
  const find = (path: string, id: string) =>
    Effect.option(
      Effect.flatMap(readText(guest, path), (text) =>
        Effect.fromNullishOr(
          text
            .split("\n")
            .map((line) => line.split(":"))
            .find((fields) => fields[0] === id || fields[2] === id)
        )
      )
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
  if (Option.isNone(account) && !isNumber(user)) return yield* unknown("/etc/passwd", user)
  const [, , uid = user, primary = uid] = Option.getOrElse(account, () => [])
  if (group === undefined || isNumber(group)) return { uid: Number(uid), gid: Number(group ?? primary) }
  const found = yield* find("/etc/group", group)
  if (Option.isNone(found)) return yield* unknown("/etc/group", group)
  return { uid: Number(uid), gid: Number(found.value[2]) }
})
