/**
 * Sandboxes: microVMs booted from a snapshot or an image, as scoped resources.
 *
 * {@link launch} boots one for the life of a scope, {@link run} for the life of
 * a function, {@link layer} for the life of a layer. Whatever happens (success,
 * failure, interruption, a defect), the sandbox is gone afterwards, unless it
 * was detached.
 *
 * **Example** (Running untrusted code)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { MicrosandboxLocal, Sandbox } from "effect-lightbox"
 *
 * export const program = Effect.gen(function* () {
 *   const sandbox = yield* Sandbox.launch({ snapshot: "node-ci", network: "none" })
 *   yield* sandbox.writeFileString("/root/code.js", "console.log(6 * 7)")
 *   const result = yield* sandbox.exec("node", ["/root/code.js"], { timeout: "10 seconds" })
 *   return result.stdout
 * }).pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()))
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Services } from "./Driver.ts"
import type * as Guest from "./Guest.ts"
import * as Listener from "./internal/report/listener.ts"
import { CString, DurationInput, ImageReference, Name, millis } from "./internal/config/schemas.ts"
import { generateName } from "./internal/ownership/labels.ts"
import { eventText, type ExecResult } from "./internal/sandbox/results.ts"
import { make, TypeId } from "./internal/sandbox/handle.ts"
import * as internal from "./internal/sandbox/launch.ts"
import { decoder, DefinitionTypeId, invalid } from "./internal/config/validation.ts"
import { LightboxError, NotRunning, TimedOut } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"
import * as SandboxConfig from "./SandboxConfig.ts"

// =============================================================================
// Models
// =============================================================================

export { ExecResult } from "./internal/sandbox/results.ts"

/**
 * Options of a command.
 *
 * **Example** (A command with a limit that must succeed)
 *
 * ```ts
 * import type { Sandbox } from "effect-lightbox"
 *
 * export const options: Sandbox.ExecOptions = { cwd: "/work", timeout: "2 minutes", check: true }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface ExecOptions<E = never, R = never> {
  /** Default: the sandbox's. */
  readonly cwd?: string | undefined
  /** Default: the sandbox's. */
  readonly user?: string | undefined
  /** Added to the sandbox's. Redacted values appear nowhere but in the guest. */
  readonly env?: { readonly [name: string]: Guest.Word } | undefined
  readonly rlimits?: { readonly [name: string]: number | { readonly soft: number; readonly hard: number } } | undefined
  /** What the command reads. Default: nothing, its input is closed. */
  readonly stdin?: string | Uint8Array | Stream.Stream<Uint8Array, E, R> | undefined
  /** Kill the command, and all that it started, after this long, and fail with `TimedOut`. Default: never. */
  readonly timeout?: Duration.Input | undefined
  /** Fail with `CommandFailed` when the exit code is not 0. Default: `false`. */
  readonly check?: boolean | undefined
  /** How much output, both streams together, such as `"1M"`, past which the command is killed with `OutputTooLarge`. Default: 256 MiB. */
  readonly maxOutput?: SandboxConfig.Size | undefined
}

/**
 * Options of a command whose output is read while it runs.
 *
 * **Example** (Dropping what is not read in time)
 *
 * ```ts
 * import type { Sandbox } from "effect-lightbox"
 *
 * export const options: Sandbox.ExecStreamOptions = { output: { overflow: "suspend" } }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface ExecStreamOptions<E = never, R = never> extends Omit<ExecOptions<E, R>, "maxOutput"> {
  /** What happens to output that is not read as fast as it comes. Default: up to 4 MiB in memory, more on disk. */
  readonly output?: Guest.OutputPolicy | undefined
  /** Give the command a terminal; its two outputs then arrive as one. Default: none. */
  readonly terminal?: Guest.TerminalSize | undefined
}

/**
 * Options of a {@link Sandbox}'s `copyIn`.
 *
 * **Example** (Sources without what is built of them)
 *
 * ```ts
 * import type { Sandbox } from "effect-lightbox"
 *
 * export const options: Sandbox.CopyInOptions = { ignore: ["node_modules", "dist"], owner: "node" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface CopyInOptions {
  /** Patterns as in a `.gitignore`, relative to the folder that is copied. Default: none. */
  readonly ignore?: ReadonlyArray<string> | undefined
  /** Permission bits of files (folders get the execute bits, too). Default: those on the host. */
  readonly mode?: number | undefined
  /** Default: root. */
  readonly owner?: Guest.Owner | undefined
}

