/**
 * Tools with which a language model works in a sandbox: an Effect AI toolkit, which `lightbox mcp` serves as well.
 *
 * Eight tools cover the work: `run` and `job` for commands, `read`, `write`, `edit` and `search` for files, `forward`
 * for ports, and `snapshot`.
 *
 * **Details**
 *
 * - `run` starts a script as a job and waits for it. A script that takes longer keeps running, and `job` polls it.
 * - All output is bounded: 30,000 bytes of text and 200 matches a call. A result that is not whole has a `note`, which
 *   says what is missing and how to read on.
 * - Failures are results, too: `error` says what went wrong and `hint`, if there is one, what to do.
 * - File tools take absolute paths and run as root; scripts run as the sandbox's user, in its working directory. A file
 *   that `write` creates belongs to the owner of its folder.
 * - `search` needs `find`, and `grep` for a pattern, in the guest; `run` and `job` need what `Job` needs. Any image with
 *   busybox or coreutils has them.
 *
 * The tools of a sandbox share a {@link Workspace}: {@link layer} makes one of `Sandbox.Sandbox`, {@link makeWorkspace}
 * one that boots its sandbox when it is first used.
 *
 * Effect's AI modules are unstable in Effect 4.1: a minor release may change them. Therefore neither the index nor any
 * other module imports this one.
 *
 * **Example** (Let a model work in a sandbox)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { LanguageModel } from "effect/ai"
 * import { MicrosandboxLocal, Sandbox } from "effect-lightbox"
 * import * as SandboxTools from "effect-lightbox/SandboxTools"
 *
 * export const program = LanguageModel.generateText({
 *   prompt: "Which primes are below 30? Write a program for it, and run it.",
 *   toolkit: SandboxTools.toolkit
 * }).pipe(
 *   Effect.provide(
 *     SandboxTools.layer().pipe(
 *       Layer.provide(Sandbox.layer({ image: "python:3.12-slim", network: "none" })),
 *       Layer.provide(MicrosandboxLocal.layer())
 *     )
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import type { Services } from "./Driver.ts"
import * as Handlers from "./internal/mcp/handlers.ts"
import * as internal from "./internal/mcp/workspace.ts"
import { Workspace } from "./internal/mcp/workspace.ts"
import type { LightboxError } from "./LightboxError.ts"
import * as Sandbox from "./Sandbox.ts"

// =============================================================================
// Workspace
// =============================================================================

export { Workspace } from "./internal/mcp/workspace.ts"

/**
 * Limits of a {@link Workspace}.
 *
 * @category options
 * @since 0.1.0
 */
export interface WorkspaceOptions {
  /** Ports of the sandbox that `forward` may open on 127.0.0.1 of this host, or all. Default: `"all"`. */
  readonly forwards?: "all" | ReadonlyArray<number> | undefined
  /**
   * What the names of captured snapshots must begin with: a capture moves an existing name, which others may boot from.
   * `false`: the tool `snapshot` fails. Default: `"agent-"`.
   */
  readonly snapshots?: string | false | undefined
}

/**
 * Makes a {@link Workspace} whose forwards close with the scope. `sandbox` runs for each call of a tool.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeWorkspace: (
  sandbox: Effect.Effect<Sandbox.Sandbox, LightboxError>,
  options?: WorkspaceOptions
) => Effect.Effect<Workspace["Service"], never, Services | Scope.Scope> = internal.make

// =============================================================================
// Tools
// =============================================================================

/**
 * The failure of a tool, which the model sees.
 *
 * @category models
 * @since 0.1.0
 */
export const Failure = Schema.Struct({ error: Schema.String, hint: Schema.optionalKey(Schema.String) })

/**
 * The failure of a tool, which the model sees.
 *
 * @category models
 * @since 0.1.0
 */
export type Failure = typeof Failure.Type

const note = Schema.optionalKey(Schema.String)

/**
 * A job and a part of its output. `from` and `next` are byte offsets: `next` is the `since` of the call that reads on.
 * `exitCode` is there once it has exited.
 *
 * @category models
 * @since 0.1.0
 */
export const JobResult = Schema.Struct({
  id: Schema.String,
  status: Schema.Literals(["running", "exited", "killed", "lost"]),
  exitCode: Schema.optionalKey(Schema.Int),
  output: Schema.String,
  from: Schema.Int,
  next: Schema.Int,
  note
})

