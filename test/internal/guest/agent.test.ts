import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as AgentGuest from "../../../src/internal/guest/agent.ts"
import type { AgentConnection, Session } from "../../../src/internal/guest/connection.ts"
import type { LightboxError } from "../../../src/LightboxError.ts"
import type * as Protocol from "../../../src/internal/guest/protocol.ts"

/**
 * An agent whose commands are ended by a signal at once, except `dmesg`, which prints the kernel's log if any, and fails
 * if that is empty.
 */
const agent = (readLog: () => string | undefined, isAlive = false) => {
  const sessions: Array<Session> = []
  const started: Array<unknown> = []
  const answer = (id: number, type: string, payload: Protocol.Payload) => {
    const say = (type: string, payload: Protocol.Payload) =>
      sessions[id]?.onMessage({ id, type, payload, isLast: false, generation: 7 })
    if (type === "core.fs.request") say("core.fs.response", { ok: false, error: "No such file (os error 2)" })
    if (type !== "core.exec.request") return
    started.push(payload["cmd"])
    const log = payload["cmd"] === "dmesg" ? readLog() : undefined
    if (payload["cmd"] !== "dmesg") {
      say("core.exec.started", { pid: payload["cmd"] === "strange" ? Number.NaN : 71 })
      if (payload["cmd"] === "strange") say("core.exec.exited", { code: Number.NaN })
      if (payload["cmd"] === "ends") say("core.exec.exited", { code: -1 })
    } else if (log === undefined) {
      say("core.exec.failed", { kind: "not_found", message: "No such file or directory (os error 2)" })
    } else {
      say("core.exec.started", { pid: 72 })
      say("core.exec.stdout", { data: new TextEncoder().encode(log) })
      say("core.exec.exited", { code: log === "" ? 1 : 0 })
    }
  }
  const connection: AgentConnection = {
    bootMillis: 0,
    open: (session) => sessions.push(session) - 1,
    close: () => {},
    send: (id, type, payload) => Effect.sync(() => answer(id, type, payload)),
    post: (id, type) => {
      if (type === "core.ping" && isAlive)
        sessions[id]?.onMessage({ id, type: "core.pong", payload: {}, isLast: true, generation: 7 })
      if (type === "core.exec.signal")
        sessions[id]?.onMessage({ id, type: "core.exec.exited", payload: { code: -1 }, isLast: true, generation: 7 })
      return true
    },
    isPaused: false,
    pause: () => {},
    resume: () => {},
    lost: Effect.never
  }
  return { guest: AgentGuest.make(connection), started }
}

const endedBy = (log: string | undefined) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { guest, started } = agent(() => log)
      const process = yield* guest.spawn({ argv: ["ends"], stdin: "empty" })
      const fiber = yield* Effect.forkChild(process.endedBy)
      // Detecting a lost connection may take this long.
      yield* TestClock.adjust("5 seconds")
      // The log is not waited for any longer.
      yield* TestClock.adjust("2 seconds")
      return { signal: yield* Fiber.join(fiber), started }
    })
  )

describe("a command ended by a signal", () => {
  it.effect("takes its signal from the kernel's log", () =>
    Effect.gen(function* () {
      const log = "[ 1.0] Linux\n[ 2.0] Out of memory: Killed process 71 (node)\n"
      assert.deepStrictEqual(yield* endedBy(log), { signal: "SIGKILL", started: ["ends", "dmesg"] })
    })
  )

  it.effect("has an unknown signal if the log does not say, or cannot be read", () =>
    Effect.gen(function* () {
      assert.isUndefined((yield* endedBy("[ 2.0] Out of memory: Killed process 7 (node)\n")).signal)
      assert.isUndefined((yield* endedBy(undefined)).signal)
    })
  )

  it.effect("is what a command counts as whose exit code is no number", () =>
    Effect.gen(function* () {
      const process = yield* agent(() => "").guest.spawn({ argv: ["strange"], stdin: "empty" })
      const exitCode = yield* Effect.forkChild(process.exitCode)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual([process.pid, yield* Fiber.join(exitCode)], [0, -1])
    })
  )

  it.effect("asks again for a log after two failures in a row, and not after three", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const whole = "[ 2.0] Out of memory: Killed process 71 (node)\n"
        const logs = ["", "", whole, "", "", "", whole]
        const { guest, started } = agent(() => logs.shift(), true)
        const signals: Array<unknown> = []
        for (let round = 0; round < 7; round++) {
          const process = yield* guest.spawn({ argv: ["ends"], stdin: "empty" })
          signals.push(yield* process.endedBy)
        }
        const none = undefined
        assert.deepStrictEqual(signals, [none, none, "SIGKILL", none, none, none, none])
        assert.deepStrictEqual(started.filter((name) => name === "dmesg").length, 6)
      })
    )
  )

  it.effect("is reported as soon as the agent shows that it is alive", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const process = yield* agent(() => undefined, true).guest.spawn({ argv: ["ends"], stdin: "empty" })
        assert.strictEqual(yield* process.exitCode, -1)
      })
    )
  )

  it.effect("reports SIGKILL after its scope closes", () =>
    Effect.gen(function* () {
      const process = yield* Effect.scoped(agent(() => undefined).guest.spawn({ argv: ["stays"], stdin: "empty" }))
      assert.strictEqual(yield* process.exitCode, -1)
      assert.strictEqual(yield* process.endedBy, "SIGKILL")
    })
  )
})

