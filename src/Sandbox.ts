/**
 * Sandboxes: microVMs booted from a snapshot or an image, as scoped resources.
 *
 * {@link launch} boots one for a scope, {@link run} for a function, {@link layer} for a layer. On success, failure,
 * defect or interruption, the sandbox is removed, unless it is detached.
 *
 * **Example** (Run untrusted code)
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
import * as Arr from "effect/Array"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as Struct from "effect/Struct"
import * as Admission from "./Admission.ts"
import type { Services } from "./Driver.ts"
import type * as Guest from "./Guest.ts"
import type * as Job from "./Job.ts"
import * as Listener from "./internal/report/listener.ts"
import { merge, withoutDependencies, withoutDiskChanges } from "./internal/config/defaults.ts"
import { DurationInput, Func, ImageReference, intBetween, Labels, Name, notBlank } from "./internal/config/schemas.ts"
import { publishedPorts } from "./internal/driver/ports.ts"
import { generateName, roleLabel } from "./internal/ownership/labels.ts"
import { eventText, type ExecResult } from "./internal/sandbox/results.ts"
import { connect as connectTo } from "./internal/sandbox/connection.ts"
import * as Defaults from "./internal/sandbox/defaults.ts"
import * as Drift from "./internal/sandbox/drift.ts"
import * as Handle from "./internal/sandbox/handle.ts"
import { knownOf, make, type TypeId } from "./internal/sandbox/handle.ts"
import { withMemory } from "./internal/sandbox/fork.ts"
import * as Group from "./internal/sandbox/group.ts"
import * as internal from "./internal/sandbox/launch.ts"
import * as RunningServices from "./internal/sandbox/services.ts"
import {
  callDecoder,
  checkFunction,
  checkObject,
  decodeName,
  decoder,
  DefinitionTypeId,
  invalid,
  optionsDecoder,
  timeLimit
} from "./internal/config/validation.ts"
import { LightboxError, NotRunning, Unsupported } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"
import type * as Probe from "./Probe.ts"
import * as SandboxConfig from "./SandboxConfig.ts"

// =============================================================================
// Models
// =============================================================================

export { ExecResult } from "./internal/sandbox/results.ts"

/**
 * Options for running a command.
 *
 * @category options
 * @since 0.1.0
 */
export interface ExecOptions<E = never, R = never> {
  /** Working directory. Default: the sandbox's. */
  readonly cwd?: string | undefined
  /** User, by name or id. Default: the sandbox's. */
  readonly user?: string | undefined
  /** Variables added to the sandbox's. Redacted values are visible only in the guest. */
  readonly env?: { readonly [name: string]: Guest.Word } | undefined
  /** POSIX limits by name, such as `{ nofile: 1024 }`. Default: the sandbox's. */
  readonly rlimits?: { readonly [name: string]: number | { readonly soft: number; readonly hard: number } } | undefined
  /** Input of the command. Default: empty. */
  readonly stdin?: string | Uint8Array | Stream.Stream<Uint8Array, E, R> | undefined
  /** Kill the command's process group after this time, and fail with `TimedOut`. Default: no limit. */
  readonly timeout?: Duration.Input | undefined
  /** Fail with `CommandFailed` if the exit code is not 0. Default: `false`. */
  readonly check?: boolean | undefined
  /**
   * Limit for both outputs together, such as `"1M"`. Beyond it, the command is killed and fails with `OutputTooLarge`.
   * Default: 256 MiB.
   */
  readonly maxOutput?: SandboxConfig.Size | undefined
}

/**
 * Options for running a command whose output is read while it runs.
 *
 * @category options
 * @since 0.1.0
 */
export interface ExecStreamOptions<E = never, R = never> extends Omit<ExecOptions<E, R>, "maxOutput"> {
  /** Handling of output that arrives faster than it is read. Default: buffer 4 MiB in memory, the rest on disk. */
  readonly output?: Guest.OutputPolicy | undefined
  /** Give the command a terminal of this size, which merges its two outputs. Default: no terminal. */
  readonly terminal?: Guest.TerminalSize | undefined
}

/**
 * Options for copying into a sandbox.
 *
 * @category options
 * @since 0.1.0
 */
export interface CopyInOptions {
  /**
   * Patterns to skip, as in a `.gitignore`, relative to the copied folder: lines, or the text of a whole file. Blank
   * lines and comments are skipped. Default: none.
   */
  readonly ignore?: ReadonlyArray<string> | undefined
  /** Permission bits of files; folders also get the execute bits. Default: those on the host. */
  readonly mode?: number | undefined
  /** Owner of the copies. Default: root. */
  readonly owner?: Guest.Owner | undefined
}

/**
 * An event of a running command. `Started` is the first and `Exited` the last; each stream's output arrives in order in
 * between.
 *
 * {@link decodeText} and {@link splitLines} convert the bytes to text.
 *
 * @category models
 * @since 0.1.0
 */
export type ExecEvent = ExecStatusEvent | Guest.Output

/**
 * An event of a running command other than output. `exitCode` is -1 if a signal ended the command, and `signal` names
 * it if known.
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
 * Decodes output as UTF-8, including characters split across chunks. Invalid bytes become U+FFFD.
 *
 * **Example** (Print output as it arrives)
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
 * Decodes output as {@link decodeText} does and emits one event per line, without the line ending.
 *
 * @category combinators
 * @since 0.1.0
 */
export const splitLines = <E, R>(events: Stream.Stream<ExecEvent, E, R>): Stream.Stream<ExecTextEvent, E, R> =>
  eventText(events, { lines: true })

/**
 * Options of {@link Sandbox.forward}.
 *
 * @category options
 * @since 0.1.0
 */
export interface ForwardOptions {
  /** Port of this host. Default: 0, a free port. */
  readonly host?: number | undefined
  /** Address of this host to listen on. Default: `"127.0.0.1"`. */
  readonly bind?: string | undefined
}

/**
 * Options of {@link Sandbox.waitUntil}.
 *
 * @category options
 * @since 0.1.0
 */
