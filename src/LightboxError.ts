/**
 * The error that every operation of the library fails with.
 *
 * A {@link LightboxError} has a `reason`, a tagged union to match on. Each reason says whether a retry can help
 * (`isRetryable`) and whether the operation may have taken effect (`outcome`).
 *
 * **Example** (Recover from one reason)
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
import * as FailureText from "./internal/report/failureText.ts"

const TypeId = "~effect-lightbox/LightboxError" as const

/**
 * The effect of a failed operation. `"failed"`: none. `"unknown"`: no answer arrived, so it may have taken effect.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = "failed" | "unknown"

/**
 * The kinds of named resources.
 *
 * @category models
 * @since 0.1.0
 */
export const Resource = Schema.Literals([
  "sandbox",
  "snapshot",
  "generation",
  "volume",
  "image",
  "step",
  "job",
  "build",
  "record"
])

/** The base of all reasons. Default: not retryable, without effect. */
class Failure extends Schema.Error<Failure>("effect-lightbox/LightboxError/Failure")({
  cause: Schema.optionalKey(Schema.Defect())
}) {
  readonly isRetryable: boolean = false
  readonly outcome: Outcome = "failed"
}

// =============================================================================
// Reasons: names and states
// =============================================================================

/**
 * There is no such sandbox, snapshot, generation, volume, image, step or job, or no record of such a build or ended sandbox.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotFound extends Failure.extend<NotFound>("effect-lightbox/LightboxError/NotFound")({
  _tag: Schema.tag("NotFound"),
  resource: Resource,
  name: Schema.String
}) {
  override get message(): string {
    return `There is no ${this.resource} named "${this.name}"`
  }
}

/**
 * The name is taken. Remove its owner, choose another name, or replace it with `overwrite`.
 *
 * @category errors
 * @since 0.1.0
 */
export class AlreadyExists extends Failure.extend<AlreadyExists>("effect-lightbox/LightboxError/AlreadyExists")({
  _tag: Schema.tag("AlreadyExists"),
  resource: Resource,
  name: Schema.String
}) {
  override get message(): string {
    return this.resource === "snapshot"
      ? `Snapshot "${this.name}" already exists`
      : `A ${this.resource} named "${this.name}" already exists`
  }
}

/**
 * The sandbox is running, and the operation needs it stopped; or the job is running.
 *
 * @category errors
 * @since 0.1.0
 */
export class StillRunning extends Failure.extend<StillRunning>("effect-lightbox/LightboxError/StillRunning")({
  _tag: Schema.tag("StillRunning"),
  /** `"job"`, or `undefined` for a sandbox. */
  resource: Schema.optionalKey(Resource),
  name: Schema.String
}) {
  override get message(): string {
    return `${this.resource === "job" ? "Job" : "Sandbox"} "${this.name}" is still running`
  }
}

/**
 * The sandbox is not running; the operation needs it running.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotRunning extends Failure.extend<NotRunning>("effect-lightbox/LightboxError/NotRunning")({
  _tag: Schema.tag("NotRunning"),
  name: Schema.String,
  status: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    return `Sandbox "${this.name}" is not running${this.status === undefined ? "" : ` (${this.status})`}`
  }
}

/**
 * The sandbox was removed and another one has its name. The handle is invalid: connect again.
 *
 * @category errors
 * @since 0.1.0
 */
export class Replaced extends Failure.extend<Replaced>("effect-lightbox/LightboxError/Replaced")({
  _tag: Schema.tag("Replaced"),
  name: Schema.String
}) {
  override get message(): string {
    return `Sandbox "${this.name}" was removed, and another one now has its name`
  }
}

/**
 * The image, volume, snapshot or sandbox is in use. `usedBy` lists the known users. Retryable.
 *
 * @category errors
 * @since 0.1.0
 */
