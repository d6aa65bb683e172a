/** Turns the disk of a sandbox into a snapshot. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Admission from "../../Admission.ts"
import type { Services } from "../../Driver.ts"
import type * as Guest from "../../Guest.ts"
import { LightboxError, NotRunning, Replaced, Unsupported } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Ownership from "../../Ownership.ts"
import type { Sandbox } from "../../Sandbox.ts"
import type { CaptureOptions, Snapshot } from "../../Snapshot.ts"
import { intBetween, Labels, Name, SnapshotName } from "../config/schemas.ts"
import { decoder, forMethod, optionsDecoder } from "../config/validation.ts"
import type { SecretValue } from "../definition/secrets.ts"
import { failWhenFull } from "../host/diskRoom.ts"
import * as HomeFiles from "../ownership/files.ts"
import { generate, noteForScope, roleLabel } from "../ownership/labels.ts"
import { ephemeralRefused } from "../driver/restart.ts"
import { isSandbox, type Known, knownOf } from "../sandbox/handle.ts"
import type { CapturePrepared } from "../sandbox/pool.ts"
import * as RunningServices from "../sandbox/services.ts"
import * as Commits from "../store/commits.ts"
import * as Names from "../store/names.ts"
import { captureLock, make as makeStore } from "../store/store.ts"
import { discard } from "../store/transfer.ts"
import { searchForSecrets } from "./secretSearch.ts"
import * as StepRunner from "./stepRunner.ts"

const method = "Snapshot.capture"

const decode = optionsDecoder(
  method,
  Schema.Struct({
    name: SnapshotName,
    labels: Schema.optional(Labels),
    keep: Schema.optional(intBetween(1, 1000)),
    overwrite: Schema.optional(Schema.Boolean),
    replaceForeign: Schema.optional(Schema.Boolean),
    secrets: Schema.optional(Schema.Record(Schema.String, Schema.Redacted(Schema.String)))
  })
)

/** A sandbox to capture, and its handle, if there is one. */
export interface Source {
  readonly info: Microsandbox.SandboxInfo
  readonly handle: Sandbox | undefined
}

const decodeSandbox = (method: string) => decoder(Name, method, "sandbox")

/** Finds exactly the sandbox of a handle, or one by name. */
export const find = Effect.fnUntraced(function* (
  method: string,
  sandbox: Sandbox | string
): Effect.fn.Return<Source, LightboxError, Microsandbox.Microsandbox> {
  const driver = yield* Microsandbox.Microsandbox
  const handle = isSandbox(sandbox) ? sandbox : undefined
  const name = yield* isSandbox(sandbox) ? Effect.succeed(sandbox.name) : decodeSandbox(method)(sandbox)
  const info = yield* driver.getSandbox(name)
  if (handle !== undefined && handle.id !== info.id) {
    return yield* new LightboxError({ method, reason: new Replaced({ name }) })
  }
  return { info, handle }
})

/** Flushes what the guest has written. A guest without `sync` does it when it shuts down. */
const flush = (driver: Microsandbox.Microsandbox["Service"], guest: Guest.Guest): Effect.Effect<void, LightboxError> =>
  Effect.asVoid(failWhenFull(method, HomeFiles.onThisMachine(driver))(StepRunner.inTime(StepRunner.flush(guest))))

/** Stops a running sandbox for an effect, and boots it again, with its services, whatever becomes of that. */
const whileStopped = Effect.fnUntraced(function* <A>(
  { handle, info }: Source,
  effect: Effect.Effect<A, LightboxError>
): Effect.fn.Return<A, LightboxError, Services> {
  const driver = yield* Microsandbox.Microsandbox
  const admission = yield* Admission.Admission
  const { isAttached, isEphemeral } = yield* driver.getSandboxLifecycle(info)
  if (isEphemeral) return yield* ephemeralRefused(method, "captureSnapshot")
  const flushed =
    handle === undefined
      ? Effect.scoped(Effect.flatMap(driver.connect(info), (guest) => flush(driver, guest)))
      : flush(driver, handle.guest)
  const start = admission.boot(driver.startSandbox(info, { detached: !isAttached }))
  const stop = driver.stopSandbox(info)
  const { config, renewing }: Partial<Known> = knownOf(handle) ?? {}
  const startServices = Effect.fnUntraced(function* (guest: Guest.Guest): Effect.fn.Return<void, LightboxError> {
    const services = config?.services ?? (yield* RunningServices.recall(guest, info.id))
    yield* RunningServices.start(method, guest, info.shell, services)
  })
  /** Runs what boots the sandbox again, given an effect that connects to it and starts its services. */
  const restarting = (run: (resume: Effect.Effect<void, LightboxError>) => Effect.Effect<A, LightboxError>) =>
    handle === undefined || renewing === undefined
      ? run(Effect.scoped(Effect.flatMap(driver.connect(info), startServices)))
      : renewing((reconnect) => run(Effect.andThen(reconnect, startServices(handle.guest))))
  return yield* Effect.uninterruptibleMask((restore) =>
    Effect.andThen(
      restore(flushed),
      restarting((resume) => {
        const restarted = Effect.andThen(start, resume)
        // A stop may be under way that was given up.
        const again = Effect.andThen(stop, restarted).pipe(
          Effect.timeout("100 seconds"),
          Effect.ignore({ log: "Warn", message: `Sandbox "${info.name}" did not start again` })
        )
        return Effect.andThen(
          stop,
          Effect.tap(effect, () => restarted)
        ).pipe(
          restore,
          Effect.onError(() => again)
        )
      })
    )
  )
})

