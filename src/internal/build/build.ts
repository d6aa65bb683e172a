/**
 * Runs a definition: from the deepest result that is there, in one builder
 * sandbox, keeping results where it pays.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as ServiceMap from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Launch from "../sandbox/launch.ts"
import * as Ownership from "../../Ownership.ts"
import type { Services } from "../../Driver.ts"
import { AlreadyExists, isLightboxError, LightboxError, SecretLeaked, Unknown } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Sandbox from "../../Sandbox.ts"
import type { Built, BuildOptions, Definition, Snapshot } from "../../Snapshot.ts"
import { shown } from "../guest/execution.ts"
import * as Events from "./events.ts"
import { whileRoom } from "../host/diskRoom.ts"
import * as Execution from "../guest/execution.ts"
import { generate, generateName, roleLabel } from "../ownership/labels.ts"
import type * as Lock from "../ownership/lock.ts"
import { stepsReused, stepsRun } from "../report/metrics.ts"
import * as Names from "../store/names.ts"
import * as Planning from "../plan/plan.ts"
import { make as makeHandle } from "../sandbox/handle.ts"
import { intBetween, Name } from "../config/schemas.ts"
import * as Secrets from "../definition/secrets.ts"
import * as StepRunner from "./stepRunner.ts"
import {
  artifactName,
  builderVersion,
  captureLock,
  isArtifactName,
  definitionLabel,
  keyLabel,
  make as makeStore,
  type Store
} from "../store/store.ts"
import { decoder } from "../config/validation.ts"

type Driver = Microsandbox.Microsandbox["Service"]

const method = "Snapshot.build"

const Options = Schema.Struct({
  checkpoints: Schema.optional(Schema.Literals(["auto", "every-step", "final", "marked"])),
  checkpointFactor: Schema.optional(
    Schema.Finite.check(Schema.makeFilter((factor) => (factor >= 0 ? undefined : "expected 0 or more")))
  ),
  force: Schema.optional(Schema.Union([Schema.Boolean, intBetween(1, 1_000_000)])),
  overwrite: Schema.optional(Schema.Boolean),
  replaceForeign: Schema.optional(Schema.Boolean),
  keep: Schema.optional(intBetween(1, 1000)),
  keepBuilder: Schema.optional(Schema.Boolean),
  onEvent: Schema.optional(Schema.Unknown)
})

const decodeOptions = decoder(Options, method)

const decodeScopedName = decoder(Name, "Snapshot.scoped", "name")

const defaultCheckpointFactor = 10

const defaultKeep = 2

/** What one build works with. */
interface Context<E, R> {
  readonly services: ServiceMap.Context<Services>
  readonly driver: Driver
  readonly store: Store
  readonly definition: Definition<E, R>
  readonly options: typeof Options.Type
  readonly events: Events.Emitter
  readonly secrets: ReadonlyArray<Secrets.SecretValue>
  readonly holder: { lock: Lock.Lock | undefined }
}

// =============================================================================
// The build
// =============================================================================

export const build = Effect.fn("Snapshot.build")(function* <E, R>(
  definition: Definition<E, R>,
  input: BuildOptions | undefined
): Effect.fn.Return<Built, LightboxError | E, Services | R> {
  const options = yield* decodeOptions(input ?? {})
  const driver = yield* Microsandbox.Microsandbox
  const store = makeStore(driver, yield* Ownership.Ownership)
  const services = yield* Launch.services
  const prepared = yield* Planning.prepare(method, definition)
  yield* Effect.annotateCurrentSpan({
    "lightbox.snapshot": definition.name,
    "lightbox.image": prepared.image,
    "lightbox.steps": prepared.units.length
  })
  if (options.overwrite === false) yield* Names.requireFree(driver, method, definition.name)
  const start = yield* Clock.currentTimeMillis
  const elapsed = Effect.map(Clock.currentTimeMillis, (now) => now - start)

  return yield* Effect.scoped(
    Effect.gen(function* () {
      const holder: Context<E, R>["holder"] = { lock: undefined }
      const events = yield* Events.make({
        buildId: yield* generate,
        snapshot: definition.name,
        onEvent: input?.onEvent,
        tell: () => holder.lock?.tell
      })
      const secrets = Secrets.ofSteps(prepared.units.map(({ step }) => step))
      const context: Context<E, R> = { services, driver, store, definition, options, events, secrets, holder }
      const work = Effect.gen(function* () {
        const { outcome, snapshot } = yield* Effect.scoped(produce(context, prepared)).pipe(
          Effect.flatMap((outcome) => Effect.map(commit(context, outcome), (snapshot) => ({ outcome, snapshot }))),
          // Removed by somebody else since it was looked at: then it is made again, however many prune all the time.
          Effect.retry({ while: isVanished, times: 20 })
        )
        const reused = prepared.units.length - outcome.run
        const durationMillis = yield* elapsed
        yield* Metric.update(stepsRun, outcome.run)
        yield* Metric.update(stepsReused, reused)
        yield* Effect.annotateCurrentSpan({ "lightbox.steps.run": outcome.run, "lightbox.steps.reused": reused })
        yield* events.emit({ _tag: "Finished", durationMillis, stepsRun: outcome.run, stepsReused: reused })
        return { ...snapshot, stepsRun: outcome.run, stepsReused: reused, durationMillis }
      })
      return yield* Effect.onError(work, (cause) =>
        Effect.flatMap(elapsed, (durationMillis) =>
          events.emit({
            _tag: "Failed",
            durationMillis,
            problem: Secrets.redact(secrets, Cause.hasInterruptsOnly(cause) ? "interrupted" : Cause.pretty(cause))
          })
        )
      )
    })
  )
})

