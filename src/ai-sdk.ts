/**
 * Sandboxes for Vercel's AI SDK 7: for tools of `generateText` and `streamText`, as a provider for harness agents, and
 * for eve. Nothing of the AI SDK is loaded; its types are met structurally.
 *
 * **Example** (Tools of a model)
 *
 * ```ts
 * import { sandboxSession } from "effect-lightbox/ai-sdk"
 * import { launchSandbox } from "effect-lightbox/promise"
 *
 * await using sandbox = await launchSandbox({ image: "node:22", network: "none" })
 * const session = await sandboxSession(sandbox)
 * // generateText({ model, tools, prompt, experimental_sandbox: session })
 * console.log(await session.run({ command: "node --version" }))
 * ```
 *
 * **Example** (A provider for a harness)
 *
 * ```ts
 * import { sandboxProvider } from "effect-lightbox/ai-sdk"
 *
 * // new HarnessAgent({ harness, sandbox })
 * export const sandbox = sandboxProvider({ image: "node:22", ports: [4000] })
 * ```
 *
 * @since 0.1.0
 */
// @effect-diagnostics asyncFunction:off
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import * as Path from "node:path"
import {
  baseOf,
  exitCodeOf,
  makeTurns,
  isMissing,
  isReason,
  removeAll,
  streamsOf,
  unlessMissing,
  withFolder
} from "./internal/adapters/guest.ts"
import { Env, GuestPath, notBlank, Port } from "./internal/config/schemas.ts"
import { invalid } from "./internal/config/validation.ts"
import { checked, None } from "./internal/promise/input.ts"
import { decodeSandbox, sandboxFields } from "./internal/promise/launch.ts"
import { definitionOf } from "./internal/promise/store.ts"
import * as Promises from "./promise.ts"

// =============================================================================
// Sessions
// =============================================================================

/**
 * A path for a call of a session. Relative paths start at the session's base directory.
 *
 * @category options
 * @since 0.1.0
 */
export interface PathOptions {
  /** The path. */
  readonly path: string
  /** Stops the call. Default: none. */
  readonly abortSignal?: AbortSignal | undefined
}

/**
 * A command for a session.
 *
 * @category options
 * @since 0.1.0
 */
export interface CommandOptions {
  /** The command, for the session's shell. */
  readonly command: string
  /** Working directory. Relative to the base directory, which is the default. */
  readonly workingDirectory?: string | undefined
  /** Variables added to the sandbox's and the session's. Default: none. */
  readonly env?: Record<string, string> | undefined
  /** Kills the command; the call, or `wait()`, rejects with the signal's reason. Default: none. */
  readonly abortSignal?: AbortSignal | undefined
}

/**
 * A running command of a session. Output that is not read is kept in memory, unless its stream is canceled.
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxProcess {
  readonly pid: number
  readonly stdout: ReadableStream<Uint8Array>
  readonly stderr: ReadableStream<Uint8Array>
  /** Waits for the command to exit. The code is 128 and the number of the signal, if one ended it. */
  wait(): Promise<{ exitCode: number }>
  /** Kills the command's process group. No effect after it has ended. */
  kill(): Promise<void>
}

/**
 * A running command that reads what is written to `stdin`. Closing it ends the input, not the command.
 *
 * @category models
 * @since 0.1.0
 */
export interface WritableSandboxProcess extends SandboxProcess {
  readonly stdin: WritableStream<Uint8Array>
}

