/**
 * From a snapshot to a sandbox, the output of its first command, and nothing left: with this library, with the SDK in
 * the same way, and with the SDK as lightbox 0.3 used it.
 */
import * as Effect from "effect/Effect"
import * as Sdk from "microsandbox"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { reference as image } from "../images/Busybox.ts"
import * as Row from "./Row.ts"

const resources = { cpus: 1, memory: "256M" } as const
const snapshot = "bench-launch"
const definition = Snapshot.make(snapshot, image).pipe(Snapshot.resources(resources), Snapshot.shell("true"))

interface Launch {
  /** From the start to when nothing is left. */
  readonly whole: Row.Cost
  /** The part of it after the boot. */
  readonly afterBoot: Row.Cost
}

/** Measures one launch; what runs in it says when the sandbox is up. */
const launch = <E, R>(run: (onUp: () => void) => Effect.Effect<unknown, E, R>): Effect.Effect<Launch, E, R> =>
  Effect.suspend(() => {
    const whole = Row.meter()
    let afterBoot = whole
    return Effect.map(
      run(() => {
        afterBoot = Row.meter()
      }),
      (): Launch => ({ whole: whole(), afterBoot: afterBoot() })
    )
  })

const ours = launch((onUp) =>
  Sandbox.run({ snapshot, resources }, (sandbox) => {
    onUp()
    return sandbox.exec("echo", ["hello"], { check: true })
  })
)

const boot = (name: string) => Sdk.Sandbox.builder(name).fromSnapshot(snapshot).cpus(1).memory(256).create()

const byHand = launch((onUp) =>
  Effect.promise(async () => {
    const sandbox = await boot("bench-by-hand")
    onUp()
    await sandbox.exec("echo", ["hello"])
    await sandbox.destroy({ force: true })
  })
)

// It looks whether the name is taken, and leaves the record of the sandbox, which is removed after the measurement.
const lightbox = Effect.tap(
  launch((onUp) =>
    Effect.promise(async () => {
      await Sdk.Sandbox.get("bench-lightbox").catch(() => undefined)
      await Sdk.Snapshot.open(snapshot)
      const sandbox = await boot("bench-lightbox")
      onUp()
      await sandbox.exec("echo", ["hello"])
      await sandbox.stop()
    })
  ),
  Effect.promise(() => Sdk.Sandbox.remove("bench-lightbox"))
)

export const benches: ReadonlyArray<Row.Bench> = [
  {
    name: "launch",
    place: "agents",
    rows: (n, place) =>
      Effect.gen(function* () {
        yield* Effect.acquireRelease(Snapshot.build(definition), () => Effect.ignore(Snapshot.remove(snapshot)))
        const [mine = [], hand = [], former = []] = yield* Row.alternate(n, [ours, byHand, lightbox], { warmUp: 1 })
        const rows = (
          name: string,
          what: string,
          other: ReadonlyArray<Launch>,
          part: keyof Launch,
          target: number | undefined
        ) =>
          Row.costs(
            name,
            {
              ours: ["Sandbox.run", mine.map((launch) => launch[part])],
              reference: [what, other.map((launch) => launch[part])]
            },
            { target }
          )
        const hands = "the SDK by hand, same teardown"
        const formers = "lightbox's sequence"
        return [
          // Nothing boots with the stand-in.
          ...(place === "stand-in" ? [] : rows("launch, first output, gone", hands, hand, "whole", 1.05)),
          ...(place === "stand-in" ? [] : rows("launch, first output, gone", formers, former, "whole", 0.95)),
          ...rows("of a launch, after the boot", hands, hand, "afterBoot", undefined),
          ...rows("of a launch, after the boot", formers, former, "afterBoot", 0.3)
        ]
      })
  }
]
