/** The launch defaults of a snapshot that is to be booted. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Ownership from "../../Ownership.ts"
import type { BootableSnapshot } from "../../Sandbox.ts"
import * as SandboxConfig from "../../SandboxConfig.ts"
import { isEntryName } from "../config/schemas.ts"
import { decoder } from "../config/validation.ts"
import { currentOf, recordIfUnderstood } from "../store/links.ts"
import { make as makeStore } from "../store/store.ts"

export const isBootable = (snapshot: unknown): snapshot is BootableSnapshot =>
  Predicate.hasProperty(snapshot, "path") && Predicate.isString(snapshot.path)

/** Checks the defaults that a program passes with a snapshot. */
export const check = (
  method: string,
  defaults: SandboxConfig.LaunchDefaults | undefined
): Effect.Effect<SandboxConfig.LaunchDefaults, LightboxError> =>
  defaults === undefined
    ? Effect.succeed({})
    : decoder(SandboxConfig.LaunchDefaults, method, "snapshot.defaults")(defaults)

/**
 * Reads the defaults of the generation that a name points to. A path, a snapshot of
 * another tool, and a name whose record cannot be read have none.
 */
export const read = Effect.fnUntraced(function* (
  name: string
): Effect.fn.Return<SandboxConfig.LaunchDefaults, LightboxError, Services> {
  const driver = yield* Microsandbox.Microsandbox
  if (!driver.capabilities.snapshots || !isEntryName(name)) return {}
  const artifact = yield* driver.readSnapshotLink(name)
  if (artifact === undefined) return {}
  const record = yield* recordIfUnderstood(makeStore(driver, yield* Ownership.Ownership), name)
  const current = currentOf(record, artifact)
  if (current === undefined) yield* Effect.logWarning(`The launch defaults of snapshot "${name}" cannot be read`)
  return current?.defaults ?? {}
})
