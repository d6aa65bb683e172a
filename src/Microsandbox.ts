/**
 * The driver: everything that the microsandbox runtime can do, as data in and
 * out and typed errors.
 *
 * This is the one service that the rest of the library, and any program that
 * needs more than it offers, talks to. {@link layer} provides it on this
 * machine; `MicrosandboxMemory.layer` in `effect-lightbox/testing` provides an
 * in-memory twin for tests.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Guest from "./Guest.ts"
import type { LightboxError } from "./LightboxError.ts"
import type { SandboxConfig, Source } from "./SandboxConfig.ts"

// =============================================================================
// Models
// =============================================================================

/**
 * What tells one sandbox from another that has, or will have, its name.
 *
 * **Example** (Keeping a reference)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const refOf = ({ id, name }: Microsandbox.SandboxInfo): Microsandbox.SandboxRef => ({ id, name })
 * ```
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
 * **Example** (Asking whether commands can run)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const canRun = (status: Microsandbox.SandboxStatus): boolean => status === "running"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxStatus = "created" | "starting" | "running" | "draining" | "paused" | "stopped" | "crashed"

/**
 * What the runtime knows of a sandbox, at the time of asking.
 *
 * **Example** (Listing what runs)
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
  /** The image that its root disk is based on. */
  readonly image: string | undefined
  readonly cpus: number
  /** MiB. */
  readonly memory: number
  /** Names of the volumes that it mounts. */
  readonly volumes: ReadonlyArray<string>
  readonly workdir: string | undefined
  readonly shell: string
  readonly createdAt: DateTime.Utc | undefined
}

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
 *   config: { resources: { memory: 256 } }
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
 * **Example** (Listing digests)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Image } from "effect-lightbox"
 *
 * export const digests = Effect.map(Image.list(), (images) => images.map((image) => image.digest))
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface ImageInfo {
  readonly reference: string
  /** Digest of the manifest. */
  readonly digest: string | undefined
  /** Bytes. */
  readonly size: number | undefined
  readonly architecture: string | undefined
  readonly os: string | undefined
  readonly layers: number
  readonly createdAt: DateTime.Utc | undefined
  readonly lastUsedAt: DateTime.Utc | undefined
}

/**
 * An image with what its configuration says.
 *
 * **Example** (Asking for the default command)
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
  readonly workdir: string | undefined
  readonly user: string | undefined
}

/**
 * What pruning images has removed. `bytes` is the space that was freed.
 *
 * **Example** (Reporting)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const show = (report: Microsandbox.ImagePruneReport): string =>
 *   `${report.images} images, ${report.bytes ?? 0} bytes`
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface ImagePruneReport {
  readonly images: number
  readonly layers: number
  readonly bytes: number | undefined
}

/**
 * A captured disk.
 *
 * **Example** (Telling what it is based on)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const base = (snapshot: Microsandbox.SnapshotInfo): string => snapshot.image
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotInfo {
  readonly name: string
  /** Identity of this capture: two captures of the same content differ. */
  readonly digest: string
  /** The folder that holds it, on the host. */
  readonly path: string
  readonly image: string
  /** Digest of the manifest of the image that it needs to boot. */
  readonly imageDigest: string
  /** Apparent size of the disk, in bytes; it takes less where it is empty. */
  readonly size: bigint | undefined
  /** What the disk takes on the host, in bytes, if the host can tell. */
  readonly allocated: number | undefined
  readonly labels: { readonly [key: string]: string }
  readonly createdAt: DateTime.Utc
  readonly sourceSandbox: string | undefined
}

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
 * **Example** (Finding what has no bound)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const isUnbounded = (volume: Microsandbox.VolumeInfo): boolean => volume.quota === undefined
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface VolumeInfo {
  readonly name: string
  readonly kind: "directory" | "disk"
  /** What a directory volume may hold, or how large a disk volume is, in MiB. */
  readonly quota: number | undefined
  /** On this host: the folder with its files, or the image of a disk. */
  readonly path: string
  readonly labels: { readonly [key: string]: string }
  readonly createdAt: DateTime.Utc | undefined
}

