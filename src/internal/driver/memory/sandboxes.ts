/** Sandboxes: machines in this process. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import {
  AlreadyExists,
  InUse,
  InvalidConfig,
  type LightboxError,
  NotFound,
  NotRunning,
  SnapshotDamaged,
  StillRunning,
  Unsupported
} from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type { Inventory } from "../../../MicrosandboxMemory.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import {
  checkCombination,
  checkHostPaths,
  overlayRefused,
  requireBoot,
  wantsOverlay,
  withDefaults
} from "../createChecks.ts"
import { publishedPorts, withPorts } from "../ports.ts"
import { generate, instanceLabel } from "../../ownership/labels.ts"
import * as PullReport from "../pullReport.ts"
import { defaultResources, mebibyte, Name } from "../../config/schemas.ts"
import { ephemeralRefused, needsRestart } from "../restart.ts"
import { signals } from "../../config/signals.ts"
import { boot, environment } from "./boot.ts"
import { type Failure, type Unnamed, within } from "./failure.ts"
import { FileTree } from "./kernel/fileTree.ts"
import * as GuestChannel from "./guest.ts"
import { type ImageUsers, lowerOf, resolve, type StoredImage } from "./images.ts"
import { Log } from "./logs.ts"
import type { Machine } from "./kernel/machine.ts"
import * as Memory from "./kernel/memory.ts"
import * as Modify from "./modify.ts"
import { patch } from "./patches.ts"
import type { Captured } from "./snapshots.ts"
import * as State from "./state.ts"
import { smallestDisk, tooSmall } from "./volumes.ts"
import type { RemainsPart, SandboxPart } from "../parts.ts"

type Held = State.Held
type HomeState = State.HomeState

const defaultDisk = 4096 * mebibyte

// =============================================================================
// Life
// =============================================================================

/** The source of a sandbox. */
interface Base {
  readonly image: StoredImage
  readonly stored: Uint8Array | undefined
  /** Bytes. */
  readonly size: number
  /** Of the captured machine that goes on. Default: it boots. */
  readonly memory?: Memory.Memory | undefined
}

const baseOf = Effect.fnUntraced(function* (
  { registry, state }: State.Context,
  request: Microsandbox.CreateSandbox,
  config: SandboxConfig
): Effect.fn.Return<Base, Failure> {
  const { source } = request
  const policy = config.pullPolicy ?? "if-missing"
  if (source._tag === "Image") {
    const disk = config.resources?.disk ?? defaultDisk
    if (disk < smallestDisk) return yield* new InvalidConfig({ field: "resources.disk", problem: tooSmall })
    const report = yield* PullReport.make(request)
    const image = yield* resolve(state.cache, registry, source.reference, policy, report)
    return { image, stored: undefined, size: disk }
  }
  const { info, readDisk, readMemory, size } = yield* state.snapshots.open(source.name)
  const cached = state.cache.byDigest(info.imageDigest)
  const pulled = cached ?? (policy === "never" ? undefined : registry.find(info.image))
  if (pulled === undefined || pulled.digest !== info.imageDigest) {
    const problem = `snapshot integrity check failed: snapshot base image ${info.imageDigest} no longer available`
    return yield* new SnapshotDamaged({ name: source.name, problem })
  }
  if (cached === undefined) state.cache.put(pulled)
  const stored = yield* readDisk
  return { image: pulled, stored, size, memory: request.resume === undefined ? undefined : yield* readMemory }
})

/** Refuses other processors and other memory than those of the machine that goes on. */
const requireSame = Effect.fnUntraced(function* (
  { resources }: SandboxConfig,
  { cpus, size }: Memory.Memory
): Effect.fn.Return<void, Unsupported> {
  const problem = "the captured machine has others, and goes on with them"
  if ((resources?.cpus ?? cpus) !== cpus) return yield* new Unsupported({ feature: "resources.cpus", problem })
  if ((resources?.memory ?? size) !== size) return yield* new Unsupported({ feature: "resources.memory", problem })
})

