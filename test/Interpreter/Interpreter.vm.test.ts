/** Interpreters on a real microVM: Python and JavaScript as Debian has them, signals of a real kernel, a plot. */
import { assert, layer } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Stream from "effect/Stream"
import * as Interpreter from "../../src/Interpreter.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Debian from "../images/Debian.ts"
import * as Support from "../microvm/support.ts"

/** Runs code that prints something and does not end, and interrupts it once it has printed. */
const interrupted = Effect.fnUntraced(function* (context: Interpreter.Interpreter, code: string) {
  const printed = yield* Deferred.make<void>()
  const fiber = yield* context.runStream(code).pipe(
    Stream.tap(({ _tag }) => (_tag === "Stdout" ? Deferred.succeed(printed, undefined) : Effect.void)),
    Stream.runCollect,
    Effect.forkScoped
  )
  yield* Deferred.await(printed)
  yield* context.interrupt
  return (yield* Fiber.join(fiber)).flatMap((event) => (event._tag === "Error" ? [event.error.name] : []))
})

layer(Support.layer, { excludeTestServices: true })("interpreters", (it) => {
  it.layer(Sandbox.layer({ name: "code", image: Debian.reference, resources: { memory: "1G" } }))(
    "in one sandbox",
    (it) => {
      it.effect("Python keeps its state through errors, interrupts and time limits", () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.Sandbox
          const python = yield* Interpreter.make(sandbox, { language: "python" })
          yield* python.run("a = 41")
          const wrong = yield* python.run("import os\nos.system('echo out; echo err >&2')\ndef f():\n  return a.x\nf()")
          assert.deepInclude(wrong, { stdout: "out\n", stderr: "err\n" })
          assert.match(wrong.error?.traceback ?? "", /^Traceback .*\n {2}File "<cell 2>", line 5, in <module>\n/)
          assert.match(wrong.error?.traceback ?? "", /\nAttributeError: 'int' object has no attribute 'x'\n$/)
          const names = yield* interrupted(python, "print('go')\nwhile True: pass")
          assert.deepStrictEqual(names, ["KeyboardInterrupt"])
          const late = yield* Effect.flip(python.run("while True: pass", { timeout: "1 second" }))
          assert.strictEqual(late.reason._tag, "TimedOut")
          assert.deepStrictEqual((yield* python.run("a + 1")).results[0]?.json, 42)
        })
      )

      it.effect("JavaScript keeps its state through errors, interrupts and time limits", () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.Sandbox
          const javascript = yield* Interpreter.make(sandbox, { language: "javascript" })
          yield* javascript.run("let a = 41")
          const wrong = yield* javascript.run("console.log('out'); console.error('err'); null.x")
          assert.deepInclude(wrong, { stdout: "out\n", stderr: "err\n" })
          assert.strictEqual(wrong.error?.name, "TypeError")
          const names = yield* interrupted(javascript, "console.log('go'); for (;;) {}")
          assert.deepStrictEqual(names, ["Interrupted"])
          const late = yield* Effect.flip(javascript.run("for (;;) {}", { timeout: "1 second" }))
          assert.strictEqual(late.reason._tag, "TimedOut")
          assert.deepStrictEqual((yield* javascript.run("a + 1")).results[0]?.json, 42)
        })
      )

      it.effect("a plot that Python draws in a microVM ends up as a file on the host", () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.Sandbox
          const fs = yield* FileSystem.FileSystem
          const path = yield* Path.Path
          const file = path.join((yield* Support.Home).files, "plot.png")
          const python = yield* Interpreter.make(sandbox, { language: "python" })
          const { error, results } = yield* python.run(
            "import matplotlib.pyplot as plt\nplt.figure(figsize=(3, 2), dpi=100)\nplt.plot([1, 4, 9])\nplt.show()"
          )
          assert.strictEqual(error?.traceback, undefined)
          const [plot] = results.flatMap(({ png }) => (png === undefined ? [] : [png]))
          yield* fs.writeFile(file, plot ?? new Uint8Array())
          const drawn = Buffer.from(yield* fs.readFile(file))
          assert.strictEqual(drawn.toString("latin1", 1, 4), "PNG")
          // Its width and height, without the margins: the header comes first.
          assert.isTrue([drawn.readUInt32BE(16), drawn.readUInt32BE(20)].every((length) => length > 100))
        })
      )
    }
  )
})