/**
 * What {@link Microsandbox} `createVolume` takes.
 *
 * **Example** (A volume of 2 GiB at most)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const request: Microsandbox.CreateVolume = { name: "cache", kind: "directory", quota: 2048 }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface CreateVolume {
  readonly name: string
  readonly kind: "directory" | "disk"
  /** MiB. A disk volume needs it. */
  readonly quota?: number | undefined
  readonly labels?: { readonly [key: string]: string } | undefined
}

/**
 * A line, or a piece of one, that a sandbox logged. `"output"` is what a command
 * with a terminal wrote, `"system"` what runtime and kernel wrote.
 *
 * **Example** (Showing)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const show = (entry: Microsandbox.LogEntry): string => new TextDecoder().decode(entry.bytes)
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface LogEntry {
  readonly timestamp: DateTime.Utc
  readonly source: "stdout" | "stderr" | "output" | "system"
  /** Which command of the sandbox it came from; not a process id. */
  readonly session: number | undefined
  readonly bytes: Uint8Array
  /** Where to go on reading. */
  readonly cursor: string
}

/**
 * Which log entries to read.
 *
 * **Example** (The last lines of runtime and kernel)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const query: Microsandbox.LogQuery = { sources: ["system"], tail: 20 }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface LogQuery {
  /** Default: everything but `"system"`. */
  readonly sources?: ReadonlyArray<LogEntry["source"]> | undefined
  /** Only the last so many. */
  readonly tail?: number | undefined
  /** Only what came after this cursor. Not together with `tail`. */
  readonly after?: string | undefined
}

/**
 * What a sandbox uses. Sizes are in bytes.
 *
 * **Example** (Memory in use, as a share)
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
  readonly rootDiskUsed: number | undefined
  readonly uptimeMillis: number
  readonly timestamp: DateTime.Utc
}

/**
 * Changes to a sandbox that exists. Sizes in MiB.
 *
 * **Details**
 *
 * `apply` says when: at once, refusing what needs a restart (`"now"`, the
 * default), with a restart if need be, or at the next start. What is ephemeral
 * can not restart.
 *
 * **Example** (Growing)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const change: Microsandbox.ModifySandbox = { memory: 2048, apply: "restart" }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface ModifySandbox {
  readonly cpus?: number | undefined
  readonly maxCpus?: number | undefined
  readonly memory?: number | undefined
  readonly maxMemory?: number | undefined
  readonly disk?: number | undefined
  readonly workdir?: string | undefined
  /** `undefined` removes a variable. */
  readonly env?: { readonly [name: string]: string | undefined } | undefined
  /** `undefined` removes a label. */
  readonly labels?: { readonly [key: string]: string | undefined } | undefined
  readonly apply?: "now" | "restart" | "next-start" | undefined
  /** Only tell what would change. Default: `false`. */
  readonly dryRun?: boolean | undefined
}

/**
 * What a modification changes, and what stands in its way.
 *
 * **Example** (Asking whether it would work)
 *
 * ```ts
 * import type { Microsandbox } from "effect-lightbox"
 *
 * export const works = (plan: Microsandbox.ModificationPlan): boolean => plan.conflicts.length === 0
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface ModificationPlan {
  readonly applied: boolean
  readonly changes: ReadonlyArray<{
    /** As in {@link ModifySandbox}. */
    readonly field: string
    readonly before: string | undefined
    readonly after: string | undefined
    /** When it takes effect: `"live"`, `"next start"`, `"requires restart"`, or `"unsupported"`. */
    readonly disposition: string
  }>
  readonly conflicts: ReadonlyArray<{ readonly field: string; readonly problem: string }>
  readonly warnings: ReadonlyArray<{ readonly field: string; readonly problem: string }>
}

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
      change: ModifySandbox
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
