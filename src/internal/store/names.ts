/**
 * Names of snapshots: links that move from one complete result to another.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Ownership from "../../Ownership.ts"
import { AlreadyExists, LightboxError, NotFound, TimedOut } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { Snapshot, SnapshotGeneration } from "../../Snapshot.ts"
import { generate } from "../ownership/labels.ts"
import { artifactName, type Generation, isArtifactName, keyLabel, type NameRecord, type Store } from "./store.ts"

type Driver = Pick<
  Microsandbox.Microsandbox["Service"],
  | "listSnapshotLinks"
  | "readSnapshotLink"
  | "listSnapshots"
  | "openSnapshot"
  | "linkSnapshot"
  | "unlinkSnapshot"
  | "removeSnapshot"
  | "renameSnapshot"
>

/** Whether the library made a snapshot, as a result of a key. */
export const isResult = (snapshot: Microsandbox.SnapshotInfo): boolean => {
  const key = snapshot.labels[keyLabel]
  return key !== undefined && snapshot.name === artifactName(key)
}

const userLabels = (labels: { readonly [key: string]: string }): { readonly [key: string]: string } =>
  Object.fromEntries(Object.entries(labels).filter(([key]) => !key.startsWith("lightbox.")))

const toSnapshot = (name: string, info: Microsandbox.SnapshotInfo, generation: Generation | undefined): Snapshot => ({
  name,
  path: info.path,
  digest: info.digest,
  key: info.labels[keyLabel],
  generation: generation?.generation,
  image: info.image,
  imageDigest: info.imageDigest,
  size: info.size,
  allocated: info.allocated,
  labels: generation?.labels ?? userLabels(info.labels),
  createdAt: info.createdAt
})

const currentOf = (record: NameRecord, artifact: string): Generation | undefined =>
  record.generations.findLast((generation) => generation.artifact === artifact)

/** What names lead to. Any word may be a name, and so `constructor`. */
const linksOf = (driver: Driver): Effect.Effect<ReadonlyMap<string, string>, LightboxError> =>
  Effect.map(driver.listSnapshotLinks, (links) => new Map(Object.entries(links)))

/** What a name leads to, and what is remembered of it. Where no link leads, a record is what was cut short has left. */
const lookUp = (
  driver: Driver,
  store: Store,
  name: string
): Effect.Effect<{ readonly artifact: string | undefined; readonly record: NameRecord }, LightboxError> =>
  Effect.map(
    Effect.all([driver.readSnapshotLink(name), store.readName(name)], { concurrency: "unbounded" }),
    ([artifact, record]) => ({ artifact, record: artifact === undefined ? { generations: [] } : record })
  )

/** Fails if a name is taken, by a link or by a snapshot itself. */
export const requireFree = Effect.fnUntraced(function* (
  driver: Driver,
  method: string,
  name: string
): Effect.fn.Return<void, LightboxError> {
  const isTaken =
    (yield* driver.readSnapshotLink(name)) !== undefined ||
    (yield* driver.listSnapshots).some((snapshot) => snapshot.name === name)
  if (isTaken) return yield* new LightboxError({ method, reason: new AlreadyExists({ resource: "snapshot", name }) })
})

/** Fails if a name is that of a snapshot which something else has made. */
export const requireOurs = Effect.fnUntraced(function* (
  driver: Driver,
  method: string,
  name: string
): Effect.fn.Return<void, LightboxError> {
  if ((yield* driver.readSnapshotLink(name)) === undefined) yield* requireFree(driver, method, name)
})

/** All names: links, and snapshots that something else has made. With `layers`, what is kept for builds as well. */
export const list = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  options: { readonly layers?: boolean | undefined } | undefined
): Effect.fn.Return<ReadonlyArray<Snapshot>, LightboxError> {
  const links = yield* linksOf(driver)
  const all = yield* driver.listSnapshots
  const byName = new Map(all.map((snapshot) => [snapshot.name, snapshot]))
  const found: Array<Snapshot> = []
  for (const [name, artifact] of links) {
    const info = byName.get(artifact)
    // A link that leads nowhere is what a removal left that was cut short.
    if (info !== undefined) found.push(toSnapshot(name, info, currentOf(yield* store.readName(name), artifact)))
  }
  const withLayers = options?.layers === true
  // What another tool made, and a name leads to, is under that name.
  const needed = withLayers ? new Set() : yield* roots(driver, store)
  for (const info of all) {
    if (withLayers || !(isResult(info) || needed.has(info.name))) found.push(toSnapshot(info.name, info, undefined))
  }
  return found.toSorted((a, b) => (a.name < b.name ? -1 : 1))
})

/** A snapshot by its name. */
export const get = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  name: string
): Effect.fn.Return<Snapshot, LightboxError> {
  const artifact = yield* driver.readSnapshotLink(name)
  const info = yield* driver.openSnapshot(artifact ?? name)
  return toSnapshot(name, info, artifact === undefined ? undefined : currentOf(yield* store.readName(name), artifact))
})

