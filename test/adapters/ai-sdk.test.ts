/** Sessions and providers for the AI SDK, on the twin. The AI SDK itself judges them in `test/judges/adapters`. */
import { assert, describe, it } from "@effect/vitest"
import * as Net from "node:net"
import { text } from "node:stream/consumers"
import * as AiSdk from "../../src/ai-sdk.ts"
import * as Lightbox from "../../src/promise.ts"
import { reasonOf, rejection, twin, untyped, wrongField } from "../promise/support.ts"

const memory = twin()

const image = "busybox"

/** Passes a session with a base directory to a function. */
const inSession = async <A>(
  use: (session: AiSdk.SandboxSession, sandbox: Lightbox.Sandbox) => Promise<A>,
  options: AiSdk.SessionOptions = { workdir: "/work" }
): Promise<A> => {
  await using sandbox = await Lightbox.launchSandbox({ image, network: "none" })
  return await use(await AiSdk.sandboxSession(sandbox, options), sandbox)
}

const tagOf = async (promise: Promise<unknown>): Promise<string> => (await rejection(promise)).reason._tag

describe("sandboxSession", () => {
  it("starts commands in the base directory, which it creates, with its variables", () =>
    inSession(
      async (session) => {
        const out = await session.run({ command: 'echo "$PWD $A $B"', env: { B: "2" } })
        assert.deepStrictEqual(out, { exitCode: 0, stdout: "/deep/base 1 2\n", stderr: "" })
        const below = await session.run({ command: "mkdir sub; cd sub; pwd" })
        assert.strictEqual(below.stdout, "/deep/base/sub\n")
        assert.strictEqual((await session.run({ command: "pwd", workingDirectory: "sub" })).stdout, below.stdout)
        assert.include(session.description, "/deep/base")
      },
      { workdir: "/deep/base", env: { A: "1" } }
    ))

  it("starts where the sandbox's commands start by default", async () => {
    await using sandbox = await Lightbox.launchSandbox({ image, workdir: "/tmp" })
    const session = await AiSdk.sandboxSession(sandbox)
    assert.strictEqual(session.resolvePath("a/../b"), "/tmp/b")
    assert.strictEqual((await session.run({ command: "pwd" })).stdout, "/tmp\n")
  })

  it("stops writing a stream that has stalled when it is aborted, and cancels the stream", () =>
    inSession(async (session) => {
      const controller = new AbortController()
      let cancelled: unknown
      let pulls = 0
      const content = new ReadableStream<Uint8Array>(
        {
          pull: (stream) => {
            if (pulls++ === 0) return stream.enqueue(new Uint8Array([65]))
            controller.abort(new Error("enough"))
            return new Promise(() => {})
          },
          cancel: (reason) => void (cancelled = reason)
        },
        // Pulled only when it is read.
        { highWaterMark: 0 }
      )
      const written = session.writeFile({ path: "stalled", content, abortSignal: controller.signal })
      assert.match(String(await reasonOf(written)), /enough/)
      assert.match(String(cancelled), /enough/)
    }))

  it("returns 128 and the number of the signal that ended a command", () =>
    inSession(async (session) => {
      assert.strictEqual((await session.run({ command: "kill -9 $$" })).exitCode, 137)
      const process = await session.spawn({ command: "sleep 1000" })
      await process.kill()
      assert.deepStrictEqual(await process.wait(), { exitCode: 137 })
      await process.kill()
    }))

  it("passes input to a command, and has no input otherwise", () =>
    inSession(async (session) => {
      const process = await session.spawn({ command: "cat; echo end", stdin: true })
      const writer = process.stdin.getWriter()
      await writer.write(new TextEncoder().encode("one\n"))
      await writer.write(new TextEncoder().encode("two\n"))
      await writer.close()
      assert.strictEqual(await text(process.stdout), "one\ntwo\nend\n")
      assert.deepStrictEqual(await process.wait(), { exitCode: 0 })
      const other = await session.spawn({ command: "cat; echo end" })
      assert.notProperty(other, "stdin")
      assert.strictEqual(await text(other.stdout), "end\n")
    }))

  it("ends a command whose streams nobody reads, or that are canceled", () =>
    inSession(async (session) => {
      const process = await session.spawn({ command: "echo out; echo err >&2" })
      await process.stdout.cancel()
      assert.deepStrictEqual(await process.wait(), { exitCode: 0 })
      assert.strictEqual(await text(process.stderr), "err\n")
    }))

  it("kills a command when its signal aborts, and rejects with the reason", () =>
    inSession(async (session, sandbox) => {
      const abort = new AbortController()
      const process = await session.spawn({ command: "echo $$; sleep 1000", abortSignal: abort.signal })
      const reader = process.stdout.getReader()
      const { value } = await reader.read()
      const reason = new Error("enough")
      abort.abort(reason)
      assert.strictEqual(await reasonOf(process.wait()), reason)
      const pid = Buffer.from(value ?? [])
        .toString()
        .trim()
      assert.strictEqual((await sandbox.shell(`kill -0 ${pid}`)).success, false)
      assert.strictEqual(await reasonOf(session.run({ command: "true", abortSignal: abort.signal })), reason)
    }))

  it("resolves to null for what does not exist", () =>
    inSession(async (session) => {
      for (const path of ["absent", "absent/deep", "/etc/hostname/file"]) {
        assert.isNull(await session.readFile({ path }))
        assert.isNull(await session.readBinaryFile({ path }))
        assert.isNull(await session.readTextFile({ path }))
        assert.isNull(await session.stat({ path }))
        assert.isNull(await session.listDirectory({ path }))
        assert.isFalse(await session.deleteFile({ path }))
      }
    }))

  it("rejects reading a folder, writing to one, deleting one, and listing a file", () =>
    inSession(async (session) => {
      await session.writeTextFile({ path: "folder/file", content: "x" })
      assert.strictEqual(await tagOf(session.readBinaryFile({ path: "folder" })), "FileError")
      assert.strictEqual(await tagOf(session.writeTextFile({ path: "folder", content: "x" })), "FileError")
      assert.strictEqual(await tagOf(session.deleteFile({ path: "folder" })), "FileError")
      assert.strictEqual(await tagOf(session.listDirectory({ path: "folder/file" })), "FileError")
    }))

  it("looks through links, lists them, and deletes them without their targets", () =>
    inSession(async (session, sandbox) => {
      await session.writeTextFile({ path: "file", content: "12345" })
      await sandbox.fs().symlink("file", "/work/link")
      await sandbox.fs().symlink("absent", "/work/broken")
      await sandbox.fs().mkdir("/work/folder")
      assert.deepStrictEqual(await session.stat({ path: "link" }), { type: "file", size: 5 })
      assert.strictEqual((await session.stat({ path: "folder" }))?.type, "directory")
      assert.isNull(await session.stat({ path: "broken" }))
      assert.deepStrictEqual(await session.listDirectory({ path: "." }), [
        { name: "broken", type: "symlink" },
        { name: "file", type: "file" },
        { name: "folder", type: "directory" },
        { name: "link", type: "symlink" }
      ])
      assert.isTrue(await session.deleteFile({ path: "link" }))
      assert.isTrue(await session.deleteFile({ path: "broken" }))
      assert.strictEqual(await session.readTextFile({ path: "file" }), "12345")
    }))

  it("writes a stream piece by piece, and stops reading it on a failure", () =>
    inSession(async (session) => {
      await session.writeFile({ path: "a/b", content: new Blob(["one,", "two"]).stream() })
      assert.strictEqual(await session.readTextFile({ path: "a/b" }), "one,two")
      const broken = new ReadableStream<Uint8Array>({
        pull: (controller) => controller.error(new Error("no more"))
      })
      assert.match(String(await reasonOf(session.writeFile({ path: "c", content: broken }))), /no more/)
    }))

  it("removes what eve removes: a file, a tree, and with force nothing", () =>
    inSession(async (session) => {
      await session.writeTextFile({ path: "tree/a/b", content: "x" })
      await session.writeTextFile({ path: "file", content: "x" })
      assert.strictEqual(await tagOf(session.removePath({ path: "tree" })), "FileError")
      await session.removePath({ path: "tree", recursive: true })
      await session.removePath({ path: "file", recursive: true })
      assert.deepStrictEqual(await session.listDirectory({ path: "." }), [])
      assert.strictEqual(await tagOf(session.removePath({ path: "file" })), "FileError")
      await session.writeTextFile({ path: "file", content: "x" })
      await session.removePath({ path: "file", force: true, recursive: true })
      assert.deepStrictEqual(await session.listDirectory({ path: "." }), [])
      await session.removePath({ path: "file", force: true })
      await session.removePath({ path: "tree", force: true, recursive: true })
    }))

  it("rejects wrong options and encodings, and names them", async () => {
    await using sandbox = await Lightbox.launchSandbox({ image })
    for (const [field, value] of [
      ["workdir", "rel"],
      ["env", { A: 1 }],
      ["shell", ""],
      ["froce", true]
    ] as const) {
      const error = await rejection(AiSdk.sandboxSession(sandbox, untyped({ [field]: value })))
      assert.match(String(wrongField(error)), new RegExp(`^${field}`))
    }
    const session = await AiSdk.sandboxSession(sandbox)
    const error = await rejection(session.writeTextFile({ path: "/x", content: "", encoding: "klingon" }))
    assert.strictEqual(wrongField(error), "encoding")
  })
})

