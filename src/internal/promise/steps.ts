/** Steps of definitions as plain objects. No declaration may mention a type of Effect. */
import type * as Effect from "effect/Effect"
import * as Record from "effect/Record"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Snapshots from "../../Snapshot.ts"
import type * as Sandboxes from "../../Sandbox.ts"
import {
  copyOptions,
  CString,
  Env,
  Func,
  GuestPath,
  HostPath,
  Int53,
  notBlank,
  optionsStruct,
  recordOf,
  Text,
  User
} from "../config/schemas.ts"
import { Millis } from "./input.ts"
import { type CallOptions, type Network, NetworkSchema } from "./options.ts"
import type { Sandbox } from "./sandbox.ts"

/**
 * Options of every step that runs something.
 *
 * @category options
 * @since 0.1.0
 */
export interface StepOptions {
  /** Label of the step in events, plans and errors. Default: the command, or a summary of the step. */
  readonly description?: string | undefined
  /** Time limit for each attempt, in milliseconds. Default: none. */
  readonly timeoutMs?: number | undefined
  /** Attempts after a failed one, with a pause before each (default: 0). Default: none. */
  readonly retries?: number | { readonly times: number; readonly delayMs?: number | undefined } | undefined
  /**
   * Disk that a retry starts from: the one before the step (`"clean"`, which costs a boot), or the one that the failed
   * attempt left. Default: `"clean"`.
   */
  readonly retryFrom?: "clean" | "dirty" | undefined
  /** Network while the step runs. Changing it costs a checkpoint and a boot. Default: the definition's. */
  readonly network?: Network | undefined
  /**
   * `"auto"`: run again if the step, its environment or an earlier step changed. `"never"`: run in every build. A key is
   * compared instead of arguments, environment and files. Default: `"auto"`.
   */
  readonly cache?: "auto" | "never" | { readonly key: string } | undefined
}

/**
 * A secret of a step: a variable of its command, or the file `/run/secrets/<name>` while it runs. The disk is searched
 * for the value before it is stored; if it is found, the build rejects with the reason `SecretLeaked`.
 *
 * @category options
 * @since 0.1.0
 */
export type StepSecret =
  | string
  | {
      readonly value: string
      /** Default: `"env"`. */
      readonly as?: "env" | "file" | undefined
      /** Run the step again when the value changes. Default: `false`. */
      readonly inKey?: boolean | undefined
    }

/**
 * Options of steps that run a command.
 *
 * @category options
 * @since 0.1.0
 */
export interface CommandStepOptions extends StepOptions {
  /** Additional variables. Default: none. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Secrets by name. Default: none. */
  readonly secrets?: { readonly [name: string]: StepSecret } | undefined
}

/**
 * The owner of files: `"user"`, `"user:group"`, or ids.
 *
 * @category options
 * @since 0.1.0
 */
export type Owner = string | { readonly uid: number; readonly gid: number }

/**
 * Options of {@link write} steps.
 *
 * @category options
 * @since 0.1.0
 */
export interface WriteStepOptions extends StepOptions {
  /** Permission bits. Default: 0o644. */
  readonly mode?: number | undefined
  /** Default: root. */
  readonly owner?: Owner | undefined
}

/**
 * Options of {@link copy} steps.
 *
 * @category options
 * @since 0.1.0
 */
export interface CopyStepOptions extends StepOptions {
  /**
   * Patterns to leave out, as in a `.gitignore`, relative to the copied folder: lines, or the text of a whole file. Blank
   * lines and comments are skipped. Default: none.
   */
  readonly ignore?: ReadonlyArray<string> | undefined
  /** Permission bits of files; folders also get the execute bits. Default: as on the host. */
  readonly mode?: number | undefined
  /** Default: root. */
  readonly owner?: Owner | undefined
}

/**
 * Options of {@link step}.
 *
 * @category options
 * @since 0.1.0
 */
export interface FunctionStepOptions extends StepOptions {
  /** Identifies the function and its inputs. A different key runs the step again. Default: none. */
  readonly key?: string | undefined
}

/**
 * A step that runs a script in a login shell.
 *
 * @category models
 * @since 0.1.0
 */
export interface ShellStep extends CommandStepOptions {
  readonly kind: "shell"
  readonly script: string
  /** Use a login shell. Default: `true`. */
  readonly login?: boolean | undefined
}

/**
 * A step that runs a program without a shell.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExecStep extends CommandStepOptions {
  readonly kind: "exec"
  readonly cmd: string
  /** Default: none. */
  readonly args?: ReadonlyArray<string> | undefined
}

/**
 * A step that copies a file or a folder's content from this host.
 *
 * @category models
 * @since 0.1.0
 */
