/** Plans, generations, clean-up and images for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off globalDate:off
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Cleanup from "../../Cleanup.ts"
import * as Images from "../../Image.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import * as Plans from "../../Plan.ts"
import type { BuildOptions, EnsureVolumeOptions, SnapshotConfig, SnapshotRecord, VolumeRecord } from "../../promise.ts"
import * as Reaper from "../../Reaper.ts"
import { SandboxConfig } from "../../SandboxConfig.ts"
import * as Snapshots from "../../Snapshot.ts"
import * as Volumes from "../../Volume.ts"
import type { Size } from "../config/plain.ts"
import {
  BearerToken,
  Bytes,
  CString,
  Force,
  Func,
  HostPath,
  HostUrl,
  ImageReference,
  intBetween,
  Labels,
  mebibyte,
  Name,
  optionsStruct,
  SnapshotReference
} from "../config/schemas.ts"
import { renameFields } from "../config/validation.ts"
import { measured, type Measured } from "../volume/volumes.ts"
import { encodable } from "../report/printable.ts"
import { check, define } from "./definition.ts"
import { callFields, checkArgs, checked, Millis, None, Quota, signalOf } from "./input.ts"
import { type CallOptions, type Registry, registryOf, RegistrySchema } from "./options.ts"
import { acquire, type OpenScope, run, runNow } from "./runtime.ts"
import { calling } from "./sandbox.ts"

const dateOf = (time: DateTime.Utc | undefined): Date | null => (time === undefined ? null : DateTime.toDateUtc(time))

const Named = Schema.Struct({ name: Name })
const flag = Schema.optional(Schema.Boolean)

/** @internal */
export const snapshotRecord = (snapshot: Snapshots.Snapshot): SnapshotRecord =>
  encodable({
    name: snapshot.name,
    digest: snapshot.digest,
    imageRef: snapshot.image,
    createdAt: DateTime.toDateUtc(snapshot.createdAt),
    sizeBytes: snapshot.size === undefined ? null : BigInt(snapshot.size),
    path: snapshot.path,
    labels: { ...snapshot.labels }
  })

/** @internal */
export const volumeRecord = ({ usedBytes, volume }: Measured): VolumeRecord => ({
  name: volume.name,
  quotaMib: volume.quota === undefined ? null : volume.quota / mebibyte,
  usedBytes,
  labels: { ...volume.labels },
  createdAt: dateOf(volume.createdAt)
})

/** @internal Checks first, so that errors use the caller's names. */
export const definitionOf = (method: string, config: SnapshotConfig): Snapshots.Definition<LightboxError> => {
  runNow(check(method, config))
  return define(config, calling)
}

// =============================================================================
// Plans
// =============================================================================

/**
 * The reason why a step would run; the reference of the module `Plan` says what each one means.
 *
 * @category models
 * @since 0.1.0
 */
export type MissReason =
  | { readonly _tag: "NeverBuilt" | "NotKept" | "Forced" }
  | { readonly _tag: "BaseUnknown"; readonly image: string }
  | {
      readonly _tag: "BaseChanged" | "ArgumentsChanged" | "BuilderChanged"
      readonly was: string
      readonly now: string
    }
  | {
      readonly _tag: "EnvironmentChanged"
      readonly variables: ReadonlyArray<{ readonly name: string; readonly was: string; readonly now: string }>
    }
  | {
      readonly _tag: "FilesChanged"
      readonly files: ReadonlyArray<{ readonly path: string; readonly was: string; readonly now: string }>
    }
  | { readonly _tag: "EarlierChanged"; readonly index: number }
  | { readonly _tag: "Evicted"; readonly at: Date }
  | { readonly _tag: "Damaged"; readonly problem: string }

/**
 * A step of a plan, counted from 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface PlannedStep {
  readonly index: number
  readonly description: string
  readonly kind: string
  /** File and line that declare the step. */
  readonly declaredAt?: string
  /** Identifies the result. */
  readonly key: string
  /** Why the step would run. Undefined if its stored result is used. */
  readonly reason?: MissReason
}

