/**
 * The one error that every operation of the library fails with.
 *
 * A {@link LightboxError} says which operation failed (`method`), why (`reason`,
 * a tagged union that programs can match on), and, for a build, at which step
 * (`step`). Each reason knows whether trying again can help (`isRetryable`) and
 * whether the operation may have taken effect all the same (`outcome`).
 *
 * **Example** (Recovering from one reason)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const connectOrLaunch = Sandbox.connect("worker").pipe(
 *   Effect.catchReason("LightboxError", "NotFound", () =>
 *     Sandbox.launch({ name: "worker", snapshot: "node-ci" }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import { NodeInspectSymbol } from "effect/Inspectable"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { show as showCommand } from "./internal/report/commandLine.ts"

const TypeId = "~effect-lightbox/LightboxError" as const
const ReasonTypeId = "~effect-lightbox/LightboxError/Reason" as const

/**
 * Whether a failed operation certainly had no effect (`"failed"`), or may have
 * been carried out although no answer came back (`"unknown"`).
 *
 * **Example** (Deciding whether to look before trying again)
 *
 * ```ts
 * import type { LightboxError } from "effect-lightbox"
 *
 * export const mustLookFirst = (error: LightboxError.LightboxError): boolean => {
 *   const outcome: LightboxError.Outcome = error.outcome
 *   return outcome === "unknown"
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = "failed" | "unknown"

/**
 * The kinds of named things that an operation can miss, collide with or find in
 * use.
 *
 * **Example** (Naming a resource)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const kind: typeof LightboxError.Resource.Type = "snapshot"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export const Resource = Schema.Literals(["sandbox", "snapshot", "generation", "volume", "image", "step"])

const causeFields = { cause: Schema.optionalKey(Schema.Defect()) }

// =============================================================================
// Reasons: names and states
// =============================================================================

/**
 * There is no sandbox, snapshot, generation, volume or image of that name. Not
 * retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.NotFound({ resource: "snapshot", name: "node-ci" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class NotFound extends Schema.TaggedError<NotFound>("effect-lightbox/LightboxError/NotFound")("NotFound", {
  resource: Resource,
  name: Schema.String,
  ...causeFields
}) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `There is no ${this.resource} named "${this.name}"`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The name is taken. Not retryable: remove the other first, choose another
 * name, or ask for replacement.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.AlreadyExists({ resource: "sandbox", name: "worker" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class AlreadyExists extends Schema.TaggedError<AlreadyExists>("effect-lightbox/LightboxError/AlreadyExists")(
  "AlreadyExists",
  { resource: Resource, name: Schema.String, ...causeFields }
) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return this.resource === "snapshot"
      ? `Snapshot "${this.name}" already exists. Pass { overwrite: true } to replace it`
      : `A ${this.resource} named "${this.name}" already exists`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The sandbox still runs, and the operation needs it stopped. Not retryable
 * until it is stopped.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.StillRunning({ name: "worker" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class StillRunning extends Schema.TaggedError<StillRunning>("effect-lightbox/LightboxError/StillRunning")(
  "StillRunning",
  { name: Schema.String, ...causeFields }
) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `Sandbox "${this.name}" is still running; stop it first`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The sandbox does not run, and the operation needs it running. Not retryable
 * until it is started.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.NotRunning({ name: "worker", status: "stopped" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class NotRunning extends Schema.TaggedError<NotRunning>("effect-lightbox/LightboxError/NotRunning")(
  "NotRunning",
  { name: Schema.String, status: Schema.optionalKey(Schema.String), ...causeFields }
) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `Sandbox "${this.name}" is not running${this.status === undefined ? "" : ` (${this.status})`}`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The sandbox that this handle stood for is gone, and another one has its name.
 * Not retryable: the handle is of no more use.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.Replaced({ name: "worker" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class Replaced extends Schema.TaggedError<Replaced>("effect-lightbox/LightboxError/Replaced")("Replaced", {
  name: Schema.String,
  ...causeFields
}) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `Sandbox "${this.name}" was removed and replaced by another of the same name`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The image, volume or snapshot is in use, so it can not be removed. `usedBy`
 * names the users that are known. Retryable once they are gone.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.InUse({ resource: "volume", name: "cache", usedBy: ["worker"] })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class InUse extends Schema.TaggedError<InUse>("effect-lightbox/LightboxError/InUse")("InUse", {
  resource: Resource,
  name: Schema.String,
  usedBy: Schema.Array(Schema.String),
  ...causeFields
}) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    const users = this.usedBy.length === 0 ? "" : ` by ${this.usedBy.map((name) => `"${name}"`).join(", ")}`
    return `The ${this.resource} "${this.name}" is in use${users}`
  }
  get isRetryable(): boolean {
    return true
  }
  get outcome(): Outcome {
    return "failed"
  }
}

// =============================================================================
// Reasons: input
// =============================================================================

/**
 * An option has a value that can not work. `field` is its path in what the
 * caller passed, such as `mounts./work` or `resources.memory`; `problem` says
 * what is expected. Found before anything is booted, written or removed. Not
 * retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.InvalidConfig({
 *   field: "resources.cpus",
 *   problem: "expected a whole number from 1 to 255"
 * })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidConfig extends Schema.TaggedError<InvalidConfig>("effect-lightbox/LightboxError/InvalidConfig")(
  "InvalidConfig",
  { field: Schema.String, problem: Schema.String, ...causeFields }
) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `Invalid ${this.field}: ${this.problem}`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The backend or the installed runtime can not do this, known from its
 * capabilities or from its own refusal. Not retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.Unsupported({ feature: "snapshots", problem: "not on the cloud backend" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class Unsupported extends Schema.TaggedError<Unsupported>("effect-lightbox/LightboxError/Unsupported")(
  "Unsupported",
  { feature: Schema.String, problem: Schema.String, ...causeFields }
) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `${this.feature}: ${this.problem}`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

// =============================================================================
// Reasons: images and boot
// =============================================================================

/**
 * The image is neither in the local cache nor could it be pulled. Retryable:
 * most often a registry that can not be reached for the moment.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.ImageUnavailable({
 *   reference: "node:22",
 *   problem: "not in the local cache, and the pull policy is never"
 * })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class ImageUnavailable extends Schema.TaggedError<ImageUnavailable>(
  "effect-lightbox/LightboxError/ImageUnavailable"
)("ImageUnavailable", { reference: Schema.String, problem: Schema.String, ...causeFields }) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `Image "${this.reference}" is not available: ${this.problem}`
  }
  get isRetryable(): boolean {
    return true
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The microVM did not come up. `lastLines` are the last lines of what guest and
 * virtual machine wrote, oldest first, as far as there are any. Nothing is left
 * of it. Retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.BootFailed({
 *   name: "worker",
 *   problem: "the virtual machine ended before the guest answered",
 *   lastLines: ["kernel panic"]
 * })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class BootFailed extends Schema.TaggedError<BootFailed>("effect-lightbox/LightboxError/BootFailed")(
  "BootFailed",
  { name: Schema.String, problem: Schema.String, lastLines: Schema.Array(Schema.String), ...causeFields }
) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    const lines = this.lastLines.length === 0 ? "" : `\n${this.lastLines.map((line) => `  | ${line}`).join("\n")}`
    return `Sandbox "${this.name}" did not boot: ${this.problem}${lines}`
  }
  get isRetryable(): boolean {
    return true
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * This machine can not run a virtual machine. `remedy` says what to do on this
 * system. Not retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.NoVirtualization({
 *   problem: "/dev/kvm does not exist",
 *   remedy: "enable virtualization in the firmware, then load the kvm module"
 * })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class NoVirtualization extends Schema.TaggedError<NoVirtualization>(
  "effect-lightbox/LightboxError/NoVirtualization"
)("NoVirtualization", { problem: Schema.String, remedy: Schema.String, ...causeFields }) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `This machine can not run microVMs: ${this.problem}. To mend it: ${this.remedy}`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The microsandbox runtime (its native module, the `msb` binary or `libkrunfw`)
 * is missing or can not be loaded. `remedy` says what to do. Not retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.RuntimeMissing({
 *   problem: "the native module for this platform is not installed",
 *   remedy: "run npm install under Node.js 22.19 or newer"
 * })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class RuntimeMissing extends Schema.TaggedError<RuntimeMissing>("effect-lightbox/LightboxError/RuntimeMissing")(
  "RuntimeMissing",
  { problem: Schema.String, remedy: Schema.String, ...causeFields }
) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `The microsandbox runtime is missing: ${this.problem}. To mend it: ${this.remedy}`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

// =============================================================================
// Reasons: the guest
// =============================================================================

/**
 * Why a command could not be started in the guest, as the guest's kernel told
 * it.
 *
 * **Example** (Telling a missing program from a missing folder)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const kind: typeof LightboxError.StartProblem.Type = "BadWorkdir"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export const StartProblem = Schema.Literals([
  "ProgramNotFound",
  "PermissionDenied",
  "NotExecutable",
  "BadWorkdir",
  "BadArguments",
  "UnknownUser",
  "ResourceLimit",
  "OutOfMemory",
  "NoTerminal",
  "Other"
])

/**
 * The command never ran: there is no such program, working directory or user in
 * the guest, or the guest's kernel refused it. `errno` is the kernel's name for
 * it, such as `ENOENT`. Not retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.CommandNotStarted({
 *   argv: ["pnpm", "install"],
 *   kind: "ProgramNotFound",
 *   problem: "No such file or directory",
 *   errno: "ENOENT"
 * })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class CommandNotStarted extends Schema.TaggedError<CommandNotStarted>(
  "effect-lightbox/LightboxError/CommandNotStarted"
)("CommandNotStarted", {
  argv: Schema.Array(Schema.String),
  kind: StartProblem,
  problem: Schema.String,
  errno: Schema.optionalKey(Schema.String),
  ...causeFields
}) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `Could not start ${showCommand(this.argv)}: ${this.problem}`
  }
  get isRetryable(): boolean {
    return this.kind === "OutOfMemory" || this.kind === "ResourceLimit"
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The command ran and exited with a code other than 0 (-1: it was ended by a
 * signal). `stdout` and `stderr` are the last 50 lines of each, at most 16 KiB.
 * Retryable, since only the caller knows.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.CommandFailed({
 *   argv: ["npm", "test"],
 *   exitCode: 1,
 *   stdout: "",
 *   stderr: "1 test failed"
 * })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class CommandFailed extends Schema.TaggedError<CommandFailed>("effect-lightbox/LightboxError/CommandFailed")(
  "CommandFailed",
  {
    argv: Schema.Array(Schema.String),
    exitCode: Schema.Int,
    stdout: Schema.String,
    stderr: Schema.String,
    ...causeFields
  }
) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `${showCommand(this.argv)} exited with code ${this.exitCode}${this.output}`
  }
  /** What it wrote last, as lines under a message: to standard error, or else to standard output. */
  get output(): string {
    const text = this.stderr.trim() === "" ? this.stdout : this.stderr
    return text.trim() === "" ? "" : `\n${indent(text)}`
  }
  get isRetryable(): boolean {
    return true
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * A command wrote more than the caller was ready to hold (`maxOutput`). It was
 * killed. Not retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.OutputTooLarge({ argv: ["yes"], limitBytes: 1024 })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class OutputTooLarge extends Schema.TaggedError<OutputTooLarge>("effect-lightbox/LightboxError/OutputTooLarge")(
  "OutputTooLarge",
  { argv: Schema.Array(Schema.String), limitBytes: Schema.Int, ...causeFields }
) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `${showCommand(this.argv)} wrote more than ${this.limitBytes} bytes and was killed`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "unknown"
  }
}

