/** Tokens of servers. */
import * as Effect from "effect/Effect"
import * as Crypto from "node:crypto"
import type { LightboxError } from "../../../LightboxError.ts"
import { tokenProblem } from "../../config/schemas.ts"
import { invalid } from "../../config/validation.ts"

/** The token of the environment, which nobody has to print, or a new one. */
export const orNew = (
  method: string,
  variable: string
): Effect.Effect<{ readonly value: string; readonly isNew: boolean }, LightboxError> =>
  Effect.gen(function* () {
    const given = process.env[variable]
    if (given === undefined) return { value: Crypto.randomBytes(24).toString("base64url"), isNew: true }
    const problem = tokenProblem(given)
    return problem === undefined ? { value: given, isNew: false } : yield* invalid(method, variable, problem)
  })
