/** Moves a name to a new result. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { LightboxError, NotFound, Unsupported } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type * as Ownership from "../../Ownership.ts"
import type { LaunchDefaults } from "../../SandboxConfig.ts"
import type { Snapshot } from "../../Snapshot.ts"
import { generate, noteForScope } from "../ownership/labels.ts"
import { type Generation, keyLabel, type NameRecord, type Recipe, type Store } from "./store.ts"
import { currentOf, type Driver, inOneStep, isResult, isSnapshot, lockNames, lookUp, toSnapshot } from "./links.ts"
import { noteUnnamed, removeUnneeded, roots } from "./generations.ts"
import { find, get, requireFree, requireOurs } from "./names.ts"

/** A result to which a name is to move. */
export interface Commit {
  readonly name: string
  readonly result: Microsandbox.SnapshotInfo
  readonly key: string
  readonly labels: { readonly [key: string]: string }
  /** Default: none. */
  readonly defaults?: LaunchDefaults | undefined
  /** Absent unless a build made it. */
  readonly build?: Recipe | undefined
  /** Default: that of the record. */
  readonly lastBuild?: NameRecord["lastBuild"]
  /** Number of generations to keep. */
  readonly keep: number
  /** Take the name of a snapshot made by another tool. */
  readonly replaceForeign: boolean
  /** Move an existing name. */
  readonly overwrite: boolean
  readonly method: string
}

/** Moves a name to a result, as a new generation, and removes results that no kept generation needs. */
export const commit = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  wanted: Commit
): Effect.fn.Return<{ readonly snapshot: Snapshot; readonly isNew: boolean }, LightboxError> {
  if (wanted.overwrite) {
    // In the common case, nothing changes, and no lock is needed.
    const { isUnchanged, existing } = yield* stateOf(driver, store, wanted)
    if (isUnchanged) return { snapshot: toSnapshot(wanted.name, wanted.result, existing), isNew: false }
  }
  return yield* moveTo(driver, store, wanted)
})

/** Checks whether a generation has these launch defaults. Without options, they are none. */
export const hasDefaults = (generation: Generation | undefined, defaults: LaunchDefaults = {}): boolean =>
  Equal.equals(generation?.defaults ?? {}, defaults)

/** Reads the state of a name before a commit. */
const stateOf = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  { defaults, key, labels, lastBuild, name, result }: Commit
): Effect.fn.Return<
  {
    readonly record: NameRecord
    /** The generation to which the name points. */
    readonly current: Generation | undefined
    /** The current generation, if it is the one to commit. */
    readonly existing: Generation | undefined
    readonly isUnchanged: boolean
  },
  LightboxError
> {
  const { artifact, record } = yield* lookUp(driver, store, name)
  const current = artifact === undefined ? undefined : currentOf(record, artifact)
  const isSame = current?.key === key && current.artifact === result.name && hasDefaults(current, defaults)
  const existing = isSame ? current : undefined
  const isUnchanged =
    existing !== undefined &&
    JSON.stringify([existing.labels, record.lastBuild]) === JSON.stringify([labels, lastBuild ?? record.lastBuild])
  return { record, current, existing, isUnchanged }
})

