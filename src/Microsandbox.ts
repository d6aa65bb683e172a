/**
 * The driver service: everything that the microsandbox runtime can do, as plain
 * data and typed errors.
 *
 * The rest of the library is built on this service. Use it directly for what the
 * other modules do not offer. `MicrosandboxLocal.layer` provides it on this
 * machine; `MicrosandboxMemory.layer` in `effect-lightbox/testing` provides an
 * in-memory implementation for tests.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import type * as Plain from "./internal/config/plain.ts"
import type * as Guest from "./Guest.ts"
import {
  checkOwnLabel,
  checkVariable,
  CString,
  GuestPath,
  intBetween,
  Mebibytes,
  Memory,
  modelSchema,
  optionsSchema,
  recordOf
} from "./internal/config/schemas.ts"
import type { LightboxError } from "./LightboxError.ts"
import type { RemoteHome } from "./Ownership.ts"
import type { SandboxConfig, Source } from "./SandboxConfig.ts"

// =============================================================================
// Models
// =============================================================================

const Labels = Schema.Record(Schema.String, Schema.String)

/**
 * Identifies a sandbox, even if its name is reused.
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxRef {
  readonly name: string
  /** Unique. A new sandbox with the same name has another id. */
  readonly id: string
}

/**
 * The states of a sandbox. `crashed`: the virtual machine ended unexpectedly.
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxStatus = typeof SandboxStatus.Type

/**
 * The schema of {@link SandboxStatus}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SandboxStatus = Schema.Literals([
  "created",
  "starting",
  "running",
  "draining",
  "paused",
  "stopped",
  "crashed"
])

/**
 * A port of the guest that is published on a port of the host.
 *
 * @category models
 * @since 0.1.0
 */
export type PublishedPort = Plain.PublishedPort

/**
 * The schema of {@link PublishedPort}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PublishedPort = modelSchema<PublishedPort>()(
  Schema.Struct({
    host: Schema.Finite,
    guest: Schema.Finite,
    protocol: Schema.Literals(["tcp", "udp"]),
    bind: Schema.String
  })
)

/**
 * The state of a sandbox at the time of the call.
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxInfo extends SandboxRef {
  readonly status: SandboxStatus
  readonly labels: { readonly [key: string]: string }
  /** The image of the root disk. */
  readonly image?: string | undefined
  /** Digest of that image's manifest. */
  readonly imageDigest?: string | undefined
  readonly cpus: number
  /** Bytes. */
  readonly memory: number
  /** Published ports. For host port 0, the port that was chosen. */
  readonly ports: ReadonlyArray<PublishedPort>
  /** Names of mounted volumes. */
  readonly volumes: ReadonlyArray<string>
  /** Default working directory of commands. */
  readonly cwd?: string | undefined
  /** The shell for `shell` commands. */
  readonly shell: string
  readonly createdAt?: DateTime.Utc | undefined
}

/**
 * The schema of {@link SandboxInfo}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SandboxInfo = modelSchema<SandboxInfo>()(
  Schema.Struct({
    name: Schema.String,
    id: Schema.String,
    status: SandboxStatus,
    labels: Labels,
    image: Schema.optional(Schema.String),
    imageDigest: Schema.optional(Schema.String),
    cpus: Schema.Finite,
    memory: Schema.Finite,
    ports: Schema.Array(PublishedPort),
    volumes: Schema.Array(Schema.String),
    cwd: Schema.optional(Schema.String),
    shell: Schema.String,
    createdAt: Schema.optional(Schema.DateTimeUtc)
  })
)

/**
 * The request of `createSandbox`: a checked configuration and a source.
 *
 * @category models
 * @since 0.1.0
 */
