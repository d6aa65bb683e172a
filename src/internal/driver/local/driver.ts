/**
 * `Microsandbox` over the SDK, on this machine.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as RcMap from "effect/RcMap"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type * as Sdk from "microsandbox"
import * as Fs from "node:fs/promises"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import type * as Guest from "../../../Guest.ts"
import { AlreadyExists, InUse, LightboxError, NotFound } from "../../../LightboxError.ts"
import * as Microsandbox from "../../../Microsandbox.ts"
import type * as MicrosandboxLocal from "../../../MicrosandboxLocal.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import * as Admission from "../admission.ts"
import * as AgentConnection from "../../guest/connection.ts"
import * as AgentGuest from "../../guest/agent.ts"
import { checkCombination, checkHostPaths, withDefaults } from "../createChecks.ts"
import { fileFailure } from "../../host/fileFailure.ts"
import { freeBytes } from "../../host/diskRoom.ts"
import * as Home from "../../host/home.ts"
import { checkReferences, wholeReference } from "../imageReference.ts"
import { generate, instanceLabel } from "../../ownership/labels.ts"
import { sdkRetries } from "../../report/metrics.ts"
import * as Ownership from "../../../Ownership.ts"
import * as PullReport from "../pullReport.ts"
import type { Blueprint } from "../../reaper/compose.ts"
import { ephemeralRefused, needsRestart } from "../restart.ts"
import * as NameLocks from "./workaroundNameLocks.ts"
import * as RootDisk from "../rootDisk.ts"
import * as RootDisks from "./rootDisks.ts"
import * as Boots from "./boots.ts"
import * as Builder from "../sdk/builder.ts"
import { call, commit, isTaken, notFoundIsSuccess, leftoversEnd, transient } from "../sdk/calls.ts"
import { fromSdk, modifiedField, type Subject } from "../sdk/errors.ts"
import * as SdkModule from "../sdk/module.ts"
import {
  date,
  getSandbox,
  handleOf,
  instanceOf,
  isEphemeral,
  listSandboxes,
  mayHoldDisks,
  sandboxInfo
} from "../sdk/sandboxes.ts"
import { DurationInput, HostPath, intBetween, mebibyte, Memory, millis } from "../../config/schemas.ts"
import { hostFile, readFolder, snapshotLinks } from "../snapshotLinks.ts"
import { decoder } from "../../config/validation.ts"
import * as Virtualization from "../../host/virtualization.ts"
import { isCode } from "../../host/socket.ts"
import { withPorts } from "../ports.ts"
import { fromMebibytes, toMebibytes } from "../sdk/sizes.ts"
import * as VmProcess from "./workaroundVmProcess.ts"
import type { ImagePart, RemainsPart, SandboxPart, SnapshotPart, VolumePart } from "../parts.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** The SDK module, for callers that need more than a driver offers. */
export const native = (home: string | undefined): Effect.Effect<SdkModule.SdkModule, LightboxError> =>
  Effect.flatMap(Scope.make(), (scope) =>
    SdkModule.claimLocal(home).pipe(
      Effect.andThen(SdkModule.loadLocalSync),
      Scope.provide(scope),
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
    )
  )

const LayerOptions = Schema.Struct({
  home: Schema.optional(HostPath),
  cpus: Schema.optional(intBetween(1, 255)),
  memory: Schema.optional(Memory),
  pullPolicy: Schema.optional(Schema.Literals(["always", "if-missing", "never"])),
  bootTimeout: Schema.optional(DurationInput),
  connectTimeout: Schema.optional(DurationInput),
  budget: Schema.optional(Admission.Budget),
  sweep: Schema.optional(Schema.Boolean)
})

const decodeLayerOptions = decoder(LayerOptions, "MicrosandboxLocal.layer")

/** Time that closing waits for interrupted launches to end. */
const closingLimit = Duration.seconds(10)

export const make = Effect.fnUntraced(function* (
  input: MicrosandboxLocal.Options
): Effect.fn.Return<Blueprint<LightboxError, Ownership.Ownership | Scope.Scope>, LightboxError, Scope.Scope> {
  const options = yield* decodeLayerOptions(input)
  const home = yield* SdkModule.claimLocal(options.home)
  return {
    home,
    make: makeDriver(home, options),
    admission: { budget: options.budget, defaultMemory: options.memory, leastDisk },
    sweep: options.sweep
  }
})

