/**
 * Passes checked options to the SDK.
 *
 * A native builder serves once: a setter called after `create()` ends the whole process. So every attempt gets a new
 * one, and none leaves this module except to create a sandbox at once.
 */
import * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import type * as Sdk from "microsandbox"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { areTaken } from "../../host/userAttributes.ts"
import { realHostPath } from "../createChecks.ts"
import { publishedPorts } from "../ports.ts"
import { defaultBind } from "../../config/schemas.ts"
import type { CreateSandbox } from "../../../Microsandbox.ts"
import type * as Mount from "../../../Mount.ts"
import type * as Network from "../../../Network.ts"
import type { SandboxConfig, Source } from "../../../SandboxConfig.ts"
import { localHome } from "./module.ts"
import { toMebibytes } from "./sizes.ts"
import type { SandboxBuilder } from "./surface.ts"

type SdkModule = typeof Sdk
type MountBuilder = InstanceType<SdkModule["MountBuilder"]>
type NetworkBuilder = InstanceType<SdkModule["NetworkBuilder"]>
type SecretBuilder = InstanceType<SdkModule["SecretBuilder"]>
type PatchBuilder = InstanceType<SdkModule["PatchBuilder"]>
type RegistryBuilder = InstanceType<SdkModule["RegistryConfigBuilder"]>
type InitBuilder = InstanceType<SdkModule["InitOptionsBuilder"]>

/** The source of a sandbox, or an image with a separate disk. */
export type Root =
  | Source
  | { readonly _tag: "Disk"; readonly image: string; readonly path: string; readonly format: "qcow2" | "raw" }

export const make = <Builder extends SandboxBuilder>(
  sdk: { readonly Sandbox: { builder(name: string): Builder } },
  name: string,
  root: Root,
  config: SandboxConfig,
  labels: { readonly [key: string]: string },
  proxy?: CreateSandbox["proxy"]
): Builder => {
  const builder = sdk.Sandbox.builder(name)
  if (root._tag === "Snapshot") builder.fromSnapshot(root.name)
  else if (root._tag === "Image") builder.image(root.reference)
  else {
    builder.image(root.image)
    builder.rootDisk((disk) => disk.disk(root.path).format(root.format).fstype("ext4"))
  }
  resources(builder, config)
  process_(builder, config)
  if (config.security !== undefined) builder.security(config.security)
  if (config.deployment !== undefined) builder.deploymentProfile(config.deployment)
  if (config.ephemeral !== undefined) builder.ephemeral(config.ephemeral)
  if (config.idleTimeout !== undefined) builder.idleTimeout(Duration.toSeconds(config.idleTimeout))
  if (config.maxDuration !== undefined) builder.maxDuration(Duration.toSeconds(config.maxDuration))
  const pullPolicy = root._tag === "Disk" ? "never" : config.pullPolicy
  if (pullPolicy !== undefined) builder.pullPolicy(pullPolicy)
  const { registry } = config
  if (registry !== undefined) builder.registry((b: RegistryBuilder) => configureRegistry(b, registry))
  // Set the network first: it resets ports and secrets.
  network(builder, config.network)
  ports(builder, config)
  if (proxy !== undefined) builder.proxy((b) => b.socks4(`${defaultBind}:${proxy.port}`).userId(proxy.user))
  for (const [variable, secret] of Object.entries(config.secrets ?? {})) {
    builder.secret((b: SecretBuilder) => configureSecret(b, variable, secret))
  }
  const { patches } = config
  if (patches !== undefined && patches.length > 0) builder.patch((b: PatchBuilder) => patches.reduce(applyPatch, b))
  for (const [path, mount] of Object.entries(config.mounts ?? {})) {
    builder.volume(path.replace(/(.)\/+$/, "$1"), (b: MountBuilder) => configureMount(b, mount))
  }
  builder.labels({ ...config.labels, ...labels })
  if (config.logLevel !== undefined) builder.logLevel(config.logLevel)
  if (config.metricsInterval === "off") builder.disableMetricsSample()
  else if (config.metricsInterval !== undefined) {
    builder.metricsSampleIntervalMs(Duration.toMillis(config.metricsInterval))
  }
  return builder
}

const resources = (builder: SandboxBuilder, config: SandboxConfig): void => {
  const { cpus, disk, maxCpus, maxMemory, memory } = config.resources ?? {}
  if (cpus !== undefined) builder.cpus(cpus)
  if (maxCpus !== undefined) builder.maxCpus(maxCpus)
  if (memory !== undefined) builder.memory(toMebibytes(memory))
  if (maxMemory !== undefined) builder.maxMemory(toMebibytes(maxMemory))
  if (disk !== undefined) builder.rootDisk(toMebibytes(disk))
}