/**
 * An event of a running command. `Started` is the first and `Exited` the last;
 * output comes in between, in the order in which it was written to each stream.
 *
 * {@link decodeText} and {@link splitLines} turn the bytes into text.
 *
 * @category models
 * @since 0.1.0
 */
export type ExecEvent = ExecStatusEvent | Guest.Output

/**
 * The events of a running command that are not output. `exitCode` is -1 if a
 * signal ended the command, and `signal` names it, if it is known.
 *
 * @category models
 * @since 0.1.0
 */
export type ExecStatusEvent =
  | { readonly _tag: "Started"; readonly pid: number }
  | { readonly _tag: "Exited"; readonly exitCode: number; readonly signal?: Guest.Signal | undefined }

/**
 * An event of a running command, with its output as text.
 *
 * @category models
 * @since 0.1.0
 */
export type ExecTextEvent = ExecStatusEvent | { readonly _tag: "Stdout" | "Stderr"; readonly text: string }

/**
 * Decodes output as UTF-8, also where a character is cut in two. Invalid bytes
 * become U+FFFD.
 *
 * **Example** (Showing output as it comes)
 *
 * ```ts
 * import { Console, Stream } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const show = (sandbox: Sandbox.Sandbox) =>
 *   Stream.runForEach(Sandbox.decodeText(sandbox.execStream("make")), (event) =>
 *     event._tag === "Stdout" || event._tag === "Stderr" ? Console.log(event.text) : Console.log(event)
 *   )
 * ```
 *
 * @see {@link splitLines} for whole lines
 * @category combinators
 * @since 0.1.0
 */
export const decodeText = <E, R>(events: Stream.Stream<ExecEvent, E, R>): Stream.Stream<ExecTextEvent, E, R> =>
  eventText(events, { lines: false })

/**
 * Decodes output as {@link decodeText} does, and gives one event for each line,
 * without the end of the line.
 *
 * @category combinators
 * @since 0.1.0
 */
export const splitLines = <E, R>(events: Stream.Stream<ExecEvent, E, R>): Stream.Stream<ExecTextEvent, E, R> =>
  eventText(events, { lines: true })