const moveTo = (
  driver: Driver,
  store: Store,
  wanted: Commit
): Effect.Effect<{ readonly snapshot: Snapshot; readonly isNew: boolean }, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { build, defaults, key, keep, labels, method, name, overwrite, replaceForeign, result } = wanted
      yield* lockNames(store)
      if (!overwrite) yield* requireFree(driver, method, name)
      const { current, isUnchanged, record, existing } = yield* stateOf(driver, store, wanted)
      const lastBuild = wanted.lastBuild ?? record.lastBuild
      const built = lastBuild === undefined ? {} : { lastBuild }
      if (existing !== undefined) {
        const same: Generation = { ...existing, labels }
        if (!isUnchanged) {
          yield* store.writeName(name, {
            generations: record.generations.map((generation) => (generation === existing ? same : generation)),
            ...built
          })
        }
        return { snapshot: toSnapshot(name, result, same), isNew: false }
      }
      const now = yield* Clock.currentTimeMillis
      // Fail before anything is written.
      if (!replaceForeign) yield* requireOurs(driver, method, name)
      const replaced = replaceForeign ? yield* nameForForeign(driver, name) : undefined
      const highest = Math.max(0, ...record.generations.map(({ generation }) => generation))
      // The current generation comes last, whatever its number: a rollback returns to it.
      const earlier: ReadonlyArray<Generation> = [
        ...record.generations.filter((generation) => generation !== current),
        ...(current === undefined ? [] : [current]),
        ...(replaced === undefined
          ? []
          : [{ generation: highest + 1, key: "", artifact: replaced, labels: {}, createdAt: now }])
      ]
      const stays = keep === 1 ? [] : earlier.slice(-(keep - 1))
      const next: Generation = {
        generation: highest + (replaced === undefined ? 1 : 2),
        key,
        artifact: result.name,
        labels,
        ...(defaults === undefined || hasDefaults(undefined, defaults) ? {} : { defaults }),
        ...(build === undefined ? {} : { build }),
        createdAt: now
      }
      const dropped = earlier.flatMap((generation) => (stays.includes(generation) ? [] : [generation.artifact]))
      yield* noteUnnamed(
        store,
        dropped.filter((artifact) => artifact !== replaced)
      )
      yield* moveName(driver, store, name, record, replaced, result.name, {
        generations: [...stays.toSorted((a, b) => a.generation - b.generation), next],
        ...built
      })
      // Note it only now: a sweep must not remove it before the name has moved.
      if (replaced !== undefined && dropped.includes(replaced)) yield* noteUnnamed(store, [replaced])
      yield* removeUnneeded(driver, store, dropped)
      return { snapshot: toSnapshot(name, result, next), isNew: true }
    })
  )

/** Names a snapshot made by another tool that loses its name. */
const nameForForeign = Effect.fnUntraced(function* (
  driver: Driver,
  name: string
): Effect.fn.Return<string | undefined, LightboxError> {
  if ((yield* driver.readSnapshotLink(name)) !== undefined) return undefined
  return (yield* isSnapshot(driver, name)) ? replacedName(name, yield* generate) : undefined
})

/** The name of another tool's snapshot that has lost its own. */
export const replacedName = (name: string, token: string): string => `${name}.replaced-${token}`

/**
 * Ends a commit that took the name of another tool's snapshot and was cut short. Gives the snapshot its name again, or
 * removes it if the name has moved and no longer needs it. Returns what was done.
 */
export const endRenaming = (
  driver: Driver,
  store: Store,
  { name, token }: Ownership.Note
): Effect.Effect<"restored" | "removed" | undefined, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      yield* lockNames(store)
      const replaced = replacedName(name, token)
      const snapshots = new Set((yield* driver.listSnapshots()).map((snapshot) => snapshot.name))
      if (!snapshots.has(replaced)) return undefined
      if ((yield* driver.readSnapshotLink(name)) !== undefined) {
        if ((yield* roots(driver, store)).has(replaced)) return undefined
        yield* driver.removeSnapshot(replaced)
        return "removed"
      }
      if (snapshots.has(name)) return undefined
      yield* driver.renameSnapshot(replaced, name)
      return "restored"
    })
  )