export class InUse extends Failure.extend<InUse>("effect-lightbox/LightboxError/InUse")({
  _tag: Schema.tag("InUse"),
  resource: Resource,
  name: Schema.String,
  usedBy: Schema.Array(Schema.String)
}) {
  override get message(): string {
    const users = this.usedBy.length === 0 ? "" : ` by ${this.usedBy.map((name) => `"${name}"`).join(", ")}`
    return `The ${this.resource} "${this.name}" is in use${users}`
  }
  override readonly isRetryable = true
}

// =============================================================================
// Reasons: input
// =============================================================================

/**
 * An option is invalid. `field` is its path in the caller's options, such as `mounts./work` or `resources.memory`.
 * Nothing was booted, written or removed.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidConfig extends Failure.extend<InvalidConfig>("effect-lightbox/LightboxError/InvalidConfig")({
  _tag: Schema.tag("InvalidConfig"),
  field: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `Invalid ${this.field}: ${this.problem}`
  }
}

/**
 * The driver or the installed runtime does not support the operation.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unsupported extends Failure.extend<Unsupported>("effect-lightbox/LightboxError/Unsupported")({
  _tag: Schema.tag("Unsupported"),
  feature: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `Cannot use ${this.feature}: ${this.problem}`
  }
}

// =============================================================================
// Reasons: images and boot
// =============================================================================

/**
 * The image is not available: it is not cached, and could not be pulled or looked up.
 *
 * `kind` says why, where that is known. `NotFound`: the registry has no such image, or none for this machine.
 * `Unauthorized`: it requires a login, or refuses the one it got. `Tls`: its certificate is not trusted, or it does not
 * use TLS as expected. `Unreachable`: it does not answer. `NotCached`: pulling is not allowed. Only `Unreachable` and
 * failures without a kind, such as an overloaded registry, are retryable.
 *
 * @category errors
 * @since 0.1.0
 */
export class ImageUnavailable extends Failure.extend<ImageUnavailable>(
  "effect-lightbox/LightboxError/ImageUnavailable"
)({
  _tag: Schema.tag("ImageUnavailable"),
  reference: Schema.String,
  problem: Schema.String,
  kind: Schema.optionalKey(Schema.Literals(["NotFound", "Unauthorized", "Tls", "Unreachable", "NotCached"]))
}) {
  override get message(): string {
    return `Image "${this.reference}" is not available: ${this.problem}`
  }
  override readonly isRetryable: boolean = this.kind === undefined || this.kind === "Unreachable"
}

/**
 * The microVM did not boot and was removed. `lastLines` are the last lines that the guest and the virtual machine
 * wrote, oldest first. Retryable.
 *
 * @category errors
 * @since 0.1.0
 */
export class BootFailed extends Failure.extend<BootFailed>("effect-lightbox/LightboxError/BootFailed")({
  _tag: Schema.tag("BootFailed"),
  name: Schema.String,
  problem: Schema.String,
  lastLines: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `Sandbox "${this.name}" did not boot: ${this.problem}${FailureText.quote(this.lastLines)}`
  }
  override readonly isRetryable = true
}

/**
 * This machine cannot run virtual machines. `remedy` says what to do, one step per line.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoVirtualization extends Failure.extend<NoVirtualization>(
  "effect-lightbox/LightboxError/NoVirtualization"
)({
  _tag: Schema.tag("NoVirtualization"),
  problem: Schema.String,
  remedy: Schema.String
}) {
  override get message(): string {
    return `This machine cannot run microVMs: ${this.problem}${FailureText.fix(this.remedy)}`
  }
}

/**
 * The microsandbox runtime (its native module, the `msb` program or `libkrunfw`) is missing or cannot be loaded.
 * `remedy` says what to do.
 *
 * @category errors
 * @since 0.1.0
 */
export class RuntimeMissing extends Failure.extend<RuntimeMissing>("effect-lightbox/LightboxError/RuntimeMissing")({
  _tag: Schema.tag("RuntimeMissing"),
  problem: Schema.String,
  remedy: Schema.String
}) {
  override get message(): string {
    return `The microsandbox runtime is missing: ${this.problem}${FailureText.fix(this.remedy)}`
  }
}

// =============================================================================
// Reasons: the guest
// =============================================================================

