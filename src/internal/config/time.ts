import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"

/** Whole milliseconds of a duration. */
export const millis = (duration: Duration.Input): number => Math.round(Duration.toMillis(duration))

/** A duration that is encoded as whole milliseconds. */
export const DurationFromWholeMillis = Schema.Int.pipe(
  Schema.decodeTo(Schema.Duration, SchemaTransformation.transform({ decode: Duration.millis, encode: millis }))
)