/**
 * A running sandbox.
 *
 * **Details**
 *
 * Everything can be called concurrently. A command, a read or a write that is
 * interrupted is ended in the guest. All operations fail with `GuestLost` when
 * the virtual machine goes away, within the time that the kernel needs to notice.
 *
 * **Example** (Taking a sandbox as a parameter)
 *
 * ```ts
 * import { Effect } from "effect"
 * import type { Sandbox } from "effect-lightbox"
 *
 * export const version = (sandbox: Sandbox.Sandbox) =>
 *   Effect.map(sandbox.exec("node", ["--version"], { check: true }), (result) => result.stdout.trim())
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Sandbox extends Guest.Files {
  readonly [TypeId]: typeof TypeId
  readonly name: string
  /** Changes when the sandbox is removed and another of its name is created. */
  readonly id: string
  /** The ports of the guest that are published on this host, with the port that was chosen for host port 0. */
  readonly ports: ReadonlyArray<Microsandbox.PublishedPort>
  /** The channel to the guest, for what is not offered here. */
  readonly guest: Guest.Guest

  /** Runs a program to its end and gives what it wrote. */
  readonly exec: <E = never, R = never>(
    command: string,
    args?: ReadonlyArray<Guest.Word>,
    options?: ExecOptions<E, R>
  ) => Effect.Effect<ExecResult, LightboxError | E, R>
  /** Runs a script in the sandbox's shell to its end and gives what it wrote. */
  readonly shell: <E = never, R = never>(
    script: string,
    options?: ExecOptions<E, R>
  ) => Effect.Effect<ExecResult, LightboxError | E, R>
  /** Runs a program and gives what happens while it does. Ending the stream early kills it. */
  readonly execStream: <E = never, R = never>(
    command: string,
    args?: ReadonlyArray<Guest.Word>,
    options?: ExecStreamOptions<E, R>
  ) => Stream.Stream<ExecEvent, LightboxError | E, R>
  /** Runs a script and gives what happens while it does. Ending the stream early kills it. */
  readonly shellStream: <E = never, R = never>(
    script: string,
    options?: ExecStreamOptions<E, R>
  ) => Stream.Stream<ExecEvent, LightboxError | E, R>
  /** Starts a program, killed when the scope closes, to talk to while it runs. */
  readonly spawn: (
    command: string,
    args?: ReadonlyArray<Guest.Word>,
    options?: Omit<ExecStreamOptions, "stdin" | "check" | "timeout">
  ) => Effect.Effect<Guest.Process, LightboxError, Scope.Scope>

  /**
   * Runs a program with the terminal of this process, and gives its exit code. Ctrl+] ends it and gives 0. Without a
   * terminal, this process's input and output are passed through as they are.
   */
  readonly attach: (
    command: string,
    args?: ReadonlyArray<Guest.Word>,
    options?: Pick<ExecOptions, "cwd" | "user" | "env" | "rlimits">
  ) => Effect.Effect<number, LightboxError>
  /** {@link Sandbox.attach} with the sandbox's shell. */
  readonly attachShell: Effect.Effect<number, LightboxError>

  /**
   * Copies a file of this host, or what is in a folder, into the guest, and makes the folders above it. Permissions
   * are kept. The guest needs `tar`.
   */
  readonly copyIn: (hostPath: string, path: string, options?: CopyInOptions) => Effect.Effect<void, LightboxError>
  /**
   * Copies a file of the guest, or what is in a folder, to this host, and makes the folders above it. Permissions are
   * kept, but for setuid and setgid; what leads out of the folder, such as a link, is refused with `FileError`. The
   * guest needs `tar` for a folder. When it fails, what was copied by then stays.
   */
  readonly copyOut: (path: string, hostPath: string) => Effect.Effect<void, LightboxError>

  /** What the runtime knows of the sandbox now. */
  readonly info: Effect.Effect<Microsandbox.SandboxInfo, LightboxError>
  /** Shuts the guest down; its disk stays until the scope closes. Killed after `timeout`, default 10 seconds. */
  readonly stop: (options?: { readonly timeout?: Duration.Input | undefined }) => Effect.Effect<void, LightboxError>
  /** Ends the virtual machine at once, even with commands hanging in it. */
  readonly kill: Effect.Effect<void, LightboxError>
  /** Lets the sandbox outlive the scope and this process: neither the scope nor a sweep removes it. */
  readonly detach: Effect.Effect<void, LightboxError>
  /** The same for a time: a sweep after that removes it, running or not. */
  readonly detachFor: (timeToLive: Duration.Input) => Effect.Effect<void, LightboxError>
  /** Time for one message to the guest and back. */
  readonly ping: Effect.Effect<Duration.Duration, LightboxError>
  /** Puts off the idle timeout. */
  readonly touch: Effect.Effect<void, LightboxError>
  /**
   * What the sandbox uses now. Fails with `Unsupported` where metrics are off. As a stream, for instance every second:
   * `Stream.fromEffectSchedule(sandbox.metrics, Schedule.spaced("1 second"))`.
   */
  readonly metrics: Effect.Effect<Microsandbox.Metrics, LightboxError>
  /** What the sandbox logged so far, and with `follow` what it logs from then on. */
  readonly logs: (
    query?: Microsandbox.LogQuery & { readonly follow?: boolean | undefined }
  ) => Stream.Stream<Microsandbox.LogEntry, LightboxError>
  /** Changes the sandbox, or tells what a change would do. */
  readonly modify: (change: Microsandbox.ModifySandbox) => Effect.Effect<Microsandbox.ModificationPlan, LightboxError>
}

