/**
 * The part of the SDK that the drivers use. Another version of the runtime is driven by offering the same part over its
 * own native module.
 */
import type * as Sdk from "microsandbox"

/** A machine that this process booted. */
export type Machine = Pick<Sdk.Sandbox, "id" | "detach">

export interface SandboxHandle extends Pick<
  Sdk.SandboxHandle,
  | "configJson"
  | "createdAt"
  | "destroy"
  | "id"
  | "kill"
  | "logs"
  | "metrics"
  | "name"
  | "remove"
  | "status"
  | "stopWithTimeout"
> {
  start(): Promise<Machine>
  startDetached(): Promise<Machine>
  modify(options: Sdk.ModifyOptions): Promise<ModificationPlan>
  logStream(options: Sdk.LogStreamOptions): Promise<{ recv(): Promise<Sdk.LogEntry | null> }>
}

type Disposition = Sdk.SandboxModificationPlan["changes"][number]["disposition"]

interface Problem {
  readonly field: string
  readonly message: string
}

export interface ModificationPlan {
  readonly applied: boolean
  readonly changes: ReadonlyArray<
    | {
        readonly kind: "config"
        readonly field: string
        readonly before?: string | undefined
        readonly after?: string | undefined
        readonly disposition: Disposition
      }
    | {
        readonly kind: "secret"
        readonly field: string
        readonly beforeRef?: string | undefined
        readonly afterRef?: string | undefined
        readonly disposition: Disposition
      }
  >
  readonly conflicts: ReadonlyArray<Problem>
  readonly warnings: ReadonlyArray<Problem>
}

export interface SandboxPage {
  readonly sandboxes: ReadonlyArray<SandboxHandle>
  readonly nextCursor?: string | undefined
}

/** Setters of a list's query. */
export interface ListQuery {
  limit(limit: number): ListQuery
  cursor(cursor: string): ListQuery
  labels(labels: Record<string, string>): ListQuery
}

type Setters<Builder, Others extends keyof Builder> = {
  readonly [Name in Exclude<keyof Builder, Others>]: Builder[Name] extends (...args: infer Args) => unknown
    ? (...args: Args) => unknown
    : never
}

export interface SandboxBuilder extends Setters<
  Sdk.SandboxBuilder,
  "build" | "connectOrCreate" | "create" | "createWithPullProgress" | "rootDisk"
> {
  rootDisk(mebibytes: number): unknown
  rootDisk(configure: (disk: Sdk.RootDiskBuilder) => Sdk.RootDiskBuilder): unknown
  create(): Promise<Machine>
  createWithPullProgress(): Promise<{
    readonly progress: { recv(): Promise<Sdk.PullProgressEvent | null> }
    awaitSandbox(): Promise<Machine>
  }>
}

export interface Snapshot extends Pick<
  Sdk.Snapshot,
  | "createdAt"
  | "digest"
  | "format"
  | "fstype"
  | "imageManifestDigest"
  | "imageRef"
  | "labels"
  | "path"
  | "sizeBytes"
  | "sourceSandbox"
> {
  /** Bytes of its memory. Absent: it is only a disk. */
  readonly memory?: number | undefined
  verify(): Promise<{ readonly upper: { readonly kind: string } }>
}

export interface SnapshotBuilder {
  fromSandbox(sandbox: string): SnapshotBuilder
  label(key: string, value: string): SnapshotBuilder
  recordIntegrity(): SnapshotBuilder
  create(): Promise<Snapshot>
}

export type Volume = Pick<Sdk.VolumeHandle, "capacityBytes" | "createdAt" | "kind" | "labels" | "name" | "quotaMib">

export interface VolumeBuilder {
  disk(): VolumeBuilder
  directory(): VolumeBuilder
  size(mebibytes: number): VolumeBuilder
  quota(mebibytes: number): VolumeBuilder
  label(key: string, value: string): VolumeBuilder
  create(): Promise<unknown>
}

interface SandboxStatics {
  builder(name: string): SandboxBuilder
  get(name: string): Promise<SandboxHandle>
  listWith(configure: (query: ListQuery) => ListQuery): Promise<SandboxPage>
}

interface SnapshotStatics {
  builder(name: string): SnapshotBuilder
  open(pathOrName: string): Promise<Snapshot>
  listDir(folder: string): Promise<ReadonlyArray<Snapshot>>
  remove(pathOrName: string, options: { readonly force: boolean }): Promise<void>
  reindex(): Promise<number>
  save(
    nameOrPath: string,
    path: string,
    options: { readonly withImage: boolean; readonly plainTar: boolean }
  ): Promise<void>
  load(archive: string, folder: string): Promise<{ readonly path: string }>
}

interface ImageStatics {
  get(reference: string): Promise<Sdk.ImageHandle>
  inspect(reference: string): Promise<{
    readonly handle: Sdk.ImageHandle
    readonly config: Pick<Sdk.ImageConfigDetail, "cmd" | "entrypoint" | "env" | "user" | "workingDir"> | null
  }>
  list(): Promise<ReadonlyArray<Sdk.ImageHandle>>
  load(path: string, options: { readonly tag?: string }): Promise<ReadonlyArray<Sdk.ImageHandle>>
  prune(): Promise<Pick<Sdk.ImagePruneReport, "bytesReclaimed" | "imageRefsRemoved" | "layersRemoved">>
  remove(reference: string, options: { readonly force: boolean }): Promise<void>
  save(
    references: ReadonlyArray<string>,
    options: { readonly outputPath: string; readonly format: "docker" | "oci" }
  ): Promise<void>
}

interface VolumeStatics {
  get(name: string): Promise<Volume>
  list(): Promise<ReadonlyArray<Volume>>
  remove(name: string): Promise<void>
  builder(name: string): VolumeBuilder
}

interface AgentStatics {
  socketPath(name: string): string
}

export interface Surface {
  readonly Sandbox: SandboxStatics
  readonly Snapshot: SnapshotStatics
  readonly Image: ImageStatics
  readonly Volume: VolumeStatics
  readonly AgentClient: AgentStatics
}
