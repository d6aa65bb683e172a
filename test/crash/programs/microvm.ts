/**
 * Works on real microVMs, several times one after the other and each time up to another place, and is killed when it has
 * come to the last one: `microvm.ts IMAGE NAME:PLACE…`, where a place is the number of a call that changes something, or
 * one half more for the middle of that call.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Microsandbox from "../../../src/Microsandbox.ts"
import { around, isReading } from "../Calls.ts"
import { core, unverified } from "../work.ts"

const [image = "", ...stops] = process.argv.slice(2)

/** How long after their begin calls are in their middle, in milliseconds of an emulated host. */
const middle = (operation: string): number =>
  operation === "createSandbox" ? 2000 : operation === "captureSnapshot" ? 150 : 40

const workUntil = Effect.fnUntraced(function* (name: string, stopAt: number) {
  const driver = yield* Microsandbox.Microsandbox
  const stopped = yield* Deferred.make<void>()
  const stop = Effect.andThen(Deferred.succeed(stopped, undefined), Effect.never)
  let place = -1
  const watched = around(driver, (operation, call) =>
    Effect.suspend(() => {
      if (isReading(operation)) return place >= stopAt ? Effect.never : call
      place++
      if (place >= stopAt) return stop
      if (place + 1 <= stopAt) return call
      return Effect.andThen(
        Effect.forkDetach(call, { startImmediately: true }),
        Effect.andThen(Effect.sleep(middle(operation)), stop)
      )
    })
  )
  const working = yield* core(unverified(name, image, name)).pipe(
    Effect.provideService(Microsandbox.Microsandbox, watched),
    Effect.forkDetach({ startImmediately: true })
  )
  yield* Effect.raceFirst(
    Deferred.await(stopped),
    Effect.andThen(Fiber.join(working), Effect.die(new Error(`${name} never came to ${stopAt}`)))
  )
})

setInterval(() => {}, 1000)
Effect.forEach(
  stops,
  (stop) => {
    const [name = "", place = ""] = stop.split(":")
    return workUntil(name, Number(place))
  },
  { discard: true }
)
  .pipe(
    Effect.andThen(Effect.sync(() => process.kill(process.pid, "SIGKILL"))),
    Effect.provide(Microsandbox.layer({ memory: "256M", bootTimeout: "100 seconds" })),
    Effect.runPromise
  )
  .catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
