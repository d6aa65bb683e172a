/** The sandboxes of this process, and the rows in the home that other processes see. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { type LightboxError, NotFound, NotRunning, Replaced, Unsupported } from "../../../LightboxError.ts"
import * as Microsandbox from "../../../Microsandbox.ts"
import type * as Ownership from "../../../Ownership.ts"
import type { SandboxConfig } from "../../../SandboxConfig.ts"
import * as Owner from "../../ownership/owner.ts"
import type { Defaults } from "../createChecks.ts"
import type { Calls } from "./calls.ts"
import { readQuietly, replaceFile } from "./files.ts"
import type { ImageCache, Registry, StoredImage } from "./images.ts"
import type { FileTree } from "./kernel/fileTree.ts"
import type { GuestAttributes } from "./kernel/hostFolder.ts"
import type { Machine } from "./kernel/machine.ts"
import type { Program } from "./kernel/process.ts"
import type { Log } from "./logs.ts"
import type { SnapshotStore } from "./snapshots.ts"
import type { VolumeStore } from "./volumes.ts"

/** A sandbox as other processes see it. */
const Row = Schema.Struct({
  info: Microsandbox.SandboxInfo,
  image: Schema.Struct({ reference: Schema.String, digest: Schema.String }),
  /** Capacity of the disk, in bytes. */
  diskSize: Schema.Finite,
  owner: Schema.String,
  isDetached: Schema.Boolean,
  isOverlay: Schema.Boolean
})

export type Row = typeof Row.Type

const codec = Schema.fromJsonString(Schema.toCodecJson(Row))
const decodeRow = Schema.decodeUnknownOption(codec)
const encodeRow = Schema.encodeSync(codec)

/** The sandbox folders of a home. */
export class Rows {
  private readonly folder: string

  constructor(home: string) {
    this.folder = Path.join(home, "sandboxes")
    Fs.mkdirSync(this.folder, { recursive: true })
  }

  private at(name: string, file = ""): string {
    return Path.join(this.folder, name, file)
  }

  diskOf(name: string): string {
    return this.at(name, "upper.disk")
  }

  /** Reserves a name if it is free. */
  reserve(name: string): boolean {
    return makeFolder(this.at(name))
  }

  get(name: string): Row | undefined {
    return Option.getOrUndefined(decodeRow(readQuietly(this.at(name, "sandbox.json"))?.toString("utf8")))
  }

  put(row: Row): void {
    replaceFile(this.at(row.info.name, "sandbox.json"), encodeRow(row))
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
    let id = Fs.readdirSync(taken).length + 1
    while (!makeFolder(Path.join(taken, String(id)))) id++
    return `memory:${id}`
  }
}

/** Creates a folder. Returns `false` if it exists. */
const makeFolder = (folder: string): boolean => {
  try {
    Fs.mkdirSync(folder)
    return true
  } catch {
    return false
  }
}

/** A sandbox of this process. */
export interface Held {
  row: Row
  config: SandboxConfig
  readonly image: StoredImage
  readonly disk: FileTree
  readonly log: Log
  /** Stops the sandbox when it closes. */
  readonly layer: object
  env: Map<string, string>
  readonly proxy: Microsandbox.CreateSandbox["proxy"]
  /** A machine, and what ends with it. */
  running: { readonly machine: Machine; readonly scope: Scope.Closeable } | undefined
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

/** The context of one layer. */
export interface Context extends Defaults {
  readonly state: HomeState
  readonly registry: Registry
  readonly programs: ReadonlyMap<string, Program>
  readonly calls: Calls
  readonly ownership: Ownership.Ownership["Service"]
  /** Identifies the layer. */
  readonly layer: object
  /** Whether machines can be captured with their memory. */
  readonly hasMemory: boolean
}

/** Changes what other processes see of a sandbox. */
export const change = (
  { rows }: HomeState,
  held: Held,
  { info, ...fields }: Partial<Omit<Row, "info">> & { readonly info?: Partial<Row["info"]> }
): void => {
  held.row = { ...held.row, ...fields, info: { ...held.row.info, ...info } }
  rows.put(held.row)
}

export const forget = (state: HomeState, { row }: Held): void => {
  state.held.delete(row.info.name)
  state.rows.remove(row.info.name)
}

/** A sandbox, of this process or another. */
export interface Found {
  readonly row: Row
  /** The row, with the status as of now. */
  readonly info: Microsandbox.SandboxInfo
  /** Absent if it belongs to another process. */
  readonly held: Held | undefined
}

export const elsewhere = new Unsupported({
  feature: "a sandbox of another process",
  problem: "the in-memory driver keeps it in the memory of the process that created it"
})

/** Whether it has a machine, paused or not. */
export const isUp = ({ status }: Microsandbox.SandboxInfo): boolean => status === "running" || status === "paused"

const statusOfForeign = (
  home: string,
  { info, isDetached, owner }: Row
): Effect.Effect<Microsandbox.SandboxStatus, LightboxError> =>
  !isUp(info)
    ? Effect.succeed(info.status)
    : Effect.map(Owner.find(home, owner), ({ state }) =>
        state === "dead" ? (isDetached ? "crashed" : "stopped") : info.status
      )

export const lookUp = Effect.fnUntraced(function* (
  { held, home, rows }: HomeState,
  name: string
): Effect.fn.Return<Found, NotFound | LightboxError> {
  const own = held.get(name)
  if (own !== undefined) return { row: own.row, info: own.row.info, held: own }
  const row = rows.get(name)
  if (row === undefined) return yield* new NotFound({ resource: "sandbox", name })
  return { row, info: { ...row.info, status: yield* statusOfForeign(home, row) }, held: undefined }
})

/** Finds exactly this sandbox, not a later one of the same name. */
export const exactly = (
  state: HomeState,
  { id, name }: Microsandbox.SandboxRef
): Effect.Effect<Found, NotFound | Replaced | LightboxError> =>
  Effect.filterOrFail(
    lookUp(state, name),
    ({ info }) => info.id === id,
    () => new Replaced({ name })
  )

/** The sandbox, if it belongs to this process. */
export const requireHeld = ({ held }: Found): Effect.Effect<Held, Unsupported> =>
  held === undefined ? Effect.fail(elsewhere) : Effect.succeed(held)

export const machineOf = ({ row, running }: Held): Effect.Effect<Machine, NotRunning> =>
  running === undefined ? Effect.fail(new NotRunning({ name: row.info.name })) : Effect.succeed(running.machine)

/** Lists all sandboxes, newest first as in the runtime. */
export const all = (state: HomeState): Effect.Effect<ReadonlyArray<Microsandbox.SandboxInfo>, LightboxError> =>
  Effect.suspend(() => {
    const idNumber = ({ id }: Microsandbox.SandboxInfo) => Number(id.slice(id.indexOf(":") + 1))
    const found = Effect.forEach(state.rows.names(), (name) =>
      lookUp(state, name).pipe(
        Effect.map(({ info }) => [info]),
        Effect.catchTag("NotFound", () => Effect.succeed([]))
      )
    )
    return Effect.map(found, (infos) => infos.flat().toSorted((a, b) => idNumber(b) - idNumber(a)))
  })