const makeDriver = Effect.fnUntraced(function* (
  home: string,
  options: typeof LayerOptions.Type
): Effect.fn.Return<Driver, LightboxError, Ownership.Ownership | Scope.Scope> {
  const sdk = yield* SdkModule.loadLocal
  const ownership = yield* Ownership.Ownership
  const context: DriverContext = {
    sdk,
    home,
    ownership,
    copies: yield* Effect.cachedWithTTL(
      ownership.stage.pipe(
        Effect.flatMap((staged) => Effect.promise(() => Home.probeCopies(staged))),
        Effect.orElseSucceed(() => "unknown" as const)
      ),
      // A failure, such as a full disk, may be temporary.
      (exit) => (Exit.isSuccess(exit) && exit.value !== "unknown" ? Duration.infinity : Duration.zero)
    ),
    owned: new Map(),
    names: yield* turns,
    volumes: yield* turns,
    bootTimeout: options.bootTimeout ?? Duration.seconds(60),
    connectTimeout: options.connectTimeout ?? Duration.seconds(10),
    cpus: options.cpus,
    memory: options.memory,
    pullPolicy: options.pullPolicy
  }
  yield* Effect.addFinalizer(() => Effect.timeoutOption(leftoversEnd, closingLimit))
  return {
    backend: "local",
    home,
    version: yield* SdkModule.version,
    capabilities: {
      snapshots: true,
      images: true,
      volumes: true,
      bindMounts: true,
      diskMounts: true,
      patches: true,
      ports: true,
      kill: true,
      modify: true,
      logs: true,
      metrics: true,
      captureRunning: false,
      fork: false,
      memorySnapshots: false,
      liveNetwork: false,
      pause: false
    },
    ...images(context),
    ...sandboxes(context),
    ...ghosts(context),
    ...snapshots(context),
    ...volumes(context)
  }
})

interface DriverContext {
  readonly sdk: SdkModule.SdkModule
  readonly home: string
  readonly ownership: Ownership.Ownership["Service"]
  readonly copies: Effect.Effect<Home.Copies>
  /**
   * The SDK's objects of sandboxes that this process owns, by id. They are used only to detach, as each has one lock
   * that its commands hold while they run. They are kept because a virtual machine ends when its object is garbage-
   * collected.
   */
  readonly owned: Map<string, Owned>
  /** Serializes boots of the same name. */
  readonly names: Turns
  /**
   * Serializes calls that create sandboxes with volumes or change volumes. The SDK locks its volumes during a creation,
   * and blocks one of its few threads while it waits, which the lock's holder may need.
   */
  readonly volumes: Turns
  readonly bootTimeout: Duration.Duration
  readonly connectTimeout: Duration.Duration
  readonly cpus: number | undefined
  readonly memory: number | undefined
  readonly pullPolicy: "always" | "if-missing" | "never" | undefined
}

interface Owned {
  readonly native: Sdk.Sandbox
  /** The native object may hold locks on disks, which only garbage collection releases. */
  readonly holdsLocks: boolean
  readonly instance: string | undefined
}

const retainNative = (context: DriverContext, native: Sdk.Sandbox, handle: Sdk.SandboxHandle): void => {
  context.owned.set(native.id, {
    native,
    holdsLocks: mayHoldDisks(handle),
    instance: instanceOf(handle)
  })
}

/** Releases the native object of an ended virtual machine. */
const releaseNative = ({ owned }: DriverContext, { id, name }: Microsandbox.SandboxRef): Effect.Effect<void> =>
  Effect.suspend(() => {
    const found = owned.get(id)
    owned.delete(id)
    return found?.holdsLocks === true
      ? Effect.ignore(call("Microsandbox.removeSandbox", { sandbox: name }, () => found.native.detach()))
      : Effect.void
  })

/** Releases the name of a removed sandbox. */
const dropName = ({ home }: DriverContext, method: string, name: string): Effect.Effect<void, LightboxError> =>
  hostFile(method, name, () => NameLocks.remove(home, name))

/** Also releases the native object if another sandbox has the name now. */
const orReleaseNative =
  (context: DriverContext, sandbox: Microsandbox.SandboxRef) =>
  <A>(effect: Effect.Effect<A, LightboxError>): Effect.Effect<A, LightboxError> =>
    Effect.tapError(effect, ({ reason }) =>
      reason._tag === "Replaced" ? releaseNative(context, sandbox) : Effect.void
    )

// =============================================================================
// Calls
// =============================================================================

type Turns = RcMap.RcMap<string, Semaphore.Semaphore>

const turns = RcMap.make({ lookup: (_name: string) => Semaphore.make(1) })

/** Runs an effect with exclusive use of the names. */
const takingTurns =
  (turns: Turns, names: ReadonlyArray<string>) =>
  <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    [...new Set(names)]
      .toSorted()
      .reduceRight(
        (inner, name) =>
          Effect.scoped(Effect.flatMap(RcMap.get(turns, name), (turn) => Semaphore.withPermit(turn, inner))),
        effect
      )

// =============================================================================
// Images
// =============================================================================

const imageInfo = (image: Sdk.ImageHandle) => ({
  reference: image.reference,
  digest: image.manifestDigest ?? undefined,
  size: image.sizeBytes ?? undefined,
  architecture: image.architecture ?? undefined,
  os: image.os ?? undefined,
  layers: image.layerCount,
  createdAt: date(image.createdAt),
  lastUsedAt: date(image.lastUsedAt)
})

/** Tries an operation with the given name of an image, and then with its full name. */
const byAnyName = <A>(
  reference: string,
  use: (reference: string) => Effect.Effect<A, LightboxError>
): Effect.Effect<A, LightboxError> => {
  const whole = wholeReference(reference)
  return Effect.catchReason(use(reference), "LightboxError", "NotFound", (_, error) =>
    whole === reference
      ? Effect.fail(error)
      : Effect.catchReason(use(whole), "LightboxError", "NotFound", () => Effect.fail(error))
  )
}

