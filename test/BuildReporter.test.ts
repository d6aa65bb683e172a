import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import { displayWidth } from "effect/cli/CliOutput"
import * as ConfigProvider from "effect/ConfigProvider"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { stripVTControlCharacters } from "node:util"
import { BuildEvent } from "../src/BuildEvent.ts"
import * as BuildReporter from "../src/BuildReporter.ts"
import { Screen } from "./Screen.ts"

// =============================================================================
// Events
// =============================================================================

type Bare<Event> = Event extends BuildEvent ? Omit<Event, "buildId" | "sequence" | "snapshot" | "at"> : never

/** Emits the events of a build, as the build itself would. */
const buildOf = (reporter: BuildReporter.BuildReporter, snapshot: string, buildId = snapshot) => {
  let sequence = 0
  return (bare: Bare<BuildEvent>): Effect.Effect<BuildEvent> =>
    Effect.gen(function* () {
      const at = yield* DateTime.now
      const event: BuildEvent = { ...bare, buildId, snapshot, sequence: sequence++, at }
      yield* reporter(event)
      return event
    })
}

const started = (index: number, description: string, attempt = 1) =>
  ({ _tag: "StepStarted", index, description, attempt }) as const

const finished = (index: number, description: string, millis: number, attempt = 1) =>
  ({ _tag: "StepFinished", index, description, attempt, duration: Duration.millis(millis) }) as const

const output = (index: number, text: string) =>
  ({ _tag: "StepOutput", index, description: "", stream: "stdout", text }) as const

/** Waits for the next frame. */
const frame = TestClock.adjust("100 millis")

const onScreen = Effect.fnUntraced(function* (
  size: { readonly columns: number; readonly rows: number } = { columns: 80, rows: 24 },
  options?: BuildReporter.TerminalOptions
) {
  const screen = new Screen(size)
  const reporter = yield* BuildReporter.terminal({ output: screen, live: true, color: false, ...options })
  return { screen, reporter }
})

/** A reporter whose scope is closed with the first effect given. */
const closing = Effect.fnUntraced(function* (screen: Screen, options?: BuildReporter.TerminalOptions) {
  const scope = yield* Scope.make()
  const reporter = yield* BuildReporter.terminal({ output: screen, live: true, color: false, ...options }).pipe(
    Scope.provide(scope)
  )
  return { reporter, close: Scope.close(scope, Exit.void) }
})

const plain = Effect.fnUntraced(function* (env: { readonly [name: string]: string }, isTTY: boolean) {
  const written: Array<string> = []
  const scope = yield* Scope.make()
  const reporter = yield* BuildReporter.terminal({ output: { write: (text) => written.push(text), isTTY } }).pipe(
    Scope.provide(scope),
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))
  )
  return {
    reporter,
    text: Effect.map(Scope.close(scope, Exit.void), () => written.join("")),
    written
  }
})

// =============================================================================
// Tests
// =============================================================================

