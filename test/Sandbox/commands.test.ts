/** How commands end, early or late, and what their errors say. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Util from "node:util"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxPool from "../../src/SandboxPool.ts"
import * as SandboxServices from "../../src/SandboxServices.ts"
import { turn } from "../support.ts"

const image = "alpine"

const driver = MicrosandboxMemory.layer({ images: { [image]: { isCached: true } } })

const layer = Sandbox.layer({ image, name: "box" }).pipe(Layer.provideMerge(driver))

const test = <E>(name: string, effect: Effect.Effect<void, E, Layer.Success<typeof layer>>) =>
  it.effect(name, () => Effect.provide(effect, layer, { local: true }))

/** Lets the time pass until an effect is through. */
const passing = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    let seconds = 0
    while (fiber.pollUnsafe() === undefined) {
      yield* Effect.andThen(turn, TestClock.adjust("1 second"))
      seconds++
    }
    return [yield* Fiber.join(fiber), seconds] as const
  })

describe("a background process that holds the output", () => {
  const script = "sleep 1000 & echo started; exit 3"

  test(
    "does not keep a command from ending with its own exit code",
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const [{ exitCode, stdout }, seconds] = yield* passing(sandbox.shell(script))
      assert.deepStrictEqual([exitCode, stdout], [3, "started\n"])
      assert.isAtMost(seconds, 4)
      const [events] = yield* passing(Stream.runCollect(sandbox.shellStream(script)))
      assert.deepInclude(events.at(-1), { _tag: "Exited", exitCode: 3 })
      const [code] = yield* passing(
        Effect.scoped(Effect.flatMap(sandbox.spawn("sh", ["-c", script]), ({ exitCode }) => exitCode))
      )
      assert.strictEqual(code, 3)
    })
  )

  test(
    "is named in the error when it has its own session, and the command does not hang",
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const [error] = yield* passing(Effect.flip(sandbox.shell(`setsid ${script}`)))
      assert.strictEqual(error._tag, "LightboxError")
      assert.include(error.message, "a process in its own session keeps its output open")
    })
  )
})

describe("a command that ends early", () => {
  const script = "echo out; echo err >&2; sleep 1000"
  const tails = { stdout: "out\n", stderr: "err\n" }

  test(
    "keeps the end of its output at its time limit",
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const run = sandbox.shell(script, { timeout: "5 seconds" })
      const [error] = yield* passing(Effect.flip(run))
      assert.deepInclude(error.reason, { _tag: "TimedOut", ...tails })
      assert.include(error.message, "\n  | err")
      const [streamed] = yield* passing(
        Effect.flip(Stream.runDrain(sandbox.shellStream(script, { timeout: "5 seconds" })))
      )
      assert.deepInclude(streamed.reason, { _tag: "TimedOut", ...tails })
    })
  )

  test(
    "keeps the end of its output at its output limit",
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const [error] = yield* passing(Effect.flip(sandbox.shell("echo err >&2; yes", { maxOutput: 100 })))
      assert.strictEqual(error.reason._tag, "OutputTooLarge")
      if (error.reason._tag !== "OutputTooLarge") return
      assert.strictEqual(error.reason.stderr, "err\n")
      assert.match(error.reason.stdout, /^y\n/)
    })
  )
})