/**
 * The steps that a build would run or reuse, and why. `String(plan)` formats it.
 *
 * @category models
 * @since 0.1.0
 */
export class SnapshotPlan {
  readonly snapshot: string
  readonly imageRef: string
  /** Digest of the image's manifest. `null` if the image is not cached. */
  readonly imageDigest: string | null
  /** Identifies the final result. */
  readonly key: string
  /** `true`: the build would not boot anything. */
  readonly isCached: boolean
  readonly steps: ReadonlyArray<PlannedStep>
  readonly #plan: Plans.Plan

  /** @internal */
  constructor(plan: Plans.Plan) {
    this.snapshot = plan.snapshot
    this.imageRef = plan.image
    this.imageDigest = plan.imageDigest ?? null
    this.key = plan.key
    this.isCached = plan.isCached
    this.steps = plan.steps.map(({ verdict, ...step }) => ({
      ...step,
      ...(verdict._tag === "Hit" ? {} : { reason: reasonOf(verdict.reason) })
    }))
    this.#plan = plan
  }
  /** Formats the plan, one line per step. */
  toString(): string {
    return Plans.format(this.#plan)
  }
}

/** @internal */
export const reasonOf = (reason: Plans.MissReason): MissReason =>
  reason._tag === "Evicted" ? { _tag: "Evicted", at: DateTime.toDateUtc(reason.at) } : reason

/**
 * Options of {@link planSnapshot}.
 *
 * @category options
 * @since 0.1.0
 */
export interface PlanOptions extends CallOptions {
  /** Plan to run all steps, or those from this position (from 1) on. Default: `false`. */
  readonly rebuild?: boolean | number | undefined
  /** `"always"` asks the registry whether the tag of the image has moved. Default: as configured. */
  readonly pullPolicy?: "always" | "if-missing" | "never" | undefined
}

const decodePlan = checked(
  "planSnapshot",
  None,
  optionsStruct<PlanOptions>()({
    ...callFields,
    rebuild: Schema.optional(Force),
    pullPolicy: SandboxConfig.fields.pullPolicy
  })
)

/**
 * Describes what {@link buildSnapshot} would do, and why, without booting or pulling anything.
 *
 * **Example** (See what a change costs)
 *
 * ```ts
 * import { planSnapshot } from "effect-lightbox/promise"
 *
 * const plan = await planSnapshot({ name: "tools", image: "alpine:3.20", setup: ["apk add git"] })
 * console.log(String(plan), plan.steps.map(({ reason }) => reason?._tag))
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const planSnapshot = async (config: SnapshotConfig, options?: PlanOptions): Promise<SnapshotPlan> => {
  const definition = definitionOf("planSnapshot", config)
  const { pullPolicy, rebuild, signal } = decodePlan({}, options)
  return new SnapshotPlan(await run(Snapshots.plan(definition, { force: rebuild, pullPolicy }), signal))
}

/**
 * A snapshot that is removed at the end of its `await using` block, and with this process.
 *
 * @category models
 * @since 0.1.0
 */
export class TemporarySnapshot implements AsyncDisposable {
  /** Unique. Starts with the name of the configuration. */
  readonly name: string
  readonly #held: OpenScope