/** Builds for the life of a scope, under a name that nobody else has. */
export const scoped = Effect.fn("Snapshot.scoped")(function* <E, R>(
  named: (name: string) => Definition<E, R>,
  name: string,
  options: BuildOptions | undefined
): Effect.fn.Return<Built, LightboxError | E, Services | R | Scope.Scope> {
  yield* decodeScopedName(name)
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
  return yield* build(named(note.name), { ...options, overwrite: true })
})

const isVanished = (error: unknown): boolean =>
  isLightboxError(error) &&
  ((error.reason._tag === "NotFound" && error.reason.resource === "snapshot") ||
    error.reason._tag === "SnapshotDamaged") &&
  isArtifactName(error.reason.name)

/** What a build has made, or found made. */
interface Outcome<E, R> {
  readonly planned: Planning.Planned<E, R>
  readonly result: Microsandbox.SnapshotInfo
  /** How many steps ran. */
  readonly run: number
}

const produce = Effect.fnUntraced(function* <E, R>(
  context: Context<E, R>,
  prepared: Planning.Prepared<E, R>
): Effect.fn.Return<Outcome<E, R>, LightboxError | E, R | Scope.Scope> {
  const { driver, events, holder, options, store } = context
  // Closed after what is done below: a builder that is left to its user is let go first.
  const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
  const nonce = yield* generate
  const builders = makeBuilders(context, prepared, scope, nonce)
  const imageDigest = yield* resolveImage(context, prepared, builders)
  const units = yield* Planning.keyUnits(method, prepared.units, imageDigest, nonce)
  yield* announceChain(
    driver,
    units.map(({ key }) => key)
  )

  // Forced steps run whatever is there, but what this build itself has made counts.
  const forcedFrom = options.force === true ? 0 : typeof options.force === "number" ? options.force : undefined
  const refused = new Set(
    forcedFrom === undefined
      ? []
      : [
          ...units.filter(({ index }) => index >= forcedFrom).map(({ key }) => key),
          ...(units.length === 0 ? [Planning.baseKey(imageDigest)] : [])
        ]
  )
  builders.renew(refused)
  const look = Planning.look(driver, store, units, imageDigest, (key) => !refused.has(key))

  yield* Effect.addFinalizer((exit) =>
    Exit.isFailure(exit) && !Exit.hasInterrupts(exit) ? Effect.ignoreCause(builders.leave(undefined)) : Effect.void
  )
  let planned = yield* look
  yield* events.emit({ _tag: "Planned", steps: units.length, hits: planned.done })
  for (const { description, index } of units.slice(0, planned.done)) {
    yield* events.emit({ _tag: "StepCached", index, description })
  }
  let run = 0
  let held: { readonly key: string; readonly scope: Scope.Closeable } | undefined
  for (;;) {
    const result = planned.results.get(planned.key)
    if (result !== undefined) {
      // Before anybody else takes it for one that is whole.
      if (run > 0) {
        yield* Effect.tapError(driver.verifySnapshot(result.name), () =>
          Effect.ignore(driver.removeSnapshot(result.name))
        )
      }
      // What was made by force has a key of its own.
      yield* store.touch(result.labels[keyLabel] ?? planned.key)
      yield* builders.leave(result)
      // A verification, or another build, may need the room.
      yield* builders.close
      return { planned, result, run }
    }
    // One build makes what comes next; all others that want it wait for it, and look again.
    const next = units[planned.done]?.key ?? planned.key
    if (held?.key !== next) {
      const attempt = yield* Scope.fork(scope)
      const hello = encodeChain(units.slice(planned.done).map(({ key }) => key))
      const lock = yield* Scope.provide(store.tryLock(`build:${next}`, hello), attempt)
      if ("waiting" in lock) {
        yield* events.emit({ _tag: "Waiting", key: next })
        // Its room may be what the other waits for, and what comes next starts from another disk.
        yield* builders.close
        yield* Stream.runForEach(lock.waiting, events.relay)
        yield* Scope.close(attempt, Exit.void)
      } else {
        if (held !== undefined) yield* Scope.close(held.scope, Exit.void)
        held = { key: next, scope: attempt }
        holder.lock = lock.lock
      }
      planned = yield* look
      continue
    }
    const until = yield* advance(context, builders, planned)
    run += until - planned.done
    refused.delete(units[until - 1]?.key ?? planned.key)
    planned = yield* look
  }
})

