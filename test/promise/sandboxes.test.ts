import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, beforeAll, beforeEach, vi } from "vitest"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import {
  buildSnapshot,
  connectToSandbox,
  getOrCreateSandbox,
  launchGroup,
  launchSandbox,
  removeSandbox,
  runInSandbox,
  Sandbox,
  SandboxHandle
} from "../../src/promise.ts"
import { reasonOf, rejection, twin, untyped, wrongField } from "./support.ts"

const memory = twin()

const snapshot = "base"

let folder = ""

beforeAll(() => {
  folder = Fs.realpathSync(Fs.mkdtempSync(Path.join(Os.tmpdir(), "project")))
})

afterAll(() => Fs.rmSync(folder, { recursive: true }))

beforeEach(async () => {
  await buildSnapshot({ name: snapshot, image: "debian:12", setup: ["mkdir /work", "echo baked > /work/f"] })
})

const names = async (): Promise<ReadonlyArray<string>> => (await Sandbox.list()).map(({ name }) => name).toSorted()

describe("launchGroup", () => {
  const services = { db: { command: "while true; do nc -l -p 5432 -e /bin/cat; done", ready: { port: 5432 } } }
  const ask = async (sandbox: Sandbox) => (await sandbox.shell("echo hello | nc db 5432")).stdout().trim()

  it("boots members that reach each other where they say so, until the end of its block", async () => {
    {
      await using group = await launchGroup({
        web: { snapshot, dependsOn: { db: "ready" }, workdir: "/work" },
        db: { snapshot, services },
        other: { snapshot }
      })
      assert.strictEqual((await group.web.exec("pwd")).stdout(), "/work\n")
      assert.deepStrictEqual([await ask(group.web), await ask(group.other)], ["hello", ""])
      assert.lengthOf(await names(), 3)
    }
    assert.lengthOf(await names(), 0)
  })

  it("leaves nothing if a member fails, or if it is aborted", async () => {
    const failing = { db: { command: "exit 1", ready: { port: 1 } } }
    const error = await rejection(launchGroup({ a: { snapshot }, b: { snapshot, services: failing } }))
    assert.strictEqual(error.reason._tag, "NotReady")
    assert.lengthOf(await names(), 0)
    const slow = { db: { command: "exec sleep 1000", ready: { file: "/never" } } }
    const signal = AbortSignal.timeout(1000)
    const aborted = launchGroup(
      { a: { snapshot, services: slow }, b: { snapshot, dependsOn: { a: { ports: [1] } } } },
      { signal }
    )
    await aborted.then(
      () => assert.fail("it resolves"),
      (reason: unknown) => assert.strictEqual(reason, signal.reason)
    )
    assert.lengthOf(await names(), 0)
  })
})

describe("forward", () => {
  it("opens a port until it is closed, its block ends, or the sandbox does", async () => {
    await using sb = await launchSandbox({ snapshot })
    const first = await sb.forward(80)
    {
      await using second = await sb.forward(81)
      assert.deepStrictEqual(await sb.forwards(), [first, second])
      assert.strictEqual(second.url, `http://127.0.0.1:${second.host}`)
      const socket = Net.connect(second.host, "127.0.0.1")
      await new Promise((resolve) => socket.resume().once("close", resolve))
    }
    assert.deepStrictEqual(await sb.forwards(), [first])
    assert.match(String(await rejection(sb.forward(82, { host: first.host }))), /host: port \d+ of 127.0.0.1 is in use/)
    await first.close()
    assert.deepStrictEqual(await sb.forwards(), [])
    await sb.forward(80)
    await sb.kill()
    await vi.waitFor(async () => assert.deepStrictEqual(await sb.forwards(), []))
  })
})

describe("getOrCreateSandbox", () => {
  it("launches, connects and starts, and rejects other options", async () => {
    const open = async (env: Record<string, string>) => await getOrCreateSandbox("kept", { snapshot, env })
    const { id } = await open({ A: "1" })
    assert.strictEqual((await open({ A: "1" })).id, id)
    const sandbox = await Sandbox.get("kept")
    await sandbox.stop()
    assert.strictEqual((await (await open({ A: "1" })).shell("echo $A")).stdout(), "1\n")
    const rest = { env: { A: "1" }, snapshot }
    const drift = async (options: object) =>
      (await rejection(getOrCreateSandbox("kept", { ...rest, ...options }))).reason
    for (const [field, value] of Object.entries({ env: { A: "2" }, workdir: "/srv", idleTimeoutMs: 60_000 })) {
      assert.deepInclude(await drift({ [field]: value }), { _tag: "Drift", resource: "sandbox", field })
    }
    assert.deepInclude(await drift({ releaseTimeoutMs: 5 }), { _tag: "InvalidConfig", field: "releaseTimeoutMs" })
    await memory.inject(MicrosandboxMemory.hangAt("createSandbox"))
    const late = await rejection(getOrCreateSandbox("late", { snapshot, timeoutMs: 50 }))
    assert.deepInclude(late.reason, { _tag: "TimedOut", limitMillis: 50 })
    await (await Sandbox.get("kept")).remove({ force: true })
    await using owned = await launchSandbox({ ...rest, name: "owned" })
    assert.deepInclude((await rejection(getOrCreateSandbox("owned", rest))).reason, { _tag: "InUse", name: owned.name })
  })
})

