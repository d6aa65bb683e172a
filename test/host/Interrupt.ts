/** How the signals that end a program reach it. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as MutableRef from "effect/MutableRef"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Os from "node:os"

/** The signals that interrupt the program. */
export type Signal = "SIGHUP" | "SIGINT" | "SIGTERM"

const received = MutableRef.make(Option.none<Signal>())

/** The signal that interrupted the program; none when it was something else, such as a time limit. */
export const signal: Effect.Effect<Option.Option<Signal>> = Effect.sync(() => MutableRef.get(received))

/** The exit status that a shell gives to a process that a signal ended. */
export const exitStatus = (signal: NodeJS.Signals): number => 128 + Os.constants.signals[signal]

/**
 * Runs a program whose result is its exit status.
 *
 * **Details**
 *
 * Like `NodeRuntime.runMain`, but SIGHUP interrupts it as well, it can ask which {@link signal} did, and the
 * exit status is then that of this signal. A defect is status 70.
 */
export const runMain = Runtime.makeRunMain(({ fiber }) => {
  const interrupt = (signal: Signal) => {
    MutableRef.update(
      received,
      Option.orElseSome(() => signal)
    )
    fiber.interruptUnsafe(fiber.id)
  }
  process.on("SIGHUP", interrupt).on("SIGINT", interrupt).on("SIGTERM", interrupt)
  fiber.addObserver((exit) => {
    const status = Exit.isSuccess(exit) && typeof exit.value === "number" ? exit.value : 70
    process.exit(Option.match(MutableRef.get(received), { onNone: () => status, onSome: exitStatus }))
  })
})
