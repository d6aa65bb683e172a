/**
 * Builds a definition: runs the steps after the last existing result in one builder, and keeps results worth keeping.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Struct from "effect/Struct"
import * as Ownership from "../../Ownership.ts"
import type { Services } from "../../Driver.ts"
import * as Launch from "../sandbox/launch.ts"
import { isLightboxError, LightboxError, type Reason, Unknown } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Sandbox from "../../Sandbox.ts"
import type { LaunchDefaults } from "../../SandboxConfig.ts"
import type { Built, BuildOptions, Definition, Snapshot } from "../../Snapshot.ts"
import * as Events from "./events.ts"
import * as Recording from "./recording.ts"
import { generate, roleLabel } from "../ownership/labels.ts"
import { shorten } from "../report/failureText.ts"
import * as Metrics from "../report/metrics.ts"
import * as Commits from "../store/commits.ts"
import * as Links from "../store/links.ts"
import * as Records from "../store/records.ts"
import * as Names from "../store/names.ts"
import { describeSteps } from "../plan/explanation.ts"
import * as Keys from "../plan/keys.ts"
import * as LookUp from "../plan/lookUp.ts"
import * as Units from "../plan/units.ts"
import { SnapshotName } from "../config/schemas.ts"
import * as Secrets from "../definition/secrets.ts"
import {
  builderVersion,
  isArtifactName,
  definitionLabel,
  keyLabel,
  make as makeStore,
  type Store
} from "../store/store.ts"
import { callDecoder, optionsDecoder } from "../config/validation.ts"
import { BuildFields, type Context, method, Options } from "./context.ts"
import { runUnit } from "./attempts.ts"
import * as Takes from "./takes.ts"
import * as Warm from "./warm.ts"
import { makeKeyOf } from "../plan/otherKeys.ts"
import { type Builders, isMoved, makeBuilders, pull } from "./builders.ts"
import { announceChain, encodeChain, isWantedByOthers } from "./sharedBeginnings.ts"

const decodeOptions = optionsDecoder(method, Options)

const decodeScoped = callDecoder(
  "Snapshot.buildScoped",
  Schema.Struct({ name: SnapshotName }),
  Schema.Struct(Struct.omit(BuildFields, ["overwrite", "replaceForeign", "keep"]))
)

const defaultCheckpointFactor = 10

const defaultKeep = 2

export const build = Effect.fn("Snapshot.build")(function* <E, R>(
  definition: Definition<E, R>,
  input: BuildOptions | undefined,
  /** The name without the token of a scoped build. */
  family?: string
): Effect.fn.Return<BuiltFields, LightboxError | E, Services | R> {
  const options = yield* decodeOptions(input)
  const driver = yield* Microsandbox.Microsandbox
  const store = makeStore(driver, yield* Ownership.Ownership)
  if (options.warm === true) yield* Warm.operationsOf(driver)
  const services = yield* Launch.services
  const prepared = yield* Units.prepare(method, definition)
  yield* Effect.annotateCurrentSpan({
    "lightbox.snapshot": definition.name,
    "lightbox.image": prepared.image,
    "lightbox.steps": prepared.units.length
  })
  yield* LookUp.checkForce(method, options.force, prepared.units.length)
  if (options.overwrite === false) yield* Names.requireFree(driver, method, definition.name)
  const start = yield* Clock.currentTimeMillis
  const elapsed = Effect.map(Clock.currentTimeMillis, (now) => Duration.millis(now - start))

  return yield* Effect.scoped(
    Effect.gen(function* () {
      const holder: Context<E, R>["holder"] = { lock: undefined }
      const buildId = yield* generate
      const parent = yield* Recording.Parent
      const root = yield* Recording.Root
      const secrets = Secrets.ofSteps(prepared.units.map(({ step }) => step))
      const recording = (yield* Records.Recorded)
        ? Recording.make({
            id: buildId,
            parent,
            root,
            snapshot: definition.name,
            family: family ?? definition.name,
            image: prepared.image,
            declaredAt: definition.declaredAt,
            startedAt: start,
            home: driver.home,
            store,
            secrets: [...secrets, ...Secrets.inOptions(definition.options)]
          })
        : Recording.none
      yield* Effect.addFinalizer(() => recording.tidy)
      const events = yield* Events.make({
        buildId,
        snapshot: definition.name,
        onEvent: input?.onEvent,
        recording,
        send: () => holder.lock?.send
      })
      const takes = Takes.make({
        services,
        store,
        build: (other) => Effect.provide(buildOther(other, options, input?.onEvent), services)
      })
      const context: Context<E, R> = {
        services,
        driver,
        parent,
        store,
        definition,
        options,
        events,
        recording,
        secrets,
        takes,
        holder
      }
      const work = Effect.gen(function* () {
        const attempt = (base: Effect.Effect<Microsandbox.ImageResolution, LightboxError>) =>
          Effect.scoped(produce(context, prepared, base)).pipe(
            Effect.flatMap((outcome) => warm(context, prepared, outcome)),
            Effect.flatMap((outcome) =>
              Effect.map(commit(context, prepared, outcome), (snapshot) => ({ outcome, snapshot }))
            ),
            // Another process removed a result after the look-up.
            Effect.retry({ while: isVanished, times: 20 })
          )
        const { outcome, snapshot } = yield* attempt(resolveImage(context, prepared)).pipe(
          // The tag moved after the look-up, or the runtime sees another image, and would again.
          Effect.catchIf(isMoved, () => attempt(Effect.succeed(leftToRuntime)))
        )
        const reused = prepared.units.length - outcome.stepsRun
        const duration = yield* elapsed
        yield* Metric.update(Metrics.stepsRun, outcome.stepsRun)
        yield* Metric.update(Metrics.stepsReused, reused)
        yield* Effect.annotateCurrentSpan({ "lightbox.steps.run": outcome.stepsRun, "lightbox.steps.reused": reused })
        yield* events.emit({ _tag: "Finished", duration, stepsRun: outcome.stepsRun, stepsReused: reused })
        return { ...snapshot, stepsRun: outcome.stepsRun, stepsReused: reused, duration }
      }).pipe(Effect.provideService(Recording.Parent, buildId), Effect.provideService(Recording.Root, root ?? buildId))
      return yield* Effect.onError(work, (cause) =>
        Effect.flatMap(elapsed, (duration) => {
          recording.failing(reasonOf(cause))
          return events.emit({
            _tag: "Failed",
            duration,
            problem: Secrets.redact(secrets, problemOf(cause))
          })
        })
      )
    })
  ).pipe(Metrics.observing({ count: Metrics.builds, duration: Metrics.buildDuration, byOutcome: true }))
})