describe("sandboxProvider", () => {
  const options: AiSdk.ProviderOptions = { image, network: "none", workdir: "/work" }

  it("rejects wrong options before anything boots, and names them", async () => {
    for (const [field, value] of [
      ["image", ""],
      ["workdir", "rel"],
      ["ports", [0]],
      ["shell", ""],
      ["network", "x"],
      ["snapshot", { name: "a b", image }],
      ["froce", true],
      ["name", "a"],
      ["detached", true]
    ] as const) {
      const given = field === "snapshot" ? { snapshot: value } : { ...options, [field]: value }
      const error = await rejection((async () => AiSdk.sandboxProvider(untyped(given)))())
      const expected = field === "snapshot" ? "name" : field
      assert.match(String(wrongField(error)), new RegExp(`^${expected}`))
    }
    const both = untyped({ image, snapshot: { name: "a", image } })
    assert.strictEqual(wrongField(await rejection((async () => AiSdk.sandboxProvider(both))())), "snapshot")
    assert.strictEqual(await memory.count("createSandbox"), 0)
  })

  it("removes a sandbox without a session id when it is stopped or destroyed, in any order", async () => {
    const session = await AiSdk.sandboxProvider(options).createSession()
    assert.strictEqual(session.defaultWorkingDirectory, "/work")
    assert.deepStrictEqual(
      (await Lightbox.Sandbox.list()).map(({ name }) => name),
      [session.id]
    )
    await session.stop()
    await session.destroy()
    await session.stop()
    assert.deepStrictEqual(await Lightbox.Sandbox.list(), [])
  })

  it("keeps the disk of a session id from stop to resume, and removes it when it is destroyed", async () => {
    const provider = AiSdk.sandboxProvider(options)
    const first = await provider.createSession({ sessionId: "s1" })
    await first.writeTextFile({ path: "note", content: "kept" })
    const again = await provider.createSession({ sessionId: "s1" })
    assert.strictEqual(await again.readTextFile({ path: "note" }), "kept")
    await first.stop()
    await first.stop()
    const resumed = await provider.resumeSession({ sessionId: "s1" })
    assert.strictEqual(resumed.id, first.id)
    assert.strictEqual(await resumed.readTextFile({ path: "note" }), "kept")
    const beside = await provider.resumeSession({ sessionId: "s1" })
    assert.strictEqual(await beside.readTextFile({ path: "note" }), "kept")
    await resumed.destroy()
    await resumed.destroy()
    await resumed.stop()
    assert.deepStrictEqual(await Lightbox.Sandbox.list(), [])
    assert.strictEqual(await tagOf(provider.resumeSession({ sessionId: "s1" })), "NotFound")
  })

  it("makes a name of any session id, another for each", async () => {
    const provider = AiSdk.sandboxProvider(options)
    const [one, two] = await Promise.all(
      ["user@example.com/1", "user@example.com/2"].map((sessionId) => provider.createSession({ sessionId }))
    )
    assert.notStrictEqual(one?.id, two?.id)
    await one?.destroy()
    await two?.destroy()
  })

  it("prepares an identity once, in the base directory and with the variables of its sessions", async () => {
    const provider = AiSdk.sandboxProvider({ ...options, env: { A: "1" } })
    let prepared = 0
    const create = () =>
      provider.createSession({
        identity: "tools-1",
        onFirstCreate: async (session) => {
          prepared++
          await session.run({ command: 'echo "$PWD $A" > made' })
        }
      })
    const sessions = await Promise.all([create(), create(), create()])
    assert.strictEqual(prepared, 1)
    for (const session of [...sessions, await create()]) {
      assert.strictEqual(await session.readTextFile({ path: "made" }), "/work 1\n")
      await session.destroy()
    }
    assert.strictEqual(prepared, 1)
    assert.isTrue(await Lightbox.snapshotExists("harness-tools-1"))
  })

  it("builds the definition that it starts from, below an identity as well", async () => {
    const snapshot = { name: "base", image, setup: ["echo base > /base"] }
    const provider = AiSdk.sandboxProvider({ snapshot, network: "none" })
    const plain = await provider.createSession()
    const prepared = await provider.createSession({
      identity: "on-base",
      onFirstCreate: async (session) => await session.writeTextFile({ path: "/made", content: "made" })
    })
    assert.strictEqual(await plain.readTextFile({ path: "/base" }), "base\n")
    assert.isNull(await plain.readTextFile({ path: "/made" }))
    assert.strictEqual(await prepared.readTextFile({ path: "/base" }), "base\n")
    assert.strictEqual(await prepared.readTextFile({ path: "/made" }), "made")
    await plain.destroy()
    await prepared.destroy()
  })

  it("prepares each new sandbox without an identity, and removes it if that fails", async () => {
    const provider = AiSdk.sandboxProvider(options)
    let prepared = 0
    const onFirstCreate = async () => void prepared++
    const first = await provider.createSession({ sessionId: "s", onFirstCreate })
    await provider.createSession({ sessionId: "s", onFirstCreate })
    assert.strictEqual(prepared, 1)
    await first.destroy()
    const failing = provider.createSession({ onFirstCreate: () => Promise.reject(new Error("no tools")) })
    assert.match(String(await reasonOf(failing)), /no tools/)
    assert.deepStrictEqual(await Lightbox.Sandbox.list(), [])
  })

  it("prepares a session once for all who ask for it at the same time, and again if that was cut off", async () => {
    const provider = AiSdk.sandboxProvider(options)
    let prepared = 0
    const create = () =>
      provider.createSession({
        sessionId: "s",
        onFirstCreate: async (session) => {
          if (prepared++ === 0) throw new Error("no tools")
          await session.writeTextFile({ path: "/made", content: "made" })
        }
      })
    const outcomes = await Promise.allSettled([create(), create(), create()])
    assert.deepStrictEqual(
      outcomes.map(({ status }) => status),
      ["rejected", "fulfilled", "fulfilled"]
    )
    assert.strictEqual(prepared, 2)
    for (const outcome of outcomes) {
      if (outcome.status === "fulfilled")
        assert.strictEqual(await outcome.value.readTextFile({ path: "/made" }), "made")
    }
    // As if its process had died before the end.
    const half = await Lightbox.connectToSandbox("harness-session-s")
    await half.fs().remove("/var/lib/lightbox/prepared")
    const again = await create()
    assert.strictEqual(prepared, 3)
    await again.destroy()
  })

  it("forwards its ports, and no others, until they are replaced or the session is stopped", async () => {
    const session = await AiSdk.sandboxProvider({ ...options, ports: [3000, 4000] }).createSession()
    assert.deepStrictEqual(session.ports, [3000, 4000])
    const { url } = await session.getPortEndpoint({ port: 3000, protocol: "ws" })
    assert.match(url, /^ws:\/\/127\.0\.0\.1:\d+$/)
    assert.strictEqual(await session.getPortUrl({ port: 3000 }), url.replace("ws", "http"))
    assert.strictEqual(wrongField(await rejection(session.getPortEndpoint({ port: 5000 }))), "port")
    const isOpen = () =>
      new Promise<boolean>((resolve) => {
        const socket = Net.connect(Number(new URL(url).port), "127.0.0.1")
        socket.once("connect", () => resolve(true)).once("error", () => resolve(false))
        socket.once("connect", () => socket.destroy())
      })
    assert.isTrue(await isOpen())
    await session.setPorts([4000])
    assert.isFalse(await isOpen())
    assert.strictEqual(wrongField(await rejection(session.getPortEndpoint({ port: 3000 }))), "port")
    assert.strictEqual(wrongField(await rejection(session.setPorts([-1]))), "ports.0")
    await session.stop()
  })

  it("gives tools no way to stop the sandbox or to open its ports", async () => {
    const session = await AiSdk.sandboxProvider(options).createSession()
    const tools = session.restricted()
    for (const member of ["stop", "destroy", "setPorts", "getPortEndpoint", "restricted"]) {
      assert.notProperty(tools, member)
    }
    assert.strictEqual((await tools.run({ command: "echo x" })).stdout, "x\n")
    await session.destroy()
  })
})

