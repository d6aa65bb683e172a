/**
 * Public types that name nothing of Effect, so that the Promise API's declarations can use them.
 */
import type { SignalName } from "./signals.ts"

type WholeNumber = "0" | (`${bigint}` & `${"1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"}${string}`)

export type Size = number | `${WholeNumber}${"" | " "}${"K" | "KiB" | "M" | "MiB" | "G" | "GiB" | "k" | "m" | "g"}`

export interface PortMapping {
  /** Port on the host. Default: 0, a free port, reported in the `ports` of the sandbox. */
  readonly host?: number | undefined
  /** Port in the guest. */
  readonly guest: number
  /** Default: `"tcp"`. */
  readonly protocol?: "tcp" | "udp" | undefined
  /** Address on the host to listen on. Default: `"127.0.0.1"`. */
  readonly bind?: string | undefined
}

export interface MountOptions {
  /** Reject writes from the guest. Default: `false`. */
  readonly readonly?: boolean | undefined
  /** Prevent programs from running from the mount. Default: `false`. */
  readonly noexec?: boolean | undefined
  /** Ignore set-user-id and set-group-id bits. Default: `false`. */
  readonly nosuid?: boolean | undefined
  /** Ignore device files. Default: `false`. */
  readonly nodev?: boolean | undefined
}

export interface FolderMountOptions extends MountOptions {
  /** Owner that the guest sees for files without a recorded guest owner. Default: root. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined
  /**
   * How owners and modes set by the guest are recorded. `"strict"`: in extended attributes of the host's files; where
   * there are none, the sandbox does not boot. `"relaxed"`: there, they are not recorded. `"off"`: the guest sees and
   * sets those of the host. Default: `"strict"` where attributes can surely be set (a writable ext4, XFS, btrfs, F2FS,
   * bcachefs, ZFS, or macOS), else `"relaxed"`.
   */
  readonly statVirtualization?: "strict" | "relaxed" | "off" | undefined
  /** `"mirror"`: modes set by the guest also apply to the host's files. `"private"` (default): they do not. */
  readonly hostPermissions?: "private" | "mirror" | undefined
}

export interface BindMount extends FolderMountOptions {
  /** A path on the host, resolved against the current directory at launch. It must exist then. */
  readonly bind: string
  /** How much the guest may add to the folder, such as `"1G"`. Default: a protective limit of the runtime. */
  readonly quota?: Size | undefined
}

export interface VolumeMount extends FolderMountOptions {
  readonly volume: string
  /** Create the volume, without quota and labels, if it does not exist. Default: `true`. */
  readonly create?: boolean | undefined
}

export interface TmpfsMount extends MountOptions {
  /** Capacity, such as `"64M"`. `true`: half of the guest's memory. */
  readonly tmpfs: Size | true
}

export interface DiskMount extends MountOptions {
  /** Path of the image on the host. */
  readonly disk: string
  /** Format of the image. Default: from the file's extension, else `"raw"`. */
  readonly format?: "raw" | "qcow2" | "vmdk" | undefined
  /** File system, such as `"ext4"`. Default: the guest tries those it supports. */
  readonly fstype?: string | undefined
}

export type MountInput = string | BindMount | VolumeMount | TmpfsMount | DiskMount

export interface PublishedPort {
  /** Port on the host. */
  readonly host: number
  /** Port in the guest. */
  readonly guest: number
  readonly protocol: "tcp" | "udp"
  /** Address on the host. */
  readonly bind: string
}

export type Signal = SignalName | number

export type NetworkAction = "allow" | "deny"

export type NetworkDestination =
  | "any"
  | { readonly cidr: string }
  | { readonly domain: string }
  | { readonly domainSuffix: string }
  | {
      readonly group: "public" | "private" | "loopback" | "link-local" | "metadata" | "multicast" | "host"
    }

export interface NetworkRule {
  readonly action: NetworkAction
  /** The remote end. */
  readonly to: NetworkDestination
  /** Default: `"egress"`. */
  readonly direction?: "egress" | "ingress" | "any" | undefined
  /** Default: any. */
  readonly protocols?: ReadonlyArray<"tcp" | "udp" | "icmpv4" | "icmpv6"> | undefined
  /** Ports of the remote end, single or as inclusive ranges. Default: any. */
  readonly ports?: ReadonlyArray<number | { readonly from: number; readonly to: number }> | undefined
}

