/**
 * This process as the owner of what it creates, so that others can recognize what it left behind.
 *
 * An owner listens on a Unix socket as long as it lives, so that a reused process id, a clock change or a reboot cannot
 * make a dead owner look alive. Beside the socket, a folder holds a note for everything that the owner is about to
 * create, written before it exists and removed after it is removed.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { promisify } from "node:util"
import type { LightboxError } from "../../LightboxError.ts"
import type { Kind, Note, Owner as OwnerModel, Ownership } from "../../Ownership.ts"
import { isEntryName } from "../config/schemas.ts"
import { fileFailure } from "../host/fileFailure.ts"
import { makeFolder, replaceFile, sync, unlessMissing } from "../host/durable.ts"
import { isAnswered, listen } from "../host/socket.ts"

/** All kinds of notes. */
export const kinds: ReadonlyArray<Kind> = [
  "sandbox",
  "disk",
  "capture",
  "load",
  "unnamed",
  "file",
  "name",
  "use",
  "renamed",
  "volume"
]

const Record = Schema.Struct({
  pid: Schema.Int,
  /** Milliseconds since 1970. */
  startedAt: Schema.Finite,
  boot: Schema.String,
  host: Schema.String
})

const recordCodec = Schema.fromJsonString(Record)
const decodeRecord = Schema.decodeOption(recordCodec)
const encodeRecord = Schema.encodeSync(recordCodec)

const foldersOf = (home: string) => Path.join(home, "lightbox", "owners")
const leaseOf = (home: string, id: string) => Path.join(foldersOf(home), `${id}.lease`)
const folderOf = (home: string, id: string) => Path.join(foldersOf(home), id)
const recordName = "owner.json"

const releasedOf = (home: string) => Path.join(home, "lightbox", "detached")

const Released = Schema.Struct({ name: Schema.String, expires: Schema.optionalKey(Schema.Finite) })

const releasedCodec = Schema.fromJsonString(Released)
const decodeReleased = Schema.decodeOption(releasedCodec)
const encodeReleased = Schema.encodeSync(releasedCodec)

const fileOf = ({ kind, token }: Note): string => `${kind}.${token}`

/**
 * A note is a link whose target is the name: it is created whole or not at all, and one flush of its folder makes it
 * survive a power cut.
 */
const writeNote = async (folder: string, note: Note): Promise<void> => {
  await Fs.symlink(note.name, Path.join(folder, fileOf(note)))
  // A use concerns living processes only.
  if (note.kind !== "use") await sync(folder)
}

const readNote = async (folder: string, file: string): Promise<ReadonlyArray<Note>> => {
  const kind = kinds.find((kind) => file.startsWith(`${kind}.`))
  if (kind === undefined) {
    if (file.startsWith("staged.") || file.startsWith(recordName)) return []
    throw new Error(`${file} is a note of another version of the library`)
  }
  const name = await unlessMissing(Fs.readlink(Path.join(folder, file)))
  return name === undefined ? [] : [{ kind, token: file.slice(kind.length + 1), name }]
}

const attempt = <A>(path: string, run: () => Promise<A>): Effect.Effect<A, LightboxError> =>
  Effect.tryPromise({ try: run, catch: fileFailure("Owner", "ownership", path) })

/** Asks once for what cannot change while a process lives. */
const once = (find: () => Promise<string>): (() => Promise<string>) => {
  let found: Promise<string> | undefined
  return () =>
    (found ??= find().catch((cause: unknown) => {
      found = undefined
      throw cause
    }))
}

/** Changes with every boot of the machine, and is the same in all its containers. */
const bootId = once(async () =>
  process.platform === "linux"
    ? (await Fs.readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim()
    : ask("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")
)

/** Identifies the machine, also after its name has changed. A container may have no id of its own. */
const machineId = once(async () => {
  const found =
    process.platform === "linux"
      ? ((await unlessMissing(Fs.readFile("/etc/machine-id", "utf8"))) ?? "")
      : await ask("/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice")
  return /^[0-9a-f]{32}$/m.exec(found)?.[0] ?? /"IOPlatformUUID" = "([^"]+)"/.exec(found)?.[1] ?? Os.hostname()
})

