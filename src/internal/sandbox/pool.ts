/**
 * A pool of sandboxes booted in advance.
 *
 * Effect's `Pool` does not fit: it reuses items, counts borrowed items towards its minimum, hands a failed acquisition
 * to the next borrower, and does not check idle items. Here no item is reused, the minimum counts ready items, failed
 * boots back off, and idle items are checked and replaced. State changes in synchronous steps; fibers run what takes
 * time: boots, removals, health checks.
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import { identity } from "effect/Function"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as Struct from "effect/Struct"
import * as Defaults from "./defaults.ts"
import { withMemory } from "./fork.ts"
import * as Launch from "./launch.ts"
import type { Services } from "../../Driver.ts"
import { isLightboxError, LightboxError, Unknown } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Sandbox from "../../Sandbox.ts"
import * as SandboxConfig from "../../SandboxConfig.ts"
import type { Options, SandboxPool, Settings } from "../../SandboxPool.ts"
import { withoutDependencies, withoutDiskChanges } from "../config/defaults.ts"
import { withFreePorts } from "../driver/ports.ts"
import * as Execution from "../guest/execution.ts"
import { roleLabel } from "../ownership/labels.ts"
import * as Metrics from "../report/metrics.ts"
import { CommandDefaults, forkingOf, knownOf, make as makeHandle } from "./handle.ts"
import { DurationInput, Func, ImageReference, intBetween, notBlank, ScheduleSchema } from "../config/schemas.ts"
import { callDecoder, checkFunction, checkObject, decoder, invalid, optionsDecoder } from "../config/validation.ts"

const method = "SandboxPool.make"

// =============================================================================
// Options
// =============================================================================

/** Options that promises have as they are. */
export const poolFields = {
  min: Schema.optional(intBetween(0, 10_000)),
  max: intBetween(1, 10_000),
  rollOver: Schema.optional(Schema.Literals(["gradual", "at-once"])),
  fork: Schema.optional(Schema.Boolean)
}

const decodeOptions = decoder(
  Schema.Struct({
    ...poolFields,
    timeToLive: Schema.optional(DurationInput),
    healthCheck: Schema.optional(
      Schema.Struct({ interval: Schema.optional(DurationInput), timeout: Schema.optional(DurationInput) })
    ),
    releaseTimeout: Schema.optional(DurationInput),
    onPullProgress: Schema.optional(Func),
    prepare: Schema.optional(Func)
  }).check(
    Schema.makeFilter(({ max, min = defaultMin }) =>
      min <= max ? undefined : { path: ["min"], issue: `expected at most max, ${max}` }
    )
  ),
  method
)

const defaultMin = 1

const decodeConfig = decoder(SandboxConfig.SandboxConfig, method)

const decodeImage = decoder(ImageReference, method, "image")

const decodeSnapshotName = decoder(notBlank("the name of a snapshot"), method, "snapshot")

const decodeSettings = optionsDecoder("SandboxPool.acquire", CommandDefaults)

const decodeRunMany = callDecoder(
  "SandboxPool.runMany",
  Schema.Struct({
    jobs: Schema.declare(
      (u): u is Iterable<(...args: never) => unknown> => typeof u === "object" && u !== null && Symbol.iterator in u,
      { expected: "an iterable of functions" }
    )
  }),
  Schema.Struct({
    concurrency: Schema.optional(intBetween(1, 10_000)),
    retry: Schema.optional(ScheduleSchema),
    ordered: Schema.optional(Schema.Boolean),
    settings: Schema.optional(CommandDefaults)
  })
)

/** Decodes one user's settings and rejects those that apply only at boot. */
const checkSettings = (settings: Settings): Effect.Effect<typeof CommandDefaults.Type, LightboxError> => {
  const field = Object.keys(settings ?? {}).find(
    (field) => field in SandboxConfig.SandboxConfig.fields && !(field in CommandDefaults.fields)
  )
  return field === undefined
    ? decodeSettings(settings)
    : Effect.fail(
        invalid("SandboxPool.acquire", field, "set this in the options of the pool: a sandbox is booted with it")
      )
}

// =============================================================================
// State
// =============================================================================

/** The source that sandboxes currently boot from. */
interface Origin {
  /** Differs for each generation. */
  readonly key: string
  readonly source: Sandbox.SourceOptions
  readonly defaults: SandboxConfig.LaunchDefaults
}