export interface CreateSandbox {
  readonly name: string
  readonly source: Source
  readonly config: SandboxConfig
  /** Labels in addition to those of `config`. */
  readonly labels?: { readonly [key: string]: string } | undefined
  /** `"replace"` removes an existing sandbox with this name. Default: `"fail"`, with `AlreadyExists`. */
  readonly onConflict?: "fail" | "replace" | undefined
  /** Keep the sandbox running after this process ends. Default: `false`. */
  readonly detached?: boolean | undefined
  /**
   * Fail with `NoCapacity` at once if the host has no room, for a driver whose host is another machine. Default: `false`,
   * wait for its budget.
   */
  readonly refuseIfFull?: boolean | undefined
  /**
   * `"memory"`: resume the machine that was captured with this snapshot, with its processes, instead of booting. Needs
   * a snapshot with `memory`, and `memorySnapshots`. If it fails, nothing is left of it. Default: boot from the disk.
   */
  readonly resume?: "memory" | undefined
  /** Receives progress while the image is pulled. */
  readonly onPullProgress?: ((progress: PullProgress) => void) | undefined
  /**
   * A SOCKS4 proxy on 127.0.0.1 of this host, and the user that it expects. It receives the guest's TCP connections over
   * IPv4 that the network's rules allow. Other traffic than that and DNS is dropped. Default: none.
   */
  readonly proxy?:
    | {
        readonly port: number
        readonly user: string
        /** The sandboxes that it connects to, for a driver whose host is another machine. It makes such a proxy there. */
        readonly peers?: ReadonlyArray<ProxyPeer> | undefined
      }
    | undefined
}

/**
 * A sandbox that another one reaches under an address through a proxy.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProxyPeer {
  readonly name: string
  /** Of the range 198.18.0.0/15, which no network uses. */
  readonly address: string
  readonly ports: ReadonlyArray<number>
  readonly sandbox: SandboxRef
}

/**
 * Progress of an image pull. Sizes are in bytes; layers count from 0.
 *
 * @category models
 * @since 0.1.0
 */
export type PullProgress = Plain.PullProgress

/**
 * An image in the local cache.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImageInfo {
  readonly reference: string
  /** Digest of the manifest. */
  readonly digest?: string | undefined
  /** Bytes. */
  readonly size?: number | undefined
  readonly architecture?: string | undefined
  readonly os?: string | undefined
  /** Number of layers. */
  readonly layers: number
  readonly createdAt?: DateTime.Utc | undefined
  readonly lastUsedAt?: DateTime.Utc | undefined
}

const imageFields = {
  reference: Schema.String,
  digest: Schema.optional(Schema.String),
  size: Schema.optional(Schema.Finite),
  architecture: Schema.optional(Schema.String),
  os: Schema.optional(Schema.String),
  layers: Schema.Finite,
  createdAt: Schema.optional(Schema.DateTimeUtc),
  lastUsedAt: Schema.optional(Schema.DateTimeUtc)
}

/**
 * The schema of {@link ImageInfo}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ImageInfo = modelSchema<ImageInfo>()(Schema.Struct(imageFields))

/**
 * An image with its configuration.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImageDetail extends ImageInfo {
  readonly env: { readonly [name: string]: string }
  readonly entrypoint: ReadonlyArray<string>
  readonly cmd: ReadonlyArray<string>
  readonly cwd?: string | undefined
  readonly user?: string | undefined
}

/**
 * The schema of {@link ImageDetail}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ImageDetail = modelSchema<ImageDetail>()(
  Schema.Struct({
    ...imageFields,
    env: Labels,
    entrypoint: Schema.Array(Schema.String),
    cmd: Schema.Array(Schema.String),
    cwd: Schema.optional(Schema.String),
    user: Schema.optional(Schema.String)
  })
)

/**
 * The image that a reference stands for. `digest` is that of its manifest; it is absent if the image is not cached and
 * the registry was not asked. `isCached`: a sandbox boots from it without a pull.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImageResolution {
  readonly digest: string | undefined
  readonly isCached: boolean
}

/**
 * The result of pruning images.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImagePruneReport {
  /** Number of removed images. */
  readonly images: number
  /** Number of removed layers. */
  readonly layers: number
  /** Bytes freed. */
  readonly bytes?: number | undefined
}

/**
 * The schema of {@link ImagePruneReport}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ImagePruneReport = modelSchema<ImagePruneReport>()(
  Schema.Struct({ images: Schema.Finite, layers: Schema.Finite, bytes: Schema.optional(Schema.Finite) })
)

/**
 * A captured disk.
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotInfo {
  readonly name: string
  /** Identifies this capture: two captures of the same content differ. */
  readonly digest: string
  /** The folder of the snapshot on the host. */
  readonly path: string
  /** The base image. */
  readonly image: string
  /** Digest of the base image's manifest. The snapshot needs this image to boot. */
  readonly imageDigest: string
  /** Apparent size of the disk, in bytes. Empty parts occupy no space. */
  readonly size?: number | undefined
  /** Bytes that the disk occupies on the host, where known. */
  readonly allocated?: number | undefined
  /** Bytes of the captured memory. Absent: the snapshot is only a disk. */
  readonly memory?: number | undefined
  readonly labels: { readonly [key: string]: string }
  readonly createdAt: DateTime.Utc
  /** The sandbox that it was captured from. */
  readonly sourceSandbox?: string | undefined
}