export interface CopyStep extends CopyStepOptions {
  readonly kind: "copy"
  readonly from: string
  readonly to: string
}

/**
 * A step that writes a file.
 *
 * @category models
 * @since 0.1.0
 */
export interface WriteStep extends WriteStepOptions {
  readonly kind: "write"
  readonly path: string
  readonly content: string | Uint8Array
}

/**
 * A step that calls a function with the builder's sandbox.
 *
 * @category models
 * @since 0.1.0
 */
export interface FunctionStep extends FunctionStepOptions {
  readonly kind: "step"
  readonly name: string
  readonly run: (sandbox: Sandbox, options: CallOptions) => Promise<unknown>
}

/**
 * A step that installs packages with `apt`, `npm` or `pip`.
 *
 * @category models
 * @since 0.1.0
 */
export interface InstallStep extends CommandStepOptions {
  readonly kind: "apt" | "npm" | "pip"
  readonly packages: ReadonlyArray<string>
}

/**
 * A step that clones a git repository without its history.
 *
 * @category models
 * @since 0.1.0
 */
export interface GitCloneStep extends CommandStepOptions {
  readonly kind: "gitClone"
  readonly url: string
  readonly path: string
  /** Branch or tag. Default: the repository's default branch. */
  readonly ref?: string | undefined
}

/**
 * A step that changes what later steps see: their variables, their user, or their working directory, which is created.
 *
 * @category models
 * @since 0.1.0
 */
export type SettingStep =
  | { readonly kind: "env"; readonly variables: { readonly [name: string]: string } }
  | { readonly kind: "user"; readonly user: string }
  | { readonly kind: "workdir"; readonly path: string }

/**
 * A step that stores the result so far for later builds, or that makes every build run all later steps.
 *
 * @category models
 * @since 0.1.0
 */
export type CacheStep = { readonly kind: "checkpoint" } | { readonly kind: "skipCache" }

/**
 * A step of a snapshot's setup. A string is a script for a login shell.
 *
 * @category models
 * @since 0.1.0
 */
export type SetupStep =
  | string
  | ShellStep
  | ExecStep
  | CopyStep
  | WriteStep
  | FunctionStep
  | InstallStep
  | GitCloneStep
  | SettingStep
  | CacheStep

// =============================================================================
// Constructors
// =============================================================================

/** Options, or only a description. */
const labeled = <O extends StepOptions>(given: string | O | undefined): O | { readonly description?: string } =>
  given === undefined ? {} : typeof given === "object" ? given : { description: given }

/**
 * Creates a step that runs a script in a login shell. The last argument is a description, or options.
 *
 * @category steps
 * @since 0.1.0
 */
export const shell = (
  script: string,
  options?: string | (CommandStepOptions & { readonly login?: boolean | undefined })
): ShellStep => ({ kind: "shell", script, ...labeled(options) })

/**
 * Creates a step that runs a program without a shell. The last argument is a description, or options.
 *
 * @category steps
 * @since 0.1.0
 */
export const exec = (cmd: string, args?: ReadonlyArray<string>, options?: string | CommandStepOptions): ExecStep => ({
  kind: "exec",
  cmd,
  ...(args === undefined ? {} : { args }),
  ...labeled(options)
})

/**
 * Creates a step that copies a file, or the content of a folder, from this host. It runs again when content, permissions
 * or names change. The guest needs `tar`.
 *
 * @category steps
 * @since 0.1.0
 */
export const copy = (from: string, to: string, options?: CopyStepOptions): CopyStep => ({
  kind: "copy",
  from,
  to,
  ...options
})

/**
 * Creates a step that writes a file and its parent folders.
 *
 * @category steps
 * @since 0.1.0
 */
export const write = (path: string, content: string | Uint8Array, options?: WriteStepOptions): WriteStep => ({
  kind: "write",
  path,
  content,
  ...options
})

/**
 * Creates a step that calls a function with the builder's sandbox. Pass its second argument to the calls in it, so that
 * they end with the step. If it rejects, the build fails with that `LightboxError`, or with the reason `Unknown` and
 * the rejection as its `cause`.
 *
 * Changes to the code are not detected: the result is reused until the name or the `key` changes.
 *
 * **Example** (Seed a database)
 *
 * ```ts
 * import { defineSnapshot, step } from "effect-lightbox/promise"
 *
 * export const database = defineSnapshot({
 *   name: "database",
 *   image: "postgres:17",
 *   setup: [step("seed", (sandbox, options) => sandbox.fs().write("/seed.sql", "select 1;\n", options), { key: "v1" })]
 * })
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const step = (name: string, run: FunctionStep["run"], options?: FunctionStepOptions): FunctionStep => ({
  kind: "step",
  name,
  run,
  ...options
})

/**
 * Creates a step that installs Debian packages, without recommended ones.
 *
 * @category steps
 * @since 0.1.0
 */
