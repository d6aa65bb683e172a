/**
 * The library for programs that know promises only.
 *
 * These are the functions of lightbox 0.3, with its names, options and results:
 * a program that used it changes the import. They rest on the same driver as the
 * rest of the library, and no type of Effect appears in them.
 *
 * **Details**
 *
 * Every function takes an `AbortSignal`: aborting stops what runs in the guest,
 * cleans up, and then rejects with the signal's reason. Everything else rejects
 * with {@link LightboxError}. A process that gets SIGINT, SIGTERM or SIGHUP, or
 * throws what nobody catches, first releases its sandboxes (within 10 seconds)
 * and then ends as it would have: with 130, 143, 129, or the error. If the program
 * listens for the signal itself, that counts from the second signal on.
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
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { CallOptions } from "./internal/promise/options.ts"
import * as Runtime from "./internal/promise/runtime.ts"
import { Sandbox } from "./internal/promise/sandbox.ts"
import { mebibyte } from "./internal/config/schemas.ts"
import { decoder, renameFields } from "./internal/config/validation.ts"
import { listMeasured, type Measured, measured } from "./internal/volume/volumes.ts"
import * as BuildEvents from "./BuildEvent.ts"
import { check, define } from "./internal/promise/definition.ts"
import * as Errors from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"
import type { MountInput } from "./Mount.ts"
import * as Sandboxes from "./Sandbox.ts"
import type { PortMapping, Size } from "./SandboxConfig.ts"
import * as Snapshots from "./Snapshot.ts"
import * as Volumes from "./Volume.ts"

export {
  type ExecEvent,
  ExecHandle,
  type ExecOptions,
  ExecOutput,
  ExecSink,
  type ExecStreamOptions,
  type ExitStatus
} from "./internal/promise/exec.ts"
export {
  type FsEntry,
  type FsEntryKind,
  type FsMetadata,
  FsReadStream,
  FsWriteSink,
  SandboxFs
} from "./internal/promise/files.ts"
export { type CallOptions } from "./internal/promise/options.ts"
export { Sandbox, type SandboxBuilder, SandboxHandle, type SandboxStatus } from "./internal/promise/sandbox.ts"
export { Snapshot, SnapshotBuilder } from "./internal/promise/snapshot.ts"
export { Volume, VolumeBuilder, VolumeHandle } from "./internal/promise/volume.ts"

// =============================================================================
// Types
// =============================================================================

/**
 * An amount of memory: a whole number of MiB or GiB, such as `"512M"`, `"2G"` or
 * `"2 GiB"`.
 *
 * **Example** (Two gigabytes)
 *
 * ```ts
 * import type { Memory } from "effect-lightbox/promise"
 *
 * export const memory: Memory = "2G"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Memory = Exclude<Size, number>

/**
 * Processors and memory.
 *
 * **Example** (A small machine)
 *
 * ```ts
 * import type { SnapshotResources } from "effect-lightbox/promise"
 *
 * export const resources: SnapshotResources = { cpus: 1, memory: "512M" }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotResources {
  /** Processors, 1 to 255. Default: 1. */
  cpus?: number | undefined
  /** Memory in whole MiB, at least `"64M"`. Default: `"512M"`. */
  memory?: Memory | undefined
}

/**
 * One step of a snapshot's setup; a string is a script.
 *
 * **Example** (The three forms)
 *
 * ```ts
 * import { exec, shell, type SetupStep } from "effect-lightbox/promise"
 *
 * export const setup: Array<SetupStep> = [
 *   "mkdir -p /work",
 *   shell("npm i -g pnpm", "install pnpm"),
 *   exec("node", ["--version"])
 * ]
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type SetupStep =
  | string
  | { kind: "shell"; script: string; description?: string | undefined }
  | { kind: "exec"; cmd: string; args?: Array<string> | undefined; description?: string | undefined }

/**
 * What a snapshot is made of.
 *
 * **Example** (A snapshot for CI)
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
export interface SnapshotConfig {
  /** Up to 128 letters, digits, dots, dashes and underscores. */
  name: string
  /** The OCI image that it starts from. */
  image: string
  /** Processors and memory of the sandbox that it is built in. Default: 1 processor, `"512M"`. */
  resources?: SnapshotResources | undefined
  /** Where setup steps run; made if it is not there. Default: the image's. */
  workdir?: string | undefined
  /** Environment variables of the setup steps. Default: none. */
  env?: Record<string, string> | undefined
  /** Run in order. Default: none, the image as it is. */
  setup?: Array<SetupStep> | undefined
  /** Labels that are stored with the snapshot. Default: none. */
  labels?: Record<string, string> | undefined
}

