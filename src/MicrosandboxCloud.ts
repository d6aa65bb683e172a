/**
 * Runs sandboxes on the hosted microsandbox service.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type { Services } from "./Driver.ts"
import * as internal from "./internal/driver/cloud/driver.ts"
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
  /** Key of an account of the service. */
  readonly apiKey: Redacted.Redacted<string>
  /** Address of the service. Default: the hosted one. */
  readonly url?: string | undefined
  /**
   * Folder on this machine that records what this process creates. Default: `MSB_HOME` in the environment, else
   * `~/.microsandbox`.
   */
  readonly home?: string | undefined
  /** Processors of sandboxes that set none. Default: 1. */
  readonly cpus?: number | undefined
  /** Memory of sandboxes that set none. Default: `"512M"`. */
  readonly memory?: Size | undefined
  /** Time limit for connecting to a running guest. Default: 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** Maximum number of sandboxes that this process runs at once. Default: unlimited. */
  readonly sandboxes?: number | undefined
  /** Remove what dead processes on this machine left behind, at the start and every 30 seconds. Default: `true`. */
  readonly sweep?: boolean | undefined
}

/**
 * Provides `Microsandbox` on the hosted service. Launching from images, running
 * commands, and reading and writing files work as on this machine.
 *
 * Snapshots, images, volumes, patches, logs, metrics, published ports, mounts of
 * host files, and changes to a sandbox fail with `Unsupported` before the service
 * is called; `capabilities` lists what works. Volumes that exist on the service can
 * be mounted, with `create: false`.
 *
 * When a scope closes, its sandboxes are stopped and removed. If the process is
 * killed, they keep running until another process on this machine builds this layer
 * with the same key.
 *
 * Fails with `InvalidConfig` naming a wrong option, and with `Unsupported` while
 * this process uses another service, another key, or the local runtime.
 *
 * **Gotchas**
 *
 * The service cannot be told to wait. With `overflow: "suspend"`, unread output is
 * buffered in memory.
 *
 * **Example** (The same program in the cloud)
 *
 * ```ts
 * import { Config, Effect } from "effect"
 * import { MicrosandboxCloud, Sandbox } from "effect-lightbox"
 *
 * export const program = Sandbox.run({ image: "alpine" }, (sandbox) => sandbox.shell("uname -a")).pipe(
 *   Effect.provide(MicrosandboxCloud.layerConfig({ apiKey: Config.Redacted("MSB_API_KEY") }))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<Services, LightboxError> => compose(internal.make(options))

/**
 * Provides `Microsandbox` on the hosted service, with options from `Config`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Services, LightboxError | Config.ConfigError> =>
  compose(Effect.flatMap(Config.unwrap(options), internal.make))
