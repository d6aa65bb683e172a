/**
 * `Microsandbox` over the SDK's hosted backend.
 *
 * The guest's agent is reached through the same WebSocket that the SDK uses; everything else goes through the SDK.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Path from "node:path"
import { LightboxError, Unsupported } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type * as MicrosandboxCloud from "../../../MicrosandboxCloud.ts"
import * as AgentConnection from "../../guest/connection.ts"
import * as AgentGuest from "../../guest/agent.ts"
import { publishedPorts } from "../ports.ts"
import { checkHostPaths, layerOptions, requireBoot, withDefaults } from "../createChecks.ts"
import * as Home from "../../host/home.ts"
import { generate, instanceLabel, ownerLabel } from "../../ownership/labels.ts"
import type { Blueprint } from "../../reaper/compose.ts"
import * as Builder from "../sdk/builder.ts"
import { call, isTaken, notFoundIsSuccess, settle } from "../sdk/calls.ts"
import { fromSdk } from "../sdk/errors.ts"
import { getSandbox, handleOf, listSandboxes, onHandle, sandboxInfo } from "../sdk/sandboxes.ts"
import * as SdkModule from "../sdk/module.ts"
import type { SandboxHandle } from "../sdk/surface.ts"
import { intBetween, millis } from "../../config/schemas.ts"
import { decoder } from "../../config/validation.ts"
import * as WebSocketChannel from "./webSocketChannel.ts"
import type { SandboxPart } from "../parts.ts"

type Driver = Microsandbox.Microsandbox["Service"]

const LayerOptions = Schema.Struct({
  apiKey: Schema.Redacted(Schema.String).check(
    Schema.makeFilter((key) => (Redacted.value(key).trim() === "" ? "expected an API key" : undefined))
  ),
  url: Schema.optional(
    Schema.String.check(
      Schema.makeFilter((url) =>
        /^https?:$/.test(URL.parse(url)?.protocol ?? "") ? undefined : "expected an http or https URL"
      )
    )
  ),
  ...layerOptions,
  sandboxes: Schema.optional(intBetween(1, 1_000_000))
})

const decodeLayerOptions = decoder(LayerOptions, "MicrosandboxCloud.layer")

/** The SDK's default. */
const defaultUrl = "https://api.microsandbox.dev"

/** Separates the notes of different accounts. */
const homeOf = (home: string | undefined, url: string, apiKey: string) =>
  Effect.flatMap(Home.resolveFolder("MicrosandboxCloud.layer", home), (home) => {
    const account = Crypto.hash("sha256", `${url}\n${apiKey}`).slice(0, 8)
    return Home.resolveFolder("MicrosandboxCloud.layer", Path.join(home, `cloud-${account}`))
  })

export const make = Effect.fnUntraced(function* (
  input: MicrosandboxCloud.Options
): Effect.fn.Return<Blueprint<LightboxError, never>, LightboxError, Scope.Scope> {
  const options = yield* decodeLayerOptions(input)
  const url = (options.url ?? defaultUrl).replace(/\/+$/, "")
  const apiKey = Redacted.value(options.apiKey).trim()
  const home = yield* homeOf(options.home, url, apiKey)
  yield* SdkModule.claimCloud(url, apiKey)
  const sdk = yield* SdkModule.load
  yield* Effect.try({
    try: () => sdk.setDefaultBackend({ kind: "cloud", url, apiKey }),
    catch: (cause) => fromSdk("MicrosandboxCloud.layer", {}, cause)
  })
  const context: CloudContext = {
    sdk,
    url,
    apiKey,
    connectTimeout: options.connectTimeout ?? Duration.seconds(10),
    cpus: options.cpus,
    memory: options.memory
  }
  const driver: Driver = {
    backend: "cloud",
    home,
    version: yield* SdkModule.version,
    capabilities: {
      snapshots: false,
      images: false,
      volumes: false,
      volumeFiles: false,
      bindMounts: false,
      diskMounts: false,
      patches: false,
      ports: false,
      kill: false,
      modify: false,
      logs: false,
      metrics: false,
      captureRunning: false,
      fork: false,
      memorySnapshots: false,
      liveNetwork: false,
      pause: false
    },
    ...sandboxes(context),
    ...unavailable
  }
  return {
    home,
    make: Effect.succeed(driver),
    // Cloud sandboxes use no memory of this machine.
    admission: {
      budget: { disk: 0, sandboxes: options.sandboxes },
      defaultMemory: options.memory,
      availableMemory: () => Number.POSITIVE_INFINITY
    },
    sweep: options.sweep
  }
})