/**
 * The AI SDK's view of a sandbox: `Experimental_SandboxSession`, with two methods of eve's. It runs commands and changes
 * files, and cannot stop the sandbox or change its network.
 *
 * Reads resolve to `null` if there is no such file. Files are read and written as the user of the sandbox's agent, root.
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxSession {
  /** Describes the environment for a model's instructions. */
  readonly description: string
  /** Opens a file for reading. */
  readonly readFile: (options: PathOptions) => Promise<ReadableStream<Uint8Array> | null>
  /** Reads a file of at most 256 MiB. */
  readonly readBinaryFile: (options: PathOptions) => Promise<Uint8Array | null>
  /** Reads a text file, or its lines from `startLine` (from 1) to `endLine`, in an encoding of Node.js's `Buffer`. */
  readonly readTextFile: (
    options: PathOptions & {
      readonly encoding?: string | undefined
      readonly startLine?: number | undefined
      readonly endLine?: number | undefined
    }
  ) => Promise<string | null>
  /** Writes a file, replacing it if it exists, and creates the folders of its path. */
  readonly writeFile: (options: PathOptions & { readonly content: ReadableStream<Uint8Array> }) => Promise<void>
  /** Writes a file, replacing it if it exists, and creates the folders of its path. */
  readonly writeBinaryFile: (options: PathOptions & { readonly content: Uint8Array }) => Promise<void>
  /** Writes a text file, replacing it if it exists, and creates the folders of its path. */
  readonly writeTextFile: (
    options: PathOptions & { readonly content: string; readonly encoding?: string | undefined }
  ) => Promise<void>
  /** Looks at a file or folder. Follows links. */
  readonly stat: (
    options: PathOptions
  ) => Promise<{ readonly type: "file" | "directory" | "other"; readonly size: number } | null>
  /** Lists a folder, sorted by name. Rejects for a file. */
  readonly listDirectory: (
    options: PathOptions
  ) => Promise<Array<{ name: string; type: "file" | "directory" | "symlink" | "other" }> | null>
  /** Deletes a file or a link, not its target. Resolves to whether it existed. Rejects for a folder. */
  readonly deleteFile: (options: PathOptions) => Promise<boolean>
  /** Runs a command and returns its output. */
  readonly run: (options: CommandOptions) => Promise<{ exitCode: number; stdout: string; stderr: string }>
  /** Starts a command. With `stdin: true`, it reads what is written to its `stdin`; otherwise its input is empty. */
  readonly spawn: {
    (options: CommandOptions & { readonly stdin: true }): Promise<WritableSandboxProcess>
    (options: CommandOptions & { readonly stdin?: false | undefined }): Promise<SandboxProcess>
    (
      options: CommandOptions & { readonly stdin?: boolean | undefined }
    ): Promise<SandboxProcess | WritableSandboxProcess>
  }
  /** Resolves a path against the base directory, as eve asks for it. */
  readonly resolvePath: (path: string) => string
  /** Removes a file or folder, as eve asks for it. Rejects for what is missing, unless `force`. */
  readonly removePath: (
    options: PathOptions & { readonly recursive?: boolean | undefined; readonly force?: boolean | undefined }
  ) => Promise<void>
}

/**
 * Options of {@link sandboxSession}.
 *
 * @category options
 * @since 0.1.0
 */
export interface SessionOptions extends Promises.CallOptions {
  /** Base directory, created if it does not exist. Default: where the sandbox's commands start. */
  readonly workdir?: string | undefined
  /** Variables added to the sandbox's for commands of this session. Default: none. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Shell that runs commands, as `SHELL -c COMMAND`. Default: `"sh"`. */
  readonly shell?: string | undefined
}

const Shell = notBlank("the name of a shell")

const decodeSession = checked(
  "sandboxSession",
  None,
  Schema.Struct({
    signal: sandboxFields.signal,
    workdir: Schema.optional(GuestPath),
    env: Schema.optional(Env),
    shell: Schema.optional(Shell)
  })
)

/**
 * Makes a session of the AI SDK from a sandbox, for `experimental_sandbox` of `generateText` and for tools. The sandbox
 * stays the caller's to remove.
 *
 * @category constructors
 * @since 0.1.0
 */
export const sandboxSession = async (sandbox: Promises.Sandbox, options?: SessionOptions): Promise<SandboxSession> => {
  const { env, shell, signal, workdir } = decodeSession({}, options)
  return await openSession(sandbox, { base: workdir, env, shell }, { signal })
}

interface Settings {
  readonly base: string | undefined
  readonly env: { readonly [name: string]: string } | undefined
  readonly shell: string | undefined
  readonly ports?: ReadonlyArray<number>
}

const openSession = async (
  sandbox: Promises.Sandbox,
  settings: Settings,
  options: Promises.CallOptions
): Promise<SandboxSession> => {
  if (settings.base !== undefined) await sandbox.fs().mkdir(settings.base, options)
  const base = settings.base ?? (await baseOf(sandbox, options))
  return makeSession(sandbox, { ...settings, base })
}

const bufferEncoding = (method: string, encoding: string): BufferEncoding => {
  if (Buffer.isEncoding(encoding)) return encoding
  throw invalid(method, "encoding", 'expected an encoding of Node.js, such as "utf-8"')
}