export interface WaitOptions {
  /**
   * Id of the job that is to become ready. Secrets of a job that another handle or process has started are unknown, and
   * so not hidden in its last lines. Default: none.
   */
  readonly job?: string | undefined
}

/**
 * A port of this host that is forwarded to a port of a guest.
 *
 * @category models
 * @since 0.1.0
 */
export interface Forward {
  /** Port of the guest. */
  readonly guest: number
  /** Port of this host. */
  readonly host: number
  /** Address of this host. */
  readonly bind: string
  /** The address as an `http://` URL. */
  readonly url: string
  /** Stops listening and closes all connections, before the scope does. */
  readonly close: Effect.Effect<void>
  /** Completes when the forward closes, for any reason. */
  readonly closed: Effect.Effect<void>
}

/**
 * A running sandbox.
 *
 * All operations can run concurrently. Interrupting a command, a read or a write ends it in the guest. When the virtual
 * machine stops, every operation fails with `GuestLost` as soon as the host's kernel reports it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sandbox extends Guest.Files {
  readonly [TypeId]: typeof TypeId
  readonly name: string
  /** Identifies the sandbox, even if its name is reused. */
  readonly id: string
  /** The guest's ports published on this host, including the port chosen for host port 0. */
  readonly ports: ReadonlyArray<Microsandbox.PublishedPort>
  /**
   * `"memory"`: its launch or fork resumed a captured machine, whose processes go on. Absent if it booted, and in handles of
   * {@link connect}.
   */
  readonly resumed: "memory" | undefined
  /** The channel to the guest, for lower-level operations. */
  readonly guest: Guest.Guest

  /** Runs a program and returns its output. */
  readonly exec: <E = never, R = never>(
    command: string,
    args?: ReadonlyArray<Guest.Word>,
    options?: ExecOptions<E, R>
  ) => Effect.Effect<ExecResult, LightboxError | E, R>
  /** Runs a script in the sandbox's shell and returns its output. */
  readonly shell: <E = never, R = never>(
    script: string,
    options?: ExecOptions<E, R>
  ) => Effect.Effect<ExecResult, LightboxError | E, R>
  /** Runs a program and streams its events. Ending the stream early kills it. */
  readonly execStream: <E = never, R = never>(
    command: string,
    args?: ReadonlyArray<Guest.Word>,
    options?: ExecStreamOptions<E, R>
  ) => Stream.Stream<ExecEvent, LightboxError | E, R>
  /** Runs a script and streams its events. Ending the stream early kills it. */
  readonly shellStream: <E = never, R = never>(
    script: string,
    options?: ExecStreamOptions<E, R>
  ) => Stream.Stream<ExecEvent, LightboxError | E, R>
  /** Starts a program to interact with while it runs. Closing the scope kills it. */
  readonly spawn: (
    command: string,
    args?: ReadonlyArray<Guest.Word>,
    options?: Omit<ExecStreamOptions, "stdin" | "check" | "timeout">
  ) => Effect.Effect<Guest.Process, LightboxError, Scope.Scope>

  /**
   * Opens a port on this host and forwards it to a TCP port of the guest, for the scope or until the guest is lost.
   * Each connection accepted here opens one in the guest, from its own 127.0.0.1, so servers that listen only there are
   * reached, whatever the sandbox's network. Either side can end before the other. If nothing listens in the guest, the
   * connection is closed immediately, so you can open the port before the server starts.
   *
   * Fails with `InvalidConfig`, which names `host`, if the port is in use. Unread data is buffered like the
   * output of a command.
   */
  readonly forward: (guestPort: number, options?: ForwardOptions) => Effect.Effect<Forward, LightboxError, Scope.Scope>
  /** The open forwards that were opened through this handle. */
  readonly forwards: Effect.Effect<ReadonlyArray<Forward>>
  /**
   * Starts a job: a program that outlives this connection and this process, but not the sandbox. Returns once its
   * supervisor runs. The guest needs `setsid`. Fails with `CommandNotStarted`, with `AlreadyExists` (id), and with
   * `FileError` and the code `ENOSPC` if the guest's disk is full, and with `Unsupported` if the guest can make no
   * `terminal`. Interrupting it leaves no job.
   */
  readonly start: (
    command: string,
    args?: ReadonlyArray<Guest.Word>,
    options?: Job.StartOptions
  ) => Effect.Effect<Job.Job, LightboxError>
  /** Lists the jobs of the sandbox, whichever process started them, in the order of their starts. */
  readonly jobs: Effect.Effect<ReadonlyArray<Job.Info>, LightboxError>
  /** Finds a job, whichever process started it. Fails with `NotFound`. */
  readonly job: (id: string) => Effect.Effect<Job.Job, LightboxError>
  /**
   * Waits until a probe succeeds, such as `{ http: 3000 }`. Fails with `NotReady`, which contains the last observation,
   * after the probe's `timeout`. With `job`, it also fails, with the last lines of the job's log, as soon as the job
   * has ended and one last attempt fails. Fails with `NotFound` if there is no such job, and with `GuestLost` if the
   * sandbox ends.
   */
  readonly waitUntil: (probe: Probe.ProbeInput, options?: WaitOptions) => Effect.Effect<void, LightboxError>

  /**
   * Runs a program on the terminal of this process and returns its exit code. Ctrl+] ends the program and returns 0.
   * Without a terminal, input and output are passed through unchanged.
   */
  readonly attach: (
    command: string,
    args?: ReadonlyArray<Guest.Word>,
    options?: Pick<ExecOptions, "cwd" | "user" | "env" | "rlimits">
  ) => Effect.Effect<number, LightboxError>
  /** Runs the sandbox's shell, as {@link Sandbox.attach} does. */
  readonly attachShell: Effect.Effect<number, LightboxError>

  /**
   * Copies a file or a folder's content from this host to the guest, creating parent folders and keeping permissions.
   * Folders that exist keep their owner and mode, also behind links; files and links are replaced. Fails before anything
   * is copied if the path does not exist (`InvalidConfig`), or if a file would replace a folder, or a folder a file;
   * later, if a file of this host, or on Linux a folder, was replaced since it was listed. The guest needs `tar`.
   */
  readonly copyIn: (hostPath: string, path: string, options?: CopyInOptions) => Effect.Effect<void, LightboxError>
  /**
   * Copies a file or a folder's content from the guest to this host, creating parent folders. Keeps permissions except
   * setuid and setgid. Fails with `FileError` for pipes, devices, links out of the folder, names that are not UTF-8, and
   * above `maxBytes` (default: 16 GiB). The guest needs `tar` for folders. On failure, files already copied stay.
   *
   * A guest that replaces files during the copy can only affect which of its own files are copied. Other users of this
   * host should not be able to write to `hostPath` meanwhile: a link that they put there may be followed.
   */
  readonly copyOut: (path: string, hostPath: string, options?: Guest.ReadOptions) => Effect.Effect<void, LightboxError>

  /** Reads the sandbox's current state from the runtime. */
  readonly info: Effect.Effect<Microsandbox.SandboxInfo, LightboxError>
  /** Shuts the guest down, killing it after `timeout` (default: 10 seconds). The disk stays until the scope closes. */
  readonly stop: (options?: { readonly timeout?: Duration.Input | undefined }) => Effect.Effect<void, LightboxError>
  /** Ends the virtual machine immediately, even if commands hang. */
  readonly kill: Effect.Effect<void, LightboxError>
  /**
   * Keeps the sandbox after the scope closes and this process exits. A sweep (the removal of what dead processes left)
   * skips it.
   */
  readonly detach: Effect.Effect<void, LightboxError>
  /** Detaches the sandbox for a limited time. A later sweep removes it, running or not. */
  readonly detachFor: (timeToLive: Duration.Input) => Effect.Effect<void, LightboxError>
  /** Measures the round trip of a message to the guest. */
  readonly ping: Effect.Effect<Duration.Duration, LightboxError>
  /** Resets the idle timeout. */
  readonly touch: Effect.Effect<void, LightboxError>
  /**
   * Measures current resource use. Fails with `Unsupported` if metrics are off. For a stream:
   * `Stream.fromEffectSchedule(sandbox.metrics, Schedule.spaced("1 second"))`.
   */
  readonly metrics: Effect.Effect<Microsandbox.Metrics, LightboxError>
  /** Streams log entries so far; with `follow`, also new ones. */
  readonly logs: (
    query?: Microsandbox.LogQuery & { readonly follow?: boolean | undefined }
  ) => Stream.Stream<Microsandbox.LogEntry, LightboxError>
  /**
   * Halts the sandbox: its processors stop, its memory stays, and its status is `"paused"`. What is sent to the guest waits
   * until it {@link Sandbox.resume | goes on}. Fails with `Unsupported` if the driver cannot do so.
   */
  readonly pause: Effect.Effect<void, LightboxError>
  /** Lets a paused sandbox go on, and sets its clock. Does nothing if it is running. */
  readonly resume: Effect.Effect<void, LightboxError>
  /**
   * Grows the root disk while the sandbox runs, to a size such as `"8G"`. It cannot shrink. Fails with `Unsupported` if the
   * driver cannot do so, or if the disk is an overlay; {@link Sandbox.modify} then grows it at the next start.
   */
  readonly growRootDisk: (size: SandboxConfig.Size) => Effect.Effect<void, LightboxError>
  /** Changes the sandbox, or plans the change without making it. */
  readonly modify: (change: Microsandbox.ModifySandbox) => Effect.Effect<Microsandbox.ModificationPlan, LightboxError>
}

