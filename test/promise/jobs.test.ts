import { assert, describe, it, vi } from "@effect/vitest"
import * as Promises from "../../src/promise.ts"
import { reasonOf, rejection, twin } from "./support.ts"

twin()

describe("a job", () => {
  it("is started, found, fed, read and waited for", async () => {
    await Promises.runInSandbox({ image: "alpine", name: "jobs" }, async (sb) => {
      const job = await sb.start("sh", ["-c", "cat; exit 4"], { id: "one", stdin: "open" })
      assert.deepStrictEqual(await job.status(), { kind: "running" })
      const found = await sb.job("one")
      await found.write("héllo\n")
      await found.endInput()
      assert.deepStrictEqual(await job.wait(), { kind: "exited", code: 4 })
      const texts: Array<string> = []
      for await (const event of job.logs({ follow: true })) if (event.kind === "output") texts.push(event.text)
      assert.strictEqual(texts.join(""), "héllo\n")
      const [info] = await sb.jobs()
      assert.deepInclude(info, { id: "one", argv: ["sh", "-c", "cat; exit 4"], stdin: "open" })
      assert.instanceOf(info?.startedAt, Date)
      await job.remove()
      assert.strictEqual((await rejection(sb.job("one"))).reason._tag, "NotFound")
    })
  })

  it("goes on when reading it is aborted, until it is killed", async () => {
    await Promises.runInSandbox({ image: "alpine", name: "aborted" }, async (sb) => {
      const job = await sb.start("sh", ["-c", "echo ready; exec sleep 1000"])
      const controller = new AbortController()
      const seen: Array<string> = []
      const enough = new Error("enough")
      const reading = async () => {
        for await (const event of job.logs({ follow: true, signal: controller.signal })) {
          seen.push(event.kind)
          controller.abort(enough)
        }
      }
      assert.strictEqual(await reasonOf(reading()), enough)
      assert.deepStrictEqual([seen, await job.status()], [["output"], { kind: "running" }])
      await job.kill()
      assert.deepStrictEqual(await job.wait(), { kind: "signaled", signal: "SIGKILL" })
    })
  })

  it("has a terminal that is resized, and attached to until its end", async () => {
    const written: Array<string> = []
    const out = vi.spyOn(process.stdout, "write").mockImplementation((chunk, ...rest) => {
      written.push(Buffer.from(chunk).toString())
      for (const callback of rest) if (typeof callback === "function") callback()
      return true
    })
    try {
      await Promises.runInSandbox({ image: "alpine", name: "terminal" }, async (sb) => {
        const job = await sb.start("sh", ["-c", "printf 'a\\033[6nb'; read -r x; stty size; exit 4"], {
          terminal: { rows: 24, columns: 80 }
        })
        assert.deepInclude(await job.info(), { terminal: true, stdin: "open" })
        await job.resize(50, 132)
        const reading = job.logs({ follow: true })
        await reading.next()
        const attached = job.attach()
        await job.write("\r")
        assert.deepStrictEqual(await attached, { kind: "exited", code: 4 })
      })
      // What asks the terminal for its state is not asked again.
      assert.strictEqual(written.join(""), "ab\r\n50 132\r\n")
    } finally {
      out.mockRestore()
    }
  })
})