describe("launchSandbox", () => {
  it("boots a sandbox from a snapshot, with every option", async () => {
    await using sb = await launchSandbox({
      snapshot,
      name: "agent-1",
      resources: { cpus: 2, memory: "1G" },
      workdir: "/work",
      env: { A: "1" },
      labels: { team: "platform" }
    })
    assert.strictEqual(sb.name, "agent-1")
    assert.strictEqual((await sb.shell("pwd; echo $A; cat f")).stdout(), "/work\n1\nbaked\n")
    const { labels, status } = await Sandbox.get("agent-1")
    assert.strictEqual(status, "running")
    assert.strictEqual(labels["team"], "platform")
  })

  it("boots many at once from one snapshot, each under its own name", async () => {
    const all = await Promise.all(["agent-1", "agent-2", "agent-3"].map((name) => launchSandbox({ snapshot, name })))
    assert.deepStrictEqual(await names(), ["agent-1", "agent-2", "agent-3"])
    await all[0]?.fs().write("/work/f", "changed")
    assert.strictEqual(await all[1]?.fs().readToString("/work/f"), "baked\n")
    await Promise.all(all.map((sb) => sb[Symbol.asyncDispose]()))
    assert.deepStrictEqual(await names(), [])
  })

  it("replaces a sandbox with the same name, unless told not to", async () => {
    await using first = await launchSandbox({ snapshot, name: "s" })
    await first.fs().write("/first", "")
    const error = await rejection(launchSandbox({ snapshot, name: "s", overwrite: false }))
    assert.strictEqual(error.reason._tag, "AlreadyExists")
    assert.isTrue(await first.fs().exists("/first"))
    await using second = await launchSandbox({ snapshot, name: "s" })
    assert.isFalse(await second.fs().exists("/first"))
    assert.strictEqual((await rejection(first.exec("true"))).reason._tag, "GuestLost")
    assert.notStrictEqual(first.id, second.id)
  })

  it("does not remove the second sandbox when the first is disposed", async () => {
    const first = await launchSandbox({ snapshot, name: "s" })
    await using second = await launchSandbox({ snapshot, name: "s" })
    await first[Symbol.asyncDispose]()
    assert.isTrue((await second.exec("true")).success)
  })

  it("fails for a missing snapshot, and leaves nothing", async () => {
    const error = await rejection(launchSandbox({ snapshot: "none", name: "s" }))
    assert.strictEqual(error.reason._tag, "NotFound")
    assert.include(error.message, 'There is no snapshot named "none"')
    assert.deepStrictEqual(await names(), [])
  })

  it("prints that it launches only with verbose", async () => {
    const out = vi.spyOn(process.stdout, "write").mockReturnValue(true)
    try {
      await (await launchSandbox({ snapshot, name: "quiet" }))[Symbol.asyncDispose]()
      assert.strictEqual(out.mock.calls.length, 0)
      await (await launchSandbox({ snapshot, name: "loud", verbose: true }))[Symbol.asyncDispose]()
      assert.deepStrictEqual(out.mock.calls[0]?.[0], '[lightbox] launching "loud" from "base"\n')
    } finally {
      out.mockRestore()
    }
  })

  it.each([
    [{ abc: 80 }, "ports.abc", "Invalid port mapping: abc → 80"],
    [{ 8080: "abc" }, "ports.8080", "Invalid port mapping: 8080 → abc"],
    [{ abc: "abc" }, "ports.abc", "Invalid port mapping: abc → abc"],
    [{ 8080: 0 }, "ports.8080", "Invalid port mapping: 8080 → 0"]
  ])("rejects the ports %j", async (ports, field, message) => {
    const error = await rejection(launchSandbox({ snapshot, name: "s", ports: untyped(ports) }))
    assert.strictEqual(wrongField(error), field)
    assert.include(error.message, message)
  })

  it("accepts ports given as numeric strings", async () => {
    await using sb = await launchSandbox({ snapshot, name: "s", ports: untyped({ 18080: "80" }) })
    assert.isTrue((await sb.exec("true")).success)
  })

  it.each([
    [{ name: "a b" }, "name"],
    [{ resources: { cpus: -1 } }, "resources.cpus"],
    [{ resources: { memory: "1K" } }, "resources.memory"],
    [{ workdir: "work" }, "workdir"],
    [{ env: { "": "x" } }, "env."],
    [{ mounts: { work: "." } }, "mounts.work"],
    [{ mounts: { "/work": 7 } }, "mounts./work"],
    [{ mounts: { "/work": { volume: "a b" } } }, "mounts./work.volume"],
    [{ mounts: { "/work": { tmpfs: "1K" } } }, "mounts./work.tmpfs"],
    [{ mounts: { "/work": "./not-there" } }, "mounts./work"],
    [{ mounts: { "/work": { bind: "./not-there" } } }, "mounts./work"],
    [{ network: "some" }, "network"],
    [{ detached: "yes" }, "detached"],
    [{ secrets: { KEY: { value: "x", hosts: [] } } }, "secrets.KEY.hosts"],
    [{ replce: true }, "replce"]
  ])("rejects %j before anything boots", async (options, field) => {
    const before = await memory.count("createSandbox")
    await using other = await launchSandbox({ snapshot, name: "taken" })
    const error = await rejection(launchSandbox(untyped({ snapshot, name: "taken", ...options })))
    assert.strictEqual(wrongField(error), field)
    // The sandbox with the name still runs.
    assert.isTrue((await other.exec("true")).success)
    assert.isAtMost(await memory.count("createSandbox"), before + 2)
  })

  it("explains how to write memory when it is invalid", async () => {
    const error = await rejection(launchSandbox(untyped({ snapshot, name: "s", resources: { memory: "1.5G" } })))
    assert.include(error.message, 'Invalid memory string: "1.5G". Use e.g. "512M" or "2G".')
  })

  it("names the missing folder of a mount", async () => {
    const error = await rejection(launchSandbox({ snapshot, name: "s", mounts: { "/work": "./not-there" } }))
    assert.include(error.message, Path.resolve("not-there"))
  })

  it("stops and removes the sandbox at the end of a block", async () => {
    {
      await using sb = await launchSandbox({ snapshot, name: "s" })
      assert.deepStrictEqual(await names(), [sb.name])
    }
    assert.deepStrictEqual(await names(), [])
  })

  it("leaves nothing of an aborted launch", async () => {
    await memory.inject(MicrosandboxMemory.hangAt("createSandbox"))
    const reason = new Error("enough")
    const launched = launchSandbox({ snapshot, name: "s", signal: AbortSignal.abort(reason) })
    assert.strictEqual(await reasonOf(launched), reason)

    const controller = new AbortController()
    const hanging = launchSandbox({ snapshot, name: "s", signal: controller.signal })
    await vi.waitFor(async () => assert.strictEqual(await memory.count("createSandbox"), 2))
    controller.abort(reason)
    assert.strictEqual(await reasonOf(hanging), reason)
    assert.deepStrictEqual(await names(), [])
  })
})

