/** Sandboxes: machines in this process, and their rows in the home, which other processes see. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type * as Guest from "../../../Guest.ts"
import {
  AlreadyExists,
  InUse,
  InvalidConfig,
  LightboxError,
  NotFound,
  NotRunning,
  Replaced,
  SnapshotDamaged,
  StillRunning,
  Unsupported
} from "../../../LightboxError.ts"
import * as Microsandbox from "../../../Microsandbox.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import { checkCombination, checkHostPaths, overlayRefused, wantsOverlay, withDefaults } from "../createChecks.ts"
import { publishedPorts, withPorts } from "../ports.ts"
import { generate, instanceLabel } from "../../ownership/labels.ts"
import * as Owner from "../../ownership/owner.ts"
import type * as Ownership from "../../../Ownership.ts"
import * as PullReport from "../pullReport.ts"
import { defaultResources, mebibyte } from "../../config/schemas.ts"
import { ephemeralRefused, needsRestart } from "../restart.ts"
import { signals } from "../../guest/signals.ts"
import { boot, environment } from "./boot.ts"
import type { Calls } from "./calls.ts"
import { FileTree } from "./kernel/fileTree.ts"
import * as GuestChannel from "./guest.ts"
import type { GuestAttributes } from "./kernel/hostFolder.ts"
import { type ImageCache, type ImageUsers, lowerOf, type Registry, resolve, type StoredImage } from "./images.ts"
import { Log } from "./logs.ts"
import type { Machine } from "./kernel/machine.ts"
import * as Modify from "./modify.ts"
import { patch } from "./patches.ts"
import type { Program } from "./kernel/process.ts"
import type { Captured, SnapshotStore } from "./snapshots.ts"
import { smallestDisk, tooSmall, type VolumeStore } from "./volumes.ts"
import type { RemainsPart, SandboxPart } from "../parts.ts"

const defaultDisk = 4096 * mebibyte

// =============================================================================
// Rows
// =============================================================================

/** A sandbox as other processes see it. */
const Row = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  status: Schema.Literals(["created", "starting", "running", "draining", "paused", "stopped", "crashed"]),
  labels: Schema.Record(Schema.String, Schema.String),
  image: Schema.String,
  imageDigest: Schema.String,
  cpus: Schema.Finite,
  memory: Schema.Finite,
  volumes: Schema.Array(Schema.String),
  ports: Schema.Array(Microsandbox.PublishedPort),
  workdir: Schema.optionalKey(Schema.String),
  shell: Schema.String,
  /** Milliseconds since 1970. */
  createdAt: Schema.Finite,
  /** Capacity of the disk, in bytes. */
  diskSize: Schema.Finite,
  owner: Schema.String,
  isDetached: Schema.Boolean,
  isOverlay: Schema.Boolean
})

type Row = typeof Row.Type

const codec = Schema.fromJsonString(Row)
const decodeRow = Schema.decodeUnknownOption(codec)
const encodeRow = Schema.encodeSync(codec)

const infoOf = (row: Row, status: Microsandbox.SandboxStatus): Microsandbox.SandboxInfo => ({
  id: row.id,
  name: row.name,
  status,
  labels: row.labels,
  image: row.image,
  cpus: row.cpus,
  memory: row.memory,
  volumes: row.volumes,
  ports: row.ports,
  cwd: row.workdir,
  shell: row.shell,
  createdAt: DateTime.makeUnsafe(row.createdAt)
})

/** Another process may remove it at any time. */
const readQuietly = (path: string): string => {
  try {
    return Fs.readFileSync(path, "utf8")
  } catch {
    return ""
  }
}

/** The sandbox folders of a home. */
class Rows {
  private readonly folder: string

  constructor(home: string) {
    this.folder = Path.join(home, "sandboxes")
    Fs.mkdirSync(this.folder, { recursive: true })
  }

  private at(name: string): string {
    return Path.join(this.folder, name)
  }

