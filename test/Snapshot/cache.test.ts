/** What runs in a build, and what does not: the cache and its checkpoints. */
import { assert, describe } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Schedule from "effect/Schedule"
import { TestClock } from "effect/testing"
import { ImageUnavailable, type LightboxError } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { turn } from "../support.ts"
import * as Support from "./support.ts"

const { test } = Support

const all = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]

/** The kept results, without names. */
const layers = Effect.map(Snapshot.list({ layers: true }), (found) =>
  found.filter(({ name }) => name.startsWith("lb-"))
)

describe("the steps that a build runs", () => {
  test(
    "start in the working directory, even if it is in memory and lost after each step",
    Effect.gen(function* () {
      yield* Snapshot.make("scratch", Support.image).pipe(
        Snapshot.workdir("/tmp/scratch"),
        Snapshot.shell("touch left && pwd >> /root/lines"),
        Snapshot.shell("ls -A >> /root/lines && pwd >> /root/lines"),
        Snapshot.build
      )
      assert.strictEqual(yield* Support.readIn("scratch", "/root/lines"), "/tmp/scratch\n/tmp/scratch\n")
    })
  )

  test(
    "are all steps at first, and none if nothing changed",
    Effect.gen(function* () {
      const first = yield* Support.buildCounting(Support.tenSteps("ten"))
      assert.deepStrictEqual([first.steps, first.boots], [all, 1])
      assert.deepStrictEqual([first.built.stepsRun, first.built.stepsReused, first.built.generation], [10, 0, 1])
      const lines = yield* Support.readIn("ten", "/root/lines")
      assert.strictEqual(lines, "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n")

      const second = yield* Support.buildCounting(Support.tenSteps("ten"))
      assert.deepStrictEqual([second.steps, second.boots], [[], 0])
      assert.deepStrictEqual([second.built.stepsRun, second.built.stepsReused, second.built.generation], [0, 10, 1])
      assert.deepStrictEqual([second.built.digest, second.built.key], [first.built.digest, first.built.key])
    })
  )

  test(
    "need only the image and the result if nothing changed",
    Effect.gen(function* () {
      const { calls } = yield* MicrosandboxMemory.Control
      yield* Snapshot.build(Support.tenSteps("ten"))
      const before = (yield* calls).length
      yield* Snapshot.build(Support.tenSteps("ten"))
      assert.deepStrictEqual(
        (yield* calls).slice(before).map(({ operation }) => operation),
        ["resolveImage", "getSnapshot", "readSnapshotLink"]
      )
    })
  )

  test(
    "are only the last of ten steps if only that changed",
    Effect.gen(function* () {
      yield* Snapshot.build(Support.tenSteps("ten"), { checkpoints: "every-step" })
      const { boots, built, steps } = yield* Support.buildCounting(Support.tenSteps("ten", { 10: "changed" }))
      assert.deepStrictEqual([steps, boots, built.stepsRun, built.stepsReused], [[10], 1, 1, 9])
      const lines = yield* Support.readIn("ten", "/root/lines")
      assert.strictEqual(lines, "1\n2\n3\n4\n5\n6\n7\n8\n9\nchanged\n")
    })
  )

  test(
    "are the changed step and all after it, from the latest result before it",
    Effect.gen(function* () {
      const marked = (last: string) =>
        Snapshot.make("marked", Support.image).pipe(
          Snapshot.shell("echo 1 >> /root/lines"),
          Snapshot.shell("echo 2 >> /root/lines"),
          Snapshot.checkpoint,
          Snapshot.shell("echo 3 >> /root/lines"),
          Snapshot.shell(`echo ${last} >> /root/lines`)
        )
      yield* Snapshot.build(marked("4"), { checkpoints: "marked" })
      const { boots, steps } = yield* Support.buildCounting(marked("changed"), { checkpoints: "marked" })
      // The third is unchanged, but its result was not kept.
      assert.deepStrictEqual([steps, boots], [[3, 4], 1])
      assert.strictEqual(yield* Support.readIn("marked", "/root/lines"), "1\n2\n3\nchanged\n")
    })
  )

  test(
    "are the step that copies a changed file, and all after it",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${folder}/one`, "one")
      yield* fs.writeFileString(`${folder}/two`, "two")
      const definition = Snapshot.make("copied", Support.image).pipe(
        Snapshot.shell("echo before > /root/before"),
        Snapshot.copy(folder, "/root/files"),
        Snapshot.shell("cat /root/files/* > /root/both")
      )
      yield* Snapshot.build(definition, { checkpoints: "every-step" })
      yield* fs.utimes(`${folder}/one`, 1, 1)
      assert.deepStrictEqual((yield* Support.buildCounting(definition)).steps, [])
      yield* fs.writeFileString(`${folder}/two`, "changed")
      assert.deepStrictEqual((yield* Support.buildCounting(definition)).steps, [2, 3])
      assert.strictEqual(yield* Support.readIn("copied", "/root/both"), "onechanged")
    })
  )

  test(
    "are none for a layer of a snapshot built before",
    Effect.gen(function* () {
      const definition = Support.tenSteps("ten")
      const { digest } = yield* Snapshot.build(definition)
      class Ten extends Snapshot.Service<Ten>()("test/Ten", definition) {}
      const digests = Effect.all([Snapshot.Current, Ten]).pipe(
        Effect.map((all) => all.map((snapshot) => snapshot.digest)),
        Effect.provide([Snapshot.layer(definition), Ten.layer])
      )
      assert.deepStrictEqual(yield* Support.countingBoots(digests), [[digest, digest], 0])
    })
  )

  test(
    "are all steps if the image changed under its tag",
    Effect.gen(function* () {
      const { setImage } = yield* MicrosandboxMemory.Control
      const definition = Support.tenSteps("ten").pipe(Snapshot.builder({ pullPolicy: "always" }))
      yield* Snapshot.build(definition)
      const [unmoved, boots] = yield* Support.countingBoots(Snapshot.build(definition))
      assert.deepStrictEqual([unmoved.stepsRun, boots], [0, 0])
      yield* setImage(Support.image, { files: { "/etc/new": "new" } })
      const { built, steps } = yield* Support.buildCounting(definition)
      assert.deepStrictEqual(steps, all)
      assert.strictEqual(built.generation, 2)
      assert.strictEqual(yield* Support.readIn("ten", "/etc/new"), "new")
    })
  )

  test(
    "are none, and nothing boots, when the tag has moved back",
    Effect.gen(function* () {
      const { setImage } = yield* MicrosandboxMemory.Control
      const definition = Support.tenSteps("ten")
      const always = { pullPolicy: "always" } as const
      const first = yield* Snapshot.build(definition, always)
      yield* setImage(Support.image, { files: { "/etc/new": "new" } })
      yield* Snapshot.build(definition, always)
      yield* setImage(Support.image, {})
      const { boots, built, steps } = yield* Support.buildCounting(definition, always)
      assert.deepStrictEqual([built.digest, steps, boots], [first.digest, [], 0])
    })
  )

  test(
    "are those for the image that boots, if the tag moves after the look-up",
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const { setImage } = yield* MicrosandboxMemory.Control
      let questions = 0
      const moving = {
        ...driver,
        resolveImage: (...args: Parameters<typeof driver.resolveImage>) =>
          driver
            .resolveImage(...args)
            .pipe(
              Effect.tap(() =>
                ++questions === 1 ? setImage(Support.image, { files: { "/etc/new": "new" } }) : Effect.void
              )
            )
      }
      const built = yield* Snapshot.build(Support.tenSteps("ten"), { pullPolicy: "always" }).pipe(
        Effect.provideService(Microsandbox.Microsandbox, moving)
      )
      assert.strictEqual(questions, 1)
      assert.strictEqual(yield* Support.readIn("ten", "/etc/new"), "new")
      const plan = yield* Snapshot.plan(Support.tenSteps("ten"), { pullPolicy: "always" })
      assert.deepStrictEqual([plan.isCached, plan.key, plan.imageDigest], [true, built.key, built.imageDigest])
    }),
    { images: { [Support.image]: {} } }
  )

  test(
    "are those for the image that boots, if the registry names another one each time",
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const always = { pullPolicy: "always" } as const
      const resolved = { digest: `sha256:${"0".repeat(64)}`, isCached: false }
      const build = Snapshot.build(Support.tenSteps("ten"), always).pipe(
        Effect.provideService(Microsandbox.Microsandbox, { ...driver, resolveImage: () => Effect.succeed(resolved) }),
        Support.countingBoots
      )
      const [first, boots] = yield* build
      assert.deepStrictEqual([first.stepsRun, boots], [10, 2])
      const plan = yield* Snapshot.plan(Support.tenSteps("ten"), always)
      assert.deepStrictEqual([plan.isCached, plan.imageDigest], [true, first.imageDigest])
      const [second, bootsAgain] = yield* build
      assert.deepStrictEqual([second.stepsRun, second.digest, bootsAgain], [0, first.digest, 2])
    })
  )

  test(
    "follow a pull by the runtime, if the registry refuses to answer",
    Effect.gen(function* () {
      const { inject, setImage } = yield* MicrosandboxMemory.Control
      const definition = Support.tenSteps("ten")
      yield* Snapshot.build(definition)
      yield* setImage(Support.image, { files: { "/etc/new": "new" } })
      const reason = new ImageUnavailable({
        reference: Support.image,
        problem: "it requires a login",
        kind: "Unauthorized"
      })
      yield* inject({ at: "resolveImage", when: {}, effect: { _tag: "Fail", reason } })
      const { boots, steps } = yield* Support.buildCounting(definition, { pullPolicy: "always" })
      assert.deepStrictEqual([steps, boots], [all, 1])
    })
  )

  test(
    "are a step that always runs, and all after it",
    Effect.gen(function* () {
      const never = Snapshot.make("never", Support.image).pipe(
        Snapshot.shell("echo a >> /root/lines"),
        Snapshot.shell("echo b >> /root/lines", { cache: "never" }),
        Snapshot.shell("echo c >> /root/lines")
      )
      const skipping = Snapshot.make("skipping", Support.image).pipe(
        Snapshot.shell("echo a >> /root/lines"),
        Snapshot.skipCache,
        Snapshot.shell("echo b >> /root/lines"),
        Snapshot.shell("echo c >> /root/lines")
      )
      for (const definition of [never, skipping]) {
        yield* Snapshot.build(definition, { checkpoints: "every-step" })
        const { built, steps } = yield* Support.buildCounting(definition)
        assert.deepStrictEqual([steps, built.generation], [[2, 3], 2])
        assert.strictEqual(yield* Support.readIn(built, "/root/lines"), "a\nb\nc\n")
      }
    })
  )

  test(
    "leave no results between steps that always run",
    Effect.gen(function* () {
      const definition = Snapshot.make("never", Support.image).pipe(
        Snapshot.shell("true"),
        Snapshot.skipCache,
        Snapshot.shell("true"),
        Snapshot.shell("true"),
        Snapshot.shell("true")
      )
      yield* Snapshot.build(definition, { checkpoints: "every-step" })
      // That of the first step, and the last.
      assert.lengthOf(
        (yield* Snapshot.list({ layers: true })).filter(({ name }) => name !== "never"),
        2
      )
    })
  )

  test(
    "depend on the step's key if it has one",
    Effect.gen(function* () {
      const keyed = (script: string, key: string) =>
        Snapshot.make("keyed", Support.image).pipe(Snapshot.shell(script, { cache: { key } }), Snapshot.shell("true"))
      yield* Snapshot.build(keyed("echo 1 > /root/key", "one"), { checkpoints: "every-step" })
      assert.deepStrictEqual((yield* Support.buildCounting(keyed("echo 2 > /root/key", "one"))).steps, [])
      assert.deepStrictEqual((yield* Support.buildCounting(keyed("echo 2 > /root/key", "two"))).steps, [1, 2])
      assert.strictEqual(yield* Support.readIn("keyed", "/root/key"), "2\n")
    })
  )

  test(
    "are all with force, or all from a given step on, and the next build reuses them",
    Effect.gen(function* () {
      const ten = Support.tenSteps("ten")
      yield* Snapshot.build(ten, { checkpoints: "every-step" })
      const whole = yield* Support.buildCounting(ten, { force: true })
      assert.deepStrictEqual([whole.steps, whole.built.generation], [all, 2])
      const last = yield* Support.buildCounting(ten, { force: 9 })
      assert.deepStrictEqual([last.steps, last.built.generation], [[9, 10], 3])
      const after = yield* Support.buildCounting(ten)
      assert.deepStrictEqual([after.steps, after.built.generation, after.built.path], [[], 3, last.built.path])
      assert.strictEqual(yield* Support.readIn("ten", "/root/lines"), "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n")
    })
  )
})

describe("a definition based on another", () => {
  const base = Snapshot.make("base", Support.image).pipe(
    Snapshot.env({ WHO: "base" }),
    Snapshot.shell("echo $WHO >> /root/lines")
  )
  const top = (name: string) => Snapshot.from(name, base).pipe(Snapshot.shell(`echo ${name}$WHO >> /root/lines`))

  test(
    "runs the base once, for all definitions on it",
    Effect.gen(function* () {
      const first = yield* Support.buildCounting(top("first"))
      assert.deepStrictEqual(first.steps, [1, 2])
      assert.deepStrictEqual((yield* Support.buildCounting(top("second"))).steps, [2])
      assert.deepStrictEqual((yield* Support.buildCounting(base)).steps, [])
      // The environment of steps is each definition's own.
      assert.strictEqual(yield* Support.readIn("second", "/root/lines"), "base\nsecond\n")
      assert.deepStrictEqual(
        (yield* Snapshot.list()).map(({ name }) => name),
        ["base", "first", "second"]
      )
    })
  )
})

describe("checkpoints", () => {
  /** Steps that take the given seconds. */
  const lasting = (...seconds: ReadonlyArray<number>) => {
    let definition: Snapshot.Definition = Snapshot.make("lasting", Support.image)
    for (const [index, duration] of seconds.entries()) {
      definition = Snapshot.step(definition, `${index + 1}`, () => TestClock.adjust(Duration.seconds(duration)))
    }
    return definition
  }

  /** Where a build made checkpoints, when a boot takes 2 seconds and a capture 3. */
  const checkpointsOf = Effect.fnUntraced(function* (definition: Snapshot.Definition, options?: Snapshot.BuildOptions) {
    const { events, onEvent } = Support.recorder()
    yield* Effect.updateService(
      Snapshot.build(definition, { ...options, onEvent }),
      Microsandbox.Microsandbox,
      (driver) => ({
        ...driver,
        createSandbox: (request) => Effect.andThen(TestClock.adjust("2 seconds"), driver.createSandbox(request)),
        startSandbox: (sandbox, options) =>
          Effect.andThen(TestClock.adjust("2 seconds"), driver.startSandbox(sandbox, options)),
        captureSnapshot: (request) => Effect.andThen(TestClock.adjust("3 seconds"), driver.captureSnapshot(request))
      })
    )
    return events.flatMap((event) => (event._tag === "Checkpointed" ? [event.index] : []))
  })

  test(
    "are made after every step, at the end or where marked",
    Effect.gen(function* () {
      const marked = Snapshot.make("marked", Support.image).pipe(
        Snapshot.shell("echo 1"),
        Snapshot.checkpoint,
        Snapshot.shell("echo 2"),
        Snapshot.shell("echo 3")
      )
      assert.deepStrictEqual(yield* checkpointsOf(marked, { checkpoints: "every-step" }), [1, 2, 3])
      assert.deepStrictEqual(yield* checkpointsOf(marked, { checkpoints: "marked", force: true }), [1, 3])
      assert.deepStrictEqual(yield* checkpointsOf(marked, { checkpoints: "final", force: true }), [3])
      assert.deepStrictEqual(yield* checkpointsOf(lasting(60, 60, 60), { checkpoints: "final" }), [3])
    })
  )

  test(
    "are made where steps took longer than a checkpoint costs, times a factor",
    Effect.gen(function* () {
      // A boot at first: more than 4 seconds; then a boot and a capture: more than 10 seconds.
      assert.deepStrictEqual(yield* checkpointsOf(lasting(2, 2, 1, 5, 5, 1, 1), { checkpointFactor: 2 }), [3, 6, 7])
      assert.deepStrictEqual(yield* checkpointsOf(lasting(20, 1, 1), { force: true }), [2, 3])
      assert.deepStrictEqual(yield* checkpointsOf(lasting(1, 1, 1), { checkpointFactor: 0, force: true }), [1, 2, 3])
      assert.deepStrictEqual(yield* checkpointsOf(lasting(99, 99, 1), { checkpointFactor: 100, force: true }), [3])
    })
  )

  test(
    "keep the disk before a failed step, so that the next build starts there",
    Effect.gen(function* () {
      const ten = (ninth: string) => Support.tenSteps("ten", { 9: `9; ${ninth}; true` })
      const error = yield* Effect.flip(Snapshot.build(ten("exit 3")))
      assert.strictEqual(error.step?.index, 9)
      // It starts at the ninth step, unchanged or changed.
      const again = Support.recorder()
      yield* Effect.flip(Snapshot.build(ten("exit 3"), { onEvent: again.onEvent }))
      assert.deepStrictEqual(again.stepsRun(), [9])
      assert.deepStrictEqual((yield* Support.buildCounting(ten("true"))).steps, [9, 10])
    })
  )

  test(
    'keep only the final result with checkpoints "final"',
    Effect.gen(function* () {
      yield* Snapshot.build(Support.tenSteps("ten"), { checkpoints: "final" })
      assert.strictEqual((yield* layers).length, 1)
    })
  )
})

describe("retries", () => {
  /** Leaves something behind, and fails the given number of times. */
  const failing = (times: number, options: Snapshot.EffectStepOptions) => {
    let attempts = 0
    return Snapshot.make("retried", Support.image).pipe(
      Snapshot.shell("echo 1 >> /root/lines"),
      Snapshot.shell("echo 2 >> /root/lines"),
      Snapshot.step(
        "third",
        (sandbox) =>
          Effect.suspend(() => {
            attempts++
            return sandbox.shell(`echo attempt ${attempts} >> /root/lines; test ${attempts} -gt ${times}`, {
              check: true
            })
          }),
        options
      )
    )
  }

  test(
    "start from the disk before the step, on their schedule",
    Effect.gen(function* () {
      const { events, onEvent } = Support.recorder()
      const retry = Schedule.exponential("1 minute").pipe(Schedule.upTo({ times: 3 }))
      const fiber = yield* Effect.forkChild(Snapshot.build(failing(2, { retry }), { onEvent }), {
        startImmediately: true
      })
      const failures = (count: number) =>
        Support.until(Effect.sync(() => events.filter(({ _tag }) => _tag === "StepAttemptFailed").length === count))
      const attempts = () =>
        events.flatMap((event) => (event._tag === "StepStarted" && event.index === 3 ? [event.attempt] : []))
      yield* failures(1)
      yield* TestClock.adjust("59 seconds")
      yield* turn
      assert.deepStrictEqual(attempts(), [1])
      yield* TestClock.adjust("1 second")
      yield* failures(2)
      assert.deepStrictEqual(attempts(), [1, 2])
      yield* TestClock.adjust("2 minutes")
      const built = yield* Fiber.join(fiber)
      assert.deepStrictEqual(attempts(), [1, 2, 3])
      assert.strictEqual(yield* Support.readIn(built, "/root/lines"), "1\n2\nattempt 3\n")
    })
  )

  test(
    'start from the failed attempt\'s disk only with retryFrom "dirty"',
    Effect.gen(function* () {
      const options: Snapshot.EffectStepOptions = { retry: Schedule.recurs(3), retryFrom: "dirty" }
      const { boots, built } = yield* Support.buildCounting(failing(2, options))
      assert.strictEqual(boots, 1)
      assert.strictEqual(yield* Support.readIn(built, "/root/lines"), "1\n2\nattempt 1\nattempt 2\nattempt 3\n")
    })
  )

  test(
    "stop with the schedule, and fail with the last error",
    Effect.gen(function* () {
      const error = yield* Effect.flip(Snapshot.build(failing(9, { retry: Schedule.recurs(2) })))
      assert.strictEqual(error.reason._tag, "CommandFailed")
      assert.strictEqual(error.step?.attempt, 3)
    })
  )

  test(
    "can depend on the error",
    Effect.gen(function* () {
      const definition = Snapshot.make("choosy", Support.image).pipe(
        Snapshot.shell("exit 8", {
          retry: Schedule.recurs(5).pipe(
            Schedule.setInputType<LightboxError>(),
            Schedule.while(({ input }) => input.reason._tag === "CommandFailed" && input.reason.exitCode === 7)
          )
        })
      )
      assert.strictEqual((yield* Effect.flip(Snapshot.build(definition))).step?.attempt, 1)
    })
  )

  test(
    "rerun earlier steps on a new builder when the guest is lost",
    Effect.gen(function* () {
      const definition = Snapshot.make("lost", Support.image).pipe(
        Snapshot.shell("echo 1 >> /root/lines"),
        Snapshot.shell("echo 2 >> /root/lines", { retry: Schedule.recurs(1) })
      )
      const { inject } = yield* MicrosandboxMemory.Control
      yield* inject(
        MicrosandboxMemory.killGuestAt("guest.spawn", {
          matching: ({ detail }) => JSON.stringify(detail).includes("echo 2")
        })
      )
      const { built, steps } = yield* Support.buildCounting(definition)
      assert.deepStrictEqual(steps, [1, 2, 1, 2])
      assert.strictEqual(yield* Support.readIn(built, "/root/lines"), "1\n2\n")
    })
  )
})