describe("mounts", () => {
  it("share a host folder, in every notation", async () => {
    Fs.writeFileSync(Path.join(folder, "f"), "from the host")
    for (const [index, mount] of [folder, Path.relative(process.cwd(), folder), { bind: folder }].entries()) {
      await using sb = await launchSandbox({ snapshot, name: "s", mounts: { "/project": mount }, workdir: "/project" })
      assert.strictEqual((await sb.shell("cat f")).stdout(), "from the host")
      await sb.shell(`echo ${index} > from-the-guest`)
      assert.strictEqual(Fs.readFileSync(Path.join(folder, "from-the-guest"), "utf8"), `${index}\n`)
    }
  })

  it("reject writes to a read-only folder or volume", async () => {
    await using sb = await launchSandbox({
      snapshot,
      name: "s",
      mounts: { "/project": { bind: folder, readonly: true }, "/cache": { volume: "cache", readonly: true } }
    })
    assert.isFalse((await sb.shell("touch /project/x")).success)
    assert.isFalse((await sb.shell("touch /cache/x")).success)
  })

  it("create a volume on first use, share it, and keep it", async () => {
    {
      const [a, b] = await Promise.all(
        ["a", "b"].map((name) => launchSandbox({ snapshot, name, mounts: { "/cache": { volume: "npm-cache" } } }))
      )
      await a?.shell("echo shared > /cache/f")
      assert.strictEqual((await b?.shell("cat /cache/f"))?.stdout(), "shared\n")
      await a?.[Symbol.asyncDispose]()
      await b?.[Symbol.asyncDispose]()
    }
    const out = await runInSandbox({ snapshot, name: "c", mounts: { "/app": { volume: "npm-cache" } } }, (sb) =>
      sb.exec("cat", ["/app/f"])
    )
    assert.strictEqual(out.stdout(), "shared\n")
  })

  it("provide a writable tmpfs", async () => {
    await using sb = await launchSandbox({ snapshot, name: "s", mounts: { "/scratch": { tmpfs: "16M" } } })
    assert.isTrue((await sb.shell("touch /scratch/x")).success)
  })
})