describe("the terminal reporter", () => {
  it.effect("shows a cached build as up to date, in one line", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen()
      const say = buildOf(reporter, "node-ci")
      yield* say({ _tag: "Planned", steps: 2, hits: 2 })
      yield* say({ _tag: "StepCached", index: 1, description: "npm i -g pnpm@9" })
      yield* say({ _tag: "StepCached", index: 2, description: "copy ./fixtures" })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, ["⠙ node-ci  2 steps, 2 cached, 100ms", "  ✔ steps 1–2 cached"])
      yield* say({ _tag: "Finished", duration: Duration.millis(12), stepsRun: 0, stepsReused: 2 })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, ["✔ node-ci up to date  12ms, 2 cached"])
    })
  )

  it.effect("shows a tree that grows, with cached steps in one line, and leaves it when the build ends", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen()
      const say = buildOf(reporter, "node-ci")
      yield* say({ _tag: "Planned", steps: 5, hits: 3 })
      for (const index of [1, 2, 3]) yield* say({ _tag: "StepCached", index, description: `step ${index}` })
      yield* say({ _tag: "Booting", builder: "lightbox-builder-1", from: "node:22" })
      yield* frame
      yield* TestClock.adjust("1900 millis")
      assert.deepStrictEqual(yield* screen.lines, [
        "⠋ node-ci  5 steps, 3 cached, 2s",
        "  ✔ steps 1–3 cached",
        "  ⠋ booting  2s"
      ])
      yield* say({ _tag: "Booted", builder: "lightbox-builder-1", duration: Duration.millis(2000) })
      yield* say(started(4, "npm ci\nnpm test"))
      yield* say(output(4, "one\ntwo\nthree\nfour\nfive\n"))
      yield* TestClock.adjust("3200 millis")
      const before = ["  ✔ steps 1–3 cached", "  ✔ booted  2s"]
      assert.deepStrictEqual(yield* screen.lines, [
        "⠹ node-ci  5 steps, 3 cached, 5s 200ms",
        ...before,
        "  ⠹ 4/5 npm ci npm test  3s 200ms",
        "    │ two",
        "    │ three",
        "    │ four",
        "    │ five"
      ])
      yield* say(finished(4, "npm ci\nnpm test", 3200))
      yield* say({ _tag: "Checkpointing", index: 4, key: "k" })
      yield* TestClock.adjust("800 millis")
      assert.strictEqual((yield* screen.lines).at(-1), "  ⠋ saving the result of step 4  800ms")
      yield* say({ _tag: "Checkpointed", index: 4, key: "k", duration: Duration.millis(800) })
      yield* say(started(5, "true"))
      yield* say(finished(5, "true", 5))
      yield* say({ _tag: "Checkpointing", index: 5, key: "k" })
      yield* TestClock.adjust("6 seconds")
      assert.strictEqual((yield* screen.lines).at(-1), "  ⠋ saving the snapshot  6s")
      yield* say({ _tag: "Checkpointed", index: 5, key: "k", duration: Duration.seconds(6), size: 12 * 1024 * 1024 })
      yield* say({ _tag: "Committed", generation: 4, digest: "sha256:0" })
      yield* say({ _tag: "Finished", duration: Duration.millis(63_000), stepsRun: 2, stepsReused: 3 })
      yield* frame
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        "✔ node-ci built  1m 3s, 2 run, 3 cached, generation 4",
        ...before,
        "  ✔ 4/5 npm ci npm test  3s 200ms",
        "  ✔ saved the result of step 4  800ms",
        "  ✔ 5/5 true  5ms",
        "  ✔ saved the snapshot  6s, 12 MiB"
      ])
    })
  )

  it.effect(
    "opens a failed step at its last lines and its place in the program, and closes it when a retry succeeds",
    () =>
      Effect.gen(function* () {
        const { reporter, screen } = yield* onScreen({ columns: 60, rows: 40 })
        const say = buildOf(reporter, "node-ci")
        yield* say({ _tag: "Planned", steps: 1, hits: 0 })
        yield* say(started(1, "npm test"))
        yield* say(output(1, Array.from({ length: 30 }, (_, n) => `line ${n}\n`).join("")))
        yield* TestClock.adjust("1500 millis")
        const problem = `npm test exited with code 1\n  | line 29`
        const failed = (attempt: number) =>
          say({
            _tag: "StepAttemptFailed",
            index: 1,
            description: "npm test",
            attempt,
            problem,
            declaredAt: "lightbox.ts:3:5"
          })
        yield* failed(1)
        yield* say(started(1, "npm test", 2))
        yield* TestClock.adjust("200 millis")
        const first = [
          "  ✖ 1/1 npm test  failed after 1s 500ms",
          "    npm test exited with code 1",
          "    at lightbox.ts:3:5",
          ...Array.from({ length: 20 }, (_, n) => `    │ line ${n + 10}`)
        ]
        assert.deepStrictEqual(yield* screen.lines, [
          "⠧ node-ci  1 step, 1s 700ms",
          ...first,
          "  ⠧ 1/1 npm test, attempt 2  200ms"
        ])
        yield* failed(2)
        yield* say(started(1, "npm test", 3))
        yield* say(finished(1, "npm test", 100, 3))
        yield* frame
        assert.deepStrictEqual(yield* screen.lines, [
          "⠇ node-ci  1 step, 1s 800ms",
          ...first.slice(0, 2),
          "  ✖ 1/1 npm test, attempt 2  failed after 200ms",
          "    npm test exited with code 1",
          "  ✔ 1/1 npm test, attempt 3  100ms"
        ])
      })
  )

  it.effect("leaves the failed step open when the build has failed", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen({ columns: 60, rows: 8 })
      const say = buildOf(reporter, "node-ci")
      yield* say({ _tag: "Planned", steps: 2, hits: 0 })
      yield* say(started(1, "npm ci"))
      yield* say(finished(1, "npm ci", 100))
      yield* say(started(2, "npm test"))
      yield* say(output(2, Array.from({ length: 30 }, (_, n) => `line ${n}\n`).join("")))
      yield* frame
      const problem = `npm test exited with code 1\n  | line 29`
      yield* say({ _tag: "StepAttemptFailed", index: 2, description: "npm test", attempt: 1, problem })
      yield* say({
        _tag: "Failed",
        duration: Duration.millis(1700),
        problem:
          'LightboxError: Snapshot "node-ci" failed at step 2, npm test (/app/build.ts:3:5): setup step exited with code 1\n' +
          "  | line 29\n    at somewhere (file.ts:1:1)"
      })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        "✖ node-ci failed  after 1s 700ms",
        "  ✔ 1/2 npm ci  100ms",
        "  ✖ 2/2 npm test  failed after 100ms",
        "    npm test exited with code 1",
        ...Array.from({ length: 20 }, (_, n) => `    │ line ${n + 10}`)
      ])
    })
  )

  it.effect("says why a build failed outside of its steps", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen({ columns: 30, rows: 24 })
      const say = buildOf(reporter, "ci")
      yield* say({ _tag: "Booting", builder: "b", from: "node:22" })
      yield* frame
      const problem = "The registry does not know the image\n    at somewhere (file.ts:1:1)"
      yield* say({ _tag: "Failed", duration: Duration.millis(100), problem })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        "✖ ci failed  after 100ms",
        "  ✖ booting",
        "  The registry does not know",
        "  the image"
      ])
    })
  )

  it.effect("shows the progress of a pull", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen({ columns: 100, rows: 24 })
      const say = buildOf(reporter, "ci")
      const image = "node:22"
      const mib = 1024 * 1024
      yield* say({ _tag: "Booting", builder: "b", from: image })
      yield* say({ _tag: "Pulling", image, phase: "Resolving" })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, ["⠙ ci  100ms", "  ⠙ booting  100ms"])
      yield* say({ _tag: "Pulling", image, phase: "Resolved", total: 4 * mib })
      yield* say({ _tag: "Pulling", image, phase: "Downloading", layer: 0, done: mib, total: 2 * mib })
      yield* TestClock.adjust("900 millis")
      assert.deepStrictEqual(yield* screen.lines, [
        "⠋ ci  1s",
        "  ⠋ pulling node:22  ━━━━━─────────────── 25%  1 MiB of 4 MiB  1s"
      ])
      yield* say({ _tag: "Pulling", image, phase: "Downloading", layer: 0, done: 2 * mib, total: 2 * mib })
      yield* say({ _tag: "Pulling", image, phase: "Downloading", layer: 1, done: 2 * mib, total: 2 * mib })
      yield* say({ _tag: "Pulling", image, phase: "Unpacking", layer: 0, done: mib, total: 2 * mib })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        "⠙ ci  1s 100ms",
        "  ⠙ unpacking node:22  ━━━━━━━━━━────────── 50%  1 MiB of 2 MiB  1s 100ms"
      ])
      yield* screen.resize({ columns: 40, rows: 24 })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, ["⠹ ci  1s 200ms", "  ⠹ unpacking node:22  50%  1s 200ms"])
      yield* say({ _tag: "Pulling", image, phase: "Pulled" })
      yield* say({ _tag: "Booted", builder: "b", duration: Duration.millis(1300) })
      yield* say({ _tag: "Finished", duration: Duration.millis(1300), stepsRun: 0, stepsReused: 0 })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        "✔ ci up to date  1s 300ms",
        "  ✔ pulled node:22  4 MiB, 1s 200ms",
        "  ✔ booted  1s 300ms"
      ])
    })
  )

  it.effect("says nothing about a pull that downloads nothing", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen()
      const say = buildOf(reporter, "ci")
      yield* say({ _tag: "Pulling", image: "node:22", phase: "Resolved", total: 10 })
      yield* say({ _tag: "Pulling", image: "node:22", phase: "Pulled" })
      yield* say({ _tag: "Booted", builder: "b", duration: Duration.millis(100) })
      yield* say({ _tag: "Failed", duration: Duration.millis(100), problem: "interrupted" })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, ["✖ ci interrupted  after 100ms", "  ✔ booted  100ms"])
    })
  )

  it.effect("keeps the trees of builds that run at once apart", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen()
      const node = buildOf(reporter, "node")
      const python = buildOf(reporter, "python")
      yield* node({ _tag: "Planned", steps: 1, hits: 0 })
      yield* python({ _tag: "Planned", steps: 3, hits: 2 })
      yield* node(started(1, "npm ci"))
      yield* python(started(3, "pip install pandas"))
      yield* python(output(3, "Collecting pandas\n"))
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        "⠙ node  1 step, 100ms",
        "  ⠙ 1/1 npm ci  100ms",
        "⠙ python  3 steps, 2 cached, 100ms",
        "  ⠙ 3/3 pip install pandas  100ms",
        "    │ Collecting pandas"
      ])
      yield* python(finished(3, "pip install pandas", 100))
      yield* python({ _tag: "Finished", duration: Duration.millis(100), stepsRun: 1, stepsReused: 2 })
      yield* frame
      const first = ["✔ python built  100ms, 1 run, 2 cached", "  ✔ 3/3 pip install pandas  100ms"]
      assert.deepStrictEqual(yield* screen.lines, [...first, "⠹ node  1 step, 200ms", "  ⠹ 1/1 npm ci  200ms"])
      yield* node(finished(1, "npm ci", 200))
      yield* node({ _tag: "Finished", duration: Duration.millis(200), stepsRun: 1, stepsReused: 0 })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [...first, "✔ node built  200ms, 1 run", "  ✔ 1/1 npm ci  200ms"])
    })
  )

  it.effect("shows a build that another one needs in its tree", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen({ columns: 80, rows: 8 })
      const app = buildOf(reporter, "app")
      const base = buildOf(reporter, "base")
      yield* app({ _tag: "Planned", steps: 2, hits: 1 })
      yield* app({ _tag: "StepCached", index: 1, description: "apk add git" })
      yield* base({ _tag: "Planned", steps: 1, hits: 0, parent: "app" })
      yield* base(started(1, "make"))
      yield* base(output(1, "cc -c main.c\n"))
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        "⠙ app  2 steps, 1 cached, 100ms",
        "  ✔ 1/2 apk add git  cached",
        "  ⠙ base  1 step, 100ms",
        "    ⠙ 1/1 make  100ms",
        "      │ cc -c main.c"
      ])
      yield* base(finished(1, "make", 100))
      yield* base({ _tag: "Finished", duration: Duration.millis(100), stepsRun: 1, stepsReused: 0 })
      yield* app(started(2, "copy from base"))
      yield* app(finished(2, "copy from base", 5))
      yield* app({ _tag: "Finished", duration: Duration.millis(200), stepsRun: 1, stepsReused: 1 })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        "✔ app built  200ms, 1 run, 1 cached",
        "  ✔ 1/2 apk add git  cached",
        "  ✔ base built  100ms, 1 run",
        "    ✔ 1/1 make  100ms",
        "  ✔ 2/2 copy from base  5ms"
      ])
    })
  )

  it.effect("shows a build that several wait for once, and drops it when its process dies", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen()
      const holder = buildOf(reporter, "tools", "holder")
      const waiter = buildOf(reporter, "tools", "waiter")
      const elsewhere = buildOf(() => Effect.void, "tools", "elsewhere")
      yield* holder({ _tag: "Planned", steps: 1, hits: 0 })
      yield* waiter({ _tag: "Planned", steps: 1, hits: 0 })
      yield* waiter({ _tag: "Waiting", key: "k" })
      yield* Effect.flatMap(holder(started(1, "apk add git")), reporter)
      yield* Effect.flatMap(holder(finished(1, "apk add git", 7)), reporter)
      yield* Effect.flatMap(
        holder({ _tag: "Finished", duration: Duration.millis(9), stepsRun: 1, stepsReused: 0 }),
        reporter
      )
      yield* elsewhere({ _tag: "Planned", steps: 1, hits: 0 })
      yield* Effect.flatMap(elsewhere(started(1, "apk add jq")), reporter)
      yield* Effect.flatMap(elsewhere(output(1, "fetch\n")), reporter)
      yield* frame
      const before = ["✔ tools built  9ms, 1 run", "  ✔ 1/1 apk add git  7ms"]
      assert.deepStrictEqual(yield* screen.lines, [
        ...before,
        "⠙ tools  1 step, 100ms",
        "  ⠙ waiting for another build of this snapshot  100ms",
        "    ⠙ 1 apk add jq  100ms",
        "      │ fetch"
      ])
      yield* waiter(started(1, "apk add jq"))
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        ...before,
        "⠹ tools  1 step, 200ms",
        "  · waited for another build of this snapshot  100ms",
        "  ⠹ 1/1 apk add jq  100ms"
      ])
    })
  )

  it.effect("strips control sequences from what a guest writes", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen({ columns: 40, rows: 10 })
      const say = buildOf(reporter, "ci\u001b]0;title\u0007")
      yield* say(started(1, "a\u001b[2Jb"))
      yield* say(
        output(
          1,
          [
            "\u001b[31mred\u001b[0m \u001b]8;;http://x.example\u001b\\link\u001b]8;;\u001b\\",
            "\u009b2J\u0085c1 \u001b\u0000[2J",
            "bidi \u202etxt.exe\u2066 \u200bzero",
            "10%\r20%\r30%\r"
          ].join("\n")
        )
      )
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        "⠙ ci  100ms",
        "  ⠙ 1 ab  100ms",
        "    │ red link",
        "    │ c1 [2J",
        "    │ bidi txt.exe zero",
        "    │ 30%"
      ])
      assert.notInclude(screen.written.join(""), "\u001b]")
      assert.notInclude(screen.written.join(""), "\u001b[2J")
      const problem = "\u001b[5mblink\u001b[0m \u001b[31m\n  | more"
      const declaredAt = "a\u001b[2J.ts"
      yield* say({ _tag: "StepAttemptFailed", index: 1, description: "a", attempt: 1, problem, declaredAt })
      yield* say({ _tag: "Failed", duration: Duration.millis(1), problem: "\u001bcreset" })
      yield* frame
      assert.include(yield* screen.lines, "    blink ")
      assert.include(yield* screen.lines, "    at a.ts")
      assert.deepStrictEqual(foreign(screen.written.join("")), [])
    })
  )

  it.effect("redraws after the window is resized", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen({ columns: 60, rows: 12 })
      const say = buildOf(reporter, "ci")
      yield* say({ _tag: "Planned", steps: 1, hits: 0 })
      yield* say(started(1, "日本".repeat(30)))
      yield* say(output(1, `${"y\u0301".repeat(100)}\n`))
      yield* frame
      const wide = (sign: string, time: string) => [
        `${sign} ci  1 step, ${time}`,
        `  ${sign} 1/1 ${"日本".repeat(11)}…  ${time}`,
        `    │ ${"y\u0301".repeat(53)}…`
      ]
      assert.deepStrictEqual(yield* screen.lines, wide("⠙", "100ms"))
      // An odd number of columns, in which no wide character fits at the edge.
      yield* screen.resize({ columns: 25, rows: 12 })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        "⠹ ci  1 step, 200ms",
        `  ⠹ 1/1 日本日本日本日本…`,
        `    │ ${"y\u0301".repeat(18)}…`
      ])
      yield* screen.resize({ columns: 60, rows: 12 })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, wide("⠸", "300ms"))
    })
  )

  it.effect("does not erase the last cell of a line of the full width", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen({ columns: 60, rows: 12 })
      const say = buildOf(reporter, "ci")
      yield* say(started(1, "x".repeat(100)))
      yield* frame
      // Where lines do not wrap, the cursor stays on the last cell, which the next sequence would erase.
      assert.include(screen.written.join(""), `${"x".repeat(46)}…  100ms\r\n`)
    })
  )

  it.effect("leaves out what is done first where a window is too small, and all of it is there in the end", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen({ columns: 40, rows: 7 })
      const say = buildOf(reporter, "ci")
      yield* say({ _tag: "Planned", steps: 11, hits: 0 })
      for (let index = 1; index <= 10; index++) {
        yield* say(started(index, "true"))
        yield* say(finished(index, "true", 1))
      }
      yield* say(started(11, "make"))
      yield* say(output(11, "one\ntwo\n"))
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        "⠙ ci  11 steps, 100ms",
        "  · … 9 more lines",
        "  ✔ 10/11 true  1ms",
        "  ⠙ 11/11 make  100ms",
        "    │ one",
        "    │ two"
      ])
      yield* say(finished(11, "make", 100))
      yield* say({ _tag: "Finished", duration: Duration.millis(100), stepsRun: 11, stepsReused: 0 })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, [
        "✔ ci built  100ms, 11 run",
        ...Array.from({ length: 10 }, (_, n) => `  ✔ ${n + 1}/11 true  1ms`),
        "  ✔ 11/11 make  100ms"
      ])
    })
  )

  it.effect("shows each of many builds in one line", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen({ columns: 40, rows: 6 })
      const builds = Array.from({ length: 9 }, (_, n) => buildOf(reporter, `ci-${n}`))
      yield* Effect.forEach(builds, (say) => say(started(1, "true")), { discard: true })
      yield* frame
      yield* frame
      const top = Array.from({ length: 4 }, (_, n) => `⠹ ci-${n}: 1 true  200ms`)
      assert.deepStrictEqual(yield* screen.lines, [...top, "· … 5 more builds"])
      yield* Effect.forEach(
        builds,
        (say) => say({ _tag: "Failed", duration: Duration.millis(1), problem: "interrupted" }),
        {
          discard: true
        }
      )
      yield* frame
      assert.deepStrictEqual(
        yield* screen.lines,
        Array.from({ length: 9 }, (_, n) => [`✖ ci-${n} interrupted  after 1ms`, "  ✖ 1 true  interrupted"]).flat()
      )
    })
  )

  it.effect("draws once per frame, and only the last lines, however much a step writes", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen({ columns: 40, rows: 10 })
      const say = buildOf(reporter, "ci")
      yield* say(started(1, "yes"))
      yield* frame
      const before = screen.written.length
      for (let n = 0; n < 1000; n++) yield* say(output(1, "y\n".repeat(10)))
      yield* frame
      assert.strictEqual(screen.written.length, before + 1)
      assert.isBelow(screen.written.at(-1)?.length ?? 0, 400)
      yield* say(finished(1, "yes", 200))
      yield* say({ _tag: "Finished", duration: Duration.millis(200), stepsRun: 1, stepsReused: 0 })
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, ["✔ ci built  200ms, 1 run", "  ✔ 1 yes  200ms"])
    })
  )

  it.effect("restores the terminal when it is interrupted, says what was, and ignores later events", () =>
    Effect.gen(function* () {
      const screen = new Screen({ columns: 40, rows: 10 })
      screen.write("$ build\r\n")
      let late: BuildReporter.BuildReporter = () => Effect.void
      const fiber = yield* Effect.gen(function* () {
        const reporter = yield* BuildReporter.terminal({ output: screen, live: true, color: true })
        late = reporter
        const say = buildOf(reporter, "ci")
        yield* say({ _tag: "Planned", steps: 1, hits: 0 })
        yield* say(started(1, "sleep 100"))
        yield* say(output(1, "asleep\n"))
        return yield* Effect.never
      }).pipe(Effect.scoped, Effect.forkChild({ startImmediately: true }))
      yield* frame
      assert.strictEqual((yield* screen.lines).length, 4)
      yield* Fiber.interrupt(fiber)
      const left = ["$ build", "✖ ci interrupted", "  ✖ 1/1 sleep 100  interrupted", "    │ asleep"]
      assert.deepStrictEqual(yield* screen.lines, left)
      assert.deepStrictEqual(yield* screen.state, { wraps: true, cursor: [0, 4] })
      const { written } = screen
      assert.isAbove(written.length, 2)
      // The cursor is visible after every write, not only the last.
      for (const text of written.slice(1)) assert.isTrue(text.startsWith("\u001b[?25l") && text.endsWith("\u001b[?25h"))
      yield* buildOf(late, "late")(started(1, "true"))
      yield* frame
      assert.deepStrictEqual(yield* screen.lines, left)
    })
  )

  it.effect("colors success and failure", () =>
    Effect.gen(function* () {
      const { reporter, screen } = yield* onScreen({ columns: 40, rows: 10 }, { color: true })
      const say = buildOf(reporter, "ci")
      yield* say(finished(1, "true", 1))
      yield* say({ _tag: "Failed", duration: Duration.millis(1), problem: "oh no" })
      yield* frame
      const signs = Effect.forEach([0, 1], (y) => Effect.map(screen.colors(y), (colors) => colors[y * 2]))
      assert.deepStrictEqual(yield* signs, [1, 2])
    })
  )
})

