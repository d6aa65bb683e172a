/**
 * What crosses the wire between a program and a host: RPC over HTTP for operations, plain HTTP for archives, and a WebSocket
 * per connection to a guest.
 *
 * A session stands for a program. Everything that belongs to a scope of the program belongs to its session, and is removed
 * when the host has not heard of it for the length of a lease. Operations have an id, so that one whose answer was lost is
 * asked for again without running twice; they run on when the connection breaks, and end when they are cancelled.
 */
import * as Rpc from "effect/rpc/Rpc"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as Schema from "effect/Schema"
import { Report } from "../../../Cleanup.ts"
import { LightboxError } from "../../../LightboxError.ts"
import * as Microsandbox from "../../../Microsandbox.ts"
import * as SandboxConfig from "../../../SandboxConfig.ts"
import * as Snapshot from "../../../Snapshot.ts"
import { DurationFromWholeMillis } from "../../config/schemas.ts"
import { Capabilities } from "../../directory/models.ts"
import { kinds } from "../../ownership/owner.ts"

/** Programs and hosts of different versions of the protocol do not talk to each other. */
export const generation = 1

export const paths = { rpc: "/v1/rpc", files: "/v1/files", sandboxes: "/v1/sandboxes" } as const

export const headers = {
  session: "x-lightbox-session",
  request: "x-lightbox-request",
  generation: "x-lightbox-generation"
} as const

/** A request without archives is smaller. */
export const maxBodyBytes = 16 * 1024 * 1024

/** Pieces of an agent's stream are smaller. */
export const maxPieceBytes = 8 * 1024 * 1024

// =============================================================================
// Schemas
// =============================================================================

const NoteSchema = Schema.Struct({
  kind: Schema.Literals(kinds),
  token: Schema.String,
  name: Schema.String
})

const OwnerSchema = Schema.Struct({
  id: Schema.String,
  state: Schema.Literals(["alive", "dead", "elsewhere", "unknown"]),
  pid: Schema.UndefinedOr(Schema.Finite),
  notes: Schema.Array(NoteSchema),
  problem: Schema.optionalKey(LightboxError)
})

const total = Schema.UndefinedOr(Schema.Finite)

const PullProgress = Schema.Union([
  Schema.TaggedStruct("Resolving", { reference: Schema.String }),
  Schema.TaggedStruct("Resolved", { reference: Schema.String, digest: Schema.String, layers: Schema.Finite, total }),
  Schema.TaggedStruct("Downloading", { layer: Schema.Finite, done: Schema.Finite, total }),
  Schema.TaggedStruct("Unpacking", { layer: Schema.Finite, done: Schema.Finite, total }),
  Schema.TaggedStruct("Pulled", { reference: Schema.String })
])

const Labels = Schema.Record(Schema.String, Schema.String)

const Ref = Schema.Struct({ name: Schema.String, id: Schema.String })

/** See {@link Values}: the host checks it as the options of a launch. */
const Plain = Schema.Json

const ImageResolution = Schema.Struct({ digest: Schema.UndefinedOr(Schema.String), isCached: Schema.Boolean })

/** What became of a creation so far. `Waiting` keeps the connection in use. */
export const CreateEvent = Schema.Union([
  Schema.TaggedStruct("Waiting", {}),
  Schema.TaggedStruct("Pulling", { progress: PullProgress }),
  Schema.TaggedStruct("Created", { info: Microsandbox.SandboxInfo })
])

export type CreateEvent = typeof CreateEvent.Type

/** What becomes of a transfer. `Waiting` keeps the connection in use. */
const transferEvent = <S extends Schema.Constraint>(result: S) =>
  Schema.Union([
    Schema.TaggedStruct("Waiting", {}),
    Schema.TaggedStruct("Moving", { progress: Snapshot.TransferProgress }),
    Schema.TaggedStruct("Moved", { result })
  ])

