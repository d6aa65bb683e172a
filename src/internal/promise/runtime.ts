/**
 * Runs effects for programs that know promises only.
 */
// @effect-diagnostics asyncFunction:off newPromise:off globalTimers:off
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import type * as Sdk from "microsandbox"
import { fileURLToPath } from "node:url"
import type { Services } from "../../Driver.ts"
import { isLightboxError, LightboxError, Unsupported } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as MicrosandboxLocal from "../../MicrosandboxLocal.ts"
import { Progress } from "../report/progress.ts"
import { exitCodes, signals, type Signal } from "../host/processSignals.ts"
import * as SdkDriver from "../driver/local/driver.ts"
import { speakTo } from "../report/failureText.ts"

type Runtime = ManagedRuntime.ManagedRuntime<Services, LightboxError>

let options: MicrosandboxLocal.Options = {}
let saysProgress = true
let current: Runtime | undefined

/** Sets the options of the one driver of this process. They count until it is first used. */
export const configure = (layerOptions: MicrosandboxLocal.Options, progress: boolean = true): void => {
  if (current !== undefined) {
    throw new LightboxError({
      method: "configure",
      reason: new Unsupported({
        feature: "configure()",
        problem: "it must be called before anything else in this library"
      })
    })
  }
  options = layerOptions
  saysProgress = progress
}

/** Output belongs to the program: the library speaks only of what goes wrong behind its back, as errors. */
const quiet = Layer.mergeAll(
  Logger.layer([Logger.withConsoleError(Logger.formatSimple)]),
  Layer.succeed(References.MinimumLogLevel, "Warn")
)

const make = (layer: Layer.Layer<Services, LightboxError>): Runtime =>
  ManagedRuntime.make(
    Layer.provideMerge(
      layer,
      saysProgress
        ? quiet
        : Layer.merge(
            quiet,
            Layer.succeed(Progress, () => {})
          )
    )
  )

/** Runs everything on another driver from now on; the function that it gives goes back to the one before. */
export const provide = (layer: Layer.Layer<Services, LightboxError>): (() => Promise<void>) => {
  const before = current
  const provided = make(layer)
  current = provided
  return async () => {
    current = before
    await provided.dispose()
  }
}

/** The SDK itself. A driver of another kind has none. */
export const native = (feature: string): typeof Sdk => {
  const context = current?.cachedContext
  if (context !== undefined && Context.get(context, Microsandbox.Microsandbox).backend !== "local") {
    throw new LightboxError({
      method: feature,
      reason: new Unsupported({ feature, problem: "this driver does not use the SDK" })
    })
  }
  return Effect.runSync(SdkDriver.native(options.home))
}

const runWith = async <A>(
  effect: Effect.Effect<A, LightboxError, Services>,
  signal: AbortSignal | undefined
): Promise<A> => {
  current ??= make(MicrosandboxLocal.layer(options))
  const used = current
  const exit = await used.runPromiseExit(effect, signal === undefined ? undefined : { signal })
  if (Exit.isSuccess(exit)) return exit.value
  // A driver that could not be made is not kept: what was missing may be there next time.
  if (used === current && used.cachedContext === undefined) current = undefined
  throw Cause.hasInterruptsOnly(exit.cause) && signal?.aborted === true
    ? signal.reason
    : asThrown(Cause.squash(exit.cause), runWith)
}

/** Where this library is, unless it was bundled into something. */
const ownFolder = /^(.*\/)internal\/promise\/runtime\.[jt]s$/.exec(import.meta.url)?.[1]

const isOwn = (frame: string): boolean =>
  (ownFolder !== undefined && (frame.includes(ownFolder) || frame.includes(fileURLToPath(ownFolder)))) ||
  /\/node_modules\/effect\/|\bnode:/.test(frame)

/** Most of a stack are functions of ours. */
const stackFrames = 30

const callers = (): ReadonlyArray<string> => {
  const here: { stack?: string } = {}
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = stackFrames
  Error.captureStackTrace(here)
  const frames = (here.stack ?? "").split("\n")
  Error.stackTraceLimit = stackTraceLimit
  return frames.filter((line) => /^\s+at /.test(line) && !isOwn(line)).slice(0, stackTraceLimit)
}

/**
 * An error as the caller of a function of promises meets it: in the words of this side, and with the caller's line
 * instead of the lines of ours that made it. `thrower` is the function of ours that throws it.
 */
const asThrown = (error: unknown, thrower: (...args: never) => unknown): unknown => {
  if (!isLightboxError(error)) return error
  speakTo("promise", error)
  const frames = callers()
  if (frames.length === 0) return error
  // Node.js quotes the source of the place where the stack was captured last.
  Error.captureStackTrace(error, thrower)
  Object.defineProperty(error, "stack", {
    value: [`${error.name}: ${error.message}`, ...frames].join("\n"),
    enumerable: false,
    configurable: true,
    writable: true
  })
  return error
}

/** The value of what needs no driver and no time, such as the check of an option. */
export const runNow = <A>(effect: Effect.Effect<A, LightboxError>): A => {
  const exit = Effect.runSyncExit(effect)
  if (Exit.isSuccess(exit)) return exit.value
  throw asThrown(Cause.squash(exit.cause), runNow)
}

