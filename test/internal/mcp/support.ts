/** Sessions of the MCP server in this process, on whatever driver there is. */
import { assert } from "@effect/vitest"
import * as McpProtocol from "effect/ai/McpProtocol"
import * as McpTest from "effect/ai/McpTest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Net from "node:net"
import type { Policy } from "../../../src/internal/mcp/policy.ts"
import * as Server from "../../../src/internal/mcp/server.ts"
import * as Session from "../../../src/internal/mcp/session.ts"
import * as SandboxTools from "../../../src/SandboxTools.ts"

/** A policy that allows everything. */
export const policyOf = (fields?: Partial<Policy>): Policy => ({
  launch: { image: "busybox", network: "none" },
  source: "image busybox",
  forwards: "all",
  snapshots: "agent-",
  idleTimeout: Duration.minutes(15),
  ...fields
})

/** Connects a client to a session, which lasts as long as the scope. */
export const connect = Effect.fnUntraced(function* (fields?: Partial<Policy>) {
  const workspace = yield* Session.make(policyOf(fields))
  return yield* McpTest.makeClient(
    Server.registrations(() => Effect.succeed(workspace)),
    { protocols: [McpProtocol.v2025_11_25] }
  )
})

type Tools = (typeof SandboxTools.toolkit)["tools"]

/** The structured result of a tool, which has the tool's schema, and no more. */
export const call = Effect.fnUntraced(function* <Name extends keyof Tools>(
  client: McpTest.Client,
  name: Name,
  args: { readonly [key: string]: unknown }
) {
  const result = yield* client.callTool({ name, arguments: args })
  assert.isFalse(result.isError, JSON.stringify(result.content))
  // The same for clients that know only text.
  assert.deepStrictEqual(result.content, [{ type: "text", text: JSON.stringify(result.structuredContent) }])
  const schema: Schema.Codec<Tools[Name]["successSchema"]["Type"], unknown> =
    SandboxTools.toolkit.tools[name].successSchema
  return yield* Schema.decodeUnknownEffect(schema)(result.structuredContent, { onExcessProperty: "error" })
})

const decodeFailure = Schema.decodeUnknownEffect(Schema.fromJsonString(SandboxTools.Failure))

/** What a failed tool says. */
export const failure = Effect.fnUntraced(function* (
  client: McpTest.Client,
  name: keyof Tools,
  args: { readonly [key: string]: unknown }
) {
  const { content, isError, structuredContent } = yield* client.callTool({ name, arguments: args })
  assert.isTrue(isError, JSON.stringify(content))
  assert.isUndefined(structuredContent)
  const [part] = content
  return yield* decodeFailure(part?.type === "text" ? part.text : "")
})

/** Sends a line to a port of this host, and returns the answer. */
export const ask = (url: string) =>
  Effect.callback<string, Error | string>((resume) => {
    const { hostname, port } = new URL(url)
    const socket = Net.connect({ host: hostname, port: Number(port) })
    socket.once("data", (data) => resume(Effect.succeed(String(data))))
    socket.once("error", (error) => resume(Effect.fail(error)))
    socket.once("close", () => resume(Effect.fail("closed without an answer")))
    socket.write("hello\n")
    return Effect.sync(() => socket.destroy())
  })
