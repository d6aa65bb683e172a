/** The programs that use a host: what belongs to each of them, and what becomes of it when a program is gone. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Cause from "effect/Cause"
import * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import { HostUnavailable, LightboxError, NoCapacity } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type * as Ownership from "../../Ownership.ts"
import * as Owner from "../ownership/owner.ts"
import { sweepAtStart } from "../reaper/sweep.ts"
import type { Token } from "./tokens.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** Of a token, so that whoever has one does not take those of the others. */
const defaultMaxSessions = 1000

const defaultMaxRequests = 10_000

/** How long the operations of a program may take to end. */
const closeLimit = "30 seconds"

/** A lock that a program holds or waits for. */
export interface SessionLock {
  readonly scope: Scope.Closeable
  /** What came of it. */
  attempt: Ownership.LockAttempt | undefined
  /** How many lines of its holder were passed on. */
  sent: number
}

export interface Session {
  readonly id: string
  readonly token: Token
  /** Of what the program creates. */
  readonly ownership: Ownership.Ownership["Service"]
  /** Of its operations, locks and connections. */
  readonly scope: Scope.Closeable
  /** How to end its operations, by their ids. */
  readonly requests: Map<string, Effect.Effect<unknown>>
  /** How many of its operations run. The others have a result, which is kept for a while. */
  running: number
  readonly cancelled: Set<string>
  readonly locks: Map<string, SessionLock>
  /** Locks that were released a short while ago. */
  readonly unlocked: Set<string>
  /** Sandboxes that end with the program. */
  readonly attached: Map<string, Microsandbox.SandboxRef>
  /** What sandboxes need for as long as they exist, by their ids. */
  readonly kept: Map<string, Scope.Closeable>
  /** Archives, by id. */
  readonly files: Map<string, string>
  /** When the host heard of the program last, by {@link millis}. */
  seen: number
}

/** Time that passes for a program, whatever is done to the clock of the machine. */
const millis = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1_000_000)

const unavailable = (kind: HostUnavailable["kind"], problem: string): LightboxError =>
  new LightboxError({ method: "Host", reason: new HostUnavailable({ host: "", kind, problem }) })

const ended = () => unavailable("Ended", "it has ended the session of this program, or was restarted")

/** Runs of an operation by the ids of requests, for those that ask for a result again. */
export type Runs<A> = WeakMap<Session, Map<string, Fiber.Fiber<A, LightboxError>>>

export interface Sessions {
  readonly open: (token: Token) => Effect.Effect<Session, LightboxError>
  /** Finds the session of a program, and notes that the program is alive. */
  readonly find: (id: string | undefined, token: Token) => Effect.Effect<Session, LightboxError>
  /** Ends a session, and removes what belongs to it. */
  readonly end: (session: Session) => Effect.Effect<void>
  /** Runs an operation once for all requests with an id. It goes on when those that wait for it are gone. */
  readonly once: <A>(
    session: Session,
    request: string | undefined,
    runs: Runs<A>,
    effect: Effect.Effect<A, LightboxError>,
    options: {
      /** Whether it ends something. A program that has too much under way must be able to. */
      readonly isEnding: boolean
    }
  ) => Effect.Effect<Fiber.Fiber<A, LightboxError>, LightboxError>
  readonly cancel: (session: Session, request: string) => Effect.Effect<void>
}

/** The result of an operation. One that was ended has none, and may have done a part of its work. */
export const resultOf = <A>(fiber: Fiber.Fiber<A, LightboxError>): Effect.Effect<A, LightboxError> =>
  Effect.flatMap(Fiber.await(fiber), (exit) =>
    Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)
      ? Effect.fail(unavailable("Lost", "it has ended the operation together with the session of this program"))
      : exit
  )

/** Requires a scope of a token. */
export const requireScope = (token: Token, scope: "read" | "write"): Effect.Effect<void, LightboxError> =>
  token.scopes.includes(scope)
    ? Effect.void
    : Effect.fail(unavailable("Forbidden", `the token "${token.name}" lacks the scope "${scope}"`))

