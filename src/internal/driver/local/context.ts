/** The state of the local driver that its parts share. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as RcMap from "effect/RcMap"
import * as Semaphore from "effect/Semaphore"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import { freeBytes } from "../../host/diskRoom.ts"
import type * as Home from "../../host/home.ts"
import type * as Ownership from "../../../Ownership.ts"
import type { OwnDisks } from "./ownDisks.ts"
import * as NameLocks from "./workaroundNameLocks.ts"
import * as RootDisk from "../rootDisk.ts"

import { call } from "../sdk/calls.ts"
import { instanceOf, mayHoldDisks } from "../sdk/sandboxes.ts"
import type { Machine, SandboxHandle, Surface } from "../sdk/surface.ts"
import { mebibyte } from "../../config/schemas.ts"
import { hostFile } from "../snapshotLinks.ts"

export interface DriverContext {
  readonly sdk: Surface
  readonly home: string
  readonly ownership: Ownership.Ownership["Service"]
  readonly copies: Effect.Effect<Home.Copies>
  readonly disks: OwnDisks
  /**
   * The SDK's objects of sandboxes that this process owns, by id. They are used only to detach, as each has one lock
   * that its commands hold while they run. They are kept because a virtual machine ends when its object is garbage-
   * collected.
   */
  readonly owned: Map<string, Owned>
  /** Serializes boots of the same name. */
  readonly names: Turns
  /**
   * Serializes calls that create sandboxes with volumes or change volumes. The SDK locks its volumes during a creation,
   * and blocks one of its few threads while it waits, which the lock's holder may need.
   */
  readonly volumes: Turns
  readonly bootTimeout: Duration.Duration
  readonly connectTimeout: Duration.Duration
  readonly cpus: number | undefined
  readonly memory: number | undefined
  readonly pullPolicy: "always" | "if-missing" | "never" | undefined
}

interface Owned {
  readonly native: Machine
  /** The native object may hold locks on disks, which only garbage collection releases. */
  readonly holdsLocks: boolean
  readonly instance: string | undefined
}

export const retainNative = (context: DriverContext, native: Machine, handle: SandboxHandle): void => {
  context.owned.set(native.id, {
    native,
    holdsLocks: mayHoldDisks(handle),
    instance: instanceOf(handle)
  })
}

/** Releases the native object of an ended virtual machine. */
export const releaseNative = ({ owned }: DriverContext, { id, name }: Microsandbox.SandboxRef): Effect.Effect<void> =>
  Effect.suspend(() => {
    const found = owned.get(id)
    owned.delete(id)
    return found?.holdsLocks === true
      ? Effect.ignore(call("Microsandbox.removeSandbox", { sandbox: name }, () => found.native.detach()))
      : Effect.void
  })

/** Releases the name of a removed sandbox. */
export const dropName = ({ home }: DriverContext, method: string, name: string): Effect.Effect<void, LightboxError> =>
  hostFile(method, name, () => NameLocks.remove(home, name))

/** Also releases the native object if another sandbox has the name now. */
export const orReleaseNative =
  (context: DriverContext, sandbox: Microsandbox.SandboxRef) =>
  <A>(effect: Effect.Effect<A, LightboxError>): Effect.Effect<A, LightboxError> =>
    Effect.tapError(effect, ({ reason }) =>
      reason._tag === "Replaced" ? releaseNative(context, sandbox) : Effect.void
    )

type Turns = RcMap.RcMap<string, Semaphore.Semaphore>

export const turns = RcMap.make({ lookup: (_name: string) => Semaphore.make(1) })

/** Runs an effect with exclusive use of the names. */
export const takingTurns =
  (turns: Turns, names: ReadonlyArray<string>) =>
  <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    [...new Set(names)]
      .toSorted()
      .reduceRight(
        (inner, name) =>
          Effect.scoped(Effect.flatMap(RcMap.get(turns, name), (turn) => Semaphore.withPermit(turn, inner))),
        effect
      )

/** After one failed write for lack of space, the runtime cannot write again in this process. */
export const leastDisk = 16 * mebibyte

/**
 * Ends and removes a sandbox. On a full disk, its disks are removed first: the runtime needs space to record the end.
 */
export const destroy = async (home: string, handle: SandboxHandle): Promise<void> => {
  if ((await freeBytes(home)) < leastDisk) {
    const instance = instanceOf(handle)
    await Fs.rm(Path.join(home, "sandboxes", handle.name, RootDisk.diskFile), { force: true })
    if (instance !== undefined) await RootDisk.remove(home, instance)
  }
  await handle.destroy({ force: true })
}

/** Removes an archive that was written after an interruption. */
export const removeFile = (method: string, path: string): Effect.Effect<void> =>
  Effect.ignore(hostFile(method, path, () => Fs.rm(path, { force: true })))
