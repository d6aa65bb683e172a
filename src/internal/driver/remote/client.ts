/** A program's session with a host. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as RpcClient from "effect/rpc/RpcClient"
import type { RpcClientError } from "effect/rpc/RpcClientError"
import type * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { LightboxError } from "../../../LightboxError.ts"
import * as Failures from "./failures.ts"
import { randomId } from "../../ownership/labels.ts"
import * as Protocol from "./protocol.ts"

type Operations = RpcGroup.Rpcs<typeof Protocol.operations>

export type Rpc = RpcClient.RpcClient<Operations, RpcClientError>

/** What identifies a call. */
export interface Call {
  readonly headers: { readonly [name: string]: string }
}

/** Calls an operation. */
export type Run<A> = (rpc: Rpc, call: Call) => Effect.Effect<A, LightboxError | RpcClientError>

/** What is left to do if the host is not reached in time to cancel an operation. */
export interface Late {
  /** What the operation creates. */
  readonly subject: string
  /** Runs when the host has answered. The operation may have ended before. */
  readonly cleanUp: Effect.Effect<void>
}

export interface Client {
  readonly url: string
  readonly opened: Protocol.Opened
  /** Asks for something, in a new session if the last has ended. */
  readonly read: <A>(method: string, run: Run<A>) => Effect.Effect<A, LightboxError>
  /** Changes something once, even if it must ask twice. On interruption, it is cancelled at the host. */
  readonly write: <A>(method: string, run: Run<A>, late?: Late) => Effect.Effect<A, LightboxError>
  /** Whether the host has not answered yet that the creation of a subject is cancelled. */
  readonly isLate: (subject: string) => boolean
  /** Ends something that may have ended with the session. */
  readonly end: <A>(method: string, run: Run<A>) => Effect.Effect<A, LightboxError>
  /** Makes a request that is not RPC, with these headers. Again in a new session if the last has ended. */
  readonly request: <A, R>(
    use: (headers: Call["headers"]) => Effect.Effect<A, LightboxError, R>,
    options?: {
      /** Whether it is about something of the session. Then it is not asked for again. */
      readonly isOfSession?: boolean
    }
  ) => Effect.Effect<A, LightboxError, R>
  /** While one is held, no new session begins: what it protects must not go on without it. */
  readonly holding: (change: 1 | -1) => void
  /** The error for an answer that ended too early. */
  readonly incomplete: (method: string) => LightboxError
  /** Waits until the host has not answered for the length of a lease. */
  readonly silence: Effect.Effect<void>
}

/** Asks again for about ten seconds. */
const again = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("2 seconds")]).pipe(
  Schedule.upTo({ times: 9 })
)

/** How long a host may take to open a session. */
const openLimit = Duration.seconds(30)

const cancelLimit = Duration.seconds(10)

/** Sleeps without keeping the process alive. */
const pause = (duration: Duration.Duration): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const timer = setTimeout(() => resume(Effect.void), Duration.toMillis(duration)).unref()
    return Effect.sync(() => clearTimeout(timer))
  })

