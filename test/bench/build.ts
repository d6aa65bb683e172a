/**
 * Builds of snapshots, and plans of them, beside the least that they could do, and beside lightbox 0.3's way.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Stream from "effect/Stream"
import * as Sdk from "microsandbox"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { shared } from "../Snapshot/programs/shared.ts"
import { reference as image } from "../images/Busybox.ts"
import * as Row from "./Row.ts"

const resources = { cpus: 1, memory: "256M" } as const

/** A step that takes some time, and leaves a MiB on the disk. */
const script = (step: number | string) =>
  `head -c 16777216 /dev/zero | sha256sum > /opt/sum-${step} && head -c 1048576 /dev/urandom > /opt/data-${step}`

/** The first nine of ten steps. */
const nine: ReadonlyArray<string> = ["mkdir -p /opt", ...[2, 3, 4, 5, 6, 7, 8, 9].map(script)]

const builder = (name: string) => Snapshot.make(name, image).pipe(Snapshot.resources(resources))

const withSteps = (definition: Snapshot.Definition, scripts: ReadonlyArray<string>): Snapshot.Definition =>
  scripts.reduce((definition, script) => Snapshot.shell(definition, script), definition)

const expectSteps = (expected: number, { stepsRun }: Snapshot.Built) =>
  stepsRun === expected ? Effect.void : Effect.die(new Error(`${stepsRun} steps ran, not ${expected}`))

const removed = (name: string) => Effect.addFinalizer(() => Effect.ignore(Snapshot.remove(name)))

/** A number that is new in every round. */
const counter = (): (() => number) => {
  let next = 0
  return () => next++
}

const unchanged: Row.Bench = {
  name: "build-unchanged",
  place: "agents",
  rows: (n) =>
    Effect.gen(function* () {
      const name = "bench-unchanged"
      // With the stand-in, steps run on this machine.
      const definition = withSteps(
        builder(name),
        Array.from({ length: 10 }, (_, step) => `true ${step}`)
      )
      yield* removed(name)
      yield* Snapshot.build(definition, { checkpoints: "final" })
      const calls = Effect.promise(async () => {
        await Sdk.Image.inspect(image)
        await Sdk.Snapshot.open(name)
      })
      const build = Effect.flatMap(Snapshot.build(definition), (built) => expectSteps(0, built))
      return yield* Row.compareCosts(
        "unchanged build of ten steps",
        n * 5,
        { what: "Snapshot.build", round: build },
        { what: "the SDK's image inspect and snapshot open", round: calls },
        { target: 3, warmUp: n }
      )
    })
}

const lastChanged: Row.Bench = {
  name: "build-last-changed",
  rows: (n) =>
    Effect.gen(function* () {
      const name = "bench-last-changed"
      const round = counter()
      const beforeLast = Snapshot.checkpoint(withSteps(builder(name), nine))
      const build = (expected: number, options?: Snapshot.BuildOptions) =>
        Effect.suspend(() =>
          Row.millisOf(
            Effect.flatMap(
              Snapshot.build(Snapshot.shell(beforeLast, script(`last-${round()}`)), {
                checkpoints: "marked",
                ...options
              }),
              (built) => expectSteps(expected, built)
            )
          )
        )
      yield* removed(name)
      yield* build(10)
      const row = yield* Row.compare(
        "build after a change of the last of ten steps",
        n,
        { what: "Snapshot.build", round: build(1) },
        { what: "all steps again", round: build(10, { force: true }) }
      )
      return [row]
    })
}

