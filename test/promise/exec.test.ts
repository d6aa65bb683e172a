import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { getEventListeners } from "node:events"
import * as Util from "node:util"
import { vi } from "vitest"
import { type ExecEvent, ExecHandle, ExecOutput, type Sandbox } from "../../src/promise.ts"
import * as Promises from "../../src/promise.ts"
import { reasonOf, rejection, twin, wrongField } from "./support.ts"

const memory = twin({
  commands: {
    // Writes and exits as its arguments say.
    say: ({ argv, stderr, stdout }) =>
      Effect.gen(function* () {
        yield* stdout(argv[1] ?? "")
        yield* stderr(argv[2] ?? "")
        return Number(argv[3] ?? 0)
      })
  }
})

const inSandbox = async <A>(use: (sb: Sandbox) => Promise<A>): Promise<A> => {
  await Promises.buildSnapshot({ name: "base", image: "debian:12" })
  return await Promises.runInSandbox({ snapshot: "base", name: "s", env: { FROM: "sandbox" } }, use)
}

const collect = async (handle: ExecHandle): Promise<ReadonlyArray<ExecEvent>> => {
  const events: Array<ExecEvent> = []
  for await (const event of handle) events.push(event)
  return events
}

const text = (data: Uint8Array): string => new TextDecoder().decode(data)

describe("exec", () => {
  it("returns the output and exit status of a program", async () => {
    const out = await inSandbox((sb) => sb.exec("say", ["out ∞", "err", "3"]))
    assert.instanceOf(out, ExecOutput)
    assert.strictEqual(out.code, 3)
    assert.isFalse(out.success)
    assert.deepStrictEqual(out.status, { code: 3, success: false })
    assert.strictEqual(out.stdout(), "out ∞")
    assert.strictEqual(out.stderr(), "err")
    assert.strictEqual(text(out.stdoutBytes()), "out ∞")
    assert.strictEqual(text(out.stderrBytes()), "err")
    assert.isTrue((await inSandbox((sb) => sb.exec("true"))).success)
  })

  it("shows the exit code and text when logged, encoded or copied", async () => {
    const out = await inSandbox((sb) => sb.exec("say", ["out", "err", "3"]))
    assert.strictEqual(Util.inspect(out), "ExecOutput { exitCode: 3, stdout: 'out', stderr: 'err' }")
    assert.strictEqual(JSON.stringify(out), '{"exitCode":3,"stdout":"out","stderr":"err"}')
    assert.deepStrictEqual(Object.entries(out), [
      ["code", 3],
      ["success", false]
    ])
    await inSandbox(async (sb) => {
      assert.strictEqual(Util.inspect(sb), `Sandbox { name: '${sb.name}', id: '${sb.id}', ports: [] }`)
      const killed = await sb.shell("kill -KILL $$")
      assert.deepInclude(JSON.parse(JSON.stringify(killed)), { signal: "SIGKILL" })
      await using handle = await sb.execStream("say", ["out"])
      assert.strictEqual(Util.inspect(handle), `ExecHandle { pid: ${handle.pid} }`)
      const events = await collect(handle)
      assert.deepStrictEqual(
        events.flatMap((event) => ("text" in event ? [event.text] : [])),
        ["out"]
      )
    })
  })

  it("passes arguments unchanged, with empty input", async () => {
    await inSandbox(async (sb) => {
      assert.strictEqual((await sb.exec("echo", ["$HOME", "a b", "*"])).stdout(), "$HOME a b *\n")
      assert.strictEqual((await sb.exec("cat")).stdout(), "")
    })
  })

  it("runs scripts in a login shell", async () => {
    await inSandbox(async (sb) => {
      const out = await sb.shell("echo one | tr o 0 && echo $FROM > /tmp/f; cat /tmp/f")
      assert.strictEqual(out.stdout(), "0ne\nsandbox\n")
    })
    const spawned = (await memory.calls()).filter(({ detail }) => String(detail["argv"]).startsWith("sh,-lc,echo one"))
    assert.strictEqual(spawned.length, 1)
  })

  it("applies the options of one command", async () => {
    await inSandbox(async (sb) => {
      const options = { cwd: "/etc", user: "app", env: { EXTRA: "1" }, stdin: "typed" }
      const out = await sb.shell("pwd; id -u; echo $EXTRA $FROM; cat", options)
      assert.strictEqual(out.stdout(), "/etc\n1000\n1 sandbox\ntyped")
      assert.strictEqual((await sb.exec("cat", [], { stdin: new Uint8Array([0, 255]) })).stdoutBytes().length, 2)
    })
  })

  it("runs commands concurrently", async () => {
    await inSandbox(async (sb) => {
      const reader = sb.shell("until test -e /tmp/there; do sleep 0.01; done; cat /tmp/there")
      await sb.shell("echo met > /tmp/there")
      assert.strictEqual((await reader).stdout(), "met\n")
    })
  })

  it("rejects for a missing program or working directory", async () => {
    await inSandbox(async (sb) => {
      const error = await rejection(sb.exec("nothing-like-it"))
      assert.strictEqual(error.reason._tag, "CommandNotStarted")
      assert.include(error.message, "nothing-like-it")
      const elsewhere = await rejection(sb.exec("true", [], { cwd: "/none" }))
      assert.strictEqual(elsewhere.reason._tag, "CommandNotStarted")
      assert.include(elsewhere.message, "/none")
    })
  })

  it("kills a command at its time limit, and rejects", async () => {
    await inSandbox(async (sb) => {
      const error = await rejection(sb.exec("sleep", ["1000"], { timeoutMs: 20 }))
      assert.strictEqual(error.reason._tag, "TimedOut")
      assert.deepStrictEqual((await memory.inventory()).processes, [])
      assert.strictEqual(wrongField(await rejection(sb.exec("true", [], { timeoutMs: -1 }))), "timeoutMs")
    })
  })

  it("kills an aborted command, and rejects with the reason", async () => {
    await inSandbox(async (sb) => {
      const controller = new AbortController()
      const running = sb.exec("sleep", ["1000"], { signal: controller.signal })
      await vi.waitFor(async () => assert.strictEqual((await memory.inventory()).processes.length, 1))
      controller.abort("enough")
      assert.strictEqual(await reasonOf(running), "enough")
      assert.deepStrictEqual((await memory.inventory()).processes, [])
    })
  })
})

