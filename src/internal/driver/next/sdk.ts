/**
 * Offers the native module of 0.7 as the drivers know the SDK of 0.6, so that they are the same for both.
 *
 * What differs: a snapshot is a folder in a group, and is taken out of it, to be found under its name alone; no sandbox
 * is created from a snapshot with options of its own, so it is booted from the image first, and again with the disk of
 * the snapshot; and what the runtime does not record of resumed sandboxes and copies is recorded beside it.
 */
import * as Schema from "effect/Schema"
import type * as Sdk from "microsandbox"
import type * as Native from "microsandbox/native"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { sync, unlessMissing } from "../../host/durable.ts"
import * as OverlayDisk from "../overlayDisk.ts"
import * as RootDisk from "../rootDisk.ts"
import type {
  ListQuery,
  Machine,
  ModificationPlan,
  SandboxBuilder,
  SandboxHandle,
  Snapshot,
  SnapshotBuilder,
  Surface,
  Volume
} from "../sdk/surface.ts"
import type { Addon, Handle, Snapshot as NativeSnapshot } from "./addon.ts"
import { copyDisk } from "./copyDisks.ts"
import * as Layers from "./layers.ts"
import * as Machines from "./machines.ts"
import { teach } from "./names.ts"

const date = (millis: number | null | undefined): Date | null => (typeof millis === "number" ? new Date(millis) : null)

// =============================================================================
// Images and volumes
// =============================================================================

type ImageInfo = Omit<Native.ImageInfo | Native.ImageHandle, "reference" | "layerCount"> &
  Pick<Native.ImageInfo, "reference" | "layerCount">

const image = (info: ImageInfo): Sdk.ImageHandle => ({
  reference: info.reference,
  sizeBytes: info.sizeBytes ?? null,
  manifestDigest: info.manifestDigest ?? null,
  architecture: info.architecture ?? null,
  os: info.os ?? null,
  layerCount: info.layerCount,
  createdAt: date(info.createdAt),
  lastUsedAt: date(info.lastUsedAt)
})

const images = (addon: Addon): Surface["Image"] => ({
  get: async (reference) => image(await addon.imageGet(reference)),
  inspect: async (reference) => {
    const { config, ...info } = await addon.imageInspect(reference)
    return {
      handle: image(info),
      config:
        config === undefined
          ? null
          : {
              env: config.env,
              cmd: config.cmd ?? null,
              entrypoint: config.entrypoint ?? null,
              user: config.user ?? null,
              workingDir: config.workingDir ?? null
            }
    }
  },
  list: async () => (await addon.imageList()).map(image),
  load: async (path, { tag }) => (await addon.imageLoad(path, tag)).map(image),
  prune: async () => {
    const { bytesReclaimed, imageRefsRemoved, layersRemoved } = await addon.imagePrune()
    return { bytesReclaimed: bytesReclaimed ?? null, imageRefsRemoved, layersRemoved }
  },
  remove: (reference, { force }) => addon.imageRemove(reference, force),
  save: (references, { format, outputPath }) => addon.imageSave([...references], outputPath, format)
})

const volume = (info: Native.VolumeInfo | Native.VolumeHandle): Volume => ({
  name: info.name,
  kind: info.kind,
  quotaMib: info.quotaMib ?? null,
  capacityBytes: info.capacityBytes ?? null,
  labels: Object.entries(info.labels),
  createdAt: date(info.createdAt)
})

const volumes = (addon: Addon): Surface["Volume"] => ({
  get: async (name) => volume(await addon.Volume.get(name)),
  list: async () => (await addon.Volume.list()).map(volume),
  remove: (name) => addon.Volume.remove(name),
  builder: (name) => new addon.VolumeBuilder(name)
})

// =============================================================================
// Sandboxes
// =============================================================================

const sources: ReadonlyArray<Sdk.LogEntry["source"]> = ["stdout", "stderr", "output", "system"]