/**
 * The reasons why a command cannot start in the guest.
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
 * The command did not start: the program, working directory or user does not exist in the guest, or its kernel refused.
 * `errno` is the kernel's code, such as `ENOENT`. Retryable if the guest ran out of resources.
 *
 * @category errors
 * @since 0.1.0
 */
export class CommandNotStarted extends Failure.extend<CommandNotStarted>(
  "effect-lightbox/LightboxError/CommandNotStarted"
)({
  _tag: Schema.tag("CommandNotStarted"),
  argv: Schema.Array(Schema.String),
  kind: StartProblem,
  problem: Schema.String,
  errno: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    return `Could not start ${FailureText.shortArgv(this.argv)}: ${this.problem}`
  }
  override readonly isRetryable = this.kind === "OutOfMemory" || this.kind === "ResourceLimit"
}

/**
 * The command exited with a nonzero code, or a signal ended it: then `exitCode` is -1 and `signal` its name, such as
 * `SIGKILL`, if known. `stdout` and `stderr` are the last 50 lines of each, at most 16 KiB. Marked retryable, because
 * only the caller knows.
 *
 * @category errors
 * @since 0.1.0
 */
export class CommandFailed extends Failure.extend<CommandFailed>("effect-lightbox/LightboxError/CommandFailed")({
  _tag: Schema.tag("CommandFailed"),
  argv: Schema.Array(Schema.String),
  exitCode: Schema.Int,
  signal: Schema.optionalKey(Schema.String),
  stdout: Schema.String,
  stderr: Schema.String
}) {
  override get message(): string {
    return `${FailureText.shortArgv(this.argv)} ${FailureText.ending(this)}${FailureText.outputOf(this)}`
  }
  override readonly isRetryable = true
}

/**
 * The command wrote more than `maxOutput` bytes and was killed. `stdout` and `stderr` are the last 50 lines of each, at
 * most 16 KiB.
 *
 * @category errors
 * @since 0.1.0
 */
export class OutputTooLarge extends Failure.extend<OutputTooLarge>("effect-lightbox/LightboxError/OutputTooLarge")({
  _tag: Schema.tag("OutputTooLarge"),
  argv: Schema.Array(Schema.String),
  limitBytes: Schema.Int,
  stdout: Schema.String,
  stderr: Schema.String
}) {
  override get message(): string {
    const what = `${FailureText.shortArgv(this.argv)} wrote more than ${this.limitBytes} bytes and was killed`
    return `${what}${FailureText.outputOf(this)}`
  }
  override readonly outcome: Outcome = "unknown"
}

/**
 * A file operation in the guest or on a volume failed. `code` is the kernel's (`ENOENT`, `EACCES`, `ENOSPC`, …), or
 * `UNKNOWN`.
 *
 * @category errors
 * @since 0.1.0
 */
