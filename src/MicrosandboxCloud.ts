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
 * **Example** (A server of one's own)
 *
 * ```ts
 * import { Redacted } from "effect"
 * import type { MicrosandboxCloud } from "effect-lightbox"
 *
 * export const options: MicrosandboxCloud.Options = {
 *   apiKey: Redacted.make("msb_test_key"),
 *   url: "https://sandboxes.example.com"
 * }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly apiKey: Redacted.Redacted<string>
  /** Default: the hosted service. */
  readonly url?: string | undefined
  /** Where it is noted what this process makes. Default: `MSB_HOME` in the environment, else `~/.microsandbox`. */
  readonly home?: string | undefined
  /** For sandboxes that do not say. Default: 1. */
  readonly cpus?: number | undefined
  /** For sandboxes that do not say. Default: `"512M"`. */
  readonly memory?: Size | undefined
  /** How long connecting to a running guest may take. Default: 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** How many sandboxes of this process may run at once. Default: as many as one likes. */
  readonly sandboxes?: number | undefined
  /** Remove what processes on this machine that are gone have left. Default: `true`. */
  readonly sweep?: boolean | undefined
}

/**
 * Provides `Microsandbox` on the runtime's hosted service, for programs that
 * outgrow one machine.
 *
 * **Details**
 *
 * Programs stay as they are: sandboxes are launched from images, commands run,
 * files are read and written. Snapshots, images, volumes, patches, logs, metrics,
 * published ports, mounts of what is on this host, and changes to a sandbox fail
 * with `Unsupported` before anything is asked of the service; `capabilities` tells
 * beforehand. Volumes that exist there can be mounted, with `create: false`.
 *
 * Sandboxes are released with their scope as everywhere, by stopping and removing
 * them. When the process ends without that, they run on: the next process with the
 * same key on this machine removes them when it begins.
 *
 * Fails with `InvalidConfig` naming a wrong option, and with `Unsupported` while
 * this process uses another service, another key, or this machine: the runtime
 * knows one at a time.
 *
 * **Gotchas**
 *
 * With the policy `"suspend"`, output that is not read waits in memory, as the
 * service can not be told to wait.
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
 * **Example** (Reading the key from the environment)
 *
 * ```ts
 * import { Config } from "effect"
 * import { MicrosandboxCloud } from "effect-lightbox"
 *
 * export const live = MicrosandboxCloud.layerConfig({ apiKey: Config.Redacted("MSB_API_KEY") })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Services, LightboxError | Config.ConfigError> =>
  compose(Effect.flatMap(Config.unwrap(options), internal.make))