const logEntry = (entry: Native.LogEntry): Sdk.LogEntry => {
  const data = new Uint8Array(entry.data)
  return {
    timestamp: new Date(entry.timestampMs),
    source: sources.find((source) => source === entry.source) ?? "system",
    sessionId: entry.sessionId ?? null,
    data,
    cursor: entry.cursor,
    text: () => new TextDecoder().decode(data)
  }
}

const Text = Schema.optionalKey(Schema.NullOr(Schema.String))

const Problems = Schema.optionalKey(Schema.Array(Schema.Struct({ field: Schema.String, message: Schema.String })))

const disposition = Schema.Literals(["live", "next start", "requires restart", "unsupported"])

const decodePlan = Schema.decodeUnknownSync(
  Schema.fromJsonString(
    Schema.Struct({
      applied: Schema.Boolean,
      changes: Schema.optionalKey(
        Schema.Array(
          Schema.Union([
            Schema.Struct({
              kind: Schema.Literal("secret"),
              field: Schema.String,
              before_ref: Text,
              after_ref: Text,
              disposition
            }),
            Schema.Struct({
              kind: Schema.Literal("config"),
              field: Schema.String,
              before: Text,
              after: Text,
              disposition
            })
          ])
        )
      ),
      conflicts: Problems,
      warnings: Problems
    })
  )
)

const plan = (json: string): ModificationPlan => {
  const { applied, changes = [], conflicts = [], warnings = [] } = decodePlan(json)
  return {
    applied,
    changes: changes.map(({ disposition, field, ...change }) =>
      change.kind === "secret"
        ? {
            kind: "secret",
            field,
            disposition,
            beforeRef: change.before_ref ?? undefined,
            afterRef: change.after_ref ?? undefined
          }
        : { kind: "config", field, disposition, before: change.before ?? undefined, after: change.after ?? undefined }
    ),
    conflicts,
    warnings
  }
}

/** The SDK's names of options, with only those that are set: the native module refuses `undefined`. */
const modification = (options: Sdk.ModifyOptions): Native.SandboxModifyOptions => {
  const { memory, maxMemory, rootDiskSize, secrets: _, secretsRemove: __, ...same } = options
  return {
    ...same,
    ...(memory === undefined ? {} : { memoryMib: memory }),
    ...(maxMemory === undefined ? {} : { maxMemoryMib: maxMemory }),
    ...(rootDiskSize === undefined ? {} : { rootDiskSizeMib: rootDiskSize })
  }
}

const statuses: ReadonlyArray<Sdk.SandboxStatus> = [
  "created",
  "starting",
  "running",
  "draining",
  "paused",
  "stopped",
  "crashed"
]

const handleOf = (home: string, handle: Handle): SandboxHandle => {
  const { id, name } = handle
  return {
    id,
    name,
    status: statuses.find((status) => status === handle.status) ?? "crashed",
    configJson: Machines.completed(home, { id, name }, handle.configJson),
    createdAt: date(handle.createdAt),
    start: async () => {
      await requireEnded(handle)
      return handle.start()
    },
    startDetached: async () => {
      await requireEnded(handle)
      return handle.startDetached()
    },
    stopWithTimeout: (millis) => stop(handle, millis),
    kill: () => handle.kill(),
    destroy: async (options) => {
      await handle.destroy(options)
      await Machines.remove(home, name)
    },
    remove: async () => {
      await requireEnded(handle)
      await handle.remove()
      await Machines.remove(home, name)
    },
    modify: async (options) => plan(await handle.modify(modification(options))),
    logs: async ({ sources, tail } = {}) =>
      (
        await handle.logs({
          ...(sources === undefined ? {} : { sources: [...sources] }),
          ...(tail === undefined ? {} : { tail })
        })
      ).map(logEntry),
    logStream: async ({ follow = false, fromCursor, sources }) => {
      const stream = await handle.logStream({
        follow,
        ...(fromCursor === undefined ? {} : { fromCursor }),
        ...(sources === undefined ? {} : { sources: [...sources] })
      })
      return {
        recv: async () => {
          const entry = await stream.recv()
          return entry === null ? null : logEntry(entry)
        }
      }
    },
    metrics: async () => {
      const { timestampMs, ...metrics } = await handle.metrics()
      return {
        ...metrics,
        memoryAvailableBytes: metrics.memoryAvailableBytes ?? null,
        memoryHostResidentBytes: metrics.memoryHostResidentBytes ?? null,
        upperUsedBytes: metrics.upperUsedBytes ?? null,
        upperFreeBytes: metrics.upperFreeBytes ?? null,
        upperHostAllocatedBytes: metrics.upperHostAllocatedBytes ?? null,
        timestamp: new Date(timestampMs)
      }
    }
  }
}

