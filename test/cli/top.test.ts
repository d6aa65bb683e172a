/**
 * What a person sees of `lightbox top`, and how it leaves the terminal.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Struct from "effect/Struct"
import { TestClock, TestConsole } from "effect/testing"
import * as Fs from "node:fs"
import type { Services } from "../../src/Driver.ts"
import { Driver, Keyboard, Outputs } from "../../src/internal/cli/environment.ts"
import * as Shapes from "../../src/internal/cli/json.ts"
import { run } from "../../src/internal/cli/lightbox.ts"
import * as Readings from "../../src/internal/cli/top/readings.ts"
import * as Records from "../../src/internal/store/records.ts"
import { LightboxError, StoreBusy, Unknown } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { Screen } from "../Screen.ts"
import { decodeLines } from "./support.ts"

/** A screen that says when it shows something. */
class Watched extends Screen {
  private readonly listeners = new Set<() => void>()

  override write(text: string): boolean {
    super.write(text)
    for (const listener of this.listeners) listener()
    return true
  }

  /** Waits until a line matches. */
  until(pattern: RegExp): Effect.Effect<ReadonlyArray<string>> {
    return Effect.gen({ self: this }, function* () {
      for (;;) {
        const changed = yield* Effect.forkChild(
          Effect.callback<void>((resume) => {
            const listener = () => resume(Effect.void)
            this.listeners.add(listener)
            return Effect.sync(() => this.listeners.delete(listener))
          }),
          { startImmediately: true }
        )
        const lines = yield* this.lines
        if (lines.some((line) => pattern.test(line))) {
          yield* Fiber.interrupt(changed)
          return lines
        }
        yield* Fiber.join(changed)
      }
    })
  }
}

type Driven = Microsandbox.Microsandbox["Service"]

const mib = 1024 ** 2

const metrics = (cpuPercent: number, memory: number): Microsandbox.Metrics => ({
  cpuPercent,
  memory: memory * mib,
  memoryLimit: 512 * mib,
  diskRead: 0,
  diskWritten: 0,
  networkReceived: 0,
  networkSent: 0,
  uptime: Duration.minutes(1),
  timestamp: DateTime.makeUnsafe(0)
})

/** Starts the command in a terminal, on a driver that a test changes. */
const starting = Effect.fnUntraced(function* (
  words: ReadonlyArray<string>,
  options: {
    readonly size?: { readonly columns: number; readonly rows: number }
    readonly change?: (driver: Driven) => Partial<Driven>
    readonly isTerminal?: boolean
  } = {}
) {
  const { change = () => ({}), isTerminal = true, size = { columns: 80, rows: 12 } } = options
  const screen = new Watched(size)
  screen.write("$ top\r\n")
  const typed = yield* Queue.unbounded<string>()
  const resized = yield* Queue.unbounded<void>()
  const modes: Array<string> = []
  const memory = yield* Microsandbox.Microsandbox
  const services = Context.add(yield* Effect.context<Services>(), Microsandbox.Microsandbox, {
    ...memory,
    ...change(memory)
  })
  const console = yield* TestConsole.make
  const fiber = yield* run(["top", ...words]).pipe(
    Effect.provideService(Console.Console, console),
    Effect.provideService(Outputs, { stdout: screen, stderr: screen }),
    // Not the console of the test itself.
    Effect.provideService(Driver, () => Layer.succeedContext(Context.omit(Console.Console)(services))),
    Effect.provideService(Keyboard, {
      start: Effect.acquireRelease(
        Effect.sync(() => modes.push("keys")),
        () => Effect.sync(() => modes.push("lines"))
      ),
      keys: Stream.encodeText(Stream.fromQueue(typed)),
      resizes: Stream.fromQueue(resized)
    }),
    Effect.provideService(TerminalCapabilities, { canColor: false, canAnimate: isTerminal, canPrompt: false }),
    Effect.provide(NodeServices.layer),
    Effect.forkScoped({ startImmediately: true })
  )
  return {
    screen,
    modes,
    type: (text: string) => Queue.offer(typed, text),
    resize: (columns: number, rows: number) =>
      Effect.andThen(screen.resize({ columns, rows }), Queue.offer(resized, undefined)),
    printed: Effect.map(console.logLines, (lines) => lines.join("\n")),
    problems: Effect.map(console.errorLines, (lines) => lines.join("\n")),
    status: Fiber.join(fiber),
    interrupt: Fiber.interrupt(fiber)
  }
})

