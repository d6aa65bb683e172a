import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { execFile } from "node:child_process"
import * as Net from "node:net"
import * as NodeStream from "node:stream"
import { promisify } from "node:util"
import { listenOn, portOf, publishedPorts, relay, reset, withPorts } from "../../../src/internal/driver/ports.ts"

/** A port that nobody listens on. */
const freePort = Effect.promise(
  () =>
    new Promise<number>((resolve) => {
      const server = Net.createServer().listen(0, "127.0.0.1", () => {
        const address = server.address()
        server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
      })
    })
)

const program = `
import { withPorts } from ${JSON.stringify(new URL("../../../src/internal/driver/ports.ts", import.meta.url).href)}
import * as Effect from "effect/Effect"
const error = await Effect.runPromise(Effect.flip(withPorts({ ports: { [process.argv[1]]: 80 } }, () => Effect.void)))
console.log(error.reason.field)
`

describe("ports of a sandbox that boots", () => {
  it.live("are refused to other launches, also of other processes, until it listens or fails", () =>
    Effect.gen(function* () {
      const port = yield* freePort
      const config = { ports: { [port]: 80 } }
      const booting = yield* Deferred.make<void>()
      const end = yield* Deferred.make<void>()
      const first = yield* Effect.forkChild(
        withPorts(config, () => Effect.andThen(Deferred.succeed(booting, undefined), Deferred.await(end)))
      )
      yield* Deferred.await(booting)
      const { reason } = yield* Effect.flip(withPorts(config, () => Effect.void))
      assert.deepInclude(reason, { _tag: "InvalidConfig", field: `ports.${port}` })
      assert.include(reason.message, `port ${port} of 127.0.0.1 is in use`)
      const { stdout } = yield* Effect.promise(() =>
        promisify(execFile)(process.execPath, ["--input-type=module", "-e", program, `${port}`], { cwd: process.cwd() })
      )
      assert.strictEqual(stdout.trim(), `ports.${port}`)
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.join(first)
      yield* withPorts(config, () => Effect.void)
    })
  )

  it.live("that the host chooses are different ones", () =>
    Effect.gen(function* () {
      const end = yield* Deferred.make<void>()
      const ports: Array<number> = []
      const boots = Array.from({ length: 50 }, () =>
        withPorts({ ports: { 0: 80 } }, (config) => {
          ports.push(...publishedPorts(config).map(({ host }) => host))
          return ports.length === 50 ? Deferred.succeed(end, undefined) : Deferred.await(end)
        })
      )
      yield* Effect.all(boots, { concurrency: "unbounded" })
      assert.strictEqual(new Set(ports).size, 50)
    })
  )
})

describe("a relay to a server that has stopped reading", () => {
  /** Sends to a server that refuses it, and then sends an answer. */
  const relayed = Effect.fnUntraced(function* (answer: Stream.Stream<Uint8Array>) {
    const [near, far] = NodeStream.duplexPair()
    const received: Array<string> = []
    near.on("data", (bytes: Buffer) => received.push(bytes.toString()))
    near.write("too much")
    const refused = yield* Deferred.make<void>()
    let resets = 0
    const connection = {
      read: Stream.unwrap(Effect.as(Deferred.await(refused), answer)),
      write: Sink.forEach(() => Effect.andThen(Deferred.succeed(refused, undefined), Effect.fail("EPIPE")))
    }
    const running = yield* Effect.forkChild(relay(far, connection, () => void (resets += 1)))
    yield* Deferred.await(refused)
    return { received, running, resets: () => resets }
  })

  it.effect("passes its answer on", () =>
    Effect.gen(function* () {
      const { received, resets, running } = yield* relayed(Stream.make(Buffer.from("too large")))
      yield* Fiber.join(running)
      assert.deepStrictEqual([received, resets()], [["too large"], 0])
    })
  )

  it.effect("gives it a moment only", () =>
    Effect.gen(function* () {
      const { resets, running } = yield* relayed(Stream.never)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(running)
      assert.strictEqual(resets(), 1)
    })
  )
})

describe("a relay", () => {
  /** Connects to a server, and returns its side. */
  const accepted = Effect.gen(function* () {
    const socket = yield* Deferred.make<Net.Socket>()
    const server = yield* Effect.acquireRelease(
      Effect.promise(() =>
        listenOn({ port: 0, host: "127.0.0.1" }, (side) => void Deferred.doneUnsafe(socket, Effect.succeed(side)))
      ),
      (server) => Effect.sync(() => server.close())
    )
    yield* Effect.acquireRelease(
      Effect.sync(() => Net.connect(portOf(server, 0), "127.0.0.1").on("error", () => {})),
      (client) => Effect.sync(() => client.destroy())
    )
    return yield* Deferred.await(socket)
  })

  /** Waits for what a socket says of its end. */
  const outcomeOf = (socket: Net.Socket) =>
    Effect.callback<string>((resume) => {
      socket.once("error", (error) => resume(Effect.succeed(error.message)))
      socket.once("close", () => resume(Effect.succeed("closed")))
    })

  // A socket that is not closed would keep its process from exiting.
  it.live("closes a connection that is interrupted while it ends", () =>
    Effect.gen(function* () {
      const socket = yield* accepted
      const outcome = yield* Effect.forkChild(outcomeOf(socket), { startImmediately: true })
      const relaying = yield* Effect.forkChild(
        relay(socket, { read: Stream.empty, write: Sink.drain }, () => reset(socket)),
        { startImmediately: true }
      )
      assert.deepStrictEqual([socket.writableEnded, socket.writableFinished], [true, false])
      yield* Fiber.interrupt(relaying)
      assert.strictEqual(yield* Fiber.join(outcome), "closed")
    }).pipe(Effect.scoped)
  )
})