export type TransferEvent<A> =
  | { readonly _tag: "Waiting" }
  | { readonly _tag: "Moving"; readonly progress: Snapshot.TransferProgress }
  | { readonly _tag: "Moved"; readonly result: A }

export const LockEvent = Schema.Union([
  Schema.TaggedStruct("Held", {}),
  Schema.TaggedStruct("Waiting", {}),
  /** A line of the holder. */
  Schema.TaggedStruct("Line", { line: Schema.String }),
  /** What those that wait have sent. */
  Schema.TaggedStruct("Received", { lines: Schema.Array(Schema.String) })
])

export type LockEvent = typeof LockEvent.Type

/** What a program learns about a host when it opens a session. */
const Opened = Schema.Struct({
  session: Schema.String,
  lease: DurationFromWholeMillis,
  /** Its id, if it is part of a fleet. */
  host: Schema.optional(Schema.String),
  /** Version of the runtime. */
  version: Schema.String,
  capabilities: Capabilities
})

export type Opened = typeof Opened.Type

// =============================================================================
// Operations
// =============================================================================

const error = LightboxError

const session = RpcGroup.make(
  Rpc.make("open", { success: Opened, error }),
  Rpc.make("renew", { error }),
  Rpc.make("close", { error }),
  Rpc.make("cancel", { payload: { request: Schema.String }, error })
)

const home = RpcGroup.make(
  Rpc.make("ownerId", { success: Schema.String, error }),
  Rpc.make("note", { payload: { note: NoteSchema }, error }),
  Rpc.make("forget", { payload: { note: NoteSchema }, error }),
  Rpc.make("release", { payload: { note: NoteSchema, expires: Schema.optional(Schema.Finite) }, error }),
  Rpc.make("readRecord", { payload: { path: Schema.String }, success: Schema.UndefinedOr(Schema.String), error }),
  Rpc.make("writeRecord", { payload: { path: Schema.String, content: Schema.String }, error }),
  Rpc.make("removeRecord", { payload: { path: Schema.String }, error }),
  Rpc.make("listRecords", { payload: { folder: Schema.String }, success: Schema.Array(Schema.String), error }),
  Rpc.make("recordTime", { payload: { path: Schema.String }, success: Schema.UndefinedOr(Schema.Finite), error }),
  Rpc.make("setRecordTime", { payload: { path: Schema.String, millis: Schema.Finite }, error }),
  Rpc.make("inUse", { success: Schema.Array(Schema.String), error }),
  Rpc.make("copies", { success: Schema.Literals(["reflink", "full", "unknown"]), error }),
  Rpc.make("findOwner", { payload: { id: Schema.String }, success: OwnerSchema, error }),
  Rpc.make("volumeUsage", { payload: { name: Schema.String }, success: Schema.Finite, error }),
  Rpc.make("sweep", {
    payload: { dryRun: Schema.Boolean, timeout: DurationFromWholeMillis },
    success: Report,
    error
  }),
  Rpc.make("lock", {
    payload: { id: Schema.String, name: Schema.String, message: Schema.optional(Schema.String) },
    success: LockEvent,
    error,
    stream: true
  }),
  /** Sends lines to those that wait. `first` counts those sent before, so that none is sent twice. */
  Rpc.make("sendLines", {
    payload: { id: Schema.String, first: Schema.Finite, lines: Schema.Array(Schema.String) },
    error
  }),
  Rpc.make("unlock", { payload: { id: Schema.String }, error })
)

