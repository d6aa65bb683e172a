/**
 * Sandboxes for ComputeSDK: the methods of a provider, with templates and snapshots. Nothing of ComputeSDK is loaded; its
 * types are met structurally.
 *
 * **Example** (A provider)
 *
 * ```ts
 * import { provider } from "effect-lightbox/computesdk"
 *
 * // const lightbox = defineProvider(provider), of @computesdk/provider
 * // const compute = lightbox({ image: "node:22" })
 * // const sandbox = await compute.sandbox.create()
 * console.log(provider.name)
 * ```
 *
 * @since 0.1.0
 */
// @effect-diagnostics asyncFunction:off globalDate:off
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import * as Path from "node:path"
import { exitCodeOf, isReason, makeTurns, removeAll, unlessMissing, withFolder } from "./internal/adapters/guest.ts"
import { invalid } from "./internal/config/validation.ts"
import { decodeSandbox, sandboxFields } from "./internal/promise/launch.ts"
import * as Promises from "./promise.ts"

// =============================================================================
// Models
// =============================================================================

/**
 * Options of the provider: those of each sandbox, and what they start from unless `create` says.
 *
 * @category options
 * @since 0.1.0
 */
export type ProviderConfig = Omit<Promises.LaunchSettings, "detached" | "name" | "overwrite" | "signal" | "verbose"> & {
  /** OCI image of sandboxes and templates, such as `"node:22"`. Default: none. */
  image?: string | undefined
  /** Name of a snapshot to boot from, instead of an image. Default: none. */
  snapshot?: string | undefined
}

/**
 * Options of a sandbox, as ComputeSDK passes them. Those of other providers are ignored.
 *
 * @category options
 * @since 0.1.0
 */
export interface CreateOptions {
  /** Time after which the sandbox is stopped, in milliseconds. Default: no limit. */
  readonly timeout?: number | undefined
  /** Template to boot from: the name of a snapshot. Default: as configured. */
  readonly templateId?: string | undefined
  /** Snapshot to boot from. Comes before `templateId`. Default: as configured. */
  readonly snapshotId?: string | undefined
  /** Image to boot from. Default: as configured. */
  readonly image?: string | undefined
  /** Labels of the sandbox. Values that are not text are stored as JSON. Default: none. */
  readonly metadata?: Record<string, unknown> | undefined
  /** Variables added to the configured ones. Default: none. */
  readonly envs?: Record<string, string> | undefined
  /** Name of the sandbox, which is its id. Must not be in use. Default: generated. */
  readonly name?: string | undefined
  /** Working directory. Must exist. Default: as configured. */
  readonly directory?: string | undefined
  /** Stops the launch and removes what it made. Default: none. */
  readonly signal?: AbortSignal | undefined
  /** Virtual processors. Default: as configured. */
  readonly cpus?: number | undefined
  /** Memory in MiB. Default: as configured. */
  readonly memoryMiB?: number | undefined
}

/**
 * Options of a command, as ComputeSDK passes them.
 *
 * @category options
 * @since 0.1.0
 */
export interface RunOptions {
  /** Working directory. Default: the sandbox's. */
  readonly cwd?: string | undefined
  /** Variables added to the sandbox's. Default: none. */
  readonly env?: Record<string, string> | undefined
  /** Time limit in milliseconds. Beyond it, the command is killed and its exit code is 124. Default: none. */
  readonly timeout?: number | undefined
  /** Return as soon as the command runs. It outlives this process, but not the sandbox. Default: `false`. */
  readonly background?: boolean | undefined
  /** Receives standard output while the command runs. Default: none. */
  readonly onStdout?: ((text: string) => void) | undefined
  /** Receives standard error while the command runs. Default: none. */
  readonly onStderr?: ((text: string) => void) | undefined
}

