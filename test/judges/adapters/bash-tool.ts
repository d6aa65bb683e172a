/** Judge of the example for bash-tool: its own tools, over a session of `effect-lightbox/ai-sdk`. */
import { createBashTool } from "bash-tool"
import * as Assert from "node:assert/strict"
import { sandboxSession } from "../../../src/ai-sdk.ts"
import * as Lightbox from "../../../src/promise.ts"
import { useTwin } from "../../../src/testing.ts"
import { judge, versionOf } from "../cases.ts"

await using _twin = await useTwin()
await using sandbox = await Lightbox.launchSandbox({ image: "busybox", network: "none" })
const session = await sandboxSession(sandbox, { workdir: "/workspace" })
const { tools } = await createBashTool({
  destination: "/workspace",
  files: { "src/a.txt": "hello\n" },
  sandbox: {
    executeCommand: async (command: string) => await session.run({ command }),
    readFile: async (path: string) => {
      const text = await session.readTextFile({ path })
      if (text === null) throw new Error(`no such file: ${path}`)
      return text
    },
    writeFiles: async (files: Array<{ path: string; content: string | Buffer }>) => {
      for (const { content, path } of files) await session.writeBinaryFile({ path, content: Buffer.from(content) })
    }
  }
})

const options = { toolCallId: "1", messages: [], context: {} }

await judge("bash-tool (example)", "bash-tool", versionOf(import.meta.dirname, "bash-tool"), {
  "a command sees the files that were uploaded": async () => {
    const result = await tools.bash.execute?.({ command: "pwd; cat src/a.txt; echo err >&2; exit 3" }, options)
    Assert.deepEqual(result, { exitCode: 3, stdout: "/workspace\nhello\n", stderr: "err\n" })
  },
  "a file that was written is read": async () => {
    Assert.deepEqual(await tools.writeFile.execute?.({ path: "b/c.txt", content: "x" }, options), { success: true })
    Assert.deepEqual(await tools.readFile.execute?.({ path: "b/c.txt" }, options), { content: "x" })
  },
  "a missing file rejects": async () => {
    await Assert.rejects(async () => await tools.readFile.execute?.({ path: "absent" }, options), /absent/)
  }
})