  diskOf(name: string): string {
    return Path.join(this.at(name), "upper.disk")
  }

  /** Reserves a name if it is free. */
  reserve(name: string): boolean {
    try {
      Fs.mkdirSync(this.at(name))
      return true
    } catch {
      return false
    }
  }

  get(name: string): Row | undefined {
    const row = decodeRow(readQuietly(Path.join(this.at(name), "sandbox.json")))
    return row._tag === "Some" ? row.value : undefined
  }

  put(row: Row): void {
    const path = Path.join(this.at(row.name), "sandbox.json")
    Fs.writeFileSync(`${path}.${process.pid}`, encodeRow(row))
    Fs.renameSync(`${path}.${process.pid}`, path)
  }

  remove(name: string): void {
    Fs.rmSync(this.at(name), { recursive: true, force: true })
  }

  names(): ReadonlyArray<string> {
    return Fs.readdirSync(this.folder)
  }

  /** Returns an id that is unique in the home. */
  nextId(): string {
    const taken = Path.join(this.folder, "..", "ids")
    Fs.mkdirSync(taken, { recursive: true })
    for (let id = Fs.readdirSync(taken).length + 1; ; id++) {
      try {
        Fs.mkdirSync(Path.join(taken, String(id)))
        return `memory:${id}`
      } catch {
        continue
      }
    }
  }
}

// =============================================================================
// State
// =============================================================================

/** A machine and what ends with it. */
interface Running {
  readonly machine: Machine
  readonly scope: Scope.Closeable
}

/** A sandbox of this process. */
interface Held {
  row: Row
  config: SandboxConfig
  readonly image: StoredImage
  readonly disk: FileTree
  readonly log: Log
  /** Stops the sandbox when it closes. */
  readonly layer: object
  env: Map<string, string>
  running: Running | undefined
}

/** The state that all layers of this process with the same home share. */
export interface HomeState {
  readonly home: string
  readonly rows: Rows
  readonly held: Map<string, Held>
  readonly cache: ImageCache
  readonly snapshots: SnapshotStore
  readonly volumes: VolumeStore
  readonly attributes: GuestAttributes
}

export const makeRows = (home: string): Rows => new Rows(home)

/** The context of one layer. */
export interface Context {
  readonly state: HomeState
  readonly registry: Registry
  readonly programs: ReadonlyMap<string, Program>
  readonly calls: Calls
  readonly ownership: Ownership.Ownership["Service"]
  /** Identifies the layer. */
  readonly layer: object
  readonly cpus: number | undefined
  readonly memory: number | undefined
  readonly pullPolicy: "always" | "if-missing" | "never" | undefined
}

/** A sandbox, of this process or another. */
type Found =
  | { readonly _tag: "Held"; readonly held: Held; readonly row: Row; readonly status: Row["status"] }
  | { readonly _tag: "Foreign"; readonly row: Row; readonly status: Row["status"] }

const elsewhere = (method: string): LightboxError =>
  new LightboxError({
    method,
    reason: new Unsupported({
      feature: "a sandbox of another process",
      problem: "the in-memory driver keeps it in the memory of the process that created it"
    })
  })

const statusOfForeign = (home: string, row: Row): Effect.Effect<Row["status"], LightboxError> =>
  row.status !== "running"
    ? Effect.succeed(row.status)
    : Effect.map(Owner.find(home, row.owner), ({ state }) =>
        state === "dead" ? (row.isDetached ? "crashed" : "stopped") : row.status
      )

const lookUp = (state: HomeState, method: string, name: string): Effect.Effect<Found, LightboxError> =>
  Effect.suspend((): Effect.Effect<Found, LightboxError> => {
    const held = state.held.get(name)
    if (held !== undefined) return Effect.succeed({ _tag: "Held", held, row: held.row, status: held.row.status })
    const row = state.rows.get(name)
    if (row === undefined) {
      return Effect.fail(new LightboxError({ method, reason: new NotFound({ resource: "sandbox", name }) }))
    }
    return Effect.map(statusOfForeign(state.home, row), (status) => ({ _tag: "Foreign", row, status }))
  })