const snapshotAt = (path: string, defaults: SandboxConfig.LaunchDefaults, digest = ""): Origin => ({
  key: `${digest} ${path} ${JSON.stringify(defaults)}`,
  source: { snapshot: { path, defaults } },
  defaults
})

/** Resolves the source of a pool, and an effect that reads it again if it can change. */
const resolve = Effect.fnUntraced(function* <E, R>(
  driver: Microsandbox.Microsandbox["Service"],
  image: string | undefined,
  snapshot: string | Sandbox.BootableSnapshot | Effect.Effect<Sandbox.BootableSnapshot, E, R> | undefined,
  max: number
): Effect.fn.Return<
  { readonly first: Origin; readonly readOrigin: Effect.Effect<Origin, LightboxError> | undefined },
  LightboxError | E,
  Services | R
> {
  if ((image === undefined) === (snapshot === undefined)) {
    return yield* invalid(method, "snapshot", "pass either a snapshot or an image")
  }
  if (image !== undefined) {
    yield* decodeImage(image)
    return { first: { key: image, source: { image }, defaults: {} }, readOrigin: undefined }
  }
  // Two sandboxes cannot share a host port.
  const shared = max === 1 ? identity : withFreePorts
  if (Effect.isEffect(snapshot) || Defaults.isBootable(snapshot)) {
    const { defaults, path } = Effect.isEffect(snapshot) ? yield* snapshot : snapshot
    return { first: snapshotAt(path, shared(yield* Defaults.check(method, defaults))), readOrigin: undefined }
  }
  const name = yield* decodeSnapshotName(snapshot)
  const context = yield* Launch.services
  const readOrigin = Effect.all([driver.readSnapshotLink(name), Defaults.read(name)]).pipe(
    Effect.flatMap(([target, defaults]) =>
      Effect.map(driver.getSnapshot(target ?? name), ({ digest, path }) => snapshotAt(path, shared(defaults), digest))
    ),
    Effect.provide(context)
  )
  return { first: yield* readOrigin, readOrigin }
})

interface Member {
  readonly sandbox: Sandbox.Sandbox
  readonly info: Microsandbox.SandboxInfo
  readonly scope: Scope.Closeable
  readonly origin: string
  /** When a successor should be ready. */
  readonly renewAt: number
  /** When it is no longer handed out. */
  readonly expiresAt: number
  respondedAt: number
  isLeaving: boolean
  readonly removed: Deferred.Deferred<void>
}

interface Waiter {
  readonly served: Deferred.Deferred<Member, LightboxError>
  member: Member | undefined
}

/** Successors boot in this last part of the time to live, each at a random moment. */
const renewalShare = 0.25

const [firstBackoff, longestBackoff] = [250, 10_000]

/** How many sandboxes a pool has in each state, and how many callers wait. */
type Counts = Record<"ready" | "booting" | "used" | "leaving" | "waiting", number>

const gauges = {
  ready: Metric.withAttributes(Metrics.pooled, { state: "ready" }),
  booting: Metric.withAttributes(Metrics.pooled, { state: "booting" }),
  used: Metric.withAttributes(Metrics.pooled, { state: "used" }),
  leaving: Metric.withAttributes(Metrics.pooled, { state: "leaving" }),
  waiting: Metrics.poolWaiting
}

/**
 * Returns a function that adds what has changed to the gauges of this process, which all its pools share. What a pool has
 * added is taken back when the scope closes.
 */
const publishing = Effect.fnUntraced(function* (
  counts: () => Counts
): Effect.fn.Return<() => void, never, Scope.Scope> {
  const context = yield* Effect.context<never>()
  const published: Counts = { ready: 0, booting: 0, used: 0, leaving: 0, waiting: 0 }
  const add = (now: Counts): void => {
    for (const state of Struct.keys(gauges)) {
      if (now[state] !== published[state]) gauges[state].modifyUnsafe(now[state] - published[state], context)
      published[state] = now[state]
    }
  }
  yield* Effect.addFinalizer(() => Effect.sync(() => add({ ready: 0, booting: 0, used: 0, leaving: 0, waiting: 0 })))
  return () => add(counts())
})

// =============================================================================
// The pool
// =============================================================================