/** An agent that answers each request for files with these messages. */
const hostile = (...answers: ReadonlyArray<readonly [type: string, payload: Protocol.Payload]>) => {
  const sessions = new Map<number, Session>()
  let next = 0
  return AgentGuest.make({
    bootMillis: 0,
    open: (session) => {
      sessions.set(next, session)
      return next++
    },
    close: (id) => sessions.delete(id),
    send: () => Effect.void,
    post: (id, _type, { op }) => {
      const isOpen = typeof op === "object" && op !== null && ("OpenFile" in op || "OpenDir" in op)
      const messages = isOpen ? [["core.fs.response", { ok: true, data: { Handle: 1 } }] as const] : answers
      for (const [type, payload] of messages) {
        sessions.get(id)?.onMessage({ id, type, payload, isLast: false, generation: 7 })
      }
      return true
    },
    isPaused: false,
    pause: () => {},
    resume: () => {},
    lost: Effect.never
  })
}

const listed = (...entries: ReadonlyArray<unknown>) =>
  hostile(["core.fs.response", { ok: true, data: { List: entries } }]).readDirectoryEntries("/out")

const problemOf = <A>(effect: Effect.Effect<A, LightboxError>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason.message)

describe("answers of a hostile agent", () => {
  const names = ["/out/..", "/out/.", "/out/", "/out/../../etc/x", "../x", "/elsewhere/x", "/out/a/b", "/out/\0"]

  it.effect.each([...names, `/out/${"x".repeat(256)}`])("are rejected with the entry %j in a folder", (path) =>
    Effect.gen(function* () {
      assert.match(yield* problemOf(listed({ path, mode: 0o100644 })), /an entry that is not in the folder/)
    })
  )

  it.effect("may have names with dots and invalid numbers", () =>
    Effect.gen(function* () {
      const entries = yield* listed(
        { path: "/out/..x", mode: 0o100644, size: -1, mtime: 1e300 },
        { path: "/out/b", mode: Number.NaN, size: 2n ** 63n, mtime: Number.NaN, uid: 1.5 }
      )
      assert.deepStrictEqual(
        entries.map(({ path, size, type, uid }) => [path, size, type, uid]),
        [
          ["/out/..x", 0, "File", 0],
          ["/out/b", 0, "Unknown", 0]
        ]
      )
    })
  )

  it.effect("are cut off when a list does not end", () =>
    Effect.gen(function* () {
      const entry = { path: "/out/x", mode: 0o100644 }
      assert.match(yield* problemOf(listed(...Array.from({ length: 512 }, () => entry))), /more than 1000000 entries/)
      assert.match(yield* problemOf(listed(...Array.from({ length: 513 }, () => entry))), /entries/)
    })
  )

  it.effect("are rejected when they contain more of a file than requested", () =>
    Effect.gen(function* () {
      const data = { data: new Uint8Array(1024 * 1024) }
      const guest = hostile(...Array.from({ length: 9 }, () => ["core.fs.data", data] as const))
      const read = Effect.scoped(
        Effect.flatMap(guest.open("/f", { read: true }), (file) => Stream.runDrain(file.stream({ bytesToRead: 10 })))
      )
      assert.match(yield* problemOf(read), /more than was asked for/)
    })
  )

  it.effect.each([undefined, "", "relative", "/a\0b", `/${"x".repeat(4096)}`])(
    "are rejected with %j as a real path",
    (path) =>
      Effect.gen(function* () {
        const guest = hostile(["core.fs.response", { ok: true, data: { Path: path } }])
        assert.match(yield* problemOf(guest.realPath("/x")), /no path/)
      })
  )
})