/** A range of lines. The kind of line ends is that of the first one. */
const linesOf = (text: string, start: number | undefined, end: number | undefined): string => {
  if (start === undefined && end === undefined) return text
  const lineEnd = /\r\n|\n|\r/.exec(text)?.[0] ?? "\n"
  return text
    .split(lineEnd)
    .slice(Math.max(1, start ?? 1) - 1, end === undefined ? undefined : Math.max(0, end))
    .join(lineEnd)
}

const makeSession = (
  sandbox: Promises.Sandbox,
  { base, env: common, ports = [], shell = "sh" }: Settings & { readonly base: string }
): SandboxSession => {
  const fs = sandbox.fs()
  const at = (path: string): string => Path.posix.resolve(base, path)
  const execution = ({ abortSignal, env, workingDirectory = "." }: CommandOptions) => ({
    cwd: at(workingDirectory),
    env: { ...common, ...env },
    signal: abortSignal
  })
  const write = (path: string, data: Uint8Array, signal: AbortSignal | undefined): Promise<void> =>
    withFolder(sandbox, path, () => fs.write(path, data, { signal }), { signal })
  const readBinaryFile = ({ abortSignal, path }: PathOptions): Promise<Uint8Array | null> =>
    unlessMissing(fs.read(at(path), { signal: abortSignal }), null)

  function spawn(options: CommandOptions & { readonly stdin: true }): Promise<WritableSandboxProcess>
  function spawn(options: CommandOptions & { readonly stdin?: false | undefined }): Promise<SandboxProcess>
  function spawn(
    options: CommandOptions & { readonly stdin?: boolean | undefined }
  ): Promise<SandboxProcess | WritableSandboxProcess>
  async function spawn(
    options: CommandOptions & { readonly stdin?: boolean | undefined }
  ): Promise<SandboxProcess | WritableSandboxProcess> {
    const pipeStdin = options.stdin === true
    const handle = await sandbox.execStream(shell, ["-c", options.command], { ...execution(options), pipeStdin })
    const { ended, stderr, stdout } = streamsOf(handle)
    const sink = await handle.takeStdin()
    const process: SandboxProcess = {
      pid: handle.pid,
      stdout,
      stderr,
      wait: async () => ({ exitCode: await ended }),
      kill: () => handle.kill()
    }
    if (sink === null) return process
    const stdin = new WritableStream<Uint8Array>({
      write: (data) => sink.write(data),
      close: () => sink.close(),
      abort: () => sink.close()
    })
    return { ...process, stdin }
  }

  return {
    description: [
      "A Linux microVM of its own. Commands and files of this session share one file system, which keeps all changes.",
      `Commands start in ${base}, and relative paths start there. They run with ${shell} -c.`,
      ...(ports.length === 0 ? [] : [`Servers that listen on these ports can be reached: ${ports.join(", ")}.`])
    ].join("\n"),
    readFile: async ({ abortSignal, path }) => {
      const file = await unlessMissing(fs.readStream(at(path), { signal: abortSignal }), null)
      return (
        file &&
        new ReadableStream<Uint8Array>({
          pull: async (controller) => {
            const piece = await file.recv({ signal: abortSignal })
            if (piece === null) controller.close()
            else controller.enqueue(piece)
          },
          cancel: () => file[Symbol.asyncDispose]()
        })
      )
    },
    readBinaryFile,
    readTextFile: async ({ encoding = "utf-8", endLine, startLine, ...options }) => {
      const known = bufferEncoding("readTextFile", encoding)
      const bytes = await readBinaryFile(options)
      return bytes && linesOf(Buffer.from(bytes).toString(known), startLine, endLine)
    },
    writeFile: async ({ abortSignal: signal, content, path }) => {
      const file = at(path)
      await using sink = await withFolder(sandbox, file, () => fs.writeStream(file, { signal }), { signal })
      const reader = content.getReader()
      const cancel = (reason: unknown): void => void reader.cancel(reason).catch(() => {})
      // A reader that is cancelled reads the end.
      const stop = () => cancel(signal?.reason)
      signal?.addEventListener("abort", stop, { once: true })
      try {
        for (let next = await reader.read(); !next.done; next = await reader.read()) {
          await sink.write(next.value, { signal })
        }
        signal?.throwIfAborted()
      } catch (error) {
        cancel(error)
        throw error
      } finally {
        signal?.removeEventListener("abort", stop)
      }
    },
    writeBinaryFile: ({ abortSignal, content, path }) => write(at(path), content, abortSignal),
    writeTextFile: async ({ abortSignal, content, encoding = "utf-8", path }) =>
      await write(at(path), Buffer.from(content, bufferEncoding("writeTextFile", encoding)), abortSignal),
    stat: async ({ abortSignal, path }) => {
      const info = await unlessMissing(fs.stat(at(path), { signal: abortSignal }), null)
      return info && { type: info.kind === "symlink" ? "other" : info.kind, size: info.size }
    },
    listDirectory: async ({ abortSignal, path }) => {
      try {
        const entries = await fs.list(at(path), { signal: abortSignal })
        return entries.map(({ kind, path }) => ({ name: Path.posix.basename(path), type: kind }))
      } catch (error) {
        if (isMissing(error) && !(await fs.exists(at(path), { signal: abortSignal }))) return null
        throw error
      }
    },
    deleteFile: async ({ abortSignal, path }) =>
      await unlessMissing(
        fs.remove(at(path), { signal: abortSignal }).then(() => true),
        false
      ),
    run: async (options) => {
      const out = await sandbox.exec(shell, ["-c", options.command], execution(options))
      return { exitCode: exitCodeOf(out), stdout: out.stdout(), stderr: out.stderr() }
    },
    spawn,
    resolvePath: at,
    removePath: async ({ abortSignal: signal, force = false, path, recursive = false }) => {
      const removed = recursive ? removeAll(sandbox, at(path), { signal }) : fs.remove(at(path), { signal })
      await (force ? unlessMissing(removed, undefined) : removed)
    }
  }
}

