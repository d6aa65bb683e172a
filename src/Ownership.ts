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
import type * as Effect from "effect/Effect"
import type { LightboxError } from "./LightboxError.ts"

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
