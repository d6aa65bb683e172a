/** Compares the disks of snapshots and sandboxes, as their guests see them. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Semaphore from "effect/Semaphore"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Services } from "../../Driver.ts"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Ownership from "../../Ownership.ts"
import * as Sandbox from "../../Sandbox.ts"
import type { Diff, Difference, DiffOptions, DiffSource } from "../../Snapshot.ts"
import { intBetween, SnapshotReference } from "../config/schemas.ts"
import { decoder, optionsDecoder } from "../config/validation.ts"
import { ifMissing } from "../host/fileFailure.ts"
import { maxEntries } from "../host/files.ts"
import { roleLabel } from "../ownership/labels.ts"
import { isBootable } from "../sandbox/defaults.ts"
import * as Names from "../store/names.ts"
import { make as makeStore } from "../store/store.ts"
import { mountPointsOf } from "./stepRunner.ts"

const method = "Snapshot.diff"

const decode = optionsDecoder(method, Schema.Struct({ limit: Schema.optional(intBetween(1, 1_000_000)) }))

const defaultLimit = 10_000

/** Files up to this size are read if only their times differ, or may differ by less than a second. */
const maxRead = 1024 * 1024

/** Of files written within this time, the same second does not mean the same content. */
const recentMillis = 60 * 60 * 1000

const concurrency = { concurrency: 16 }