/** Removes an archive that was written after an interruption. */
const removeFile = (method: string, path: string): Effect.Effect<void> =>
  Effect.ignore(hostFile(method, path, () => Fs.rm(path, { force: true })))

const images = ({ sdk }: DriverContext): ImagePart => ({
  loadImage: Effect.fn("Microsandbox.loadImage")(function* (path, options) {
    yield* hostFile("Microsandbox.loadImage", path, () => Fs.access(path))
    const loaded = yield* call("Microsandbox.loadImage", { path }, () =>
      sdk.Image.load(Path.resolve(path), options?.tag === undefined ? {} : { tag: options.tag })
    )
    return loaded.map(imageInfo)
  }),
  saveImages: Effect.fn("Microsandbox.saveImages")(function* (references, path, options) {
    const method = "Microsandbox.saveImages"
    yield* checkReferences(references)
    yield* hostFile(method, path, () => Fs.mkdir(Path.dirname(Path.resolve(path)), { recursive: true }))
    yield* commit({
      method,
      subject: { path },
      run: () => sdk.Image.save([...references], { outputPath: Path.resolve(path), format: options?.format ?? "oci" }),
      describe: Effect.succeed,
      undo: () => removeFile(method, path)
    })
  }),
  listImages: Effect.map(
    call("Microsandbox.listImages", {}, () => sdk.Image.list()),
    (all) => all.map(imageInfo)
  ),
  inspectImage: Effect.fn("Microsandbox.inspectImage")(function* (reference) {
    const { config, handle } = yield* byAnyName(reference, (reference) =>
      call("Microsandbox.inspectImage", { image: reference }, () => sdk.Image.inspect(reference))
    )
    const env: { [name: string]: string } = {}
    for (const entry of config?.env ?? []) {
      const at = entry.indexOf("=")
      if (at > 0) env[entry.slice(0, at)] = entry.slice(at + 1)
    }
    return {
      ...imageInfo(handle),
      env,
      entrypoint: config?.entrypoint ?? [],
      cmd: config?.cmd ?? [],
      cwd: config?.workingDir ?? undefined,
      user: config?.user ?? undefined
    }
  }),
  removeImage: Effect.fn("Microsandbox.removeImage")(function* (reference, options) {
    yield* notFoundIsSuccess(
      byAnyName(reference, (reference) =>
        call("Microsandbox.removeImage", { image: reference }, () =>
          sdk.Image.remove(reference, { force: options?.force ?? false })
        )
      )
    )
  }),
  pruneImages: Effect.map(
    call("Microsandbox.pruneImages", {}, () => sdk.Image.prune()),
    (report) => ({
      images: report.imageRefsRemoved,
      layers: report.layersRemoved,
      bytes: report.bytesReclaimed ?? undefined
    })
  )
})

// =============================================================================
// Sandboxes
// =============================================================================

/** Ends a virtual machine, and removes what the runtime leaves of it. */
const ending = <A, E, R>({ name }: Microsandbox.SandboxRef, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const { remove } = VmProcess.remains(name)
    return Effect.tap(effect, () => Effect.sync(remove))
  })

const sandboxes = (context: DriverContext): SandboxPart => {
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
  const stopSandbox: SandboxPart["stopSandbox"] = Effect.fn("Microsandbox.stopSandbox")(function* (sandbox, options) {
    const timeout = millis(options?.timeout ?? "10 seconds")
    const handle = yield* handleOf(context, "Microsandbox.stopSandbox", sandbox).pipe(orReleaseNative(context, sandbox))
    yield* ending(
      sandbox,
      call("Microsandbox.stopSandbox", { sandbox: sandbox.name }, () => handle.stopWithTimeout(timeout))
    )
    yield* releaseNative(context, sandbox)
  })
  return {
    createSandbox: (request) => create(context, request),
    getSandbox: (name) => getSandbox(sdk, name),
    listSandboxes: (filter) => listSandboxes(sdk, filter),
    startSandbox,
    stopSandbox,
    killSandbox: Effect.fn("Microsandbox.killSandbox")(function* (sandbox) {
      const handle = yield* handleOf(context, "Microsandbox.killSandbox", sandbox).pipe(
        orReleaseNative(context, sandbox)
      )
      yield* ending(
        sandbox,
        call("Microsandbox.killSandbox", { sandbox: sandbox.name }, () => handle.kill())
      )
      yield* releaseNative(context, sandbox)
    }),
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
      const method = "Microsandbox.readLogs"
      const handle = yield* handleOf(context, method, sandbox)
      const sources = query?.sources === undefined ? {} : { sources: query.sources }
      const { after } = query ?? {}
      const entries =
        after === undefined
          ? yield* call(method, { sandbox: sandbox.name }, () =>
              handle.logs({ ...sources, ...(query?.tail === undefined ? {} : { tail: query.tail }) })
            )
          : // Not followed: the SDK's stream that follows cannot be cancelled, and keeps the process alive.
            yield* call(method, { sandbox: sandbox.name }, async () => {
              const found: Array<Sdk.LogEntry> = []
              const stream = await handle.logStream({ ...sources, fromCursor: after, follow: false })
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
      const method = "Microsandbox.readMetrics"
      const handle = yield* handleOf(context, method, sandbox)
      const metrics = yield* call(method, { sandbox: sandbox.name }, () => handle.metrics())
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
      yield* RootDisks.requireCopy(context, method, "searchSandbox", yield* handleOf(context, method, sandbox))
      const path = Path.join(context.home, "sandboxes", sandbox.name, RootDisks.diskFile)
      return yield* hostFile(method, path, () => search(path, needles))
    })
  }
}