/** Finds exactly this sandbox, not a later one of the same name. */
const exactly = (
  state: HomeState,
  method: string,
  sandbox: Microsandbox.SandboxRef
): Effect.Effect<Found, LightboxError> =>
  Effect.filterOrFail(
    lookUp(state, method, sandbox.name),
    ({ row }) => row.id === sandbox.id,
    () => new LightboxError({ method, reason: new Replaced({ name: sandbox.name }) })
  )

/** Finds exactly this sandbox if it belongs to this process. */
const requireHeld = (
  state: HomeState,
  method: string,
  sandbox: Microsandbox.SandboxRef
): Effect.Effect<Held, LightboxError> =>
  Effect.flatMap(exactly(state, method, sandbox), (found) =>
    found._tag === "Held" ? Effect.succeed(found.held) : Effect.fail(elsewhere(method))
  )

const machineOf = (held: Held, method: string): Effect.Effect<Machine, LightboxError> =>
  held.running === undefined
    ? Effect.fail(new LightboxError({ method, reason: new NotRunning({ name: held.row.name }) }))
    : Effect.succeed(held.running.machine)

export const all = (state: HomeState): Effect.Effect<ReadonlyArray<Microsandbox.SandboxInfo>, LightboxError> =>
  Effect.map(
    Effect.suspend(() =>
      Effect.forEach(state.rows.names(), (name) =>
        lookUp(state, "Microsandbox.listSandboxes", name).pipe(
          Effect.map(({ row, status }) => [infoOf(row, status)]),
          Effect.catchReason("LightboxError", "NotFound", () => Effect.succeed([]))
        )
      )
    ),
    // Newest first, as in the runtime.
    (found) => found.flat().toSorted((a, b) => idNumber(b.id) - idNumber(a.id))
  )

const idNumber = (id: string): number => Number(id.slice(id.indexOf(":") + 1))

const change = (state: HomeState, held: Held, fields: Partial<Row>): void => {
  held.row = { ...held.row, ...fields }
  state.rows.put(held.row)
}

// =============================================================================
// Life
// =============================================================================

/** The source of a sandbox. */
interface Base {
  readonly image: StoredImage
  readonly stored: Uint8Array | undefined
  /** Bytes. */
  readonly size: number
}

const method = "Microsandbox.createSandbox"

const baseOf = Effect.fnUntraced(function* (
  { registry, state }: Context,
  request: Microsandbox.CreateSandbox,
  config: SandboxConfig
): Effect.fn.Return<Base, LightboxError> {
  const { source } = request
  const policy = config.pullPolicy ?? "if-missing"
  if (source._tag === "Image") {
    const disk = config.resources?.disk ?? defaultDisk
    if (disk < smallestDisk) {
      return yield* new LightboxError({
        method,
        reason: new InvalidConfig({ field: "resources.disk", problem: tooSmall })
      })
    }
    const report = yield* PullReport.make(request)
    const image = yield* resolve(state.cache, registry, source.reference, policy, report)
    return { image, stored: undefined, size: disk }
  }
  const { info, readDisk, size } = yield* state.snapshots.open(method, source.name)
  const cached = state.cache.byDigest(info.imageDigest)
  const pulled = cached ?? (policy === "never" ? undefined : registry.find(info.image))
  if (pulled === undefined || pulled.digest !== info.imageDigest) {
    const problem = `snapshot integrity check failed: snapshot base image ${info.imageDigest} no longer available`
    return yield* new LightboxError({ method, reason: new SnapshotDamaged({ name: source.name, problem }) })
  }
  if (cached === undefined) state.cache.put(pulled)
  return { image: pulled, stored: yield* readDisk, size }
})