describe("runInSandbox", () => {
  it("returns the callback's result, after removing the sandbox", async () => {
    const out = await runInSandbox({ snapshot, name: "s" }, (sb) => sb.shell("cat /work/f"))
    assert.strictEqual(out.stdout(), "baked\n")
    assert.deepStrictEqual(await names(), [])
    assert.strictEqual(await runInSandbox({ snapshot, name: "s" }, async () => 7), 7)
  })

  it("removes the sandbox when the callback rejects or throws", async () => {
    const reason = new Error("on purpose")
    const results = await Promise.allSettled([
      runInSandbox({ snapshot, name: "a" }, () => Promise.reject(reason)),
      runInSandbox({ snapshot, name: "b" }, () => {
        throw reason
      })
    ])
    for (const result of results) assert.deepStrictEqual(result, { status: "rejected", reason })
    assert.deepStrictEqual(await names(), [])
  })

  it("keeps a sandbox that the callback detached", async () => {
    await runInSandbox({ snapshot, name: "s" }, (sb) => sb.detach())
    assert.strictEqual((await Sandbox.get("s")).status, "running")
    await removeSandbox("s", { force: true })
  })

  it("stops commands and sandbox when aborted, then rejects with the reason", async () => {
    const controller = new AbortController()
    const reason = new Error("enough")
    const running = runInSandbox({ snapshot, name: "s", signal: controller.signal }, async (sb) => {
      const handle = await sb.execStream("sleep", ["1000"])
      queueMicrotask(() => controller.abort(reason))
      return await handle.wait()
    })
    assert.strictEqual(await reasonOf(running), reason)
    assert.deepStrictEqual(await names(), [])
  })

  it("ignores a signal that aborts afterwards", async () => {
    const controller = new AbortController()
    assert.strictEqual(await runInSandbox({ snapshot, name: "s", signal: controller.signal }, async () => 1), 1)
    controller.abort()
  })
})

