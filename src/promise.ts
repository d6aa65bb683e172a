/**
 * The library for programs that use promises instead of Effect.
 *
 * The functions, options and results are those of lightbox 0.3: programs that used it only change the import. They
 * share the driver with the rest of the library. No type of Effect appears in them.
 *
 * **Details**
 *
 * Every function takes an `AbortSignal`. Aborting stops what runs in the guest, cleans up, and then rejects with the
 * signal's reason. All other failures reject with {@link LightboxError}.
 *
 * On SIGINT, SIGTERM, SIGHUP or an uncaught error, the process first releases its sandboxes (within 10 seconds), then
 * exits as usual: with 130, 143, 129, or the error. If the program listens for the signal itself, this happens on the
 * second signal.
 *
 * **Example** (Build once, run a command)
 *
 * ```ts
 * import { buildSnapshot, runInSandbox } from "effect-lightbox/promise"
 *
 * await buildSnapshot({
 *   name: "py-data",
 *   image: "python:3.12",
 *   resources: { cpus: 2, memory: "1G" },
 *   setup: ["pip install --no-cache-dir numpy pandas"]
 * })
 *
 * const out = await runInSandbox({ snapshot: "py-data", name: "analysis-1" }, (sb) =>
 *   sb.exec("python", ["-c", "import pandas; print(pandas.__version__)"])
 * )
 * console.log(out.stdout())
 * ```
 *
 * @since 0.1.0
 */
// @effect-diagnostics asyncFunction:off globalConsole:off globalConsoleInEffect:off globalDate:off
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { launched, memberOptions, type SandboxSettings, withMemberNames } from "./internal/promise/launch.ts"
import { type CallOptions, Dockerfile, type Network, type Registry, type Secret } from "./internal/promise/options.ts"
import type { SetupStep } from "./internal/promise/steps.ts"
import * as Runtime from "./internal/promise/runtime.ts"
import { ofMember } from "./internal/sandbox/group.ts"
import type { Probe, Service } from "./internal/promise/probe.ts"
import { Sandbox } from "./internal/promise/sandbox.ts"
import { callFields, checkArgs, checked, Millis, Quota, signalOf } from "./internal/promise/input.ts"
import {
  BearerToken,
  CString,
  Env,
  Force,
  HostPath,
  HostUrl,
  intBetween,
  Labels,
  Name,
  optionsStruct,
  recordOf
} from "./internal/config/schemas.ts"
import { checkObject, decoder, invalid } from "./internal/config/validation.ts"
import { listMeasured, measured } from "./internal/volume/volumes.ts"
import * as BuildEvents from "./BuildEvent.ts"
import { definitionOf, snapshotRecord, volumeRecord } from "./internal/promise/store.ts"
import { bytesOf } from "./internal/promise/volume.ts"
import { SandboxConfig } from "./SandboxConfig.ts"
import * as Errors from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"
import * as Sandboxes from "./Sandbox.ts"
import type { MountInput, PortMapping, Size } from "./internal/config/plain.ts"
import * as Snapshots from "./Snapshot.ts"
import * as Volumes from "./Volume.ts"

export {
  type AttachOptions,
  type ExecEvent,
  ExecHandle,
  type ExecOptions,
  ExecOutput,
  ExecSink,
  type ExecStreamOptions,
  type ExitStatus
} from "./internal/promise/exec.ts"
export {
  type FsCopyOptions,
  type FsEntry,
  type FsEntryKind,
  type FsMetadata,
  FsReadStream,
  type FsWatchEvent,
  type FsWatchOptions,
  type FsWriteOptions,
  FsWriteSink,
  SandboxFs
} from "./internal/promise/files.ts"
export {
  type BuildComparison,
  BuildRecord,
  type BuildSpans,
  type BuildStatus,
  type BuildSummary,
  type BuildTrace,
  type ComparedStep,
  getBuild,
  listBuilds,
  type ListBuildsOptions,
  type RecordedStep,
  type SpanAttributes,
  type StepOutcome
} from "./internal/promise/records/builds.ts"
export {
  type EndedSandbox,
  type EndedSandboxSummary,
  getEndedSandbox,
  listEndedSandboxes,
  type ListEndedSandboxesOptions
} from "./internal/promise/records/sandboxes.ts"
export {
  type CaptureOptions,
  captureSnapshot,
  type Difference,
  type DiffOptions,
  diffSnapshots,
  type DiffSource,
  type ForkOptions,
  Forks,
  forkSandbox,
  type ForkSettings,
  type SnapshotDiff
} from "./internal/promise/capture.ts"
export {
  Forward,
  type ForwardOptions,
  type ProxyOptions,
  SandboxProxy,
  startProxy
} from "./internal/promise/forward.ts"
export {
  type CallOptions,
  Dockerfile,
  type FsReadOptions,
  type Network,
  type NetworkOptions,
  type Registry,
  type Secret
} from "./internal/promise/options.ts"
export { type SandboxSettings } from "./internal/promise/launch.ts"
export {
  apt,
  type CacheStep,
  checkpoint,
  type CommandStepOptions,
  copy,
  type CopyStep,
  type CopyStepOptions,
  env,
  exec,
  type ExecStep,
  type FunctionStep,
  type FunctionStepOptions,
  gitClone,
  type GitCloneStep,
  type InstallStep,
  npm,
  type Owner,
  pip,
  type SettingStep,
  type SetupStep,
  shell,
  type ShellStep,
  skipCache,
  step,
  type StepOptions,
  type StepSecret,
  user,
  workdir,
  write,
  type WriteStep,
  type WriteStepOptions
} from "./internal/promise/steps.ts"
export {
  type CodeError,
  type CodeEvent,
  type CodeExecution,
  type CodeOptions,
  CodeResult,
  Interpreter,
  type InterpreterOptions
} from "./internal/promise/interpreter.ts"
export {
  Job,
  type JobInfo,
  type JobLogEvent,
  type JobLogOptions,
  type JobOptions,
  type JobStatus
} from "./internal/promise/jobs.ts"
export { type Probe, type ProbeTiming, type Service, type WaitOptions } from "./internal/promise/probe.ts"
export {
  type LogEntry,
  type LogOptions,
  type Metrics,
  type ModificationPlan,
  type RemoveOptions,
  Sandbox,
  type SandboxBuilder,
  type SandboxChange,
  SandboxHandle,
  type SandboxStatus,
  type StopOptions
} from "./internal/promise/sandbox.ts"
export {
  createPool,
  type PoolOptions,
  type PoolSettings,
  type PoolStats,
  type RunManyOptions,
  SandboxPool,
  type TaskResult,
  type UserOptions
} from "./internal/promise/pool.ts"
export {
  buildTemporarySnapshot,
  type CleanupReport,
  type CleanupVerdict,
  type GenerationRecord,
  getImage,
  type ImageDetail,
  type ImageRecord,
  listGenerations,
  listImages,
  loadImages,
  type LoadOptions,
  loadSnapshot,
  type MissReason,
  type PlannedStep,
  type PlanOptions,
  planSnapshot,
  primeVolume,
  type PrimeVolumeOptions,
  pruneImages,
  pruneSnapshots,
  type PruneSnapshotsOptions,
  pruneVolumes,
  type PruneVolumesOptions,
  type PullOptions,
  pullSnapshot,
  type HostReference,
  type S3,
  type PushedSnapshot,
  type PushOptions,
  pushSnapshot,
  removeImage,
  rollbackSnapshot,
  saveImages,
  type SaveOptions,
  saveSnapshot,
  SnapshotPlan,
  sweep,
  TemporarySnapshot,
  type TransferProgress
} from "./internal/promise/store.ts"
export { Snapshot, SnapshotBuilder, type TagOptions } from "./internal/promise/snapshot.ts"
export { Volume, VolumeBuilder, VolumeHandle } from "./internal/promise/volume.ts"

