/**
 * Turns errors of the SDK into reasons.
 *
 * The native module prefixes every error with a tag: `[Tag] text`. The SDK turns thirty tags into classes, and rethrows
 * the others as plain errors, among them failed boots, commands that cannot be started, and all errors about snapshots.
 * So the tag is parsed here.
 */
import * as Predicate from "effect/Predicate"
import {
  AlreadyExists,
  BootFailed,
  FileError,
  GuestLost,
  ImageUnavailable,
  InUse,
  InvalidConfig,
  LightboxError,
  NoCapacity,
  NoSpace,
  NotFound,
  NotRunning,
  NoVirtualization,
  type Reason,
  Replaced,
  RuntimeMissing,
  SnapshotDamaged,
  StillRunning,
  StoreBusy,
  Unknown,
  Unsupported
} from "../../../LightboxError.ts"
import * as Errno from "../../guest/errno.ts"
import { virtualizationRemedy } from "../../host/virtualization.ts"

/** The subject of an operation, which errors of the SDK have only in their text. */
export interface Subject {
  readonly sandbox?: string | undefined
  readonly snapshot?: string | undefined
  readonly volume?: string | undefined
  readonly image?: string | undefined
  readonly path?: string | undefined
  /** The last log lines of a virtual machine that failed to boot. */
  readonly lastLines?: ReadonlyArray<string> | undefined
}

const tagged = /^\[(\w+)\] ([\s\S]*)$/

export const parse = (cause: unknown): { readonly tag: string | undefined; readonly text: string } => {
  const message = cause instanceof Error ? cause.message : String(cause)
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : undefined
  const match = tagged.exec(message) ?? (inner === undefined ? null : tagged.exec(inner))
  return match === null
    ? { tag: undefined, text: message }
    : {
        tag: match[1],
        text: (match[2] ?? message).replace(/^(invalid config|image error|runtime error|io error): /, "")
      }
}

export const fromSdk = (method: string, subject: Subject, cause: unknown): LightboxError =>
  Predicate.isTagged(cause, "LightboxError") && cause instanceof LightboxError
    ? cause
    : new LightboxError({ method, reason: reasonOf(subject, cause) })

const reasonOf = (subject: Subject, cause: unknown): Reason => {
  const { tag, text } = parse(cause)
  const sandbox = subject.sandbox ?? ""
  const snapshot = subject.snapshot ?? ""
  const fallback = () => new Unknown({ problem: text, cause, ...(tag === undefined ? {} : { tag }) })

  if (/no space left on device|os error 28\b|disk quota exceeded|os error 122\b|disk is full/i.test(text)) {
    return new NoSpace({ problem: text, cause })
  }
  switch (tag) {
    case "SandboxNotFound":
      return new NotFound({ resource: "sandbox", name: sandbox, cause })
    case "SnapshotNotFound":
      return new NotFound({ resource: "snapshot", name: snapshot, cause })
    case "VolumeNotFound":
      return new NotFound({ resource: "volume", name: subject.volume ?? lastWord(text), cause })
    case "ImageNotFound":
      return new NotFound({ resource: "image", name: subject.image ?? lastWord(text), cause })
    case "SandboxAlreadyExists":
      return new AlreadyExists({ resource: "sandbox", name: sandbox, cause })
    case "SnapshotAlreadyExists":
      return new AlreadyExists({ resource: "snapshot", name: snapshot, cause })
    case "VolumeAlreadyExists":
      return new AlreadyExists({ resource: "volume", name: subject.volume ?? lastWord(text), cause })
    case "SandboxStillRunning":
    case "SnapshotSandboxRunning":
      return new StillRunning({ name: sandbox, cause })
    case "SandboxNotRunning":
      return new NotRunning({ name: sandbox, cause })
    case "SandboxReplaced":
      return new Replaced({ name: sandbox, cause })
    case "ImageInUse":
      return new InUse({ resource: "image", name: subject.image ?? "", usedBy: [], cause })
    case "Image":
    case "Http":
      return subject.image === undefined && subject.path === undefined
        ? fallback()
        : new ImageUnavailable({ reference: subject.image ?? subject.path ?? "", problem: text, cause })
    case "CloudHttp":
      return refused(text, cause) ?? fallback()
    case "SnapshotImageMissing":
    case "SnapshotIntegrity":
    case "SnapshotMigration":
      return new SnapshotDamaged({ name: snapshot, problem: text, cause })
    case "InvalidConfig": {
      const inUse = attached.exec(text)
      if (inUse !== null) {
        const [, name = "", user] = inUse
        return new InUse({ resource: "volume", name, usedBy: user === undefined ? [] : [user], cause })
      }
      if (subject.volume !== undefined && /in use|referenced|mounted|attached/i.test(text)) {
        return new InUse({ resource: "volume", name: subject.volume, usedBy: namesIn(text), cause })
      }
      const field = text.startsWith("disk named volumes require")
        ? "quota"
        : /^workdir\b/.test(text)
          ? "cwd"
          : "options"
      return new InvalidConfig({ field, problem: text, cause })
    }
    case "NetworkBuilder":
      return new InvalidConfig({ field: "network", problem: text, cause })
    case "PatchFailed":
      return new InvalidConfig({ field: "patches", problem: text, cause })
    case "InvalidCursor":
      return new InvalidConfig({ field: "after", problem: text, cause })
    case "Unsupported":
    case "UnsupportedOperation":
      return new Unsupported({
        feature: /\bthe (.+) option is not accepted\b/.exec(text)?.[1] ?? "this operation",
        problem: text,
        cause
      })
    case "MetricsDisabled":
      return new Unsupported({ feature: "metrics", problem: text, cause })
    case "LibkrunfwNotFound":
      return runtimeMissing(text, cause)
    case "BootStart":
      return bootFailed(subject, text, cause)
    case "Custom":
      return custom(subject, text, cause) ?? fallback()
    case "Database":
      if (subject.image !== undefined && /foreign key/i.test(text)) {
        return new InUse({ resource: "image", name: subject.image, usedBy: [], cause })
      }
      return /newer than/i.test(text)
        ? new Unsupported({ feature: "this home directory", problem: text, cause })
        : /locked|busy|timeout|timed out/i.test(text)
          ? new StoreBusy({ problem: text, cause })
          : fallback()
    case "MetricsUnavailable":
      return new StoreBusy({ problem: text, cause })
    case "SandboxFsOps":
    case "Io":
    case "Nix":
      return subject.path === undefined
        ? fallback()
        : new FileError({ operation: "file", path: subject.path, ...Errno.parse(text), cause })
    case "AgentClient":
      return new GuestLost({ name: sandbox, problem: text, cause })
    case "Runtime":
      if (/operation in progress/i.test(text)) return new StoreBusy({ problem: text, cause })
      if (/(msb|libkrunfw)\b.*not found|could not find.*msb/i.test(text)) return runtimeMissing(text, cause)
      if (/agent relay|startup info|Starting state|sandbox process exited/i.test(text)) {
        return bootFailed(subject, text, cause)
      }
      return fallback()
    default:
      return text.startsWith("invalid fromCursor")
        ? new InvalidConfig({ field: "after", problem: text, cause })
        : fallback()
  }
}

