/** Boots a machine from a configuration: file systems, environment and published ports. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import { realHostPath } from "../createChecks.ts"
import { BootFailed, InvalidConfig, Unsupported } from "../../../LightboxError.ts"
import type * as Mount from "../../../Mount.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import * as ByteString from "./kernel/byteString.ts"
import * as Device from "./kernel/device.ts"
import type { Failure } from "./failure.ts"
import { attempt } from "./kernel/errno.ts"
import { FileTree, type TreeOptions } from "./kernel/fileTree.ts"
import { HostFolder, sizeOf } from "./kernel/hostFolder.ts"
import type { StoredImage } from "./images.ts"
import { Machine } from "./kernel/machine.ts"
import * as Memory from "./kernel/memory.ts"
import { dialThrough, publish } from "./ports.ts"
import type { Context, Held, HomeState } from "./state.ts"
import { root, type Vnode } from "./kernel/vnode.ts"
import { Vfs } from "./kernel/vfs.ts"

const scriptsFolder = "/.msb/scripts"

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

/** Boots a machine. Fails like a guest that does not come up. The scope closes when the machine ends. */
export const boot = Effect.fnUntraced(function* (
  context: Context,
  held: Held,
  scope: Scope.Scope,
  onPowerOff: () => void,
  /** What the machine goes on with. Default: it boots. */
  memory?: Memory.Memory
): Effect.fn.Return<Machine, Failure> {
  const { config, disk, env, image, log, proxy, row } = held
  const { cpus, cwd, memory: size, name } = row.info
  const random = new Device.Random(memory?.seed)
  const clock = yield* Effect.clockWith(Effect.succeed)
  const now = () => clock.currentTimeMillisUnsafe()
  const hostname = config.hostname ?? name.slice(0, 63)
  const fail = (problem: string): BootFailed =>
    new BootFailed({ name, problem: `failed to start "${name}": ${problem}`, lastLines: log.lastLines(20) })
  log.system(now(), `INFO microsandbox_runtime::vm: sandbox starting sandbox=${name}`)
  log.system(now(), `INFO microsandbox_runtime::vm: entering VM sandbox=${name}`)
  const vfs = new Vfs(disk.root)
  yield* Effect.mapError(
    attempt(() => {
      mountKernel(vfs, config, size, now, random)
      if (memory === undefined) writeSettings(vfs, hostname)
    }),
    ({ problem }) => fail(problem)
  )
  for (const [path, mount] of Object.entries(config.mounts ?? {})) {
    if ("disk" in mount) {
      const problem = "the in-memory driver cannot read disk images"
      return yield* new Unsupported({ feature: "disk mounts", problem })
    }
    const at = ByteString.fromText(path.replace(/(.)\/+$/, "$1"))
    yield* Effect.mapError(
      attempt(() => vfs.mount(at, fileSystemOf(context.state, size, now, path, mount), root)),
      ({ problem }) => fail(`mount ${path}: ${problem}`)
    )
  }
  const workdir = cwd ?? image.workdir ?? "/"
  const user = config.user ?? image.user
  const dialOut = proxy && dialThrough(proxy, config.network, scope)
  const guest = { name, hostname, cpus, memory: size, env, workdir, user, dialOut, random }
  const machine = new Machine({ ...guest, programs: context.programs, clock, scope, vfs, onPowerOff, resumed: memory })
  const account = machine.account(user)
  if ("problem" in account) {
    log.system(now(), `agentd: init failed: exec session error: ${account.problem}`)
    return yield* fail("sandbox process exited (exit status: 0) before agent relay became available")
  }
  const isThere = yield* Effect.isSuccess(attempt(() => vfs.stat(`${ByteString.fromText(workdir)}/.`, "/", root)))
  if (config.cwd !== undefined && !isThere) {
    return yield* new InvalidConfig({ field: "cwd", problem: `workdir does not exist in guest: ${workdir}` })
  }
  if (memory !== undefined) {
    yield* Effect.mapError(Memory.restore(machine, memory), ({ problem }) => fail(problem))
    yield* Memory.revive(machine, memory)
  }
  yield* publish(machine, config)
  return machine
})

// =============================================================================
// File systems
// =============================================================================

const mountKernel = (
  vfs: Vfs,
  config: SandboxConfig,
  memory: number,
  now: () => number,
  random: Device.Random
): void => {
  const half = memory / 2
  const mount = (
    path: string,
    type: string,
    { limit = half, options = "rw,relatime", source = type }: Partial<TreeOptions> = {}
  ): FileTree => {
    const tree = new FileTree({ source, type, options, limit, now, isDisk: false, random })
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
  { attributes, volumes }: HomeState,
  memory: number,
  now: () => number,
  path: string,
  mount: Exclude<Mount.Mount, { readonly disk: string }>
): Vnode => {
  if ("tmpfs" in mount) {
    const limit = mount.tmpfs === true ? memory / 2 : mount.tmpfs
    return new FileTree({ source: "tmpfs", type: "tmpfs", options: flags(mount), limit, now, isDisk: false }).root
  }
  const record = "volume" in mount ? volumes.get(mount.volume) : undefined
  const hostPath = "volume" in mount ? volumes.dataOf(mount.volume) : realHostPath(mount.bind)
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
    attributes
  }).root
}
