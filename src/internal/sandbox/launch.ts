/** Creates, boots and releases sandboxes. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import * as Admission from "../../Admission.ts"
import type { Services } from "../../Driver.ts"
import type * as Guest from "../../Guest.ts"
import { InUse, LightboxError, Unsupported } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Ownership from "../../Ownership.ts"
import type { Sandbox } from "../../Sandbox.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import { isEntryName } from "../config/schemas.ts"
import * as Execution from "../guest/execution.ts"
import { make as makeFiles } from "../guest/files.ts"
import { because, generate, instanceLabel, ownerLabel, roleLabel, snapshotLabel } from "../ownership/labels.ts"
import * as HomeFiles from "../ownership/files.ts"
import * as FailureText from "../report/failureText.ts"
import * as Metrics from "../report/metrics.ts"
import * as Progress from "../report/progress.ts"
import { connect, type Connection } from "./connection.ts"
import * as Drift from "./drift.ts"
import { type Detach, knownOf, make, noTimeToLive, type Peers } from "./handle.ts"
import * as Identity from "./identity.ts"
import * as RunningServices from "./services.ts"

/** Captures the library's services only: a whole context would include its scope. */
export const services: Effect.Effect<Context.Context<Services>, never, Services> = Effect.map(
  Effect.context<Services>(),
  Context.pick(Microsandbox.Microsandbox, Ownership.Ownership, Admission.Admission)
)

/** On failure, or for another result, releases everything acquired so far without waiting for the caller's scope. */
export const orClose = <A, E, R>(
  acquisition: Effect.Effect<A, E, R>,
  isWanted: (value: A) => boolean
): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.gen(function* () {
    const own = yield* Scope.fork(yield* Effect.scope)
    return yield* acquisition.pipe(
      Scope.provide(own),
      Effect.onExit((exit) => (Exit.isSuccess(exit) && isWanted(exit.value) ? Effect.void : Scope.close(own, exit)))
    )
  })

/** On failure, releases everything acquired so far without waiting for the caller's scope. */
export const allOrNothing = <A, R>(
  acquisition: Effect.Effect<A, LightboxError, R>
): Effect.Effect<A, LightboxError, R | Scope.Scope> => orClose(acquisition, () => true)

/** Adds names to those that a guest looks up. */
const addHosts = (guest: Guest.Guest, hosts: Peers["hosts"]): Effect.Effect<void, LightboxError> =>
  makeFiles(guest).writeFileString("/etc/hosts", hosts.map(({ address, name }) => `${address}\t${name}\n`).join(""), {
    flag: "a"
  })

interface LaunchOptions {
  readonly config: SandboxConfig
  /** Whether the source has memory, and the driver can resume it. */
  readonly canResume: boolean
  readonly timeout: Duration.Duration
  readonly request: Omit<Microsandbox.CreateSandbox, "labels" | "proxy">
  readonly peers?: Peers | undefined
  /** The room that was reserved. Default: wait for one. */
  readonly room?: Admission.Room | undefined
}

/** Creates a sandbox that lives as long as the scope, unless it is detached. */
export const launch = Effect.fnUntraced(function* (
  options: LaunchOptions
): Effect.fn.Return<Sandbox, LightboxError, Services | Scope.Scope> {
  const admission = yield* Admission.Admission
  const room = options.room ?? (yield* admission.admit("Sandbox.launch", options.config.resources?.memory))
  return yield* boot({ ...options, room })
}, allOrNothing)