export interface NetworkPolicy {
  /** For traffic from the guest that no rule matches. Default: `"deny"`; DNS to the host still works. */
  readonly egress?: NetworkAction | undefined
  /** For traffic to published ports that no rule matches. Default: `"allow"`. */
  readonly ingress?: NetworkAction | undefined
  /** Default: none. */
  readonly rules?: ReadonlyArray<NetworkRule> | undefined
}

export interface RateLimit {
  /** Default: unlimited. */
  readonly bytesPerSecond?: number | undefined
  /** Default: unlimited. */
  readonly packetsPerSecond?: number | undefined
}

export interface DnsOptions {
  /** Addresses or names, optionally with a port (default: 53). Default: the host's name servers. */
  readonly nameservers?: ReadonlyArray<string> | undefined
  /** Refuse public names that resolve to private addresses. Default: `true`. */
  readonly rebindProtection?: boolean | undefined
}

export interface TlsOptions {
  /** Hosts, or patterns such as `*.example.com`, to exclude. Default: none. */
  readonly bypass?: ReadonlyArray<string> | undefined
  /** Verify certificates of the remote end. Default: `true`. */
  readonly verifyUpstream?: boolean | undefined
  /** Ports to intercept. Default: `[443]`. */
  readonly interceptedPorts?: ReadonlyArray<number> | undefined
  /** Block QUIC, so that clients fall back to TLS over TCP. Default: the runtime's. */
  readonly blockQuic?: boolean | undefined
  /** PEM files on the host with additional certificate authorities for remote ends. Default: none. */
  readonly upstreamCaCerts?: ReadonlyArray<string> | undefined
  /**
   * The certificate authority that signs for the guest, as PEM files on the host. Default: generated for the sandbox.
   */
  readonly authority?: { readonly certificate: string; readonly key: string } | undefined
}

export interface NetworkOptions<Dns> {
  /** `"none"`, `"public"`, `"all"`, or rules. Default: `"public"`. */
  readonly policy?: "none" | "public" | "all" | NetworkPolicy | undefined
  /** DNS options. Default: use the host's name servers. */
  readonly dns?: Dns | undefined
  /** TLS interception. Default: off, unless there are secrets. */
  readonly tls?: TlsOptions | undefined
  /** Concurrent connections, 1 to 4096. Default: the runtime's. */
  readonly maxConnections?: number | undefined
  /** Apply rules that name hosts only where the host name can be inspected. Default: `false`. */
  readonly strict?: boolean | undefined
  /** Trust the host's own certificate authorities in the guest. Default: `false`. */
  readonly trustHostCas?: boolean | undefined
  /** Limits on traffic, by direction. Default: unlimited. */
  readonly rateLimit?: { readonly egress?: RateLimit | undefined; readonly ingress?: RateLimit | undefined } | undefined
}

export interface SecretInjection {
  /** Default: `true`. */
  readonly headers?: boolean | undefined
  /** Default: `true`. */
  readonly basicAuth?: boolean | undefined
  /** Default: `false`. */
  readonly query?: boolean | undefined
  /** Default: `false`. */
  readonly body?: boolean | undefined
}

export interface SecretOptions {
  /** Hosts that may receive the value, or patterns such as `*.example.com`. At least one. */
  readonly hosts: ReadonlyArray<string>
  /** The value that the guest sees. Default: generated. */
  readonly placeholder?: string | undefined
  /** Where to replace the placeholder. Default: in headers and basic authentication. */
  readonly inject?: SecretInjection | undefined
  /** Replace only after verifying the host's TLS identity. Default: `true`. */
  readonly requireTls?: boolean | undefined
}

interface PatchOptions {
  /** Permission bits, such as `0o755`. Default: 0o644 for files, 0o755 for folders. */
  readonly mode?: number | undefined
  /** Replace a file of the image. Default: `false`. */
  readonly replace?: boolean | undefined
}