/** Takes the warm result, if that is wanted, in place of the cold one. */
const warm = <E, R>(
  context: Context<E, R>,
  prepared: Units.Prepared<E, R>,
  outcome: Outcome<E, R>
): Effect.Effect<Outcome<E, R>, LightboxError> => {
  if (context.options.warm !== true) return Effect.succeed(outcome)
  const { planned, result } = outcome
  const key = result.labels[keyLabel] ?? planned.key
  return Effect.map(Warm.warmed(context, prepared, result, key, planned.units.length), (result) => ({
    ...outcome,
    result
  }))
}

/** Builds a definition that another one copies from, such as a stage. It has a name, so that its result is kept. */
const buildOther = (
  definition: Definition,
  { checkpointFactor, checkpoints, force, keep, pullPolicy }: Context<never, never>["options"],
  onEvent: BuildOptions["onEvent"]
): Effect.Effect<BuiltFields, LightboxError, Services> =>
  // A number counts the steps of the other definition.
  build(definition, { checkpointFactor, checkpoints, force: force === true, keep, pullPolicy, onEvent })

const problemOf = (cause: Cause.Cause<unknown>): string => {
  if (Cause.hasInterruptsOnly(cause)) return "interrupted"
  const error = Cause.squash(cause)
  return isLightboxError(error) ? error.message : Cause.pretty(cause)
}

const reasonOf = (cause: Cause.Cause<unknown>): Reason | undefined => {
  const error = Cause.squash(cause)
  return isLightboxError(error) ? error.reason : undefined
}