/**
 * Runs an effect. When the signal aborts, the effect is interrupted, and the promise rejects with the signal's reason
 * once everything is cleaned up. When the process ends meanwhile, the effect is interrupted, and the promise stays as
 * it is: nobody is there any more to be told.
 */
export const run = async <A>(effect: Effect.Effect<A, LightboxError, Services>, signal?: AbortSignal): Promise<A> => {
  signal?.throwIfAborted()
  const ending = new AbortController()
  const result = runWith(effect, either(signal, ending.signal))
  const end = begin(async () => {
    ending.abort()
    await Promise.allSettled([result])
  })
  try {
    return await result
  } finally {
    if (ending.signal.aborted) await new Promise<never>(() => {})
    end()
  }
}

/** A signal that aborts with either of two. */
export const either = (one: AbortSignal | undefined, other: AbortSignal | undefined): AbortSignal | undefined =>
  one === undefined ? other : other === undefined ? one : AbortSignal.any([one, other])

/** Waits for what can not be called off; when the signal aborts, ends it by `stop`, and rejects with the reason. */
export const abortable = async <A>(
  signal: AbortSignal | undefined,
  stop: () => Promise<void>,
  use: () => Promise<A>
): Promise<A> => {
  if (signal === undefined) return await use()
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(signal.reason)
  signal.addEventListener("abort", onAbort, { once: true })
  try {
    return await Promise.race([use(), aborted.promise])
  } catch (error) {
    // What was ended may have rejected because of that.
    if (!signal.aborted) throw error
    await stop()
    throw signal.reason
  } finally {
    signal.removeEventListener("abort", onAbort)
  }
}

/** A scope that outlives the call that made it: closed with the process, if not before. */
export interface OpenScope {
  readonly scope: Scope.Closeable
  /** Releases what is in it. */
  readonly close: () => Promise<void>
}

const openScope = (signal: AbortSignal | undefined): OpenScope => {
  const scope = Scope.makeUnsafe()
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= runWith(Scope.close(scope, Exit.void), undefined).finally(() => {
      signal?.removeEventListener("abort", close)
      end()
    })
    return closing
  }
  const end = begin(close)
  signal?.addEventListener("abort", close)
  return { scope, close }
}

/** `signal` counts during a call, and `forLife` until what it acquires is released, which its abort does. */
export interface Signals {
  readonly signal?: AbortSignal | undefined
  readonly forLife?: AbortSignal | undefined
}

/** Acquires something that outlives the call; what had been acquired is released if that fails. */
export const acquire = async <A, B>(
  effect: Effect.Effect<A, LightboxError, Services | Scope.Scope>,
  use: (value: A, held: OpenScope) => B,
  { forLife, signal }: Signals = {}
): Promise<B> => {
  const held = openScope(forLife)
  try {
    return use(await run(Scope.provide(effect, held.scope), either(signal, forLife)), held)
  } catch (error) {
    await held.close()
    throw error
  }
}

// =============================================================================
// The end of the process
// =============================================================================

/** What is under way, and has to be stopped before the process ends: the last begun first. */
const activities = new Set<() => Promise<void>>()

/** Registers something to be stopped with the process, and gives the function that takes it back. */
const begin = (stop: () => Promise<void>): (() => void) => {
  if (activities.size === 0) listen()
  activities.add(stop)
  return () => {
    activities.delete(stop)
    if (activities.size === 0 && !isStopping) unlisten()
  }
}

/** How long stopping everything may take. */
const stopLimitMillis = 9_000

let isStopping = false
let ignored = 0

const listen = (): void => {
  for (const signal of signals) process.on(signal, onSignal)
  process.on("uncaughtException", onException)
  if (isBun) process.on("unhandledRejection", onRejection)
  process.on("beforeExit", onBeforeExit)
}

const unlisten = (): void => {
  for (const signal of signals) process.off(signal, onSignal)
  process.off("uncaughtException", onException)
  process.off("unhandledRejection", onRejection)
  process.off("beforeExit", onBeforeExit)
  ignored = 0
}

const onSignal = (signal: Signal): void => {
  const exit = () => process.exit(exitCodes[signal])
  // Asked twice: now.
  if (isStopping) return exit()
  // A program that listens itself may want to finish what it does. Not when it is asked once more.
  if (process.listenerCount(signal) > 1 && ignored++ === 0) return
  void stopAll(exit)
}

/** Node.js takes a rejection that nobody handles for an exception. */
const isBun = process.versions["bun"] !== undefined

const onUncaught = (event: string) => (error: unknown) => {
  // Stopped in the middle, the program may well throw: it has ended already.
  if (isStopping || process.listenerCount(event) > 1) return
  void stopAll(() => {
    // Thrown where nobody listens any more, it is reported, and ends the process, as it would have without us.
    unlisten()
    setImmediate(() => {
      // Bun reports it, and goes on where a module waits at its top level.
      setImmediate(() => process.exit(1))
      throw error
    })
  })
}

const onException = onUncaught("uncaughtException")
const onRejection = onUncaught("unhandledRejection")

/** A program that has nothing more to do ends, whatever it left open. */
const onBeforeExit = (): void => void Promise.allSettled([...activities].toReversed().map((stop) => stop()))

const stopAll = async (end: () => void): Promise<void> => {
  isStopping = true
  const limit = setTimeout(end, stopLimitMillis)
  await Promise.allSettled([...activities].toReversed().map((stop) => stop()))
  clearTimeout(limit)
  end()
}
