/**
 * Events of a build.
 *
 * Every event has the time and the id of its build. Listeners, such as a terminal,
 * a JSON log or a user interface, never slow a build down.
 *
 * **Example** (Logging steps as they finish)
 *
 * ```ts
 * import { Duration, Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const build = Snapshot.build(Snapshot.make("tools", "alpine"), {
 *   onEvent: (event) =>
 *     event._tag === "StepFinished"
 *       ? Effect.logInfo(`${event.description}: ${Duration.format(event.duration)}`)
 *       : Effect.void
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { DurationFromWholeMillis } from "./internal/config/schemas.ts"

const common = {
  /** Identifies the build. */
  buildId: Schema.String,
  /** The event's position in its build, from 0. */
  sequence: Schema.Int,
  /** The definition's name. */
  snapshot: Schema.String,
  /** In JSON: milliseconds since 1970. */
  at: Schema.DateTimeUtcFromMillis
}

const step = {
  /** The step's position, from 1. */
  index: Schema.Int,
  description: Schema.String
}

const event = <const Tag extends string, const Fields extends Schema.Struct.Fields>(tag: Tag, fields: Fields) =>
  Schema.TaggedStruct(tag, { ...common, ...fields })

/** An event with a `duration`, which is `durationMillis` in JSON. */
const timed = <const Tag extends string, const Fields extends Schema.Struct.Fields>(tag: Tag, fields: Fields) =>
  Schema.TaggedStruct(tag, { ...common, ...fields, duration: DurationFromWholeMillis }).pipe(
    Schema.encodeKeys({ duration: "durationMillis" })
  )

/**
 * The schema of build events; encodes to JSON, with `at` in milliseconds and
 * `duration` as `durationMillis`.
 *
 * `Planned` comes first, `Finished` or `Failed` last. `Waiting` means that another
 * build, in any process, is making the same result; its events follow with their
 * own `buildId` and `sequence`. Output is decoded as UTF-8 and redacted.
 *
 * **Example** (Writing JSON lines)
 *
 * ```ts
 * import { Console, Effect, Schema } from "effect"
 * import { BuildEvent } from "effect-lightbox"
 *
 * const encode = Schema.encodeEffect(Schema.fromJsonString(Schema.toCodecJson(BuildEvent.BuildEvent)))
 *
 * export const onEvent = (event: BuildEvent.BuildEvent) =>
 *   Effect.flatMap(Effect.orDie(encode(event)), Console.log)
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const BuildEvent = Schema.Union([
  event("Planned", {
    steps: Schema.Int,
    hits: Schema.Int,
    /** The build that needs this one, such as that of a later stage of a Dockerfile. */
    parent: Schema.optionalKey(Schema.String)
  }),
  event("Waiting", { key: Schema.String }),
  event("Pulling", {
    image: Schema.String,
    phase: Schema.Literals(["Resolving", "Resolved", "Downloading", "Unpacking", "Pulled"]),
    layer: Schema.optionalKey(Schema.Int),
    /** Bytes of the layer. */
    done: Schema.optionalKey(Schema.Finite),
    /** Bytes of the layer, or of the whole image if there is no `layer`. */
    total: Schema.optionalKey(Schema.Finite)
  }),
  event("Booting", { builder: Schema.String, from: Schema.String }),
  timed("Booted", { builder: Schema.String }),
  event("StepCached", step),
  event("StepStarted", { ...step, attempt: Schema.Int }),
  event("StepOutput", { ...step, stream: Schema.Literals(["stdout", "stderr"]), text: Schema.String }),
  event("StepAttemptFailed", {
    ...step,
    attempt: Schema.Int,
    problem: Schema.String,
    /** The file, line and column of the step in the program. */
    declaredAt: Schema.optionalKey(Schema.String)
  }),
  timed("StepFinished", { ...step, attempt: Schema.Int }),
  /** The disk with this many steps is being stored. */
  event("Checkpointing", { index: Schema.Int, key: Schema.String }),
  timed("Checkpointed", {
    index: Schema.Int,
    key: Schema.String,
    /** Bytes that the disk occupies on the host, where known. */
    size: Schema.optionalKey(Schema.Finite)
  }),
  event("Committed", { generation: Schema.Int, digest: Schema.String }),
  timed("Finished", { stepsRun: Schema.Int, stepsReused: Schema.Int }),
  timed("Failed", { problem: Schema.String })
]).pipe(Schema.toTaggedUnion("_tag"))

/**
 * An event of a build.
 *
 * @category models
 * @since 0.1.0
 */
export type BuildEvent = typeof BuildEvent.Type