/** The generations of a name that are kept, oldest first. */
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
  return record.generations.map((generation) => ({
    generation: generation.generation,
    key: generation.key,
    labels: generation.labels,
    createdAt: DateTime.makeUnsafe(generation.createdAt),
    isCurrent: generation === current
  }))
})

const stepSeconds = 10

/** What is not to be cut short by an interruption, a record with the link that goes with it, in bounded time. */
const inOneStep = (effect: Effect.Effect<void, LightboxError>): Effect.Effect<void, LightboxError> =>
  Effect.uninterruptible(
    Effect.timeoutOrElse(effect, {
      duration: Duration.seconds(stepSeconds),
      orElse: () =>
        Effect.fail(
          new LightboxError({
            method: "Snapshot",
            reason: new TimedOut({ operation: "moving the name of a snapshot", limitMillis: stepSeconds * 1000 })
          })
        )
    })
  )

/** Names share results: one name may lead to what the removal of another finds unneeded. */
export const lockNames = (store: Store): Effect.Effect<void, LightboxError, Scope.Scope> =>
  Effect.asVoid(store.lock("names"))

/** What a build leaves to be committed. */
export interface Commit {
  readonly name: string
  readonly result: Microsandbox.SnapshotInfo
  readonly key: string
  readonly labels: { readonly [key: string]: string }
  readonly lastBuild: NonNullable<NameRecord["lastBuild"]>
  /** How many generations are kept. */
  readonly keep: number
  /** Whether a snapshot that something else made may lose the name. */
  readonly replaceForeign: boolean
  /** Whether the name may be there already. */
  readonly overwrite: boolean
}

/**
 * Moves a name to a result, as a new generation unless it is there already. The
 * name leads to the old result until it leads to the new one; results that no
 * kept generation needs any more are removed afterwards.
 */
export const commit = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  wanted: Commit
): Effect.fn.Return<{ readonly snapshot: Snapshot; readonly isNew: boolean }, LightboxError> {
  if (wanted.overwrite) {
    // The common case changes nothing, and needs no lock for that.
    const { isUnchanged, there } = yield* standing(driver, store, wanted)
    if (isUnchanged) return { snapshot: toSnapshot(wanted.name, wanted.result, there), isNew: false }
  }
  return yield* moveTo(driver, store, wanted)
})

/** Where a name stands before a commit. */
const standing = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  { key, labels, lastBuild, name, result }: Commit
): Effect.fn.Return<
  {
    readonly record: NameRecord
    /** The generation that the name leads to. */
    readonly current: Generation | undefined
    /** The same, if it is what is to be committed. */
    readonly there: Generation | undefined
    /** Whether it is there with everything that is remembered of it. */
    readonly isUnchanged: boolean
  },
  LightboxError
> {
  const { artifact, record } = yield* lookUp(driver, store, name)
  const current = artifact === undefined ? undefined : currentOf(record, artifact)
  const there = current?.key === key && current.artifact === result.name ? current : undefined
  const isUnchanged =
    there !== undefined && JSON.stringify([there.labels, record.lastBuild]) === JSON.stringify([labels, lastBuild])
  return { record, current, there, isUnchanged }
})

const moveTo = (
  driver: Driver,
  store: Store,
  wanted: Commit
): Effect.Effect<{ readonly snapshot: Snapshot; readonly isNew: boolean }, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { key, keep, labels, lastBuild, name, overwrite, replaceForeign, result } = wanted
      yield* lockNames(store)
      if (!overwrite) yield* requireFree(driver, "Snapshot.build", name)
      const { current, isUnchanged, record, there } = yield* standing(driver, store, wanted)
      if (there !== undefined) {
        const same: Generation = { ...there, labels }
        if (!isUnchanged) {
          yield* store.writeName(name, {
            generations: record.generations.map((generation) => (generation === there ? same : generation)),
            lastBuild
          })
        }
        return { snapshot: toSnapshot(name, result, same), isNew: false }
      }
      const now = yield* Clock.currentTimeMillis
      // What can not be linked is no generation.
      if (!replaceForeign) yield* requireOurs(driver, "Snapshot.build", name)
      const replaced = replaceForeign ? yield* nameForForeign(driver, name) : undefined
      const highest = Math.max(0, ...record.generations.map(({ generation }) => generation))
      // The generation that the name leads to comes last, whatever its number: it is what a rollback wants.
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
        createdAt: now
      }
      const dropped = earlier.flatMap((generation) => (stays.includes(generation) ? [] : [generation.artifact]))
      yield* noteUnnamed(
        store,
        dropped.filter((artifact) => artifact !== replaced)
      )
      yield* moveName(driver, store, name, record, replaced, result.name, {
        generations: [...stays.toSorted((a, b) => a.generation - b.generation), next],
        lastBuild
      })
      // Not before: nobody is to remove it while its name does not lead to the new one.
      if (replaced !== undefined && dropped.includes(replaced)) yield* noteUnnamed(store, [replaced])
      yield* removeUnneeded(driver, store, dropped)
      return { snapshot: toSnapshot(name, result, next), isNew: true }
    })
  )