/** After one failed write for lack of space, the runtime cannot write again in this process. */
const leastDisk = 16 * mebibyte

/**
 * Ends and removes a sandbox. On a full disk, its disks are removed first: the runtime needs space to record the end.
 */
const destroy = async (home: string, handle: Sdk.SandboxHandle): Promise<void> => {
  if ((await freeBytes(home)) < leastDisk) {
    const instance = instanceOf(handle)
    await Fs.rm(Path.join(home, "sandboxes", handle.name, RootDisks.diskFile), { force: true })
    if (instance !== undefined) await RootDisk.remove(home, instance)
  }
  await handle.destroy({ force: true })
}

/** Sandbox folders that the runtime does not know. */
const ghosts = (context: DriverContext): RemainsPart => {
  const { home, sdk } = context
  const folder = Path.join(home, "sandboxes")
  const isKnown = (method: string, name: string) =>
    call(method, { sandbox: name }, () => sdk.Sandbox.get(name)).pipe(
      Effect.as(true),
      Effect.catchReason("LightboxError", "NotFound", () => Effect.succeed(false))
    )
  return {
    listGhosts: Effect.gen(function* () {
      const method = "Microsandbox.listGhosts"
      const entries = yield* readFolder(method, folder)
      return yield* Effect.filter(
        entries.flatMap((entry) => (entry.isDirectory() && !entry.name.startsWith(".") ? [entry.name] : [])),
        (name) => Effect.map(isKnown(method, name), (known) => !known)
      )
    }),
    removeRemains: (options) =>
      Effect.try({
        try: () => VmProcess.collectRemains({ dryRun: options?.dryRun ?? false }),
        catch: fileFailure("Microsandbox.removeRemains", "remove", Os.tmpdir())
      }),
    removeGhost: Effect.fn("Microsandbox.removeGhost")(function* (name) {
      const method = "Microsandbox.removeGhost"
      if (yield* isKnown(method, name)) return false
      const path = Path.join(folder, name)
      const taken = Path.join(folder, `.ghost-${yield* generate}`)
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
      if (yield* isKnown(method, name)) {
        yield* hostFile(method, path, () => Fs.rename(taken, path))
        return false
      }
      yield* hostFile(method, taken, () => Fs.rm(taken, { recursive: true, force: true }))
      yield* dropName(context, method, name)
      return true
    }, Effect.uninterruptible)
  }
}

const planOf = (plan: Sdk.SandboxModificationPlan): Microsandbox.ModificationPlan => {
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
  const set = (record: { readonly [key: string]: string | undefined } | undefined) =>
    Object.fromEntries(
      Object.entries(record ?? {}).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]]))
    )
  const removed = (record: { readonly [key: string]: string | undefined } | undefined) =>
    Object.entries(record ?? {}).flatMap(([key, value]) => (value === undefined ? [key] : []))
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

// =============================================================================
// Boot
// =============================================================================

