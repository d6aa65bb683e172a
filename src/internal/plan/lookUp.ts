/** Looks up which results exist. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import { artifactName, keyLabel, type Store } from "../store/store.ts"
import { recordIfUnderstood } from "../store/links.ts"
import { invalid } from "../config/validation.ts"
import { baseKey, type KeyedUnit } from "./keys.ts"
import type { Prepared } from "./units.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** The existing results that a build continues from. */
export interface Planned<E = never, R = never> {
  readonly units: ReadonlyArray<KeyedUnit<E, R>>
  readonly imageDigest: string
  /** Number of units that the last existing result covers. */
  readonly covered: number
  /** Existing results by key. */
  readonly results: ReadonlyMap<string, Microsandbox.SnapshotInfo>
  /** The key of the last unit. */
  readonly key: string
}

/** The first step that a build must run again. */
export const forcedFrom = (force: boolean | number | undefined): number =>
  typeof force === "number" ? force : force === true ? 0 : Number.POSITIVE_INFINITY

export const checkForce = (
  method: string,
  force: boolean | number | undefined,
  steps: number
): Effect.Effect<void, LightboxError> =>
  typeof force === "number" && force > steps
    ? Effect.fail(invalid(method, "force", `the definition has ${steps} step${steps === 1 ? "" : "s"}`))
    : Effect.void

/**
 * Resolves the base image of a definition, by its pull policy or that of the call. If the name is known, there may be a
 * result although the image is not cached, such as one that was pulled: the registry knows its key.
 */
export const resolveImage = (
  driver: Driver,
  { definition, image }: Prepared<unknown, unknown>,
  {
    isKnown,
    ...options
  }: {
    readonly pullPolicy?: SandboxConfig["pullPolicy"]
    readonly isKnown: Effect.Effect<boolean, LightboxError>
  }
): Effect.Effect<Microsandbox.ImageResolution, LightboxError> => {
  const { registry } = definition.options
  const pullPolicy = options.pullPolicy ?? definition.options.pullPolicy
  return Effect.filterOrElse(
    driver.resolveImage(image, { pullPolicy, registry }),
    ({ digest }) => digest !== undefined || pullPolicy === "always",
    (unknown) =>
      Effect.flatMap(isKnown, (isKnown) =>
        isKnown
          ? Effect.catchReason(
              driver.resolveImage(image, { pullPolicy, registry, askIfMissing: true }),
              "LightboxError",
              "ImageUnavailable",
              () => Effect.succeed(unknown)
            )
          : Effect.succeed(unknown)
      )
  )
}

/** Checks whether a name has a result of a build from an image. */
export const isKnown = (
  store: Store,
  { definition, image }: Prepared<unknown, unknown>
): Effect.Effect<boolean, LightboxError> =>
  Effect.map(recordIfUnderstood(store, definition.name), ({ lastBuild }) => lastBuild?.image === image)

/** Looks up the results of keys. Ignores those that `isUsable` refuses. */
export const lookUp = Effect.fnUntraced(function* <E, R>(
  driver: Driver,
  store: Store,
  units: ReadonlyArray<KeyedUnit<E, R>>,
  imageDigest: string,
  isUsable: (key: string) => boolean = () => true
): Effect.fn.Return<Planned<E, R>, LightboxError> {
  const key = units.at(-1)?.key ?? baseKey(imageDigest)
  // In the common case, the last result exists under its own key, and one look-up is enough.
  const [aliases, exact] = yield* Effect.all([store.aliases, isUsable(key) ? open(driver, key) : Effect.succeedNone], {
    concurrency: "unbounded"
  })
  const results = new Map<string, Microsandbox.SnapshotInfo>()
  const alias = isUsable(key) ? aliases.get(key) : undefined
  const final = alias === undefined ? exact : yield* open(driver, alias)
  if (Option.isSome(final)) {
    return { units, imageDigest, covered: units.length, results: results.set(key, final.value), key }
  }
  // One by one: a list of the whole store would cost more the more others have built.
  const earlier = units.filter((unit) => unit.key !== key && isUsable(unit.key))
  const found = yield* Effect.forEach(earlier, (unit) => open(driver, aliases.get(unit.key) ?? unit.key), {
    concurrency: 16
  })
  for (const [position, unit] of earlier.entries()) {
    const result = found[position]
    if (result !== undefined && Option.isSome(result)) results.set(unit.key, result.value)
  }
  let covered = 0
  for (const [position, unit] of units.entries()) if (results.has(unit.key)) covered = position + 1
  return { units, imageDigest, covered, results, key }
})

/** Opens the result of a key, if it exists and is usable. */
export const open = (
  driver: Driver,
  key: string
): Effect.Effect<Option.Option<Microsandbox.SnapshotInfo>, LightboxError> =>
  driver.getSnapshot(artifactName(key)).pipe(
    Effect.map((snapshot) => (snapshot.labels[keyLabel] === key ? Option.some(snapshot) : Option.none())),
    Effect.catchReasons("LightboxError", {
      NotFound: () => Effect.succeedNone,
      SnapshotDamaged: () => Effect.succeedNone
    })
  )