const boot = Effect.fnUntraced(
  function* ({
    canResume,
    config,
    peers,
    request,
    room,
    timeout
  }: LaunchOptions & { readonly room: Admission.Room }): Effect.fn.Return<
    Sandbox,
    LightboxError,
    Services | Scope.Scope
  > {
    const driver = yield* Microsandbox.Microsandbox
    const ownership = yield* Ownership.Ownership
    const admission = yield* Admission.Admission
    const { name } = request
    if (config.resume === "required" && !canResume) {
      const problem = "the source has no memory, or the driver cannot resume it"
      return yield* new LightboxError({
        method: "Sandbox.launch",
        reason: new Unsupported({ feature: "resume", problem })
      })
    }
    const role = config.labels?.[roleLabel] ?? (request.detached === true ? "detached" : "scoped")
    const report = yield* Progress.once
    // Builds report their own sandboxes.
    if (role !== "builder" && role !== "verifier") report("booting a sandbox")
    const onPullProgress = (progress: Microsandbox.PullProgress): void => {
      if (progress._tag === "Downloading" && request.source._tag === "Image")
        report(`pulling ${request.source.reference}`)
    }
    const instance = yield* generate
    const note: Ownership.Note = { kind: "sandbox", token: instance, name }
    // Must close after the release below, which still sends messages to the guest.
    const channel = yield* Scope.fork(yield* Effect.scope)
    const owned = yield* Metrics.held(Metrics.ownedSandboxes, { role })
    const state = yield* releasing(note, config, timeout)
    yield* ownership.note(note)
    const create: Microsandbox.CreateSandbox = {
      ...request,
      proxy: peers?.proxy,
      onPullProgress: request.onPullProgress ?? onPullProgress,
      labels: {
        ...(config.name === undefined ? {} : Drift.labelOf(request.source, config)),
        [instanceLabel]: instance,
        ...(request.source._tag === "Snapshot" ? { [snapshotLabel]: request.source.name } : {}),
        [ownerLabel]: yield* ownership.id,
        [roleLabel]: role
      }
    }
    const begin = Effect.fnUntraced(function* (resume: Microsandbox.CreateSandbox["resume"]) {
      const info = yield* admission.boot(driver.createSandbox(resume === undefined ? create : { ...create, resume }))
      state.info = info
      const connection = yield* Scope.provide(connect(driver, info), channel)
      state.guest = connection.guest
      if (resume !== undefined) yield* Identity.renew(connection.guest, info, instance, config)
      return { connection, info, guest: connection.guest, resumed: resume }
    })
    const undo = Effect.suspend(() => {
      state.guest = undefined
      state.info = undefined
      return removeInstance(driver, instance)
    })
    const begun =
      canResume && config.resume !== false
        ? begin("memory").pipe(
            Effect.tap(() => Metric.update(Metric.withAttributes(Metrics.resumes, { outcome: "resumed" }), 1)),
            config.resume === "required" ? identity : orBegin(name, Effect.andThen(undo, begin(undefined)))
          )
        : begin(undefined)
    const { connection, guest, info, resumed } = yield* begun
    if (resumed !== undefined) yield* Effect.annotateCurrentSpan("lightbox.resumed", resumed)
    const detach: Detach = (expires) => detaching(driver, ownership, info, { expires, note, owned, room, state })
    const addPeers = peers === undefined ? Effect.void : addHosts(guest, peers.hosts)
    yield* addPeers
    if (resumed !== undefined) yield* Identity.runHook(guest, info, instance, config)
    // Before it is detached: if a service fails, the sandbox is removed.
    yield* RunningServices.begin("Sandbox.launch", guest, info, config.services)
    if (request.detached === true) yield* detach(undefined)
    // A boot writes the names anew.
    const renewing: Connection["renewing"] = (restart) =>
      connection.renewing((reconnect) => restart(Effect.andThen(reconnect, addPeers)))
    const sandbox = make(driver, info, { guest, renewing }, detach, config, peers, resumed)
    state.sandbox = sandbox
    return sandbox
  },
  Metrics.observing({ count: Metrics.launches, duration: Metrics.launchDuration })
)

/** A sandbox that is not released here is left to a sweep. */
const countFailure = Effect.tapCause(() => Metric.update(Metrics.releaseFailures, 1))

const markDetached = (state: { isOwned: boolean }, room: Admission.Room): Effect.Effect<void> =>
  Effect.andThen(
    Effect.sync(() => {
      state.isOwned = false
    }),
    room.release
  )

/** How long a removal may take if nothing else is said. */
export const releaseTimeout = Duration.seconds(30)

/** Removes a sandbox with the scope. Registered before the sandbox exists, so that it is removed whenever it exists. */
export const releasing = Effect.fnUntraced(function* (
  note: Ownership.Note,
  config: SandboxConfig,
  timeout: Duration.Duration
): Effect.fn.Return<LaunchState, never, Services | Scope.Scope> {
  const driver = yield* Microsandbox.Microsandbox
  const ownership = yield* Ownership.Ownership
  const state: LaunchState = { info: undefined, guest: undefined, isOwned: true, sandbox: undefined }
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() =>
      state.isOwned ? Effect.andThen(release(driver, note.token, config, state), ownership.forget(note)) : Effect.void
    ).pipe(
      Effect.timeout(timeout),
      countFailure,
      Effect.ignoreCause({ log: "Warn", message: `Could not release sandbox "${note.name}"` })
    )
  )
  return state
})