/** The runtime captures running sandboxes, too, and connects to one that it is to start. */
const requireEnded = async (handle: Handle): Promise<void> => {
  const { status } = await handle.refresh()
  if (status === "running" || status === "paused" || status === "draining") {
    throw new Error(`[SandboxStillRunning] sandbox "${handle.name}" is ${status}`)
  }
}

/** The runtime fails at the deadline, and refuses to stop a paused sandbox: either way its machine is killed instead. */
const stop = async (handle: Handle, millis: number): Promise<void> => {
  if (handle.status === "paused") return handle.kill()
  try {
    await handle.stopWithTimeout(millis)
  } catch (error) {
    const { status } = await handle.refresh()
    if (status !== "running" && status !== "draining") {
      if (status === "stopped" || status === "crashed") return
      throw error
    }
    await handle.kill()
  }
}

const ended = async (addon: Addon, name: string): Promise<Handle> => {
  for (let look = 0; look < 600; look++) {
    const handle = await addon.Sandbox.get(name)
    if (handle.status === "stopped" || handle.status === "crashed") return handle
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`[Runtime] sandbox "${name}" did not end`)
}

const listQuery = (found: {
  labels: { readonly [key: string]: string }
  limit: number
  cursor: string | undefined
}): ListQuery => {
  const query: ListQuery = {
    limit: (limit) => {
      found.limit = limit
      return query
    },
    cursor: (cursor) => {
      found.cursor = cursor
      return query
    },
    labels: (labels) => {
      found.labels = labels
      return query
    }
  }
  return query
}

const Labelled = Schema.fromJsonString(
  Schema.Struct({ labels: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)) })
)

const labelsIn = Schema.decodeUnknownSync(Labelled)

const sandboxes = (addon: Addon, home: string): Surface["Sandbox"] => ({
  builder: (name) => builder(addon, home, name),
  get: async (name) => handleOf(home, await addon.Sandbox.get(name)),
  listWith: async (configure) => {
    const query = { labels: {}, limit: 100, cursor: undefined }
    configure(listQuery(query))
    const { cursor, labels, limit } = query
    // The runtime does not know all labels.
    const page = await addon.Sandbox.listWith({ limit, ...(cursor === undefined ? {} : { cursor }) })
    const wanted = Object.entries(labels)
    return {
      sandboxes: page.sandboxes
        .map((handle) => handleOf(home, handle))
        .filter(({ configJson }) => {
          if (wanted.length === 0) return true
          const { labels = {} } = labelsIn(configJson)
          return wanted.every(([key, value]) => labels[key] === value)
        }),
      nextCursor: page.nextCursor
    }
  }
})

/** Boots from a snapshot by way of its image: only a fresh sandbox takes all options. */
const builder = (addon: Addon, home: string, name: string): SandboxBuilder => {
  const native = new addon.SandboxBuilder(name)
  const create = native.create.bind(native)
  const detached = native.detached.bind(native)
  let snapshot: string | undefined
  let isDetached = false
  return Object.assign(native, {
    fromSnapshot: (from: string) => {
      snapshot = from
    },
    detached: (enabled: boolean) => {
      isDetached = enabled
      detached(enabled)
    },
    create: async (): Promise<Machine> => {
      if (snapshot === undefined) return create()
      const path = pathOf(home, snapshot)
      const { imageManifestDigest, imageRef } = await addon.Snapshot.open(path)
      native.image(imageRef)
      native.pullPolicy("never")
      await create()
      const handle = await addon.Sandbox.get(name)
      if (!handle.configJson.includes(imageManifestDigest)) {
        throw new Error(`[SnapshotImageMissing] ${imageRef} is no longer the image that the snapshot was built from`)
      }
      await handle.kill()
      const stopped = await ended(addon, name)
      await copyDisk(Path.join(path, RootDisk.diskFile), Path.join(home, "sandboxes", name, RootDisk.diskFile))
      return isDetached ? stopped.startDetached() : stopped.start()
    }
  })
}

