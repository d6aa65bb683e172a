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
  if (/no space left on device|os error 28\b|disk quota exceeded|os error 122\b|disk is full/i.test(text)) {
    return new NoSpace({ problem: text, cause })
  }
  const known = (tag !== undefined && Object.hasOwn(reasons, tag) ? reasons[tag] : undefined) ?? untagged
  return (
    known({ ...subject, text, cause }) ?? new Unknown({ problem: text, cause, ...(tag === undefined ? {} : { tag }) })
  )
}

interface Failure extends Subject {
  readonly text: string
  readonly cause: unknown
}

/** The reason of a failure, or `undefined` for one without a meaning of its own. */
type ToReason = (failure: Failure) => Reason | undefined

const untagged: ToReason = (failure) =>
  failure.text.startsWith("invalid fromCursor") ? wrong("after")(failure) : undefined

const wrong =
  (field: string): ToReason =>
  ({ cause, text }) =>
    new InvalidConfig({ field, problem: text, cause })

const stillRunning: ToReason = ({ cause, sandbox = "" }) => new StillRunning({ name: sandbox, cause })

const storeBusy: ToReason = ({ cause, text }) => new StoreBusy({ problem: text, cause })

const damaged: ToReason = ({ cause, snapshot = "", text }) =>
  new SnapshotDamaged({ name: snapshot, problem: text, cause })

const runtimeMissing: ToReason = ({ cause, text }) =>
  new RuntimeMissing({ problem: text, remedy: runtimeRemedy, cause })

const unavailable: ToReason = ({ cause, image, path, text }) => {
  const reference = image ?? path
  if (reference === undefined) return undefined
  const kind = unavailableKinds.find(([pattern]) => pattern.test(text))?.[1]
  return new ImageUnavailable({ reference, problem: text, cause, ...(kind === undefined ? {} : { kind }) })
}

/** For a registry that does not answer and one that is not trusted, the SDK has the same text. */
const unavailableKinds = [
  [/\bnot authorized\b|\bdenied\b/i, "Unauthorized"],
  [/\b(manifest|name) unknown\b|\bmanifest not found\b/i, "NotFound"],
  [/^image not cached\b/, "NotCached"]
] as const

const unsupported =
  (feature: string): ToReason =>
  ({ cause, text }) =>
    new Unsupported({ feature: /\bthe (.+) option is not accepted\b/.exec(text)?.[1] ?? feature, problem: text, cause })

const file: ToReason = ({ cause, path, text }) =>
  path === undefined ? undefined : new FileError({ operation: "file", path, ...Errno.parse(text), cause })

const bootFailed: ToReason = ({ cause, lastLines = [], sandbox = "", text }) =>
  /\/dev\/kvm|\bKVM_|kvm.*(permission|denied|not supported|unavailable)|Hypervisor/i.test(
    [text, ...lastLines].join("\n")
  )
    ? new NoVirtualization({ problem: text, remedy: virtualizationRemedy(), cause })
    : new BootFailed({ name: sandbox, problem: text, lastLines, cause })

const invalidConfig: ToReason = (failure) => {
  const { cause, text, volume } = failure
  const inUse = attached.exec(text)
  if (inUse !== null) {
    const [, name = "", user] = inUse
    return new InUse({ resource: "volume", name, usedBy: user === undefined ? [] : [user], cause })
  }
  if (volume !== undefined && /in use|referenced|mounted|attached/i.test(text)) {
    return new InUse({ resource: "volume", name: volume, usedBy: namesIn(text), cause })
  }
  if (text.startsWith("disk named volumes require")) return wrong("quota")(failure)
  return wrong(/^workdir\b/.test(text) ? "cwd" : "options")(failure)
}

/** Statuses of the hosted service with a meaning of their own. */
const refused: ToReason = (failure) => {
  const status = /^cloud HTTP (\d+): /.exec(failure.text)?.[1]
  if (status === "401" || status === "403") return wrong("apiKey")(failure)
  return status === "429" ? new NoCapacity({ problem: failure.text, cause: failure.cause }) : undefined
}

const database: ToReason = (failure) => {
  const { cause, image, text } = failure
  if (image !== undefined && /foreign key/i.test(text)) {
    return new InUse({ resource: "image", name: image, usedBy: [], cause })
  }
  if (/newer than/i.test(text)) return unsupported("this home directory")(failure)
  return /locked|busy|timeout|timed out/i.test(text) ? storeBusy(failure) : undefined
}

