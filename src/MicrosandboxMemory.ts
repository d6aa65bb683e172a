/**
 * An in-memory implementation of `Microsandbox` for tests: sandboxes, snapshots,
 * images and volumes behave like real ones, without a virtual machine, within
 * milliseconds.
 *
 * Programs see the same states, files, errors, exit codes and signals. Commands run
 * in a small shell with the usual tools; tests add other commands as functions.
 * Time comes from the `Clock`, so tests can control it with `TestClock`. With
 * faults, a test makes any operation fail, hang or lose its virtual machine.
 *
 * **Example** (Testing a program against a virtual machine that dies)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * const program = Sandbox.run({ image: "node:22" }, (sandbox) =>
 *   sandbox.exec("npm", ["test"], { check: true })
 * ).pipe(
 *   Effect.retry({ while: (error) => error.reason._tag === "GuestLost", times: 1 })
 * )
 *
 * export const test = program.pipe(
 *   Effect.provide(
 *     MicrosandboxMemory.layer({
 *       commands: { npm: (invocation) => Effect.as(invocation.stdout("ok\n"), 0) },
 *       faults: [MicrosandboxMemory.killGuestAt("guest.spawn")]
 *     })
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Stream from "effect/Stream"
import type * as Admission from "./Admission.ts"
import type * as Guest from "./Guest.ts"
import type * as Microsandbox from "./Microsandbox.ts"
import type { ImagePart, RemainsPart, SandboxPart, SnapshotPart, VolumePart } from "./internal/driver/parts.ts"
import type { Services } from "./Driver.ts"
import * as internal from "./internal/driver/memory/driver.ts"
import { compose } from "./internal/reaper/compose.ts"
import type { LightboxError, Reason } from "./LightboxError.ts"
import type { Size } from "./SandboxConfig.ts"

// =============================================================================
// Images
// =============================================================================

/**
 * A file, symbolic link or folder of an {@link Image}. It is a folder if it has
 * neither content nor target.
 *
 * @category models
 * @since 0.1.0
 */
export interface ImageFile {
  readonly content?: string | Uint8Array | undefined
  /** The target of a symbolic link. */
  readonly symlink?: string | undefined
  /** Default: 0o644 for a file, 0o755 for a folder. */
  readonly mode?: number | undefined
  /** Default: 0. */
  readonly uid?: number | undefined
  /** Default: 0. */
  readonly gid?: number | undefined
}

/**
 * An image: files, and the configuration of its commands.
 *
 * Every image has the usual folders, a user `app` with id 1000, the built-in
 * programs in `/bin` and the declared commands in `/usr/local/bin`; `files` are
 * added to them. Its digest depends on its content.
 *
 * @category models
 * @since 0.1.0
 */
export interface Image {
  /** Files by path. A string or bytes become a file owned by root. */
  readonly files?: { readonly [path: string]: string | Uint8Array | ImageFile } | undefined
  readonly env?: { readonly [name: string]: string } | undefined
  readonly entrypoint?: ReadonlyArray<string> | undefined
  /** Default: `sh`. */
  readonly cmd?: ReadonlyArray<string> | undefined
  readonly workdir?: string | undefined
  readonly user?: string | undefined
  /** The built-in programs of the image. Default: all. */
  readonly programs?: ReadonlyArray<string> | undefined
  /** The path of an archive from which `Image.load` loads this image. */
  readonly archive?: string | undefined
  /** `true`: cached from the start. Default: `false`, pulled when first needed. */
  readonly isCached?: boolean | undefined
}

// =============================================================================
// Commands
// =============================================================================

/**
 * File operations of a declared command, as its user. They fail with `FileError` if
 * the user lacks permission. Relative paths start at the working directory.
 *
 * @category models
 * @since 0.1.0
 */
export interface InvocationFiles {
  readonly readFile: (path: string) => Effect.Effect<Uint8Array, LightboxError>
  readonly readFileString: (path: string) => Effect.Effect<string, LightboxError>
  readonly writeFile: (
    path: string,
    data: string | Uint8Array,
    options?: { readonly mode?: number | undefined }
  ) => Effect.Effect<void, LightboxError>
  /** Creates a folder and its parents. */
  readonly makeDirectory: (path: string) => Effect.Effect<void, LightboxError>
  /** Removes a file, or a folder with its content. */
  readonly remove: (path: string) => Effect.Effect<void, LightboxError>
  /** Lists the names in a folder, sorted. */
  readonly list: (path: string) => Effect.Effect<ReadonlyArray<string>, LightboxError>
  readonly exists: (path: string) => Effect.Effect<boolean>
}