/** Opens a session, renews it, and closes it with the scope. */
export const make = Effect.fnUntraced(function* (options: {
  readonly method: string
  readonly url: string
  readonly token: Redacted.Redacted<string>
  /** The id of the host in a fleet. Another one that answers at its address is not used. */
  readonly host?: string | undefined
}): Effect.fn.Return<Client, LightboxError, Scope.Scope> {
  const { method, url } = options
  const common = {
    authorization: `Bearer ${Redacted.value(options.token)}`,
    [Protocol.headers.generation]: String(Protocol.generation)
  }
  const http = Effect.map(
    HttpClient.HttpClient,
    HttpClient.mapRequest((request) =>
      HttpClientRequest.setHeaders(HttpClientRequest.setUrl(request, `${url}${Protocol.paths.rpc}`), common)
    )
  ).pipe(
    Effect.map(HttpClient.transform((effect) => Effect.provideService(effect, FetchHttpClient.Fetch, Failures.request)))
  )
  const protocol = Layer.effect(
    RpcClient.Protocol,
    Effect.flatMap(http, (client) => RpcClient.makeProtocolHttp(client))
  )
  const context = yield* Layer.build(
    protocol.pipe(Layer.provide(Layer.merge(FetchHttpClient.layer, RpcSerialization.layerNdjson)))
  )
  const rpc: Rpc = yield* Effect.provideContext(RpcClient.make(Protocol.operations, { disableTracing: true }), context)

  const attempt = <A>(method: string, call: Call, run: Run<A>): Effect.Effect<A, LightboxError> =>
    Effect.suspend(() => run(rpc, call)).pipe(
      Effect.mapError(Failures.toError(method, url)),
      Effect.catchDefect((defect) => Effect.fail(Failures.ofDefect(method, defect)))
    )
  let isGone = false
  let silent = Deferred.makeUnsafe<void>()
  const silence = Effect.suspend(() => Deferred.await(silent))
  const unanswered = (method: string) =>
    Failures.toError(method, url)(new Failures.Failed("Lost", "it has not answered for too long"))
  /** Says that the host does not answer any more, to all that wait for it. */
  const giveUp = Effect.sync(() => {
    const all = silent
    silent = Deferred.makeUnsafe()
    isGone = true
    Deferred.doneUnsafe(all, Effect.void)
  })
  let heard = Deferred.makeUnsafe<void>()
  /** Says that the host answers. */
  const hear = Effect.sync(() => {
    const all = heard
    heard = Deferred.makeUnsafe()
    isGone = false
    Deferred.doneUnsafe(all, Effect.void)
  })
  const asking = <A>(
    method: string,
    call: Call,
    run: Run<A>,
    options: {
      /** What must not happen twice has an unknown outcome if its session ended after an answer was lost. */
      readonly isOnce?: boolean
      readonly onEnded?: Effect.Effect<void>
    } = {}
  ): Effect.Effect<A, LightboxError> => {
    const { isOnce = false, onEnded = Effect.void } = options
    // An answer that was lost once may have had an effect, even if the host cannot be reached any more.
    let lost: LightboxError | undefined
    return attempt(method, call, run).pipe(
      Effect.tapError((error) =>
        Effect.sync(() => {
          if (error.outcome === "unknown" && Failures.isTransient(error)) lost = error
        })
      ),
      // A program that ends does not wait for a host that is gone once for each of its sandboxes.
      Effect.retry({ while: (error) => Failures.isTransient(error) && !isGone, schedule: again }),
      Effect.tap(() => hear),
      Effect.tapError((error) =>
        Effect.sync(() => {
          isGone = Failures.isTransient(error)
        })
      ),
      Effect.tapError((error) => (Failures.isEnded(error) ? onEnded : Effect.void)),
      Effect.mapError((error) =>
        Failures.isTransient(error) || (isOnce && Failures.isEnded(error)) ? (lost ?? error) : error
      ),
      // A host that hangs keeps its connections.
      Effect.raceFirst(Effect.flatMap(silence, () => Effect.fail(unanswered(method))))
    )
  }

  const state: { opened: Protocol.Opened | undefined; locks: number } = { opened: undefined, locks: 0 }
  const turn = yield* Semaphore.make(1)
  const ended = (session: string) =>
    Effect.sync(() => {
      if (state.opened?.session === session) state.opened = undefined
    })
  const headersOf = ({ session }: Protocol.Opened) => ({ [Protocol.headers.session]: session })
  const open = asking(method, { headers: {} }, (rpc, call) => rpc.open(undefined, call)).pipe(
    Effect.raceFirst(Effect.flatMap(pause(openLimit), () => Effect.fail(unanswered(method)))),
    Effect.tap((opened) => {
      if (options.host === undefined || options.host === opened.host) {
        state.opened = opened
        return Effect.void
      }
      const other = opened.host === undefined ? "a host of no fleet" : `host ${opened.host}`
      return attempt(method, { headers: headersOf(opened) }, (rpc, call) => rpc.close(undefined, call)).pipe(
        Effect.ignore,
        Effect.andThen(
          Effect.fail(
            Failures.toError(method, url)(new Failures.Failed("Unreachable", `${other} answers instead of it`))
          )
        )
      )
    })
  )
  const session = Effect.suspend(() => {
    if (state.opened !== undefined) return Effect.succeed(state.opened)
    return state.locks > 0
      ? Effect.fail(
          Failures.toError(method, url)(new Failures.Failed("Ended", "the session in which a lock was held has ended"))
        )
      : open
  }).pipe(Semaphore.withPermits(turn, 1))
  const scope = yield* Effect.scope
  const late = new Set<string>()
  /** Cancels an operation, for as long as it may run at the host. */
  const cancel = (method: string, opened: Protocol.Opened, request: string, whenLate: Late | undefined) => {
    const asked = attempt(method, { headers: headersOf(opened) }, (rpc, call) => rpc.cancel({ request }, call))
    const isAnswered = Effect.match(asked, {
      onSuccess: () => true,
      onFailure: (error) => !Failures.isTransient(error)
    })
    const goOn = Effect.suspend(() => Deferred.await(heard)).pipe(
      Effect.andThen(isAnswered),
      Effect.repeat({ until: (isAnswered) => isAnswered }),
      Effect.andThen(whenLate?.cleanUp ?? Effect.void),
      Effect.ensuring(Effect.sync(() => whenLate !== undefined && late.delete(whenLate.subject))),
      Effect.forkIn(scope)
    )
    return asked.pipe(
      Effect.retry({ while: Failures.isTransient, schedule: again }),
      Effect.catchIf(
        (error) => !Failures.isTransient(error),
        () => Effect.void
      ),
      Effect.timeout(cancelLimit),
      Effect.catch(() =>
        Effect.suspend(() => {
          if (whenLate !== undefined) late.add(whenLate.subject)
          return Effect.asVoid(goOn)
        })
      )
    )
  }

  const inSession = <A>(
    method: string,
    request: string | undefined,
    run: Run<A>,
    { isOnce = false, late }: { readonly isOnce?: boolean; readonly late?: Late | undefined } = {}
  ): Effect.Effect<A, LightboxError> =>
    Effect.flatMap(session, (opened) => {
      const id = request === undefined ? {} : { [Protocol.headers.request]: request }
      const call = { headers: { ...headersOf(opened), ...id } }
      const asked = asking(method, call, run, { isOnce, onEnded: ended(opened.session) })
      return request === undefined ? asked : Effect.onInterrupt(asked, () => cancel(method, opened, request, late))
    })
  /** A session that has ended did nothing. */
  const orRenewed = <A, R>(effect: Effect.Effect<A, LightboxError, R>) =>
    Effect.retry(effect, { while: Failures.isEnded, times: 1 })

  const opened = yield* open
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() =>
      state.opened === undefined
        ? Effect.void
        : attempt(method, { headers: headersOf(state.opened) }, (rpc, call) => rpc.close(undefined, call))
    ).pipe(Effect.timeout(cancelLimit), Effect.ignore)
  )
  /** Whether the host has answered, even if with a refusal. */
  const renewed = inSession(method, undefined, (rpc, call) => rpc.renew(undefined, call)).pipe(
    Effect.match({ onSuccess: () => true, onFailure: (error) => !Failures.isTransient(error) }),
    Effect.raceFirst(Effect.as(pause(opened.lease), false))
  )
  yield* Effect.suspend(() => (state.opened === undefined ? Effect.succeed(true) : renewed)).pipe(
    Effect.flatMap((isAnswered) => (isAnswered ? Effect.void : giveUp)),
    Effect.andThen(pause(Duration.millis(Duration.toMillis(opened.lease) / 3))),
    Effect.forever,
    Effect.forkScoped
  )

  return {
    url,
    opened,
    read: (method, run) => orRenewed(inSession(method, undefined, run)),
    write: (method, run, late) => Effect.suspend(() => inSession(method, randomId(), run, { isOnce: true, late })),
    isLate: (subject) => late.has(subject),
    end: (method, run) => orRenewed(Effect.suspend(() => inSession(method, randomId(), run))),
    request: (use, { isOfSession = false } = {}) => {
      const asked = Effect.flatMap(session, (opened) =>
        Effect.tapError(use({ ...common, ...headersOf(opened) }), (error) =>
          Failures.isEnded(error) ? ended(opened.session) : Effect.void
        )
      )
      return isOfSession ? asked : orRenewed(asked)
    },
    holding: (change) => {
      state.locks += change
    },
    incomplete: (method) => Failures.toError(method, url)(new Failures.Failed("Lost", "the answer is not complete")),
    silence
  }
})