/**
 * What a command wrote. The exit code is 124 after the time limit and 127 if the command could not be started.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunResult {
  stdout: string
  stderr: string
  exitCode: number
  durationMs: number
}

/**
 * A snapshot, or a template.
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotInfo {
  /** Name of the snapshot. */
  id: string
  provider: string
  createdAt: Date
  metadata: Record<string, string>
}

/**
 * Options of a template: a snapshot that is built from an image.
 *
 * @category options
 * @since 0.1.0
 */
export interface CreateTemplateOptions {
  /** Name of the snapshot, which is the id of the template. */
  readonly name: string
  /** Stored as a label. Default: none. */
  readonly description?: string | undefined
  /** Labels of the snapshot. Default: none. */
  readonly metadata?: Record<string, string> | undefined
  /** Image to start from. Default: as configured. */
  readonly image?: string | undefined
  /** Setup steps, run in order. Default: none. */
  readonly setup?: Array<Promises.SetupStep> | undefined
}

/**
 * The methods of a sandbox provider, which ComputeSDK's `defineProvider` takes.
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxMethods {
  /** Boots a sandbox that outlives this process, until it is destroyed. */
  readonly create: (
    config: ProviderConfig,
    options?: CreateOptions
  ) => Promise<{ sandbox: Promises.Sandbox; sandboxId: string }>
  /** Connects to a sandbox, booting it if it is stopped. `null` if it does not exist. */
  readonly getById: (
    config: ProviderConfig,
    sandboxId: string
  ) => Promise<{ sandbox: Promises.Sandbox; sandboxId: string } | null>
  /** Connects to all running sandboxes of this provider, whichever process created them. */
  readonly list: (config: ProviderConfig) => Promise<Array<{ sandbox: Promises.Sandbox; sandboxId: string }>>
  /** Removes a sandbox, running or not. Succeeds if it does not exist. */
  readonly destroy: (config: ProviderConfig, sandboxId: string) => Promise<void>
  /** Runs a command in a shell. */
  readonly runCommand: (sandbox: Promises.Sandbox, command: string, options?: RunOptions) => Promise<RunResult>
  /** Runs a command in a shell, and passes on its output while it runs. */
  readonly streamCommand: (sandbox: Promises.Sandbox, command: string, options: RunOptions) => Promise<RunResult>
  /** Describes a sandbox. `timeout` is 0 without a limit. */
  readonly getInfo: (sandbox: Promises.Sandbox) => Promise<{
    id: string
    provider: string
    status: "running" | "stopped" | "error"
    createdAt: Date
    timeout: number
    metadata: Record<string, string>
  }>
  /** Forwards a port of this host's 127.0.0.1 to a port of the guest, and returns its address. */
  readonly getUrl: (
    sandbox: Promises.Sandbox,
    options: { readonly port: number; readonly protocol?: string | undefined }
  ) => Promise<string>
  readonly filesystem: {
    readonly readFile: (sandbox: Promises.Sandbox, path: string) => Promise<string>
    /** Writes a file, and creates the folders of its path. */
    readonly writeFile: (sandbox: Promises.Sandbox, path: string, content: string) => Promise<void>
    /** Creates a folder and its parents. Succeeds if it exists. */
    readonly mkdir: (sandbox: Promises.Sandbox, path: string) => Promise<void>
    readonly readdir: (
      sandbox: Promises.Sandbox,
      path: string
    ) => Promise<Array<{ name: string; type: "file" | "directory"; size: number; modified?: Date }>>
    readonly exists: (sandbox: Promises.Sandbox, path: string) => Promise<boolean>
    /** Removes a file, or a folder and its content. Succeeds if it does not exist. */
    readonly remove: (sandbox: Promises.Sandbox, path: string) => Promise<void>
  }
}

/**
 * The methods for templates.
 *
 * @category models
 * @since 0.1.0
 */