const create = Effect.fn("Microsandbox.createSandbox")(function* (
  context: DriverContext,
  request: Microsandbox.CreateSandbox
): Effect.fn.Return<Microsandbox.SandboxInfo, LightboxError> {
  const method = "Microsandbox.createSandbox"
  const { name, source } = request
  const { sdk } = context
  const config = yield* withDefaults(context, request.config)
  yield* checkCombination(request)
  yield* checkHostPaths(config)
  yield* Virtualization.check(method)

  const instance = request.labels?.[instanceLabel] ?? (yield* generate)
  const labels = { ...request.labels, [instanceLabel]: instance }
  const report = yield* PullReport.make(request)
  const cleanUp = cleanUpInstance(context, name, instance)
  const attempt = (config: SandboxConfig, root: Builder.Root, replacesGhost: boolean) =>
    boot(
      context,
      method,
      { sandbox: name, ...(source._tag === "Image" ? { image: source.reference } : { snapshot: source.name }) },
      async (onPulled) => {
        // Make a new one: a failed boot may have written to it.
        if (root._tag === "Disk") await RootDisk.write(root.path)
        const builder = Builder.make(sdk, name, root, await withVolumesAsTheyAre(sdk, config), labels)
        if (replacesGhost) builder.replaceWithTimeout(0)
        if (request.detached === true) builder.detached(true)
        if (root._tag !== "Image" || config.pullPolicy === "never") {
          onPulled()
          return builder.create()
        }
        const creation = await builder.createWithPullProgress()
        for (let event = await creation.progress.recv(); event !== null; event = await creation.progress.recv()) {
          const progress = pullProgress(event)
          if (progress !== undefined) report(progress)
        }
        onPulled()
        return creation.awaitSandbox()
      },
      cleanUp
    ).pipe(takingTurns(context.volumes, namesOfVolumes(config)))

  return yield* Effect.gen(function* () {
    if (request.onConflict === "replace") yield* destroyByName(context, method, name)
    const bootFrom =
      (config: SandboxConfig) =>
      (root: Builder.Root, check: (handle: Sdk.SandboxHandle) => Effect.Effect<void, LightboxError>) =>
        attempt(config, root, false).pipe(
          Effect.catchReason("LightboxError", "AlreadyExists", (_, error) =>
            Effect.flatMap(isGhost(context, method, name, instance), (isGhost) =>
              isGhost ? attempt(config, root, true) : Effect.fail(error)
            )
          ),
          Effect.flatMap((native) =>
            handleOf(context, method, { name, id: native.id }).pipe(
              Effect.tap(check),
              Effect.map((handle) => {
                if (request.detached !== true) retainNative(context, native, handle)
                return sandboxInfo(handle)
              })
            )
          ),
          Effect.onError((cause) => (isTaken(cause) ? Effect.void : cleanUp))
        )
    return yield* withPorts(config, (config) =>
      RootDisks.bootFrom(context, method, request, {
        instance,
        findImage: (reference) =>
          byAnyName(reference, (reference) => call(method, { image: reference }, () => sdk.Image.get(reference))).pipe(
            Effect.map(({ manifestDigest }) => Option.fromNullishOr(manifestDigest)),
            Effect.catchReason("LightboxError", "NotFound", () => Effect.succeedNone)
          ),
        boot: bootFrom(config)
      })
    )
  }).pipe(tellingUsers(context), takingTurns(context.names, [name]))
})

/**
 * Checks whether a name that is taken, but unknown to the runtime, belongs to a failed creation that left a folder
 * without a row. A creation that has just begun looks the same.
 */
const isGhost = (
  context: DriverContext,
  method: string,
  name: string,
  instance: string
): Effect.Effect<boolean, LightboxError> =>
  call(method, { sandbox: name }, () => context.sdk.Sandbox.get(name)).pipe(
    Effect.as(false),
    Effect.catchReason("LightboxError", "NotFound", () =>
      Effect.map(Boots.isBeingMade(context.home, name, instance), (isBeingMade) => !isBeingMade)
    )
  )

/** The SDK's `ensure` works only for volumes that are folders. */
const withVolumesAsTheyAre = async (sdk: SdkModule.SdkModule, config: SandboxConfig): Promise<SandboxConfig> => {
  const mounts: { [path: string]: NonNullable<SandboxConfig["mounts"]>[string] } = { ...config.mounts }
  for (const [path, mount] of Object.entries(mounts)) {
    if (!("volume" in mount)) continue
    const isThere = await sdk.Volume.get(mount.volume).then(
      () => true,
      () => false
    )
    if (isThere) mounts[path] = { ...mount, create: false }
  }
  return config.mounts === undefined ? config : { ...config, mounts }
}

/** Names the sandbox that uses a volume, as the runtime does not for disks. */
const tellingUsers =
  ({ sdk }: DriverContext) =>
  <A>(effect: Effect.Effect<A, LightboxError>): Effect.Effect<A, LightboxError> =>
    Effect.catchReason(effect, "LightboxError", "InUse", (reason, error) =>
      reason.resource !== "volume" || reason.usedBy.length > 0
        ? Effect.fail(error)
        : Effect.flatMap(
            // Finding the sandbox is best effort.
            Effect.orElseSucceed(listSandboxes(sdk, undefined), () => []),
            (all) => {
              const { cause, name: volume, resource } = reason
              const usedBy = all.flatMap(({ name, status, volumes }) =>
                status === "running" && volumes.includes(volume) ? [name] : []
              )
              return Effect.fail(
                new LightboxError({
                  method: error.method,
                  reason: new InUse({ resource, name: volume, usedBy, cause })
                })
              )
            }
          )
    )

const namesOfVolumes = ({ mounts }: SandboxConfig): ReadonlyArray<string> =>
  Object.values(mounts ?? {}).flatMap((mount) => ("volume" in mount ? [mount.volume] : []))

/** Boots a virtual machine. The caller has exclusive use of the name. */
const boot = (
  context: DriverContext,
  method: string,
  subject: BootSubject,
  start: (onPulled: () => void) => Promise<Sdk.Sandbox>,
  cleanUp: Effect.Effect<void>
): Effect.Effect<Sdk.Sandbox, LightboxError> =>
  Boots.boot({
    method,
    name: subject.sandbox,
    limit: context.bootTimeout,
    start,
    fail: (cause) => failBoot(context, method, subject, cause),
    cleanUp
  })

interface BootSubject extends Subject {
  readonly sandbox: string
}

const failBoot = Effect.fnUntraced(function* (
  context: DriverContext,
  method: string,
  subject: BootSubject,
  cause: unknown
): Effect.fn.Return<never, LightboxError> {
  const lastLines = yield* lastLogLines(context, subject.sandbox)
  return yield* fromSdk(method, { ...subject, lastLines }, cause)
})

