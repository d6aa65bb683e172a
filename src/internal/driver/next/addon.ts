/**
 * The native module of microsandbox 0.7.
 *
 * Its TypeScript layer is not published yet. The types are those of 0.6 where 0.7 has kept them, and are declared here
 * where it has not: `test/MicrosandboxPreview/addon.vm.test.ts` asks the module itself whether they hold.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Native from "microsandbox/native"
import * as FsSync from "node:fs"
import * as Module from "node:module"
import * as Path from "node:path"
import { LightboxError, RuntimeMissing } from "../../../LightboxError.ts"
import { workingFolder } from "../../config/schemas.ts"
import type * as Surface from "../sdk/surface.ts"

/** A sandbox that this module booted, restored or branched. */
export interface Machine {
  readonly id: string
  /** Whether the machine ends with this process. */
  readonly ownsLifecycle: boolean
  detach(): Promise<void>
}

export interface Branch {
  readonly name: string
  readonly error?: string | null | undefined
  readonly sandbox?: Machine | null | undefined
}

export interface Handle extends Omit<Native.SandboxHandle, "start" | "startDetached" | "connect"> {
  start(): Promise<Machine>
  startDetached(): Promise<Machine>
  pause(): Promise<void>
  resume(): Promise<void>
  /** Copies a running sandbox, with its memory. `detached` is not accepted: copies never end with this process. */
  branchMany(names: ReadonlyArray<string>): Promise<ReadonlyArray<Branch>>
}

export interface Snapshot extends Omit<Native.Snapshot, "scope" | "verify"> {
  /** `full`: with memory. */
  readonly scope: "disk" | "full"
  readonly id: string
  verify(): Promise<{
    /** Of a snapshot with memory: the digest of everything in it, which was just checked. */
    readonly checkpointRoot?: string | null | undefined
    readonly upperKind: string
  }>
}

export interface SnapshotBuilder {
  fromSandbox(sandbox: string): SnapshotBuilder
  destDir(folder: string): SnapshotBuilder
  label(key: string, value: string): SnapshotBuilder
  recordIntegrity(): SnapshotBuilder
  /** With memory. */
  full(): SnapshotBuilder
  /** Whether the guest writes what it has not yet written to its disk. */
  guestFlush(policy: "auto" | "required" | "skip"): SnapshotBuilder
  create(): Promise<Snapshot>
}

export interface RestoreBuilder {
  name(name: string): RestoreBuilder
  /** Maps the memory copy on write, instead of reading all of it. */
  forked(): RestoreBuilder
  portBind(bind: string, host: number, guest: number): RestoreBuilder
  portUdpBind(bind: string, host: number, guest: number): RestoreBuilder
  idleTimeout(seconds: number): RestoreBuilder
  maxDuration(seconds: number): RestoreBuilder
  externalMountPolicy(policy: "strict" | "relaxed"): RestoreBuilder
  restore(): Promise<Machine>
}

/** It does not have `fromSnapshot`. */
export type SandboxBuilder = Omit<Surface.SandboxBuilder, "fromSnapshot">

type Same = Pick<
  typeof Native,
  | "AgentClient"
  | "imageGet"
  | "imageInspect"
  | "imageList"
  | "imageLoad"
  | "imagePrune"
  | "imageRemove"
  | "imageSave"
  | "setDefaultBackend"
  | "Volume"
  | "VolumeBuilder"
>

export interface Addon extends Same {
  readonly NetworkBuilder: { readonly prototype: object }
  readonly SecretBuilder: { readonly prototype: object }
  readonly SandboxBuilder: new (name: string) => SandboxBuilder
  readonly SnapshotBuilder: new (name: string) => SnapshotBuilder
  readonly RestoreBuilder: new (snapshot: string, kind: "path") => RestoreBuilder
  readonly Sandbox: {
    get(name: string): Promise<Handle>
    listWith(options: {
      readonly limit: number
      readonly cursor?: string | undefined
    }): Promise<{ readonly sandboxes: ReadonlyArray<Handle>; readonly nextCursor?: string | undefined }>
  }
  readonly Snapshot: {
    open(path: string): Promise<Snapshot>
    listDir(folder: string): Promise<ReadonlyArray<Snapshot>>
    remove(path: string, options: { readonly force: boolean }): Promise<void>
    reindex(): Promise<number>
    save(
      path: string,
      archive: string,
      options: { readonly withImage: boolean; readonly plainTar: boolean }
    ): Promise<void>
    /** Makes a group in the folder. */
    load(archive: string, folder: string): Promise<{ readonly path: string }>
  }
  /** Where the executable of the runtime is, with its library in `../lib`. */
  readonly setPackagedMsbPath: (path: string) => void
}

