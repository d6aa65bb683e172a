/** The proxy of a group, as the runtime of a guest uses it. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import { serve } from "../../../src/internal/sandbox/peers.ts"

/** Starts a server, and returns its port. */
const serverOf = (onConnection: (socket: Net.Socket) => void) =>
  Effect.acquireRelease(
    Effect.callback<Net.AddressInfo & { readonly close: () => void }>((resume) => {
      const server = Net.createServer(onConnection).listen(0, "127.0.0.1", () => {
        const address = server.address()
        if (typeof address === "object" && address !== null) {
          resume(Effect.succeed({ ...address, close: () => server.close() }))
        }
      })
    }),
    ({ close }) => Effect.sync(close)
  )

/** Asks for a connection, keeps its own side open, and returns what came until the proxy has closed the connection. */
const ask = (
  proxy: { readonly port: number; readonly user: string },
  port: number,
  { onData = () => {}, user = proxy.user }: { readonly onData?: () => void; readonly user?: string } = {}
) =>
  Effect.callback<string>((resume) => {
    const socket = Net.connect({ port: proxy.port, host: "127.0.0.1", allowHalfOpen: true })
    socket.write(Buffer.from([4, 1, port >> 8, port & 255, 127, 0, 0, 1, ...Buffer.from(user), 0]))
    let received = ""
    const push = () => socket.write("more", (error) => (error ? undefined : setTimeout(push, 20)))
    socket
      .on("data", (bytes) => (received += bytes.toString("hex")))
      .on("data", onData)
      .on("end", push)
    socket.on("error", () => {}).on("close", () => resume(Effect.succeed(received)))
  })

const granted = "005a000000000000"
const refused = "005b000000000000"

it.live("a connection that the other side resets ends without a byte of the proxy in it", () =>
  Effect.gen(function* () {
    const proxy = yield* serve("test", [])
    let accepted: Net.Socket | undefined
    const { port } = yield* serverOf((socket) => (accepted = socket.on("error", () => {})))
    assert.strictEqual(yield* ask(proxy, port, { onData: () => accepted?.resetAndDestroy() }), granted)
  }).pipe(Effect.scoped)
)

it.live("a connection that is refused is closed, whatever the other side does", () =>
  Effect.gen(function* () {
    const proxy = yield* serve("test", [])
    const { close, port } = yield* serverOf(() => {})
    close()
    assert.strictEqual(yield* ask(proxy, port), refused)
    assert.strictEqual(yield* ask(proxy, port, { user: "another" }), refused)
  }).pipe(Effect.scoped)
)
