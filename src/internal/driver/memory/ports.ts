/** Ports of the host that reach the guest. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import type { LightboxError } from "../../../LightboxError.ts"
import type { CreateSandbox } from "../../../Microsandbox.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import { defaultBind } from "../../config/schemas.ts"
import { bindTo, createRefused, listenOn, publishedPorts, relay, reset } from "../ports.ts"
import { Pipe, SocketDescription } from "./kernel/description.ts"
import { errno, Errno } from "./kernel/errno.ts"
import type { Machine } from "./kernel/machine.ts"

/** Publishes ports for the life of the machine. UDP packets are dropped. */
export const publish = Effect.fnUntraced(function* (
  machine: Machine,
  config: SandboxConfig
): Effect.fn.Return<void, LightboxError> {
  const run = Effect.runForkWith(yield* Effect.context())
  for (const { bind, guest, host, protocol } of publishedPorts(config)) {
    const listen = <A>(listening: () => Promise<A>) =>
      Effect.tryPromise({ try: listening, catch: (cause) => createRefused(host, bind, cause) })
    if (protocol === "udp") {
      const socket = yield* listen(() => bindTo(host, bind))
      machine.watchers.add(() => socket.close())
      continue
    }
    const open = new Set<Net.Socket>()
    const onConnection = (socket: Net.Socket) => {
      open.add(socket.on("close", () => open.delete(socket)))
      run(serve(machine, guest, socket))
    }
    const server = yield* listen(() => listenOn({ port: host, host: bind }, onConnection))
    machine.watchers.add(() => {
      server.close()
      for (const socket of open) socket.destroy()
    })
  }
})

/** Connects a socket of the host to a port of the guest. */
const serve = (machine: Machine, port: number, socket: Net.Socket): Effect.Effect<void> =>
  Effect.acquireUseRelease(
    machine.dial("localhost", port),
    (guest) => relay(socket, streamsOf(guest), () => reset(socket)),
    (guest) => Effect.sync(() => guest.release())
  ).pipe(Effect.ignore, Effect.ensuring(Effect.sync(() => socket.destroy())))

const streamsOf = (guest: SocketDescription) => ({
  read: Stream.paginate(undefined, () =>
    Effect.map(guest.read(64 * 1024), (bytes) =>
      bytes.length === 0 ? [[], Option.none()] : [[bytes], Option.some(undefined)]
    )
  ),
  write: Sink.mapEffect(Sink.forEach(guest.write), () => Effect.sync(() => guest.endOutput()))
})

/**
 * Sends connections through a SOCKS4 proxy of the host, until the scope closes: those that a rule of the network allows
 * by address and port. There is no other network.
 */
export const dialThrough =
  (proxy: NonNullable<CreateSandbox["proxy"]>, network: SandboxConfig["network"], scope: Scope.Scope) =>
  (address: string, port: number): Effect.Effect<SocketDescription, Errno> =>
    Effect.gen(function* () {
      const policy = typeof network === "object" ? network.policy : undefined
      const rules = typeof policy === "object" ? (policy.rules ?? []) : []
      const isAllowed = rules.some(
        ({ action, ports, to }) =>
          action === "allow" &&
          typeof to === "object" &&
          "cidr" in to &&
          to.cidr === `${address}/32` &&
          ports?.includes(port)
      )
      if (!isAllowed) return yield* new Errno({ code: "UNKNOWN", problem: "Network unreachable" })
      const socket = yield* Effect.mapError(connectThrough(proxy, address, port), () => errno("ECONNREFUSED"))
      const [outgoing, incoming] = [new Pipe(), new Pipe()]
      const far = new SocketDescription(outgoing, incoming)
      yield* relay(socket, streamsOf(far), () => reset(socket)).pipe(
        Effect.ensuring(Effect.sync(() => far.release())),
        Effect.forkIn(scope)
      )
      return new SocketDescription(incoming, outgoing)
    })

const connectThrough = ({ port: at, user }: NonNullable<CreateSandbox["proxy"]>, address: string, port: number) =>
  Effect.callback<Net.Socket, string>((resume) => {
    const socket = Net.connect({ host: defaultBind, port: at, allowHalfOpen: true })
    const fail = () => resume(Effect.fail("refused"))
    socket.once("error", fail).once("close", fail)
    const head = Buffer.from([4, 1, port >> 8, port & 255, ...address.split(".").map(Number)])
    socket.write(Buffer.concat([head, Buffer.from(`${user}\0`)]))
    socket.once("data", (reply) => {
      socket.pause()
      socket
        .off("close", fail)
        .off("error", fail)
        .on("error", () => {})
      if (reply[1] !== 0x5a) return fail()
      socket.unshift(reply.subarray(8))
      resume(Effect.succeed(socket))
    })
    return Effect.sync(() => socket.destroy())
  })
