import { assert, describe, it } from "@effect/vitest"
import * as Promises from "../../src/promise.ts"
import { node } from "../Interpreter/native.ts"
import { rejection, twin } from "./support.ts"

twin({ commands: { node } })

const image = "node:22"

describe("an interpreter", () => {
  it("keeps its state, and returns output, results and errors", async () => {
    await Promises.runInSandbox({ image, name: "code" }, async (sb) => {
      await using js = await sb.interpreter({ language: "javascript" })
      assert.strictEqual(js.sandbox, sb)
      await js.run("const list = [1, 2]")
      const done = await js.run("console.log('out'); console.error('err'); ({ list })")
      assert.deepInclude(done, { stdout: "out\n", stderr: "err\n", error: undefined, truncated: false })
      assert.deepStrictEqual(done.results[0]?.json, { list: [1, 2] })
      assert.isAtLeast(done.durationMs, 0)
      const { error } = await js.run("missing")
      assert.deepStrictEqual(error, {
        name: "ReferenceError",
        message: "missing is not defined",
        traceback: "ReferenceError: missing is not defined\n    at cell-3.js:1:1\n"
      })
    })
  })

  it("yields what happens while code runs", async () => {
    await Promises.runInSandbox({ image, name: "streamed" }, async (sb) => {
      await using js = await sb.interpreter({ language: "javascript" })
      const kinds: Array<string> = []
      let png: Uint8Array | undefined
      for await (const event of js.runStream("console.log(1); Buffer.from('89504e470d0a1a0a', 'hex')")) {
        kinds.push(event.kind)
        if (event.kind === "result") png = event.result.png
      }
      assert.deepStrictEqual(kinds, ["stdout", "result", "ended"])
      assert.deepStrictEqual(png, new Uint8Array(Buffer.from("89504e470d0a1a0a", "hex")))
    })
  })

  it("rejects when its process has ended, until it is restarted", async () => {
    await Promises.runInSandbox({ image, name: "lost" }, async (sb) => {
      await using js = await sb.interpreter({ language: "javascript" })
      const { reason } = await rejection(js.run("console.error('bye'); process.exit(3)"))
      assert.deepInclude(reason, { _tag: "InterpreterLost", exitCode: 3, stderr: "bye\n" })
      await js.restart()
      assert.strictEqual((await js.run("1 + 1")).text, "2")
    })
  })

  it("has a sandbox of a pool until it is closed", async () => {
    await using pool = await Promises.createPool({ image, min: 0, max: 1 })
    const js = await pool.interpreter({ language: "javascript" })
    await js.sandbox.fs().write("/data", "here")
    assert.strictEqual((await js.run("1 + 1")).text, "2")
    assert.strictEqual((await pool.stats()).used, 1)
    await js.close()
    assert.strictEqual((await pool.stats()).used, 0)
    assert.strictEqual((await rejection(js.run("1"))).reason._tag, "InterpreterLost")
  })
})