export class FileError extends Failure.extend<FileError>("effect-lightbox/LightboxError/FileError")({
  _tag: Schema.tag("FileError"),
  operation: Schema.String,
  path: Schema.String,
  code: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.operation} ${this.path}: ${this.problem} (${this.code})`
  }
}

/**
 * The sandbox stopped, or the connection to it broke, during the operation: a kernel panic, a killed virtual machine,
 * memory exhaustion, or `kill` from another process. Retryable in a new sandbox.
 *
 * @category errors
 * @since 0.1.0
 */
export class GuestLost extends Failure.extend<GuestLost>("effect-lightbox/LightboxError/GuestLost")({
  _tag: Schema.tag("GuestLost"),
  name: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `Sandbox "${this.name}" was lost: ${this.problem}`
  }
  override readonly isRetryable = true
  override readonly outcome: Outcome = "unknown"
}

/**
 * The sandbox accepts no more connections. The runtime serves 128 at a time, including those of other processes.
 * Retryable.
 *
 * @category errors
 * @since 0.1.0
 */
export class GuestBusy extends Failure.extend<GuestBusy>("effect-lightbox/LightboxError/GuestBusy")({
  _tag: Schema.tag("GuestBusy"),
  name: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `Sandbox "${this.name}" is busy: ${this.problem}`
  }
  override readonly isRetryable = true
}

/**
 * The operation exceeded `limitMillis` and was stopped. Retryable. Of a command, `stdout` and `stderr` are the last 50
 * lines that were read, at most 16 KiB each.
 *
 * @category errors
 * @since 0.1.0
 */
export class TimedOut extends Failure.extend<TimedOut>("effect-lightbox/LightboxError/TimedOut")({
  _tag: Schema.tag("TimedOut"),
  operation: Schema.String,
  limitMillis: Schema.Finite,
  stdout: Schema.optionalKey(Schema.String),
  stderr: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    return `${FailureText.shorten(this.operation)} took longer than ${this.limitMillis} ms and was stopped${FailureText.outputOf(this)}`
  }
  override readonly isRetryable = true
  override readonly outcome: Outcome = "unknown"
}

/**
 * A probe did not succeed within `limitMillis`, or the job that was waited for ended first; then `limitMillis` is
 * absent. `observation` describes the last attempt. `lastLines` are the last lines of that job's log, or of the log
 * that was probed, oldest first. Retryable. A launch that fails with it has removed its sandbox; `getOrCreate` keeps
 * one that existed.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotReady extends Failure.extend<NotReady>("effect-lightbox/LightboxError/NotReady")({
  _tag: Schema.tag("NotReady"),
  /** The job or service that was waited for, if known. */
  job: Schema.optionalKey(Schema.String),
  observation: Schema.String,
  lastLines: Schema.Array(Schema.String),
  limitMillis: Schema.optionalKey(Schema.Finite)
}) {
  override get message(): string {
    const what = this.job === undefined ? "Not ready" : `Job "${this.job}" is not ready`
    const after = this.limitMillis === undefined ? "" : ` after ${this.limitMillis} ms`
    return `${what}${after}: ${this.observation}${FailureText.quote(this.lastLines)}`
  }
  override readonly isRetryable = true
}

/**
 * The process of an interpreter's context has ended, and its state is gone: code ended it, memory ran out, or it did not
 * react to an interrupt. `problem` says which. `exitCode` and `signal`, if known, are as in {@link CommandFailed}.
 * `stdout` and `stderr` are the last 50 lines of each, at most 16 KiB. The context can be restarted.
 *
 * @category errors
 * @since 0.1.0
 */
export class InterpreterLost extends Failure.extend<InterpreterLost>("effect-lightbox/LightboxError/InterpreterLost")({
  _tag: Schema.tag("InterpreterLost"),
  language: Schema.String,
  problem: Schema.String,
  exitCode: Schema.optionalKey(Schema.Int),
  signal: Schema.optionalKey(Schema.String),
  stdout: Schema.String,
  stderr: Schema.String
}) {
  override get message(): string {
    return `The ${this.language} interpreter ${this.problem}, and its state is lost${FailureText.outputOf(this)}`
  }
  override readonly outcome: Outcome = "unknown"
}

/**
 * The admission limits of this process left no room for another sandbox in time. Retryable.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoCapacity extends Failure.extend<NoCapacity>("effect-lightbox/LightboxError/NoCapacity")({
  _tag: Schema.tag("NoCapacity"),
  problem: Schema.String
}) {
  override get message(): string {
    return `There is no room for another sandbox: ${this.problem}`
  }
  override readonly isRetryable = true
}

// =============================================================================
// Reasons: storage
// =============================================================================

/**
 * A volume or a sandbox of the name exists with other options. `field` is the first that differs: `kind`, `quota` or
 * `labels` of a volume, any option of a sandbox. Of a sandbox, only digests are kept: `was` and `now` are absent.
 *
 * @category errors
 * @since 0.1.0
 */
export class Drift extends Failure.extend<Drift>("effect-lightbox/LightboxError/Drift")({
  _tag: Schema.tag("Drift"),
  resource: Schema.Literals(["volume", "sandbox"]),
  name: Schema.String,
  field: Schema.String,
  was: Schema.optional(Schema.String),
  now: Schema.optional(Schema.String)
}) {
  override get message(): string {
    const thing = this.resource === "volume" ? "Volume" : "Sandbox"
    const what = this.field === "labels" ? "different labels" : `a different ${this.field}`
    const difference = this.was === undefined ? "" : `: ${this.was} instead of ${this.now}`
    return `${thing} "${this.name}" exists with ${what}${difference}`
  }
}

/**
 * The snapshot does not match its checksum, or its disk or base image is missing. Build it again.
 *
 * @category errors
 * @since 0.1.0
 */
export class SnapshotDamaged extends Failure.extend<SnapshotDamaged>("effect-lightbox/LightboxError/SnapshotDamaged")({
  _tag: Schema.tag("SnapshotDamaged"),
  name: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `Snapshot "${this.name}" is damaged: ${this.problem}`
  }
}

/**
 * A snapshot could not be pushed to a registry, or pulled from it. What was transferred is kept, so that the next attempt
 * goes on from there.
 *
 * `kind` says why, where that is known. `NotFound`: the registry has no such snapshot, or no longer all of its parts.
 * `Unauthorized`: it requires a login, or refuses the one it got. `Tls`: its certificate is not trusted, or it does not use
 * TLS as expected. `Unreachable`: it does not answer. `Refused`: it does not accept the request. `NotASnapshot`: the
 * reference is that of something else, such as an image. Only `Unreachable` and failures without a kind, such as an
 * overloaded registry, are retryable.
 *
 * @category errors
 * @since 0.1.0
 */
export class TransferFailed extends Failure.extend<TransferFailed>("effect-lightbox/LightboxError/TransferFailed")({
  _tag: Schema.tag("TransferFailed"),
  reference: Schema.String,
  problem: Schema.String,
  kind: Schema.optionalKey(
    Schema.Literals(["NotFound", "Unauthorized", "Tls", "Unreachable", "Refused", "NotASnapshot"])
  )
}) {
  override get message(): string {
    return `Snapshot "${this.reference}" could not be transferred: ${this.problem}`
  }
  override readonly isRetryable: boolean = this.kind === undefined || this.kind === "Unreachable"
}

/**
 * A step wrote a build secret to the disk, or it is in the captured memory of a warm build. The result was discarded.
 *
 * @category errors
 * @since 0.1.0
 */
export class SecretLeaked extends Failure.extend<SecretLeaked>("effect-lightbox/LightboxError/SecretLeaked")({
  _tag: Schema.tag("SecretLeaked"),
  secret: Schema.String,
  /** Default: the disk. */
  place: Schema.optionalKey(Schema.Literals(["disk", "memory"]))
}) {
  override get message(): string {
    const place = this.place === "memory" ? "in the memory" : "on the disk"
    return `The value of the secret ${this.secret} is ${place} of the snapshot, which was discarded`
  }
}

/**
 * Another process holds a lock on microsandbox's database. Retryable.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreBusy extends Failure.extend<StoreBusy>("effect-lightbox/LightboxError/StoreBusy")({
  _tag: Schema.tag("StoreBusy"),
  problem: Schema.String
}) {
  override get message(): string {
    return `Another process holds microsandbox's database: ${this.problem}`
  }
  override readonly isRetryable = true
}

