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
const definition = Snapshot.make(snapshot, image).pipe(Snapshot.resources(resources), Snapshot.shell("touch /baked"))

interface Launch {
  /** Milliseconds from the start to when nothing is left. */
  readonly whole: number
  /** The part of it after the boot. */
  readonly afterBoot: number
}

/** Measures one launch; what runs in it says when the sandbox is up. */
const launch = <E, R>(run: (onUp: () => void) => Effect.Effect<unknown, E, R>): Effect.Effect<Launch, E, R> =>
  Effect.suspend(() => {
    const start = performance.now()
    let up = start
    return Effect.map(
      run(() => {
        up = performance.now()
      }),
      (): Launch => {
        const end = performance.now()
        return { whole: end - start, afterBoot: end - up }
      }
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
    rows: (n) =>
      Effect.gen(function* () {
        yield* Effect.acquireRelease(Snapshot.build(definition), () => Effect.ignore(Snapshot.remove(snapshot)))
        const [mine = [], hand = [], former = []] = yield* Row.alternate(n, [ours, byHand, lightbox], { warmUp: 1 })
        const row = (
          name: string,
          what: string,
          other: ReadonlyArray<Launch>,
          part: keyof Launch,
          target: number | undefined
        ) =>
          Row.make(
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
          row("launch, first output, gone", hands, hand, "whole", 1.05),
          row("launch, first output, gone", formers, former, "whole", 0.95),
          row("of that, after the boot", hands, hand, "afterBoot", undefined),
          row("of that, after the boot", formers, former, "afterBoot", 0.3)
        ]
      })
  }
]
