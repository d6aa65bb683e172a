import * as Duration from "effect/Duration"

/** Whole milliseconds of a duration. */
export const millis = (duration: Duration.Input): number => Math.round(Duration.toMillis(duration))
