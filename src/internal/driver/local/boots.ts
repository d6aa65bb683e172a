/**
 * Boots of virtual machines: within a time limit, and abandoned when they are interrupted.
 *
 * The SDK's promise can not be called off. What is left of an abandoned boot is killed and cleaned up as it comes, and
 * until that is over no other boot of its name begins: it would be the one that is killed.
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
import { leave, whenSettled } from "../sdk/calls.ts"
import { millis } from "../../config/time.ts"
import * as VmProcess from "./workaroundVmProcess.ts"

/** Names of which abandoned boots of this process have something under way. */
const abandoned = new Map<string, Deferred.Deferred<void>>()

const abandonedEnd = (name: string): Effect.Effect<void> =>
  Effect.suspend(() => {
    const last = abandoned.get(name)
    return last === undefined ? Effect.void : Deferred.await(last)
  })

/** How often it is looked for a virtual machine to kill: often, unless an image is pulled first. */
const looks = Schedule.min([Schedule.exponential("20 millis"), Schedule.spaced("500 millis")])

/** What is to be booted, and how. */
export interface Boot<A> {
  readonly method: string
  readonly name: string
  /** How long it may take, what it does before it calls `onPulled` not counted. */
  readonly limit: Duration.Duration
  readonly start: (onPulled: () => void) => Promise<A>
  readonly fail: (cause: unknown) => Effect.Effect<never, LightboxError>
  /** Removes what the boot has made, when it was abandoned. */
  readonly cleanUp: Effect.Effect<void>
}

/**
 * Boots once, and leaves what is under way at an interruption to a fiber in the background, for which it waits a while:
 * killed, a virtual machine lets the promise settle at once, but while an image is pulled there is none.
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
  const booting = Effect.callback<A, LightboxError>((resume) => {
    // Those of a sandbox that has the name already.
    const others = VmProcess.pidsOf(name)
    const pending = Promise.resolve().then(() => start(() => Deferred.doneUnsafe(pulled, Effect.void)))
    pending.then(
      (value) => resume(Effect.succeed(value)),
      (cause) => resume(fail(cause))
    )
    const killing = Effect.repeat(
      Effect.sync(() => VmProcess.kill(name, others)),
      looks
    )
    return Effect.suspend(() => {
      const over = Deferred.makeUnsafe<void>()
      abandoned.set(name, over)
      return leave(
        Effect.raceFirst(whenSettled(pending), killing).pipe(
          Effect.andThen(cleanUp),
          Effect.ensuring(
            Effect.sync(() => {
              abandoned.delete(name)
              Deferred.doneUnsafe(over, Effect.void)
            })
          )
        )
      )
    })
  })
  const tooLong = new LightboxError({
    method,
    reason: new TimedOut({ operation: `booting "${name}"`, limitMillis: millis(limit) })
  })
  const timer = Deferred.await(pulled).pipe(Effect.andThen(Effect.sleep(limit)), Effect.andThen(Effect.fail(tooLong)))
  return yield* Effect.raceFirst(booting, timer)
})

/** Boots a virtual machine within the time limit, and once more if it took too long. */
export const boot = <A>(options: Boot<A>): Effect.Effect<A, LightboxError> =>
  Effect.andThen(abandonedEnd(options.name), once(options)).pipe(
    Effect.catchReason("LightboxError", "TimedOut", (_, error) =>
      Effect.flatMap(Effect.timeoutOption(abandonedEnd(options.name), "30 seconds"), (isFree) =>
        Option.isNone(isFree) ? Effect.fail(error) : Effect.andThen(Metric.update(bootRetries, 1), once(options))
      )
    )
  )

/** Whether somebody who may live has noted another sandbox of the name, which it makes now or has made. */
export const isBeingMade = (home: string, name: string, instance: string): Effect.Effect<boolean, LightboxError> =>
  Effect.map(Owner.livingNotes(home, "sandbox"), (notes) =>
    notes.some((note) => note.name === name && note.token !== instance)
  )
