/**
 * A `Microsandbox` in memory: sandboxes, snapshots, images and volumes that
 * behave like the real ones, without a virtual machine, in milliseconds.
 *
 * Programs see the same states, the same files with the same errors, the same
 * exit codes and signals. Commands run in a small shell with the usual tools;
 * those that a test needs beyond them are functions that it declares. Time is the
 * `Clock`'s, so that a test can turn it. And whatever can go wrong with a virtual
 * machine can be made to go wrong, at the call where it matters.
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
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Stream from "effect/Stream"
import type * as Admission from "./Admission.ts"
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
 * A file, folder or symbolic link of an {@link Image}: a folder if it has neither
 * content nor a target.
 *
 * **Example** (A program's folder)
 *
 * ```ts
 * import type { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const files: { readonly [path: string]: MicrosandboxMemory.ImageFile } = {
 *   "/app": { uid: 1000, gid: 1000 },
 *   "/app/start.sh": { content: "#!/bin/sh\necho started\n", mode: 0o755 },
 *   "/usr/bin/start": { symlink: "/app/start.sh" }
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface ImageFile {
  readonly content?: string | Uint8Array | undefined
  /** What a symbolic link leads to. */
  readonly symlink?: string | undefined
  /** Default: 0o644 for a file, 0o755 for a folder. */
  readonly mode?: number | undefined
  /** Default: 0, root. */
  readonly uid?: number | undefined
  /** Default: 0, root. */
  readonly gid?: number | undefined
}

/**
 * An image, as the tree of its files and the configuration that commands start
 * with.
 *
 * **Details**
 *
 * Every image has the usual folders, a user `app` with the id 1000, the built-in
 * programs in `/bin`, and the declared commands in `/usr/local/bin`; `files` come
 * on top. Its digest is that of its content: an image that is changed has another
 * digest, as a tag that was moved would.
 *
 * **Example** (An image with an application)
 *
 * ```ts
 * import type { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const image: MicrosandboxMemory.Image = {
 *   files: { "/app/package.json": "{}" },
 *   env: { NODE_ENV: "test" },
 *   workdir: "/app",
 *   user: "app"
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Image {
  /** By path. A string or bytes are a file of root's. */
  readonly files?: { readonly [path: string]: string | Uint8Array | ImageFile } | undefined
  readonly env?: { readonly [name: string]: string } | undefined
  readonly entrypoint?: ReadonlyArray<string> | undefined
  /** Default: `sh`. */
  readonly cmd?: ReadonlyArray<string> | undefined
  readonly workdir?: string | undefined
  readonly user?: string | undefined
  /** The built-in programs that it has. Default: all. */
  readonly programs?: ReadonlyArray<string> | undefined
  /** The path of an archive that this image stands for when it is loaded with `Image.load`. */
  readonly archive?: string | undefined
  /** Whether it is in the cache from the start. Default: `false`, it is pulled when it is first needed. */
  readonly isCached?: boolean | undefined
}

// =============================================================================
// Commands
// =============================================================================

/**
 * Files of the guest, for a declared command. They are its user's: what that user
 * may not do fails with a `FileError`. Relative paths start at its folder.
 *
 * **Example** (Leaving a file behind)
 *
 * ```ts
 * import { Effect } from "effect"
 * import type { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const build: MicrosandboxMemory.Command = ({ files }) =>
 *   Effect.as(files.writeFile("dist/index.js", "export {}"), 0)
 * ```
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
  /** Makes a folder and those above it. */
  readonly makeDirectory: (path: string) => Effect.Effect<void, LightboxError>
  /** Removes a file, or a folder with all that is in it. */
  readonly remove: (path: string) => Effect.Effect<void, LightboxError>
  /** Names of what is in a folder, sorted. */
  readonly list: (path: string) => Effect.Effect<ReadonlyArray<string>, LightboxError>
  readonly exists: (path: string) => Effect.Effect<boolean>
}