interface CloudContext {
  readonly sdk: SdkModule.SdkModule
  readonly url: string
  readonly apiKey: string
  readonly connectTimeout: Duration.Duration
  readonly cpus: number | undefined
  readonly memory: number | undefined
}

const refuse =
  (feature: string, problem = "not available in the cloud") =>
  (method: string): Effect.Effect<never, LightboxError> =>
    Effect.fail(new LightboxError({ method: `Microsandbox.${method}`, reason: new Unsupported({ feature, problem }) }))

const images = refuse("images", "the cloud pulls images from their registries by itself")
const snapshots = refuse("snapshots")
const volumes = refuse("volumes", "use the cloud's own tools to manage volumes; a sandbox can mount existing ones")

const unavailable: Omit<Driver, "backend" | "home" | "version" | "capabilities" | keyof ReturnType<typeof sandboxes>> =
  {
    loadImage: () => images("loadImage"),
    saveImages: () => images("saveImages"),
    listImages: () => images("listImages"),
    getImage: () => images("getImage"),
    resolveImage: () => images("resolveImage"),
    removeImage: () => images("removeImage"),
    pruneImages: () => images("pruneImages"),

    captureSnapshot: () => snapshots("captureSnapshot"),
    getSnapshot: () => snapshots("getSnapshot"),
    listSnapshots: () => snapshots("listSnapshots"),
    listDamagedSnapshots: () => Effect.succeed([]),
    removeSnapshot: () => snapshots("removeSnapshot"),
    verifySnapshot: () => snapshots("verifySnapshot"),
    saveSnapshot: () => snapshots("saveSnapshot"),
    loadSnapshot: () => snapshots("loadSnapshot"),
    importSnapshot: () => snapshots("importSnapshot"),
    renameSnapshot: () => snapshots("renameSnapshot"),
    listSnapshotLinks: () => snapshots("listSnapshotLinks"),
    readSnapshotLink: () => snapshots("readSnapshotLink"),
    linkSnapshot: () => snapshots("linkSnapshot"),
    unlinkSnapshot: () => snapshots("unlinkSnapshot"),

    createVolume: () => volumes("createVolume"),
    getVolume: () => volumes("getVolume"),
    listVolumes: () => volumes("listVolumes"),
    removeVolume: () => volumes("removeVolume"),

    // The cloud stores nothing on this machine.
    removeStaging: () => Effect.succeed([]),
    listGhosts: () => Effect.succeed([]),
    removeGhost: () => Effect.succeed(false),
    removeRemains: () => Effect.succeed([])
  }

/**
 * Refuses what the SDK would ignore or misread, such as a path of this host. The SDK itself refuses everything else
 * that the cloud does not support.
 */
const checkRequest = ({ config, proxy, source }: Microsandbox.CreateSandbox): Effect.Effect<void, LightboxError> => {
  const refuseOption = (feature: string, problem?: string) => refuse(feature, problem)("createSandbox")
  if (source._tag === "Snapshot") return snapshots("createSandbox")
  if (proxy !== undefined) return refuseOption("connections between sandboxes")
  if (publishedPorts(config).length > 0) return refuseOption("published ports")
  if ((config.patches ?? []).length > 0) return refuseOption("patches", "write the files once the sandbox runs")
  if (config.rootDisk === "overlay") return refuseOption("rootDisk")
  if (config.deployment !== undefined) return refuseOption("deployment")
  for (const [path, mount] of Object.entries(config.mounts ?? {})) {
    if ("bind" in mount) return refuseOption(`the bind mount at ${path}`)
    if ("disk" in mount) return refuseOption(`the disk mount at ${path}`)
    if ("volume" in mount && mount.create !== false) {
      return refuseOption(`making the volume at ${path}`, "mount one that exists, with create: false")
    }
  }
  return Effect.void
}

const defaultStopTimeout = Duration.seconds(10)

/** Check here as well: a sandbox found by its labels may be about to be removed. */
const labelled = (
  sdk: SdkModule.SdkModule,
  labels: { readonly [key: string]: string } = {}
): Effect.Effect<ReadonlyArray<Microsandbox.SandboxInfo>, LightboxError> =>
  Effect.map(listSandboxes(sdk, { labels }), (found) =>
    found.filter((sandbox) => Object.entries(labels).every(([key, value]) => sandbox.labels[key] === value))
  )

