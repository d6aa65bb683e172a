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
import type { Control, DriverOperation, Image, Options } from "../../../MicrosandboxMemory.ts"
import * as Admission from "../admission.ts"
import * as Ownership from "../../../Ownership.ts"
import type { Blueprint } from "../../reaper/compose.ts"
import { HostPath, intBetween, Memory } from "../../config/schemas.ts"
import { decoder } from "../../config/validation.ts"
import { Calls } from "./calls.ts"
import { programs as builtIn } from "./programs/index.ts"
import { programOf } from "./kernel/invocation.ts"
import * as Images from "./images.ts"
import type { Program } from "./kernel/process.ts"
import * as Sandboxes from "./sandboxes.ts"
import * as Snapshots from "./snapshots.ts"
import * as Volumes from "./volumes.ts"

type Driver = Microsandbox.Microsandbox["Service"]

const method = "MicrosandboxMemory.layer"

const decodeOptions = decoder(
  Schema.Struct({
    home: Schema.optional(HostPath),
    cpus: Schema.optional(intBetween(1, 255)),
    memory: Schema.optional(Memory),
    pullPolicy: Schema.optional(Schema.Literals(["always", "if-missing", "never"])),
    budget: Schema.optional(Admission.Budget),
    sweep: Schema.optional(Schema.Boolean),
    images: Schema.optional(Schema.Record(Schema.String, Schema.Unknown)),
    commands: Schema.optional(Schema.Record(Schema.String, Schema.Unknown)),
    faults: Schema.optional(Schema.Array(Schema.Unknown))
  }),
  method
)

// =============================================================================
// Homes
// =============================================================================

const homes = new Map<string, { readonly state: Sandboxes.HomeState; users: number }>()

const makeHomeState = (home: string): Sandboxes.HomeState => ({
  home,
  rows: Sandboxes.makeRows(home),
  held: new Map(),
  cache: new Images.ImageCache(home),
  snapshots: new Snapshots.SnapshotStore(home),
  volumes: new Volumes.VolumeStore(home),
  attributes: new Map()
})

/** Opens the state of a home, which all layers of this process share. */
const openHome = (home: string): Effect.Effect<Sandboxes.HomeState, never, Scope.Scope> =>
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
        return Sandboxes.releaseHome(state)
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
// Registry
// =============================================================================

/** The declared images. If there are none, every reference is a plain image. */
const makeRegistry = (
  declared: { readonly [reference: string]: Image } | undefined,
  commands: ReadonlyArray<string>,
  createdAt: number
): Images.Registry => {
  const images = new Map(Object.entries(declared ?? {}))
  const built = new Map<string, { readonly image: Image; readonly stored: Images.StoredImage }>()
  const find = (reference: string): Images.StoredImage | undefined => {
    const image = images.get(reference) ?? (declared === undefined ? {} : undefined)
    if (image === undefined) return undefined
    const known = built.get(reference)
    if (known !== undefined && known.image === images.get(reference)) return known.stored
    const stored = Images.build(reference, image, commands, createdAt)
    built.set(reference, { image, stored })
    return stored
  }
  return {
    find,
    archived: (path) => {
      const found = [...images].find(([, { archive }]) => archive !== undefined && Path.resolve(archive) === path)
      return found === undefined ? undefined : find(found[0])
    },
    declare: (reference, image) => {
      images.set(reference, image)
    }
  }
}

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
  const home = yield* homeFolder(options.home === undefined ? undefined : Path.resolve(options.home))
  const state = yield* openHome(home)
  const calls = new Calls(input.faults ?? [])
  const commands = Object.keys(input.commands ?? {})
  const programs = new Map<string, Program>(Object.entries(builtIn))
  for (const [name, command] of Object.entries(input.commands ?? {})) programs.set(...programOf(name, command))
  const registry = makeRegistry(input.images, commands, yield* Clock.currentTimeMillis)
  for (const [reference, image] of Object.entries(input.images ?? {})) {
    const stored = image.isCached === true ? registry.find(reference) : undefined
    if (stored !== undefined) state.cache.put(stored)
  }
  const { budget, cpus, memory, pullPolicy, sweep } = options
  const layer = {}
  const makeDriver = Effect.gen(function* () {
    const ownership = yield* Ownership.Ownership
    yield* Effect.addFinalizer(() => Sandboxes.releaseLayer(state, layer))
    return driverOf({ state, registry, programs, calls, ownership, layer, cpus, memory, pullPolicy })
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
      sweep
    },
    control: controlOf(calls, state, registry)
  }
})

