/** Creates and boots sandboxes of the local driver. */
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type * as Sdk from "microsandbox"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import { checkCombination, checkHostPaths, requireBoot, withDefaults } from "../createChecks.ts"
import { generate, instanceLabel } from "../../ownership/labels.ts"
import * as PullReport from "../pullReport.ts"
import * as RootDisks from "./rootDisks.ts"
import * as Boots from "./boots.ts"
import * as Builder from "../sdk/builder.ts"
import { call, isTaken, notFoundIsSuccess } from "../sdk/calls.ts"
import { fromSdk, type Subject } from "../sdk/errors.ts"
import { findHandle, handleOf, instanceOf, isKnown, sandboxInfo } from "../sdk/sandboxes.ts"
import type { Machine, SandboxHandle, Surface } from "../sdk/surface.ts"
import { hostFile } from "../snapshotLinks.ts"
import * as Virtualization from "../../host/virtualization.ts"
import { withPorts } from "../ports.ts"
import { type DriverContext, retainNative, releaseNative, dropName, takingTurns, destroy } from "./context.ts"
import * as Registry from "./registry.ts"
import { tellingUsers } from "./volumes.ts"

export const create = Effect.fn("Microsandbox.createSandbox")(function* (
  context: DriverContext,
  request: Microsandbox.CreateSandbox
): Effect.fn.Return<Microsandbox.SandboxInfo, LightboxError> {
  const method = "Microsandbox.createSandbox"
  const { name, source } = request
  const { sdk } = context
  const config = yield* withDefaults(context, request.config)
  yield* checkCombination(request)
  yield* requireBoot(request)
  yield* checkHostPaths(config)
  yield* Virtualization.check(method).pipe(
    // A snapshot that does not exist is the nearer problem.
    Effect.tapError(() =>
      source._tag === "Snapshot"
        ? call(method, { snapshot: source.name }, () => sdk.Snapshot.open(source.name))
        : Effect.void
    )
  )

  const instance = request.labels?.[instanceLabel] ?? (yield* generate)
  const labels = { ...request.labels, [instanceLabel]: instance }
  const report = yield* PullReport.make(request)
  const cleanUp = cleanUpInstance(context, name, instance)
  const attempt = (config: SandboxConfig, root: Builder.Root, replacesGhost: boolean) =>
    boot(
      context,
      method,
      { sandbox: name, ...(source._tag === "Image" ? { image: source.reference } : { snapshot: source.name }) },
      async (onPulled) => {
        // Make a new one: a failed boot may have written to it.
        if (root._tag === "Disk") await context.disks.write(root.path)
        const builder = Builder.make(sdk, name, root, await withVolumesAsTheyAre(sdk, config), labels, request.proxy)
        if (replacesGhost) builder.replaceWithTimeout(0)
        if (request.detached === true) builder.detached(true)
        if (root._tag !== "Image" || config.pullPolicy === "never") {
          onPulled()
          return builder.create()
        }
        const creation = await builder.createWithPullProgress()
        for (let event = await creation.progress.recv(); event !== null; event = await creation.progress.recv()) {
          const progress = pullProgress(event)
          if (progress !== undefined) report(progress)
        }
        onPulled()
        return creation.awaitSandbox()
      },
      cleanUp
    ).pipe(takingTurns(context.volumes, namesOfVolumes(config)))

  return yield* Effect.gen(function* () {
    if (request.onConflict === "replace") yield* destroyByName(context, method, name)
    const bootFrom =
      (config: SandboxConfig) =>
      (root: Builder.Root, check: (handle: SandboxHandle) => Effect.Effect<void, LightboxError>) =>
        attempt(config, root, false).pipe(
          Effect.catchReason("LightboxError", "AlreadyExists", (_, error) =>
            Effect.flatMap(isGhost(context, method, name, instance), (isGhost) =>
              isGhost ? attempt(config, root, true) : Effect.fail(error)
            )
          ),
          Effect.flatMap((native) =>
            handleOf(context, method, { name, id: native.id }).pipe(
              Effect.tap(check),
              Effect.map((handle) => {
                if (request.detached !== true) retainNative(context, native, handle)
                return sandboxInfo(handle)
              })
            )
          ),
          Effect.onError((cause) => (isTaken(cause) ? Effect.void : cleanUp))
        )
    return yield* withPorts(config, (config) =>
      RootDisks.bootFrom(context, method, request, instance, bootFrom(config))
    )
  }).pipe(
    tellingUsers(context),
    takingTurns(context.names, [name]),
    // No other call waits for the registry.
    source._tag === "Image" ? Registry.explaining(context.home, source.reference, config.registry) : identity
  )
})

/**
 * Checks whether a name that is taken, but unknown to the runtime, belongs to a failed creation that left a folder
 * without a row. A creation that has just begun looks the same.
 */
const isGhost = (
  context: DriverContext,
  method: string,
  name: string,
  instance: string
): Effect.Effect<boolean, LightboxError> =>
  Effect.flatMap(isKnown(context.sdk, method, name), (isKnown) =>
    isKnown
      ? Effect.succeed(false)
      : Effect.map(Boots.isBeingMade(context.home, name, instance), (isBeingMade) => !isBeingMade)
  )