/**
 * A connection to a port that a declared command listens on.
 *
 * @category models
 * @since 0.1.0
 */
export interface InvocationConnection {
  readonly read: Stream.Stream<Uint8Array, LightboxError>
  readonly write: (data: string | Uint8Array) => Effect.Effect<void, LightboxError>
}

/**
 * A call of a declared command, with everything the command can use.
 *
 * Killing the command interrupts it. A failure writes the error's message to
 * standard error and exits with code 1. A defect ends the command like SIGABRT.
 *
 * **Example** (Using arguments and environment)
 *
 * ```ts
 * import { Effect } from "effect"
 * import type { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const node: MicrosandboxMemory.Command = ({ argv, env, stdout }) =>
 *   argv[1] === "--version"
 *     ? Effect.as(stdout("v22.19.0\n"), 0)
 *     : Effect.as(stdout(`running ${argv[1]} in ${env["NODE_ENV"]}\n`), 0)
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Invocation {
  /** Name of the sandbox. */
  readonly sandbox: string
  /** The command and its arguments. */
  readonly argv: ReadonlyArray<string>
  readonly env: { readonly [name: string]: string }
  readonly workdir: string
  readonly user: { readonly uid: number; readonly gid: number }
  readonly pid: number
  /** Whether the command was running when its machine was captured, and has started anew in the one that resumed. */
  readonly isResumed: boolean
  /** Standard input, until it is closed. */
  readonly stdin: Stream.Stream<Uint8Array, LightboxError>
  readonly files: InvocationFiles
  readonly stdout: (data: string | Uint8Array) => Effect.Effect<void, LightboxError>
  readonly stderr: (data: string | Uint8Array) => Effect.Effect<void, LightboxError>
  /** Serves a port of the guest until the command ends. */
  readonly listen: (
    port: number,
    serve: (connection: InvocationConnection) => Effect.Effect<void, LightboxError>
  ) => Effect.Effect<never, LightboxError>
}

/**
 * A guest command, as a function that returns its exit code.
 *
 * @category models
 * @since 0.1.0
 */
export type Command = (invocation: Invocation) => Effect.Effect<number, LightboxError>

// =============================================================================
// Calls
// =============================================================================

/**
 * Driver operations on one sandbox.
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxOperation =
  | Exclude<keyof SandboxPart, "listSandboxes">
  | Exclude<keyof Microsandbox.MemoryOperations, "searchMemory">
  | "captureSnapshot"

/**
 * Driver operations, named as in `Microsandbox`.
 *
 * @category models
 * @since 0.1.0
 */
export type DriverOperation = keyof (ImagePart &
  SandboxPart &
  RemainsPart &
  SnapshotPart &
  VolumePart &
  Microsandbox.MemoryOperations)

/**
 * Operations of a running guest, named as in `Guest`, and of its open files and
 * processes.
 *
 * @category models
 * @since 0.1.0
 */
export type GuestOperation =
  | `guest.${Exclude<keyof Guest.Guest, "bootMillis" | "lost">}`
  | `file.${keyof Guest.File}`
  | `process.${Extract<keyof Guest.Process, "stdin" | "signal" | "resize">}`

/**
 * All operations that are recorded and can be made to fail.
 *
 * @category models
 * @since 0.1.0
 */
export type Operation = DriverOperation | GuestOperation

/**
 * A recorded call of an operation.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  /** Counted from 0. */
  readonly index: number
  readonly operation: Operation
  /** The sandbox, if the operation is about one. */
  readonly sandbox: string | undefined
  /** Arguments, without secrets. */
  readonly detail: { readonly [key: string]: unknown }
  /** Milliseconds since 1970. */
  readonly at: number
  readonly outcome:
    | { readonly _tag: "Pending" }
    | { readonly _tag: "Succeeded" }
    | { readonly _tag: "Failed"; readonly error: LightboxError }
    | { readonly _tag: "Interrupted" }
}

// =============================================================================
// Faults
// =============================================================================

/**
 * Selects calls for a {@link Fault}: of those that match, `times` calls, starting
 * with the `nth`.
 *
 * @category options
 * @since 0.1.0
 */
export interface When {
  /** Counted from 1, from when the fault is injected. Default: 1. */
  readonly nth?: number | undefined
  /** Default: 1. */
  readonly times?: number | undefined
  /** Match only calls about this sandbox. */
  readonly sandbox?: string | undefined
  /** Match only calls for which this returns `true`. */
  readonly matching?: ((call: Call) => boolean) | undefined
}

