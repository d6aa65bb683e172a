/**
 * Judge of `effect-lightbox/claude-agent`: the Claude Agent SDK itself, with a scripted stand-in for its executable in the
 * guest. The stand-in answers the SDK's control requests, and runs each prompt as a command.
 */
import { query, type SDKMessage } from "@anthropic-ai/claude-agent-sdk"
import * as Assert from "node:assert/strict"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { spawnInSandbox, type SpawnInSandboxOptions } from "../../../src/claude-agent.ts"
import * as Lightbox from "../../../src/promise.ts"
import { useTwin } from "../../../src/testing.ts"
import { judge, versionOf } from "../cases.ts"

const standIn = Fs.readFileSync(Path.join(import.meta.dirname, "claudeStandIn.sh"))

await using _twin = await useTwin()

const inSandbox = async <A>(use: (sandbox: Lightbox.Sandbox) => Promise<A>): Promise<A> => {
  await using sandbox = await Lightbox.launchSandbox({ image: "busybox", network: "none" })
  await sandbox.fs().write("/bin/claude", standIn, { mode: 0o755 })
  await sandbox.fs().mkdir("/work")
  return await use(sandbox)
}

const ask = (sandbox: Lightbox.Sandbox, prompt: string, options: SpawnInSandboxOptions = {}, more = {}) =>
  query({
    prompt,
    options: {
      cwd: "/work",
      pathToClaudeCodeExecutable: "claude",
      spawnClaudeCodeProcess: spawnInSandbox(sandbox, options),
      ...more
    }
  })

const resultOf = async (messages: AsyncIterable<SDKMessage>): Promise<string> => {
  let result = ""
  for await (const message of messages) {
    if (message.type === "result" && message.subtype === "success") result = message.result
  }
  return result
}

await judge(
  "effect-lightbox/claude-agent",
  "@anthropic-ai/claude-agent-sdk",
  versionOf(import.meta.dirname, "@anthropic-ai/claude-agent-sdk"),
  {
    "a prompt is answered from inside the sandbox": () =>
      inSandbox(async (sandbox) => {
        Assert.equal(await resultOf(ask(sandbox, "echo made > made; pwd")), "/work")
        Assert.equal(await sandbox.fs().readToString("/work/made"), "made\n")
      }),
    "several prompts go to one process": () =>
      inSandbox(async (sandbox) => {
        const prompts = (async function* () {
          for (const content of ["echo one", "echo two"]) {
            yield {
              type: "user" as const,
              session_id: "",
              parent_tool_use_id: null,
              message: { role: "user" as const, content }
            }
          }
        })()
        const results: Array<string> = []
        const messages = query({
          prompt: prompts,
          options: {
            cwd: "/work",
            pathToClaudeCodeExecutable: "claude",
            spawnClaudeCodeProcess: spawnInSandbox(sandbox)
          }
        })
        for await (const message of messages) {
          if (message.type === "result" && message.subtype === "success") results.push(message.result)
          if (results.length === 2) break
        }
        Assert.deepEqual(results, ["one", "two"])
        Assert.equal((await sandbox.fs().readToString("/tmp/starts")).trim(), "start")
      }),
    "variables of this process stay here": () =>
      inSandbox(async (sandbox) => {
        process.env["JUDGE_SECRET"] = "of the host"
        const answer = await resultOf(
          ask(
            sandbox,
            "echo [$JUDGE_SECRET] [$MINE] [$ASKED] $CLAUDE_CODE_ENTRYPOINT",
            { env: { MINE: "1" } },
            {
              env: { ...process.env, ASKED: "2" }
            }
          )
        )
        Assert.equal(answer, "[] [1] [2] sdk-ts")
      }),
    "standard error goes to its listener": () =>
      inSandbox(async (sandbox) => {
        let heard = ""
        await resultOf(ask(sandbox, "echo oops >&2; echo x", { onStderr: (text) => void (heard += text) }))
        Assert.equal(heard, "oops\n")
      }),
    "a process that ends with a code is an error that names it": () =>
      inSandbox(async (sandbox) => {
        await Assert.rejects(resultOf(ask(sandbox, "DIE")), /code 7/)
      }),
    "a missing executable is an error that names it": () =>
      inSandbox(async (sandbox) => {
        await Assert.rejects(
          resultOf(ask(sandbox, "true", {}, { pathToClaudeCodeExecutable: "no-claude-here" })),
          /no-claude-here/
        )
      }),
    "an abort kills the process in the guest": () =>
      inSandbox(async (sandbox) => {
        const abortController = new AbortController()
        const messages = ask(sandbox, "HANG", {}, { abortController })
        await Assert.rejects(async () => {
          for await (const message of messages) if (message.type === "system") abortController.abort()
        })
        await sandbox.waitUntil({ command: ["sh", "-c", "! kill -0 $(cat /tmp/pid)"] })
      })
  }
)
