/** Snapshots of the local driver. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { AlreadyExists, LightboxError, NotFound, SnapshotDamaged } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import { isEntryName } from "../../config/schemas.ts"
import { requireEntryName } from "../../config/validation.ts"
import { ifMissing } from "../../host/fileFailure.ts"
import * as RootDisk from "../rootDisk.ts"
import * as Overlays from "./overlays.ts"
import * as RootDisks from "./rootDisks.ts"
import { call, commit, notFoundIsSuccess } from "../sdk/calls.ts"
import type { Snapshot } from "../sdk/surface.ts"
import { makeFolder, sync, unlessMissing } from "../../host/durable.ts"
import { hostFile, readFolder, snapshotLinks } from "../snapshotLinks.ts"
import type { SnapshotPart } from "../parts.ts"
import { type DriverContext, removeFile } from "./context.ts"

/** The sandbox that was captured, if that was done through another. */
const sourceLabel = "lightbox.source"

const allocatedBytes = async (path: string): Promise<number | undefined> => {
  try {
    return (await Fs.stat(Path.join(path, RootDisk.diskFile))).blocks * 512
  } catch {
    return undefined
  }
}

export const snapshotInfo = async (name: string, snapshot: Snapshot): Promise<Microsandbox.SnapshotInfo> => ({
  name,
  digest: snapshot.digest,
  path: snapshot.path,
  image: snapshot.imageRef,
  imageDigest: snapshot.imageManifestDigest,
  size: snapshot.sizeBytes === null ? undefined : Number(snapshot.sizeBytes),
  allocated: await allocatedBytes(snapshot.path),
  ...(snapshot.memory === undefined ? {} : { memory: snapshot.memory }),
  labels: Object.fromEntries(snapshot.labels),
  createdAt: DateTime.makeUnsafe(snapshot.createdAt),
  sourceSandbox: new Map(snapshot.labels).get(sourceLabel) ?? snapshot.sourceSandbox ?? undefined
})

/** Flushes a snapshot, which the SDK does not do on a load. */
const flush = async (path: string): Promise<void> => {
  for (const file of await Fs.readdir(path)) await sync(Path.join(path, file))
  await sync(path)
}

