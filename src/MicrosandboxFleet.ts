/**
 * Runs sandboxes on any number of machines, which run `lightbox host --directory` or
 * `Gateway.serve` with a `directory`.
 *
 * Import it as `effect-lightbox/MicrosandboxFleet`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type { Services } from "./Driver.ts"
import * as internal from "./internal/driver/fleet/driver.ts"
import { layer as compose } from "./internal/reaper/compose.ts"
import type { LightboxError } from "./LightboxError.ts"

/**
 * Options of {@link layer}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * The directory of the hosts: the path of an SQLite file for hosts on this machine, or a URL such as
   * `postgres://lightbox@db.example.com/fleet`, which needs the package `@effect/sql-pg`.
   */
  readonly directory: string | Redacted.Redacted<string>
  /** A token that all hosts accept. */
  readonly token: Redacted.Redacted<string>
  /** Use only hosts of this architecture. Default: that of all hosts. Required if they have several. */
  readonly architecture?: "x64" | "arm64" | undefined
  /** Use only hosts with these labels. Default: all hosts. */
  readonly labels?: { readonly [name: string]: string } | undefined
  /**
   * Folder on this machine for caches and unfinished files. Default: `MSB_HOME` in the environment, else
   * `~/.microsandbox`.
   */
  readonly home?: string | undefined
  /** Time limit for connecting to a running guest. Default: 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
}

/**
 * Provides `Microsandbox` on the hosts of a directory. Programs that run on one
 * machine run on a fleet: sandboxes, commands, files, jobs, pools, builds, snapshots
 * and volumes work as on `MicrosandboxRemote`, which this uses for each host.
 *
 * A new sandbox goes to a host that was seen in the last 15 seconds, is not
 * cordoned, has the architecture and the labels, has the snapshot and the volumes,
 * and has most memory left; one that has the image is preferred. If it refuses, the
 * next one is asked, and then one with room that gets a copy of the snapshot first.
 * If one of them is full and no other takes it, the sandbox waits for its budget.
 * Without such a host, a launch fails with `NoCapacity`, which says why for each.
 * Names of sandboxes are unique in the fleet.
 *
 * Everything else happens on the host that has the sandbox, over a direct
 * connection. Sandboxes that this program has used are reached while the directory
 * is away. They belong to this program: a host removes them when it has not heard of
 * the program for the length of its lease (30 seconds by default), with or without
 * the directory. Detached ones stay.
 *
 * A host that dies takes its sandboxes with it. Commands fail with `GuestLost`,
 * other calls with `HostUnavailable`, whose `outcome` says whether they may have
 * taken effect. Nothing runs twice: launch the sandbox again, and it goes to another
 * host. A minute after a host was last seen, its sandboxes count as lost, with a
 * reason. Nothing is removed for that: what a host still has when it is back is
 * there again.
 *
 * Building the layer fails with `HostUnavailable` if the directory cannot be opened
 * or has no such host, and with `InvalidConfig` naming a wrong option.
 *
 * **Gotchas**
 *
 * - A build runs on one host; programs that want the same result wait for it and see its events. Its result boots there. When the hosts that have it
 *   can take no more, it is copied to another one with room. Captures are not copied.
 *   Names of snapshots, with their generations, are shared by the fleet. When the only
 *   host of a snapshot is gone, the name stays, and building the definition again builds
 *   it on another host.
 * - A volume stays on the host on which it was created, and so do sandboxes that
 *   mount it.
 * - Sandboxes of a group that reach several others must find them on one host.
 *   `labels` can see to that.
 * - After a crash, a result of a scoped build keeps its name until
 *   `Snapshot.remove`.
 * - What holds for `MicrosandboxRemote` holds here: host paths are paths of the
 *   host, and `Volume.files` fails with `Unsupported`.
 *
 * **Example** (The same program on a fleet)
 *
 * ```ts
 * import { Config, Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 * import * as MicrosandboxFleet from "effect-lightbox/MicrosandboxFleet"
 *
 * export const program = Sandbox.run({ image: "alpine" }, (sandbox) => sandbox.shell("uname -a")).pipe(
 *   Effect.provide(
 *     MicrosandboxFleet.layerConfig({
 *       directory: Config.Redacted("LIGHTBOX_DIRECTORY"),
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
 * Provides `Microsandbox` on the hosts of a directory, with options from `Config`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Services, LightboxError | Config.ConfigError> =>
  compose(Effect.flatMap(Config.unwrap(options), internal.make))
