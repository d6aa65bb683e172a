/** Ports of this host that lead into a running guest. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type * as Net from "node:net"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type { Forward, ForwardOptions } from "../../Sandbox.ts"
import { Address, defaultBind, HostPort, Port } from "../config/schemas.ts"
import { callDecoder } from "../config/validation.ts"
import { printable } from "../report/printable.ts"
import { endpoint, listenOn, portOf, portRefused, relay, reset } from "../driver/ports.ts"

const decode = callDecoder(
  "Sandbox.forward",
  Schema.Struct({ guestPort: Port }),
  Schema.Struct({ host: Schema.optional(HostPort), bind: Schema.optional(Address) })
)

/** Listens for the scope, or until the guest is lost. `open` has the forwards that are open. */
export const make = Effect.fn("Sandbox.forward")(function* (
  guest: Guest.Guest,
  open: Set<Forward>,
  guestPort: number,
  options: ForwardOptions | undefined
): Effect.fn.Return<Forward, LightboxError, Scope.Scope> {
  const { bind = defaultBind, guestPort: port, host = 0 } = yield* decode({ guestPort }, options)
  const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
  const close = Scope.close(scope, Exit.void)
  const listen = Effect.gen(function* () {
    const closed = yield* Deferred.make<void>()
    // Registered first, so that everything is closed by then.
    yield* Effect.addFinalizer(() => Deferred.succeed(closed, undefined))
    const run = yield* FiberSet.makeRuntime<never, void>()
    const server = yield* Effect.acquireRelease(
      Effect.tryPromise({
        try: () => listenOn({ port: host, host: bind }, (socket) => void run(serve(guest, port, socket))),
        catch: (cause) => portRefused({ method: "Sandbox.forward", field: "host" }, host, bind, cause)
      }),
      (server) => Effect.sync(() => server.close())
    )
    // As any server does, it keeps the process alive.
    server.ref()
    const at = { host: portOf(server, host), bind }
    const fields = { guest: port, ...at, url: `http://${endpoint(at)}` }
    const forward: Forward = printable({ ...fields, close, closed: Deferred.await(closed) }, "Forward", () => fields)
    yield* Effect.acquireRelease(
      Effect.sync(() => open.add(forward)),
      () => Effect.sync(() => open.delete(forward))
    )
    return forward
  })
  const forward = yield* Effect.onExit(Scope.provide(listen, scope), (exit) =>
    Exit.isSuccess(exit) ? Effect.void : close
  )
  // In the scope of the caller: closing must not wait for its own fiber.
  yield* Effect.forkScoped(Effect.andThen(Effect.raceFirst(guest.lost, forward.closed), close))
  return forward
})

/** Opens a connection of the guest for one of this host. A refused one is closed at once. */
const serve = (guest: Guest.Guest, port: number, socket: Net.Socket): Effect.Effect<void> =>
  Effect.scoped(
    Effect.flatMap(guest.connect("127.0.0.1", port), (connection) => relay(socket, connection, () => reset(socket)))
  ).pipe(
    Effect.catch((error) => Effect.logDebug(`A connection to port ${port} of the guest failed: ${error.message}`)),
    Effect.ensuring(Effect.sync(() => socket.destroy()))
  )
