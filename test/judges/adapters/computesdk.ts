/** Judge of `effect-lightbox/computesdk`: ComputeSDK's own `defineProvider`, and what its sandboxes promise. */
import { defineProvider, START_FAILURE_EXIT_CODE, TIMEOUT_EXIT_CODE } from "@computesdk/provider"
import * as Assert from "node:assert/strict"
import { provider } from "../../../src/computesdk.ts"
import * as Lightbox from "../../../src/promise.ts"
import { useTwin } from "../../../src/testing.ts"
import { judge, versionOf } from "../cases.ts"

await using _twin = await useTwin()

const compute = defineProvider(provider)({ image: "busybox", network: "none" })

type Sandbox = Awaited<ReturnType<typeof compute.sandbox.create>>

const inSandbox =
  (use: (sandbox: Sandbox) => Promise<void>, options: Parameters<typeof compute.sandbox.create>[0] = {}) =>
  async (): Promise<void> => {
    const sandbox = await compute.sandbox.create(options)
    try {
      await use(sandbox)
    } finally {
      await sandbox.destroy()
      Assert.deepEqual(await Lightbox.Sandbox.list(), [])
    }
  }

await judge(
  "effect-lightbox/computesdk",
  "@computesdk/provider",
  versionOf(import.meta.dirname, "@computesdk/provider"),
  {
    "create, find, list and destroy": async () => {
      const sandbox = await compute.sandbox.create({ name: "one", metadata: { team: "a", count: 2 } })
      Assert.equal(sandbox.sandboxId, "one")
      Assert.equal((await compute.sandbox.getById("one"))?.sandboxId, "one")
      Assert.deepEqual(
        (await compute.sandbox.list()).map(({ sandboxId }) => sandboxId),
        ["one"]
      )
      await compute.sandbox.destroy("one")
      await compute.sandbox.destroy("one")
      Assert.equal(await compute.sandbox.getById("one"), null)
      Assert.deepEqual(await compute.sandbox.list(), [])
    },
    "a name that is taken": inSandbox(
      async () => {
        await Assert.rejects(compute.sandbox.create({ name: "taken" }))
      },
      { name: "taken" }
    ),
    info: inSandbox(
      async (sandbox) => {
        const info = await sandbox.getInfo()
        Assert.equal(info.id, sandbox.sandboxId)
        Assert.equal(info.provider, "effect-lightbox")
        Assert.equal(info.status, "running")
        Assert.equal(info.timeout, 60_500)
        Assert.ok(info.createdAt instanceof Date)
        Assert.deepEqual(info.metadata, { team: "a", count: "2" })
      },
      { timeout: 60_500, metadata: { team: "a", count: 2 } }
    ),
    "a command's outputs and code": inSandbox(async (sandbox) => {
      const result = await sandbox.runCommand("echo out; echo err >&2; exit 3")
      Assert.deepEqual([result.stdout, result.stderr, result.exitCode], ["out\n", "err\n", 3])
      Assert.ok(result.durationMs >= 0)
    }),
    "a command's folder and variables": inSandbox(
      async (sandbox) => {
        const { stdout } = await sandbox.runCommand('echo "$PWD $A $B"', { cwd: "/tmp", env: { B: "2" } })
        Assert.equal(stdout, "/tmp 1 2\n")
      },
      { envs: { A: "1" } }
    ),
    "a command over its time limit": inSandbox(async (sandbox) => {
      const { exitCode, stdout } = await sandbox.runCommand("echo begun; sleep 1000", { timeout: 200 })
      Assert.equal(exitCode, TIMEOUT_EXIT_CODE)
      Assert.equal(stdout, "begun\n")
    }),
    "a command that cannot start": inSandbox(async (sandbox) => {
      Assert.equal((await sandbox.runCommand("no-such-program")).exitCode, START_FAILURE_EXIT_CODE)
      Assert.equal((await sandbox.runCommand("true", { cwd: "/absent" })).exitCode, START_FAILURE_EXIT_CODE)
    }),
    "a command in the background": inSandbox(async (sandbox) => {
      const { exitCode } = await sandbox.runCommand("echo done > /tmp/done; sleep 1000", { background: true })
      Assert.equal(exitCode, 0)
      await sandbox.getInstance().waitUntil({ command: ["test", "-s", "/tmp/done"] })
    }),
    "output while a command runs": inSandbox(async (sandbox) => {
      const seen: Array<string> = []
      const { exitCode, stdout } = await sandbox.runCommand(
        "echo one; echo err >&2; until [ -e /tmp/go ]; do sleep 0.1; done; echo two",
        {
          onStdout: (text) => {
            seen.push(text)
            // It runs until its first line was seen.
            if (seen.length === 1) void sandbox.filesystem.writeFile("/tmp/go", "")
          },
          onStderr: (text) => void seen.push(`stderr ${text}`)
        }
      )
      Assert.equal(exitCode, 0)
      Assert.equal(stdout, "one\ntwo\n")
      Assert.ok(seen.includes("stderr err\n"))
      Assert.equal(seen.at(-1), "two\n")
    }),
    files: inSandbox(async ({ filesystem }) => {
      await filesystem.writeFile("/work/a/b.txt", "grüße\n")
      Assert.equal(await filesystem.readFile("/work/a/b.txt"), "grüße\n")
      await filesystem.writeFile("/work/a/b.txt", "x")
      Assert.equal(await filesystem.readFile("/work/a/b.txt"), "x")
      Assert.equal(await filesystem.exists("/work/a/b.txt"), true)
      Assert.equal(await filesystem.exists("/work/absent"), false)
      await Assert.rejects(filesystem.readFile("/work/absent"))
    }),
    folders: inSandbox(async ({ filesystem }) => {
      await filesystem.mkdir("/work/x/y")
      await filesystem.mkdir("/work/x/y")
      await filesystem.writeFile("/work/file", "12345")
      const entries = await filesystem.readdir("/work")
      Assert.deepEqual(
        entries.map(({ name, size, type }) => [name, type, type === "file" && size]),
        [
          ["file", "file", 5],
          ["x", "directory", false]
        ]
      )
      await filesystem.remove("/work/x")
      await filesystem.remove("/work/file")
      await filesystem.remove("/work/file")
      Assert.deepEqual(await filesystem.readdir("/work"), [])
    }),
    "the URL of a port": inSandbox(async (sandbox) => {
      const url = await sandbox.getUrl({ port: 3000 })
      Assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
      Assert.equal(await sandbox.getUrl({ port: 3000, protocol: "ws" }), url.replace("http", "ws"))
      Assert.notEqual(await sandbox.getUrl({ port: 8080 }), url)
    }),
    "a stopped sandbox boots again when it is asked for": inSandbox(async (sandbox) => {
      await sandbox.filesystem.writeFile("/kept", "kept")
      await sandbox.getInstance().stop()
      Assert.equal((await sandbox.getInfo()).status, "stopped")
      const again = await compute.sandbox.getById(sandbox.sandboxId)
      Assert.equal(await again?.filesystem.readFile("/kept"), "kept")
    }),
    "an abort": async () => {
      await Assert.rejects(compute.sandbox.create({ signal: AbortSignal.abort() }))
      Assert.deepEqual(await Lightbox.Sandbox.list(), [])
    },
    "a template: built, used, listed and deleted": async () => {
      const { template } = compute
      Assert.ok(template)
      const options = { name: "tools", description: "our tools", setup: ["echo tool > /tool"] }
      const made = await template.create(options)
      Assert.equal(made.id, "tools")
      Assert.deepEqual(made.metadata, { description: "our tools" })
      await inSandbox(
        async ({ filesystem }) => {
          Assert.equal(await filesystem.readFile("/tool"), "tool\n")
        },
        { templateId: "tools" }
      )()
      Assert.deepEqual(
        (await template.list()).map(({ id }) => id),
        ["tools"]
      )
      await template.delete("tools")
      Assert.deepEqual(await template.list(), [])
    },
    "a snapshot: captured, used, listed and deleted": inSandbox(async (sandbox) => {
      const { snapshot } = compute
      Assert.ok(snapshot)
      await sandbox.filesystem.writeFile("/root/state", "captured")
      const made = await snapshot.create(sandbox.sandboxId, { name: "state-1", metadata: { by: "judge" } })
      Assert.equal(made.id, "state-1")
      Assert.deepEqual(made.metadata, { by: "judge" })
      // The sandbox was restarted, and is still usable.
      await sandbox.filesystem.writeFile("/root/state", "changed")
      const copy = await compute.sandbox.create({ snapshotId: "state-1" })
      Assert.equal(await copy.filesystem.readFile("/root/state"), "captured")
      await copy.destroy()
      const unnamed = await snapshot.create(sandbox.sandboxId)
      Assert.equal((await snapshot.list({ sandboxId: sandbox.sandboxId })).length, 2)
      Assert.equal((await snapshot.list({ limit: 1 })).length, 1)
      Assert.deepEqual(await snapshot.list({ sandboxId: "another" }), [])
      await snapshot.delete("state-1")
      await snapshot.delete(unnamed.id)
      Assert.deepEqual(await snapshot.list(), [])
    }),
    "wrong options": async () => {
      const wrong = defineProvider(provider)
      await Assert.rejects(wrong({}).sandbox.create(), /image/)
      await Assert.rejects(wrong({ image: "busybox", workdir: "rel" }).sandbox.create(), /workdir/)
      await Assert.rejects(compute.sandbox.create({ name: "a b" }), /name/)
      await Assert.rejects(compute.sandbox.create({ memoryMiB: 1.5 }), /memoryMiB/)
      await Assert.rejects(compute.sandbox.create({ snapshotId: "absent" }))
      Assert.deepEqual(await Lightbox.Sandbox.list(), [])
    }
  }
)