export const apt = (packages: ReadonlyArray<string>, options?: CommandStepOptions): InstallStep => ({
  kind: "apt",
  packages,
  ...options
})

/**
 * Creates a step that installs npm packages globally.
 *
 * @category steps
 * @since 0.1.0
 */
export const npm = (packages: ReadonlyArray<string>, options?: CommandStepOptions): InstallStep => ({
  kind: "npm",
  packages,
  ...options
})

/**
 * Creates a step that installs Python packages without caching downloads.
 *
 * @category steps
 * @since 0.1.0
 */
export const pip = (packages: ReadonlyArray<string>, options?: CommandStepOptions): InstallStep => ({
  kind: "pip",
  packages,
  ...options
})

/**
 * Creates a step that clones a git repository without its history. New commits on a branch do not run it again.
 *
 * @category steps
 * @since 0.1.0
 */
export const gitClone = (
  url: string,
  path: string,
  options?: CommandStepOptions & { readonly ref?: string | undefined }
): GitCloneStep => ({ kind: "gitClone", url, path, ...options })

/**
 * Creates a step that sets variables for later steps. Sandboxes that boot from the snapshot do not get them.
 *
 * @category steps
 * @since 0.1.0
 */
export const env = (variables: { readonly [name: string]: string }): SettingStep => ({ kind: "env", variables })

/**
 * Creates a step that sets the user of later steps, such as `"node"` or `"1000:1000"`.
 *
 * @category steps
 * @since 0.1.0
 */
export const user = (user: string): SettingStep => ({ kind: "user", user })

/**
 * Creates a step that sets the working directory of later steps, and creates it. A folder that it creates belongs to
 * root, also after {@link user}: if that user is to write there, create it before with `install -d -o node /app`.
 *
 * @category steps
 * @since 0.1.0
 */
export const workdir = (path: string): SettingStep => ({ kind: "workdir", path })

/**
 * Creates a step that stores the result so far, so that later builds can start from it.
 *
 * @category steps
 * @since 0.1.0
 */
export const checkpoint = (): CacheStep => ({ kind: "checkpoint" })

/**
 * Creates a step that makes every build run all later steps.
 *
 * @category steps
 * @since 0.1.0
 */
export const skipCache = (): CacheStep => ({ kind: "skipCache" })

// =============================================================================
// Schemas
// =============================================================================

const Times = Int53

const stepFields = {
  description: Schema.optional(Schema.NonEmptyString),
  timeoutMs: Schema.optional(Millis),
  retries: Schema.optional(Schema.Union([Times, Schema.Struct({ times: Times, delayMs: Schema.optional(Millis) })])),
  retryFrom: Schema.optional(Schema.Literals(["clean", "dirty"])),
  network: Schema.optional(NetworkSchema),
  cache: Schema.optional(
    Schema.Union([Schema.Literals(["auto", "never"]), Schema.Struct({ key: Schema.NonEmptyString })])
  )
}

const StepFields = optionsStruct<StepOptions>()(stepFields)

const commandFields = {
  ...stepFields,
  env: Schema.optional(Env),
  secrets: Schema.optional(
    recordOf(
      Schema.Union([
        CString,
        Schema.Struct({
          value: CString,
          as: Schema.optional(Schema.Literals(["env", "file"])),
          inKey: Schema.optional(Schema.Boolean)
        })
      ]),
      (name) =>
        /^[A-Za-z_][A-Za-z0-9_.-]*$/.test(name)
          ? undefined
          : "expected a name of letters, digits, dots, dashes and underscores"
    )
  )
}

const { ignore, mode, owner } = copyOptions

