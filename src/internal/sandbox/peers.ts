/**
 * Lets a guest reach ports of other guests. The runtime connects no guests to each other, but sends a guest's outgoing
 * connections through a SOCKS4 proxy, after the rules of its network. The proxy here answers for addresses that stand
 * for other guests, and connects over their agents: nothing listens on a network.
 */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Net from "node:net"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type { CreateSandbox, ProxyPeer } from "../../Microsandbox.ts"
import { defaultBind } from "../config/schemas.ts"
import { endWith, listenOn, portOf, portRefused, relay, reset } from "../driver/ports.ts"

/** A guest that can be reached under an address. */
export interface Peer extends ProxyPeer {
  readonly guest: Pick<Guest.Guest, "connect">
}

/** The address that stands for a guest, by its position in a group: of a range that no network uses (RFC 2544). */
export const addressOf = (index: number): string => `198.18.${Math.floor(index / 250)}.${(index % 250) + 1}`

/** Whether an address can stand for a guest. */
export const isReserved = (address: string): boolean => /^198\.1[89]\./.test(address)

/** Serves one guest until the scope closes. Other processes of this host do not know the user. */
export const serve = Effect.fnUntraced(function* (
  method: string,
  peers: ReadonlyArray<Peer>
): Effect.fn.Return<NonNullable<CreateSandbox["proxy"]>, LightboxError, Scope.Scope> {
  const user = Crypto.randomBytes(16).toString("hex")
  const run = yield* FiberSet.makeRuntime<never, void>()
  const server = yield* Effect.acquireRelease(
    Effect.tryPromise({
      try: () => listenOn({ port: 0, host: defaultBind }, (socket) => void run(answer(peers, user, socket))),
      catch: (cause) => portRefused({ method, field: "dependsOn" }, 0, defaultBind, cause)
    }),
    (server) => Effect.sync(() => server.close())
  )
  return {
    port: portOf(server, 0),
    user,
    peers: peers.map(({ address, name, ports, sandbox }) => ({ name, address, ports, sandbox }))
  }
})

const answer = (peers: ReadonlyArray<Peer>, user: string, socket: Net.Socket): Effect.Effect<void> =>
  Effect.gen(function* () {
    const { address, port, user: given } = yield* Effect.timeout(readRequest(socket), "10 seconds")
    if (given !== user) return yield* Effect.fail("another process")
    const peer = peers.find((peer) => peer.address === address)
    if (peer === undefined && !isReserved(address)) return yield* passOn(socket, address, port)
    if (peer === undefined || !peer.ports.includes(port)) return yield* Effect.fail("not declared")
    const connection = yield* peer.guest.connect("127.0.0.1", port)
    socket.write(granted)
    yield* relay(socket, connection, () => reset(socket))
  }).pipe(
    Effect.scoped,
    Effect.catch(() => Effect.sync(() => endWith(socket, refused))),
    Effect.onInterrupt(() => Effect.sync(() => socket.destroy()))
  )

const granted = Buffer.from([0, 0x5a, 0, 0, 0, 0, 0, 0])
const refused = Buffer.from([0, 0x5b, 0, 0, 0, 0, 0, 0])

const longestRequest = 512

/** Reads a request to connect: version 4, command 1, port, address, and a user that ends with 0. */
const readRequest = (socket: Net.Socket) =>
  Effect.callback<{ readonly address: string; readonly port: number; readonly user: string }, string>((resume) => {
    let received = Buffer.alloc(0)
    const done = () => {
      socket.off("data", onData).off("close", onClose)
      socket.pause()
    }
    const onClose = () => resume(Effect.fail("closed"))
    const onData = (bytes: Buffer) => {
      received = Buffer.concat([received, bytes])
      const end = received.indexOf(0, 8)
      if (end === -1 && received.length < longestRequest) return
      done()
      if (end === -1 || received[0] !== 4 || received[1] !== 1) return resume(Effect.fail("not a request"))
      socket.unshift(received.subarray(end + 1))
      resume(
        Effect.succeed({
          address: received.subarray(4, 8).join("."),
          port: received.readUInt16BE(2),
          user: received.toString("latin1", 8, end)
        })
      )
    }
    socket.on("data", onData).once("close", onClose)
    return Effect.sync(done)
  })

/** Connects to what is no guest. The runtime has checked that the guest may reach it. */
const passOn = (socket: Net.Socket, host: string, port: number): Effect.Effect<void, string> =>
  Effect.callback((resume) => {
    const remote = Net.connect({ host, port, allowHalfOpen: true })
    let isConnected = false
    remote.once("connect", () => {
      isConnected = true
      socket.write(granted)
      socket.pipe(remote)
      remote.pipe(socket)
    })
    remote.once("error", () => (isConnected ? reset(socket) : resume(Effect.fail("unreachable"))))
    socket.once("close", () => {
      remote.destroy()
      resume(Effect.void)
    })
    return Effect.sync(() => {
      remote.destroy()
      socket.destroy()
    })
  })
