/**
 * Effect's `FileSystem`, `Path` and `ChildProcessSpawner` backed by a sandbox.
 *
 * A program written against these services runs on the host with
 * `NodeServices.layer` of `@effect/platform-node`, and inside a microVM, unchanged,
 * with {@link layer}.
 *
 * **Details**
 *
 * - Relative paths begin at the sandbox's working directory, and temporary files
 *   are made in the guest's `/tmp`, which is held in the guest's memory.
 * - File operations run as root, commands as the sandbox's user.
 * - Errors are `PlatformError`s with the reasons that Node.js's services give,
 *   from the errno of the guest's kernel; the `LightboxError` is their `cause`.
 * - Commands get the sandbox's environment, never the host's: `env` replaces it,
 *   and is added to it with `extendEnv`. The outputs `"inherit"` are those of the
 *   host's process.
 * - Every command leads a process group of its own, which closing the scope ends:
 *   with `killSignal`, and with `SIGKILL` after `forceKillAfter` (default 10
 *   seconds). What is written and not read is kept on the host, in memory and then
 *   in a temporary file; a command never waits for its reader.
 * - Most file operations need nothing in the guest. `link`, `makeDirectory` without
 *   `recursive`, `access` with `writable`, `File.sync`, `watch`, and `env` without
 *   `extendEnv` use the guest's programs of the same purpose (`ln`, `mkdir`, `test`,
 *   `sync`, `find` with `stat`, `env`), as any Linux image with a shell has them;
 *   without them they fail with `BadArgument`.
 * - Files that are read at the same time (`Effect.forEach(paths, fs.readFile, {
 *   concurrency: "unbounded" })`) come in one stream where the guest has `tar`, and
 *   a folder is copied by its `cp`.
 *
 * **Gotchas**
 *
 * - The guest's agent knows whole seconds of `mtime` and `atime`, and of the other
 *   numbers of a file neither `dev` (0), `ino`, `nlink` nor `birthtime`.
 * - `watch` looks four times a second, from inside the guest. A file that comes and
 *   goes in between is not seen.
 * - `copy` keeps symbolic links as they are, as `cp -r` does; Node.js makes relative
 *   ones absolute.
 * - The exit code of a command is there when nobody has its output open any more.
 *   Waiting for it kills what the command left running with its output still open.
 * - What can not be done fails with `BadArgument`: `open` with `noFollow`, additional
 *   file descriptors that are `"duplex"` or above 9, and signals that Linux does not
 *   have. `detached` has no meaning; a process that is not referenced any more ends
 *   with the layer.
 * - The guest's agent writes a command's input before it looks at anything else: a
 *   command that does not read what it is given holds up the sandbox (see
 *   `Guest.Process`), and so does opening a named pipe that nobody has open.
 *
 * These interfaces are unstable in Effect 4.1: a minor release may change them. So
 * this module is not part of `effect-lightbox`'s index, nothing in the index imports
 * it, and a release that breaks it breaks nothing else.
 *
 * **Example** (The same program on the host and in a microVM)
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
 * **Example** (A program that runs wherever it is put)
 *
 * ```ts
 * import { Effect, FileSystem } from "effect"
 * import type * as SandboxServices from "effect-lightbox/SandboxServices"
 *
 * export const program: Effect.Effect<string, unknown, SandboxServices.SandboxServices> = Effect.gen(function* () {
 *   const fs = yield* FileSystem.FileSystem
 *   return yield* fs.readFileString("/etc/hostname")
 * })
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxServices = ChildProcessSpawner.ChildProcessSpawner | FileSystem.FileSystem | Path.Path

/**
 * The folder at which relative paths begin. It is asked for once, as it is while the layer is built.
 */
const cwd = Effect.flatMap(Sandbox.Sandbox, ({ info }) => Effect.map(info, ({ cwd }) => cwd ?? "/"))

/**
 * Provides `FileSystem` backed by a sandbox.
 *
 * **Example** (Reading a guest's file with Effect's service)
 *
 * ```ts
 * import { Effect, FileSystem } from "effect"
 * import * as SandboxServices from "effect-lightbox/SandboxServices"
 *
 * export const hosts = FileSystem.FileSystem.use((fs) => fs.readFileString("/etc/hosts")).pipe(
 *   Effect.provide(SandboxServices.layerFileSystem)
 * )
 * ```
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
 * Provides `Path` with the rules of the guest: POSIX whatever the host is, and
 * relative to the sandbox's working directory.
 *
 * **Example** (Resolving a path as the guest would)
 *
 * ```ts
 * import { Effect, Path } from "effect"
 * import * as SandboxServices from "effect-lightbox/SandboxServices"
 *
 * export const report = Path.Path.useSync((path) => path.resolve("out", "report.json")).pipe(
 *   Effect.provide(SandboxServices.layerPath)
 * )
 * ```
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
 * Provides `ChildProcessSpawner` backed by a sandbox. Processes end with their
 * scope, and all of them with the layer.
 *
 * **Example** (Running a pipeline in a guest)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ChildProcess, ChildProcessSpawner } from "effect/process"
 * import * as SandboxServices from "effect-lightbox/SandboxServices"
 *
 * const count = ChildProcess.make`ls /etc`.pipe(ChildProcess.pipeTo(ChildProcess.make`wc -l`))
 *
 * export const program = ChildProcessSpawner.ChildProcessSpawner.use((spawner) => spawner.string(count)).pipe(
 *   Effect.provide(SandboxServices.layerChildProcessSpawner)
 * )
 * ```
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
 * Provides all services backed by the sandbox of the context, as `NodeServices`
 * provides those of the host.
 *
 * **Example** (One sandbox for a whole program)
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
 * The services of one given sandbox.
 *
 * **Example** (Running a program in a fresh sandbox)
 *
 * ```ts
 * import { Effect, FileSystem } from "effect"
 * import { Sandbox } from "effect-lightbox"
 * import * as SandboxServices from "effect-lightbox/SandboxServices"
 *
 * const program = FileSystem.FileSystem.use((fs) => fs.readDirectory("/"))
 *
 * export const names = Sandbox.run({ image: "alpine" }, (sandbox) =>
 *   Effect.provide(program, SandboxServices.fromSandbox(sandbox))
 * )
 * ```
 *
 * **Example** (The services of a sandbox with a tag of its own)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Sandbox } from "effect-lightbox"
 * import * as SandboxServices from "effect-lightbox/SandboxServices"
 *
 * class Tools extends Sandbox.Service<Tools>()("Tools", { image: "alpine" }) {}
 *
 * export const live = Layer.unwrap(Effect.map(Tools, SandboxServices.fromSandbox)).pipe(Layer.provide(Tools.layer))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const fromSandbox = (sandbox: Sandbox.Sandbox): Layer.Layer<SandboxServices, LightboxError> =>
  // Layers are shared by identity: those of another sandbox must not be taken for these.
  Layer.fresh(Layer.provide(layer, Layer.succeed(Sandbox.Sandbox, sandbox)))