/**
 * Checks whether a value is a {@link Sandbox}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isSandbox = (u: unknown): u is Sandbox => Predicate.hasProperty(u, TypeId)

/**
 * The service of a program's one sandbox, as {@link layer} provides it.
 *
 * **Example** (Using the sandbox of the context)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const kernel = Effect.gen(function* () {
 *   const sandbox = yield* Sandbox.Sandbox
 *   return (yield* sandbox.exec("uname", ["-r"])).stdout
 * })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const Sandbox: Context.Service<Sandbox, Sandbox> = Context.Service<Sandbox>("effect-lightbox/Sandbox")

// =============================================================================
// Launching
// =============================================================================

/**
 * What a sandbox boots from: a snapshot (by name, as built, or as an effect that
 * gives it, such as a build or the service of a snapshot's layer), or an image.
 *
 * **Example** (A snapshot that is built when needed)
 *
 * ```ts
 * import { Sandbox, Snapshot } from "effect-lightbox"
 *
 * const tools = Snapshot.make("tools", "alpine").pipe(Snapshot.shell("apk add git"))
 *
 * export const sandbox = Sandbox.launch({ snapshot: Snapshot.build(tools) })
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export type SourceOptions<E = never, R = never> =
  | {
      readonly snapshot: string | BootableSnapshot | Effect.Effect<BootableSnapshot, E, R>
      readonly image?: undefined
    }
  | { readonly image: string; readonly snapshot?: undefined }

/**
 * A snapshot that can be booted: anything with the path of its folder.
 *
 * **Example** (Booting exactly this one, whatever its name leads to later)
 *
 * ```ts
 * import { Sandbox } from "effect-lightbox"
 *
 * export const launch = (snapshot: Sandbox.BootableSnapshot) => Sandbox.launch({ snapshot })
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface BootableSnapshot {
  readonly path: string
}

/**
 * Options of {@link launch}.
 *
 * **Example** (Options in a variable)
 *
 * ```ts
 * import type { Sandbox } from "effect-lightbox"
 *
 * export const options: Sandbox.LaunchOptions = {
 *   snapshot: "node-ci",
 *   resources: { cpus: 2, memory: "1G" },
 *   mounts: { "/work": "./my-project" },
 *   cwd: "/work"
 * }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export type LaunchOptions<E = never, R = never> = SourceOptions<E, R> &
  SandboxConfig.Options & {
    /** Destroy a sandbox that has the name. Default: `false`, fail with `AlreadyExists`. */
    readonly overwrite?: boolean | undefined
    /**
     * Let the sandbox outlive the scope, this process and Ctrl-C: only `Sandbox.remove` removes it. Default: `false`, it
     * is removed when the scope closes, and ends with the process.
     */
    readonly detached?: boolean | undefined
    /** Receives the progress of a pull, in a fiber of its own. */
    readonly onPullProgress?: ((progress: Microsandbox.PullProgress) => Effect.Effect<void>) | undefined
    /** How long releasing may take before it is given up, logged and left. Default: 30 seconds. */
    readonly releaseTimeout?: Duration.Input | undefined
  }

const decodeConfig = decoder(SandboxConfig.SandboxConfig, "Sandbox.launch")
const decodeImage = decoder(ImageReference, "Sandbox.launch", "image")
const decodeReleaseTimeout = decoder(Schema.UndefinedOr(DurationInput), "Sandbox.launch", "releaseTimeout")
const decodeDetached = decoder(Schema.UndefinedOr(Schema.Boolean), "Sandbox.launch", "detached")
const decodeOverwrite = decoder(Schema.UndefinedOr(Schema.Boolean), "Sandbox.launch", "overwrite")
const decodeSnapshotName = decoder(CString, "Sandbox.launch", "snapshot")
const decodeName = (method: string, name: string): Effect.Effect<string, LightboxError> =>
  decoder(Name, method, "name")(name)
const decodeWaitTimeout = decoder(Schema.UndefinedOr(DurationInput), "Sandbox.waitFor", "timeout")
const decodeStopTimeout = decoder(Schema.UndefinedOr(DurationInput), "Sandbox.stop", "timeout")
const decodeRestartTimeout = decoder(Schema.UndefinedOr(DurationInput), "Sandbox.restart", "timeout")

