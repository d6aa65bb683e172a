/** Explains why a step would run. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import { type MissReason, Plan, type PlannedStep } from "../../Plan.ts"
import type { LaunchDefaults } from "../../SandboxConfig.ts"
import { artifactName, builderVersion, type Descriptor, type NameRecord, type Store } from "../store/store.ts"
import { hasDefaults } from "../store/commits.ts"
import { currentOf, recordIfUnderstood } from "../store/links.ts"
import type { KeyedUnit } from "./keys.ts"
import type { Planned } from "./lookUp.ts"
import type { Prepared } from "./units.ts"

type Driver = Microsandbox.Microsandbox["Service"]

export const describePlan = Effect.fnUntraced(function* <E, R>(
  driver: Driver,
  store: Store,
  prepared: Prepared<E, R>,
  planned: Planned<E, R> | undefined,
  keyed: ReadonlyArray<KeyedUnit<E, R>>
): Effect.fn.Return<Plan, LightboxError> {
  const { defaults, definition, image, units } = prepared
  // With the names of all copied files, it may be large.
  const record = yield* Effect.cached(recordIfUnderstood(store, definition.name))
  return new Plan({
    snapshot: definition.name,
    image,
    ...(planned === undefined ? {} : { imageDigest: planned.imageDigest }),
    key: planned?.key ?? "",
    isCached: planned !== undefined && planned.covered === units.length && planned.results.has(planned.key),
    changesDefaults: yield* changesDefaults(driver, definition.name, record, defaults),
    steps: yield* describeSteps(driver, store, { image, record, planned, keyed }),
    copies: yield* store.copies
  })
})

/** Says of each step whether its result exists, or else why not. */
export const describeSteps = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  {
    image,
    keyed,
    planned,
    record
  }: {
    readonly image: string
    readonly record: Effect.Effect<NameRecord, LightboxError>
    readonly planned: Planned<unknown, unknown> | undefined
    readonly keyed: ReadonlyArray<KeyedUnit<unknown, unknown>>
  }
): Effect.fn.Return<ReadonlyArray<PlannedStep>, LightboxError> {
  const steps: Array<PlannedStep> = []
  let firstMiss: number | undefined
  for (const [position, unit] of keyed.entries()) {
    const isHit = planned !== undefined && position < planned.covered
    const verdict: PlannedStep["verdict"] = isHit
      ? { _tag: "Hit" }
      : {
          _tag: "Miss",
          reason:
            planned === undefined
              ? { _tag: "BaseUnknown", image }
              : yield* missReason(driver, store, record, planned, position, firstMiss)
        }
    if (verdict._tag === "Miss" && verdict.reason._tag !== "NotKept") firstMiss ??= unit.index
    const { declaredAt } = unit.step
    steps.push({
      index: unit.index,
      description: unit.description,
      kind: unit.step._tag,
      ...(declaredAt === undefined ? {} : { declaredAt }),
      key: unit.key,
      verdict
    })
  }
  return steps
})

const changesDefaults = Effect.fnUntraced(function* (
  driver: Driver,
  name: string,
  record: Effect.Effect<NameRecord, LightboxError>,
  defaults: LaunchDefaults
): Effect.fn.Return<boolean, LightboxError> {
  const artifact = yield* driver.readSnapshotLink(name)
  return artifact !== undefined && !hasDefaults(currentOf(yield* record, artifact), defaults)
})

const missReason = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  record: Effect.Effect<NameRecord, LightboxError>,
  planned: Planned<unknown, unknown>,
  position: number,
  firstMiss: number | undefined
): Effect.fn.Return<MissReason, LightboxError> {
  const unit = planned.units[position]
  if (unit === undefined) return { _tag: "NeverBuilt" }
  if (unit.isForced) return { _tag: "Forced" }
  if (firstMiss !== undefined) return { _tag: "EarlierChanged", index: firstMiss }
  const { lastBuild } = yield* record
  if (lastBuild === undefined) return { _tag: "NeverBuilt" }
  if (lastBuild.builderVersion !== builderVersion) {
    return { _tag: "BuilderChanged", was: lastBuild.builderVersion, now: builderVersion }
  }
  if (lastBuild.imageDigest !== planned.imageDigest) {
    return { _tag: "BaseChanged", was: lastBuild.imageDigest, now: planned.imageDigest }
  }
  const was = lastBuild.steps[position]
  if (was === undefined) return { _tag: "NeverBuilt" }
  const changed = compare(was, unit.descriptor)
  if (changed !== undefined) return changed
  const evictedAt = yield* store.readTombstone(unit.key)
  if (Option.isSome(evictedAt)) return { _tag: "Evicted", at: DateTime.makeUnsafe(evictedAt.value) }
  return yield* driver.getSnapshot(artifactName(unit.key)).pipe(
    Effect.as<MissReason>({ _tag: "Damaged", problem: "its content does not match its key" }),
    Effect.catchReasons("LightboxError", {
      NotFound: () => Effect.succeed<MissReason>({ _tag: "NotKept" }),
      SnapshotDamaged: ({ problem }) => Effect.succeed<MissReason>({ _tag: "Damaged", problem })
    })
  )
})

/** The first difference between the inputs of a step. */
export const compare = (was: Descriptor, now: Descriptor): MissReason | undefined => {
  if (was.kind !== now.kind || was.arguments !== now.arguments) {
    return { _tag: "ArgumentsChanged", was: `${was.kind} ${was.arguments}`, now: `${now.kind} ${now.arguments}` }
  }
  const variables = differences(was.environment, now.environment)
  if (variables.length > 0) {
    return { _tag: "EnvironmentChanged", variables: variables.map(({ key, ...rest }) => ({ name: key, ...rest })) }
  }
  const files = differences(was.files ?? {}, now.files ?? {})
  return files.length > 0
    ? { _tag: "FilesChanged", files: files.map(({ key, ...rest }) => ({ path: key, ...rest })) }
    : undefined
}

const differences = (
  was: { readonly [key: string]: string },
  now: { readonly [key: string]: string }
): ReadonlyArray<{ readonly key: string; readonly was: string; readonly now: string }> =>
  [...new Set([...Object.keys(was), ...Object.keys(now)])]
    .toSorted()
    .flatMap((key) => (was[key] === now[key] ? [] : [{ key, was: was[key] ?? "", now: now[key] ?? "" }]))