/** The SDK's `ensure` works only for volumes that are folders. */
const withVolumesAsTheyAre = async (sdk: Surface, config: SandboxConfig): Promise<SandboxConfig> => {
  const mounts: { [path: string]: NonNullable<SandboxConfig["mounts"]>[string] } = { ...config.mounts }
  for (const [path, mount] of Object.entries(mounts)) {
    if (!("volume" in mount)) continue
    const isThere = await sdk.Volume.get(mount.volume).then(
      () => true,
      () => false
    )
    if (isThere) mounts[path] = { ...mount, create: false }
  }
  return config.mounts === undefined ? config : { ...config, mounts }
}

const namesOfVolumes = ({ mounts }: SandboxConfig): ReadonlyArray<string> =>
  Object.values(mounts ?? {}).flatMap((mount) => ("volume" in mount ? [mount.volume] : []))

/** Boots a virtual machine. The caller has exclusive use of the name. */
export const boot = (
  context: DriverContext,
  method: string,
  subject: BootSubject,
  start: (onPulled: () => void) => Promise<Machine>,
  cleanUp: Effect.Effect<void>
): Effect.Effect<Machine, LightboxError> =>
  Boots.boot({
    method,
    name: subject.sandbox,
    limit: context.bootTimeout,
    start,
    fail: (cause) => failBoot(context, method, subject, cause),
    cleanUp
  })

interface BootSubject extends Subject {
  readonly sandbox: string
}

const failBoot = Effect.fnUntraced(function* (
  context: DriverContext,
  method: string,
  subject: BootSubject,
  cause: unknown
): Effect.fn.Return<never, LightboxError> {
  const lastLines = yield* lastLogLines(context, subject.sandbox)
  return yield* fromSdk(method, { ...subject, lastLines }, cause)
})

/** Reads the last output of the virtual machine before its folder is removed. */
const lastLogLines = ({ sdk }: DriverContext, name: string): Effect.Effect<ReadonlyArray<string>> =>
  call("Microsandbox.readLogs", { sandbox: name }, async () => {
    const handle = await sdk.Sandbox.get(name)
    return handle.logs({ sources: ["system"], tail: 20 })
  }).pipe(
    Effect.map((entries) => entries.flatMap((entry) => entry.text().trimEnd().split("\n")).slice(-20)),
    Effect.orElseSucceed(() => [])
  )

/** Removes only what this creation made. Never fails, as it runs in the background. */
export const cleanUpInstance = (context: DriverContext, name: string, instance: string): Effect.Effect<void> => {
  const method = "Microsandbox.removeSandbox"
  const removing = (remove: Effect.Effect<void, LightboxError>) =>
    Effect.andThen(remove, dropName(context, method, name))
  return findHandle(context.sdk, method, name).pipe(
    Effect.flatMap((handle) =>
      instanceOf(handle) === instance
        ? removing(call(method, { sandbox: name }, () => destroy(context.home, handle)))
        : Effect.void
    ),
    // The SDK drops some failed creations but leaves their folder, which would keep the name taken.
    Effect.catchReason("LightboxError", "NotFound", () =>
      Effect.flatMap(isGhost(context, method, name, instance), (isGhost) =>
        isGhost
          ? removing(
              hostFile(method, name, () =>
                Fs.rm(Path.join(context.home, "sandboxes", name), { recursive: true, force: true })
              )
            )
          : Effect.void
      )
    ),
    Effect.timeout("30 seconds"),
    Effect.ignore({ log: "Warn", message: `Could not clean up after sandbox "${name}"` })
  )
}

const destroyByName = (context: DriverContext, method: string, name: string): Effect.Effect<void, LightboxError> =>
  notFoundIsSuccess(
    Effect.flatMap(findHandle(context.sdk, method, name), (handle) =>
      RootDisks.removing(context, method, handle, () => destroy(context.home, handle)).pipe(
        Effect.andThen(releaseNative(context, { id: handle.id, name }))
      )
    )
  )

const pullProgress = (event: Sdk.PullProgressEvent): Microsandbox.PullProgress | undefined => {
  const layer = event.layerIndex ?? 0
  const reference = event.reference ?? ""
  switch (event.kind) {
    case "resolving":
      return { _tag: "Resolving", reference }
    case "resolved":
      return {
        _tag: "Resolved",
        reference,
        digest: event.manifestDigest ?? "",
        layers: event.layerCount ?? 0,
        total: event.totalDownloadBytes
      }
    case "layerDownloadProgress":
      return { _tag: "Downloading", layer, done: event.downloadedBytes ?? 0, total: event.totalBytes }
    case "layerDownloadComplete":
      return { _tag: "Downloading", layer, done: event.downloadedBytes ?? 0, total: event.downloadedBytes }
    case "layerMaterializeProgress":
      return { _tag: "Unpacking", layer, done: event.bytesRead ?? 0, total: event.totalBytes }
    case "complete":
      return { _tag: "Pulled", reference }
    default:
      return undefined
  }
}
