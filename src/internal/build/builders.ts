/** The sandboxes that steps run in. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { AlreadyExists, ImageUnavailable, isLightboxError, LightboxError, Unknown } from "../../LightboxError.ts"
import type { Note } from "../../Ownership.ts"
import type { Services } from "../../Driver.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { Options as SandboxOptions } from "../../SandboxConfig.ts"
import * as Sandbox from "../../Sandbox.ts"
import { failWhenFull } from "../host/diskRoom.ts"
import * as HomeFiles from "../ownership/files.ts"
import { generate, generateName, noteForScope, roleLabel } from "../ownership/labels.ts"
import * as Names from "../store/names.ts"
import * as Keys from "../plan/keys.ts"
import type * as LookUp from "../plan/lookUp.ts"
import * as Units from "../plan/units.ts"
import { make as makeHandle } from "../sandbox/handle.ts"
import * as Secrets from "../definition/secrets.ts"
import { declaredAt } from "../config/validation.ts"
import { volumesOf } from "./stepMounts.ts"
import * as StepRunner from "./stepRunner.ts"
import { artifactName, captureLock, definitionLabel, keyLabel } from "../store/store.ts"
import { type Context, type Driver, method } from "./context.ts"
import { runUnit } from "./attempts.ts"
import { searchForSecrets } from "./secretSearch.ts"

/** Pulls an image: the runtime pulls only what it boots. */
export const pull = (
  config: { readonly image: string } & Pick<SandboxOptions, "pullPolicy" | "registry">
): Effect.Effect<void, LightboxError, Services> =>
  Sandbox.run({ ...config, network: "none", labels: { [roleLabel]: "builder" } }, () => Effect.void)

/** A builder sandbox. */
export interface Builder {
  readonly launched: Sandbox.Sandbox
  /** Changes with a restart. */
  sandbox: Sandbox.Sandbox
  readonly info: Microsandbox.SandboxInfo
  readonly scope: Scope.Closeable
  readonly network: Units.NetworkChoice
  /** Its name, with `keepBuilder`. */
  readonly keptAs: string | undefined
  /** Number of steps that its disk contains. */
  units: number
  isRunning: boolean
}

/** The builders of a build, one at a time. */
export interface Builders<E, R> {
  /** Boots from the base image, pulling it if the policy says so, and returns its digest. */
  readonly fromImage: Effect.Effect<string, LightboxError>
  /** Returns a builder whose disk contains exactly this many steps. */
  readonly at: (
    planned: LookUp.Planned<E, R>,
    units: number,
    network: Units.NetworkChoice
  ) => Effect.Effect<Builder, LightboxError | E, R | Scope.Scope>
  /** Removes what would not survive a restart. A guest that does not answer is stopped instead. */
  readonly reset: (builder: Builder) => Effect.Effect<void, LightboxError>
  /** Stops a builder, searches its disk for secrets, and keeps it as the result of a key. */
  readonly capture: (
    builder: Builder,
    key: string,
    isFinal: boolean,
    secrets: ReadonlyArray<Secrets.SecretValue>
  ) => Effect.Effect<void, LightboxError>
  /** Milliseconds that keeping a result took so far. */
  readonly checkpointMillis: () => number
  /** Sets the keys whose results are made again, under new keys. */
  readonly renew: (keys: ReadonlySet<string>) => void
  /** With `keepBuilder`, detaches the builder, or one booted from the result if nothing ran. */
  readonly leave: (result: Microsandbox.SnapshotInfo | undefined) => Effect.Effect<void, LightboxError>
  readonly close: Effect.Effect<void>
}