// =============================================================================
// Types
// =============================================================================

/**
 * An amount of memory: a whole number of MiB or GiB, such as `"512M"`, `"2G"` or `"2 GiB"`.
 *
 * @category models
 * @since 0.1.0
 */
export type Memory = Exclude<Size, number>

/**
 * Processors and memory.
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotResources {
  /** Virtual processors, 1 to 255. Default: 1. */
  cpus?: number | undefined
  /** Limit for adding processors while the sandbox runs. Default: `cpus`. */
  maxCpus?: number | undefined
  /** Memory in whole MiB, at least `"64M"`. Default: `"512M"`. */
  memory?: Memory | undefined
  /** Limit for adding memory while the sandbox runs. Default: `memory`. */
  maxMemory?: Memory | undefined
  /** Size of the root disk. Not allowed with a snapshot. Default: `"4G"`. */
  disk?: Memory | undefined
}

/**
 * The definition of a snapshot.
 *
 * **Example** (Define a snapshot for CI)
 *
 * ```ts
 * import type { SnapshotConfig } from "effect-lightbox/promise"
 *
 * export const config: SnapshotConfig = {
 *   name: "node-ci",
 *   image: "node:22",
 *   resources: { cpus: 4, memory: "4G" },
 *   workdir: "/work",
 *   env: { CI: "true" },
 *   setup: ["npm i -g pnpm@9"],
 *   labels: { team: "platform" }
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type SnapshotConfig = SnapshotSettings &
  (
    | {
        /** OCI image to start from, such as `"node:22"`. */
        image: string
        from?: undefined
        dockerfile?: undefined
      }
    | {
        /** Definition to start from. Its steps are built first; its name is not created or changed. */
        from: SnapshotConfig
        image?: undefined
        dockerfile?: undefined
      }
    | {
        /** A Dockerfile, as {@link fromDockerfile} reads it. Setup steps run after it. */
        dockerfile: Dockerfile
        image?: undefined
        from?: undefined
      }
  )

/**
 * The definition of a snapshot, apart from what it starts from.
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotSettings {
  /** Name of the snapshot: up to 128 letters, digits, dots, dashes and underscores. */
  name: string
  /** Processors and memory of the builder sandbox. Default: 1 processor, `"512M"`. */
  resources?: SnapshotResources | undefined
  /** Working directory of setup steps, created if missing. Default: the image's. */
  workdir?: string | undefined
  /** Environment variables of the setup steps. Default: none. */
  env?: Record<string, string> | undefined
  /** Setup steps, run in order. Default: none. */
  setup?: Array<SetupStep> | undefined
  /** Labels stored with the snapshot. Default: none. */
  labels?: Record<string, string> | undefined
  /** Options of sandboxes that boot from the snapshot. Changing them runs no setup step. Default: none. */
  defaults?: SnapshotDefaults | undefined
  /** Folders and volumes to mount in the builder, by guest path. They are not part of the snapshot. Default: none. */
  mounts?: Record<string, Mount> | undefined
  /** Network of the builder. Default: `"public"`. */
  network?: Network | undefined
  /** Options for pulling the image. Default: TLS, no login. */
  registry?: Registry | undefined
  /**
   * Called with a sandbox that was booted from the result, before the name points to it. If it rejects, so does the
   * build. Default: none.
   */
  verify?: ((sandbox: Sandbox, options: CallOptions) => Promise<unknown>) | undefined
}

/**
 * Options that a snapshot carries, and that sandboxes get when they boot from it. They are stored in clear text.
 *
 * Options of a launch come first. `env`, `labels` and `services` are merged by name, and `services: {}` starts none;
 * every other option replaces the default, so `ports: {}` publishes none. With network `"none"`, no port is published.
 *
 * @category options
 * @since 0.1.0
 */
