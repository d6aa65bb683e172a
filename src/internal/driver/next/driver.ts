/** `Microsandbox` over the native module of microsandbox 0.7. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { LightboxError, Unsupported } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type * as MicrosandboxPreview from "../../../MicrosandboxPreview.ts"
import type * as Ownership from "../../../Ownership.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import { HostPath } from "../../config/schemas.ts"
import { decoder } from "../../config/validation.ts"
import { unlessMissing } from "../../host/durable.ts"
import * as Owner from "../../ownership/owner.ts"
import type { Blueprint } from "../../reaper/compose.ts"
import { blueprint, LocalOptions, makeContext } from "../local/blueprint.ts"
import type { DriverContext } from "../local/context.ts"
import { images } from "../local/images.ts"
import { ghosts, openAgent, sandboxes } from "../local/sandboxes.ts"
import { snapshots } from "../local/snapshots.ts"
import { volumes } from "../local/volumes.ts"
import { localCapabilities } from "../parts.ts"
import { isKnown } from "../sdk/sandboxes.ts"
import * as SdkModule from "../sdk/module.ts"
import { hostFile } from "../snapshotLinks.ts"
import * as Addon from "./addon.ts"
import { copies } from "./copyDisks.ts"
import * as Machines from "./machines.ts"
import * as Memory from "./memory.ts"
import * as Sdk from "./sdk.ts"

type Driver = Microsandbox.Microsandbox["Service"]

const method = "MicrosandboxPreview.layer"

const LayerOptions = Schema.Struct({ ...LocalOptions.fields, runtime: Schema.optional(HostPath) })

const decodeLayerOptions = decoder(LayerOptions, method)

const capabilities: Microsandbox.Capabilities = {
  ...localCapabilities,
  captureRunning: true,
  fork: true,
  memorySnapshots: true,
  pause: true
}

export const make = Effect.fnUntraced(function* (
  input: MicrosandboxPreview.Options
): Effect.fn.Return<Blueprint<LightboxError, Ownership.Ownership | Scope.Scope>, LightboxError, Scope.Scope> {
  const options = yield* decodeLayerOptions(input)
  // Never that of 0.6: the runtime changes a home so that earlier versions cannot use it any more.
  const home = yield* SdkModule.claimLocal(options.home ?? Path.join(Os.homedir(), ".microsandbox-preview"), method)
  return blueprint(home, options, makeDriver(home, options))
})

const makeDriver = Effect.fnUntraced(function* (
  home: string,
  options: typeof LayerOptions.Type
): Effect.fn.Return<Driver, LightboxError, Ownership.Ownership | Scope.Scope> {
  yield* requireOwnHome(home)
  const { addon, version } = yield* Addon.load(options.runtime)
  const context = yield* makeContext(home, options, () =>
    Effect.succeed({ sdk: Sdk.make(addon, home), copies: Effect.succeed("unknown" as const), disks: copies })
  )
  const { connect, createSandbox, ...others } = sandboxes(context)
  const remains = ghosts(context)
  const ofImages = images(context)
  const ofSnapshots = snapshots(context)
  return {
    backend: "local",
    home,
    version,
    capabilities,
    memory: Memory.operations(context, addon),
    ...ofImages,
    // The runtime does not see our snapshots, and would remove what they need.
    pruneImages: Effect.fn("Microsandbox.pruneImages")(function* () {
      const kept = yield* ofSnapshots.listSnapshots()
      if (kept.length === 0) return yield* ofImages.pruneImages()
      const used = new Set([...kept, ...(yield* others.listSandboxes())].map(({ imageDigest }) => imageDigest))
      const unused = (yield* ofImages.listImages()).filter(({ digest }) => !used.has(digest))
      const removed = yield* Effect.filter(unused, ({ reference }) =>
        ofImages.removeImage(reference).pipe(
          Effect.as(true),
          Effect.catchReason("LightboxError", "InUse", () => Effect.succeed(false))
        )
      )
      return { images: removed.length, layers: 0, bytes: undefined }
    }),
    ...others,
    createSandbox: (request) =>
      request.source._tag === "Snapshot" && request.resume === "memory"
        ? Memory.resume(context, addon, request, request.source.name)
        : createSandbox({ ...request, config: withTemporaryFolder(request.config) }),
    connect: (sandbox) => Effect.flatMap(connect(sandbox), (guest) => Memory.withVariables(context, sandbox, guest)),
    openAgent: (sandbox) => openAgent(context, sandbox),
    ...remains,
    removeRemains: (options) =>
      Effect.flatMap(remains.removeRemains(options), (found) =>
        Effect.map(removeMachines(context, options?.dryRun ?? false), (machines) => [...found, ...machines])
      ),
    ...ofSnapshots,
    ...volumes(context)
  }
})

/** As 0.6 does: what is in there is not captured with a disk. */
const withTemporaryFolder = (config: SandboxConfig): SandboxConfig => ({
  ...config,
  mounts: { "/tmp": { tmpfs: true }, ...config.mounts }
})

/** The file that says which version a home is for. */
const versionFile = "preview-version"

/** Refuses the home of another version before the runtime migrates it. */
const requireOwnHome = Effect.fnUntraced(function* (home: string): Effect.fn.Return<void, LightboxError> {
  const path = Path.join(home, "lightbox", versionFile)
  const found = yield* hostFile(method, path, () => unlessMissing(Fs.readFile(path, "utf8")))
  if (found?.trim() === Addon.version) return
  const database = Path.join(home, "db", "msb.db")
  const isUsed = (yield* hostFile(method, database, () => unlessMissing(Fs.stat(database)))) !== undefined
  if (isUsed) {
    const whose = found === undefined ? "another version of the runtime" : `version ${found.trim()}`
    const problem = `the home ${home} belongs to ${whose}, and ${Addon.version} would change it for good`
    return yield* new LightboxError({ method, reason: new Unsupported({ feature: "this home directory", problem }) })
  }
  yield* hostFile(method, path, async () => {
    await Fs.mkdir(Path.dirname(path), { recursive: true, mode: 0o700 })
    await Fs.writeFile(path, `${Addon.version}\n`, { flush: true })
  })
})

/** Removes what was recorded of sandboxes that no longer exist, and that nobody is creating. */
const removeMachines = Effect.fnUntraced(function* (
  { home, sdk }: DriverContext,
  dryRun: boolean
): Effect.fn.Return<ReadonlyArray<string>, LightboxError> {
  const method = "Microsandbox.removeRemains"
  const all = yield* hostFile(method, home, () => Machines.names(home))
  if (all.length === 0) return []
  const wanted = new Set((yield* Owner.livingNotes(home, "sandbox")).map(({ name }) => name))
  const dead = yield* Effect.filter(
    all.filter((name) => !wanted.has(name)),
    (name) => Effect.map(isKnown(sdk, method, name), (known) => !known)
  )
  if (!dryRun) {
    yield* Effect.forEach(dead, (name) => hostFile(method, name, () => Machines.remove(home, name)), { discard: true })
  }
  return dead.map((name) => Machines.pathOf(home, name))
})