/** Creates missing volumes, unless the mount forbids it. */
const ensureVolumes = Effect.fnUntraced(function* (
  { ownership, state }: State.Context,
  sandbox: string,
  config: SandboxConfig
): Effect.fn.Return<ReadonlyArray<string>, Failure> {
  const names: Array<string> = []
  for (const mount of Object.values(config.mounts ?? {})) {
    if (!("volume" in mount)) continue
    const name = mount.volume
    const volume = state.volumes.get(name)
    if (volume === undefined) {
      if (mount.create === false) return yield* new NotFound({ resource: "volume", name })
      yield* state.volumes.create({ name, kind: "directory" }, yield* ownership.stage)
    } else if (volume.kind === "disk") {
      const users = yield* usersOfVolume(state, name)
      if (users.some((user) => user !== sandbox)) {
        return yield* new InUse({ resource: "volume", name, usedBy: users.slice(0, 1) })
      }
    }
    names.push(name)
  }
  return names.toSorted()
})

/** Lists running sandboxes that mount a volume. */
export const usersOfVolume = (state: HomeState, volume: string): Effect.Effect<ReadonlyArray<string>, LightboxError> =>
  Effect.map(State.all(state), (found) =>
    found.flatMap((info) => (State.isUp(info) && info.volumes.includes(volume) ? [info.name] : []))
  )

/** Lists the sandboxes, running or not, and the snapshots that need an image. */
export const usersOfImage = (state: HomeState, digest: string): Effect.Effect<ImageUsers> =>
  Effect.gen(function* () {
    const sandboxes = state.rows.names().filter((name) => {
      const row = state.held.get(name)?.row ?? state.rows.get(name)
      return row?.image.digest === digest
    })
    const snapshots = yield* Effect.filter(state.snapshots.names(), (name) =>
      state.snapshots.open(name).pipe(
        Effect.map(({ info }) => info.imageDigest === digest),
        Effect.orElseSucceed(() => false)
      )
    )
    return { sandboxes: sandboxes.length, snapshots: snapshots.length }
  })

/** Boots an existing sandbox. */
const start = Effect.fnUntraced(function* (
  context: State.Context,
  held: Held,
  memory?: Memory.Memory
): Effect.fn.Return<void, Failure> {
  const { state } = context
  const scope = yield* Scope.make()
  const run = Effect.runForkWith(yield* Effect.context())
  // In another fiber: a process cannot wait for its own end.
  const onPowerOff = () => run(finish(state, held, "stopped", true))
  const machine = yield* boot(context, held, scope, onPowerOff, memory).pipe(
    Effect.onError(() => Scope.close(scope, Exit.void))
  )
  held.running = { machine, scope }
  State.change(state, held, { info: { status: "running" } })
  yield* watchTimes(machine, held.config, (isFlushed) => finish(state, held, "stopped", isFlushed))
})

/** Ends a machine after its maximum duration or idle time. */
const watchTimes = Effect.fnUntraced(function* (
  machine: Machine,
  { idleTimeout, maxDuration }: SandboxConfig,
  end: (isFlushed: boolean) => Effect.Effect<void>
): Effect.fn.Return<void> {
  const endLater = (isFlushed: boolean) => Effect.forkDetach(end(isFlushed), { startImmediately: true })
  if (maxDuration !== undefined) {
    yield* Effect.forkIn(Effect.andThen(Effect.sleep(maxDuration), endLater(false)), machine.scope)
  }
  if (idleTimeout === undefined) return
  const limit = Duration.toMillis(idleTimeout)
  const wait: Effect.Effect<unknown> = Effect.suspend(() =>
    machine.idleMillis >= limit
      ? endLater(true)
      : Effect.andThen(Effect.sleep(Math.max(1, limit - machine.idleMillis)), wait)
  )
  yield* Effect.forkIn(wait, machine.scope)
})

const lossProblem = "the connection to it closed"

