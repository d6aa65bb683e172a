/**
 * Judges of `effect-lightbox/ai-sdk`: the AI SDK's own calls with a scripted model, its harness, and the same calls on its
 * own sandbox, just-bash, which must give the same answers.
 */
import { prepareHarnessSandboxTemplate } from "@ai-sdk/harness/agent"
import { createJustBashSandbox } from "@ai-sdk/sandbox-just-bash"
import { type Experimental_SandboxSession, generateText, stepCountIs, tool } from "ai"
import { MockLanguageModelV4 } from "ai/test"
import * as Assert from "node:assert/strict"
import { text } from "node:stream/consumers"
import { z } from "zod"
import * as AiSdk from "../../../src/ai-sdk.ts"
import * as Lightbox from "../../../src/promise.ts"
import { useTwin } from "../../../src/testing.ts"
import { judge, versionOf } from "../cases.ts"

const version = (name: string) => versionOf(import.meta.dirname, name)

const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 1, text: 1, reasoning: 0 }
}

/** The part of a session that both sandboxes have. */
type Common = Pick<
  Experimental_SandboxSession,
  "readBinaryFile" | "readFile" | "readTextFile" | "run" | "writeBinaryFile" | "writeFile" | "writeTextFile"
> & {
  readonly spawn: (options: { command: string }) => PromiseLike<
    Pick<AiSdk.SandboxProcess, "stderr" | "stdout"> & {
      wait(): PromiseLike<unknown>
    }
  >
}

const bytes = (data: Uint8Array | null): unknown => data && [...data]

/** Calls that must give the same answers on both. */
const calls: { readonly [title: string]: (session: Common) => PromiseLike<unknown> } = {
  "run returns both outputs and the code": (s) => s.run({ command: "echo out; echo err >&2; exit 3" }),
  "run sees its variables": (s) => s.run({ command: 'echo "$A-$B"', env: { A: "1", B: "two words" } }),
  "run starts in its working directory": (s) => s.run({ command: "pwd", workingDirectory: "/tmp" }),
  "run does not remember a changed directory": async (s) => {
    const before = await s.run({ command: "pwd" })
    await s.run({ command: "cd /" })
    return (await s.run({ command: "pwd" })).stdout === before.stdout
  },
  "run reports a missing program": async (s) => (await s.run({ command: "no-such-program" })).exitCode,
  "run with pipes and redirections": (s) => s.run({ command: "printf 'b\\na\\n' | sort > f; cat f" }),
  "readTextFile of a missing file": (s) => s.readTextFile({ path: "absent" }),
  "readBinaryFile of a missing file": (s) => s.readBinaryFile({ path: "absent/deep" }),
  "readFile of a missing file": (s) => s.readFile({ path: "absent" }),
  "a text comes back": async (s) => {
    await s.writeTextFile({ path: "a.txt", content: "grüß dich\n" })
    return await s.readTextFile({ path: "a.txt" })
  },
  "an empty file comes back": async (s) => {
    await s.writeTextFile({ path: "empty", content: "" })
    return await s.readTextFile({ path: "empty" })
  },
  "bytes come back": async (s) => {
    await s.writeBinaryFile({ path: "bytes", content: Uint8Array.of(0, 1, 254, 255) })
    return bytes(await s.readBinaryFile({ path: "bytes" }))
  },
  "a stream comes back": async (s) => {
    await s.writeFile({ path: "stream", content: new Blob(["one", "two"]).stream() })
    const read = await s.readFile({ path: "stream" })
    return read && (await text(read))
  },
  "writing creates folders": async (s) => {
    await s.writeTextFile({ path: "x/y/z.txt", content: "deep" })
    return await s.readTextFile({ path: "x/y/z.txt" })
  },
  "writing replaces": async (s) => {
    await s.writeTextFile({ path: "twice", content: "a long first text" })
    await s.writeTextFile({ path: "twice", content: "short" })
    return await s.readTextFile({ path: "twice" })
  },
  "commands see files, and files see commands": async (s) => {
    await s.writeTextFile({ path: "shared", content: "from the host" })
    const seen = await s.run({ command: "cat shared; printf guest > other" })
    return [seen, await s.readTextFile({ path: "other" })]
  },
  ...Object.fromEntries(
    [
      { startLine: 2 },
      { endLine: 2 },
      { startLine: 2, endLine: 3 },
      { startLine: 2, endLine: 99 },
      { startLine: 9 },
      { startLine: 0, endLine: 1 }
    ].map((range) => [
      `lines ${JSON.stringify(range)}`,
      async (s: Common) => {
        await s.writeTextFile({ path: "lines", content: "1\n2\n3\n4\n" })
        return await s.readTextFile({ path: "lines", ...range })
      }
    ])
  ),
  "lines that end with carriage returns": async (s) => {
    await s.writeTextFile({ path: "crlf", content: "1\r\n2\r\n3" })
    return await s.readTextFile({ path: "crlf", startLine: 2, endLine: 2 })
  },
  "another encoding": async (s) => {
    await s.writeTextFile({ path: "latin", content: "grüß", encoding: "latin1" })
    return [
      bytes(await s.readBinaryFile({ path: "latin" })),
      await s.readTextFile({ path: "latin", encoding: "latin1" })
    ]
  },
  "spawn streams both outputs": async (s) => {
    const process = await s.spawn({ command: "echo out; echo err >&2; exit 2" })
    return await Promise.all([text(process.stdout), text(process.stderr), process.wait()])
  },
  "an aborted signal stops run before it starts": async (s) =>
    await Promise.resolve(s.run({ command: "echo x", abortSignal: AbortSignal.abort("stop") })).then(
      () => "ran",
      (reason: unknown) => reason
    ),
  "absolute paths": async (s) => {
    await s.writeTextFile({ path: "/tmp/absolute", content: "a" })
    return await s.run({ command: "cat /tmp/absolute" })
  },
  "paths with spaces and quotes": async (s) => {
    await s.writeTextFile({ path: "a 'b' \"c\"/d e", content: "odd" })
    return await s.readTextFile({ path: "a 'b' \"c\"/d e" })
  },
  "writing to a folder rejects": async (s) => {
    await s.run({ command: "mkdir -p folder" })
    return await Promise.resolve(s.writeTextFile({ path: "folder", content: "x" })).then(
      () => "wrote",
      () => "rejected"
    )
  }
}

