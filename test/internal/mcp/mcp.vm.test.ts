/** A session of the MCP server in a real microVM. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Sandbox from "../../../src/Sandbox.ts"
import * as Snapshot from "../../../src/Snapshot.ts"
import * as Support from "../../microvm/support.ts"
import { ask, call, connect, failure } from "./support.ts"

const launch = { image: Support.image, network: "none", resources: { cpus: 1, memory: "128M" } } as const

layer(Support.layer, { excludeTestServices: true })("a session in a microVM", (it) => {
  it.effect("works with every tool, and leaves nothing behind", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const client = yield* connect({ launch })
          const { id, ...ran } = yield* call(client, "run", { script: "echo one; echo two >&2; exit 3" })
          assert.deepStrictEqual(ran, { status: "exited", exitCode: 3, output: "one\ntwo\n", from: 0, next: 8 })
          assert.strictEqual((yield* call(client, "job", { id, since: 4 })).output, "two\n")
          assert.strictEqual((yield* Sandbox.list()).length, 1)

          yield* call(client, "write", { path: "/work/src/a.ts", content: "one\ntwo (2)\n" })
          assert.deepStrictEqual(yield* call(client, "edit", { path: "/work/src/a.ts", old: "one", new: "ä" }), {
            replaced: 1
          })
          assert.deepStrictEqual(yield* call(client, "read", { path: "/work/src/a.ts" }), { content: "ä\ntwo (2)\n" })
          const missing = yield* failure(client, "read", { path: "/work/nope" })
          assert.match(missing.error, /ENOENT/)
          const search = (args: object) => call(client, "search", { path: "/work", ...args })
          assert.deepStrictEqual(yield* search({}), { matches: ["src/"] })
          assert.deepStrictEqual(yield* search({ glob: "*.ts" }), { matches: ["/work/src/a.ts"] })
          assert.deepStrictEqual(yield* search({ pattern: "\\([0-9]\\)" }), {
            matches: ["/work/src/a.ts:2:two (2)"]
          })
          const regex = yield* failure(client, "search", { path: "/work", pattern: "[" })
          assert.match(regex.error, /^Invalid pattern: grep: /)

          const server = yield* call(client, "run", {
            script: "while true; do nc -l -p 80 -e cat; done",
            wait: 0
          })
          const { url } = yield* call(client, "forward", { port: 80 })
          const answer = yield* Effect.retry(ask(url), { schedule: Schedule.spaced("200 millis") })
          assert.strictEqual(answer, "hello\n")
          const killed = yield* call(client, "job", { id: server.id, signal: "KILL" })
          assert.strictEqual(killed.status, "killed")

          yield* call(client, "snapshot", { name: "agent-vm" })
          assert.strictEqual((yield* call(client, "read", { path: "/work/src/a.ts", line: 2 })).content, "two (2)\n")
          assert.isTrue(yield* Snapshot.exists("agent-vm"))
        })
      )
      assert.deepStrictEqual(yield* Sandbox.list(), [])
      yield* Snapshot.remove("agent-vm")
      yield* Support.assertNothingLeft()
    })
  )
})