  /** @internal */
  constructor(name: string, held: OpenScope) {
    this.name = name
    this.#held = held
  }
  /** Removes the snapshot and the results that nothing else needs. */
  async remove(): Promise<void> {
    await this.#held.close()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held.close()
  }
}

const decodeTemporary = checked(
  "buildTemporarySnapshot",
  None,
  Schema.Struct({ ...callFields, rebuild: Schema.optional(Force), pullPolicy: SandboxConfig.fields.pullPolicy })
)

/**
 * Builds a snapshot under a unique name, for a test or a job.
 *
 * **Example** (Prepare once, use twice)
 *
 * ```ts
 * import { buildTemporarySnapshot, runInSandbox } from "effect-lightbox/promise"
 *
 * await using prepared = await buildTemporarySnapshot({ name: "fixture", image: "alpine", setup: ["echo 1 > /data"] })
 * for (const name of ["a", "b"]) {
 *   await runInSandbox({ snapshot: prepared.name, name }, (sb) => sb.shell("cat /data"))
 * }
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const buildTemporarySnapshot = async (
  config: SnapshotConfig,
  options?: Pick<BuildOptions, "pullPolicy" | "rebuild" | "signal">
): Promise<TemporarySnapshot> => {
  const definition = definitionOf("buildTemporarySnapshot", config)
  const { pullPolicy, rebuild, signal } = decodeTemporary({}, options)
  return await acquire(
    Snapshots.buildScoped(definition, { force: rebuild, pullPolicy }),
    ({ name }, held) => new TemporarySnapshot(name, held),
    { signal }
  )
}

// =============================================================================
// Generations
// =============================================================================

/**
 * A stored result of a snapshot's name, current or earlier.
 *
 * @category models
 * @since 0.1.0
 */
export interface GenerationRecord {
  /** Counted from 1. */
  generation: number
  key: string
  labels: Record<string, string>
  /** The base image and what the steps did, in their order. Absent unless a build made it. */
  build?: { image: string; steps: Array<string> }
  createdAt: Date
  isCurrent: boolean
}

/**
 * Lists the stored generations of a name, oldest first. Rejects if the snapshot does not exist.
 *
 * @category operations
 * @since 0.1.0
 */
export const listGenerations = async (name: string, options?: CallOptions): Promise<Array<GenerationRecord>> =>
  (await run(Snapshots.generations(name), signalOf("listGenerations", options))).map(
    ({ build, createdAt, labels, ...rest }) => ({
      ...rest,
      labels: { ...labels },
      ...(build === undefined ? {} : { build: { ...build, steps: [...build.steps] } }),
      createdAt: DateTime.toDateUtc(createdAt)
    })
  )

const decodeRollback = checked(
  "rollbackSnapshot",
  Named,
  Schema.Struct({ ...callFields, to: Schema.optional(intBetween(1, Number.MAX_SAFE_INTEGER)) })
)

/**
 * Points a name back to the previous generation, or to the generation `to`. Rejects if that one is not stored.
 *
 * @category operations
 * @since 0.1.0
 */
export const rollbackSnapshot = async (
  name: string,
  options?: CallOptions & { readonly to?: number | undefined }
): Promise<SnapshotRecord> => {
  const { signal, to } = decodeRollback({ name }, options)
  return snapshotRecord(await run(Snapshots.rollback(name, to), signal))
}

/**
 * Options of {@link saveSnapshot}.
 *
 * @category options
 * @since 0.1.0
 */
export interface SaveOptions extends CallOptions {
  /** Generations to save. Default: `"all"`. */
  readonly generations?: "all" | "current" | undefined
  /** Include the base image, so that the snapshot boots without network access. Default: `true`. */
  readonly withImage?: boolean | undefined
  /** Compress with Zstandard. Default: `true`. */
  readonly compress?: boolean | undefined
}

const decodeSave = checked(
  "saveSnapshot",
  Schema.Struct({ name: Name, path: HostPath }),
  optionsStruct<SaveOptions>()({
    ...callFields,
    generations: Schema.optional(Schema.Literals(["all", "current"])),
    withImage: flag,
    compress: flag
  })
)

/**
 * Saves a snapshot with its generations to a file, for {@link loadSnapshot} on another machine. The file appears only
 * once it is complete.
 *
 * @category operations
 * @since 0.1.0
 */
export const saveSnapshot = async (name: string, path: string, options?: SaveOptions): Promise<void> => {
  const { compress, generations, signal, withImage } = decodeSave({ name, path }, options)
  await run(Snapshots.save(name, path, { compress, generations, withImage }), signal)
}

/**
 * Options of {@link loadSnapshot}.
 *
 * @category options
 * @since 0.1.0
 */
export interface LoadOptions extends CallOptions {
  /** Default: the name it was saved under. Required for files from other tools. */
  readonly name?: string | undefined
  /** Replace a snapshot that has the name; it becomes an earlier generation. Default: `false`, which rejects. */
  readonly overwrite?: boolean | undefined
  /** Let builds reuse the results in the file. Only if you trust its author. Default: `false`. */
  readonly trusted?: boolean | undefined
}

const decodeLoad = checked(
  "loadSnapshot",
  Schema.Struct({ path: HostPath }),
  optionsStruct<LoadOptions>()({ ...callFields, name: Schema.optional(Name), overwrite: flag, trusted: flag })
)

/**
 * Loads a file written by {@link saveSnapshot} or by another tool. The name points to the snapshot only after all
 * checksums match; a failure leaves nothing behind.
 *
 * @category operations
 * @since 0.1.0
 */
export const loadSnapshot = async (path: string, options?: LoadOptions): Promise<SnapshotRecord> => {
  const { name, overwrite, signal, trusted } = decodeLoad({ path }, options)
  return snapshotRecord(await run(Snapshots.load(path, { name, overwrite, trusted }), signal))
}

// =============================================================================
// Registries
// =============================================================================

/**
 * The progress of a transfer, in bytes.
 *
 * @category models
 * @since 0.1.0
 */
export interface TransferProgress {
  readonly reference: string
  /** Bytes of the disk that are where they should be, whether they were transferred or there already. */
  readonly done: number
  /** Bytes of the disk, without empty parts. */
  readonly total: number
  /** Bytes that were sent or received, compressed. */
  readonly moved: number
}

/**
 * The result of {@link pushSnapshot}.
 *
 * @category models
 * @since 0.1.0
 */
export interface PushedSnapshot {
  readonly reference: string
  /** Identifies what was pushed: pull it with `name@digest` to get exactly this. */
  readonly digest: string
  /** Bytes of the disk, without empty parts. */
  readonly total: number
  /** Bytes that were sent. The rest was there already. */
  readonly moved: number
}

/**
 * How to reach a bucket, for references such as `s3://bucket/team/app:main`.
 *
 * @category options
 * @since 0.1.0
 */
export interface S3 {
  /** Address of the service. Default: `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` in the environment, else AWS. */
  readonly endpoint?: string | undefined
  /** Default: `AWS_REGION` or `AWS_DEFAULT_REGION` in the environment, else `"us-east-1"`. */
  readonly region?: string | undefined
  /** Requires `secretAccessKey`. Default: `AWS_ACCESS_KEY_ID` in the environment. */
  readonly accessKeyId?: string | undefined
  /** Requires `accessKeyId`. Default: `AWS_SECRET_ACCESS_KEY` in the environment. */
  readonly secretAccessKey?: string | undefined
  /** Belongs to a temporary `accessKeyId`. Default: `AWS_SESSION_TOKEN`, if the key is from the environment, too. */
  readonly sessionToken?: string | undefined
}

/**
 * Options of {@link pushSnapshot}.
 *
 * @category options
 * @since 0.1.0
 */
export interface PushOptions extends CallOptions {
  /** Access to buckets. Not used for registries. Default: that of the environment. */
  readonly s3?: S3 | undefined
  /** Login and certificates. Default: those of the runtime's `config.json`, else of `docker login`. */
  readonly registry?: Registry | undefined
  /** Receives the progress. What it throws is ignored. Default: none. */
  readonly onProgress?: ((progress: TransferProgress) => void) | undefined
}

/**
 * A snapshot on another machine that runs `lightbox host`, for {@link pullSnapshot}.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostReference {
  /** Address of the machine, such as `"https://kvm.example.com:7400"`. */
  readonly host: string
  /** A token of that machine. The scope `"read"` is enough. */
  readonly token: string
  /** Name of the snapshot there, or one of its generations such as `"app@3"`. Default: the name that it gets here. */
  readonly snapshot?: string | undefined
}

