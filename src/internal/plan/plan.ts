/**
 * From a definition to steps with keys, and from keys to a plan.
 *
 * There is one way in which keys are computed, and both the plan and the build
 * go it.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Cbor from "cborg"
import * as Crypto from "node:crypto"
import * as Path from "node:path"
import * as Ownership from "../../Ownership.ts"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import type * as Network from "../../Network.ts"
import type { MissReason, Plan, PlannedStep } from "../../Plan.ts"
import type { Definition, Step, StepSecret } from "../../Snapshot.ts"
import { shown } from "../guest/execution.ts"
import { checkDefinition } from "../definition/check.ts"
import * as HostFiles from "../host/files.ts"
import { generate } from "../ownership/labels.ts"
import * as Secrets from "../definition/secrets.ts"
import {
  artifactName,
  builderVersion,
  type Descriptor,
  keyLabel,
  make as makeStore,
  type NameRecord,
  type Store
} from "../store/store.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** Steps that change the disk. */
export type DiskStep<E, R> = Extract<
  Step<E, R>,
  { readonly _tag: "Shell" | "Exec" | "Copy" | "Write" | "Workdir" | "Effect" }
>

/** A network, and a text that is the same for the same network. */
export interface NetworkChoice {
  readonly input: Network.NetworkInput | undefined
  readonly id: string
}

export const networkChoice = (input: Network.NetworkInput | undefined): NetworkChoice => ({
  input,
  id: JSON.stringify(input ?? "public")
})

/** A step with all that is in effect where it stands. */
export interface Unit<E = never, R = never> {
  /** From 1. */
  readonly index: number
  readonly step: DiskStep<E, R>
  readonly description: string
  readonly environment: { readonly [name: string]: string }
  readonly workdir: string | undefined
  readonly user: string | undefined
  /** The network while it runs. */
  readonly network: NetworkChoice
  /** Whether its result is kept unless only the last is. */
  readonly isMarked: boolean
  /** Whether it and all after it run in every build. */
  readonly isForced: boolean
}

/** A unit with its key. */
export interface KeyedUnit<E = never, R = never> extends Unit<E, R> {
  readonly key: string
  readonly descriptor: Descriptor
  readonly files: ReadonlyArray<HostFiles.HostFile> | undefined
}

/** A definition, ready to be planned. */
export interface Prepared<E = never, R = never> {
  readonly definition: Definition<E, R>
  readonly image: string
  readonly units: ReadonlyArray<Unit<E, R>>
}

// =============================================================================
// Units
// =============================================================================

/** Checks a definition and lays its steps out, those of what it starts from first. */
export const prepare = Effect.fnUntraced(function* <E, R>(
  method: string,
  definition: Definition<E, R>
): Effect.fn.Return<Prepared<E, R>, LightboxError> {
  yield* checkDefinition(method, definition)
  const chain: Array<Definition<E, R>> = [definition]
  let base = definition.base
  while (base._tag === "Definition") {
    yield* checkDefinition(method, base.definition)
    chain.unshift(base.definition)
    base = base.definition.base
  }
  const units: Array<Unit<E, R>> = []
  for (const part of chain) {
    let environment: { readonly [name: string]: string } = {}
    let workdir: string | undefined
    let user: string | undefined
    let isForced = units.at(-1)?.isForced ?? false
    const mark = () => {
      const last = units.pop()
      if (last !== undefined) units.push({ ...last, isMarked: true })
    }
    for (const step of part.steps) {
      switch (step._tag) {
        case "Env": {
          environment = { ...environment, ...step.variables }
          break
        }
        case "User": {
          user = step.user
          break
        }
        case "Checkpoint": {
          mark()
          break
        }
        case "SkipCache": {
          isForced = true
          break
        }
        default: {
          if (step._tag === "Workdir") workdir = step.path
          isForced = isForced || step.options.cache === "never"
          units.push({
            index: units.length + 1,
            step,
            description: Secrets.redact(Secrets.ofSteps([step]), describe(step)),
            environment,
            workdir,
            user,
            network: networkChoice(step.options.network ?? definition.options.network),
            isMarked: false,
            isForced
          })
        }
      }
    }
    // What others start from is worth keeping.
    if (part !== definition) mark()
  }
  return { definition, image: base.reference, units }
})

