/** Ports of the host that reach the guest. */
import * as Effect from "effect/Effect"
import type * as Net from "node:net"
import type { LightboxError } from "../../../LightboxError.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import { bindTo, listenOn, portRefused, publishedPorts } from "../ports.ts"
import type { SocketDescription } from "./kernel/description.ts"
import type { Machine } from "./kernel/machine.ts"

/** Publishes ports for the life of the machine. UDP packets are dropped. */
export const publish = Effect.fnUntraced(function* (
  machine: Machine,
  config: SandboxConfig
): Effect.fn.Return<void, LightboxError> {
  const run = Effect.runForkWith(yield* Effect.context())
  for (const { bind, guest, host, protocol } of publishedPorts(config)) {
    const listen = <A>(listening: () => Promise<A>) =>
      Effect.tryPromise({ try: listening, catch: (cause) => portRefused(host, bind, cause) })
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
    const server = yield* listen(() => listenOn(host, bind, onConnection))
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
    (guest) => Effect.all([toGuest(socket, guest), toHost(socket, guest)], { concurrency: 2 }),
    (guest) => Effect.sync(() => guest.release())
  ).pipe(Effect.ignore, Effect.ensuring(Effect.sync(() => socket.destroy())))

const toGuest = (socket: Net.Socket, guest: SocketDescription): Effect.Effect<void> =>
  Effect.tryPromise(async () => {
    for await (const bytes of socket) await Effect.runPromise(guest.write(bytes))
  }).pipe(Effect.ignore, Effect.ensuring(Effect.sync(() => guest.endOutput())))

const toHost = (socket: Net.Socket, guest: SocketDescription): Effect.Effect<void> =>
  Effect.ignore(
    Effect.gen(function* () {
      for (;;) {
        const bytes = yield* guest.read(64 * 1024)
        if (bytes.length === 0) return socket.end()
        socket.write(bytes)
      }
    })
  )
