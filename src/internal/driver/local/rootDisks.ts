/** Root disks of sandboxes that are overlays on the disk of their snapshot. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type * as Ownership from "../../../Ownership.ts"
import { LightboxError, NotFound, Unsupported } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import { overlayRefused, wantsOverlay } from "../createChecks.ts"
import { fileFailure } from "../../host/fileFailure.ts"

import * as RootDisk from "../rootDisk.ts"
import type { Root } from "../sdk/builder.ts"
import { call } from "../sdk/calls.ts"
import { instanceOf, sandboxInfo } from "../sdk/sandboxes.ts"
import type { SandboxHandle } from "../sdk/surface.ts"
import { hostFile } from "../snapshotLinks.ts"
import { unlessMissing } from "../../host/durable.ts"
import { isCode } from "../../host/socket.ts"
import { type DriverContext, dropName } from "./context.ts"
import { cachedDigest } from "./images.ts"

interface Overlay {
  readonly image: string
  readonly imageDigest: string
  /** The disk of the snapshot. */
  readonly base: string
}

const unsupported = (method: string, problem: string, cause?: unknown): LightboxError =>
  new LightboxError({ method, reason: new Unsupported({ feature: "rootDisk", problem, cause }) })

/** Finds the base of an overlay. Returns nothing if the snapshot does not exist: the boot reports that better. */
const find = Effect.fnUntraced(function* (
  { home, sdk }: DriverContext,
  method: string,
  name: string
): Effect.fn.Return<Overlay | undefined, LightboxError> {
  // A name may move meanwhile: take image and disk from the same snapshot.
  const path = Path.resolve(home, "snapshots", name)
  const folder = yield* hostFile(method, path, () => unlessMissing(Fs.realpath(path)))
  if (folder === undefined) return undefined
  const snapshot = yield* call(method, { snapshot: name }, () => sdk.Snapshot.open(folder))
  const { fstype, imageManifestDigest: imageDigest, imageRef: image } = snapshot
  if (snapshot.format !== "raw" || fstype !== "ext4" || (snapshot.sizeBytes ?? 0n) > RootDisk.maxBytes) {
    return yield* unsupported(method, `a ${snapshot.format} disk of ${snapshot.sizeBytes} bytes cannot have an overlay`)
  }
  const digest = yield* cachedDigest(sdk, method, image)
  if (digest === imageDigest) return { image, imageDigest, base: Path.join(folder, RootDisk.diskFile) }
  return yield* unsupported(
    method,
    digest === undefined
      ? `its image, ${image}, is not in the cache`
      : `${image} is no longer the image that the snapshot was built from`
  )
})

/** Removes the root disk of a sandbox that no longer exists. */
export const removeOf = (
  { home }: DriverContext,
  method: string,
  instance: string | undefined
): Effect.Effect<void, LightboxError> =>
  instance === undefined
    ? Effect.void
    : hostFile(method, RootDisk.folderOf(home, instance), () => RootDisk.remove(home, instance))

/** Makes a root disk, and removes it if `use` fails. */
const within = <A>(
  context: DriverContext,
  method: string,
  request: { readonly name: string; readonly snapshot: string; readonly instance: string },
  { base, image }: Overlay,
  use: (root: Root) => Effect.Effect<A, LightboxError>
): Effect.Effect<A, LightboxError> => {
  const { home, ownership } = context
  const { instance, name, snapshot } = request
  const folder = RootDisk.folderOf(home, instance)
  const note: Ownership.Note = { kind: "disk", token: instance, name }
  const make = Effect.tryPromise({
    try: () => context.disks.make(folder, base),
    catch: (cause) => {
      if (isCode(cause, "ENOENT")) {
        return new LightboxError({ method, reason: new NotFound({ resource: "snapshot", name: snapshot, cause }) })
      }
      return isCode(cause, "EXDEV", "EPERM", "EMLINK", "ENOTSUP", "EOPNOTSUPP")
        ? unsupported(method, `${base} cannot be linked into ${home}`, cause)
        : fileFailure(method, "create", folder)(cause)
    }
  })
  return Effect.acquireUseRelease(
    ownership.note(note),
    // An interrupted creation could still write after the removal.
    () =>
      Effect.flatMap(Effect.uninterruptible(make), (path) =>
        use({ _tag: "Disk", image, path, format: context.disks.format })
      ),
    (_, exit) =>
      Exit.isSuccess(exit)
        ? ownership.forget(note)
        : // Keep the note if the removal fails, for a later sweep.
          Effect.andThen(removeOf(context, method, instance), ownership.forget(note)).pipe(
            Effect.ignore({ log: "Warn", message: `Could not remove the disk of sandbox "${name}"` })
          )
  )
}