export interface TemplateMethods {
  /** Builds a snapshot. Does nothing if it exists with the same steps. */
  readonly create: (config: ProviderConfig, options: CreateTemplateOptions) => Promise<SnapshotInfo>
  readonly list: (
    config: ProviderConfig,
    options?: { readonly limit?: number | undefined }
  ) => Promise<Array<SnapshotInfo>>
  readonly delete: (config: ProviderConfig, templateId: string) => Promise<void>
}

/**
 * The methods for snapshots of sandboxes.
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotMethods {
  /** Captures the disk of a sandbox. A running one is restarted for it: its processes end. */
  readonly create: (
    config: ProviderConfig,
    sandboxId: string,
    options?: { readonly name?: string | undefined; readonly metadata?: Record<string, string> | undefined }
  ) => Promise<SnapshotInfo>
  readonly list: (
    config: ProviderConfig,
    options?: { readonly sandboxId?: string | undefined; readonly limit?: number | undefined }
  ) => Promise<Array<SnapshotInfo>>
  readonly delete: (config: ProviderConfig, snapshotId: string) => Promise<void>
}

// =============================================================================
// Sandboxes
// =============================================================================

const name = "effect-lightbox"

/** Labels of this module: who made it, what it is, its time limit, and the sandbox it was captured from. */
const own = {
  provider: "computesdk.provider",
  kind: "computesdk.kind",
  timeout: "computesdk.timeout",
  sandbox: "computesdk.sandbox"
}

const { signal: _signal, ...configFields } = sandboxFields

const Config = Schema.Struct(configFields)

const labelsOf = (metadata: Record<string, unknown> = {}): Record<string, string> =>
  Object.fromEntries(
    Object.entries(metadata).flatMap(([key, value]) =>
      value === undefined ? [] : [[key, typeof value === "string" ? value : JSON.stringify(value)]]
    )
  )

const metadataOf = (labels: { readonly [key: string]: string }): Record<string, string> =>
  Object.fromEntries(
    Object.entries(labels).filter(([key]) => !key.startsWith("lightbox.") && !Object.values(own).includes(key))
  )

/** What this process is connected to. A capture restarts a sandbox, and only the object that it gets stays usable. */
const connected = new Map<string, Promises.Sandbox>()

const inTurn = makeTurns()

const known = (sandbox: Promises.Sandbox): { sandbox: Promises.Sandbox; sandboxId: string } => {
  connected.set(sandbox.name, sandbox)
  return { sandbox, sandboxId: sandbox.name }
}

const connect = async (handle: Promises.SandboxHandle): Promise<{ sandbox: Promises.Sandbox; sandboxId: string }> => {
  const isRunning = handle.status === "running"
  const before = connected.get(handle.name)
  if (isRunning && before?.id === handle.id) return known(before)
  return known(await (isRunning ? handle.connect() : handle.startDetached()))
}

/** `null` if there is no such sandbox. */
const unlessGone = async <A>(result: Promise<A>): Promise<A | null> => {
  try {
    return await result
  } catch (error) {
    if (isReason(error, "NotFound")) return null
    throw error
  }
}

const isMemory = (text: string): text is Promises.Memory => /^[1-9]\d*M$/.test(text)

const memoryOf = (mebibytes: number): Promises.Memory => {
  const memory = `${mebibytes}M`
  if (isMemory(memory)) return memory
  throw invalid("create", "memoryMiB", "expected a whole number of MiB")
}