// =============================================================================
// Snapshots
// =============================================================================

/** Names are those of folders. Anything else is a path. */
export const pathOf = (home: string, pathOrName: string): string =>
  pathOrName.includes("/") ? pathOrName : Path.join(home, "snapshots", pathOrName)

/** Files with the memory and the devices of a captured machine. None: it is only a disk. */
export const objectsOf = async (path: string): Promise<ReadonlyArray<string>> => {
  const folder = Path.join(path, "checkpoint", "objects")
  const entries = await unlessMissing(Fs.readdir(folder, { recursive: true, withFileTypes: true }))
  return (entries ?? []).flatMap((entry) => (entry.isFile() ? [Path.join(entry.parentPath, entry.name)] : []))
}

const Checkpoint = Schema.fromJsonString(
  Schema.Struct({ geometry: Schema.Struct({ memory_mib: Schema.Finite, vcpus: Schema.Finite }) })
)

const decodeCheckpoint = Schema.decodeUnknownSync(Checkpoint)

/** The processors and the memory of a captured machine. */
export const geometryOf = async (path: string) => {
  const { geometry } = decodeCheckpoint(await Fs.readFile(Path.join(path, "checkpoint", "checkpoint.json"), "utf8"))
  return { cpus: geometry.vcpus, mebibytes: geometry.memory_mib }
}

const sizesOf = async (files: ReadonlyArray<string>): Promise<number> => {
  let sum = 0
  for (const file of files) sum += (await Fs.stat(file)).size
  return sum
}

const snapshotOf = (snapshot: NativeSnapshot, size: bigint | null, memory: number | undefined): Snapshot => ({
  digest: snapshot.digest,
  path: snapshot.path,
  imageRef: snapshot.imageRef,
  imageManifestDigest: snapshot.imageManifestDigest,
  createdAt: snapshot.createdAt,
  labels: Object.entries(snapshot.labels),
  sourceSandbox: snapshot.sourceSandbox,
  // That of the disk in one file, which is in the folder of every snapshot.
  format: "raw",
  fstype: "ext4",
  sizeBytes: size,
  memory,
  verify: async () => {
    const { checkpointRoot, upperKind } = await snapshot.verify()
    return { upper: { kind: typeof checkpointRoot === "string" ? "verified" : upperKind } }
  }
})

const opened = async (snapshot: NativeSnapshot): Promise<Snapshot> => {
  const disk = await unlessMissing(Fs.stat(Path.join(snapshot.path, RootDisk.diskFile)))
  if (disk === undefined) {
    throw new Error(`[SnapshotIntegrity] missing upper file: ${Path.join(snapshot.path, RootDisk.diskFile)}`)
  }
  const memory = snapshot.scope === "full" ? await sizesOf(await objectsOf(snapshot.path)) : undefined
  return snapshotOf(snapshot, BigInt(disk.size), memory)
}

const isFailed = (result: PromiseSettledResult<unknown>): result is PromiseRejectedResult =>
  result.status === "rejected"