export type Patch =
  | ({ readonly _tag: "Write"; readonly path: string; readonly content: string | Uint8Array } & PatchOptions)
  | { readonly _tag: "Append"; readonly path: string; readonly content: string }
  | ({ readonly _tag: "CopyFile"; readonly hostPath: string; readonly path: string } & PatchOptions)
  | ({ readonly _tag: "CopyFolder"; readonly hostPath: string; readonly path: string } & Pick<PatchOptions, "replace">)
  | ({ readonly _tag: "Symlink"; readonly target: string; readonly path: string } & Pick<PatchOptions, "replace">)
  | ({ readonly _tag: "Mkdir"; readonly path: string } & Pick<PatchOptions, "mode">)
  | { readonly _tag: "Remove"; readonly path: string }

export interface Init {
  /** Path of the program in the guest. */
  readonly command: string
  /** Default: none. */
  readonly args?: ReadonlyArray<string> | undefined
  /** Environment variables. Default: none. */
  readonly env?: { readonly [name: string]: string } | undefined
}

export type PullProgress =
  | { readonly _tag: "Resolving"; readonly reference: string }
  | {
      readonly _tag: "Resolved"
      readonly reference: string
      readonly digest: string
      readonly layers: number
      readonly total: number | undefined
    }
  | {
      readonly _tag: "Downloading"
      readonly layer: number
      readonly done: number
      readonly total: number | undefined
    }
  | { readonly _tag: "Unpacking"; readonly layer: number; readonly done: number; readonly total: number | undefined }
  | { readonly _tag: "Pulled"; readonly reference: string }

export interface ModifySandbox {
  /** Processors, 1 to 255. */
  readonly cpus?: number | undefined
  /** Limit for adding processors while the sandbox runs. */
  readonly maxCpus?: number | undefined
  /** Memory in whole MiB, at least `"64M"`. */
  readonly memory?: Size | undefined
  /** Limit for adding memory while the sandbox runs. */
  readonly maxMemory?: Size | undefined
  /** Size of the root disk. It can only grow. */
  readonly disk?: Size | undefined
  /** Default working directory of commands. */
  readonly cwd?: string | undefined
  /** Environment variables; `undefined` removes one. */
  readonly env?: { readonly [name: string]: string | undefined } | undefined
  /** Labels; `undefined` removes one. */
  readonly labels?: { readonly [key: string]: string | undefined } | undefined
  /**
   * `"now"` (default): apply at once, and fail if a change needs a restart. `"restart"`: restart if necessary.
   * `"next-start"`: wait for the next start.
   */
  readonly apply?: "now" | "restart" | "next-start" | undefined
  /** Report the changes without applying them. Default: `false`. */
  readonly dryRun?: boolean | undefined
}

export interface ModificationPlan {
  readonly applied: boolean
  readonly changes: ReadonlyArray<{
    /** A field of the change. */
    readonly field: string
    readonly before?: string | undefined
    readonly after?: string | undefined
    /** When it takes effect. */
    readonly disposition: "live" | "next start" | "requires restart" | "unsupported"
  }>
  readonly conflicts: ReadonlyArray<{ readonly field: string; readonly problem: string }>
  readonly warnings: ReadonlyArray<{ readonly field: string; readonly problem: string }>
}

export interface PoolStats {
  readonly min: number
  readonly max: number
  /** Ready to be handed out. */
  readonly ready: number
  readonly booting: number
  /** In use. */
  readonly used: number
  /** Being removed. */
  readonly leaving: number
  /** Users waiting for a sandbox. */
  readonly waiting: number
  /** Successful boots in total. */
  readonly booted: number
  /** Failed boots in total. */
  readonly failed: number
  /** Sandboxes handed out in total. */
  readonly handedOut: number
}

export interface ResourceUsage {
  readonly cpuPercent: number
  readonly memory: number
  readonly memoryLimit: number
  readonly diskRead: number
  readonly diskWritten: number
  readonly networkReceived: number
  readonly networkSent: number
  /** Bytes used on the root disk, not counting its image. */
  readonly rootDiskUsed?: number | undefined
}
