import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ChildProcess from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { text } from "node:stream/consumers"
import { fileURLToPath } from "node:url"
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest"
import * as Runtime from "../../src/internal/promise/runtime.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import { buildSnapshot } from "../../src/promise.ts"

const program = fileURLToPath(new URL("programs/ending.ts", import.meta.url))

const runtimes = {
  "Node.js": process.execPath,
  Bun: fileURLToPath(new URL("../../node_modules/.bin/bun", import.meta.url))
}

const temporary = (): string => Fs.mkdtempSync(Path.join(Os.tmpdir(), "ending"))

/** A home with a snapshot to boot from. */
let prepared = ""

/** That of a test. */
let home = ""

beforeAll(async () => {
  prepared = temporary()
  const { close } = Runtime.provide(MicrosandboxMemory.layer({ home: prepared }))
  await buildSnapshot({ name: "base", image: "debian:12" })
  await close()
})

afterAll(() => Fs.rmSync(prepared, { recursive: true }))

beforeEach(() => {
  home = temporary()
  Fs.cpSync(prepared, home, { recursive: true, verbatimSymlinks: true })
})

afterEach(() => Fs.rmSync(home, { recursive: true }))

/** The sandboxes of the home, before or after the start of another run. */
const sandboxes = (options: { readonly nextRun: boolean }): Promise<ReadonlyArray<string>> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const context = yield* Layer.build(MicrosandboxMemory.layer({ home, sweep: options.nextRun }))
        const { sandboxes } = yield* Context.get(context, MicrosandboxMemory.Control).inventory
        return sandboxes.map(({ name }) => name)
      })
    )
  )

interface Ended {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the program, and sends it the signal that `signals` has for a line that it prints. */
const end = async (
  runtime: keyof typeof runtimes,
  [work, ending]: readonly [work: string, ending: string],
  signals: { readonly [line: string]: NodeJS.Signals } = {}
): Promise<Ended> => {
  const child = ChildProcess.spawn(runtimes[runtime], [program, home, work, ending], {
    stdio: ["ignore", "pipe", "pipe"],
    // One that does not end fails its test, and is killed.
    timeout: 50_000,
    killSignal: "SIGKILL"
  })
  let said = ""
  child.stdout.on("data", (data: Buffer) => {
    said += data.toString()
    for (let end = said.indexOf("\n"); end >= 0; end = said.indexOf("\n")) {
      const signal = signals[said.slice(0, end)]
      if (signal !== undefined) child.kill(signal)
      said = said.slice(end + 1)
    }
  })
  const closed = once(child, "close")
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), closed])
  return { status: child.exitCode, signal: child.signalCode, stdout, stderr }
}