/** Runs a function in a sandbox, and captures the disk it leaves until the scope closes. */
export type CapturePrepared = <E, R, E2, R2>(
  method: string,
  launch: Effect.Effect<Sandbox.Sandbox, E, R>,
  prepare: (sandbox: Sandbox.Sandbox) => Effect.Effect<unknown, E2, R2>
) => Effect.Effect<
  Microsandbox.SnapshotInfo,
  LightboxError | E | E2,
  Exclude<R | R2, Scope.Scope> | Services | Scope.Scope
>

/** Provides all that an effect needs, also where its type is not known. */
const withContext = <A, E, R>(effect: Effect.Effect<A, E, R>, context: Context.Context<R>): Effect.Effect<A, E> =>
  Effect.updateContext(effect, (given: Context.Context<never>) => Context.merge(given, context))

/**
 * Keeps one sandbox for as long as it fits the origin and runs, and returns an effect that copies it with its memory. The
 * first is there when this returns.
 */
const keepParent = Effect.fnUntraced(function* <E>(
  origin: () => Origin,
  launch: (source: Sandbox.SourceOptions) => Effect.Effect<Sandbox.Sandbox, LightboxError | E, Services | Scope.Scope>
): Effect.fn.Return<
  { readonly copied: Effect.Effect<Sandbox.Sandbox, LightboxError, Services | Scope.Scope> },
  LightboxError | E,
  Services | Scope.Scope
> {
  const oneAtATime = yield* Semaphore.make(1)
  const outer = yield* Effect.scope
  let parent:
    | { readonly key: string; readonly sandbox: Sandbox.Sandbox; readonly scope: Scope.Closeable; isLost: boolean }
    | undefined
  const current = Effect.gen(function* () {
    const { key, source } = origin()
    if (parent?.key === key && !parent.isLost) return parent.sandbox
    if (parent !== undefined) yield* Scope.close(parent.scope, Exit.void)
    parent = undefined
    const scope = yield* Scope.fork(outer)
    const sandbox = yield* launch(source).pipe(
      Scope.provide(scope),
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
    )
    const made = { key, sandbox, scope, isLost: false }
    parent = made
    yield* Effect.forkIn(
      Effect.map(sandbox.guest.lost, () => {
        made.isLost = true
      }),
      scope
    )
    return sandbox
  }).pipe(oneAtATime.withPermits(1))
  yield* current
  const copied: Effect.Effect<Sandbox.Sandbox, LightboxError, Services | Scope.Scope> = Effect.gen(function* () {
    const original = yield* current.pipe(
      Effect.mapError((error) =>
        isLightboxError(error)
          ? error
          : new LightboxError({ method, reason: new Unknown({ problem: "the pool was not prepared", cause: error }) })
      )
    )
    const [copy] = yield* withMemory(original, { method, count: 1, role: "pool" })
    return copy ?? (yield* Effect.die(new Error("a copy is missing")))
  })
  return { copied }
})

