/**
 * What is looked at before a sandbox is created, whichever driver creates it.
 */
import * as Effect from "effect/Effect"
import * as Dgram from "node:dgram"
import * as Fs from "node:fs/promises"
import * as Net from "node:net"
import * as Path from "node:path"
import { LightboxError, Unsupported } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import { checkGrowth, defaultBind, defaultResources } from "../config/schemas.ts"
import { publishedPorts } from "./publishedPorts.ts"
import { isCode } from "../host/socket.ts"
import { invalid } from "../config/validation.ts"

const method = "Microsandbox.createSandbox"

/** What a layer says of all sandboxes that do not say it themselves. */
export interface Defaults {
  readonly cpus: number | undefined
  readonly memory: number | undefined
  readonly pullPolicy?: SandboxConfig["pullPolicy"]
}

/** Fills in what is not said, and refuses what then does not fit together. */
export const withDefaults = (
  { cpus, memory, pullPolicy }: Defaults,
  config: SandboxConfig
): Effect.Effect<SandboxConfig, LightboxError> => {
  const resources = {
    ...config.resources,
    cpus: config.resources?.cpus ?? cpus,
    memory: config.resources?.memory ?? memory
  }
  const [wrong] = checkGrowth({
    ...resources,
    cpus: resources.cpus ?? defaultResources.cpus,
    memory: resources.memory ?? defaultResources.memory
  })
  return wrong === undefined
    ? Effect.succeed({ ...config, resources, pullPolicy: config.pullPolicy ?? pullPolicy })
    : Effect.fail(invalid(method, `resources.${wrong.path[0]}`, wrong.issue))
}

/** Refuses what can not be said of a snapshot, or only of one. */
export const checkCombination = ({
  config,
  source
}: Microsandbox.CreateSandbox): Effect.Effect<void, LightboxError> => {
  if (source._tag === "Image") {
    return config.rootDisk === "overlay"
      ? Effect.fail(invalid(method, "rootDisk", "expected none with an image, which is shared anyway"))
      : Effect.void
  }
  if (config.rootDisk === "overlay" && config.ephemeral === true) {
    return Effect.fail(invalid(method, "rootDisk", "expected no overlay for an ephemeral sandbox: it would stay"))
  }
  if (config.patches !== undefined && config.patches.length > 0) {
    return Effect.fail(invalid(method, "patches", "expected none with a snapshot; write the files with build steps"))
  }
  return config.resources?.disk === undefined
    ? Effect.void
    : Effect.fail(invalid(method, "resources.disk", "expected none with a snapshot, which has its own size"))
}

/** Whether a root disk is to be an overlay where that saves a copy: not where it can be captured later, or would stay. */
export const wantsOverlay = ({ config, detached, source }: Microsandbox.CreateSandbox): boolean => {
  if (source._tag === "Image") return false
  const { ephemeral, rootDisk = "auto" } = config
  return rootDisk === "overlay" || (rootDisk === "auto" && detached !== true && ephemeral !== true)
}

/** The error for what the runtime can only do with root disks that it has made itself. */
export const overlayRefused = (method: string, feature: string): LightboxError =>
  new LightboxError({
    method,
    reason: new Unsupported({
      feature,
      problem: 'the root disk of the sandbox is an overlay; launch it with rootDisk: "copy"'
    })
  })

/** The runtime would find out only after half a boot. */
export const checkHostPaths = Effect.fnUntraced(function* (
  config: SandboxConfig
): Effect.fn.Return<void, LightboxError> {
  const check = (field: string, path: string, kind: "file" | "folder" | "any" = "any") =>
    Effect.tryPromise({
      try: () => Fs.stat(path),
      catch: () => invalid(method, field, `there is no ${Path.resolve(path)} on this host`)
    }).pipe(
      Effect.filterOrFail(
        (stats) => kind === "any" || (kind === "file" ? stats.isFile() : stats.isDirectory()),
        () => invalid(method, field, `${Path.resolve(path)} is no ${kind}`)
      )
    )
  for (const [path, mount] of Object.entries(config.mounts ?? {})) {
    if (typeof mount === "string") yield* check(`mounts.${path}`, mount)
    else if (mount._tag === "Bind" || mount._tag === "Disk") yield* check(`mounts.${path}.hostPath`, mount.hostPath)
  }
  for (const [index, patch] of (config.patches ?? []).entries()) {
    const field = `patches.${index}.hostPath`
    if (patch._tag === "CopyFile") yield* check(field, patch.hostPath, "file")
    if (patch._tag === "CopyFolder") yield* check(field, patch.hostPath, "folder")
  }
  if (config.registry?.caCerts !== undefined) yield* check("registry.caCerts", config.registry.caCerts)
  const { network } = config
  if (typeof network === "object") {
    for (const [index, path] of (network.tls?.upstreamCaCerts ?? []).entries()) {
      yield* check(`network.tls.upstreamCaCerts.${index}`, path)
    }
    if (network.tls?.authority !== undefined) {
      yield* check("network.tls.authority.certificate", network.tls.authority.certificate)
      yield* check("network.tls.authority.key", network.tls.authority.key)
    }
  }
})

/** Listens on a TCP port of this host. */
export const listenOn = (
  port: number,
  bind = defaultBind,
  onConnection?: (socket: Net.Socket) => void
): Promise<Net.Server> =>
  new Promise((resolve, reject) => {
    const server = Net.createServer({ allowHalfOpen: true }, onConnection)
    server.unref()
    server.once("error", reject)
    server.listen(port, bind, () => {
      server.off("error", reject)
      resolve(server)
    })
  })

/** Takes a UDP port of this host. */
export const bindTo = (port: number, bind = defaultBind): Promise<Dgram.Socket> =>
  new Promise((resolve, reject) => {
    const socket = Dgram.createSocket(Net.isIPv6(bind) ? "udp6" : "udp4")
    socket.unref()
    socket.once("error", reject)
    socket.bind(port, bind, () => {
      socket.off("error", reject)
      resolve(socket)
    })
  })

/** The error for a port that can not be listened on. */
export const portRefused = (port: number, bind = defaultBind, cause: unknown): LightboxError =>
  invalid(
    method,
    `ports.${port}`,
    isCode(cause, "EADDRINUSE")
      ? `port ${port} of ${bind} is in use on this host`
      : `this host does not let port ${port} of ${bind} be listened on: ${String(cause)}`
  )

// The port is not let go of while a connection to it is open.
const hangUp = (socket: Net.Socket): void => void socket.destroy()

/** The runtime boots a sandbox whose port is in use as if nothing were wrong, and nothing ever reaches it. */
export const checkPorts = (config: SandboxConfig): Effect.Effect<void, LightboxError> =>
  // All at once: two that are wanted may be in each other's way.
  Effect.scoped(
    Effect.forEach(
      publishedPorts(config),
      ({ bind, host, protocol }) =>
        Effect.acquireRelease(
          Effect.tryPromise<Net.Server | Dgram.Socket, LightboxError>({
            try: () => (protocol === "tcp" ? listenOn(host, bind, hangUp) : bindTo(host, bind)),
            catch: (cause) => portRefused(host, bind, cause)
          }),
          (taken) => Effect.promise(() => new Promise<void>((resolve) => taken.close(() => resolve())))
        ),
      { discard: true }
    )
  )
