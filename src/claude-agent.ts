/**
 * Runs Claude Code inside a sandbox, for the Claude Agent SDK. The agent's files and commands are those of the sandbox; the
 * SDK, its hooks and permission callbacks stay in this process. Nothing of the SDK is loaded; its types are met
 * structurally.
 *
 * **Example** (An agent in a sandbox)
 *
 * ```ts
 * import { spawnInSandbox } from "effect-lightbox/claude-agent"
 * import { launchSandbox } from "effect-lightbox/promise"
 *
 * await using sandbox = await launchSandbox({
 *   snapshot: "coding-agents",
 *   mounts: { "/work": "." },
 *   secrets: { ANTHROPIC_API_KEY: { value: process.env["ANTHROPIC_API_KEY"] ?? "", hosts: ["api.anthropic.com"] } }
 * })
 * export const options = {
 *   cwd: "/work",
 *   pathToClaudeCodeExecutable: "claude",
 *   spawnClaudeCodeProcess: spawnInSandbox(sandbox)
 * }
 * // for await (const message of query({ prompt, options })) …
 * ```
 *
 * @since 0.1.0
 */
// @effect-diagnostics asyncFunction:off
import * as Schema from "effect/Schema"
import { EventEmitter, once } from "node:events"
import { PassThrough, type Readable, type Writable } from "node:stream"
import { Env, Func, User } from "./internal/config/schemas.ts"
import { signals } from "./internal/config/signals.ts"
import { checked, None } from "./internal/promise/input.ts"
import type { ExecHandle, Sandbox } from "./promise.ts"

/**
 * How the SDK asks for its process.
 *
 * @category models
 * @since 0.1.0
 */
export interface SpawnRequest {
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly cwd?: string | undefined
  readonly env: { readonly [name: string]: string | undefined }
  readonly signal: AbortSignal
}

/**
 * The process that the SDK talks to: a part of Node.js's `ChildProcess`.
 *
 * @category models
 * @since 0.1.0
 */
export interface SpawnedProcess {
  readonly stdin: Writable
  readonly stdout: Readable
  readonly killed: boolean
  readonly exitCode: number | null
  readonly signalCode: NodeJS.Signals | null
  kill(signal: NodeJS.Signals): boolean
  on(event: "exit", listener: (code: number | null, signal: NodeJS.Signals | null) => void): void
  on(event: "error", listener: (error: Error) => void): void
  once(event: "exit", listener: (code: number | null, signal: NodeJS.Signals | null) => void): void
  once(event: "error", listener: (error: Error) => void): void
  off(event: "exit", listener: (code: number | null, signal: NodeJS.Signals | null) => void): void
  off(event: "error", listener: (error: Error) => void): void
}

/**
 * Options of {@link spawnInSandbox}.
 *
 * @category options
 * @since 0.1.0
 */
export interface SpawnInSandboxOptions {
  /** User that Claude Code runs as, by name or id. Default: the sandbox's. */
  readonly user?: string | undefined
  /** Variables added to the sandbox's and to those that the SDK sets. Default: none. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Receives what Claude Code writes to standard error. Default: none; the SDK's `stderr` option does not apply. */
  readonly onStderr?: ((text: string) => void) | undefined
}

const isWriter = (u: unknown): u is (text: string) => void => typeof u === "function"

const decode = checked(
  "spawnInSandbox",
  None,
  Schema.Struct({
    user: Schema.optional(User),
    env: Schema.optional(Env),
    onStderr: Schema.optional(Func)
  })
)

/**
 * Makes a `spawnClaudeCodeProcess` hook that runs Claude Code in a sandbox. Also pass `pathToClaudeCodeExecutable`, the
 * path or name of Claude Code in the sandbox, and `cwd`, a folder there.
 *
 * Variables of this process are not passed on, although the SDK asks for all of them: only those that the SDK or your
 * `env` option of `query` set to another value than they have here. Pass a key for the API as one of the sandbox's
 * `secrets`: the guest never sees its value.
 *
 * The sandbox stays yours to remove. A process that the SDK ends is killed with its children.
 *
 * Throws `InvalidConfig`, which names the option. What goes wrong later is an `error` event, which the SDK rejects with.
 *
 * @category constructors
 * @since 0.1.0
 */