export interface SnapshotDefaults {
  /** Working directory of commands. Default: the image's, else `/`. */
  workdir?: string | undefined
  /** User of commands, such as `"app"` or `"1000:1000"`. Default: the image's, else root. */
  user?: string | undefined
  /** Path of the shell of scripts in services and probes. Default: `"/bin/sh"`. */
  shell?: string | undefined
  /** Environment variables of all commands. Default: none. */
  env?: Record<string, string> | undefined
  /** Command that `lightbox run` runs if it is given none. Default: a shell. */
  cmd?: ReadonlyArray<string> | undefined
  /** TCP ports, as `{ host: guest }`. Host port 0 picks a free port. Default: none. */
  ports?: Record<number, number> | ReadonlyArray<PortMapping> | undefined
  /** Jobs that start with the sandbox, by id. Default: none. */
  services?: Record<string, Service> | undefined
  /**
   * A script for the sandbox's shell, or a program and its arguments, that runs in sandboxes that resume from the snapshot.
   * Default: none.
   */
  onResume?: string | readonly [program: string, ...args: ReadonlyArray<string>] | undefined
  /** Labels for finding the sandbox. Default: none. */
  labels?: Record<string, string> | undefined
}

/**
 * A {@link SnapshotConfig} with steps, to which more can be added.
 *
 * @category models
 * @since 0.1.0
 */
export interface PresetConfig extends SnapshotSettings {
  /** OCI image to start from. */
  image: string
  from?: undefined
  /** Setup steps, run in order. */
  setup: Array<SetupStep>
}

/**
 * Options of {@link buildSnapshot}.
 *
 * @category options
 * @since 0.1.0
 */
export interface BuildOptions {
  /** Replace a snapshot that has the name. With `false`, reject instead. Default: `true`. */
  overwrite?: boolean | undefined
  /** Run all steps, or those from this position (from 1) on, even if their results are cached. Default: `false`. */
  rebuild?: boolean | number | undefined
  /**
   * Intermediate results to store: those of expensive steps, before a {@link checkpoint}, and before a failed step
   * (`"auto"`), all, those before a checkpoint (`"marked"`), or none (`"final"`). Default: `"auto"`.
   */
  checkpoints?: "auto" | "every-step" | "final" | "marked" | undefined
  /** For `"auto"`: store a result if its steps took this many times as long as storing it. Default: 10. */
  checkpointFactor?: number | undefined
  /** Generations to keep, including the new one. Default: 2. */
  keep?: number | undefined
  /** Keep the builder running as `<name>-builder`, after success and failure. Default: `false`. */
  debugBuilder?: boolean | undefined
  /** When to pull the image. `"always"` asks the registry first, and boots nothing if the tag has not moved. Default: as configured. */
  pullPolicy?: "always" | "if-missing" | "never" | undefined
  /**
   * Capture the snapshot with its memory, once the services of its defaults are ready: launches then resume that machine.
   * A preview, for runtimes that can do so; others reject with the reason `Unsupported`. Default: `false`.
   */
  warm?: boolean | undefined
  /** Print the build's progress and the output of steps. Default: `false`. */
  verbose?: boolean | undefined
  /** Receives the events of the build. Default: none. */
  onEvent?: ((event: BuildEvent) => void) | undefined
  /** Stops the build, cleans up, and rejects. Default: none. */
  signal?: AbortSignal | undefined
}

/**
 * A mount: a host folder, or an object. A missing volume is created.
 *
 * **Example** (Mount a folder, a volume and memory)
 *
 * ```ts
 * import type { Mount } from "effect-lightbox/promise"
 *
 * export const mounts: Record<string, Mount> = {
 *   "/work": "./my-project",
 *   "/cache": { volume: "npm-cache" },
 *   "/scratch": { tmpfs: "256M" }
 * }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export type Mount = MountInput

/**
 * Options of {@link launchSandbox} and {@link runInSandbox}, with either a `snapshot` or an `image`.
 *
 * @category options
 * @since 0.1.0
 */
export type LaunchOptions = LaunchSettings &
  (
    | {
        /** Name of the snapshot to boot from. */
        snapshot: string
        image?: undefined
      }
    | {
        /** OCI image to boot from, such as `"node:22"`. */
        image: string
        snapshot?: undefined
      }
  )

/**
 * Options of {@link getOrCreateSandbox}: those of {@link launchSandbox}, except those that it sets itself.
 *
 * @category options
 * @since 0.1.0
 */
export type GetOrCreateOptions = LaunchOptions & {
  /** Time limit, including the wait for another process that is starting the sandbox. Default: none. */
  readonly timeoutMs?: number | undefined
  readonly name?: never
  readonly detached?: never
  readonly overwrite?: never
  readonly releaseTimeoutMs?: never
}

/**
 * Options of a sandbox, apart from its source.
 *
 * @category options
 * @since 0.1.0
 */
