/** Names: links with records. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { LightboxError, TimedOut } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { Snapshot } from "../../Snapshot.ts"
import { artifactName, type Generation, keyLabel, type NameRecord, notUnderstood, type Store } from "./store.ts"

export type Driver = Pick<
  Microsandbox.Microsandbox["Service"],
  | "listSnapshotLinks"
  | "readSnapshotLink"
  | "listSnapshots"
  | "listDamagedSnapshots"
  | "getSnapshot"
  | "linkSnapshot"
  | "unlinkSnapshot"
  | "removeSnapshot"
  | "renameSnapshot"
>

/** Checks whether a snapshot is the result of a key. */
export const isResult = (snapshot: Microsandbox.SnapshotInfo): boolean => {
  const key = snapshot.labels[keyLabel]
  return key !== undefined && snapshot.name === artifactName(key)
}

const userLabels = (labels: { readonly [key: string]: string }): { readonly [key: string]: string } =>
  Object.fromEntries(Object.entries(labels).filter(([key]) => !key.startsWith("lightbox.")))

export const toSnapshot = (
  name: string,
  info: Microsandbox.SnapshotInfo,
  generation: Generation | undefined
): Snapshot => {
  const key = isResult(info) ? info.labels[keyLabel] : undefined
  return {
    name,
    path: info.path,
    digest: info.digest,
    ...(key === undefined ? {} : { key }),
    ...(generation === undefined ? {} : { generation: generation.generation }),
    image: info.image,
    imageDigest: info.imageDigest,
    ...(info.size === undefined ? {} : { size: info.size }),
    ...(info.allocated === undefined ? {} : { allocated: info.allocated }),
    ...(info.memory === undefined ? {} : { memory: info.memory }),
    labels: generation?.labels ?? userLabels(info.labels),
    ...(generation?.defaults === undefined ? {} : { defaults: generation.defaults }),
    createdAt: info.createdAt
  }
}

export const currentOf = (record: NameRecord, artifact: string): Generation | undefined =>
  record.generations.findLast((generation) => generation.artifact === artifact)

/** Reads what names point to. A map, for `constructor` may be a name. */
export const linksOf = (driver: Driver): Effect.Effect<ReadonlyMap<string, string>, LightboxError> =>
  Effect.map(driver.listSnapshotLinks(), (links) => new Map(Object.entries(links)))

/** Checks whether a snapshot has this name itself. A list of the whole store would cost more the more others have built. */
export const isSnapshot = (driver: Driver, name: string): Effect.Effect<boolean, LightboxError> =>
  driver.getSnapshot(name).pipe(
    Effect.as(true),
    Effect.catchReasons("LightboxError", {
      NotFound: () => Effect.succeed(false),
      SnapshotDamaged: () => Effect.succeed(false)
    })
  )

/** Reads a record for what can do without it. One that this version does not understand has no generations. */
export const recordIfUnderstood = (store: Store, name: string): Effect.Effect<NameRecord, LightboxError> =>
  Effect.catchReason(store.readName(name), "LightboxError", "FileError", (reason, error) =>
    reason.code === notUnderstood ? Effect.succeed({ generations: [] }) : Effect.fail(error)
  )

/** Reads a name's link and record. Without a link, a record is a leftover. */
export const lookUp = (
  driver: Driver,
  store: Store,
  name: string
): Effect.Effect<{ readonly artifact: string | undefined; readonly record: NameRecord }, LightboxError> =>
  Effect.map(
    Effect.all([driver.readSnapshotLink(name), store.readName(name)], { concurrency: "unbounded" }),
    ([artifact, record]) => ({ artifact, record: artifact === undefined ? { generations: [] } : record })
  )

const stepSeconds = 10

/** Writes a record and its link without interruption, in bounded time. */
export const inOneStep = (effect: Effect.Effect<void, LightboxError>): Effect.Effect<void, LightboxError> =>
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

/** Locks all names: names share results, so that one may point to what the removal of another would remove. */
export const lockNames = (store: Store): Effect.Effect<void, LightboxError, Scope.Scope> =>
  Effect.asVoid(store.lock("names"))
