/** Sandboxes of the local driver, what is left of them, and the channel to their guests. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Predicate from "effect/Predicate"
import * as Record from "effect/Record"
import type * as Scope from "effect/Scope"
import type * as Sdk from "microsandbox"
import * as Fs from "node:fs/promises"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import type * as Guest from "../../../Guest.ts"
import { LightboxError, NotRunning } from "../../../LightboxError.ts"
import * as Microsandbox from "../../../Microsandbox.ts"
import * as AgentConnection from "../../guest/connection.ts"
import * as AgentGuest from "../../guest/agent.ts"
import { fileFailure } from "../../host/fileFailure.ts"
import { generate } from "../../ownership/labels.ts"
import { sdkRetries } from "../../report/metrics.ts"
import { ephemeralRefused, needsRestart } from "../restart.ts"
import * as OverlayDisk from "../overlayDisk.ts"
import * as RootDisks from "./rootDisks.ts"
import { call, transient } from "../sdk/calls.ts"
import { fromSdk, modifiedField } from "../sdk/errors.ts"
import { getSandbox, handleOf, isEphemeral, isKnown, listSandboxes, onHandle, sandboxInfo } from "../sdk/sandboxes.ts"
import { millis } from "../../config/schemas.ts"
import { requireEntryName } from "../../config/validation.ts"
import { hostFile, readFolder } from "../snapshotLinks.ts"
import * as Virtualization from "../../host/virtualization.ts"
import { isCode } from "../../host/socket.ts"
import { toMebibytes } from "../sdk/sizes.ts"
import type { ModificationPlan, SandboxHandle } from "../sdk/surface.ts"
import * as VmProcess from "./workaroundVmProcess.ts"
import * as VolumeStaging from "./workaroundVolumeStaging.ts"
import type { RemainsPart, SandboxPart } from "../parts.ts"
import {
  type DriverContext,
  retainNative,
  releaseNative,
  dropName,
  orReleaseNative,
  takingTurns,
  destroy
} from "./context.ts"
import { create, boot } from "./create.ts"

/** Ends a virtual machine, and removes what the runtime leaves of it. */
const ending = <A, E, R>({ name }: Microsandbox.SandboxRef, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const removeRemains = VmProcess.remains(name)
    return Effect.tap(effect, () => Effect.sync(removeRemains))
  })