/**
 * A {@link SnapshotConfig} whose setup is there, to be added to.
 *
 * **Example** (Adding a step to a preset)
 *
 * ```ts
 * import { shell, type PresetConfig } from "effect-lightbox/promise"
 *
 * export const withRipgrep = (config: PresetConfig): PresetConfig => {
 *   config.setup.push(shell("apt-get update && apt-get install -y ripgrep", "ripgrep"))
 *   return config
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface PresetConfig extends SnapshotConfig {
  setup: Array<SetupStep>
}

/**
 * Options of {@link buildSnapshot}.
 *
 * **Example** (Showing what happens)
 *
 * ```ts
 * import type { BuildOptions } from "effect-lightbox/promise"
 *
 * export const options: BuildOptions = { verbose: true, signal: AbortSignal.timeout(600_000) }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface BuildOptions {
  /** Take the name if it is taken; `false` rejects then. Default: `true`. */
  overwrite?: boolean | undefined
  /** Run all steps, even if the result is there. Default: `false`. */
  rebuild?: boolean | undefined
  /** Leave the builder running as `<name>-builder`, after a success and after a failure. Default: `false`. */
  debugBuilder?: boolean | undefined
  /** Print what steps write, and what the build does, to this process's output. Default: `false`. */
  verbose?: boolean | undefined
  /** Told what happens. */
  onEvent?: ((event: BuildEvent) => void) | undefined
  /** Stops the build, cleans up, and rejects. */
  signal?: AbortSignal | undefined
}

/**
 * A mount: a folder of the host, or an object that says what to mount. A volume
 * is created if it does not exist.
 *
 * **Example** (A folder, a volume and memory)
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
 * Options of {@link launchSandbox} and {@link runInSandbox}: a `snapshot` or an
 * `image` to boot from, and the rest.
 *
 * **Example** (A sandbox with a project in it)
 *
 * ```ts
 * import type { LaunchOptions } from "effect-lightbox/promise"
 *
 * export const options: LaunchOptions = {
 *   snapshot: "node-ci",
 *   name: "ci-run-1",
 *   resources: { cpus: 2, memory: "2G" },
 *   mounts: { "/work": "./my-project" },
 *   workdir: "/work",
 *   ports: { 8080: 80 }
 * }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export type LaunchOptions = LaunchSettings &
  (
    | {
        /** The name of the snapshot to boot from. */
        snapshot: string
        image?: undefined
      }
    | {
        /** The OCI image to boot from, such as `"node:22"`. */
        image: string
        snapshot?: undefined
      }
  )

/**
 * What {@link LaunchOptions} say beside what a sandbox boots from.
 *
 * @category options
 * @since 0.1.0
 */
