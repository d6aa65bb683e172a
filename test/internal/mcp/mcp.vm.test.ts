/** `lightbox mcp` on a real microVM: a session of an agent, as its client sees it. */
import { assert, layer } from "@effect/vitest"
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import * as Support from "../../microvm/support.ts"

const bin = fileURLToPath(new URL("../../../src/bin.ts", import.meta.url))

const Answer = Schema.fromJsonString(
  Schema.Struct({
    id: Schema.Int,
    result: Schema.Struct({ structuredContent: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)) })
  })
)

/** Starts a server, and speaks with it as a client does. */
const connect = Effect.fnUntraced(function* (policy: string) {
  const sent = yield* Queue.unbounded<string, Cause.Done>()
  const server = yield* ChildProcess.make(process.execPath, [bin, "mcp", "--policy", policy], {
    stdin: Stream.encodeText(Stream.fromQueue(sent)),
    stderr: "inherit",
    env: { MSB_HOME: (yield* Support.Home).path },
    extendEnv: true
  })
  const waiting = new Map<number, Deferred.Deferred<(typeof Answer)["Type"]["result"]>>()
  yield* Stream.splitLines(Stream.decodeText(server.stdout)).pipe(
    Stream.mapEffect((line) => Schema.decodeEffect(Answer)(line)),
    Stream.runForEach(({ id, result }) => {
      const asked = waiting.get(id)
      return asked === undefined ? Effect.void : Deferred.succeed(asked, result)
    }),
    // A message that is not of the protocol fails all that wait.
    Effect.tapCause((cause) => Effect.forEach(waiting.values(), (asked) => Deferred.die(asked, cause))),
    Effect.forkScoped
  )
  const send = (message: object) => Queue.offer(sent, `${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`)
  const request = Effect.fnUntraced(function* (method: string, params: object) {
    const asked = yield* Deferred.make<(typeof Answer)["Type"]["result"]>()
    const id = waiting.size
    waiting.set(id, asked)
    yield* send({ id, method, params })
    return yield* Deferred.await(asked)
  })
  yield* request("initialize", {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo: { name: "test", version: "1" }
  })
  yield* send({ method: "notifications/initialized" })
  return {
    call: (name: string, args: object) =>
      Effect.map(request("tools/call", { name, arguments: args }), ({ structuredContent }) => structuredContent ?? {}),
    close: Effect.andThen(Queue.end(sent), server.exitCode)
  }
})

layer(Support.layer, { excludeTestServices: true })("lightbox mcp", (it) => {
  it.effect("gives a session a microVM that goes with it", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const policy = path.join((yield* Support.Home).files, "policy.json")
      const resources = { memory: "256M", disk: "1G" }
      yield* fs.writeFileString(policy, JSON.stringify({ image: Support.image, resources }))
      const { call, close } = yield* connect(policy)

      const ran = yield* call("run", { script: "echo one; echo two >&2; exit 3", wait: 50 })
      assert.deepInclude(ran, { status: "exited", exitCode: 3, output: "one\ntwo\n" })
      assert.deepStrictEqual(yield* call("write", { path: "/srv/index.html", content: "first\n" }), { bytes: 6 })
      assert.deepStrictEqual(yield* call("edit", { path: "/srv/index.html", old: "first", new: "served" }), {
        replaced: 1
      })
      assert.deepStrictEqual((yield* call("search", { path: "/srv", pattern: "^serv" }))["matches"], [
        "/srv/index.html:1:served"
      ])
      assert.deepStrictEqual(yield* call("read", { path: "/srv/index.html" }), { content: "served\n" })

      // It listens before it goes to the background, where it stays.
      assert.deepInclude(yield* call("run", { script: "httpd -p 127.0.0.1:8000 -h /srv", wait: 50 }), { exitCode: 0 })
      const { url } = yield* call("forward", { port: 8000 })
      assert.strictEqual(yield* Effect.promise(async () => await (await fetch(String(url))).text()), "served\n")
      const started = yield* call("run", { script: "sleep 1000", wait: 0 })
      assert.strictEqual(started["status"], "running")
      const ended = yield* call("job", { id: started["id"], signal: "SIGTERM", wait: 50 })
      assert.deepInclude(ended, { status: "killed" })

      assert.deepStrictEqual(yield* call("snapshot", { name: "agent-served" }), { name: "agent-served", generation: 1 })
      assert.deepStrictEqual(yield* call("read", { path: "/srv/index.html" }), { content: "served\n" })
      assert.strictEqual(Number(yield* close), 0)
      yield* Support.assertNothingLeft({ snapshots: ["agent-served"] })
    }).pipe(Effect.scoped)
  )
})