const driverOf = (context: Sandboxes.Context): Driver => {
  const { calls, ownership, registry, state } = context
  const plain = {
    ...Images.make(state.cache, registry, (digest) => Sandboxes.usersOfImage(state, digest)),
    ...Sandboxes.make(context),
    ...Snapshots.make({
      store: state.snapshots,
      cache: state.cache,
      stage: ownership.stage,
      capture: (method, name) => Sandboxes.captured(state, method, name)
    }),
    ...Volumes.make(state.volumes, (name) => Sandboxes.usersOfVolume(state, name))
  }
  return {
    backend: "memory",
    version: "memory",
    home: state.home,
    capabilities: {
      snapshots: true,
      images: true,
      volumes: true,
      bindMounts: true,
      diskMounts: false,
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
    ...recorded(calls, state, plain)
  }
}

type Plain = Omit<Driver, "backend" | "version" | "home" | "capabilities">

/** Wraps all operations as recorded calls with faults. */
const recorded = (calls: Calls, state: Sandboxes.HomeState, plain: Plain): Plain => {
  const run = <A, R>(
    operation: DriverOperation,
    sandbox: string | undefined,
    detail: { readonly [key: string]: unknown },
    effect: Effect.Effect<A, LightboxError, R>
  ) => calls.run(operation, { sandbox, kill: Sandboxes.killerOf(state, sandbox) }, detail, effect)
  return {
    loadImage: (path, options) => run("loadImage", undefined, { path, ...options }, plain.loadImage(path, options)),
    saveImages: (references, path, options) =>
      run("saveImages", undefined, { references, path }, plain.saveImages(references, path, options)),
    listImages: () => run("listImages", undefined, {}, plain.listImages()),
    getImage: (reference) => run("getImage", undefined, { reference }, plain.getImage(reference)),
    removeImage: (reference, options) =>
      run("removeImage", undefined, { reference, ...options }, plain.removeImage(reference, options)),
    pruneImages: () => run("pruneImages", undefined, {}, plain.pruneImages()),
    createSandbox: (request) =>
      run(
        "createSandbox",
        request.name,
        { source: request.source, onConflict: request.onConflict ?? "fail", detached: request.detached === true },
        plain.createSandbox(request)
      ),
    getSandbox: (name) => run("getSandbox", name, {}, plain.getSandbox(name)),
    listSandboxes: (filter) => run("listSandboxes", undefined, { ...filter }, plain.listSandboxes(filter)),
    startSandbox: (sandbox, options) =>
      run("startSandbox", sandbox.name, { ...options }, plain.startSandbox(sandbox, options)),
    stopSandbox: (sandbox, options) => run("stopSandbox", sandbox.name, {}, plain.stopSandbox(sandbox, options)),
    killSandbox: (sandbox) => run("killSandbox", sandbox.name, {}, plain.killSandbox(sandbox)),
    detachSandbox: (sandbox) => run("detachSandbox", sandbox.name, {}, plain.detachSandbox(sandbox)),
    removeSandbox: (sandbox, options) =>
      run("removeSandbox", sandbox.name, { ...options }, plain.removeSandbox(sandbox, options)),
    modifySandbox: (sandbox, change) =>
      run("modifySandbox", sandbox.name, { change }, plain.modifySandbox(sandbox, change)),
    connect: (sandbox) => run("connect", sandbox.name, {}, plain.connect(sandbox)),
    readLogs: (sandbox, query) => run("readLogs", sandbox.name, { ...query }, plain.readLogs(sandbox, query)),
    readMetrics: (sandbox) => run("readMetrics", sandbox.name, {}, plain.readMetrics(sandbox)),
    searchSandbox: (sandbox, needles) =>
      run("searchSandbox", sandbox.name, { needles: needles.length }, plain.searchSandbox(sandbox, needles)),
    listGhosts: () => run("listGhosts", undefined, {}, plain.listGhosts()),
    removeRemains: (options) => run("removeRemains", undefined, { ...options }, plain.removeRemains(options)),
    removeGhost: (name) => run("removeGhost", name, {}, plain.removeGhost(name)),
    captureSnapshot: (request) =>
      run(
        "captureSnapshot",
        request.sandbox,
        { name: request.name, labels: request.labels },
        plain.captureSnapshot(request)
      ),
    getSnapshot: (name) => run("getSnapshot", undefined, { name }, plain.getSnapshot(name)),
    listSnapshots: () => run("listSnapshots", undefined, {}, plain.listSnapshots()),
    listDamagedSnapshots: () => run("listDamagedSnapshots", undefined, {}, plain.listDamagedSnapshots()),
    removeSnapshot: (name) => run("removeSnapshot", undefined, { name }, plain.removeSnapshot(name)),
    verifySnapshot: (name) => run("verifySnapshot", undefined, { name }, plain.verifySnapshot(name)),
    saveSnapshot: (name, path, options) =>
      run("saveSnapshot", undefined, { name, path }, plain.saveSnapshot(name, path, options)),
    loadSnapshot: (path, name) => run("loadSnapshot", undefined, { path, name }, plain.loadSnapshot(path, name)),
    renameSnapshot: (name, to) => run("renameSnapshot", undefined, { name, to }, plain.renameSnapshot(name, to)),
    removeStaging: (of, options) =>
      run("removeStaging", undefined, { ...of, ...options }, plain.removeStaging(of, options)),
    listSnapshotLinks: () => run("listSnapshotLinks", undefined, {}, plain.listSnapshotLinks()),
    readSnapshotLink: (link) => run("readSnapshotLink", undefined, { link }, plain.readSnapshotLink(link)),
    linkSnapshot: (link, name) => run("linkSnapshot", undefined, { link, name }, plain.linkSnapshot(link, name)),
    unlinkSnapshot: (link) => run("unlinkSnapshot", undefined, { link }, plain.unlinkSnapshot(link)),
    createVolume: (request) => run("createVolume", undefined, { ...request }, plain.createVolume(request)),
    getVolume: (name) => run("getVolume", undefined, { name }, plain.getVolume(name)),
    listVolumes: () => run("listVolumes", undefined, {}, plain.listVolumes()),
    removeVolume: (name) => run("removeVolume", undefined, { name }, plain.removeVolume(name))
  }
}

// =============================================================================
// Control
// =============================================================================

const controlOf = (calls: Calls, state: Sandboxes.HomeState, registry: Images.Registry): Control["Service"] => ({
  inject: (...faults) => Effect.sync(() => calls.arm(faults)),
  clearFaults: Effect.sync(() => calls.disarm()),
  calls: Effect.sync(() => calls.history()),
  inventory: Effect.gen(function* () {
    return {
      sandboxes: (yield* Sandboxes.all(state)).map(({ name, status }) => ({ name, status })),
      processes: Sandboxes.processes(state).map(({ argv, pid, sandbox }) => ({
        sandbox,
        pid,
        command: argv.join(" ")
      })),
      snapshots: state.snapshots.names(),
      snapshotLinks: state.snapshots.links(),
      volumes: state.volumes.all().map(({ name }) => name),
      images: state.cache.all().map(({ reference }) => reference)
    }
  }),
  kill: (sandbox) => Sandboxes.crash(state, "MicrosandboxMemory.Control.kill", sandbox),
  fillDisk: (sandbox, options) =>
    Sandboxes.fill(state, "MicrosandboxMemory.Control.fillDisk", sandbox, options?.free ?? 0),
  setImage: (reference, image) => Effect.sync(() => registry.declare(reference, image)),
  damageSnapshot: (name, part) =>
    state.snapshots.damage("MicrosandboxMemory.Control.damageSnapshot", name, part ?? "content")
})