const ask = async (program: string, ...args: ReadonlyArray<string>): Promise<string> =>
  (await promisify(ChildProcess.execFile)(program, args)).stdout.trim()

/** Creates an owner, which acquires its lease when it is first needed and releases it with the scope. */
export const make = Effect.fnUntraced(function* (
  home: string
): Effect.fn.Return<Ownership["Service"], never, Scope.Scope> {
  const id = Crypto.randomBytes(6).toString("hex")
  const folder = folderOf(home, id)
  const lease = yield* Effect.scope.pipe(
    Effect.flatMap((scope) =>
      // A failure, such as a full disk, may be temporary.
      Effect.cachedWithTTL(Scope.provide(takeLease(home, id), scope), (exit) =>
        Exit.isSuccess(exit) ? Duration.infinity : Duration.zero
      )
    ),
    // If the first caller is interrupted, the lease must not be acquired twice.
    Effect.map(Effect.uninterruptible)
  )
  const staged = () => Path.join(folder, `staged.${Crypto.randomBytes(6).toString("hex")}`)
  const forget = (note: Note) =>
    Effect.ignore(attempt(folder, () => Fs.rm(Path.join(folder, fileOf(note)), { force: true })))
  return {
    id: Effect.as(lease, id),
    note: (note) =>
      Effect.andThen(
        lease,
        attempt(folder, () => writeNote(folder, note))
      ),
    forget,
    release: Effect.fnUntraced(function* (note, expires) {
      yield* lease
      yield* attempt(releasedOf(home), async () => {
        const content = encodeReleased({ name: note.name, ...(expires === undefined ? {} : { expires }) })
        await replaceFile(Path.join(releasedOf(home), note.token), staged(), content)
      })
      yield* forget(note)
    }),
    stage: Effect.map(lease, staged)
  }
})

const takeLease = (home: string, id: string): Effect.Effect<void, LightboxError, Scope.Scope> => {
  const folder = folderOf(home, id)
  return Effect.acquireRelease(
    attempt(folder, async () => {
      await makeFolder(foldersOf(home))
      // Listen before the folder exists, so that this owner never looks dead.
      const listener = await listen(leaseOf(home, id))
      try {
        await makeFolder(folder)
        const record = encodeRecord({
          pid: process.pid,
          startedAt: Math.round(Date.now() - process.uptime() * 1000),
          boot: await bootId(),
          host: await machineId()
        })
        await replaceFile(Path.join(folder, recordName), Path.join(folder, `${recordName}.staged`), record)
        return listener
      } catch (cause) {
        await listener.close()
        throw cause
      }
    }),
    (listener) =>
      attempt(folder, async () => {
        const left = (await Fs.readdir(folder)).some((file) => kinds.some((kind) => file.startsWith(`${kind}.`)))
        // If notes are left, the next sweep removes the folder.
        if (!left) await Fs.rm(folder, { recursive: true, force: true })
        await listener.close()
      }).pipe(Effect.ignore({ log: "Warn" }))
  )
}

/** An owner, as its files show it. */
export type Found = OwnerModel

/** Lists all owners with files in a home. */
export const list = (home: string): Effect.Effect<ReadonlyArray<Found>, LightboxError> =>
  attempt(foldersOf(home), async () => {
    const entries = (await unlessMissing(Fs.readdir(foldersOf(home)))) ?? []
    const ids = new Set(entries.map((entry) => (entry.endsWith(".lease") ? entry.slice(0, -".lease".length) : entry)))
    const found: Array<Found> = []
    // One by one, for each look takes a file descriptor.
    for (const id of ids) if (isEntryName(id)) found.push(await inspect(home, id))
    return found
  })

/** Lists notes of owners that may be alive. Fails if one cannot be read. */
export const livingNotes = Effect.fnUntraced(function* (
  home: string,
  ...kinds: ReadonlyArray<Note["kind"]>
): Effect.fn.Return<ReadonlyArray<Note>, LightboxError> {
  const living = (yield* list(home)).filter(({ state }) => state !== "dead")
  for (const { problem } of living) if (problem !== undefined) return yield* problem
  return living.flatMap(({ notes }) => notes.filter(({ kind }) => kinds.includes(kind)))
})

