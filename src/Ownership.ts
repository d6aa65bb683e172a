/**
 * Records what this process creates before it creates it, so that another
 * process can remove it if this one is killed.
 *
 * The layers of this library provide the service beside `Microsandbox`. Only a
 * driver, or code that calls the driver directly, needs it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { LightboxError } from "./LightboxError.ts"

/**
 * What a note can be about: a sandbox, the disk of one, an unfinished capture or
 * load, a snapshot that no name points to yet, a file, the name of a scoped
 * snapshot, or a result in use.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = "sandbox" | "disk" | "capture" | "load" | "unnamed" | "file" | "name" | "use"

/**
 * Something that a process is about to create, has created, or is about to
 * remove.
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
 * This process as the owner of what it creates. A sweep in any other process
 * removes what a dead owner has noted.
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
    /** Unique to this process. Asking for it the first time acquires the lease by which others see it alive. */
    readonly id: Effect.Effect<string, LightboxError>
    readonly note: (note: Note) => Effect.Effect<void, LightboxError>
    readonly forget: (note: Note) => Effect.Effect<void>
    /** Gives up ownership for good, or until a time in milliseconds since 1970, after which a sweep may remove it. */
    readonly release: (note: Note, expires: number | undefined) => Effect.Effect<void, LightboxError>
    /** A fresh path on the home's file system, for a file that is renamed into place once it is complete. */
    readonly stage: Effect.Effect<string, LightboxError>
  }
>()("effect-lightbox/Ownership") {}