/**
 * Checks whether a value is a {@link Sandbox}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isSandbox: (u: unknown) => u is Sandbox = Handle.isSandbox

/**
 * The service tag for a program's only sandbox, provided by {@link layer}.
 *
 * @category services
 * @since 0.1.0
 */
export const Sandbox: Context.Service<Sandbox, Sandbox> = Context.Service<Sandbox>("effect-lightbox/Sandbox")

// =============================================================================
// Launching
// =============================================================================

/**
 * The source to boot: an image, or a snapshot given by name, as a build result, or as an effect that returns one, such
 * as a build or the service of `Snapshot.layer`.
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
 * A snapshot that can be booted: any value with the path of its folder. Booting it ignores later changes of its name.
 *
 * @category models
 * @since 0.1.0
 */
export interface BootableSnapshot {
  readonly path: string
  /** Launch defaults. Default: none. */
  readonly defaults?: SandboxConfig.LaunchDefaults | undefined
}

/**
 * Options of {@link launch}.
 *
 * @category options
 * @since 0.1.0
 */
export type LaunchOptions<E = never, R = never> = SourceOptions<E, R> &
  SandboxConfig.Options & {
    /** Replace a sandbox with the same name. Default: `false`, which fails with `AlreadyExists`. */
    readonly overwrite?: boolean | undefined
    /**
     * Keep the sandbox after the scope closes and the process exits (Ctrl-C included), until `Sandbox.remove`. Default:
     * `false`, which removes it with the scope and stops it with the process.
     */
    readonly detached?: boolean | undefined
    /** Receives the progress of an image pull. Runs in a separate fiber. */
    readonly onPullProgress?: ((progress: Microsandbox.PullProgress) => Effect.Effect<void>) | undefined
    /** Time limit for removal, after which a warning is logged and the rest is left behind. Default: 30 seconds. */
    readonly releaseTimeout?: Duration.Input | undefined
  }

const decodeConfig = decoder(SandboxConfig.SandboxConfig, "Sandbox.launch")
const decodeImage = decoder(ImageReference, "Sandbox.launch", "image")
const decodeLaunch = decoder(
  Schema.Struct({
    releaseTimeout: Schema.optional(DurationInput),
    detached: Schema.optional(Schema.Boolean),
    overwrite: Schema.optional(Schema.Boolean),
    onPullProgress: Schema.optional(Func)
  }),
  "Sandbox.launch"
)
const decodeSnapshotName = decoder(notBlank("the name of a snapshot"), "Sandbox.launch", "snapshot")

