/**
 * What a host gives to others: snapshots as a registry has them, made when they are first asked for.
 *
 * Packs have to be compressed before anybody knows their digests, so they are kept in the home, and given to all who ask
 * within a day. Generations share their packs there, as in a registry.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import { noteForScope } from "../ownership/labels.ts"
import * as Folder from "../registry/folder.ts"
import type * as Repository from "../registry/repository.ts"
import * as Artifact from "./artifact.ts"
import * as Chunks from "./chunks.ts"
import { exportLock, folderOf } from "./exportFolder.ts"
import * as Names from "./names.ts"
import * as Push from "./push.ts"
import type { Store } from "./store.ts"

const method = "Snapshot.pull"

/** Makes the manifest of a snapshot, whose parts are then in the folder. Requests for the same snapshot make it once. */
export const manifestOf = (
  driver: Microsandbox.Microsandbox["Service"],
  store: Store,
  reference: string
): Effect.Effect<Buffer, LightboxError | Artifact.Problem> =>
  Effect.scoped(
    Effect.gen(function* () {
      const found = yield* Names.find(driver, store, method, reference)
      yield* noteForScope(store.ownership, "use", found.info.name)
      const described = yield* Push.describe(driver, store, found)
      const folder = Folder.make(folderOf(driver.home))
      // The same disk with the same records: a disk that was replaced has another digest.
      const tag = Chunks.digestOf(Buffer.concat([described.config, Buffer.from(found.info.digest)]))
      const complete = completeManifest(folder, tag)
      const known = yield* complete
      if (known !== undefined) return known
      yield* store.lock(exportLock)
      const made = yield* complete
      if (made !== undefined) return made
      yield* driver.verifySnapshot(found.info.name)
      yield* Push.send(folder, described, { tag, reference, onProgress: undefined })
      return yield* folder.getManifest(tag)
    })
  )

/** A manifest with all of its parts, which are used from now on. */
const completeManifest = Effect.fnUntraced(function* (
  folder: Repository.Repository,
  tag: string
): Effect.fn.Return<Buffer | undefined, Repository.Failure> {
  const manifest = Option.getOrUndefined(yield* Effect.option(folder.getManifest(tag)))
  const parts = manifest && Artifact.partsOf(manifest)
  if (manifest === undefined || parts === undefined) return undefined
  for (const digest of [`sha256:${Chunks.digestOf(manifest)}`, ...parts]) {
    if (!(yield* folder.hasBlob(digest))) return undefined
  }
  return manifest
})