const runtime: ToReason = (failure) => {
  const { text } = failure
  if (/operation in progress/i.test(text)) return storeBusy(failure)
  if (/(msb|libkrunfw)\b.*not found|could not find.*msb/i.test(text)) return runtimeMissing(failure)
  return /agent relay|startup info|Starting state|sandbox process exited/i.test(text) ? bootFailed(failure) : undefined
}

/** Errors whose tag says nothing. */
const custom: ToReason = (failure) => {
  const { snapshot, text, volume } = failure
  const modified = /^cannot apply modification: (root disk|\w+) /.exec(text)
  if (modified !== null) return wrong(modifiedField(modified[1] ?? "options"))(failure)
  if (/too small for ext4/.test(text)) return wrong(volume === undefined ? "resources.disk" : "quota")(failure)
  return snapshot !== undefined && /\barchive\b/.test(text) ? damaged(failure) : undefined
}

/** The meaning of each tag that is told apart. */
export const reasons: { readonly [tag: string]: ToReason } = {
  SandboxNotFound: ({ cause, sandbox = "" }) => new NotFound({ resource: "sandbox", name: sandbox, cause }),
  SnapshotNotFound: ({ cause, snapshot = "" }) => new NotFound({ resource: "snapshot", name: snapshot, cause }),
  VolumeNotFound: ({ cause, text, volume: name = lastWord(text) }) => new NotFound({ resource: "volume", name, cause }),
  ImageNotFound: ({ cause, image: name, text }) =>
    new NotFound({ resource: "image", name: name ?? lastWord(text), cause }),
  SandboxAlreadyExists: ({ cause, sandbox = "" }) => new AlreadyExists({ resource: "sandbox", name: sandbox, cause }),
  SnapshotAlreadyExists: ({ cause, snapshot: name = "" }) => new AlreadyExists({ resource: "snapshot", name, cause }),
  VolumeAlreadyExists: ({ cause, text, volume: name = lastWord(text) }) =>
    new AlreadyExists({ resource: "volume", name, cause }),
  SandboxStillRunning: stillRunning,
  SnapshotSandboxRunning: stillRunning,
  SandboxNotRunning: ({ cause, sandbox = "" }) => new NotRunning({ name: sandbox, cause }),
  SandboxReplaced: ({ cause, sandbox = "" }) => new Replaced({ name: sandbox, cause }),
  ImageInUse: ({ cause, image = "" }) => new InUse({ resource: "image", name: image, usedBy: [], cause }),
  Image: unavailable,
  Http: unavailable,
  CloudHttp: refused,
  SnapshotImageMissing: damaged,
  SnapshotIntegrity: damaged,
  SnapshotMigration: damaged,
  InvalidConfig: invalidConfig,
  NetworkBuilder: wrong("network"),
  PatchFailed: wrong("patches"),
  InvalidCursor: wrong("after"),
  Unsupported: unsupported("this operation"),
  UnsupportedOperation: unsupported("this operation"),
  MetricsDisabled: unsupported("metrics"),
  LibkrunfwNotFound: runtimeMissing,
  BootStart: bootFailed,
  Custom: custom,
  Database: database,
  MetricsUnavailable: storeBusy,
  SandboxFsOps: file,
  Io: file,
  Nix: file,
  AgentClient: ({ cause, sandbox = "", text }) => new GuestLost({ name: sandbox, problem: text, cause }),
  Runtime: runtime
}

/** A disk in use by another virtual machine, by the name of its volume or its path. */
const attached = /"([^"]*)" is (?:attached to active sandbox "([^"]*)"|already attached with an incompatible disk mode)/

/** The name in `volume not found: NAME`, for operations that are about several volumes at once. */
const lastWord = (text: string): string => /\S*$/.exec(text)?.[0] ?? ""

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

export const runtimeRemedy =
  "install the dependencies again with Node.js 22.19 or newer, without --omit=optional, on Linux (glibc) or macOS (Apple silicon)"

const namesIn = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/["'`]([A-Za-z0-9][A-Za-z0-9._-]*)["'`]/g)].map((match) => match[1] ?? "").slice(1)