const detached = Schema.optional(Schema.Boolean)
const timeout = Schema.optional(DurationInput)
const decodeGetOrCreate = optionsDecoder("Sandbox.getOrCreate", Schema.Struct({ timeout }))
const decodeFork = optionsDecoder(
  "Sandbox.fork",
  Schema.Struct({
    count: Schema.optional(intBetween(1, 1000)),
    memory: Schema.optional(Schema.Boolean),
    name: Schema.optional(Name),
    options: Schema.optional(SandboxConfig.SandboxConfig)
  })
)
const decodeStart = optionsDecoder("Sandbox.start", Schema.Struct({ detached }))
const decodeRestart = optionsDecoder("Sandbox.restart", Schema.Struct({ detached, timeout }))
const decodeStop = optionsDecoder("Sandbox.stop", Schema.Struct({ timeout }))
const decodeRemove = optionsDecoder("Sandbox.remove", Schema.Struct({ force: Schema.optional(Schema.Boolean) }))
const decodeList = optionsDecoder("Sandbox.list", Schema.Struct({ labels: Schema.optional(Labels) }))
const decodeWaitFor = callDecoder(
  "Sandbox.waitFor",
  Schema.Struct({ status: Microsandbox.SandboxStatus }),
  Schema.Struct({ timeout })
)

/**
 * Boots a sandbox that lives until the scope closes. It gets the launch defaults of the snapshot, which options override.
 *
 * **Details**
 *
 * All options are checked before anything boots; an invalid one fails with `InvalidConfig`, which names it.
 * Interrupting the boot kills the virtual machine and removes it. When the scope closes, writable mounts are flushed,
 * the virtual machine is killed, and the sandbox and its disk are removed; named volumes stay. The sandbox also stops
 * when the process exits for any reason.
 *
 * Fails with `NotFound` (snapshot), `ImageUnavailable`, `AlreadyExists` (name), `NoVirtualization`, `BootFailed` or
 * `TimedOut` if the guest does not start, and `NotReady` or `CommandNotStarted` if a service does not.
 *
 * **Example** (Mount a folder)
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
  yield* checkObject("Sandbox.launch", options)
  const checked = yield* checkLaunch(options)
  yield* Effect.annotateCurrentSpan(
    checked.source._tag === "Image"
      ? { "lightbox.image": checked.source.reference }
      : { "lightbox.snapshot": Predicate.isString(options.snapshot) ? options.snapshot : checked.source.name }
  )
  const sandbox = yield* boot(checked)
  yield* Effect.annotateCurrentSpan("lightbox.sandbox", sandbox.name)
  return sandbox
})

/** The checked options of a launch. */
interface Checked extends Effect.Success<ReturnType<typeof decodeLaunch>> {
  readonly config: SandboxConfig.SandboxConfig
  readonly source: SandboxConfig.Source
  readonly onPullProgress: LaunchOptions["onPullProgress"]
  /** Whether the snapshot has memory, and the driver can resume it. Default: `false`. */
  readonly canResume?: boolean | undefined
  /** Checks them again, with the defaults of the disk that a name points to then. */
  readonly again?: Effect.Effect<Checked, LightboxError, Services> | undefined
}

const checkLaunch = <E, R>(options: LaunchOptions<E, R>) =>
  Effect.flatMap(prepareLaunch(options), ({ resolved }) => resolved)

/** Checks the options themselves, and returns an effect that finds the snapshot and checks them with its defaults. */
const prepareLaunch = Effect.fnUntraced(function* <E, R>(
  options: LaunchOptions<E, R>
): Effect.fn.Return<{ readonly resolved: Effect.Effect<Checked, LightboxError | E, Services | R> }, LightboxError> {
  const { detached, image, onPullProgress, overwrite, releaseTimeout, snapshot, ...rest } = options
  if ((image === undefined) === (snapshot === undefined)) {
    return yield* invalid("Sandbox.launch", "snapshot", "pass either a snapshot or an image")
  }
  const checked = yield* decodeLaunch({ releaseTimeout, detached, overwrite, onPullProgress })
  if (image !== undefined) {
    const config = yield* decodeConfig(rest)
    const source: SandboxConfig.Source = { _tag: "Image", reference: yield* decodeImage(image) }
    return { resolved: Effect.succeed({ ...checked, config, source, onPullProgress }) }
  }
  yield* decodeConfig(withoutDependencies(rest))
  const withDefaults = Effect.fnUntraced(function* ({
    defaults,
    name
  }: Resolved): Effect.fn.Return<Checked, LightboxError, Microsandbox.Microsandbox> {
    const machine = yield* Defaults.machineOf(name)
    const merged = merge(defaults, rest)
    const config = yield* decodeConfig(
      machine === undefined || rest.resume === false ? merged : Defaults.withMachine(merged, machine)
    )
    const source: SandboxConfig.Source = { _tag: "Snapshot", name }
    return { ...checked, config, source, onPullProgress, again, canResume: machine !== undefined }
  })
  const again: Checked["again"] = Predicate.isString(snapshot)
    ? Effect.flatMap(resolveSnapshot<never, never>(snapshot), withDefaults)
    : undefined
  return { resolved: again ?? Effect.flatMap(resolveSnapshot(snapshot), withDefaults) }
})

/** Boots a sandbox, for which room may have been reserved. */
const boot: (
  asked: Checked,
  room?: Admission.Room,
  peers?: Handle.Peers
) => Effect.Effect<Sandbox, LightboxError, Services | Scope.Scope> = Effect.fnUntraced(function* (asked, room, peers) {
  const { again, canResume = false, config, onPullProgress, source, ...checked } = asked
  if (room === undefined && again !== undefined) {
    return yield* internal.allOrNothing(
      Effect.gen(function* () {
        const room = yield* (yield* Admission.Admission).admit("Sandbox.launch", config.resources?.memory)
        // The name may have moved during the wait.
        return yield* boot(yield* again, room)
      })
    )
  }
  const name = config.name ?? (yield* generateName())
  const launching = (onPullProgress?: Microsandbox.CreateSandbox["onPullProgress"]) =>
    internal.launch({
      config,
      canResume,
      peers,
      room,
      timeout: checked.releaseTimeout ?? internal.releaseTimeout,
      request: {
        name,
        source,
        config,
        onConflict: checked.overwrite === true ? "replace" : "fail",
        detached: checked.detached,
        onPullProgress
      }
    })
  if (onPullProgress === undefined) return yield* launching()
  return yield* Effect.acquireUseRelease(
    Scope.make(),
    (scope) => Effect.flatMap(Scope.provide(Listener.make(onPullProgress), scope), launching),
    Scope.close
  )
})