export interface Runtime {
  readonly addon: Addon
  readonly version: string
}

const method = "MicrosandboxPreview.layer"

/** The version that everything here was tried with. Later ones have changed how they keep snapshots. */
export const version = "0.7.2"

/** The name under which the package of the runtime is installed, beside `microsandbox` 0.6 with a package of that name. */
export const alias = "microsandbox-next"

const remedy = `on Linux x64 with glibc, run: npm install ${alias}@npm:@superradcompany/microsandbox-linux-x64-gnu@${version}`

const missing = (problem: string, cause?: unknown): LightboxError =>
  new LightboxError({ method, reason: new RuntimeMissing({ problem, remedy, cause }) })

const Package = Schema.fromJsonString(Schema.Struct({ version: Schema.String }))

// A bundle of CommonJS has no address.
const require = Module.createRequire(import.meta.url ?? Path.resolve(workingFolder() ?? "/", "bundle.cjs"))

/** Folders of packages that may be the runtime: under its own name, `microsandbox` 0.6 has its package. */
const installed = (triple: string): ReadonlyArray<string> =>
  [alias, `@superradcompany/microsandbox-${triple}`].flatMap((name) => {
    try {
      return [Path.dirname(require.resolve(`${name}/package.json`))]
    } catch {
      return []
    }
  })

const versionOf = (folder: string): Effect.Effect<string, LightboxError> =>
  Effect.try({
    try: () => FsSync.readFileSync(Path.join(folder, "package.json"), "utf8"),
    catch: (cause) => missing(`${folder} is not the package of a runtime`, cause)
  }).pipe(
    Effect.flatMap(Schema.decodeEffect(Package)),
    Effect.map(({ version }) => version),
    Effect.catchTag("SchemaError", (cause) => Effect.fail(missing(`${folder}/package.json has no version`, cause)))
  )

/** What a file that was loaded exports, if it has everything that this driver uses. */
const asAddon = (loaded: unknown): loaded is Addon => {
  const names: ReadonlyArray<keyof Addon> = ["RestoreBuilder", "SandboxBuilder", "Snapshot", "setPackagedMsbPath"]
  return typeof loaded === "object" && loaded !== null && names.every((name) => name in loaded)
}

/**
 * Loads the package of the runtime for this platform, from a folder, or under the name that it was installed with. Its
 * executable needs no installation in the home.
 */
export const load = Effect.fnUntraced(function* (folder: string | undefined): Effect.fn.Return<Runtime, LightboxError> {
  const triple = `${process.platform}-${process.arch}${process.platform === "linux" ? "-gnu" : ""}`
  const folders = folder === undefined ? installed(triple) : [folder]
  const versions = yield* Effect.forEach(folders, (at) => Effect.map(versionOf(at), (has) => ({ at, has })))
  const found = versions.find(({ has }) => has === version)?.at
  if (found === undefined) {
    const others = versions.map(({ at, has }) => `${at} has version ${has}`).join(", ")
    return yield* missing(`version ${version} of the runtime is not installed${others === "" ? "" : `: ${others}`}`)
  }
  return yield* Effect.try({
    try: (): Runtime => {
      const addon: unknown = require(Path.join(found, `microsandbox.${triple}.node`))
      if (!asAddon(addon)) throw new Error(`the native module of ${found} lacks functions`)
      addon.setPackagedMsbPath(Path.join(found, "bin", "msb"))
      addon.setDefaultBackend("local")
      return { addon, version }
    },
    catch: (cause) => missing(cause instanceof Error ? cause.message : String(cause), cause)
  })
})
