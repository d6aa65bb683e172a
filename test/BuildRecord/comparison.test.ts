/** Comparisons of recorded builds, and their exports. */
import { assert, describe } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import * as BuildRecord from "../../src/BuildRecord.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "../Snapshot/support.ts"

const { image, test } = Support

/** Builds, and returns the record. */
const record = Effect.fnUntraced(function* <E, R>(
  definition: Snapshot.Definition<E, R>,
  options?: Snapshot.BuildOptions
) {
  const { events, onEvent } = Support.recorder()
  yield* Effect.exit(Snapshot.build(definition, { ...options, onEvent }))
  return yield* BuildRecord.get(events[0]?.buildId ?? "")
})

const base = Snapshot.make("tools", image)

const shells = (...scripts: ReadonlyArray<string>) =>
  scripts.reduce((definition, script): Snapshot.Definition => Snapshot.shell(definition, script), base)

/** What a comparison says of each step, in short. */
const shown = ({ steps }: BuildRecord.Comparison) =>
  steps.map(({ change, description, why }) => `${change} ${description}${why === undefined ? "" : ` ${why._tag}`}`)

describe("a comparison", () => {
  test(
    "names the steps that differ, why, and how long each took",
    Effect.gen(function* () {
      const before = yield* record(shells("echo one", "echo two", "echo three"))
      const after = yield* record(shells("echo one", "echo zwei", "echo three"))
      const comparison = BuildRecord.compare(before, after)
      assert.deepStrictEqual(shown(comparison), [
        "same echo one",
        "changed echo zwei ArgumentsChanged",
        "changed echo three EarlierChanged"
      ])
      assert.deepInclude(comparison.steps[1]?.why, {
        was: 'Shell {"script":"echo two"}',
        now: 'Shell {"script":"echo zwei"}'
      })
      assert.deepInclude(comparison.steps[2]?.why, { index: 2 })
      for (const { after, before } of comparison.steps) {
        assert.deepInclude(before, { outcome: "ran", attempts: 1 })
        assert.isDefined(before?.duration)
        assert.deepInclude(after, { outcome: "ran", attempts: 1 })
      }
      assert.strictEqual(comparison.before.id, before.id)
      assert.notProperty(comparison.after, "events")

      const codec = Schema.toCodecJson(BuildRecord.Comparison)
      const encoded = yield* Schema.encodeEffect(codec)(comparison)
      assert.deepStrictEqual(yield* Schema.decodeEffect(codec)(encoded), comparison)
    })
  )

  test(
    "of a build with itself, or with one that reused its result, has no differences",
    Effect.gen(function* () {
      const before = yield* record(shells("echo one", "echo two"))
      const after = yield* record(shells("echo one", "echo two"))
      assert.deepStrictEqual(shown(BuildRecord.compare(before, before)), ["same echo one", "same echo two"])
      const comparison = BuildRecord.compare(before, after)
      assert.deepStrictEqual(shown(comparison), ["same echo one", "same echo two"])
      assert.deepStrictEqual(
        comparison.steps.map(({ after, before }) => [before?.outcome, after?.outcome]),
        [
          ["ran", "cached"],
          ["ran", "cached"]
        ]
      )
    })
  )

  test(
    "finds steps that were added and removed",
    Effect.gen(function* () {
      const before = yield* record(shells("echo one", "echo two", "echo three"))
      const after = yield* record(shells("echo zero", "echo one", "echo three", "echo four"))
      assert.deepStrictEqual(shown(BuildRecord.compare(before, after)), [
        "added echo zero",
        "changed echo one EarlierChanged",
        "removed echo two",
        "changed echo three EarlierChanged",
        "added echo four"
      ])
    })
  )

  test(
    "explains changes of the environment, of files, of the base and of a step that is forced",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${folder}/a`, "1")
      const definition = (script: string, mode = "dev") =>
        base.pipe(Snapshot.env({ MODE: mode }), Snapshot.shell(script), Snapshot.copy(folder, "/srv"))
      const first = yield* record(definition("echo one"))
      const second = yield* record(definition("echo one", "prod"))
      assert.deepInclude(BuildRecord.compare(first, second).steps[0]?.why, {
        _tag: "EnvironmentChanged",
        variables: [{ name: "MODE", was: "dev", now: "prod" }]
      })
      yield* fs.writeFileString(`${folder}/a`, "2")
      const third = yield* record(definition("echo one"))
      assert.deepStrictEqual(shown(BuildRecord.compare(first, third)), [
        "same echo one",
        `changed copy ${folder} to /srv FilesChanged`
      ])
      // Of two differences, each step has its own.
      const fourth = yield* record(definition("echo two"))
      const { steps } = BuildRecord.compare(first, fourth)
      assert.deepStrictEqual(
        steps.map(({ why }) => why?._tag),
        ["ArgumentsChanged", "FilesChanged"]
      )
      const [, { why } = {}] = steps
      if (why?._tag === "FilesChanged")
        assert.deepStrictEqual(
          why.files.map(({ path }) => path),
          ["a"]
        )

      // It does not differ, but it ran.
      const forced = BuildRecord.compare(fourth, yield* record(definition("echo two"), { force: 1 }))
      assert.deepStrictEqual(shown(forced), ["same echo two", `same copy ${folder} to /srv`])
      assert.deepStrictEqual(
        forced.steps.map(({ after }) => after?.reason?._tag),
        ["Forced", "Forced"]
      )
      const skipping = base.pipe(Snapshot.skipCache, Snapshot.shell("echo two"))
      const skipped = [yield* record(skipping), yield* record(skipping)] as const
      assert.deepStrictEqual(shown(BuildRecord.compare(...skipped)), ["changed echo two Forced"])

      const { setImage } = yield* MicrosandboxMemory.Control
      yield* setImage(image, { files: { "/etc/new": "1" } })
      const moved = yield* record(definition("echo two"), { pullPolicy: "always" })
      assert.deepStrictEqual(shown(BuildRecord.compare(fourth, moved)), [
        "changed echo two BaseChanged",
        `changed copy ${folder} to /srv EarlierChanged`
      ])
    })
  )

  test(
    "of more files than are recorded says only that they changed",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      for (let index = 0; index < 201; index++) yield* fs.writeFileString(`${folder}/${index}`, "1")
      const definition = Snapshot.copy(base, folder, "/srv")
      const before = yield* record(definition)
      assert.notProperty(before.steps[0]?.inputs, "files")
      yield* fs.writeFileString(`${folder}/0`, "2")
      const many = yield* record(definition)
      assert.deepStrictEqual(BuildRecord.compare(before, many).steps[0]?.why, { _tag: "FilesChanged", files: [] })
      // What was a small folder is a large one.
      yield* fs.remove(`${folder}/0`)
      const few = yield* record(definition)
      assert.property(few.steps[0]?.inputs, "files")
      assert.deepStrictEqual(BuildRecord.compare(many, few).steps[0]?.why, { _tag: "FilesChanged", files: [] })
    })
  )
})

describe("an export", () => {
  const failing = base.pipe(
    Snapshot.shell("echo one"),
    Snapshot.shell("sleep 2; exit 1", { retry: Schedule.spaced("3 seconds").pipe(Schedule.upTo({ times: 1 })) })
  )

  /** A build whose steps take time. */
  const slow = Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(record(failing))
    yield* Support.passUntilDone(fiber)
    return yield* Fiber.join(fiber)
  })

  test(
    "for trace viewers has a span for all that took time, within that of the build",
    Effect.gen(function* () {
      yield* TestClock.setTime(1_700_000_000_000)
      const build = yield* slow
      const { traceEvents } = BuildRecord.toTrace(build)
      yield* Schema.encodeEffect(Schema.toCodecJson(BuildRecord.Trace))(BuildRecord.toTrace(build))
      const spans = traceEvents.filter(({ ph }) => ph === "X")
      const [root, ...others] = spans
      if (root === undefined) return assert.fail("there is no span")
      assert.deepInclude(root, { name: "build tools", cat: "build" })
      assert.strictEqual(root.ts, 1_700_000_000_000_000)
      const kinds = others.map(({ cat }) => cat)
      assert.includeMembers(kinds, ["boot", "step", "checkpoint"])
      const steps = others.filter(({ cat }) => cat === "step")
      assert.deepInclude(steps[0], { name: "1 echo one" })
      // Whether the first step runs again before an attempt is for the machine's speed to say.
      assert.deepStrictEqual(
        steps.filter(({ name }) => name === "2 sleep 2; exit 1").map(({ args }) => args["lightbox.step.attempt"]),
        [1, 2]
      )
      assert.isAtLeast(Duration.toMillis(build.steps[1]?.duration ?? 0), 4000)
      assert.match(String(steps[1]?.args["problem"]), /exited with code 1/)
      assert.match(String(steps[0]?.args["lightbox.step.reason"]), /^never built$/)
      for (const { dur = -1, ts } of others) {
        assert.isAtLeast(ts, root.ts)
        assert.isAtLeast(dur, 0)
        assert.isAtMost(ts + dur, root.ts + (root.dur ?? 0))
      }
      // Spans of one thread overlap only if one contains the other.
      for (const [index, a] of others.entries()) {
        for (const b of others.slice(index + 1)) {
          const [endA, endB] = [a.ts + (a.dur ?? 0), b.ts + (b.dur ?? 0)]
          assert.isTrue(b.ts >= endA || endB <= endA, `${a.name} and ${b.name}`)
        }
      }
      assert.isAtLeast(steps[1]?.dur ?? 0, 2_000_000)
    })
  )

  test(
    "for collectors has one trace, whose spans have stable ids and the build's span as parent",
    Effect.gen(function* () {
      yield* TestClock.setTime(1_700_000_000_000)
      const build = yield* slow
      const exported = BuildRecord.toOtlp(build)
      assert.deepStrictEqual(BuildRecord.toOtlp(build), exported)
      yield* Schema.encodeEffect(BuildRecord.Spans)(exported)
      const spans = exported.resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
      const [root, ...others] = spans
      assert.notProperty(root, "parentSpanId")
      assert.deepInclude(root?.status, { code: 2 })
      assert.strictEqual(new Set(spans.map(({ spanId }) => spanId)).size, spans.length)
      for (const { endTimeUnixNano, spanId, startTimeUnixNano, traceId } of spans) {
        assert.match(traceId, /^[0-9a-f]{32}$/)
        assert.strictEqual(traceId, root?.traceId)
        assert.match(spanId, /^[0-9a-f]{16}$/)
        assert.match(startTimeUnixNano, /^17\d{17}$/)
        assert.isTrue(BigInt(endTimeUnixNano) >= BigInt(startTimeUnixNano))
      }
      assert.isTrue(others.every(({ parentSpanId }) => parentSpanId === root?.spanId))
      const codes = others.filter(({ name }) => name.startsWith("2 ")).map(({ status }) => status.code)
      assert.deepStrictEqual(codes, [2, 2])
    })
  )

  test(
    "puts a build that another one needed into its trace, and cached steps into events",
    Effect.gen(function* () {
      const inner = Snapshot.shell(Snapshot.make("inner", image), "echo inner")
      const outer = Snapshot.step(Snapshot.make("outer", image), "build another", () => Snapshot.build(inner))
      const parent = yield* record(outer)
      const [child] = yield* BuildRecord.list({ snapshot: "inner" })
      const rootOf = (build: BuildRecord.BuildRecord) =>
        BuildRecord.toOtlp(build).resourceSpans[0]?.scopeSpans[0]?.spans[0]
      const [parentRoot, childRoot] = [rootOf(parent), rootOf(yield* BuildRecord.get(child?.id ?? ""))]
      assert.strictEqual(childRoot?.traceId, parentRoot?.traceId)
      assert.strictEqual(childRoot?.parentSpanId, parentRoot?.spanId)

      const again = yield* record(inner)
      assert.deepStrictEqual(
        rootOf(again)?.events.map(({ name }) => name),
        ["cached: 1 echo inner"]
      )
      const marks = BuildRecord.toTrace(again).traceEvents.filter(({ ph }) => ph === "i")
      assert.deepStrictEqual(
        marks.map(({ name }) => name),
        ["1 echo inner (cached)"]
      )
    })
  )
})