const describe = (step: DiskStep<unknown, unknown>): string => {
  if (step.options.description !== undefined) return step.options.description
  switch (step._tag) {
    case "Shell":
      return step.script.trim().split("\n")[0] ?? ""
    case "Exec":
      return shown(step.argv).join(" ")
    case "Copy":
      return `copy ${step.from} to ${step.to}`
    case "Write":
      return `write ${step.path}`
    case "Workdir":
      return `workdir ${step.path}`
    case "Effect":
      return step.name
  }
}

// =============================================================================
// Keys
// =============================================================================

const hash = (value: unknown): string => Crypto.hash("sha256", Cbor.encode(value, { ignoreUndefinedProperties: true }))

/** The key of a result that is made again although it is there. */
export const renewedKey = (key: string, nonce: string): string => hash([key, nonce])

/** The key of an image itself, with no step yet. */
export const baseKey = (imageDigest: string): string => hash(["lightbox", builderVersion, imageDigest])

/** Computes the keys of all units, one after the other: each depends on those before. */
export const keyUnits = Effect.fnUntraced(function* <E, R>(
  method: string,
  units: ReadonlyArray<Unit<E, R>>,
  imageDigest: string,
  /** Different in every build: what a forced step's key is made of. */
  nonce: string
): Effect.fn.Return<ReadonlyArray<KeyedUnit<E, R>>, LightboxError> {
  const keyed: Array<KeyedUnit<E, R>> = []
  let parent = baseKey(imageDigest)
  for (const unit of units) {
    const files =
      unit.step._tag === "Copy"
        ? yield* HostFiles.list(method, Path.resolve(unit.step.from), unit.step.options.ignore ?? [])
        : undefined
    const descriptor = descriptorOf(unit, files)
    const { cache } = unit.step.options
    const own = typeof cache === "object" ? ["key", cache.key] : descriptor
    const key = hash(
      [builderVersion, parent, own, secretsInKey(unit.step), unit.isForced ? nonce : undefined].filter(
        (part) => part !== undefined
      )
    )
    keyed.push({ ...unit, key, descriptor, files })
    parent = key
  }
  return keyed
})

/** Secrets that count: part of a key, and of nothing that is remembered. */
const secretsInKey = (step: DiskStep<unknown, unknown>): ReadonlyArray<string> | undefined => {
  // A key of its user's own stands for everything.
  if ((step._tag !== "Shell" && step._tag !== "Exec") || typeof step.options.cache === "object") return undefined
  const named = sortedEntries(step.options.secrets ?? {}).flatMap(([, secret]) =>
    !Redacted.isRedacted(secret) && secret.inKey === true ? [Redacted.value(secret.value)] : []
  )
  const words =
    step._tag === "Exec" ? step.argv.flatMap((word) => (Redacted.isRedacted(word) ? [Redacted.value(word)] : [])) : []
  const all = [...named, ...words]
  return all.length === 0 ? undefined : all
}

const descriptorOf = (
  { environment, step, user, workdir }: Unit<unknown, unknown>,
  files: ReadonlyArray<HostFiles.HostFile> | undefined
): Descriptor => ({
  kind: step._tag,
  arguments: JSON.stringify(
    {
      ...argumentsOf(step),
      workdir,
      user,
      network: step.options.network,
      cacheKey: typeof step.options.cache === "object" ? step.options.cache.key : undefined
    },
    inOneOrder
  ),
  environment: {
    ...environment,
    ...(step._tag === "Shell" || step._tag === "Exec" ? step.options.env : undefined)
  },
  ...(files === undefined
    ? {}
    : {
        files: Object.fromEntries(
          files.map(({ digest, kind, mode, path, size }) => [path, `${kind} ${mode.toString(8)} ${size} ${digest}`])
        )
      })
})

