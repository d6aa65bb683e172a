import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as Stream from "node:stream"
import * as AgentGuest from "../../../src/internal/guest/agent.ts"
import * as AgentConnection from "../../../src/internal/guest/connection.ts"
import * as Protocol from "../../../src/internal/guest/protocol.ts"

const connect = (duplex: AgentConnection.Channel) =>
  AgentConnection.make({ name: "one", open: () => duplex, timeout: Duration.seconds(1) })

/** A channel that records what is written to it, and the number of writes. */
const silent = () => {
  const written: Array<Uint8Array> = []
  let writes = 0
  const duplex = Object.assign(
    new Stream.Duplex({
      read: () => {},
      write: (chunk: Uint8Array, _encoding, done) => {
        writes++
        written.push(chunk)
        done()
      },
      writev: (chunks, done) => {
        writes++
        for (const { chunk } of chunks) written.push(chunk)
        done()
      }
    }),
    { ref: () => {}, unref: () => {} }
  )
  return { duplex, bytes: () => Buffer.concat(written), writes: () => writes }
}

/** One that is greeted as by a relay. */
const channel = () => {
  const made = silent()
  const greeting = new Uint8Array(8)
  new DataView(greeting.buffer).setUint32(4, 100)
  made.duplex.push(greeting)
  made.duplex.push(Protocol.encode(0, "core.ready", {}))
  return made
}

const frames = (...types: ReadonlyArray<string>) => Buffer.concat(types.map((type) => Protocol.encode(1, type, {})))

describe("a connection to a guest", () => {
  it.live("sends messages of one turn in one write", () =>
    Effect.gen(function* () {
      const { bytes, duplex, writes } = channel()
      const connection = yield* connect(duplex)
      connection.post(1, "first", {})
      connection.post(1, "second", {})
      yield* Effect.yieldNow
      yield* Effect.promise(() => Promise.resolve())
      assert.deepStrictEqual(bytes(), frames("first", "second"))
      assert.strictEqual(writes(), 1)
    }).pipe(Effect.scoped)
  )

  it.live("sends no frame that is too long for the relay", () =>
    Effect.gen(function* () {
      const { bytes, duplex } = channel()
      const connection = yield* connect(duplex)
      const guest = AgentGuest.make(connection)
      const path = `/${"x".repeat(Protocol.maxFrameBytes)}`
      for (const request of [guest.stat(path), guest.symlink(path, "/link"), guest.rename("/one", path)]) {
        const { reason } = yield* Effect.flip(request)
        assert.deepInclude(reason, { _tag: "FileError", code: "ENAMETOOLONG" })
      }
      connection.post(1, "short", {})
      yield* Effect.promise(() => Promise.resolve())
      assert.deepStrictEqual(bytes(), frames("short"))
    }).pipe(Effect.scoped)
  )

  it.effect("fails with the reason when the relay is full, missing or silent", () =>
    Effect.gen(function* () {
      const refusal = Effect.fnUntraced(function* (happens: (duplex: Stream.Duplex) => void) {
        const { duplex } = silent()
        const connecting = yield* Effect.forkChild(Effect.flip(Effect.scoped(connect(duplex))), {
          startImmediately: true
        })
        happens(duplex)
        yield* TestClock.adjust("1 second")
        return (yield* Fiber.join(connecting)).reason
      })
      const full = yield* refusal((duplex) => duplex.destroy())
      assert.deepInclude(full, { _tag: "GuestBusy", name: "one" })
      assert.isTrue(full.isRetryable)
      const cause = new Error("connect ENOENT")
      assert.deepInclude(yield* refusal((duplex) => duplex.destroy(cause)), { _tag: "NotRunning", name: "one", cause })
      assert.deepInclude(yield* refusal(() => {}), { _tag: "TimedOut", limitMillis: 1000 })
    })
  )

  it.live("fails all pending and later calls when the relay is gone", () =>
    Effect.gen(function* () {
      for (const cause of [undefined, new Error("read ECONNRESET")]) {
        const { duplex } = channel()
        const guest = AgentGuest.make(yield* connect(duplex))
        const calls = [
          Effect.asVoid(guest.stat("/etc/passwd")),
          Effect.asVoid(guest.spawn({ argv: ["sleep", "1000"] })),
          Effect.asVoid(guest.ping),
          Effect.asVoid(guest.readDirectoryEntries("/"))
        ]
        const pending = yield* Effect.forEach(calls, (call) =>
          Effect.forkScoped(Effect.flip(Effect.scoped(call)), { startImmediately: true })
        )
        duplex.destroy(cause)
        for (const fiber of pending) assert.strictEqual((yield* Fiber.join(fiber)).reason._tag, "GuestLost")
        for (const call of calls) {
          assert.strictEqual((yield* Effect.flip(Effect.scoped(call))).reason._tag, "GuestLost")
        }
      }
    }).pipe(Effect.scoped)
  )

  it.effect("reports a command that a dying agent lost as lost with its guest", () =>
    Effect.gen(function* () {
      const spawned = Effect.fnUntraced(function* (duplex: AgentConnection.Channel) {
        const process = yield* Effect.forkScoped(AgentGuest.make(yield* connect(duplex)).spawn({ argv: ["tail"] }), {
          startImmediately: true
        })
        duplex.push(Protocol.encode(0, "core.exec.started", { pid: 5 }))
        const exited = Protocol.encode(0, "core.exec.exited", { code: -1 })
        exited[8] = 1
        duplex.push(exited)
        return yield* Fiber.join(process)
      })
      const dying = channel().duplex
      const lost = yield* Effect.forkScoped(Effect.flip((yield* spawned(dying)).exitCode), { startImmediately: true })
      dying.destroy()
      assert.strictEqual((yield* Fiber.join(lost)).reason._tag, "GuestLost")

      const alive = yield* Effect.forkScoped((yield* spawned(channel().duplex)).exitCode, { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* Fiber.join(alive), -1)
    }).pipe(Effect.scoped)
  )

  it.live("sends the last message before it closes", () =>
    Effect.gen(function* () {
      const { bytes, duplex } = channel()
      yield* Effect.scoped(
        Effect.gen(function* () {
          const connection = yield* connect(duplex)
          connection.post(1, "last", {})
        })
      )
      assert.deepStrictEqual(bytes(), frames("last"))
    })
  )
})
