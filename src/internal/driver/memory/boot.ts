/** Boots a machine from a configuration: file systems, environment and published ports. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Path from "node:path"
import { BootFailed, InvalidConfig, LightboxError, Unsupported } from "../../../LightboxError.ts"
import type * as Mount from "../../../Mount.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import * as ByteString from "./kernel/byteString.ts"
import * as Device from "./kernel/device.ts"
import { attempt } from "./kernel/errno.ts"
import { FileTree, type TreeOptions } from "./kernel/fileTree.ts"
import { type GuestAttributes, HostFolder, sizeOf } from "./kernel/hostFolder.ts"
import type { StoredImage } from "./images.ts"
import type { Log } from "./logs.ts"
import { Machine } from "./kernel/machine.ts"
import { publish } from "./ports.ts"
import type { Program } from "./kernel/process.ts"
import { root, type Vnode } from "./kernel/vnode.ts"
import { Vfs } from "./kernel/vfs.ts"
import type { VolumeStore } from "./volumes.ts"

const scriptsFolder = "/.msb/scripts"

export interface BootOptions {
  readonly method: string
  readonly name: string
  readonly config: SandboxConfig
  readonly cpus: number
  /** Bytes. */
  readonly memory: number
  readonly env: ReadonlyMap<string, string>
  readonly workdir: string
  readonly image: StoredImage
  readonly disk: FileTree
  readonly volumes: VolumeStore
  readonly attributes: GuestAttributes
  readonly programs: ReadonlyMap<string, Program>
  readonly clock: Clock.Clock
  readonly log: Log
  /** Closed when the machine ends. */
  readonly scope: Scope.Scope
  readonly onPowerOff: () => void
}

/** The default environment of commands. */
export const environment = (image: StoredImage, config: SandboxConfig): Map<string, string> => {
  const env = new Map<string, string>([["TERM", "linux"]])
  const set = (variables: { readonly [name: string]: string }) => {
    for (const [name, value] of Object.entries(variables))
      env.set(ByteString.fromText(name), ByteString.fromText(value))
  }
  set(image.env)
  set({ ...config.env })
  for (const [name, { placeholder }] of Object.entries(config.secrets ?? {}))
    set({ [name]: placeholder ?? `$MSB_${name}` })
  env.set(
    "PATH",
    `${scriptsFolder}:${env.get("PATH") ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}`
  )
  return env
}

/** Boots a machine. Fails like a guest that does not come up. */
export const boot = Effect.fnUntraced(function* (options: BootOptions): Effect.fn.Return<Machine, LightboxError> {
  const { clock, config, disk, log, method, name } = options
  const now = () => clock.currentTimeMillisUnsafe()
  const hostname = config.hostname ?? name.slice(0, 63)
  log.system(now(), `INFO microsandbox_runtime::vm: sandbox starting sandbox=${name}`)
  log.system(now(), `INFO microsandbox_runtime::vm: entering VM sandbox=${name}`)
  const vfs = yield* Effect.mapError(
    attempt(() => {
      const vfs = new Vfs(disk.root)
      mountKernel(vfs, options, now)
      writeSettings(vfs, hostname)
      return vfs
    }),
    ({ problem }) => bootFailed(options, problem)
  )
  yield* Effect.forEach(
    Object.entries(config.mounts ?? {}),
    ([path, mount]) => mountOne(vfs, options, now, path, mount),
    {
      discard: true
    }
  )
  const machine = new Machine({
    name,
    hostname,
    cpus: options.cpus,
    memory: options.memory,
    env: options.env,
    workdir: options.workdir,
    user: config.user ?? options.image.user,
    programs: options.programs,
    clock,
    scope: options.scope,
    vfs,
    onPowerOff: options.onPowerOff
  })
  const account = machine.account(machine.user)
  if ("problem" in account) {
    log.system(now(), `agentd: init failed: exec session error: ${account.problem}`)
    return yield* bootFailed(options, "sandbox process exited (exit status: 0) before agent relay became available")
  }
  const workdir = ByteString.fromText(options.workdir)
  const isThere = yield* Effect.isSuccess(attempt(() => vfs.stat(`${workdir}/.`, "/", root)))
  if (config.cwd !== undefined && !isThere) {
    return yield* new LightboxError({
      method,
      reason: new InvalidConfig({ field: "cwd", problem: `workdir does not exist in guest: ${options.workdir}` })
    })
  }
  yield* publish(machine, config)
  return machine
})

const bootFailed = ({ log, method, name }: BootOptions, problem: string): LightboxError =>
  new LightboxError({
    method,
    reason: new BootFailed({ name, problem: `failed to start "${name}": ${problem}`, lastLines: log.lastLines(20) })
  })

// =============================================================================
// File systems
// =============================================================================

