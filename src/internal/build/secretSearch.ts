/** Searches a disk for secrets before it is kept. */
import * as Effect from "effect/Effect"
import { LightboxError, SecretLeaked } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type * as Secrets from "../definition/secrets.ts"
import { type Driver, method } from "./context.ts"

/** Shorter values are found by chance. */
const shortestSearched = 4

/** Fails if the value of a secret is anywhere on the disk of a sandbox. */
export const searchForSecrets = Effect.fnUntraced(function* (
  driver: Driver,
  sandbox: Microsandbox.SandboxRef,
  secrets: ReadonlyArray<Secrets.SecretValue>
): Effect.fn.Return<void, LightboxError> {
  const searched = secrets.filter(({ value }) => value.length >= shortestSearched)
  if (searched.length === 0) return
  const found = yield* driver.searchSandbox(
    sandbox,
    searched.map(({ value }) => new TextEncoder().encode(value))
  )
  const leaked = searched.find((_, index) => found[index] === true)
  if (leaked !== undefined) {
    return yield* new LightboxError({ method, reason: new SecretLeaked({ secret: leaked.name }) })
  }
})