export const make = Effect.fnUntraced(function* (options: {
  readonly driver: Driver
  readonly ownership: Ownership.Ownership["Service"]
  readonly lease: Duration.Duration
  /** Gives back the room that a sandbox has in the budget. */
  readonly leave: (sandbox: Microsandbox.SandboxRef) => Effect.Effect<void>
  /** Programs of a token. Default: 1000. */
  readonly maxSessions?: number
  /** Operations of a program that run at once. Default: 10,000. */
  readonly maxRequests?: number
}): Effect.fn.Return<Sessions, never, Scope.Scope> {
  const { driver, lease, leave, ownership } = options
  const { maxRequests = defaultMaxRequests, maxSessions = defaultMaxSessions } = options
  const leaseMillis = Duration.toMillis(lease)
  const all = new Map<string, Session>()
  const run = Effect.runForkWith(yield* Effect.context<never>())

  const stopAttached = (sandbox: Microsandbox.SandboxRef) =>
    driver
      .stopSandbox(sandbox)
      .pipe(
        Effect.catchReasons("LightboxError", { NotFound: () => Effect.void, Replaced: () => Effect.void }),
        Effect.timeout("30 seconds"),
        Effect.ignoreCause({ log: "Warn", message: `Could not stop sandbox "${sandbox.name}"` }),
        Effect.andThen(leave(sandbox))
      )
  const sweepDead = sweepAtStart(driver, ownership)
  /** Closes the scope of a session. Does not wait for an operation that hangs and cannot be interrupted. */
  const close = Effect.fnUntraced(function* ({ scope, token }: Session) {
    const isClosed = yield* Deferred.make<boolean>()
    yield* Scope.close(scope, Exit.void).pipe(
      Effect.andThen(Deferred.succeed(isClosed, true)),
      // Others have not waited: its owner is dead only now.
      Effect.flatMap((isInTime) => (isInTime ? Effect.void : sweepDead)),
      Effect.forkDetach
    )
    const timer = yield* Effect.forkDetach(
      Effect.interruptible(Effect.delay(Deferred.succeed(isClosed, false), closeLimit))
    )
    if (yield* Deferred.await(isClosed)) return yield* Fiber.interrupt(timer)
    yield* Effect.logWarning(`An operation of a program of the token "${token.name}" does not end`)
  })
  const end = (...sessions: ReadonlyArray<Session>) =>
    Effect.suspend(() => {
      const ending = sessions.filter(({ id }) => all.delete(id))
      if (ending.length === 0) return Effect.void
      const attached = Effect.suspend(() =>
        Effect.forEach(
          ending.flatMap(({ attached }) => [...attached.values()]),
          stopAttached,
          { concurrency: 16, discard: true }
        )
      )
      return Effect.uninterruptible(
        Effect.forEach(ending, close, { concurrency: 16, discard: true }).pipe(
          // The owners are dead now: what they have noted is removed.
          Effect.andThen(sweepDead),
          Effect.andThen(attached)
        )
      )
    })

  yield* Effect.addFinalizer(() => end(...all.values()))
  const scope = yield* Effect.scope
  const interval = leaseMillis / 4
  yield* Effect.gen(function* () {
    const before = yield* millis
    yield* Effect.sleep(Duration.millis(interval))
    const now = yield* millis
    // A host that stood still has heard nobody meanwhile.
    if (now - before > 2 * interval) for (const session of all.values()) session.seen = now
    const dead = [...all.values()].filter(({ seen }) => now - seen > leaseMillis)
    for (const session of dead) {
      yield* Effect.logInfo(`A program of the token "${session.token.name}" is gone: its sandboxes are removed`)
    }
    // The others do not wait for what takes long.
    yield* Effect.forkIn(end(...dead), scope)
  }).pipe(Effect.forever, Effect.forkScoped)

  return {
    open: Effect.fnUntraced(function* (token) {
      if ([...all.values()].filter((session) => session.token === token).length >= maxSessions) {
        const problem = `the host serves ${maxSessions} programs with the token "${token.name}" already`
        return yield* new LightboxError({ method: "Host", reason: new NoCapacity({ problem }) })
      }
      const scope = yield* Scope.make()
      const session: Session = {
        id: Crypto.randomBytes(24).toString("base64url"),
        token,
        ownership: yield* Scope.provide(Owner.make(driver.home), scope),
        scope,
        requests: new Map(),
        running: 0,
        cancelled: new Set(),
        locks: new Map(),
        unlocked: new Set(),
        attached: new Map(),
        kept: new Map(),
        files: new Map(),
        seen: yield* millis
      }
      all.set(session.id, session)
      return session
    }),
    find: (id, token) =>
      Effect.flatMap(millis, (now) => {
        const session = id === undefined ? undefined : all.get(id)
        // The session of another token does not exist for this one.
        if (session === undefined || session.token !== token) return Effect.fail(ended())
        session.seen = now
        return Effect.succeed(session)
      }),
    end,
    once: (session, request, runs, effect, { isEnding }) =>
      Effect.suspend(() => {
        if (request === undefined) return Effect.fail(unavailable("Refused", "the request has no id"))
        if (session.cancelled.has(request)) return Effect.fail(ended())
        const known = runs.get(session) ?? new Map<string, never>()
        const running = known.get(request)
        if (running !== undefined) return Effect.succeed(running)
        if (!isEnding && session.running >= maxRequests) {
          const problem = `this program has ${maxRequests} operations under way`
          return Effect.fail(new LightboxError({ method: "Host", reason: new NoCapacity({ problem }) }))
        }
        return Effect.map(Effect.forkIn(effect, session.scope), (fiber) => {
          known.set(request, fiber)
          runs.set(session, known)
          session.requests.set(request, Fiber.interrupt(fiber))
          session.running++
          // Results are kept for those whose answer is lost.
          const forget = Effect.sync(() => {
            known.delete(request)
            session.requests.delete(request)
          })
          fiber.addObserver(() => {
            session.running--
            run(Effect.forkIn(Effect.delay(forget, lease), session.scope))
          })
          return fiber
        })
      }).pipe(Effect.uninterruptible),
    cancel: (session, request) =>
      Effect.suspend(() => {
        const interrupt = session.requests.get(request)
        if (interrupt !== undefined) return Effect.asVoid(interrupt)
        // It has not arrived yet.
        if (session.cancelled.size < maxRequests) session.cancelled.add(request)
        return Effect.void
      })
  }
})
