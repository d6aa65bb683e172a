/** The generations of names, and the results that they need. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { LightboxError, NotFound } from "../../LightboxError.ts"
import type { Generation as SnapshotGeneration } from "../../Snapshot.ts"
import { generate, noteForScope } from "../ownership/labels.ts"
import { captureLock, isArtifactName, type Store } from "./store.ts"
import { currentOf, type Driver, linksOf } from "./links.ts"

/** Notes snapshots that are about to lose their name, except results: if this process is killed, a sweep removes them. */
export const noteUnnamed = (
  store: Store,
  artifacts: ReadonlyArray<string>
): Effect.Effect<void, LightboxError, Scope.Scope> =>
  Effect.forEach(
    artifacts.filter((artifact) => !isArtifactName(artifact)),
    (name) =>
      // On a full disk, a removal must not need room.
      Effect.catchReason(noteForScope(store.ownership, "unnamed", name), "LightboxError", "NoSpace", () => Effect.void),
    { discard: true }
  )

/**
 * Removes results that no name, no kept generation and no running build or load needs. If a name's record cannot be
 * read, removes nothing, and leaves it to a sweep.
 */
export const removeUnneeded = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  candidates: ReadonlyArray<string>
): Effect.fn.Return<void, LightboxError> {
  if (candidates.length === 0) return
  const needed = yield* Effect.option(
    Effect.tapError(roots(driver, store), (error) => Effect.logWarning(error.message))
  )
  if (Option.isNone(needed)) return yield* leaveToSweep(store, candidates)
  const used = yield* store.inUse
  const unneeded = [...new Set(candidates)].filter((artifact) => !needed.value.has(artifact))
  yield* leaveToSweep(
    store,
    unneeded.filter((artifact) => used.has(artifact))
  )
  yield* Effect.forEach(
    unneeded.filter((artifact) => !used.has(artifact)),
    (artifact) => driver.removeSnapshot(artifact),
    { discard: true }
  )
})

/** Leaves snapshots that have lost their name to a sweep, except results, which a prune finds. */
export const leaveToSweep = (store: Store, artifacts: ReadonlyArray<string>): Effect.Effect<void, LightboxError> =>
  Effect.forEach(
    artifacts.filter((artifact) => !isArtifactName(artifact)),
    (name) => Effect.flatMap(generate, (token) => store.ownership.note({ kind: "unnamed", token, name })),
    { discard: true }
  )

/** Lists the results to which names and kept generations point. */
export const roots = (driver: Driver, store: Store): Effect.Effect<ReadonlySet<string>, LightboxError> =>
  Effect.map(keepGenerations(driver, store, undefined), ({ needed }) => needed)

/** Lists damaged results that no name needs. A removal or a power cut left them, or a disk went bad. */
export const damaged = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store
): Effect.fn.Return<ReadonlyArray<string>, LightboxError> {
  const results = yield* Effect.filter((yield* driver.listDamagedSnapshots()).filter(isArtifactName), (name) =>
    isDamaged(driver, name)
  )
  if (results.length === 0) return results
  const needed = yield* roots(driver, store)
  return results.filter((name) => !needed.has(name))
})

/** Checks whether a snapshot is damaged. A failure to look is no damage. */
const isDamaged = (driver: Driver, name: string): Effect.Effect<boolean> =>
  Effect.match(driver.getSnapshot(name), {
    onFailure: ({ reason }) => reason._tag === "SnapshotDamaged",
    onSuccess: () => false
  })

/**
 * Removes one of the {@link damaged} results, unless another process is making it again. Call both with the names
 * locked.
 */
export const removeDamaged = (driver: Driver, store: Store, name: string): Effect.Effect<boolean, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      if ("waiting" in (yield* store.tryLock(captureLock(name)))) return false
      const isLeft = yield* isDamaged(driver, name)
      if (isLeft) yield* driver.removeSnapshot(name)
      return isLeft
    })
  )

interface Kept {
  /** Results to which names and kept generations point. */
  readonly needed: ReadonlySet<string>
  /** Results of the other generations. Names may still need them. */
  readonly dropped: ReadonlySet<string>
  /** Drops the other generations from the records. Can be repeated. */
  readonly write: Effect.Effect<void, LightboxError>
}

/** Finds all but the last `keep` generations of each name. Call it with the names locked until they are written. */
export const keepGenerations = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  keep: number | undefined
): Effect.fn.Return<Kept, LightboxError> {
  const links = yield* linksOf(driver)
  const needed = new Set(links.values())
  const dropped = new Set<string>()
  const changes: Array<Effect.Effect<void, LightboxError>> = []
  for (const name of yield* store.listNames) {
    const artifact = links.get(name)
    if (artifact === undefined) {
      // A first build or a removal that was cut short has left it.
      changes.push(store.removeName(name))
      continue
    }
    const record = yield* store.readName(name)
    const current = currentOf(record, artifact)
    const others = record.generations.filter((generation) => generation !== current)
    const stays = new Set(keep === undefined ? others : keep === 1 ? [] : others.slice(-(keep - 1)))
    const generations = record.generations.filter((generation) => generation === current || stays.has(generation))
    for (const generation of record.generations) {
      if (generations.includes(generation)) needed.add(generation.artifact)
      else dropped.add(generation.artifact)
    }
    if (generations.length < record.generations.length) changes.push(store.writeName(name, { ...record, generations }))
  }
  return { needed, dropped, write: Effect.all(changes, { discard: true }) }
})

/** Lists the kept generations of a name by number. */
export const generations = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  name: string
): Effect.fn.Return<ReadonlyArray<SnapshotGeneration>, LightboxError> {
  const artifact = yield* driver.readSnapshotLink(name)
  if (artifact === undefined) {
    return yield* new LightboxError({
      method: "Snapshot.generations",
      reason: new NotFound({ resource: "snapshot", name })
    })
  }
  const record = yield* store.readName(name)
  const current = currentOf(record, artifact)
  const sorted = record.generations.toSorted((a, b) => a.generation - b.generation)
  return sorted.map((generation) => ({
    generation: generation.generation,
    key: generation.key,
    labels: generation.labels,
    ...(generation.defaults === undefined ? {} : { defaults: generation.defaults }),
    ...(generation.build === undefined ? {} : { build: generation.build }),
    createdAt: DateTime.makeUnsafe(generation.createdAt),
    isCurrent: generation === current
  }))
})
