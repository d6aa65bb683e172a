/** Records the calls of a driver and its guests, and injects faults. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
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

interface Recorded {
  readonly call: { -readonly [key in keyof Call]: Call[key] }
}

const lost = (operation: Operation): LightboxError =>
  new LightboxError({
    method: operation,
    reason: new Unknown({ problem: "the operation was carried out, but its answer was lost" })
  })

export class Calls {
  private armed: Array<Armed>
  private readonly recorded: Array<Recorded> = []

  constructor(faults: ReadonlyArray<Fault>) {
    this.armed = faults.map((fault) => ({ fault, matched: 0 }))
  }

  arm(faults: ReadonlyArray<Fault>): void {
    this.armed.push(...faults.map((fault) => ({ fault, matched: 0 })))
  }

  disarm(): void {
    this.armed = []
  }

  /** The calls so far, in order. */
  history(): ReadonlyArray<Call> {
    return this.recorded.map(({ call }) => ({ ...call }))
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

  /** Records a call and applies the faults before it. Returns the faults after it. */
  private begin(
    operation: Operation,
    subject: Subject,
    detail: { readonly [key: string]: unknown }
  ): Effect.Effect<{
    readonly recorded: Recorded
    readonly before: Effect.Effect<void, LightboxError>
    readonly after: Effect.Effect<void, LightboxError>
  }> {
    return Effect.map(Clock.currentTimeMillis, (at) => {
      const recorded: Recorded = {
        call: {
          index: this.recorded.length,
          operation,
          sandbox: subject.sandbox,
          detail,
          at,
          outcome: { _tag: "Pending" }
        }
      }
      this.recorded.push(recorded)
      const faults = this.take(recorded.call)
      return {
        recorded,
        before: Effect.forEach(faults, (fault) => act(fault, subject), { discard: true }),
        after: Effect.forEach(faults, (fault) => answer(operation, fault), { discard: true })
      }
    })
  }

  /** Runs a call with its faults. */
  run<A, E, R>(
    operation: Operation,
    subject: Subject,
    detail: { readonly [key: string]: unknown },
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | LightboxError, R> {
    return Effect.flatMap(this.begin(operation, subject, detail), ({ after, before, recorded }) =>
      before.pipe(
        Effect.andThen(effect),
        Effect.tap(() => after),
        Effect.onExit((exit) => Effect.sync(() => recordExit(recorded, exit)))
      )
    )
  }

  /** Runs a call that returns a stream. */
  stream<A, E, R>(
    operation: Operation,
    subject: Subject,
    detail: { readonly [key: string]: unknown },
    stream: Stream.Stream<A, E, R>
  ): Stream.Stream<A, E | LightboxError, R> {
    return Stream.unwrap(
      Effect.map(this.begin(operation, subject, detail), ({ after, before, recorded }) =>
        Stream.fromEffectDrain(before).pipe(
          Stream.concat(stream),
          Stream.concat(Stream.fromEffectDrain(after)),
          Stream.onExit((exit) => Effect.sync(() => recordExit(recorded, exit)))
        )
      )
    )
  }
}

const recordExit = ({ call }: Recorded, exit: Exit.Exit<unknown, unknown>): void => {
  if (Exit.isSuccess(exit)) {
    call.outcome = { _tag: "Succeeded" }
    return
  }
  const error = Cause.findErrorOption(exit.cause)
  call.outcome =
    error._tag === "Some" && error.value instanceof LightboxError
      ? { _tag: "Failed", error: error.value }
      : { _tag: "Interrupted" }
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