export const sandboxes = (context: DriverContext): SandboxPart => {
  const { owned, sdk } = context
  const startSandbox: SandboxPart["startSandbox"] = Effect.fn("Microsandbox.startSandbox")(
    function* (sandbox, options) {
      const method = "Microsandbox.startSandbox"
      yield* Virtualization.check(method)
      const handle = yield* handleOf(context, method, sandbox)
      // It may have ended by itself. Its disks would still be locked.
      if (handle.status === "stopped" || handle.status === "crashed") yield* releaseNative(context, sandbox)
      const native = yield* boot(
        context,
        method,
        { sandbox: sandbox.name },
        (onPulled) => {
          onPulled()
          return options?.detached === true ? handle.startDetached() : handle.start()
        },
        Effect.void
      ).pipe(takingTurns(context.names, [sandbox.name]))
      const started = yield* handleOf(context, method, sandbox)
      if (options?.detached !== true) retainNative(context, native, started)
      return sandboxInfo(started)
    }
  )
  const end = (
    method: string,
    sandbox: Microsandbox.SandboxRef,
    run: (handle: SandboxHandle) => Promise<unknown>
  ): Effect.Effect<void, LightboxError> =>
    handleOf(context, method, sandbox).pipe(
      orReleaseNative(context, sandbox),
      Effect.flatMap((handle) =>
        ending(
          sandbox,
          call(method, { sandbox: sandbox.name }, () => run(handle))
        )
      ),
      Effect.andThen(releaseNative(context, sandbox))
    )
  const stopSandbox: SandboxPart["stopSandbox"] = Effect.fn("Microsandbox.stopSandbox")((sandbox, options) => {
    const timeout = millis(options?.timeout ?? "10 seconds")
    return end("Microsandbox.stopSandbox", sandbox, (handle) => handle.stopWithTimeout(timeout))
  })
  return {
    createSandbox: (request) => create(context, request),
    getSandbox: (name) => getSandbox(sdk, name),
    listSandboxes: (filter) => listSandboxes(sdk, filter),
    startSandbox,
    stopSandbox,
    killSandbox: Effect.fn("Microsandbox.killSandbox")((sandbox) =>
      end("Microsandbox.killSandbox", sandbox, (handle) => handle.kill())
    ),
    getSandboxLifecycle: Effect.fn("Microsandbox.getSandboxLifecycle")((sandbox) =>
      Effect.map(handleOf(context, "Microsandbox.getSandboxLifecycle", sandbox), (handle) => ({
        isAttached: owned.has(sandbox.id),
        isEphemeral: isEphemeral(handle)
      }))
    ),
    detachSandbox: Effect.fn("Microsandbox.detachSandbox")(function* (sandbox) {
      const found = owned.get(sandbox.id)
      if (found === undefined) return
      yield* call("Microsandbox.detachSandbox", { sandbox: sandbox.name }, () => found.native.detach())
      owned.delete(sandbox.id)
    }),
    removeSandbox: Effect.fn("Microsandbox.removeSandbox")(function* (sandbox, options) {
      const method = "Microsandbox.removeSandbox"
      const instance = owned.get(sandbox.id)?.instance
      yield* handleOf(context, method, sandbox).pipe(
        Effect.flatMap((handle) =>
          options?.force === true
            ? ending(
                sandbox,
                RootDisks.removing(context, method, handle, () => destroy(context.home, handle))
              )
            : RootDisks.removing(context, method, handle, () => handle.remove())
        ),
        Effect.catchReasons("LightboxError", {
          // It was removed by someone else.
          NotFound: () => RootDisks.removeOf(context, method, instance),
          Replaced: (_, error) => Effect.andThen(RootDisks.removeOf(context, method, instance), Effect.fail(error))
        }),
        orReleaseNative(context, sandbox)
      )
      yield* releaseNative(context, sandbox)
      yield* dropName(context, method, sandbox.name)
    }),
    modifySandbox: Effect.fn("Microsandbox.modifySandbox")(function* (sandbox, change) {
      const method = "Microsandbox.modifySandbox"
      const handle = yield* handleOf(context, method, sandbox)
      if (change.disk !== undefined) yield* RootDisks.requireCopy(context, method, "modify.disk", handle)
      const modify = (change: typeof Microsandbox.ModifySandbox.Type) =>
        Effect.map(
          call(method, { sandbox: sandbox.name }, () => handle.modify(modifyOptions(change))),
          planOf
        )
      if (change.apply !== "restart" || change.dryRun === true) return yield* modify(change)
      const plan = yield* modify({ ...change, dryRun: true })
      if (plan.conflicts.length > 0 || !needsRestart(plan)) return yield* modify(change)
      if (isEphemeral(handle)) return yield* ephemeralRefused(method)
      if (!owned.has(sandbox.id)) return yield* modify(change)
      // The runtime would start it detached. Once stopped, it starts again with or without the change.
      yield* stopSandbox(sandbox).pipe(
        Effect.andThen(
          Effect.onExit(modify({ ...change, apply: "next-start" }), () => Effect.asVoid(startSandbox(sandbox)))
        ),
        Effect.uninterruptible
      )
      return { applied: true, changes: plan.changes, conflicts: plan.conflicts, warnings: plan.warnings }
    }),
    connect: Effect.fn("Microsandbox.connect")(function* (sandbox) {
      // Only a sandbox of another owner may have been replaced meanwhile.
      if (!owned.has(sandbox.id)) yield* handleOf(context, "Microsandbox.connect", sandbox)
      return yield* connect(context, sandbox)
    }),
    readLogs: Effect.fn("Microsandbox.readLogs")(function* (sandbox, query) {
      const { after, sources, tail } = query ?? {}
      const entries = yield* onHandle(context, "Microsandbox.readLogs", sandbox, async (handle) => {
        const options = sources === undefined ? {} : { sources }
        if (after === undefined) return handle.logs({ ...options, ...(tail === undefined ? {} : { tail }) })
        // Not followed: the SDK's stream that follows cannot be cancelled, and keeps the process alive.
        const stream = await handle.logStream({ ...options, fromCursor: after, follow: false })
        const found: Array<Sdk.LogEntry> = []
        for (let entry = await stream.recv(); entry !== null; entry = await stream.recv()) found.push(entry)
        return found
      })
      return entries.map(
        (entry) =>
          new Microsandbox.LogEntry({
            timestamp: DateTime.fromDateUnsafe(entry.timestamp),
            source: entry.source,
            session: entry.sessionId ?? undefined,
            bytes: entry.data,
            cursor: entry.cursor
          })
      )
    }),
    readMetrics: Effect.fn("Microsandbox.readMetrics")(function* (sandbox) {
      const metrics = yield* onHandle(context, "Microsandbox.readMetrics", sandbox, (handle) => handle.metrics())
      return {
        cpuPercent: metrics.cpuPercent,
        memory: metrics.memoryBytes,
        memoryLimit: metrics.memoryLimitBytes,
        diskRead: metrics.diskReadBytes,
        diskWritten: metrics.diskWriteBytes,
        networkReceived: metrics.netRxBytes,
        networkSent: metrics.netTxBytes,
        rootDiskUsed: metrics.upperUsedBytes ?? undefined,
        uptime: Duration.millis(metrics.uptimeMs),
        timestamp: DateTime.fromDateUnsafe(metrics.timestamp)
      }
    }),
    searchSandbox: Effect.fn("Microsandbox.searchSandbox")(function* (sandbox, needles) {
      const method = "Microsandbox.searchSandbox"
      const folder = yield* RootDisks.overlayOf(context, method, yield* handleOf(context, method, sandbox))
      const { disks, home } = context
      const path = folder ?? Path.join(home, "sandboxes", sandbox.name)
      return yield* hostFile(method, path, async (signal) =>
        OverlayDisk.search(
          folder === undefined ? await disks.readOfRuntime(home, sandbox.name) : disks.read(folder),
          needles,
          signal
        )
      )
    })
  }
}