/**
 * A job and a part of its output.
 *
 * @category models
 * @since 0.1.0
 */
export type JobResult = typeof JobResult.Type

const options = {
  failure: Failure,
  // The model may know better.
  failureMode: "return" as const,
  dependencies: [Workspace]
}

const described = (description: string) => Schema.String.annotate({ description })

const path = described("Absolute")

const seconds = Schema.optionalKey(Schema.Int.annotate({ description: "Seconds, up to 50" }))

const run = Tool.make("run", {
  description:
    "Runs a shell script as a job. Returns when it ends or after `wait` (20); then poll with `job`. Shows the last 30 kB of output",
  parameters: Schema.Struct({ script: Schema.String, cwd: Schema.optionalKey(Schema.String), wait: seconds }),
  success: JobResult,
  ...options
})

const job = Tool.make("job", {
  description: "Polls a job, after `signal`, if any. Shows the last 30 kB of output, or the first from byte `since`",
  parameters: Schema.Struct({
    id: Schema.String,
    since: Schema.optionalKey(Schema.Int),
    wait: seconds,
    signal: Schema.optionalKey(described("Such as SIGINT"))
  }),
  success: JobResult,
  ...options
})

const read = Tool.make("read", {
  description: "Reads up to 30 kB of a text file, from `line` (1)",
  parameters: Schema.Struct({ path, line: Schema.optionalKey(Schema.Int) }),
  success: Schema.Struct({ content: Schema.String, next: Schema.optionalKey(Schema.Int), note }),
  ...options
}).annotate(Tool.Readonly, true)

const write = Tool.make("write", {
  description: "Creates or replaces a text file and its parent folders",
  parameters: Schema.Struct({ path, content: Schema.String }),
  success: Schema.Struct({ bytes: Schema.Int }),
  ...options
})

const edit = Tool.make("edit", {
  description: "Replaces text in a file: the only occurrence of `old`, or `all`",
  parameters: Schema.Struct({
    path,
    old: Schema.String,
    new: Schema.String,
    all: Schema.optionalKey(Schema.Boolean)
  }),
  success: Schema.Struct({ replaced: Schema.Int }),
  ...options
})

const search = Tool.make("search", {
  description:
    "Lists a folder; with `glob` (of names), files below it; with `pattern` (extended regex), lines in them. At most 200",
  parameters: Schema.Struct({
    path,
    glob: Schema.optionalKey(Schema.String),
    pattern: Schema.optionalKey(Schema.String)
  }),
  success: Schema.Struct({ matches: Schema.Array(Schema.String), note }),
  ...options
}).annotate(Tool.Readonly, true)

const forward = Tool.make("forward", {
  description: "Opens a TCP port of the sandbox on the user's machine",
  parameters: Schema.Struct({ port: Schema.Int }),
  success: Schema.Struct({ url: Schema.String }),
  ...options
})

const snapshot = Tool.make("snapshot", {
  description: "Saves the disk for later sandboxes. Restarts the sandbox: jobs and /tmp are lost",
  parameters: Schema.Struct({ name: Schema.String }),
  success: Schema.Struct({ name: Schema.String, generation: Schema.optionalKey(Schema.Int) }),
  ...options
})

/**
 * The tools, which need a {@link Workspace} when they are called.
 *
 * @category toolkits
 * @since 0.1.0
 */
export const toolkit = Toolkit.make(run, job, read, write, edit, search, forward, snapshot)

/**
 * The handlers of {@link toolkit}, for servers that provide another {@link Workspace} to each call.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHandlers: Layer.Layer<Tool.HandlersFor<(typeof toolkit)["tools"]>> = toolkit.toLayer(
  Handlers.handlers
)

/**
 * The handlers of {@link toolkit}, and a {@link Workspace} for the sandbox of `Sandbox.layer`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options?: WorkspaceOptions
): Layer.Layer<Tool.HandlersFor<(typeof toolkit)["tools"]> | Workspace, never, Services | Sandbox.Sandbox> =>
  Layer.merge(
    layerHandlers,
    Layer.effect(
      Workspace,
      Effect.flatMap(Sandbox.Sandbox, (sandbox) => makeWorkspace(Effect.succeed(sandbox), options))
    )
  )