const argumentsOf = (step: DiskStep<unknown, unknown>): { readonly [key: string]: unknown } => {
  switch (step._tag) {
    case "Shell":
      return { script: step.script, login: step.options.login, secrets: secretsOf(step.options.secrets) }
    case "Exec":
      return {
        argv: step.argv.map((word) => (Redacted.isRedacted(word) ? { redacted: true } : word)),
        secrets: secretsOf(step.options.secrets)
      }
    case "Copy":
      return { to: step.to, mode: step.options.mode, owner: step.options.owner }
    case "Write":
      return {
        path: step.path,
        content: Crypto.hash("sha256", step.content),
        mode: step.options.mode,
        owner: step.options.owner
      }
    case "Workdir":
      return { path: step.path }
    case "Effect":
      return { name: step.name, key: step.options.key }
  }
}

const secretsOf = (
  secrets: { readonly [name: string]: StepSecret } | undefined
): { readonly [name: string]: unknown } | undefined =>
  secrets === undefined
    ? undefined
    : Object.fromEntries(
        Object.entries(secrets).map(([name, secret]) => [
          name,
          Redacted.isRedacted(secret) ? "env" : [secret.as ?? "env", secret.inKey === true]
        ])
      )

const sortedEntries = <A>(record: { readonly [name: string]: A }): ReadonlyArray<readonly [string, A]> =>
  Object.entries(record).toSorted(([a], [b]) => (a < b ? -1 : 1))

/** For JSON: whoever writes the same fields in another order means the same. */
const inOneOrder = (_key: string, value: unknown): unknown =>
  Predicate.isObject(value) && !Array.isArray(value) ? Object.fromEntries(sortedEntries({ ...value })) : value

// =============================================================================
// Plans
// =============================================================================

/** A plan with what the build needs to go on from it. */
export interface Planned<E = never, R = never> {
  readonly units: ReadonlyArray<KeyedUnit<E, R>>
  readonly imageDigest: string
  /** How many units the deepest result that is there covers. */
  readonly done: number
  /** Keys whose results are there, with their folders. */
  readonly results: ReadonlyMap<string, Microsandbox.SnapshotInfo>
  /** The key of the whole. */
  readonly key: string
}

/** Looks what is there for keys. Results that `isUsable` refuses are as good as absent. */
export const look = Effect.fnUntraced(function* <E, R>(
  driver: Driver,
  store: Store,
  units: ReadonlyArray<KeyedUnit<E, R>>,
  imageDigest: string,
  isUsable: (key: string) => boolean = () => true
): Effect.fn.Return<Planned<E, R>, LightboxError> {
  const key = units.at(-1)?.key ?? baseKey(imageDigest)
  // The common case is that everything is there, under its own key, and takes one look.
  const [aliases, own] = yield* Effect.all([store.aliases, isUsable(key) ? open(driver, key) : Effect.succeedNone], {
    concurrency: "unbounded"
  })
  const results = new Map<string, Microsandbox.SnapshotInfo>()
  const alias = isUsable(key) ? aliases.get(key) : undefined
  const final = alias === undefined ? own : yield* open(driver, alias)
  if (Option.isSome(final)) {
    return { units, imageDigest, done: units.length, results: results.set(key, final.value), key }
  }
  const found = new Map<string, Microsandbox.SnapshotInfo>()
  for (const snapshot of yield* driver.listSnapshots) {
    const label = snapshot.labels[keyLabel]
    if (label !== undefined && snapshot.name === artifactName(label)) found.set(label, snapshot)
  }
  for (const unit of units) {
    const result = found.get(aliases.get(unit.key) ?? unit.key)
    // What can be listed but not opened, as the last one, is damaged.
    if (result !== undefined && unit.key !== key && isUsable(unit.key)) results.set(unit.key, result)
  }
  let done = 0
  for (const [position, unit] of units.entries()) if (results.has(unit.key)) done = position + 1
  return { units, imageDigest, done, results, key }
})

