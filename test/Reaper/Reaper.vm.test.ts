/** Real microVMs of killed processes and of processes that sweep beside each other, and microVMs that die. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { children } from "../../src/internal/driver/local/workaroundVmProcess.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Ownership from "../../src/Ownership.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"
import { around, isReading } from "../crash/Calls.ts"
import { killed } from "../crash/killed.ts"
import { core, isAnybodys, readVersion, unverified } from "../crash/work.ts"
import * as Support from "../microvm/support.ts"

const { image } = Support

const decodeSweep = Schema.decodeEffect(
  Schema.fromJsonString(
    Schema.Array(Schema.Struct({ resource: Schema.String, name: Schema.String, verdict: Schema.String }))
  )
)

/** Calls that take long enough for a kill in the middle. */
const long = ["createSandbox", "killSandbox", "captureSnapshot", "removeSandbox", "removeSnapshot"]

/** Up to ten virtual machines boot for each process that is killed, on processors that they share with others. */
const limit = 900_000

/** The driver calls of the work that change something, in order. */
const recorded: Array<string> = []

layer(Support.layer, { excludeTestServices: true })("processes and their microVMs", (it) => {
  it.effect("work beside a process that sweeps all the time, and leave nothing", () =>
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const watched = around(driver, (operation, call) =>
        Effect.suspend(() => {
          if (!isReading(operation)) recorded.push(operation)
          return call
        })
      )
      yield* Snapshot.build(unverified("recorded", image, "old"))
      yield* Volume.ensure("untouched")
      const sweeper = yield* Support.program("../../crash/programs/sweeper")
      const sweeps = yield* Stream.toQueue(Stream.splitLines(Stream.decodeText(sweeper.stdout)), {
        capacity: "unbounded"
      })
      // It takes a while to start, and may remove older locks.
      yield* Queue.take(sweeps)
      yield* core(unverified("recorded", image, "recorded")).pipe(
        Effect.provideService(Microsandbox.Microsandbox, watched)
      )
      const beside = yield* Queue.takeAll(sweeps)
      yield* sweeper.kill({ killSignal: "SIGKILL" })
      // One started after the other had ended.
      assert.isAbove(beside.length, 1)
      const verdicts = yield* Effect.forEach(beside, (line) => decodeSweep(line))
      assert.deepStrictEqual(
        verdicts.flat().filter((verdict) => !isAnybodys(verdict)),
        []
      )
      assert.includeMembers(recorded, ["createSandbox", "captureSnapshot", "removeSandbox"])
      yield* Support.assertNothingLeft({ snapshots: ["recorded"] })
    }).pipe(Effect.scoped)
  )

  it.effect(
    "leave only names that boot, and nothing that one sweep misses, when they are killed",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        const home = yield* Support.Home
        const places = recorded.flatMap((operation, place) => [
          place,
          ...(long.includes(operation) ? [place + 0.5] : [])
        ])
        assert.isAbove(places.length, 15)
        // A third of them, always the same; the twin is killed at all.
        const third = places.filter((_, index) => index % 3 === 1)
        // Only what is killed last is killed in the middle of a call.
        const groups = Array.from({ length: Math.ceil(third.length / 3) }, (_, index) =>
          third.slice(index * 3, index * 3 + 3).toSorted((a, b) => (a % 1) - (b % 1))
        )
        const inTheMiddle: Array<string> = []
        for (const group of groups) {
          const stops = group.map((place) => ({ name: `killed-${String(place).replace(".", "-")}`, place }))
          for (const { name } of stops) yield* Snapshot.build(unverified(name, image, "old"))
          const child = yield* Support.program(
            "../../crash/programs/microvm",
            image,
            ...stops.map(({ name, place }) => `${name}:${place}`)
          )
          const [middle] = yield* Effect.all([Stream.mkString(Stream.decodeText(child.stdout)), killed(child)], {
            concurrency: "unbounded"
          })
          if (middle !== "") inTheMiddle.push(middle)

          const report = yield* Reaper.sweep()
          const at = `killed at ${group.map((place) => `${place} ${recorded[Math.floor(place)]}`).join(", ")}`
          assert.isTrue(report.isComplete, at)
          assert.deepStrictEqual(
            report.verdicts.filter(({ verdict }) => verdict === "failed"),
            [],
            at
          )
          yield* Support.assertNothingLeft()
          const driver = yield* Microsandbox.Microsandbox
          const own = yield* (yield* Ownership.Ownership).id
          assert.deepStrictEqual(
            (yield* fs.readDirectory(path.join(home.path, "lightbox/owners"))).toSorted(),
            [own, `${own}.lease`],
            at
          )
          assert.deepStrictEqual(yield* fs.readDirectory(path.join(home.path, "lightbox/locks")), [], at)
          for (const { name } of yield* driver.listSnapshots()) yield* driver.verifySnapshot(name)
          const links = yield* driver.listSnapshotLinks()
          for (const { name } of stops) assert.property(links, name, at)
          const last = stops.at(-1)?.name ?? ""
          const [first, second] = (yield* readVersion(last)).split("\n")
          assert.strictEqual(first, second, at)
          assert.include(["old", last], first, at)
          yield* Support.assertNothingLeft()
        }
        assert.isNotEmpty(inTheMiddle)
        assert.deepStrictEqual(
          (yield* Volume.list()).map(({ name }) => name),
          ["untouched"]
        )
      }).pipe(Effect.scoped),
    limit
  )

  /** Everything that can be pending when a guest is lost, and fails then. */
  const losing = <E, R>(sandbox: Sandbox.Sandbox, end: Effect.Effect<unknown, E, R>) =>
    Effect.gen(function* () {
      yield* sandbox.shell("mkfifo /root/pipe", { check: true })
      const process = yield* sandbox.spawn("cat", [])
      const pending = yield* Effect.forEach(
        [
          sandbox.exec("sleep", ["1000"]),
          Stream.runDrain(sandbox.shellStream("echo begun; sleep 1000")),
          sandbox.shell("cat > /root/pipe; sleep 1000"),
          sandbox.exec("cat", [], { stdin: Stream.never }),
          process.exitCode,
          Stream.runDrain(process.output)
        ],
        (call) => Effect.forkScoped(Effect.flip(call), { startImmediately: true })
      )
      yield* end
      for (const fiber of pending) assert.strictEqual((yield* Fiber.join(fiber)).reason._tag, "GuestLost")
      const calls = [
        Effect.asVoid(sandbox.exec("true")),
        Effect.asVoid(sandbox.readFile("/etc/passwd")),
        Effect.asVoid(sandbox.ping)
      ]
      for (const call of calls) assert.strictEqual((yield* Effect.flip(call)).reason._tag, "GuestLost")
    })

  it.effect("fail every call with GuestLost when a microVM is killed", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.launch({ image })
          const vm = children().find((child) => child.sandbox === sandbox.name)
          yield* losing(
            sandbox,
            Effect.sync(() => process.kill(vm?.pid ?? 0, "SIGKILL"))
          )
        })
      )
      yield* Support.assertNothingLeft()
    })
  )

  it.effect("fail every call with GuestLost when a guest runs out of memory and panics", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.launch({ image, resources: { memory: "128M" } })
          // The kernel ends what takes too much, and the guest goes on.
          const taken = yield* sandbox.shell("tail /dev/zero")
          assert.notStrictEqual(taken.exitCode, 0)
          assert.strictEqual((yield* sandbox.exec("echo", ["alive"])).stdout, "alive\n")
          // It may not end this one, and has nothing else to end.
          const greedy = sandbox.shell("echo -1000 > /proc/self/oom_score_adj; exec tail /dev/zero")
          yield* losing(sandbox, Effect.flip(greedy))
          assert.notStrictEqual((yield* sandbox.info).status, "running")
        })
      )
      yield* Support.assertNothingLeft()
    })
  )
})
