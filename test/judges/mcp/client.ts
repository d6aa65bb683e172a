/** The official client works through every tool and resource, over standard input and output and over HTTP. */
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client"
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio"
import * as Assert from "node:assert/strict"
import * as Fs from "node:fs"
import { command, judge, startHttp, token, work } from "./support.ts"

const http = await startHttp()

const transports = {
  stdio: () => {
    const [program, ...args] = command
    return new StdioClientTransport({ command: program, args: [...args], stderr: "inherit" })
  },
  http: () =>
    new StreamableHTTPClientTransport(new URL(http.url), {
      requestInit: { headers: { Authorization: `Bearer ${token}` } }
    })
} as const

/** A session of its own. */
const session = async (name: keyof typeof transports, use: (client: Client) => Promise<void>): Promise<void> => {
  const client = new Client({ name: "judge", version: "1.0.0" })
  const transport = transports[name]()
  await client.connect(transport)
  try {
    await use(client)
  } finally {
    if (transport instanceof StreamableHTTPClientTransport) await transport.terminateSession()
    await client.close()
  }
}

/** The structured content of a result, which the client has checked against the tool's schema. */
const call = async (client: Client, name: string, args: Record<string, unknown>): Promise<Record<string, unknown>> => {
  const { isError, structuredContent } = await client.callTool({ name, arguments: args })
  Assert.ok(isError !== true && typeof structuredContent === "object" && structuredContent !== null, `${name} failed`)
  return { ...structuredContent }
}

const fails = async (client: Client, name: string, args: Record<string, unknown>): Promise<string> => {
  const { content, isError } = await client.callTool({ name, arguments: args })
  Assert.equal(isError, true)
  const [part] = content
  return part?.type === "text" ? part.text : ""
}

const casesOf = (name: keyof typeof transports): { readonly [title: string]: () => Promise<void> } => ({
  [`${name}: initialize`]: () =>
    session(name, async (client) => {
      Assert.equal(client.getServerVersion()?.name, "lightbox")
      Assert.match(client.getInstructions() ?? "", /a microVM of your own, from image busybox, with no network/)
      await client.ping()
    }),
  [`${name}: tools/list`]: () =>
    session(name, async (client) => {
      const list = await client.listTools()
      Assert.deepEqual(
        list.tools.map((tool) => tool.name),
        ["run", "job", "read", "write", "edit", "search", "forward", "snapshot"]
      )
      Assert.ok(Buffer.byteLength(JSON.stringify(list.tools)) < 4000)
    }),
  [`${name}: run and job`]: () =>
    session(name, async (client) => {
      const { exitCode, output } = await call(client, "run", { script: "echo one; echo two >&2; exit 3" })
      Assert.deepEqual({ exitCode, output }, { exitCode: 3, output: "one\ntwo\n" })
      const { id, status } = await call(client, "run", { script: "echo up; sleep 1000", wait: 0 })
      Assert.equal(status, "running")
      const ended = await call(client, "job", { id, signal: "SIGTERM" })
      Assert.equal(ended["status"], "killed")
      Assert.match(await fails(client, "job", { id: "nope" }), /run starts a job/)
    }),
  [`${name}: read, write, edit and search`]: () =>
    session(name, async (client) => {
      Assert.deepEqual(await call(client, "write", { path: "/work/a.ts", content: "one\ntwo\n" }), { bytes: 8 })
      Assert.deepEqual(await call(client, "edit", { path: "/work/a.ts", old: "two", new: "2" }), { replaced: 1 })
      Assert.deepEqual(await call(client, "read", { path: "/work/a.ts", line: 2 }), { content: "2\n" })
      Assert.deepEqual(await call(client, "search", { path: "/work", pattern: "[0-9]" }), {
        matches: ["/work/a.ts:2:2"]
      })
      Assert.match(await fails(client, "read", { path: "/nope" }), /ENOENT/)
    }),
  [`${name}: forward and snapshot`]: () =>
    session(name, async (client) => {
      const { url } = await call(client, "forward", { port: 3000 })
      Assert.match(String(url), /^http:\/\/127\.0\.0\.1:\d+$/)
      Assert.match(await fails(client, "forward", { port: 80 }), /may forward 3000/)
      const snapshot = await call(client, "snapshot", { name: `judged-${name}` })
      Assert.equal(snapshot["name"], `judged-${name}`)
      Assert.match(await fails(client, "snapshot", { name: "node-ci" }), /begins with/)
    }),
  [`${name}: resources`]: () =>
    session(name, async (client) => {
      const { id } = await call(client, "run", { script: "echo hello | tee /root/a" })
      const { resources } = await client.listResources()
      Assert.deepEqual(
        resources.map(({ uri }) => uri),
        ["lightbox://jobs", "lightbox://log"]
      )
      const { resourceTemplates } = await client.listResourceTemplates()
      Assert.equal(resourceTemplates.length, 2)
      const read = async (uri: string): Promise<string> => {
        const [content] = (await client.readResource({ uri })).contents
        return content !== undefined && "text" in content ? content.text : ""
      }
      Assert.equal(await read("lightbox://files/%2Froot%2Fa"), "hello\n")
      Assert.equal(await read(`lightbox://jobs/${String(id)}`), "hello\n")
      Assert.match(await read("lightbox://jobs"), new RegExp(String(id)))
    })
})

Fs.rmSync(`${work}/notes`, { force: true })
try {
  await judge("@modelcontextprotocol/client", {
    ...casesOf("stdio"),
    ...casesOf("http"),
    "http: another token is refused": async () => {
      const client = new Client({ name: "judge", version: "1.0.0" })
      const transport = new StreamableHTTPClientTransport(new URL(http.url), {
        requestInit: { headers: { Authorization: "Bearer another" } }
      })
      await Assert.rejects(client.connect(transport), /Expected the header Authorization/)
    }
  })
} finally {
  http.stop()
}
