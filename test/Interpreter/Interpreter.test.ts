import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Deferred from "effect/Deferred"
import * as Exit from "effect/Exit"
import * as Interpreter from "../../src/Interpreter.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import { hasPython, withInterpreters } from "./native.ts"

const sandbox = Effect.map(Sandbox.launch({ image: "plain" }), withInterpreters)

const twin = MicrosandboxMemory.layer({ images: { plain: {} } })

const withContext = <A, E>(
  options: Interpreter.Options,
  use: (context: Interpreter.Interpreter) => Effect.Effect<A, E, Scope.Scope>
) =>
  Effect.flatMap(sandbox, (sandbox) => Effect.flatMap(Interpreter.make(sandbox, options), use)).pipe(
    Effect.scoped,
    Effect.provide(twin)
  )

const reasonOf = <A, R>(effect: Effect.Effect<A, LightboxError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

/** Runs code in the background, and returns once it has printed something. */
const started = Effect.fnUntraced(function* (context: Interpreter.Interpreter, code: string) {
  const printed = yield* Deferred.make<void>()
  const events = context
    .runStream(code)
    .pipe(Stream.tap(({ _tag }) => (_tag === "Stdout" ? Deferred.succeed(printed, undefined) : Effect.void)))
  const fiber = yield* Effect.forkScoped(Stream.runCollect(events))
  yield* Deferred.await(printed)
  return fiber
})

/** The same in each language. */
interface Words {
  readonly language: Interpreter.Language
  readonly set: string
  readonly get: string
  readonly print: string
  /** Prints "go", and does not end. */
  readonly forever: string
  /** The same, and does not react to interrupts. */
  readonly stubborn: string
  readonly wait: string
  /** Prints "go" and does not end, after it has waited for something. */
  readonly later: string
  readonly fail: string
  readonly traceback: string
  readonly interrupted: string
  readonly exit: string
  readonly flood: string
  readonly child: string
  /** What a program reads that inherits all from the code, and the code itself. */
  readonly input: string
  readonly large: string
}

const javascript: Words = {
  language: "javascript",
  set: "let a = 41",
  get: "a + 1",
  print: "console.log('out ä'); console.error('err'); ({ b: [1, 'ä'] })",
  forever: "console.log('go'); for (;;) {}",
  stubborn: "require('node:child_process').execSync(\"trap '' INT; echo go; sleep 600\", { stdio: 'inherit' })",
  wait: "console.log('go'); await new Promise(() => setInterval(() => {}, 1e6))",
  later: "await 0; console.log('go'); for (;;) {}",
  fail: "const f = () => {\n  null.x\n}\nf()",
  traceback:
    "TypeError: Cannot read properties of null (reading 'x')\n    at f (cell-1.js:2:8)\n    at cell-1.js:4:1\n",
  interrupted: "Interrupted",
  exit: "console.error('bye'); process.exit(3)",
  flood: "console.log('x'.repeat(3000)); console.error('y'.repeat(3000)); 5",
  child: "require('node:child_process').execSync('echo out; echo err >&2', { stdio: 'inherit' }); 1",
  input:
    "const { execFileSync } = require('node:child_process'); execFileSync('cat', { stdio: 'inherit' }); require('node:fs').readFileSync(0, 'utf8')",
  large: "'ab'.repeat(5000)"
}

const python: Words = {
  language: "python",
  set: "a = 41",
  get: "a + 1",
  print: "import sys\nprint('out ä'); print('err', file=sys.stderr)\n{'b': [1, 'ä']}",
  forever: "print('go')\nwhile True: pass",
  stubborn: "while True:\n  try:\n    print('go')\n    while True: pass\n  except KeyboardInterrupt: pass",
  wait: "import asyncio\nprint('go')\nawait asyncio.sleep(1e6)",
  later: "await asyncio.sleep(0)\nprint('go')\nwhile True: pass",
  fail: "def f():\n  return None.x\nf()",
  traceback: `Traceback (most recent call last):
  File "<cell 1>", line 3, in <module>
    f()
  File "<cell 1>", line 2, in f
    return None.x
           ^^^^^^
AttributeError: 'NoneType' object has no attribute 'x'
`,
  interrupted: "KeyboardInterrupt",
  exit: "import sys\nprint('bye', file=sys.stderr)\nexit(3)",
  flood: "import sys\nprint('x' * 3000); print('y' * 3000, file=sys.stderr)\n5",
  child: "import os\nos.system('echo out; echo err >&2')\n1",
  input: "import subprocess, sys\nsubprocess.run('cat')\nsys.stdin.read()",
  large: "'ab' * 5000"
}

/** Older versions of Python do not mark the expression. */
const unmarked = (traceback: string | undefined) => traceback?.replace(/^ +[~^]+\n/gm, "")

describe.each([javascript, ...(hasPython ? [python] : [])])("an interpreter of $language", (words) => {
  const { language } = words

  it.live("keeps its state from one run to the next", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        const first = yield* context.run(words.set)
        assert.deepInclude(first, { stdout: "", stderr: "", results: [], truncated: false })
        const { results, text } = yield* context.run(words.get)
        assert.deepStrictEqual([text, results[0]?.json, results.length], ["42", 42, 1])
      })
    )
  )

  it.live("returns what the code prints, and its last value", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        const run = yield* context.run(words.print)
        assert.deepInclude(run, { stdout: "out ä\n", stderr: "err\n", isSuccess: true })
        assert.deepStrictEqual(run.results[0]?.json, { b: [1, "ä"] })
        const decoded = yield* Schema.decodeUnknownEffect(Interpreter.Execution)(JSON.parse(JSON.stringify(run)))
        assert.strictEqual(decoded.text, run.text)
      })
    )
  )

  it.live("streams what the code prints while it runs", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        const fiber = yield* started(context, words.wait)
        yield* context.interrupt
        const events = yield* Fiber.join(fiber)
        assert.deepStrictEqual(
          events.map(({ _tag }) => _tag),
          ["Stdout", "Error", "Ended"]
        )
      })
    )
  )

  it.live("passes on the output of programs that the code starts", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        const run = yield* context.run(words.child)
        assert.deepInclude(run, { stdout: "out\n", stderr: "err\n" })
      })
    )
  )

  it.live("gives the code, and programs that it starts, an input that is empty", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        const { error, results } = yield* context.run(words.input, { timeout: "10 seconds" })
        assert.deepStrictEqual([error, results[0]?.json], [undefined, ""])
        assert.strictEqual((yield* context.run("1")).text, "1")
      })
    )
  )

  it.live("returns an error with a traceback of the code alone, and goes on", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        const { error, isSuccess } = yield* context.run(words.fail)
        assert.isFalse(isSuccess)
        assert.strictEqual(unmarked(error?.traceback), unmarked(words.traceback))
        assert.isTrue(error !== undefined && words.traceback.includes(`${error.name}: ${error.message}`))
        assert.strictEqual((yield* context.run("1")).text, "1")
        const wrong = (yield* context.run("1 +\n(")).error
        assert.strictEqual(wrong?.name, "SyntaxError")
        assert.match(wrong?.traceback ?? "", /cell.3/)
      })
    )
  )

  it.live("keeps its state when code is interrupted", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        yield* context.run(words.set)
        for (const code of [words.forever, words.wait, words.later]) {
          const fiber = yield* started(context, code)
          yield* context.interrupt
          const error = (yield* Fiber.join(fiber)).find((event) => event._tag === "Error")?.error
          assert.strictEqual(error?.name, words.interrupted)
        }
        // Nothing runs: nothing is interrupted.
        yield* context.interrupt
        assert.strictEqual((yield* context.run(words.get)).text, "42")
      })
    )
  )

  it.live("keeps its state when a run is interrupted", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        yield* context.run(words.set)
        const fiber = yield* started(context, words.forever)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual((yield* context.run(words.get)).text, "42")
      })
    )
  )

  it.live("keeps its state when a run is interrupted before its code has begun", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        yield* context.run(words.set)
        for (let steps = 0; steps < 6; steps++) {
          const fiber = yield* Effect.forkChild(context.run(words.forever))
          for (let step = 0; step < steps; step++) yield* Effect.yieldNow
          yield* Fiber.interrupt(fiber)
          assert.strictEqual((yield* context.run(words.get)).text, "42")
        }
        // The time is over while the code is on its way.
        const code = `${words.forever}${" ".repeat(3_000_000)}`
        assert.strictEqual((yield* reasonOf(context.run(code, { timeout: "1 millis" })))._tag, "TimedOut")
        assert.strictEqual((yield* context.run(words.get)).text, "42")
      })
    )
  )

  it.live("fails after the time limit, and keeps its state", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        yield* context.run(words.set)
        const reason = yield* reasonOf(context.run(words.forever, { timeout: "2 seconds" }))
        assert.deepInclude(reason, { _tag: "TimedOut", operation: `${language} code`, limitMillis: 2000 })
        assert.include(reason, { stdout: "go\n" })
        assert.strictEqual((yield* context.run(words.get)).text, "42")
      })
    )
  )

  it.live("is killed if its code does not react to an interrupt, and can be restarted", () =>
    withContext({ language, interruptTimeout: "300 millis" }, (context) =>
      Effect.gen(function* () {
        const fiber = yield* started(context, words.stubborn)
        yield* context.interrupt
        const reason = yield* reasonOf(Fiber.join(fiber))
        const problem = "did not end within 300 ms after an interrupt and was killed"
        assert.deepInclude(reason, { _tag: "InterpreterLost", language, problem })
        assert.match(reason._tag === "InterpreterLost" ? reason.stdout : "", /^go\n/)
        assert.deepInclude(yield* reasonOf(context.run("1")), { _tag: "InterpreterLost", problem })
        yield* context.restart
        assert.strictEqual((yield* context.run("1")).text, "1")
      })
    )
  )

  it.live("is lost when its code ends the process, and can be restarted", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        yield* context.run(words.set)
        const reason = yield* reasonOf(context.run(words.exit))
        const lost = { _tag: "InterpreterLost", problem: "exited with code 3", exitCode: 3, stderr: "bye\n" } as const
        assert.deepInclude(reason, lost)
        assert.deepInclude(yield* reasonOf(context.run(words.get)), lost)
        yield* context.restart
        assert.isFalse((yield* context.run(words.get)).isSuccess)
      })
    )
  )

  it.live("fails a run that is going on when it is restarted, but none that waits for its turn", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        const fiber = yield* started(context, words.forever)
        const waiting = yield* Effect.forkChild(context.run("6 * 7"), { startImmediately: true })
        yield* context.restart
        assert.strictEqual((yield* Fiber.join(waiting)).text, "42")
        const reason = yield* reasonOf(Fiber.join(fiber))
        assert.deepInclude(reason, { _tag: "InterpreterLost", problem: "was restarted" })
        assert.strictEqual((yield* context.run("1")).text, "1")
      })
    )
  )

  it.live("bounds what it returns", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        const { stderr, stdout, text, truncated } = yield* context.run(words.flood, { maxOutput: 4000 })
        assert.deepStrictEqual([stdout.length + stderr.length, text, truncated], [4000, "5", true])
        const large = yield* context.run(words.large, { maxResults: 2000 })
        assert.deepStrictEqual([large.text?.length, large.truncated], [2000 - "text/plain".length, true])
        assert.strictEqual(large.results[0]?.json, undefined)
        const whole = yield* context.run(words.large)
        assert.deepStrictEqual([whole.results[0]?.json, whole.truncated], ["ab".repeat(5000), false])
        assert.isFalse((yield* context.run("1")).truncated)
      })
    )
  )

  it.live("runs one piece of code after the other", () =>
    withContext({ language }, (context) =>
      Effect.gen(function* () {
        const runs = [1, 2, 3].map((n) => context.run(`${n}`))
        const texts = yield* Effect.forEach(
          runs,
          Effect.map(({ text }: Interpreter.Execution) => text),
          {
            concurrency: "unbounded"
          }
        )
        assert.deepStrictEqual(texts, ["1", "2", "3"])
      })
    )
  )

  it.live("shares nothing with another context of the sandbox, and ends with its scope", () =>
    Effect.gen(function* () {
      const box = yield* sandbox
      const scope = yield* Scope.make()
      const [one, other] = yield* Effect.all([
        Scope.provide(Interpreter.make(box, { language }), scope),
        Interpreter.make(box, { language })
      ])
      yield* one.run(words.set)
      assert.isFalse((yield* other.run(words.get)).isSuccess)
      yield* Scope.close(scope, Exit.void)
      assert.deepInclude(yield* reasonOf(one.run("1")), { _tag: "InterpreterLost", problem: "was closed" })
      assert.strictEqual((yield* other.run("1")).text, "1")
    }).pipe(Effect.scoped, Effect.provide(twin))
  )
})

