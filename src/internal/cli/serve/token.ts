/** Tokens of servers. */
import * as Effect from "effect/Effect"
import * as Crypto from "node:crypto"
import type { LightboxError } from "../../../LightboxError.ts"
import { invalid } from "../../config/validation.ts"

const least = 16

/** The token of the environment, which nobody has to print, or a new one. */
export const orNew = (
  method: string,
  variable: string
): Effect.Effect<{ readonly value: string; readonly isNew: boolean }, LightboxError> =>
  Effect.gen(function* () {
    const given = process.env[variable]
    if (given === undefined) return { value: Crypto.randomBytes(24).toString("base64url"), isNew: true }
    if (given.length >= least && /^[!-~]+$/.test(given)) return { value: given, isNew: false }
    return yield* invalid(method, variable, `expected at least ${least} characters of ASCII, without spaces`)
  })