export interface LaunchSettings {
  /** The name of the sandbox. Default: a generated name. */
  name?: string | undefined
  /** Processors and memory. Default: 1 processor, `"512M"`. */
  resources?: SnapshotResources | undefined
  /** Where commands run. It must exist in the snapshot or be a mount. Default: the image's, else `/`. */
  workdir?: string | undefined
  /** Environment variables of all commands. Default: none. */
  env?: Record<string, string> | undefined
  /** TCP ports, as `{ host: guest }`. Host port 0 takes a free port, which `sandbox.ports` names. Default: none. */
  ports?: Record<number, number> | Array<PortMapping> | undefined
  /** Mounts by guest path: `"./folder"`, `{ volume: "name" }`, `{ bind: "./folder" }` or `{ tmpfs: "64M" }`. Default: none. */
  mounts?: Record<string, Mount> | undefined
  /** Labels to find the sandbox by. Default: none. */
  labels?: Record<string, string> | undefined
  /**
   * How the root disk is made from the snapshot's: `"copy"`, or `"overlay"`, which stores only what the sandbox changes and
   * cannot be captured. `"auto"` is an overlay where a copy would cost more the more was baked in. Default: `"copy"`, and
   * `"auto"` for {@link runInSandbox}.
   */
  rootDisk?: "auto" | "copy" | "overlay" | undefined
  /** What the guest can reach: `"none"`, `"public"` (the internet) or `"all"`. Default: `"public"`. */
  network?: "none" | "public" | "all" | undefined
  /** Values that the guest can send to some hosts without seeing them, by environment variable. Default: none. */
  secrets?: Record<string, { value: string; hosts: Array<string> }> | undefined
  /** Replace a sandbox that has the name; `false` rejects then. Default: `true`. */
  overwrite?: boolean | undefined
  /**
   * Let the sandbox outlive this process and Ctrl-C: only `removeSandbox` removes it. Default: `false`, it ends with this
   * process.
   */
  detached?: boolean | undefined
  /** Print that it is launched. Default: `false`. */
  verbose?: boolean | undefined
  /** Stops the launch (and for {@link runInSandbox} the callback's commands), cleans up, and rejects. */
  signal?: AbortSignal | undefined
}

/**
 * A snapshot on this host.
 *
 * **Example** (Showing)
 *
 * ```ts
 * import type { SnapshotRecord } from "effect-lightbox/promise"
 *
 * export const show = (snapshot: SnapshotRecord): string => `${snapshot.name} from ${snapshot.imageRef}`
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotRecord {
  name: string | null
  digest: string
  imageRef: string
  createdAt: Date
  /** Apparent size of the disk, in bytes; it takes less where it is empty. */
  sizeBytes: bigint | null
  /** The folder that holds it. */
  path: string
  labels: Record<string, string>
}

/**
 * A named volume.
 *
 * **Example** (Finding what to sweep)
 *
 * ```ts
 * import type { VolumeRecord } from "effect-lightbox/promise"
 *
 * export const isTemporary = (volume: VolumeRecord): boolean => volume.labels["ttl"] === "30d"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface VolumeRecord {
  name: string
  /** How much it may hold, in MiB. `null`: unlimited. */
  quotaMib: number | null
  /** What it takes on the host's disk, in bytes. */
  usedBytes: number
  labels: Record<string, string>
  createdAt: Date | null
}

/**
 * Options of {@link ensureVolume}.
 *
 * **Example** (Two gigabytes for CI)
 *
 * ```ts
 * import type { EnsureVolumeOptions } from "effect-lightbox/promise"
 *
 * export const options: EnsureVolumeOptions = { quotaMib: 2048, labels: { tier: "ci" } }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface EnsureVolumeOptions {
  /** How much it may hold, in MiB. Default: unlimited. */
  quotaMib?: number | undefined
  /** Labels to find the volume by. Default: none. */
  labels?: Record<string, string> | undefined
}