/** What is in memory, the files that every boot writes, and what is kept there of jobs and services. */
const always = ["/proc", "/sys", "/dev", "/run", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/var/lib/lightbox"]

/** Boots a snapshot, unless it is a running sandbox. */
const opened = Effect.fnUntraced(function* (
  field: string,
  source: DiffSource
): Effect.fn.Return<Sandbox.Sandbox, LightboxError, Services | Scope.Scope> {
  if (Sandbox.isSandbox(source)) return source
  const driver = yield* Microsandbox.Microsandbox
  const store = makeStore(driver, yield* Ownership.Ownership)
  const options = { network: "none", resources: { memory: "256M" }, labels: { [roleLabel]: "verifier" } } as const
  if (Predicate.hasProperty(source, "image") && Predicate.isString(source.image) && !("path" in source)) {
    return yield* Sandbox.launch({ ...options, image: source.image })
  }
  const { path } = isBootable(source)
    ? source
    : yield* Effect.flatMap(decoder(SnapshotReference, method, field)(source), (reference) =>
        Names.resolve(driver, store, method, reference)
      )
  // The disk is compared: a machine that resumes would change it.
  return yield* Sandbox.launch({ ...options, snapshot: { path }, resume: false })
})

interface Folder {
  readonly path: string
  readonly before: boolean
  readonly after: boolean
}

/** Compares two guests. A folder that vanishes meanwhile is empty. */
const compare = Effect.fnUntraced(function* (
  before: Sandbox.Sandbox,
  after: Sandbox.Sandbox,
  limit: number
): Effect.fn.Return<Diff, LightboxError> {
  const mounts = yield* Effect.forEach([before, after], ({ guest }) => mountPointsOf(guest), concurrency)
  const skipped = new Set([...always, ...mounts.flat()])
  const recent = (yield* Clock.currentTimeMillis) - recentMillis
  const reads = yield* Semaphore.make(8)
  const read = (sandbox: Sandbox.Sandbox, path: string) =>
    ifMissing(undefined)(sandbox.readFile(path, { maxBytes: maxRead }))
  const target = (sandbox: Sandbox.Sandbox, path: string) => ifMissing(undefined)(sandbox.readLink(path))

  /** Names what differs between two entries of the same path. */
  const changesOf = Effect.fnUntraced(function* (
    was: Guest.FileInfo,
    is: Guest.FileInfo
  ): Effect.fn.Return<Difference["changes"], LightboxError> {
    const { path } = is
    if (was.type !== is.type) return ["type"]
    const changes: Array<Difference["changes"][number]> = []
    if (was.mode !== is.mode && is.type !== "SymbolicLink") changes.push("mode")
    if (was.uid !== is.uid || was.gid !== is.gid) changes.push("owner")
    if (is.type === "Directory") return changes
    if (is.type === "SymbolicLink") {
      const targets = yield* Effect.all([target(before, path), target(after, path)], { concurrency: 2 })
      return targets[0] === targets[1] ? changes : [...changes, "target"]
    }
    if (was.size !== is.size) return [...changes, "size"]
    const time = is.mtime?.epochMilliseconds ?? 0
    const isSameTime = was.mtime?.epochMilliseconds === time
    if (is.type !== "File" || (isSameTime && (time < recent || is.size > maxRead))) return changes
    if (is.size > maxRead) return [...changes, "time"]
    const isSame = Effect.map(
      Effect.all([read(before, path), read(after, path)], { concurrency: 2 }),
      ([old, now]) => old !== undefined && now !== undefined && Buffer.from(old).equals(now)
    )
    return (yield* reads.withPermit(isSame)) ? changes : [...changes, "content"]
  })

  const differenceOf = Effect.fnUntraced(function* (
    was: Guest.FileInfo | undefined,
    is: Guest.FileInfo | undefined
  ): Effect.fn.Return<ReadonlyArray<Difference>, LightboxError> {
    const shown = is ?? was
    if (shown === undefined) return []
    const { path } = shown
    const about = ({ size, type }: Guest.FileInfo) => ({ type, size: type === "File" ? size : 0 })
    if (was === undefined) return [{ path, kind: "added", ...about(shown), changes: [] }]
    if (is === undefined) return [{ path, kind: "removed", ...about(shown), changes: [] }]
    const changes = yield* changesOf(was, is)
    return changes.length === 0 ? [] : [{ path, kind: "changed", ...about(is), before: about(was), changes }]
  })

  const compareFolder = Effect.fnUntraced(function* (folder: Folder) {
    const list = (sandbox: Sandbox.Sandbox, isThere: boolean) =>
      isThere
        ? ifMissing<ReadonlyArray<Guest.FileInfo>>(
            [],
            ["ENOENT", "ENOTDIR"]
          )(sandbox.guest.readDirectoryEntries(folder.path))
        : Effect.succeed([])
    const [old, now] = yield* Effect.all([list(before, folder.before), list(after, folder.after)], { concurrency: 2 })
    const entries = new Map<string, { was?: Guest.FileInfo; is?: Guest.FileInfo }>()
    for (const was of old) entries.set(was.path, { was })
    for (const is of now) entries.set(is.path, { ...entries.get(is.path), is })
    const wanted = [...entries].flatMap(([path, entry]) => (skipped.has(path) ? [] : [{ path, ...entry }]))
    const differences = yield* Effect.forEach(wanted, ({ is, was }) => differenceOf(was, is), concurrency)
    const folders = wanted.flatMap(({ is, path, was }): ReadonlyArray<Folder> => {
      const inside = { path, before: was?.type === "Directory", after: is?.type === "Directory" }
      return inside.before || inside.after ? [inside] : []
    })
    return { differences: differences.flat(), folders, count: entries.size }
  })

  const differences: Array<Difference> = []
  const folders: Array<Folder> = [{ path: "/", before: true, after: true }]
  let compared = 0
  let seen = 0
  // A few at a time: what is held is bounded, whatever a guest lists.
  while (compared < folders.length && differences.length <= limit && seen < maxEntries) {
    const found = yield* Effect.forEach(folders.slice(compared, compared + 4), compareFolder, concurrency)
    compared += found.length
    for (const { count, differences: some, folders: inside } of found) {
      seen += count
      for (const difference of some) differences.push(difference)
      for (const folder of inside) folders.push(folder)
    }
  }
  return {
    differences: differences.slice(0, limit).toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    isComplete: compared === folders.length && differences.length <= limit
  }
})

export const diff = Effect.fn(method)(function* (
  before: DiffSource,
  after: DiffSource,
  input: DiffOptions | undefined
): Effect.fn.Return<Diff, LightboxError, Services> {
  const { limit = defaultLimit } = yield* decode(input)
  return yield* Effect.scoped(
    Effect.flatMap(
      Effect.all([opened("before", before), opened("after", after)], { concurrency: 2 }),
      ([before, after]) => compare(before, after, limit)
    )
  )
})
