/**
 * The driver: everything that the microsandbox runtime can do, as data in and
 * out and typed errors.
 *
 * This is the one service that the rest of the library, and any program that
 * needs more than it offers, talks to. `MicrosandboxLocal.layer` provides it on this
 * machine; `MicrosandboxMemory.layer` in `effect-lightbox/testing` provides an
 * in-memory twin for tests.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
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
import type { SandboxConfig, Size, Source } from "./SandboxConfig.ts"

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
  /** Changes when a sandbox is removed and another of its name is created. */
  readonly id: string
}

/**
 * The states of a sandbox. `crashed` is a virtual machine that ended without
 * being asked to.
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
export interface PublishedPort {
  /** The port of the host. */
  readonly host: number
  /** The port of the guest. */
  readonly guest: number
  /** The protocol. */
  readonly protocol: "tcp" | "udp"
  /** The address of the host. */
  readonly bind: string
}

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
 * A sandbox, as the runtime knows it at the time of asking.
 *
 * **Example** (Listing the sandboxes that run)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Microsandbox } from "effect-lightbox"
 *
 * export const running = Microsandbox.Microsandbox.use((driver) =>
 *   Effect.map(driver.listSandboxes(), (all) => all.filter((sandbox) => sandbox.status === "running"))
 * )
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxInfo extends SandboxRef {
  readonly status: SandboxStatus
  readonly labels: { readonly [key: string]: string }
  /** The image that the root disk is based on. */
  readonly image?: string | undefined
  /** Processors. */
  readonly cpus: number
  /** Memory, in bytes. */
  readonly memory: number
  /** The published ports, with the port that was chosen for host port 0. */
  readonly ports: ReadonlyArray<PublishedPort>
  /** The names of the mounted volumes. */
  readonly volumes: ReadonlyArray<string>
  /** Where commands run unless they say otherwise. */
  readonly cwd?: string | undefined
  /** The shell that runs `shell` commands. */
  readonly shell: string
  readonly createdAt?: DateTime.Utc | undefined
}

/**
 * The schema of {@link SandboxInfo}.
 *
 * **Example** (Writing sandboxes as JSON)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Microsandbox } from "effect-lightbox"
 *
 * export const encode = Schema.encodeEffect(Schema.fromJsonString(Schema.toCodecJson(Microsandbox.SandboxInfo)))
 * ```
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
 * What {@link Microsandbox} `createSandbox` takes: a checked configuration, and
 * what to do when the name is taken.
 *
 * **Example** (A sandbox from an image)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const request: Microsandbox.CreateSandbox = {
 *   name: "worker",
 *   source: { _tag: "Image", reference: "alpine:3" },
 *   config: { resources: { memory: 256 * 1024 * 1024 } }
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface CreateSandbox {
  readonly name: string
  readonly source: Source
  readonly config: SandboxConfig
  /** Labels beside those of the configuration. */
  readonly labels?: { readonly [key: string]: string } | undefined
  /** `"replace"` destroys the sandbox that has the name. Default: `"fail"`, with `AlreadyExists`. */
  readonly onConflict?: "fail" | "replace" | undefined
  /** Not tied to this process, nor to its terminal. Default: `false`, it ends with the process. */
  readonly detached?: boolean | undefined
  /** Told while the image is pulled. */
  readonly onPullProgress?: ((progress: PullProgress) => void) | undefined
}

/**
 * How far the pull of an image has got. Sizes are in bytes, layers count from 0.
 *
 * **Example** (Showing a percentage)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const percent = (progress: Microsandbox.PullProgress): number | undefined =>
 *   progress._tag === "Downloading" && progress.total !== undefined
 *     ? Math.round((100 * progress.done) / progress.total)
 *     : undefined
 * ```
 *
 * @category models
 * @since 0.1.0
 */
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