export const make = Effect.fn(method)(function* <E = never, R = never, E2 = never, R2 = never>(
  input: Options<E, R, E2, R2>,
  capturePrepared: CapturePrepared
): Effect.fn.Return<SandboxPool, LightboxError | E | E2, Services | Scope.Scope | R | Exclude<R2, Scope.Scope>> {
  yield* checkObject(method, input)
  const {
    fork: isForked,
    healthCheck,
    image,
    max,
    min,
    onPullProgress,
    prepare,
    releaseTimeout,
    rollOver,
    snapshot,
    timeToLive,
    ...rest
  } = input
  const options = yield* decodeOptions({
    fork: isForked,
    healthCheck,
    max,
    min,
    onPullProgress,
    prepare,
    releaseTimeout,
    rollOver,
    timeToLive
  })
  const { ephemeral, name, ports } = yield* decodeConfig(image === undefined ? withoutDependencies(rest) : rest)
  if (name !== undefined) {
    return yield* invalid(method, "name", "a pool names its sandboxes itself; remove this option")
  }
  if (ports !== undefined && options.max > 1) {
    return yield* invalid(method, "ports", "ports need a max of 1: two sandboxes cannot share a host port")
  }
  if (prepare !== undefined && ephemeral === true) {
    return yield* invalid(
      method,
      "prepare",
      "an ephemeral sandbox cannot be captured; remove this option or `ephemeral`"
    )
  }
  if (options.fork === true && ports !== undefined) {
    return yield* invalid(method, "ports", "copies of a running sandbox publish no ports; forward them instead")
  }
  const least = options.min ?? defaultMin
  const lifetime = Duration.toMillis(options.timeToLive ?? Duration.hours(1))
  const interval = options.healthCheck?.interval ?? Duration.seconds(1)
  const timeout = options.healthCheck?.timeout ?? Duration.seconds(1)
  /** How long the last check of a sandbox or of the snapshot's name stays valid. */
  const freshMillis = 2 * Duration.toMillis(interval)

  const driver = yield* Microsandbox.Microsandbox
  if (options.fork === true) yield* forkingOf(driver, method, "fork")
  const services = yield* Launch.services
  const clock = yield* Effect.clockWith(Effect.succeed)
  const now = () => clock.currentTimeMillisUnsafe()
  const launch = (source: Sandbox.SourceOptions, options: SandboxConfig.Options) =>
    Sandbox.launch({
      ...options,
      ...source,
      labels: { ...options.labels, [roleLabel]: "pool" },
      onPullProgress,
      releaseTimeout
    })
  const context = yield* Effect.context<Exclude<R2, Scope.Scope>>()
  /** The sandbox that the others are copies of. */
  const launchParent = (source: Sandbox.SourceOptions) =>
    Effect.tap(launch(source, { ...rest, ports: [] }), (sandbox) =>
      prepare === undefined ? Effect.void : withContext(Effect.scoped(prepare(sandbox)), context)
    )
  const resolved = yield* resolve(driver, image, snapshot, options.max)
  const { first, readOrigin } =
    prepare === undefined || options.fork === true
      ? resolved
      : {
          first: snapshotAt(
            (yield* capturePrepared(method, launch(resolved.first.source, rest), prepare)).path,
            resolved.first.defaults
          ),
          readOrigin: undefined
        }

  const asked = prepare === undefined || options.fork === true ? rest : withoutDiskChanges(rest)
  let origin = first
  const parents = options.fork === true ? yield* keepParent(() => origin, launchParent) : undefined
  let checkedAt = now()
  const members = new Set<Member>()
  /** The members that can be handed out, oldest first. Nobody waits while there are any. */
  let ready: ReadonlyArray<Member> = []
  const waiters = new Set<Waiter>()
  let booting = 0
  /** Failed boots since the last successful one. */
  let failures = 0
  let retryAt = 0
  let booted = 0
  let failed = 0
  let handedOut = 0
  let isClosed = false
  const isDue = yield* Latch.make(true)
  const counts = (): Counts => {
    const leaving = [...members].filter(({ isLeaving }) => isLeaving).length
    return { ready: ready.length, booting, used: members.size - ready.length - leaving, leaving, waiting: waiters.size }
  }
  const publish = yield* publishing(counts)

  // Finalizers run in reverse order: by then no fiber adds members.
  yield* Effect.addFinalizer(() => Effect.forEach(members, destroy, { concurrency: "unbounded", discard: true }))
  const fibers = yield* FiberSet.make()
  const fork = yield* FiberSet.runtime(fibers)()
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      isClosed = true
      for (const { served } of waiters) Deferred.doneUnsafe(served, Effect.interrupt)
    })
  )

  // ---------------------------------------------------------------------------
  // State transitions
  // ---------------------------------------------------------------------------

  const isOutdated = (member: Member) => member.origin !== origin.key || member.renewAt <= now()

  const isUnfit = (member: Member) =>
    member.expiresAt <= now() || (options.rollOver === "at-once" && member.origin !== origin.key)

  const remove = (member: Member): Effect.Effect<void> =>
    Effect.ensuring(
      Scope.close(member.scope, Exit.void),
      Effect.sync(() => {
        members.delete(member)
        Deferred.doneUnsafe(member.removed, Effect.void)
        reconcile()
      })
    ).pipe(Effect.uninterruptible)

  /** Removes a sandbox, or waits for its removal in progress. */
  const destroy = (member: Member): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (member.isLeaving) return Deferred.await(member.removed)
      member.isLeaving = true
      return remove(member)
    })

  const removeInBackground = (member: Member): void => {
    if (isClosed) return
    ready = ready.filter((other) => other !== member)
    member.isLeaving = true
    publish()
    fork(remove(member))
  }

  /** Gives a sandbox to the user waiting longest, or keeps it ready. */
  const makeAvailable = (member: Member): void => {
    if (isUnfit(member)) return removeInBackground(member)
    const [waiter] = waiters
    if (waiter === undefined) ready = [...ready, member]
    else {
      waiters.delete(waiter)
      waiter.member = member
      // Its fiber may run at once.
      publish()
      Deferred.doneUnsafe(waiter.served, Effect.succeed(member))
    }
    reconcile()
  }

  /** The number of boots to start. After a failure, only one is tried until it succeeds. */
  const missing = (): number => {
    const wanted = least + waiters.size - ready.filter((member) => !isOutdated(member)).length - booting
    return Math.min(wanted, options.max - members.size - booting, failures > 0 ? 1 - booting : wanted)
  }

  /** Call after any change: removes superfluous sandboxes and starts missing boots. */
  const reconcile = (): void => {
    if (isClosed) return publish()
    for (const member of ready) {
      if (isUnfit(member) || (ready.length > least && isOutdated(member))) removeInBackground(member)
    }
    // At the limit, an outdated one must be removed first.
    const outdated = ready.length === options.max ? ready.find(isOutdated) : undefined
    if (outdated !== undefined) removeInBackground(outdated)
    if (missing() > 0) isDue.openUnsafe()
    publish()
  }

  // ---------------------------------------------------------------------------
  // Boots
  // ---------------------------------------------------------------------------

  const start = Effect.fnUntraced(function* (source: Sandbox.SourceOptions) {
    const sandbox = yield* parents?.copied ?? launch(source, asked)
    return { sandbox, info: yield* sandbox.info }
  }, Effect.provide(services))

  const boot = Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { key, source } = origin
      const exit = yield* Effect.exit(restore(Scope.provide(start(source), scope)))
      if (Exit.isFailure(exit)) {
        yield* Scope.close(scope, exit)
        booting--
        return yield* fail(exit.cause)
      }
      booting--
      failures = 0
      const member: Member = {
        ...exit.value,
        scope,
        origin: key,
        renewAt: now() + lifetime * (1 - renewalShare * (yield* Random.next)),
        expiresAt: now() + lifetime,
        respondedAt: now(),
        isLeaving: false,
        removed: Deferred.makeUnsafe()
      }
      members.add(member)
      yield* member.sandbox.guest.lost.pipe(
        Effect.andThen(Effect.sync(() => (ready.includes(member) ? removeInBackground(member) : undefined))),
        Effect.forkIn(scope)
      )
      booted++
      makeAvailable(member)
    })
  )

  /** If nothing else is booting, all waiting users get the error. */
  const fail = Effect.fnUntraced(function* (cause: Cause.Cause<LightboxError>): Effect.fn.Return<void> {
    if (isClosed) return
    const backoff = Math.min(longestBackoff, firstBackoff * 2 ** failures)
    retryAt = now() + backoff * (1 - 0.25 * (yield* Random.next))
    failures++
    failed++
    if (booting === 0) {
      // A user that tries again at once waits for the next boot: its fiber may run before this goes on.
      const failed = [...waiters]
      waiters.clear()
      for (const { served } of failed) Deferred.doneUnsafe(served, Effect.failCause(cause))
    }
    reconcile()
    yield* Metric.update(Metrics.poolBootFailures, 1)
    yield* Effect.logWarning("A sandbox for a pool did not boot", cause)
  })

  yield* isDue.await.pipe(
    Effect.andThen(Effect.suspend(() => Effect.sleep(Math.max(0, retryAt - now())))),
    Effect.andThen(
      Effect.sync(() => {
        isDue.closeUnsafe()
        for (let n = missing(); n > 0; n--) {
          booting++
          fork(boot)
        }
        publish()
      })
    ),
    Effect.forever,
    Effect.forkScoped
  )

  // ---------------------------------------------------------------------------
  // Health checks
  // ---------------------------------------------------------------------------

  /** Checks whether the snapshot's name points to another generation. */
  const refresh =
    readOrigin === undefined
      ? Effect.void
      : readOrigin.pipe(
          Effect.timeout(timeout),
          Effect.tap((found) =>
            Effect.sync(() => {
              if (found.key === origin.key) return
              origin = found
              reconcile()
            })
          ),
          Effect.ignore({ log: "Debug", message: "Could not look up the snapshot of a pool" }),
          Effect.ensuring(Effect.sync(() => (checkedAt = now())))
        )

  const isResponsive = (member: Member): Effect.Effect<boolean> =>
    member.sandbox.ping.pipe(
      Effect.timeout(timeout),
      Effect.match({
        onFailure: () => false,
        onSuccess: () => {
          member.respondedAt = now()
          return true
        }
      })
    )

  const check = (member: Member): Effect.Effect<void> =>
    Effect.map(isResponsive(member), (isFit) => {
      if (!isFit && ready.includes(member)) removeInBackground(member)
    })

  yield* Effect.sleep(interval).pipe(
    Effect.andThen(refresh),
    Effect.andThen(Effect.suspend(() => Effect.forEach(ready, check, { concurrency: "unbounded", discard: true }))),
    Effect.andThen(Effect.sync(reconcile)),
    Effect.forever,
    Effect.forkScoped
  )

  // ---------------------------------------------------------------------------
  // Handing out
  // ---------------------------------------------------------------------------

  type Restore = Parameters<Parameters<typeof Effect.uninterruptibleMask>[0]>[0]

  const pick = (): Member | undefined => {
    reconcile()
    const member = ready.find((member) => !isOutdated(member)) ?? ready[0]
    ready = ready.filter((other) => other !== member)
    reconcile()
    return member
  }

  const wait = Effect.fnUntraced(function* (restore: Restore): Effect.fn.Return<Member, LightboxError> {
    const waiter: Waiter = { served: Deferred.makeUnsafe(), member: undefined }
    waiters.add(waiter)
    reconcile()
    return yield* Effect.onError(restore(Deferred.await(waiter.served)), () =>
      Effect.sync(() => {
        waiters.delete(waiter)
        if (waiter.member === undefined) publish()
        else makeAvailable(waiter.member)
      })
    )
  })

  const take = Effect.fnUntraced(function* (restore: Restore): Effect.fn.Return<Member, LightboxError> {
    for (;;) {
      if (isClosed) return yield* Effect.interrupt
      if (readOrigin !== undefined && now() - checkedAt > freshMillis) yield* restore(refresh)
      const member = pick() ?? (yield* wait(restore))
      if (now() - member.respondedAt <= freshMillis) return member
      const isFit = yield* Effect.onError(restore(isResponsive(member)), () => Effect.sync(() => makeAvailable(member)))
      if (isFit) return member
      removeInBackground(member)
    }
  })

  const acquire = Effect.fn("SandboxPool.acquire")(function* (
    settings?: Settings
  ): Effect.fn.Return<Sandbox.Sandbox, LightboxError, Scope.Scope> {
    const checked = settings === undefined ? undefined : yield* checkSettings(settings)
    const { info, sandbox } = yield* Effect.uninterruptibleMask((restore) =>
      Effect.tap(take(restore), (member) => Effect.addFinalizer(() => destroy(member)))
    ).pipe(Metrics.observing({ duration: Metrics.poolAcquire }))
    yield* Effect.annotateCurrentSpan("lightbox.sandbox", info.name)
    handedOut++
    if (checked === undefined) return sandbox
    const guest = Execution.withDefaults(sandbox.guest, checked)
    const { config, renewing } = knownOf(sandbox) ?? {}
    const handle = makeHandle(
      driver,
      info,
      { guest, ...(renewing === undefined ? {} : { renewing }) },
      undefined,
      config
    )
    return Object.assign(handle, { detach: sandbox.detach, detachFor: sandbox.detachFor })
  })

  const use: SandboxPool["use"] = (f, settings) =>
    Effect.andThen(checkFunction("SandboxPool.use", "f", f), Effect.scoped(Effect.flatMap(acquire(settings), f)))

  return {
    acquire,
    use,
    stats: Effect.sync(() => ({ min: least, max: options.max, ...counts(), booted, failed, handedOut })),
    runMany: (jobs, runOptions) =>
      Stream.unwrap(
        Effect.map(decodeRunMany({ jobs }, runOptions), ({ concurrency, ordered, settings }) =>
          Stream.mapEffect(
            // One at a time: a job starts only on demand.
            Stream.zipWithIndex(Stream.fromIterable(jobs, { chunkSize: 1 })),
            ([job, index]) => {
              const attempt = use(job, settings)
              const work = runOptions?.retry === undefined ? attempt : Effect.retry(attempt, runOptions.retry)
              return Effect.map(Effect.exit(work), (exit) => ({ index, exit }))
            },
            { concurrency: concurrency ?? options.max, unordered: ordered !== true }
          )
        )
      )
  }
})