/**
 * Boots a sandbox that lives until the scope closes.
 *
 * **Details**
 *
 * All options are checked before anything boots; a wrong one fails with
 * `InvalidConfig` and its name. Interrupted while it boots, the virtual machine
 * is killed and nothing is left of it. When the scope closes, mounts that can be
 * written to are flushed, the virtual machine is killed, and sandbox and disk are
 * removed; a named volume stays. The sandbox ends with the process, too, however
 * that ends.
 *
 * Fails with `NotFound` for a snapshot that does not exist, `ImageUnavailable`,
 * `AlreadyExists` for a name that is taken, `NoVirtualization`, and `BootFailed`
 * or `TimedOut` when the guest does not come up.
 *
 * **Example** (Sharing a folder with a sandbox)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const test = Effect.scoped(
 *   Effect.gen(function* () {
 *     const sandbox = yield* Sandbox.launch({
 *       snapshot: "node-ci",
 *       mounts: { "/work": "./my-project" },
 *       cwd: "/work"
 *     })
 *     return yield* sandbox.shell("npm test", { timeout: "5 minutes" })
 *   })
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const launch = Effect.fn("Sandbox.launch")(function* <E = never, R = never>(
  options: LaunchOptions<E, R>
): Effect.fn.Return<Sandbox, LightboxError | E, Services | Scope.Scope | R> {
  const { detached, image, onPullProgress, overwrite, releaseTimeout, snapshot, ...rest } = options
  if ((image === undefined) === (snapshot === undefined)) {
    return yield* invalid("Sandbox.launch", "snapshot", "pass either a snapshot or an image")
  }
  const config = yield* decodeConfig(rest)
  const timeout = yield* decodeReleaseTimeout(releaseTimeout)
  const isDetached = yield* decodeDetached(detached)
  const onConflict = (yield* decodeOverwrite(overwrite)) === true ? "replace" : "fail"
  const source = yield* image === undefined
    ? Effect.map(resolveSnapshot(snapshot), (name) => ({ _tag: "Snapshot", name }) as const)
    : Effect.map(decodeImage(image), (reference) => ({ _tag: "Image", reference }) as const)
  const name = config.name ?? (yield* generateName())
  const launching = (onPullProgress?: Microsandbox.CreateSandbox["onPullProgress"]) =>
    internal.launch({
      config,
      timeout: timeout ?? Duration.seconds(30),
      request: { name, source, config, onConflict, detached: isDetached, onPullProgress }
    })
  if (onPullProgress === undefined) return yield* launching()
  return yield* Effect.acquireUseRelease(
    Scope.make(),
    (scope) => Effect.flatMap(Scope.provide(Listener.make(onPullProgress), scope), launching),
    Scope.close
  )
})

const resolveSnapshot = <E, R>(
  snapshot: string | BootableSnapshot | Effect.Effect<BootableSnapshot, E, R> | undefined
): Effect.Effect<string, LightboxError | E, R> =>
  Effect.isEffect(snapshot)
    ? Effect.map(snapshot, ({ path }) => path)
    : Predicate.hasProperty(snapshot, "path") && Predicate.isString(snapshot.path)
      ? Effect.succeed(snapshot.path)
      : Predicate.hasProperty(snapshot, DefinitionTypeId)
        ? Effect.fail(invalid("Sandbox.launch", "snapshot", "this is a definition: pass Snapshot.build(definition)"))
        : decodeSnapshotName(snapshot)

/**
 * Boots a sandbox, hands it to a function, and removes it when the function's
 * effect ends, however it ends.
 *
 * **Example** (One command in a fresh machine)
 *
 * ```ts
 * import { Sandbox } from "effect-lightbox"
 *
 * export const answer = Sandbox.run({ snapshot: "py-data" }, (sandbox) =>
 *   sandbox.exec("python", ["-c", "print(6 * 7)"])
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = <A, E2, R2, E = never, R = never>(
  options: LaunchOptions<E, R>,
  use: (sandbox: Sandbox) => Effect.Effect<A, E2, R2>
): Effect.Effect<A, LightboxError | E | E2, Services | R | Exclude<R2, Scope.Scope>> =>
  Effect.scoped(Effect.flatMap(launch(options), use))

/**
 * Connects to a sandbox that runs, whoever started it. Closing the scope ends
 * the connection and the commands started over it; the sandbox goes on.
 *
 * Fails with `NotFound`, or `NotRunning` when it is stopped.
 *
 * **Example** (Looking into a detached sandbox)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const uptime = Effect.scoped(
 *   Effect.flatMap(Sandbox.connect("agent-1"), (sandbox) => sandbox.exec("uptime"))
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const connect = Effect.fn("Sandbox.connect")(function* (
  name: string
): Effect.fn.Return<Sandbox, LightboxError, Microsandbox.Microsandbox | Scope.Scope> {
  const driver = yield* Microsandbox.Microsandbox
  const info = yield* driver.getSandbox(yield* decodeName("Sandbox.connect", name))
  if (info.status !== "running") {
    return yield* new LightboxError({
      method: "Sandbox.connect",
      reason: new NotRunning({ name, status: info.status })
    })
  }
  return make(driver, info, yield* driver.connect(info))
})

/**
 * Boots a sandbox that exists and is stopped, with the disk it had, and connects
 * to it. It keeps running when the scope closes if `detached`, and is stopped
 * (not removed) otherwise.
 *
 * Fails with `NotFound`, or `StillRunning` when it runs already.
 *
 * **Example** (Going on where a builder was left)
 *
 * ```ts
 * import { Sandbox } from "effect-lightbox"
 *
 * export const builder = Sandbox.start("node-ci-builder", { detached: true })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const start = Effect.fn("Sandbox.start")(function* (
  name: string,
  options?: { readonly detached?: boolean | undefined }
): Effect.fn.Return<Sandbox, LightboxError, Services | Scope.Scope> {
  const driver = yield* Microsandbox.Microsandbox
  const info = yield* driver.getSandbox(yield* decodeName("Sandbox.start", name))
  return yield* internal.start(info, options)
})

/**
 * Shuts a sandbox down, killing it after `timeout` (default 10 seconds), and
 * boots it again with the disk it had: {@link start} of one that runs or is
 * stopped. Handles made before are of no use afterwards.
 *
 * **Example** (After changing what only counts at boot)
 *
 * ```ts
 * import { Sandbox } from "effect-lightbox"
 *
 * export const restarted = Sandbox.restart("agent-1", { detached: true })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const restart = Effect.fn("Sandbox.restart")(function* (
  name: string,
  options?: { readonly detached?: boolean | undefined; readonly timeout?: Duration.Input | undefined }
): Effect.fn.Return<Sandbox, LightboxError, Services | Scope.Scope> {
  const driver = yield* Microsandbox.Microsandbox
  const info = yield* driver.getSandbox(yield* decodeName("Sandbox.restart", name))
  const timeout = yield* decodeRestartTimeout(options?.timeout)
  if (info.status === "running") yield* driver.stopSandbox(info, { timeout })
  return yield* start(name, options)
})

/**
 * Shuts a sandbox down by name, and keeps its disk. Its guest is killed after
 * `timeout` (default 10 seconds). Succeeds if it is stopped already; fails with
 * `NotFound`.
 *
 * @category operations
 * @since 0.1.0
 */