/** Boots from a copy of a snapshot's disk, or from an overlay on it. With `"auto"`, a copy is the fallback. */
export const bootFrom = (
  context: DriverContext,
  method: string,
  request: Microsandbox.CreateSandbox,
  instance: string,
  boot: (
    root: Root,
    check: (handle: SandboxHandle) => Effect.Effect<void, LightboxError>
  ) => Effect.Effect<Microsandbox.SandboxInfo, LightboxError>
): Effect.Effect<Microsandbox.SandboxInfo, LightboxError> => {
  const { config, name, source } = request
  const plain = boot(source, () => Effect.void)
  if (source._tag === "Image") return plain
  const isUsual = context.disks.isUsual && (config.rootDisk !== "copy" || config.ephemeral === true)
  if (!isUsual && !wantsOverlay(request)) return plain
  const onOverlay = Effect.flatMap(find(context, method, source.name), (overlay) =>
    overlay === undefined
      ? plain
      : within(context, method, { name, snapshot: source.name, instance }, overlay, (root) =>
          boot(root, (handle) =>
            sandboxInfo(handle).imageDigest === overlay.imageDigest
              ? Effect.void
              : Effect.fail(unsupported(method, `${overlay.image} was replaced in the meantime; try again`))
          )
        )
  )
  if (isUsual || config.rootDisk === "overlay") return onOverlay
  return Effect.flatMap(context.copies, (copies) =>
    copies === "full"
      ? Effect.catchReason(onOverlay, "LightboxError", "Unsupported", (reason, error) =>
          reason.feature === "rootDisk" ? plain : Effect.fail(error)
        )
      : plain
  )
}

const has = ({ home }: DriverContext, method: string, instance: string): Effect.Effect<boolean, LightboxError> =>
  hostFile(method, RootDisk.folderOf(home, instance), () => RootDisk.has(home, instance))

/** Removes a sandbox and its root disk without interruption. */
export const removing = Effect.fnUntraced(function* (
  context: DriverContext,
  method: string,
  handle: SandboxHandle,
  remove: () => Promise<unknown>
): Effect.fn.Return<void, LightboxError> {
  const { name } = handle
  const instance = instanceOf(handle)
  if (instance === undefined || !(yield* has(context, method, instance))) {
    return yield* Effect.asVoid(call(method, { sandbox: name }, remove))
  }
  const note: Ownership.Note = { kind: "disk", token: instance, name }
  // On a full disk no note can be written, but the removal frees space.
  yield* Effect.ignore(context.ownership.note(note))
  yield* call(method, { sandbox: name }, async () => {
    await remove()
    await RootDisk.remove(context.home, instance)
  })
  yield* dropName(context, method, name)
  yield* context.ownership.forget(note)
})

/** The folder of a sandbox's root disk, if it is an overlay. */
export const overlayOf = Effect.fnUntraced(function* (
  context: DriverContext,
  method: string,
  handle: SandboxHandle
): Effect.fn.Return<string | undefined, LightboxError> {
  const instance = instanceOf(handle)
  return instance !== undefined && (yield* has(context, method, instance))
    ? RootDisk.folderOf(context.home, instance)
    : undefined
})

/** Refuses operations that need a root disk made by the runtime. */
export const requireCopy = Effect.fnUntraced(function* (
  context: DriverContext,
  method: string,
  feature: string,
  handle: SandboxHandle
): Effect.fn.Return<void, LightboxError> {
  if ((yield* overlayOf(context, method, handle)) !== undefined) return yield* overlayRefused(method, feature)
})