/** Reads the last output of the virtual machine before its folder is removed. */
const lastLogLines = ({ sdk }: DriverContext, name: string): Effect.Effect<ReadonlyArray<string>> =>
  call("Microsandbox.readLogs", { sandbox: name }, async () => {
    const handle = await sdk.Sandbox.get(name)
    return handle.logs({ sources: ["system"], tail: 20 })
  }).pipe(
    Effect.map((entries) => entries.flatMap((entry) => entry.text().trimEnd().split("\n")).slice(-20)),
    Effect.orElseSucceed(() => [])
  )

/** Removes only what this creation made. Never fails, as it runs in the background. */
const cleanUpInstance = (context: DriverContext, name: string, instance: string): Effect.Effect<void> => {
  const method = "Microsandbox.removeSandbox"
  const removing = (remove: Effect.Effect<void, LightboxError>) =>
    Effect.andThen(remove, dropName(context, method, name))
  return call(method, { sandbox: name }, () => context.sdk.Sandbox.get(name)).pipe(
    Effect.flatMap((handle) =>
      instanceOf(handle) === instance
        ? removing(call(method, { sandbox: name }, () => destroy(context.home, handle)))
        : Effect.void
    ),
    // The SDK drops some failed creations but leaves their folder, which would keep the name taken.
    Effect.catchReason("LightboxError", "NotFound", () =>
      Effect.flatMap(isGhost(context, method, name, instance), (isGhost) =>
        isGhost
          ? removing(
              hostFile(method, name, () =>
                Fs.rm(Path.join(context.home, "sandboxes", name), { recursive: true, force: true })
              )
            )
          : Effect.void
      )
    ),
    Effect.timeout("30 seconds"),
    Effect.ignore({ log: "Warn", message: `Could not clean up after sandbox "${name}"` })
  )
}

const destroyByName = (context: DriverContext, method: string, name: string): Effect.Effect<void, LightboxError> =>
  notFoundIsSuccess(
    Effect.flatMap(
      call(method, { sandbox: name }, () => context.sdk.Sandbox.get(name)),
      (handle) =>
        RootDisks.removing(context, method, handle, () => destroy(context.home, handle)).pipe(
          Effect.andThen(releaseNative(context, { id: handle.id, name }))
        )
    )
  )

const pullProgress = (event: Sdk.PullProgressEvent): Microsandbox.PullProgress | undefined => {
  const layer = event.layerIndex ?? 0
  const reference = event.reference ?? ""
  switch (event.kind) {
    case "resolving":
      return { _tag: "Resolving", reference }
    case "resolved":
      return {
        _tag: "Resolved",
        reference,
        digest: event.manifestDigest ?? "",
        layers: event.layerCount ?? 0,
        total: event.totalDownloadBytes
      }
    case "layerDownloadProgress":
      return { _tag: "Downloading", layer, done: event.downloadedBytes ?? 0, total: event.totalBytes }
    case "layerDownloadComplete":
      return { _tag: "Downloading", layer, done: event.downloadedBytes ?? 0, total: event.downloadedBytes }
    case "layerMaterializeProgress":
      return { _tag: "Unpacking", layer, done: event.bytesRead ?? 0, total: event.totalBytes }
    case "complete":
      return { _tag: "Pulled", reference }
    default:
      return undefined
  }
}

// =============================================================================
// Channel
// =============================================================================

const connect = (
  { connectTimeout, sdk }: DriverContext,
  { name }: Microsandbox.SandboxRef
): Effect.Effect<Guest.Guest, LightboxError, Scope.Scope> =>
  Effect.try({
    try: () => sdk.AgentClient.socketPath(name),
    catch: (cause) => fromSdk("Microsandbox.connect", { sandbox: name }, cause)
  }).pipe(
    Effect.flatMap((path) => AgentConnection.make({ name, open: () => Net.connect(path), timeout: connectTimeout })),
    Effect.tapError((error) => (error.reason._tag === "GuestBusy" ? Metric.update(sdkRetries, 1) : Effect.void)),
    Effect.retry({ while: (error) => error.reason._tag === "GuestBusy", schedule: transient }),
    Effect.map(AgentGuest.make)
  )

// =============================================================================
// Snapshots
// =============================================================================

const allocatedBytes = async (path: string): Promise<number | undefined> => {
  try {
    return (await Fs.stat(Path.join(path, RootDisks.diskFile))).blocks * 512
  } catch {
    return undefined
  }
}

const snapshotInfo = async (name: string, snapshot: Sdk.Snapshot): Promise<Microsandbox.SnapshotInfo> => ({
  name,
  digest: snapshot.digest,
  path: snapshot.path,
  image: snapshot.imageRef,
  imageDigest: snapshot.imageManifestDigest,
  size: snapshot.sizeBytes === null ? undefined : Number(snapshot.sizeBytes),
  allocated: await allocatedBytes(snapshot.path),
  labels: Object.fromEntries(snapshot.labels),
  createdAt: DateTime.makeUnsafe(snapshot.createdAt),
  sourceSandbox: snapshot.sourceSandbox ?? undefined
})

