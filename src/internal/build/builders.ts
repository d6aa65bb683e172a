/** The sandboxes that steps run in. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type * as Ownership from "../../Ownership.ts"
import { AlreadyExists, LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Mount from "../../Mount.ts"
import * as Sandbox from "../../Sandbox.ts"
import { whileRoom } from "../host/diskRoom.ts"
import { generate, generateName, roleLabel } from "../ownership/labels.ts"
import * as Names from "../store/names.ts"
import * as Keys from "../plan/keys.ts"
import type * as LookUp from "../plan/lookUp.ts"
import * as Units from "../plan/units.ts"
import { make as makeHandle } from "../sandbox/handle.ts"
import * as Secrets from "../definition/secrets.ts"
import * as StepRunner from "./stepRunner.ts"
import { artifactName, captureLock, definitionLabel, keyLabel } from "../store/store.ts"
import { type Context, type Driver, method } from "./context.ts"
import { runUnit } from "./attempts.ts"
import { searchForSecrets } from "./secretSearch.ts"

/** A builder sandbox. */
export interface Builder {
  /** As it was launched: what lets it go, or keeps it. */
  readonly launched: Sandbox.Sandbox
  /** As it runs now. */
  sandbox: Sandbox.Sandbox
  readonly info: Microsandbox.SandboxInfo
  readonly scope: Scope.Closeable
  readonly network: Units.NetworkChoice
  /** The name under which it stays when the build is over, if it does. */
  readonly keptAs: string | undefined
  /** How many steps its disk holds. */
  units: number
  isRunning: boolean
}

/** The builder of a build: one at a time, with the disk that the next step is to find. */
export interface Builders<E, R> {
  /** Boots one from the image. */
  readonly fromImage: Effect.Effect<void, LightboxError>
  /** One whose disk holds exactly so many steps. */
  readonly at: (
    planned: LookUp.Planned<E, R>,
    units: number,
    network: Units.NetworkChoice
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

export const makeBuilders = <E, R>(
  context: Context<E, R>,
  prepared: Units.Prepared<E, R>,
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
    network: Units.NetworkChoice
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
      mounts: { ...(needsSecretFiles(prepared) ? { [StepRunner.secretsFolder]: Mount.tmpfs() } : {}), ...mounts },
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
    yield* events.emit({ _tag: "Booted", builder: name, duration: Duration.millis(bootMillis) })
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
    yield* events.emit({ _tag: "Booted", builder: info.name, duration: Duration.millis(bootMillis) })
    return builder
  })

  const builders: Builders<E, R> = {
    close,
    fromImage: Effect.suspend(() =>
      Effect.asVoid(launch(undefined, 0, prepared.units[0]?.network ?? Units.networkChoice(definition.options.network)))
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
      const key = renewed.has(plainKey) ? Keys.renewedKey(plainKey, nonce) : plainKey
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
      yield* events.emit({ _tag: "Checkpointed", index: builder.units, key, duration: Duration.millis(captureMillis) })
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

const needsSecretFiles = (prepared: Units.Prepared<unknown, unknown>): boolean =>
  prepared.units.some(
    ({ step }) =>
      (step._tag === "Shell" || step._tag === "Exec") &&
      Object.values(step.options.secrets ?? {}).some((secret) => Secrets.normalize(secret).as === "file")
  )