export const stop = Effect.fn("Sandbox.stop")(function* (
  name: string,
  options?: { readonly timeout?: Duration.Input | undefined }
): Effect.fn.Return<void, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  const info = yield* driver.getSandbox(yield* decodeName("Sandbox.stop", name))
  yield* driver.stopSandbox(info, { timeout: yield* decodeStopTimeout(options?.timeout) })
})

/**
 * Ends the virtual machine of a sandbox at once, by name, and keeps its disk.
 * Fails with `NotFound`.
 *
 * @see {@link stop} to let the guest shut down
 * @category operations
 * @since 0.1.0
 */
export const kill = Effect.fn("Sandbox.kill")(function* (
  name: string
): Effect.fn.Return<void, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  yield* driver.killSandbox(yield* driver.getSandbox(yield* decodeName("Sandbox.kill", name)))
})

/**
 * Removes a sandbox by name, with its disk. What does not exist is no failure.
 *
 * Fails with `StillRunning` when it runs, unless `force`, which kills it first.
 *
 * **Example** (Making a name free)
 *
 * ```ts
 * import { Sandbox } from "effect-lightbox"
 *
 * export const freed = Sandbox.remove("agent-1", { force: true })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const remove = Effect.fn("Sandbox.remove")(function* (
  name: string,
  options?: { readonly force?: boolean | undefined }
): Effect.fn.Return<void, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  yield* Effect.flatMap(driver.getSandbox(yield* decodeName("Sandbox.remove", name)), (info) =>
    driver.removeSandbox(info, options)
  ).pipe(Effect.catchReason("LightboxError", "NotFound", () => Effect.void))
})

/**
 * All sandboxes of the home directory, or those that have all the given labels.
 *
 * **Example** (Names of a team's sandboxes)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const names = Effect.map(Sandbox.list({ labels: { team: "platform" } }), (all) => all.map(({ name }) => name))
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const list = Effect.fn("Sandbox.list")(function* (filter?: {
  readonly labels?: { readonly [key: string]: string } | undefined
}): Effect.fn.Return<ReadonlyArray<Microsandbox.SandboxInfo>, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  return yield* driver.listSandboxes(filter)
})

/**
 * What the runtime knows of a sandbox. Fails with `NotFound`.
 *
 * **Example** (Asking for the status)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const status = Effect.map(Sandbox.get("agent-1"), (sandbox) => sandbox.status)
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const get = Effect.fn("Sandbox.get")(function* (
  name: string
): Effect.fn.Return<Microsandbox.SandboxInfo, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  return yield* driver.getSandbox(yield* decodeName("Sandbox.get", name))
})

/**
 * Waits until a sandbox has a status, looking four times a second, and gives up
 * after `timeout` (default 30 seconds) with `TimedOut`.
 *
 * **Example** (Waiting for the end of a sandbox with a maximum duration)
 *
 * ```ts
 * import { Sandbox } from "effect-lightbox"
 *
 * export const ended = Sandbox.waitFor("job-7", "stopped", { timeout: "1 hour" })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const waitFor = Effect.fn("Sandbox.waitFor")(function* (
  name: string,
  status: Microsandbox.SandboxStatus,
  options?: { readonly timeout?: Duration.Input | undefined }
): Effect.fn.Return<Microsandbox.SandboxInfo, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  const checkedName = yield* decodeName("Sandbox.waitFor", name)
  const timeout = (yield* decodeWaitTimeout(options?.timeout)) ?? Duration.seconds(30)
  return yield* driver.getSandbox(checkedName).pipe(
    Effect.repeat({ until: (info) => info.status === status, schedule: Schedule.spaced("250 millis") }),
    Effect.timeoutOrElse({
      duration: timeout,
      orElse: () =>
        Effect.fail(
          new LightboxError({
            method: "Sandbox.waitFor",
            reason: new TimedOut({ operation: `waiting for "${name}" to be ${status}`, limitMillis: millis(timeout) })
          })
        )
    })
  )
})

// =============================================================================
// Layers
// =============================================================================

/**
 * Provides {@link Sandbox}: booted when first needed, shared by all that need it,
 * removed when the layer is closed.
 *
 * **Example** (A sandbox on a snapshot that is a layer, too)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { MicrosandboxLocal, Sandbox, Snapshot } from "effect-lightbox"
 *
 * const tools = Snapshot.make("tools", "alpine").pipe(Snapshot.shell("apk add git"))
 *
 * const live = Sandbox.layer({ snapshot: Snapshot.Current }).pipe(
 *   Layer.provide(Snapshot.layer(tools)),
 *   Layer.provide(MicrosandboxLocal.layer())
 * )
 *
 * export const program = Sandbox.Sandbox.use((sandbox) => sandbox.exec("git", ["--version"])).pipe(
 *   Effect.provide(live)
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <E = never, R = never>(
  options: LaunchOptions<E, R>
): Layer.Layer<Sandbox, LightboxError | E, Services | Exclude<R, Scope.Scope>> => Layer.effect(Sandbox, launch(options))

/**
 * Provides {@link Sandbox} with options from the configuration.
 *
 * **Example** (An image from the environment)
 *
 * ```ts
 * import { Config } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const live = Sandbox.layerConfig({ image: Config.String("IMAGE"), network: Config.succeed("none") })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<LaunchOptions>
): Layer.Layer<Sandbox, LightboxError | Config.ConfigError, Services> =>
  Layer.effect(
    Sandbox,
    Effect.flatMap(Config.unwrap(options), (options) => launch(options))
  )

/**
 * A service class for one sandbox of several: its own tag, with a `layer` that
 * launches it.
 *
 * **Example** (Two sandboxes in one program)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * class Web extends Sandbox.Service<Web>()("Web", { snapshot: "web", ports: { 8080: 80 } }) {}
 * class Database extends Sandbox.Service<Database>()("Database", { snapshot: "postgres" }) {}
 *
 * export const program = Effect.gen(function* () {
 *   const web = yield* Web
 *   const database = yield* Database
 *   return [web.name, database.name]
 * }).pipe(Effect.provide(Layer.mergeAll(Web.layer, Database.layer)))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const Service =
  <Self>() =>
  <const Id extends string, E = never, R = never>(
    id: Id,
    options: LaunchOptions<E, R>
  ): Context.ServiceClass<Self, Id, Sandbox> & {
    readonly layer: Layer.Layer<Self, LightboxError | E, Services | Exclude<R, Scope.Scope>>
  } => {
    const service = Context.Service<Self, Sandbox>()(id)
    return Object.assign(service, { layer: Layer.effect(service, launch(options)) })
  }