/** Creates missing volumes, unless the mount forbids it. */
const ensureVolumes = Effect.fnUntraced(function* (
  { state }: Context,
  name: string,
  config: SandboxConfig
): Effect.fn.Return<ReadonlyArray<string>, LightboxError> {
  const names: Array<string> = []
  for (const mount of Object.values(config.mounts ?? {})) {
    if (!("volume" in mount)) continue
    const volume = state.volumes.get(mount.volume)
    if (volume === undefined) {
      if (mount.create === false) {
        return yield* new LightboxError({ method, reason: new NotFound({ resource: "volume", name: mount.volume }) })
      }
      const createdAt = yield* Clock.currentTimeMillis
      state.volumes.create({ name: mount.volume, kind: "directory", labels: {}, createdAt })
    } else if (volume.kind === "disk") {
      const users = yield* usersOfVolume(state, mount.volume)
      if (users.some((user) => user !== name)) {
        const usedBy = users.slice(0, 1)
        return yield* new LightboxError({
          method,
          reason: new InUse({ resource: "volume", name: mount.volume, usedBy })
        })
      }
    }
    names.push(mount.volume)
  }
  return names.toSorted()
})

/** Lists running sandboxes that mount a volume. */
export const usersOfVolume = (state: HomeState, volume: string): Effect.Effect<ReadonlyArray<string>, LightboxError> =>
  Effect.map(all(state), (found) =>
    found.flatMap(({ name, status, volumes }) => (status === "running" && volumes.includes(volume) ? [name] : []))
  )

/** Lists the sandboxes, running or not, and the snapshots that need an image. */
export const usersOfImage = (state: HomeState, digest: string): Effect.Effect<ImageUsers> =>
  Effect.gen(function* () {
    const sandboxes = state.rows.names().filter((name) => {
      const row = state.held.get(name)?.row ?? state.rows.get(name)
      return row?.imageDigest === digest
    })
    const snapshots = yield* Effect.filter(state.snapshots.names(), (name) =>
      state.snapshots.open("Microsandbox.pruneImages", name).pipe(
        Effect.map(({ info }) => info.imageDigest === digest),
        Effect.orElseSucceed(() => false)
      )
    )
    return { sandboxes: sandboxes.length, snapshots: snapshots.length }
  })

/** Boots an existing sandbox. */
const start = Effect.fnUntraced(function* (
  { programs, state }: Context,
  method: string,
  held: Held
): Effect.fn.Return<void, LightboxError> {
  const { config, image, row } = held
  const scope = yield* Scope.make()
  const context = yield* Effect.context()
  const end = (status: "stopped" | "crashed", isFlushed: boolean) => finish(state, held, status, isFlushed)
  const run = Effect.runForkWith(context)
  const clock = yield* Effect.clockWith(Effect.succeed)
  const machine = yield* boot({
    method,
    name: row.name,
    config,
    cpus: row.cpus,
    memory: row.memory,
    env: held.env,
    workdir: row.workdir ?? image.workdir ?? "/",
    image,
    disk: held.disk,
    volumes: state.volumes,
    attributes: state.attributes,
    programs,
    clock,
    log: held.log,
    scope,
    // In another fiber: a process cannot wait for its own end.
    onPowerOff: () => run(end("stopped", true))
  }).pipe(Effect.onError(() => Scope.close(scope, Exit.void)))
  held.running = { machine, scope }
  change(state, held, { status: "running" })
  yield* watchTimes(machine, config, end)
})