const process_ = (builder: SandboxBuilder, config: SandboxConfig): void => {
  if (config.cwd !== undefined) builder.workdir(config.cwd)
  if (config.shell !== undefined) builder.shell(config.shell)
  if (config.user !== undefined) builder.user(config.user)
  if (config.hostname !== undefined) builder.hostname(config.hostname)
  builder.envs({ ...config.env })
  if (config.entrypoint !== undefined) builder.entrypoint([...config.entrypoint])
  if (config.cmd !== undefined) builder.cmd([...config.cmd])
  builder.scripts({ ...config.scripts })
  const { init } = config
  if (init === "auto") builder.init("auto")
  else if (init !== undefined) {
    builder.initWith(init.command, (b: InitBuilder) => b.args([...(init.args ?? [])]).envs({ ...init.env }))
  }
  for (const [resource, limit] of Object.entries(config.rlimits ?? {})) {
    if (typeof limit === "number") builder.rlimit(resource, limit)
    else builder.rlimitRange(resource, limit.soft, limit.hard)
  }
}

const configureRegistry = (
  builder: RegistryBuilder,
  registry: NonNullable<SandboxConfig["registry"]>
): RegistryBuilder => {
  if (registry.username !== undefined && registry.password !== undefined) {
    builder.auth({ kind: "basic", username: registry.username, password: Redacted.value(registry.password) })
  }
  if (registry.insecure === true) builder.insecure()
  if (registry.caCerts !== undefined) builder.caCerts(Fs.readFileSync(registry.caCerts))
  return builder
}

const ports = (builder: SandboxBuilder, config: SandboxConfig): void => {
  for (const { bind, guest, host, protocol } of publishedPorts(config)) {
    if (protocol === "tcp") builder.portBind(bind, host, guest)
    else builder.portUdpBind(bind, host, guest)
  }
}

const network = (builder: SandboxBuilder, options: Network.Network | undefined): void => {
  if (options === undefined || options === "public") return
  if (options === "none") builder.disableNetwork()
  else builder.network((b: NetworkBuilder) => configureNetwork(b, options === "all" ? { policy: "all" } : options))
}

const configureNetwork = (builder: NetworkBuilder, options: Exclude<Network.Network, string>): NetworkBuilder => {
  const { dns, policy, rateLimit, tls } = options
  if (policy === "none") builder.enabled(false)
  else if (policy === "all") {
    builder.policy({ defaultEgress: "allow", defaultIngress: "allow", rules: [] })
  } else if (typeof policy === "object") {
    builder.policy({
      defaultEgress: policy.egress ?? "deny",
      defaultIngress: policy.ingress ?? "allow",
      rules: (policy.rules ?? []).map((rule) => ({
        action: rule.action,
        direction: rule.direction ?? "egress",
        destination: destination(rule.to),
        protocols: rule.protocols ?? [],
        ports: (rule.ports ?? []).map((port) =>
          typeof port === "number" ? { start: port, end: port } : { start: port.from, end: port.to }
        )
      }))
    })
  }
  if (dns !== undefined) {
    builder.dns((b) => {
      if (dns.nameservers !== undefined) b.nameservers([...dns.nameservers])
      if (dns.rebindProtection !== undefined) b.rebindProtection(dns.rebindProtection)
      if (dns.queryTimeout !== undefined) b.queryTimeoutMs(Duration.toMillis(dns.queryTimeout))
      return b
    })
  }
  if (tls !== undefined) {
    builder.tls((b) => {
      for (const host of tls.bypass ?? []) b.bypass(host)
      if (tls.verifyUpstream !== undefined) b.verifyUpstream(tls.verifyUpstream)
      if (tls.interceptedPorts !== undefined) b.interceptedPorts([...tls.interceptedPorts])
      if (tls.blockQuic !== undefined) b.blockQuic(tls.blockQuic)
      for (const path of tls.upstreamCaCerts ?? []) b.upstreamCaCert(Path.resolve(path))
      if (tls.authority !== undefined) {
        b.interceptCaCert(Path.resolve(tls.authority.certificate)).interceptCaKey(Path.resolve(tls.authority.key))
      }
      return b
    })
  }
  if (options.maxConnections !== undefined) builder.maxConnections(options.maxConnections)
  if (options.strict !== undefined) builder.strict(options.strict)
  if (options.trustHostCas !== undefined) builder.trustHostCAs(options.trustHostCas)
  if (rateLimit !== undefined) {
    builder.rateLimiter((b) => {
      for (const direction of ["egress", "ingress"] as const) {
        const limit = rateLimit[direction]
        if (limit === undefined) continue
        b[direction]((bucket) => {
          if (limit.bytesPerSecond !== undefined) bucket.bandwidth(limit.bytesPerSecond, 1000)
          if (limit.packetsPerSecond !== undefined) bucket.ops(limit.packetsPerSecond, 1000)
          return bucket
        })
      }
      return b
    })
  }
  return builder
}