const create: SandboxMethods["create"] = async (config, options = {}) => {
  decodeSandbox(Config, "create", config)
  const { image: configuredImage, snapshot: configuredSnapshot, ...launch } = config
  const { cpus, directory, envs, image, memoryMiB, metadata, name, signal, timeout } = options
  const snapshot = options.snapshotId ?? options.templateId ?? (image === undefined ? configuredSnapshot : undefined)
  const source = image ?? configuredImage
  if (timeout !== undefined && !(timeout > 0)) throw invalid("create", "timeout", "expected milliseconds above 0")
  if (snapshot === undefined && source === undefined) {
    throw invalid("create", "image", "pass an image or a snapshot, here or to the provider")
  }
  const resources = {
    ...launch.resources,
    ...(cpus === undefined ? {} : { cpus }),
    ...(memoryMiB === undefined ? {} : { memory: memoryOf(memoryMiB) })
  }
  const settings = {
    ...launch,
    name,
    resources,
    env: { ...launch.env, ...envs },
    workdir: directory ?? launch.workdir,
    labels: {
      ...launch.labels,
      ...labelsOf(metadata),
      [own.provider]: "true",
      ...(timeout === undefined ? {} : { [own.timeout]: String(timeout) })
    },
    // The runtime counts whole seconds.
    maxDurationMs: timeout === undefined ? launch.maxDurationMs : Math.ceil(timeout / 1000) * 1000,
    detached: true,
    overwrite: false,
    signal
  }
  return known(
    await Promises.launchSandbox(
      snapshot === undefined ? { ...settings, image: source ?? "" } : { ...settings, snapshot }
    )
  )
}

const streamCommand: SandboxMethods["streamCommand"] = async (sandbox, command, options) => {
  const { cwd, env, onStderr, onStdout, timeout } = options
  const started = performance.now()
  let stdout = ""
  let stderr = ""
  const ended = (exitCode: number): RunResult => ({
    stdout,
    stderr,
    exitCode,
    durationMs: performance.now() - started
  })
  try {
    let exitCode = -1
    for await (const event of await sandbox.execStream("sh", ["-c", command], { cwd, env, timeoutMs: timeout })) {
      if (event.kind === "stdout") {
        stdout += event.text
        onStdout?.(event.text)
      } else if (event.kind === "stderr") {
        stderr += event.text
        onStderr?.(event.text)
      } else if (event.kind === "exited") exitCode = exitCodeOf(event)
    }
    return ended(exitCode)
  } catch (error) {
    if (isReason(error, "TimedOut")) return ended(124)
    if (!isReason(error, "CommandNotStarted")) throw error
    stderr += `${String(error)}\n`
    return ended(127)
  }
}

const sandbox: SandboxMethods = {
  create,
  getById: async (_config, sandboxId) => {
    const handle = await unlessGone(Promises.Sandbox.get(sandboxId))
    return handle && (await unlessGone(connect(handle)))
  },
  list: async () => {
    const handles = await Promises.Sandbox.list({ labels: { [own.provider]: "true" } })
    const running = handles.filter(({ status }) => status === "running")
    // Some may be destroyed meanwhile.
    const found = await Promise.all(running.map((handle) => unlessGone(connect(handle))))
    return found.filter((sandbox) => sandbox !== null)
  },
  destroy: async (_config, sandboxId) => {
    const handle = await unlessGone(Promises.Sandbox.get(sandboxId))
    if (handle === null) return
    if (handle.labels[own.provider] !== "true") throw invalid("destroy", "sandboxId", "this provider did not make it")
    connected.delete(sandboxId)
    await Promises.removeSandbox(sandboxId, { force: true })
  },
  runCommand: async (sandbox, command, options = {}) => {
    if (options.background !== true) return await streamCommand(sandbox, command, options)
    const started = performance.now()
    await sandbox.start("sh", ["-c", command], { cwd: options.cwd, env: options.env })
    return { stdout: "", stderr: "", exitCode: 0, durationMs: performance.now() - started }
  },
  streamCommand,
  getInfo: async (sandbox) => {
    const { createdAt, labels, status } = await Promises.Sandbox.get(sandbox.name)
    return {
      id: sandbox.name,
      provider: name,
      status: status === "running" ? "running" : status === "crashed" ? "error" : "stopped",
      createdAt: createdAt ?? new Date(0),
      timeout: Number(labels[own.timeout] ?? 0),
      metadata: metadataOf(labels)
    }
  },
  getUrl: async (sandbox, { port, protocol = "http" }) => {
    // The second call for a port finds the forward of the first.
    const { bind, host } = await inTurn(
      sandbox,
      async () => (await sandbox.forwards()).find(({ guest }) => guest === port) ?? (await sandbox.forward(port))
    )
    return `${protocol}://${bind}:${host}`
  },
  filesystem: {
    readFile: (sandbox, path) => sandbox.fs().readToString(path),
    writeFile: (sandbox, path, content) => withFolder(sandbox, path, () => sandbox.fs().write(path, content), {}),
    mkdir: (sandbox, path) => sandbox.fs().mkdir(path),
    readdir: async (sandbox, path) =>
      (await sandbox.fs().list(path)).map(({ kind, modified, path, size }) => ({
        name: Path.posix.basename(path),
        type: kind === "directory" ? "directory" : "file",
        size,
        ...(modified === null ? {} : { modified })
      })),
    exists: (sandbox, path) => sandbox.fs().exists(path),
    remove: (sandbox, path) => unlessMissing(removeAll(sandbox, path, {}), undefined)
  }
}