/**
 * Options of {@link pullSnapshot}.
 *
 * @category options
 * @since 0.1.0
 */
export interface PullOptions extends PushOptions {
  /** Point an existing name to the snapshot. `false` rejects if the name is taken. Default: `true`. */
  readonly overwrite?: boolean | undefined
  /** Generations to keep, including the new one. Default: 2. */
  readonly keep?: number | undefined
  /**
   * Let builds reuse the snapshot as the result of the steps it was built from. Pass `false` for a repository that others
   * can push to. Default: `true`.
   */
  readonly trusted?: boolean | undefined
}

const pushFields = {
  ...callFields,
  registry: Schema.optional(RegistrySchema),
  s3: Schema.optional(
    optionsStruct<S3>()({
      endpoint: Schema.optional(HostUrl),
      region: Schema.optional(Schema.String),
      accessKeyId: Schema.optional(Schema.NonEmptyString),
      secretAccessKey: Schema.optional(Schema.NonEmptyString),
      sessionToken: Schema.optional(Schema.NonEmptyString)
    })
  ),
  onProgress: Schema.optional(Func)
}

/** Functions are checked to be that. */
type Unheard<Options> = Omit<Options, "onProgress"> & {
  readonly onProgress?: ((...args: never) => unknown) | undefined
}