/** Number of turns in which the guest may end by itself. */
const goodbyes = 20

/** Ends a running machine. */
const finish = (state: HomeState, held: Held, status: "stopped" | "crashed", isFlushed: boolean): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { disk, log, row, running } = held
    if (running === undefined) return Effect.void
    const { name } = row.info
    const { machine, scope } = running
    return Effect.gen(function* () {
      // The agent closes its connections first: nobody learns of a command that ends after that.
      machine.lose(lossProblem)
      machine.go()
      if (isFlushed) {
        machine.signalAll({ pid: 1, uid: 0, gid: 0, groups: [] }, signals.SIGTERM)
        for (let turn = 0; turn < goodbyes; turn++) yield* Effect.yieldNow
        disk.sync()
      } else disk.revert()
      held.running = undefined
      log.system(machine.now(), "--- sandbox stopped ---")
      if (state.held.get(name) === held) {
        Fs.writeFileSync(state.rows.diskOf(name), disk.encode())
        State.change(state, held, { info: { status } })
        if (held.config.ephemeral === true) State.forget(state, held)
      }
      yield* Scope.close(scope, Exit.void)
    })
  }).pipe(Effect.uninterruptible)

/** Ends a machine as if its process had been killed. */
export const crash = Effect.fnUntraced(function* (state: HomeState, name: string): Effect.fn.Return<void, Failure> {
  const held = yield* Effect.flatMap(State.lookUp(state, name), State.requireHeld)
  yield* State.machineOf(held)
  yield* finish(state, held, "crashed", false)
})

/** Fills the disk of a sandbox up to the given free bytes. */
export const fill = (state: HomeState, name: string, free: number): Effect.Effect<void, Failure> =>
  State.lookUp(state, name).pipe(
    Effect.flatMap(State.requireHeld),
    Effect.map(({ disk }) => {
      disk.limit = disk.usage().used + free
    })
  )

/** Stops all running sandboxes, or those of a layer, as the end of its process would. */
export const release = (state: HomeState, layer?: object): Effect.Effect<void> =>
  Effect.forEach(
    [...state.held.values()].filter((held) => layer === undefined || (held.layer === layer && !held.row.isDetached)),
    (held) => finish(state, held, "stopped", true),
    { discard: true }
  )

/** Lists the processes of all guests except agents. */
export const processes = (state: HomeState): Inventory["processes"] =>
  [...state.held.values()].flatMap(({ row, running }) =>
    (running?.machine.pids() ?? [])
      .filter((pid) => pid !== 1)
      .map((pid) => {
        const command = running?.machine.processInfo(pid)?.argv.join(" ") ?? ""
        return { sandbox: row.info.name, pid, command }
      })
  )

const create = Effect.fnUntraced(function* (
  context: State.Context,
  request: Microsandbox.CreateSandbox
): Effect.fn.Return<Microsandbox.SandboxInfo, Failure> {
  const { state } = context
  const { name } = request
  const config = yield* withDefaults(context, request.config)
  yield* checkCombination(request)
  if (!context.hasMemory) yield* requireBoot(request)
  if (!isName(name)) {
    return yield* new InvalidConfig({ field: "options", problem: `invalid sandbox name: ${JSON.stringify(name)}` })
  }
  yield* checkHostPaths(config)
  if (request.onConflict === "replace") {
    yield* ignoreMissing(Effect.flatMap(State.lookUp(state, name), (found) => destroy(state, found, true)))
  }
  return yield* withPorts(config, (config) =>
    within("Microsandbox.createSandbox", createChecked(context, request, config))
  )
})

