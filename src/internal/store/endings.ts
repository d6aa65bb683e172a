/**
 * Records of sandboxes that ended: what each was, why it was removed, and the last lines of its output and of its system
 * log, which go with it. One file per sandbox, written after its removal.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import { thisProgram } from "../config/schemas.ts"
import { unlessMissing } from "../host/durable.ts"
import { fileFailure } from "../host/fileFailure.ts"
import { because, causes, generate, placeOf, Removing, roleLabel, snapshotLabel } from "../ownership/labels.ts"
import { sessionDecoder } from "../sandbox/logs.ts"
import { createFile, type Limits, removeBeyond } from "./records.ts"

// =============================================================================
// Model
// =============================================================================

export const Cause = Schema.Literals(causes)

export const Role = Schema.Literals(["scoped", "detached", "pool"])

/** A record without its output. */
export const summary = {
  /** The id of the record. */
  id: Schema.String,
  /** The name of the sandbox. */
  name: Schema.String,
  /** How it was launched. Absent if another program made it. */
  role: Schema.optionalKey(Role),
  /** The image of its root disk. */
  image: Schema.optionalKey(Schema.String),
  /** The snapshot that it was launched from. */
  snapshot: Schema.optionalKey(Schema.String),
  /** Its state when it was removed: one that was `crashed` or `stopped` had ended by itself. */
  status: Microsandbox.SandboxStatus,
  cause: Cause,
  /** Why it was removed, in words. */
  reason: Schema.String,
  createdAt: Schema.optionalKey(Schema.DateTimeUtcFromMillis),
  endedAt: Schema.DateTimeUtcFromMillis,
  /** The program that removed it. */
  by: Schema.Struct({ program: Schema.String, pid: Schema.Int })
}

export const Ended = Schema.Struct({
  ...summary,
  /** The last lines that its commands wrote: up to 100, and 32 KiB. */
  output: Schema.Array(Schema.String),
  /** The last lines of its system log, from the kernel and the runtime: as many. */
  system: Schema.Array(Schema.String)
})

const encode = Schema.encodeSync(Schema.fromJsonString(Ended))
const decode = Schema.decodeOption(Schema.fromJsonString(Ended))

// =============================================================================
// Writing
// =============================================================================

export const limits: Limits = { count: 200, ageMillis: 30 * 86_400_000, bytes: 16 * 1024 * 1024 }

export const folderOf = (home: string): string => Path.join(home, "lightbox", "ended")

const fileName = /^([0-9a-z]+-[0-9a-z]+-[0-9a-z]+)\.json$/

const maxEntries = 200
const maxLines = 100
const maxLength = 32 * 1024

const isRole = Schema.is(Role)

const lastLines = (
  entries: ReadonlyArray<Microsandbox.LogEntry>,
  hide: (text: string) => string
): ReadonlyArray<string> => {
  const decode = sessionDecoder()
  const text = entries
    .map((entry) => {
      const text = decode(entry)
      return entry.source === "system" && !text.endsWith("\n") ? `${text}\n` : text
    })
    .join("")
  return text === "" ? [] : hide(text).slice(-maxLength).replace(/\n$/, "").split("\n").slice(-maxLines)
}

type Driver = Microsandbox.Microsandbox["Service"]

/** What a sandbox was. */
interface Seen {
  readonly ref: Microsandbox.SandboxRef
  readonly record: Omit<typeof Ended.Type, "id" | "endedAt" | "by" | "cause" | "reason">
}

/** What a sandbox is, while it exists: nothing of a builder, whose build has a record. */
const look = (driver: Driver, name: string, id?: string): Effect.Effect<Seen | undefined> =>
  Effect.gen(function* () {
    const sandbox = yield* driver.getSandbox(name)
    if (id !== undefined && sandbox.id !== id) return undefined
    const role = sandbox.labels[roleLabel]
    if (isBuilder(role)) return undefined
    const { hide = identity } = yield* Removing
    const snapshot = sandbox.labels[snapshotLabel]
    // One by one: many lines of one would leave none of the other.
    const [output, system] = driver.capabilities.logs
      ? yield* Effect.forEach([["stdout", "stderr", "output"] as const, ["system"] as const], (sources) =>
          Effect.orElseSucceed(driver.readLogs(sandbox, { sources, tail: maxEntries }), () => [])
        )
      : []
    const record = {
      name,
      status: sandbox.status,
      ...(isRole(role) ? { role } : {}),
      ...(sandbox.image === undefined ? {} : { image: sandbox.image }),
      ...(snapshot === undefined ? {} : { snapshot }),
      ...(sandbox.createdAt === undefined ? {} : { createdAt: sandbox.createdAt }),
      output: lastLines(output ?? [], hide),
      system: lastLines(system ?? [], hide)
    }
    return { ref: { name, id: sandbox.id }, record }
  }).pipe(
    // Nobody waits longer for the end of a sandbox because of its record.
    Effect.timeout("2 seconds"),
    Effect.orElseSucceed(() => undefined)
  )

