/** Checks that every driver makes before it creates a sandbox. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { LightboxError, Unsupported } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import {
  checkGrowth,
  defaultResources,
  DurationInput,
  HostPath,
  intBetween,
  isEntryName,
  Memory
} from "../config/schemas.ts"
import { invalid, requireEntryName } from "../config/validation.ts"
import { hostPathProblem } from "../host/fileFailure.ts"

const method = "Microsandbox.createSandbox"

/** Options of every layer that runs real sandboxes. */
export const layerOptions = {
  home: Schema.optional(HostPath),
  cpus: Schema.optional(intBetween(1, 255)),
  memory: Schema.optional(Memory),
  connectTimeout: Schema.optional(DurationInput),
  sweep: Schema.optional(Schema.Boolean)
}

/** A layer's defaults for its sandboxes. */
export interface Defaults {
  readonly cpus: number | undefined
  readonly memory: number | undefined
  readonly pullPolicy?: SandboxConfig["pullPolicy"]
}

/** Applies the defaults, and refuses options that contradict each other. */
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

/** Refuses to resume on a driver that can only boot. */
export const requireBoot = ({ resume }: Microsandbox.CreateSandbox): Effect.Effect<void, LightboxError> =>
  resume === undefined
    ? Effect.void
    : Effect.fail(
        new LightboxError({
          method,
          reason: new Unsupported({
            feature: "resume",
            problem: "this driver cannot resume a machine; it boots the disk"
          })
        })
      )

/** Refuses a path as the name, options that need an image when a snapshot boots, and the reverse. */
export const checkCombination = ({
  config: { ephemeral, patches = [], resources, rootDisk },
  name,
  source
}: Microsandbox.CreateSandbox): Effect.Effect<void, LightboxError> => {
  const refuse = (field: string, problem: string) => Effect.fail(invalid(method, field, problem))
  const isOverlay = rootDisk === "overlay"
  if (!isEntryName(name)) return requireEntryName(method, name)
  if (source._tag === "Image") {
    return isOverlay ? refuse("rootDisk", "this option needs a snapshot: images are always shared") : Effect.void
  }
  if (isOverlay && ephemeral === true) {
    return refuse("rootDisk", "an ephemeral sandbox cannot have an overlay: it would be left behind")
  }
  if (patches.length > 0) {
    return refuse("patches", "patches need an image; with a snapshot, write the files in build steps")
  }
  return resources?.disk === undefined
    ? Effect.void
    : refuse("resources.disk", "this option needs an image: a snapshot has its own size")
}

/**
 * Checks whether an overlay may replace a copied root disk. A disk that is captured later, or outlives the snapshot,
 * must be a copy.
 */
export const wantsOverlay = ({ config, detached, source }: Microsandbox.CreateSandbox): boolean => {
  if (source._tag === "Image") return false
  const { ephemeral, rootDisk = "auto" } = config
  return rootDisk === "overlay" || (rootDisk === "auto" && detached !== true && ephemeral !== true)
}

/** The error for operations that need a root disk made by the runtime. */
export const overlayRefused = (method: string, feature: string): LightboxError =>
  new LightboxError({
    method,
    reason: new Unsupported({
      feature,
      problem: 'the root disk of the sandbox is an overlay; launch the sandbox with rootDisk: "copy"'
    })
  })

/** The runtime follows no links in host paths. */
export const realHostPath = (path: string): string => {
  try {
    return FsSync.realpathSync(path)
  } catch {
    // It has been removed since it was checked. The boot fails, and says so.
    return Path.resolve(path)
  }
}

/** The runtime would notice only in the middle of the boot. */
export const checkHostPaths = Effect.fnUntraced(function* (
  config: SandboxConfig
): Effect.fn.Return<void, LightboxError> {
  const check = (field: string, path: string, kind: "file" | "folder" | "any" = "any") =>
    Effect.tryPromise({
      try: () => Fs.stat(path),
      catch: (cause) => invalid(method, field, hostPathProblem(Path.resolve(path), cause))
    }).pipe(
      Effect.filterOrFail(
        (stats) => kind === "any" || (kind === "file" ? stats.isFile() : stats.isDirectory()),
        () => invalid(method, field, `${Path.resolve(path)} is not a ${kind}`)
      )
    )
  for (const [path, mount] of Object.entries(config.mounts ?? {})) {
    if ("bind" in mount) {
      yield* check(`mounts.${path}`, mount.bind)
      // The runtime separates the parts of a mount with them.
      if (/[,:;]/.test(realHostPath(mount.bind))) {
        return yield* invalid(method, `mounts.${path}`, "the runtime cannot mount a host path with a comma, : or ;")
      }
    } else if ("disk" in mount) yield* check(`mounts.${path}.disk`, mount.disk, "file")
  }
  for (const [index, patch] of (config.patches ?? []).entries()) {
    const field = `patches.${index}.hostPath`
    if (patch._tag === "CopyFile") yield* check(field, patch.hostPath, "file")
    if (patch._tag === "CopyFolder") yield* check(field, patch.hostPath, "folder")
  }
  if (config.registry?.caCerts !== undefined) yield* check("registry.caCerts", config.registry.caCerts, "file")
  const { network } = config
  if (typeof network === "object") {
    for (const [index, path] of (network.tls?.upstreamCaCerts ?? []).entries()) {
      yield* check(`network.tls.upstreamCaCerts.${index}`, path, "file")
    }
    if (network.tls?.authority !== undefined) {
      yield* check("network.tls.authority.certificate", network.tls.authority.certificate, "file")
      yield* check("network.tls.authority.key", network.tls.authority.key, "file")
    }
  }
})
