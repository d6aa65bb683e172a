/**
 * Turns a custom driver into a layer of the library.
 *
 * A driver implements the `Microsandbox` service. {@link layer} adds the rest:
 * ownership of what this process creates, a budget for launches, and a sweep of
 * what dead processes left behind.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Admission from "./Admission.ts"
import { HostPath, Mebibytes } from "./internal/config/schemas.ts"
import { decoder } from "./internal/config/validation.ts"
import { Budget } from "./internal/driver/admission.ts"
import * as internal from "./internal/reaper/compose.ts"
import type { LightboxError } from "./LightboxError.ts"
import type * as Microsandbox from "./Microsandbox.ts"
import type * as Ownership from "./Ownership.ts"
import type { Size } from "./SandboxConfig.ts"

/**
 * The services that every layer of this library provides.
 *
 * @category models
 * @since 0.1.0
 */
export type Services = Microsandbox.Microsandbox | Ownership.Ownership | Admission.Admission

/**
 * Options of {@link layer}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<E = never, R = never> {
  /** A folder on this machine for the library's records and locks. Created if it does not exist. */
  readonly home: string
  /** Creates the driver. It can use `Ownership`, and a scope that closes with the layer. */
  readonly make: Effect.Effect<Microsandbox.Microsandbox["Service"], E, R>
  /** How much of the machine sandboxes may use. Default: the memory that is free. */
  readonly budget?: Admission.Budget | undefined
  /** Memory to assume for sandboxes that set none. Default: `"512M"`. */
  readonly memory?: Size | undefined
  /** Remove what dead processes left behind, before the layer is ready and every 30 seconds. Default: `true`. */
  readonly sweep?: boolean | undefined
  /**
   * Keep records in the home: of each build its steps, their output and reasons, without secrets; of each sandbox that
   * ends the reason and its last lines. The modules `BuildRecord` and `SandboxRecord`, `lightbox builds` and `lightbox
   * ended` read them. Default: `true`.
   */
  readonly records?: boolean | undefined
}

const decodeOptions = decoder(
  Schema.Struct({
    home: HostPath,
    budget: Schema.optional(Budget),
    memory: Schema.optional(Mebibytes(1)),
    sweep: Schema.optional(Schema.Boolean),
    records: Schema.optional(Schema.Boolean)
  }),
  "Driver.layer"
)

/**
 * Provides everything that the library needs, using a driver. Fails with
 * `InvalidConfig` naming a wrong option, or with the errors of `make`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <E, R>({
  make,
  ...options
}: Options<E, R>): Layer.Layer<Services, E | LightboxError, Exclude<Exclude<R, Ownership.Ownership>, Scope.Scope>> =>
  internal.layer(
    Effect.map(decodeOptions(options), ({ budget, home, memory, records, sweep }) => ({
      home,
      make,
      admission: { budget, defaultMemory: memory },
      sweep,
      records
    }))
  )
