/** Ports of the host that reach the guest. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type * as Net from "node:net"
import type { LightboxError } from "../../../LightboxError.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import { bindTo, createRefused, listenOn, publishedPorts, relay } from "../ports.ts"
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
    (guest) => relay(socket, streamsOf(guest), () => socket.resetAndDestroy()),
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
