/** A program's sessions with the hosts of a fleet. They are opened when they are needed, and end with the program. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Exit from "effect/Exit"
import type * as Duration from "effect/Duration"
import type * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { HostUnavailable, LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import * as Ownership from "../../../Ownership.ts"
import type { Directory, Host } from "../../directory/directory.ts"
import { graceMillis, isAlive } from "../../directory/directory.ts"
import * as Remote from "../remote/driver.ts"
import * as Failures from "../remote/failures.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** A host that this program has a session with. */
export interface Reached {
  readonly id: string
  readonly driver: Driver
  readonly ownership: Ownership.Ownership["Service"]
}

interface Session extends Reached {
  readonly address: string
  readonly scope: Scope.Closeable
}

export interface Hosts {
  /** All hosts of the directory, now. */
  readonly all: Effect.Effect<ReadonlyArray<Host>, LightboxError>
  /** The hosts that were seen a moment ago. */
  readonly alive: Effect.Effect<ReadonlyArray<Host>, LightboxError>
  /** Does something on a host. */
  readonly at: <A, R>(
    method: string,
    id: string,
    use: (host: Reached) => Effect.Effect<A, LightboxError, R>
  ) => Effect.Effect<A, LightboxError, R>
  /** Does something on all hosts that are alive. */
  readonly everywhere: <A>(
    method: string,
    use: (host: Reached) => Effect.Effect<A, LightboxError>
  ) => Effect.Effect<ReadonlyArray<A>, LightboxError>
}

/** How many hosts are asked at once. */
export const concurrency = 16

/** Whether a host may be back with what it has, so that nothing may be done without it. */
export const mayReturn = ({ age, state }: Host): boolean => state === "up" && age < graceMillis

export const make = Effect.fnUntraced(function* (options: {
  readonly method: string
  readonly directory: Directory
  readonly token: Redacted.Redacted<string>
  readonly home: string
  readonly connectTimeout: Duration.Duration
  readonly ownership: Ownership.Ownership["Service"]
}): Effect.fn.Return<Hosts, never, Scope.Scope> {
  const { directory, home, ownership, token } = options
  const scope = yield* Effect.scope
  const sessions = new Map<string, Session>()
  const turns = new Map<string, Semaphore.Semaphore>()
  /** As the directory knew them last: sandboxes are reached while it is away. */
  const known = new Map<string, Host>()

  const all = Effect.tap(directory.hosts, (hosts) =>
    Effect.sync(() => {
      for (const host of hosts) known.set(host.id, host)
    })
  )
  const alive = Effect.map(all, (hosts) => hosts.filter(isAlive))

  const find = (method: string, id: string): Effect.Effect<Host, LightboxError> =>
    Effect.suspend(() => {
      const host = known.get(id)
      if (host !== undefined) return Effect.succeed(host)
      return Effect.flatMap(all, (hosts) => {
        const found = hosts.find((other) => other.id === id)
        if (found !== undefined) return Effect.succeed(found)
        const problem = "it is not in the directory any more"
        const reason = new HostUnavailable({ host: id, kind: "Unreachable", problem })
        return Effect.fail(new LightboxError({ method, reason }))
      })
    })

  const end = (session: Session) => Effect.forkIn(Scope.close(session.scope, Exit.void), scope)

  const open = Effect.fnUntraced(function* (host: Host): Effect.fn.Return<Session, LightboxError> {
    const before = sessions.get(host.id)
    if (before?.address === host.address) return before
    // It was started again at another address.
    if (before !== undefined) yield* end(before)
    const own = yield* Scope.fork(scope)
    const access = { url: host.address, token, home, connectTimeout: options.connectTimeout }
    const { make, ownership: outward } = yield* Remote.make(access, host.id).pipe(
      Scope.provide(own),
      Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
    )
    const driver = yield* make.pipe(Scope.provide(own), Effect.provideService(Ownership.Ownership, ownership))
    const session = {
      id: host.id,
      address: host.address,
      driver,
      ownership: outward === undefined ? ownership : outward(ownership),
      scope: own
    }
    sessions.set(host.id, session)
    return session
  })

  const reach = Effect.fnUntraced(function* (method: string, id: string): Effect.fn.Return<Session, LightboxError> {
    const host = yield* find(method, id)
    const turn = turns.get(id) ?? Semaphore.makeUnsafe(1)
    turns.set(id, turn)
    return yield* Semaphore.withPermits(turn, 1)(open(host))
  })

  const at: Hosts["at"] = (method, id, use) =>
    Effect.suspend(() => {
      const address = known.get(id)?.address
      const once = Effect.flatMap(reach(method, id), use).pipe(
        Effect.tapError((error) =>
          Effect.sync(() => {
            if (Failures.isTransient(error) || Failures.isEnded(error)) known.delete(id)
          })
        )
      )
      // It may be at another address by now.
      const hasMoved = (error: LightboxError) =>
        address === undefined || error.outcome !== "failed" || !Failures.isTransient(error)
          ? Effect.succeed(false)
          : Effect.map(
              Effect.option(find(method, id)),
              Option.exists((host) => host.address !== address)
            )
      return Effect.retry(once, { while: hasMoved, times: 1 })
    })

  return {
    all,
    alive,
    at,
    everywhere: (method, use) =>
      Effect.flatMap(alive, (hosts) => Effect.forEach(hosts, ({ id }) => at(method, id, use), { concurrency }))
  }
})
