/**
 * Limits the sandboxes of this process to a budget. Launches beyond it wait in order, so that the machine does not
 * start to swap.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
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

interface Waiting {
  readonly method: string
  readonly memory: number
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
  const admitted = new Set<Waiting>()

  const admitNext = () => {
    for (let next = queue[0]; next !== undefined; next = queue[0]) {
      // A booted guest takes its memory gradually, so free memory can be measured only while nothing is running.
      if (sandboxes === 0) maxMemory = budget.memory ?? measure()
      if (sandboxes + 1 > maxSandboxes || memory + next.memory > maxMemory) {
        if (sandboxes > 0) return
        // Waiting would not help.
        queue.shift()
        const problem = `it needs ${showSize(next.memory)} of memory, and only ${showSize(maxMemory)} are left on this machine`
        const error = new LightboxError({ method: next.method, reason: new NoCapacity({ problem }) })
        Deferred.doneUnsafe(next.admitted, Effect.fail(error))
        continue
      }
      queue.shift()
      admitted.add(next)
      sandboxes++
      memory += next.memory
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

  const admit = Effect.fnUntraced(function* (
    method: string,
    wanted: number | undefined
  ): Effect.fn.Return<Room, LightboxError, Scope.Scope> {
    const need = wanted ?? options.defaultMemory ?? defaultResources.memory
    if (budget.memory !== undefined && need > budget.memory) {
      const problem = `expected at most ${showSize(budget.memory)}, the budget of this process`
      return yield* invalid(method, "resources.memory", problem)
    }
    const waiting: Waiting = { method, memory: need, admitted: Deferred.makeUnsafe() }
    const release = Effect.sync(() => {
      const position = queue.indexOf(waiting)
      if (position !== -1) queue.splice(position, 1)
      else if (admitted.delete(waiting)) {
        sandboxes--
        memory -= need
      }
      admitNext()
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
      Metric.modify(waitingLaunches, 1),
      () => admission,
      () => Metric.modify(waitingLaunches, -1)
    )
    return { release }
  })

  return { admit, boot: boots.withPermits(1) }
})