/** Takes a snapshot out of the group in which the runtime has made it. */
export const publish = async (
  addon: Addon,
  home: string,
  name: string,
  make: (staging: string) => Promise<NativeSnapshot>,
  disk: (snapshot: NativeSnapshot) => Promise<readonly [string, ...ReadonlyArray<string>]>
): Promise<Snapshot> => {
  const folder = Path.join(home, "snapshots")
  const target = Path.join(folder, name)
  const staging = Path.join(folder, `.${name}.staging`)
  if ((await unlessMissing(Fs.lstat(target))) !== undefined) {
    throw new Error(`[SnapshotAlreadyExists] snapshot already exists: ${name}`)
  }
  await Fs.rm(staging, { recursive: true, force: true })
  await Fs.mkdir(staging, { recursive: true })
  try {
    const made = await make(staging)
    const whole = Path.join(made.path, RootDisk.diskFile)
    const layers = await disk(made)
    if (layers.length === 1) await Fs.link(layers[0], whole)
    else await OverlayDisk.write(OverlayDisk.ofLayers(layers), whole, new AbortController().signal)
    await sync(made.path)
    await Fs.rename(made.path, target)
    await sync(folder)
  } finally {
    const [removal] = await Promise.allSettled([Fs.rm(staging, { recursive: true, force: true })])
    if (removal !== undefined && isFailed(removal)) process.emitWarning(`could not remove ${staging}`)
  }
  await addon.Snapshot.reindex()
  return opened(await addon.Snapshot.open(target))
}

/** Refuses machines: the order of the layers of their disks is not in their folder. */
const requireDisk = (snapshot: NativeSnapshot): string => {
  if (snapshot.upperFile === null) {
    throw new Error("[UnsupportedOperation] archives of snapshots with memory are not supported")
  }
  return snapshot.upperFile
}

const snapshots = (addon: Addon, home: string): Surface["Snapshot"] => {
  return {
    builder: (name) => {
      const native = new addon.SnapshotBuilder(name)
      let source = ""
      const wrapped: SnapshotBuilder = {
        fromSandbox: (sandbox) => {
          source = sandbox
          native.fromSandbox(sandbox)
          return wrapped
        },
        label: (key, value) => {
          native.label(key, value)
          return wrapped
        },
        recordIntegrity: () => {
          native.recordIntegrity()
          return wrapped
        },
        create: async () => {
          await requireEnded(await addon.Sandbox.get(source))
          return publish(
            addon,
            home,
            name,
            (staging) => native.destDir(staging).create(),
            async ({ path, upperFile }) => {
              const layers = await Layers.ofSandbox(home, source)
              return upperFile === null || layers.length > 1 ? layers : [Path.join(path, upperFile)]
            }
          )
        }
      }
      return wrapped
    },
    open: async (pathOrName) => opened(await addon.Snapshot.open(pathOf(home, pathOrName))),
    listDir: async (folder) => {
      const found: Array<Snapshot> = []
      // One by one: those of a group are not snapshots of their own.
      for (const name of (await unlessMissing(Fs.readdir(folder))) ?? []) {
        if (name.startsWith(".")) continue
        const [snapshot] = await Promise.allSettled([addon.Snapshot.open(Path.join(folder, name)).then(opened)])
        if (snapshot !== undefined && !isFailed(snapshot)) found.push(snapshot.value)
      }
      return found
    },
    remove: async (pathOrName, { force }) => addon.Snapshot.remove(pathOf(home, pathOrName), { force }),
    reindex: () => addon.Snapshot.reindex(),
    save: async (pathOrName, path, options) => {
      const from = pathOf(home, pathOrName)
      requireDisk(await addon.Snapshot.open(from))
      await addon.Snapshot.save(from, path, options)
    },
    load: async (archive, folder) => {
      const { path } = await addon.Snapshot.load(archive, folder)
      const disk = requireDisk(await addon.Snapshot.open(path))
      await Fs.link(Path.join(path, disk), Path.join(path, RootDisk.diskFile))
      return { path }
    }
  }
}

/** The SDK of a home. */
export const make = (addon: Addon, home: string): Surface => {
  teach(addon)
  return {
    Sandbox: sandboxes(addon, home),
    Snapshot: snapshots(addon, home),
    Image: images(addon),
    Volume: volumes(addon),
    AgentClient: addon.AgentClient
  }
}
