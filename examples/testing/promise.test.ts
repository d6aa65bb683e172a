/**
 * Tests of `promise.ts` without a virtual machine, and without Effect.
 *
 * npx vitest run examples/testing
 */
import { MicrosandboxMemory, type TwinCommand, useTwin } from "effect-lightbox/testing"
import { assert, test } from "vitest"
import { grade } from "./promise.ts"

/** Stands for Node.js: "runs" a program by printing what is in quotes. */
const node: TwinCommand = async ({ argv, readFile }) => {
  const source = await readFile(argv[1] ?? "")
  return { stdout: `${/"(.*)"/.exec(source)?.[1]}\n` }
}

test("tells right from wrong, and leaves nothing behind", async () => {
  await using twin = await useTwin({ commands: { node } })
  assert.strictEqual(await grade('console.log("42")'), "right")
  assert.strictEqual(await grade('console.log("41")'), "wrong")
  assert.deepStrictEqual((await twin.inventory()).sandboxes, [])
})

test("tries once more when the machine dies, in a new one", async () => {
  await using twin = await useTwin({ commands: { node } })
  await twin.inject(MicrosandboxMemory.killGuestAt("guest.spawn"))
  assert.strictEqual(await grade('console.log("42")'), "right")
  const boots = (await twin.calls()).filter(({ operation }) => operation === "createSandbox")
  assert.strictEqual(boots.length, 2)
})
