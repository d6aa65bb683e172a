/** The Promise adapter on the in-memory driver, as its users put it there. */
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { vi } from "vitest"
import * as Promises from "../../src/promise.ts"
import { MicrosandboxMemory, useTwin } from "../../src/testing.ts"
import { rejection, untyped, wrongField } from "./support.ts"

describe("useTwin", () => {
  it("runs declared commands with their arguments, input, files and result", async () => {
    await using _twin = await useTwin({
      commands: {
        greet: async ({ argv, env, readFile, readInput, workdir, writeFile }) => {
          await writeFile("/out", `${await readFile("/in")} ${argv[1]} ${env["A"]} ${workdir} ${await readInput()}`)
          return { exitCode: 3, stdout: "said", stderr: "complained" }
        },
        fine: () => {},
        seven: () => 7,
        broken: () => {
          throw new Error("no luck")
        }
      }
    })
    const box = await Promises.launchSandbox({ image: "any", name: "box" })
    await box.fs().write("/in", "in")
    const out = await box.shell("cd /tmp && printf typed | A=b greet you")
    assert.deepStrictEqual([out.code, out.stdout(), out.stderr()], [3, "said", "complained"])
    assert.strictEqual(await box.fs().readToString("/out"), "in you b /tmp typed")
    const codes = await Promise.all(["fine", "seven", "broken"].map((name) => box.exec(name)))
    assert.deepStrictEqual(
      codes.map((ended) => [ended.code, ended.stderr()]),
      [
        [0, ""],
        [7, ""],
        [1, "no luck\n"]
      ]
    )
  })

  it("can be closed in any order, more than once, and answers no more then", async () => {
    const first = await useTwin()
    const second = await useTwin()
    await first.close()
    await Promises.launchSandbox({ image: "any", name: "kept" })
    assert.deepStrictEqual((await second.inventory()).sandboxes, [{ name: "kept", status: "running" }])
    await first.close()
    assert.deepStrictEqual((await Promises.Sandbox.list()).length, 1)
    await second.close()
    await second.close()
    assert.strictEqual(await second.calls().catch(() => "closed"), "closed")
    await using third = await useTwin()
    assert.deepStrictEqual((await third.inventory()).sandboxes, [])
  })

  it("ends what a command waits for when the command is killed, and lets it change nothing more", async () => {
    const started = Promise.withResolvers<void>()
    const ended = Promise.withResolvers<ReadonlyArray<string>>()
    const outcome = (promise: Promise<unknown>) =>
      promise.then(
        () => "done",
        () => "interrupted"
      )
    await using _twin = await useTwin({
      commands: {
        waits: async ({ readInput, writeFile }) => {
          const input = outcome(readInput())
          started.resolve()
          ended.resolve([await input, await outcome(writeFile("/late", "x"))])
        }
      }
    })
    const box = await Promises.launchSandbox({ image: "any", name: "box" })
    const handle = await box.execStream("waits", [], { pipeStdin: true })
    await started.promise
    await handle.kill()
    assert.deepStrictEqual(await ended.promise, ["interrupted", "interrupted"])
    assert.isFalse(await box.fs().exists("/late"))
  })

  it("touches no home but its own, removes it, and switches back", async () => {
    const elsewhere = Fs.mkdtempSync(Path.join(Os.tmpdir(), "t"))
    // The machine's is full of what other tests make and remove.
    const temporary = Fs.mkdtempSync(Path.join(Os.tmpdir(), "t"))
    vi.stubEnv("MSB_HOME", Path.join(elsewhere, "home"))
    vi.stubEnv("TMPDIR", temporary)
    const folders = () => Fs.readdirSync(Os.tmpdir())
    try {
      const there = folders()
      const twin = await useTwin()
      await Promises.launchSandbox({ image: "any", name: "kept" })
      assert.deepStrictEqual((await twin.inventory()).sandboxes, [{ name: "kept", status: "running" }])
      await twin.close()
      await using other = await useTwin()
      assert.deepStrictEqual((await other.inventory()).sandboxes, [])
      const box = await Promises.launchSandbox({ image: "any" })
      const forward = await box.forward(80)
      await other.close()
      // What is closed late needs no driver.
      await forward.close()
      await box[Symbol.asyncDispose]()
      assert.deepStrictEqual(folders(), there)
      assert.deepStrictEqual(Fs.readdirSync(elsewhere), [])
    } finally {
      vi.unstubAllEnvs()
      Fs.rmSync(elsewhere, { recursive: true })
      Fs.rmSync(temporary, { recursive: true })
    }
  })

  it("makes things go wrong, and says what was called", async () => {
    await using twin = await useTwin({ faults: [MicrosandboxMemory.killGuestAt("guest.spawn", { nth: 2 })] })
    const box = await Promises.launchSandbox({ image: "any", name: "box" })
    await box.exec("true")
    assert.strictEqual((await rejection(box.exec("true"))).reason._tag, "GuestLost")
    const second = await Promises.launchSandbox({ image: "any", name: "second" })
    const running = rejection(second.exec("sleep", ["1000"]))
    await twin.kill("second")
    assert.strictEqual((await running).reason._tag, "GuestLost")
    const operations = (await twin.calls()).map(({ operation }) => operation)
    assert.strictEqual(operations.filter((operation) => operation === "createSandbox").length, 2)
  })

  it("refuses a command that is no function, and an option that does not exist", async () => {
    assert.strictEqual(wrongField(await rejection(useTwin(untyped({ commands: { npm: 5 } })))), "commands.npm")
    assert.strictEqual(wrongField(await rejection(useTwin(untyped({ image: {} })))), "image")
  })
})
