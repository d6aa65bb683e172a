/**
 * Records what this process creates, before it is created, so that another process
 * can remove it if this one is killed.
 *
 * The library's layers provide this service. Only drivers, and code that calls a
 * driver directly, need it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Report } from "./Cleanup.ts"
import type { LightboxError } from "./LightboxError.ts"
import type { SnapshotInfo } from "./Microsandbox.ts"
import type { HostReference, PullOptions, Pushed, PushOptions, Snapshot } from "./Snapshot.ts"

/**
 * The subject of a note: a sandbox, a sandbox's disk, an unfinished capture or
 * load, a snapshot without a name, a file, the name of a scoped snapshot, a result
 * in use, another tool's snapshot that is losing its name, or a volume that is
 * being created or removed.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = "sandbox" | "disk" | "capture" | "load" | "unnamed" | "file" | "name" | "use" | "renamed" | "volume"

/**
 * A record of something that a process creates, has created or removes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Note {
  readonly kind: Kind
  /** Unique to this note. */
  readonly token: string
  readonly name: string
}

/**
 * The ownership records of this process. After it dies, a sweep removes the
 * resources in its notes.
 *
 * **Example** (Owning a sandbox for as long as it exists)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Ownership } from "effect-lightbox"
 *
 * export const noted = (note: Ownership.Note) =>
 *   Effect.gen(function* () {
 *     const ownership = yield* Ownership.Ownership
 *     yield* Effect.acquireRelease(ownership.note(note), () => ownership.forget(note))
 *   })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Ownership extends Context.Service<
  Ownership,
  {
    /** Identifies this process. The first use acquires a lease, which proves that the process is alive. */
    readonly id: Effect.Effect<string, LightboxError>
    readonly note: (note: Note) => Effect.Effect<void, LightboxError>
    readonly forget: (note: Note) => Effect.Effect<void>
    /** Gives up ownership. After `expires` (milliseconds since 1970), a sweep may remove the resource. */
    readonly release: (note: Note, expires: number | undefined) => Effect.Effect<void, LightboxError>
    /** A new path on the home's file system, for a file that is renamed when it is complete. */
    readonly stage: Effect.Effect<string, LightboxError>
  }
>()("effect-lightbox/Ownership") {}

/**
 * A lock that is held, with lines to and from those that wait for it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lock {
  /** Sends a line to all that wait. Slow readers miss lines. */
  readonly send: (line: string) => void
  /** The lines that those that wait have sent. */
  readonly received: () => ReadonlyArray<string>
}

/**
 * A lock that was acquired, or the lines of its holder, which end when it is
 * released.
 *
 * @category models
 * @since 0.1.0
 */
export type LockAttempt = { readonly lock: Lock } | { readonly waiting: Stream.Stream<string> }

/**
 * An owner, as another process sees it. `elsewhere`: on a machine whose processes
 * cannot be checked. `problem`: why some notes could not be read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Owner {
  readonly id: string
  readonly state: "alive" | "dead" | "elsewhere" | "unknown"
  readonly pid: number | undefined
  readonly notes: ReadonlyArray<Note>
  readonly problem?: LightboxError
}

/**
 * The library's records and locks in a home on another machine. A driver that has
 * such a home offers this, so that all its clients share them. Paths are a folder
 * and a name, such as `names/app.json`.
 *
 * @category models
 * @since 0.1.0
 */
export interface RemoteHome {
  /** Reads a record. `undefined`: there is none. */
  readonly read: (path: string) => Effect.Effect<string | undefined, LightboxError>
  /** Replaces a record atomically. */
  readonly write: (path: string, content: string) => Effect.Effect<void, LightboxError>
  readonly remove: (path: string) => Effect.Effect<void, LightboxError>
  /** Lists the names in a folder. Empty if it does not exist. */
  readonly list: (folder: string) => Effect.Effect<ReadonlyArray<string>, LightboxError>
  /** Returns when a record was written, in milliseconds since 1970. */
  readonly modifiedAt: (path: string) => Effect.Effect<number | undefined, LightboxError>
  /** Sets that time. Creates an empty record if there is none. */
  readonly setModifiedAt: (path: string, millis: number) => Effect.Effect<void, LightboxError>
  /** Acquires a lock for the scope if it is free. The holder receives `message` while the scope is open. */
  readonly tryLock: (name: string, message?: string) => Effect.Effect<LockAttempt, LightboxError, Scope.Scope>
  /** The results that living processes use. */
  readonly inUse: Effect.Effect<ReadonlyArray<string>, LightboxError>
  /** Tells whether copies of disks share their content. */
  readonly copies: Effect.Effect<"reflink" | "full" | "unknown">
  readonly findOwner: (id: string) => Effect.Effect<Owner, LightboxError>
  /** Measures the content of a volume, in bytes. */
  readonly volumeUsage: (name: string) => Effect.Effect<number, LightboxError>
  /** Pushes a snapshot from the other machine. */
  readonly push: (
    request: PushOptions & {
      readonly name: string
      readonly reference: string
    }
  ) => Effect.Effect<Pushed, LightboxError>
  /** Pulls a snapshot to the other machine. */
  readonly pull: (
    request: PullOptions & { readonly name: string; readonly reference: string | HostReference }
  ) => Effect.Effect<Snapshot, LightboxError>
  /** Pulls the result of a key from a third machine, unless the other machine has it. It gets no name. */
  readonly pullResult: (request: {
    readonly key: string
    readonly from: Pick<HostReference, "host" | "token">
    readonly onProgress?: PullOptions["onProgress"]
  }) => Effect.Effect<SnapshotInfo, LightboxError>
  /** Removes what dead processes left behind. */
  readonly sweep: (options: {
    readonly dryRun: boolean
    readonly timeout: Duration.Duration
  }) => Effect.Effect<Report, LightboxError>
}