/**
 * A connection to a port that a declared command listens on.
 *
 * **Example** (Answering what was asked)
 *
 * ```ts
 * import { Stream } from "effect"
 * import type { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const echo = ({ read, write }: MicrosandboxMemory.InvocationConnection) => Stream.runForEach(read, write)
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface InvocationConnection {
  readonly read: Stream.Stream<Uint8Array, LightboxError>
  readonly write: (data: string | Uint8Array) => Effect.Effect<void, LightboxError>
}

/**
 * How a declared command was called, and what it can do.
 *
 * **Details**
 *
 * A command that is killed is interrupted. One that fails writes the error's
 * message to its standard error and exits with code 1; a defect ends it as SIGABRT
 * does.
 *
 * **Example** (Looking at arguments and environment)
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
  /** The name of the sandbox. */
  readonly sandbox: string
  /** The command line, the command itself first. */
  readonly argv: ReadonlyArray<string>
  readonly env: { readonly [name: string]: string }
  readonly workdir: string
  readonly user: { readonly uid: number; readonly gid: number }
  readonly pid: number
  /** What the command reads, until its input is closed. */
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
 * A command of the guest, as a function that gives its exit code.
 *
 * **Example** (A command that takes its time)
 *
 * ```ts
 * import { Effect } from "effect"
 * import type { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const compile: MicrosandboxMemory.Command = ({ stdout }) =>
 *   stdout("compiling\n").pipe(Effect.andThen(Effect.sleep("10 minutes")), Effect.as(0))
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Command = (invocation: Invocation) => Effect.Effect<number, LightboxError>

// =============================================================================
// Calls
// =============================================================================

/**
 * The operations of the driver that are about one sandbox.
 *
 * **Example** (Naming one)
 *
 * ```ts
 * import type { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const operation: MicrosandboxMemory.SandboxOperation = "startSandbox"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxOperation = Exclude<keyof SandboxPart, "listSandboxes"> | "captureSnapshot"

/**
 * The operations of the driver, by the names that they have in `Microsandbox`.
 *
 * **Example** (Naming one)
 *
 * ```ts
 * import type { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const operation: MicrosandboxMemory.DriverOperation = "linkSnapshot"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type DriverOperation = keyof (ImagePart & SandboxPart & RemainsPart & SnapshotPart & VolumePart)

/**
 * The operations of a running guest, by the names that they have in `Guest`, with
 * those of an open file and of a process.
 *
 * **Example** (Naming one)
 *
 * ```ts
 * import type { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const operation: MicrosandboxMemory.GuestOperation = "file.sink"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type GuestOperation =
  | "guest.spawn"
  | "guest.stat"
  | "guest.readDirectoryEntries"
  | "guest.realPath"
  | "guest.readLink"
  | "guest.symlink"
  | "guest.makeDirectory"
  | "guest.removeFile"
  | "guest.removeDirectory"
  | "guest.rename"
  | "guest.copyFile"
  | "guest.setAttributes"
  | "guest.open"
  | "guest.connect"
  | "guest.ping"
  | "guest.touch"
  | "file.stream"
  | "file.sink"
  | "file.stat"
  | "file.setAttributes"
  | "process.stdin"
  | "process.signal"
  | "process.resize"

/**
 * Everything that can be asked of the backend.
 *
 * **Example** (Any of them)
 *
 * ```ts
 * import type { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const operations: ReadonlyArray<MicrosandboxMemory.Operation> = ["captureSnapshot", "guest.spawn"]
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Operation = DriverOperation | GuestOperation

/**
 * Something that was asked of the backend.
 *
 * **Example** (Counting boots)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const boots = Effect.gen(function* () {
 *   const control = yield* MicrosandboxMemory.Control
 *   return (yield* control.calls).filter(({ operation }) => operation === "createSandbox").length
 * })
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  /** From 0. */
  readonly index: number
  readonly operation: Operation
  /** The sandbox that it was about. */
  readonly sandbox: string | undefined
  /** What it was asked with, secrets left out. */
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
 * Which calls of an operation a {@link Fault} meets: of those that match, `times`
 * calls from the `nth` on.
 *
 * **Example** (The second command of one sandbox)
 *
 * ```ts
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const fault = MicrosandboxMemory.hangAt("guest.spawn", { sandbox: "worker", nth: 2 })
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface When {
  /** From 1, counted from when the fault is injected. Default: 1. */
  readonly nth?: number | undefined
  /** Default: 1. */
  readonly times?: number | undefined
  /** Only calls about this sandbox. */
  readonly sandbox?: string | undefined
  /** Only calls for which this is true. */
  readonly matching?: ((call: Call) => boolean) | undefined
}

/**
 * Something that goes wrong at a call.
 *
 * **Example** (Faults from the start)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * const full = new LightboxError.NoSpace({ problem: "No space left on device" })
 *
 * export const faults: ReadonlyArray<MicrosandboxMemory.Fault> = [
 *   MicrosandboxMemory.failAt("captureSnapshot", full),
 *   MicrosandboxMemory.delayAt("createSandbox", "5 seconds", { times: 3 })
 * ]
 * ```
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
 * The call fails with a reason, without having done anything.
 *
 * **Example** (A registry that is down for a while)
 *
 * ```ts
 * import { LightboxError } from "effect-lightbox"
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const fault = MicrosandboxMemory.failAt(
 *   "createSandbox",
 *   new LightboxError.ImageUnavailable({ reference: "node:22", problem: "registry error" }),
 *   { times: 2 }
 * )
 * ```
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
 * The call begins only after some time, on the clock of its caller.
 *
 * **Example** (A slow boot)
 *
 * ```ts
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const fault = MicrosandboxMemory.delayAt("createSandbox", "2 minutes")
 * ```
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
 * The call never ends, and does nothing.
 *
 * **Example** (A guest that does not answer)
 *
 * ```ts
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const fault = MicrosandboxMemory.hangAt("guest.ping")
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const hangAt = (at: Operation, when: When = {}): Fault => ({ at, when, effect: { _tag: "Hang" } })

/**
 * The call does what it should, and then fails all the same, with an outcome that
 * is `"unknown"` unless a reason is given; or, with `hang`, never ends.
 *
 * **Example** (A snapshot that was captured, although nobody heard of it)
 *
 * ```ts
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const fault = MicrosandboxMemory.loseAnswerAt("captureSnapshot")
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const loseAnswerAt = (
  at: Operation,
  when: When & { readonly reason?: Reason | undefined; readonly hang?: boolean | undefined } = {}
): Fault => ({ at, when, effect: { _tag: "LoseAnswer", reason: when.reason, hangs: when.hang === true } })

/**
 * The virtual machine that the call is about dies: before the call does anything,
 * or so long after it began. Its disk keeps only what was flushed.
 *
 * **Example** (Dying in the middle of a command)
 *
 * ```ts
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const fault = MicrosandboxMemory.killGuestAt("guest.spawn", { nth: 2, after: "3 seconds" })
 * ```
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
 * What is there, for a test that wants to know what a program has left.
 *
 * **Example** (Asserting that nothing leaked)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const isClean = Effect.gen(function* () {
 *   const control = yield* MicrosandboxMemory.Control
 *   const { processes, sandboxes } = yield* control.inventory
 *   return sandboxes.length === 0 && processes.length === 0
 * })
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Inventory {
  readonly sandboxes: ReadonlyArray<{ readonly name: string; readonly status: Microsandbox.SandboxStatus }>
  /** What runs in the guests, agents not counted. */
  readonly processes: ReadonlyArray<{ readonly sandbox: string; readonly pid: number; readonly command: string }>
  readonly snapshots: ReadonlyArray<string>
  readonly snapshotLinks: ReadonlyArray<string>
  readonly volumes: ReadonlyArray<string>
  readonly images: ReadonlyArray<string>
}