/** @internal */
export const Step = Schema.Union([
  notBlank("a script"),
  optionsStruct<ShellStep>()({
    kind: Schema.Literal("shell"),
    script: notBlank("a script"),
    login: Schema.optional(Schema.Boolean),
    ...commandFields
  }),
  optionsStruct<ExecStep>()({
    kind: Schema.Literal("exec"),
    cmd: notBlank("the name of a program"),
    args: Schema.optional(Schema.Array(CString)),
    ...commandFields
  }),
  optionsStruct<CopyStep>()({
    kind: Schema.Literal("copy"),
    from: HostPath,
    to: GuestPath,
    ignore,
    mode,
    owner,
    ...stepFields
  }),
  optionsStruct<WriteStep>()({
    kind: Schema.Literal("write"),
    path: GuestPath,
    content: Schema.Union([Text, Schema.Uint8Array]),
    mode,
    owner,
    ...stepFields
  }),
  Schema.Struct({
    kind: Schema.Literal("step"),
    name: notBlank("a name"),
    run: Func,
    key: Schema.optional(Schema.String),
    ...stepFields
  }),
  optionsStruct<InstallStep>()({
    kind: Schema.Literals(["apt", "npm", "pip"]),
    packages: Schema.Array(notBlank("the name of a package")),
    ...commandFields
  }),
  optionsStruct<GitCloneStep>()({
    kind: Schema.Literal("gitClone"),
    url: notBlank("the URL of a repository"),
    path: GuestPath,
    ref: Schema.optional(Schema.NonEmptyString),
    ...commandFields
  }),
  Schema.Struct({ kind: Schema.Literal("env"), variables: Env }),
  Schema.Struct({ kind: Schema.Literal("user"), user: User }),
  Schema.Struct({ kind: Schema.Literal("workdir"), path: GuestPath }),
  Schema.Struct({ kind: Schema.Literal("checkpoint") }),
  Schema.Struct({ kind: Schema.Literal("skipCache") })
])

// =============================================================================
// To the core
// =============================================================================

const scheduleOf = (retries: StepOptions["retries"]) => {
  if (retries === undefined) return undefined
  const { delayMs, times } = typeof retries === "number" ? { times: retries, delayMs: undefined } : retries
  const recurs = Schedule.recurs(times)
  return delayMs === undefined ? recurs : Schedule.max([recurs, Schedule.spaced(delayMs)])
}

const decodeOptions = Schema.decodeSync(StepFields)

const optionsOf = (options: StepOptions) => {
  const { cache, description, network, retryFrom, timeoutMs } = options
  return {
    description,
    timeout: timeoutMs,
    retry: scheduleOf(options.retries),
    retryFrom,
    network: network === undefined ? undefined : decodeOptions({ network }).network,
    cache
  }
}

const commandOptionsOf = (options: CommandStepOptions) => ({
  ...defined(optionsOf(options)),
  env: options.env,
  secrets:
    options.secrets &&
    Record.map(options.secrets, (secret) =>
      typeof secret === "string" ? Redacted.make(secret) : { ...secret, value: Redacted.make(secret.value) }
    )
})

/** A description that is not given must not replace the default. */
const defined = <O extends object>(options: O): Partial<O> => {
  const copy: Partial<O> = { ...options }
  for (const key in copy) if (copy[key] === undefined) delete copy[key]
  return copy
}

/** @internal Calls a function of the caller with a sandbox. */
export type Call<E> = (
  method: string,
  run: FunctionStep["run"]
) => (sandbox: Sandboxes.Sandbox) => Effect.Effect<unknown, E>

/** @internal Adds a checked step to a definition. */
export const addStep = <E>(
  definition: Snapshots.Definition<E>,
  given: SetupStep,
  call: Call<E>
): Snapshots.Definition<E> => {
  if (typeof given === "string") return Snapshots.shell(definition, given, { login: true })
  switch (given.kind) {
    case "shell":
      return Snapshots.shell(definition, given.script, { login: true, ...commandOptionsOf(given), ...login(given) })
    case "exec":
      return Snapshots.exec(definition, given.cmd, given.args, commandOptionsOf(given))
    case "copy": {
      const { from, ignore, mode, owner, to } = given
      return Snapshots.copy(definition, from, to, { ...optionsOf(given), ignore, mode, owner })
    }
    case "write": {
      const { content, mode, owner, path } = given
      return Snapshots.write(definition, path, content, { ...optionsOf(given), mode, owner })
    }
    case "step":
      return Snapshots.step(definition, given.name, call(`step "${given.name}"`, given.run), {
        ...optionsOf(given),
        key: given.key
      })
    case "apt":
      return Snapshots.apt(definition, given.packages, commandOptionsOf(given))
    case "npm":
      return Snapshots.npm(definition, given.packages, commandOptionsOf(given))
    case "pip":
      return Snapshots.pip(definition, given.packages, commandOptionsOf(given))
    case "gitClone":
      return Snapshots.gitClone(definition, given.url, given.path, { ...commandOptionsOf(given), ref: given.ref })
    case "env":
      return Snapshots.env(definition, given.variables)
    case "user":
      return Snapshots.user(definition, given.user)
    case "workdir":
      return Snapshots.workdir(definition, given.path)
    case "checkpoint":
      return Snapshots.checkpoint(definition)
    case "skipCache":
      return Snapshots.skipCache(definition)
  }
}

const login = ({ login }: ShellStep) => (login === undefined ? {} : { login })