/**
 * What happens while a snapshot is built. `at` is in milliseconds since 1970,
 * durations are in milliseconds, steps count from 1.
 *
 * **Example** (Printing what steps write)
 *
 * ```ts
 * import type { BuildEvent } from "effect-lightbox/promise"
 *
 * export const print = (event: BuildEvent): void => {
 *   if (event._tag === "StepOutput") process.stdout.write(event.text)
 * }
 * ```
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
  | { readonly _tag: "Planned"; readonly steps: number; readonly hits: number }
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
  | { readonly _tag: "StepCached"; readonly index: number; readonly description: string }
  | { readonly _tag: "StepStarted"; readonly index: number; readonly description: string; readonly attempt: number }
  | {
      readonly _tag: "StepOutput"
      readonly index: number
      readonly description: string
      readonly stream: "stdout" | "stderr"
      readonly text: string
    }
  | {
      readonly _tag: "StepAttemptFailed"
      readonly index: number
      readonly description: string
      readonly attempt: number
      readonly problem: string
    }
  | {
      readonly _tag: "StepFinished"
      readonly index: number
      readonly description: string
      readonly attempt: number
      readonly durationMillis: number
    }
  | {
      readonly _tag: "Checkpointed"
      readonly index: number
      readonly key: string
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
 * Why something failed. `_tag` says which kind it is; the other fields depend on
 * it, as the guide to errors lists them.
 *
 * **Example** (Telling a missing snapshot)
 *
 * ```ts
 * import type { LightboxErrorReason } from "effect-lightbox/promise"
 *
 * export const isMissing = (reason: LightboxErrorReason): boolean => reason._tag === "NotFound"
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export interface LightboxErrorReason {
  readonly _tag:
    | "NotFound"
    | "AlreadyExists"
    | "StillRunning"
    | "NotRunning"
    | "Replaced"
    | "InUse"
    | "InvalidConfig"
    | "Unsupported"
    | "ImageUnavailable"
    | "BootFailed"
    | "NoVirtualization"
    | "RuntimeMissing"
    | "CommandNotStarted"
    | "CommandFailed"
    | "OutputTooLarge"
    | "FileError"
    | "GuestLost"
    | "GuestBusy"
    | "TimedOut"
    | "SnapshotDamaged"
    | "SecretLeaked"
    | "NoCapacity"
    | "Drift"
    | "StoreBusy"
    | "NoSpace"
    | "Unknown"
  readonly message: string
  readonly isRetryable: boolean
  /** Whether the operation certainly had no effect, or may have had one. */
  readonly outcome: "failed" | "unknown"
}

/**
 * The one error that everything here rejects with.
 *
 * **Example** (Looking at a rejection)
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
  /** The operation that failed. */
  readonly method: string
  readonly reason: LightboxErrorReason
  /** The step of a build that failed. */
  readonly step?:
    | {
        readonly definition: string
        readonly index: number
        readonly description: string
        /** The script, or the words of the command. */
        readonly command?: string | undefined
        /** The file and line that declared the step. */
        readonly declaredAt?: string | undefined
        readonly attempt: number
        readonly durationMillis: number
      }
    | undefined
  /** The builder that was kept. */
  readonly builder?: string | undefined
  /** What to do about it, if that is known. Part of the message. */
  readonly hint: string | undefined
  readonly isRetryable: boolean
  readonly outcome: "failed" | "unknown"
}

/**
 * For `instanceof`.
 *
 * **Example** (Trying again where that can help)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox/promise"
 *
 * export const canRetry = (error: unknown): boolean => error instanceof LightboxError && error.isRetryable
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export const LightboxError: abstract new (...args: never) => LightboxError = Errors.LightboxError

// =============================================================================
// Snapshots
// =============================================================================

/**
 * The configuration that it is given, with its literals kept in its type.
 *
 * **Example** (A configuration in a variable)
 *
 * ```ts
 * import { defineSnapshot } from "effect-lightbox/promise"
 *
 * export const nodeCi = defineSnapshot({ name: "node-ci", image: "node:22", setup: ["npm i -g pnpm@9"] })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const defineSnapshot = <T extends SnapshotConfig>(config: T): T => config

/**
 * A step that runs a script in a login shell.
 *
 * **Example** (With a description)
 *
 * ```ts
 * import { shell } from "effect-lightbox/promise"
 *
 * export const step = shell("npm i -g pnpm", "install pnpm")
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const shell = (
  script: string,
  description?: string
): { kind: "shell"; script: string; description?: string | undefined } => ({
  kind: "shell",
  script,
  ...(description === undefined ? {} : { description })
})

/**
 * A step that runs a program, without a shell.
 *
 * **Example** (With arguments and a description)
 *
 * ```ts
 * import { exec } from "effect-lightbox/promise"
 *
 * export const step = exec("cargo", ["install", "cargo-nextest", "--locked"], "tooling")
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const exec = (
  cmd: string,
  args?: Array<string>,
  description?: string
): { kind: "exec"; cmd: string; args?: Array<string> | undefined; description?: string | undefined } => ({
  kind: "exec",
  cmd,
  ...(args === undefined ? {} : { args }),
  ...(description === undefined ? {} : { description })
})

/** Checked first, so that errors name what the caller wrote. */
const definitionOf = (config: SnapshotConfig): Snapshots.Definition => {
  Runtime.runNow(check("buildSnapshot", config))
  return define(config)
}