// =============================================================================
// Providers
// =============================================================================

/**
 * A session of a harness: a {@link SandboxSession} that also reaches ports and ends the sandbox.
 *
 * @category models
 * @since 0.1.0
 */
export interface NetworkSandboxSession extends SandboxSession {
  /** Name of the sandbox. */
  readonly id: string
  readonly defaultWorkingDirectory: string
  /** Ports of the guest that can be reached. */
  readonly ports: ReadonlyArray<number>
  /**
   * Forwards a port of this host's 127.0.0.1 to a port of the guest, until the session is stopped or this process exits,
   * and returns its address. Rejects with `InvalidConfig` for a port that is not one of `ports`.
   */
  readonly getPortEndpoint: (options: {
    readonly port: number
    readonly protocol?: "http" | "https" | "ws" | undefined
  }) => Promise<{ readonly url: string }>
  /** Like `getPortEndpoint`, for its URL alone. */
  readonly getPortUrl: (options: {
    readonly port: number
    readonly protocol?: "http" | "https" | "ws" | undefined
  }) => Promise<string>
  /** Replaces the ports that can be reached, and closes the forwards of others. */
  readonly setPorts: (
    ports: ReadonlyArray<number>,
    options?: { readonly abortSignal?: AbortSignal | undefined }
  ) => Promise<void>
  /** Stops the sandbox. That of a `sessionId` keeps its disk, for `resumeSession`; any other is removed. */
  readonly stop: () => Promise<void>
  /** Removes the sandbox and its disk, running or not. */
  readonly destroy: () => Promise<void>
  /** Returns the part of this session that tools may have. */
  readonly restricted: () => SandboxSession
}

/**
 * Options of {@link SandboxProvider.createSession}.
 *
 * @category options
 * @since 0.1.0
 */
export interface CreateSessionOptions {
  /** Identifies a sandbox that outlives this process: gets it, or creates it. Default: a sandbox that does not. */
  readonly sessionId?: string | undefined
  /** Stops the call. Default: none. */
  readonly abortSignal?: AbortSignal | undefined
  /** Identifies what `onFirstCreate` does. Default: none, which runs it in each new sandbox. */
  readonly identity?: string | undefined
  /**
   * Prepares the disk. Runs once for each `identity`, in all processes of this machine; without one, in each sandbox until
   * it has succeeded there. Default: none.
   */
  readonly onFirstCreate?:
    | ((session: SandboxSession, options: { abortSignal?: AbortSignal }) => Promise<void>)
    | undefined
}

/**
 * A provider of sandboxes for harness agents of the AI SDK: `HarnessV1SandboxProvider`.
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxProvider {
  readonly specificationVersion: "harness-sandbox-v1"
  readonly providerId: string
  /** Boots a sandbox; with an `identity`, from its snapshot, which is built if it does not exist. */
  readonly createSession: (options?: CreateSessionOptions) => Promise<NetworkSandboxSession>
  /** Connects to the sandbox of a session, and boots it if it is stopped. Rejects with `NotFound` if it does not exist. */
  readonly resumeSession: (options: {
    readonly sessionId: string
    readonly abortSignal?: AbortSignal | undefined
  }) => Promise<NetworkSandboxSession>
}