/**
 * The service with which a test reaches behind the backend that its program uses.
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
    /** Adds faults; they count calls from now on. */
    readonly inject: (...faults: ReadonlyArray<Fault>) => Effect.Effect<void>
    /** Removes all faults, those of the layer's options included. */
    readonly clearFaults: Effect.Effect<void>
    /** What was asked of this layer so far, in order. */
    readonly calls: Effect.Effect<ReadonlyArray<Call>>
    readonly inventory: Effect.Effect<Inventory, LightboxError>
    /** Ends a virtual machine as a crash would: its sandbox is `"crashed"`. */
    readonly kill: (sandbox: string) => Effect.Effect<void, LightboxError>
    /** Leaves only so many bytes (default 0) of a sandbox's disk free. */
    readonly fillDisk: (
      sandbox: string,
      options?: { readonly free?: number | undefined }
    ) => Effect.Effect<void, LightboxError>
    /** Puts another image behind a reference, as pushing to a registry does. What is in the cache stays there. */
    readonly setImage: (reference: string, image: Image) => Effect.Effect<void>
    /** Spoils the content of a snapshot's disk (the default), or takes the disk away. */
    readonly damageSnapshot: (name: string, part?: "content" | "disk") => Effect.Effect<void, LightboxError>
  }
>()("effect-lightbox/MicrosandboxMemory/Control") {}

