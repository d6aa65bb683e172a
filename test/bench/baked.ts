/**
 * The cost of content baked into a snapshot: at each capture, at each launch, and on the disk.
 *
 * There is no number of launches from which an overlay pays: it takes nothing that would have to be made ahead.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import { Microsandbox } from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { reference as image } from "../images/Busybox.ts"
import * as Row from "./Row.ts"
import { isEmulated } from "../support.ts"

const resources = { cpus: 1, memory: "256M" } as const
/** In MiB. Software emulation writes some ten of them a second. */
const sizes = isEmulated ? [10, 150] : [10, 150, 2048]
const mebibyte = 1024 * 1024

const nameOf = (size: number): string => `bench-baked-${size}`

const definition = (size: number) =>
  Snapshot.make(nameOf(size), image).pipe(
    Snapshot.resources(resources),
    Snapshot.shell(`head -c ${size * mebibyte} /dev/urandom > /baked`, { timeout: "10 minutes" })
  )

const rootDisks = ["auto", "copy"] as const

const launched = (size: number, rootDisk: (typeof rootDisks)[number]) =>
  Row.millisOf(
    Sandbox.run({ snapshot: nameOf(size), resources, rootDisk }, (sandbox) => sandbox.exec("true", [], { check: true }))
  )

/** Captures a stopped sandbox that holds what a snapshot does. */
const captures = Effect.fnUntraced(function* (size: number, n: number) {
  const driver = yield* Microsandbox
  const sandbox = yield* Sandbox.launch({ snapshot: nameOf(size), resources, rootDisk: "copy" })
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
const taken = Effect.fnUntraced(function* (size: number, rootDisk: (typeof rootDisks)[number]) {
  const { home } = yield* Microsandbox
  const before = yield* free(home)
  yield* Sandbox.launch({ snapshot: nameOf(size), resources, rootDisk })
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
        const rounds = [0, ...sizes].flatMap((size) => rootDisks.map((rootDisk) => launched(size, rootDisk)))
        const measured = yield* Row.alternate(n, rounds)
        const launches = sizes.flatMap((size, index) =>
          rootDisks.map((rootDisk, which) =>
            Row.make(
              `launch to gone, ${size} MiB baked, root disk ${rootDisk}`,
              {
                ours: [`a snapshot with ${size} MiB`, measured[(index + 1) * rootDisks.length + which] ?? []],
                reference: ["an empty snapshot, copied", measured[rootDisks.indexOf("copy")] ?? []]
              },
              { target: rootDisk === "auto" ? 1.1 : undefined }
            )
          )
        )
        const captured = yield* Effect.forEach(sizes, (size) =>
          Effect.map(Effect.scoped(captures(size, n)), (values) =>
            Row.make(`capture, ${size} MiB baked`, { ours: ["captureSnapshot", values] })
          )
        )
        const disks = yield* Effect.forEach(rootDisks, (rootDisk) =>
          Effect.map(Effect.replicateEffect(taken(150, rootDisk), 2), (values) =>
            Row.make(
              `disk taken by one more sandbox, 150 MiB baked, root disk ${rootDisk}`,
              { ours: ["Sandbox.launch", values] },
              { unit: "MiB", limit: rootDisk === "auto" ? 5 : undefined }
            )
          )
        )
        return [...launches, ...captured, ...disks]
      })
  }
]