it.live.skipIf(!hasPython)("Python raises a MemoryError when its memory runs out, and keeps its state", () =>
  withContext({ language: "python", memory: "128M" }, (context) =>
    Effect.gen(function* () {
      yield* context.run("a = 41; x = []")
      // Nothing is released: in small steps, not even room for the error is left.
      for (const code of ["while True: x.append(bytearray(3000))", "while True: x.append(object())"]) {
        const { error } = yield* context.run(code)
        assert.strictEqual(error?.name, "MemoryError")
        assert.match(error?.traceback ?? "", /<cell \d>", line 1/)
        assert.strictEqual((yield* context.run("a + 1")).text, "42")
      }
      // What runs next is limited as well.
      assert.strictEqual((yield* context.run("x = []; y = bytearray(120_000_000)")).error?.name, "MemoryError")
      assert.strictEqual((yield* context.run("x = bytearray(50_000_000); a + 1")).text, "42")
    })
  )
)

it.live("JavaScript prints again after an interrupt in the middle of what it printed", () =>
  withContext({ language: "javascript" }, (context) =>
    Effect.gen(function* () {
      const fiber = yield* started(context, "console.log('x'.repeat(40_000_000))")
      yield* context.interrupt
      yield* Fiber.join(fiber)
      assert.strictEqual((yield* context.run("console.log('after')")).stdout, "after\n")
      assert.strictEqual((yield* context.run("process.stdout.write('é', 'latin1'); 1")).stdout, "\ufffd")
      const wrong = (yield* context.run("process.stdout.write(1)")).error
      assert.strictEqual(wrong?.name, "TypeError")
    })
  )
)
