import { assert, describe, it } from "@effect/vitest"
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
})
