/** Captures, copies and differences for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off
import * as Predicate from "effect/Predicate"
import * as Record from "effect/Record"
import * as Redacted from "effect/Redacted"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Sandboxes from "../../Sandbox.ts"
import * as Snapshots from "../../Snapshot.ts"
import type { LaunchSettings } from "../../promise.ts"
import { intBetween, Labels, Name, SnapshotName, SnapshotReference } from "../config/schemas.ts"
import { callFields, checked } from "./input.ts"
import type { CallOptions } from "./options.ts"
import { acquire, type OpenScope, run } from "./runtime.ts"
import { configOf, ForkFields, withForkNames } from "./launch.ts"
import { Sandbox } from "./sandbox.ts"
import { Snapshot } from "./snapshot.ts"

const flag = Schema.optional(Schema.Boolean)

const SandboxOrName = Schema.Union([
  Name,
  Schema.declare((u): u is Sandbox => u instanceof Sandbox, { expected: "a sandbox or its name" })
])

const inner = (sandbox: Sandbox | string): Sandboxes.Sandbox | string =>
  Predicate.isString(sandbox) ? sandbox : Sandbox.inner(sandbox)

/**
 * Options of {@link captureSnapshot}.
 *
 * @category options
 * @since 0.1.0
 */
export interface CaptureOptions extends CallOptions {
  /** Name of the snapshot. */
  name: string
  /** Default: none. */
  labels?: Record<string, string> | undefined
  /** Generations to keep, including the new one. Default: 2. */
  keep?: number | undefined
  /** Point an existing name to the capture. Default: `true`. `false`: reject if the name is taken. */
  overwrite?: boolean | undefined
  /** Replace a snapshot made by another tool. Default: `false`. */
  replaceForeign?: boolean | undefined
  /** Values that must not be on the disk, by the name that an error shows. Default: those known to the sandbox object. */
  secrets?: Record<string, string> | undefined
}

const decodeCapture = checked(
  "captureSnapshot",
  Schema.Struct({ sandbox: SandboxOrName }),
  Schema.Struct({
    ...callFields,
    name: SnapshotName,
    labels: Schema.optional(Labels),
    keep: Schema.optional(intBetween(1, 1000)),
    overwrite: flag,
    replaceForeign: flag,
    secrets: Schema.optional(Schema.Record(Schema.String, Schema.String))
  })
)

/**
 * Captures the disk of a sandbox, running or stopped, as a new generation of a snapshot. Takes a sandbox or its name.
 *
 * A running sandbox is flushed, shut down, captured and booted again. Its disk survives that, and so do mounts, ports and
 * options. Processes, memory, `/tmp` and `/run` do not: running commands reject, and jobs are `Lost`. The sandbox object
 * that was passed stays usable; others have to connect again. The name moves only once the sandbox runs again and the
 * captured disk has been verified. On failure or abort, the sandbox runs again.
 *
 * Rejects with the reason `SecretLeaked` if the disk contains a secret that is known here: one of `secrets`, or one in
 * the options of the launch.
 *
 * **Example** (Keep what was installed by hand)
 *
 * ```ts
 * import { captureSnapshot, launchSandbox } from "effect-lightbox/promise"
 *
 * await using sb = await launchSandbox({ image: "alpine" })
 * await sb.shell("apk add git")
 * await captureSnapshot(sb, { name: "with-git" })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const captureSnapshot = async (sandbox: Sandbox | string, options: CaptureOptions): Promise<Snapshot> => {
  const { sandbox: source, secrets = {}, signal, ...rest } = decodeCapture({ sandbox }, options)
  const captured = Snapshots.capture(inner(source), {
    ...rest,
    secrets: Record.map(secrets, (value) => Redacted.make(value))
  })
  return new Snapshot(await run(captured, signal))
}

/**
 * Options of {@link forkSandbox}.
 *
 * @category options
 * @since 0.1.0
 */
export interface ForkOptions extends CallOptions {
  /** Number of copies, 1 to 1,000. Default: 1. */
  count?: number | undefined
  /**
   * Copy the memory, too: the copies go on where the original is, which is not restarted, with its options and without
   * published ports. A preview, for runtimes that can do so; others reject with the reason `Unsupported`. Default: `false`.
   */
  memory?: boolean | undefined
  /** The copies are named after it, such as `worker-1`. Default: unique names. */
  name?: string | undefined
  /**
   * Options that replace those of the original's launch. Required for a sandbox that this program has not launched, as its
   * options are not known; `{}` then takes the defaults. Default: those of the launch.
   */
  options?: ForkSettings | undefined
}

/**
 * Options of the copies of a sandbox: those of `launchSandbox`, without its source and what a fork decides.
 *
 * @category options
 * @since 0.1.0
 */
export interface ForkSettings extends Omit<
  LaunchSettings,
  "name" | "overwrite" | "detached" | "verbose" | "signal" | "onPullProgress" | "releaseTimeoutMs"
> {}

/**
 * Copies of a sandbox, which are removed together: at the end of an `await using` block, of any of them as well.
 *
 * @category models
 * @since 0.1.0
 */
export class Forks implements AsyncDisposable {
  readonly sandboxes: ReadonlyArray<Sandbox>
  readonly #held: OpenScope