const transferred = Schema.Struct({ name: SnapshotReference, reference: ImageReference })

const decodePush = checked("pushSnapshot", transferred, optionsStruct<Unheard<PushOptions>>()(pushFields))

const s3Of = (s3: S3 | undefined) =>
  s3 && {
    ...s3,
    secretAccessKey: s3.secretAccessKey === undefined ? undefined : Redacted.make(s3.secretAccessKey),
    sessionToken: s3.sessionToken === undefined ? undefined : Redacted.make(s3.sessionToken)
  }

const listenerOf = (onProgress: PushOptions["onProgress"]) =>
  onProgress === undefined ? undefined : (progress: TransferProgress) => Effect.sync(() => onProgress(progress))

/**
 * Pushes a snapshot, or one of its generations such as `"app@3"`, to a tag in an OCI registry, for {@link pullSnapshot} on
 * another machine. Sends only what the repository does not have yet; after a failure, the next push goes on from there.
 *
 * **Example** (Share a build)
 *
 * ```ts
 * import { pushSnapshot } from "effect-lightbox/promise"
 *
 * const { moved, total } = await pushSnapshot("node-ci", "registry.example.com/ci/node:main")
 * console.log(`sent ${moved} bytes for ${total}`)
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const pushSnapshot = async (name: string, reference: string, options?: PushOptions): Promise<PushedSnapshot> => {
  const { registry, s3, signal } = decodePush({ name, reference }, options)
  const onProgress = listenerOf(options?.onProgress)
  const given = { registry: registryOf(registry), s3: s3Of(s3), onProgress }
  return await run(Snapshots.push(name, reference, given), signal)
}

const decodePull = checked(
  "pullSnapshot",
  Schema.Struct({
    name: Name,
    reference: Schema.Union([
      ImageReference,
      optionsStruct<HostReference>()({
        host: HostUrl,
        token: BearerToken,
        snapshot: Schema.optional(SnapshotReference)
      })
    ])
  }),
  optionsStruct<Unheard<PullOptions>>()({
    ...pushFields,
    overwrite: flag,
    keep: Schema.optional(intBetween(1, Number.MAX_SAFE_INTEGER)),
    trusted: flag
  })
)

/**
 * Pulls a snapshot that {@link pushSnapshot} has pushed, as a new generation of a name. The name points to it once all of
 * it has been received and its checksums match. A later build of the same configuration boots nothing. It can also come
 * directly from another machine that runs `lightbox host`.
 *
 * What a failed or aborted pull has received is kept for a day, and the next one goes on from there.
 *
 * **Example** (A cache for CI)
 *
 * ```ts
 * import { buildSnapshot, pullSnapshot, pushSnapshot } from "effect-lightbox/promise"
 *
 * const cache = "registry.example.com/ci/tools:main"
 * // There is none on the first run.
 * await pullSnapshot("tools", cache).catch(() => undefined)
 * await buildSnapshot({ name: "tools", image: "alpine:3.20", setup: ["apk add git"] })
 * await pushSnapshot("tools", cache)
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const pullSnapshot = async (
  name: string,
  reference: string | HostReference,
  options?: PullOptions
): Promise<SnapshotRecord> => {
  const { keep, overwrite, reference: from, registry, s3, signal, trusted } = decodePull({ name, reference }, options)
  const onProgress = listenerOf(options?.onProgress)
  const given = { keep, overwrite, trusted, registry: registryOf(registry), s3: s3Of(s3), onProgress }
  const source = typeof from === "string" ? from : { ...from, token: Redacted.make(from.token) }
  return snapshotRecord(await run(Snapshots.pull(name, source, given), signal))
}

// =============================================================================
// Clean-up
// =============================================================================

/**
 * The outcome of a clean-up for one resource. `"removable"`: a real run would remove it.
 *
 * @category models
 * @since 0.1.0
 */