/**
 * A file operation in the guest, or on a volume, failed. `code` is the kernel's
 * name for it (`ENOENT`, `EACCES`, `ENOSPC`, …), or `UNKNOWN`. Not retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.FileError({
 *   operation: "readFile",
 *   path: "/etc/none",
 *   code: "ENOENT",
 *   problem: "No such file or directory"
 * })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class FileError extends Schema.TaggedError<FileError>("effect-lightbox/LightboxError/FileError")("FileError", {
  operation: Schema.String,
  path: Schema.String,
  code: Schema.String,
  problem: Schema.String,
  ...causeFields
}) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `${this.operation} ${this.path}: ${this.problem} (${this.code})`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The sandbox ended, or the connection to it broke, while the operation ran: a
 * kernel panic, a killed virtual machine, memory exhausted, or somebody else's
 * `kill`. What was under way may have happened or not. Retryable on a new
 * sandbox.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.GuestLost({ name: "worker", problem: "the connection closed" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class GuestLost extends Schema.TaggedError<GuestLost>("effect-lightbox/LightboxError/GuestLost")("GuestLost", {
  name: Schema.String,
  problem: Schema.String,
  ...causeFields
}) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `Sandbox "${this.name}" was lost: ${this.problem}`
  }
  get isRetryable(): boolean {
    return true
  }
  get outcome(): Outcome {
    return "unknown"
  }
}

/**
 * The sandbox takes no further connections: the runtime serves 128 at a time,
 * those of other processes and tools included. Retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.GuestBusy({ name: "worker", problem: "all connections are taken" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class GuestBusy extends Schema.TaggedError<GuestBusy>("effect-lightbox/LightboxError/GuestBusy")("GuestBusy", {
  name: Schema.String,
  problem: Schema.String,
  ...causeFields
}) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `Sandbox "${this.name}" is busy: ${this.problem}`
  }
  get isRetryable(): boolean {
    return true
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The operation took longer than its limit (`limitMillis`, milliseconds) and
 * was stopped. Retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.TimedOut({ operation: "npm test", limitMillis: 60_000 })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class TimedOut extends Schema.TaggedError<TimedOut>("effect-lightbox/LightboxError/TimedOut")("TimedOut", {
  operation: Schema.String,
  limitMillis: Schema.Finite,
  ...causeFields
}) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `${this.operation} took longer than ${this.limitMillis} ms and was stopped`
  }
  get isRetryable(): boolean {
    return true
  }
  get outcome(): Outcome {
    return "unknown"
  }
}

/**
 * There is no room for another sandbox within the budget of this process, and
 * none became free in time. Retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.NoCapacity({ problem: "it waited 60000 ms" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class NoCapacity extends Schema.TaggedError<NoCapacity>("effect-lightbox/LightboxError/NoCapacity")(
  "NoCapacity",
  { problem: Schema.String, ...causeFields }
) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `There is no room for another sandbox: ${this.problem}`
  }
  get isRetryable(): boolean {
    return true
  }
  get outcome(): Outcome {
    return "failed"
  }
}

// =============================================================================
// Reasons: storage
// =============================================================================

/**
 * There is a volume of the name already, made with something else than what was
 * asked for. `field` is what differs: the first of `kind`, `quota`, `labels`. Not
 * retryable: adopt it as it is, or recreate it.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.Drift({ name: "npm-cache", field: "quota", was: "1024 MiB", now: "2048 MiB" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class Drift extends Schema.TaggedError<Drift>("effect-lightbox/LightboxError/Drift")("Drift", {
  name: Schema.String,
  field: Schema.Literals(["kind", "quota", "labels"]),
  was: Schema.String,
  now: Schema.String
}) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `Volume "${this.name}" exists with another ${this.field}: ${this.was}, not ${this.now}`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * A snapshot's content does not match what was recorded, or a part of it (its
 * disk, its base image) is gone. Not retryable: build it again.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.SnapshotDamaged({ name: "node-ci", problem: "the digest differs" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class SnapshotDamaged extends Schema.TaggedError<SnapshotDamaged>(
  "effect-lightbox/LightboxError/SnapshotDamaged"
)("SnapshotDamaged", { name: Schema.String, problem: Schema.String, ...causeFields }) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `Snapshot "${this.name}" is damaged: ${this.problem}`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The value of a build secret was found on the disk that a step left. The disk
 * was not kept. Not retryable: change the step.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.SecretLeaked({ secret: "NPM_TOKEN" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class SecretLeaked extends Schema.TaggedError<SecretLeaked>("effect-lightbox/LightboxError/SecretLeaked")(
  "SecretLeaked",
  { secret: Schema.String, ...causeFields }
) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `The value of the secret ${this.secret} is on the disk that would have become the snapshot, which was discarded`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The store (microsandbox's database) is held by another process. Retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.StoreBusy({ problem: "database is locked" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreBusy extends Schema.TaggedError<StoreBusy>("effect-lightbox/LightboxError/StoreBusy")("StoreBusy", {
  problem: Schema.String,
  ...causeFields
}) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `The store is busy: ${this.problem}`
  }
  get isRetryable(): boolean {
    return true
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * The host's disk, or a quota on it, is full. Freeing space is enough to go on.
 * Retryable then.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.NoSpace({ problem: "No space left on device" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class NoSpace extends Schema.TaggedError<NoSpace>("effect-lightbox/LightboxError/NoSpace")("NoSpace", {
  problem: Schema.String,
  ...causeFields
}) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return `The disk is full: ${this.problem}`
  }
  get isRetryable(): boolean {
    return true
  }
  get outcome(): Outcome {
    return "failed"
  }
}

/**
 * Anything that the library does not know by name. `tag` is the SDK's own tag
 * for it when there is one, `cause` the original. Not retryable.
 *
 * **Example** (Building the reason)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const reason = new LightboxError.Unknown({ problem: "what happened", tag: "Nix" })
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class Unknown extends Schema.TaggedError<Unknown>("effect-lightbox/LightboxError/Unknown")("Unknown", {
  problem: Schema.String,
  tag: Schema.optionalKey(Schema.String),
  ...causeFields
}) {
  readonly [ReasonTypeId] = ReasonTypeId
  override get message(): string {
    return this.tag === undefined ? this.problem : `${this.problem} [${this.tag}]`
  }
  get isRetryable(): boolean {
    return false
  }
  get outcome(): Outcome {
    return "unknown"
  }
}

// =============================================================================
// The error
// =============================================================================

/**
 * All reasons a {@link LightboxError} can have.
 *
 * **Example** (Matching every reason you care about)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const program = Effect.scoped(Sandbox.launch({ image: "alpine" })).pipe(
 *   Effect.catchReasons("LightboxError", {
 *     NoVirtualization: (reason) => Effect.logError(reason.remedy),
 *     ImageUnavailable: (reason) => Effect.logError(reason.reference)
 *   })
 * )
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export const Reason = Schema.Union([
  NotFound,
  AlreadyExists,
  StillRunning,
  NotRunning,
  Replaced,
  InUse,
  InvalidConfig,
  Unsupported,
  ImageUnavailable,
  BootFailed,
  NoVirtualization,
  RuntimeMissing,
  CommandNotStarted,
  CommandFailed,
  OutputTooLarge,
  FileError,
  GuestLost,
  GuestBusy,
  TimedOut,
  NoCapacity,
  Drift,
  SnapshotDamaged,
  SecretLeaked,
  StoreBusy,
  NoSpace,
  Unknown
])

/**
 * The type of {@link Reason}.
 *
 * **Example** (Counting failures by reason)
 *
 * ```ts
 * import type { LightboxError } from "effect-lightbox"
 *
 * export const count = (counts: Map<string, number>, reason: LightboxError.Reason) =>
 *   counts.set(reason._tag, (counts.get(reason._tag) ?? 0) + 1)
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * The step of a build that was under way when it failed: the definition's name,
 * the step's position (from 1) and description, the file and line that declared
 * it, the attempt (from 1), and how long it ran, in milliseconds. A definition's
 * verification counts as the step after the last.
 *
 * **Example** (Pointing at the line)
 *
 * ```ts
 * import type { LightboxError } from "effect-lightbox"
 *
 * export const where = (error: LightboxError.LightboxError): string | undefined => error.step?.declaredAt
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export const StepContext = Schema.Struct({
  definition: Schema.String,
  index: Schema.Int,
  description: Schema.String,
  /** The script, or the words of the command, if it runs one. */
  command: Schema.optionalKey(Schema.String),
  declaredAt: Schema.optionalKey(Schema.String),
  attempt: Schema.Int,
  durationMillis: Schema.Finite
})