export const spawnInSandbox = (
  sandbox: Sandbox,
  options?: SpawnInSandboxOptions
): ((request: SpawnRequest) => SpawnedProcess) => {
  const { env, onStderr, user } = decode({}, options)
  return (request) =>
    new GuestProcess(sandbox, request, { env, user, onStderr: isWriter(onStderr) ? onStderr : () => {} })
}

interface Settings {
  readonly env: { readonly [name: string]: string } | undefined
  readonly user: string | undefined
  readonly onStderr: (text: string) => void
}

/** What the caller or the SDK has set, as opposed to what this process has inherited. */
const ownVariables = (env: SpawnRequest["env"]): { readonly [name: string]: string } =>
  Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      value === undefined || value === process.env[name] ? [] : [[name, value] as const]
    )
  )

const isSignal = (name: string): name is NodeJS.Signals & keyof typeof signals => name in signals

class GuestProcess extends EventEmitter implements SpawnedProcess {
  readonly stdin = new PassThrough()
  readonly stdout = new PassThrough()
  killed = false
  exitCode: number | null = null
  signalCode: NodeJS.Signals | null = null
  #handle: ExecHandle | undefined
  /** Sent once the process runs. */
  #pending: number | undefined
  #hasEnded = false

  constructor(sandbox: Sandbox, request: SpawnRequest, settings: Settings) {
    super()
    const onAbort = () => void this.kill("SIGKILL")
    request.signal.addEventListener("abort", onAbort, { once: true })
    if (request.signal.aborted) onAbort()
    void this.#report(this.#run(sandbox, request, settings)).finally(() =>
      request.signal.removeEventListener("abort", onAbort)
    )
  }

  async #report(running: Promise<readonly [number | null, NodeJS.Signals | null]>): Promise<void> {
    try {
      const [code, signal] = await running
      this.#hasEnded = true
      this.exitCode = code
      this.signalCode = signal
      this.emit("exit", code, signal)
    } catch (error) {
      this.#hasEnded = true
      this.stdout.end()
      this.emit("error", error)
    }
  }

  kill(signal: NodeJS.Signals): boolean {
    if (this.#hasEnded || !isSignal(signal)) return false
    this.killed = true
    // Whoever has lost its guest hears so from the reading.
    if (this.#handle !== undefined) void this.#handle.signal(signals[signal]).catch(() => {})
    else this.#pending = signals[signal]
    return true
  }

  async #run(
    sandbox: Sandbox,
    { args, command, cwd, env }: SpawnRequest,
    { env: more, onStderr, user }: Settings
  ): Promise<readonly [number | null, NodeJS.Signals | null]> {
    const variables = { ...ownVariables(env), ...more }
    const handle = await sandbox.execStream(command, args, { cwd, user, env: variables, pipeStdin: true })
    this.#handle = handle
    if (this.#pending !== undefined) await handle.signal(this.#pending)
    // Input that cannot be sent any more is for a process that has ended, which the reading reports.
    void this.#feed(handle).catch(() => {})
    let ended: readonly [number | null, NodeJS.Signals | null] = [null, null]
    for await (const event of handle) {
      switch (event.kind) {
        case "stdout":
          if (!this.stdout.destroyed && !this.stdout.write(event.data)) await this.#drained()
          break
        case "stderr":
          onStderr(event.text)
          break
        case "exited":
          ended = typeof event.signal === "string" && isSignal(event.signal) ? [null, event.signal] : [event.code, null]
      }
    }
    this.stdout.end()
    return ended
  }

  async #feed(handle: ExecHandle): Promise<void> {
    const sink = await handle.takeStdin()
    try {
      for await (const data of this.stdin) await sink?.write(data)
    } finally {
      await sink?.close()
    }
  }

  /** Waits until there is room, or nobody reads any more. */
  async #drained(): Promise<void> {
    const stop = new AbortController()
    await Promise.race([
      once(this.stdout, "drain", { signal: stop.signal }),
      once(this.stdout, "close", { signal: stop.signal })
    ]).catch(() => {})
    stop.abort()
  }
}
