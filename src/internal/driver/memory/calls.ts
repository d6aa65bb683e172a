/** Records the calls of a driver and its guests, and injects faults. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { LightboxError, Unknown } from "../../../LightboxError.ts"
import type { Call, Fault, Operation } from "../../../MicrosandboxMemory.ts"

/** The subject of a call. */
export interface Subject {
  readonly sandbox?: string | undefined
  /** Ends its virtual machine. */
  readonly kill?: Effect.Effect<void> | undefined
}

interface Armed {
  readonly fault: Fault
  matched: number
}

type Recorded = { -readonly [key in keyof Call]: Call[key] }

/** The arguments of a call, without secrets. */
export type Detail = Call["detail"]

const lost = (operation: Operation): LightboxError =>
  new LightboxError({
    method: operation,
    reason: new Unknown({ problem: "the operation was carried out, but its answer was lost" })
  })

export class Calls {
  private armed: Array<Armed> = []
  private readonly recorded: Array<Recorded> = []

  constructor(faults: ReadonlyArray<Fault>) {
    this.arm(faults)
  }

  arm(faults: ReadonlyArray<Fault>): void {
    this.armed.push(...faults.map((fault) => ({ fault, matched: 0 })))
  }

  disarm(): void {
    this.armed = []
  }

  /** The calls so far, in order. */
  history(): ReadonlyArray<Call> {
    return this.recorded.map((call) => ({ ...call }))
  }

  private take(call: Call): ReadonlyArray<Fault> {
    const met: Array<Fault> = []
    for (const armed of this.armed) {
      const { fault } = armed
      const { matching, nth = 1, sandbox, times = 1 } = fault.when
      if (fault.at !== call.operation) continue
      if (sandbox !== undefined && sandbox !== call.sandbox) continue
      if (matching !== undefined && !matching(call)) continue
      armed.matched++
      if (armed.matched >= nth && armed.matched < nth + times) met.push(fault)
    }
    return met
  }

  /** Records a call. Returns its faults, and how to record its end. */
  private begin(operation: Operation, subject: Subject, detail: Detail) {
    return Effect.map(Clock.currentTimeMillis, (at) => {
      const index = this.recorded.length
      const { sandbox } = subject
      const call: Recorded = { index, operation, sandbox, detail, at, outcome: { _tag: "Pending" } }
      this.recorded.push(call)
      const faults = this.take(call)
      return {
        before: Effect.forEach(faults, (fault) => act(fault, subject), { discard: true }),
        after: Effect.forEach(faults, (fault) => answer(operation, fault), { discard: true }),
        end: <A, E>(exit: Exit.Exit<A, E>) =>
          Effect.sync(() => {
            call.outcome = outcomeOf(exit)
          })
      }
    })
  }

  /** Runs a call with its faults. */
  run<A, E, R>(
    operation: Operation,
    subject: Subject,
    detail: Detail,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | LightboxError, R> {
    return Effect.flatMap(this.begin(operation, subject, detail), ({ after, before, end }) =>
      before.pipe(
        Effect.andThen(effect),
        Effect.tap(() => after),
        Effect.onExit((exit) => end(exit))
      )
    )
  }

  /** Runs a call that returns a stream. */
  stream<A, E, R>(
    operation: Operation,
    subject: Subject,
    detail: Detail,
    stream: Stream.Stream<A, E, R>
  ): Stream.Stream<A, E | LightboxError, R> {
    return Stream.unwrap(
      Effect.map(this.begin(operation, subject, detail), ({ after, before, end }) =>
        Stream.fromEffectDrain(before).pipe(
          Stream.concat(stream),
          Stream.concat(Stream.fromEffectDrain(after)),
          Stream.onExit((exit) => end(exit))
        )
      )
    )
  }
}

const outcomeOf = (exit: Exit.Exit<unknown, unknown>): Call["outcome"] => {
  if (Exit.isSuccess(exit)) return { _tag: "Succeeded" }
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  return error instanceof LightboxError ? { _tag: "Failed", error } : { _tag: "Interrupted" }
}

const act = (fault: Fault, { kill }: Subject): Effect.Effect<void, LightboxError> => {
  switch (fault.effect._tag) {
    case "Fail":
      return Effect.fail(new LightboxError({ method: fault.at, reason: fault.effect.reason }))
    case "Delay":
      return Effect.sleep(fault.effect.duration)
    case "Hang":
      return Effect.never
    case "KillGuest": {
      const { after } = fault.effect
      const end = kill ?? Effect.void
      return after === undefined
        ? end
        : Effect.asVoid(Effect.forkDetach(Effect.delay(end, after), { startImmediately: true }))
    }
    case "LoseAnswer":
      return Effect.void
  }
}

const answer = (operation: Operation, { effect }: Fault): Effect.Effect<void, LightboxError> => {
  if (effect._tag !== "LoseAnswer") return Effect.void
  if (effect.hangs) return Effect.never
  return Effect.fail(
    effect.reason === undefined ? lost(operation) : new LightboxError({ method: operation, reason: effect.reason })
  )
}
