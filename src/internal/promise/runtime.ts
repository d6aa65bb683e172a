/** Runs effects for programs that use promises. */
// @effect-diagnostics asyncFunction:off newPromise:off globalTimers:off
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import type * as Sdk from "microsandbox"
import { pathToFileURL } from "node:url"
import type { Services } from "../../Driver.ts"
import { ownFolders } from "../definition/callSite.ts"
import { isLightboxError, LightboxError, Unsupported } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as MicrosandboxLocal from "../../MicrosandboxLocal.ts"
import { Progress } from "../report/progress.ts"
import { exitCodes, signals, type Signal } from "../host/processSignals.ts"
import * as SdkDriver from "../driver/local/driver.ts"
import { setWay } from "../report/failureText.ts"

type Runtime = ManagedRuntime.ManagedRuntime<Services, LightboxError>

/** A machine that is used instead of this one. */
export interface OtherHost {
  readonly url: string
  readonly token: string
}

let options: MicrosandboxLocal.Options = {}
let host: OtherHost | undefined
let showsProgress = true
let current: Runtime | undefined

/** Sets the options of this process's driver. Throws after its first use. */
export const configure = (
  layerOptions: MicrosandboxLocal.Options,
  progress: boolean = true,
  otherHost?: OtherHost
): void => {
  if (active() !== undefined) {
    throw new LightboxError({
      method: "configure",
      reason: new Unsupported({
        feature: "configure()",
        problem: "it must be called before anything else in this library"
      })
    })
  }
  options = layerOptions
  host = otherHost
  showsProgress = progress
}

/** Standard output belongs to the program, so the library logs only errors. */
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

/** The driver of this process. */
const ownLayer = (): Layer.Layer<Services, LightboxError> => {
  if (host === undefined) return MicrosandboxLocal.layer(options)
  const { token, url } = host
  // What it needs takes a while to load.
  return Layer.unwrap(
    Effect.map(
      Effect.promise(() => import("../../MicrosandboxRemote.ts")),
      ({ layer }) => layer({ url, token: Redacted.make(token), home: options.home })
    )
  )
}

/** Drivers that are used instead of this process's own, the last one first. */
let provided: ReadonlyArray<Runtime> = []

const active = (): Runtime | undefined => provided.at(-1) ?? current

/** Another driver, for a while. */
export interface Provided {
  /** Runs an effect on this driver. Rejects once it is closed. */
  readonly run: <A>(effect: Effect.Effect<A, LightboxError, Services>) => Promise<A>
  /** Switches back to what was used before, whatever else was provided meanwhile. */
  readonly close: () => Promise<void>
}

/** Switches to another driver. */
export const provide = (layer: Layer.Layer<Services, LightboxError>): Provided => {
  const runtime = make(layer)
  provided = [...provided, runtime]
  let closing: Promise<void> | undefined
  return {
    run: (effect) => runtime.runPromise(effect),
    close: () => {
      provided = provided.filter((other) => other !== runtime)
      return (closing ??= runtime.dispose())
    }
  }
}

const backendOf = (context: Context.Context<Services>): string =>
  Context.get(context, Microsandbox.Microsandbox).backend

/** The SDK. Only available with the local driver. */
export const native = (feature: string): typeof Sdk => {
  const context = active()?.cachedContext
  const isOther = context === undefined ? host !== undefined && active() === current : backendOf(context) !== "local"
  if (isOther) {
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
  const used = active() ?? (current = make(ownLayer()))
  const exit = await used.runPromiseExit(effect, signal === undefined ? undefined : { signal })
  if (Exit.isSuccess(exit)) return exit.value
  // A failed driver is not cached: its requirements may be met next time.
  if (used === current && used.cachedContext === undefined) current = undefined
  throw Cause.hasInterruptsOnly(exit.cause) && signal?.aborted === true
    ? signal.reason
    : asThrown(Cause.squash(exit.cause), runWith)
}

const isOwn = (frame: string): boolean =>
  ownFolders.some((folder) => frame.includes(folder) || frame.includes(pathToFileURL(folder).href)) ||
  /\/node_modules\/effect\/|\bnode:/.test(frame)

/** High, because most frames of a stack are ours. */
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
 * Prepares an error for callers of promises: uses their names for options, and replaces our stack frames with theirs.
 * `thrower` is the function of ours that throws.
 */
const asThrown = (error: unknown, thrower: (...args: never) => unknown): unknown => {
  if (!isLightboxError(error)) return error
  setWay("promise", error)
  const frames = callers()
  if (frames.length === 0) return error
  // Node.js quotes the source at the place where the stack was last captured.
  Error.captureStackTrace(error, thrower)
  Object.defineProperty(error, "stack", {
    value: [`${error.name}: ${error.message}`, ...frames].join("\n"),
    enumerable: false,
    configurable: true,
    writable: true
  })
  return error
}

/** Runs an effect that needs no driver and is synchronous, such as an option check. */
export const runNow = <A>(effect: Effect.Effect<A, LightboxError>): A => {
  const exit = Effect.runSyncExit(effect)
  if (Exit.isSuccess(exit)) return exit.value
  throw asThrown(Cause.squash(exit.cause), runNow)
}

/**
 * Runs an effect. If the signal aborts, interrupts the effect, cleans up, and rejects with the signal's reason. If the
 * process exits meanwhile, interrupts the effect and never settles the promise.
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

/** Like {@link run}, for one operation of the driver. */
export const runDriver = <A>(
  operation: (driver: Microsandbox.Microsandbox["Service"]) => Effect.Effect<A, LightboxError>,
  signal?: AbortSignal
): Promise<A> => run(Microsandbox.Microsandbox.use(operation), signal)

/** Combines two signals: aborts when either does. */
export const either = (one: AbortSignal | undefined, other: AbortSignal | undefined): AbortSignal | undefined =>
  one === undefined ? other : other === undefined ? one : AbortSignal.any([one, other])

/** Waits for a promise that cannot be canceled. If the signal aborts, calls `stop` and rejects with the reason. */
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
    // The rejection may be a consequence of the abort.
    if (!signal.aborted) throw error
    await stop()
    throw signal.reason
  } finally {
    signal.removeEventListener("abort", onAbort)
  }
}

