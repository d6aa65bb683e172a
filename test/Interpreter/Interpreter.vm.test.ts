/** Interpreters on real microVMs: the languages as Debian has them, signals and memory of a real kernel, a plot. */
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
  it.layer(Sandbox.layer({ name: "code", image: Debian.plots, resources: { memory: "1G" } }))(
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

      it.effect("two contexts run side by side, each within its memory", () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.Sandbox
          const memory = "128M"
          const [python, javascript] = yield* Effect.all([
            Interpreter.make(sandbox, { language: "python", memory }),
            Interpreter.make(sandbox, { language: "javascript", memory })
          ])
          yield* javascript.run("const a = 1")
          assert.strictEqual((yield* python.run("a = bytes(200_000_000)")).error?.name, "MemoryError")
          assert.strictEqual((yield* python.run("'a' in globals()")).text, "False")
          assert.deepStrictEqual(yield* interrupted(javascript, "console.log('go'); for (;;) {}"), ["Interrupted"])
          assert.strictEqual((yield* javascript.run("a + 41")).text, "42")
          const { reason } = yield* Effect.flip(javascript.run("const all = []; for (;;) all.push([...all, 1])"))
          assert.strictEqual(reason._tag, "InterpreterLost")
          assert.match(reason._tag === "InterpreterLost" ? reason.stderr : "", /memory/)
          yield* javascript.restart
          assert.strictEqual((yield* javascript.run("typeof a")).text, "'undefined'")
        })
      )

      it.effect("a plot drawn by Python in a microVM ends up as a file on the host", () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.Sandbox
          const fs = yield* FileSystem.FileSystem
          const path = yield* Path.Path
          const file = path.join((yield* Support.Home).files, "plot.png")
          const python = yield* Interpreter.make(sandbox, { language: "python" })
          const { error, results, stderr } = yield* python.run(
            "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()"
          )
          assert.strictEqual(error?.traceback, undefined, stderr)
          const [picture] = results.flatMap(({ png }) => (png === undefined ? [] : [png]))
          yield* fs.writeFile(file, picture ?? new Uint8Array())
          const drawn = Buffer.from(yield* fs.readFile(file))
          assert.strictEqual(drawn.toString("latin1", 1, 4), "PNG")
          // Its width and height: the header comes first.
          assert.isAbove(Math.min(drawn.readUInt32BE(16), drawn.readUInt32BE(20)), 300)
        })
      )
    }
  )
})