export interface LaunchSettings extends SandboxSettings {
  /** Name of the sandbox. Default: generated. */
  name?: string | undefined
  /** Processors and memory. Default: 1 processor, `"512M"`. */
  resources?: SnapshotResources | undefined
  /** Working directory of commands. Must exist in the snapshot or be a mount. Default: the image's, else `/`. */
  workdir?: string | undefined
  /** Environment variables of all commands. Default: none. */
  env?: Record<string, string> | undefined
  /** TCP ports, as `{ host: guest }`. Host port 0 picks a free port, listed in `sandbox.ports`. Default: none. */
  ports?: Record<number, number> | Array<PortMapping> | undefined
  /** Mounts by guest path: `"./folder"`, `{ volume: "name" }`, `{ bind: "./folder" }` or `{ tmpfs: "64M" }`. Default: none. */
  mounts?: Record<string, Mount> | undefined
  /** Labels for finding the sandbox. Default: none. */
  labels?: Record<string, string> | undefined
  /**
   * Root disk: `"copy"` of the snapshot's disk; `"overlay"`, which stores only changes and cannot be resized; or
   * `"auto"`, an overlay when a copy would copy every byte. Default: `"copy"`, but `"auto"` for {@link runInSandbox}.
   */
  rootDisk?: "auto" | "copy" | "overlay" | undefined
  /** Network access: `"none"`, `"public"` (the internet), `"all"`, or rules. Default: `"public"`. */
  network?: Network | undefined
  /**
   * Secrets by environment variable. The guest can send each `value` to its `hosts` but never sees it. Default: none.
   */
  secrets?: Record<string, Secret> | undefined
  /**
   * Jobs to start at launch, by id. The launch resolves when all are ready, and rejects with the reason `NotReady` if one
   * is not; then the sandbox is removed. Default: none.
   */
  services?: Record<string, Service> | undefined
  /** Replace a sandbox that has the name. With `false`, reject instead. Default: `true`. */
  overwrite?: boolean | undefined
  /**
   * Keep the sandbox after this process exits (Ctrl-C included), until `removeSandbox`. Default: `false`, which ends it
   * with this process.
   */
  detached?: boolean | undefined
  /** Print a line before the launch. Default: `false`. */
  verbose?: boolean | undefined
  /**
   * Stops the launch and cleans up; for {@link runInSandbox}, also removes the sandbox during the callback. Default:
   * none.
   */
  signal?: AbortSignal | undefined
}

/**
 * A snapshot on this host.
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotRecord {
  name: string | null
  digest: string
  imageRef: string
  createdAt: Date
  /** Apparent size of the disk, in bytes. Sparse areas take no space. A number in JSON. */
  sizeBytes: bigint | null
  /** Folder that holds the snapshot. */
  path: string
  labels: Record<string, string>
}

/**
 * A named volume.
 *
 * @category models
 * @since 0.1.0
 */
export interface VolumeRecord {
  name: string
  /** Maximum size, in MiB. `null`: unlimited. */
  quotaMib: number | null
  /** Space used on the host's disk, in bytes. */
  usedBytes: number
  labels: Record<string, string>
  createdAt: Date | null
}

/**
 * Options of {@link ensureVolume}.
 *
 * @category options
 * @since 0.1.0
 */
export interface EnsureVolumeOptions {
  /** Maximum size, in MiB. Default: unlimited. */
  quotaMib?: number | undefined
  /** Labels for finding the volume. Default: none. */
  labels?: Record<string, string> | undefined
}

/**
 * An event of a build. `at` is in milliseconds since 1970, durations are in milliseconds, step indexes count from 1.
 *
 * @category models
 * @since 0.1.0
 */
export type BuildEvent = {
  readonly buildId: string
  readonly sequence: number
  readonly snapshot: string
  readonly at: number
} & (
  | { readonly _tag: "Planned"; readonly steps: number; readonly hits: number; readonly parent?: string }
  | { readonly _tag: "Waiting"; readonly key: string }
  | {
      readonly _tag: "Pulling"
      readonly image: string
      readonly phase: "Resolving" | "Resolved" | "Downloading" | "Unpacking" | "Pulled"
      readonly layer?: number
      readonly done?: number
      readonly total?: number
    }
  | { readonly _tag: "Booting"; readonly builder: string; readonly from: string }
  | { readonly _tag: "Booted"; readonly builder: string; readonly durationMillis: number }
  | ({ readonly index: number; readonly description: string } & (
      | { readonly _tag: "StepCached" }
      | { readonly _tag: "StepStarted"; readonly attempt: number }
      | { readonly _tag: "StepOutput"; readonly stream: "stdout" | "stderr"; readonly text: string }
      | {
          readonly _tag: "StepAttemptFailed"
          readonly attempt: number
          readonly problem: string
          readonly declaredAt?: string
        }
      | { readonly _tag: "StepFinished"; readonly attempt: number; readonly durationMillis: number }
    ))
  | { readonly _tag: "Checkpointing"; readonly index: number; readonly key: string }
  | {
      readonly _tag: "Checkpointed"
      readonly index: number
      readonly key: string
      readonly size?: number
      readonly durationMillis: number
    }
  | { readonly _tag: "Committed"; readonly generation: number; readonly digest: string }
  | {
      readonly _tag: "Finished"
      readonly durationMillis: number
      readonly stepsRun: number
      readonly stepsReused: number
    }
  | { readonly _tag: "Failed"; readonly durationMillis: number; readonly problem: string }
)

// =============================================================================
// Errors
// =============================================================================

/**
 * The reason of an error. Match on `_tag`; the guide to errors says what each one means.
 *
 * @category errors
 * @since 0.1.0
 */
