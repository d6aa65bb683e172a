/** What a program prints for an uncaught error. */
import { assert, describe, it } from "@effect/vitest"
import * as ChildProcess from "node:child_process"
import { fileURLToPath } from "node:url"

const program = fileURLToPath(new URL("programs/uncaught.ts", import.meta.url))

const runtimes = {
  node: process.execPath,
  bun: fileURLToPath(new URL("../../node_modules/.bin/bun", import.meta.url))
}

interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

const run = (runtime: keyof typeof runtimes, style: string, what: string): Promise<Ended> =>
  new Promise((resolve) => {
    const child = ChildProcess.execFile(runtimes[runtime], [program, style, what], (_error, stdout, stderr) =>
      resolve({ status: child.exitCode, stdout, stderr })
    )
  })

const count = (text: string, part: string): number => text.split(part).length - 1

const cases = (["node", "bun"] as const).flatMap((runtime) =>
  (["effect", "runPromise", "promise"] as const).map((style) => ({ runtime, style }))
)

describe("an uncaught error", { timeout: 60_000 }, () => {
  it.each(cases)("is printed once, with the step's last lines and a hint: $style, $runtime", async (one) => {
    const { status, stderr, stdout } = await run(one.runtime, one.style, "step")
    assert.strictEqual(status, 1, stderr)
    assert.strictEqual(stdout, "")
    const lines = stderr.trimEnd().split("\n")
    assert.isAtMost(lines.length, 45, stderr)
    assert.strictEqual(count(stderr, 'Snapshot "failing" failed at step 1'), 1, stderr)
    assert.strictEqual(count(stderr, "setup step exited with code 3"), 1, stderr)
    assert.match(stderr, /failed at step 1 \(.*uncaught\.ts:\d+\): setup step/)
    assert.deepStrictEqual(
      lines.filter((line) => line.startsWith("  | line ")).map((line) => line.slice(4, 12)),
      Array.from({ length: 20 }, (_, index) => `line ${280 + index}`)
    )
    for (const n of [280, 299]) assert.strictEqual(count(stderr, `line ${n} `), 1, stderr)
    const option = one.style === "promise" ? "debugBuilder: true" : "keepBuilder: true"
    assert.strictEqual(count(stderr, `Pass ${option} to keep the builder and look inside`), 1, stderr)
  })

  it.each(cases)("is printed with the program's line that caused it: $style, $runtime", async (one) => {
    const { status, stderr, stdout } = await run(one.runtime, one.style, "missing")
    assert.strictEqual(status, 1, stderr)
    assert.strictEqual(stdout, "")
    const message = 'LightboxError: There is no snapshot named "missing". Check the name, or build the snapshot first'
    assert.strictEqual(count(stderr, message), 1, stderr)
    assert.strictEqual(count(stderr, "There is no snapshot named"), 1, stderr)
    assert.isAtMost(stderr.trimEnd().split("\n").length, 25, stderr)
    // `Effect.runPromise` rejects with the error itself, without a trace of its fibers.
    if (one.style !== "runPromise") assert.match(stderr, /^ +at .*uncaught\.ts:\d+/m)
  })
})
