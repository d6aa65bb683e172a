/** `Microsandbox` in memory, with every call recorded. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import type { LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type { Control, DriverOperation, Options } from "../../../MicrosandboxMemory.ts"
import * as Admission from "../admission.ts"
import * as Ownership from "../../../Ownership.ts"
import type { Blueprint } from "../../reaper/compose.ts"
import { HostPath, intBetween, Memory } from "../../config/schemas.ts"
import { decoder } from "../../config/validation.ts"
import { Calls, type Detail } from "./calls.ts"
import { type Failure, type Unnamed, within } from "./failure.ts"
import { programs as builtIn } from "./programs/index.ts"
import { programOf } from "./kernel/invocation.ts"
import { localCapabilities } from "../parts.ts"
import * as Home from "../../host/home.ts"
import * as Images from "./images.ts"
import type { Program } from "./kernel/process.ts"
import * as Sandboxes from "./sandboxes.ts"
import * as Snapshots from "./snapshots.ts"
import * as State from "./state.ts"
import * as Volumes from "./volumes.ts"

type Driver = Microsandbox.Microsandbox["Service"]
type HomeState = State.HomeState

const method = "MicrosandboxMemory.layer"

const decodeOptions = decoder(
  Schema.Struct({
    home: Schema.optional(HostPath),
    cpus: Schema.optional(intBetween(1, 255)),
    memory: Schema.optional(Memory),
    pullPolicy: Schema.optional(Schema.Literals(["always", "if-missing", "never"])),
    budget: Schema.optional(Admission.Budget),
    sweep: Schema.optional(Schema.Boolean),
    records: Schema.optional(Schema.Boolean),
    images: Schema.optional(Schema.Record(Schema.String, Schema.Unknown)),
    commands: Schema.optional(Schema.Record(Schema.String, Schema.Unknown)),
    faults: Schema.optional(Schema.Array(Schema.Unknown)),
    memorySnapshots: Schema.optional(Schema.Boolean)
  }),
  method
)

// =============================================================================
// Homes
// =============================================================================

const homes = new Map<string, { readonly state: HomeState; users: number }>()

const makeHomeState = (home: string): HomeState => ({
  home,
  rows: new State.Rows(home),
  held: new Map(),
  cache: new Images.ImageCache(home),
  snapshots: new Snapshots.SnapshotStore(home),
  volumes: new Volumes.VolumeStore(home),
  attributes: new Map()
})

/** Opens the state of a home, which all layers of this process share. */
const openHome = (home: string): Effect.Effect<HomeState, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const shared = homes.get(home) ?? { state: makeHomeState(home), users: 0 }
      shared.users++
      homes.set(home, shared)
      return shared.state
    }),
    (state) =>
      Effect.suspend(() => {
        const shared = homes.get(home)
        if (shared === undefined || --shared.users > 0) return Effect.void
        homes.delete(home)
        return Sandboxes.release(state)
      })
  )

const homeFolder = (wanted: string | undefined): Effect.Effect<string, never, Scope.Scope> =>
  wanted === undefined
    ? Effect.acquireRelease(
        Effect.sync(() => Fs.realpathSync(Fs.mkdtempSync(Path.join(Os.tmpdir(), "lightbox-memory-")))),
        (home) => Effect.sync(() => Fs.rmSync(home, { recursive: true, force: true }))
      )
    : Effect.sync(() => {
        Fs.mkdirSync(wanted, { recursive: true })
        return Fs.realpathSync(wanted)
      })

// =============================================================================
// Service
// =============================================================================

export const make = Effect.fnUntraced(function* (
  input: Options
): Effect.fn.Return<
  { readonly blueprint: Blueprint<never, Ownership.Ownership | Scope.Scope>; readonly control: Control["Service"] },
  LightboxError,
  Scope.Scope
> {
  const options = yield* decodeOptions(input)
  if (options.home !== undefined) yield* Home.requireFolder("MicrosandboxMemory.layer", Path.resolve(options.home))
  const home = yield* homeFolder(options.home === undefined ? undefined : Path.resolve(options.home))
  const state = yield* openHome(home)
  const calls = new Calls(input.faults ?? [])
  const programs = new Map<string, Program>(Object.entries(builtIn))
  for (const [name, command] of Object.entries(input.commands ?? {})) programs.set(...programOf(name, command))
  const registry = new Images.Registry(input, yield* Clock.currentTimeMillis)
  for (const [reference, image] of Object.entries(input.images ?? {})) {
    const stored = image.isCached === true ? registry.find(reference) : undefined
    if (stored !== undefined) state.cache.put(stored)
  }
  const { budget, cpus, memory, memorySnapshots: hasMemory = false, pullPolicy, records, sweep } = options
  const layer = {}
  const makeDriver = Effect.gen(function* () {
    const ownership = yield* Ownership.Ownership
    yield* Effect.addFinalizer(() => Sandboxes.release(state, layer))
    return driverOf({ state, registry, programs, calls, ownership, layer, cpus, memory, pullPolicy, hasMemory })
  })
  return {
    blueprint: {
      home,
      make: makeDriver,
      admission: {
        // The host's disk and memory do not limit the twin.
        budget: { disk: 0, ...budget },
        defaultMemory: memory,
        availableMemory: () => Number.POSITIVE_INFINITY
      },
      sweep,
      records
    },
    control: controlOf(calls, state, registry)
  }
})

