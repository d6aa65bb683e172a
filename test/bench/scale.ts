/** What many files, many results and many commands cost. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as ChildProcess from "node:child_process"
import * as Crypto from "node:crypto"
import { getEventListeners } from "node:events"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Services } from "../../src/Driver.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Runtime from "../../src/internal/promise/runtime.ts"
import * as Promises from "../../src/promise.ts"
import { heap } from "./memory.ts"
import * as Row from "./Row.ts"

const image = "busybox"

const mebibyte = 1024 * 1024

const fileCount = 50_000

/** Files of 1 to 19 KiB in folders of a hundred, as in a folder of dependencies. */
const makeTree = (root: string) =>
  Effect.sync(() => {
    const bytes = Crypto.randomBytes(64 * 1024)
    for (let index = 0; index < fileCount; index++) {
      const folder = Path.join(root, `package-${Math.floor(index / 100)}`, "src")
      if (index % 100 === 0) Fs.mkdirSync(folder, { recursive: true })
      const start = (index * 31) % 1024
      const size = 1024 * (1 + (index % 19))
      Fs.writeFileSync(Path.join(folder, `module-${index}.js`), bytes.subarray(start, start + size))
    }
  })

const sha256sum = (root: string) =>
  Effect.sync(() => {
    const { status } = ChildProcess.spawnSync("sh", ["-c", "find . -type f -print0 | xargs -0 sha256sum > /dev/null"], {
      cwd: root
    })
    if (status !== 0) throw new Error(`sha256sum ended with ${status}`)
  })

const copied: Row.Bench = {
  name: "plan-copied",
  place: "machine",
  rows: (n) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { home } = yield* Microsandbox.Microsandbox
      const root = yield* fs.makeTempDirectoryScoped()
      yield* makeTree(root)
      const plan = Snapshot.plan(Snapshot.make("bench-copied", image).pipe(Snapshot.copy(root, "/srv")))
      const forget = Effect.sync(() =>
        Fs.rmSync(Path.join(home, "lightbox", "copied"), { recursive: true, force: true })
      )
      const what = "sha256sum of the files"
      const [firsts = [], sums = []] = yield* Row.alternate(
        n,
        [Effect.andThen(forget, Row.millisOf(plan)), Row.millisOf(sha256sum(root))],
        { warmUp: 1 }
      )
      yield* plan
      const [again = [], others = []] = yield* Row.alternate(n, [Row.millisOf(plan), Row.millisOf(sha256sum(root))], {
        warmUp: 1
      })
      const name = "plan of 50,000 copied files (500 MB)"
      return [
        Row.make(`${name}, the first`, { ours: ["Snapshot.plan", firsts], reference: [what, sums] }, { target: 1.5 }),
        Row.make(`${name}, unchanged`, { ours: ["Snapshot.plan", again], reference: [what, others] }, { target: 0.2 })
      ]
    })
}

/** A store with results of others. */
const withResults = (count: number) =>
  Effect.gen(function* () {
    const { home } = yield* Microsandbox.Microsandbox
    const { path } = yield* Snapshot.build(Snapshot.make("bench-seed", image).pipe(Snapshot.shell("true")))
    for (let index = 0; index < count; index++) {
      Fs.cpSync(path, Path.join(home, "snapshots", `lb-${String(index).padStart(40, "0")}`), { recursive: true })
    }
  })

const results: Row.Bench = {
  name: "results",
  place: "machine",
  rows: (n) =>
    Effect.gen(function* () {
      let round = 0
      const side = (count: number) =>
        Effect.gen(function* () {
          const services = yield* Layer.build(MicrosandboxMemory.layer())
          yield* Effect.provide(withResults(count), services)
          const measure = <A, E>(run: (definition: Snapshot.Definition) => Effect.Effect<A, E, Services>) => ({
            what: `with ${count.toLocaleString("en")}`,
            round: Effect.suspend(() => {
              const definition = Snapshot.make(`bench-results-${round}`, image).pipe(
                Snapshot.shell(`echo ${round++}`),
                Snapshot.shell("echo 2")
              )
              return Row.millisOf(Effect.provide(run(definition), services))
            })
          })
          return { plan: measure((one) => Snapshot.plan(one)), build: measure((one) => Snapshot.build(one)) }
        })
      const [many, few] = [yield* side(2000), yield* side(10)]
      const name = "with 2,000 results in the store"
      const options = { target: 1.5, warmUp: n * 2 }
      return [
        yield* Row.compare(`plan of a first build ${name}`, n * 20, many.plan, few.plan, options),
        yield* Row.compare(`first build of two steps ${name}`, n * 5, many.build, few.build, options)
      ]
    })
}

const commands = 1000

const killed: Row.Bench = {
  name: "killed-streams",
  place: "machine",
  rows: () =>
    Effect.gen(function* () {
      const { close } = Runtime.provide(MicrosandboxMemory.layer())
      yield* Effect.addFinalizer(() => Effect.promise(close))
      const signal = yield* Effect.abortSignal
      const grown = yield* Effect.promise(async () => {
        await using sandbox = await Promises.launchSandbox({ image })
        const kill = async () => {
          const handle = await sandbox.execStream("sleep", ["1000"], { signal })
          await handle.recv()
          await handle.kill()
          await handle.wait()
        }
        const heaps: Array<number> = []
        for (let round = 0; round < 3; round++) {
          for (let count = 0; count < commands; count++) await kill()
          heaps.push(heap())
        }
        return heaps.slice(1).map((bytes, round) => Math.max(0, bytes - (heaps[round] ?? 0)) / mebibyte)
      })
      const listeners = getEventListeners(signal, "abort").length
      return [
        Row.make(
          "1,000 killed execStreams: growth of the heap",
          { ours: ["sandbox.execStream", grown] },
          { unit: "MiB", limit: 2 }
        ),
        Row.make(
          "3,000 killed execStreams: listeners left on their signal",
          { ours: ["sandbox.execStream", [listeners]] },
          { unit: "listeners", limit: 0 }
        )
      ]
    })
}

export const benches: ReadonlyArray<Row.Bench> = [copied, results, killed]