const find = Effect.fnUntraced(function* (method: string, name: string) {
  const driver = yield* Microsandbox.Microsandbox
  const checked = yield* decodeName(method, name)
  yield* Effect.annotateCurrentSpan("lightbox.sandbox", checked)
  return { driver, info: yield* driver.getSandbox(checked) }
})

const notRunning = (method: string, { name, status }: Microsandbox.SandboxInfo): LightboxError =>
  new LightboxError({ method, reason: new NotRunning({ name, status }) })

const resolveSnapshot = <E, R>(
  snapshot: string | BootableSnapshot | Effect.Effect<BootableSnapshot, E, R> | undefined
): Effect.Effect<Resolved, LightboxError | E, Services | R> =>
  Effect.isEffect(snapshot)
    ? Effect.flatMap(snapshot, ofBuilt)
    : Defaults.isBootable(snapshot)
      ? ofBuilt(snapshot)
      : Predicate.hasProperty(snapshot, DefinitionTypeId)
        ? Effect.fail(invalid("Sandbox.launch", "snapshot", "this is a definition: pass Snapshot.build(definition)"))
        : Effect.flatMap(decodeSnapshotName(snapshot), (name) =>
            Effect.map(Defaults.read(name), (defaults) => ({ name, defaults }))
          )

interface Resolved {
  /** Name or path of the snapshot. */
  readonly name: string
  readonly defaults: SandboxConfig.LaunchDefaults
}

const ofBuilt = ({ defaults, path }: BootableSnapshot): Effect.Effect<Resolved, LightboxError> =>
  Effect.map(Defaults.check("Sandbox.launch", defaults), (checked) => ({ name: path, defaults: checked }))

/**
 * Boots a sandbox, passes it to a function, and removes it when the function's effect ends, even on failure or
 * interruption.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = <A, E2, R2, E = never, R = never>(
  options: LaunchOptions<E, R>,
  use: (sandbox: Sandbox) => Effect.Effect<A, E2, R2>
): Effect.Effect<A, LightboxError | E | E2, Services | R | Exclude<R2, Scope.Scope>> =>
  Effect.andThen(checkFunction("Sandbox.run", "use", use), Effect.scoped(Effect.flatMap(launch(options), use)))

/**
 * The ports of another member of a group that a member reaches: `"ready"` for those that the other is known to serve,
 * which are its published ports and the ports of its probes, or a list.
 *
 * @category options
 * @since 0.1.0
 */
export type Dependency = "ready" | { readonly ports: ReadonlyArray<number> }

/**
 * Options of a member of a {@link group}: those of {@link launch}, without what a group decides.
 *
 * @category options
 * @since 0.1.0
 */
export type GroupMember<E = never, R = never> = SourceOptions<E, R> &
  Omit<SandboxConfig.Options, "ephemeral"> &
  Pick<LaunchOptions, "onPullProgress" | "releaseTimeout"> & {
    /** Members that must be ready before this one boots, and that it reaches by name. Default: none. */
    readonly dependsOn?: { readonly [member: string]: Dependency } | undefined
    /** Probe that must succeed, besides those of services, before others that depend on it boot. Default: none. */
    readonly ready?: Probe.ProbeInput | undefined
  }

/**
 * Boots several sandboxes that reach each other, until the scope closes.
 *
 * **Details**
 *
 * Names of members are host names: lower-case letters, digits and dashes. A member boots once those that it depends on
 * are ready, and independent ones boot at the same time. In a member, the name of another that it depends on leads to
 * the ports of its {@link Dependency}, over TCP. Nothing else of other members can be reached, whatever the network.
 * Servers may listen on their own 127.0.0.1 only, and no port of this host is opened for that.
 *
 * If a member fails to launch, all are removed. When the scope closes, they are removed in reverse order. A group waits
 * until the budget of this process has room for all members, and fails with `NoCapacity` if it never has.
 *
 * Fails as {@link launch} does. Names and ports that are not known, and dependencies in a circle, fail with
 * `InvalidConfig` before anything boots.
 *
 * **Gotchas**
 *
 * All outgoing connections of a member with dependencies go through this process, over IPv4 and TCP. Its DNS works as
 * usual, except with network `"none"`, where it has none. A capture through its handle keeps the names of the others; any
 * other restart loses them.
 *
 * **Example** (A server and its database)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     const { web } = yield* Sandbox.group({
 *       database: {
 *         snapshot: "postgres",
 *         network: "none",
 *         services: { postgres: { command: "exec postgres", ready: { port: 5432 } } }
 *       },
 *       web: { snapshot: "web", dependsOn: { database: "ready" } }
 *     })
 *     return yield* web.exec("psql", ["-h", "database", "-c", "select 1"], { check: true })
 *   })
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const group = Effect.fn("Sandbox.group")(function* <const Name extends string, E = never, R = never>(members: {
  readonly [K in Name]: GroupMember<E, R>
}): Effect.fn.Return<{ readonly [K in Name]: Sandbox }, LightboxError | E, Services | Scope.Scope | R> {
  const owns = yield* Group.check(members)
  const all = Object.entries<GroupMember<E, R>>(members)
  const prepared = yield* Effect.forEach(all, ([name, { dependsOn: _dependsOn, ready: _ready, ...options }]) =>
    prepareLaunch(options).pipe(
      Effect.map(({ resolved }) => Effect.mapError(resolved, Group.ofMember(name))),
      Effect.mapError(Group.ofMember(name))
    )
  )
  const asked = yield* Effect.all(prepared, { concurrency: "unbounded" })
  const launched = yield* Group.launch(
    Arr.zipWith(owns, asked, (own, asked) => ({ ...own, asked })),
    boot
  )
  return isOfAll(members, launched) ? launched : yield* Effect.die(new Error("a member is missing"))
})

const isOfAll = <Name extends string>(
  members: { readonly [K in Name]: unknown },
  launched: object
): launched is { readonly [K in Name]: Sandbox } => Object.keys(members).every((name) => name in launched)

/**
 * Connects to a running sandbox, whichever process started it. Closing the scope ends the connection and the commands
 * started over it; the sandbox keeps running.
 *
 * Fails with `NotFound`, or with `NotRunning` if it is stopped.
 *
 * @category constructors
 * @since 0.1.0
 */