/**
 * Options of {@link sandboxProvider}: those of each sandbox, and what they start from.
 *
 * @category options
 * @since 0.1.0
 */
export type ProviderOptions = Omit<
  Promises.LaunchSettings,
  "detached" | "name" | "overwrite" | "ports" | "shell" | "signal" | "verbose"
> & {
  /** Ports of the guest that sessions reach at first, by number. Nothing is published. Default: none. */
  ports?: ReadonlyArray<number> | undefined
  /** Shell that runs commands, as `SHELL -c COMMAND`. Default: `"sh"`. */
  shell?: string | undefined
} & (
    | {
        /** OCI image to boot from. */
        image: string
        snapshot?: undefined
      }
    | {
        /** Definition of a snapshot to boot from. It is built if it does not exist. */
        snapshot: Promises.SnapshotConfig
        image?: undefined
      }
  )

const { ports: _ports, shell: _shell, signal: _signal, snapshot: _snapshot, ...launchFields } = sandboxFields

const Provider = Schema.Struct({
  ...launchFields,
  ports: Schema.optional(Schema.Array(Port)),
  shell: Schema.optional(Shell)
})

const PortsSchema = Schema.Struct({ ports: Schema.Array(Port) })

const decodePorts = checked("setPorts", PortsSchema, Schema.Struct({}))

const sessionName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/

/** A name that is made of an id, and the id itself if it may be one. */
const nameOf = (prefix: string, id: string): string =>
  `${prefix}-${sessionName.test(id) ? id : createHash("sha256").update(id).digest("hex").slice(0, 32)}`

/**
 * Makes a provider of sandboxes for harness agents, such as those of `@ai-sdk/harness`. Does nothing until a session is
 * created.
 *
 * - An `identity` is the snapshot `harness-IDENTITY`: its only step calls `onFirstCreate`. It is built once, whichever
 *   processes ask for it at the same time, and again if the image or the definition has changed.
 * - A `sessionId` is the sandbox `harness-session-ID`. It is launched detached: it outlives this process until `destroy`.
 * - Ports are forwards to this host's 127.0.0.1.
 *
 * **Gotchas**
 *
 * The network of a sandbox is decided by `network` of these options, for the build as well. Sessions have no
 * `setNetworkPolicy` and no request transformations: pass `secrets`, which the guest never sees.
 *
 * Throws `InvalidConfig`, which names the option.
 *
 * @category constructors
 * @since 0.1.0
 */
export const sandboxProvider = (options: ProviderOptions): SandboxProvider =>
  makeProvider("sandboxProvider", options).provider

const sandboxOf = (sessionId: string): string => nameOf("harness-session", sessionId)

