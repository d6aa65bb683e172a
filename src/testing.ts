/**
 * Tests programs without virtual machines.
 *
 * **Example** (A test that takes milliseconds)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 * import { MicrosandboxMemory } from "effect-lightbox/testing"
 *
 * export const test = Sandbox.run({ image: "alpine:3" }, (sandbox) => sandbox.shell("echo hello")).pipe(
 *   Effect.provide(MicrosandboxMemory.layer())
 * )
 * ```
 *
 * **Example** (A program that uses promises)
 *
 * ```ts
 * import { runInSandbox } from "effect-lightbox/promise"
 * import { useTwin } from "effect-lightbox/testing"
 *
 * await using twin = await useTwin({ commands: { npm: () => ({ stdout: "12 tests passed\n" }) } })
 * const out = await runInSandbox({ image: "node:22" }, (sandbox) => sandbox.shell("npm test"))
 * console.log(out.stdout(), await twin.inventory())
 * ```
 *
 * @since 0.1.0
 */
import * as PromiseTwin from "./internal/promise/twin.ts"
import type * as MicrosandboxMemory from "./MicrosandboxMemory.ts"

/**
 * The in-memory `Microsandbox`, with its images, commands, faults and the service
 * that observes it.
 *
 * @category testing
 * @since 0.1.0
 */
export * as MicrosandboxMemory from "./MicrosandboxMemory.ts"

/**
 * A call of a declared command in the guest of a {@link Twin}.
 *
 * @category models
 * @since 0.1.0
 */
export interface TwinCall {
  /** Name of the sandbox. */
  readonly sandbox: string
  /** The command and its arguments. */
  readonly argv: ReadonlyArray<string>
  readonly env: { readonly [name: string]: string }
  readonly workdir: string
  /** Reads standard input until it is closed. */
  readonly readInput: () => Promise<string>
  /** Reads a file of the guest. Relative paths start at the working directory. */
  readonly readFile: (path: string) => Promise<string>
  readonly writeFile: (path: string, data: string | Uint8Array) => Promise<void>
}

/**
 * What a declared command wrote, and its exit code.
 *
 * @category models
 * @since 0.1.0
 */
export interface TwinResult {
  /** Default: 0. */
  readonly exitCode?: number | undefined
  readonly stdout?: string | Uint8Array | undefined
  readonly stderr?: string | Uint8Array | undefined
}

/**
 * A guest command as a function. A number is its exit code; an error that it throws goes to standard error, with exit
 * code 1.
 *
 * @category models
 * @since 0.1.0
 */
export type TwinCommand = (
  call: TwinCall
) => number | TwinResult | undefined | void | Promise<number | TwinResult | undefined | void>

/**
 * Options of {@link useTwin}.
 *
 * @category options
 * @since 0.1.0
 */
export interface TwinOptions extends Pick<
  MicrosandboxMemory.Options,
  "home" | "images" | "faults" | "memorySnapshots"
> {
  /** Commands of every image, by name or absolute path. They take precedence over built-in programs. */
  readonly commands?: { readonly [name: string]: TwinCommand } | undefined
}

/**
 * The in-memory driver under `effect-lightbox/promise`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Twin extends AsyncDisposable {
  /** Makes later calls fail, hang or lose their guest: see `MicrosandboxMemory.failAt` and its neighbours. */
  readonly inject: (...faults: ReadonlyArray<MicrosandboxMemory.Fault>) => Promise<void>
  /** All calls of the driver so far, in order. */
  readonly calls: () => Promise<ReadonlyArray<MicrosandboxMemory.Call>>
  /** Lists everything that exists, such as what a program left behind. */
  readonly inventory: () => Promise<MicrosandboxMemory.Inventory>
  /** Crashes the virtual machine of a sandbox. */
  readonly kill: (sandbox: string) => Promise<void>
  /** Stops the sandboxes, removes the temporary folder, and switches back. Also called by `await using`. */
  readonly close: () => Promise<void>
}

/**
 * Runs everything that this process does through `effect-lightbox/promise` in memory, until it is closed. No virtual
 * machine is needed, and nothing is written but a temporary folder (or `home`).
 *
 * Rejects with `InvalidConfig` for a command that is no function.
 *
 * @category testing
 * @since 0.1.0
 */
export const useTwin = (options: TwinOptions = {}): Promise<Twin> => PromiseTwin.useTwin(options)