describe("eveProvider", () => {
  it("prepares its files once, and keeps a session from start to end", async () => {
    const environment = AiSdk.eveProvider.environment({ image, network: "none" })
    const resources = {
      workspace: { key: "w1", targetPath: "/workspace", files: [{ relativePath: "a/b.txt", content: "text" }] },
      skills: {
        key: "s1",
        targetPath: "$HOME/.agents/skills",
        files: [{ relativePath: "x.md", content: new TextEncoder().encode("skill") }]
      }
    }
    const artifact = await environment.prepare({ resources })
    const booted = await memory.count("createSandbox")
    assert.strictEqual(await environment.prepare({ resources }), artifact)
    assert.strictEqual(await memory.count("createSandbox"), booted)
    const context = { session: { id: "thread-1" } }
    const { handle, state } = await environment.start(context, undefined, artifact)
    assert.strictEqual(await handle.sandbox.readTextFile({ path: "a/b.txt" }), "text")
    assert.strictEqual(
      (await handle.sandbox.run({ command: "cat ~/.agents/skills/x.md; pwd" })).stdout,
      "skill/workspace\n"
    )
    await handle.sandbox.writeTextFile({ path: "note", content: "kept" })
    await handle.onRuntimeShutdown()
    const resumed = await environment.resume(context, artifact, state)
    assert.strictEqual(await resumed.sandbox.readTextFile({ path: "note" }), "kept")
    await environment.onSessionEnd(context, artifact, state)
    await environment.onSessionEnd(context, artifact, state)
    assert.deepStrictEqual(await Lightbox.Sandbox.list(), [])
  })

  it("rejects a start whose files are gone", async () => {
    const environment = AiSdk.eveProvider.environment({ image, network: "none" })
    const artifact = await environment.prepare({ resources: {} })
    await Lightbox.removeSnapshot(`harness-${artifact}`)
    await Lightbox.pruneSnapshots({ keep: 1, olderThanMs: 1 })
    const started = environment.start({ session: { id: "a" } }, undefined, artifact)
    assert.match(String(await reasonOf(started)), /prepare it again/)
    assert.deepStrictEqual(await Lightbox.Sandbox.list(), [])
  })
})