describe.each(["Node.js", "Bun"] as const)("the end of a process under %s", { timeout: 60_000 }, (runtime) => {
  it.each([
    ["run", "SIGINT", 130],
    ["run", "SIGTERM", 143],
    ["run", "SIGHUP", 129],
    ["command", "SIGINT", 130],
    ["launch", "SIGTERM", 143],
    ["boot", "SIGTERM", 143],
    ["build", "SIGINT", 130]
  ] as const)("in the middle of %s, by %s, releases everything, with status %s", async (work, signal, status) => {
    const ended = await end(runtime, [work, "wait"], { ready: signal })
    assert.deepStrictEqual([ended.status, ended.stdout, ended.stderr], [status, "ready\n", ""])
    assert.deepStrictEqual(await sandboxes({ nextRun: false }), [])
  })

  it.each(["throw", "reject"])("by an uncaught error (%s), releases everything", async (ending) => {
    const ended = await end(runtime, ["run", ending])
    assert.strictEqual(ended.status, 1, ended.stderr)
    assert.include(ended.stderr, "on purpose")
    assert.strictEqual(ended.stdout, "ready\n")
    assert.deepStrictEqual(await sandboxes({ nextRun: false }), [])
  })

  it("by an error in the callback, releases everything", async () => {
    const ended = await end(runtime, ["run", "fail"])
    assert.strictEqual(ended.status, 1, ended.stderr)
    assert.include(ended.stderr, "on purpose")
    assert.deepStrictEqual(await sandboxes({ nextRun: false }), [])
  })

  it.each(["run", "launch"])("when nothing is left to do after %s, releases everything", async (work) => {
    const ended = await end(runtime, [work, "return"])
    assert.deepStrictEqual([ended.status, ended.stdout, ended.stderr], [0, "ready\ndone\n", ""])
    assert.deepStrictEqual(await sandboxes({ nextRun: false }), [])
  })

  it.each([
    ["return", 0],
    ["exit", 3]
  ])("keeps detached sandboxes: %s", async (ending, status) => {
    assert.strictEqual((await end(runtime, ["detach", ending])).status, status)
    assert.deepStrictEqual(await sandboxes({ nextRun: true }), ["s"])
  })

  it.each(["run", "build", "launch", "boot"])(
    "by process.exit in the middle of %s, leaves the rest to the next run",
    async (work) => {
      assert.strictEqual((await end(runtime, [work, "exit"])).status, 3)
      assert.deepStrictEqual(await sandboxes({ nextRun: true }), [])
    }
  )

  it("by SIGKILL, leaves the rest to the next run, which removes it silently", async () => {
    const ended = await end(runtime, ["build", "wait"], { ready: "SIGKILL" })
    assert.strictEqual(ended.signal, "SIGKILL")
    assert.strictEqual((await sandboxes({ nextRun: false })).length, 1)
    const next = await end(runtime, ["run", "return"])
    assert.deepStrictEqual([next.status, next.stdout, next.stderr], [0, "ready\ndone\n", ""])
    assert.deepStrictEqual(await sandboxes({ nextRun: false }), [])
  })

  it("is left to a program that handles the signal, but only once", async () => {
    const ended = await end(runtime, ["run", "listen"], { ready: "SIGTERM" })
    assert.deepStrictEqual([ended.status, ended.stdout, ended.stderr], [0, "ready\ndone\n", ""])
    assert.deepStrictEqual(await sandboxes({ nextRun: false }), [])
    const insisted = await end(runtime, ["run", "ignore"], { ready: "SIGTERM", ignored: "SIGTERM" })
    assert.strictEqual(insisted.status, 143)
    assert.deepStrictEqual(await sandboxes({ nextRun: false }), [])
  })

  it("does not wait for a hanging release after a second signal", async () => {
    const ended = await end(runtime, ["hanging release", "wait"], { ready: "SIGINT", releasing: "SIGINT" })
    assert.deepStrictEqual([ended.status, ended.stdout, ended.stderr], [130, "ready\nreleasing\n", ""])
    assert.deepStrictEqual(await sandboxes({ nextRun: true }), [])
  })
})

describe("the end of a process with two copies of the library", { timeout: 60_000 }, () => {
  const copy = fileURLToPath(new URL(`../../.cache/copy-${process.pid}`, import.meta.url))

  beforeAll(() => {
    Fs.cpSync(fileURLToPath(new URL("../../src", import.meta.url)), copy, { recursive: true })
    process.env["LIGHTBOX_COPY"] = copy
  })

  afterAll(() => {
    delete process.env["LIGHTBOX_COPY"]
    Fs.rmSync(copy, { recursive: true })
  })

  it.each(["throw", "reject"])("by an uncaught error (%s), releases everything of both", async (ending) => {
    const ended = await end("Node.js", ["two copies", ending])
    assert.deepStrictEqual([ended.status, ended.stdout], [1, "ready\n"], ended.stderr)
    assert.include(ended.stderr, "on purpose")
    assert.deepStrictEqual(await sandboxes({ nextRun: false }), [])
  })

  it("by the first signal, releases everything of both", async () => {
    const ended = await end("Node.js", ["two copies", "wait"], { ready: "SIGINT" })
    assert.deepStrictEqual([ended.status, ended.stdout, ended.stderr], [130, "ready\n", ""])
    assert.deepStrictEqual(await sandboxes({ nextRun: false }), [])
  })
})

describe("the end of a process", () => {
  it("does not wait forever for a hanging release", { timeout: 60_000 }, async () => {
    const ended = await end("Node.js", ["hanging release", "wait"], { ready: "SIGTERM" })
    // The release of a sandbox would also give up by itself, later, and say so.
    assert.deepStrictEqual([ended.status, ended.stdout, ended.stderr], [143, "ready\nreleasing\n", ""])
    assert.deepStrictEqual(await sandboxes({ nextRun: true }), [])
  })
})