/**
 * The one error of the library: `method` is the operation that failed, `reason`
 * why, `step` the build step it happened in, and `builder` the name of the
 * builder sandbox when it was kept for inspection.
 *
 * **Details**
 *
 * `isRetryable` and `outcome` are the reason's own. The error encodes to JSON
 * with its schema, causes included.
 *
 * **Example** (Retrying only what can be helped)
 *
 * ```ts
 * import { Effect, Schedule } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const build = Snapshot.build(Snapshot.make("tools", "alpine")).pipe(
 *   Effect.retry({ while: (error) => error.isRetryable, schedule: Schedule.recurs(2) })
 * )
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class LightboxError extends Schema.TaggedError<LightboxError>("effect-lightbox/LightboxError")("LightboxError", {
  method: Schema.String,
  reason: Reason,
  step: Schema.optionalKey(StepContext),
  builder: Schema.optionalKey(Schema.String)
}) {
  readonly [TypeId] = TypeId
  override readonly cause = this.reason
  override get message(): string {
    const { builder, method, reason, step } = this
    if (step === undefined) return `${method}: ${reason.message}`
    const at = step.declaredAt === undefined ? "" : ` (${step.declaredAt})`
    const attempt = step.attempt === 1 ? "" : `, attempt ${step.attempt}`
    const what =
      reason._tag === "CommandFailed"
        ? `setup step exited with code ${reason.exitCode}: ${step.command ?? step.description}${reason.output}`
        : reason.message
    const inspect = builder === undefined ? "" : `\nThe builder was kept: connect to sandbox "${builder}"`
    return `${method}: "${step.definition}" failed at step ${step.index}${attempt}, ${step.description}${at}: ${what}${inspect}`
  }
  /** Whether trying the same again can help. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
  /** Whether the operation may have taken effect all the same. */
  get outcome(): Outcome {
    return this.reason.outcome
  }
  /** What `console.error` shows: an error, not its fields. */
  override [NodeInspectSymbol](): string {
    return this.stack ?? this.message
  }
}

/**
 * Tells whether a value is a {@link LightboxError}.
 *
 * **Example** (Looking at a rejected promise)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 *
 * export const tagOf = (error: unknown): string =>
 *   LightboxError.isLightboxError(error) ? error.reason._tag : "other"
 * ```
 *
 * @category guards
 * @since 0.1.0
 */
export const isLightboxError = (u: unknown): u is LightboxError => Predicate.hasProperty(u, TypeId)

const indent = (text: string): string =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => `  | ${line}`)
    .join("\n")