/**
 * The host's disk or a quota is full. Retryable after freeing space.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoSpace extends Failure.extend<NoSpace>("effect-lightbox/LightboxError/NoSpace")({
  _tag: Schema.tag("NoSpace"),
  problem: Schema.String
}) {
  override get message(): string {
    return `The disk is full: ${this.problem}`
  }
  override readonly isRetryable = true
}

/**
 * The remote host, or the directory of a fleet, did not answer, or refused this program. `kind` says which.
 *
 * `Unreachable`: no request arrived. `Lost`: a request may have arrived, and its answer did not. `Ended`: the host was
 * restarted or did not hear from this program for too long; it has removed what this program's scopes owned.
 * `Unauthorized`: it does not accept the token. `Forbidden`: the token lacks a scope. `Refused`: it does not accept the
 * request, such as one that is too large. The first three are retryable.
 *
 * @category errors
 * @since 0.1.0
 */
export class HostUnavailable extends Failure.extend<HostUnavailable>("effect-lightbox/LightboxError/HostUnavailable")({
  _tag: Schema.tag("HostUnavailable"),
  /** Its URL. */
  host: Schema.String,
  kind: Schema.Literals(["Unreachable", "Lost", "Ended", "Unauthorized", "Forbidden", "Refused"]),
  problem: Schema.String
}) {
  override get message(): string {
    return `Host ${this.host} is not available: ${this.problem}`
  }
  override readonly isRetryable: boolean = ["Unreachable", "Lost", "Ended"].includes(this.kind)
  override readonly outcome: Outcome = this.kind === "Lost" ? "unknown" : "failed"
}