/**
 * The schema of {@link SnapshotInfo}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SnapshotInfo = modelSchema<SnapshotInfo>()(
  Schema.Struct({
    name: Schema.String,
    digest: Schema.String,
    path: Schema.String,
    image: Schema.String,
    imageDigest: Schema.String,
    size: Schema.optional(Schema.Finite),
    allocated: Schema.optional(Schema.Finite),
    memory: Schema.optional(Schema.Finite),
    labels: Labels,
    createdAt: Schema.DateTimeUtc,
    sourceSandbox: Schema.optional(Schema.String)
  })
)

/**
 * The request of `captureSnapshot` and `captureMemory`. For `captureSnapshot`, the
 * sandbox must be stopped; if its root disk is an overlay, a helper sandbox is booted
 * for a moment. For `captureMemory`, it must be running.
 *
 * @category models
 * @since 0.1.0
 */
export interface CaptureSnapshot {
  readonly sandbox: string
  readonly name: string
  readonly labels?: { readonly [key: string]: string } | undefined
  /** Record a checksum for `verifySnapshot`. Default: `false`. */
  readonly integrity?: boolean | undefined
}

/**
 * A copy that `forkSandbox` makes.
 *
 * @category models
 * @since 0.1.0
 */
export interface ForkSandbox {
  readonly name: string
  /** Its own labels. Those of the original are not copied. Default: none. */
  readonly labels?: { readonly [key: string]: string } | undefined
  /** Keep the copy running after this process ends. Default: `false`. */
  readonly detached?: boolean | undefined
}

/**
 * A named volume.
 *
 * @category models
 * @since 0.1.0
 */
export interface VolumeInfo {
  readonly name: string
  readonly kind: "directory" | "disk"
  /** Maximum content of a directory, or size of a disk, in bytes. Absent: unlimited. */
  readonly quota?: number | undefined
  /** Path on the host: the folder of a directory, or the image of a disk. */
  readonly path: string
  readonly labels: { readonly [key: string]: string }
  readonly createdAt?: DateTime.Utc | undefined
}

/**
 * The schema of {@link VolumeInfo}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const VolumeInfo = modelSchema<VolumeInfo>()(
  Schema.Struct({
    name: Schema.String,
    kind: Schema.Literals(["directory", "disk"]),
    quota: Schema.optional(Schema.Finite),
    path: Schema.String,
    labels: Labels,
    createdAt: Schema.optional(Schema.DateTimeUtc)
  })
)

/**
 * The request of `createVolume`.
 *
 * @category models
 * @since 0.1.0
 */
export interface CreateVolume {
  readonly name: string
  readonly kind: "directory" | "disk"
  /** Bytes. Required for a disk. */
  readonly quota?: number | undefined
  readonly labels?: { readonly [key: string]: string } | undefined
}

const LogSource = Schema.Literals(["stdout", "stderr", "output", "system"])

/**
 * A line, or part of a line, from a sandbox's log. `"output"` is the output of a
 * command with a terminal; `"system"` comes from the runtime and the kernel.
 * Printed or as JSON, an entry shows its text.
 *
 * @category models
 * @since 0.1.0
 */
export class LogEntry extends Schema.Class<LogEntry>("effect-lightbox/LogEntry")({
  timestamp: Schema.DateTimeUtc,
  source: LogSource,
  /** Identifies the command that wrote it. Not a process id. */
  session: Schema.optional(Schema.Finite),
  bytes: Schema.Uint8Array,
  /** Pass it as `after` to continue from here. */
  cursor: Schema.String
}) {
  /** The bytes as text. */
  get text(): string {
    return new TextDecoder().decode(this.bytes)
  }
  toJSON(): object {
    const { cursor, session, source, text, timestamp } = this
    return { timestamp, source, ...(session === undefined ? {} : { session }), text, cursor }
  }
  [Symbol.for("nodejs.util.inspect.custom")](): object {
    return this.toJSON()
  }
}

/**
 * Selects log entries.
 *
 * @category models
 * @since 0.1.0
 */