describe("Sandbox", () => {
  it("stops, and keeps its record until it is removed", async () => {
    const sb = await launchSandbox({ snapshot, name: "s" })
    await sb.fs().write("/work/f", "kept")
    await sb.stop()
    assert.strictEqual((await Sandbox.get("s")).status, "stopped")
    const error = await rejection(sb.exec("true"))
    assert.include(["GuestLost", "NotRunning"], error.reason._tag)
    const again = await (await Sandbox.get("s")).start()
    assert.strictEqual(await again.fs().readToString("/work/f"), "kept")
    assert.deepStrictEqual(await again.stopAndWait(), { code: 0, success: true })
    await Sandbox.remove("s")
    assert.deepStrictEqual(await names(), [])
    await sb[Symbol.asyncDispose]()
    await again[Symbol.asyncDispose]()
  })

  it("is killed with everything that hangs in it", async () => {
    const sb = await launchSandbox({ snapshot, name: "s" })
    const hanging = rejection(sb.exec("sleep", ["1000"]))
    const handle = await sb.execStream("sleep", ["1000"])
    await sb.kill()
    assert.strictEqual((await hanging).reason._tag, "GuestLost")
    assert.strictEqual((await rejection(handle.wait())).reason._tag, "GuestLost")
    assert.notStrictEqual((await Sandbox.get("s")).status, "running")
    await sb[Symbol.asyncDispose]()
  })

  it("passes detached to the driver, and is still removed at the end of its block", async () => {
    for (const detached of [undefined, true, false]) {
      await using _ = await launchSandbox({ snapshot, name: "s", detached })
    }
    const launches = (await memory.calls()).filter((call) => call.operation === "createSandbox" && call.sandbox === "s")
    assert.deepStrictEqual(
      launches.map(({ detail }) => detail["detached"]),
      [false, true, false]
    )
    // Until it is detached, it is like any other.
    assert.deepStrictEqual(await names(), [])
  })

  it("is unusable once detached, but can be connected to again", async () => {
    const sb = await launchSandbox({ snapshot, name: "agent-1" })
    await sb.detach()
    assert.include((await rejection(sb.exec("true"))).message, "handle consumed")
    assert.throws(() => sb.fs(), /handle consumed/)
    assert.include((await rejection(sb.stop())).message, "handle consumed")
    await sb[Symbol.asyncDispose]()

    const other = await connectToSandbox("agent-1")
    assert.strictEqual(other.id, sb.id)
    assert.strictEqual((await other.shell("cat /work/f")).stdout(), "baked\n")
    await other[Symbol.asyncDispose]()
    assert.strictEqual((await Sandbox.get("agent-1")).status, "running")
    await (await connectToSandbox("agent-1")).stop()
    assert.strictEqual((await Sandbox.get("agent-1")).status, "stopped")
  })

  it("cannot be connected to if it is missing or stopped", async () => {
    assert.strictEqual((await rejection(connectToSandbox("none"))).reason._tag, "NotFound")
    await using sb = await launchSandbox({ snapshot, name: "s" })
    await sb.stop()
    assert.strictEqual((await rejection(connectToSandbox("s"))).reason._tag, "NotRunning")
  })

  it("is found by name and in the list, running or not", async () => {
    await using a = await launchSandbox({ snapshot, name: "a" })
    await using b = await launchSandbox({ snapshot, name: "b" })
    await b.stop()
    const all = await Sandbox.list()
    assert.deepStrictEqual(Object.fromEntries(all.map(({ name, status }) => [name, status])), {
      a: "running",
      b: "stopped"
    })
    for (const handle of all) assert.instanceOf(handle, SandboxHandle)
    const handle = await Sandbox.get("a")
    assert.strictEqual(handle.id, a.id)
    assert.instanceOf(handle.createdAt, Date)
    // Handles of the list can be used directly.
    const connected = await all.find(({ name }) => name === "a")?.connect()
    assert.isTrue((await connected?.exec("true"))?.success)
    assert.strictEqual((await rejection(Sandbox.get("none"))).reason._tag, "NotFound")
  })

  it("can be stopped, started, killed and removed by handle", async () => {
    const sb = await launchSandbox({ snapshot, name: "s" })
    await sb.detach()
    const handle = await Sandbox.get("s")
    assert.strictEqual((await rejection(handle.remove())).reason._tag, "StillRunning")
    await handle.stop()
    const detached = await handle.startDetached()
    await detached[Symbol.asyncDispose]()
    assert.strictEqual((await handle.refresh()).status, "running")
    await handle.kill()
    await handle.remove()
    assert.deepStrictEqual(await names(), [])
  })

  it("is not affected by a handle of an earlier sandbox with its name", async () => {
    await (await launchSandbox({ snapshot, name: "s" })).detach()
    const handle = await Sandbox.get("s")
    await using _ = await launchSandbox({ snapshot, name: "s" })
    assert.strictEqual((await rejection(handle.kill())).reason._tag, "Replaced")
    assert.strictEqual((await Sandbox.get("s")).status, "running")
  })

  it("has no raw SDK object on the twin, and says so", async () => {
    await using sb = await launchSandbox({ snapshot, name: "s" })
    assert.strictEqual((await rejection(sb.raw())).reason._tag, "Unsupported")
    assert.throws(() => Sandbox.builder("x"), /this driver does not use the SDK/)
  })
})

describe("removeSandbox", () => {
  it("removes a stopped sandbox, and ignores a missing one", async () => {
    const sb = await launchSandbox({ snapshot, name: "s" })
    await sb.stop()
    await removeSandbox("s")
    await removeSandbox("s")
    await removeSandbox("s", { force: true })
    assert.deepStrictEqual(await names(), [])
    await sb[Symbol.asyncDispose]()
  })

  it("removes a running sandbox only with force", async () => {
    await (await launchSandbox({ snapshot, name: "s" })).detach()
    const error = await rejection(removeSandbox("s"))
    assert.strictEqual(error.reason._tag, "StillRunning")
    assert.strictEqual((await Sandbox.get("s")).status, "running")
    await removeSandbox("s", { force: true })
    assert.deepStrictEqual(await names(), [])
  })
})