const snapshots = (context: DriverContext): SnapshotPart => {
  const { home, ownership, sdk } = context
  const folder = Path.join(home, "snapshots")
  const at = (name: string) => Path.join(folder, name)

  const entries = (method: string) => readFolder(method, folder)

  const openSnapshot = Effect.fn("Microsandbox.openSnapshot")(function* (
    name: string
  ): Effect.fn.Return<Microsandbox.SnapshotInfo, LightboxError> {
    return yield* call("Microsandbox.openSnapshot", { snapshot: name }, async () =>
      snapshotInfo(Path.basename(name), await sdk.Snapshot.open(name))
    )
  })

  const removeSnapshot = Effect.fn("Microsandbox.removeSnapshot")(function* (
    name: string
  ): Effect.fn.Return<void, LightboxError> {
    yield* notFoundIsSuccess(
      call("Microsandbox.removeSnapshot", { snapshot: name }, () => sdk.Snapshot.remove(name, { force: true }))
    )
  })

  const move = (method: string, from: string, name: string) =>
    hostFile(method, at(name), () => Fs.rename(from, at(name)))

  /** The SDK's index records where snapshots were. */
  const reindex = (method: string, name: string) => call(method, { snapshot: name }, () => sdk.Snapshot.reindex())

  return {
    captureSnapshot: Effect.fn("Microsandbox.captureSnapshot")(function* (request) {
      const method = "Microsandbox.captureSnapshot"
      const source = yield* call(method, { sandbox: request.sandbox }, () => sdk.Sandbox.get(request.sandbox))
      yield* RootDisks.requireCopy(context, method, "captureSnapshot", source)
      return yield* commit({
        method,
        subject: { snapshot: request.name, sandbox: request.sandbox },
        run: () => {
          const builder = sdk.Snapshot.builder(request.name).fromSandbox(request.sandbox)
          for (const [key, value] of Object.entries(request.labels ?? {})) builder.label(key, value)
          if (request.integrity === true) builder.recordIntegrity()
          return builder.create()
        },
        describe: (snapshot) => Effect.promise(() => snapshotInfo(request.name, snapshot)),
        undo: () => Effect.ignore(removeSnapshot(request.name))
      })
    }),
    openSnapshot,
    // The folder is authoritative: the SDK's index misses interrupted changes, and has no labels.
    listSnapshots: Effect.gen(function* () {
      const method = "Microsandbox.listSnapshots"
      const links = new Set((yield* entries(method)).flatMap((entry) => (entry.isSymbolicLink() ? [entry.name] : [])))
      const found = yield* call(method, { path: folder }, () => sdk.Snapshot.listDir(folder)).pipe(
        Effect.catchReason("LightboxError", "FileError", (reason, error) =>
          reason.code === "ENOENT" ? Effect.succeed([]) : Effect.fail(error)
        )
      )
      return yield* Effect.forEach(
        found.filter((snapshot) => !links.has(Path.basename(snapshot.path))),
        (snapshot) => Effect.promise(() => snapshotInfo(Path.basename(snapshot.path), snapshot))
      )
    }),
    removeSnapshot,
    verifySnapshot: Effect.fn("Microsandbox.verifySnapshot")(function* (name) {
      const { upper } = yield* call("Microsandbox.verifySnapshot", { snapshot: name }, async () =>
        (await sdk.Snapshot.open(name)).verify()
      )
      return upper.kind === "verified"
    }),
    saveSnapshot: Effect.fn("Microsandbox.saveSnapshot")(function* (name, path, options) {
      const method = "Microsandbox.saveSnapshot"
      yield* commit({
        method,
        subject: { snapshot: name, path },
        run: () =>
          sdk.Snapshot.save(name, Path.resolve(path), {
            withImage: options?.withImage ?? false,
            plainTar: options?.compress === false
          }),
        describe: Effect.succeed,
        undo: () => removeFile(method, path)
      })
    }),
    loadSnapshot: Effect.fn("Microsandbox.loadSnapshot")(function* (path, name) {
      const method = "Microsandbox.loadSnapshot"
      yield* hostFile(method, path, () => Fs.access(path))
      if ((yield* entries(method)).some((entry) => entry.name === name)) {
        return yield* new LightboxError({ method, reason: new AlreadyExists({ resource: "snapshot", name }) })
      }
      return yield* commit({
        method,
        subject: { snapshot: name },
        run: () => sdk.Snapshot.load(Path.resolve(path)),
        describe: (loaded) =>
          move(method, loaded.path, name).pipe(
            Effect.andThen(
              reindex(method, name).pipe(
                Effect.andThen(openSnapshot(name)),
                Effect.onError(() => Effect.ignore(removeSnapshot(name)))
              )
            ),
            Effect.uninterruptible
          ),
        undo: ({ path }) => Effect.ignore(removeSnapshot(path))
      })
    }),
    removeStaging: Effect.fn("Microsandbox.removeStaging")(function* (of, options) {
      const method = "Microsandbox.removeStaging"
      const imports = Path.join(home, "cache", "tmp")
      const found =
        "snapshot" in of
          ? (yield* entries(method)).flatMap(({ name }) => (name === `.${of.snapshot}.staging` ? [at(name)] : []))
          : yield* Effect.filter(
              [
                ...(yield* entries(method)).flatMap(({ name }) =>
                  name.startsWith(".msb-snapshot-import-") ? [at(name)] : []
                ),
                ...(yield* readFolder(method, imports)).flatMap(({ name }) =>
                  name.startsWith("snapshot-import-") ? [Path.join(imports, name)] : []
                )
              ],
              (path) => hostFile(method, path, async () => (await Fs.stat(path)).birthtimeMs >= of.loadsSince)
            )
      if (options?.dryRun === true) return found
      yield* Effect.forEach(
        found,
        (path) => hostFile(method, path, () => Fs.rm(path, { recursive: true, force: true })),
        { discard: true }
      )
      return found
    }),
    renameSnapshot: Effect.fn("Microsandbox.renameSnapshot")(function* (name, to) {
      const method = "Microsandbox.renameSnapshot"
      if ((yield* entries(method)).some((entry) => entry.name === to)) {
        return yield* new LightboxError({ method, reason: new AlreadyExists({ resource: "snapshot", name: to }) })
      }
      yield* move(method, at(name), to).pipe(
        Effect.andThen(reindex(method, to)),
        Effect.uninterruptible,
        Effect.catchReason("LightboxError", "FileError", (reason, error) =>
          Effect.fail(
            reason.code === "ENOENT"
              ? new LightboxError({ method, reason: new NotFound({ resource: "snapshot", name }) })
              : error
          )
        )
      )
    }),
    ...snapshotLinks({ folder, stage: ownership.stage, openSnapshot })
  }
}