const images = RpcGroup.make(
  Rpc.make("loadImage", {
    payload: { file: Schema.String, tag: Schema.optional(Schema.String) },
    success: Schema.Array(Microsandbox.ImageInfo),
    error
  }),
  Rpc.make("saveImages", {
    payload: {
      references: Schema.Array(Schema.String),
      format: Schema.optional(Schema.Literals(["docker", "oci"]))
    },
    success: Schema.String,
    error
  }),
  Rpc.make("listImages", { success: Schema.Array(Microsandbox.ImageInfo), error }),
  Rpc.make("getImage", { payload: { reference: Schema.String }, success: Microsandbox.ImageDetail, error }),
  Rpc.make("resolveImage", {
    payload: { reference: Schema.String, options: Plain },
    success: ImageResolution,
    error
  }),
  Rpc.make("removeImage", { payload: { reference: Schema.String, force: Schema.optional(Schema.Boolean) }, error }),
  Rpc.make("pruneImages", { success: Microsandbox.ImagePruneReport, error })
)

const sandboxes = RpcGroup.make(
  Rpc.make("createSandbox", {
    payload: {
      name: Schema.String,
      source: SandboxConfig.Source,
      config: Plain,
      labels: Schema.optional(Labels),
      onConflict: Schema.optional(Schema.Literals(["fail", "replace"])),
      /** The sandboxes that it reaches by an address. */
      peers: Schema.optional(
        Schema.Array(
          Schema.Struct({
            name: Schema.String,
            address: Schema.String,
            ports: Schema.Array(Schema.Finite),
            sandbox: Ref
          })
        )
      ),
      detached: Schema.optional(Schema.Boolean),
      refuseIfFull: Schema.optional(Schema.Boolean)
    },
    success: CreateEvent,
    error,
    stream: true
  }),
  Rpc.make("getSandbox", { payload: { name: Schema.String }, success: Microsandbox.SandboxInfo, error }),
  Rpc.make("listSandboxes", {
    payload: { labels: Schema.optional(Labels) },
    success: Schema.Array(Microsandbox.SandboxInfo),
    error
  }),
  Rpc.make("startSandbox", {
    payload: { sandbox: Ref, detached: Schema.optional(Schema.Boolean) },
    success: Microsandbox.SandboxInfo,
    error
  }),
  Rpc.make("stopSandbox", { payload: { sandbox: Ref, timeout: Schema.optional(DurationFromWholeMillis) }, error }),
  Rpc.make("killSandbox", { payload: { sandbox: Ref }, error }),
  Rpc.make("getSandboxLifecycle", {
    payload: { sandbox: Ref },
    success: Schema.Struct({ isAttached: Schema.Boolean, isEphemeral: Schema.Boolean }),
    error
  }),
  Rpc.make("detachSandbox", { payload: { sandbox: Ref }, error }),
  Rpc.make("removeSandbox", { payload: { sandbox: Ref, force: Schema.optional(Schema.Boolean) }, error }),
  Rpc.make("modifySandbox", {
    payload: { sandbox: Ref, change: Plain },
    success: Microsandbox.ModificationPlan,
    error
  }),
  Rpc.make("readLogs", {
    payload: {
      sandbox: Ref,
      sources: Schema.optional(Schema.Array(Microsandbox.LogEntry.fields.source)),
      tail: Schema.optional(Schema.Finite),
      after: Schema.optional(Schema.String)
    },
    success: Microsandbox.LogEntry,
    error,
    stream: true
  }),
  Rpc.make("readMetrics", { payload: { sandbox: Ref }, success: Microsandbox.Metrics, error }),
  Rpc.make("searchSandbox", {
    payload: { sandbox: Ref, needles: Schema.Array(Schema.Uint8Array) },
    success: Schema.Array(Schema.Boolean),
    error
  }),
  Rpc.make("listGhosts", { success: Schema.Array(Schema.String), error }),
  Rpc.make("removeGhost", { payload: { name: Schema.String }, success: Schema.Boolean, error }),
  Rpc.make("removeRemains", {
    payload: { dryRun: Schema.optional(Schema.Boolean) },
    success: Schema.Array(Schema.String),
    error
  })
)

