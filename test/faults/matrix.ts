/**
 * What can go wrong, derived from what is asked: every call that an operation makes of the driver and its guests, in a
 * run in which all goes well, is in turn the one that fails, never ends, loses its answer, or finds its guest dead. And
 * between the calls, while it waits for a file, a lock or its turn, it is interrupted here and there.
 *
 * Each time, nothing may be left that the good run would not have left: at once, or at the latest after the first sweep
 * of the next owner. The operation may end, in bounded time, in success, in a `LightboxError` that tells what happened,
 * or as the interruption that it met. And it must work when it is tried again.
 */
import { afterAll, assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import type { Services } from "../../src/Driver.ts"
import { isLightboxError, type LightboxError, Unknown } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../src/Reaper.ts"

// The library loads these when it first uses them, and nothing shows that a module is being loaded.
await Promise.all([
  import("../../src/internal/build/capture.ts"),
  import("../../src/internal/build/dockerfile.ts"),
  import("../../src/internal/sandbox/fork.ts"),
  import("../../src/internal/store/pull.ts"),
  import("../../src/internal/store/push.ts")
])

/** An operation of the library, in a situation where it succeeds. */
export interface Operation {
  readonly name: string
  /** What is stored before: made once, and copied for each case. */
  readonly stored?: Effect.Effect<unknown, LightboxError, Services>
  /** What else exists before. */
  readonly given?: Effect.Effect<unknown, LightboxError, Services | Scope.Scope>
  readonly run: Effect.Effect<unknown, LightboxError, Services | Scope.Scope>
  /** What may be left that a successful run does not leave. */
  readonly mayStay?: ReadonlyArray<string>
  /** Must succeed afterwards, however the operation ended. */
  readonly always?: Effect.Effect<unknown, LightboxError, Services>
}

export const image = "alpine:3"

/** The twin in a home: with room for what exists before and what the operation boots, but not for a leak. */
const twin = (home: string) =>
  MicrosandboxMemory.layer({
    home,
    images: { [image]: {} },
    budget: { sandboxes: 2 },
    sweep: false,
    memorySnapshots: true
  })

// What the library records is flushed to the disk: in memory, where there is a folder for that, it takes no time.
const temporary = Fs.existsSync("/dev/shm") ? "/dev/shm" : Os.tmpdir()

/** An empty home, or a copy of another. */
const home = (from?: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const path = Fs.mkdtempSync(Path.join(temporary, "faults-"))
      if (from !== undefined) Fs.cpSync(from, path, { recursive: true, verbatimSymlinks: true })
      return path
    }),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
  )

/** A home with what an operation finds stored. */
const storing = Effect.fnUntraced(function* ({ stored = Effect.void }: Operation) {
  const path = yield* home()
  yield* Effect.provide(stored, twin(path))
  return path
})

// =============================================================================
// What is left
// =============================================================================

const random = /-[0-9a-z]{12,}|-[0-9a-z]+-[0-9a-z]+-[0-9a-z]+$/g

/** Everything that exists, one per line, without the random parts of names. */
const remains = Effect.gen(function* () {
  const driver = yield* Microsandbox.Microsandbox
  const control = yield* MicrosandboxMemory.Control
  const { processes, sandboxes, snapshotLinks, snapshots, volumes } = yield* control.inventory
  const folder = Path.join(driver.home, "snapshots")
  return [
    ...sandboxes.map(({ name, status }) => `sandbox ${name}, ${status}`),
    ...(yield* driver.listGhosts()).map((name) => `ghost ${name}`),
    ...processes.map(({ command, sandbox }) => `process ${command} in ${sandbox}`),
    ...snapshots.map((name) => `snapshot ${name}`),
    ...Fs.readdirSync(folder).flatMap((name) => (name.startsWith(".") ? [`staging ${name}`] : [])),
    ...snapshotLinks.map((name) => `link ${name}`),
    ...volumes.map((name) => `volume ${name}`)
  ].map((line) => line.replaceAll(random, "-*"))
})