export const connect = Effect.fn("Sandbox.connect")(function* (
  name: string
): Effect.fn.Return<Sandbox, LightboxError, Microsandbox.Microsandbox | Scope.Scope> {
  const { driver, info } = yield* find("Sandbox.connect", name)
  if (info.status !== "running") return yield* notRunning("Sandbox.connect", info)
  return make(driver, info, yield* connectTo(driver, info))
})

/**
 * Options of {@link getOrCreate}: those of {@link launch}, except those that it sets itself.
 *
 * @category options
 * @since 0.1.0
 */
export type GetOrCreateOptions<E = never, R = never> = SourceOptions<E, R> &
  Omit<SandboxConfig.Options, "name"> & {
    /** Receives the progress of an image pull. Runs in a separate fiber. */
    readonly onPullProgress?: ((progress: Microsandbox.PullProgress) => Effect.Effect<void>) | undefined
    /** Time limit, including the wait for another process that is starting the sandbox. Default: none. */
    readonly timeout?: Duration.Input | undefined
  }

/**
 * Connects to the sandbox with this name. Starts it first if it is stopped, and launches it if it does not exist. It is
 * detached: closing the scope ends the connection, and the sandbox keeps running until {@link remove}.
 *
 * **Details**
 *
 * If several processes call it at once, one launches the sandbox and all connect to it.
 *
 * Fails with `Drift`, which names the option, if the sandbox was launched with other options, of which the snapshot's
 * launch defaults are a part. The values of secrets, `registry` and `pullPolicy` are not compared, nor is a sandbox that
 * this library did not launch. A snapshot given by name is compared by name, and a build result by its content, so a new
 * build counts as a difference. Fails with `NotRunning` for a paused sandbox, and for one that another process has been
 * starting or stopping for 2 minutes, and with `InUse` for one that a living process has launched without `detached`,
 * whose scope will remove it. Otherwise it fails as {@link launch} and {@link start} do.
 *
 * Services that do not run in an existing sandbox are started, and all are waited for; if one fails, that sandbox stays.
 * A running sandbox that another scope has started with {@link start} is stopped when that scope closes.
 *
 * **Example** (Keep a workspace between runs)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const workspace = Effect.scoped(
 *   Effect.gen(function* () {
 *     const sandbox = yield* Sandbox.getOrCreate("workspace", { snapshot: "node-ci" })
 *     return yield* sandbox.shell("date >> /root/visits; cat /root/visits")
 *   })
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const getOrCreate = Effect.fn("Sandbox.getOrCreate")(function* <E = never, R = never>(
  name: string,
  options: GetOrCreateOptions<E, R>
): Effect.fn.Return<Sandbox, LightboxError | E, Services | Scope.Scope | R> {
  const method = "Sandbox.getOrCreate"
  yield* decodeName(method, name)
  yield* checkObject(method, options)
  const decided = ["name", "detached", "overwrite", "releaseTimeout"].find((field) => field in options)
  if (decided !== undefined) return yield* invalid(method, decided, "is not an option of getOrCreate")
  const { timeout: given, ...rest } = options
  const { timeout } = yield* decodeGetOrCreate({ timeout: given })
  const asked = yield* checkLaunch({ ...rest, name, detached: true })
  const again = () => Effect.succeedNone
  const attempt = Effect.gen(function* () {
    const found = yield* Effect.catchReason(Effect.asSome(find(method, name)), "LightboxError", "NotFound", again)
    if (Option.isNone(found)) {
      return yield* Effect.catchReason(Effect.asSome(boot(asked)), "LightboxError", "AlreadyExists", again)
    }
    const { driver, info } = found.value
    const reason = Drift.drift(info, asked.source, asked.config)
    if (reason !== undefined) return yield* new LightboxError({ method, reason })
    yield* internal.takeOver(method, info)
    const opened =
      info.status === "running"
        ? Effect.map(connectTo(driver, info), (connection) => make(driver, info, connection, undefined, asked.config))
        : info.status === "stopped" || info.status === "crashed"
          ? internal.start(info, { detached: true }, asked.config)
          : undefined
    if (opened === undefined) {
      return info.status === "paused" ? yield* notRunning(method, info) : Option.none()
    }
    const { services } = asked.config
    const ready =
      services === undefined
        ? opened
        : Effect.tap(opened, ({ guest }) => RunningServices.start(method, guest, info.shell, services))
    // Whatever happened to the sandbox meanwhile, the next attempt sees it.
    return yield* Effect.catchReasons(Effect.asSome(ready), "LightboxError", {
      // The process that launched it has given it up.
      GuestLost: again,
      NotFound: again,
      NotRunning: again,
      Replaced: again,
      StillRunning: again
    })
  })
  return yield* internal.orClose(attempt, Option.isSome).pipe(
    Effect.repeat({
      until: Option.isSome,
      schedule: Schedule.max([Schedule.spaced("250 millis"), Schedule.recurs(480)])
    }),
    Effect.flatMap(
      Option.match({
        onSome: (sandbox) => Effect.succeed(sandbox),
        onNone: () => Effect.flatMap(find(method, name), ({ info }) => notRunning(method, info))
      })
    ),
    timeout === undefined ? identity : timeLimit(method, `waiting for "${name}"`, timeout)
  )
})

/**
 * Options of {@link fork}.
 *
 * @category options
 * @since 0.1.0
 */
