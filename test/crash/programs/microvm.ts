/**
 * Works on real microVMs, several times one after the other and each time up to another place, and is killed when it has
 * come to the last one: `microvm.ts IMAGE NAME:PLACE…`, where a place is the number of a call that changes something, or
 * one half more for the middle of that call. If that was still going on when the process was killed, it printed its name.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Microsandbox from "../../../src/Microsandbox.ts"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"
import { around, isReading } from "../Calls.ts"
import { core, unverified } from "../work.ts"

const [image = "", ...stops] = process.argv.slice(2)

/** What of a call that goes on can be seen in the home: the virtual machine that it starts, or else any of its files. */
const traces = (home: string, operation: string): string => {
  const folders = operation === "createSandbox" ? ["run/sandboxes"] : ["run/sandboxes", "sandboxes", "snapshots"]
  const paths = folders.map((folder) => Path.join(home, folder)).filter((path) => Fs.existsSync(path))
  return JSON.stringify(paths.map((path) => Fs.readdirSync(path)))
}

/** The call in whose middle the process stopped last. */
let inTheMiddle: { readonly operation: string; readonly isOver: () => boolean } | undefined

const workUntil = Effect.fnUntraced(function* (name: string, stopAt: number) {
  inTheMiddle = undefined
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
      const before = traces(driver.home, operation)
      return Effect.flatMap(Effect.forkDetach(call, { startImmediately: true }), (fiber) => {
        const isOver = () => fiber.pollUnsafe() !== undefined
        inTheMiddle = { operation, isOver }
        return Effect.sync(() => isOver() || traces(driver.home, operation) !== before).pipe(
          Effect.repeat({ until: (isSeen) => isSeen, schedule: Schedule.spaced("2 millis") }),
          Effect.andThen(stop)
        )
      })
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
    Effect.andThen(
      Effect.sync(() => {
        if (inTheMiddle !== undefined && !inTheMiddle.isOver()) Fs.writeSync(1, inTheMiddle.operation)
        process.kill(process.pid, "SIGKILL")
      })
    ),
    Effect.provide(MicrosandboxLocal.layer({ memory: "256M", bootTimeout: "100 seconds" })),
    Effect.runPromise
  )
  .catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
