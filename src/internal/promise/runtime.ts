/** Runs effects for the Promise API. */
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
import { setWay } from "../report/failureText.ts"

type Runtime = ManagedRuntime.ManagedRuntime<Services, LightboxError>

let options: MicrosandboxLocal.Options = {}
let showsProgress = true
let current: Runtime | undefined

/** Sets the options of this process's driver, before its first use. */
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
  showsProgress = progress
}

/** Standard output belongs to the program. The library logs only failures in the background, to standard error. */
const quiet = Layer.mergeAll(
  Logger.layer([Logger.withConsoleError(Logger.formatSimple)]),
  Layer.succeed(References.MinimumLogLevel, "Warn")
)

const make = (layer: Layer.Layer<Services, LightboxError>): Runtime =>
  ManagedRuntime.make(
    Layer.provideMerge(
      layer,
      showsProgress
        ? quiet
        : Layer.merge(
            quiet,
            Layer.succeed(Progress, () => {})
          )
    )
  )

/** Switches to another driver. The returned function switches back. */
export const provide = (layer: Layer.Layer<Services, LightboxError>): (() => Promise<void>) => {
  const before = current
  const provided = make(layer)
  current = provided
  return async () => {
    current = before
    await provided.dispose()
  }
}

/** Returns the SDK module, which other drivers do not have. */
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
  // Try again next time if the driver could not be made.
  if (used === current && used.cachedContext === undefined) current = undefined
  throw Cause.hasInterruptsOnly(exit.cause) && signal?.aborted === true
    ? signal.reason
    : asThrown(Cause.squash(exit.cause), runWith)
}

/** The folder of this library, unless it was bundled. */
const ownFolder = /^(.*\/)internal\/promise\/runtime\.[jt]s$/.exec(import.meta.url)?.[1]

const isOwn = (frame: string): boolean =>
  (ownFolder !== undefined && (frame.includes(ownFolder) || frame.includes(fileURLToPath(ownFolder)))) ||
  /\/node_modules\/effect\/|\bnode:/.test(frame)

/** Enough frames to reach the caller. */
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
 * Prepares an error for the caller of the Promise API: its vocabulary, and the caller's stack without our frames.
 * `thrower` is the function that throws it.
 */
const asThrown = (error: unknown, thrower: (...args: never) => unknown): unknown => {
  if (!isLightboxError(error)) return error
  setWay("promise", error)
  const frames = callers()
  if (frames.length === 0) return error
  // Node.js quotes the source line where the stack was captured last.
  Error.captureStackTrace(error, thrower)
  Object.defineProperty(error, "stack", {
    value: [`${error.name}: ${error.message}`, ...frames].join("\n"),
    enumerable: false,
    configurable: true,
    writable: true
  })
  return error
}

/** Runs a synchronous effect that needs no driver, such as the check of an option. */
export const runNow = <A>(effect: Effect.Effect<A, LightboxError>): A => {
  const exit = Effect.runSyncExit(effect)
  if (Exit.isSuccess(exit)) return exit.value
  throw asThrown(Cause.squash(exit.cause), runNow)
}

/**
 * Runs an effect. When the signal aborts, interrupts it, and rejects with the signal's reason after the cleanup. When
 * the process ends meanwhile, the effect is interrupted and the promise stays pending.
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

/** Combines two signals. */
export const either = (one: AbortSignal | undefined, other: AbortSignal | undefined): AbortSignal | undefined =>
  one === undefined ? other : other === undefined ? one : AbortSignal.any([one, other])

/** Waits for a promise that cannot be cancelled. When the signal aborts, calls `stop` and rejects with the reason. */
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
    // The promise may reject because of `stop`.
    if (!signal.aborted) throw error
    await stop()
    throw signal.reason
  } finally {
    signal.removeEventListener("abort", onAbort)
  }
}

/** A scope that outlives the call that opened it, and is closed at the latest with the process. */
export interface OpenScope {
  readonly scope: Scope.Closeable
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

/** `signal` applies to one call. `forLife` applies until the resource is released, and its abort releases it. */
export interface Signals {
  readonly signal?: AbortSignal | undefined
  readonly forLife?: AbortSignal | undefined
}

/** Acquires a resource that outlives the call. Releases everything if that fails. */
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

/** Stops to run before the process ends, newest first. */
const activities = new Set<() => Promise<void>>()

/** Registers a stop for the end of the process. Returns a function that removes it. */
const begin = (stop: () => Promise<void>): (() => void) => {
  if (activities.size === 0) listen()
  activities.add(stop)
  return () => {
    activities.delete(stop)
    if (activities.size === 0 && !isStopping) unlisten()
  }
}

/** Time limit for all stops. */
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
  // A second signal ends the process at once.
  if (isStopping) return exit()
  // A program with its own listener may want to finish first, but not after a second signal.
  if (process.listenerCount(signal) > 1 && ignored++ === 0) return
  void stopAll(exit)
}

/** Node.js reports unhandled rejections as exceptions. */
const isBun = process.versions["bun"] !== undefined

const onUncaught = (event: string) => (error: unknown) => {
  // A program that is stopped may throw. It has ended already.
  if (isStopping || process.listenerCount(event) > 1) return
  void stopAll(() => {
    // Rethrown without a listener, it is reported and ends the process, as without this library.
    unlisten()
    setImmediate(() => {
      // Bun reports it, but continues a pending top-level await.
      setImmediate(() => process.exit(1))
      throw error
    })
  })
}

const onException = onUncaught("uncaughtException")
const onRejection = onUncaught("unhandledRejection")

/** A program without pending work ends, even with open scopes. */
const onBeforeExit = (): void => void Promise.allSettled([...activities].toReversed().map((stop) => stop()))

const stopAll = async (end: () => void): Promise<void> => {
  isStopping = true
  const limit = setTimeout(end, stopLimitMillis)
  await Promise.allSettled([...activities].toReversed().map((stop) => stop()))
  clearTimeout(limit)
  end()
}