export const snapshots = (context: DriverContext): SnapshotPart => {
  const { home, ownership, sdk } = context
  const folder = Path.join(home, "snapshots")
  const at = (name: string) => Path.join(folder, name)

  const entries = (method: string) => readFolder(method, folder)

  const opened = (method: string) =>
    call(method, { path: folder }, () => sdk.Snapshot.listDir(folder)).pipe(ifMissing([]))

  /** Removals that were cut short leave folders without a description, which do not exist for the SDK. */
  const isFolder = (method: string, name: string) =>
    isEntryName(name)
      ? hostFile(method, at(name), async () => (await unlessMissing(Fs.lstat(at(name))))?.isDirectory() === true)
      : Effect.succeed(false)

  const getSnapshot = Effect.fn("Microsandbox.getSnapshot")((name: string) => {
    const method = "Microsandbox.getSnapshot"
    return call(method, { snapshot: name }, async () =>
      snapshotInfo(Path.basename(name), await sdk.Snapshot.open(name))
    ).pipe(
      Effect.catchReason("LightboxError", "NotFound", (_, error) =>
        Effect.flatMap(isFolder(method, name), (isFolder) =>
          Effect.fail(
            isFolder
              ? new LightboxError({ method, reason: new SnapshotDamaged({ name, problem: "it has no description" }) })
              : error
          )
        )
      )
    )
  })

  const removeSnapshot = Effect.fn("Microsandbox.removeSnapshot")((name: string) => {
    const method = "Microsandbox.removeSnapshot"
    // The SDK does not remove what it cannot open.
    const removeFolder = (_: unknown, error: LightboxError) =>
      Effect.flatMap(isFolder(method, name), (isFolder) =>
        isFolder
          ? hostFile(method, at(name), () => Fs.rm(at(name), { recursive: true, force: true }))
          : Effect.fail(error)
      )
    return requireEntryName(method, name).pipe(
      Effect.andThen(call(method, { snapshot: name }, () => sdk.Snapshot.remove(name, { force: true }))),
      Effect.catchReasons("LightboxError", { NotFound: removeFolder, SnapshotDamaged: removeFolder }),
      notFoundIsSuccess
    )
  })

  const requireFree = Effect.fnUntraced(function* (method: string, name: string) {
    if ((yield* entries(method)).some((entry) => entry.name === name)) {
      return yield* new LightboxError({ method, reason: new AlreadyExists({ resource: "snapshot", name }) })
    }
  })

  const move = (method: string, from: string, name: string) =>
    hostFile(method, at(name), () => Fs.rename(from, at(name)))

  /** The SDK's index records where snapshots were. */
  const reindex = (method: string, name: string) => call(method, { snapshot: name }, () => sdk.Snapshot.reindex())

  /** Moves a folder with the files of a snapshot to where the SDK finds it. */
  const takeOver = (method: string, from: string, name: string) =>
    hostFile(method, from, () => flush(from)).pipe(
      // The SDK makes it only for snapshots of its own.
      Effect.andThen(hostFile(method, folder, () => makeFolder(folder))),
      Effect.andThen(move(method, from, name)),
      Effect.andThen(hostFile(method, folder, () => sync(folder))),
      Effect.andThen(
        reindex(method, name).pipe(
          Effect.andThen(getSnapshot(name)),
          Effect.onError(() => Effect.ignore(removeSnapshot(name)))
        )
      ),
      Effect.uninterruptible
    )

  return {
    captureSnapshot: Effect.fn("Microsandbox.captureSnapshot")(function* (request) {
      const method = "Microsandbox.captureSnapshot"
      yield* requireEntryName(method, request.name)
      const source = yield* call(method, { sandbox: request.sandbox }, () => sdk.Sandbox.get(request.sandbox))
      const capture = (sandbox: string, labels = request.labels) =>
        commit({
          method,
          subject: { snapshot: request.name, sandbox },
          run: () => {
            const builder = sdk.Snapshot.builder(request.name).fromSandbox(sandbox)
            for (const [key, value] of Object.entries(labels ?? {})) builder.label(key, value)
            if (request.integrity === true) builder.recordIntegrity()
            return builder.create()
          },
          describe: (snapshot) => Effect.promise(() => snapshotInfo(request.name, snapshot)),
          undo: () => Effect.ignore(removeSnapshot(request.name))
        })
      const folder = yield* RootDisks.overlayOf(context, method, source)
      if (folder === undefined) return yield* capture(request.sandbox)
      yield* requireFree(method, request.name)
      return yield* Overlays.through(context, method, source, folder, (sandbox) =>
        capture(sandbox, { ...request.labels, [sourceLabel]: request.sandbox })
      )
    }),
    getSnapshot,
    // The folder is authoritative: the SDK's index misses interrupted changes, and has no labels.
    listSnapshots: Effect.fn("Microsandbox.listSnapshots")(function* () {
      const method = "Microsandbox.listSnapshots"
      const links = new Set((yield* entries(method)).flatMap((entry) => (entry.isSymbolicLink() ? [entry.name] : [])))
      const found = yield* opened(method)
      return yield* Effect.forEach(
        found.filter((snapshot) => !links.has(Path.basename(snapshot.path))),
        (snapshot) => Effect.promise(() => snapshotInfo(Path.basename(snapshot.path), snapshot))
      )
    }),
    listDamagedSnapshots: Effect.fn("Microsandbox.listDamagedSnapshots")(function* () {
      const method = "Microsandbox.listDamagedSnapshots"
      const folders = (yield* entries(method)).filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
      if (folders.length === 0) return []
      const whole = new Set((yield* opened(method)).map((snapshot) => Path.basename(snapshot.path)))
      return folders.flatMap(({ name }) => (whole.has(name) ? [] : [name]))
    }),
    removeSnapshot,
    verifySnapshot: Effect.fn("Microsandbox.verifySnapshot")(function* (name) {
      const { upper } = yield* call("Microsandbox.verifySnapshot", { snapshot: name }, async () =>
        (await sdk.Snapshot.open(name)).verify()
      )
      return upper.kind === "verified"
    }),
    saveSnapshot: Effect.fn("Microsandbox.saveSnapshot")(function* (name, path, options) {
      const method = "Microsandbox.saveSnapshot"
      yield* commit({
        method,
        subject: { snapshot: name, path },
        run: () =>
          sdk.Snapshot.save(name, Path.resolve(path), {
            withImage: options?.withImage ?? false,
            plainTar: options?.compress === false
          }),
        describe: Effect.succeed,
        undo: () => removeFile(method, path)
      })
    }),
    loadSnapshot: Effect.fn("Microsandbox.loadSnapshot")(function* (path, name) {
      const method = "Microsandbox.loadSnapshot"
      yield* requireEntryName(method, name)
      yield* hostFile(method, path, () => Fs.access(path))
      yield* requireFree(method, name)
      const staged = yield* ownership.stage
      const clear = Effect.ignore(hostFile(method, staged, () => Fs.rm(staged, { recursive: true, force: true })))
      return yield* commit({
        method,
        subject: { snapshot: name },
        // Not where the SDK would put it: another tool may have loaded the same file, and nobody would own it there.
        run: () => sdk.Snapshot.load(Path.resolve(path), staged),
        describe: (loaded) => takeOver(method, loaded.path, name),
        undo: () => clear
      }).pipe(Effect.ensuring(clear))
    }),
    importSnapshot: Effect.fn("Microsandbox.importSnapshot")(function* (from, name) {
      const method = "Microsandbox.importSnapshot"
      yield* requireEntryName(method, name)
      yield* requireFree(method, name)
      return yield* takeOver(method, from, name)
    }),
    removeStaging: Effect.fn("Microsandbox.removeStaging")(function* (of, options) {
      const method = "Microsandbox.removeStaging"
      const imports = Path.join(home, "cache", "tmp")
      const found =
        "snapshot" in of
          ? (yield* entries(method)).flatMap(({ name }) => (name === `.${of.snapshot}.staging` ? [at(name)] : []))
          : yield* Effect.filter(
              [
                ...(yield* entries(method)).flatMap(({ name }) =>
                  name.startsWith(".msb-snapshot-import-") ? [at(name)] : []
                ),
                ...(yield* readFolder(method, imports)).flatMap(({ name }) =>
                  name.startsWith("snapshot-import-") ? [Path.join(imports, name)] : []
                )
              ],
              (path) => hostFile(method, path, async () => (await Fs.stat(path)).birthtimeMs >= of.loadsSince)
            )
      if (options?.dryRun === true) return found
      yield* Effect.forEach(
        found,
        (path) => hostFile(method, path, () => Fs.rm(path, { recursive: true, force: true })),
        { discard: true }
      )
      return found
    }),
    renameSnapshot: Effect.fn("Microsandbox.renameSnapshot")(function* (name, to) {
      const method = "Microsandbox.renameSnapshot"
      yield* requireEntryName(method, name)
      yield* requireEntryName(method, to, "to")
      yield* requireFree(method, to)
      yield* move(method, at(name), to).pipe(
        Effect.andThen(reindex(method, to)),
        Effect.uninterruptible,
        Effect.catchReason("LightboxError", "FileError", (reason, error) =>
          Effect.fail(
            reason.code === "ENOENT"
              ? new LightboxError({ method, reason: new NotFound({ resource: "snapshot", name }) })
              : error
          )
        )
      )
    }),
    ...snapshotLinks({ folder, stage: ownership.stage, getSnapshot })
  }
}