/** Sandbox folders that the runtime does not know. */
export const ghosts = (context: DriverContext): RemainsPart => {
  const { home, ownership, sdk } = context
  const folder = Path.join(home, "sandboxes")

  return {
    listGhosts: Effect.fn("Microsandbox.listGhosts")(function* () {
      const method = "Microsandbox.listGhosts"
      const entries = yield* readFolder(method, folder)
      return yield* Effect.filter(
        entries.flatMap((entry) => (entry.isDirectory() && !entry.name.startsWith(".") ? [entry.name] : [])),
        (name) => Effect.map(isKnown(sdk, method, name), (known) => !known)
      )
    }),
    removeRemains: (options) => {
      const method = "Microsandbox.removeRemains"
      const dryRun = options?.dryRun ?? false
      const booted = Effect.try({
        try: () => VmProcess.collectRemains({ dryRun }),
        catch: fileFailure(method, "remove", Os.tmpdir())
      })
      const staged = hostFile(method, home, () => VolumeStaging.collect(home, { dryRun }))
      return Effect.map(Effect.all([booted, staged]), (found) => found.flat())
    },
    removeGhost: Effect.fn("Microsandbox.removeGhost")(function* (name) {
      const method = "Microsandbox.removeGhost"
      yield* requireEntryName(method, name)
      if (yield* isKnown(sdk, method, name)) return false
      const path = Path.join(folder, name)
      // On a full disk there is no lease, and a removal must not need room.
      const beside = Effect.map(generate, (id) => Path.join(folder, `.ghost-${id}`))
      const taken = yield* Effect.catchReason(ownership.stage, "LightboxError", "NoSpace", () => beside)
      const isMoved = yield* hostFile(method, path, () =>
        Fs.rename(path, taken).then(
          () => true,
          (cause) => (isCode(cause, "ENOENT") ? false : Promise.reject(cause))
        )
      )
      if (!isMoved) {
        yield* dropName(context, method, name)
        return false
      }
      // If it was created meanwhile, the folder belongs to that creation.
      if (yield* isKnown(sdk, method, name)) {
        yield* hostFile(method, path, () => Fs.rename(taken, path))
        return false
      }
      yield* hostFile(method, taken, () => Fs.rm(taken, { recursive: true, force: true }))
      yield* dropName(context, method, name)
      return true
    }, Effect.uninterruptible)
  }
}