const makeProvider = (method: string, options: ProviderOptions) => {
  const { image, ports = [], shell, snapshot, ...launch } = options
  decodeSandbox(Provider, method, { ...launch, image, ports, shell })
  if ((image === undefined) === (snapshot === undefined)) {
    throw invalid(method, "snapshot", "pass either an image or the definition of a snapshot")
  }
  if (snapshot !== undefined) definitionOf(method, snapshot)
  const settings = { base: launch.workdir, env: launch.env, shell, ports }

  /** What a session boots from; builds it if it does not exist. */
  const sourceOf = async ({ abortSignal: signal, identity, onFirstCreate }: CreateSessionOptions) => {
    if (identity === undefined || onFirstCreate === undefined) {
      if (snapshot === undefined) return { image: image ?? "" }
      await Promises.buildSnapshot(snapshot, { signal })
      return { snapshot: snapshot.name }
    }
    const name = nameOf("harness", identity)
    const prepare = Promises.step(
      "onFirstCreate",
      async (builder, { signal }) =>
        await onFirstCreate(
          await openSession(builder, settings, { signal }),
          signal === undefined ? {} : { abortSignal: signal }
        ),
      { key: identity }
    )
    const { mounts, network, registry, resources } = launch
    const base = { name, mounts, network, registry, resources, setup: [prepare] }
    await Promises.buildSnapshot(
      snapshot === undefined ? { ...base, image: image ?? "" } : { ...base, from: snapshot },
      { signal }
    )
    return { snapshot: name }
  }

  const create = async (request: CreateSessionOptions): Promise<NetworkSandboxSession> => {
    const { abortSignal: signal, identity, onFirstCreate, sessionId } = request
    const isNew = sessionId === undefined || !(await isThere(sandboxOf(sessionId), { signal }))
    // The session creates its base directory, which a launch would demand.
    const { releaseTimeoutMs, workdir: _workdir, ...rest } = launch
    const wanted = { ...rest, ...(await sourceOf(request)), signal }
    const sandbox =
      sessionId === undefined
        ? await Promises.launchSandbox({ ...wanted, releaseTimeoutMs })
        : await Promises.getOrCreateSandbox(sandboxOf(sessionId), wanted)
    const session = await networkSession(sandbox, settings, sessionId !== undefined, { signal })
    if (identity !== undefined || onFirstCreate === undefined) return session
    try {
      if (!(await sandbox.fs().exists(preparedMark, { signal }))) {
        await onFirstCreate(session.restricted(), signal === undefined ? {} : { abortSignal: signal })
        await withFolder(sandbox, preparedMark, () => sandbox.fs().write(preparedMark, "", { signal }), { signal })
      }
    } catch (error) {
      if (isNew) await session.destroy()
      throw error
    }
    return session
  }
  const inTurn = makeTurns()

  const provider: SandboxProvider = {
    specificationVersion: "harness-sandbox-v1",
    providerId: "effect-lightbox",
    createSession: async (request = {}) => {
      const { sessionId } = request
      // Whoever asks for the same session meanwhile gets it once it is prepared, or tries again.
      return await (sessionId === undefined ? create(request) : inTurn(sessionId, () => create(request)))
    },
    resumeSession: async ({ abortSignal: signal, sessionId }) => {
      const handle = await Promises.Sandbox.get(sandboxOf(sessionId), { signal })
      const isStopped = handle.status === "stopped" || handle.status === "crashed"
      const sandbox = await (isStopped ? handle.startDetached({ signal }) : handle.connect({ signal }))
      return await networkSession(sandbox, settings, true, { signal })
    }
  }
  return { provider, sourceOf }
}

/** What a preparation leaves in the guest once it is complete: one that was cut off is repeated. */
const preparedMark = "/var/lib/lightbox/prepared"

const isThere = async (name: string, options: Promises.CallOptions): Promise<boolean> => {
  try {
    await Promises.Sandbox.get(name, options)
    return true
  } catch (error) {
    if (isReason(error, "NotFound")) return false
    throw error
  }
}

const networkSession = async (
  sandbox: Promises.Sandbox,
  settings: Settings,
  isNamed: boolean,
  options: Promises.CallOptions
): Promise<NetworkSandboxSession> => {
  const forwards = new Map<number, Promise<Promises.Forward>>()
  let ports = settings.ports ?? []
  const closeExcept = async (kept: ReadonlyArray<number>): Promise<void> => {
    for (const [port, forward] of [...forwards].filter(([port]) => !kept.includes(port))) {
      forwards.delete(port)
      await (await forward).close()
    }
  }
  const open = (port: number): Promise<Promises.Forward> => {
    const opened = forwards.get(port) ?? sandbox.forward(port)
    forwards.set(port, opened)
    opened.catch(() => forwards.delete(port))
    return opened
  }
  const restricted = await openSession(sandbox, settings, options).catch(async (error: unknown) => {
    await sandbox[Symbol.asyncDispose]()
    throw error
  })
  const getPortEndpoint: NetworkSandboxSession["getPortEndpoint"] = async ({ port, protocol = "http" }) => {
    if (!ports.includes(port)) {
      const known = ports.length === 0 ? "there are none" : `these are ${ports.join(", ")}`
      throw invalid("getPortEndpoint", "port", `expected one of the provider's ports; ${known}`)
    }
    const { bind, host } = await open(port)
    return { url: `${protocol}://${bind}:${host}` }
  }
  const end = async (): Promise<void> => {
    await closeExcept([])
    try {
      if (isNamed) await sandbox.stop()
    } catch (error) {
      if (!isReason(error, "NotFound", "NotRunning")) throw error
    } finally {
      await sandbox[Symbol.asyncDispose]()
    }
  }
  return {
    ...restricted,
    id: sandbox.name,
    defaultWorkingDirectory: restricted.resolvePath("."),
    get ports() {
      return ports
    },
    getPortEndpoint,
    getPortUrl: async (request) => (await getPortEndpoint(request)).url,
    setPorts: async (next) => {
      ports = decodePorts({ ports: next }, undefined).ports
      await closeExcept(ports)
    },
    stop: end,
    destroy: async () => {
      await closeExcept([])
      if (isNamed) await Promises.removeSandbox(sandbox.name, { force: true })
      await sandbox[Symbol.asyncDispose]()
    },
    restricted: () => restricted
  }
}