describe("the reporter chosen for an output", () => {
  const build = (reporter: BuildReporter.BuildReporter) =>
    Effect.gen(function* () {
      const say = buildOf(reporter, "ci")
      yield* say({ _tag: "Planned", steps: 2, hits: 1 })
      yield* say({ _tag: "StepCached", index: 1, description: "apk add git" })
      yield* say(started(2, "npm test"))
      yield* say(output(2, "\u001b[32mok\u001b[0m 1\nok 2\n"))
      yield* say({ _tag: "StepAttemptFailed", index: 2, description: "npm test", attempt: 1, problem: "no\n  | ok 2" })
      yield* say({ _tag: "Failed", duration: Duration.millis(5), problem: "LightboxError: no\n  | ok 2" })
    })

  const lines = [
    "· [ci] 2 steps, 1 cached",
    "✔ [ci 1/2] apk add git  cached",
    "› [ci 2/2] npm test",
    "  │ [ci 2/2] ok 1",
    "  │ [ci 2/2] ok 2",
    "✖ [ci 2/2] npm test  failed after 0",
    "  no",
    "✖ [ci] failed  after 5ms",
    ""
  ].join("\n")

  it.effect.each([
    { name: "a file", isTTY: false, env: {}, color: false },
    { name: "a file, with FORCE_COLOR", isTTY: false, env: { FORCE_COLOR: "1" }, color: true },
    {
      name: "a file, with FORCE_COLOR and NO_COLOR",
      isTTY: false,
      env: { FORCE_COLOR: "1", NO_COLOR: "1" },
      color: false
    },
    { name: "a dumb terminal", isTTY: true, env: { TERM: "dumb" }, color: false }
  ])("writes one line per event to $name", ({ color, env, isTTY }) =>
    Effect.gen(function* () {
      const { reporter, text } = yield* plain(env, isTTY)
      yield* build(reporter)
      const written = yield* text
      assert.strictEqual(written.includes("\u001b["), color)
      assert.strictEqual(stripVTControlCharacters(written), lines)
    })
  )

  it.effect.each([
    { name: "colors", env: { TERM: "xterm" }, color: true },
    { name: "no colors with NO_COLOR", env: { TERM: "xterm", NO_COLOR: "1" }, color: false }
  ])("redraws on a terminal, with $name", ({ color, env }) =>
    Effect.gen(function* () {
      const { reporter, text } = yield* plain(env, true)
      yield* build(reporter)
      const written = yield* text
      assert.isTrue(written.startsWith("\u001b[?25l"))
      assert.strictEqual(/\u001b\[[0-9;]*m/.test(written), color)
    })
  )

  it.effect("limits the lines of output of one step", () =>
    Effect.gen(function* () {
      const { reporter, written } = yield* plain({}, false)
      const say = buildOf(reporter, "ci")
      yield* say(started(1, "yes"))
      yield* say(output(1, "y\n".repeat(3000)))
      yield* say(finished(1, "yes", 1))
      yield* frame
      assert.strictEqual(written.length, 1)
      const lines = written.join("").split("\n")
      assert.strictEqual(lines.filter((line) => line.endsWith(" y")).length, 999)
      assert.deepStrictEqual(lines.slice(-3), ["✔ [ci 1] yes  1ms", "· 2001 lines of output left out", ""])
    })
  )
})

// =============================================================================
// Any events
// =============================================================================

/** The control sequences of the reporter itself. */
const own = /\u001b\[(\?25[lh]|\?7[lh]|\d+A|K|J|\d+(;\d+)*m)/g

/** Every other character that a terminal acts on or does not show. */
const foreign = (written: string): ReadonlyArray<string> =>
  written
    .replace(own, "")
    .replace(/\r?\n|\r/g, "")
    .match(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu) ?? []

const pieces = [
  "plain ",
  "\n",
  "\r",
  "\r\n",
  "\t",
  "\u001b[",
  "\u001b[2J",
  "\u001b]0;t\u0007",
  "\u001bP",
  "\u009b",
  "\u0000",
  "\b",
  "日本語",
  "👩‍👩‍👧",
  "e\u0301".repeat(50),
  "\u202e",
  "\u2028",
  "\ud800",
  "  | x",
  "interrupted"
]

const text = Arbitrary.map(Arbitrary.array(Arbitrary.schema(Schema.Literals(pieces)), { maxLength: 12 }), (some) =>
  some.join("")
)

/** Events of three builds, in any order and with any content. */
const events = Arbitrary.map(
  Arbitrary.array(
    Arbitrary.all({
      event: Arbitrary.map(Arbitrary.schema(Schema.toEncoded(BuildEvent)), Schema.decodeSync(BuildEvent)),
      build: Arbitrary.schema(Schema.Literals(["a", "b", "c"])),
      text,
      isHeardTwice: Arbitrary.schema(Schema.Boolean)
    }),
    { maxLength: 40 }
  ),
  (drawn) => {
    const sequences = new Map<string, number>()
    return drawn.flatMap(({ build, event, isHeardTwice, text }): ReadonlyArray<BuildEvent> => {
      const sequence = sequences.get(build) ?? (build === "c" ? 3 : 0)
      sequences.set(build, sequence + 1)
      const said: BuildEvent = {
        ...event,
        buildId: build,
        sequence,
        snapshot: text,
        ...("description" in event ? { description: text } : {}),
        ...("image" in event ? { image: text } : {}),
        ...("problem" in event ? { problem: text } : {}),
        ...("declaredAt" in event ? { declaredAt: text } : {}),
        ...("parent" in event ? { parent: text.length % 2 === 0 ? "a" : "b" } : {}),
        ...("text" in event ? { text } : {})
      }
      return isHeardTwice ? [said, said] : [said]
    })
  }
)

const size = (minimum: number, maximum: number) =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

describe("random events", () => {
  it.effect.prop(
    "fit the window, send no foreign control characters, and do not depend on frame timing",
    { events, columns: size(2, 60), rows: size(1, 12), isLive: Arbitrary.schema(Schema.Boolean) },
    ({ columns, events, isLive, rows }) =>
      Effect.gen(function* () {
        const shown = yield* Effect.forEach([true, false], (isEachInItsFrame) =>
          Effect.gen(function* () {
            const screen = new Screen({ columns, rows })
            const { close, reporter } = yield* closing(screen, { live: isLive })
            for (const event of events) {
              yield* reporter(event)
              if (isEachInItsFrame) yield* frame
            }
            yield* close
            const written = screen.written.join("")
            assert.deepStrictEqual(foreign(written), [])
            for (const line of written.replace(own, "").split(/\r?\n|\r/)) {
              assert.isAtMost(displayWidth(line), columns)
            }
            assert.isTrue((yield* screen.state).wraps)
            return written === "" ? [] : yield* screen.lines
          })
        )
        assert.deepStrictEqual(shown[0], shown[1])
      }),
    { arbitrary: { runs: 300 }, timeout: 120_000 }
  )
})

// =============================================================================
// NDJSON
// =============================================================================

describe("ndjson", () => {
  const decode = Schema.decodeEffect(Schema.fromJsonString(Schema.toCodecJson(BuildEvent)))

  it.effect.prop(
    "writes each event as one line that is safe to print",
    { events },
    ({ events }) =>
      Effect.gen(function* () {
        const written: Array<string> = []
        const reporter = BuildReporter.ndjson({ output: { write: (text) => written.push(text) } })
        yield* Effect.forEach(events, reporter, { discard: true })
        assert.deepStrictEqual(foreign(written.join("")), [])
        const lines = written.join("").split("\n").slice(0, -1)
        const read = yield* Effect.forEach(lines, (line) => decode(line))
        assert.isTrue(Equal.equals(read, events))
      }),
    { arbitrary: { runs: 200 } }
  )

  it.effect("waits while the output is full", () =>
    Effect.gen(function* () {
      const written: Array<string> = []
      let drain = () => {}
      const output: BuildReporter.Output = {
        write: (text) => {
          written.push(text)
          return false
        },
        once: (_, listener) => {
          drain = listener
        }
      }
      const say = buildOf(BuildReporter.ndjson({ output }), "ci")
      const fiber = yield* Effect.andThen(say(started(1, "a")), say(started(2, "b"))).pipe(
        Effect.forkChild({ startImmediately: true })
      )
      assert.strictEqual(written.length, 1)
      drain()
      yield* Effect.yieldNow
      assert.strictEqual(written.length, 2)
      drain()
      yield* Fiber.join(fiber)
    })
  )
})