const harness = (commands: ReadonlyArray<string>) => ({
  specificationVersion: "harness-v1" as const,
  harnessId: "stand-in",
  builtinTools: {},
  getBootstrap: async () => ({
    harnessId: "stand-in",
    bootstrapDir: "/opt/stand-in",
    files: [{ path: "/opt/stand-in/bridge.txt", content: "bridge" }],
    commands: commands.map((command) => ({ command }))
  }),
  doStart: () => Promise.reject(new Error("not started here"))
})

await using _twin = await useTwin()

const options = { image: "busybox", workdir: "/home/user", network: "none" } as const

await judge("effect-lightbox/ai-sdk", "ai", version("ai"), {
  "a model's tool runs commands and reads files in the sandbox": async () => {
    await using sandbox = await Lightbox.launchSandbox({ image: "busybox", network: "none" })
    let turn = 0
    const model = new MockLanguageModelV4({
      doGenerate: async () => ({
        content:
          turn++ === 0
            ? [{ type: "tool-call", toolCallId: "1", toolName: "bash", input: '{"command":"echo 42 > answer"}' }]
            : [{ type: "text", text: "done" }],
        finishReason: { unified: turn === 1 ? "tool-calls" : "stop", raw: undefined },
        usage,
        warnings: []
      })
    })
    const session = await AiSdk.sandboxSession(sandbox, { workdir: "/work" })
    const result = await generateText({
      model,
      prompt: "write the answer",
      stopWhen: stepCountIs(3),
      experimental_sandbox: session,
      tools: {
        bash: tool({
          inputSchema: z.object({ command: z.string() }),
          execute: async ({ command }, { experimental_sandbox: sandbox }) => {
            Assert.ok(sandbox)
            await sandbox.run({ command })
            return await sandbox.readTextFile({ path: "answer" })
          }
        })
      }
    })
    Assert.equal(result.text, "done")
    Assert.equal(result.steps[0]?.toolResults[0]?.output, "42\n")
    Assert.equal((await sandbox.shell("cat /work/answer")).stdout(), "42\n")
  }
})

await judge(
  "effect-lightbox/ai-sdk",
  "@ai-sdk/sandbox-just-bash",
  version("@ai-sdk/sandbox-just-bash"),
  Object.fromEntries(
    Object.entries(calls).map(([title, call]) => [
      title,
      async () => {
        const theirs = await createJustBashSandbox({ cwd: "/home/user" }).createSession()
        const ours = await AiSdk.sandboxProvider(options).createSession()
        try {
          Assert.deepEqual(await call(ours.restricted()), await call(theirs.restricted()))
        } finally {
          await ours.stop()
          await theirs.stop()
        }
      }
    ])
  ),
  { "writing to a folder rejects": "the AI SDK asks for it, and just-bash replaces the folder" }
)

await judge("effect-lightbox/ai-sdk", "@ai-sdk/harness", version("@ai-sdk/harness"), {
  "prepares a template once, for several callers at a time": async () => {
    const sandboxProvider = AiSdk.sandboxProvider(options)
    const recipe = harness(["echo run >> runs"])
    await Promise.all([1, 2, 3].map(() => prepareHarnessSandboxTemplate({ harness: recipe, sandboxProvider })))
    await prepareHarnessSandboxTemplate({ harness: recipe, sandboxProvider })
    const [template, ...more] = (await Lightbox.listSnapshots()).flatMap(({ name }) =>
      name?.startsWith("harness-") === true ? [name] : []
    )
    Assert.deepEqual(more, [])
    Assert.ok(template)
    await using sandbox = await Lightbox.launchSandbox({ snapshot: template })
    const out = await sandbox.shell("cat /opt/stand-in/bridge.txt /opt/stand-in/runs")
    Assert.equal(out.stdout(), "bridgerun\n")
  },
  "leaves no sandbox behind": async () => {
    Assert.deepEqual(await Lightbox.Sandbox.list(), [])
  },
  "prepares another template for another recipe": async () => {
    const sandboxProvider = AiSdk.sandboxProvider(options)
    await prepareHarnessSandboxTemplate({ harness: harness(["echo other > runs"]), sandboxProvider })
    const templates = (await Lightbox.listSnapshots()).filter(({ name }) => name?.startsWith("harness-") === true)
    Assert.equal(templates.length, 2)
  },
  "keeps no template of a recipe that fails": async () => {
    const sandboxProvider = AiSdk.sandboxProvider(options)
    await Assert.rejects(prepareHarnessSandboxTemplate({ harness: harness(["exit 7"]), sandboxProvider }), /exit 7/)
    const templates = (await Lightbox.listSnapshots()).filter(({ name }) => name?.startsWith("harness-") === true)
    Assert.equal(templates.length, 2)
    Assert.deepEqual(await Lightbox.Sandbox.list(), [])
  }
})
