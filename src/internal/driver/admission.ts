/**
 * Limits the sandboxes of this process to a budget. Launches beyond it wait in order, so that the machine does not
 * start to swap.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Num from "effect/Number"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Os from "node:os"
import type { Admission, Room, Budget as BudgetOptions } from "../../Admission.ts"
import { LightboxError, NoCapacity, NoSpace } from "../../LightboxError.ts"
import { freeBytes } from "../host/diskRoom.ts"
import { makeFolder } from "../host/durable.ts"
import { fileFailure } from "../host/fileFailure.ts"
import { waitingLaunches } from "../report/metrics.ts"
import {
  Bytes,
  defaultResources,
  DurationInput,
  intBetween,
  mebibyte,
  Mebibytes,
  optionsSchema,
  showSize,
  millis
} from "../config/schemas.ts"
import { invalid } from "../config/validation.ts"

/** The budget. Memory and processors default to those of this machine. */
export const Budget = optionsSchema<BudgetOptions>()(
  Schema.Struct({
    sandboxes: Schema.optional(intBetween(1, 1_000_000)),
    memory: Schema.optional(Mebibytes(1)),
    disk: Schema.optional(Bytes),
    boots: Schema.optional(intBetween(1, 1_000_000)),
    timeout: Schema.optional(DurationInput)
  })
)

/** Memory left to the rest of the machine. */
const reserve = 256 * mebibyte

/** Memory available to new processes, in bytes. */
export const availableMemory = (): number =>
  // macOS counts only never-used memory as free.
  process.platform === "darwin" ? Math.floor(Os.totalmem() * 0.75) : process.availableMemory() - reserve

/** The room of one sandbox. */
interface Reservation {
  readonly memory: number
  isHeld: boolean
}

/** Sandboxes that are admitted together: some of them alone could keep the room that others wait for. */
interface Waiting {
  readonly method: string
  readonly reservations: ReadonlyArray<Reservation>
  readonly admitted: Deferred.Deferred<void, LightboxError>
}

