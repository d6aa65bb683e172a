/**
 * Runs sandboxes on another machine, which runs `lightbox host` or `Gateway.serve`.
 *
 * Import it as `effect-lightbox/MicrosandboxRemote`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type { Services } from "./Driver.ts"
import * as internal from "./internal/driver/remote/driver.ts"
import { layer as compose } from "./internal/reaper/compose.ts"
import type { LightboxError } from "./LightboxError.ts"

/**
 * Options of {@link layer}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Address of the host, such as `"https://kvm.example.com:7400"`. */
  readonly url: string
  /** A token of the host. */
  readonly token: Redacted.Redacted<string>
  /**
   * Folder on this machine for caches and unfinished files. Default: `MSB_HOME` in the environment, else
   * `~/.microsandbox`.
   */
  readonly home?: string | undefined
  /** Time limit for connecting to a running guest. Default: 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
}

/**
 * Provides `Microsandbox` on another machine. Sandboxes, commands, files, jobs,
 * builds, snapshots and volumes work as on this machine; `capabilities` are those of
 * the host.
 *
 * Sandboxes belong to this program: they are removed when their scopes close, or
 * when the host has not heard of this program for the length of its lease (30
 * seconds by default). Detached ones stay. Clients share snapshots, volumes and
 * locks with each other and with the programs of the host, and wait for the host's
 * budget.
 *
 * A request whose answer is lost is repeated for about ten seconds, and takes effect
 * once. Then the call fails with `HostUnavailable`; its `outcome` says whether it may
 * have taken effect. Commands are never repeated: they fail with `GuestLost`.
 *
 * Building the layer opens a session, and fails with `HostUnavailable` if the host
 * does not answer or does not accept the token, and with `InvalidConfig` naming a
 * wrong option. Closing it ends the session.
 *
 * **Gotchas**
 *
 * Host paths of mounts and patches are paths of the other machine: absolute, and in
 * folders that it shares (`--allow-mount`). To use files of this machine, copy them:
 * `Snapshot.copy`, `sandbox.copyIn` and archives of images and snapshots are sent.
 * Published ports are ports of the other machine; `sandbox.forward` opens one here.
 * `Snapshot.push` and `pull` move snapshots of the host, which uses its own logins of registries
 * unless `registry` has one: that is sent for this call only.
 * `Volume.files` fails with `Unsupported`.
 *
 * **Example** (The same program on the machine next door)
 *
 * ```ts
 * import { Config, Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 * import * as MicrosandboxRemote from "effect-lightbox/MicrosandboxRemote"
 *
 * export const program = Sandbox.run({ image: "alpine" }, (sandbox) => sandbox.shell("uname -a")).pipe(
 *   Effect.provide(
 *     MicrosandboxRemote.layerConfig({
 *       url: Config.String("LIGHTBOX_HOST"),
 *       token: Config.Redacted("LIGHTBOX_TOKEN")
 *     })
 *   )
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<Services, LightboxError> => compose(internal.make(options))

/**
 * Provides `Microsandbox` on another machine, with options from `Config`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Services, LightboxError | Config.ConfigError> =>
  compose(Effect.flatMap(Config.unwrap(options), internal.make))
