/** A host on the twin, and programs that use it, in one process and over a real port of this machine. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import type { Services } from "../../src/Driver.ts"
import * as Gateway from "../../src/Gateway.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as MicrosandboxRemote from "../../src/MicrosandboxRemote.ts"
import { quiet } from "../support.ts"

export const token = Redacted.make("a-token-of-the-tests")

/** A folder that is removed with the scope. Sockets are made in it, so its path is short. */
export const folder = (prefix: string) =>
  Effect.acquireRelease(
    Effect.sync(() => Fs.realpathSync(Fs.mkdtempSync(Path.join(Os.tmpdir(), prefix)))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
  )

/** Waits until something of the real world is so, whose time the clock of a test does not tell. */
export const until = <A, E, R>(effect: Effect.Effect<A, E, R>, isSo: (value: A) => boolean) =>
  Effect.andThen(quiet, effect).pipe(Effect.repeat({ until: isSo }))

/** Lets time pass until an effect has ended, which pauses before it asks again. */
export const meanwhile = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    yield* Effect.andThen(TestClock.adjust("100 millis"), quiet).pipe(
      Effect.repeat({ while: () => fiber.pollUnsafe() === undefined })
    )
    return yield* Fiber.join(fiber)
  })

/** A host that serves the twin. */
export class Host extends Context.Service<
  Host,
  {
    readonly url: string
    readonly control: MicrosandboxMemory.Control["Service"]
    readonly home: string
    /** What a program on the host itself uses. */
    readonly here: Context.Context<Services>
  }
>()("effect-lightbox/test/MicrosandboxRemote/support/Host") {}

/** Starts a host for the scope. */
export const host = Effect.fnUntraced(function* (
  options: MicrosandboxMemory.Options = {},
  gateway: Partial<Gateway.Options> = {}
) {
  const home = options.home ?? (yield* folder("h"))
  const context = yield* Layer.build(MicrosandboxMemory.layer({ ...options, home }))
  const { url } = yield* Effect.provideContext(Gateway.serve({ tokens: [{ token }], port: 0, ...gateway }), context)
  return Host.of({ url, control: Context.get(context, MicrosandboxMemory.Control), home, here: context })
})

/** A program's layer, whose session ends with the scope. */
export const client = Effect.fnUntraced(function* (url: string, given: Redacted.Redacted<string> = token) {
  return MicrosandboxRemote.layer({ url, token: given, home: yield* folder("c") })
})

/** A line to a host that can be cut, broken until it is mended, and closed for good. */
export const unreliable = Effect.fnUntraced(function* (url: string) {
  const target = Number(new URL(url).port)
  const sockets = new Set<Net.Socket>()
  let isBroken = false
  const server = Net.createServer((socket) => {
    if (isBroken) return void socket.destroy()
    const far = Net.connect(target, "127.0.0.1")
    for (const end of [socket, far]) {
      sockets.add(end)
      end.on("error", () => end.destroy())
      end.on("close", () => {
        sockets.delete(end)
        socket.destroy()
        far.destroy()
      })
    }
    socket.pipe(far)
    far.pipe(socket)
  })
  const cut = Effect.sync(() => {
    for (const socket of sockets) socket.destroy()
  })
  const breaking = Effect.andThen(
    Effect.sync(() => {
      isBroken = true
    }),
    cut
  )
  const mend = Effect.sync(() => {
    isBroken = false
  })
  const close = Effect.andThen(
    Effect.sync(() => server.close()),
    cut
  )
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () => close
  )
  const address = server.address()
  const port = typeof address === "object" && address !== null ? address.port : 0
  return { url: `http://127.0.0.1:${port}`, cut, break: breaking, mend, close }
})

/** Opens a connection to a host that stays open after the host has closed its side. */
export const open = Effect.fnUntraced(function* (url: string) {
  let text = ""
  const socket = yield* Effect.acquireRelease(
    Effect.callback<Net.Socket>((resume) => {
      const opened = Net.connect({ port: Number(new URL(url).port), host: "127.0.0.1", allowHalfOpen: true }, () =>
        resume(Effect.succeed(opened))
      )
      opened.on("error", () => opened.destroy())
    }),
    (opened) => Effect.sync(() => opened.destroy())
  )
  socket.setEncoding("utf8").on("data", (piece: string) => {
    text += piece
  })
  return { socket, text: Effect.sync(() => text) }
})