/** The result of a key, if it is there and can be used. */
export const open = (
  driver: Driver,
  key: string
): Effect.Effect<Option.Option<Microsandbox.SnapshotInfo>, LightboxError> =>
  driver.openSnapshot(artifactName(key)).pipe(
    Effect.map((snapshot) => (snapshot.labels[keyLabel] === key ? Option.some(snapshot) : Option.none())),
    Effect.catchReasons("LightboxError", {
      NotFound: () => Effect.succeedNone,
      SnapshotDamaged: () => Effect.succeedNone
    })
  )

/** The plan that is shown. */
export const describePlan = Effect.fnUntraced(function* <E, R>(
  driver: Driver,
  store: Store,
  prepared: Prepared<E, R>,
  planned: Planned<E, R> | undefined,
  keyed: ReadonlyArray<KeyedUnit<E, R>>
): Effect.fn.Return<Plan, LightboxError> {
  const { definition, image, units } = prepared
  const record = yield* store.readName(definition.name)
  const steps: Array<PlannedStep> = []
  let firstMiss: number | undefined
  for (const [position, unit] of keyed.entries()) {
    const isHit = planned !== undefined && position < planned.done
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
  return {
    snapshot: definition.name,
    image,
    ...(planned === undefined ? {} : { imageDigest: planned.imageDigest }),
    key: planned?.key ?? "",
    isCached: planned !== undefined && planned.done === units.length && planned.results.has(planned.key),
    steps,
    copies: yield* store.copies
  }
})

const missReason = Effect.fnUntraced(function* (
  driver: Driver,
  store: Store,
  { lastBuild }: NameRecord,
  planned: Planned<unknown, unknown>,
  position: number,
  firstMiss: number | undefined
): Effect.fn.Return<MissReason, LightboxError> {
  const unit = planned.units[position]
  if (unit === undefined) return { _tag: "NeverBuilt" }
  if (unit.isForced) return { _tag: "Forced" }
  if (firstMiss !== undefined) return { _tag: "EarlierChanged", index: firstMiss }
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
  if (Option.isSome(evictedAt)) return { _tag: "Evicted", at: evictedAt.value }
  return yield* driver.openSnapshot(artifactName(unit.key)).pipe(
    Effect.as<MissReason>({ _tag: "Damaged", problem: "its content does not match its key" }),
    Effect.catchReasons("LightboxError", {
      NotFound: () => Effect.succeed<MissReason>({ _tag: "NotKept" }),
      SnapshotDamaged: ({ problem }) => Effect.succeed<MissReason>({ _tag: "Damaged", problem })
    })
  )
})

const compare = (was: Descriptor, now: Descriptor): MissReason | undefined => {
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

/** Tells what a build would do. */
export const plan = Effect.fn("Snapshot.plan")(function* <E, R>(
  definition: Definition<E, R>,
  options: { readonly force?: boolean | number | undefined } | undefined
): Effect.fn.Return<Plan, LightboxError, Services> {
  const method = "Snapshot.plan"
  const driver = yield* Microsandbox.Microsandbox
  const store = makeStore(driver, yield* Ownership.Ownership)
  const from = options?.force === true ? 0 : typeof options?.force === "number" ? options.force : undefined
  const prepared = yield* prepare(method, definition)
  const forced: Prepared<E, R> =
    from === undefined
      ? prepared
      : { ...prepared, units: prepared.units.map((unit) => (unit.index >= from ? { ...unit, isForced: true } : unit)) }
  const imageDigest = yield* driver.inspectImage(prepared.image).pipe(
    Effect.map(({ digest }) => Option.fromNullishOr(digest)),
    Effect.catchReason("LightboxError", "NotFound", () => Effect.succeedNone)
  )
  const units = yield* keyUnits(
    method,
    forced.units,
    Option.getOrElse(imageDigest, () => ""),
    yield* generate
  )
  const planned = Option.isNone(imageDigest) ? undefined : yield* look(driver, store, units, imageDigest.value)
  return yield* describePlan(driver, store, forced, planned, units)
})
