/**
 * What a build would do, and why.
 *
 * A plan is computed from the definition, the digest of its base image, and what
 * the store holds; nothing is booted for it. It prints as a readable text and
 * encodes as JSON.
 *
 * **Example** (Showing what a change costs)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Plan, Snapshot } from "effect-lightbox"
 *
 * export const show = Snapshot.plan(Snapshot.make("tools", "alpine")).pipe(
 *   Effect.flatMap((plan) => Console.log(Plan.format(plan)))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"

const change = { was: Schema.String, now: Schema.String }

/**
 * Why a step has to run.
 *
 * **Details**
 *
 * - `NeverBuilt`: nothing like it was built here.
 * - `BaseUnknown`: the base image is not in the local cache; pulling it tells.
 * - `BaseChanged`: the digest of the base image differs from the last build's.
 * - `ArgumentsChanged`, `EnvironmentChanged`, `FilesChanged`: what differs from
 *   the last build of this definition.
 * - `EarlierChanged`: a step before it has to run.
 * - `NotKept`: it has not changed, but its result was not kept, and something
 *   after it has to run.
 * - `Forced`: asked for, by the step or by the build.
 * - `Evicted`: its result was pruned, at that time.
 * - `Damaged`: its result is there but can not be used.
 * - `BuilderChanged`: a version of the library made it that built differently.
 *
 * **Example** (Finding out which files changed)
 *
 * ```ts
 * import type { Plan } from "effect-lightbox"
 *
 * export const files = (reason: Plan.MissReason): ReadonlyArray<string> =>
 *   reason._tag === "FilesChanged" ? reason.files.map((file) => file.path) : []
 * ```
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
 * **Example** (Telling whether the base moved)
 *
 * ```ts
 * import type { Plan } from "effect-lightbox"
 *
 * export const isBase = (reason: Plan.MissReason): boolean => reason._tag === "BaseChanged"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type MissReason = typeof MissReason.Type

/**
 * The verdict on one step. `key` identifies its result.
 *
 * **Example** (Listing what will run)
 *
 * ```ts
 * import type { Plan } from "effect-lightbox"
 *
 * export const willRun = (plan: Plan.Plan): ReadonlyArray<string> =>
 *   plan.steps.filter((step) => step.verdict._tag === "Miss").map((step) => step.description)
 * ```
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
 * **Example** (Showing one step)
 *
 * ```ts
 * import type { Plan } from "effect-lightbox"
 *
 * export const show = (step: Plan.PlannedStep): string => `${step.index} ${step.description} ${step.verdict._tag}`
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type PlannedStep = typeof PlannedStep.Type

/**
 * The schema of plans; encodes to JSON.
 *
 * **Example** (Encoding)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Plan } from "effect-lightbox"
 *
 * export const toJson = Schema.encodeEffect(Schema.toCodecJson(Plan.Plan))
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const Plan = Schema.Struct({
  snapshot: Schema.String,
  image: Schema.String,
  /** Digest of the image's manifest; absent while the image is not in the cache. */
  imageDigest: Schema.optionalKey(Schema.String),
  /** Identifies the result of the whole build. */
  key: Schema.String,
  /** Whether the build would boot nothing. */
  isCached: Schema.Boolean,
  steps: Schema.Array(PlannedStep),
  /** How the home directory copies disks: with reflinks a capture costs nothing, without it copies what is allocated. */
  copies: Schema.Literals(["reflink", "full", "unknown"])
})

/**
 * A plan.
 *
 * **Example** (Failing a pipeline when something would be built)
 *
 * ```ts
 * import type { Plan } from "effect-lightbox"
 *
 * export const isUpToDate = (plan: Plan.Plan): boolean => plan.isCached
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Plan = typeof Plan.Type

/**
 * A plan as a text of several lines.
 *
 * **Example** (Printing)
 *
 * ```ts
 * import { Plan } from "effect-lightbox"
 *
 * export const print = (plan: Plan.Plan) => console.log(Plan.format(plan))
 * ```
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
      ? "Nothing to do."
      : `${plan.steps.filter(({ verdict }) => verdict._tag === "Miss").length} of ${plan.steps.length} steps to run.`,
    ...(plan.isCached ? [] : [formatCopies(plan.copies)])
  ].join("\n")

const formatCopies = (copies: Plan["copies"]): string => {
  switch (copies) {
    case "reflink":
      return "Keeping a result costs next to nothing here: copies share what is on the disk."
    case "full":
      return "Keeping a result copies all that is on its disk: `lightbox doctor` says what a MiB costs."
    case "unknown":
      return "Whether copies share what is on the disk here is not known."
  }
}

/**
 * A reason as a phrase.
 *
 * **Example** (Explaining)
 *
 * ```ts
 * import { Plan } from "effect-lightbox"
 *
 * export const text = Plan.formatReason({ _tag: "BaseChanged", was: "sha256:1", now: "sha256:2" })
 * ```
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
      return `files changed: ${list(reason.files.map(({ path }) => path))}`
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
      return `built by version ${reason.was} of the builder, this is ${reason.now}`
  }
}

const list = (items: ReadonlyArray<string>): string =>
  items.length <= 5 ? items.join(", ") : `${items.slice(0, 5).join(", ")} and ${items.length - 5} more`

const shorten = (digest: string): string => digest.replace(/^(sha256:[0-9a-f]{12})[0-9a-f]+$/, "$1")
