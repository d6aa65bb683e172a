/**
 * Removes results that nothing needs.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Cleanup from "../../Cleanup.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { PruneOptions } from "../../Snapshot.ts"
import * as Generations from "./generations.ts"
import * as Links from "./links.ts"
import * as Records from "./records.ts"
import { Bytes, DurationInput, intBetween } from "../config/schemas.ts"
import { artifactName, definitionLabel, keyLabel, type Store } from "./store.ts"
import { optionsDecoder } from "../config/validation.ts"

type Driver = Microsandbox.Microsandbox["Service"]

const decodeOptions = optionsDecoder(
  "Snapshot.prune",
  Schema.Struct({
    keep: Schema.optional(intBetween(1, 1000)),
    olderThan: Schema.optional(DurationInput),
    maxBytes: Schema.optional(Bytes),
    dryRun: Schema.optional(Schema.Boolean)
  })
)

export const prune = (
  driver: Driver,
  store: Store,
  input: PruneOptions | undefined
): Effect.Effect<Cleanup.Report, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const options = yield* decodeOptions(input)
      const dryRun = options.dryRun === true
      yield* Links.lockNames(store)
      const { dropped, needed, write } = yield* Generations.keepGenerations(driver, store, options.keep)
      // Unlike results, they mean nothing to a later prune.
      if (!dryRun)
        yield* Generations.noteUnnamed(
          store,
          [...dropped].filter((artifact) => !needed.has(artifact))
        )
      // On a full disk no record can be written: the results go first.
      const isFull = dryRun
        ? false
        : yield* Effect.as(write, false).pipe(
            Effect.catchReason("LightboxError", "NoSpace", () => Effect.succeed(true))
          )
      const used = yield* store.inUse
      const aliases = yield* store.aliases
      const now = yield* Clock.currentTimeMillis
      const verdicts: Array<Cleanup.Verdict> = []
      const candidates: Array<{
        readonly snapshot: Microsandbox.SnapshotInfo
        /** Not a result, and nothing would remove it later. */
        readonly isForced: boolean
        readonly usedAt: number
        readonly verdict: Cleanup.Verdict
      }> = []

      const snapshots = yield* driver.listSnapshots()
      for (const snapshot of snapshots) {
        const isResult = Links.isResult(snapshot)
        const key = isResult ? snapshot.labels[keyLabel] : undefined
        const isForced = !isResult && dropped.has(snapshot.name)
        const recorded = key === undefined ? Option.none() : yield* store.usedAt(key)
        const usedAt = Option.getOrElse(recorded, () => DateTime.toEpochMillis(snapshot.createdAt))
        const definition = snapshot.labels[definitionLabel]
        const common = {
          resource: "snapshot" as const,
          name: snapshot.name,
          ...(definition === undefined ? {} : { definition }),
          ...(snapshot.allocated === undefined ? {} : { bytes: snapshot.allocated }),
          createdAt: snapshot.createdAt,
          usedAt: DateTime.makeUnsafe(usedAt)
        }
        const kept = (reason: string) => verdicts.push({ ...common, verdict: "kept", reason })
        if (needed.has(snapshot.name)) kept("a name points to it")
        else if (!isResult && !isForced) kept("another program created it")
        else if (used.has(snapshot.name)) {
          if (isForced && !dryRun) yield* Generations.leaveToSweep(store, [snapshot.name])
          kept("a running build or load uses it")
        } else if (
          !isForced &&
          options.olderThan !== undefined &&
          now - usedAt < Duration.toMillis(options.olderThan)
        ) {
          kept(`it was used less than ${Duration.format(options.olderThan)} ago`)
        } else {
          const reason = dropped.has(snapshot.name)
            ? `its name keeps ${options.keep} ${options.keep === 1 ? "generation" : "generations"}`
            : "only builds can use it"
          candidates.push({
            snapshot,
            isForced,
            usedAt,
            verdict: { ...common, verdict: dryRun ? "removable" : "removed", reason }
          })
        }
      }

      // The most recently used results stay while there is room.
      let room =
        options.maxBytes === undefined
          ? Number.NEGATIVE_INFINITY
          : options.maxBytes - verdicts.reduce((total, { bytes = 0 }) => total + bytes, 0)
      for (const { isForced, snapshot, verdict } of candidates.toSorted((a, b) => b.usedAt - a.usedAt)) {
        if (!isForced) room -= snapshot.allocated ?? 0
        if (!isForced && room >= 0) {
          verdicts.push({ ...verdict, verdict: "kept", reason: "it fits within the limit" })
          continue
        }
        // A build or a load may have begun to use it.
        if (!dryRun && (yield* store.inUse).has(snapshot.name)) {
          if (isForced) yield* Generations.leaveToSweep(store, [snapshot.name])
          verdicts.push({ ...verdict, verdict: "kept", reason: "a running build or load uses it" })
          continue
        }
        if (!dryRun) yield* evict(driver, store, aliases, snapshot, now)
        verdicts.push(verdict)
      }
      for (const name of yield* Generations.damaged(driver, store)) {
        const isLeft = dryRun || (yield* Generations.removeDamaged(driver, store, name))
        const verdict = dryRun ? "removable" : "removed"
        if (isLeft)
          verdicts.push({ resource: "snapshot", name, verdict, reason: "it is damaged, and no name points to it" })
      }
      if (isFull) yield* write
      if (!dryRun) {
        yield* forgetOld(store, snapshots, now)
        yield* Records.prune(driver.home)
      }
      return Cleanup.Report.of(
        verdicts.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
        { dryRun }
      )
    })
  )

/** Removes a result and records when. */
const evict = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  aliases: ReadonlyMap<string, string>,
  snapshot: Microsandbox.SnapshotInfo,
  now: number
): Effect.fn.Return<void, LightboxError> {
  const key = Links.isResult(snapshot) ? snapshot.labels[keyLabel] : undefined
  yield* driver.removeSnapshot(snapshot.name)
  if (key === undefined) return
  yield* store.writeTombstone(key, now)
  yield* store.forgetUse(key)
  for (const [older, newer] of aliases) {
    if (newer === key) {
      yield* store.writeTombstone(older, now)
      yield* store.removeAlias(older)
    }
  }
})

/** Removes the records of what no longer exists: uses, and prunings that were long ago. */
const forgetOld = Effect.fnUntraced(function* (
  store: Store,
  snapshots: ReadonlyArray<Microsandbox.SnapshotInfo>,
  now: number
): Effect.fn.Return<void, LightboxError> {
  const names = new Set(snapshots.map(({ name }) => name))
  for (const key of yield* store.listUses) {
    if (!names.has(artifactName(key))) yield* store.forgetUse(key)
  }
  for (const key of yield* store.listTombstones) {
    const evictedAt = yield* store.readTombstone(key)
    if (Option.isSome(evictedAt) && now - evictedAt.value > tombstoneMillis) yield* store.removeTombstone(key)
  }
})

/** A plan explains a miss by a pruning for this long. */
const tombstoneMillis = 90 * 24 * 60 * 60 * 1000
