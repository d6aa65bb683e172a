/** Connections to guests that outlive a restart of the sandbox. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"

export interface Connection {
  readonly guest: Guest.Guest
  /** Runs an effect that restarts the sandbox and then connects again. The guest counts as not lost until it ends. */
  readonly renewing: <A, E, R>(
    restart: (reconnect: Effect.Effect<void, LightboxError>) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R>
}

/** Connects to a running guest until the scope closes. */
export const connect = Effect.fnUntraced(function* (
  driver: Microsandbox.Microsandbox["Service"],
  info: Microsandbox.SandboxInfo
): Effect.fn.Return<Connection, LightboxError, Scope.Scope> {
  const scope = yield* Effect.scope
  const connected = Scope.provide(driver.connect(info), scope)
  let current = yield* connected
  let renewal: Deferred.Deferred<void> | undefined
  const lost: Guest.Guest["lost"] = Effect.suspend(() => {
    const was = current
    return Effect.flatMap(was.lost, (error) =>
      Effect.suspend(() => {
        const over = renewal === undefined ? Effect.void : Deferred.await(renewal)
        return Effect.flatMap(over, () => (was === current ? Effect.succeed(error) : lost))
      })
    )
  })
  return {
    guest: {
      get bootMillis() {
        return current.bootMillis
      },
      lost,
      spawn: (...call) => Effect.suspend(() => current.spawn(...call)),
      stat: (...call) => Effect.suspend(() => current.stat(...call)),
      readDirectoryEntries: (path) => Effect.suspend(() => current.readDirectoryEntries(path)),
      realPath: (path) => Effect.suspend(() => current.realPath(path)),
      readLink: (path) => Effect.suspend(() => current.readLink(path)),
      symlink: (target, path) => Effect.suspend(() => current.symlink(target, path)),
      makeDirectory: (...call) => Effect.suspend(() => current.makeDirectory(...call)),
      removeFile: (path) => Effect.suspend(() => current.removeFile(path)),
      removeDirectory: (...call) => Effect.suspend(() => current.removeDirectory(...call)),
      rename: (from, to) => Effect.suspend(() => current.rename(from, to)),
      copyFile: (from, to) => Effect.suspend(() => current.copyFile(from, to)),
      setAttributes: (...call) => Effect.suspend(() => current.setAttributes(...call)),
      open: (...call) => Effect.suspend(() => current.open(...call)),
      connect: (host, port) => Effect.suspend(() => current.connect(host, port)),
      ping: Effect.suspend(() => current.ping),
      touch: Effect.suspend(() => current.touch)
    },
    renewing: (restart) =>
      Effect.suspend(() => {
        const over = Deferred.makeUnsafe<void>()
        renewal = over
        const reconnect = Effect.map(connected, (guest) => {
          current = guest
        })
        return Effect.ensuring(
          restart(reconnect),
          Effect.sync(() => {
            renewal = undefined
            Deferred.doneUnsafe(over, Effect.void)
          })
        )
      })
  }
})