/** Builds under a unique name, which is removed when the scope closes. */
export const buildScoped = Effect.fn("Snapshot.buildScoped")(function* <E, R>(
  named: (name: string) => Definition<E, R>,
  name: string,
  options: BuildOptions | undefined
): Effect.fn.Return<BuiltFields, LightboxError | E, Services | R | Scope.Scope> {
  yield* decodeScoped({ name }, options)
  const driver = yield* Microsandbox.Microsandbox
  const ownership = yield* Ownership.Ownership
  const token = yield* generate
  const note: Ownership.Note = { kind: "name", token, name: `${name}-${token}` }
  yield* Effect.acquireRelease(ownership.note(note), () =>
    Names.remove(driver, makeStore(driver, ownership), note.name).pipe(
      Effect.andThen(ownership.forget(note)),
      Effect.timeout("30 seconds"),
      Effect.ignore({ log: "Warn", message: `Could not remove snapshot "${note.name}"` })
    )
  )
  return yield* build(named(note.name), { ...options, overwrite: true }, name)
})

const isVanished = (error: unknown): boolean =>
  isLightboxError(error) &&
  ((error.reason._tag === "NotFound" && error.reason.resource === "snapshot") ||
    error.reason._tag === "SnapshotDamaged") &&
  isArtifactName(error.reason.name)

export type BuiltFields = Omit<Built, "toJSON">

interface Outcome<E, R> {
  readonly planned: LookUp.Planned<E, R>
  readonly result: Microsandbox.SnapshotInfo
  readonly stepsRun: number
}

const produce = Effect.fnUntraced(function* <E, R>(
  context: Context<E, R>,
  prepared: Units.Prepared<E, R>,
  resolve: Effect.Effect<Microsandbox.ImageResolution, LightboxError>
): Effect.fn.Return<Outcome<E, R>, LightboxError | E, R | Scope.Scope> {
  const { driver, events, holder, options, store } = context
  // Closes after the finalizer below, which detaches a builder that is kept.
  const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
  const nonce = yield* generate
  const base = yield* resolve
  const builders = makeBuilders(context, prepared, base, scope, nonce)
  const imageDigest = base.digest ?? (yield* builders.fromImage)
  const home = {
    home: driver.home,
    stage: store.ownership.stage,
    isFresh: Number.isFinite(LookUp.forcedFrom(options.force))
  }
  const keyOf = makeKeyOf({
    method,
    driver,
    home,
    pullPolicy: options.pullPolicy,
    isKnown: LookUp.isKnown(store, prepared),
    // Only a boot pulls it. Whatever is copied from it has not been copied before.
    ifUnknown: (other) => Effect.andThen(builders.close, Effect.provide(digestOf(driver, other), context.services))
  })
  const units = yield* Keys.keyUnits(method, prepared.units, imageDigest, nonce, keyOf, home)
  yield* announceChain(
    driver,
    units.map(({ key }) => key)
  )

  // Forced steps ignore existing results, except those that this build made.
  const from = LookUp.forcedFrom(options.force)
  const refused = new Set([
    ...units.filter(({ index }) => index >= from).map(({ key }) => key),
    ...(units.length === 0 && Number.isFinite(from) ? [Keys.baseKey(imageDigest)] : [])
  ])
  builders.renew(refused)
  const lookUp = LookUp.lookUp(driver, store, units, imageDigest, (key) => !refused.has(key))

  yield* Effect.addFinalizer((exit) =>
    Exit.isFailure(exit) && !Exit.hasInterrupts(exit) ? Effect.ignoreCause(builders.leave(undefined)) : Effect.void
  )
  let planned = yield* lookUp
  yield* recordPlan(context, prepared, planned, from)
  yield* events.emit({
    _tag: "Planned",
    steps: units.length,
    hits: planned.covered,
    ...(context.parent === undefined ? {} : { parent: context.parent })
  })
  for (const { description, index } of units.slice(0, planned.covered)) {
    yield* events.emit({ _tag: "StepCached", index, description })
  }
  let stepsRun = 0
  let held: { readonly key: string; readonly scope: Scope.Closeable } | undefined
  for (;;) {
    const result = planned.results.get(planned.key)
    if (result !== undefined) {
      // Before another build uses it.
      if (stepsRun > 0) {
        yield* Effect.tapError(driver.verifySnapshot(result.name), () =>
          Effect.ignore(driver.removeSnapshot(result.name))
        )
      }
      // A forced result has its own key.
      yield* store.touch(result.labels[keyLabel] ?? planned.key)
      yield* builders.leave(result)
      // A verification or another build may need the memory.
      yield* builders.close
      return { planned, result, stepsRun }
    }
    // Before the lock: what it copies from may begin with the same steps.
    yield* context.takes.take(units.slice(planned.covered), builders.close)
    // One build makes the next result; the others wait for it and look again.
    const next = units[planned.covered]?.key ?? planned.key
    if (held?.key !== next) {
      const attempt = yield* Scope.fork(scope)
      const announced = encodeChain(units.slice(planned.covered).map(({ key }) => key))
      const lock = yield* Scope.provide(store.tryLock(`build:${next}`, announced), attempt)
      if ("waiting" in lock) {
        yield* events.emit({ _tag: "Waiting", key: next })
        // The other build may wait for the memory of this one, and the next step starts from another disk.
        yield* builders.close
        yield* Stream.runForEach(lock.waiting, events.relay)
        yield* Scope.close(attempt, Exit.void)
      } else {
        if (held !== undefined) yield* Scope.close(held.scope, Exit.void)
        held = { key: next, scope: attempt }
        holder.lock = lock.lock
      }
      planned = yield* lookUp
      continue
    }
    const until = yield* advance(context, builders, planned)
    stepsRun += until - planned.covered
    refused.delete(units[until - 1]?.key ?? planned.key)
    planned = yield* lookUp
  }
})