export const make = Effect.fnUntraced(function* (options: {
  readonly home: string
  readonly budget: typeof Budget.Type | undefined
  /** Memory of a sandbox that sets none. */
  readonly defaultMemory: number | undefined
  /** Bytes that must be free even with a smaller budget. */
  readonly leastDisk?: number | undefined
  readonly availableMemory?: (() => number) | undefined
}): Effect.fn.Return<Admission["Service"]> {
  const { home } = options
  const budget = options.budget ?? {}
  const minDisk = Math.max(budget.disk ?? 256 * mebibyte, options.leastDisk ?? 0)
  const timeout = budget.timeout ?? Duration.minutes(10)
  const boots = yield* Semaphore.make(budget.boots ?? Math.max(2, Os.availableParallelism()))
  const maxSandboxes = budget.sandboxes ?? Number.POSITIVE_INFINITY
  const measure = options.availableMemory ?? availableMemory
  let maxMemory = 0
  let sandboxes = 0
  let memory = 0
  const queue: Array<Waiting> = []

  const admitNext = () => {
    for (let next = queue[0]; next !== undefined; next = queue[0]) {
      // A booted guest takes its memory gradually, so free memory can be measured only while nothing is running.
      if (sandboxes === 0) maxMemory = budget.memory ?? measure()
      const needed = Num.sumAll(next.reservations.map((reservation) => reservation.memory))
      if (sandboxes + next.reservations.length > maxSandboxes || memory + needed > maxMemory) {
        if (sandboxes > 0) return
        // Waiting would not help.
        queue.shift()
        const problem = `it needs ${showSize(needed)} of memory, and only ${showSize(maxMemory)} are left on this machine`
        const error = new LightboxError({ method: next.method, reason: new NoCapacity({ problem }) })
        Deferred.doneUnsafe(next.admitted, Effect.fail(error))
        continue
      }
      queue.shift()
      for (const reservation of next.reservations) reservation.isHeld = true
      sandboxes += next.reservations.length
      memory += needed
      Deferred.doneUnsafe(next.admitted, Effect.void)
    }
  }

  const checkDisk = Effect.fnUntraced(function* (method: string): Effect.fn.Return<void, LightboxError> {
    const bytes = yield* Effect.tryPromise({
      try: async () => {
        await makeFolder(home)
        return freeBytes(home)
      },
      catch: fileFailure(method, "statfs", home)
    })
    if (bytes < minDisk) {
      const problem = `${home} has ${showSize(bytes)} free, and needs at least ${showSize(minDisk)}`
      return yield* new LightboxError({ method, reason: new NoSpace({ problem }) })
    }
  })

  const memoryOf = (wanted: number | undefined): number => wanted ?? options.defaultMemory ?? defaultResources.memory

  const admitAll = Effect.fnUntraced(function* (
    method: string,
    wanted: ReadonlyArray<number | undefined>,
    besides: ReadonlyArray<number> = [],
    wait = true
  ): Effect.fn.Return<ReadonlyArray<Room>, LightboxError, Scope.Scope> {
    const reservations = wanted.map((memory): Reservation => ({ memory: memoryOf(memory), isHeld: false }))
    const limit = budget.memory ?? Number.POSITIVE_INFINITY
    if (reservations.some((reservation) => reservation.memory > limit)) {
      const problem = `expected at most ${showSize(limit)}, the budget of this process`
      return yield* invalid(method, "resources.memory", problem)
    }
    const all = [...reservations.map((reservation) => reservation.memory), ...besides]
    if (all.length > maxSandboxes || Num.sumAll(all) > limit) {
      const most = all.length > maxSandboxes ? `${maxSandboxes} may run` : `they may have ${showSize(limit)}`
      const problem = `${all.length} must run at once, with ${showSize(Num.sumAll(all))} of memory, and ${most}`
      return yield* new LightboxError({ method, reason: new NoCapacity({ problem }) })
    }
    const waiting: Waiting = { method, reservations, admitted: Deferred.makeUnsafe() }
    const giveBack = (given: ReadonlyArray<Reservation>) =>
      Effect.sync(() => {
        for (const reservation of given) {
          if (!reservation.isHeld) continue
          reservation.isHeld = false
          sandboxes--
          memory -= reservation.memory
        }
        admitNext()
      })
    const release = Effect.suspend(() => {
      const position = queue.indexOf(waiting)
      if (position !== -1) queue.splice(position, 1)
      return giveBack(reservations)
    })
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        queue.push(waiting)
        admitNext()
      }),
      () => release
    )
    // Join the queue before measuring, to keep the order of arrival.
    yield* Effect.onError(checkDisk(method), () => release)
    if (!wait && !reservations.every(({ isHeld }) => isHeld) && !Deferred.isDoneUnsafe(waiting.admitted)) {
      const problem = `${sandboxes} sandboxes use ${showSize(memory)} of ${showSize(maxMemory)}, or wait for them`
      return yield* Effect.onError(
        Effect.fail(new LightboxError({ method, reason: new NoCapacity({ problem }) })),
        () => release
      )
    }
    const admission = Deferred.await(waiting.admitted).pipe(
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => {
          const problem =
            `it waited ${millis(timeout)} ms, while ${sandboxes} sandboxes used ${memory / mebibyte} of ${showSize(maxMemory)}` +
            (budget.sandboxes === undefined ? "" : ` and ${budget.sandboxes} may run`)
          return Effect.fail(new LightboxError({ method, reason: new NoCapacity({ problem }) }))
        }
      })
    )
    yield* Effect.acquireUseRelease(
      Metric.modify(waitingLaunches, wanted.length),
      () => admission,
      () => Metric.modify(waitingLaunches, -wanted.length)
    )
    return reservations.map((reservation) => ({ release: giveBack([reservation]) }))
  })

  const admit: Admission["Service"]["admit"] = (method, memory, { wait } = {}) =>
    Effect.map(admitAll(method, [memory], [], wait), (rooms) => ({
      release: Effect.forEach(rooms, (room) => room.release, { discard: true })
    }))

  // As above, free memory can be measured only while nothing is running.
  const limit = Effect.sync(() => budget.memory ?? (sandboxes === 0 ? measure() : maxMemory))

  return {
    admit,
    admitAll: (method, wanted, besides) => admitAll(method, wanted, besides),
    limit,
    boot: boots.withPermits(1)
  }
})