/** Points a name to a result, and renames another tool's snapshot to `replaced`. Undoes both on failure. */
const moveName = (
  driver: Driver,
  store: Store,
  name: string,
  was: NameRecord,
  replaced: string | undefined,
  artifact: string,
  record: NameRecord
): Effect.Effect<void, LightboxError, Scope.Scope> => {
  const undo = Effect.andThen(
    Effect.ignore(store.writeName(name, was)),
    replaced === undefined ? Effect.void : driver.renameSnapshot(replaced, name)
  )
  const move = inOneStep(
    (replaced === undefined ? Effect.void : driver.renameSnapshot(name, replaced)).pipe(
      Effect.andThen(store.writeName(name, record)),
      Effect.andThen(driver.linkSnapshot(name, artifact)),
      Effect.onError(() =>
        // The last step may have succeeded although it failed here.
        Effect.ignore(Effect.flatMap(driver.readSnapshotLink(name), (now) => (now === artifact ? Effect.void : undo)))
      )
    )
  )
  if (replaced === undefined) return move
  const note: Ownership.Note = { kind: "renamed", token: replaced.slice(replacedName(name, "").length), name }
  // A failed undo, and what was dropped but not removed, are left to a sweep.
  const noted = Effect.acquireRelease(store.ownership.note(note), (_, exit) =>
    Exit.isSuccess(exit) ? store.ownership.forget(note) : Effect.void
  )
  return Effect.andThen(noted, move)
}

/** Adds existing generations to a name and points it to one of them. */
export const adopt = (
  driver: Driver,
  store: Store,
  adopted: {
    readonly name: string
    readonly current: number
    readonly generations: ReadonlyArray<Generation>
    readonly lastBuild?: NameRecord["lastBuild"]
    /** Move an existing name. */
    readonly overwrite: boolean
  }
): Effect.Effect<Snapshot, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { current, generations, lastBuild, name, overwrite } = adopted
      yield* lockNames(store)
      if (!overwrite) yield* requireFree(driver, "Snapshot.load", name)
      const { record } = yield* lookUp(driver, store, name)
      const replaced = yield* nameForForeign(driver, name)
      const now = yield* Clock.currentTimeMillis
      const earlier: ReadonlyArray<Generation> =
        replaced === undefined
          ? record.generations
          : [{ generation: 1, key: "", artifact: replaced, labels: {}, createdAt: now }]
      const offset = Math.max(0, ...earlier.map(({ generation }) => generation))
      const sorted = generations.toSorted((a, b) => a.generation - b.generation)
      const added = sorted.map((generation, index) => ({ ...generation, generation: offset + index + 1 }))
      const next = added[sorted.findIndex(({ generation }) => generation === current)] ?? added.at(-1)
      // Another process may have removed one since it was loaded.
      for (const { artifact } of added) yield* driver.getSnapshot(artifact)
      if (next === undefined) {
        return yield* new LightboxError({
          method: "Snapshot.load",
          reason: new NotFound({ resource: "generation", name: `${name}@${current}` })
        })
      }
      yield* moveName(driver, store, name, record, replaced, next.artifact, {
        generations: [...earlier, ...added],
        ...(lastBuild === undefined ? {} : { lastBuild })
      })
      return yield* get(driver, store, name)
    })
  )

/** Points a name to the generation of another name. */
export const tag = (
  driver: Driver,
  store: Store,
  {
    name,
    overwrite = false,
    reference
  }: { readonly reference: string; readonly name: string; readonly overwrite?: boolean | undefined }
): Effect.Effect<Snapshot, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const method = "Snapshot.tag"
      const { found, info: result } = yield* find(driver, store, method, reference)
      if (found === undefined) {
        const problem = "another tool made the snapshot, and may remove it"
        return yield* new LightboxError({ method, reason: new Unsupported({ feature: "tag", problem }) })
      }
      // A prune must not remove it before the name needs it.
      yield* noteForScope(store.ownership, "use", result.name)
      const key = isResult(result) ? (result.labels[keyLabel] ?? "") : ""
      const { build, defaults, labels } = found
      const kept = { keep: Infinity, replaceForeign: false, overwrite }
      const wanted = { name, result, key, labels, defaults, build, method, ...kept }
      return (yield* commit(driver, store, wanted)).snapshot
    })
  )
