/** Ports of the host that reach the guest. */
import * as Effect from "effect/Effect"
import type * as Net from "node:net"
import type { LightboxError } from "../../../LightboxError.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import { bindTo, listenOn, portRefused, publishedPorts } from "../ports.ts"
import type { SocketDescription } from "./kernel/description.ts"
import type { Machine } from "./kernel/machine.ts"

/** Publishes ports for the life of the machine. UDP packets are dropped. */
export const publish = (machine: Machine, config: SandboxConfig): Effect.Effect<void, LightboxError> =>
  Effect.forEach(
    publishedPorts(config),
    ({ bind, guest, host, protocol }) =>
      Effect.gen(function* () {
        const listen = <A>(listening: () => Promise<A>) =>
          Effect.tryPromise({ try: listening, catch: (cause) => portRefused(host, bind, cause) })
        if (protocol === "udp") {
          const socket = yield* listen(() => bindTo(host, bind))
          machine.watchers.add(() => socket.close())
          return
        }
        const connect = yield* connector(machine, guest)
        const server = yield* listen(() => listenOn(host, bind, connect))
        const open = new Set<Net.Socket>()
        server.on("connection", (socket) => open.add(socket.on("close", () => open.delete(socket))))
        machine.watchers.add(() => {
          server.close()
          for (const socket of open) socket.destroy()
        })
      }),
    { discard: true }
  )

/** Connects the host's sockets to a port of the guest. */
const connector = (machine: Machine, port: number): Effect.Effect<(socket: Net.Socket) => void> =>
  Effect.map(Effect.context(), (context) => {
    const run = Effect.runForkWith(context)
    return (socket) => {
      const serve = Effect.scoped(
        Effect.flatMap(
          Effect.acquireRelease(machine.dial("localhost", port), (guest) => Effect.sync(() => guest.release())),
          (guest) => Effect.all([toGuest(socket, guest), toHost(socket, guest)], { concurrency: 2, discard: true })
        )
      )
      run(
        Effect.ensuring(
          Effect.ignore(serve),
          Effect.sync(() => socket.destroy())
        )
      )
    }
  })

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