const createChecked = Effect.fnUntraced(function* (
  context: State.Context,
  request: Microsandbox.CreateSandbox,
  config: SandboxConfig
): Effect.fn.Return<Microsandbox.SandboxInfo, Failure> {
  const { state } = context
  const { name } = request
  if (isTaken(state, name)) return yield* new AlreadyExists({ resource: "sandbox", name })
  const base = yield* baseOf(context, request, config)
  const isOverlay = wantsOverlay({ ...request, config })
  if (base.memory === undefined) return yield* add(context, request, config, { ...base, isOverlay })
  // Those of the layer are for machines that boot.
  yield* requireSame(request.config, base.memory)
  const { cpus, size: memory } = base.memory
  const resources = { ...config.resources, cpus, memory }
  return yield* add(context, request, { ...config, resources }, { ...base, isOverlay })
})

const isTaken = (state: HomeState, name: string): boolean => state.held.has(name) || state.rows.get(name) !== undefined

/** Adds a sandbox and starts it. */
const add = Effect.fnUntraced(function* (
  context: State.Context,
  request: Omit<Microsandbox.CreateSandbox, "config" | "source">,
  config: SandboxConfig,
  base: Base & { readonly isOverlay: boolean }
): Effect.fn.Return<Microsandbox.SandboxInfo, Failure> {
  const { state } = context
  const { name } = request
  const taken = new AlreadyExists({ resource: "sandbox", name })
  const volumes = yield* ensureVolumes(context, name, config)
  const instance = request.labels?.[instanceLabel] ?? (yield* generate)
  const owner = yield* context.ownership.id
  const createdAt = yield* DateTime.now
  const clock = yield* Effect.clockWith(Effect.succeed)
  const disk = new FileTree({
    source: "overlay",
    type: "overlay",
    options:
      "rw,relatime,lowerdir=/.msb/rootfs/lower,upperdir=/.msb/rootfs/upperfs/upper,workdir=/.msb/rootfs/upperfs/work",
    limit: base.size,
    now: () => clock.currentTimeMillisUnsafe(),
    isDisk: true,
    lower: lowerOf(base.image)
  })
  if (base.stored !== undefined) disk.decode(base.stored)
  yield* patch(disk, config.patches ?? [])
  disk.sync()

  // No step between the reservation and its release.
  if (!state.rows.reserve(name) && state.rows.get(name) !== undefined) return yield* taken
  const { digest, reference } = base.image
  const held: Held = {
    row: {
      info: {
        id: state.rows.nextId(),
        name,
        status: "starting",
        labels: { ...config.labels, ...request.labels, [instanceLabel]: instance },
        image: reference,
        imageDigest: digest,
        cpus: config.resources?.cpus ?? defaultResources.cpus,
        memory: config.resources?.memory ?? defaultResources.memory,
        volumes,
        ports: publishedPorts(config),
        cwd: config.cwd,
        shell: config.shell ?? "/bin/sh",
        createdAt
      },
      image: { reference, digest },
      diskSize: base.size,
      owner,
      isDetached: request.detached === true,
      isOverlay: base.isOverlay
    },
    config,
    image: base.image,
    disk,
    log: new Log(),
    layer: context.layer,
    env: environment(base.image, config),
    proxy: request.proxy,
    running: undefined
  }
  state.held.set(name, held)
  state.rows.put(held.row)
  yield* start(context, held, base.memory).pipe(Effect.onError(() => discard(state, held)))
  return held.row.info
})

const isName = Schema.is(Name)

/** Removes a sandbox, running or not. */
const discard = (state: HomeState, held: Held): Effect.Effect<void> =>
  Effect.suspend(() => {
    State.forget(state, held)
    return finish(state, held, "stopped", false)
  })

const ignoreMissing = <E extends Failure>(effect: Effect.Effect<void, E | NotFound>) =>
  Effect.catchTag(effect, "NotFound", () => Effect.void)

const destroy = (
  state: HomeState,
  { held, info }: State.Found,
  isForced: boolean
): Effect.Effect<void, StillRunning | Unsupported> =>
  Effect.suspend((): Effect.Effect<void, StillRunning | Unsupported> => {
    const { name } = info
    if (State.isUp(info) && !isForced) return Effect.fail(new StillRunning({ name }))
    if (held !== undefined) return discard(state, held)
    return State.isUp(info) ? Effect.fail(State.elsewhere) : Effect.sync(() => state.rows.remove(name))
  })