export interface LogQuery {
  /** Default: all except `"system"`. */
  readonly sources?: ReadonlyArray<LogEntry["source"]> | undefined
  /** Return only the last `tail` entries. Default: all. */
  readonly tail?: number | undefined
  /** Return only entries after this cursor. Cannot be combined with `tail`. */
  readonly after?: string | undefined
}

/**
 * Resource usage of a sandbox. Sizes are in bytes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Metrics extends Plain.ResourceUsage {
  /** Time since boot. */
  readonly uptime: Duration.Duration
  readonly timestamp: DateTime.Utc
}

/**
 * The schema of {@link Metrics}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Metrics = modelSchema<Metrics>()(
  Schema.Struct({
    cpuPercent: Schema.Finite,
    memory: Schema.Finite,
    memoryLimit: Schema.Finite,
    diskRead: Schema.Finite,
    diskWritten: Schema.Finite,
    networkReceived: Schema.Finite,
    networkSent: Schema.Finite,
    rootDiskUsed: Schema.optional(Schema.Finite),
    uptime: Schema.Duration,
    timestamp: Schema.DateTimeUtc
  })
)

/**
 * Changes to an existing sandbox. An ephemeral sandbox cannot be restarted.
 *
 * @category models
 * @since 0.1.0
 */
export type ModifySandbox = Plain.ModifySandbox

/**
 * The schema of {@link ModifySandbox}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ModifySandbox = optionsSchema<ModifySandbox>()(
  Schema.Struct({
    cpus: Schema.optional(intBetween(1, 255)),
    maxCpus: Schema.optional(intBetween(1, 255)),
    memory: Schema.optional(Memory),
    maxMemory: Schema.optional(Memory),
    disk: Schema.optional(Mebibytes(16)),
    cwd: Schema.optional(GuestPath),
    env: Schema.optional(recordOf(Schema.UndefinedOr(CString), checkVariable)),
    labels: Schema.optional(recordOf(Schema.UndefinedOr(CString), checkOwnLabel)),
    apply: Schema.optional(Schema.Literals(["now", "restart", "next-start"])),
    dryRun: Schema.optional(Schema.Boolean)
  })
)

/**
 * The changes that a modification makes, and conflicts that prevent it.
 *
 * @category models
 * @since 0.1.0
 */
export type ModificationPlan = Plain.ModificationPlan

const Problems = Schema.Array(Schema.Struct({ field: Schema.String, problem: Schema.String }))

/**
 * The schema of {@link ModificationPlan}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ModificationPlan = modelSchema<ModificationPlan>()(
  Schema.Struct({
    applied: Schema.Boolean,
    changes: Schema.Array(
      Schema.Struct({
        field: Schema.String,
        before: Schema.optional(Schema.String),
        after: Schema.optional(Schema.String),
        disposition: Schema.Literals(["live", "next start", "requires restart", "unsupported"])
      })
    ),
    conflicts: Problems,
    warnings: Problems
  })
)

/**
 * A host of a fleet.
 *
 * @category models
 * @since 0.1.0
 */
export interface FleetHost {
  readonly id: string
  /**
   * `ready`: it takes sandboxes. `cordoned`: it takes none, for `reason`. `stopped`: it was shut down. `away`: it was not
   * seen for 15 seconds.
   */
  readonly status: "ready" | "cordoned" | "stopped" | "away"
  readonly address: string
  /** How many sandboxes it has. */
  readonly sandboxes: number
  /** Bytes that its sandboxes may use. */
  readonly memory: number
  /** Bytes that its sandboxes use or have reserved. */
  readonly used: number
  readonly cpus: number
  readonly architecture: string
  readonly labels: { readonly [name: string]: string }
  /** Version of its runtime. */
  readonly version: string
  /** How long ago it was seen, in milliseconds. */
  readonly seenMillisAgo: number
  /** Why it is cordoned. */
  readonly reason?: string | undefined
}

/**
 * The features of a backend. Using a missing feature fails with `Unsupported`
 * before the backend is called.
 *
 * @category models
 * @since 0.1.0
 */
