/**
 * Limits how many sandboxes run and boot at once, so that the machine does not run
 * out of memory.
 *
 * The library's layers provide this service. Only code that calls the driver
 * directly needs it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { LightboxError } from "./LightboxError.ts"
import type { Size } from "./SandboxConfig.ts"

/**
 * How much of the machine the sandboxes of this process may use. A launch that
 * exceeds it waits.
 *
 * **Example** (At most four sandboxes)
 *
 * ```ts
 * import { MicrosandboxLocal } from "effect-lightbox"
 *
 * export const live = MicrosandboxLocal.layer({ budget: { sandboxes: 4, memory: "4G" } })
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface Budget {
  /** Maximum number of running sandboxes. Default: unlimited. */
  readonly sandboxes?: number | undefined
  /** Memory of all running sandboxes, such as `"8G"`. Default: the memory that is free at the first launch. */
  readonly memory?: Size | undefined
  /**
   * Space that must stay free on the home's file system, at least `"16M"`. With less, launches fail with `NoSpace`.
   * Default: `"256M"`.
   */
  readonly disk?: Size | undefined
  /** Maximum number of sandboxes that boot at once. Default: the number of processors, at least 2. */
  readonly boots?: number | undefined
  /** How long a launch waits before it fails with `NoCapacity`. Default: 10 minutes. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * A reservation in the budget. It ends when the scope closes or `release` runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Room {
  readonly release: Effect.Effect<void>
}

/**
 * The budget of this process.
 *
 * @category services
 * @since 0.1.0
 */
export class Admission extends Context.Service<
  Admission,
  {
    /**
     * Waits until a sandbox with this memory (bytes, or the default) fits, and reserves it until the scope closes. With
     * `wait: false`, fails with `NoCapacity` instead of waiting.
     */
    readonly admit: (
      method: string,
      memory: number | undefined,
      options?: { readonly wait?: boolean | undefined }
    ) => Effect.Effect<Room, LightboxError, Scope.Scope>
    /**
     * Waits until sandboxes fit all at once, and reserves a room for each until the scope closes. Fails immediately with
     * `NoCapacity` if they, and sandboxes that stay meanwhile (`besides`, in bytes), exceed the whole budget.
     */
    readonly admitAll: (
      method: string,
      memories: ReadonlyArray<number | undefined>,
      besides?: ReadonlyArray<number>
    ) => Effect.Effect<ReadonlyArray<Room>, LightboxError, Scope.Scope>
    /** The memory that all sandboxes together may have, in bytes. Default: unknown. */
    readonly limit?: Effect.Effect<number> | undefined
    /** Runs an effect that boots a sandbox, waiting while too many others are booting. */
    readonly boot: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  }
>()("effect-lightbox/Admission") {}