export type LightboxErrorReason = {
  readonly message: string
  /** Whether a retry can help. */
  readonly isRetryable: boolean
  /** `"failed"`: the operation had no effect. `"unknown"`: it may have had one. */
  readonly outcome: "failed" | "unknown"
} & (
  | { readonly _tag: "NotFound" | "AlreadyExists"; readonly resource: string; readonly name: string }
  | { readonly _tag: "StillRunning"; readonly resource?: string; readonly name: string }
  | { readonly _tag: "Replaced"; readonly name: string }
  | { readonly _tag: "NotRunning"; readonly name: string; readonly status?: string }
  | {
      readonly _tag: "InUse"
      readonly resource: string
      readonly name: string
      readonly usedBy: ReadonlyArray<string>
    }
  | { readonly _tag: "InvalidConfig"; readonly field: string; readonly problem: string }
  | { readonly _tag: "Unsupported"; readonly feature: string; readonly problem: string }
  | {
      readonly _tag: "ImageUnavailable"
      readonly reference: string
      readonly problem: string
      /** Why, if known. */
      readonly kind?: "NotFound" | "Unauthorized" | "Tls" | "Unreachable" | "NotCached"
    }
  | {
      readonly _tag: "TransferFailed"
      readonly reference: string
      readonly problem: string
      /** Why, if known. */
      readonly kind?: "NotFound" | "Unauthorized" | "Tls" | "Unreachable" | "Refused" | "NotASnapshot"
    }
  | {
      readonly _tag: "BootFailed"
      readonly name: string
      readonly problem: string
      readonly lastLines: ReadonlyArray<string>
    }
  | { readonly _tag: "NoVirtualization" | "RuntimeMissing"; readonly problem: string; readonly remedy: string }
  | {
      readonly _tag: "CommandNotStarted"
      readonly argv: ReadonlyArray<string>
      readonly kind: string
      readonly problem: string
      readonly errno?: string
    }
  | {
      readonly _tag: "CommandFailed"
      readonly argv: ReadonlyArray<string>
      readonly exitCode: number
      readonly signal?: string
      readonly stdout: string
      readonly stderr: string
    }
  | { readonly _tag: "OutputTooLarge"; readonly argv: ReadonlyArray<string>; readonly limitBytes: number }
  | {
      readonly _tag: "FileError"
      readonly operation: string
      readonly path: string
      readonly code: string
      readonly problem: string
    }
  | { readonly _tag: "GuestLost" | "GuestBusy" | "SnapshotDamaged"; readonly name: string; readonly problem: string }
  | {
      readonly _tag: "TimedOut"
      readonly operation: string
      readonly limitMillis: number
      /** The end of a command's output until then. */
      readonly stdout?: string
      readonly stderr?: string
    }
  | {
      readonly _tag: "NotReady"
      /** Job or service that was waited for, if known. */
      readonly job?: string
      readonly observation: string
      readonly lastLines: ReadonlyArray<string>
      readonly limitMillis?: number
    }
  | {
      readonly _tag: "InterpreterLost"
      readonly language: string
      readonly problem: string
      /** Absent if it was killed by this library. -1: a signal ended it. */
      readonly exitCode?: number
      readonly signal?: string
      readonly stdout: string
      readonly stderr: string
    }
  | {
      readonly _tag: "Drift"
      readonly resource: "volume" | "sandbox"
      readonly name: string
      readonly field: string
      readonly was?: string | undefined
      readonly now?: string | undefined
    }
  | { readonly _tag: "SecretLeaked"; readonly secret: string; readonly place?: "disk" | "memory" }
  | { readonly _tag: "NoCapacity" | "StoreBusy" | "NoSpace"; readonly problem: string }
  | {
      readonly _tag: "HostUnavailable"
      readonly host: string
      readonly kind: "Unreachable" | "Lost" | "Ended" | "Unauthorized" | "Forbidden" | "Refused"
      readonly problem: string
    }
  | {
      readonly _tag: "Unknown"
      readonly problem: string
      /** The original error. */
      readonly cause?: unknown
    }
)

/**
 * The error that every function of this module rejects with.
 *
 * **Example** (Handle a rejection)
 *
 * ```ts
 * import { launchSandbox, LightboxError } from "effect-lightbox/promise"
 *
 * try {
 *   await launchSandbox({ snapshot: "none", name: "worker" })
 * } catch (error) {
 *   if (error instanceof LightboxError && error.reason._tag === "NotFound") console.log("build it first")
 *   else throw error
 * }
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export interface LightboxError extends Error {
  readonly _tag: "LightboxError"
  /** Operation that failed. */
  readonly method: string
  readonly reason: LightboxErrorReason
  /** Build step that failed. */
  readonly step?:
    | {
        readonly definition: string
        readonly index: number
        readonly description: string
        /** Script or command line of the step. */
        readonly command?: string | undefined
        /** File and line that declare the step. */
        readonly declaredAt?: string | undefined
        readonly attempt: number
        readonly durationMillis: number
      }
    | undefined
  /** Builder sandbox, if it was kept. */
  readonly builder?: string | undefined
  /** Suggested fix, if known. Also part of the message. */
  readonly hint: string | undefined
  readonly isRetryable: boolean
  readonly outcome: "failed" | "unknown"
}

/**
 * The error class, for `instanceof`.
 *
 * @category errors
 * @since 0.1.0
 */
export const LightboxError: abstract new (...args: never) => LightboxError = Errors.LightboxError

// =============================================================================
// Snapshots
// =============================================================================

/**
 * Returns a configuration unchanged and preserves its literal types.
 *
 * @category constructors
 * @since 0.1.0
 */
export const defineSnapshot = <T extends SnapshotConfig>(config: T): T => config

/**
 * Options of {@link fromDockerfile}.
 *
 * @category options
 * @since 0.1.0
 */
export interface DockerfileOptions extends CallOptions {
  /** Folder of this host that `COPY` and `ADD` copy from. Default: that of the Dockerfile; none for a text. */
  readonly context?: string | undefined
  /** Name or number of the stage to build. Default: the last one. */
  readonly target?: string | undefined
  /** Values of `ARG` instructions by name. A name without an `ARG` rejects. Default: none. */
  readonly args?: { readonly [name: string]: string } | undefined
  /** Values for `RUN --mount=type=secret` by id. They are not part of any key. Default: none. */
  readonly secrets?: { readonly [id: string]: string } | undefined
}

