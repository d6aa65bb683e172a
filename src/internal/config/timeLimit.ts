import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { LightboxError, TimedOut } from "../../LightboxError.ts"
import { millis } from "./schemas.ts"

/** Interrupts an effect after a time limit, if there is one, and fails with `TimedOut`. */
export const timeLimit =
  (method: string, operation: string, limit: Duration.Duration | undefined) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | LightboxError, R> => {
    if (limit === undefined) return effect
    const reason = new TimedOut({ operation, limitMillis: millis(limit) })
    return Effect.timeoutOrElse(effect, {
      duration: limit,
      orElse: () => Effect.fail(new LightboxError({ method, reason }))
    })
  }