describe("execStream", () => {
  it("emits events in order", async () => {
    await inSandbox(async (sb) => {
      const handle = await sb.execStream("say", ["out", "err", "3"])
      assert.instanceOf(handle, ExecHandle)
      const events = await collect(handle)
      assert.strictEqual(events[0]?.kind, "started")
      assert.deepStrictEqual(
        events.map((event) =>
          "data" in event ? [event.kind, text(event.data)] : event.kind === "exited" ? event.code : 0
        ),
        [0, ["stdout", "out"], ["stderr", "err"], 3]
      )
    })
  })

  it("runs scripts, too", async () => {
    await inSandbox(async (sb) => {
      const events = await collect(await sb.shellStream("echo a; echo b >&2; exit 4"))
      assert.deepInclude(events, { kind: "exited", code: 4 })
      assert.deepStrictEqual(
        events.flatMap((event) => (event.kind === "stderr" ? [text(event.data)] : [])),
        ["b\n"]
      )
    })
  })

  it("returns events one by one, and null after the last", async () => {
    await inSandbox(async (sb) => {
      const handle = await sb.execStream("say", ["x"])
      assert.strictEqual((await handle.recv())?.kind, "started")
      assert.strictEqual((await handle.recv())?.kind, "stdout")
      assert.deepStrictEqual(await handle.recv(), { kind: "exited", code: 0 })
      assert.isNull(await handle.recv())
      assert.isNull(await handle.recv())
      assert.deepStrictEqual(await handle.wait(), { code: 0, success: true })
    })
  })

  it("leaves no listener on a signal, however many commands were killed", async () => {
    await inSandbox(async (sb) => {
      const { signal } = new AbortController()
      const kill = async () => {
        const handle = await sb.execStream("sleep", ["1000"], { signal })
        await handle.kill()
        await handle.wait()
      }
      for (let round = 0; round < 10; round++) await Promise.all(Array.from({ length: 100 }, kill))
      assert.strictEqual(getEventListeners(signal, "abort").length, 0)
    })
  })

  it("waits for the end, or collects the rest", async () => {
    await inSandbox(async (sb) => {
      assert.deepStrictEqual(await (await sb.execStream("say", ["x", "y", "5"])).wait(), { code: 5, success: false })
      const handle = await sb.shellStream("echo one; echo two; echo three >&2; exit 6")
      await handle.recv()
      const out = await handle.collect()
      assert.deepStrictEqual([out.code, out.stdout(), out.stderr()], [6, "one\ntwo\n", "three\n"])
      assert.strictEqual((await handle.collect()).code, 6)
    })
  })

  it("returns a writable stdin, once", async () => {
    await inSandbox(async (sb) => {
      const handle = await sb.execStream("sort", [], { pipeStdin: true })
      const sink = await handle.takeStdin()
      assert.isNull(await handle.takeStdin())
      assert.isNotNull(sink)
      await sink?.write("b\n")
      await sink?.write(new TextEncoder().encode("a\n"))
      await sink?.close()
      assert.strictEqual((await handle.collect()).stdout(), "a\nb\n")
      // Nobody reads it any more.
      for (let i = 0; i < 100; i++) await sink?.write("late")
    })
  })

  it("closes stdin at the end of a block", async () => {
    await inSandbox(async (sb) => {
      const handle = await sb.execStream("wc", ["-c"], { pipeStdin: true })
      {
        await using sink = await handle.takeStdin()
        await sink?.write("12345")
      }
      assert.strictEqual((await handle.collect()).stdout().trim(), "5")
    })
  })

  it("returns no stdin unless requested", async () => {
    await inSandbox(async (sb) => {
      const handle = await sb.execStream("cat", [], { stdin: "given" })
      assert.isNull(await handle.takeStdin())
      assert.strictEqual((await handle.collect()).stdout(), "given")
    })
  })

  it("sends signals and kills", async () => {
    await inSandbox(async (sb) => {
      const terminated = await sb.execStream("sleep", ["1000"])
      await terminated.signal(15)
      assert.deepStrictEqual(await terminated.wait(), { code: -1, success: false, signal: "SIGTERM" })
      const killed = await sb.execStream("sleep", ["1000"])
      await killed.kill()
      assert.deepStrictEqual(await killed.wait(), { code: -1, success: false, signal: "SIGKILL" })
      await killed.kill()
      assert.deepInclude(await collect(await sb.shellStream("kill -9 $$")), {
        kind: "exited",
        code: -1,
        signal: "SIGKILL"
      })
      assert.strictEqual((await sb.shell("kill -15 $$")).signal, "SIGTERM")
      assert.isUndefined((await sb.shell("exit 3")).signal)
    })
  })

  it("gives a program a terminal that can be resized", async () => {
    await inSandbox(async (sb) => {
      const handle = await sb.execStream("sh", ["-c", "stty size; read line; stty size"], {
        pipeStdin: true,
        terminal: { rows: 10, columns: 20 }
      })
      let seen = ""
      const sink = await handle.takeStdin()
      for await (const event of handle) {
        if (event.kind !== "stdout") continue
        seen += text(event.data)
        if (seen.trim() === "10 20") {
          await handle.resize(30, 40)
          await sink?.write("\n")
        }
      }
      assert.match(seen, /^10 20\s+30 40\s*$/)
    })
  })

  it.each(["an exited loop", "an exited block"])("kills the program at the end of %s", async (what) => {
    await inSandbox(async (sb) => {
      if (what === "an exited loop") {
        for await (const event of await sb.execStream("sleep", ["1000"])) {
          assert.strictEqual(event.kind, "started")
          break
        }
      } else {
        await using handle = await sb.execStream("sleep", ["1000"])
        assert.strictEqual((await handle.recv())?.kind, "started")
      }
      await vi.waitFor(async () => assert.deepStrictEqual((await memory.inventory()).processes, []))
    })
  })

  it("returns null to a pending recv when it is closed", async () => {
    await inSandbox(async (sb) => {
      const handle = await sb.execStream("sleep", ["1000"])
      await handle.recv()
      const next = handle.recv()
      await handle[Symbol.asyncDispose]()
      assert.isNull(await next)
      assert.deepStrictEqual(await handle.wait(), { code: -1, success: false })
    })
  })

  it("kills a program at its time limit, and rejects, even if nobody reads", async () => {
    await inSandbox(async (sb) => {
      const handle = await sb.execStream("sleep", ["1000"], { timeoutMs: 20 })
      await vi.waitFor(async () => assert.deepStrictEqual((await memory.inventory()).processes, []))
      const error = await rejection(handle.wait())
      assert.strictEqual(error.reason._tag, "TimedOut")
      assert.include(error.message, "sleep 1000 took longer than 20 ms")
      assert.strictEqual(wrongField(await rejection(sb.execStream("true", [], { timeoutMs: 0 }))), "timeoutMs")
    })
  })

  it.each(["the start", "an event"])("kills a program when its signal, given at %s, aborts", async (when) => {
    await inSandbox(async (sb) => {
      const { signal, ...controller } = { ...withSignal() }
      const handle = await sb.execStream("sleep", ["1000"], when === "the start" ? { signal } : {})
      await handle.recv()
      const next = handle.recv(when === "an event" ? { signal } : {})
      controller.abort("enough")
      assert.strictEqual(await reasonOf(next), "enough")
      await vi.waitFor(async () => assert.deepStrictEqual((await memory.inventory()).processes, []))
      if (when === "the start") {
        assert.strictEqual(await reasonOf(handle.wait()), "enough")
      }
    })
  })

  it("rejects again with the same error", async () => {
    await inSandbox(async (sb) => {
      const handle = await sb.shellStream("echo out; sleep 1000", { timeoutMs: 200 })
      const error = await rejection(handle.collect())
      assert.deepInclude(JSON.parse(JSON.stringify(error.reason)), { _tag: "TimedOut", stdout: "out\n" })
      assert.strictEqual(await rejection(handle.wait()), error)
      assert.strictEqual(await rejection(handle.recv()), error)
    })
  })

  it("releases its signal once the command ends, even if its events are not read", async () => {
    await inSandbox(async (sb) => {
      const { signal } = withSignal()
      const handles = [await sb.execStream("say", ["out"], { signal }), await sb.execStream("sleep", ["9"], { signal })]
      await handles[1]?.kill()
      await vi.waitFor(() => assert.deepStrictEqual(getEventListeners(signal, "abort"), []))
      assert.strictEqual((await handles[0]?.collect())?.stdout(), "out")
    })
  })

  it("rejects for a missing program", async () => {
    await inSandbox(async (sb) => {
      assert.strictEqual((await rejection(sb.execStream("nothing-like-it"))).reason._tag, "CommandNotStarted")
    })
  })

  it("rejects when the sandbox is killed", async () => {
    await inSandbox(async (sb) => {
      const handle = await sb.execStream("sleep", ["1000"])
      await handle.recv()
      const next = rejection(handle.recv())
      await sb.kill()
      assert.strictEqual((await next).reason._tag, "GuestLost")
    })
  })
})

const withSignal = () => {
  const controller = new AbortController()
  return { signal: controller.signal, abort: (reason: string) => controller.abort(reason) }
}

describe("attach", () => {
  it("connects this process's input and output, and returns the exit code", async () => {
    const written: Array<string> = []
    const out = vi.spyOn(process.stdout, "write").mockImplementation((chunk, ...rest) => {
      written.push(typeof chunk === "string" ? chunk : text(chunk))
      for (const callback of rest) if (typeof callback === "function") callback()
      return true
    })
    try {
      await inSandbox(async (sb) => {
        assert.strictEqual(await sb.attach("say", ["seen", "", "3"]), 3)
        assert.strictEqual(await sb.attach("true"), 0)
      })
      assert.include(written.join(""), "seen")
    } finally {
      out.mockRestore()
    }
  })
})