export interface Capabilities {
  readonly snapshots: boolean
  /** Managing the image cache. Launching from an image does not need it. */
  readonly images: boolean
  /** Creating, listing and removing volumes. Mounting an existing volume does not need it. */
  readonly volumes: boolean
  /** Reading and writing the files of a volume without a sandbox. */
  readonly volumeFiles: boolean
  readonly bindMounts: boolean
  readonly diskMounts: boolean
  readonly patches: boolean
  /** Publishing ports of a guest on this host. */
  readonly ports: boolean
  /** Ending a sandbox without a shutdown. */
  readonly kill: boolean
  readonly modify: boolean
  readonly logs: boolean
  readonly metrics: boolean
  /** Capturing the disk of a running sandbox. */
  readonly captureRunning: boolean
  /** Copying a running sandbox with its memory. Needs the service's `memory`. */
  readonly fork: boolean
  /** Snapshots of memory as well as disk. Needs the service's `memory`. */
  readonly memorySnapshots: boolean
  /** Changing the network rules of a running sandbox. */
  readonly liveNetwork: boolean
  /** Pausing and resuming a sandbox. Needs the service's `memory`. */
  readonly pause: boolean
}

// =============================================================================
// Service
// =============================================================================

/**
 * Operations on the memory of running sandboxes, for runtimes that have them. A driver with these operations says so in
 * its `capabilities`.
 *
 * What runs in a copy does not know that it is one: its random numbers, host name and clock are those of the original
 * until somebody changes them. `Sandbox.launch` and `Sandbox.fork` do.
 *
 * @category models
 * @since 0.1.0
 */
export interface MemoryOperations {
  /**
   * Captures a running sandbox, disk and memory, as a snapshot with `memory`. The sandbox goes on running. Pending
   * writes of the guest are flushed to the captured disk first, so that it can also be booted from.
   */
  readonly captureMemory: (request: CaptureSnapshot) => Effect.Effect<SnapshotInfo, LightboxError>
  /**
   * Searches the memory of a snapshot, including memory that no process uses any more. Returns for each needle whether
   * it was found. Fails with `Unsupported` if the snapshot is only a disk.
   */
  readonly searchMemory: (
    snapshot: string,
    needles: ReadonlyArray<Uint8Array>
  ) => Effect.Effect<ReadonlyArray<boolean>, LightboxError>
  /**
   * Copies a running sandbox with its disk and memory. The original goes on running. Makes all copies, in their order,
   * or none. A copy publishes no ports, and is tied to this process unless `detached`.
   */
  readonly forkSandbox: (
    sandbox: SandboxRef,
    copies: ReadonlyArray<ForkSandbox>
  ) => Effect.Effect<ReadonlyArray<SandboxInfo>, LightboxError>
  /**
   * Halts a running sandbox: its processors stop, its memory stays, and its status is `"paused"`. Does nothing if it is
   * paused already. A paused sandbox can be killed and removed.
   */
  readonly pauseSandbox: (sandbox: SandboxRef) => Effect.Effect<void, LightboxError>
  /** Lets a paused sandbox go on. Does nothing if it is running. */
  readonly resumeSandbox: (sandbox: SandboxRef) => Effect.Effect<void, LightboxError>
  /** Grows the root disk of a sandbox, running or not, to a size in bytes, and its file system with it. It cannot shrink. */
  readonly growRootDisk: (sandbox: SandboxRef, bytes: number) => Effect.Effect<void, LightboxError>
}