/**
 * A simulated failure of a call.
 *
 * @category models
 * @since 0.1.0
 */
export interface Fault {
  readonly at: Operation
  readonly when: When
  readonly effect:
    | { readonly _tag: "Fail"; readonly reason: Reason }
    | { readonly _tag: "Delay"; readonly duration: Duration.Input }
    | { readonly _tag: "Hang" }
    | { readonly _tag: "LoseAnswer"; readonly reason: Reason | undefined; readonly hangs: boolean }
    | { readonly _tag: "KillGuest"; readonly after: Duration.Input | undefined }
}

/**
 * Makes the call fail with a reason, without doing anything.
 *
 * @category constructors
 * @since 0.1.0
 */
export const failAt = (at: Operation, reason: Reason, when: When = {}): Fault => ({
  at,
  when,
  effect: { _tag: "Fail", reason }
})

/**
 * Delays the call, on the clock of its caller.
 *
 * @category constructors
 * @since 0.1.0
 */
export const delayAt = (at: Operation, duration: Duration.Input, when: When = {}): Fault => ({
  at,
  when,
  effect: { _tag: "Delay", duration }
})

/**
 * Makes the call hang forever, without doing anything.
 *
 * @category constructors
 * @since 0.1.0
 */
export const hangAt = (at: Operation, when: When = {}): Fault => ({ at, when, effect: { _tag: "Hang" } })

/**
 * Executes the call and loses its result: it fails with the reason (default: an
 * error whose outcome is `"unknown"`) or, with `hang`, never returns.
 *
 * @category constructors
 * @since 0.1.0
 */
export const loseAnswerAt = (
  at: Operation,
  when: When & { readonly reason?: Reason | undefined; readonly hang?: boolean | undefined } = {}
): Fault => ({ at, when, effect: { _tag: "LoseAnswer", reason: when.reason, hangs: when.hang === true } })

/**
 * Kills the sandbox's virtual machine before the call takes effect or, with
 * `after`, this long after it starts. Data not yet flushed to disk is lost.
 *
 * @category constructors
 * @since 0.1.0
 */
export const killGuestAt = (
  at: SandboxOperation | GuestOperation,
  when: When & { readonly after?: Duration.Input | undefined } = {}
): Fault => ({ at, when, effect: { _tag: "KillGuest", after: when.after } })

// =============================================================================
// Control
// =============================================================================

/**
 * Everything that exists, for tests that check what a program left behind.
 *
 * @category models
 * @since 0.1.0
 */
export interface Inventory {
  readonly sandboxes: ReadonlyArray<{ readonly name: string; readonly status: Microsandbox.SandboxStatus }>
  /** Processes in the guests, without the agents. */
  readonly processes: ReadonlyArray<{ readonly sandbox: string; readonly pid: number; readonly command: string }>
  readonly snapshots: ReadonlyArray<string>
  readonly snapshotLinks: ReadonlyArray<string>
  readonly volumes: ReadonlyArray<string>
  readonly images: ReadonlyArray<string>
}

/**
 * Lets a test observe and manipulate the in-memory backend.
 *
 * **Example** (Killing a sandbox from outside)
 *
 * ```ts
 * import { Effect, Fiber } from "effect"
 * import { Sandbox } from "effect-lightbox"
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const test = Effect.gen(function* () {
 *   const control = yield* MicrosandboxMemory.Control
 *   const sandbox = yield* Sandbox.launch({ name: "worker", image: "alpine:3" })
 *   const command = yield* Effect.forkChild(sandbox.exec("sleep", ["3600"]), { startImmediately: true })
 *   yield* control.kill("worker")
 *   return yield* Effect.flip(Fiber.join(command))
 * }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer()))
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Control extends Context.Service<
  Control,
  {
    /** Adds faults. They count calls from now on. */
    readonly inject: (...faults: ReadonlyArray<Fault>) => Effect.Effect<void>
    /** Removes all faults, including those of the layer's options. */
    readonly clearFaults: Effect.Effect<void>
    /** All calls so far, in order. */
    readonly calls: Effect.Effect<ReadonlyArray<Call>>
    readonly inventory: Effect.Effect<Inventory, LightboxError>
    /** Crashes a virtual machine: its sandbox becomes `"crashed"`. */
    readonly kill: (sandbox: string) => Effect.Effect<void, LightboxError>
    /** Fills a sandbox's disk, leaving `free` bytes (default: 0). */
    readonly fillDisk: (
      sandbox: string,
      options?: { readonly free?: number | undefined }
    ) => Effect.Effect<void, LightboxError>
    /** Replaces the image of a reference, like a push to the registry. The cache stays as it is. */
    readonly setImage: (reference: string, image: Image) => Effect.Effect<void>
    /** Corrupts the content of a snapshot's disk (default) or of its memory, or removes the disk. */
    readonly damageSnapshot: (name: string, part?: "content" | "disk" | "memory") => Effect.Effect<void, LightboxError>
  }