/** Records the plan, as `Snapshot.plan` would explain it. */
const recordPlan = Effect.fnUntraced(function* <E, R>(
  { definition, driver, recording, store }: Context<E, R>,
  { image }: Units.Prepared<E, R>,
  found: LookUp.Planned<E, R>,
  from: number
): Effect.fn.Return<void> {
  if (recording === Recording.none) return
  const keyed = found.units.map((unit) => (unit.index >= from ? { ...unit, isForced: true } : unit))
  const planned = { ...found, units: keyed }
  const record = yield* Effect.cached(Links.recordIfUnderstood(store, definition.name))
  yield* describeSteps(driver, store, { image, record, planned, keyed }).pipe(
    Effect.map((steps) => recording.plan({ ...planned, steps })),
    // The build comes upon the same, and reports it.
    Effect.ignore
  )
})

/** Pulls the image of another definition, and returns its digest. */
const digestOf = Effect.fnUntraced(function* (
  driver: Microsandbox.Microsandbox["Service"],
  { definition, image }: Units.Prepared
): Effect.fn.Return<string, LightboxError, Services> {
  const { pullPolicy, registry } = definition.options
  yield* pull({ image, pullPolicy, registry })
  const { digest } = yield* driver.resolveImage(image, { pullPolicy: "never" })
  return (
    digest ??
    (yield* new LightboxError({
      method,
      reason: new Unknown({ problem: `the image ${image} has no digest after it was pulled` })
    }))
  )
})

/** The image is the one that the runtime boots. */
const leftToRuntime: Microsandbox.ImageResolution = { digest: undefined, isCached: false }

/** Looks up the base image, and asks the registry for it if the pull policy says so. */
const resolveImage = <E, R>({ driver, options, store }: Context<E, R>, prepared: Units.Prepared<E, R>) =>
  LookUp.resolveImage(driver, prepared, {
    pullPolicy: options.pullPolicy,
    isKnown: LookUp.isKnown(store, prepared)
  }).pipe(
    Effect.catchReason(
      "LightboxError",
      "ImageUnavailable",
      // The runtime may know a proxy or a login that is not known here.
      () => Effect.succeed(leftToRuntime)
    )
  )

/** Runs steps after the last existing result until one is kept, and returns its position. */
const advance = Effect.fnUntraced(function* <E, R>(
  context: Context<E, R>,
  builders: Builders<E, R>,
  planned: LookUp.Planned<E, R>
): Effect.fn.Return<number, LightboxError | E, R | Scope.Scope> {
  const { options } = context
  const { units } = planned
  const policy = options.checkpoints ?? "auto"
  let spentMillis = 0
  for (let position = planned.covered; position < units.length; position++) {
    const unit = units[position]
    if (unit === undefined) break
    spentMillis += yield* runUnit(context, builders, planned, unit).pipe(
      Effect.catchCause((cause) =>
        // The next build starts from what this step started from.
        Effect.andThen(
          policy === "auto" &&
            options.keepBuilder !== true &&
            position > planned.covered &&
            units[position - 1]?.isForced !== true &&
            !Cause.hasInterrupts(cause)
            ? Effect.ignoreCause(keepAt(context, builders, planned, position))
            : Effect.void,
          Effect.failCause(cause)
        )
      )
    )
    const nextUnit = units[position + 1]
    const isKept =
      nextUnit === undefined ||
      (unit.isMarked && policy !== "final") ||
      nextUnit.network.id !== unit.network.id ||
      // No later build could start from it.
      (!unit.isForced &&
        (policy === "every-step" ||
          isWantedByOthers(context, unit.key, nextUnit.key) ||
          (policy === "auto" &&
            spentMillis > (options.checkpointFactor ?? defaultCheckpointFactor) * builders.checkpointMillis())))
    if (isKept) {
      yield* keepAt(context, builders, planned, position + 1)
      return position + 1
    }
  }
  yield* keepAt(context, builders, planned, units.length)
  return units.length
})