const decodeDockerfile = checked(
  "fromDockerfile",
  Schema.Struct({
    name: Name,
    dockerfile: Schema.Union([Schema.NonEmptyString, Schema.Struct({ text: Schema.String })])
  }),
  optionsStruct<DockerfileOptions>()({
    ...callFields,
    context: Schema.optional(HostPath),
    target: Schema.optional(Schema.NonEmptyString),
    args: Schema.optional(Env),
    secrets: Schema.optional(recordOf(CString, (id) => (id === "" ? "expected an id" : undefined)))
  })
)

/**
 * Reads a Dockerfile, given by its path or its text, as the configuration of a snapshot. Its steps run in microVMs,
 * without Docker, and are planned and cached as any others. Add other options to the result.
 *
 * Everything that is not supported rejects with the reason `InvalidConfig`, which shows the line, before anything boots.
 * If the file refers to the configuration of its base image, such as `$PATH`, the image is pulled if it is not cached.
 * The guide to Dockerfiles says what each instruction does.
 *
 * **Example** (Build a Dockerfile)
 *
 * ```ts
 * import { buildSnapshot, fromDockerfile } from "effect-lightbox/promise"
 *
 * export const build = async (): Promise<void> => {
 *   const app = await fromDockerfile("app", "./Dockerfile", { args: { VERSION: "1.2.3" } })
 *   await buildSnapshot({ ...app, resources: { memory: "2G" } })
 * }
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromDockerfile = async (
  name: string,
  dockerfile: string | { readonly text: string },
  options?: DockerfileOptions
): Promise<{ name: string; dockerfile: Dockerfile }> => {
  const { secrets = {}, signal, ...rest } = decodeDockerfile({ name, dockerfile }, options)
  const given = Object.fromEntries(Object.entries(secrets).map(([id, value]) => [id, Redacted.make(value)]))
  const { args, context, target } = rest
  const read = Snapshots.fromDockerfile(name, dockerfile, { args, context, target, secrets: given })
  return { name, dockerfile: new Dockerfile(await Runtime.run(read, signal)) }
}

const isListener = (u: unknown): u is (event: BuildEvent) => void => typeof u === "function"

const flag = Schema.optional(Schema.Boolean)

const decodeBuild = checked(
  "buildSnapshot",
  Schema.Struct({}),
  optionsStruct<BuildOptions>()({
    ...callFields,
    overwrite: flag,
    rebuild: Schema.optional(Force),
    checkpoints: Schema.optional(Schema.Literals(["auto", "every-step", "final", "marked"])),
    checkpointFactor: Schema.optional(
      Schema.Finite.check(Schema.makeFilter((factor) => (factor >= 0 ? undefined : "expected 0 or more")))
    ),
    keep: Schema.optional(intBetween(1, 1000)),
    debugBuilder: flag,
    pullPolicy: SandboxConfig.fields.pullPolicy,
    warm: flag,
    verbose: flag,
    onEvent: Schema.optional(Schema.declare(isListener, { expected: "a function" }))
  })
)

const Named = Schema.Struct({ name: Name })

const RemoveSchema = Schema.Struct({ ...callFields, force: flag })

const decodeRemoveSnapshot = checked("removeSnapshot", Named, RemoveSchema)
const decodeRemoveSandbox = checked("removeSandbox", Named, RemoveSchema)

const encodeEvent = Schema.encodeSync(BuildEvents.BuildEvent)

const print = (line: string): void => {
  process.stdout.write(`[lightbox] ${line}\n`)
}

const printEvent = (event: BuildEvent): void => {
  switch (event._tag) {
    case "Booting":
      return print(`creating builder "${event.builder}" from ${event.from}`)
    case "StepCached":
      return print(`${event.description} (cached)`)
    case "StepStarted":
      return print(event.description)
    case "StepOutput":
      return void process[event.stream].write(event.text)
    case "Committed":
      return print(`creating snapshot "${event.snapshot}"`)
    case "Waiting":
      return print("waiting for another build of this snapshot")
    default:
  }
}

/**
 * Builds a snapshot. Does nothing if it exists with the same configuration.
 *
 * The name points to the old snapshot until the new one is complete, so a failed or aborted build keeps the old one.
 * Steps with cached results are not run again. A failed step rejects with `setup step exited with code N: <script>`,
 * the step, and the end of its output.
 *
 * @category operations
 * @since 0.1.0
 */
export const buildSnapshot = async (config: SnapshotConfig, options?: BuildOptions): Promise<void> => {
  const definition = definitionOf("buildSnapshot", config)
  const { debugBuilder, onEvent, overwrite = true, rebuild, signal, verbose, ...rest } = decodeBuild({}, options)
  const listens = onEvent !== undefined || verbose === true
  await Runtime.run(
    Snapshots.build(definition, {
      overwrite,
      replaceForeign: overwrite,
      force: rebuild,
      keepBuilder: debugBuilder,
      ...rest,
      onEvent: listens
        ? (event) =>
            Effect.sync(() => {
              const encoded = encodeEvent(event)
              if (verbose === true) printEvent(encoded)
              onEvent?.(encoded)
            })
        : undefined
    }),
    signal
  )
}

/**
 * Lists the snapshots on this host, by name.
 *
 * @category operations
 * @since 0.1.0
 */
export const listSnapshots = async (options?: CallOptions): Promise<Array<SnapshotRecord>> =>
  (await Runtime.run(Snapshots.list(), signalOf("listSnapshots", options))).map(snapshotRecord)

/**
 * Checks whether a snapshot exists.
 *
 * @category operations
 * @since 0.1.0
 */
export const snapshotExists = async (name: string, options?: CallOptions): Promise<boolean> =>
  await Runtime.run(Snapshots.exists(name), signalOf("snapshotExists", options))

/**
 * Removes a snapshot. Succeeds if it does not exist. Sandboxes booted from it and snapshots built on it keep working,
 * with or without `force`.
 *
 * @category operations
 * @since 0.1.0
 */