/** A disk in use by another virtual machine, by the name of its volume or its path. */
const attached = /"([^"]*)" is (?:attached to active sandbox "([^"]*)"|already attached with an incompatible disk mode)/

/** The name in `volume not found: NAME`, for operations that are about several volumes at once. */
const lastWord = (text: string): string => /\S*$/.exec(text)?.[0] ?? ""

/** Statuses of the hosted service with a meaning of their own. */
const refused = (text: string, cause: unknown): Reason | undefined => {
  switch (/^cloud HTTP (\d+): /.exec(text)?.[1]) {
    case "401":
    case "403":
      return new InvalidConfig({ field: "apiKey", problem: text, cause })
    case "429":
      return new NoCapacity({ problem: text, cause })
    default:
      return undefined
  }
}

/** The runtime's names of fields, where they differ from ours. */
const modifiedFields = new Map([
  ["label", "labels"],
  ["max_cpus", "maxCpus"],
  ["max_memory", "maxMemory"],
  ["root disk", "disk"],
  ["root_disk_size", "disk"],
  ["workdir", "cwd"]
])

export const modifiedField = (name: string): string => modifiedFields.get(name) ?? name

/** Errors without a tag. */
const custom = (subject: Subject, text: string, cause: unknown): Reason | undefined => {
  const modified = /^cannot apply modification: (root disk|\w+) /.exec(text)
  if (modified !== null) {
    return new InvalidConfig({ field: modifiedField(modified[1] ?? "options"), problem: text, cause })
  }
  if (/too small for ext4/.test(text)) {
    return new InvalidConfig({ field: subject.volume === undefined ? "resources.disk" : "quota", problem: text, cause })
  }
  return subject.snapshot !== undefined && /\barchive\b/.test(text)
    ? new SnapshotDamaged({ name: subject.snapshot, problem: text, cause })
    : undefined
}

const bootFailed = (subject: Subject, text: string, cause: unknown): Reason => {
  const lastLines = subject.lastLines ?? []
  const everything = [text, ...lastLines].join("\n")
  return /\/dev\/kvm|\bKVM_|kvm.*(permission|denied|not supported|unavailable)|Hypervisor/i.test(everything)
    ? new NoVirtualization({ problem: text, remedy: virtualizationRemedy(), cause })
    : new BootFailed({ name: subject.sandbox ?? "", problem: text, lastLines, cause })
}

const runtimeMissing = (problem: string, cause: unknown): Reason =>
  new RuntimeMissing({ problem, remedy: runtimeRemedy, cause })

export const runtimeRemedy =
  "install the dependencies again with Node.js 22.19 or newer, without --omit=optional, on Linux (glibc) or macOS (Apple silicon)"

const namesIn = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/["'`]([A-Za-z0-9][A-Za-z0-9._-]*)["'`]/g)].map((match) => match[1] ?? "").slice(1)
