/**
 * Runs effects for programs that know promises only.
 */
// @effect-diagnostics asyncFunction:off newPromise:off globalTimers:off
import * as Cause from "effect/Cause"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Scope from "effect/Scope"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"

type Runtime = ManagedRuntime.ManagedRuntime<Microsandbox.Microsandbox, LightboxError>

let options: Microsandbox.LayerOptions = {}
let current: Runtime | undefined

/** Sets the options of the one driver of this process. They count until it is first used. */
export const configure = (layerOptions: Microsandbox.LayerOptions): void => {
  if (current !== undefined) throw new Error("configure() has no effect after the first use of the library")
  options = layerOptions
}

const runWith = async <A>(
  effect: Effect.Effect<A, LightboxError, Microsandbox.Microsandbox>,
  signal: AbortSignal | undefined
): Promise<A> => {
  current ??= ManagedRuntime.make(Microsandbox.layer(options))
  const used = current
  const exit = await used.runPromiseExit(effect, signal === undefined ? undefined : { signal })
  if (Exit.isSuccess(exit)) return exit.value
  // A driver that could not be made is not kept: what was missing may be there next time.
  if (used === current && used.cachedContext === undefined) current = undefined
  throw Cause.hasInterruptsOnly(exit.cause) && signal?.aborted === true ? signal.reason : Cause.squash(exit.cause)
}

/**
 * Runs an effect. When the signal aborts, or the process is told to end, the
 * effect is interrupted, and the promise rejects once everything is cleaned up:
 * with the signal's reason.
 */
export const run = async <A>(
  effect: Effect.Effect<A, LightboxError, Microsandbox.Microsandbox>,
  signal?: AbortSignal
): Promise<A> => {
  signal?.throwIfAborted()
  const controller = new AbortController()
  const result = runWith(
    effect,
    signal === undefined ? controller.signal : AbortSignal.any([signal, controller.signal])
  )
  const end = begin(async () => {
    controller.abort(new DOMException("The process is ending", "AbortError"))
    await Promise.allSettled([result])
  })
  try {
    return await result
  } finally {
    end()
  }
}

// =============================================================================
// The end of the process
// =============================================================================

/** What is under way, and has to be stopped when the process is told to end: the last begun first. */
const activities = new Set<() => Promise<void>>()

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const

const exitCodes = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

/** How long stopping everything may take. */
const stopLimitMillis = 10_000

let isStopping = false

/** Registers something to be stopped with the process, and gives the function that takes it back. */
const begin = (stop: () => Promise<void>): (() => void) => {
  if (activities.size === 0) for (const signal of signals) process.on(signal, onSignal)
  activities.add(stop)
  return () => {
    activities.delete(stop)
    if (activities.size === 0 && !isStopping) for (const signal of signals) process.off(signal, onSignal)
  }
}

const onSignal = (signal: (typeof signals)[number]): void => void stopAll(signal)

const stopAll = async (signal: (typeof signals)[number]): Promise<void> => {
  // The second signal means: now.
  if (isStopping) process.exit(exitCodes[signal])
  isStopping = true
  // A program that listens itself decides itself when it ends.
  const decides = process.listenerCount(signal) === 1
  const limit = setTimeout(() => process.exit(exitCodes[signal]), stopLimitMillis)
  await Promise.allSettled([...activities].toReversed().map((stop) => stop()))
  clearTimeout(limit)
  if (decides) process.exit(exitCodes[signal])
  isStopping = false
  for (const other of signals) process.off(other, onSignal)
}

/** A scope that outlives the call that made it: closed with the process, if not before. */
export interface OpenScope {
  readonly scope: Scope.Closeable
  /** Releases what is in it. */
  readonly close: () => Promise<void>
  /** Leaves what is in it to itself. */
  readonly forget: () => void
}

/** Makes a scope that outlives the call. */
export const openScope = (): OpenScope => {
  const scope = Scope.makeUnsafe()
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= runWith(Scope.close(scope, Exit.void), undefined).finally(forget)
    return closing
  }
  const forget = begin(close)
  return { scope, close, forget }
}
