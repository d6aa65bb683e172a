/** Names and paths that clients send. None of them is trusted. */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import { isEntryName } from "../config/schemas.ts"
import { invalid } from "../config/validation.ts"

const maxNameLength = 255

/** Refuses what is not the name of one entry of a folder. */
export const checkName = (method: string, name: string, field = "name"): Effect.Effect<void, LightboxError> =>
  isEntryName(name) && name.length <= maxNameLength
    ? Effect.void
    : Effect.fail(invalid(method, field, "expected a name, not a path"))

/** Accepts the name of a snapshot, or its path in the home. */
export const checkSnapshot = (home: string, method: string, name: string): Effect.Effect<void, LightboxError> =>
  Path.dirname(name) === Path.join(home, "snapshots") && isEntryName(Path.basename(name))
    ? Effect.void
    : checkName(method, name)

const folders = ["names", "evicted", "used", "aliases", "primed"]

export const checkFolder = (folder: string): Effect.Effect<void, LightboxError> =>
  folders.includes(folder) ? Effect.void : Effect.fail(invalid("Store", "folder", "expected a folder of records"))

export const checkRecord = (path: string): Effect.Effect<void, LightboxError> => {
  const [folder = "", name = "", ...rest] = path.split("/")
  return rest.length > 0
    ? Effect.fail(invalid("Store", "path", "expected a folder and a name"))
    : Effect.andThen(checkFolder(folder), checkName("Store", name, "path"))
}

/** Paths of the host that clients may mount and read, as real paths. */
export interface Allowed {
  readonly folders: ReadonlyArray<string>
}

const isInside = (path: string, folder: string): boolean => {
  const relative = Path.relative(folder, path)
  return relative === "" || !(relative === ".." || relative.startsWith(`..${Path.sep}`) || Path.isAbsolute(relative))
}

const refusal = ({ folders }: Allowed): string =>
  folders.length === 0
    ? "it is a path of the host, which shares no folders; start it with --allow-mount"
    : "it is a path of the host outside the folders that it shares"

/** Returns the real path, if it is in a folder that may be used. */
const realPath = Effect.fnUntraced(function* (
  allowed: Allowed,
  method: string,
  field: string,
  path: string
): Effect.fn.Return<string, LightboxError> {
  const isAllowed = (path: string) => allowed.folders.some((folder) => isInside(path, folder))
  if (!Path.isAbsolute(path)) return yield* invalid(method, field, "expected an absolute path of the host")
  const real = yield* Effect.promise(() => Fs.realpath(path).catch(() => undefined))
  // The driver says what is wrong with a path that does not exist, but only where clients may look.
  return isAllowed(real ?? Path.normalize(path)) ? (real ?? path) : yield* invalid(method, field, refusal(allowed))
})

type Config = Pick<SandboxConfig, "mounts" | "patches" | "registry" | "network">

/** Checks all paths of the host in a configuration, and makes those of mounts real. */
export const checkPaths = Effect.fnUntraced(function* <C extends Config>(
  allowed: Allowed,
  method: string,
  config: C
): Effect.fn.Return<C, LightboxError> {
  const check = (field: string, path: string) => realPath(allowed, method, field, path)
  const mounts: { [path: string]: NonNullable<SandboxConfig["mounts"]>[string] } = {}
  for (const [path, mount] of Object.entries(config.mounts ?? {})) {
    mounts[path] =
      "bind" in mount
        ? { ...mount, bind: yield* check(`mounts.${path}`, mount.bind) }
        : "disk" in mount
          ? { ...mount, disk: yield* check(`mounts.${path}.disk`, mount.disk) }
          : mount
  }
  for (const [index, patch] of (config.patches ?? []).entries()) {
    if (patch._tag === "CopyFile" || patch._tag === "CopyFolder") {
      yield* check(`patches.${index}.hostPath`, patch.hostPath)
    }
  }
  if (config.registry?.caCerts !== undefined) yield* check("registry.caCerts", config.registry.caCerts)
  const { network } = config
  const tls = typeof network === "object" ? network.tls : undefined
  for (const [index, path] of (tls?.upstreamCaCerts ?? []).entries()) {
    yield* check(`network.tls.upstreamCaCerts.${index}`, path)
  }
  if (tls?.authority !== undefined) {
    yield* check("network.tls.authority.certificate", tls.authority.certificate)
    yield* check("network.tls.authority.key", tls.authority.key)
  }
  return config.mounts === undefined ? config : { ...config, mounts }
})
