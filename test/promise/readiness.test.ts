import { assert, describe, it } from "@effect/vitest"
import * as Promises from "../../src/promise.ts"
import { reasonOf, rejection, twin } from "./support.ts"

twin()

describe("readiness", () => {
  it("is waited for, with times in milliseconds", async () => {
    await Promises.runInSandbox({ image: "alpine", name: "waits" }, async (sb) => {
      await sb.waitUntil({ all: [{ file: "/etc/passwd" }, { command: ["true"] }], intervalMs: 10, timeoutMs: 5000 })
      await sb.start("sh", ["-c", "echo starting; exec sleep 1000"], { id: "slow" })
      await sb.waitUntil({ log: "starting", timeoutMs: 20_000 }, { job: "slow" })
      const { reason } = await rejection(sb.waitUntil({ any: [{ port: 1 }], timeoutMs: 50 }, { job: "slow" }))
      assert.deepInclude(reason, { _tag: "NotReady", job: "slow", limitMillis: 50, lastLines: ["starting"] })
      const controller = new AbortController()
      const waiting = sb.waitUntil({ file: "/never" }, { signal: controller.signal })
      const enough = new Error("enough")
      controller.abort(enough)
      assert.strictEqual(await reasonOf(waiting), enough)
    })
  })

  it("of services is waited for by a launch, which fails without it", async () => {
    const services: Record<string, Promises.Service> = {
      db: { command: "echo $NAME; exec sleep 1000", env: { NAME: "db" }, ready: { log: "db", timeoutMs: 20_000 } },
      web: { command: ["sleep", "1000"], dependsOn: ["db"], restart: "on-failure" }
    }
    await Promises.runInSandbox({ image: "alpine", services }, async (sb) => {
      assert.deepStrictEqual((await sb.jobs()).map(({ id }) => id).toSorted(), ["db", "web"])
    })
    const failing = { db: { command: "echo no; exit 1", ready: { port: 1 } } }
    const { message, reason } = await rejection(
      Promises.launchSandbox({ image: "alpine", name: "failing", services: failing })
    )
    assert.deepInclude(reason, { _tag: "NotReady", job: "db", lastLines: ["no"] })
    assert.include(message, 'Job "db" is not ready: it exited with code 1; port 1 is closed')
    assert.deepStrictEqual(await Promises.Sandbox.list(), [])
  })
})