  /** @internal */
  constructor(sandboxes: ReadonlyArray<Sandbox>, held: OpenScope) {
    this.sandboxes = sandboxes
    this.#held = held
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held.close()
  }
}

const decodeFork = checked(
  "forkSandbox",
  Schema.Struct({
    sandbox: Schema.declare((u): u is Sandbox => u instanceof Sandbox, { expected: "a sandbox" })
  }),
  Schema.Struct({
    ...callFields,
    count: Schema.optional(intBetween(1, 1000)),
    memory: Schema.optional(Schema.Boolean),
    name: Schema.optional(Name),
    options: Schema.optional(ForkFields)
  })
)

/**
 * Boots copies of a sandbox, with the options of its launch unless others are passed, from one capture of its disk. A
 * running original is restarted for that, as {@link captureSnapshot} describes. Published ports get free ports of this
 * host; folders and volumes are shared. If one copy does not boot, none is left.
 *
 * **Example** (Try several things from one state)
 *
 * ```ts
 * import { forkSandbox, launchSandbox } from "effect-lightbox/promise"
 *
 * await using sb = await launchSandbox({ image: "node:22" })
 * await sb.shell("npm install -g pnpm")
 * await using copies = await forkSandbox(sb, { count: 3 })
 * await Promise.all(copies.sandboxes.map((copy) => copy.exec("pnpm", ["--version"])))
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const forkSandbox = async (sandbox: Sandbox, options?: ForkOptions): Promise<Forks> => {
  const { options: changed, sandbox: original, signal, ...rest } = decodeFork({ sandbox }, options)
  const asked = { ...rest, options: changed && configOf(changed) }
  return await acquire(
    Effect.mapError(
      Effect.suspend(() => Sandboxes.fork(Sandbox.inner(original), asked)),
      withForkNames
    ),
    (copies, held) => new Forks(Sandbox.allOf(copies, held), held),
    { signal }
  )
}

/**
 * A path that differs between two disks.
 *
 * @category models
 * @since 0.1.0
 */
export interface Difference {
  path: string
  kind: "added" | "changed" | "removed"
  /** For a removed path, its former type and size. */
  type: "File" | "Directory" | "SymbolicLink" | "BlockDevice" | "CharacterDevice" | "FIFO" | "Socket" | "Unknown"
  /** 0 for what is not a file. */
  sizeBytes: number
  /** The former type and size of a changed path. */
  before?: { type: Difference["type"]; sizeBytes: number } | undefined
  /** What differs in a changed path. `time`: the time of a file larger than 1 MiB, whose content was not compared. */
  changes: Array<"type" | "mode" | "owner" | "size" | "content" | "time" | "target">
}

/**
 * The differences between two disks.
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotDiff {
  /** Sorted by path. */
  differences: Array<Difference>
  /** `false` if there are more differences, or more than 1,000,000 files to compare. */
  isComplete: boolean
}

/**
 * Options of {@link diffSnapshots}.
 *
 * @category options
 * @since 0.1.0
 */
export interface DiffOptions extends CallOptions {
  /** Maximum number of differences, up to 1,000,000. Default: 10,000. */
  limit?: number | undefined
}

/**
 * A side of {@link diffSnapshots}: the name of a snapshot, one of its generations such as `"app@3"`, a snapshot or the
 * result of a build, an image, or a running sandbox.
 *
 * @category options
 * @since 0.1.0
 */
export type DiffSource = string | { readonly path: string } | { readonly image: string } | Sandbox

const isSource = (u: unknown): u is Exclude<DiffSource, string> =>
  u instanceof Sandbox ||
  (Predicate.hasProperty(u, "path") && Predicate.isString(u.path)) ||
  (Predicate.hasProperty(u, "image") && Predicate.isString(u.image))

const Side = Schema.Union([
  SnapshotReference,
  Schema.declare(isSource, { expected: "a snapshot or its name, { image } or a sandbox" })
])

const sideOf = (source: DiffSource): Snapshots.DiffSource =>
  source instanceof Sandbox ? Sandbox.inner(source) : source

const decodeDiff = checked(
  "diffSnapshots",
  Schema.Struct({ before: Side, after: Side }),
  Schema.Struct({ ...callFields, limit: Schema.optional(intBetween(1, 1_000_000)) })
)

/**
 * Lists the paths that were added, changed and removed from one disk to another: those of snapshots, of generations such
 * as `"app@3"`, of images, or of running sandboxes. Snapshots and images are booted for it. What is in memory or mounted
 * is left out.
 *
 * @category operations
 * @since 0.1.0
 */
export const diffSnapshots = async (
  before: DiffSource,
  after: DiffSource,
  options?: DiffOptions
): Promise<SnapshotDiff> => {
  const { after: second, before: first, limit, signal } = decodeDiff({ before, after }, options)
  const { differences, isComplete } = await run(Snapshots.diff(sideOf(first), sideOf(second), { limit }), signal)
  return {
    differences: differences.map(({ before, changes, kind, path, size, type }) => ({
      path,
      kind,
      type,
      sizeBytes: size,
      ...(before === undefined ? {} : { before: { type: before.type, sizeBytes: before.size } }),
      changes: [...changes]
    })),
    isComplete
  }
}