describe("the error of a command", () => {
  const value = "hunter2-hunter2"
  const says = (error: Sandbox.Sandbox | object) =>
    [Util.inspect(error, { depth: null }), JSON.stringify(error), Cause.pretty(Cause.fail(error))].join("\n")

  test(
    "contains no redacted word that the command wrote",
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const script = "echo bad token $0 $TOKEN >&2; exit 1"
      const errors = [
        yield* Effect.flip(sandbox.exec("sh", ["-c", script, Redacted.make(value)], { check: true })),
        yield* Effect.flip(sandbox.shell(script, { check: true, env: { TOKEN: Redacted.make(`${value}\n`) } })),
        yield* Effect.flip(
          Stream.runDrain(sandbox.shellStream(script, { check: true, env: { TOKEN: Redacted.make(value) } }))
        ),
        yield* Effect.scoped(
          Effect.gen(function* () {
            const pool = yield* SandboxPool.make({ image, max: 1 })
            const run = (sandbox: Sandbox.Sandbox) => sandbox.shell(script, { check: true })
            return yield* Effect.flip(pool.use(run, { env: { TOKEN: Redacted.make(value) } }))
          })
        )
      ]
      for (const error of errors) {
        assert.include(error.message, "bad token")
        assert.notInclude(says(error), value)
      }
    })
  )

  test(
    "contains no secret of the command in any field",
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const token = "s3cr3t-token"
      const hidden = { env: { TOKEN: Redacted.make(token) } }
      const words = ["-c", `echo ${token}; sleep 100`, Redacted.make(token)]
      const failures = [
        sandbox.exec(`/bin/${token}`, [Redacted.make(token)]),
        sandbox.exec("true", [], { ...hidden, cwd: `/${token}` }),
        sandbox.exec("true", [], { ...hidden, user: token }),
        sandbox.exec("sh", words, { timeout: "1 second" }),
        sandbox.exec("sh", ["-c", `yes ${token}`, Redacted.make(token)], { maxOutput: 1000 }),
        sandbox.shell(`echo ${token} >&2; exit 3`, { ...hidden, check: true }),
        Stream.runDrain(sandbox.execStream("sh", words, { timeout: "1 second" }))
      ]
      const tags: Array<string> = []
      for (const failing of failures) {
        const [error] = yield* passing(Effect.flip(failing))
        tags.push(error.reason._tag)
        for (const text of [
          error.message,
          Util.inspect(error),
          JSON.stringify(error),
          Cause.pretty(Cause.fail(error))
        ]) {
          assert.notInclude(text, token, error.reason._tag)
        }
      }
      assert.deepStrictEqual(tags, [
        "CommandNotStarted",
        "CommandNotStarted",
        "CommandNotStarted",
        "TimedOut",
        "OutputTooLarge",
        "CommandFailed",
        "TimedOut"
      ])
    })
  )

  test(
    "is short, however long the command",
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const script = `: ${"x".repeat(100_000)}; exit 1`
      const error = yield* Effect.flip(sandbox.shell(script, { check: true }))
      assert.isBelow(error.message.length, 600)
      assert.deepInclude(error.reason, { argv: ["/bin/sh", "-c", script] })
    })
  )

  test(
    "prints no control characters, and keeps the bytes in its fields",
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const script = "printf 'a\\033]0;OWNED\\007b\\033[2J\\302\\233c\\342\\200\\256d\\n' >&2; exit 1"
      const error = yield* Effect.flip(sandbox.shell(script, { check: true }))
      for (const text of [error.message, Util.inspect(error), error.stack ?? "", String(error)]) {
        assert.notMatch(text, /[^\P{Cc}\n\t]|\p{Cf}/u)
      }
      assert.include(error.message, "| ab")
      if (error.reason._tag === "CommandFailed") assert.include(error.reason.stderr, "\u001b[2J")
    })
  )
})

describe("a process of SandboxServices whose scope has closed", () => {
  test(
    "is reported as ended",
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const handle = yield* Effect.scoped(
        Effect.gen(function* () {
          const services = yield* Layer.build(SandboxServices.fromSandbox(sandbox))
          const spawner = Context.get(services, ChildProcessSpawner.ChildProcessSpawner)
          const handle = yield* spawner.spawn(ChildProcess.make("sleep", ["1000"]))
          assert.isTrue(yield* handle.isRunning)
          return handle
        })
      )
      assert.isFalse(yield* handle.isRunning)
      assert.include(String(yield* Effect.flip(handle.exitCode)), "ended by a signal")
    })
  )
})