export interface CleanupVerdict {
  readonly resource: "snapshot" | "image" | "volume" | "sandbox" | "ghost" | "staging" | "lock" | "owner"
  readonly name: string
  readonly verdict: "removed" | "removable" | "kept" | "failed"
  readonly reason: string
  /** Definition of a snapshot, if the library built it. */
  readonly definition?: string
  /** Bytes on the host, where known. */
  readonly bytes?: number
  readonly createdAt: Date | null
  readonly usedAt: Date | null
}

/**
 * The report of a clean-up.
 *
 * @category models
 * @since 0.1.0
 */
export interface CleanupReport {
  readonly verdicts: ReadonlyArray<CleanupVerdict>
  /** Bytes freed, as far as known; in a dry run, those that would be. */
  readonly freedBytes: number
  readonly dryRun: boolean
  /** `false`: the time limit was reached before everything was checked. */
  readonly isComplete: boolean
}

const reportOf = ({ dryRun, freedBytes, isComplete, verdicts }: Cleanup.Report): CleanupReport => ({
  verdicts: verdicts.map(({ createdAt, usedAt, ...rest }) => ({
    ...rest,
    createdAt: dateOf(createdAt),
    usedAt: dateOf(usedAt)
  })),
  freedBytes,
  dryRun,
  isComplete
})

const withPromiseNames = renameFields({ olderThan: "olderThanMs", timeout: "timeoutMs", quota: "quotaMib" })

/**
 * Options of {@link pruneSnapshots}.
 *
 * @category options
 * @since 0.1.0
 */
export interface PruneSnapshotsOptions extends CallOptions {
  /** Generations that each name keeps, including the current one. Default: all. */
  readonly keep?: number | undefined
  /** Keep results used within this time. Default: none. */
  readonly olderThanMs?: number | undefined
  /** Keep the most recently used results, up to this total size of all snapshots, such as `"20G"`. Default: none. */
  readonly maxBytes?: Size | undefined
  /** Report what would be removed, without removing it. Default: `false`. */
  readonly dryRun?: boolean | undefined
}

const decodePrune = checked(
  "pruneSnapshots",
  None,
  optionsStruct<PruneSnapshotsOptions>()({
    ...callFields,
    keep: Schema.optional(intBetween(1, Number.MAX_SAFE_INTEGER)),
    olderThanMs: Schema.optional(Millis),
    maxBytes: Schema.optional(Bytes),
    dryRun: flag
  })
)

/**
 * Removes results that were stored for later builds and that no name, generation or running build needs. Without
 * options, it removes every unnamed result.
 *
 * @category operations
 * @since 0.1.0
 */
export const pruneSnapshots = async (options?: PruneSnapshotsOptions): Promise<CleanupReport> => {
  const { olderThanMs, signal, ...rest } = decodePrune({}, options)
  const pruned = Snapshots.prune({ ...rest, olderThan: olderThanMs })
  return reportOf(await run(Effect.mapError(pruned, withPromiseNames), signal))
}

/**
 * Options of {@link pruneVolumes}. At least one of `labels` and `olderThanMs` is required.
 *
 * @category options
 * @since 0.1.0
 */
export interface PruneVolumesOptions extends CallOptions {
  /** Remove only volumes with all these labels. */
  readonly labels?: { readonly [key: string]: string } | undefined
  /** Remove only volumes created longer ago than this. */
  readonly olderThanMs?: number | undefined
  /** Report what would be removed, without removing it. Default: `false`. */
  readonly dryRun?: boolean | undefined
}