const snapshots = RpcGroup.make(
  Rpc.make("captureSnapshot", {
    payload: {
      sandbox: Schema.String,
      name: Schema.String,
      labels: Schema.optional(Labels),
      integrity: Schema.optional(Schema.Boolean)
    },
    success: Microsandbox.SnapshotInfo,
    error
  }),
  Rpc.make("getSnapshot", { payload: { name: Schema.String }, success: Microsandbox.SnapshotInfo, error }),
  Rpc.make("listSnapshots", { success: Schema.Array(Microsandbox.SnapshotInfo), error }),
  Rpc.make("listDamagedSnapshots", { success: Schema.Array(Schema.String), error }),
  Rpc.make("removeSnapshot", { payload: { name: Schema.String }, error }),
  Rpc.make("verifySnapshot", { payload: { name: Schema.String }, success: Schema.Boolean, error }),
  Rpc.make("saveSnapshot", {
    payload: {
      name: Schema.String,
      withImage: Schema.optional(Schema.Boolean),
      compress: Schema.optional(Schema.Boolean)
    },
    success: Schema.String,
    error
  }),
  Rpc.make("removeStaging", {
    payload: {
      of: Schema.Union([Schema.Struct({ snapshot: Schema.String }), Schema.Struct({ loadsSince: Schema.Finite })]),
      dryRun: Schema.optional(Schema.Boolean)
    },
    success: Schema.Array(Schema.String),
    error
  }),
  Rpc.make("renameSnapshot", { payload: { name: Schema.String, to: Schema.String }, error }),
  Rpc.make("loadSnapshot", {
    payload: { file: Schema.String, name: Schema.String },
    success: Microsandbox.SnapshotInfo,
    error
  }),
  Rpc.make("listSnapshotLinks", { success: Labels, error }),
  Rpc.make("readSnapshotLink", {
    payload: { link: Schema.String },
    success: Schema.UndefinedOr(Schema.String),
    error
  }),
  Rpc.make("linkSnapshot", { payload: { link: Schema.String, name: Schema.String }, error }),
  Rpc.make("unlinkSnapshot", { payload: { link: Schema.String }, error }),
  Rpc.make("pushSnapshot", {
    payload: { name: Schema.String, reference: Schema.String, access: Plain },
    success: transferEvent(Snapshot.Pushed),
    error,
    stream: true
  }),
  /** `reference` is a text, or that of another host. */
  Rpc.make("pullSnapshot", {
    payload: {
      name: Schema.String,
      reference: Plain,
      access: Plain,
      overwrite: Schema.optional(Schema.Boolean),
      keep: Schema.optional(Schema.Finite),
      trusted: Schema.optional(Schema.Boolean)
    },
    success: transferEvent(Snapshot.Snapshot),
    error,
    stream: true
  }),
  /** Pulls the result of a key from another host. It gets no name. */
  Rpc.make("pullResult", {
    payload: { key: Schema.String, from: Plain },
    success: transferEvent(Microsandbox.SnapshotInfo),
    error,
    stream: true
  }),
  /** Removes an archive that was downloaded, or that is not needed any more. */
  Rpc.make("dropFile", { payload: { file: Schema.String }, error })
)

const volumes = RpcGroup.make(
  Rpc.make("createVolume", {
    payload: {
      name: Schema.String,
      kind: Schema.Literals(["directory", "disk"]),
      quota: Schema.optional(Schema.Finite),
      labels: Schema.optional(Labels)
    },
    success: Microsandbox.VolumeInfo,
    error
  }),
  Rpc.make("getVolume", { payload: { name: Schema.String }, success: Microsandbox.VolumeInfo, error }),
  Rpc.make("listVolumes", { success: Schema.Array(Microsandbox.VolumeInfo), error }),
  Rpc.make("removeVolume", { payload: { name: Schema.String }, error })
)

/** All operations of a host. */
export const operations = session.merge(home, images, sandboxes, snapshots, volumes)

/** An error as the body of an HTTP answer, for requests that are not RPC. */
export const ErrorBody = Schema.fromJsonString(Schema.toCodecJson(LightboxError))
