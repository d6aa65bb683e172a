/** The MCP server as a process, on the twin. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"

const programOf = (name: string): string => fileURLToPath(new URL(`programs/${name}.ts`, import.meta.url))

const Note = Schema.Union([
  Schema.Struct({ created: Schema.String }),
  Schema.Struct({ left: Schema.Array(Schema.String) })
])

/** What the server noted, once it has ended. */
const notes = (file: string) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const lines = (yield* fs.readFileString(file)).trim().split("\n")
    return yield* Effect.forEach(lines, (line) => Schema.decodeEffect(Schema.fromJsonString(Note))(line))
  }).pipe(
    Effect.filterOrFail(
      (all) => all.some((note) => "left" in note),
      () => "the server has not ended"
    ),
    Effect.retry({ schedule: Schedule.spaced("50 millis") })
  )

const messages = (texts: ReadonlyArray<object>): string =>
  texts.map((text) => `${JSON.stringify({ jsonrpc: "2.0", ...text })}\n`).join("")

const initialize = {
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "test", version: "1" } }
}

const Message = Schema.fromJsonString(Schema.Struct({ jsonrpc: Schema.Literal("2.0"), id: Schema.Int }))

describe("over standard input and output", () => {
  it.live(
    "a killed client leaves neither server nor sandbox",
    () =>
      Effect.gen(function* () {
        const file = `${yield* FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped())}/notes`
        const client = yield* ChildProcess.make(process.execPath, [programOf("client"), file])
        const ready = yield* Stream.runHead(Stream.splitLines(Stream.decodeText(client.stdout)))
        assert.deepStrictEqual(ready, Option.some("ready"))
        // Only the client, not its process group.
        yield* Effect.sync(() => process.kill(client.pid, "SIGKILL"))
        const [created, left] = yield* notes(file)
        assert.property(created, "created")
        assert.deepStrictEqual(left, { left: [] })
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    120_000
  )

  it.live(
    "all calls are answered before the server ends with its input, and nothing else is printed",
    () =>
      Effect.gen(function* () {
        const file = `${yield* FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped())}/notes`
        const stdin = messages([
          initialize,
          { method: "notifications/initialized" },
          { id: 2, method: "tools/call", params: { name: "run", arguments: { script: "echo hi" } } },
          { id: 3, method: "tools/call", params: { name: "read", arguments: { path: "/nope" } } }
        ])
        const server = yield* ChildProcess.make(process.execPath, [programOf("server"), file, "--image", "busybox"], {
          stdin: Stream.encodeText(Stream.make(stdin)),
          stderr: "inherit"
        })
        const lines = yield* Stream.runCollect(Stream.splitLines(Stream.decodeText(server.stdout)))
        const answers = yield* Effect.forEach(lines, (line) => Schema.decodeEffect(Message)(line))
        assert.sameMembers(
          answers.map(({ id }) => id),
          [1, 2, 3]
        )
        assert.strictEqual(yield* server.exitCode, 0)
        const [created, left] = yield* notes(file)
        assert.property(created, "created")
        assert.deepStrictEqual(left, { left: [] })
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    120_000
  )
})
