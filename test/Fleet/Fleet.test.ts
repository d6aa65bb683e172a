/** What programs may ask of a fleet, and in which order they learn what came of it. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Fleet from "../../src/Fleet.ts"
import { GuestLost, LightboxError } from "../../src/LightboxError.ts"
import { failsWith } from "../Microsandbox/Bench.ts"
import * as Support from "../MicrosandboxFleet/support.ts"

const exited = (id: string): Fleet.JobResult => ({
  _tag: "Exited",
  id,
  exitCode: 0,
  stdout: `${id}\n`,
  stderr: "",
  isTruncated: false,
  host: "a",
  runs: 1,
  duration: Duration.millis(12)
})

const job: Fleet.Job = { id: "tests", image: "busybox", command: "true" }

/** A fleet whose jobs end when they are told to. */
const make = Effect.sync(() => {
  const asked: Array<string> = []
  const ends = new Map<string, Deferred.Deferred<Fleet.JobResult, LightboxError>>()
  const endOf = (id: string) => {
    const end = ends.get(id) ?? Deferred.makeUnsafe<Fleet.JobResult, LightboxError>()
    ends.set(id, end)
    return end
  }
  const fleet = Fleet.Fleet.of({
    run: (_, { id }) =>
      Effect.andThen(
        Effect.sync(() => asked.push(id)),
        Deferred.await(endOf(id))
      ),
    jobs: () => Effect.succeed([])
  })
  return { asked, end: (id: string) => Deferred.succeed(endOf(id), exited(id)), fleet }
})

/** What a program without types may pass. */
const runWrong = (jobs: unknown, options: unknown): Stream.Stream<Fleet.JobResult, LightboxError, Fleet.Fleet> =>
  Reflect.apply(Fleet.runMany, undefined, [jobs, options])

const wrongLayer = (options: object): Layer.Layer<Fleet.Fleet, LightboxError> =>
  Reflect.apply(Fleet.layer, undefined, [options])

describe("jobs of a fleet", () => {
  it.effect("are given to the fleet as many at once as wanted, and return in their order", () =>
    Effect.gen(function* () {
      const { asked, end, fleet } = yield* make
      const jobs = ["a", "b", "c", "d"].map((id) => ({ ...job, id }))
      const seen: Array<string> = []
      const fiber = yield* Fleet.runMany(jobs, { concurrency: 2 }).pipe(
        Stream.runForEach(({ id }) => Effect.sync(() => void seen.push(id))),
        Effect.provideService(Fleet.Fleet, fleet),
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(asked, ["a", "b"])
      yield* end("b")
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(seen, [])
      yield* end("a")
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(seen, ["a", "b"])
      assert.deepStrictEqual(asked, ["a", "b", "c", "d"])
      yield* end("d")
      yield* end("c")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(seen, ["a", "b", "c", "d"])
    })
  )

  it.effect("are not waited for longer than wanted", () =>
    Effect.gen(function* () {
      const { fleet } = yield* make
      const fiber = yield* Fleet.run(job, { timeout: "1 minute" }).pipe(
        Effect.provideService(Fleet.Fleet, fleet),
        (waiting) => failsWith("TimedOut", waiting),
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("1 minute")
      assert.deepInclude(yield* Fiber.join(fiber), { operation: 'waiting for job "tests"', limitMillis: 60_000 })
    })
  )

  it.effect("are all checked before one of them runs", () =>
    Effect.gen(function* () {
      const { asked, fleet } = yield* make
      const field = (wrong: unknown, options?: unknown) =>
        failsWith(
          "InvalidConfig",
          runWrong([job, wrong], options).pipe(Stream.runDrain, Effect.provideService(Fleet.Fleet, fleet))
        ).pipe(Effect.map((reason) => reason.field))
      const other = { ...job, id: "other" }
      const { image: _, ...without } = other
      const rows: ReadonlyArray<readonly [unknown, string]> = [
        [undefined, "jobs.1"],
        [job, "jobs.1.id"],
        [{ ...other, id: "two words" }, "jobs.1.id"],
        [{ ...other, id: "" }, "jobs.1.id"],
        [without, "jobs.1.snapshot"],
        [{ ...other, snapshot: "app" }, "jobs.1.snapshot"],
        [{ ...other, command: [] }, "jobs.1.command.0"],
        [{ ...other, command: " " }, "jobs.1.command"],
        [{ ...other, env: { "A=B": "c" } }, "jobs.1.env.A=B"],
        [{ ...other, cwd: "tmp" }, "jobs.1.cwd"],
        [{ ...other, user: "a b" }, "jobs.1.user"],
        [{ ...other, resources: { memory: "1K" } }, "jobs.1.resources.memory"],
        [{ ...other, timeout: "-1 second" }, "jobs.1.timeout"],
        [{ ...other, retries: -1 }, "jobs.1.retries"],
        [{ ...other, stdin: "no" }, "jobs.1.stdin"],
        [{ ...other, env: { TEXT: "x".repeat(1024 * 1024) } }, "jobs.1"]
      ]
      for (const [wrong, expected] of rows) assert.strictEqual(yield* field(wrong), expected)
      assert.strictEqual(yield* field(other, { concurrency: 0 }), "concurrency")
      assert.strictEqual(yield* field(other, { timeout: "never" }), "timeout")
      assert.deepStrictEqual(asked, [])
      const one = yield* failsWith(
        "InvalidConfig",
        Effect.provideService(Fleet.run({ ...job, retries: 0.5 }), Fleet.Fleet, fleet)
      )
      assert.strictEqual(one.field, "retries")
      const listed = yield* failsWith(
        "InvalidConfig",
        Effect.provideService(Fleet.jobs({ limit: 0 }), Fleet.Fleet, fleet)
      )
      assert.strictEqual(listed.field, "limit")
    })
  )

  it.effect("have results that can be stored", () =>
    Effect.gen(function* () {
      const codec = Schema.toCodecJson(Fleet.JobResult)
      const reason = new GuestLost({ name: "job", problem: "its host is gone" })
      const failed: Fleet.JobResult = {
        _tag: "Failed",
        id: "tests",
        error: new LightboxError({ method: "Fleet.run", reason }),
        runs: 5
      }
      for (const result of [exited("tests"), failed]) {
        const text = JSON.stringify(yield* Schema.encodeEffect(codec)(result))
        assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(codec)(JSON.parse(text)), result)
      }
    })
  )

  it.effect("need a directory", () =>
    Effect.gen(function* () {
      const at = (options: object) =>
        failsWith("InvalidConfig", Effect.scoped(Effect.provide(Fleet.jobs(), wrongLayer(options)))).pipe(
          Effect.map(({ field }) => field)
        )
      assert.strictEqual(yield* at({ directory: "http://example.com" }), "directory")
      assert.strictEqual(yield* at({ directory: yield* Support.directory, architecture: "vax" }), "architecture")
    })
  )
})
