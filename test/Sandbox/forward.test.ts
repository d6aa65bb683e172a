/**
 * Ports of this host that lead into a running guest.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Net from "node:net"
import { inspect } from "node:util"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"

const image = "alpine"
const layer = MicrosandboxMemory.layer({ images: { [image]: {} } })

/** Waits until a socket of this host is closed. */
const connected = (port: number) =>
  Effect.callback<Net.Socket, Error>((resume) => {
    const socket = Net.connect({ port, host: "127.0.0.1" })
    socket.once("connect", () => resume(Effect.succeed(socket))).once("error", (error) => resume(Effect.fail(error)))
  })

const closed = (socket: Net.Socket) =>
  Effect.callback<void>((resume) => {
    socket.resume().once("close", () => resume(Effect.void))
  })

/** Waits for the first data, or the end, and reads no more. */
const firstData = (socket: Net.Socket) =>
  Effect.callback<Net.Socket>((resume) => {
    socket.once("data", () => resume(Effect.succeed(socket.pause())))
    socket.once("close", () => resume(Effect.succeed(socket)))
  })

describe("a forward", () => {
  it.live("closes its connections and port with the scope, without waiting", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      yield* sandbox.spawn("nc", ["-l", "-p", "80", "-e", "/bin/cat"])
      const scope = yield* Scope.make()
      const forward = yield* Scope.provide(sandbox.forward(80), scope)
      const socket = yield* connected(forward.host)
      yield* Scope.close(scope, Exit.void)
      yield* forward.closed
      yield* closed(socket)
      assert.deepStrictEqual(yield* sandbox.forwards, [])
      assert.match((yield* Effect.flip(connected(forward.host))).message, /ECONNREFUSED/)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("can be closed before its scope, twice", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      const forward = yield* sandbox.forward(80)
      yield* forward.close
      yield* forward.close
      yield* forward.closed
      assert.deepStrictEqual(yield* sandbox.forwards, [])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("closes when the guest is lost", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      const forward = yield* sandbox.forward(80)
      yield* sandbox.kill
      yield* forward.closed
      assert.match((yield* Effect.flip(connected(forward.host))).message, /ECONNREFUSED/)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("is closed for who waits for it when its port is free again", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      const first = yield* sandbox.forward(80)
      const again = yield* Effect.forkChild(Effect.andThen(first.closed, sandbox.forward(80, { host: first.host })), {
        startImmediately: true
      })
      yield* first.close
      assert.strictEqual((yield* Fiber.join(again)).host, first.host)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("resets a connection that is cut off, also one whose peer does not read", () =>
    Effect.gen(function* () {
      for (const end of ["forward", "guest"] as const) {
        const sandbox = yield* Sandbox.launch({ image })
        yield* sandbox.spawn("sh", ["-c", "while true; do yes | nc -l -p 80; done"])
        const forward = yield* sandbox.forward(80)
        const stalled = yield* Effect.repeat(Effect.flatMap(connected(forward.host), firstData), {
          until: (socket) => !socket.destroyed
        })
        const failure = Effect.callback<string>((resume) => {
          stalled.once("error", (error) => resume(Effect.succeed(error.message)))
          stalled.once("close", () => resume(Effect.succeed("closed as if it were complete")))
        })
        const failed = yield* Effect.forkChild(failure, { startImmediately: true })
        yield* end === "forward" ? forward.close : sandbox.kill
        stalled.resume()
        assert.include(yield* Fiber.join(failed), "ECONNRESET", end)
      }
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("fails with the name of the option if the port is in use", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      const first = yield* sandbox.forward(80)
      const { reason } = yield* Effect.flip(sandbox.forward(81, { host: first.host }))
      assert.deepInclude(reason, { _tag: "InvalidConfig", field: "host" })
      assert.include(reason.message, `port ${first.host} of 127.0.0.1 is in use on this host`)
      assert.deepStrictEqual(yield* sandbox.forwards, [first])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("listens on an IPv6 address, and encodes as data", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      const forward = yield* sandbox.forward(80, { bind: "::1" })
      assert.strictEqual(forward.url, `http://[::1]:${forward.host}`)
      assert.deepStrictEqual(JSON.parse(JSON.stringify(forward)), {
        guest: 80,
        host: forward.host,
        bind: "::1",
        url: forward.url
      })
      assert.match(inspect(forward), /^Forward \{ guest: 80/)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("delivers everything to a slow reader", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      yield* sandbox.spawn("sh", ["-c", "head -c 8000000 /dev/zero | nc -l -p 80"])
      const forward = yield* sandbox.forward(80)
      const read = Effect.gen(function* () {
        const socket = yield* connected(forward.host)
        let length = 0
        socket.pause()
        for (;;) {
          const bytes: Buffer | null = socket.read(64 * 1024) ?? socket.read()
          if (bytes !== null) length += bytes.length
          else if (socket.readableEnded || socket.destroyed) return length
          yield* Effect.yieldNow
        }
      })
      // Until the server listens, connections are closed at once.
      assert.strictEqual(yield* Effect.repeat(read, { until: (length) => length > 0 }), 8_000_000)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})
