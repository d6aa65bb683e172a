/**
 * What happens while a snapshot is built, as one typed stream of events.
 *
 * Every event says which build it belongs to and when it happened. Renderers,
 * NDJSON logs and user interfaces are consumers of this stream; none of them can
 * slow a build down.
 *
 * **Example** (Logging steps as they finish)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const build = Snapshot.build(Snapshot.make("tools", "alpine"), {
 *   onEvent: (event) =>
 *     event._tag === "StepFinished" ? Effect.logInfo(`${event.description}: ${event.durationMillis} ms`) : Effect.void
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

const common = {
  /** Which build: the same for all its events, different for every build. */
  buildId: Schema.String,
  /** Position among the events of its build, from 0. */
  sequence: Schema.Int,
  /** The definition's name. */
  snapshot: Schema.String,
  /** Milliseconds since 1970. */
  at: Schema.Finite
}

const step = {
  /** Position of the step, from 1. */
  index: Schema.Int,
  description: Schema.String
}

/**
 * The schema of all events; encodes to JSON.
 *
 * **Details**
 *
 * `Planned` comes first and `Finished` or `Failed` last. `Waiting` says that
 * another build, here or in another process, is making the same; its later
 * events follow under its own `buildId`, with the `sequence` they have there.
 * Output is decoded as UTF-8 and redacted.
 *
 * **Example** (Writing NDJSON)
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
export const BuildEvent = Schema.TaggedUnion({
  Planned: { ...common, steps: Schema.Int, hits: Schema.Int },
  Waiting: { ...common, key: Schema.String },
  Pulling: {
    ...common,
    image: Schema.String,
    phase: Schema.Literals(["Resolving", "Resolved", "Downloading", "Unpacking", "Pulled"]),
    layer: Schema.optionalKey(Schema.Int),
    /** Bytes of the layer. */
    done: Schema.optionalKey(Schema.Finite),
    /** Bytes of the layer, or of the whole image where none is named. */
    total: Schema.optionalKey(Schema.Finite)
  },
  Booting: { ...common, builder: Schema.String, from: Schema.String },
  Booted: { ...common, builder: Schema.String, durationMillis: Schema.Finite },
  StepCached: { ...common, ...step },
  StepStarted: { ...common, ...step, attempt: Schema.Int },
  StepOutput: { ...common, ...step, stream: Schema.Literals(["stdout", "stderr"]), text: Schema.String },
  StepAttemptFailed: { ...common, ...step, attempt: Schema.Int, problem: Schema.String },
  StepFinished: { ...common, ...step, attempt: Schema.Int, durationMillis: Schema.Finite },
  Checkpointed: { ...common, index: Schema.Int, key: Schema.String, durationMillis: Schema.Finite },
  Committed: { ...common, generation: Schema.Int, digest: Schema.String },
  Finished: { ...common, durationMillis: Schema.Finite, stepsRun: Schema.Int, stepsReused: Schema.Int },
  Failed: { ...common, durationMillis: Schema.Finite, problem: Schema.String }
})

/**
 * An event of a build.
 *
 * **Example** (Counting what was reused)
 *
 * ```ts
 * import type { BuildEvent } from "effect-lightbox"
 *
 * export const reused = (events: ReadonlyArray<BuildEvent.BuildEvent>): number =>
 *   events.filter((event) => event._tag === "StepCached").length
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type BuildEvent = typeof BuildEvent.Type