// =============================================================================
// Time
// =============================================================================

/** Whether a resource only stays open or waits for time, and is not work under way. */
const isIdle = (resource: string): boolean =>
  /^(Timeout|(Pipe|PipeServer|TTY|Process|Signal)Wrap|MessagePort)$/.test(resource)

/** Turns of this process's event loop, and what happens at one of them. */
const turns = { count: 0, at: Infinity, happens: () => {} }

/** Runs everything that does not wait for time. */
const quiet = Effect.promise(async () => {
  let isBusy = false
  for (let idle = 0; idle < 3; idle = isBusy ? 0 : idle + 1) {
    // Who looks all the time takes the processor from those who work.
    await new Promise<void>((resolve) => (isBusy ? setTimeout(resolve, 1) : setImmediate(resolve)))
    if (++turns.count === turns.at) turns.happens()
    isBusy = !process.getActiveResourcesInfo().every(isIdle)
  }
})

/** How long an operation may take in all, in seconds: releases are given up after half a minute. */
const patience = 120

/** Lets time pass while nothing else happens until a condition holds, and returns whether it does. */
const until = <R>(isSo: Effect.Effect<boolean, never, R>): Effect.Effect<boolean, never, R> =>
  Effect.gen(function* () {
    for (let seconds = 0; seconds < patience; seconds++) {
      yield* quiet
      if (yield* isSo) return true
      yield* TestClock.adjust("1 second")
    }
    return false
  })

const hasEnded = (fiber: Fiber.Fiber<unknown, unknown>) => Effect.sync(() => fiber.pollUnsafe() !== undefined)

// =============================================================================
// Cases
// =============================================================================

const injected = new Unknown({ problem: "injected for this test" })

interface Variant {
  readonly name: string
  /** Undefined where it makes no sense. */
  readonly faultAt: (at: MicrosandboxMemory.Operation, nth: number) => MicrosandboxMemory.Fault | undefined
  readonly isInterrupted: boolean
}

const isOfGuest = (at: MicrosandboxMemory.Operation): at is MicrosandboxMemory.GuestOperation => at.includes(".")

const dies = "finds its guest dead"

const variants: ReadonlyArray<Variant> = [
  {
    name: "fails",
    faultAt: (at, nth) => MicrosandboxMemory.failAt(at, injected, { nth }),
    isInterrupted: false
  },
  {
    name: "hangs, and is interrupted",
    faultAt: (at, nth) => MicrosandboxMemory.hangAt(at, { nth }),
    isInterrupted: true
  },
  {
    name: "succeeds, but its answer is lost",
    faultAt: (at, nth) => MicrosandboxMemory.loseAnswerAt(at, { nth, reason: injected }),
    isInterrupted: false
  },
  {
    name: "succeeds, but never answers, and is interrupted",
    faultAt: (at, nth) => MicrosandboxMemory.loseAnswerAt(at, { nth, hang: true }),
    isInterrupted: true
  },
  {
    name: dies,
    faultAt: (at, nth) => (isOfGuest(at) ? MicrosandboxMemory.killGuestAt(at, { nth }) : undefined),
    isInterrupted: false
  }
]

interface Case {
  readonly name: string
  readonly isInterrupted: boolean
  /** Whether its guest dies. */
  readonly isDeath: boolean
  /** The call with the fault. */
  readonly call?: {
    readonly at: MicrosandboxMemory.Operation
    readonly nth: number
    readonly fault: MicrosandboxMemory.Fault
  }
  /** The turn at which it is interrupted, if not at a call. */
  readonly turn?: number
}

/** How many turns of each operation are tried, from its first to its last. */
const triedTurns = 6