const encodeEvent = Schema.encodeSync(BuildEvents.BuildEvent)

const print = (line: string): void => {
  process.stdout.write(`[lightbox] ${line}\n`)
}

const printEvent = (event: BuildEvent): void => {
  switch (event._tag) {
    case "Booting": {
      print(`creating builder "${event.builder}" from ${event.from}`)
      break
    }
    case "StepCached": {
      print(`${event.description} (cached)`)
      break
    }
    case "StepStarted": {
      print(event.description)
      break
    }
    case "StepOutput": {
      process[event.stream].write(event.text)
      break
    }
    case "Committed": {
      print(`creating snapshot "${event.snapshot}"`)
      break
    }
    case "Waiting": {
      print("waiting for another build of this snapshot")
      break
    }
    default:
  }
}

/**
 * Builds a snapshot, unless it is there already as configured.
 *
 * **Details**
 *
 * The name leads to the old snapshot until the new one is complete: a build that
 * fails, or is stopped, leaves it. Steps whose result is there are not run again.
 * A step that fails rejects with `setup step exited with code N: <script>` in the
 * message, the step, and the end of its output.
 *
 * **Example** (Building with its output on the terminal)
 *
 * ```ts
 * import { buildSnapshot } from "effect-lightbox/promise"
 *
 * await buildSnapshot({ name: "rust-ci", image: "rust:1.82", setup: ["cargo install cargo-nextest"] }, { verbose: true })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const buildSnapshot = async (config: SnapshotConfig, options: BuildOptions = {}): Promise<void> => {
  const { debugBuilder, onEvent, overwrite = true, rebuild, signal, verbose, ...unknown } = options
  const listens = onEvent !== undefined || verbose === true
  await Runtime.run(
    Snapshots.build(definitionOf(config), {
      ...unknown,
      overwrite,
      replaceForeign: overwrite,
      force: rebuild,
      keepBuilder: debugBuilder,
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
 * All snapshots on this host, by name.
 *
 * **Example** (Names and sizes)
 *
 * ```ts
 * import { listSnapshots } from "effect-lightbox/promise"
 *
 * for (const { name, sizeBytes } of await listSnapshots()) console.log(name, sizeBytes)
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const listSnapshots = async (options?: CallOptions): Promise<Array<SnapshotRecord>> =>
  (await Runtime.run(Snapshots.list(), options?.signal)).map((snapshot) => ({
    name: snapshot.name,
    digest: snapshot.digest,
    imageRef: snapshot.image,
    createdAt: DateTime.toDateUtc(snapshot.createdAt),
    sizeBytes: snapshot.size === undefined ? null : BigInt(snapshot.size),
    path: snapshot.path,
    labels: { ...snapshot.labels }
  }))

/**
 * Whether there is a snapshot of a name.
 *
 * **Example** (Building only once)
 *
 * ```ts
 * import { buildSnapshot, snapshotExists } from "effect-lightbox/promise"
 *
 * if (!(await snapshotExists("rust-ci"))) await buildSnapshot({ name: "rust-ci", image: "rust:1.82" })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const snapshotExists = async (name: string, options?: CallOptions): Promise<boolean> =>
  await Runtime.run(Snapshots.exists(name), options?.signal)

/**
 * Removes a snapshot; one that does not exist is no failure. Sandboxes that were
 * booted from it go on, and snapshots built on it stay, with or without `force`.
 *
 * **Example** (Removing)
 *
 * ```ts
 * import { removeSnapshot } from "effect-lightbox/promise"
 *
 * await removeSnapshot("rust-ci", { force: true })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const removeSnapshot = async (
  name: string,
  options?: CallOptions & { force?: boolean | undefined }
): Promise<void> => {
  await Runtime.run(Snapshots.remove(name), options?.signal)
}

// =============================================================================
// Sandboxes
// =============================================================================

const decodeLaunch = decoder(
  Schema.Struct({
    ports: Schema.optional(Schema.Union([Schema.Array(Schema.Unknown), Schema.Record(Schema.String, Schema.Unknown)])),
    secrets: Schema.optional(
      Schema.Record(Schema.String, Schema.Struct({ value: Schema.String, hosts: Schema.Array(Schema.String) }))
    )
  }),
  "launchSandbox"
)

const mapValues = <A, B>(record: Record<string, A>, f: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value)]))

const launchOptionsOf = (options: LaunchOptions): Sandboxes.LaunchOptions => {
  const { overwrite = true, ports, secrets, signal: _, verbose: __, workdir, ...rest } = options
  Runtime.runNow(decodeLaunch({ ports, secrets }))
  return {
    ...rest,
    cwd: workdir,
    overwrite,
    // Text is taken where it says a number, as keys always are.
    ...(ports === undefined ? {} : { ports: Array.isArray(ports) ? ports : mapValues(ports, Number) }),
    ...(secrets === undefined
      ? {}
      : { secrets: mapValues(secrets, ({ hosts, value }) => ({ hosts, value: Redacted.make(value) })) })
  }
}

const inOurNames = renameFields({ cwd: "workdir" })

/**
 * Boots a sandbox from a snapshot.
 *
 * **Details**
 *
 * It belongs to this process: when the process ends without `detach()`, the
 * sandbox ends. `await using` ends and removes it at the end of the block.
 *
 * **Example** (A sandbox that outlives the script)
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
export const launchSandbox = async (options: LaunchOptions): Promise<Sandbox> => {
  if (options.verbose === true)
    print(`launching "${options.name ?? "a sandbox"}" from "${options.snapshot ?? options.image}"`)
  const { rootDisk = "copy" } = options
  return await Sandbox.open(
    Effect.mapError(Sandboxes.launch({ ...launchOptionsOf(options), rootDisk }), inOurNames),
    options.signal
  )
}

/**
 * Boots a sandbox, hands it to a callback, and ends and removes it when the
 * callback is done, whether it resolves or rejects.
 *
 * **Example** (One command in a fresh machine)
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
  const { rootDisk = "auto" } = options
  await using sandbox = await launchSandbox({ ...options, rootDisk })
  // The callback can not be stopped, but the sandbox can be taken away from it.
  return await Runtime.abortable(
    options.signal,
    () => sandbox[Symbol.asyncDispose](),
    () => use(sandbox)
  )
}

/**
 * Connects to a sandbox that runs, whoever launched it.
 *
 * **Example** (Looking into a detached sandbox)
 *
 * ```ts
 * import { connectToSandbox } from "effect-lightbox/promise"
 *
 * const sb = await connectToSandbox("agent-1")
 * console.log((await sb.shell("uptime")).stdout())
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const connectToSandbox = async (name: string, options?: CallOptions): Promise<Sandbox> =>
  await Sandbox.open(Sandboxes.connect(name), options?.signal)

/**
 * Removes a sandbox with its disk; one that does not exist is no failure. Rejects
 * when it runs, unless `force`, which kills it first.
 *
 * **Example** (Making a name free)
 *
 * ```ts
 * import { removeSandbox } from "effect-lightbox/promise"
 *
 * await removeSandbox("agent-1", { force: true })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const removeSandbox = async (
  name: string,
  options?: CallOptions & { force?: boolean | undefined }
): Promise<void> => {
  await Runtime.run(Sandboxes.remove(name, { force: options?.force }), options?.signal)
}

// =============================================================================
// Volumes
// =============================================================================

const bytesOf = (mebibytes: number | undefined) => (mebibytes === undefined ? undefined : mebibytes * mebibyte)

const volumeRecord = ({ usedBytes, volume }: Measured): VolumeRecord => ({
  name: volume.name,
  quotaMib: volume.quota === undefined ? null : volume.quota / mebibyte,
  usedBytes,
  labels: { ...volume.labels },
  createdAt: volume.createdAt === undefined ? null : DateTime.toDateUtc(volume.createdAt)
})

/**
 * A volume of a name, made if there is none. Quota and labels count when it is
 * made.
 *
 * **Example** (A cache with a quota)
 *
 * ```ts
 * import { ensureVolume } from "effect-lightbox/promise"
 *
 * await ensureVolume("npm-cache", { quotaMib: 2048, labels: { tier: "ci" } })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const ensureVolume = async (name: string, options?: EnsureVolumeOptions & CallOptions): Promise<VolumeRecord> =>
  volumeRecord(
    await Runtime.run(
      measured(
        Volumes.ensure(name, { quota: bytesOf(options?.quotaMib), labels: options?.labels, onDrift: "adopt" })
      ).pipe(Effect.mapError(renameFields({ quota: "quotaMib" }))),
      options?.signal
    )
  )

/**
 * All volumes.
 *
 * **Example** (Sweeping by label)
 *
 * ```ts
 * import { listVolumes, removeVolume } from "effect-lightbox/promise"
 *
 * for (const volume of await listVolumes()) {
 *   if (volume.labels["ttl"] === "30d") await removeVolume(volume.name)
 * }
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const listVolumes = async (options?: CallOptions): Promise<Array<VolumeRecord>> =>
  (await Runtime.run(listMeasured, options?.signal)).map(volumeRecord)

/**
 * Whether there is a volume of a name.
 *
 * **Example** (Asking)
 *
 * ```ts
 * import { volumeExists } from "effect-lightbox/promise"
 *
 * console.log(await volumeExists("npm-cache"))
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const volumeExists = async (name: string, options?: CallOptions): Promise<boolean> =>
  await Runtime.run(Volumes.exists(name), options?.signal)

/**
 * Removes a volume and all that is in it; one that does not exist is no failure.
 * Rejects while a sandbox that runs mounts it.
 *
 * **Example** (Removing)
 *
 * ```ts
 * import { removeVolume } from "effect-lightbox/promise"
 *
 * await removeVolume("npm-cache")
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const removeVolume = async (name: string, options?: CallOptions): Promise<void> => {
  await Runtime.run(Volumes.remove(name), options?.signal)
}

// =============================================================================
// The runtime
// =============================================================================

/**
 * Makes sure that the runtime is installed and can be loaded. Every other
 * function does that by itself.
 *
 * **Example** (Failing early)
 *
 * ```ts
 * import { ensureRuntime } from "effect-lightbox/promise"
 *
 * await ensureRuntime()
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const ensureRuntime = async (options?: CallOptions): Promise<void> => {
  await Runtime.run(Effect.asVoid(Microsandbox.Microsandbox), options?.signal)
}

/**
 * Options of {@link configure}. Times are in milliseconds.
 *
 * **Example** (Slow machines)
 *
 * ```ts
 * import type { ConfigureOptions } from "effect-lightbox/promise"
 *
 * export const options: ConfigureOptions = { bootTimeoutMs: 120_000 }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface ConfigureOptions {
  /** The folder that holds everything. Default: `MSB_HOME` in the environment, else `~/.microsandbox`. */
  home?: string | undefined
  /** When images are pulled. Default: `"if-missing"`. */
  pullPolicy?: "always" | "if-missing" | "never" | undefined
  /** How long a boot may take. Default: 60,000. */
  bootTimeoutMs?: number | undefined
  /** Say on standard error, where it is a terminal, what the first run waits for. Default: `true`. */
  progress?: boolean | undefined
}

const decodeProgress = decoder(Schema.UndefinedOr(Schema.Boolean), "configure", "progress")

/**
 * Sets options for the whole process, before anything else is called.
 *
 * **Example** (A home of its own)
 *
 * ```ts
 * import { configure } from "effect-lightbox/promise"
 *
 * configure({ home: "/var/lib/sandboxes" })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const configure = (options: ConfigureOptions): void => {
  const { bootTimeoutMs, progress, ...rest } = options
  Runtime.configure({ ...rest, bootTimeout: bootTimeoutMs }, Effect.runSync(decodeProgress(progress)))
}
