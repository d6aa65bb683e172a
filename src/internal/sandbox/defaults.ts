/** What a snapshot brings along to a launch: its launch defaults and, if it was captured with its memory, its machine. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Ownership from "../../Ownership.ts"
import type { BootableSnapshot } from "../../Sandbox.ts"
import * as SandboxConfig from "../../SandboxConfig.ts"
import { isEntryName } from "../config/schemas.ts"
import { cpusLabel, memoryLabel } from "../ownership/labels.ts"
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

const numberIn = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text))

/** The machine that was captured with a snapshot, if there is one that the driver can resume. */
export const machineOf = Effect.fnUntraced(function* (
  name: string
): Effect.fn.Return<
  Pick<SandboxConfig.Resources, "cpus" | "memory"> | undefined,
  LightboxError,
  Microsandbox.Microsandbox
> {
  const { capabilities, getSnapshot, memory } = yield* Microsandbox.Microsandbox
  if (memory === undefined || !capabilities.memorySnapshots) return undefined
  const found = yield* getSnapshot(name).pipe(
    // The boot says so.
    Effect.catchReasons("LightboxError", {
      NotFound: () => Effect.undefined,
      SnapshotDamaged: () => Effect.undefined
    })
  )
  if (found?.memory === undefined) return undefined
  const { [cpusLabel]: cpus, [memoryLabel]: size } = found.labels
  return { cpus: numberIn(cpus), memory: numberIn(size) }
})

/** Lays options over the machine that is resumed: it keeps its processors and its memory. */
export const withMachine = <A extends Pick<SandboxConfig.Options, "resources">>(
  options: A,
  { cpus, memory }: Pick<SandboxConfig.Resources, "cpus" | "memory">
): A => {
  const { resources } = options
  return {
    ...options,
    resources: { ...resources, cpus: resources?.cpus ?? cpus, memory: resources?.memory ?? memory }
  }
}
