/**
 * What concerns a whole program: whether this machine can do what the library
 * needs ({@link doctor}), and how a program ends ({@link runMain}).
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
 * One thing that {@link doctor} looked at.
 *
 * **Example** (What must be done)
 *
 * ```ts
 * import type { Lightbox } from "effect-lightbox"
 *
 * export const remedies = (diagnosis: Lightbox.Diagnosis) =>
 *   diagnosis.findings.flatMap(({ remedy, status }) => (status === "problem" && remedy !== undefined ? [remedy] : []))
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Finding {
  /** What was looked at. */
  readonly topic:
    | "node"
    | "platform"
    | "runtime"
    | "virtualization"
    | "home"
    | "disk"
    | "copies"
    | "memory"
    | "store"
    | "leftovers"
  /** `problem`: sandboxes do not work; `warning`: something will be slow, or will fail before long. */
  readonly status: "ok" | "warning" | "problem"
  readonly found: string
  readonly remedy: string | undefined
}

/**
 * The result of {@link doctor}.
 *
 * **Example** (Asking before starting)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Lightbox } from "effect-lightbox"
 *
 * export const canRun = Effect.map(Lightbox.doctor(), (diagnosis) => diagnosis.isHealthy)
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Diagnosis {
  readonly findings: ReadonlyArray<Finding>
  /** Whether there is no problem; there may be warnings. */
  readonly isHealthy: boolean
}

/**
 * Looks whether this machine can run sandboxes, and what to do if not: Node.js,
 * platform, the SDK's module, virtualization, the home directory with its disk,
 * what copies cost there, memory, the runtime's database, and what dead processes
 * have left. Needs no driver, for it tells why there may be none.
 *
 * **Details**
 *
 * `home` is the same as for `MicrosandboxLocal.layer`. Fails with `InvalidConfig` only.
 *
 * Leaves nothing behind and removes nothing. To see what copies cost it writes
 * two files of up to 32 MiB to the home's disk, and removes them. A database that
 * is there is opened, which brings one of an older version up to date. As long as
 * it runs, this process uses the home as with `MicrosandboxLocal.layer`.
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
 * A diagnosis as text, one line for each finding, with what to do below it.
 *
 * **Example** (Throwing it at whoever starts the program)
 *
 * ```ts
 * import { Lightbox } from "effect-lightbox"
 *
 * export const explain = (diagnosis: Lightbox.Diagnosis): string => Lightbox.formatDiagnosis(diagnosis)
 * ```
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
 * Runs a program as the main one of this process.
 *
 * **Details**
 *
 * SIGINT, SIGTERM and SIGHUP interrupt it, so that all scopes are closed and
 * sandboxes released, last first. After `releaseTimeout` (default 10 seconds), or
 * at a second signal, the process ends all the same, and what was not released is
 * left to the next sweep. So does an exception that nothing has caught. The exit
 * status is 0, 1 after a failure or such an exception (or what the error says, see
 * `Runtime.errorExitCode`), and 130, 143 or 129 after a signal.
 *
 * `NodeRuntime.runMain` does as well, but waits for as long as releasing takes,
 * and does not tell the signals apart.
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
        // A timer of more milliseconds than 31 bits can hold would go off at once.
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
        // A program that has ended may leave what it did not wait for to go on.
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
 * Receives a line when a person would wonder what takes so long: a pull, the steps
 * of a build that has no `onEvent`, the first boot. Each line comes once per process.
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