/** A scope that outlives the call that opened it. Closes with the process at the latest. */
export interface OpenScope {
  readonly scope: Scope.Closeable
  readonly close: () => Promise<void>
  /** Forgets it: from then on, neither a signal nor the end of the process closes it. */
  readonly release: () => void
}

const openScope = (signal: AbortSignal | undefined): OpenScope => {
  const scope = Scope.makeUnsafe()
  let closing: Promise<void> | undefined
  const close = () => (closing ??= Effect.runPromise(Scope.close(scope, Exit.void)).finally(release))
  const release = () => {
    signal?.removeEventListener("abort", close)
    end()
  }
  const end = begin(close)
  signal?.addEventListener("abort", close)
  return { scope, close, release }
}

/** `signal` applies during a call; aborting `forLife` releases the resource at any time. */
export interface Signals {
  readonly signal?: AbortSignal | undefined
  readonly forLife?: AbortSignal | undefined
}

/** Acquires a resource that outlives the call. On failure, releases what was acquired. */
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

/** What the copies of this library in a process share: the first that is active listens for all of them. */
interface Ending {
  /** Active operations, stopped in reverse order when the process exits. */
  readonly activities: Set<() => Promise<void>>
  unlisten: () => void
  isStopping: boolean
}

declare global {
  var effectLightboxEnding: Ending | undefined
}

const ending: Ending = (globalThis.effectLightboxEnding ??= {
  activities: new Set(),
  unlisten: () => {},
  isStopping: false
})

/** Registers an operation to be stopped at exit. The returned function unregisters it. */
const begin = (stop: () => Promise<void>): (() => void) => {
  const { activities } = ending
  if (activities.size === 0) listen()
  activities.add(stop)
  return () => {
    activities.delete(stop)
    if (activities.size === 0 && !ending.isStopping) ending.unlisten()
  }
}

const stopLimitMillis = 9_000

let ignored = 0

const listen = (): void => {
  ending.unlisten = unlisten
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
  // A second signal exits immediately.
  if (ending.isStopping) return exit()
  // A program with its own listener may finish its work, until the second signal.
  if (process.listenerCount(signal) > 1 && ignored++ === 0) return
  void stopAll(exit)
}

/** Node.js reports an unhandled rejection as an uncaught exception; Bun does not. */
const isBun = process.versions["bun"] !== undefined

const onUncaught = (event: string) => (error: unknown) => {
  // An error thrown while stopping is a consequence of stopping.
  if (ending.isStopping || process.listenerCount(event) > 1) return
  void stopAll(() => {
    // Without our listeners, throwing reports the error and exits, as it would have without this library.
    unlisten()
    setImmediate(() => {
      // Bun reports it but keeps running while a module is suspended at a top-level `await`.
      setImmediate(() => process.exit(1))
      throw error
    })
  })
}

const onException = onUncaught("uncaughtException")
const onRejection = onUncaught("unhandledRejection")

/** An idle program exits, whatever it left open. */
const onBeforeExit = (): void => void Promise.allSettled([...ending.activities].toReversed().map((stop) => stop()))

const stopAll = async (end: () => void): Promise<void> => {
  ending.isStopping = true
  const limit = setTimeout(end, stopLimitMillis)
  await Promise.allSettled([...ending.activities].toReversed().map((stop) => stop()))
  clearTimeout(limit)
  end()
}