export const makeBuilders = <E, R>(
  context: Context<E, R>,
  prepared: Units.Prepared<E, R>,
  base: Microsandbox.ImageResolution,
  scope: Scope.Scope,
  nonce: string
): Builders<E, R> => {
  const { definition, driver, events, options, services, store } = context
  let current: Builder | undefined
  let renewed: ReadonlySet<string> = new Set()
  let bootMillis = 0
  let captureMillis = 0
  let { digest, isCached } = base

  /** Prepares the guest of a builder after each boot. */
  const prepareGuest = ({ sandbox }: Builder) =>
    prepared.units.some(({ keepsTmp }) => keepsTmp) &&
    !Object.keys(definition.options.mounts ?? {}).some((path) => StepRunner.isInTmp(path))
      ? StepRunner.uncoverTmp(
          sandbox.guest,
          prepared.units.some(
            ({ step, workdir }) =>
              (step._tag === "Add" && StepRunner.isInTmp(step.to)) ||
              (workdir !== undefined && StepRunner.isInTmp(workdir))
          )
        )
      : Effect.void

  const close = Effect.suspend(() => {
    const closing = current
    current = undefined
    return closing === undefined ? Effect.void : Scope.close(closing.scope, Exit.void)
  })

  const launch = Effect.fnUntraced(function* (
    from: Microsandbox.SnapshotInfo | undefined,
    units: number,
    network: Units.NetworkChoice
  ): Effect.fn.Return<Builder, LightboxError> {
    yield* close
    // Fail before a boot if the name could not move.
    if (options.replaceForeign !== true) yield* Names.requireOurs(driver, method, definition.name)
    const isKept = options.keepBuilder === true
    const name = isKept ? `${definition.name}-builder` : yield* generateName("builder")
    if (isKept) yield* removeKeptBuilder(driver, name)
    yield* events.emit({ _tag: "Booting", builder: name, from: from?.name ?? prepared.image })
    const start = yield* Clock.currentTimeMillis
    const builderScope = yield* Scope.fork(scope)
    if (from !== undefined) {
      yield* Scope.provide(noteForScope(store.ownership, "use", from.name), builderScope)
    }
    const { mounts, registry, resources } = definition.options
    const pullPolicy = options.pullPolicy ?? definition.options.pullPolicy
    const sandbox = yield* Sandbox.launch({
      ...(from === undefined ? { image: prepared.image } : { snapshot: from }),
      name,
      // Only a copy can be captured.
      rootDisk: "copy",
      resources: from === undefined ? resources : { ...resources, disk: undefined },
      network: network.input,
      // Ask once per build.
      pullPolicy: from === undefined && isCached && pullPolicy !== "never" ? "if-missing" : pullPolicy,
      registry,
      mounts: {
        ...(needsSecretFiles(prepared) ? { [StepRunner.secretsFolder]: { tmpfs: true } } : {}),
        ...volumesOf(prepared),
        ...mounts
      },
      labels: { [roleLabel]: "builder", [definitionLabel]: definition.name },
      onPullProgress: (progress) =>
        events.emit({
          _tag: "Pulling",
          image: prepared.image,
          phase: progress._tag,
          ...("layer" in progress ? { layer: progress.layer, done: progress.done } : {}),
          ...("total" in progress && progress.total !== undefined ? { total: progress.total } : {})
        })
    }).pipe(Effect.mapError(declaredAt(definition.declaredAt)), Scope.provide(builderScope), Effect.provide(services))
    bootMillis = (yield* Clock.currentTimeMillis) - start
    yield* events.emit({ _tag: "Booted", builder: name, duration: Duration.millis(bootMillis) })
    const info = yield* driver.getSandbox(name)
    if (from === undefined) {
      // Its results would be kept under the keys of another image.
      const booted = info.imageDigest ?? (yield* driver.resolveImage(prepared.image, { pullPolicy: "never" })).digest
      if (digest !== undefined && booted !== digest) return yield* moved(prepared.image)
      digest = booted
      isCached = true
    }
    current = {
      launched: sandbox,
      sandbox,
      info,
      scope: builderScope,
      network,
      keptAs: isKept ? name : undefined,
      units,
      isRunning: true
    }
    yield* prepareGuest(current)
    return current
  })

  const restart = Effect.fnUntraced(function* (builder: Builder): Effect.fn.Return<Builder, LightboxError> {
    const { info } = builder
    yield* events.emit({ _tag: "Booting", builder: info.name, from: info.name })
    const start = yield* Clock.currentTimeMillis
    const started = yield* driver.startSandbox(info)
    const guest = yield* Scope.provide(driver.connect(started), builder.scope)
    builder.sandbox = makeHandle(driver, started, { guest })
    builder.isRunning = true
    yield* prepareGuest(builder)
    bootMillis = (yield* Clock.currentTimeMillis) - start
    yield* events.emit({ _tag: "Booted", builder: info.name, duration: Duration.millis(bootMillis) })
    return builder
  })

  const builders: Builders<E, R> = {
    close,
    fromImage: Effect.suspend(() =>
      launch(undefined, 0, prepared.units[0]?.network ?? Units.networkChoice(definition.options.network))
    ).pipe(
      Effect.flatMap(() =>
        digest === undefined
          ? Effect.fail(
              new LightboxError({
                method,
                reason: new Unknown({ problem: `the image ${prepared.image} has no digest after it was pulled` })
              })
            )
          : Effect.succeed(digest)
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
    reset: Effect.fnUntraced(function* (builder) {
      const isReset = yield* StepRunner.inTime(StepRunner.resetGuest(builder.sandbox.guest))
      if (Option.isSome(isReset)) return
      yield* driver.stopSandbox(builder.info)
      builder.isRunning = false
    }),
    capture: Effect.fnUntraced(function* (builder, plainKey, isFinal, secrets) {
      const start = yield* Clock.currentTimeMillis
      const key = renewed.has(plainKey) ? Keys.renewedKey(plainKey, nonce) : plainKey
      yield* events.emit({ _tag: "Checkpointing", index: builder.units, key })
      if (builder.isRunning) {
        const flush = StepRunner.inTime(StepRunner.flush(builder.sandbox.guest))
        const isFlushed = Option.getOrElse(
          yield* failWhenFull(method, HomeFiles.onThisMachine(driver))(flush),
          () => false
        )
        yield* isFlushed ? driver.killSandbox(builder.info) : driver.stopSandbox(builder.info)
        builder.isRunning = false
      }
      const name = artifactName(key)
      const note: Note = { kind: "capture", token: yield* generate, name }
      const request = driver.captureSnapshot({
        sandbox: builder.info.name,
        name,
        labels: { ...(isFinal ? definition.labels : {}), [keyLabel]: key, [definitionLabel]: definition.name },
        integrity: true
      })
      // Before it becomes a result: results count as searched.
      yield* searchForSecrets(driver, builder.info, secrets, method)
      const replace = () => Effect.andThen(driver.removeSnapshot(name), request)
      const capture = request.pipe(
        // The runtime records the end of a sandbox with a delay.
        Effect.retry({
          while: (error) => error.reason._tag === "StillRunning",
          schedule: Schedule.spaced("50 millis").pipe(Schedule.upTo({ times: 100 }))
        }),
        // Another build may have made it, and names may point to it. A damaged one is replaced.
        Effect.catchReason("LightboxError", "AlreadyExists", () =>
          Effect.catchReasons(Effect.asVoid(driver.verifySnapshot(name)), "LightboxError", {
            NotFound: replace,
            SnapshotDamaged: replace
          })
        )
      )
      const captured = yield* Effect.acquireUseRelease(
        store.ownership.note(note),
        () => Effect.scoped(Effect.andThen(store.lock(captureLock(name)), capture)),
        () => store.ownership.forget(note)
      )
      // The alias pointed to a removed result, or this one would not have been made.
      yield* key === plainKey ? store.removeAlias(plainKey) : store.writeAlias(plainKey, key)
      yield* store.removeTombstone(key)
      yield* store.touch(key)
      captureMillis = (yield* Clock.currentTimeMillis) - start
      yield* events.emit({
        _tag: "Checkpointed",
        index: builder.units,
        key,
        ...(captured?.allocated === undefined ? {} : { size: captured.allocated }),
        duration: Duration.millis(captureMillis)
      })
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
          : yield* launch(result, prepared.units.length, Units.networkChoice(definition.options.network)))
      if (kept === undefined) return
      yield* Effect.andThen(
        kept.isRunning ? Effect.void : driver.startSandbox(kept.info, { detached: true }),
        kept.launched.detach
      )
    })
  }
  return builders
}

const movedProblem = "it was replaced during the build"

const moved = (reference: string): LightboxError =>
  new LightboxError({ method, reason: new ImageUnavailable({ reference, problem: movedProblem }) })

/** Whether the base image of a build was replaced between its look-up and the boot. */
export const isMoved = (error: unknown): boolean =>
  isLightboxError(error) && error.reason._tag === "ImageUnavailable" && error.reason.problem === movedProblem

/** Removes the kept builder of an earlier build. Fails if another sandbox has its name. */
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

const needsSecretFiles = (prepared: Units.Prepared<unknown, unknown>): boolean =>
  prepared.units.some(
    ({ step }) =>
      (step._tag === "Shell" || step._tag === "Exec") &&
      Object.values(step.options.secrets ?? {}).some((secret) => Secrets.normalize(secret).as === "file")
  )
