/** Names of snapshots: symbolic links in a driver's snapshot folder. */
import * as Effect from "effect/Effect"
import type { Dirent } from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { AlreadyExists, LightboxError, NotFound } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import { requireEntryName } from "../config/validation.ts"
import { fileFailure } from "../host/fileFailure.ts"
import { sync, unlessMissing } from "../host/durable.ts"
import { isCode } from "../host/socket.ts"

type Driver = Microsandbox.Microsandbox["Service"]

export const hostFile = <A>(
  method: string,
  path: string,
  run: (signal: AbortSignal) => Promise<A>
): Effect.Effect<A, LightboxError> => Effect.tryPromise({ try: run, catch: fileFailure(method, "file", path) })

/** Lists a folder of the host; empty if it does not exist. */
export const readFolder = (method: string, folder: string): Effect.Effect<ReadonlyArray<Dirent>, LightboxError> =>
  hostFile(method, folder, async () => (await unlessMissing(Fs.readdir(folder, { withFileTypes: true }))) ?? [])

/** The operations on links. `stage` returns paths on the file system of the folder. */
export const snapshotLinks = (options: {
  readonly folder: string
  readonly stage: Effect.Effect<string, LightboxError>
  readonly getSnapshot: Driver["getSnapshot"]
}): Pick<Driver, "listSnapshotLinks" | "readSnapshotLink" | "linkSnapshot" | "unlinkSnapshot"> => {
  const { folder, getSnapshot, stage } = options
  const at = (name: string) => Path.join(folder, name)
  const entries = (method: string) => readFolder(method, folder)

  /** `undefined` if there is no link of this name. */
  const read = (method: string, link: string) =>
    hostFile(method, at(link), () =>
      Fs.readlink(at(link)).then(
        (target) => Path.basename(target),
        (cause) => (isCode(cause, "ENOENT", "EINVAL", "ENAMETOOLONG") ? undefined : Promise.reject(cause))
      )
    )

  return {
    listSnapshotLinks: Effect.fn("Microsandbox.listSnapshotLinks")(function* () {
      const links: { [link: string]: string } = {}
      for (const entry of yield* entries("Microsandbox.listSnapshotLinks")) {
        if (!entry.isSymbolicLink() || entry.name.startsWith(".")) continue
        const target = yield* read("Microsandbox.listSnapshotLinks", entry.name)
        if (target !== undefined) links[entry.name] = target
      }
      return links
    }),
    readSnapshotLink: Effect.fn("Microsandbox.readSnapshotLink")(function* (link) {
      // A path can identify a snapshot, but is not a name.
      return link.startsWith(".") || Path.basename(link) !== link
        ? undefined
        : yield* read("Microsandbox.readSnapshotLink", link)
    }),
    linkSnapshot: Effect.fn("Microsandbox.linkSnapshot")(function* (link, name) {
      const method = "Microsandbox.linkSnapshot"
      yield* requireEntryName(method, link, "link")
      yield* requireEntryName(method, name)
      const taken = (yield* entries(method)).find((entry) => entry.name === link)
      if (taken !== undefined && !taken.isSymbolicLink()) {
        return yield* new LightboxError({ method, reason: new AlreadyExists({ resource: "snapshot", name: link }) })
      }
      yield* getSnapshot(name)
      const staged = yield* stage
      yield* Effect.uninterruptible(
        hostFile(method, staged, async () => {
          await Fs.symlink(name, staged)
          await Fs.rename(staged, at(link))
          await sync(folder)
        })
      )
    }),
    unlinkSnapshot: Effect.fn("Microsandbox.unlinkSnapshot")(function* (link) {
      const method = "Microsandbox.unlinkSnapshot"
      const entry = (yield* entries(method)).find((entry) => entry.name === link)
      if (entry === undefined || !entry.isSymbolicLink()) {
        return yield* new LightboxError({ method, reason: new NotFound({ resource: "snapshot", name: link }) })
      }
      yield* hostFile(method, at(link), async () => {
        await Fs.unlink(at(link))
        await sync(folder)
      })
    })
  }
}