/** Ends a machine after its maximum duration or idle time. */
const watchTimes = Effect.fnUntraced(function* (
  machine: Machine,
  { idleTimeout, maxDuration }: SandboxConfig,
  end: (status: "stopped", isFlushed: boolean) => Effect.Effect<void>
): Effect.fn.Return<void> {
  const endLater = (isFlushed: boolean) => Effect.forkDetach(end("stopped", isFlushed), { startImmediately: true })
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
    const { machine, scope } = running
    return Effect.gen(function* () {
      // The agent closes its connections first: nobody learns of a command that ends after that.
      machine.lose(lossProblem)
      if (isFlushed) {
        machine.signalAll({ pid: 1, uid: 0, gid: 0, groups: [] }, signals.SIGTERM)
        for (let turn = 0; turn < goodbyes; turn++) yield* Effect.yieldNow
        disk.sync()
      } else disk.revert()
      held.running = undefined
      log.system(machine.now(), "--- sandbox stopped ---")
      if (state.held.get(row.name) === held) {
        Fs.writeFileSync(state.rows.diskOf(row.name), disk.encode())
        change(state, held, { status })
        if (held.config.ephemeral === true) forget(state, held)
      }
      yield* Scope.close(scope, Exit.void)
    })
  }).pipe(Effect.uninterruptible)

const forget = (state: HomeState, held: Held): void => {
  state.held.delete(held.row.name)
  state.rows.remove(held.row.name)
}

/** Ends a machine as if its process had been killed. */
export const crash = (state: HomeState, method: string, name: string): Effect.Effect<void, LightboxError> =>
  Effect.flatMap(lookUp(state, method, name), (found) => {
    if (found._tag === "Foreign") return Effect.fail(elsewhere(method))
    return found.held.running === undefined
      ? Effect.fail(new LightboxError({ method, reason: new NotRunning({ name }) }))
      : finish(state, found.held, "crashed", false)
  })

/** Fills the disk of a sandbox up to the given free bytes. */
export const fill = (
  state: HomeState,
  method: string,
  name: string,
  free: number
): Effect.Effect<void, LightboxError> =>
  Effect.flatMap(lookUp(state, method, name), (found) =>
    found._tag === "Foreign"
      ? Effect.fail(elsewhere(method))
      : Effect.sync(() => {
          const { disk } = found.held
          disk.limit = disk.usage().used + free
        })
  )

/** Stops the running sandboxes of a layer, as the end of its process would. */
export const releaseLayer = (state: HomeState, layer: object): Effect.Effect<void> =>
  Effect.forEach(
    [...state.held.values()].filter((held) => held.layer === layer && !held.row.isDetached),
    (held) => finish(state, held, "stopped", true),
    { discard: true }
  )

/** Stops all running sandboxes. */
export const releaseHome = (state: HomeState): Effect.Effect<void> =>
  Effect.forEach([...state.held.values()], (held) => finish(state, held, "stopped", true), { discard: true })

/** Lists the processes of all guests except agents. */
export const processes = (
  state: HomeState
): ReadonlyArray<{ readonly sandbox: string; readonly pid: number; readonly argv: ReadonlyArray<string> }> =>
  [...state.held.values()].flatMap(({ row, running }) =>
    (running?.machine.pids() ?? [])
      .filter((pid) => pid !== 1)
      .map((pid) => ({ sandbox: row.name, pid, argv: running?.machine.processInfo(pid)?.argv ?? [] }))
  )

const create = Effect.fnUntraced(function* (
  context: Context,
  request: Microsandbox.CreateSandbox
): Effect.fn.Return<Microsandbox.SandboxInfo, LightboxError> {
  const { state } = context
  const { name } = request
  const config = yield* withDefaults(context, request.config)
  yield* checkName(name)
  yield* checkCombination(request)
  yield* checkHostPaths(config)
  if (request.onConflict === "replace") yield* destroyByName(state, name)
  return yield* withPorts(config, (config) => createChecked(context, request, config))
})