export interface ForkOptions {
  /** Number of copies, 1 to 1,000. Default: 1. */
  readonly count?: number | undefined
  /**
   * Copy the memory, too: the copies go on where the original is, which is not restarted. Needs a driver that can do so, and
   * fails with `Unsupported` on others. Default: `false`, the disk only.
   */
  readonly memory?: boolean | undefined
  /** The copies are named after it, such as `worker-1`. Default: unique names. */
  readonly name?: string | undefined
  /**
   * Options that replace those of the original's launch. Required for a handle of {@link connect} or {@link start}, which
   * does not know them; `{}` then takes the defaults.
   */
  readonly options?: Omit<SandboxConfig.Options, "name"> | undefined
}

/**
 * Boots copies of a sandbox, which live until the scope closes. All boot from one capture of its disk, which is removed
 * once they run.
 *
 * A running original is restarted for the capture, as `Snapshot.capture` describes: the copies have its files, but
 * neither its processes nor its memory. They have the options of its launch, services included. Published ports get free
 * ports of this host. Folders and volumes are mounted again, and so shared; a volume that only one sandbox can mount
 * fails with `InUse`, unless `options` has other mounts. What is unique to a disk, such as `/etc/machine-id`, is the same
 * in all copies. Copies of a member of a {@link group} reach the members that it reaches, until the scope of the group
 * closes and with it the connections of the copies; no member reaches them.
 *
 * With `memory`, the copies are running when they are made: they have the processes and all files of the original, and its
 * options, which cannot be changed. Each gets random numbers, a host name and ids of its own and the right time, and runs
 * the original's `onResume`. They publish no ports: use `forward`.
 *
 * If one copy does not boot, all are removed. Fails as {@link launch} and `Snapshot.capture` do, with `NoCapacity` if the
 * budget of this process never has room for all at once, and with `Unsupported` if the options are not known. A capture that has a secret known to the handle fails with `SecretLeaked`.
 *
 * **Example** (Try several things from one state)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     const original = yield* Sandbox.launch({ image: "node:22" })
 *     yield* original.shell("npm install -g pnpm", { check: true })
 *     const copies = yield* Sandbox.fork(original, { count: 3 })
 *     return yield* Effect.forEach(copies, (copy) => copy.exec("pnpm", ["--version"]), { concurrency: "unbounded" })
 *   })
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fork = Effect.fn("Sandbox.fork")(function* (
  sandbox: Sandbox,
  options?: ForkOptions
): Effect.fn.Return<ReadonlyArray<Sandbox>, LightboxError, Services | Scope.Scope> {
  const method = "Sandbox.fork"
  if (!isSandbox(sandbox)) return yield* invalid(method, "sandbox", "expected a sandbox")
  const { count = 1, memory = false, name, options: changed } = yield* decodeFork(options)
  if (memory) {
    if (changed !== undefined) {
      return yield* invalid(method, "options", "a copy with memory has the options of the original; remove this option")
    }
    return yield* withMemory(sandbox, { method, count, name, role: "scoped" })
  }
  const { config: known, peers } = knownOf(sandbox) ?? {}
  if (known === undefined && changed === undefined) {
    const problem = `the options of sandbox "${sandbox.name}" are not known to a handle that did not launch it: pass options`
    return yield* new LightboxError({ method, reason: new Unsupported({ feature: "fork", problem }) })
  }
  const { ports: _ports, ...rest }: SandboxConfig.SandboxConfig = withoutDiskChanges(known ?? {})
  const given =
    changed &&
    Struct.pick(
      changed,
      Struct.keys(changed).filter((option) => changed[option] !== undefined)
    )
  const config: SandboxConfig.SandboxConfig = {
    ...rest,
    ports: publishedPorts(known ?? {}).map((port) => ({ ...port, host: 0 })),
    labels: Struct.omit(rest.labels ?? {}, [roleLabel]),
    ...given
  }
  // Few programs need it.
  const Capture = yield* Effect.promise(() => import("./internal/build/capture.ts"))
  const source = yield* Capture.find(method, sandbox)
  const driver = yield* Microsandbox.Microsandbox
  const admission = yield* Admission.Admission
  const { isAttached } = driver.capabilities.snapshots
    ? yield* driver.getSandboxLifecycle(source.info)
    : { isAttached: false }
  const copies = Effect.gen(function* () {
    const scope = yield* Effect.scope
    const memories = Array.from({ length: count }, () => config.resources?.memory)
    // The original, if it is ours, keeps its room.
    const rooms = yield* admission.admitAll(method, memories, isAttached ? [source.info.memory] : [])
    return yield* Capture.withArtifact(`${sandbox.name}.fork`, (artifact) =>
      Effect.gen(function* () {
        const { path } = yield* Capture.artifactOf(method, source, artifact)
        const booted = Effect.forEach(
          rooms,
          (room, index) =>
            boot(
              {
                config: { ...config, name: name === undefined ? undefined : `${name}-${index + 1}` },
                source: { _tag: "Snapshot", name: path },
                onPullProgress: undefined
              },
              room,
              peers
            ),
          { concurrency: "unbounded" }
        )
        return yield* Effect.tap(booted, () => driver.removeSnapshot(artifact)).pipe(Scope.provide(scope))
      })
    )
  })
  return yield* internal.allOrNothing(copies)
})

/**
 * Boots a stopped sandbox with its existing disk, starts the services of its launch, and connects to it. When the scope
 * closes, it is stopped but not removed; with `detached`, it keeps running even if a service fails.
 *
 * Services with secrets, and those that depend on them, are not started: secrets are not stored. {@link getOrCreate},
 * which is given them again, starts all.
 *
 * Fails with `NotFound`, with `StillRunning` if it is running, and with `NotReady` or `CommandNotStarted` if a service
 * does not start.
 *
 * @category constructors
 * @since 0.1.0
 */
export const start = Effect.fn("Sandbox.start")(function* (
  name: string,
  options?: { readonly detached?: boolean | undefined }
): Effect.fn.Return<Sandbox, LightboxError, Services | Scope.Scope> {
  const checked = yield* decodeStart(options)
  const { info } = yield* find("Sandbox.start", name)
  return yield* internal.start(info, checked)
})

/**
 * Stops a sandbox if it runs, killing it after `timeout` (default: 10 seconds), and boots it again with the same disk and
 * services. Earlier handles become invalid.
 *
 * @see {@link start} for `detached`
 * @category constructors
 * @since 0.1.0
 */
