/** One sandbox through all adapters for frameworks, which share it. */
import * as Assert from "node:assert/strict"
import { once } from "node:events"
import { text } from "node:stream/consumers"
import { sandboxSession } from "../../../src/ai-sdk.ts"
import { spawnInSandbox } from "../../../src/claude-agent.ts"
import { provider } from "../../../src/computesdk.ts"
import { sandboxBackend } from "../../../src/deepagents.ts"
import { configure, launchSandbox } from "../../../src/promise.ts"

const [image = ""] = process.argv.slice(2)

configure({ bootTimeoutMs: 100_000 })

await using sandbox = await launchSandbox({ image, network: "none" })

const session = await sandboxSession(sandbox, { workdir: "/work" })
await session.writeTextFile({ path: "a/b.txt", content: "one\ntwo\n" })
const ran = await session.run({ command: "cat a/b.txt; echo err >&2; exit 3" })
Assert.deepEqual(ran, { exitCode: 3, stdout: "one\ntwo\n", stderr: "err\n" })
Assert.equal(await session.readTextFile({ path: "a/b.txt", startLine: 2, endLine: 2 }), "two")
Assert.equal(await session.readTextFile({ path: "absent" }), null)
Assert.equal(await session.deleteFile({ path: "absent" }), false)
Assert.deepEqual(await session.listDirectory({ path: "." }), [{ name: "a", type: "directory" }])
await Assert.rejects(session.writeTextFile({ path: "a", content: "x" }))
const cat = await session.spawn({ command: "cat", stdin: true })
const writer = cat.stdin.getWriter()
await writer.write(Buffer.from("through a pipe"))
await writer.close()
Assert.equal(await text(cat.stdout), "through a pipe")
const sleep = await session.spawn({ command: "sleep 1000" })
await sleep.kill()
Assert.deepEqual(await sleep.wait(), { exitCode: 137 })

const backend = await sandboxBackend(sandbox, { workdir: "/work" })
Assert.deepEqual(await backend.execute("echo err >&2; echo out"), {
  output: "err\nout\n",
  exitCode: 0,
  truncated: false
})
Assert.equal((await backend.edit("/work/a/b.txt", "two", "2")).occurrences, 1)
Assert.deepEqual((await backend.grep("2", "/work")).matches, [{ path: "/work/a/b.txt", line: 2, text: "2" }])
Assert.deepEqual(
  (await backend.glob("**/*.txt")).files?.map(({ path }) => path),
  ["a/b.txt"]
)
Assert.deepEqual(
  (await backend.downloadFiles(["/work/absent", "/work/a"])).map(({ error }) => error),
  ["file_not_found", "is_directory"]
)
Assert.equal((await backend.delete("/work/a")).error, undefined)
Assert.deepEqual((await backend.ls("/work")).files, [])

const agent = spawnInSandbox(sandbox)({
  command: "sh",
  args: ["-c", 'read -r line; echo "$line in $PWD"; sleep 1000'],
  cwd: "/work",
  env: process.env,
  signal: new AbortController().signal
})
agent.stdin.write("asked\n")
const [said] = await once(agent.stdout, "data")
Assert.equal(String(said), "asked in /work\n")
const ended = new Promise((resolve) => agent.once("exit", (...how) => resolve(how)))
agent.kill("SIGTERM")
Assert.deepEqual(await ended, [null, "SIGTERM"])

const { filesystem, getInfo, getUrl, runCommand } = provider.methods.sandbox
await filesystem.writeFile(sandbox, "/srv/index.html", "served")
await runCommand(sandbox, "httpd -f -p 127.0.0.1:8080 -h /srv", { background: true })
await sandbox.waitUntil({ port: 8080 })
Assert.equal(await (await fetch(await getUrl(sandbox, { port: 8080 }))).text(), "served")
Assert.equal((await runCommand(sandbox, "echo begun; sleep 1000", { timeout: 2_000 })).exitCode, 124)
Assert.equal((await getInfo(sandbox)).status, "running")
await filesystem.remove(sandbox, "/srv")
Assert.equal(await filesystem.exists(sandbox, "/srv"), false)

console.log("all adapters agree")
