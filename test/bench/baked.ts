/**
 * What content costs that was baked into a snapshot: at each capture, at each launch, and on the disk.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import { Microsandbox } from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { reference as image } from "../images/Busybox.ts"
import * as Row from "./Row.ts"

const resources = { cpus: 1, memory: "256M" } as const
const sizes = [10, 150] as const
const mebibyte = 1024 * 1024

const nameOf = (size: number): string => `bench-baked-${size}`

const definition = (size: number) =>
  Snapshot.make(nameOf(size), image).pipe(
    Snapshot.resources(resources),
    Snapshot.shell(`head -c ${size * mebibyte} /dev/urandom > /baked`, { timeout: "10 minutes" })
  )

const launched = (size: number) =>
  Row.millisOf(
    Sandbox.run({ snapshot: nameOf(size), resources }, (sandbox) => sandbox.exec("true", [], { check: true }))
  )

/** Captures a stopped sandbox that holds what a snapshot does. */
const captures = Effect.fnUntraced(function* (size: number, n: number) {
  const driver = yield* Microsandbox
  const sandbox = yield* Sandbox.launch({ snapshot: nameOf(size), resources })
  yield* sandbox.stop()
  const name = `bench-captured-${size}`
  const capture = Row.millisOf(driver.captureSnapshot({ sandbox: sandbox.name, name }))
  return yield* Effect.replicateEffect(Effect.tap(capture, driver.removeSnapshot(name)), n)
})

const free = (folder: string) =>
  Effect.promise(async () => {
    const { bfree, bsize } = await Fs.statfs(folder)
    return bfree * bsize
  })

/** What a launch takes from the disk of the home. */
const taken = Effect.fnUntraced(function* (size: number) {
  const { home } = yield* Microsandbox
  const before = yield* free(home)
  yield* Sandbox.launch({ snapshot: nameOf(size), resources })
  return (before - (yield* free(home))) / mebibyte
}, Effect.scoped)

export const benches: ReadonlyArray<Row.Bench> = [
  {
    name: "baked",
    place: "file systems",
    rows: (n) =>
      Effect.gen(function* () {
        yield* Effect.forEach([0, ...sizes], (size) =>
          Effect.acquireRelease(Snapshot.build(definition(size)), () => Effect.ignore(Snapshot.remove(nameOf(size))))
        )
        const { copies } = yield* Snapshot.plan(definition(0))
        const ifShared = <A>(value: A) => (copies === "reflink" ? value : undefined)
        const [empty = [], ...full] = yield* Row.alternate(n, [0, ...sizes].map(launched))
        const launches = sizes.map((size, index) =>
          Row.make(
            `launch to gone, ${size} MiB baked`,
            {
              ours: [`a snapshot with ${size} MiB`, full[index] ?? []],
              reference: ["an empty snapshot", empty]
            },
            { target: ifShared(1.1) }
          )
        )
        const captured = yield* Effect.forEach(sizes, (size) =>
          Effect.map(Effect.scoped(captures(size, n)), (values) =>
            Row.make(`capture, ${size} MiB baked`, { ours: ["captureSnapshot", values] })
          )
        )
        const disk = Row.make(
          "disk taken by one more sandbox, 150 MiB baked",
          { ours: ["Sandbox.launch", yield* Effect.replicateEffect(taken(150), 2)] },
          { unit: "MiB", limit: ifShared(5) }
        )
        return [...launches, ...captured, disk]
      })
  }
]