export const restart = Effect.fn("Sandbox.restart")(function* (
  name: string,
  options?: { readonly detached?: boolean | undefined; readonly timeout?: Duration.Input | undefined }
): Effect.fn.Return<Sandbox, LightboxError, Services | Scope.Scope> {
  const { detached, timeout } = yield* decodeRestart(options)
  const { driver, info } = yield* find("Sandbox.restart", name)
  if (info.status === "running") yield* driver.stopSandbox(info, { timeout })
  return yield* start(name, { detached })
})

/**
 * Shuts a sandbox down by name, killing it after `timeout` (default: 10 seconds). Its disk stays. Succeeds if it is
 * already stopped; fails with `NotFound`.
 *
 * @category operations
 * @since 0.1.0
 */
export const stop = Effect.fn("Sandbox.stop")(function* (
  name: string,
  options?: { readonly timeout?: Duration.Input | undefined }
): Effect.fn.Return<void, LightboxError, Microsandbox.Microsandbox> {
  const checked = yield* decodeStop(options)
  const { driver, info } = yield* find("Sandbox.stop", name)
  yield* driver.stopSandbox(info, checked)
})

/**
 * Kills the virtual machine of a sandbox by name. Its disk stays. Fails with `NotFound`.
 *
 * @see {@link stop} to let the guest shut down
 * @category operations
 * @since 0.1.0
 */
export const kill = Effect.fn("Sandbox.kill")(function* (
  name: string
): Effect.fn.Return<void, LightboxError, Microsandbox.Microsandbox> {
  const { driver, info } = yield* find("Sandbox.kill", name)
  yield* driver.killSandbox(info)
})

/**
 * Halts a running sandbox by name: its processors stop, its memory stays, and its status is `"paused"`. Does nothing if it
 * is paused already.
 *
 * Fails with `NotFound`, with `NotRunning`, and with `Unsupported` if the driver cannot do so.
 *
 * @see {@link resume} to let it go on
 * @category operations
 * @since 0.1.0
 */
export const pause = Effect.fn("Sandbox.pause")(function* (
  name: string
): Effect.fn.Return<void, LightboxError, Microsandbox.Microsandbox> {
  const { driver, info } = yield* find("Sandbox.pause", name)
  yield* Handle.pause(driver, info)
})

/**
 * Lets a paused sandbox go on by name, and sets its clock. Does nothing if it is running.
 *
 * Fails with `NotFound`, with `NotRunning` if it is stopped, and with `Unsupported` if the driver cannot do so.
 *
 * @see {@link pause} to halt it
 * @category operations
 * @since 0.1.0
 */
export const resume = Effect.fn("Sandbox.resume")(function* (
  name: string
): Effect.fn.Return<void, LightboxError, Microsandbox.Microsandbox> {
  const { driver, info } = yield* find("Sandbox.resume", name)
  yield* Handle.resume(driver, info, Effect.scoped(Effect.flatMap(driver.connect(info), Handle.setClock)))
})

/**
 * Removes a sandbox and its disk by name. Succeeds if it does not exist.
 *
 * Fails with `StillRunning` if it runs, unless `force`, which kills it first.
 *
 * @category operations
 * @since 0.1.0
 */
export const remove = Effect.fn("Sandbox.remove")(
  function* (
    name: string,
    options?: { readonly force?: boolean | undefined }
  ): Effect.fn.Return<void, LightboxError, Microsandbox.Microsandbox> {
    const checked = yield* decodeRemove(options)
    const { driver, info } = yield* find("Sandbox.remove", name)
    yield* driver.removeSandbox(info, checked)
  },
  Effect.catchReason("LightboxError", "NotFound", () => Effect.void)
)

/**
 * Lists the sandboxes of the home directory. With `labels`, only those that have all of them.
 *
 * @category operations
 * @since 0.1.0
 */
export const list = Effect.fn("Sandbox.list")(function* (filter?: {
  readonly labels?: { readonly [key: string]: string } | undefined
}): Effect.fn.Return<ReadonlyArray<Microsandbox.SandboxInfo>, LightboxError, Microsandbox.Microsandbox> {
  const checked = yield* decodeList(filter)
  const driver = yield* Microsandbox.Microsandbox
  return yield* driver.listSandboxes(checked)
})

/**
 * Gets the state of a sandbox by name. Fails with `NotFound`.
 *
 * @category operations
 * @since 0.1.0
 */
export const get = Effect.fn("Sandbox.get")(function* (
  name: string
): Effect.fn.Return<Microsandbox.SandboxInfo, LightboxError, Microsandbox.Microsandbox> {
  return (yield* find("Sandbox.get", name)).info
})

/**
 * Polls a sandbox every 250 milliseconds until it has a status. Fails with `TimedOut` after `timeout` (default: 30
 * seconds).
 *
 * @category operations
 * @since 0.1.0
 */
export const waitFor = Effect.fn("Sandbox.waitFor")(function* (
  name: string,
  status: Microsandbox.SandboxStatus,
  options?: { readonly timeout?: Duration.Input | undefined }
): Effect.fn.Return<Microsandbox.SandboxInfo, LightboxError, Microsandbox.Microsandbox> {
  const { timeout = Duration.seconds(30) } = yield* decodeWaitFor({ status }, options)
  return yield* Effect.map(find("Sandbox.waitFor", name), ({ info }) => info).pipe(
    Effect.repeat({ until: (info) => info.status === status, schedule: Schedule.spaced("250 millis") }),
    timeLimit("Sandbox.waitFor", `waiting for "${name}" to be ${status}`, timeout)
  )
})

// =============================================================================
// Layers
// =============================================================================

/**
 * Provides {@link Sandbox}: boots it when first needed, shares it, and removes it when the layer is released.
 *
 * **Example** (Build a snapshot and boot a sandbox from it)
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
 * Provides {@link Sandbox} with options read from the configuration.
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
 * Creates a service class for one of several sandboxes. Its `layer` launches the sandbox.
 *
 * **Example** (Use two sandboxes in one program)
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