const test = <A, E>(name: string, effect: Effect.Effect<A, E, Services | Scope.Scope>) =>
  it.effect(name, () => Effect.provide(Effect.scoped(effect), MicrosandboxMemory.layer()))

const launch = (name: string) => Sandbox.launch({ image: "alpine:3", name, detached: true })

/** Begins with the first word of each line of a table. */
const names = (lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines
    .slice(lines.findIndex((line) => line.startsWith("NAME")) + 1)
    .flatMap((line) => /^\S+(?= +(?:[\d.]+%|-))/.exec(line) ?? [])

describe("lightbox top, on a terminal", () => {
  test(
    "shows sandboxes with their owner and lease, sorts them by keys, and leaves the terminal as it was",
    Effect.gen(function* () {
      const sandbox = yield* launch("b")
      yield* sandbox.detachFor("2 hours")
      for (const name of ["a", "c"]) yield* launch(name)
      yield* Sandbox.launch({ image: "alpine:3", name: "mine" })
      const used = { a: metrics(5, 300), b: metrics(150, 100), c: metrics(20, 400), mine: metrics(0, 32) }
      const { modes, printed, screen, status, type } = yield* starting([], {
        change: () => ({
          readMetrics: ({ name }) =>
            Effect.succeed(Object.entries(used).find(([key]) => key === name)?.[1] ?? used.mine)
        })
      })
      const lines = yield* screen.until(/^b .* left/)
      assert.strictEqual(lines[0], "4 sandboxes, 0 builds, CPU 175.0%, memory 832.0M")
      assert.match(lines[1] ?? "", /^NAME +CPU +MEMORY +AGE +OWNER +LEASE +READ/)
      assert.match(lines[2] ?? "", /^a +5\.0% +300\.0M\/512\.0M +\d+s +- +detached /)
      assert.match(lines[3] ?? "", /^b +150\.0% .* - +2h left /)
      assert.match(lines[5] ?? "", new RegExp(`^mine .* ${process.pid} +scoped `))
      assert.strictEqual(lines.at(-1), "q quit  c CPU  m memory  n name  a age  j jobs  ↑↓ scroll")
      for (const [key, first, order] of [
        ["c", "b", ["b", "c", "a", "mine"]],
        ["m", "c", ["c", "a", "b", "mine"]],
        ["n", "a", ["a", "b", "c", "mine"]]
      ] as const) {
        yield* type(key)
        const drawn = screen.written.length
        yield* Effect.yieldNow
        while (names(yield* screen.lines)[0] !== first || screen.written.length === drawn) yield* Effect.yieldNow
        assert.deepStrictEqual(names(yield* screen.lines), order)
      }
      yield* type("q")
      assert.strictEqual(yield* status, 0)
      assert.deepStrictEqual(yield* screen.lines, ["$ top"])
      assert.deepStrictEqual(yield* screen.state, { wraps: true, cursor: [0, 1] })
      assert.deepStrictEqual(modes, ["keys", "lines"])
      assert.strictEqual(yield* printed, "")
    })
  )

  test(
    "counts jobs when asked, and not before, because that keeps a sandbox awake",
    Effect.gen(function* () {
      const sandbox = yield* launch("web")
      yield* sandbox.start("sleep", ["1000"])
      yield* sandbox.start("sleep", ["1000"])
      let connections = 0
      const { screen, status, type } = yield* starting([], {
        change: ({ connect }) => ({
          connect: (ref) => {
            connections++
            return connect(ref)
          }
        })
      })
      yield* screen.until(/^web .* detached/)
      assert.strictEqual(connections, 0)
      yield* type("j")
      yield* screen.until(/^NAME +CPU +MEMORY +AGE +JOBS/)
      yield* screen.until(/^web +0\.0% +\S+ +\S+ +2 /)
      yield* type("q")
      assert.strictEqual(yield* status, 0)
    })
  )

  test(
    "reads again after each interval, and goes on when one sandbox, or all of them, cannot be read",
    Effect.gen(function* () {
      for (const name of ["a", "b"]) yield* launch(name)
      let reading = 0
      let isBusy = false
      const { screen, status, type } = yield* starting(["--interval", "5s"], {
        change: ({ listSandboxes }) => ({
          listSandboxes: (filter) => {
            reading++
            return isBusy
              ? Effect.fail(new LightboxError({ method: "list", reason: new StoreBusy({ problem: "locked" }) }))
              : listSandboxes(filter)
          },
          readMetrics: ({ name }) =>
            name === "b"
              ? Effect.fail(new LightboxError({ method: "metrics", reason: new Unknown({ problem: "broken" }) }))
              : Effect.succeed(metrics(reading, 10))
        })
      })
      yield* screen.until(/^a +1\.0% .* detached/)
      yield* screen.until(/^b +- +- /)
      yield* TestClock.adjust("5 seconds")
      yield* screen.until(/^a +2\.0% /)
      isBusy = true
      yield* Effect.yieldNow
      yield* adjusting(screen.until(/Another process holds microsandbox's database: locked/))
      // What was read before stays.
      assert.deepStrictEqual(names(yield* screen.lines), ["a", "b"])
      isBusy = false
      yield* adjusting(screen.until(/^2 sandboxes/))
      yield* type("q")
      assert.strictEqual(yield* status, 0)
    })
  )

  test(
    "shows the builds that run, with their step",
    Effect.gen(function* () {
      const definition = Snapshot.make("tools", "alpine:3").pipe(
        Snapshot.shell("echo one"),
        Snapshot.step("wait for ever", () => Effect.never)
      )
      const begun = yield* Deferred.make<void>()
      yield* Snapshot.build(definition, {
        onEvent: (event) =>
          event._tag === "StepStarted" && event.index === 2 ? Deferred.succeed(begun, undefined) : Effect.void
      }).pipe(Effect.forkScoped({ startImmediately: true }))
      yield* Deferred.await(begun)
      const { screen, status, type } = yield* starting([])
      yield* screen.until(/^BUILD +TIME +STEP$/)
      yield* screen.until(/^lightbox-builder.* builder /)
      const lines = yield* screen.until(/^tools +\d+s +2 wait for ever$/)
      assert.match(lines[0] ?? "", /^1 sandbox, 1 build, /)
      assert.match(lines[2] ?? "", new RegExp(`^lightbox-builder.* ${process.pid} +builder `))
      yield* type("q")
      assert.strictEqual(yield* status, 0)
    })
  )

  test(
    "counts all builds that run, and finds them among those of programs that have ended",
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      yield* Snapshot.build(Snapshot.make("tools", "alpine:3").pipe(Snapshot.step("wait", () => Effect.never)), {
        onEvent: ({ _tag }) => (_tag === "StepStarted" ? Deferred.succeed(begun, undefined) : Effect.void)
      }).pipe(Effect.forkScoped({ startImmediately: true }))
      yield* Deferred.await(begun)
      const { home } = yield* Microsandbox.Microsandbox
      const [own] = yield* Records.entries("test", home)
      if (own === undefined) return assert.fail("nothing is recorded")
      const expected = Readings.mostBuilds + 2
      for (let count = 1; count < expected; count++) {
        Fs.copyFileSync(own.path, Records.pathOf(home, `5-a-${count}`, own.owner))
      }
      // Their ids are before and after the others.
      for (let count = 0; count < 200; count++) {
        Fs.writeFileSync(Records.pathOf(home, `${count % 2 === 0 ? "0" : "z"}-a-${count}`, "abcdef"), "")
      }
      const { builds, count } = yield* Readings.readBuilds()
      assert.lengthOf(builds, Readings.mostBuilds)
      assert.strictEqual(count, expected)
    })
  )

  test(
    "fits every window, down to 20 columns, with the columns that matter most",
    Effect.gen(function* () {
      yield* launch("a-sandbox-with-a-name-that-is-too-long-for-a-narrow-window")
      yield* launch("web")
      const { resize, screen, status, type } = yield* starting([], { size: { columns: 120, rows: 12 } })
      yield* screen.until(/^NAME .* RECEIVED +SENT$/)
      yield* resize(60, 8)
      yield* screen.until(/^NAME +CPU +MEMORY +AGE +OWNER$/)
      assert.deepStrictEqual(yield* screen.broken, [])
      yield* resize(20, 5)
      yield* screen.until(/^NAME +CPU$/)
      assert.deepStrictEqual(
        (yield* screen.lines).map((line) => line.trimEnd()),
        [
          "2 sandboxes, 0 buil…",
          "NAME             CPU",
          "a-sandbox-wit…  0.0%",
          "web             0.0%",
          "q quit  c CPU"
        ]
      )
      assert.deepStrictEqual(yield* screen.broken, [])
      yield* resize(20, 1)
      yield* screen.until(/^2 sandboxes/)
      assert.strictEqual((yield* screen.lines).length, 1)
      yield* type("q")
      assert.strictEqual(yield* status, 0)
    })
  )

  test(
    "reads 1,000 sandboxes a few at a time, draws only those that are seen, and scrolls",
    Effect.gen(function* () {
      const { id, ...rest } = yield* launch("one").pipe(Effect.andThen(Sandbox.get("one")))
      const many = Array.from({ length: 1000 }, (_, n) => ({ ...rest, id: `${id}-${n}`, name: `s${1000 + n}` }))
      let atOnce = 0
      let most = 0
      const { screen, status, type } = yield* starting([], {
        change: () => ({
          listSandboxes: () => Effect.succeed(many),
          readMetrics: ({ name }) =>
            Effect.sync(() => {
              most = Math.max(most, ++atOnce)
            }).pipe(
              Effect.andThen(Effect.yieldNow),
              Effect.ensuring(Effect.sync(() => atOnce--)),
              Effect.as(metrics(Number(name.slice(1)) % 100, 10))
            )
        })
      })
      const lines = yield* screen.until(/^s1000 .* detached/)
      assert.match(lines[0] ?? "", /^1000 sandboxes \(1–9\), /)
      assert.strictEqual(lines.length, 12)
      assert.isAtMost(most, 16)
      for (const text of screen.written) assert.isBelow(text.length, 2000)
      yield* type("\x1b[6~\x1b[B")
      yield* screen.until(/\(11–19\)/)
      yield* screen.until(/^s1010 .* detached/)
      yield* type("\x1b[A".repeat(100))
      yield* screen.until(/\(1–9\)/)
      yield* type("c")
      yield* screen.until(/^s1099 +99\.0% .* detached/)
      yield* type("q")
      assert.strictEqual(yield* status, 0)
    })
  )

  test(
    "restores the terminal on Ctrl+C, when it is interrupted, and when there is nothing to show",
    Effect.gen(function* () {
      yield* launch("web")
      const first = yield* starting([])
      yield* first.screen.until(/^web /)
      yield* first.type("\x03")
      assert.strictEqual(yield* first.status, 130)
      const second = yield* starting([])
      yield* second.screen.until(/^web /)
      yield* second.interrupt
      for (const { modes, screen } of [first, second]) {
        assert.deepStrictEqual(yield* screen.lines, ["$ top"])
        assert.deepStrictEqual(yield* screen.state, { wraps: true, cursor: [0, 1] })
        assert.deepStrictEqual(modes, ["keys", "lines"])
      }
      const third = yield* starting(["nothing"])
      assert.strictEqual(yield* third.status, 1)
      assert.match(yield* third.problems, /There is no sandbox named "nothing"|nothing/)
      assert.deepStrictEqual(third.modes, [])
    })
  )

  test(
    "shows nothing of a name that a terminal would act on",
    Effect.gen(function* () {
      const info = yield* launch("one").pipe(Effect.andThen(Sandbox.get("one")))
      const { screen, status, type } = yield* starting([], {
        change: () => ({
          listSandboxes: () =>
            Effect.succeed([Struct.assign(info, { name: "a\u001b[2Jb\u202e", labels: { "lightbox.role": "x\ny" } })]),
          readMetrics: () => Effect.succeed(metrics(1, 1))
        })
      })
      yield* screen.until(/^ab +1\.0% .* x y/)
      yield* type("q")
      assert.strictEqual(yield* status, 0)
    })
  )
})

describe("lightbox top, otherwise", () => {
  test(
    "prints one table where there is no terminal, and on one with --once",
    Effect.gen(function* () {
      yield* launch("web")
      for (const [words, isTerminal] of [
        [[], false],
        [["--once"], true],
        [["--no-stream"], true],
        [["--quiet"], true],
        [["--format", "name"], true]
      ] as const) {
        const { modes, printed, screen, status } = yield* starting(words, { isTerminal })
        assert.strictEqual(yield* status, 0)
        assert.match(yield* printed, /^(NAME +CPU .*\n)?web/, `top ${words.join(" ")}`)
        assert.deepStrictEqual(yield* screen.lines, ["$ top"])
        assert.deepStrictEqual(modes, [])
      }
    })
  )

  test(
    "prints a line of JSON after each interval with --json, and one with --once",
    Effect.gen(function* () {
      yield* launch("web")
      yield* launch("db")
      const { interrupt, screen } = yield* starting(["--json", "--interval", "1s", "--filter", "name=w*"], {
        isTerminal: false
      })
      // Lines of JSON are for programs.
      const lines = () => screen.written.join("").split("\n").slice(1, -1)
      while (lines().length < 1) yield* Effect.yieldNow
      while (lines().length < 2) yield* Effect.andThen(TestClock.adjust("1 second"), Effect.yieldNow)
      yield* interrupt
      const usages = yield* decodeLines(Shapes.Usages, lines().slice(0, 2).join("\n"))
      assert.deepStrictEqual(
        usages.map((some) => some.map(({ name }) => name)),
        [["web"], ["web"]]
      )
      const { printed, status } = yield* starting(["--json", "--once", "web"])
      assert.strictEqual(yield* status, 0)
      assert.strictEqual((yield* decodeLines(Shapes.Usages, yield* printed)).length, 1)
    })
  )

  test(
    "names the flag that is wrong",
    Effect.gen(function* () {
      for (const [words, problem] of [
        [["--interval", "1ms"], /--interval: expected at least 100ms/],
        [["--interval", "soon"], /--interval/],
        [["--once", "--interval", "5s"], /--interval: cannot be combined with --once/],
        [["--filter", "nothing=1"], /--filter: there is no field nothing/]
      ] as const) {
        const { modes, problems, status } = yield* starting(words)
        assert.strictEqual(yield* status, 2)
        assert.match(yield* problems, problem)
        assert.deepStrictEqual(modes, [])
      }
    })
  )
})

/** Lets time pass until something has happened. */
const adjusting = <A>(awaited: Effect.Effect<A>): Effect.Effect<A> =>
  Effect.raceFirst(awaited, TestClock.adjust("5 seconds").pipe(Effect.andThen(Effect.yieldNow), Effect.forever))
