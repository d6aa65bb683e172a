/** How much memory this process takes. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as V8 from "node:v8"
import * as Vm from "node:vm"

const mebibyte = 1024 * 1024

const collectNow = () => {
  V8.setFlagsFromString("--expose-gc")
  const gc: unknown = Vm.runInNewContext("gc")
  if (typeof gc === "function") gc()
}

/** Collects garbage at once, which Node.js offers only to who asks for it. */
export const collect = Effect.sync(collectNow)

/** The bytes of all objects that are in use. */
export const heap = (): number => {
  collectNow()
  return process.memoryUsage().heapUsed
}

/** What an effect gives, and how much memory the process took at most while it ran, beyond what it took before: MiB. */
export const peakOf = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<{ readonly value: A; readonly peak: number }, E, R> =>
  Effect.gen(function* () {
    yield* collect
    const before = process.memoryUsage.rss()
    let most = before
    const look = Effect.sync(() => {
      most = Math.max(most, process.memoryUsage.rss())
    })
    const value = yield* Effect.raceFirst(
      effect,
      Effect.andThen(Effect.repeat(look, Schedule.spaced("50 millis")), Effect.never)
    )
    yield* look
    return { value, peak: (most - before) / mebibyte }
  })