const sandboxes = (context: CloudContext): SandboxPart => {
  const { sdk } = context
  return {
    createSandbox: (request) => create(context, request),
    getSandbox: (name) => getSandbox(sdk, name),
    listSandboxes: (filter) => labelled(sdk, filter?.labels),
    startSandbox: Effect.fn("Microsandbox.startSandbox")(function* (sandbox) {
      const method = "Microsandbox.startSandbox"
      yield* onHandle(context, method, sandbox, (handle) => handle.startDetached())
      return sandboxInfo(yield* handleOf(context, method, sandbox))
    }),
    stopSandbox: Effect.fn("Microsandbox.stopSandbox")((sandbox, options) => {
      const timeout = millis(options?.timeout ?? defaultStopTimeout)
      return onHandle(context, "Microsandbox.stopSandbox", sandbox, (handle) => handle.stopWithTimeout(timeout))
    }),
    killSandbox: () => refuse("kill", "the cloud can only stop a sandbox")("killSandbox"),
    // Cloud sandboxes always outlive this process.
    detachSandbox: () => Effect.void,
    removeSandbox: Effect.fn("Microsandbox.removeSandbox")((sandbox, options) =>
      notFoundIsSuccess(
        onHandle(context, "Microsandbox.removeSandbox", sandbox, (handle) =>
          options?.force === true ? destroy(handle) : handle.remove()
        )
      )
    ),
    modifySandbox: () => refuse("modify", "the cloud cannot change a sandbox; create another one")("modifySandbox"),
    connect: Effect.fn("Microsandbox.connect")(function* (sandbox) {
      yield* handleOf(context, "Microsandbox.connect", sandbox)
      // The SDK adds its own prefix to ids.
      const id = sandbox.id.replace(/^cloud:/, "")
      const url = new URL(`${context.url.replace(/^http/, "ws")}/v1/sandboxes/${encodeURIComponent(id)}/agent`)
      const connection = yield* AgentConnection.make({
        name: sandbox.name,
        open: () => WebSocketChannel.open(url, { authorization: `Bearer ${context.apiKey}` }),
        timeout: context.connectTimeout
      })
      return AgentGuest.make(connection)
    }),
    readLogs: () => refuse("logs", "the cloud only streams the output of running commands")("readLogs"),
    readMetrics: () => refuse("metrics")("readMetrics"),
    getSandboxLifecycle: () => snapshots("getSandboxLifecycle"),
    searchSandbox: () => refuse("sandbox disks")("searchSandbox")
  }
}

/** The cloud cannot kill. */
const destroy = (handle: SandboxHandle): Promise<void> => handle.destroy({ timeoutMs: millis(defaultStopTimeout) })

const create = Effect.fn("Microsandbox.createSandbox")(function* (
  context: CloudContext,
  request: Microsandbox.CreateSandbox
): Effect.fn.Return<Microsandbox.SandboxInfo, LightboxError> {
  const method = "Microsandbox.createSandbox"
  const { name, source } = request
  const { sdk } = context
  yield* requireBoot(request)
  yield* checkRequest(request)
  yield* checkHostPaths(request.config)
  const config = yield* withDefaults(context, request.config)
  if (request.onConflict === "replace") {
    yield* notFoundIsSuccess(call(method, { sandbox: name }, async () => destroy(await sdk.Sandbox.get(name))))
  }

  const instance = request.labels?.[instanceLabel] ?? (yield* generate)
  // Other machines cannot check whether the owner is alive.
  const labels = Object.fromEntries(
    Object.entries({ ...request.labels, [instanceLabel]: instance }).filter(([key]) => key !== ownerLabel)
  )
  const cleanUp = Effect.flatMap(labelled(sdk, { [instanceLabel]: instance }), (found) =>
    Effect.forEach(found, (sandbox) => notFoundIsSuccess(onHandle(context, method, sandbox, destroy)))
  ).pipe(
    Effect.timeout("30 seconds"),
    Effect.ignore({ log: "Warn", message: `Could not clean up after sandbox "${name}"` })
  )
  // The request cannot be cancelled. Remove the sandbox once it exists.
  return yield* settle({
    run: () => Builder.make(sdk, name, source, config, labels).create(),
    fail: (cause) => Effect.fail(fromSdk(method, { sandbox: name }, cause)),
    onInterrupt: (settled) => Effect.andThen(settled, cleanUp)
  }).pipe(
    Effect.flatMap(({ id }) => handleOf(context, method, { name, id })),
    Effect.map(sandboxInfo),
    Effect.onError((cause) => (isTaken(cause) ? Effect.void : cleanUp))
  )
})
