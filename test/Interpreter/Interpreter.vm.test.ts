/** An interpreter on a real microVM: Python as Debian has it, signals of a real kernel, a picture. */
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

/** Draws as a library for plots does, for an object that knows how it looks. */
const draw = `
import struct, zlib

def part(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

class Picture:
    def __init__(self, width, height):
        self.width, self.height = width, height

    def _repr_png_(self):
        rows = b"".join(b"\\0" + bytes((x * y) % 256 for x in range(self.width)) for y in range(self.height))
        head = struct.pack(">IIBBBBB", self.width, self.height, 8, 0, 0, 0, 0)
        return b"\\x89PNG\\r\\n\\x1a\\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")

Picture(300, 200)
`

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

      it.effect("a picture drawn in a microVM ends up as a file on the host", () =>
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.Sandbox
          const fs = yield* FileSystem.FileSystem
          const path = yield* Path.Path
          const file = path.join((yield* Support.Home).files, "picture.png")
          const python = yield* Interpreter.make(sandbox, { language: "python" })
          const { error, results } = yield* python.run(draw)
          assert.strictEqual(error?.traceback, undefined)
          const [picture] = results.flatMap(({ png }) => (png === undefined ? [] : [png]))
          yield* fs.writeFile(file, picture ?? new Uint8Array())
          const drawn = Buffer.from(yield* fs.readFile(file))
          assert.strictEqual(drawn.toString("latin1", 1, 4), "PNG")
          // Its width and height: the header comes first.
          assert.deepStrictEqual([drawn.readUInt32BE(16), drawn.readUInt32BE(20)], [300, 200])
        })
      )
    }
  )
})