const driverOf = (context: State.Context): Driver => {
  const { calls, ownership, registry, state } = context
  const plain = {
    ...Images.make(state.cache, registry, context.pullPolicy, (digest) => Sandboxes.usersOfImage(state, digest)),
    ...Sandboxes.make(context),
    ...Snapshots.make({
      store: state.snapshots,
      cache: state.cache,
      stage: ownership.stage,
      capture: (name) => Sandboxes.captured(state, name),
      captureRunning: (name) => Sandboxes.capturedRunning(state, name)
    }),
    ...Sandboxes.makeMemory(context),
    ...Volumes.make(state.volumes, ownership.stage, (name) => Sandboxes.usersOfVolume(state, name))
  }
  const { memory, operations } = recorded(calls, state, plain)
  const { hasMemory } = context
  const canResume = { captureRunning: hasMemory, fork: hasMemory, memorySnapshots: hasMemory, pause: hasMemory }
  return {
    backend: "memory",
    version: "memory",
    home: state.home,
    capabilities: { ...localCapabilities, ...canResume, diskMounts: false },
    ...(hasMemory ? { memory } : {}),
    ...operations
  }
}

type Operations = Pick<Driver, Exclude<DriverOperation, keyof Microsandbox.MemoryOperations>>

interface Recorded {
  readonly operations: Operations
  readonly memory: Microsandbox.MemoryOperations
}