const createChecked = Effect.fnUntraced(function* (
  context: Context,
  request: Microsandbox.CreateSandbox,
  config: SandboxConfig
): Effect.fn.Return<Microsandbox.SandboxInfo, LightboxError> {
  const { state } = context
  const { name } = request
  const taken = new LightboxError({ method, reason: new AlreadyExists({ resource: "sandbox", name }) })
  if (state.held.has(name) || state.rows.get(name) !== undefined) return yield* taken
  const base = yield* baseOf(context, request, config)
  const volumes = yield* ensureVolumes(context, name, config)
  const instance = request.labels?.[instanceLabel] ?? (yield* generate)
  const owner = yield* context.ownership.id
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
  yield* patch(method, disk, config.patches ?? [])
  disk.sync()

  // No step between the reservation and its release.
  if (!state.rows.reserve(name) && state.rows.get(name) !== undefined) return yield* taken
  const held: Held = {
    row: {
      id: state.rows.nextId(),
      name,
      status: "starting",
      labels: { ...config.labels, ...request.labels, [instanceLabel]: instance },
      image: base.image.reference,
      imageDigest: base.image.digest,
      cpus: config.resources?.cpus ?? defaultResources.cpus,
      memory: config.resources?.memory ?? defaultResources.memory,
      volumes,
      ports: publishedPorts(config),
      ...(config.cwd === undefined ? {} : { workdir: config.cwd }),
      shell: config.shell ?? "/bin/sh",
      createdAt: clock.currentTimeMillisUnsafe(),
      diskSize: base.size,
      owner,
      isDetached: request.detached === true,
      isOverlay: wantsOverlay({ ...request, config })
    },
    config,
    image: base.image,
    disk,
    log: new Log(),
    layer: context.layer,
    env: environment(base.image, config),
    running: undefined
  }
  state.held.set(name, held)
  state.rows.put(held.row)
  yield* start(context, method, held).pipe(Effect.onError(() => discard(state, held)))
  return infoOf(held.row, held.row.status)
})

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

const checkName = (name: string): Effect.Effect<void, LightboxError> =>
  namePattern.test(name)
    ? Effect.void
    : Effect.fail(
        new LightboxError({
          method,
          reason: new InvalidConfig({ field: "options", problem: `invalid sandbox name: ${JSON.stringify(name)}` })
        })
      )

/** Removes a sandbox, running or not. */
const discard = (state: HomeState, held: Held): Effect.Effect<void> =>
  Effect.sync(() => {
    forget(state, held)
  }).pipe(Effect.andThen(finish(state, held, "stopped", false)))

const destroyByName = (state: HomeState, name: string): Effect.Effect<void, LightboxError> =>
  lookUp(state, method, name).pipe(
    Effect.flatMap((found) => destroy(state, method, found, true)),
    Effect.catchReason("LightboxError", "NotFound", () => Effect.void)
  )

const destroy = (
  state: HomeState,
  method: string,
  found: Found,
  isForced: boolean
): Effect.Effect<void, LightboxError> =>
  Effect.suspend(() => {
    if (found.status === "running" && !isForced) {
      return Effect.fail(new LightboxError({ method, reason: new StillRunning({ name: found.row.name }) }))
    }
    if (found._tag === "Held") return discard(state, found.held)
    return found.status === "running"
      ? Effect.fail(elsewhere(method))
      : Effect.sync(() => state.rows.remove(found.row.name))
  })

/** Reads the disk of a stopped sandbox. */
export const captured = (state: HomeState, method: string, name: string): Effect.Effect<Captured, LightboxError> =>
  Effect.flatMap(lookUp(state, method, name), (found) => {
    const { row, status } = found
    if (row.isOverlay) return Effect.fail(overlayRefused(method, "captureSnapshot"))
    if (status === "running") return Effect.fail(new LightboxError({ method, reason: new StillRunning({ name }) }))
    return Effect.sync(() => ({
      sandbox: name,
      disk: diskOf(state, found),
      size: row.diskSize,
      image: { reference: row.image, digest: row.imageDigest }
    }))
  })

const diskOf = (state: HomeState, found: Found): Uint8Array =>
  found._tag === "Held" ? found.held.disk.encode() : Fs.readFileSync(state.rows.diskOf(found.row.name))

