/**
 * Runs sandboxes on this machine with microsandbox 0.7, which can capture the memory of a running sandbox and resume
 * copies of it. A preview.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type { Services } from "./Driver.ts"
import * as internal from "./internal/driver/next/driver.ts"
import { layer as compose } from "./internal/reaper/compose.ts"
import type { LightboxError } from "./LightboxError.ts"
import type * as MicrosandboxLocal from "./MicrosandboxLocal.ts"

/**
 * Options of {@link layer}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends MicrosandboxLocal.Options {
  /**
   * Folder of the runtime's state. A process can use only one. Never that of another version of the runtime: it is
   * refused. Default: `~/.microsandbox-preview`.
   */
  readonly home?: string | undefined
  /**
   * Folder of the runtime's package for this platform. Default: the installed package `microsandbox-next`, or that of an
   * installed `microsandbox` 0.7.2.
   */
  readonly runtime?: string | undefined
  /**
   * Time limit for booting or resuming, not including the image pull. What takes longer is killed and retried once.
   * Default: 60 seconds.
   */
  readonly bootTimeout?: Duration.Input | undefined
  /**
   * Remove what dead processes left behind, when the layer is built and every 30 seconds. Resumed sandboxes and copies
   * need it: the runtime does not stop them when their process is killed. Default: `true`.
   */
  readonly sweep?: boolean | undefined
}

/**
 * Provides `Microsandbox` on this machine, with microsandbox 0.7.2.
 *
 * In addition to `MicrosandboxLocal`, it captures, resumes, copies and pauses running sandboxes with their memory. It
 * needs Linux x64 and the package of the runtime:
 *
 * ```sh
 * npm install microsandbox-next@npm:@superradcompany/microsandbox-linux-x64-gnu@0.7.2
 * ```
 *
 * Building the layer loads that package's native module. Fails with `RuntimeMissing` if it is not installed, with
 * `InvalidConfig` naming a wrong option, and with `Unsupported` if the home belongs to another version of the runtime,
 * or while this process uses another home.
 *
 * **Gotchas**
 *
 * - A sandbox is captured, copied or grown with its memory only if it was launched from an image, or from a snapshot
 *   with `rootDisk: "copy"`. Such a launch from a snapshot boots twice. With `"overlay"`, the disk is copied as well.
 * - Resumed sandboxes and copies do not end with this process. If it is killed, the next sweep removes them.
 * - Snapshots with memory cannot be saved to archives. Pruning images reports no layers and no bytes while there are
 *   snapshots. Basic authentication with a secret is a part of the headers.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Services, LightboxError> => compose(internal.make(options ?? {}))

/**
 * Provides `Microsandbox` on this machine with microsandbox 0.7.2, with options from `Config`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Services, LightboxError | Config.ConfigError> =>
  compose(Effect.flatMap(Config.unwrap(options), internal.make))