export const removeSnapshot = async (
  name: string,
  options?: CallOptions & {
    /** Accepted for compatibility; no effect. Default: `false`. */
    force?: boolean | undefined
  }
): Promise<void> => {
  const { signal } = decodeRemoveSnapshot({ name }, options)
  await Runtime.run(Snapshots.remove(name), signal)
}

// =============================================================================
// Sandboxes
// =============================================================================

/**
 * Boots a sandbox.
 *
 * It ends with this process unless it is detached. `await using` removes it at the end of the block.
 *
 * **Example** (Keep a sandbox after the script exits)
 *
 * ```ts
 * import { launchSandbox } from "effect-lightbox/promise"
 *
 * const sb = await launchSandbox({ snapshot: "lightbox", name: "agent-1", detached: true })
 * console.log((await sb.exec("copilot", ["--version"])).stdout())
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const launchSandbox = (options: LaunchOptions): Promise<Sandbox> =>
  launched("launchSandbox", options, { rootDisk: "copy" })

/**
 * Boots a sandbox, passes it to a callback, and removes it when the callback resolves or rejects.
 *
 * **Example** (Run one command in a fresh sandbox)
 *
 * ```ts
 * import { runInSandbox } from "effect-lightbox/promise"
 *
 * const out = await runInSandbox({ snapshot: "lightbox", name: "ephemeral" }, (sb) => sb.shell("uname -a"))
 * console.log(out.stdout())
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const runInSandbox = async <T>(options: LaunchOptions, use: (sandbox: Sandbox) => Promise<T>): Promise<T> => {
  checkArgs("runInSandbox", { use })
  await using sandbox = await launched("runInSandbox", options, { rootDisk: "auto" })
  // The callback cannot be interrupted, but its sandbox can be removed.
  return await Runtime.abortable(
    options.signal,
    () => sandbox[Symbol.asyncDispose](),
    () => use(sandbox)
  )
}

const decodeGetOrCreate = checked(
  "getOrCreateSandbox",
  Schema.Struct({}),
  Schema.Struct({ timeoutMs: Schema.optional(Millis) })
)

/**
 * Connects to the sandbox with this name. Starts it first if it is stopped, and launches it if it does not exist. It
 * keeps running after this process exits, until `removeSandbox`.
 *
 * If several processes call it at once, one launches the sandbox and all connect to it. Rejects with the reason
 * `Drift`, which names the option, if the sandbox was launched with other options; values of secrets are not compared.
 * Rejects with the reason `InUse` if a living process has launched it without `detached`, and so will remove it.
 *
 * **Example** (Keep a workspace between runs)
 *
 * ```ts
 * import { getOrCreateSandbox } from "effect-lightbox/promise"
 *
 * const sb = await getOrCreateSandbox("workspace", { snapshot: "lightbox" })
 * console.log((await sb.shell("date >> /root/visits; cat /root/visits")).stdout())
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const getOrCreateSandbox = async (name: string, options: GetOrCreateOptions): Promise<Sandbox> => {
  checkArgs("getOrCreateSandbox", { name })
  Runtime.runNow(checkObject("getOrCreateSandbox", options))
  const decided = ["name", "detached", "overwrite", "releaseTimeoutMs"].find((field) => field in options)
  if (decided !== undefined) {
    Runtime.runNow(Effect.fail(invalid("getOrCreateSandbox", decided, "is not an option of getOrCreateSandbox")))
  }
  const { timeoutMs: given, ...rest } = options
  const { timeoutMs } = decodeGetOrCreate({}, { timeoutMs: given })
  return await launched("getOrCreateSandbox", rest, { rootDisk: "copy", name, timeoutMs })
}

/**
 * Options of a member of a group: those of {@link launchSandbox}, without what a group decides.
 *
 * @category options
 * @since 0.1.0
 */
export type GroupMember = LaunchOptions & {
  /**
   * Members that must be ready before this one boots, and that it reaches by name: at the ports that they publish and
   * those of the probes of their services (`"ready"`), or at these ports. Default: none.
   */
  readonly dependsOn?: { readonly [member: string]: "ready" | { readonly ports: ReadonlyArray<number> } } | undefined
  /** Probe that must succeed, besides those of services, before others that depend on it boot. Default: none. */
  readonly ready?: Probe | undefined
  readonly detached?: never
  readonly overwrite?: never
  readonly signal?: never
  readonly verbose?: never
}

/**
 * Boots several sandboxes that reach each other by name, each once those that it depends on are ready. Nothing else of
 * other members can be reached. If one fails, all are removed. They end with this process, and at the end of an
 * `await using` block in reverse order; the end of one member ends all, unless it was detached.
 *
 * **Example** (A server and its database)
 *
 * ```ts
 * import { launchGroup } from "effect-lightbox/promise"
 *
 * await using group = await launchGroup({
 *   db: { snapshot: "postgres", services: { db: { command: "exec postgres", ready: { port: 5432 } } } },
 *   web: { snapshot: "web", dependsOn: { db: "ready" } }
 * })
 * console.log((await group.web.exec("psql", ["-h", "db", "-c", "select 1"])).stdout())
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const launchGroup = async <const Name extends string>(
  members: { readonly [K in Name]: GroupMember },
  options?: CallOptions
): Promise<{ readonly [K in Name]: Sandbox } & AsyncDisposable> => {
  const signal = signalOf("launchGroup", options)
  Runtime.runNow(checkObject("launchGroup", members, "members"))
  const asked = Runtime.runNow(
    Effect.forEach(Object.entries<GroupMember>(members), ([name, member]) =>
      Effect.mapError(
        Effect.gen(function* () {
          yield* checkObject("launchGroup", member)
          const { dependsOn, ...rest } = member
          const decided = ["detached", "overwrite", "signal", "verbose"].find((field) => field in rest)
          if (decided !== undefined) return yield* invalid("launchGroup", decided, "is not an option of a member")
          return [name, { ...(yield* memberOptions("launchGroup", rest)), dependsOn }] as const
        }),
        ofMember(name)
      )
    )
  )
  const group = Sandboxes.group(Object.fromEntries(asked))
  return await Sandbox.openGroup(members, Effect.mapError(group, withMemberNames(Object.keys(members))), signal)
}

/**
 * Connects to a running sandbox, whichever process launched it.
 *
 * @category operations
 * @since 0.1.0
 */
