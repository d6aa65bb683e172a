/** Converts the agent's times, in whole seconds since 1970. */
import * as DateTime from "effect/DateTime"

export const fromSeconds = (seconds: number | undefined): DateTime.Utc | undefined =>
  seconds === undefined ? undefined : DateTime.makeUnsafe(seconds * 1000)

export const toSeconds = (time: DateTime.Utc | undefined): number | undefined =>
  time === undefined ? undefined : Math.floor(time.epochMilliseconds / 1000)