const first: Row.Bench = {
  name: "build-first",
  rows: (n) =>
    Effect.gen(function* () {
      const name = "bench-first"
      const round = counter()
      yield* removed(name)
      const ours = Effect.suspend(() => {
        const definition = withSteps(Snapshot.env(builder(name), { ROUND: String(round()) }), [...nine, script(10)])
        return Row.millisOf(Effect.flatMap(Snapshot.build(definition), (built) => expectSteps(10, built)))
      })
      const lightbox = Effect.promise(async () => {
        const snapshot = "bench-first-lightbox"
        const builder = `${snapshot}-builder`
        await Sdk.Snapshot.remove(snapshot, { force: true }).catch(() => undefined)
        const sandbox = await Sdk.Sandbox.builder(builder).image(image).replace().cpus(1).memory(256).create()
        for (const step of [...nine, script(10)]) {
          const handle = await sandbox.execStream("sh", ["-lc", step])
          if ((await handle.wait()).code !== 0) throw new Error(`${step} failed`)
        }
        await sandbox.exec("sync")
        await sandbox.stop()
        await Sdk.Snapshot.builder(snapshot).fromSandbox(builder).create()
        await Sdk.Sandbox.remove(builder)
      })
      const row = yield* Row.compare(
        "first build of ten steps",
        n,
        { what: "Snapshot.build", round: ours },
        { what: "lightbox's sequence", round: Row.millisOf(lightbox) },
        { target: 1.1 }
      )
      return [row]
    })
}

const files = 1000
const fileBytes = 100_000

const plan: Row.Bench = {
  name: "plan",
  place: "machine",
  rows: (n) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const names = Array.from({ length: files }, (_, index) => `file-${index}`)
      yield* Effect.forEach(names, (name) => fs.writeFile(Path.join(folder, name), Crypto.randomBytes(fileBytes)), {
        concurrency: 16,
        discard: true
      })
      const definition = withSteps(
        Snapshot.make("bench-plan", image).pipe(Snapshot.copy(folder, "/files")),
        Array.from({ length: 99 }, (_, index) => `echo ${index}`)
      )
      const hash = (name: string) =>
        Effect.promise(async () => Crypto.hash("sha256", await Fs.readFile(Path.join(folder, name))))
      const row = yield* Row.compare(
        "plan of 100 steps and 1,000 copied files (100 MB)",
        n * 2,
        { what: "Snapshot.plan", round: Row.millisOf(Snapshot.plan(definition)) },
        {
          what: "SHA-256 of the files, 16 at a time",
          round: Row.millisOf(Effect.forEach(names, hash, { concurrency: 16 }))
        },
        { target: 2 }
      )
      return [row]
    })
}

/** A process that builds and hangs in a step, where it is killed. */
const hanging = fileURLToPath(new URL("../Snapshot/programs/build.ts", import.meta.url))

const takeover: Row.Bench = {
  name: "takeover",
  place: "machine",
  rows: (n) =>
    Effect.gen(function* () {
      const { home } = yield* Microsandbox.Microsandbox
      const round = Effect.scoped(
        Effect.gen(function* () {
          const child = yield* ChildProcess.make(process.execPath, [hanging, home, "hang"], { stderr: "inherit" })
          const lines = Stream.splitLines(Stream.decodeText(child.stdout))
          yield* Stream.runDrain(Stream.takeUntil(lines, (line) => line === "step 2"))
          const [waits, runs] = [yield* Deferred.make<void>(), yield* Deferred.make<number>()]
          const building = yield* Snapshot.build(shared(Effect.void), {
            checkpoints: "final",
            onEvent: ({ _tag }) =>
              _tag === "Waiting"
                ? Deferred.succeed(waits, undefined)
                : _tag === "StepStarted"
                  ? Deferred.succeed(runs, performance.now())
                  : Effect.void
          }).pipe(Effect.forkScoped)
          yield* Deferred.await(waits)
          const start = performance.now()
          yield* child.kill({ killSignal: "SIGKILL" })
          const millis = (yield* Deferred.await(runs)) - start
          yield* Fiber.join(building)
          yield* Snapshot.remove("shared")
          return millis
        })
      )
      const values = yield* Effect.replicateEffect(round, n)
      return [
        Row.make(
          "from the SIGKILL of a process that builds to the first step of one that waits",
          { ours: ["Snapshot.build", values] },
          { limit: 5000 }
        )
      ]
    })
}

export const benches: ReadonlyArray<Row.Bench> = [unchanged, lastChanged, first, plan, takeover]