// =============================================================================
// Templates and snapshots
// =============================================================================

const infoOf = ({
  createdAt,
  labels,
  name: id
}: Pick<Promises.SnapshotRecord, "createdAt" | "labels" | "name">): SnapshotInfo => ({
  id: id ?? "",
  provider: name,
  createdAt,
  metadata: metadataOf(labels)
})

/** Snapshots with these labels of this module. */
const listed = async (
  labels: { readonly [label: string]: string | undefined },
  limit = Number.POSITIVE_INFINITY
): Promise<Array<SnapshotInfo>> =>
  (await Promises.listSnapshots())
    .filter((record) =>
      Object.entries(labels).every(([label, value]) => value === undefined || record.labels[label] === value)
    )
    .map(infoOf)
    .slice(0, limit)

const describe = ({ createdAt, labels, name }: Promises.Snapshot): SnapshotInfo =>
  infoOf({ name, createdAt, labels: Object.fromEntries(labels) })

const template: TemplateMethods = {
  create: async (config, { description, image = config.image, metadata, name, setup }) => {
    if (image === undefined) throw invalid("template.create", "image", "pass an image, here or to the provider")
    const { mounts, network, registry, resources } = config
    const labels = {
      ...metadata,
      ...(description === undefined ? {} : { description }),
      [own.kind]: "template"
    }
    await Promises.buildSnapshot({ name, image, setup, labels, mounts, network, registry, resources })
    return describe(await Promises.Snapshot.get(name))
  },
  list: (_config, options) => listed({ [own.kind]: "template" }, options?.limit),
  delete: (_config, templateId) => Promises.removeSnapshot(templateId)
}

const snapshot: SnapshotMethods = {
  create: async (_config, sandboxId, { metadata, name = `${sandboxId}-${randomUUID().slice(0, 8)}` } = {}) => {
    const labels = { ...metadata, [own.kind]: "snapshot", [own.sandbox]: sandboxId }
    return describe(await Promises.captureSnapshot(connected.get(sandboxId) ?? sandboxId, { name, labels }))
  },
  list: (_config, options) => listed({ [own.kind]: "snapshot", [own.sandbox]: options?.sandboxId }, options?.limit),
  delete: (_config, snapshotId) => Promises.removeSnapshot(snapshotId)
}

/**
 * The provider, for `defineProvider` of `@computesdk/provider`. Ids are names: a sandbox can also be found with
 * `lightbox ps`, and a template or a snapshot with `lightbox ls`.
 *
 * Sandboxes outlive this process, as ComputeSDK's users expect. Destroy them, or pass a `timeout`, which stops them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const provider: {
  readonly name: string
  readonly methods: {
    readonly sandbox: SandboxMethods
    readonly template: TemplateMethods
    readonly snapshot: SnapshotMethods
  }
} = { name, methods: { sandbox, template, snapshot } }