const mountKernel = (vfs: Vfs, { config, memory }: BootOptions, now: () => number): void => {
  const half = memory / 2
  const mount = (
    path: string,
    type: string,
    { limit = half, options = "rw,relatime", source = type }: Partial<TreeOptions> = {}
  ): FileTree => {
    const tree = new FileTree({ source, type, options, limit, now, isDisk: false })
    vfs.mount(path, tree.root, root)
    return tree
  }
  mount("/.msb", "virtiofs", { source: "msb_runtime" })
  vfs.makeFolders(scriptsFolder, "/", 0o755, root)
  for (const [name, content] of Object.entries(config.scripts ?? {})) {
    const path = `${scriptsFolder}/${ByteString.fromText(name)}`
    vfs.write(path, root, Buffer.from(content), 0o755)
  }
  const devices = mount("/dev", "devtmpfs")
  const folder = 1
  for (const device of Device.all) devices.add(folder, device, { _tag: "Device", device }, root)
  for (const [index, name] of ["stdin", "stdout", "stderr"].entries()) {
    vfs.make(`/dev/${name}`, "/", root, { _tag: "Symlink", target: `/proc/self/fd/${index}` })
  }
  vfs.make("/dev/fd", "/", root, { _tag: "Symlink", target: "/proc/self/fd" })
  mount("/sys", "sysfs", { options: "rw,nosuid,nodev,noexec,relatime" })
  mount("/dev/shm", "tmpfs", { options: "rw,nosuid,noexec,relatime" })
  mount("/tmp", "tmpfs", { limit: half / 2 })
  for (const path of ["/dev/shm", "/tmp"]) vfs.setAttributes(path, "/", root, { mode: 0o1777 })
}

const writeSettings = (vfs: Vfs, hostname: string): void => {
  const write = (path: string, content: string) => vfs.write(path, root, ByteString.toBytes(content), 0o644)
  vfs.makeFolders("/etc", "/", 0o755, root)
  write("/etc/hostname", hostname)
  write("/etc/hosts", `127.0.0.1\tlocalhost ${hostname}\n::1\tlocalhost ${hostname}\n`)
  write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
}

const sourceName = (prefix: string, path: string): string => `${prefix}_${Crypto.hash("sha256", path).slice(0, 8)}`

const flags = (mount: {
  readonly [flag in "readonly" | "noexec" | "nosuid" | "nodev"]?: boolean | undefined
}): string =>
  [
    mount.readonly === true ? "ro" : "rw",
    ...(["noexec", "nosuid", "nodev"] as const).filter((flag) => mount[flag] === true),
    "relatime"
  ].join(",")

/** The file system of a mount, with its root. */
const fileSystemOf = (
  options: BootOptions,
  now: () => number,
  path: string,
  mount: Exclude<Mount.Mount, { readonly disk: string }>
): Vnode => {
  if ("tmpfs" in mount) {
    const limit = mount.tmpfs === true ? options.memory / 2 : mount.tmpfs
    return new FileTree({ source: "tmpfs", type: "tmpfs", options: flags(mount), limit, now, isDisk: false }).root
  }
  const record = "volume" in mount ? options.volumes.get(mount.volume) : undefined
  const hostPath = "volume" in mount ? options.volumes.dataOf(mount.volume) : Path.resolve(mount.bind)
  const limit =
    "volume" in mount ? record?.quota : mount.quota === undefined ? undefined : sizeOf(hostPath) + mount.quota
  return new HostFolder({
    path: hostPath,
    source:
      record?.kind === "disk"
        ? `/dev/${sourceName("vd", path)}`
        : sourceName("volume" in mount ? mount.volume : "bind", path),
    type: record?.kind === "disk" ? "ext4" : "virtiofs",
    options: flags(mount),
    isReadonly: mount.readonly === true,
    owner: mount.owner ?? { uid: 0, gid: 0 },
    mirrorsModes: mount.hostPermissions === "mirror",
    limit,
    attributes: options.attributes
  }).root
}

const mountOne = (
  vfs: Vfs,
  options: BootOptions,
  now: () => number,
  path: string,
  mount: Mount.Mount
): Effect.Effect<void, LightboxError> => {
  if ("disk" in mount) {
    return Effect.fail(
      new LightboxError({
        method: options.method,
        reason: new Unsupported({ feature: "disk mounts", problem: "the in-memory driver cannot read disk images" })
      })
    )
  }
  const at = ByteString.fromText(path.replace(/(.)\/+$/, "$1"))
  return Effect.mapError(
    attempt(() => vfs.mount(at, fileSystemOf(options, now, path, mount), root)),
    ({ problem }) => bootFailed(options, `mount ${path}: ${problem}`)
  )
}