/** Keeps the disk that holds this many steps. */
const keepAt = Effect.fnUntraced(function* <E, R>(
  context: Context<E, R>,
  builders: Builders<E, R>,
  planned: LookUp.Planned<E, R>,
  units: number
): Effect.fn.Return<void, LightboxError | E, R | Scope.Scope> {
  const unit = planned.units[units - 1]
  const network = unit?.network ?? Units.networkChoice(context.definition.options.network)
  const builder = yield* builders.at(planned, units, network)
  yield* builders.capture(
    builder,
    unit?.key ?? planned.key,
    units === planned.units.length,
    // Disks kept before were searched then.
    Secrets.ofSteps(planned.units.slice(planned.covered, units).map(({ step }) => step))
  )
})

/** The error of a verification, which comes after the last step. */
const unverified = (
  definition: string,
  index: number,
  durationMillis: number,
  { reason, step }: LightboxError
): LightboxError =>
  new LightboxError({
    method,
    reason,
    // A build inside the verification names its own step.
    step: step ?? { definition, index, description: "verification", attempt: 1, durationMillis }
  })

/** Checks whether a name points to a result with these launch defaults: a build has verified it. */
const isVerified = Effect.fnUntraced(function* (
  driver: Microsandbox.Microsandbox["Service"],
  store: Store,
  name: string,
  result: Microsandbox.SnapshotInfo,
  defaults: LaunchDefaults
): Effect.fn.Return<boolean, LightboxError> {
  const { artifact, record } = yield* Links.lookUp(driver, store, name)
  return artifact === result.name && Commits.hasDefaults(Links.currentOf(record, artifact), defaults)
})

/** Verifies the result and moves the name to it. */
const commit = Effect.fnUntraced(function* <E, R>(
  { definition, driver, events, options, services, store }: Context<E, R>,
  { defaults }: Units.Prepared<E, R>,
  { planned, result }: Outcome<E, R>
): Effect.fn.Return<Snapshot, LightboxError | E, R> {
  const { labels, name, verification } = definition
  if (verification !== undefined && !(yield* isVerified(driver, store, name, result, defaults))) {
    const { pullPolicy, registry, resources } = definition.options
    const start = yield* Clock.currentTimeMillis
    yield* Sandbox.run(
      {
        snapshot: { path: result.path, defaults },
        // Those of a sandbox that runs may be the same.
        ports: [],
        resources: { ...resources, disk: undefined },
        pullPolicy: options.pullPolicy ?? pullPolicy,
        registry,
        labels: { [roleLabel]: "verifier", [definitionLabel]: name }
      },
      verification
    ).pipe(
      Effect.provide(services),
      Effect.catch((error) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) =>
          Effect.fail(isLightboxError(error) ? unverified(name, planned.units.length + 1, now - start, error) : error)
        )
      )
    )
  }
  const { isNew, snapshot } = yield* Commits.commit(driver, store, {
    name,
    result,
    key: result.labels[keyLabel] ?? planned.key,
    labels,
    defaults,
    build: {
      image: result.image,
      steps: planned.units.map(({ description }) => shorten(description))
    },
    lastBuild: {
      builderVersion,
      image: result.image,
      imageDigest: planned.imageDigest,
      steps: planned.units.map(({ descriptor }) => descriptor)
    },
    keep: options.keep ?? defaultKeep,
    replaceForeign: options.replaceForeign ?? false,
    overwrite: options.overwrite ?? true,
    method
  })
  if (isNew) {
    yield* events.emit({ _tag: "Committed", generation: snapshot.generation ?? 0, digest: snapshot.digest })
  }
  return snapshot
})
