/**
 * Plans: what a build would do, and why.
 *
 * `Snapshot.plan` computes a plan from the definition, the digest of its base image
 * and the results stored on this machine. It boots nothing.
 *
 * **Example** (Showing what a change costs)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const show = Snapshot.plan(Snapshot.make("tools", "alpine")).pipe(Effect.flatMap(Console.log))
 * ```
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import { NodeInspectSymbol } from "effect/Inspectable"
import * as Schema from "effect/Schema"

const change = { was: Schema.String, now: Schema.String }

/**
 * The reason why a step would run.
 *
 * - `NeverBuilt`: this definition was never built here.
 * - `BaseUnknown`: the base image is not cached.
 * - `BaseChanged`: the base image has a different digest than in the last build.
 * - `ArgumentsChanged`, `EnvironmentChanged`, `FilesChanged`: the step differs from
 *   the last build of this definition.
 * - `EarlierChanged`: an earlier step would run.
 * - `NotKept`: the step is unchanged, but its result is not stored and a later step
 *   would run.
 * - `Forced`: the step or the build requests it.
 * - `Evicted`: its result was pruned at that time.
 * - `Damaged`: its result exists but is unusable.
 * - `BuilderChanged`: its result was made by a version of the library that builds
 *   differently.
 *
 * @category schemas
 * @since 0.1.0
 */
export const MissReason = Schema.TaggedUnion({
  NeverBuilt: {},
  BaseUnknown: { image: Schema.String },
  BaseChanged: change,
  ArgumentsChanged: change,
  EnvironmentChanged: { variables: Schema.Array(Schema.Struct({ name: Schema.String, ...change })) },
  FilesChanged: { files: Schema.Array(Schema.Struct({ path: Schema.String, ...change })) },
  EarlierChanged: { index: Schema.Int },
  NotKept: {},
  Forced: {},
  Evicted: { at: Schema.DateTimeUtc },
  Damaged: { problem: Schema.String },
  BuilderChanged: change
})

/**
 * The type of {@link MissReason}.
 *
 * @category models
 * @since 0.1.0
 */
export type MissReason = typeof MissReason.Type

/**
 * A step, and whether its stored result can be used. `key` identifies the result.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PlannedStep = Schema.Struct({
  /** From 1. */
  index: Schema.Int,
  description: Schema.String,
  kind: Schema.String,
  /** The file and line that declared it. */
  declaredAt: Schema.optionalKey(Schema.String),
  key: Schema.String,
  verdict: Schema.TaggedUnion({ Hit: {}, Miss: { reason: MissReason } })
})

/**
 * The type of {@link PlannedStep}.
 *
 * @category models
 * @since 0.1.0
 */
export type PlannedStep = typeof PlannedStep.Type

/**
 * A plan: what a build would do. Prints as text and encodes to JSON.
 *
 * @category models
 * @since 0.1.0
 */
export class Plan extends Schema.Class<Plan>("effect-lightbox/Plan")({
  snapshot: Schema.String,
  image: Schema.String,
  /** Digest of the image's manifest. Absent if the image is not cached. */
  imageDigest: Schema.optionalKey(Schema.String),
  /** Identifies the final result. */
  key: Schema.String,
  /** `true`: the build would not boot anything. */
  isCached: Schema.Boolean,
  /** `true`: the launch defaults differ from those of the name's current generation, so the build adds a generation. */
  changesDefaults: Schema.Boolean,
  steps: Schema.Array(PlannedStep),
  /** How the home's file system copies disks. With reflinks, storing a result is free; else it copies all allocated bytes. */
  copies: Schema.Literals(["reflink", "full", "unknown"])
}) {
  override toString(): string {
    return format(this)
  }
  [NodeInspectSymbol](): string {
    return format(this)
  }
}

/**
 * Formats a plan as text, one line per step.
 *
 * @category formatting
 * @since 0.1.0
 */
export const format = (plan: Plan): string =>
  [
    `${plan.snapshot} from ${plan.image}${plan.imageDigest === undefined ? "" : ` (${shorten(plan.imageDigest)})`}`,
    ...plan.steps.map(
      ({ description, index, verdict }) =>
        `${String(index).padStart(4)}  ${verdict._tag === "Hit" ? "cached" : "run   "}  ${description}${
          verdict._tag === "Hit" ? "" : `  <- ${formatReason(verdict.reason)}`
        }`
    ),
    plan.isCached
      ? plan.changesDefaults
        ? "No steps to run: only the launch defaults change."
        : "Nothing to do."
      : `${plan.steps.filter(({ verdict }) => verdict._tag === "Miss").length} of ${plan.steps.length} steps to run.`,
    ...(plan.isCached ? [] : [formatCopies(plan.copies)])
  ].join("\n")

const formatCopies = (copies: Plan["copies"]): string => {
  switch (copies) {
    case "reflink":
      return "Keeping a result costs next to nothing here: copies share disk blocks."
    case "full":
      return "Keeping a result copies its whole disk: `lightbox doctor` measures the cost per MiB."
    case "unknown":
      return "It is not known whether copies share disk blocks here."
  }
}

/**
 * Formats a reason as a phrase.
 *
 * @category formatting
 * @since 0.1.0
 */
export const formatReason = (reason: MissReason): string => {
  switch (reason._tag) {
    case "NeverBuilt":
      return "never built"
    case "BaseUnknown":
      return `the image ${reason.image} is not in the cache`
    case "BaseChanged":
      return `the base image changed from ${shorten(reason.was)} to ${shorten(reason.now)}`
    case "ArgumentsChanged":
      return `was ${JSON.stringify(reason.was)}, is ${JSON.stringify(reason.now)}`
    case "EnvironmentChanged":
      return `environment changed: ${reason.variables.map(({ name, now, was }) => `${name} (was ${JSON.stringify(was)}, is ${JSON.stringify(now)})`).join(", ")}`
    case "FilesChanged":
      return reason.files.length === 0
        ? "files changed"
        : `files changed: ${list(reason.files.map(({ path }) => path))}`
    case "EarlierChanged":
      return `step ${reason.index} runs`
    case "NotKept":
      return "unchanged, but not kept"
    case "Forced":
      return "forced"
    case "Evicted":
      return `pruned at ${DateTime.formatIso(reason.at)}`
    case "Damaged":
      return `damaged: ${reason.problem}`
    case "BuilderChanged":
      return `built by builder version ${reason.was}, now ${reason.now}`
  }
}

const list = (items: ReadonlyArray<string>): string =>
  items.length <= 5 ? items.join(", ") : `${items.slice(0, 5).join(", ")} and ${items.length - 5} more`

const shorten = (digest: string): string => digest.replace(/^(sha256:[0-9a-f]{12})[0-9a-f]+$/, "$1")
