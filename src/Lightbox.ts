/**
 * Functions for whole programs: {@link doctor} checks this machine, and {@link
 * runMain} runs a program.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import { inspect } from "node:util"
import * as internal from "./internal/reaper/doctor.ts"
import * as internalProgress from "./internal/report/progress.ts"
import { exitCodes, signals, type Signal } from "./internal/host/processSignals.ts"
import type { LightboxError } from "./LightboxError.ts"

// =============================================================================
// Doctor
// =============================================================================

/**
 * The result of one check by {@link doctor}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Finding {
  readonly topic:
    | "node"
    | "platform"
    | "runtime"
    | "virtualization"
    | "home"
    | "disk"
    | "copies"
    | "attributes"
    | "memory"
    | "store"
    | "leftovers"
  /** `problem`: sandboxes do not work. `warning`: something is slow or will soon fail. */
  readonly status: "ok" | "warning" | "problem"
  readonly found: string
  readonly remedy: string | undefined
}

/**
 * The result of {@link doctor}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Diagnosis {
  readonly findings: ReadonlyArray<Finding>
  /** `true`: there is no `problem`. There can be warnings. */
  readonly isHealthy: boolean
}

/**
 * Checks whether this machine can run sandboxes, and suggests remedies. Checks
 * Node.js, the platform, the SDK's native module, virtualization, the home
 * directory and its disk, the cost of copies, memory, the runtime's database, and
 * what dead processes left behind. Works without a driver. Fails only with
 * `InvalidConfig`.
 *
 * `home` is that of `MicrosandboxLocal.layer`. As with that layer, this process
 * cannot use another home at the same time. To measure copies, the check writes two
 * files of up to 32 MiB to the home's disk and removes them.
 *
 * **Gotchas**
 *
 * If the database was written by an older version of the runtime, the check
 * upgrades it.
 *
 * **Example** (Printing the diagnosis)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Lightbox } from "effect-lightbox"
 *
 * export const program = Effect.flatMap(Lightbox.doctor(), (diagnosis) =>
 *   Console.log(Lightbox.formatDiagnosis(diagnosis))
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const doctor = (options?: { readonly home?: string | undefined }): Effect.Effect<Diagnosis, LightboxError> =>
  internal.diagnose(options)

/**
 * Formats a diagnosis as text, one line per finding, with remedies below.
 *
 * @category formatting
 * @since 0.1.0
 */
export const formatDiagnosis = ({ findings }: Diagnosis): string =>
  findings
    .flatMap(({ found, remedy, status, topic }) => [
      `${marks[status]} ${topic.padEnd(15)} ${found}`,
      ...(remedy === undefined || remedy === "" ? [] : remedy.split("\n").map((line) => `${" ".repeat(18)} ${line}`))
    ])
    .join("\n")

const marks = { ok: "ok      ", warning: "warning ", problem: "PROBLEM " } as const

// =============================================================================
// Running
// =============================================================================

/**
 * Runs a program as the main program of this process.
 *
 * SIGINT, SIGTERM, SIGHUP and uncaught exceptions interrupt it, so that scopes
 * close and sandboxes are released. After `releaseTimeout` (default: 10 seconds) or
 * at a second signal, the process exits anyway, and the next sweep removes the
 * rest.
 *
 * The exit status is 0 on success; 1 after a failure (or the error's
 * `Runtime.errorExitCode`) or an uncaught exception; and 130, 143 or 129 after
 * SIGINT, SIGTERM or SIGHUP.
 *
 * `NodeRuntime.runMain` works too, but waits for the release without a limit and
 * does not distinguish signals.
 *
 * **Example** (A script)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"
 *
 * Sandbox.run({ image: "alpine" }, (sandbox) => sandbox.exec("uname", ["-a"])).pipe(
 *   Effect.flatMap((result) => Console.log(result.stdout)),
 *   Effect.provide(MicrosandboxLocal.layer()),
 *   Lightbox.runMain()
 * )
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const runMain =
  (options?: { readonly releaseTimeout?: Duration.Input | undefined }) =>
  <A, E>(effect: Effect.Effect<A, E>): void => {
    const releaseMillis = Duration.toMillis(Duration.fromInputUnsafe(options?.releaseTimeout ?? "10 seconds"))
    const run = Runtime.makeRunMain(({ fiber, teardown }) => {
      let status: number | undefined
      const abandon = (): void => {
        process.stderr.write("Not everything was released. The next sweep removes the rest.\n")
        process.exit(status)
      }
      const end = (wanted: number): void => {
        status = wanted
        // Node.js fires timers beyond 31 bits of milliseconds immediately.
        if (releaseMillis < 2 ** 31) setTimeout(abandon, releaseMillis).unref()
        fiber.interruptUnsafe(fiber.id)
      }
      const onSignal = (signal: Signal): void => (status === undefined ? end(exitCodes[signal]) : abandon())
      const onUncaught = (error: unknown): void => {
        process.stderr.write(`${inspect(error)}\n`)
        if (status === undefined) end(1)
      }
      for (const signal of signals) process.on(signal, onSignal)
      process.on("uncaughtException", onUncaught)
      fiber.addObserver((exit) => {
        for (const signal of signals) process.off(signal, onSignal)
        process.off("uncaughtException", onUncaught)
        if (status !== undefined) process.exit(status)
        if (Exit.isFailure(exit)) report(exit.cause)
        // After success, work that the program did not wait for may continue.
        teardown(exit, (code) => (Exit.isSuccess(exit) ? (process.exitCode = code) : process.exit(code)))
      })
    })
    run(effect, { disableErrorReporting: true })
  }

/** Standard output belongs to the program. */
const report = (cause: Cause.Cause<unknown>): void => {
  if (Cause.hasInterruptsOnly(cause) || !Runtime.getErrorReported(Cause.squash(cause))) return
  process.stderr.write(`${Cause.pretty(cause)}\n`)
}

// =============================================================================
// Progress
// =============================================================================

/**
 * Receives a line before slow work: a pull, the steps of a build that has no `onEvent`, the first boot. Each line comes
 * once per process.
 *
 * Default: write to standard error if that is a terminal, else nothing.
 *
 * **Example** (Turning it off)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Lightbox } from "effect-lightbox"
 *
 * export const quietly = Effect.provideService(Lightbox.Progress, () => {})
 * ```
 *
 * @category references
 * @since 0.1.0
 */
export const Progress: Context.Reference<(line: string) => void> = internalProgress.Progress