/** Reads the disk of a stopped sandbox. */
export const captured = (state: HomeState, name: string): Effect.Effect<Captured, Failure> =>
  Effect.flatMap(State.lookUp(state, name), (found): Effect.Effect<Captured, Failure> => {
    const { info, row } = found
    if (State.isUp(info)) return Effect.fail(new StillRunning({ name }))
    return Effect.sync(() => ({ disk: diskOf(state, found), size: row.diskSize, image: row.image }))
  })

const diskOf = (state: HomeState, { held, info }: State.Found): Uint8Array =>
  held === undefined ? Fs.readFileSync(state.rows.diskOf(info.name)) : held.disk.encode()

// =============================================================================
// Operations
// =============================================================================

/** The operations on sandboxes. */
export const make = (context: State.Context): Unnamed<SandboxPart & RemainsPart> => {
  const { calls, state } = context
  const { rows } = state
  const isGhost = (name: string) => !state.held.has(name) && rows.get(name) === undefined
  const heldOf = (sandbox: Microsandbox.SandboxRef) => Effect.flatMap(State.exactly(state, sandbox), State.requireHeld)
  const end = (sandbox: Microsandbox.SandboxRef, isFlushed: boolean) =>
    Effect.flatMap(State.exactly(state, sandbox), ({ held, info }): Effect.Effect<void, Unsupported> => {
      if (held !== undefined) return finish(state, held, "stopped", isFlushed)
      return State.isUp(info) ? Effect.fail(State.elsewhere) : Effect.void
    })
  return {
    createSandbox: (request) => create(context, request),
    getSandbox: (name) => Effect.map(State.lookUp(state, name), ({ info }) => info),
    listSandboxes: (filter) =>
      Effect.map(State.all(state), (found) =>
        found.filter(({ labels }) =>
          Object.entries(filter?.labels ?? {}).every(([key, value]) => labels[key] === value)
        )
      ),
    startSandbox: Effect.fnUntraced(function* (sandbox, options) {
      const held = yield* heldOf(sandbox)
      if (held.running !== undefined) return yield* new StillRunning({ name: sandbox.name })
      const missing = held.row.info.volumes.find((volume) => state.volumes.get(volume) === undefined)
      if (missing !== undefined) return yield* new NotFound({ resource: "volume", name: missing })
      yield* start(context, held)
      State.change(state, held, { isDetached: options?.detached === true })
      return held.row.info
    }),
    stopSandbox: (sandbox) => end(sandbox, true),
    killSandbox: (sandbox) => end(sandbox, false),
    getSandboxLifecycle: (sandbox) =>
      Effect.map(State.exactly(state, sandbox), ({ held, row }) => ({
        isAttached: held !== undefined && held.layer === context.layer && !row.isDetached,
        isEphemeral: held?.config.ephemeral === true
      })),
    detachSandbox: ({ id, name }) =>
      Effect.sync(() => {
        const held = state.held.get(name)
        if (held?.row.info.id === id && held.layer === context.layer) State.change(state, held, { isDetached: true })
      }),
    removeSandbox: (sandbox, options) =>
      ignoreMissing(
        Effect.flatMap(State.exactly(state, sandbox), (found) => destroy(state, found, options?.force === true))
      ),
    modifySandbox: Effect.fnUntraced(function* (sandbox, wanted) {
      const method = "Microsandbox.modifySandbox"
      const held = yield* heldOf(sandbox)
      const { config, row } = held
      if (wanted.disk !== undefined && row.isOverlay) return yield* overlayRefused(method, "modify.disk")
      const { cpus, cwd, labels, memory } = row.info
      const { maxCpus = cpus, maxMemory = memory } = config.resources ?? {}
      const current = { cpus, maxCpus, memory, maxMemory, disk: row.diskSize, cwd, env: config.env ?? {}, labels }
      const plan = yield* Modify.plan(wanted, current, held.running !== undefined)
      if (!plan.applied) return plan
      const restarts = needsRestart(plan)
      if (restarts && config.ephemeral === true) return yield* ephemeralRefused(method)
      const next = Modify.changed(current, wanted)
      const resources = { ...config.resources, maxCpus: next.maxCpus, maxMemory: next.maxMemory }
      held.config = { ...config, env: next.env, resources }
      held.env = environment(held.image, held.config)
      if (wanted.disk !== undefined) held.disk.limit = wanted.disk
      State.change(state, held, {
        info: { cpus: next.cpus, memory: next.memory, labels: next.labels, cwd: next.cwd },
        diskSize: next.disk
      })
      if (restarts) {
        yield* Effect.uninterruptible(Effect.andThen(finish(state, held, "stopped", true), start(context, held)))
      }
      return plan
    }),
    connect: Effect.fnUntraced(function* (sandbox) {
      const { name } = sandbox
      const { held, info } = yield* State.exactly(state, sandbox)
      if (held === undefined) return yield* State.isUp(info) ? State.elsewhere : new NotRunning({ name })
      if (info.status === "paused") return yield* new NotRunning({ name, status: "paused" })
      return yield* GuestChannel.connect({
        machine: yield* State.machineOf(held),
        calls,
        log: held.log,
        subject: { sandbox: name, kill: finish(state, held, "crashed", false) }
      })
    }),
    readLogs: (sandbox, query) => Effect.flatMap(heldOf(sandbox), ({ log }) => log.read(query)),
    readMetrics: Effect.fnUntraced(function* (sandbox) {
      const held = yield* heldOf(sandbox)
      const machine = yield* State.machineOf(held)
      if (held.config.metricsInterval === "off") {
        return yield* new Unsupported({ feature: "metrics", problem: "this sandbox does not collect metrics" })
      }
      const now = yield* Clock.currentTimeMillis
      const { used } = held.disk.usage()
      return {
        cpuPercent: 0,
        memory: 32 * mebibyte + (machine.pids().length - 1) * mebibyte,
        memoryLimit: held.row.info.memory,
        diskRead: held.image.tree.length,
        diskWritten: used,
        networkReceived: machine.traffic.received,
        networkSent: machine.traffic.sent,
        rootDiskUsed: used,
        uptime: Duration.millis(now - machine.bootedAt),
        timestamp: DateTime.makeUnsafe(now)
      }
    }),
    searchSandbox: Effect.fnUntraced(function* (sandbox, needles) {
      const found = yield* State.exactly(state, sandbox)
      const disk = Buffer.from(diskOf(state, found))
      return needles.map((needle) => disk.indexOf(needle) !== -1)
    }),
    listGhosts: () => Effect.sync(() => rows.names().filter(isGhost)),
    // The twin leaves no boot folders.
    removeRemains: () => Effect.succeed([]),
    removeGhost: (name) =>
      Effect.sync(() => {
        if (!rows.names().includes(name) || !isGhost(name)) return false
        rows.remove(name)
        return true
      })
  }
}