/**
 * An unrecognized error. `cause` is the original; `tag` is the SDK's name for it, if any.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unknown extends Failure.extend<Unknown>("effect-lightbox/LightboxError/Unknown")({
  _tag: Schema.tag("Unknown"),
  problem: Schema.String,
  tag: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    return this.tag === undefined ? this.problem : `${this.problem} [${this.tag}]`
  }
  override readonly outcome: Outcome = "unknown"
}

// =============================================================================
// The error
// =============================================================================

/**
 * The reasons of a {@link LightboxError}.
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
  NotReady,
  InterpreterLost,
  NoCapacity,
  Drift,
  SnapshotDamaged,
  TransferFailed,
  SecretLeaked,
  StoreBusy,
  NoSpace,
  HostUnavailable,
  Unknown
])

/**
 * The type of {@link Reason}.
 *
 * @category errors
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * The build step that failed. The verification of a definition counts as the step after the last.
 *
 * @category models
 * @since 0.1.0
 */
export const StepContext = Schema.Struct({
  /** Name of the snapshot's definition. */
  definition: Schema.String,
  /** Counts from 1. */
  index: Schema.Int,
  description: Schema.String,
  /** Script or command line, if the step runs one. */
  command: Schema.optionalKey(Schema.String),
  /** File and line that declare the step. */
  declaredAt: Schema.optionalKey(Schema.String),
  /** Counts from 1. */
  attempt: Schema.Int,
  durationMillis: Schema.Finite
})

/**
 * The type of {@link StepContext}.
 *
 * @category models
 * @since 0.1.0
 */
export type StepContext = typeof StepContext.Type

/** Makes the fields non-enumerable: Node.js and Bun would print them below the message, which already contains them. */
const plain = (error: object): string => {
  for (const key of Object.keys(error)) Object.defineProperty(error, key, { enumerable: false })
  return "LightboxError"
}

/**
 * The error of the library: `method` failed because of `reason`, in build step `step`. `builder` is the builder
 * sandbox, if it was kept.
 *
 * The message says what happened, quotes the last output of a failed command, and suggests a fix. Printing shows the
 * message and the stack. `JSON.stringify` omits the original causes; the schema encodes them.
 *
 * **Example** (Retry if a retry can help)
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
  override readonly name = plain(this)
  get [TypeId](): typeof TypeId {
    return TypeId
  }
  override get message(): string {
    return FailureText.message(this)
  }
  /** Suggested fix, if known. Also part of the message. */
  get hint(): string | undefined {
    return FailureText.hint(this)
  }
  /** Whether a retry can help. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
  /** Whether the operation may have taken effect. */
  get outcome(): Outcome {
    return this.reason.outcome
  }
  override toJSON(): unknown {
    const reason = Object.fromEntries(Object.entries(this.reason).filter(([key]) => key !== "cause"))
    const { _tag, builder, hint, isRetryable, method, outcome, step } = this
    return { _tag, method, reason, step, builder, hint, isRetryable, outcome }
  }
  override [NodeInspectSymbol](): string {
    return this.stack ?? this.message
  }
}

/**
 * Checks whether a value is a {@link LightboxError}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isLightboxError = (u: unknown): u is LightboxError => Predicate.hasProperty(u, TypeId)
