/**
 * Bakes a snapshot, runs code in a sandbox booted from it, and shows what it all takes.
 *
 * npm run demo
 */
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as BuildEvent from "effect-lightbox/BuildEvent"
import * as Lightbox from "effect-lightbox/Lightbox"
import * as MicrosandboxLocal from "effect-lightbox/MicrosandboxLocal"
import * as Sandbox from "effect-lightbox/Sandbox"
import * as Snapshot from "effect-lightbox/Snapshot"

const resources = { cpus: 1, memory: "256M" } as const

const greeter = Snapshot.make("greeter", "busybox").pipe(
  Snapshot.resources(resources),
  Snapshot.env({ GREETING: "Hello" }),
  Snapshot.workdir("/srv"),
  Snapshot.shell('echo "echo $GREETING from a microVM, \\$1." > greet.sh', { description: "write a script" }),
  Snapshot.shell("sh greet.sh builder", { description: "try it" })
)

const seconds = (duration: Duration.Duration): string => `${Duration.toSeconds(duration).toFixed(2)} s`

const show = (event: BuildEvent.BuildEvent): Effect.Effect<void> => {
  switch (event._tag) {
    case "Booted":
      return Console.log(`  boot        ${seconds(event.duration)}`)
    case "StepCached":
      return Console.log(`  step ${event.index}      cached: ${event.description}`)
    case "StepOutput":
      return Console.log(`              ${event.text.trimEnd()}`)
    case "StepFinished":
      return Console.log(`  step ${event.index}      ${seconds(event.duration)}: ${event.description}`)
    case "Checkpointed":
      return Console.log(`  capture     ${seconds(event.duration)}`)
    default:
      return Effect.void
  }
}

const timed = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>) =>
  Effect.timed(effect).pipe(
    Effect.tap(([duration]) => Console.log(`${what.padEnd(13)} ${seconds(duration)}`)),
    Effect.map(([, value]) => value)
  )

const program = Effect.gen(function* () {
  yield* Console.log(`host          ${yield* Config.withDefault(Config.String("LIGHTBOX_HOST"), "this machine")}`)
  yield* Console.log("image         busybox")

  yield* timed("build", Snapshot.build(greeter, { onEvent: show }))
  yield* timed("build again", Snapshot.build(greeter))

  yield* timed(
    "use, in all",
    Sandbox.run({ snapshot: "greeter", resources }, (sandbox) =>
      timed("command", sandbox.shell("sh /srv/greet.sh reader", { check: true })).pipe(
        Effect.tap((result) => Console.log(`output        ${result.stdout.trimEnd()}`))
      )
    )
  )

  yield* Snapshot.remove("greeter")
  const left = yield* Sandbox.list()
  yield* Console.log(`left          ${left.length === 0 ? "no sandbox" : left.map(({ name }) => name).join(", ")}`)
})

program.pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
