/** A place for snapshots in a folder of this machine. */
import * as Effect from "effect/Effect"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import { makeFolder, unlessMissing } from "../host/durable.ts"
import { fileFailure } from "../host/fileFailure.ts"
import type { Problem } from "./client.ts"
import type { Repository } from "./repository.ts"

/** Digests of SHA-256, and the tags that {@link make} is given. */
const isEntry = (name: string): boolean => /^[0-9a-f]{64}$/.test(name)

const hexOf = (digest: string): string => digest.replace(/^sha256:/, "")

/** The file of a blob or a manifest. `undefined`: nothing can have the digest. */
const blobPath = (folder: string, digest: string): string | undefined =>
  isEntry(hexOf(digest)) ? Path.join(folder, "blobs", hexOf(digest)) : undefined

/** Says that a file is used. Returns its size, or `undefined` if it does not exist. */
const touch = async (path: string): Promise<number | undefined> => {
  const stats = await unlessMissing(Fs.stat(path))
  const now = new Date()
  // It may be removed meanwhile.
  const isThere = (await unlessMissing(Fs.utimes(path, now, now).then(() => true))) === true
  return isThere ? stats?.size : undefined
}

/** Finds the file of a blob or a manifest, and says that it is used. */
export const find = async (
  folder: string,
  digest: string
): Promise<{ readonly path: string; readonly size: number } | undefined> => {
  const path = blobPath(folder, digest)
  const size = path === undefined ? undefined : await touch(path)
  return path === undefined || size === undefined ? undefined : { path, size }
}

/** The place in a folder. Manifests are blobs, too; a tag is a file with a manifest. */
export const make = (folder: string): Repository => {
  const attempt = <A>(path: string, run: () => Promise<A>): Effect.Effect<A, LightboxError> =>
    Effect.tryPromise({ try: run, catch: fileFailure("Snapshot.push", "write", path) })
  const tags = Path.join(folder, "tags")
  /** Writes a file that is complete from the start. */
  const put = (path: string, bytes: Buffer) =>
    attempt(path, async () => {
      await makeFolder(Path.dirname(path))
      const partial = `${path}.${Crypto.randomBytes(6).toString("hex")}`
      try {
        await Fs.writeFile(partial, bytes, { mode: 0o600 })
        await Fs.rename(partial, path)
      } catch (cause) {
        await Fs.rm(partial, { force: true })
        throw cause
      }
    })
  const blob = (digest: string) => Path.join(folder, "blobs", hexOf(digest))
  const read = (path: string): Effect.Effect<Buffer, LightboxError | Problem> =>
    Effect.filterOrElse(
      attempt(path, async () =>
        (await touch(path)) === undefined ? undefined : await unlessMissing(Fs.readFile(path))
      ),
      (bytes) => bytes !== undefined,
      () => Effect.fail<Problem>({ kind: "NotFound", problem: `${path} does not exist` })
    )
  const hasBlob = (digest: string) =>
    Effect.map(
      attempt(folder, () => find(folder, digest)),
      (found) => found !== undefined
    )
  return {
    subjectOf: (version) => Path.join(tags, version),
    getManifest: (version) => read(version.includes(":") ? blob(version) : Path.join(tags, version)),
    getBlob: ({ digest }, range) =>
      Effect.map(read(blob(digest)), (bytes) => (range === undefined ? bytes : bytes.subarray(range.from, range.to))),
    hasBlob,
    putBlob: (bytes, digest) =>
      Effect.flatMap(hasBlob(digest), (isThere) =>
        isThere ? Effect.succeed(0) : Effect.as(put(blob(digest), bytes), bytes.length)
      ),
    putManifest: (version, manifest) =>
      Effect.andThen(put(blob(Crypto.hash("sha256", manifest)), manifest), put(Path.join(tags, version), manifest)),
    tags: attempt(tags, async () => {
      const names = ((await unlessMissing(Fs.readdir(tags))) ?? []).filter(isEntry)
      const times = await Promise.all(
        names.map(async (name) => (await unlessMissing(Fs.stat(Path.join(tags, name))))?.mtimeMs ?? 0)
      )
      return names
        .map((name, index) => ({ name, time: times[index] ?? 0 }))
        .toSorted((a, b) => a.time - b.time)
        .map(({ name }) => name)
    })
  }
}