/** Keeps a sandbox that {@link releasing} would remove. */
export const detaching = (
  driver: Microsandbox.Microsandbox["Service"],
  ownership: Ownership.Ownership["Service"],
  info: Microsandbox.SandboxRef,
  {
    expires,
    note,
    owned,
    room,
    state
  }: {
    readonly expires: number | undefined
    readonly note: Ownership.Note
    readonly owned: Effect.Success<ReturnType<typeof Metrics.held>>
    readonly room: Admission.Room
    readonly state: LaunchState
  }
): Effect.Effect<void, LightboxError> =>
  driver.detachSandbox(info).pipe(
    // The sandbox has an owner until this is written.
    Effect.andThen(
      Effect.uninterruptible(
        Effect.andThen(ownership.release(note, expires), Effect.andThen(markDetached(state, room), owned.end))
      )
    )
  )

export interface LaunchState {
  info: Microsandbox.SandboxInfo | undefined
  guest: Guest.Guest | undefined
  isOwned: boolean
  /** What the launch has returned. */
  sandbox: Sandbox | undefined
}

const becauseFailed = because("failed", "its launch failed or was interrupted")

const release = Effect.fnUntraced(function* (
  driver: Microsandbox.Microsandbox["Service"],
  instance: string,
  config: SandboxConfig,
  { guest, info, sandbox }: LaunchState
): Effect.fn.Return<void, LightboxError> {
  if (info !== undefined) {
    if (guest !== undefined) yield* flushMounts(driver, info, guest, config)
    const why =
      sandbox === undefined
        ? becauseFailed
        : because(
            "released",
            "the scope of its launch closed",
            FailureText.redacting(knownOf(sandbox)?.secrets() ?? [])
          )
    const removed = why(driver.removeSandbox(info, { force: true }))
    // Whoever took the name has removed the sandbox.
    return yield* Effect.catchReason(removed, "LightboxError", "Replaced", () => Effect.void)
  }
  // The launch failed or was interrupted; a sandbox it created has our label.
  yield* removeInstance(driver, instance)
})

/** Removes what a launch has created, or would have. */
const removeInstance = Effect.fnUntraced(function* (
  driver: Microsandbox.Microsandbox["Service"],
  instance: string
): Effect.fn.Return<void, LightboxError> {
  const found = yield* driver.listSandboxes({ labels: { [instanceLabel]: instance } })
  yield* Effect.forEach(found, (info) => becauseFailed(driver.removeSandbox(info, { force: true })), { discard: true })
})

/** Reasons of a resume that say nothing against a boot of the same disk. */
const ofResume: ReadonlySet<LightboxError["reason"]["_tag"]> = new Set([
  "BootFailed",
  "CommandFailed",
  "CommandNotStarted",
  "GuestLost",
  "NotRunning",
  "SnapshotDamaged",
  "TimedOut",
  "Unknown",
  "Unsupported"
])

/** After a resume that failed, boots instead, and says so. */
const orBegin =
  <A, E, R>(name: string, instead: Effect.Effect<A, E, R>) =>
  <R2>(resume: Effect.Effect<A, LightboxError, R2>): Effect.Effect<A, LightboxError | E, R | R2> =>
    Effect.catchIf(
      resume,
      ({ reason }) => ofResume.has(reason._tag),
      (error) =>
        Effect.logWarning(`Sandbox "${name}" boots from its disk, because it could not resume: ${error.message}`).pipe(
          Effect.andThen(Metric.update(Metric.withAttributes(Metrics.resumes, { outcome: "booted" }), 1)),
          Effect.andThen(instead)
        )
    )