/** Finds an owner by id, even if it has no files. */
export const find = (home: string, id: string): Effect.Effect<Found, LightboxError> =>
  attempt(folderOf(home, id), () => inspect(home, id))

/** Time that an owner may need to write its first files. */
const startupMillis = 10_000

const inspect = async (home: string, id: string): Promise<Found> => {
  const folder = folderOf(home, id)
  const lease = leaseOf(home, id)
  // In this order: an owner that has a record answers, and one that no longer answers writes no more notes.
  const content = await unlessMissing(Fs.readFile(Path.join(folder, recordName), "utf8"))
  const isAlive = await isAnswered(lease)
  const files = await unlessMissing(Fs.readdir(folder))
  const read = await Promise.allSettled((files ?? []).map((file) => readNote(folder, file)))
  const notes = read.flatMap((note) => (note.status === "fulfilled" ? note.value : []))
  const failure = read.find((note) => note.status === "rejected")
  const record = content === undefined ? undefined : Option.getOrUndefined(decodeRecord(content))
  const common = {
    id,
    pid: record?.pid,
    notes,
    ...(failure === undefined ? {} : { problem: fileFailure("Owner", "read", folder)(failure.reason) })
  }
  if (isAlive) return { ...common, state: "alive" }
  // The record of another version may be that of another machine.
  if (content !== undefined && record === undefined) return { ...common, state: "elsewhere" }
  if (record !== undefined) {
    const isHere = record.boot === (await bootId()) || record.host === (await machineId())
    return { ...common, state: isHere ? "dead" : "elsewhere" }
  }
  const since = await unlessMissing(Fs.stat(files === undefined ? lease : folder))
  return { ...common, state: since !== undefined && Date.now() - since.ctimeMs < startupMillis ? "unknown" : "dead" }
}

/** Removes the files of an owner. */
export const remove = (home: string, id: string): Effect.Effect<void, LightboxError> =>
  attempt(folderOf(home, id), async () => {
    await Fs.rm(folderOf(home, id), { recursive: true, force: true })
    await Fs.rm(leaseOf(home, id), { force: true })
  })

/** Removes a note of a dead owner. */
export const removeNote = (home: string, id: string, note: Note): Effect.Effect<void, LightboxError> =>
  attempt(folderOf(home, id), () => Fs.rm(Path.join(folderOf(home, id), fileOf(note)), { force: true }))

/** Lists released sandboxes by token. */
export const listReleased = (home: string): Effect.Effect<ReadonlyMap<string, typeof Released.Type>, LightboxError> =>
  attempt(releasedOf(home), async () => {
    const tokens = (await unlessMissing(Fs.readdir(releasedOf(home)))) ?? []
    const found = new Map<string, typeof Released.Type>()
    for (const token of tokens) {
      const content = await unlessMissing(Fs.readFile(Path.join(releasedOf(home), token), "utf8"))
      if (content === undefined) continue
      // The record of another version still proves that there is no owner.
      found.set(
        token,
        Option.getOrElse(decodeReleased(content), () => ({ name: token }))
      )
    }
    return found
  })

/** Finds a released sandbox by token. */
export const findReleased = (
  home: string,
  token: string
): Effect.Effect<Option.Option<typeof Released.Type>, LightboxError> =>
  attempt(releasedOf(home), async () => {
    // Labels can be anything.
    if (!isEntryName(token)) return Option.none()
    const content = await unlessMissing(Fs.readFile(Path.join(releasedOf(home), token), "utf8"))
    if (content === undefined) return Option.none()
    return Option.orElse(decodeReleased(content), () => Option.some({ name: token }))
  })

/** Removes the record of a released sandbox that no longer exists. */
export const removeReleased = (home: string, token: string): Effect.Effect<void, LightboxError> =>
  attempt(releasedOf(home), () => Fs.rm(Path.join(releasedOf(home), token), { force: true }))