const planOf = (plan: ModificationPlan): Microsandbox.ModificationPlan => {
  const problemOf = ({ field, message }: { readonly field: string; readonly message: string }) => ({
    field: modifiedField(field),
    problem: message
  })
  return {
    applied: plan.applied,
    changes: plan.changes.map((planned) => ({
      field: modifiedField(planned.field),
      before: planned.kind === "config" ? planned.before : planned.beforeRef,
      after: planned.kind === "config" ? planned.after : planned.afterRef,
      disposition: planned.disposition
    })),
    conflicts: plan.conflicts.map(problemOf),
    warnings: plan.warnings.map(problemOf)
  }
}

const policies = { now: "no_restart", restart: "restart", "next-start": "next_start" } as const

const modifyOptions = (change: typeof Microsandbox.ModifySandbox.Type): Sdk.ModifyOptions => {
  const set = (record: { readonly [key: string]: string | undefined } = {}) =>
    Record.filter(record, Predicate.isNotUndefined)
  const removed = (record: { readonly [key: string]: string | undefined } = {}) =>
    Object.keys(record).filter((key) => record[key] === undefined)
  return {
    ...(change.cpus === undefined ? {} : { cpus: change.cpus }),
    ...(change.maxCpus === undefined ? {} : { maxCpus: change.maxCpus }),
    ...(change.memory === undefined ? {} : { memory: toMebibytes(change.memory) }),
    ...(change.maxMemory === undefined ? {} : { maxMemory: toMebibytes(change.maxMemory) }),
    ...(change.disk === undefined ? {} : { rootDiskSize: toMebibytes(change.disk) }),
    ...(change.cwd === undefined ? {} : { workdir: change.cwd }),
    env: set(change.env),
    envRemove: removed(change.env),
    labels: set(change.labels),
    labelsRemove: removed(change.labels),
    policy: policies[change.apply ?? "now"],
    dryRun: change.dryRun ?? false
  }
}

const socketPath = ({ sdk }: DriverContext, { name }: Microsandbox.SandboxRef): Effect.Effect<string, LightboxError> =>
  Effect.try({
    try: () => sdk.AgentClient.socketPath(name),
    catch: (cause) => fromSdk("Microsandbox.connect", { sandbox: name }, cause)
  })

/** Connects to the relay itself, whose bytes are passed on to another machine. */
export const openAgent = Effect.fn("Microsandbox.openAgent")(function* (
  context: DriverContext,
  sandbox: Microsandbox.SandboxRef
): Effect.fn.Return<Net.Socket, LightboxError, Scope.Scope> {
  const method = "Microsandbox.connect"
  if (!context.owned.has(sandbox.id)) yield* handleOf(context, method, sandbox)
  const path = yield* socketPath(context, sandbox)
  return yield* Effect.acquireRelease(
    Effect.callback<Net.Socket, LightboxError>((resume) => {
      const socket = Net.connect(path)
      socket.on("error", (cause) => {
        socket.destroy()
        resume(Effect.fail(new LightboxError({ method, reason: new NotRunning({ name: sandbox.name, cause }) })))
      })
      socket.once("connect", () => resume(Effect.succeed(socket)))
      return Effect.sync(() => socket.destroy())
    }),
    (socket) => Effect.sync(() => socket.destroy()),
    { interruptible: true }
  )
})

const connect = (
  context: DriverContext,
  sandbox: Microsandbox.SandboxRef
): Effect.Effect<Guest.Guest, LightboxError, Scope.Scope> => {
  const { connectTimeout } = context
  const { name } = sandbox
  return socketPath(context, sandbox).pipe(
    Effect.flatMap((path) => AgentConnection.make({ name, open: () => Net.connect(path), timeout: connectTimeout })),
    Effect.tapError((error) => (error.reason._tag === "GuestBusy" ? Metric.update(sdkRetries, 1) : Effect.void)),
    Effect.retry({ while: (error) => error.reason._tag === "GuestBusy", schedule: transient }),
    Effect.map(AgentGuest.make)
  )
}