/** Records the calls of all operations, applies faults, and names the operation in errors. */
const recorded = (
  calls: Calls,
  state: HomeState,
  plain: Unnamed<Operations & Microsandbox.MemoryOperations>
): Recorded => {
  const call =
    <Args extends ReadonlyArray<unknown>, A, R>(
      operation: DriverOperation,
      run: (...args: Args) => Effect.Effect<A, Failure, R>,
      /** Returns the name of the sandbox, if there is one, and the arguments to record. */
      describe: (...args: Args) => readonly [sandbox?: string | undefined, detail?: Detail] = () => []
    ) =>
    (...args: Args): Effect.Effect<A, LightboxError, R> => {
      const [sandbox, detail = {}] = describe(...args)
      const subject = { sandbox, kill: Sandboxes.killerOf(state, sandbox) }
      return calls.run(operation, subject, detail, within(`Microsandbox.${operation}`, run(...args)))
    }
  const operations: Operations = {
    loadImage: call("loadImage", plain.loadImage, (path, options) => [undefined, { path, ...options }]),
    saveImages: call("saveImages", plain.saveImages, (references, path) => [undefined, { references, path }]),
    listImages: call("listImages", plain.listImages),
    getImage: call("getImage", plain.getImage, (reference) => [undefined, { reference }]),
    resolveImage: call("resolveImage", plain.resolveImage, (reference, { pullPolicy } = {}) => [
      undefined,
      { reference, pullPolicy }
    ]),
    removeImage: call("removeImage", plain.removeImage, (reference, options) => [undefined, { reference, ...options }]),
    pruneImages: call("pruneImages", plain.pruneImages),
    createSandbox: call(
      "createSandbox",
      plain.createSandbox,
      ({ detached = false, name, onConflict = "fail", resume, source }) => [
        name,
        { source, onConflict, detached, ...(resume === undefined ? {} : { resume }) }
      ]
    ),
    getSandbox: call("getSandbox", plain.getSandbox, (name) => [name]),
    listSandboxes: call("listSandboxes", plain.listSandboxes, (filter) => [undefined, { ...filter }]),
    startSandbox: call("startSandbox", plain.startSandbox, ({ name }, options) => [name, { ...options }]),
    stopSandbox: call("stopSandbox", plain.stopSandbox, ({ name }) => [name]),
    killSandbox: call("killSandbox", plain.killSandbox, ({ name }) => [name]),
    getSandboxLifecycle: call("getSandboxLifecycle", plain.getSandboxLifecycle, ({ name }) => [name]),
    detachSandbox: call("detachSandbox", plain.detachSandbox, ({ name }) => [name]),
    removeSandbox: call("removeSandbox", plain.removeSandbox, ({ name }, options) => [name, { ...options }]),
    modifySandbox: call("modifySandbox", plain.modifySandbox, ({ name }, change) => [name, { change }]),
    connect: call("connect", plain.connect, ({ name }) => [name]),
    readLogs: call("readLogs", plain.readLogs, ({ name }, query) => [name, { ...query }]),
    readMetrics: call("readMetrics", plain.readMetrics, ({ name }) => [name]),
    searchSandbox: call("searchSandbox", plain.searchSandbox, ({ name }, needles) => [
      name,
      { needles: needles.length }
    ]),
    listGhosts: call("listGhosts", plain.listGhosts),
    removeRemains: call("removeRemains", plain.removeRemains, (options) => [undefined, { ...options }]),
    removeGhost: call("removeGhost", plain.removeGhost, (name) => [name]),
    captureSnapshot: call("captureSnapshot", plain.captureSnapshot, ({ labels, name, sandbox }) => [
      sandbox,
      { name, labels }
    ]),
    getSnapshot: call("getSnapshot", plain.getSnapshot, (name) => [undefined, { name }]),
    listSnapshots: call("listSnapshots", plain.listSnapshots),
    listDamagedSnapshots: call("listDamagedSnapshots", plain.listDamagedSnapshots),
    removeSnapshot: call("removeSnapshot", plain.removeSnapshot, (name) => [undefined, { name }]),
    verifySnapshot: call("verifySnapshot", plain.verifySnapshot, (name) => [undefined, { name }]),
    saveSnapshot: call("saveSnapshot", plain.saveSnapshot, (name, path) => [undefined, { name, path }]),
    loadSnapshot: call("loadSnapshot", plain.loadSnapshot, (path, name) => [undefined, { path, name }]),
    importSnapshot: call("importSnapshot", plain.importSnapshot, (folder, name) => [undefined, { folder, name }]),
    renameSnapshot: call("renameSnapshot", plain.renameSnapshot, (name, to) => [undefined, { name, to }]),
    removeStaging: call("removeStaging", plain.removeStaging, (of, options) => [undefined, { ...of, ...options }]),
    listSnapshotLinks: call("listSnapshotLinks", plain.listSnapshotLinks),
    readSnapshotLink: call("readSnapshotLink", plain.readSnapshotLink, (link) => [undefined, { link }]),
    linkSnapshot: call("linkSnapshot", plain.linkSnapshot, (link, name) => [undefined, { link, name }]),
    unlinkSnapshot: call("unlinkSnapshot", plain.unlinkSnapshot, (link) => [undefined, { link }]),
    createVolume: call("createVolume", plain.createVolume, (request) => [undefined, { ...request }]),
    getVolume: call("getVolume", plain.getVolume, (name) => [undefined, { name }]),
    listVolumes: call("listVolumes", plain.listVolumes),
    removeVolume: call("removeVolume", plain.removeVolume, (name) => [undefined, { name }])
  }
  const memory: Microsandbox.MemoryOperations = {
    captureMemory: call("captureMemory", plain.captureMemory, ({ labels, name, sandbox }) => [
      sandbox,
      { name, labels }
    ]),
    searchMemory: call("searchMemory", plain.searchMemory, (name, needles) => [
      undefined,
      { name, needles: needles.length }
    ]),
    forkSandbox: call("forkSandbox", plain.forkSandbox, ({ name }, copies) => [
      name,
      { copies: copies.map((copy) => copy.name) }
    ]),
    pauseSandbox: call("pauseSandbox", plain.pauseSandbox, ({ name }) => [name]),
    resumeSandbox: call("resumeSandbox", plain.resumeSandbox, ({ name }) => [name]),
    growRootDisk: call("growRootDisk", plain.growRootDisk, ({ name }, bytes) => [name, { bytes }])
  }
  return { operations, memory }
}

// =============================================================================
// Control
// =============================================================================

const controlOf = (calls: Calls, state: HomeState, registry: Images.Registry): Control["Service"] => ({
  inject: (...faults) => Effect.sync(() => calls.arm(faults)),
  clearFaults: Effect.sync(() => calls.disarm()),
  calls: Effect.sync(() => calls.history()),
  inventory: Effect.gen(function* () {
    return {
      sandboxes: (yield* State.all(state)).map(({ name, status }) => ({ name, status })),
      processes: Sandboxes.processes(state),
      snapshots: state.snapshots.names(),
      snapshotLinks: state.snapshots.links(),
      volumes: state.volumes.all().map(({ name }) => name),
      images: state.cache.all().map(({ reference }) => reference)
    }
  }),
  kill: (sandbox) => within("MicrosandboxMemory.Control.kill", Sandboxes.crash(state, sandbox)),
  fillDisk: (sandbox, { free = 0 } = {}) =>
    within("MicrosandboxMemory.Control.fillDisk", Sandboxes.fill(state, sandbox, free)),
  setImage: (reference, image) => Effect.sync(() => registry.declare(reference, image)),
  damageSnapshot: (name, part = "content") =>
    within("MicrosandboxMemory.Control.damageSnapshot", state.snapshots.damage(name, part))
})