// =============================================================================
// Memory
// =============================================================================

/** The machine of a sandbox that is running and not paused. */
const goingOf = (held: Held): Effect.Effect<Machine, NotRunning> =>
  Effect.filterOrFail(
    State.machineOf(held),
    ({ isPaused }) => !isPaused,
    () => new NotRunning({ name: held.row.info.name, status: "paused" })
  )

/** Numbers of turns: in which nothing may begin or end before a capture, and after which it is not waited for that. */
const [quietTurns, mostTurns] = [100, 5000]

/** Lets shells go on until they wait: what they are about to do is not captured. */
const settle = Effect.fnUntraced(function* (machine: Machine): Effect.fn.Return<void> {
  const processes = () => machine.all().flatMap(({ argv, pid }) => [pid, ...argv])
  let [before, quiet] = [processes(), 0]
  for (let turn = 0; quiet < quietTurns && turn < mostTurns; turn++) {
    yield* Effect.yieldNow
    const now = processes()
    quiet = Equal.equals(now, before) ? quiet + 1 : 0
    before = now
  }
})

/** What a machine and its disk are now. */
const captureNow = Effect.fnUntraced(function* (
  held: Held
): Effect.fn.Return<{ readonly stored: Uint8Array; readonly memory: Memory.Memory }, NotRunning> {
  yield* settle(yield* goingOf(held))
  const machine = yield* goingOf(held)
  held.disk.sync()
  return { stored: held.disk.encode(), memory: Memory.capture(machine) }
})

