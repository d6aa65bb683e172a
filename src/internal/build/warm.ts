/** Captures a result with its services running, and with its memory. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { Note } from "../../Ownership.ts"
import * as Sandbox from "../../Sandbox.ts"
import { failWhenFull } from "../host/diskRoom.ts"
import * as HomeFiles from "../ownership/files.ts"
import { cpusLabel, generate, generateName, memoryLabel, noteForScope, roleLabel } from "../ownership/labels.ts"
import * as Keys from "../plan/keys.ts"
import * as LookUp from "../plan/lookUp.ts"
import type * as Units from "../plan/units.ts"
import { memoryOf } from "../sandbox/handle.ts"
import { artifactName, captureLock, definitionLabel, keyLabel } from "../store/store.ts"
import { withArtifact } from "./capture.ts"
import { type Context, type Driver, method } from "./context.ts"
import { searchMemoryForSecrets } from "./secretSearch.ts"

/** The operations of a driver that can capture memory. */
export const operationsOf = (driver: Driver): Effect.Effect<Microsandbox.MemoryOperations, LightboxError> =>
  memoryOf(driver, {
    method,
    feature: "warm",
    can: "memorySnapshots",
    problem: "this driver cannot capture the memory of a running sandbox"
  })

/**
 * Returns the warm result of a cold one: that of an earlier build, or else a new one. Its machine has booted from the cold
 * disk, and not run the steps: their secrets, and what they left in memory, are not in it.
 */
export const warmed = Effect.fnUntraced(function* <E, R>(
  context: Context<E, R>,
  { defaults }: Units.Prepared<E, R>,
  cold: Microsandbox.SnapshotInfo,
  coldKey: string,
  units: number
): Effect.fn.Return<Microsandbox.SnapshotInfo, LightboxError, Scope.Scope> {
  const { definition, driver, events, holder, options, services, store } = context
  const memory = yield* operationsOf(driver)
  const { pullPolicy, registry, resources } = definition.options
  const key = Keys.warmKey(coldKey, { defaults, resources: { ...resources, disk: undefined } })

  /** Boots, waits until the services are ready, and captures the machine under a name that nobody looks for. */
  const captureAs = Effect.fnUntraced(function* (artifact: string): Effect.fn.Return<void, LightboxError> {
    const start = yield* Clock.currentTimeMillis
    const builder = yield* generateName("builder")
    yield* events.emit({ _tag: "Booting", builder, from: cold.name })
    const launch = Sandbox.launch({
      snapshot: { path: cold.path, defaults },
      name: builder,
      ports: [],
      rootDisk: "copy",
      resources: { ...resources, disk: undefined },
      pullPolicy: options.pullPolicy ?? pullPolicy,
      registry,
      labels: { [roleLabel]: "builder", [definitionLabel]: definition.name }
    })
    const capture = Effect.fnUntraced(function* (sandbox: Sandbox.Sandbox): Effect.fn.Return<void, LightboxError> {
      const duration = Duration.millis((yield* Clock.currentTimeMillis) - start)
      yield* events.emit({ _tag: "Booted", builder, duration })
      yield* events.emit({ _tag: "Checkpointing", index: units, key })
      const info = yield* sandbox.info
      const labels = {
        ...definition.labels,
        [keyLabel]: key,
        [definitionLabel]: definition.name,
        [cpusLabel]: String(info.cpus),
        [memoryLabel]: String(info.memory)
      }
      const note: Note = { kind: "capture", token: yield* generate, name: artifact }
      yield* Effect.acquireUseRelease(
        store.ownership.note(note),
        () =>
          Effect.scoped(
            Effect.andThen(
              store.lock(captureLock(artifact)),
              memory.captureMemory({ sandbox: sandbox.name, name: artifact, labels, integrity: true })
            )
          ),
        () => store.ownership.forget(note)
      )
    })
    yield* Effect.scoped(Effect.flatMap(launch, capture)).pipe(
      failWhenFull(method, HomeFiles.onThisMachine(driver)),
      Effect.provide(services)
    )
    yield* searchMemoryForSecrets(memory, artifact, context.secrets, method)
    yield* driver.verifySnapshot(artifact)
  })

  /** Gives a captured machine the name of the result. */
  const keep = Effect.fnUntraced(function* (artifact: string): Effect.fn.Return<void, LightboxError> {
    const name = artifactName(key)
    // Nobody else makes it: this build holds the lock. What is there is damaged.
    yield* Effect.catchReason(driver.renameSnapshot(artifact, name), "LightboxError", "AlreadyExists", () =>
      Effect.andThen(driver.removeSnapshot(name), driver.renameSnapshot(artifact, name))
    )
    yield* store.removeTombstone(key)
  })

  const make = Effect.gen(function* () {
    const start = yield* Clock.currentTimeMillis
    yield* Effect.provide(
      withArtifact(`${definition.name}.warm`, (artifact) => Effect.andThen(captureAs(artifact), keep(artifact))),
      services
    )
    const duration = Duration.millis((yield* Clock.currentTimeMillis) - start)
    yield* events.emit({ _tag: "Checkpointed", index: units, key, duration })
  })

  const attempt: Effect.Effect<Option.Option<Microsandbox.SnapshotInfo>, LightboxError, Scope.Scope> = Effect.gen(
    function* () {
      const found = yield* LookUp.open(driver, key)
      if (Option.isSome(found)) {
        yield* store.touch(key)
        return found
      }
      const lock = yield* store.tryLock(`build:${key}`)
      if ("waiting" in lock) {
        yield* events.emit({ _tag: "Waiting", key })
        yield* Stream.runForEach(lock.waiting, events.relay)
        return Option.none()
      }
      holder.lock = lock.lock
      // It may have been made before the lock was free.
      if (Option.isNone(yield* LookUp.open(driver, key))) yield* make
      return Option.none()
    }
  )
  yield* noteForScope(store.ownership, "use", cold.name)
  for (;;) {
    const found = yield* Effect.scoped(attempt)
    if (Option.isSome(found)) return found.value
  }
}, Effect.scoped)