export const connectToSandbox = async (name: string, options?: CallOptions): Promise<Sandbox> =>
  await Sandbox.open(Sandboxes.connect(name), signalOf("connectToSandbox", options))

/**
 * Removes a sandbox and its disk. Succeeds if it does not exist. Rejects if it is running, unless `force`, which kills
 * it first.
 *
 * @category operations
 * @since 0.1.0
 */
export const removeSandbox = async (
  name: string,
  options?: CallOptions & {
    /** Kill the sandbox first if it is running. Default: `false`. */
    force?: boolean | undefined
  }
): Promise<void> => {
  const { force, signal } = decodeRemoveSandbox({ name }, options)
  await Runtime.run(Sandboxes.remove(name, { force }), signal)
}

// =============================================================================
// Volumes
// =============================================================================

const decodeEnsureVolume = checked(
  "ensureVolume",
  Named,
  optionsStruct<EnsureVolumeOptions & CallOptions>()({
    ...callFields,
    quotaMib: Quota,
    labels: Schema.optional(Labels)
  })
)

/**
 * Gets a volume, creating it if it does not exist. Quota and labels apply only on creation.
 *
 * @category operations
 * @since 0.1.0
 */
export const ensureVolume = async (
  name: string,
  options?: EnsureVolumeOptions & CallOptions
): Promise<VolumeRecord> => {
  const { labels, quotaMib, signal } = decodeEnsureVolume({ name }, options)
  const ensured = Volumes.ensure(name, { quota: bytesOf(quotaMib), labels, onDrift: "adopt" })
  return volumeRecord(await Runtime.run(measured(ensured), signal))
}

/**
 * Lists the volumes on this host.
 *
 * @category operations
 * @since 0.1.0
 */
export const listVolumes = async (options?: CallOptions): Promise<Array<VolumeRecord>> =>
  (await Runtime.run(listMeasured, signalOf("listVolumes", options))).map(volumeRecord)

/**
 * Checks whether a volume exists.
 *
 * @category operations
 * @since 0.1.0
 */
export const volumeExists = async (name: string, options?: CallOptions): Promise<boolean> =>
  await Runtime.run(Volumes.exists(name), signalOf("volumeExists", options))

/**
 * Removes a volume and its content. Succeeds if it does not exist. Rejects while a running sandbox mounts it.
 *
 * @category operations
 * @since 0.1.0
 */
export const removeVolume = async (name: string, options?: CallOptions): Promise<void> => {
  await Runtime.run(Volumes.remove(name), signalOf("removeVolume", options))
}

// =============================================================================
// The runtime
// =============================================================================

/**
 * Checks that the runtime is installed and can be loaded. Every other function does so itself.
 *
 * @category operations
 * @since 0.1.0
 */
export const ensureRuntime = async (options?: CallOptions): Promise<void> => {
  await Runtime.run(Effect.asVoid(Microsandbox.Microsandbox), signalOf("ensureRuntime", options))
}

/**
 * Options of {@link configure}. Times are in milliseconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface ConfigureOptions {
  /** Folder for snapshots, sandboxes and volumes. Default: `MSB_HOME` in the environment, else `~/.microsandbox`. */
  home?: string | undefined
  /**
   * Use another machine, which runs `lightbox host` there: its address, such as `"https://kvm.example.com:7400"`, and a
   * token of it. `pullPolicy`, `bootTimeoutMs` and `records` are then not allowed. Default: this machine.
   */
  host?: { url: string; token: string } | undefined
  /** When to pull images: `"if-missing"`, `"always"` or `"never"`. Default: `"if-missing"`. */
  pullPolicy?: "always" | "if-missing" | "never" | undefined
  /** Time limit for booting, in milliseconds. Default: 60,000. */
  bootTimeoutMs?: number | undefined
  /** Report the progress of pulls and boots on standard error if it is a terminal. Default: `true`. */
  progress?: boolean | undefined
  /**
   * Keep records in the home: of each build, without secrets, for {@link listBuilds}, and of each sandbox that ends, for
   * {@link listEndedSandboxes}. Default: `true`.
   */
  records?: boolean | undefined
}

const decodeConfigure = decoder(
  optionsStruct<ConfigureOptions>()({
    home: Schema.optional(HostPath),
    host: Schema.optional(Schema.Struct({ url: HostUrl, token: BearerToken })),
    pullPolicy: SandboxConfig.fields.pullPolicy,
    bootTimeoutMs: Schema.optional(Millis),
    progress: flag,
    records: flag
  }).check(
    Schema.makeFilter(({ host, ...others }) => {
      const field = (["pullPolicy", "bootTimeoutMs", "records"] as const).find((name) => others[name] !== undefined)
      return host === undefined || field === undefined
        ? undefined
        : { path: [field], issue: "it is an option of this machine, and the host has its own" }
    })
  ),
  "configure"
)

/**
 * Sets options for the whole process. Call it before any other function; later calls throw.
 *
 * @category operations
 * @since 0.1.0
 */
export const configure = (options: ConfigureOptions): void => {
  const { bootTimeoutMs, host, progress, ...rest } = Runtime.runNow(decodeConfigure(options))
  Runtime.configure({ ...rest, bootTimeout: bootTimeoutMs }, progress, host)
}
