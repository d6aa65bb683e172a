/** The MCP server over HTTP, on the twin. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import type { Services } from "../../../src/Driver.ts"
import { serve } from "../../../src/internal/mcp/http.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../../src/Sandbox.ts"
import { policyOf } from "./support.ts"

const token = "a-token-of-this-test"

interface Answer {
  readonly status: number | undefined
  readonly session: string
  readonly text: string
}

/** Sends a request with exactly these headers, as browsers and `fetch` do not let one choose them. */
const send = (
  port: number,
  body: object | string | undefined,
  headers: { readonly [name: string]: string } = {},
  method = "POST"
) =>
  Effect.callback<Answer, Error>((resume) => {
    const all = {
      host: `127.0.0.1:${port}`,
      authorization: `Bearer ${token}`,
      accept: "application/json, text/event-stream",
      "content-type": "application/json",
      ...headers
    }
    const request = Http.request({ port, host: "127.0.0.1", path: "/mcp", method, headers: all }, (response) => {
      let text = ""
      response.setEncoding("utf8").on("data", (piece: string) => (text += piece))
      response.once("error", (error) => resume(Effect.fail(error)))
      response.once("end", () =>
        resume(
          Effect.succeed({
            status: response.statusCode,
            session: String(response.headers["mcp-session-id"] ?? ""),
            text
          })
        )
      )
    })
    request.once("error", (error) => resume(Effect.fail(error)))
    request.end(typeof body === "string" || body === undefined ? body : JSON.stringify(body))
  })

const initialize = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "test", version: "1" } }
}

/** Starts a session. */
const start = Effect.fnUntraced(function* (port: number) {
  const { session, status } = yield* send(port, initialize)
  assert.strictEqual(status, 200)
  const headers = { "mcp-session-id": session }
  assert.strictEqual((yield* send(port, { jsonrpc: "2.0", method: "notifications/initialized" }, headers)).status, 202)
  return headers
})

const Result = Schema.fromJsonString(
  Schema.Struct({ result: Schema.Struct({ structuredContent: Schema.Struct({ output: Schema.String }) }) })
)

const run = (script: string) => ({
  jsonrpc: "2.0",
  id: 2,
  method: "tools/call",
  params: { name: "run", arguments: { script } }
})

/** Runs a script in a session. */
const output = Effect.fnUntraced(function* (
  port: number,
  headers: { readonly [name: string]: string },
  script: string
) {
  const { text } = yield* send(port, run(script), headers)
  return (yield* Schema.decodeEffect(Result)(text)).result.structuredContent.output
})

const test = <A, E>(
  name: string,
  use: (port: number) => Effect.Effect<A, E, Services | Scope.Scope>,
  idleTimeout: Duration.Input = "15 minutes"
) =>
  it.live(name, () =>
    serve(policyOf({ idleTimeout: Duration.fromInputUnsafe(idleTimeout) }), { port: 0, token }).pipe(
      Effect.flatMap(({ port }) => use(port)),
      Effect.scoped,
      Effect.provide(MicrosandboxMemory.layer({ images: { busybox: {} } }))
    )
  )

describe("over HTTP", () => {
  test("a session has a sandbox, which goes with it", (port) =>
    Effect.gen(function* () {
      const [one, other] = yield* Effect.all([start(port), start(port)])
      assert.deepStrictEqual(yield* Sandbox.list(), [])
      assert.strictEqual(yield* output(port, one, "echo hi > /root/a; cat /root/a"), "hi\n")
      assert.match(yield* output(port, other, "cat /root/a"), /No such file/)
      assert.strictEqual((yield* Sandbox.list()).length, 2)
      assert.strictEqual((yield* send(port, undefined, one, "DELETE")).status, 204)
      assert.strictEqual((yield* Sandbox.list()).length, 1)
      // The client has to start another one.
      assert.strictEqual((yield* send(port, run("true"), one)).status, 404)
      assert.strictEqual(yield* output(port, other, "echo there"), "there\n")
    }))

  test(
    "a session without calls loses its sandbox, and ends",
    (port) =>
      Effect.gen(function* () {
        const session = yield* start(port)
        assert.strictEqual(yield* output(port, session, "echo hi"), "hi\n")
        yield* Effect.repeat(Sandbox.list(), {
          until: (all) => all.length === 0,
          schedule: Schedule.spaced("10 millis")
        })
        assert.strictEqual((yield* send(port, run("true"), session)).status, 404)
      }),
    "100 millis"
  )

  it.live("all sandboxes go with the server", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { port } = yield* serve(policyOf(), { port: 0, token })
          assert.strictEqual(yield* output(port, yield* start(port), "echo hi"), "hi\n")
          assert.strictEqual((yield* Sandbox.list()).length, 1)
        })
      )
      assert.deepStrictEqual(yield* Sandbox.list(), [])
    }).pipe(Effect.provide(MicrosandboxMemory.layer({ images: { busybox: {} } })))
  )

  test("another token, host or origin is refused", (port) =>
    Effect.gen(function* () {
      const status = (headers: { readonly [name: string]: string }) =>
        Effect.map(send(port, initialize, headers), ({ status }) => status)
      assert.strictEqual(yield* status({ authorization: "Bearer another" }), 401)
      assert.strictEqual(yield* status({ authorization: token }), 401)
      assert.strictEqual(yield* status({ authorization: "" }), 401)
      assert.strictEqual(yield* status({ host: "evil.example" }), 403)
      assert.strictEqual(yield* status({ host: `127.0.0.1:${port + 1}` }), 403)
      assert.strictEqual(yield* status({ origin: "http://evil.example" }), 403)
      assert.strictEqual(yield* status({ origin: `https://127.0.0.1:${port}` }), 403)
      assert.strictEqual(yield* status({ origin: "null" }), 403)
      assert.strictEqual(yield* status({ origin: `http://127.0.0.1:${port}` }), 200)
      assert.strictEqual(yield* status({ host: `localhost:${port}`, origin: `http://localhost:${port}` }), 200)
    }))

  test("a request without a session, or too large, is refused", (port) =>
    Effect.gen(function* () {
      assert.strictEqual((yield* send(port, run("true"))).status, 400)
      assert.strictEqual((yield* send(port, run("true"), { "mcp-session-id": "made-up" })).status, 404)
      assert.strictEqual((yield* send(port, "x".repeat(16 * 1024 * 1024 + 1))).status, 413)
      assert.deepStrictEqual(yield* Sandbox.list(), [])
    }))

  it.live("a port in use is refused", () =>
    Effect.gen(function* () {
      const { port } = yield* serve(policyOf(), { port: 0, token })
      const { message } = yield* Effect.flip(serve(policyOf(), { port, token }))
      assert.match(message, /^Invalid --http: port \d+ of 127\.0\.0\.1 is in use/)
    }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer()))
  )
})
