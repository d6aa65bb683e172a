/** Searches a disk for secrets before it is kept. */
import * as Effect from "effect/Effect"
import { LightboxError, SecretLeaked } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import * as Secrets from "../definition/secrets.ts"
import type { Driver } from "./context.ts"

/** Fails if a secret, or a line of one, is anywhere on the disk of a sandbox. */
export const searchForSecrets = Effect.fnUntraced(function* (
  driver: Driver,
  sandbox: Microsandbox.SandboxRef,
  secrets: ReadonlyArray<Secrets.SecretValue>,
  method: string
): Effect.fn.Return<void, LightboxError> {
  const searched = Secrets.searched(secrets)
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