/**
 * An image in the local cache.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImageInfo {
  readonly reference: string
  /** The digest of the manifest. */
  readonly digest?: string | undefined
  /** In bytes. */
  readonly size?: number | undefined
  readonly architecture?: string | undefined
  readonly os?: string | undefined
  /** How many layers it has. */
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
 * **Example** (Showing the default command)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const commandOf = (image: Microsandbox.ImageDetail): ReadonlyArray<string> => [
 *   ...image.entrypoint,
 *   ...image.cmd
 * ]
 * ```
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
 * The result of pruning images.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImagePruneReport {
  /** How many images were removed. */
  readonly images: number
  /** How many layers were removed. */
  readonly layers: number
  /** The space that was freed, in bytes. */
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
  /** The folder on the host that holds it. */
  readonly path: string
  /** The image that it is based on. */
  readonly image: string
  /** The digest of the manifest of the image, which it needs to boot. */
  readonly imageDigest: string
  /** The apparent size of the disk, in bytes; it takes less where it is empty. */
  readonly size?: number | undefined
  /** What the disk takes on the host, in bytes, if the host can tell. */
  readonly allocated?: number | undefined
  readonly labels: { readonly [key: string]: string }
  readonly createdAt: DateTime.Utc
  /** The name of the sandbox that it was captured from. */
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
    labels: Labels,
    createdAt: Schema.DateTimeUtc,
    sourceSandbox: Schema.optional(Schema.String)
  })
)

/**
 * What {@link Microsandbox} `captureSnapshot` takes. The sandbox must be
 * stopped, and its root disk no overlay: that is `Unsupported`.
 *
 * **Example** (Recording a checksum)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const request: Microsandbox.CaptureSnapshot = { sandbox: "builder", name: "tools", integrity: true }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface CaptureSnapshot {
  readonly sandbox: string
  readonly name: string
  readonly labels?: { readonly [key: string]: string } | undefined
  /** Record a checksum of the disk, which `verifySnapshot` compares. Default: `false`. */
  readonly integrity?: boolean | undefined
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
  /** How much a directory may hold, or the size of a disk, in bytes. Unlimited if absent. */
  readonly quota?: number | undefined
  /** On this host: the folder with its files, or the image of a disk. */
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
 * What {@link Microsandbox} `createVolume` takes.
 *
 * **Example** (A volume of 2 GiB at most)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const request: Microsandbox.CreateVolume = { name: "cache", kind: "directory", quota: 2 * 1024 ** 3 }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface CreateVolume {
  readonly name: string
  readonly kind: "directory" | "disk"
  /** Bytes. A disk volume needs it. */
  readonly quota?: number | undefined
  readonly labels?: { readonly [key: string]: string } | undefined
}

const LogSource = Schema.Literals(["stdout", "stderr", "output", "system"])

/**
 * A line, or a piece of one, that a sandbox logged. `"output"` is what a command
 * with a terminal wrote, `"system"` what runtime and kernel wrote. Printed and as
 * JSON, it shows its text.
 *
 * **Example** (Showing an entry)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const show = ({ source, text }: Microsandbox.LogEntry): string => `${source}: ${text}`
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class LogEntry extends Schema.Class<LogEntry>("effect-lightbox/LogEntry")({
  timestamp: Schema.DateTimeUtc,
  source: LogSource,
  /** Which command of the sandbox wrote it. It is not a process id. */
  session: Schema.optional(Schema.Finite),
  bytes: Schema.Uint8Array,
  /** Where to continue reading. */
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
  /** Default: everything but `"system"`. */
  readonly sources?: ReadonlyArray<LogEntry["source"]> | undefined
  /** Return only the last `tail` entries. Default: all. */
  readonly tail?: number | undefined
  /** Return only entries after this cursor. Not together with `tail`. */
  readonly after?: string | undefined
}

/**
 * What a sandbox uses. Sizes are in bytes.
 *
 * **Example** (The share of memory in use)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const share = (metrics: Microsandbox.Metrics): number => metrics.memory / metrics.memoryLimit
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Metrics {
  readonly cpuPercent: number
  readonly memory: number
  readonly memoryLimit: number
  readonly diskRead: number
  readonly diskWritten: number
  readonly networkReceived: number
  readonly networkSent: number
  /** What the root disk holds beyond its image. */
  readonly rootDiskUsed?: number | undefined
  /** The time since boot. */
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
 * Changes to a sandbox that exists. An ephemeral sandbox cannot restart.
 *
 * **Example** (Growing)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const change: Microsandbox.ModifySandbox = { memory: "2G", apply: "restart" }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface ModifySandbox {
  /** Processors, 1 to 255. */
  readonly cpus?: number | undefined
  /** Processors that the running sandbox can be grown to. */
  readonly maxCpus?: number | undefined
  /** Memory in whole MiB, at least `"64M"`. */
  readonly memory?: Size | undefined
  /** Memory that the running sandbox can be grown to. */
  readonly maxMemory?: Size | undefined
  /** The size of the root disk, which can only grow. */
  readonly disk?: Size | undefined
  /** Where commands run unless they say otherwise. */
  readonly cwd?: string | undefined
  /** Environment variables; `undefined` removes one. */
  readonly env?: { readonly [name: string]: string | undefined } | undefined
  /** Labels; `undefined` removes one. */
  readonly labels?: { readonly [key: string]: string | undefined } | undefined
  /**
   * When: at once, refusing what needs a restart (`"now"`), with a restart if need be (`"restart"`), or at the next start
   * (`"next-start"`). Default: `"now"`.
   */
  readonly apply?: "now" | "restart" | "next-start" | undefined
  /** Only report what would change. Default: `false`. */
  readonly dryRun?: boolean | undefined
}

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
 * What a modification changes, and what prevents it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ModificationPlan {
  readonly applied: boolean
  readonly changes: ReadonlyArray<{
    /** As in {@link ModifySandbox}. */
    readonly field: string
    readonly before?: string | undefined
    readonly after?: string | undefined
    /** When it takes effect. */
    readonly disposition: "live" | "next start" | "requires restart" | "unsupported"
  }>
  readonly conflicts: ReadonlyArray<{ readonly field: string; readonly problem: string }>
  readonly warnings: ReadonlyArray<{ readonly field: string; readonly problem: string }>
}

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
 * What a backend can do. What it can not is refused with `Unsupported` before
 * anything is asked of it.
 *
 * **Example** (Asking first)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Microsandbox } from "effect-lightbox"
 *
 * export const canSnapshot = Microsandbox.Microsandbox.useSync((driver) => driver.capabilities.snapshots)
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Capabilities {
  readonly snapshots: boolean
  /** The cache of images, beside launching from them. */
  readonly images: boolean
  /** Making, listing and removing volumes, beside mounting one that exists. */
  readonly volumes: boolean
  readonly bindMounts: boolean
  readonly diskMounts: boolean
  readonly patches: boolean
  /** Ports of this host that lead into a guest. */
  readonly ports: boolean
  /** Ending a sandbox at once, beside stopping it. */
  readonly kill: boolean
  readonly modify: boolean
  readonly logs: boolean
  readonly metrics: boolean
  /** Capturing the disk of a sandbox that runs. */
  readonly captureRunning: boolean
  /** Copying a sandbox that runs, with its memory. */
  readonly fork: boolean
  /** Snapshots that hold the memory as well as the disk. */
  readonly memorySnapshots: boolean
  /** Changing the network rules of a sandbox that runs. */
  readonly liveNetwork: boolean
  /** Pausing and resuming a sandbox. */
  readonly pause: boolean
}

// =============================================================================
// Service
// =============================================================================

/**
 * The service that drives the runtime. Every operation fails with
 * `LightboxError` alone, and can be interrupted; what it had begun is undone.
 *
 * **Details**
 *
 * `createSandbox` gives a running sandbox, tied to this process: when the
 * process ends, however it ends, the runtime stops the virtual machine. Failing
 * or interrupted, it leaves nothing behind. `removeSandbox` of what is already
 * gone succeeds. Snapshots can be found under names that are links to them
 * (`linkSnapshot`), moved in one step from one snapshot to another.
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
    readonly backend: "local" | "cloud" | "memory"
    readonly capabilities: Capabilities
    /** The folder that holds everything, on the host. */
    readonly home: string
    /** Of the runtime. */
    readonly version: string

    /** Reads images from an archive (of `docker save`, or an OCI layout) into the cache. */
    readonly loadImage: (
      path: string,
      options?: { readonly tag?: string | undefined }
    ) => Effect.Effect<ReadonlyArray<ImageInfo>, LightboxError>
    readonly saveImages: (
      references: ReadonlyArray<string>,
      path: string,
      options?: { readonly format?: "docker" | "oci" | undefined }
    ) => Effect.Effect<void, LightboxError>
    readonly listImages: Effect.Effect<ReadonlyArray<ImageInfo>, LightboxError>
    readonly inspectImage: (reference: string) => Effect.Effect<ImageDetail, LightboxError>
    readonly removeImage: (
      reference: string,
      options?: { readonly force?: boolean | undefined }
    ) => Effect.Effect<void, LightboxError>
    /** Removes what neither a sandbox nor a snapshot needs. */
    readonly pruneImages: Effect.Effect<ImagePruneReport, LightboxError>

    readonly createSandbox: (request: CreateSandbox) => Effect.Effect<SandboxInfo, LightboxError>
    readonly getSandbox: (name: string) => Effect.Effect<SandboxInfo, LightboxError>
    /** All sandboxes, or those that have all the given labels. */
    readonly listSandboxes: (filter?: {
      readonly labels?: { readonly [key: string]: string } | undefined
    }) => Effect.Effect<ReadonlyArray<SandboxInfo>, LightboxError>
    /** Boots a sandbox that is stopped. Tied to this process unless `detached`. */
    readonly startSandbox: (
      sandbox: SandboxRef,
      options?: { readonly detached?: boolean | undefined }
    ) => Effect.Effect<SandboxInfo, LightboxError>
    /** Asks the guest to shut down, and kills it after `timeout` (default 10 seconds). */
    readonly stopSandbox: (
      sandbox: SandboxRef,
      options?: { readonly timeout?: Duration.Input | undefined }
    ) => Effect.Effect<void, LightboxError>
    /** Ends the virtual machine at once, without flushing its disk. */
    readonly killSandbox: (sandbox: SandboxRef) => Effect.Effect<void, LightboxError>
    /** Lets a sandbox outlive this process. */
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
    /** Opens a channel to a running guest, closed with the scope. */
    readonly connect: (sandbox: SandboxRef) => Effect.Effect<Guest.Guest, LightboxError, Scope.Scope>
    /** What a sandbox logged so far, running or not. */
    readonly readLogs: (sandbox: SandboxRef, query?: LogQuery) => Effect.Effect<ReadonlyArray<LogEntry>, LightboxError>
    readonly readMetrics: (sandbox: SandboxRef) => Effect.Effect<Metrics, LightboxError>
    /** Tells which of some byte strings are somewhere on the disk of a stopped sandbox, deleted files included. */
    readonly searchSandbox: (
      sandbox: SandboxRef,
      needles: ReadonlyArray<Uint8Array>
    ) => Effect.Effect<ReadonlyArray<boolean>, LightboxError>

    /** Names that creations which failed have left taken, without leaving a sandbox. */
    readonly listGhosts: Effect.Effect<ReadonlyArray<string>, LightboxError>
    /** Makes such a name free, and tells whether it did: not if there is a sandbox of the name after all. */
    readonly removeGhost: (name: string) => Effect.Effect<boolean, LightboxError>
    /** Removes temporary folders that virtual machines which are gone have left, and tells them. */
    readonly removeRemains: (options?: {
      readonly dryRun?: boolean | undefined
    }) => Effect.Effect<ReadonlyArray<string>, LightboxError>

    readonly captureSnapshot: (request: CaptureSnapshot) => Effect.Effect<SnapshotInfo, LightboxError>
    /** By name, link or path. */
    readonly openSnapshot: (name: string) => Effect.Effect<SnapshotInfo, LightboxError>
    /** All snapshots of the home directory, without links. */
    readonly listSnapshots: Effect.Effect<ReadonlyArray<SnapshotInfo>, LightboxError>
    /** Removes a snapshot; a link is removed by `unlinkSnapshot`. */
    readonly removeSnapshot: (name: string) => Effect.Effect<void, LightboxError>
    /** Compares a snapshot with the checksum recorded at its capture. `false`: none was recorded. */
    readonly verifySnapshot: (name: string) => Effect.Effect<boolean, LightboxError>
    readonly saveSnapshot: (
      name: string,
      path: string,
      options?: { readonly withImage?: boolean | undefined; readonly compress?: boolean | undefined }
    ) => Effect.Effect<void, LightboxError>
    /** Removes what captures and loads that were cut short have left: under a name, or all loads since a time. */
    readonly removeStaging: (
      of: { readonly snapshot: string } | { readonly loadsSince: number },
      options?: { readonly dryRun?: boolean | undefined }
    ) => Effect.Effect<ReadonlyArray<string>, LightboxError>
    readonly renameSnapshot: (name: string, to: string) => Effect.Effect<void, LightboxError>
    /** Reads a saved snapshot and gives it a name. */
    readonly loadSnapshot: (path: string, name: string) => Effect.Effect<SnapshotInfo, LightboxError>
    /** Links by name, with the name of the snapshot that they lead to. */
    readonly listSnapshotLinks: Effect.Effect<{ readonly [link: string]: string }, LightboxError>
    /** What a link leads to: the name of a snapshot, or `undefined` where there is no such link. */
    readonly readSnapshotLink: (link: string) => Effect.Effect<string | undefined, LightboxError>
    /** Makes a link, or moves it, in one step. */
    readonly linkSnapshot: (link: string, name: string) => Effect.Effect<void, LightboxError>
    readonly unlinkSnapshot: (link: string) => Effect.Effect<void, LightboxError>

    readonly createVolume: (request: CreateVolume) => Effect.Effect<VolumeInfo, LightboxError>
    readonly getVolume: (name: string) => Effect.Effect<VolumeInfo, LightboxError>
    readonly listVolumes: Effect.Effect<ReadonlyArray<VolumeInfo>, LightboxError>
    /** Removes a volume and its content. Fails with `InUse` while a sandbox that runs mounts it. */
    readonly removeVolume: (name: string) => Effect.Effect<void, LightboxError>
  }
>()("effect-lightbox/Microsandbox") {}
