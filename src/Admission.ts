/**
 * Makes launches wait for memory and disk space, rather than drive the machine
 * into swapping.
 *
 * The layers of this library provide the service beside `Microsandbox`. Only
 * code that calls the driver directly needs it.
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
 * does not fit waits for its turn.
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
  /** Sandboxes that may run at once. Default: unlimited, as long as there is memory. */
  readonly sandboxes?: number | undefined
  /** Memory of all sandboxes together, such as `"8G"`. Default: what is free when the first one is launched. */
  readonly memory?: Size | undefined
  /** Space that must stay free on the home's file system; less fails with `NoSpace`. Default: `"256M"`, at least `"16M"`. */
  readonly disk?: Size | undefined
  /** Sandboxes that may boot at once. Default: one for each processor, at least 2. */
  readonly boots?: number | undefined
  /** How long a launch waits before it fails with `NoCapacity`. Default: 10 minutes. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * A place in the budget. It is returned when the scope closes, or earlier by
 * `release`.
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
 * **Example** (Booting within the budget)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Admission, Microsandbox } from "effect-lightbox"
 *
 * export const create = (request: Microsandbox.CreateSandbox) =>
 *   Effect.gen(function* () {
 *     const driver = yield* Microsandbox.Microsandbox
 *     const admission = yield* Admission.Admission
 *     yield* admission.admit("create", 512 * 1024 * 1024)
 *     return yield* admission.boot(driver.createSandbox(request))
 *   })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Admission extends Context.Service<
  Admission,
  {
    /** Waits for room for a sandbox with so many bytes of memory (`undefined`: the default) until the scope closes. */
    readonly admit: (method: string, memory: number | undefined) => Effect.Effect<Room, LightboxError, Scope.Scope>
    /** Runs an effect that boots a sandbox, when not too many are booting. */
    readonly boot: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  }
>()("effect-lightbox/Admission") {}