// =============================================================================
// Layers
// =============================================================================

/**
 * Options of {@link layer}.
 *
 * **Example** (An image, a command, and a fault)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const options: MicrosandboxMemory.Options = {
 *   images: { "node:22": { workdir: "/work", env: { NODE_VERSION: "22.19.0" } } },
 *   commands: { npm: ({ stdout }) => Effect.as(stdout("added 1 package\n"), 0) },
 *   faults: [MicrosandboxMemory.hangAt("guest.spawn", { nth: 3 })]
 * }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * The folder that holds everything but what runs. Layers and processes that have the same one share it, though only
   * the process that made a sandbox can use it. Default: a temporary one, removed with the layer.
   */
  readonly home?: string | undefined
  /** For sandboxes that do not say. Default: 1. */
  readonly cpus?: number | undefined
  /** For sandboxes that do not say. Default: `"512M"`. */
  readonly memory?: Size | undefined
  /** For sandboxes that do not say. Default: `"if-missing"`. */
  readonly pullPolicy?: "always" | "if-missing" | "never" | undefined
  /** How much sandboxes may take. Default: anything. */
  readonly budget?: Admission.Budget | undefined
  /** Remove what processes have left that are gone. Default: `true`. */
  readonly sweep?: boolean | undefined
  /** What the registry has, by reference. Default: a plain image behind every reference. */
  readonly images?: { readonly [reference: string]: Image } | undefined
  /** Programs of every image, by name or absolute path. They come before the built-in ones. */
  readonly commands?: { readonly [name: string]: Command } | undefined
  readonly faults?: ReadonlyArray<Fault> | undefined
}

/**
 * Provides `Microsandbox` in memory, and {@link Control} over it.
 *
 * **Details**
 *
 * The built-in shell knows lists, pipes, redirections, here-documents, variables,
 * substitutions, patterns, arithmetic, conditions, loops and functions; the
 * built-in programs are those of a small guest (`cat`, `cp`, `find`, `grep`,
 * `sed`, `tar` and some sixty more). There is no network but inside a guest, and
 * ports that it publishes.
 *
 * The backend assumes the worst about disks: a virtual machine that is killed has
 * lost what was not flushed, and a file that was removed can still be found by who
 * searches the disk.
 *
 * Closing the layer stops what still runs. Disk mounts are not supported.
 *
 * **Example** (A test with a clock that it turns itself)
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
