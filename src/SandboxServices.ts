/**
 * Effect's `FileSystem`, `Path` and `ChildProcessSpawner`, backed by a sandbox.
 *
 * A program that uses these services runs on the host with `NodeServices.layer` of `@effect/platform-node`, and
 * unchanged inside a microVM with {@link layer}.
 *
 * **Details**
 *
 * - Relative paths resolve against the sandbox's working directory. Temporary files are created in the guest's `/tmp`,
 *   which is held in the guest's memory.
 * - File operations run as root, commands as the sandbox's user.
 * - Errors are `PlatformError`s with the same reasons as on Node.js, derived from the guest's errno; the
 *   `LightboxError` is their `cause`.
 * - Commands get the sandbox's environment, never the host's. `env` replaces it, or adds to it with `extendEnv`.
 *   `"inherit"` output writes to the host process's output.
 * - Each command runs in its own process group. Closing the scope sends `killSignal`, then `SIGKILL` after
 *   `forceKillAfter` (default: 10 seconds). Unread output is buffered on the host, in memory and then in a temporary
 *   file, so a command never waits for its reader.
 * - `link`, `makeDirectory` without `recursive`, `access` with `writable`, `File.sync`, `watch`, and `env` without
 *   `extendEnv` use the guest's `ln`, `mkdir`, `test`, `sync`, `find` with `stat`, and `env`. Without them, they fail
 *   with `BadArgument`.
 * - Concurrent reads (`Effect.forEach(paths, fs.readFile, { concurrency: "unbounded" })`) share one stream if the guest
 *   has `tar`. The guest's `cp` copies folders.
 *
 * **Gotchas**
 *
 * - `mtime` and `atime` are in whole seconds. `dev` is 0; `ino`, `nlink` and `birthtime` are not available.
 * - `watch` polls every 250 milliseconds inside the guest and misses files created and removed in between.
 * - `copy` keeps symbolic links unchanged, as `cp -r` does; Node.js makes relative ones absolute.
 * - The exit code of a command is available once all writers have closed its output. Waiting for it kills background
 *   processes that still hold the output open.
 * - These fail with `BadArgument`: `open` with `noFollow`, additional file descriptors that are `"duplex"` or above 9,
 *   and signals that Linux does not have. `detached` has no effect; an unreferenced process ends with the layer.
 * - A command that does not read its input blocks the sandbox (see `Guest.Process`), and so does opening a named pipe
 *   that has no other end.
 *
 * These interfaces are unstable in Effect 4.1: a minor release may change them. Therefore neither the index nor any
 * other module imports this one.
 *
 * **Example** (Run the same program on the host and in a microVM)
 *
 * ```ts
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, FileSystem, Layer } from "effect"
 * import { ChildProcess, ChildProcessSpawner } from "effect/process"
 * import { MicrosandboxLocal, Sandbox } from "effect-lightbox"
 * import * as SandboxServices from "effect-lightbox/SandboxServices"
 *
 * const program = Effect.gen(function* () {
 *   const fs = yield* FileSystem.FileSystem
 *   const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
 *   yield* fs.writeFileString("answer.txt", "42\n")
 *   return yield* spawner.string(ChildProcess.make`cat answer.txt`)
 * })
 *
 * export const onTheHost = program.pipe(Effect.provide(NodeServices.layer))
 *
 * export const inAMicroVM = program.pipe(
 *   Effect.provide(
 *     SandboxServices.layer.pipe(
 *       Layer.provide(Sandbox.layer({ image: "alpine" })),
 *       Layer.provide(MicrosandboxLocal.layer())
 *     )
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as GuestFileSystem from "./internal/guest/fileSystem.ts"
import * as GuestPath from "./internal/guest/path.ts"
import * as GuestSpawner from "./internal/guest/spawner.ts"
import type { LightboxError } from "./LightboxError.ts"
import * as Sandbox from "./Sandbox.ts"

/**
 * The services that a sandbox provides.
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxServices = ChildProcessSpawner.ChildProcessSpawner | FileSystem.FileSystem | Path.Path

/** Resolved once, while the layer is built. */
const cwd = Effect.flatMap(Sandbox.Sandbox, ({ info }) => Effect.map(info, ({ cwd }) => cwd ?? "/"))

/**
 * Provides `FileSystem` backed by a sandbox.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFileSystem: Layer.Layer<FileSystem.FileSystem, LightboxError, Sandbox.Sandbox> = Layer.effect(
  FileSystem.FileSystem,
  Effect.gen(function* () {
    const { guest } = yield* Sandbox.Sandbox
    return GuestFileSystem.make(guest, yield* cwd)
  })
)

/**
 * Provides `Path` with the guest's rules: always POSIX, relative to the sandbox's working directory.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerPath: Layer.Layer<Path.Path, LightboxError, Sandbox.Sandbox> = Layer.effect(
  Path.Path,
  Effect.gen(function* () {
    return GuestPath.make(yield* Path.Path, yield* cwd)
  })
).pipe(Layer.provide(Path.layer))

/**
 * Provides `ChildProcessSpawner` backed by a sandbox. Processes end with their scope, and at the latest with the layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerChildProcessSpawner: Layer.Layer<
  ChildProcessSpawner.ChildProcessSpawner,
  LightboxError,
  Sandbox.Sandbox
> = Layer.effect(
  ChildProcessSpawner.ChildProcessSpawner,
  Effect.gen(function* () {
    const { guest } = yield* Sandbox.Sandbox
    return yield* GuestSpawner.make(guest, yield* cwd)
  })
)

/**
 * Provides all services backed by the sandbox in the context, as `NodeServices` does for the host.
 *
 * **Example** (Run a whole program in one sandbox)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Sandbox } from "effect-lightbox"
 * import * as SandboxServices from "effect-lightbox/SandboxServices"
 *
 * export const live = SandboxServices.layer.pipe(Layer.provideMerge(Sandbox.layer({ snapshot: "node-ci" })))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<SandboxServices, LightboxError, Sandbox.Sandbox> = Layer.mergeAll(
  layerFileSystem,
  layerPath,
  layerChildProcessSpawner
)

/**
 * Provides the services of a given sandbox.
 *
 * @category layers
 * @since 0.1.0
 */
export const fromSandbox = (sandbox: Sandbox.Sandbox): Layer.Layer<SandboxServices, LightboxError> =>
  // Layers are memoized by identity; `fresh` keeps those of different sandboxes apart.
  Layer.fresh(Layer.provide(layer, Layer.succeed(Sandbox.Sandbox, sandbox)))