// =============================================================================
// eve
// =============================================================================

/**
 * Files that eve wants in each sandbox, as it passes them to a provider.
 *
 * @category models
 * @since 0.1.0
 */
export interface EveResourceTree {
  readonly files: ReadonlyArray<{ readonly content: string | Uint8Array; readonly relativePath: string }>
  readonly key: string
  readonly targetPath: string
}

/**
 * A sandbox of eve, and what ends it.
 *
 * @category models
 * @since 0.1.0
 */
export interface EveHandle {
  readonly sandbox: SandboxSession
  readonly onRuntimeShutdown: () => Promise<void>
  readonly onSandboxDelete: () => Promise<void>
  readonly onSandboxStop: () => Promise<void>
}

/**
 * The parts of eve's contexts that a provider needs.
 *
 * @category models
 * @since 0.1.0
 */
export interface EveSessionContext {
  readonly session: { readonly id: string }
}

/**
 * What eve's `defineSandboxProvider` takes.
 *
 * @category models
 * @since 0.1.0
 */
export interface EveProviderDefinition {
  readonly name: string
  readonly environment: (options: ProviderOptions) => {
    readonly prepare: (context: {
      readonly resources: {
        readonly workspace?: EveResourceTree | undefined
        readonly skills?: EveResourceTree | undefined
      }
    }) => Promise<string>
    readonly start: (
      context: EveSessionContext,
      options: undefined,
      artifact: string
    ) => Promise<{ readonly handle: EveHandle; readonly state: string }>
    readonly resume: (context: EveSessionContext, artifact: string, state: string) => Promise<EveHandle>
    readonly onSessionEnd: (context: EveSessionContext, artifact: string, state: string) => Promise<void>
  }
}

const handleOf = (session: NetworkSandboxSession): EveHandle => ({
  sandbox: session.restricted(),
  onRuntimeShutdown: session.stop,
  onSandboxDelete: session.destroy,
  onSandboxStop: session.stop
})

/**
 * The definition of a provider for eve: pass it to `defineSandboxProvider`, and the options of {@link sandboxProvider}
 * to the provider's `environment`. The working directory is `/workspace`, as eve demands.
 *
 * The files of a revision are a snapshot. A session is a sandbox that outlives this process until eve ends the session.
 *
 * @category constructors
 * @since 0.1.0
 */
export const eveProvider: EveProviderDefinition = {
  name: "effect-lightbox",
  environment: (options) => {
    const { provider, sourceOf } = makeProvider("eveProvider", { ...options, workdir: "/workspace" })
    return {
      prepare: async ({ resources: { skills, workspace } }) => {
        const trees = [workspace, skills].filter((tree) => tree !== undefined)
        const keys = JSON.stringify(trees.map(({ key, targetPath }) => [key, targetPath]))
        const identity = nameOf("eve", keys)
        await sourceOf({
          identity,
          onFirstCreate: async (session) => {
            const home = (await session.run({ command: 'printf %s "${HOME:-/root}"' })).stdout
            for (const { files, targetPath } of trees) {
              for (const { content, relativePath } of files) {
                const path = Path.posix.join(
                  targetPath.replace("$HOME", () => home),
                  relativePath
                )
                await session.writeBinaryFile({ path, content: Buffer.from(content) })
              }
            }
          }
        })
        return identity
      },
      start: async ({ session: { id } }, _options, identity) => {
        const session = await provider.createSession({
          sessionId: id,
          identity,
          onFirstCreate: () => Promise.reject(new Error("the prepared snapshot was removed: prepare it again"))
        })
        return { handle: handleOf(session), state: id }
      },
      resume: async (_context, _artifact, id) => handleOf(await provider.resumeSession({ sessionId: id })),
      onSessionEnd: (_context, _artifact, id) => Promises.removeSandbox(sandboxOf(id), { force: true })
    }
  }
}