const casesOf = (calls: ReadonlyArray<MicrosandboxMemory.Call>, length: number): ReadonlyArray<Case> => [
  ...calls.flatMap(({ operation: at }, index) => {
    const nth = calls.slice(0, index + 1).filter(({ operation }) => operation === at).length
    return variants.flatMap(({ faultAt, isInterrupted, name }) => {
      const fault = faultAt(at, nth)
      return fault === undefined
        ? []
        : [{ name: `${at} #${nth} ${name}`, isInterrupted, isDeath: name === dies, call: { at, nth, fault } }]
    })
  }),
  ...[...new Set(Array.from({ length: triedTurns }, (_, index) => 1 + Math.floor((index * length) / triedTurns)))].map(
    (turn) => ({ name: `is interrupted at turn ${turn}`, isInterrupted: true, isDeath: false, turn })
  )
]

/** What is wrong with how an operation ended. */
const wrongEnd = (exit: Exit.Exit<unknown, unknown>, { isDeath, isInterrupted }: Case): ReadonlyArray<string> => {
  if (Exit.isSuccess(exit)) return []
  if (Cause.hasInterruptsOnly(exit.cause)) return isInterrupted ? [] : ["is interrupted by itself"]
  const { reasons } = exit.cause
  const defect = reasons.find((reason) => reason._tag === "Die")
  if (defect !== undefined) return [`dies of ${String(defect.defect)}`]
  return reasons.flatMap((reason) => {
    if (reason._tag !== "Fail") return []
    if (!isLightboxError(reason.error)) return [`fails with ${String(reason.error)}`]
    const { message, method } = reason.error
    // The error for a dead guest depends on the call; an interrupted operation says so itself.
    const isTold = isDeath || isInterrupted || message.includes(injected.problem)
    return isTold && method !== "" ? [] : [`does not tell what happened: ${message}`]
  })
}

/** The calls of a successful run, and what may be left after it. */
const record = ({ given = Effect.void, run }: Operation, from: string) =>
  Effect.gen(function* () {
    const control = yield* MicrosandboxMemory.Control
    yield* given
    const before = yield* remains
    const { length } = yield* control.calls
    turns.count = 0
    const fiber = yield* Effect.forkDetach(Effect.scoped(run))
    assert.isTrue(yield* until(hasEnded(fiber)), "it does not end when all goes well")
    yield* Fiber.join(fiber)
    const calls = (yield* control.calls).slice(length)
    return { calls, turns: turns.count, allowed: [...before, ...(yield* remains)] }
  }).pipe(
    Effect.scoped,
    (effect) => Effect.flatMap(home(from), (path) => Effect.provide(effect, twin(path))),
    Effect.scoped
  )

/** Runs an operation with one fault. */
const runWith = Effect.fnUntraced(function* ({ run }: Operation, one: Case) {
  const control = yield* MicrosandboxMemory.Control
  const { length } = yield* control.calls
  const { call, isInterrupted, turn = Infinity } = one
  if (call !== undefined) yield* control.inject(call.fault)
  const fiber = yield* Effect.forkDetach(Effect.scoped(run))
  Object.assign(turns, { count: 0, at: turn, happens: () => fiber.interruptUnsafe() })
  if (call !== undefined && isInterrupted) {
    const isMet = Effect.map(
      control.calls,
      (calls) => calls.slice(length).filter(({ operation }) => operation === call.at).length >= call.nth
    )
    if (!(yield* until(isMet))) return ["is not met"]
    fiber.interruptUnsafe()
  }
  if (!(yield* until(hasEnded(fiber)))) return ["does not end"]
  turns.at = Infinity
  yield* control.clearFaults
  return wrongEnd(yield* Fiber.await(fiber), one)
})

/** What goes wrong on a second try without the fault. */
const tryAgain = Effect.fnUntraced(function* ({ always = Effect.void, given, run }: Operation, { isDeath }: Case) {
  // What existed before may have died.
  const isPossible = !isDeath || given === undefined
  const fiber = yield* Effect.forkDetach(Effect.andThen(always, isPossible ? Effect.scoped(run) : Effect.void))
  if (!(yield* until(hasEnded(fiber)))) return ["does not end when it is tried again"]
  const exit = yield* Fiber.await(fiber)
  return Exit.isSuccess(exit) ? [] : [`fails when it is tried again: ${Cause.pretty(exit.cause)}`]
})