/** Flushes the guest's pending writes to host folders and disks, within a time limit. */
const flushMounts = (
  driver: Microsandbox.Microsandbox["Service"],
  info: Microsandbox.SandboxInfo,
  guest: Guest.Guest,
  config: SandboxConfig
): Effect.Effect<void> => {
  const paths = Object.entries(config.mounts ?? {}).flatMap(([path, mount]) =>
    !("tmpfs" in mount) && mount.readonly !== true ? [path] : []
  )
  if (paths.length === 0) return Effect.void
  const sync = (guest: Guest.Guest, ...args: ReadonlyArray<string>) =>
    Execution.collect(guest, "Sandbox.launch", Execution.asRoot("sync", ...args))
  const flush = (guest: Guest.Guest) =>
    // Some guests can only flush everything.
    Effect.flatMap(sync(guest, "-f", ...paths), ({ exitCode }) => (exitCode === 0 ? Effect.void : sync(guest)))
  return flush(guest).pipe(
    // The sandbox may have been restarted behind this connection.
    Effect.catchReason("LightboxError", "GuestLost", () => Effect.scoped(Effect.flatMap(driver.connect(info), flush))),
    Effect.timeout("10 seconds"),
    Effect.ignore
  )
}

/**
 * Fails if a scope of a living process owns a sandbox, and will remove it. Takes over one of a dead process, which a sweep
 * would remove.
 */
export const takeOver = Effect.fnUntraced(function* (
  method: string,
  { labels, name }: Microsandbox.SandboxInfo
): Effect.fn.Return<void, LightboxError, Microsandbox.Microsandbox | Ownership.Ownership> {
  const driver = yield* Microsandbox.Microsandbox
  const { [ownerLabel]: id, [roleLabel]: role, [instanceLabel]: token } = labels
  if (id === undefined || !isEntryName(id)) return
  const { notes, pid, state } = yield* HomeFiles.findOwner(driver, id)
  const note = notes.find((note) => note.kind === "sandbox" && note.token === token)
  if (note === undefined) return
  if (state === "dead") return yield* (yield* Ownership.Ownership).release(note, undefined)
  // It is about to be detached.
  if (role === "detached") return
  const usedBy = [pid === undefined ? "another process" : `process ${pid}`]
  return yield* new LightboxError({ method, reason: new InUse({ resource: "sandbox", name, usedBy }) })
})

/** Boots a stopped sandbox. Stops it with the scope unless it is detached. */
export const start = Effect.fnUntraced(function* (
  info: Microsandbox.SandboxInfo,
  options: { readonly detached?: boolean | undefined } | undefined,
  /** The options, if they are known: the caller then starts the services. Default: start those of the launch. */
  config?: SandboxConfig
): Effect.fn.Return<Sandbox, LightboxError, Services | Scope.Scope> {
  const driver = yield* Microsandbox.Microsandbox
  const ownership = yield* Ownership.Ownership
  const admission = yield* Admission.Admission
  // A running sandbox belongs to someone else; this scope must not stop it.
  const state = { isOwned: false }
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => (state.isOwned ? driver.stopSandbox(info) : Effect.void)).pipe(
      Effect.catchReasons("LightboxError", { NotFound: () => Effect.void, Replaced: () => Effect.void }),
      Effect.timeout("30 seconds"),
      countFailure,
      Effect.ignoreCause({ log: "Warn", message: `Could not stop sandbox "${info.name}"` })
    )
  )
  const room = yield* admission.admit("Sandbox.start", info.memory)
  const starting = Effect.suspend(() => {
    state.isOwned = options?.detached !== true
    return driver.startSandbox(info, options)
  })
  const started = yield* admission.boot(starting).pipe(
    Effect.tapError(({ reason }) =>
      Effect.sync(() => {
        if (reason._tag === "StillRunning") state.isOwned = false
      })
    )
  )
  const token = info.labels[instanceLabel]
  const detach: Detach = (expires) =>
    expires !== undefined && token === undefined
      ? noTimeToLive(info.name)
      : driver
          .detachSandbox(started)
          .pipe(
            Effect.andThen(
              expires === undefined || token === undefined
                ? Effect.void
                : ownership.release({ kind: "sandbox", token, name: info.name }, expires)
            ),
            Effect.andThen(markDetached(state, room))
          )
  const connection = yield* connect(driver, started)
  const { guest } = connection
  if (config === undefined) {
    const services = yield* RunningServices.recall(guest, started.id)
    yield* RunningServices.start("Sandbox.start", guest, started.shell, services)
  }
  return make(driver, started, connection, detach, config)
}, allOrNothing)