const destination = (to: Network.Destination): Sdk.Destination => {
  if (to === "any") return { kind: "any" }
  if ("cidr" in to) return { kind: "cidr", cidr: to.cidr }
  if ("domain" in to) return { kind: "domain", domain: to.domain }
  if ("domainSuffix" in to) return { kind: "domainSuffix", suffix: to.domainSuffix }
  return { kind: "group", group: to.group }
}

const configureSecret = (
  builder: SecretBuilder,
  variable: string,
  secret: typeof Network.Secret.Type
): SecretBuilder => {
  builder.env(variable).value(Redacted.value(secret.value))
  for (const host of secret.hosts) {
    if (host.includes("*")) builder.allowHostPattern(host)
    else builder.allowHost(host)
  }
  if (secret.placeholder !== undefined) builder.placeholder(secret.placeholder)
  if (secret.requireTls !== undefined) builder.requireTlsIdentity(secret.requireTls)
  const { basicAuth, body, headers, query } = secret.inject ?? {}
  if (headers !== undefined) builder.injectHeaders(headers)
  if (basicAuth !== undefined) builder.injectBasicAuth(basicAuth)
  if (query !== undefined) builder.injectQuery(query)
  if (body !== undefined) builder.injectBody(body)
  return builder
}

/** The SDK accepts absent options, but not undefined ones. */
const defined = <A>(key: string, value: A | undefined): { readonly [key: string]: A } =>
  value === undefined ? {} : { [key]: value }

type Patch = NonNullable<SandboxConfig["patches"]>[number]

const applyPatch = (builder: PatchBuilder, patch: Patch): PatchBuilder => {
  const mode = "mode" in patch ? defined("mode", patch.mode) : {}
  const replace = "replace" in patch ? defined("replace", patch.replace) : {}
  switch (patch._tag) {
    case "Write":
      return typeof patch.content === "string"
        ? builder.text(patch.path, patch.content, { ...mode, ...replace })
        : builder.file(patch.path, Buffer.from(patch.content), { ...mode, ...replace })
    case "Append":
      return builder.append(patch.path, patch.content)
    case "CopyFile":
      return builder.copyFile(Path.resolve(patch.hostPath), patch.path, { ...mode, ...replace })
    case "CopyFolder":
      return builder.copyDir(Path.resolve(patch.hostPath), patch.path, replace)
    case "Symlink":
      return builder.symlink(patch.target, patch.path, replace)
    case "Mkdir":
      return builder.mkdir(patch.path, mode)
    case "Remove":
      return builder.remove(patch.path)
  }
}

/** By default the runtime records strictly, and refuses to boot where it cannot. */
const recording = (mount: Mount.Bind | Mount.Volume): Mount.Bind["statVirtualization"] => {
  const path = "bind" in mount ? realHostPath(mount.bind) : localHome()
  try {
    return mount.statVirtualization ?? (path === undefined || areTaken(path) ? undefined : "relaxed")
  } catch {
    // The home, or what was just checked, does not exist.
    return undefined
  }
}

const configureMount = (builder: MountBuilder, mount: Mount.Mount): MountBuilder => {
  if ("bind" in mount) {
    builder.bind(realHostPath(mount.bind))
    if (mount.quota !== undefined) builder.quota(toMebibytes(mount.quota))
  } else if ("volume" in mount) {
    if (mount.create === false) builder.named(mount.volume)
    else builder.namedWith(mount.volume, "ensure-exists")
  } else if ("tmpfs" in mount) {
    builder.tmpfs()
    if (mount.tmpfs !== true) builder.size(toMebibytes(mount.tmpfs))
  } else {
    builder.disk(realHostPath(mount.disk))
    if (mount.format !== undefined) builder.format(mount.format)
    if (mount.fstype !== undefined) builder.fstype(mount.fstype)
  }
  if ("bind" in mount || "volume" in mount) {
    if (mount.owner !== undefined) builder.owner(mount.owner.uid, mount.owner.gid)
    const policy = recording(mount)
    if (policy !== undefined) builder.statVirtualization(policy)
    if (mount.hostPermissions !== undefined) builder.hostPermissions(mount.hostPermissions)
  }
  if (mount.readonly === true) builder.readonly()
  if (mount.noexec === true) builder.noexec()
  if (mount.nosuid === true) builder.nosuid()
  if (mount.nodev === true) builder.nodev()
  return builder
}