/** A name for a snapshot that something else has made, and that is to lose its own. */
const nameForForeign = Effect.fnUntraced(function* (
  driver: Driver,
  name: string
): Effect.fn.Return<string | undefined, LightboxError> {
  if ((yield* driver.readSnapshotLink(name)) !== undefined) return undefined
  const isForeign = (yield* driver.listSnapshots).some((snapshot) => snapshot.name === name)
  return isForeign ? `${name}.replaced-${yield* generate}` : undefined
})

/**
 * Lets a name lead to a result, and what something else has made go on as `replaced`. If it fails, the name leads to
 * what it led to before.
 */
const moveName = (
  driver: Driver,
  store: Store,
  name: string,
  was: NameRecord,
  replaced: string | undefined,
  artifact: string,
  record: NameRecord
): Effect.Effect<void, LightboxError> => {
  const undo = Effect.andThen(
    Effect.ignore(store.writeName(name, was)),
    replaced === undefined ? Effect.void : driver.renameSnapshot(replaced, name)
  )
  return inOneStep(
    (replaced === undefined ? Effect.void : driver.renameSnapshot(name, replaced)).pipe(
      Effect.andThen(store.writeName(name, record)),
      Effect.andThen(driver.linkSnapshot(name, artifact)),
      Effect.onError(() =>
        // The last step may be done although it is not known to be.
        Effect.ignore(Effect.flatMap(driver.readSnapshotLink(name), (now) => (now === artifact ? Effect.void : undo)))
      )
    )
  )
}

/**
 * Notes what is about to be removed, or to lose its name, if it is no result that a build could use: what a process that
 * is killed before the scope closes has left of it is for the next sweep.
 */
const noteUnnamed = (store: Store, artifacts: ReadonlyArray<string>): Effect.Effect<void, LightboxError, Scope.Scope> =>
  Effect.forEach(
    artifacts.filter((artifact) => !isArtifactName(artifact)),
    (name) =>
      Effect.flatMap(generate, (token) => {
        const note: Ownership.Note = { kind: "unnamed", token, name }
        return Effect.acquireRelease(store.ownership.note(note), () => store.ownership.forget(note))
      }),
    { discard: true }
  )

/** Removes results that no name and no kept generation of any name leads to. */
export const removeUnneeded = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  candidates: ReadonlyArray<string>
): Effect.fn.Return<void, LightboxError> {
  if (candidates.length === 0) return
  const needed = yield* roots(driver, store)
  yield* Effect.forEach(
    new Set(candidates.filter((artifact) => !needed.has(artifact))),
    (artifact) => driver.removeSnapshot(artifact),
    { discard: true }
  )
})

/** The results that names and their kept generations lead to. */
export const roots = (driver: Driver, store: Store): Effect.Effect<ReadonlySet<string>, LightboxError> =>
  Effect.map(keepGenerations(driver, store, undefined, true), ({ needed }) => needed)

/** Drops all but so many generations of each name, or in a dry run tells which results only they need. */
export const keepGenerations = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  keep: number | undefined,
  dryRun: boolean
): Effect.fn.Return<{ readonly needed: ReadonlySet<string>; readonly dropped: ReadonlySet<string> }, LightboxError> {
  const links = yield* linksOf(driver)
  const needed = new Set(links.values())
  const dropped = new Set<string>()
  for (const name of yield* store.listNames) {
    const artifact = links.get(name)
    if (artifact === undefined) {
      // A first build or a removal that was cut short has left it.
      if (!dryRun) yield* store.removeName(name)
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
    if (!dryRun && generations.length < record.generations.length) {
      yield* store.writeName(name, { ...record, generations })
    }
  }
  return { needed, dropped }
})

/** Gives a name generations that are there, after those that it has, and lets it lead to one of them. */
export const adopt = (
  driver: Driver,
  store: Store,
  adopted: {
    readonly name: string
    readonly current: number
    readonly generations: ReadonlyArray<Generation>
    readonly lastBuild?: NameRecord["lastBuild"]
    /** Whether the name may be there already. */
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
      const added = generations
        .toSorted((a, b) => a.generation - b.generation)
        .map((generation, index) => ({ ...generation, generation: offset + index + 1 }))
      const position = generations
        .toSorted((a, b) => a.generation - b.generation)
        .findIndex(({ generation }) => generation === current)
      const next = added[position] ?? added.at(-1)
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

/** Moves a name back to an earlier generation: the one before the current, unless told. */
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
      yield* driver.linkSnapshot(name, next.artifact)
      return yield* get(driver, store, name)
    })
  )

/** Removes a name, and the results that only it needed. */
export const remove = (driver: Driver, store: Store, name: string): Effect.Effect<void, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      yield* lockNames(store)
      const artifact = yield* driver.readSnapshotLink(name)
      if (artifact === undefined) return yield* driver.removeSnapshot(name)
      const record = yield* store.readName(name)
      const dropped = [artifact, ...record.generations.map((generation) => generation.artifact)]
      yield* noteUnnamed(store, [...new Set(dropped)])
      yield* inOneStep(Effect.andThen(driver.unlinkSnapshot(name), store.removeName(name)))
      yield* removeUnneeded(driver, store, dropped)
    })
  )
