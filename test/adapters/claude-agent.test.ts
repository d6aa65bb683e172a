/** The hook for the Claude Agent SDK, on the twin. The SDK itself judges it in `test/judges/adapters`. */
import { assert, describe, it } from "@effect/vitest"
import { once } from "node:events"
import { text } from "node:stream/consumers"
import { spawnInSandbox, type SpawnRequest } from "../../src/claude-agent.ts"
import * as Lightbox from "../../src/promise.ts"
import { rejection, twin, untyped, wrongField } from "../promise/support.ts"

twin()

const inSandbox = async (use: (sandbox: Lightbox.Sandbox) => Promise<void>): Promise<void> => {
  await using sandbox = await Lightbox.launchSandbox({ image: "busybox", network: "none" })
  await use(sandbox)
}

const script = (text: string, more: Partial<SpawnRequest> = {}): SpawnRequest => ({
  command: "sh",
  args: ["-c", text],
  env: {},
  signal: new AbortController().signal,
  ...more
})

describe("spawnInSandbox", () => {
  it("rejects wrong options, and names them", () =>
    inSandbox(async (sandbox) => {
      for (const [field, value] of [
        ["user", "a b"],
        ["env", { A: 1 }],
        ["onStderr", 5],
        ["froce", true]
      ] as const) {
        const error = await rejection((async () => spawnInSandbox(sandbox, untyped({ [field]: value })))())
        assert.match(String(wrongField(error)), new RegExp(`^${field}`))
      }
    }))

  it("connects the streams of a process, and reports its exit", () =>
    inSandbox(async (sandbox) => {
      let heard = ""
      const spawn = spawnInSandbox(sandbox, { onStderr: (text) => void (heard += text) })
      const process = spawn(script("cat; pwd; echo err >&2; exit 3", { cwd: "/tmp" }))
      const exited = once(Object(process), "exit")
      process.stdin.end("in\n")
      assert.strictEqual(await text(process.stdout), "in\n/tmp\n")
      assert.deepStrictEqual(await exited, [3, null])
      assert.deepStrictEqual([process.exitCode, process.signalCode, process.killed], [3, null, false])
      assert.strictEqual(heard, "err\n")
      assert.isFalse(process.kill("SIGTERM"))
    }))

  it("passes on what is larger than its buffers", () =>
    inSandbox(async (sandbox) => {
      const process = spawnInSandbox(sandbox)(script("cat"))
      const sent = "0123456789abcdef".repeat(20_000)
      process.stdin.end(sent)
      assert.strictEqual(await text(process.stdout), sent)
    }))

  it("sends a signal, also before the process has started", () =>
    inSandbox(async (sandbox) => {
      const process = spawnInSandbox(sandbox)(script("sleep 1000"))
      const exited = once(Object(process), "exit")
      assert.isTrue(process.kill("SIGTERM"))
      assert.deepStrictEqual(await exited, [null, "SIGTERM"])
      assert.deepStrictEqual([process.exitCode, process.signalCode, process.killed], [null, "SIGTERM", true])
    }))

  it("kills the process when the signal aborts, and when it has", () =>
    inSandbox(async (sandbox) => {
      const abort = new AbortController()
      const process = spawnInSandbox(sandbox)(script("echo up; sleep 1000", { signal: abort.signal }))
      const exited = once(Object(process), "exit")
      await once(process.stdout, "data")
      abort.abort()
      assert.deepStrictEqual(await exited, [null, "SIGKILL"])
      const late = spawnInSandbox(sandbox)(script("sleep 1000", { signal: abort.signal }))
      assert.deepStrictEqual(await once(Object(late), "exit"), [null, "SIGKILL"])
    }))

  it("emits an error for a program that cannot be started", () =>
    inSandbox(async (sandbox) => {
      const process = spawnInSandbox(sandbox)(script("", { command: "no-such-program" }))
      const [error] = await new Promise<Array<unknown>>((resolve) => process.on("error", (error) => resolve([error])))
      assert.isTrue(error instanceof Lightbox.LightboxError)
      assert.include(String(error), "no-such-program")
    }))
})
