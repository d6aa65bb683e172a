/** The MCP server in this process, on the twin. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../../src/Sandbox.ts"
import * as SandboxTools from "../../../src/SandboxTools.ts"
import { call, connect, failure } from "./support.ts"

const layer = MicrosandboxMemory.layer({ images: { busybox: {} } })

const live = <A, E>(name: string, effect: Effect.Effect<A, E, Effect.Services<ReturnType<typeof connect>>>) =>
  it.live(name, () => Effect.provide(Effect.scoped(effect), layer))

describe("the list of tools", () => {
  live(
    "has all tools, with schemas of their results, in less than 4 kB",
    Effect.gen(function* () {
      const client = yield* connect()
      const list = yield* client.listTools()
      assert.deepStrictEqual(
        list.tools.map(({ name }) => name),
        Object.keys(SandboxTools.toolkit.tools)
      )
      assert.isBelow(Buffer.byteLength(JSON.stringify(list)), 4000)
      for (const { description, inputSchema, name, outputSchema } of list.tools) {
        assert.isAbove(description?.length ?? 0, 20, name)
        assert.strictEqual(inputSchema["type"], "object", name)
        assert.strictEqual(outputSchema?.["type"], "object", name)
      }
      const readOnly = list.tools.filter(({ annotations }) => annotations?.readOnlyHint === true)
      assert.deepStrictEqual(
        readOnly.map(({ name }) => name),
        ["read", "search"]
      )
    })
  )
})

describe("a session", () => {
  live(
    "boots a sandbox at the first call, and removes it at its end",
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const client = yield* Scope.provide(connect(), scope)
      yield* client.listTools()
      yield* client.listResources()
      assert.deepStrictEqual(yield* Sandbox.list(), [])
      // Together, they boot one.
      yield* Effect.all([call(client, "search", { path: "/" }), call(client, "search", { path: "/tmp" })], {
        concurrency: 2
      })
      assert.strictEqual((yield* Sandbox.list()).length, 1)
      yield* call(client, "run", { script: "sleep 1000", wait: 0 })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* Sandbox.list(), [])
    })
  )

  live(
    "has a sandbox of its own",
    Effect.gen(function* () {
      const [one, other] = yield* Effect.all([connect(), connect()])
      yield* call(one, "write", { path: "/root/a", content: "secret" })
      const { error } = yield* failure(other, "read", { path: "/root/a" })
      assert.match(error, /No such file/)
    })
  )

  live(
    "boots another sandbox if it has lost its first",
    Effect.gen(function* () {
      const client = yield* connect()
      yield* call(client, "write", { path: "/root/a", content: "lost" })
      const [first] = yield* Sandbox.list()
      assert.isDefined(first)
      yield* Sandbox.kill(first.name)
      // Calls that still meet the first one fail.
      const { structuredContent } = yield* client
        .callTool({ name: "search", arguments: { path: "/root" } })
        .pipe(Effect.repeat({ until: ({ isError }) => isError === false, schedule: Schedule.spaced("10 millis") }))
      assert.deepStrictEqual(structuredContent, { matches: [] })
      const all = yield* Sandbox.list()
      assert.deepStrictEqual(
        all.map(({ name, status }) => ({ isFirst: name === first.name, status })),
        [{ isFirst: false, status: "running" }]
      )
    })
  )
})

describe("resources", () => {
  live(
    "are the jobs with their output, the log, and files",
    Effect.gen(function* () {
      const client = yield* connect()
      const { id } = yield* call(client, "run", { script: "echo hello" })
      const { resources } = yield* client.listResources()
      assert.deepStrictEqual(
        resources.map(({ uri }) => uri),
        ["lightbox://jobs", "lightbox://log"]
      )
      const { resourceTemplates } = yield* client.listResourceTemplates()
      assert.deepStrictEqual(
        resourceTemplates.map(({ uriTemplate }) => uriTemplate),
        ["lightbox://jobs/{id}", "lightbox://files/{path}"]
      )
      const read = Effect.fnUntraced(function* (uri: string) {
        const { contents } = yield* client.readResource({ uri })
        assert.strictEqual(contents.length, 1)
        const [content] = contents
        assert.isDefined(content)
        return "text" in content ? content.text : content.blob
      })
      assert.match(String(yield* read("lightbox://jobs")), new RegExp(`"id":"${id}".*"exitCode":0`))
      assert.strictEqual(yield* read(`lightbox://jobs/${id}`), "hello\n")
      assert.match(String(yield* read("lightbox://log")), /started/)
      yield* call(client, "run", { script: "printf 'a\\0b' > /root/binary; echo 'text ä' > '/root/a b'" })
      assert.strictEqual(yield* read(`lightbox://files/${encodeURIComponent("/root/a b")}`), "text ä\n")
      assert.deepStrictEqual(yield* read("lightbox://files/%2Froot%2Fbinary"), new Uint8Array([97, 0, 98]))
      const missing = yield* Effect.flip(client.readResource({ uri: "lightbox://files/%2Fnope" }))
      assert.match(missing.message, /No such file/)
      yield* call(client, "write", { path: "/root/large", content: "x".repeat(1024 * 1024 + 1) })
      const large = yield* Effect.flip(client.readResource({ uri: "lightbox://files/%2Froot%2Flarge" }))
      assert.match(large.message, /EFBIG/)
    })
  )
})
