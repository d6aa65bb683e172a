/**
 * What programs log and send: results, events and handles, in both styles.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Util from "node:util"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"

const image = "alpine"

const layer = Sandbox.layer({ image, name: "box" }).pipe(
  Layer.provide(MicrosandboxMemory.layer({ images: { [image]: {} } }))
)

describe("a result that is logged or encoded", () => {
  it.effect("shows its text", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const result = yield* sandbox.shell("echo out; echo err >&2; exit 3")
      const logged = Util.inspect(result)
      for (const part of ["ExecResult {", "exitCode: 3", "stdout: 'out\\n'", "stderr: 'err\\n'"]) {
        assert.include(logged, part)
      }
      assert.notInclude(logged, "Uint8Array")
      const { duration, ...encoded } = JSON.parse(JSON.stringify(result))
      assert.deepStrictEqual(encoded, { exitCode: 3, stdout: "out\n", stderr: "err\n" })
      assert.isNumber(duration)
      assert.deepInclude(Object.assign({}, result), { exitCode: 3, stdout: "out\n", stderr: "err\n" })
    }).pipe(Effect.provide(layer))
  )

  it.effect("decodes to the same result", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const result = yield* sandbox.shell("printf text; kill -TERM $$")
      const again = yield* Schema.decodeUnknownEffect(Sandbox.ExecResult)(JSON.parse(JSON.stringify(result)))
      assert.instanceOf(again, Sandbox.ExecResult)
      assert.deepInclude(Object.assign({}, again), { stdout: "text", signal: "SIGTERM" })
      assert.deepStrictEqual(again.stdoutBytes, result.stdoutBytes)
      assert.deepStrictEqual(yield* Schema.encodeEffect(Sandbox.ExecResult)(result), JSON.parse(JSON.stringify(again)))
    }).pipe(Effect.provide(layer))
  )

  it.effect("keeps bytes that are not text", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      yield* sandbox.writeFile("/bytes", new Uint8Array([0xff, 0x00, 0x41]))
      const result = yield* sandbox.exec("cat", ["/bytes"])
      assert.deepStrictEqual([...result.stdoutBytes], [0xff, 0x00, 0x41])
      assert.strictEqual(result.stdout, "\uFFFD\0A")
    }).pipe(Effect.provide(layer))
  )

  it.effect("is short for handles, processes and files", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const { id, name } = sandbox
      assert.strictEqual(Util.inspect(sandbox), `Sandbox { name: '${name}', id: '${id}' }`)
      assert.deepStrictEqual(JSON.parse(JSON.stringify(sandbox)), { name, id })
      const process = yield* sandbox.spawn("sleep", ["1000"])
      assert.strictEqual(Util.inspect(process), `Process { pid: ${process.pid} }`)
      assert.deepStrictEqual(JSON.parse(JSON.stringify(process)), { pid: process.pid })
      yield* sandbox.writeFileString("/file", "text")
      const info = yield* sandbox.stat("/file")
      const { mtime } = JSON.parse(JSON.stringify(info))
      assert.match(mtime, /^\d{4}-\d\d-\d\dT/)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})

describe("streamed output", () => {
  it.effect("is decoded across chunks, each stream separately", () =>
    Effect.gen(function* () {
      const bytes = new TextEncoder().encode("é\nsecond\nlast")
      const output = (_tag: "Stdout" | "Stderr", start: number, end: number) =>
        ({ _tag, bytes: bytes.subarray(start, end) }) as const
      const events = Stream.make<ReadonlyArray<Sandbox.ExecEvent>>(
        { _tag: "Started", pid: 7 },
        output("Stdout", 0, 1),
        output("Stderr", 0, 3),
        output("Stdout", 1, 5),
        output("Stdout", 5, bytes.length),
        { _tag: "Exited", exitCode: 0 }
      )
      const texts = yield* Stream.runCollect(Sandbox.decodeText(events))
      assert.deepStrictEqual(texts, [
        { _tag: "Started", pid: 7 },
        { _tag: "Stderr", text: "é\n" },
        { _tag: "Stdout", text: "é\nse" },
        { _tag: "Stdout", text: "cond\nlast" },
        { _tag: "Exited", exitCode: 0 }
      ])
      const lines = yield* Stream.runCollect(Sandbox.splitLines(events))
      assert.deepStrictEqual(lines, [
        { _tag: "Started", pid: 7 },
        { _tag: "Stderr", text: "é" },
        { _tag: "Stdout", text: "é" },
        { _tag: "Stdout", text: "second" },
        { _tag: "Stdout", text: "last" },
        { _tag: "Exited", exitCode: 0 }
      ])
    })
  )

  it.effect("ends with the signal that ended the command", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.Sandbox
      const events = yield* Stream.runCollect(Sandbox.splitLines(sandbox.shellStream("echo one; kill -KILL $$")))
      assert.deepInclude(events.at(-1), { _tag: "Exited", signal: "SIGKILL" })
      assert.deepInclude(events[1], { _tag: "Stdout", text: "one" })
    }).pipe(Effect.provide(layer))
  )
})