/** Captures the disk and the memory of a running sandbox. */
export const capturedRunning = Effect.fnUntraced(function* (
  state: HomeState,
  name: string
): Effect.fn.Return<Captured, Failure> {
  const held = yield* Effect.flatMap(State.lookUp(state, name), State.requireHeld)
  const { memory, stored } = yield* captureNow(held)
  return { disk: stored, size: held.row.diskSize, image: held.row.image, memory: Memory.encode(memory) }
})

export type MemoryPart = Omit<Microsandbox.MemoryOperations, "captureMemory" | "searchMemory">

/** The operations on the memory of sandboxes. */
export const makeMemory = (context: State.Context): Unnamed<MemoryPart> => {
  const { state } = context
  const heldOf = (sandbox: Microsandbox.SandboxRef) => Effect.flatMap(State.exactly(state, sandbox), State.requireHeld)
  /** Removes a copy, if it is there. */
  const undo = ({ name }: Microsandbox.SandboxRef) =>
    Effect.suspend(() => {
      const held = state.held.get(name)
      return held === undefined ? Effect.void : discard(state, held)
    })
  return {
    forkSandbox: Effect.fnUntraced(function* (sandbox, copies) {
      const held = yield* heldOf(sandbox)
      const now = yield* captureNow(held)
      const { isOverlay, diskSize: size } = held.row
      const base = { ...now, image: held.image, size, isOverlay }
      const { cpus, memory } = held.row.info
      const resources = { ...held.config.resources, cpus, memory }
      const config = { ...held.config, labels: {}, ports: [], patches: [], resources }
      const made: Array<Microsandbox.SandboxInfo> = []
      for (const copy of copies) {
        if (!isName(copy.name)) return yield* new InvalidConfig({ field: "name", problem: `invalid sandbox name` })
        const added = add(context, { ...copy, proxy: held.proxy }, config, base)
        made.push(yield* Effect.onError(added, () => Effect.forEach(made, undo, { discard: true })))
      }
      return made
    }),
    pauseSandbox: Effect.fnUntraced(function* (sandbox) {
      const held = yield* heldOf(sandbox)
      const machine = yield* State.machineOf(held)
      machine.pause()
      State.change(state, held, { info: { status: "paused" } })
    }),
    resumeSandbox: Effect.fnUntraced(function* (sandbox) {
      const held = yield* heldOf(sandbox)
      const machine = yield* State.machineOf(held)
      machine.go()
      State.change(state, held, { info: { status: "running" } })
    }),
    growRootDisk: Effect.fnUntraced(function* (sandbox, bytes) {
      const held = yield* heldOf(sandbox)
      const { diskSize, isOverlay } = held.row
      if (isOverlay) return yield* overlayRefused("Microsandbox.growRootDisk", "growRootDisk")
      if (bytes < diskSize) {
        return yield* new InvalidConfig({ field: "size", problem: `the disk has ${diskSize} bytes, and cannot shrink` })
      }
      held.disk.limit = bytes
      State.change(state, held, { diskSize: bytes })
    })
  }
}

/** Ends the machine of a call, for faults. */
export const killerOf = (state: HomeState, name: string | undefined): Effect.Effect<void> | undefined =>
  name === undefined
    ? undefined
    : Effect.suspend(() => {
        const held = state.held.get(name)
        return held === undefined ? Effect.void : finish(state, held, "crashed", false)
      })