>()("effect-lightbox/MicrosandboxMemory/Control") {}

// =============================================================================
// Layers
// =============================================================================

/**
 * Options of {@link layer}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * The folder that holds everything except running sandboxes. Layers and processes with the same folder share its
   * content, but only the process that created a sandbox can use it. Default: a temporary folder, removed when the
   * layer closes.
   */
  readonly home?: string | undefined
  /** Processors of sandboxes that set none. Default: 1. */
  readonly cpus?: number | undefined
  /** Memory of sandboxes that set none. Default: `"512M"`. */
  readonly memory?: Size | undefined
  /** Pull policy of sandboxes that set none. Default: `"if-missing"`. */
  readonly pullPolicy?: "always" | "if-missing" | "never" | undefined
  /** How much sandboxes may use. Default: unlimited. */
  readonly budget?: Admission.Budget | undefined
  /** Remove what dead processes left behind, at the start and every 30 seconds. Default: `true`. */
  readonly sweep?: boolean | undefined
  /**
   * Keep records in the home: of each build its steps, their output and reasons, without secrets; of each sandbox that
   * ends the reason and its last lines. The modules `BuildRecord` and `SandboxRecord`, `lightbox builds` and `lightbox
   * ended` read them. Default: `true`.
   */
  readonly records?: boolean | undefined
  /** Images of the registry, by reference. Default: a plain image for every reference. */
  readonly images?: { readonly [reference: string]: Image } | undefined
  /** Commands of every image, by name or absolute path. They take precedence over built-in programs. */
  readonly commands?: { readonly [name: string]: Command } | undefined
  /** Faults from the start. Default: none. */
  readonly faults?: ReadonlyArray<Fault> | undefined
  /**
   * Simulate a runtime that captures, resumes, forks and pauses running sandboxes: `Microsandbox.memory`. A machine that
   * resumes has the process ids, files in memory, uptime, time and random numbers of the captured one. Of its processes,
   * declared commands and `sleep` start anew; others wait for signals, and no longer run. Default: `false`.
   */
  readonly memorySnapshots?: boolean | undefined
}

/**
 * Provides `Microsandbox` in memory, and {@link Control} over it. Closing the layer
 * stops running sandboxes. Disk mounts are not supported.
 *
 * The built-in shell supports lists, pipes, redirections, here-documents,
 * variables, substitutions, patterns, arithmetic, conditions, loops and functions.
 * The built-in programs are those of a small guest (`cat`, `cp`, `find`, `grep`,
 * `sed`, `tar` and about sixty more). There is no network except within a guest and
 * through its published ports.
 *
 * Disks simulate the worst case: a killed virtual machine loses data that was not
 * flushed, and searching a disk still finds removed files.
 *
 * **Example** (Controlling the clock)
 *
 * ```ts
 * import { assert, it } from "@effect/vitest"
 * import { Effect, Fiber } from "effect"
 * import { TestClock } from "effect/testing"
 * import { Sandbox } from "effect-lightbox"
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * it.effect("gives up after an hour", () =>
 *   Effect.gen(function* () {
 *     const sandbox = yield* Sandbox.launch({ image: "alpine:3" })
 *     const running = yield* Effect.forkChild(sandbox.exec("sleep", ["7200"], { timeout: "1 hour" }))
 *     yield* TestClock.adjust("1 hour")
 *     const error = yield* Effect.flip(Fiber.join(running))
 *     assert.strictEqual(error.reason._tag, "TimedOut")
 *   }).pipe(Effect.provide(MicrosandboxMemory.layer()))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Services | Control, LightboxError> =>
  Layer.effectContext(
    Effect.flatMap(internal.make(options ?? {}), ({ blueprint, control }) =>
      Effect.map(compose(blueprint), Context.add(Control, control))
    )
  )

/**
 * Provides `Microsandbox` in memory, and {@link Control} over it, with options from `Config`. Commands, images and
 * faults go into `Config.succeed`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<Services | Control, LightboxError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layer))