const decodePruneVolumes = checked(
  "pruneVolumes",
  None,
  optionsStruct<PruneVolumesOptions>()({
    ...callFields,
    labels: Schema.optional(Labels),
    olderThanMs: Schema.optional(Millis),
    dryRun: flag
  })
)

/**
 * Removes volumes by label and age, with their content. Volumes mounted by a running sandbox are kept.
 *
 * @category operations
 * @since 0.1.0
 */
export const pruneVolumes = async (options: PruneVolumesOptions): Promise<CleanupReport> => {
  const { olderThanMs, signal, ...rest } = decodePruneVolumes({}, options)
  return reportOf(await run(Volumes.prune({ ...rest, olderThan: olderThanMs }), signal))
}

const decodeSweep = checked(
  "sweep",
  None,
  Schema.Struct({ ...callFields, dryRun: flag, timeoutMs: Schema.optional(Millis) })
)

/**
 * Removes what processes left that have died: sandboxes, builders and unfinished files. Never touches what a living
 * process owns, what is detached, or volumes. Every program does this at its start.
 *
 * @category operations
 * @since 0.1.0
 */
export const sweep = async (
  options?: CallOptions & {
    /** Report what would be removed, without removing it. Default: `false`. */
    readonly dryRun?: boolean | undefined
    /** Time limit. Default: 60,000. */
    readonly timeoutMs?: number | undefined
  }
): Promise<CleanupReport> => {
  const { dryRun, signal, timeoutMs } = decodeSweep({}, options)
  return reportOf(await run(Reaper.sweep({ dryRun, timeout: timeoutMs }), signal))
}

// =============================================================================
// Volumes
// =============================================================================

/**
 * Options of {@link primeVolume}.
 *
 * @category options
 * @since 0.1.0
 */
export interface PrimeVolumeOptions extends EnsureVolumeOptions, CallOptions {
  /** Identifies the content. A different key fills the volume again. Default: fill it once. */
  readonly key?: string | undefined
}

const decodePrime = checked(
  "primeVolume",
  Named,
  optionsStruct<PrimeVolumeOptions>()({
    ...callFields,
    quotaMib: Quota,
    labels: Schema.optional(Labels),
    key: Schema.optional(CString)
  })
)

/**
 * Gets a volume that is filled only once, by the callback. Other callers, in any process, wait meanwhile. If the callback
 * rejects, the next caller fills the volume.
 *
 * **Example** (Install dependencies once)
 *
 * ```ts
 * import { primeVolume, runInSandbox } from "effect-lightbox/promise"
 *
 * await primeVolume("dependencies", ({ name }) =>
 *   runInSandbox({ snapshot: "node-ci", mounts: { "/root/.npm": { volume: name } } }, (sb) => sb.shell("npm ci"))
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const primeVolume = async (
  name: string,
  fill: (volume: { readonly name: string }) => Promise<unknown>,
  options?: PrimeVolumeOptions
): Promise<VolumeRecord> => {
  checkArgs("primeVolume", { fill })
  const { key, labels, quotaMib, signal } = decodePrime({ name }, options)
  const quota = quotaMib === undefined ? undefined : quotaMib * mebibyte
  // What the callback rejects with is thrown as it is.
  let failure: { readonly reason: unknown } | undefined
  const primed = Volumes.prime(
    name,
    (volume) =>
      Effect.promise(async () => {
        try {
          await fill({ name: volume.name })
        } catch (reason) {
          failure = { reason }
          throw reason
        }
      }),
    { key, labels, quota, onDrift: "adopt" }
  )
  try {
    return volumeRecord(await run(measured(primed), signal))
  } catch (error) {
    throw failure === undefined ? error : failure.reason
  }
}

// =============================================================================
// Images
// =============================================================================

/**
 * An image in the local cache.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImageRecord {
  reference: string
  /** Digest of the manifest. */
  digest: string | null
  sizeBytes: number | null
  architecture: string | null
  os: string | null
  /** Number of layers. */
  layers: number
  createdAt: Date | null
  lastUsedAt: Date | null
}

