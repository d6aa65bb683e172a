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
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * Folder of the runtime's state. A process can use only one. Default: `MSB_HOME` in the environment, else
   * `~/.microsandbox`.
   */
  readonly home?: string | undefined
  /** Processors of sandboxes that set none. Default: 1. */
  readonly cpus?: number | undefined
  /** Memory of sandboxes that set none. Default: `"512M"`. */
  readonly memory?: Size | undefined
  /** Pull policy of sandboxes that set none. Default: `"if-missing"`. */
  readonly pullPolicy?: "always" | "if-missing" | "never" | undefined
  /**
   * Time limit for booting, not including the image pull. A boot that takes longer is killed and retried once. Default:
   * 60 seconds.
   */
  readonly bootTimeout?: Duration.Input | undefined
  /** Time limit for connecting to a running guest. Default: 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** How much of the machine sandboxes may use. Default: the memory that is free. */
  readonly budget?: Admission.Budget | undefined
  /**
   * Remove what dead processes left behind, when the layer is built and every 30 seconds. Costs one directory read if
   * there is nothing. Default: `true`.
   */
  readonly sweep?: boolean | undefined
  /**
   * Keep records in the home: of each build its steps, their output and reasons, without secrets; of each sandbox that
   * ends the reason and its last lines. The modules `BuildRecord` and `SandboxRecord`, `lightbox builds` and `lightbox
   * ended` read them. Default: `true`.
   */
  readonly records?: boolean | undefined
}

/**
 * Provides `Microsandbox` on this machine.
 *
 * Building the layer loads the SDK's native module. Fails with `RuntimeMissing` if
 * the module is not installed, with `InvalidConfig` naming a wrong option, and with
 * `Unsupported` while this process uses another home. Closing the layer waits up to
 * ten seconds for interrupted launches to be cleaned up.
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
 * Provides `Microsandbox` on this machine, with options from `Config`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Services, LightboxError | Config.ConfigError> =>
  compose(Effect.flatMap(Config.unwrap(options), internal.make))
