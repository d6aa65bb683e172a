/** Volumes of the local driver. */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { InUse, LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type * as Ownership from "../../../Ownership.ts"
import { generate } from "../../ownership/labels.ts"
import * as Lock from "../../ownership/lock.ts"
import { locksFolder } from "../../ownership/files.ts"
import { call, commit } from "../sdk/calls.ts"
import { date, listSandboxes } from "../sdk/sandboxes.ts"
import { fromMebibytes, toMebibytes } from "../sdk/sizes.ts"
import type { Volume } from "../sdk/surface.ts"
import type { VolumePart } from "../parts.ts"
import { hostFile } from "../snapshotLinks.ts"
import * as VolumeFolder from "../volumeFolder.ts"
import { type DriverContext, takingTurns } from "./context.ts"

const volumeInfo = (home: string, volume: Volume): Microsandbox.VolumeInfo => ({
  name: volume.name,
  kind: volume.kind === "disk" ? "disk" : "directory",
  quota:
    volume.kind === "disk" && volume.capacityBytes !== null
      ? volume.capacityBytes
      : volume.quotaMib === null
        ? undefined
        : fromMebibytes(volume.quotaMib),
  path: Path.join(home, "volumes", volume.name, ...(volume.kind === "disk" ? ["disk.raw"] : [])),
  labels: Object.fromEntries(volume.labels),
  createdAt: date(volume.createdAt)
})

export const volumes = (context: DriverContext): VolumePart => {
  const { home, sdk } = context
  const getVolume = Effect.fn("Microsandbox.getVolume")((name: string) =>
    Effect.map(
      call("Microsandbox.getVolume", { volume: name }, () => sdk.Volume.get(name)),
      (volume) => volumeInfo(home, volume)
    )
  )
  const remove = (name: string) => call("Microsandbox.removeVolume", { volume: name }, () => sdk.Volume.remove(name))
  /** What a creation or removal leaves that was cut short. */
  const removeFolder = (name: string) => {
    const folder = VolumeFolder.of(home, name)
    return folder === undefined
      ? Effect.void
      : hostFile("Microsandbox.removeVolume", folder, () => Fs.rm(folder, { recursive: true, force: true }))
  }

  return {
    createVolume: Effect.fn("Microsandbox.createVolume")(function* ({ kind, labels, name, quota }) {
      return yield* commit({
        method: "Microsandbox.createVolume",
        subject: { volume: name },
        run: () => {
          const builder = sdk.Volume.builder(name)
          if (kind === "disk") {
            builder.disk()
            if (quota !== undefined) builder.size(toMebibytes(quota))
          } else {
            builder.directory()
            if (quota !== undefined) builder.quota(toMebibytes(quota))
          }
          for (const [key, value] of Object.entries(labels ?? {})) builder.label(key, value)
          return builder.create()
        },
        describe: () => getVolume(name),
        undo: () => Effect.ignore(remove(name))
      }).pipe(noting(context, name), takingTurns(context.volumes, [name]))
    }),
    getVolume,
    listVolumes: Effect.fn("Microsandbox.listVolumes")(function* () {
      const all = yield* call("Microsandbox.listVolumes", {}, () => sdk.Volume.list())
      return all.map((volume) => volumeInfo(home, volume))
    }),
    removeVolume: Effect.fn("Microsandbox.removeVolume")((name) =>
      remove(name).pipe(
        tellingUsers(context),
        Effect.catchReason("LightboxError", "NotFound", () => removeFolder(name)),
        noting(context, name),
        takingTurns(context.volumes, [name])
      )
    )
  }
}

/** Lets a sweep find the folder that the runtime leaves if this process is killed meanwhile. */
const noting =
  ({ home, ownership }: DriverContext, name: string) =>
  <A>(change: Effect.Effect<A, LightboxError>): Effect.Effect<A, LightboxError> =>
    Effect.gen(function* () {
      const note: Ownership.Note = { kind: "volume", token: yield* generate, name }
      yield* Lock.acquire(locksFolder(home), VolumeFolder.lock(name)).pipe(
        Effect.andThen(Effect.acquireRelease(ownership.note(note), () => ownership.forget(note))),
        // A removal frees space, and a creation fails by itself.
        Effect.catchReason("LightboxError", "NoSpace", () => Effect.void)
      )
      return yield* change
    }).pipe(Effect.scoped)

/** Names the sandbox that uses a volume, as the runtime does not for disks. */
export const tellingUsers =
  ({ sdk }: DriverContext) =>
  <A>(effect: Effect.Effect<A, LightboxError>): Effect.Effect<A, LightboxError> =>
    Effect.catchReason(effect, "LightboxError", "InUse", (reason, error) =>
      reason.resource !== "volume" || reason.usedBy.length > 0
        ? Effect.fail(error)
        : Effect.flatMap(
            // Finding the sandbox is best effort.
            Effect.orElseSucceed(listSandboxes(sdk, undefined), () => []),
            (all) => {
              const { cause, name: volume, resource } = reason
              const usedBy = all.flatMap(({ name, status, volumes }) =>
                status === "running" && volumes.includes(volume) ? [name] : []
              )
              return Effect.fail(
                new LightboxError({
                  method: error.method,
                  reason: new InUse({ resource, name: volume, usedBy, cause })
                })
              )
            }
          )
    )