// =============================================================================
// Operations
// =============================================================================

/** The operations on sandboxes. */
export const make = (context: Context): SandboxPart & RemainsPart => {
  const { calls, state } = context
  return {
    createSandbox: (request) => create(context, request),
    getSandbox: (name) =>
      Effect.map(lookUp(state, "Microsandbox.getSandbox", name), ({ row, status }) => infoOf(row, status)),
    listSandboxes: (filter) =>
      Effect.map(all(state), (found) =>
        found.filter(({ labels }) =>
          Object.entries(filter?.labels ?? {}).every(([key, value]) => labels[key] === value)
        )
      ),
    startSandbox: Effect.fnUntraced(function* (sandbox, options) {
      const method = "Microsandbox.startSandbox"
      const held = yield* requireHeld(state, method, sandbox)
      if (held.running !== undefined) {
        return yield* new LightboxError({ method, reason: new StillRunning({ name: sandbox.name }) })
      }
      for (const volume of held.row.volumes) {
        if (state.volumes.get(volume) !== undefined) continue
        return yield* new LightboxError({ method, reason: new NotFound({ resource: "volume", name: volume }) })
      }
      yield* start(context, method, held)
      change(state, held, { isDetached: options?.detached === true })
      return infoOf(held.row, held.row.status)
    }),
    stopSandbox: (sandbox) =>
      Effect.flatMap(exactly(state, "Microsandbox.stopSandbox", sandbox), (found) =>
        end(state, "Microsandbox.stopSandbox", found, true)
      ),
    killSandbox: (sandbox) =>
      Effect.flatMap(exactly(state, "Microsandbox.killSandbox", sandbox), (found) =>
        end(state, "Microsandbox.killSandbox", found, false)
      ),
    detachSandbox: (sandbox) =>
      Effect.sync(() => {
        const held = state.held.get(sandbox.name)
        if (held?.row.id === sandbox.id && held.layer === context.layer) change(state, held, { isDetached: true })
      }),
    removeSandbox: (sandbox, options) =>
      exactly(state, "Microsandbox.removeSandbox", sandbox).pipe(
        Effect.flatMap((found) => destroy(state, "Microsandbox.removeSandbox", found, options?.force === true)),
        Effect.catchReason("LightboxError", "NotFound", () => Effect.void)
      ),
    modifySandbox: Effect.fnUntraced(function* (sandbox, wanted) {
      const method = "Microsandbox.modifySandbox"
      const held = yield* requireHeld(state, method, sandbox)
      const { config, row } = held
      if (wanted.disk !== undefined && row.isOverlay) return yield* overlayRefused(method, "modify.disk")
      const isRunning = held.running !== undefined
      const plan = yield* Modify.plan(method, wanted, {
        isRunning,
        cpus: row.cpus,
        maxCpus: config.resources?.maxCpus ?? row.cpus,
        memory: row.memory,
        maxMemory: config.resources?.maxMemory ?? row.memory,
        disk: row.diskSize,
        workdir: row.workdir,
        env: { ...config.env },
        labels: row.labels
      })
      if (!plan.applied) return plan
      const restarts = needsRestart(plan)
      if (restarts && config.ephemeral === true) return yield* ephemeralRefused(method)
      const { resources } = config
      held.config = {
        ...config,
        env: Modify.merge(config.env, wanted.env),
        resources: {
          ...resources,
          maxCpus: Math.max(wanted.maxCpus ?? resources?.maxCpus ?? row.cpus, wanted.cpus ?? row.cpus),
          maxMemory: Math.max(wanted.maxMemory ?? resources?.maxMemory ?? row.memory, wanted.memory ?? row.memory)
        }
      }
      held.env = environment(held.image, held.config)
      if (wanted.disk !== undefined) held.disk.limit = wanted.disk
      change(state, held, {
        cpus: wanted.cpus ?? row.cpus,
        memory: wanted.memory ?? row.memory,
        diskSize: wanted.disk ?? row.diskSize,
        labels: Modify.merge(row.labels, wanted.labels),
        ...(wanted.cwd === undefined ? {} : { workdir: wanted.cwd })
      })
      if (restarts) {
        yield* finish(state, held, "stopped", true).pipe(
          Effect.andThen(start(context, method, held)),
          Effect.uninterruptible
        )
      }
      return plan
    }),
    connect: Effect.fnUntraced(function* (sandbox): Effect.fn.Return<Guest.Guest, LightboxError, Scope.Scope> {
      const method = "Microsandbox.connect"
      const found = yield* exactly(state, method, sandbox)
      if (found._tag === "Foreign") {
        return yield* found.status === "running"
          ? elsewhere(method)
          : new LightboxError({ method, reason: new NotRunning({ name: sandbox.name }) })
      }
      const machine = yield* machineOf(found.held, method)
      return yield* GuestChannel.connect({
        machine,
        calls,
        log: found.held.log,
        subject: { sandbox: sandbox.name, kill: finish(state, found.held, "crashed", false) }
      })
    }),
    readLogs: (sandbox, query) =>
      Effect.flatMap(requireHeld(state, "Microsandbox.readLogs", sandbox), ({ log }) => log.read(query)),
    readMetrics: Effect.fnUntraced(function* (sandbox) {
      const method = "Microsandbox.readMetrics"
      const held = yield* requireHeld(state, method, sandbox)
      const machine = yield* machineOf(held, method)
      if (held.config.metricsInterval === "off") {
        return yield* new LightboxError({
          method,
          reason: new Unsupported({ feature: "metrics", problem: "this sandbox does not collect metrics" })
        })
      }
      const now = yield* Clock.currentTimeMillis
      const { used } = held.disk.usage()
      return {
        cpuPercent: 0,
        memory: 32 * mebibyte + (machine.pids().length - 1) * mebibyte,
        memoryLimit: held.row.memory,
        diskRead: held.image.tree.length,
        diskWritten: used,
        networkReceived: machine.traffic.received,
        networkSent: machine.traffic.sent,
        rootDiskUsed: used,
        uptime: Duration.millis(now - machine.bootedAt),
        timestamp: DateTime.makeUnsafe(now)
      }
    }),
    searchSandbox: (sandbox, needles) =>
      Effect.flatMap(exactly(state, "Microsandbox.searchSandbox", sandbox), (found) => {
        if (found.row.isOverlay) return Effect.fail(overlayRefused("Microsandbox.searchSandbox", "searchSandbox"))
        const disk = Buffer.from(diskOf(state, found))
        return Effect.succeed(needles.map((needle) => disk.indexOf(needle) !== -1))
      }),
    listGhosts: () =>
      Effect.sync(() =>
        state.rows.names().filter((name) => !state.held.has(name) && state.rows.get(name) === undefined)
      ),
    // The twin leaves no boot folders.
    removeRemains: () => Effect.succeed([]),
    removeGhost: (name) =>
      Effect.sync(() => {
        const isGhost = state.rows.names().includes(name) && !state.held.has(name) && state.rows.get(name) === undefined
        if (isGhost) state.rows.remove(name)
        return isGhost
      })
  }
}

const end = (
  state: HomeState,
  method: string,
  found: Found,
  isFlushed: boolean
): Effect.Effect<void, LightboxError> => {
  if (found._tag === "Held") return finish(state, found.held, "stopped", isFlushed)
  return found.status === "running" ? Effect.fail(elsewhere(method)) : Effect.void
}

/** Ends the machine of a call, for faults. */
export const killerOf = (state: HomeState, name: string | undefined): Effect.Effect<void> | undefined =>
  name === undefined
    ? undefined
    : Effect.suspend(() => {
        const held = state.held.get(name)
        return held === undefined ? Effect.void : finish(state, held, "crashed", false)
      })
