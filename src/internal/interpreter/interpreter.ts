/** Contexts of an interpreter: their options, one run after the other, restarts. */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Event, Interpreter, Options, RunOptions } from "../../Interpreter.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type { Sandbox } from "../../Sandbox.ts"
import type { SandboxPool } from "../../SandboxPool.ts"
import { Bytes, commandFields, DurationInput, Mebibytes, notBlank } from "../config/schemas.ts"
import { callDecoder } from "../config/validation.ts"
import { printable } from "../report/printable.ts"
import { isSandbox } from "../sandbox/handle.ts"
import * as Kernel from "./kernel.ts"
import { type CodeError, Execution, type Result } from "./results.ts"

export const TypeId = "~effect-lightbox/Interpreter" as const

export const Language = Schema.Literals(["python", "javascript"])

/** The largest results: what a string can hold, with room for its encoding. */
const most = 64 * 1024 * 1024

/** A {@link Bytes} that is kept in memory. */
const Limit = Bytes.check(Schema.makeFilter((bytes) => (bytes <= most ? undefined : "expected at most 64M")))

/** Options that promises have as they are. */
export const contextFields = {
  language: Language,
  program: Schema.optional(notBlank("the name of a program")),
  memory: Schema.optional(Mebibytes(64, "memory"))
}

/** Options of a run that promises have as they are. */
export const runFields = { maxOutput: Schema.optional(Limit), maxResults: Schema.optional(Limit) }

const isSource = (u: unknown): u is Sandbox | SandboxPool =>
  isSandbox(u) || (Predicate.hasProperty(u, "acquire") && Predicate.isFunction(u.acquire))

const decodeMake = callDecoder(
  "Interpreter.make",
  Schema.Struct({ source: Schema.declare(isSource, { expected: "a sandbox or a pool of sandboxes" }) }),
  Schema.Struct({ ...contextFields, ...commandFields, interruptTimeout: Schema.optional(DurationInput) })
)

const decodeRun = callDecoder(
  "Interpreter.run",
  Schema.Struct({ code: Schema.String }),
  Schema.Struct({ ...runFields, timeout: Schema.optional(DurationInput) })
)

const defaultLimits: Kernel.Limits = { maxOutput: 1024 * 1024, maxResults: 16 * 1024 * 1024 }

/** A kernel, and the scope that it ends with. */
interface Incarnation {
  readonly kernel: Kernel.Kernel
  readonly scope: Scope.Closeable
}

export const make = Effect.fn("Interpreter.make")(function* (
  from: Sandbox | SandboxPool,
  options: Options
): Effect.fn.Return<Interpreter, LightboxError, Scope.Scope> {
  const { interruptTimeout = Duration.seconds(5), source, ...checked } = yield* decodeMake({ source: from }, options)
  const sandbox = isSandbox(source) ? source : yield* source.acquire()
  const { language } = checked
  const scope = yield* Effect.scope
  const runs = yield* Semaphore.make(1)
  const restarts = yield* Semaphore.make(1)

  const begin = Effect.gen(function* () {
    const own = yield* Scope.fork(scope)
    const kernel = yield* Kernel.start(sandbox.guest, { ...checked, interruptTimeout }).pipe(
      Scope.provide(own),
      Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Scope.close(own, exit)))
    )
    return { kernel, scope: own }
  })
  let current: Incarnation = yield* begin

  const open = Effect.fnUntraced(function* (code: string, options: RunOptions | undefined) {
    const { timeout, ...run } = yield* decodeRun({ code }, options)
    yield* Effect.acquireRelease(runs.take(1), () => runs.release(1), { interruptible: true })
    // A restart ends the run before this one, but not this one.
    const { kernel } = yield* restarts.withPermit(Effect.sync(() => current))
    const start = yield* Clock.currentTimeNanos
    const events = yield* Queue.unbounded<Event, LightboxError | Cause.Done>()
    const limits = {
      maxOutput: run.maxOutput ?? defaultLimits.maxOutput,
      maxResults: run.maxResults ?? defaultLimits.maxResults
    }
    const cell = yield* Effect.acquireRelease(
      kernel.begin(code, limits, (event) => Queue.offerUnsafe(events, event)),
      kernel.stop
    )
    const ended = Deferred.await(cell.ended)
    const drive = Effect.gen(function* () {
      if (timeout === undefined) return yield* ended
      if (Option.isSome(yield* Effect.timeoutOption(ended, timeout))) return
      yield* kernel.stop(cell)
      yield* ended
      return yield* kernel.timedOut(cell, timeout)
    }).pipe(
      Effect.andThen(Clock.currentTimeNanos),
      Effect.matchCauseEffect({
        onFailure: (cause) => Queue.failCause(events, cause),
        onSuccess: (end) => {
          const duration = Duration.nanos(end - start)
          Queue.offerUnsafe(events, { _tag: "Ended", truncated: cell.truncated, duration })
          return Queue.end(events)
        }
      })
    )
    yield* Effect.forkScoped(drive)
    return Stream.fromQueue(events)
  })

  const runStream = (method: string, code: string, options: RunOptions | undefined) =>
    Stream.unwrap(open(code, options)).pipe(Stream.mapError(Kernel.withMethod(method)))

  const restart = restarts
    .withPermit(
      Effect.gen(function* () {
        yield* current.kernel.lose("was restarted")
        yield* Scope.close(current.scope, Exit.void)
        current = yield* begin
      })
    )
    .pipe(Effect.mapError(Kernel.withMethod("Interpreter.restart")))

  return printable<Interpreter>(
    {
      [TypeId]: TypeId,
      language,
      sandbox,
      run: Effect.fn("Interpreter.run")(function* (code, options) {
        const seen = { Stdout: "", Stderr: "" }
        const results: Array<Result> = []
        let error: CodeError | undefined
        let end: Pick<Execution, "truncated" | "duration"> = { truncated: false, duration: Duration.zero }
        yield* Stream.runForEach(runStream("Interpreter.run", code, options), (event) =>
          Effect.sync(() => {
            if (event._tag === "Result") results.push(event.result)
            else if (event._tag === "Error") error = event.error
            else if (event._tag === "Ended") end = event
            else seen[event._tag] += event.text
          })
        )
        const { duration, truncated } = end
        return new Execution({ stdout: seen.Stdout, stderr: seen.Stderr, results, error, truncated, duration })
      }),
      runStream: (code, options) =>
        runStream("Interpreter.runStream", code, options).pipe(Stream.withSpan("Interpreter.runStream")),
      interrupt: Effect.suspend(() => {
        const { kernel } = current
        return Effect.flatMap(kernel.running, (cell) => (cell === undefined ? Effect.void : kernel.stop(cell)))
      }).pipe(Effect.withSpan("Interpreter.interrupt")),
      restart: Effect.withSpan(restart, "Interpreter.restart")
    },
    "Interpreter",
    () => ({ language, sandbox: sandbox.name })
  )
})
