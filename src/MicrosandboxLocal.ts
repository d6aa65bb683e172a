/**
 * Runs sandboxes on this machine, with the microsandbox runtime.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Admission from "./Admission.ts"
import type { Services } from "./Driver.ts"
import * as internal from "./internal/driver/local/driver.ts"
import { layer as compose } from "./internal/reaper/compose.ts"
import type { LightboxError } from "./LightboxError.ts"
import type { Size } from "./SandboxConfig.ts"

/**
 * Options of {@link layer}.
 *
 * **Example** (A home of its own)
 *
 * ```ts
 * import type { MicrosandboxLocal } from "effect-lightbox"
 *
 * export const options: MicrosandboxLocal.Options = { home: "/var/lib/sandboxes", bootTimeout: "30 seconds" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Default: `MSB_HOME` in the environment, else `~/.microsandbox`. One per process. */
  readonly home?: string | undefined
  /** For sandboxes that do not say. Default: 1. */
  readonly cpus?: number | undefined
  /** For sandboxes that do not say. Default: `"512M"`. */
  readonly memory?: Size | undefined
  /** For sandboxes that do not say. Default: `"if-missing"`. */
  readonly pullPolicy?: "always" | "if-missing" | "never" | undefined
  /**
   * How long a virtual machine may take to boot, pulling the image not counted. A boot that takes longer is killed
   * and tried once more. Default: 60 seconds.
   */
  readonly bootTimeout?: Duration.Input | undefined
  /** How long connecting to a running guest may take. Default: 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** How much of the machine sandboxes may take. Default: what is there. */
  readonly budget?: Admission.Budget | undefined
  /**
   * Look, when the layer is built, whether processes that are gone have left something, and remove it: one look into a
   * folder when there is nothing. Default: `true`.
   */
  readonly sweep?: boolean | undefined
}

/**
 * Provides `Microsandbox` on this machine.
 *
 * **Details**
 *
 * Building the layer loads the SDK's native module and checks the options; it
 * fails with `RuntimeMissing` where the module is not installed, with
 * `InvalidConfig` naming a wrong option, and with `Unsupported` while this
 * process uses another home: the runtime knows one at a time. Closing it waits until what
 * interrupted launches still have under way is destroyed, for ten seconds at most.
 *
 * **Example** (Providing it to a program)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { MicrosandboxLocal, Sandbox } from "effect-lightbox"
 *
 * export const program = Sandbox.run({ image: "alpine" }, (sandbox) => sandbox.shell("uname -a")).pipe(
 *   Effect.provide(MicrosandboxLocal.layer({ memory: "256M" }))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Services, LightboxError> => compose(internal.make(options ?? {}))

/**
 * Provides `Microsandbox` with options from `Config`.
 *
 * **Example** (Reading the home from the environment)
 *
 * ```ts
 * import { Config } from "effect"
 * import { MicrosandboxLocal } from "effect-lightbox"
 *
 * export const live = MicrosandboxLocal.layerConfig({ home: Config.String("SANDBOX_HOME") })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Services, LightboxError | Config.ConfigError> =>
  compose(Effect.flatMap(Config.unwrap(options), internal.make))