const searchBytes = 4 * 1024 * 1024

/** Searches a file for byte strings, including those that span two reads. */
const search = async (path: string, needles: ReadonlyArray<Uint8Array>): Promise<ReadonlyArray<boolean>> => {
  const found = needles.map(() => false)
  const overlap = Math.max(1, ...needles.map((needle) => needle.length)) - 1
  const buffer = Buffer.alloc(searchBytes + overlap)
  const file = await Fs.open(path)
  try {
    let kept = 0
    for (let position = 0; ;) {
      const { bytesRead } = await file.read(buffer, kept, searchBytes, position)
      if (bytesRead === 0) return found
      position += bytesRead
      const window = buffer.subarray(0, kept + bytesRead)
      for (const [index, needle] of needles.entries()) found[index] ||= window.indexOf(needle) !== -1
      kept = Math.min(overlap, window.length)
      buffer.copyWithin(0, window.length - kept, window.length)
    }
  } finally {
    await file.close()
  }
}

// =============================================================================
// Volumes
// =============================================================================

const volumeInfo = (home: string, volume: Sdk.VolumeHandle): Microsandbox.VolumeInfo => ({
  name: volume.name,
  kind: volume.kind === "disk" ? "disk" : "directory",
  quota:
    volume.kind === "disk" && volume.capacityBytes !== null
      ? volume.capacityBytes
      : volume.quotaMib === null
        ? undefined
        : fromMebibytes(volume.quotaMib),
  path: Path.join(home, "volumes", volume.name, ...(volume.kind === "disk" ? ["disk.raw"] : [])),
  labels: Object.fromEntries(volume.labels),
  createdAt: date(volume.createdAt)
})

const volumes = (context: DriverContext): VolumePart => {
  const { home, sdk } = context
  const getVolume = Effect.fn("Microsandbox.getVolume")(function* (
    name: string
  ): Effect.fn.Return<Microsandbox.VolumeInfo, LightboxError> {
    return volumeInfo(home, yield* call("Microsandbox.getVolume", { volume: name }, () => sdk.Volume.get(name)))
  })
  const remove = (name: string) =>
    notFoundIsSuccess(call("Microsandbox.removeVolume", { volume: name }, () => sdk.Volume.remove(name)))
  const removeVolume = Effect.fn("Microsandbox.removeVolume")(function* (
    name: string
  ): Effect.fn.Return<void, LightboxError> {
    yield* remove(name).pipe(tellingUsers(context), takingTurns(context.volumes, [name]))
  })
  return {
    createVolume: Effect.fn("Microsandbox.createVolume")(function* ({ kind, labels, name, quota }) {
      return yield* commit({
        method: "Microsandbox.createVolume",
        subject: { volume: name },
        run: () => {
          const builder = sdk.Volume.builder(name)
          if (kind === "disk") {
            builder.disk()
            if (quota !== undefined) builder.size(toMebibytes(quota))
          } else {
            builder.directory()
            if (quota !== undefined) builder.quota(toMebibytes(quota))
          }
          for (const [key, value] of Object.entries(labels ?? {})) builder.label(key, value)
          return builder.create()
        },
        describe: () => getVolume(name),
        undo: () => Effect.ignore(remove(name))
      }).pipe(takingTurns(context.volumes, [name]))
    }),
    getVolume,
    listVolumes: Effect.map(
      call("Microsandbox.listVolumes", {}, () => sdk.Volume.list()),
      (all) => all.map((volume) => volumeInfo(home, volume))
    ),
    removeVolume
  }
}
