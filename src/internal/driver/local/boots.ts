/**
 * Boots virtual machines within a time limit.
 *
 * The SDK's promise cannot be cancelled. An abandoned boot is killed and cleaned up in the background, and no other
 * boot of the same name starts before that has ended: it would be killed instead.
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { LightboxError, TimedOut } from "../../../LightboxError.ts"
import { bootRetries } from "../../report/metrics.ts"
import * as Owner from "../../ownership/owner.ts"
import { settle } from "../sdk/calls.ts"
import { millis } from "../../config/schemas.ts"
import * as VmProcess from "./workaroundVmProcess.ts"

/** Abandoned boots of this process that have not ended, by name. */
const abandoned = new Map<string, Deferred.Deferred<void>>()

const abandonedEnd = (name: string): Effect.Effect<void> =>
  Effect.suspend(() => {
    const last = abandoned.get(name)
    return last === undefined ? Effect.void : Deferred.await(last)
  })

/** Intervals for finding the virtual machine to kill. It starts late if an image is pulled first. */
const looks = Schedule.min([Schedule.exponential("20 millis"), Schedule.spaced("500 millis")])

export interface Boot<A> {
  readonly method: string
  readonly name: string
  /** Time limit, counted from the call of `onPulled`. */
  readonly limit: Duration.Duration
  readonly start: (onPulled: () => void) => Promise<A>
  readonly fail: (cause: unknown) => Effect.Effect<never, LightboxError>
  /** Removes what an abandoned boot has created. */
  readonly cleanUp: Effect.Effect<void>
}

/**
 * Boots once. After an interruption, a background fiber ends the boot. Killing the virtual machine settles the promise
 * at once, but while an image is pulled there is none.
 */
const once = Effect.fnUntraced(function* <A>({
  cleanUp,
  fail,
  limit,
  method,
  name,
  start
}: Boot<A>): Effect.fn.Return<A, LightboxError> {
  const pulled = yield* Deferred.make<void>()
  const booting = Effect.suspend(() => {
    // Virtual machines of an earlier sandbox with this name.
    const others = VmProcess.pidsOf(name)
    const killing = Effect.repeat(
      Effect.sync(() => VmProcess.kill(name, others)),
      looks
    )
    return settle({
      run: () => start(() => Deferred.doneUnsafe(pulled, Effect.void)),
      fail,
      onInterrupt: (settled) => {
        const over = Deferred.makeUnsafe<void>()
        abandoned.set(name, over)
        return Effect.raceFirst(settled, killing).pipe(
          Effect.andThen(cleanUp),
          Effect.ensuring(
            Effect.sync(() => {
              abandoned.delete(name)
              Deferred.doneUnsafe(over, Effect.void)
            })
          )
        )
      }
    })
  })
  const tooLong = new LightboxError({
    method,
    reason: new TimedOut({ operation: `booting "${name}"`, limitMillis: millis(limit) })
  })
  const timer = Deferred.await(pulled).pipe(Effect.andThen(Effect.sleep(limit)), Effect.andThen(Effect.fail(tooLong)))
  return yield* Effect.raceFirst(booting, timer)
})

/** Boots a virtual machine, with one retry after a timeout. */
export const boot = <A>(options: Boot<A>): Effect.Effect<A, LightboxError> =>
  Effect.andThen(abandonedEnd(options.name), once(options)).pipe(
    Effect.catchReason("LightboxError", "TimedOut", (_, error) =>
      Effect.flatMap(Effect.timeoutOption(abandonedEnd(options.name), "30 seconds"), (isFree) =>
        Option.isNone(isFree) ? Effect.fail(error) : Effect.andThen(Metric.update(bootRetries, 1), once(options))
      )
    )
  )

/** Checks whether an owner that may be alive has noted another sandbox of this name. */
export const isBeingMade = (home: string, name: string, instance: string): Effect.Effect<boolean, LightboxError> =>
  Effect.map(Owner.livingNotes(home, "sandbox"), (notes) =>
    notes.some((note) => note.name === name && note.token !== instance)
  )
