/** Errors of the twin without the name of the operation, which the driver adds. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { fileFailure } from "../../host/fileFailure.ts"
import { isLightboxError, LightboxError, type Reason } from "../../../LightboxError.ts"

export type Failure = LightboxError | Reason

/** Operations of a driver, with errors that do not name them yet. */
export type Unnamed<Part> = {
  readonly [Name in keyof Part]: Part[Name] extends (
    ...args: infer Args
  ) => Effect.Effect<infer A, LightboxError, infer R>
    ? (...args: Args) => Effect.Effect<A, Failure, R>
    : never
}

export const toError = (method: string, failure: Failure): LightboxError =>
  isLightboxError(failure) ? failure : new LightboxError({ method, reason: failure })

/** Names the operation in the errors of an effect, and in what the files of the home throw, such as on a full disk. */
export const within = <A, R>(
  method: string,
  effect: Effect.Effect<A, Failure, R>
): Effect.Effect<A, LightboxError, R> =>
  effect.pipe(
    Effect.mapError((failure) => toError(method, failure)),
    Effect.catchDefect((defect) =>
      Predicate.hasProperty(defect, "syscall")
        ? Effect.fail(fileFailure(method, "file", "path" in defect ? String(defect.path) : "the home")(defect))
        : Effect.die(defect)
    )
  )