/** What is wrong with how an operation handles one fault, and what it leaves to the next sweep. */
const examine = Effect.fnUntraced(function* (
  operation: Operation,
  one: Case,
  from: string,
  allowed: ReadonlyArray<string>
) {
  const path = yield* home(from)
  // A dead guest was not left behind.
  const mayStay = [...allowed, ...(operation.mayStay ?? []), ...(one.isDeath ? allowed.map(crashed) : [])]
  const left = Effect.map(remains, (found) => found.filter((line) => !mayStay.includes(line)))
  const { problems, swept } = yield* Effect.gen(function* () {
    yield* operation.given ?? Effect.void
    const problems = yield* runWith(operation, one)
    const swept = yield* left
    if (swept.length > 0 || problems.length > 0) return { problems, swept }
    return { problems: yield* tryAgain(operation, one), swept: yield* left }
  }).pipe(Effect.scoped, Effect.provide(twin(path)))
  if (swept.length === 0) return { problems, swept }
  const stays = yield* Effect.andThen(Reaper.sweep(), left).pipe(Effect.provide(twin(path)))
  return { problems: [...problems, ...stays.map((line) => `leaves ${line}, in spite of a sweep`)], swept }
}, Effect.scoped)

const crashed = (line: string): string => line.replace(/, running$/, ", crashed")

// =============================================================================
// Tests
// =============================================================================

/** What needs an operation here, by the first word of its name. */
export interface Surface {
  /** The module. */
  readonly exports: object
  /** Its exports that are not operations. */
  readonly others: ReadonlyArray<string>
  /** An instance whose methods are operations, too. */
  readonly instance?: Effect.Effect<object, LightboxError, Services | Scope.Scope>
  /** Its fields that are not operations. */
  readonly fields?: ReadonlyArray<string>
}

/** Declares one test for each operation, which goes through all its cases. */
export const matrix = (
  module: string,
  { exports, fields = [], instance = Effect.succeed({}), others }: Surface,
  operations: ReadonlyArray<Operation>
): void => {
  const total = { calls: 0, cases: 0 }
  const swept: Array<string> = []

  it.effect("covers every operation that can be called", () =>
    Effect.gen(function* () {
      const named = operations.map(({ name }) => name.split(" ")[0])
      const methods = Object.keys(yield* instance).filter((name) => !name.startsWith("~"))
      assert.includeMembers([...others, ...named], Object.keys(exports))
      assert.includeMembers([...fields, ...named], methods)
    }).pipe(
      Effect.scoped,
      (effect) => Effect.flatMap(home(), (path) => Effect.provide(effect, twin(path))),
      Effect.scoped
    )
  )

  it.effect.each(operations)(
    "$name",
    (operation) =>
      Effect.gen(function* () {
        const from = yield* storing(operation)
        const { allowed, calls, turns } = yield* record(operation, from)
        const cases = casesOf(calls, turns)
        assert.isAbove(cases.length, 0)
        const problems: Array<string> = []
        for (const one of cases) {
          const found = yield* examine(operation, one, from, allowed)
          problems.push(...found.problems.map((problem) => `${one.name}: ${problem}`))
          if (found.swept.length > 0) swept.push(`${operation.name}: ${one.name}: ${found.swept.join(", ")}`)
        }
        total.calls += calls.length
        total.cases += cases.length
        assert.deepStrictEqual(problems, [])
      }).pipe(Effect.scoped),
    600_000
  )

  afterAll(() => {
    const { calls, cases } = total
    console.log(
      [
        `faults of ${module}: ${operations.length} operations, ${calls} calls, ${cases} cases`,
        `${swept.length} left something to the first sweep of the next owner:`,
        ...swept
      ].join("\n  ")
    )
  })
}