const isBuilder = (role: string | undefined): boolean => role === "builder" || role === "verifier"

/** When this process last removed old records of a home. */
const pruned = new Map<string, number>()

const pruneMillis = 60_000

const write = Effect.fnUntraced(function* (home: string, seen: Seen) {
  const id = yield* generate
  const { cause, reason } = yield* Removing
  const now = yield* Clock.currentTimeMillis
  const record = encode({
    ...seen.record,
    id,
    cause,
    reason,
    endedAt: DateTime.makeUnsafe(now),
    by: thisProgram()
  })
  // The home of a twin goes before the last sandbox does. A record that cannot be written is only a record.
  if (!FsSync.existsSync(home)) return
  yield* Effect.ignore(Effect.try(() => createFile(Path.join(folderOf(home), `${id}.json`), record)))
  const elapsed = performance.now() - (pruned.get(home) ?? Number.NEGATIVE_INFINITY)
  if (elapsed < pruneMillis) return
  pruned.set(home, performance.now())
  yield* Effect.ignore(Effect.tryPromise(() => prune(home)))
})

/** A driver that records the sandboxes that it removes. */
export const recording = (driver: Driver): Driver => {
  /** Whether a sandbox is gone, as far as can be told. */
  const isGone = ({ id, name }: Microsandbox.SandboxRef): Effect.Effect<boolean> =>
    driver.getSandbox(name).pipe(
      Effect.map((found) => found.id !== id),
      Effect.catchReason("LightboxError", "NotFound", () => Effect.succeed(true)),
      Effect.timeout("2 seconds"),
      Effect.orElseSucceed(() => false)
    )
  return {
    ...driver,
    createSandbox: (request) =>
      request.onConflict === "replace"
        ? Effect.flatMap(look(driver, request.name), (found) => {
            const creation = driver.createSandbox(request)
            if (found === undefined) return creation
            const record = because("replaced", "another sandbox with its name was launched")(write(driver.home, found))
            // A boot that fails has removed it all the same.
            return Effect.onExit(creation, (exit) =>
              Exit.isSuccess(exit) ? record : Effect.flatMap(isGone(found.ref), (is) => (is ? record : Effect.void))
            )
          })
        : driver.createSandbox(request),
    removeSandbox: (sandbox, options) =>
      "labels" in sandbox && isBuilder(labelOf(sandbox.labels))
        ? driver.removeSandbox(sandbox, options)
        : Effect.flatMap(look(driver, sandbox.name, sandbox.id), (found) => {
            const removal = driver.removeSandbox(sandbox, options)
            return found === undefined ? removal : Effect.tap(removal, () => write(driver.home, found))
          })
  }
}

const isLabels = Schema.is(Schema.Record(Schema.String, Schema.String))

const labelOf = (labels: unknown): string | undefined => (isLabels(labels) ? labels[roleLabel] : undefined)

// =============================================================================
// Reading
// =============================================================================

const names = async (home: string): Promise<ReadonlyArray<string>> =>
  ((await unlessMissing(Fs.readdir(folderOf(home)))) ?? []).filter((name) => fileName.test(name))

const attempt = <A>(method: string, home: string, run: () => Promise<A>): Effect.Effect<A, LightboxError> =>
  Effect.tryPromise({ try: run, catch: fileFailure(method, "read", folderOf(home)) })

const readFile = async (home: string, name: string): Promise<typeof Ended.Type | undefined> =>
  Option.getOrUndefined(decode((await unlessMissing(Fs.readFile(Path.join(folderOf(home), name), "utf8"))) ?? ""))

/** The record of an id, if there is one. */
export const read = (
  method: string,
  home: string,
  id: string
): Effect.Effect<typeof Ended.Type | undefined, LightboxError> =>
  attempt(method, home, () => readFile(home, `${id}.json`))

/** All records, the last one first. */
export const readAll = Effect.fnUntraced(function* (method: string, home: string) {
  const found = yield* Effect.forEach(
    yield* attempt(method, home, () => names(home)),
    (name) => attempt(method, home, () => readFile(home, name)),
    { concurrency: 16 }
  )
  return found
    .flatMap((record) => (record === undefined ? [] : [record]))
    .toSorted(
      (a, b) => DateTime.toEpochMillis(b.endedAt) - DateTime.toEpochMillis(a.endedAt) || placeOf(b.id) - placeOf(a.id)
    )
})

// =============================================================================
// Pruning
// =============================================================================

export const prune = async (home: string): Promise<void> => {
  const files = await Promise.all(
    (await names(home)).map(async (name) => {
      const path = Path.join(folderOf(home), name)
      const stats = await unlessMissing(Fs.stat(path))
      return stats === undefined ? [] : [{ path, size: stats.size, at: stats.mtimeMs }]
    })
  )
  await removeBeyond(limits, files.flat())
}