/** Captures the disk under the name of an artifact, which the caller has noted. */
export const artifactOf = Effect.fnUntraced(
  function* (
    method: string,
    source: Source,
    artifact: string,
    secrets: ReadonlyArray<SecretValue> = []
  ): Effect.fn.Return<Microsandbox.SnapshotInfo, LightboxError, Services | Scope.Scope> {
    const driver = yield* Microsandbox.Microsandbox
    const store = makeStore(driver, yield* Ownership.Ownership)
    const { handle } = source
    // Captures of one sandbox take turns, in all processes: each stops and starts it.
    const info = yield* Effect.andThen(store.lock(captureLock(source.info.id)), driver.getSandbox(source.info.name))
    const { name, status } = info
    if (info.id !== source.info.id) {
      return yield* new LightboxError({ method, reason: new Replaced({ name }) })
    }
    if (!driver.capabilities.snapshots) {
      return yield* new LightboxError({
        method,
        reason: new Unsupported({ feature: "captureSnapshot", problem: "this backend has no snapshots" })
      })
    }
    if (info.labels[roleLabel] === "builder") {
      return yield* new LightboxError({
        method,
        reason: new Unsupported({ feature: "captureSnapshot", problem: "the build captures its builder itself" })
      })
    }
    if (status !== "running" && status !== "stopped" && status !== "crashed") {
      return yield* new LightboxError({ method, reason: new NotRunning({ name, status }) })
    }
    const all = [
      ...secrets,
      ...(knownOf(handle)?.secrets() ?? []).map((value) => ({ name: "of a command or an option", value }))
    ]
    const note: Ownership.Note = { kind: "capture", token: yield* generate, name: artifact }
    const captured = Effect.andThen(
      searchForSecrets(driver, info, all, method),
      Effect.acquireUseRelease(
        store.ownership.note(note),
        () =>
          Effect.scoped(
            Effect.andThen(
              store.lock(captureLock(artifact)),
              // The runtime records the end of a sandbox with a delay.
              Effect.retry(driver.captureSnapshot({ sandbox: name, name: artifact, integrity: true }), {
                while: (error) => error.reason._tag === "StillRunning",
                schedule: Schedule.spaced("50 millis").pipe(Schedule.upTo({ times: 100 }))
              })
            )
          ),
        () => store.ownership.forget(note)
      )
    )
    const result = yield* status === "running" ? whileStopped({ info, handle }, captured) : captured
    yield* driver.verifySnapshot(artifact)
    return result
  },
  (effect, method) => Effect.mapError(Effect.scoped(effect), forMethod(method))
)

/** Notes the name of a new artifact until the scope closes, which removes what `isLeft` says. */
const scopedArtifact = Effect.fnUntraced(function* (
  prefix: string,
  isLeft: (exit: Exit.Exit<unknown, unknown>) => boolean
): Effect.fn.Return<string, LightboxError, Services | Scope.Scope> {
  const driver = yield* Microsandbox.Microsandbox
  const ownership = yield* Ownership.Ownership
  const artifact = `${prefix}-${yield* generate}`
  yield* noteForScope(ownership, "unnamed", artifact)
  yield* Effect.addFinalizer((exit) =>
    isLeft(exit) ? discard(driver, makeStore(driver, ownership), [artifact]) : Effect.void
  )
  return artifact
})

/** Makes an artifact, which is removed with the scope if `use` fails, and noted until then. */
export const withArtifact = <A, E, R>(
  prefix: string,
  use: (artifact: string) => Effect.Effect<A, E, R>
): Effect.Effect<A, LightboxError | E, Exclude<R, Scope.Scope> | Services> =>
  Effect.scoped(Effect.flatMap(scopedArtifact(prefix, Exit.isFailure), use))

export const prepared: CapturePrepared = Effect.fnUntraced(function* (method, launch, prepare) {
  const driver = yield* Microsandbox.Microsandbox
  const artifact = yield* scopedArtifact("prepared", () => true)
  return yield* Effect.scoped(
    Effect.gen(function* () {
      const sandbox = yield* launch
      yield* prepare(sandbox)
      yield* flush(driver, sandbox.guest)
      yield* sandbox.stop()
      return yield* artifactOf(method, yield* find(method, sandbox), artifact)
    })
  )
})

export const capture = Effect.fn(method)(function* (
  sandbox: Sandbox | string,
  input: CaptureOptions
): Effect.fn.Return<Snapshot, LightboxError, Services> {
  const { keep = 2, labels = {}, name, overwrite = true, replaceForeign = false, secrets = {} } = yield* decode(input)
  const driver = yield* Microsandbox.Microsandbox
  const store = makeStore(driver, yield* Ownership.Ownership)
  const source = yield* find(method, sandbox)
  // Before anything is stopped.
  if (!overwrite) yield* Names.requireFree(driver, method, name)
  if (!replaceForeign) yield* Names.requireOurs(driver, method, name)
  const named = Object.entries(secrets).map(([name, value]) => ({ name, value: Redacted.value(value) }))
  return yield* withArtifact(`${name}.captured`, (artifact) =>
    Effect.gen(function* () {
      const result = yield* artifactOf(method, source, artifact, named)
      const commit = { name, result, key: "", labels, keep, replaceForeign, overwrite, method }
      return (yield* Commits.commit(driver, store, commit)).snapshot
    })
  )
})