/**
 * An image with its configuration.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImageDetail extends ImageRecord {
  env: Record<string, string>
  entrypoint: Array<string>
  cmd: Array<string>
  workdir: string | null
  user: string | null
}

const imageRecord = (image: Microsandbox.ImageInfo): ImageRecord => ({
  reference: image.reference,
  digest: image.digest ?? null,
  sizeBytes: image.size ?? null,
  architecture: image.architecture ?? null,
  os: image.os ?? null,
  layers: image.layers,
  createdAt: dateOf(image.createdAt),
  lastUsedAt: dateOf(image.lastUsedAt)
})

/**
 * Lists all cached images.
 *
 * @category operations
 * @since 0.1.0
 */
export const listImages = async (options?: CallOptions): Promise<Array<ImageRecord>> =>
  (await run(Images.list(), signalOf("listImages", options))).map(imageRecord)

const Referred = Schema.Struct({ reference: ImageReference })
const decodeGetImage = checked("getImage", Referred, Schema.Struct(callFields))

/**
 * Gets an image and its configuration. Rejects if it is not cached.
 *
 * @category operations
 * @since 0.1.0
 */
export const getImage = async (reference: string, options?: CallOptions): Promise<ImageDetail> => {
  const { signal } = decodeGetImage({ reference }, options)
  const image = await run(Images.get(reference), signal)
  return {
    ...imageRecord(image),
    env: { ...image.env },
    entrypoint: [...image.entrypoint],
    cmd: [...image.cmd],
    workdir: image.cwd ?? null,
    user: image.user ?? null
  }
}

const Archive = Schema.Struct({ path: HostPath })
const decodeLoadImages = checked(
  "loadImages",
  Archive,
  Schema.Struct({ ...callFields, tag: Schema.optional(ImageReference) })
)

/**
 * Loads the images of an archive, in the format of `docker save` or in the OCI layout. `tag` is an additional name for
 * the first one.
 *
 * @category operations
 * @since 0.1.0
 */
export const loadImages = async (
  path: string,
  options?: CallOptions & { readonly tag?: string | undefined }
): Promise<Array<ImageRecord>> => {
  const { signal, tag } = decodeLoadImages({ path }, options)
  return (await run(Images.load(path, { tag }), signal)).map(imageRecord)
}

const decodeSaveImages = checked(
  "saveImages",
  Schema.Struct({ references: Schema.Array(ImageReference), path: HostPath }),
  Schema.Struct({ ...callFields, format: Schema.optional(Schema.Literals(["docker", "oci"])) })
)

/**
 * Saves cached images to an archive. A pulled image has a different digest when it is loaded again: to move a snapshot
 * together with its image, use {@link saveSnapshot}.
 *
 * @category operations
 * @since 0.1.0
 */
export const saveImages = async (
  references: ReadonlyArray<string>,
  path: string,
  options?: CallOptions & {
    /** Default: the runtime's. */
    readonly format?: "docker" | "oci" | undefined
  }
): Promise<void> => {
  const { format, signal } = decodeSaveImages({ references, path }, options)
  await run(Images.save(references, path, { format }), signal)
}

const decodeRemoveImage = checked("removeImage", Referred, Schema.Struct({ ...callFields, force: flag }))

/**
 * Removes a name from the cache, if it exists; removing the last name removes the image. Rejects if a sandbox is based on
 * it. `force` removes the name anyway, unless it is the last one.
 *
 * @category operations
 * @since 0.1.0
 */
export const removeImage = async (
  reference: string,
  options?: CallOptions & { readonly force?: boolean | undefined }
): Promise<void> => {
  const { force, signal } = decodeRemoveImage({ reference }, options)
  await run(Images.remove(reference, { force }), signal)
}

const decodePruneImages = checked("pruneImages", None, Schema.Struct({ ...callFields, dryRun: flag }))

/**
 * Removes images that no sandbox and no snapshot uses. With `dryRun`, only reports them.
 *
 * @category operations
 * @since 0.1.0
 */
export const pruneImages = async (
  options?: CallOptions & { readonly dryRun?: boolean | undefined }
): Promise<CleanupReport> => {
  const { dryRun, signal } = decodePruneImages({}, options)
  return reportOf(await run(Images.prune({ dryRun }), signal))
}