/** The digest of the base image; what is not in the cache is pulled by booting the first builder from it. */
const resolveImage = Effect.fnUntraced(function* <E, R>(
  { driver, definition }: Context<E, R>,
  { image }: Planning.Prepared<E, R>,
  builders: Builders<E, R>
): Effect.fn.Return<string, LightboxError | E, R | Scope.Scope> {
  const inspect = driver.inspectImage(image).pipe(
    Effect.map(({ digest }) => Option.fromNullishOr(digest)),
    Effect.catchReason("LightboxError", "NotFound", () => Effect.succeedNone)
  )
  const cached = definition.options.pullPolicy === "always" ? Option.none() : yield* inspect
  if (Option.isSome(cached)) return cached.value
  yield* builders.fromImage
  const pulled = yield* inspect
  if (Option.isSome(pulled)) return pulled.value
  return yield* new LightboxError({
    method,
    reason: new Unknown({ problem: `the image ${image} has no digest after it was pulled` })
  })
})

/** Runs steps after the deepest result until one is kept, and tells up to which. */
const advance = Effect.fnUntraced(function* <E, R>(
  context: Context<E, R>,
  builders: Builders<E, R>,
  planned: Planning.Planned<E, R>
): Effect.fn.Return<number, LightboxError | E, R | Scope.Scope> {
  const { options } = context
  const { units } = planned
  const policy = options.checkpoints ?? "auto"
  let spentMillis = 0
  for (let position = planned.done; position < units.length; position++) {
    const unit = units[position]
    if (unit === undefined) break
    spentMillis += yield* runUnit(context, builders, planned, unit).pipe(
      Effect.catchCause((cause) =>
        // What the step started from is worth keeping: a build that is run again starts there.
        Effect.andThen(
          policy === "auto" &&
            options.keepBuilder !== true &&
            position > planned.done &&
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

/** Keeps the disk that holds so many steps. */
const keepAt = Effect.fnUntraced(function* <E, R>(
  context: Context<E, R>,
  builders: Builders<E, R>,
  planned: Planning.Planned<E, R>,
  units: number
): Effect.fn.Return<void, LightboxError | E, R | Scope.Scope> {
  const unit = planned.units[units - 1]
  const network = unit?.network ?? Planning.networkChoice(context.definition.options.network)
  const builder = yield* builders.at(planned, units, network)
  yield* builders.capture(
    builder,
    unit?.key ?? planned.key,
    units === planned.units.length,
    // What was kept before was searched then.
    Secrets.ofSteps(planned.units.slice(planned.done, units).map(({ step }) => step))
  )
})

/** What a verification fails with: it comes after the last step. */
const unverified = (
  definition: string,
  index: number,
  durationMillis: number,
  { reason, step }: LightboxError
): LightboxError =>
  new LightboxError({
    method,
    reason,
    // Of a build of its own, it is told which step failed there.
    step: step ?? { definition, index, description: "verification", attempt: 1, durationMillis }
  })

/** Tries the result, and moves the name to it. */
const commit = Effect.fnUntraced(function* <E, R>(
  { definition, driver, events, options, services, store }: Context<E, R>,
  { planned, result }: Outcome<E, R>
): Effect.fn.Return<Snapshot, LightboxError | E, R> {
  const { labels, name, verification } = definition
  if (verification !== undefined && (yield* driver.readSnapshotLink(name)) !== result.name) {
    const { pullPolicy, registry, resources } = definition.options
    const start = yield* Clock.currentTimeMillis
    yield* Sandbox.run(
      {
        snapshot: result,
        resources: { ...resources, disk: undefined },
        pullPolicy,
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
  const { isNew, snapshot } = yield* Names.commit(driver, store, {
    name,
    result,
    key: result.labels[keyLabel] ?? planned.key,
    labels,
    lastBuild: {
      builderVersion,
      image: result.image,
      imageDigest: planned.imageDigest,
      steps: planned.units.map(({ descriptor }) => descriptor)
    },
    keep: options.keep ?? defaultKeep,
    replaceForeign: options.replaceForeign ?? false,
    overwrite: options.overwrite ?? true
  })
  if (isNew) {
    yield* events.emit({ _tag: "Committed", generation: snapshot.generation ?? 0, digest: snapshot.digest })
  }
  return snapshot
})

// =============================================================================
// Shared beginnings
// =============================================================================

/** The keys that builds of this process are after, in the order of their steps. */
const chains = new WeakMap<Driver, Set<ReadonlyArray<string>>>()

const announceChain = (driver: Driver, keys: ReadonlyArray<string>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const all = chains.get(driver) ?? new Set()
      chains.set(driver, all.add(keys))
    }),
    () => Effect.sync(() => chains.get(driver)?.delete(keys))
  )

/** Whether another build, here or among those who wait for this one, needs the result of a key, but goes on differently. */
const isWantedByOthers = (
  { driver, holder }: Pick<Context<never, never>, "driver" | "holder">,
  key: string,
  next: string
) => {
  const heard = (holder.lock?.heard() ?? []).flatMap((line) => Option.toArray(decodeChain(line)))
  return [...(chains.get(driver) ?? []), ...heard].some((keys) => keys.includes(key) && !keys.includes(next))
}

const chainCodec = Schema.fromJsonString(Schema.Array(Schema.String))
const encodeChain = Schema.encodeSync(chainCodec)
const decodeChain = Schema.decodeOption(chainCodec)

// =============================================================================
// One step
// =============================================================================

/** Runs a step, and tells how many milliseconds the attempt took that went well. */
const runUnit = Effect.fnUntraced(function* <E, R>(
  context: Context<E, R>,
  builders: Builders<E, R>,
  planned: Planning.Planned<E, R>,
  unit: Planning.KeyedUnit<E, R>
): Effect.fn.Return<number, LightboxError | E, R | Scope.Scope> {
  const { definition, events, secrets } = context
  const { description, index, step } = unit
  const { retry, retryFrom } = step.options
  const again = retry === undefined ? undefined : yield* Schedule.toStepWithSleep(retry)
  for (let attempt = 1; ; attempt++) {
    const builder = yield* builders.at(planned, index - 1, unit.network)
    yield* events.emit({ _tag: "StepStarted", index, description, attempt })
    const start = yield* Clock.currentTimeMillis
    const exit = yield* Effect.exit(
      StepRunner.run(context.driver, builder.sandbox, unit, secrets, (stream, text) =>
        events.emit({ _tag: "StepOutput", index, description, stream, text })
      ).pipe(
        Execution.within(method, [description], durationOf(step.options.timeout)),
        Effect.andThen(StepRunner.settle(builder.sandbox.guest)),
        whileRoom(method, context.driver.home),
        Effect.withSpan("Snapshot.step", {
          attributes: {
            "lightbox.snapshot": definition.name,
            "lightbox.step.index": index,
            "lightbox.step.description": description,
            "lightbox.step.attempt": attempt
          }
        })
      )
    )
    const durationMillis = (yield* Clock.currentTimeMillis) - start
    if (Exit.isSuccess(exit)) {
      builder.units = index
      yield* events.emit({ _tag: "StepFinished", index, description, attempt, durationMillis })
      return durationMillis
    }
    const error = Cause.findErrorOption(exit.cause)
    // A defect or an interruption is nobody's failed attempt.
    if (Option.isNone(error)) return yield* Effect.failCause(exit.cause)
    const { declaredAt } = step
    const failure = isLightboxError(error.value)
      ? new LightboxError({
          method,
          reason: error.value.reason,
          step: {
            definition: definition.name,
            index,
            description: Secrets.redact(secrets, description),
            ...commandOf(step, secrets),
            ...(declaredAt === undefined ? {} : { declaredAt }),
            attempt,
            durationMillis
          },
          ...(builder.keptAs === undefined ? {} : { builder: builder.keptAs })
        })
      : new LightboxError({
          method,
          reason: new Unknown({ problem: Cause.pretty(Cause.fail(error.value)), cause: error.value })
        })
    yield* events.emit({
      _tag: "StepAttemptFailed",
      index,
      description,
      attempt,
      problem: Secrets.redact(secrets, failure.reason.message)
    })
    if (retryFrom !== "dirty") builder.units = dirty
    const isOver =
      again === undefined ||
      (yield* Effect.map(Effect.exit(again(failure)), (next) => Exit.isFailure(next) && Pull.isDoneCause(next.cause)))
    if (isOver) {
      builder.units = dirty
      return yield* Effect.fail(isLightboxError(error.value) ? failure : error.value)
    }
  }
})

const commandOf = (
  step: Planning.DiskStep<unknown, unknown>,
  secrets: ReadonlyArray<Secrets.SecretValue>
): { readonly command?: string } =>
  step._tag === "Shell"
    ? { command: Secrets.redact(secrets, step.script) }
    : step._tag === "Exec"
      ? { command: Secrets.redact(secrets, shown(step.argv).join(" ")) }
      : {}

/** The disk of a builder whose step failed is no state to go on from. */
const dirty = -1

const durationOf = (input: Duration.Input | undefined): Duration.Duration | undefined =>
  input === undefined ? undefined : Duration.fromInputUnsafe(input)

// =============================================================================
// Builders
// =============================================================================

/** A builder sandbox. */
interface Builder {
  /** As it was launched: what lets it go, or keeps it. */
  readonly launched: Sandbox.Sandbox
  /** As it runs now. */
  sandbox: Sandbox.Sandbox
  readonly info: Microsandbox.SandboxInfo
  readonly scope: Scope.Closeable
  readonly network: Planning.NetworkChoice
  /** The name under which it stays when the build is over, if it does. */
  readonly keptAs: string | undefined
  /** How many steps its disk holds. */
  units: number
  isRunning: boolean
}

/** The builder of a build: one at a time, with the disk that the next step is to find. */
interface Builders<E, R> {
  /** Boots one from the image. */
  readonly fromImage: Effect.Effect<void, LightboxError>
  /** One whose disk holds exactly so many steps. */
  readonly at: (
    planned: Planning.Planned<E, R>,
    units: number,
    network: Planning.NetworkChoice
  ) => Effect.Effect<Builder, LightboxError | E, R | Scope.Scope>
  /** Keeps the disk of a builder as the result of a key, searched for secrets. It is stopped then. */
  readonly capture: (
    builder: Builder,
    key: string,
    isFinal: boolean,
    secrets: ReadonlyArray<Secrets.SecretValue>
  ) => Effect.Effect<void, LightboxError>
  /** What keeping a result costs, as far as this build has seen, in milliseconds. */
  readonly checkpointMillis: () => number
  /** Keys whose results are made again, under keys of their own. */
  readonly renew: (keys: ReadonlySet<string>) => void
  /** Leaves the builder running for its user to look at, if that was asked for: from a result if nothing ran. */
  readonly leave: (result: Microsandbox.SnapshotInfo | undefined) => Effect.Effect<void, LightboxError>
  readonly close: Effect.Effect<void>
}

const makeBuilders = <E, R>(
  context: Context<E, R>,
  prepared: Planning.Prepared<E, R>,
  scope: Scope.Scope,
  nonce: string
): Builders<E, R> => {
  const { definition, driver, events, options, services, store } = context
  let current: Builder | undefined
  let renewed: ReadonlySet<string> = new Set()
  let bootMillis = 0
  let captureMillis = 0

  const close = Effect.suspend(() => {
    const closing = current
    current = undefined
    return closing === undefined ? Effect.void : Scope.close(closing.scope, Exit.void)
  })

  const launch = Effect.fnUntraced(function* (
    from: Microsandbox.SnapshotInfo | undefined,
    units: number,
    network: Planning.NetworkChoice
  ): Effect.fn.Return<Builder, LightboxError> {
    yield* close
    // The name could not lead to the result: not worth a boot.
    if (options.replaceForeign !== true) yield* Names.requireOurs(driver, method, definition.name)
    const isKept = options.keepBuilder === true
    const name = isKept ? `${definition.name}-builder` : yield* generateName("builder")
    if (isKept) yield* removeKeptBuilder(driver, name)
    yield* events.emit({ _tag: "Booting", builder: name, from: from?.name ?? prepared.image })
    const start = yield* Clock.currentTimeMillis
    const own = yield* Scope.fork(scope)
    if (from !== undefined) {
      const note: Ownership.Note = { kind: "use", token: yield* generate, name: from.name }
      yield* Effect.acquireRelease(store.ownership.note(note), () => store.ownership.forget(note)).pipe(
        Scope.provide(own)
      )
    }
    const { mounts, pullPolicy, registry, resources } = definition.options
    const sandbox = yield* Sandbox.launch({
      ...(from === undefined ? { image: prepared.image } : { snapshot: from }),
      name,
      // It is captured.
      rootDisk: "copy",
      resources: from === undefined ? resources : { ...resources, disk: undefined },
      network: network.input,
      pullPolicy,
      registry,
      mounts: { ...(needsSecretFiles(prepared) ? { [StepRunner.secretsFolder]: { tmpfs: true } } : {}), ...mounts },
      labels: { [roleLabel]: "builder", [definitionLabel]: definition.name },
      onPullProgress: (progress) =>
        events.emitUnsafe({
          _tag: "Pulling",
          image: prepared.image,
          phase: progress._tag,
          ...("layer" in progress ? { layer: progress.layer, done: progress.done } : {}),
          ...("total" in progress && progress.total !== undefined ? { total: progress.total } : {})
        })
    }).pipe(Scope.provide(own), Effect.provide(services))
    bootMillis = (yield* Clock.currentTimeMillis) - start
    yield* events.emit({ _tag: "Booted", builder: name, durationMillis: bootMillis })
    current = {
      launched: sandbox,
      sandbox,
      info: yield* driver.getSandbox(name),
      scope: own,
      network,
      keptAs: isKept ? name : undefined,
      units,
      isRunning: true
    }
    return current
  })

  const restart = Effect.fnUntraced(function* (builder: Builder): Effect.fn.Return<Builder, LightboxError> {
    const { info } = builder
    yield* events.emit({ _tag: "Booting", builder: info.name, from: info.name })
    const start = yield* Clock.currentTimeMillis
    const started = yield* driver.startSandbox(info)
    const guest = yield* Scope.provide(driver.connect(started), builder.scope)
    builder.sandbox = makeHandle(driver, started, guest)
    builder.isRunning = true
    bootMillis = (yield* Clock.currentTimeMillis) - start
    yield* events.emit({ _tag: "Booted", builder: info.name, durationMillis: bootMillis })
    return builder
  })

  const builders: Builders<E, R> = {
    close,
    fromImage: Effect.suspend(() =>
      Effect.asVoid(
        launch(undefined, 0, prepared.units[0]?.network ?? Planning.networkChoice(definition.options.network))
      )
    ),
    at: Effect.fnUntraced(function* (planned, units, network) {
      if (current?.units === units && current.network.id === network.id) {
        return current.isRunning ? current : yield* restart(current)
      }
      let position = units
      while (position > 0 && !planned.results.has(planned.units[position - 1]?.key ?? "")) position--
      const from = planned.results.get(planned.units[position - 1]?.key ?? "")
      if (from !== undefined) yield* store.touch(from.labels[keyLabel] ?? "")
      const first = planned.units[position]
      const builder = yield* launch(from, position, position === units ? network : (first?.network ?? network))
      for (const unit of planned.units.slice(position, units)) yield* runUnit(context, builders, planned, unit)
      return current ?? builder
    }),
    capture: Effect.fnUntraced(function* (builder, plainKey, isFinal, secrets) {
      const start = yield* Clock.currentTimeMillis
      const key = renewed.has(plainKey) ? Planning.renewedKey(plainKey, nonce) : plainKey
      const isFlushed = yield* whileRoom(method, driver.home)(StepRunner.flush(builder.sandbox.guest))
      yield* isFlushed ? driver.killSandbox(builder.info) : driver.stopSandbox(builder.info)
      builder.isRunning = false
      const name = artifactName(key)
      const note: Ownership.Note = { kind: "capture", token: yield* generate, name }
      const request = driver.captureSnapshot({
        sandbox: builder.info.name,
        name,
        labels: { ...(isFinal ? definition.labels : {}), [keyLabel]: key, [definitionLabel]: definition.name },
        integrity: true
      })
      // Before it is a result: whoever finds one takes it for searched.
      yield* searchForSecrets(driver, builder.info, secrets)
      const replace = () => Effect.andThen(driver.removeSnapshot(name), request)
      const capture = request.pipe(
        // The runtime's record of a sandbox follows its end at a distance.
        Effect.retry({
          while: (error) => error.reason._tag === "StillRunning",
          schedule: Schedule.spaced("50 millis").pipe(Schedule.upTo({ times: 100 }))
        }),
        // Another build may have come to the same from another step, and names may lead to it already. What is not whole
        // was found to be of no use.
        Effect.catchReason("LightboxError", "AlreadyExists", () =>
          Effect.catchReasons(driver.verifySnapshot(name), "LightboxError", {
            NotFound: replace,
            SnapshotDamaged: replace
          })
        )
      )
      yield* Effect.acquireUseRelease(
        store.ownership.note(note),
        () => Effect.scoped(Effect.andThen(store.lock(captureLock(name)), capture)),
        () => store.ownership.forget(note)
      )
      // What an alias led to was not there any more, or this would not have been made.
      yield* key === plainKey ? store.removeAlias(plainKey) : store.writeAlias(plainKey, key)
      yield* store.removeTombstone(key)
      yield* store.touch(key)
      captureMillis = (yield* Clock.currentTimeMillis) - start
      yield* events.emit({ _tag: "Checkpointed", index: builder.units, key, durationMillis: captureMillis })
    }),
    checkpointMillis: () => bootMillis + captureMillis,
    renew: (keys) => {
      renewed = new Set(keys)
    },
    leave: Effect.fnUntraced(function* (result) {
      if (options.keepBuilder !== true) return
      const kept =
        current ??
        (result === undefined
          ? undefined
          : yield* launch(result, prepared.units.length, Planning.networkChoice(definition.options.network)))
      if (kept === undefined) return
      yield* Effect.andThen(
        kept.isRunning ? Effect.void : driver.startSandbox(kept.info, { detached: true }),
        kept.launched.detach
      )
    })
  }
  return builders
}

/** A builder that was kept for its user makes way for the next; nothing else of its name does. */
const removeKeptBuilder = Effect.fnUntraced(function* (
  driver: Driver,
  name: string
): Effect.fn.Return<void, LightboxError> {
  const found = (yield* driver.listSandboxes()).find((sandbox) => sandbox.name === name)
  if (found === undefined) return
  if (found.labels[roleLabel] !== "builder") {
    return yield* new LightboxError({ method, reason: new AlreadyExists({ resource: "sandbox", name }) })
  }
  yield* driver.removeSandbox(found, { force: true })
})

const needsSecretFiles = (prepared: Planning.Prepared<unknown, unknown>): boolean =>
  prepared.units.some(
    ({ step }) =>
      (step._tag === "Shell" || step._tag === "Exec") &&
      Object.values(step.options.secrets ?? {}).some((secret) => Secrets.normalize(secret).as === "file")
  )

/** Shorter values are found by chance. */
const shortestSearched = 4

/** Fails if the value of a secret is anywhere on the disk of a sandbox. */
const searchForSecrets = Effect.fnUntraced(function* (
  driver: Driver,
  sandbox: Microsandbox.SandboxRef,
  secrets: ReadonlyArray<Secrets.SecretValue>
): Effect.fn.Return<void, LightboxError> {
  const searched = secrets.filter(({ value }) => value.length >= shortestSearched)
  if (searched.length === 0) return
  const found = yield* driver.searchSandbox(
    sandbox,
    searched.map(({ value }) => new TextEncoder().encode(value))
  )
  const leaked = searched.find((_, index) => found[index] === true)
  if (leaked !== undefined) {
    return yield* new LightboxError({ method, reason: new SecretLeaked({ secret: leaked.name }) })
  }
})
