/** Searches a disk or the memory of a machine for secrets before it is kept. */
import * as Effect from "effect/Effect"
import { LightboxError, SecretLeaked } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import * as Secrets from "../definition/secrets.ts"
import type { Driver } from "./context.ts"

const failIfFound = Effect.fnUntraced(function* (
  search: (needles: ReadonlyArray<Uint8Array>) => Effect.Effect<ReadonlyArray<boolean>, LightboxError>,
  secrets: ReadonlyArray<Secrets.SecretValue>,
  method: string,
  where: Pick<SecretLeaked, "place"> = {}
): Effect.fn.Return<void, LightboxError> {
  const searched = Secrets.searched(secrets)
  if (searched.length === 0) return
  const found = yield* search(searched.map(({ value }) => new TextEncoder().encode(value)))
  const leaked = searched.find((_, index) => found[index] === true)
  if (leaked !== undefined) {
    return yield* new LightboxError({ method, reason: new SecretLeaked({ secret: leaked.name, ...where }) })
  }
})

/** Fails if a secret, or a line of one, is anywhere on the disk of a sandbox. */
export const searchForSecrets = (
  driver: Driver,
  sandbox: Microsandbox.SandboxRef,
  secrets: ReadonlyArray<Secrets.SecretValue>,
  method: string
): Effect.Effect<void, LightboxError> =>
  failIfFound((needles) => driver.searchSandbox(sandbox, needles), secrets, method)

/** Fails if a secret, or a line of one, is anywhere in the memory of a snapshot. */
export const searchMemoryForSecrets = (
  memory: Microsandbox.MemoryOperations,
  snapshot: string,
  secrets: ReadonlyArray<Secrets.SecretValue>,
  method: string
): Effect.Effect<void, LightboxError> =>
  failIfFound((needles) => memory.searchMemory(snapshot, needles), secrets, method, { place: "memory" })