/**
 * Drives the runtime. Every operation fails only with `LightboxError`. An operation
 * that fails or is interrupted undoes what it started.
 *
 * A created sandbox is tied to this process: however the process ends, the runtime
 * stops the virtual machine. `removeSandbox` succeeds if the sandbox no longer
 * exists. A link is a second name for a snapshot; it can be pointed to another
 * snapshot atomically.
 *
 * **Example** (Using the driver itself)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Microsandbox } from "effect-lightbox"
 *
 * export const names = Effect.gen(function* () {
 *   const driver = yield* Microsandbox.Microsandbox
 *   const sandboxes = yield* driver.listSandboxes({ labels: { team: "platform" } })
 *   return sandboxes.map((sandbox) => sandbox.name)
 * })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Microsandbox extends Context.Service<
  Microsandbox,
  {
    readonly backend: "local" | "cloud" | "memory" | "remote" | "fleet"
    readonly capabilities: Capabilities
    /** The folder on this machine that holds all state or, if that is elsewhere, files of this machine's programs. */
    readonly home: string
    /** The records and locks of a home on another machine. Default: they are files of `home`. */
    readonly remoteHome?: RemoteHome | undefined
    /**
     * Opens the agent's byte stream of a running guest, as the runtime's relay serves it, until the scope closes. Default:
     * only `connect` is offered.
     */
    readonly openAgent?: ((sandbox: SandboxRef) => Effect.Effect<Duplex, LightboxError, Scope.Scope>) | undefined
    /** The hosts of a fleet. Default: this backend is none. */
    readonly hosts?: Effect.Effect<ReadonlyArray<FleetHost>, LightboxError> | undefined
    /** Version of the runtime. */
    readonly version: string
    /** Operations on memory. Default: the runtime has none, and all of their capabilities are `false`. */
    readonly memory?: MemoryOperations | undefined

    /** Loads images from an archive (`docker save` or OCI layout) into the cache. */
    readonly loadImage: (
      path: string,
      options?: { readonly tag?: string | undefined }
    ) => Effect.Effect<ReadonlyArray<ImageInfo>, LightboxError>
    readonly saveImages: (
      references: ReadonlyArray<string>,
      path: string,
      options?: { readonly format?: "docker" | "oci" | undefined }
    ) => Effect.Effect<void, LightboxError>
    readonly listImages: () => Effect.Effect<ReadonlyArray<ImageInfo>, LightboxError>
    readonly getImage: (reference: string) => Effect.Effect<ImageDetail, LightboxError>
    /**
     * Looks up which image a sandbox would boot from, without pulling. With `"always"`, asks the registry; with
     * `askIfMissing`, also for an image that is not cached, unless the policy is `"never"`.
     */
    readonly resolveImage: (
      reference: string,
      options?: Pick<SandboxConfig, "pullPolicy" | "registry"> & { readonly askIfMissing?: boolean | undefined }
    ) => Effect.Effect<ImageResolution, LightboxError>
    readonly removeImage: (
      reference: string,
      options?: { readonly force?: boolean | undefined }
    ) => Effect.Effect<void, LightboxError>
    /** Removes images that no sandbox and no snapshot uses. */
    readonly pruneImages: () => Effect.Effect<ImagePruneReport, LightboxError>

    readonly createSandbox: (request: CreateSandbox) => Effect.Effect<SandboxInfo, LightboxError>
    readonly getSandbox: (name: string) => Effect.Effect<SandboxInfo, LightboxError>
    /** Lists all sandboxes, or those with all given labels. */
    readonly listSandboxes: (filter?: {
      readonly labels?: { readonly [key: string]: string } | undefined
    }) => Effect.Effect<ReadonlyArray<SandboxInfo>, LightboxError>
    /** Boots a stopped sandbox, tied to this process unless `detached`. */
    readonly startSandbox: (
      sandbox: SandboxRef,
      options?: { readonly detached?: boolean | undefined }
    ) => Effect.Effect<SandboxInfo, LightboxError>
    /** Asks the guest to shut down, and kills it after `timeout` (default: 10 seconds). */
    readonly stopSandbox: (
      sandbox: SandboxRef,
      options?: { readonly timeout?: Duration.Input | undefined }
    ) => Effect.Effect<void, LightboxError>
    /** Ends the virtual machine immediately, without flushing its disk. */
    readonly killSandbox: (sandbox: SandboxRef) => Effect.Effect<void, LightboxError>
    /**
     * Tells whether a sandbox ends with this process, and whether it is removed when it stops. The cloud fails with
     * `Unsupported`.
     */
    readonly getSandboxLifecycle: (
      sandbox: SandboxRef
    ) => Effect.Effect<{ readonly isAttached: boolean; readonly isEphemeral: boolean }, LightboxError>
    /** Keeps a sandbox running after this process ends. */
    readonly detachSandbox: (sandbox: SandboxRef) => Effect.Effect<void, LightboxError>
    /** Removes a stopped sandbox with its disk; `force` kills a running one first. */
    readonly removeSandbox: (
      sandbox: SandboxRef,
      options?: { readonly force?: boolean | undefined }
    ) => Effect.Effect<void, LightboxError>
    readonly modifySandbox: (
      sandbox: SandboxRef,
      change: typeof ModifySandbox.Type
    ) => Effect.Effect<ModificationPlan, LightboxError>
    /** Connects to a running guest until the scope closes. */
    readonly connect: (sandbox: SandboxRef) => Effect.Effect<Guest.Guest, LightboxError, Scope.Scope>
    /** Reads the log of a sandbox, running or not. */
    readonly readLogs: (sandbox: SandboxRef, query?: LogQuery) => Effect.Effect<ReadonlyArray<LogEntry>, LightboxError>
    readonly readMetrics: (sandbox: SandboxRef) => Effect.Effect<Metrics, LightboxError>
    /** Searches the disk of a stopped sandbox, including deleted files. Returns for each needle whether it was found. */
    readonly searchSandbox: (
      sandbox: SandboxRef,
      needles: ReadonlyArray<Uint8Array>
    ) => Effect.Effect<ReadonlyArray<boolean>, LightboxError>

    /** Lists ghosts: names that failed creations still occupy, although no sandbox exists. */
    readonly listGhosts: () => Effect.Effect<ReadonlyArray<string>, LightboxError>
    /** Frees the name of a ghost. Returns `false` if a sandbox has the name after all. */
    readonly removeGhost: (name: string) => Effect.Effect<boolean, LightboxError>
    /** Removes temporary folders left by dead virtual machines and killed creations of volumes. Returns their paths. */
    readonly removeRemains: (options?: {
      readonly dryRun?: boolean | undefined
    }) => Effect.Effect<ReadonlyArray<string>, LightboxError>

    readonly captureSnapshot: (request: CaptureSnapshot) => Effect.Effect<SnapshotInfo, LightboxError>
    /** Gets a snapshot by name, link or path. */
    readonly getSnapshot: (name: string) => Effect.Effect<SnapshotInfo, LightboxError>
    /** Lists the snapshots in the home directory, without links. */
    readonly listSnapshots: () => Effect.Effect<ReadonlyArray<SnapshotInfo>, LightboxError>
    /** Lists the folders of snapshots that cannot be opened, such as those whose removal was cut short. */
    readonly listDamagedSnapshots: () => Effect.Effect<ReadonlyArray<string>, LightboxError>
    /** Removes a snapshot. To remove a link, use `unlinkSnapshot`. */
    readonly removeSnapshot: (name: string) => Effect.Effect<void, LightboxError>
    /** Verifies the checksum recorded at capture. Returns `false` if none was recorded. */
    readonly verifySnapshot: (name: string) => Effect.Effect<boolean, LightboxError>
    readonly saveSnapshot: (
      name: string,
      path: string,
      options?: { readonly withImage?: boolean | undefined; readonly compress?: boolean | undefined }
    ) => Effect.Effect<void, LightboxError>
    /** Removes files left by interrupted captures under a name, or by loads since a time. Returns their paths. */
    readonly removeStaging: (
      of: { readonly snapshot: string } | { readonly loadsSince: number },
      options?: { readonly dryRun?: boolean | undefined }
    ) => Effect.Effect<ReadonlyArray<string>, LightboxError>
    readonly renameSnapshot: (name: string, to: string) => Effect.Effect<void, LightboxError>
    /** Loads a saved snapshot under a name. */
    readonly loadSnapshot: (path: string, name: string) => Effect.Effect<SnapshotInfo, LightboxError>
    /**
     * Takes over a folder with the files of a snapshot, as they are in its `path`, under a name. The folder is moved, and
     * must be on the home's file system.
     */
    readonly importSnapshot: (folder: string, name: string) => Effect.Effect<SnapshotInfo, LightboxError>
    /** Lists links, with the snapshot that each points to. */
    readonly listSnapshotLinks: () => Effect.Effect<{ readonly [link: string]: string }, LightboxError>
    /** Returns the snapshot that a link points to, or `undefined` if there is no such link. */
    readonly readSnapshotLink: (link: string) => Effect.Effect<string | undefined, LightboxError>
    /** Creates a link, or points it to another snapshot, atomically. */
    readonly linkSnapshot: (link: string, name: string) => Effect.Effect<void, LightboxError>
    readonly unlinkSnapshot: (link: string) => Effect.Effect<void, LightboxError>

    readonly createVolume: (request: CreateVolume) => Effect.Effect<VolumeInfo, LightboxError>
    readonly getVolume: (name: string) => Effect.Effect<VolumeInfo, LightboxError>
    readonly listVolumes: () => Effect.Effect<ReadonlyArray<VolumeInfo>, LightboxError>
    /** Removes a volume and its content. Fails with `InUse` while a running sandbox mounts it. */
    readonly removeVolume: (name: string) => Effect.Effect<void, LightboxError>
  }
>()("effect-lightbox/Microsandbox") {}
