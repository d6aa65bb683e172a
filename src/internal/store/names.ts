/** Names of snapshots. */
import * as Effect from "effect/Effect"
import { AlreadyExists, LightboxError, NotFound } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { Snapshot } from "../../Snapshot.ts"
import type { Generation, Store } from "./store.ts"
import {
  currentOf,
  type Driver,
  inOneStep,
  isResult,
  isSnapshot,
  linksOf,
  lockNames,
  lookUp,
  recordIfUnderstood,
  toSnapshot
} from "./links.ts"
import { generations, noteUnnamed, removeUnneeded, roots } from "./generations.ts"

/** Fails if a name is taken, by a link or by a snapshot itself. */
export const requireFree = Effect.fnUntraced(function* (
  driver: Driver,
  method: string,
  name: string
): Effect.fn.Return<void, LightboxError> {
  const isTaken = (yield* driver.readSnapshotLink(name)) !== undefined || (yield* isSnapshot(driver, name))
  if (isTaken) return yield* new LightboxError({ method, reason: new AlreadyExists({ resource: "snapshot", name }) })
})

/** Fails if a name belongs to a snapshot made by another tool. */
export const requireOurs = Effect.fnUntraced(function* (
  driver: Driver,
  method: string,
  name: string
): Effect.fn.Return<void, LightboxError> {
  if ((yield* driver.readSnapshotLink(name)) === undefined) yield* requireFree(driver, method, name)
})

/** Lists names: links, and snapshots made by other tools. With `layers`, also results without a name. */
export const list = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  options: { readonly layers?: boolean | undefined } | undefined
): Effect.fn.Return<ReadonlyArray<Snapshot>, LightboxError> {
  const links = yield* linksOf(driver)
  const all = yield* driver.listSnapshots()
  const byName = new Map(all.map((snapshot) => [snapshot.name, snapshot]))
  const found: Array<Snapshot> = []
  for (const [name, artifact] of links) {
    const info = byName.get(artifact)
    // An interrupted removal left a link without a target.
    if (info !== undefined)
      found.push(toSnapshot(name, info, currentOf(yield* recordIfUnderstood(store, name), artifact)))
  }
  const withLayers = options?.layers === true
  // A snapshot of another tool to which a name points is listed under that name.
  const needed = withLayers ? new Set() : yield* Effect.orElseSucceed(roots(driver, store), () => new Set())
  for (const info of all) {
    if (withLayers || !(isResult(info) || needed.has(info.name))) found.push(toSnapshot(info.name, info, undefined))
  }
  return found.toSorted((a, b) => (a.name < b.name ? -1 : 1))
})

/** A snapshot that was looked up. */
export interface Found {
  readonly name: string
  readonly info: Microsandbox.SnapshotInfo
  /** None if another tool made the snapshot, and if its record cannot be read. */
  readonly found: Generation | undefined
}

const toFound = ({ found, info, name }: Found): Snapshot => toSnapshot(name, info, found)

const findCurrent = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  name: string
): Effect.fn.Return<Found, LightboxError> {
  const artifact = yield* driver.readSnapshotLink(name)
  const info = yield* driver.getSnapshot(artifact ?? name)
  const found = artifact === undefined ? undefined : currentOf(yield* recordIfUnderstood(store, name), artifact)
  return { name, info, found }
})

/** Gets a snapshot by name. */
export const get = (driver: Driver, store: Store, name: string): Effect.Effect<Snapshot, LightboxError> =>
  Effect.map(findCurrent(driver, store, name), toFound)

/** Finds the snapshot of a reference, and its generation. */
export const find = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  method: string,
  reference: string
): Effect.fn.Return<Found, LightboxError> {
  const [name = "", number] = reference.split("@")
  if (number === undefined) return yield* findCurrent(driver, store, name)
  const { record } = yield* lookUp(driver, store, name)
  const found = record.generations.find(({ generation }) => generation === Number(number))
  if (found === undefined) {
    return yield* new LightboxError({ method, reason: new NotFound({ resource: "generation", name: reference }) })
  }
  return { name, info: yield* driver.getSnapshot(found.artifact), found }
})

/** Gets the snapshot of a reference. */
export const resolve = (
  driver: Driver,
  store: Store,
  method: string,
  reference: string
): Effect.Effect<Snapshot, LightboxError> => Effect.map(find(driver, store, method, reference), toFound)

/** Moves a name back to an earlier generation. Default: the one before the current. */
export const rollback = (
  driver: Driver,
  store: Store,
  name: string,
  to: number | undefined
): Effect.Effect<Snapshot, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      yield* lockNames(store)
      const all = yield* generations(driver, store, name)
      const position = all.findIndex(({ isCurrent }) => isCurrent)
      const wanted = to === undefined ? all[position - 1] : all.find(({ generation }) => generation === to)
      const record = yield* store.readName(name)
      const next = record.generations.find(({ generation }) => generation === wanted?.generation)
      if (next === undefined) {
        return yield* new LightboxError({
          method: "Snapshot.rollback",
          reason: new NotFound({ resource: "generation", name: to === undefined ? `before ${name}` : `${name}@${to}` })
        })
      }
      const others = record.generations.filter((generation) => generation !== next)
      if (others.some(({ artifact }) => artifact === next.artifact)) {
        // Of those that share a disk, the last is current.
        yield* store.writeName(name, { ...record, generations: [...others, next] })
      }
      yield* driver.linkSnapshot(name, next.artifact)
      return yield* get(driver, store, name)
    })
  )

/** Removes a name and the results that only it needed. */
export const remove = (driver: Driver, store: Store, name: string): Effect.Effect<void, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      yield* lockNames(store)
      const artifact = yield* driver.readSnapshotLink(name)
      if (artifact === undefined) return yield* driver.removeSnapshot(name)
      const record = yield* recordIfUnderstood(store, name)
      const dropped = [artifact, ...record.generations.map((generation) => generation.artifact)]
      yield* noteUnnamed(store, [...new Set(dropped)])
      yield* inOneStep(Effect.andThen(driver.unlinkSnapshot(name), store.removeName(name)))
      yield* removeUnneeded(driver, store, dropped)
    })
  )
