/**
 * A program on the twin, run by `Lightbox.runMain`: `main.ts HOME WHAT`. Says `ready` when it has a sandbox, and
 * `released` when that is gone.
 *
 * - `wait`: waits forever.
 * - `slow`: the same, with a release that never ends.
 * - `succeed`, `fail`: ends, in success or in a failure.
 * - `die`, `throw`: ends with a defect, its own or one thrown in a timer.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Lightbox from "../../../src/Lightbox.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../../src/Sandbox.ts"

const [home = "", what = "wait", releaseTimeout] = process.argv.slice(2)

const say = (line: string) => Effect.sync(() => Fs.writeSync(1, `${line}\n`))

const ending = (): Effect.Effect<void, string> => {
  switch (what) {
    case "succeed":
      return Effect.void
    case "fail":
      return Effect.fail("on purpose")
    case "die":
      return Effect.die(new Error("on purpose"))
    case "throw":
      return Effect.andThen(
        Effect.sync(() =>
          setTimeout(() => {
            throw new Error("on purpose")
          })
        ),
        Effect.never
      )
    default:
      return Effect.never
  }
}

Effect.gen(function* () {
  yield* Effect.addFinalizer(() =>
    Effect.flatMap(Effect.orDie(Sandbox.list()), (left) => say(left.length === 0 ? "released" : "out of order"))
  )
  if (what === "slow") yield* Effect.addFinalizer(() => Effect.andThen(say("releasing"), Effect.never))
  yield* Sandbox.launch({ name: "worker", image: "plain" })
  yield* say("ready")
  yield* ending()
}).pipe(
  Effect.scoped,
  Effect.provide(MicrosandboxMemory.layer({ home })),
  Lightbox.runMain(releaseTimeout === undefined ? {} : { releaseTimeout: Number(releaseTimeout) })
)
