/**
 * Snapshots: a disk that is baked once, from an image and typed steps, and
 * booted any number of times.
 *
 * A {@link Definition} is an immutable value, made with {@link make} and the step
 * functions. {@link build} runs it in a builder sandbox and keeps the result
 * under a name. Results are kept by content: building what is there already boots
 * nothing, changing the last of ten steps runs one step, and a build that fails
 * leaves the name as it was.
 *
 * **Details**
 *
 * Steps run one after the other, each on the disk that the one before left.
 * What is not on the disk does not pass from step to step: processes are ended
 * and memory file systems (`/tmp` is one) are emptied after each step, whether or
 * not the build pauses there.
 *
 * **Example** (Baking tools into an image)
 *
 * ```ts
 * import { Effect, Schedule } from "effect"
 * import { MicrosandboxLocal, Sandbox, Snapshot } from "effect-lightbox"
 *
 * const nodeCi = Snapshot.make("node-ci", "node:22").pipe(
 *   Snapshot.resources({ cpus: 4, memory: "4G" }),
 *   Snapshot.env({ CI: "true" }),
 *   Snapshot.workdir("/work"),
 *   Snapshot.shell("npm i -g pnpm@9", { retry: Schedule.recurs(3), timeout: "5 minutes" })
 * )
 *
 * export const program = Sandbox.run({ snapshot: Snapshot.build(nodeCi) }, (sandbox) =>
 *   sandbox.shell("pnpm --version")
 * ).pipe(Effect.provide(MicrosandboxLocal.layer()))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Pipeable from "effect/Pipeable"
import type * as Redacted from "effect/Redacted"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { BuildEvent } from "./BuildEvent.ts"
import type * as Guest from "./Guest.ts"
import { callSite } from "./internal/definition/callSite.ts"
import * as internalBuild from "./internal/build/build.ts"
import * as internalGenerations from "./internal/store/generations.ts"
import * as internalNames from "./internal/store/names.ts"
import * as internalPlan from "./internal/plan/plan.ts"
import * as internalPrune from "./internal/store/prune.ts"
import { Name } from "./internal/config/schemas.ts"
import { make as makeStore, type Store } from "./internal/store/store.ts"
import * as internalTransfer from "./internal/store/transfer.ts"
import { decoder } from "./internal/config/validation.ts"
import type { LightboxError } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"
import type * as Mount from "./Mount.ts"
import type * as Network from "./Network.ts"
import type { Plan } from "./Plan.ts"
import type { Sandbox } from "./Sandbox.ts"
import type * as SandboxConfig from "./SandboxConfig.ts"

const TypeId = "~effect-lightbox/Snapshot/Definition" as const

// =============================================================================
// Definitions
// =============================================================================

/**
 * What a snapshot is made of. `E` and `R` are what the effects among its steps
 * can fail with and need; they join those of the build.
 *
 * **Example** (A function over definitions)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const withGit = <E, R>(definition: Snapshot.Definition<E, R>): Snapshot.Definition<E, R> =>
 *   Snapshot.shell(definition, "apt-get install -y git")
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition<out E = never, out R = never> extends Pipeable.Pipeable {
  readonly [TypeId]: { readonly _E: (_: never) => E; readonly _R: (_: never) => R }
  readonly name: string
  readonly base: Base<E, R>
  readonly steps: ReadonlyArray<Step<E, R>>
  readonly options: BuilderOptions
  readonly labels: { readonly [key: string]: string }
  readonly verification: ((sandbox: Sandbox) => Effect.Effect<unknown, E, R>) | undefined
}

/**
 * What a definition starts from: an image, or another definition, whose build is
 * then part of this one.
 *
 * **Example** (Asking what it starts from)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const isImage = (base: Snapshot.Base<unknown, unknown>): boolean => base._tag === "Image"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Base<E = never, R = never> =
  | { readonly _tag: "Image"; readonly reference: string }
  | { readonly _tag: "Definition"; readonly definition: Definition<E, R> }

/**
 * Options of the sandbox that a definition is built in.
 *
 * **Example** (Building without a network, from a cached image)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const options: Snapshot.BuilderOptions = { network: "none", pullPolicy: "never" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface BuilderOptions extends Pick<SandboxConfig.Options, "network" | "pullPolicy" | "registry"> {
  readonly resources?: SandboxConfig.Resources | undefined
  /** Folders and volumes that steps see and that do not become part of the snapshot, by guest path. */
  readonly mounts?: { readonly [path: string]: Mount.Input } | undefined
}

/**
 * A secret of one step: its value, and how the step's command gets it.
 *
 * **Details**
 *
 * `"env"` (the default) sets the variable for that one process. `"file"` makes a
 * file of that name under `/run/secrets`, in memory, gone after the step. The
 * value appears in no event, error or key, and the disk is searched for it before
 * it is kept: a build whose disk contains it fails. Values of fewer than 4
 * characters are not searched for: they are found by chance. A changed value does
 * not run the step again, unless `inKey`.
 *
 * **Example** (A token for one command)
 *
 * ```ts
 * import type { Redacted } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const withPackages = (token: Redacted.Redacted<string>) =>
 *   Snapshot.make("app", "node:22").pipe(
 *     Snapshot.shell("npm ci", { secrets: { NPM_TOKEN: token } })
 *   )
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export type StepSecret =
  | Redacted.Redacted<string>
  | {
      readonly value: Redacted.Redacted<string>
      readonly as?: "env" | "file" | undefined
      /** Run the step again when the value changes. Default: `false`. */
      readonly inKey?: boolean | undefined
    }

/**
 * Options that every step takes.
 *
 * **Example** (A step that may need three attempts)
 *
 * ```ts
 * import { Schedule } from "effect"
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const options: Snapshot.StepOptions = {
 *   description: "install tools",
 *   timeout: "10 minutes",
 *   retry: Schedule.recurs(2)
 * }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface StepOptions {
  /** Default: the command itself, or what the step does. */
  readonly description?: string | undefined
  /** Of one attempt. Default: none. */
  readonly timeout?: Duration.Input | undefined
  /**
   * When to try again after a failure, which is the schedule's input; an error of an effect's own comes as `Unknown`,
   * with the error as its cause. Default: never.
   */
  readonly retry?: Schedule.Schedule<unknown, LightboxError> | undefined
  /**
   * What an attempt after a failed one starts on: the disk as the step before left it (`"clean"`, the default), which
   * costs a boot and the steps since the last checkpoint, or the disk that the failed attempt left (`"dirty"`).
   */
  readonly retryFrom?: "clean" | "dirty" | undefined
  /** The network while the step runs; another one than before costs a checkpoint and a boot. Default: the definition's. */
  readonly network?: Network.Input | undefined
  /**
   * `"auto"`, the default, runs the step when it, its environment, or anything before it changed. `"never"` runs it in
   * every build. A key stands in place of the step's own arguments, environment and files.
   */
  readonly cache?: "auto" | "never" | { readonly key: string } | undefined
}

/**
 * Options of steps that run a command.
 *
 * **Example** (A variable for one step)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const options: Snapshot.CommandStepOptions = { env: { DEBIAN_FRONTEND: "noninteractive" } }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface CommandStepOptions extends StepOptions {
  /** Added to the variables in effect. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Let the shell read the profiles of a login first; for scripts only. Default: `false`. */
  readonly login?: boolean | undefined
  /** By name. */
  readonly secrets?: { readonly [name: string]: StepSecret } | undefined
}

/**
 * Who owns what a step writes: ids, or names that the guest knows.
 *
 * **Example** (The user app and its group)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const owner: Snapshot.Owner = "app:app"
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export type Owner = Guest.Owner

/**
 * Options of {@link copy}.
 *
 * **Example** (Leaving things out)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const options: Snapshot.CopyOptions = { ignore: ["node_modules", "*.log"], owner: "app" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface CopyOptions extends StepOptions {
  /** Patterns as in a `.gitignore`, relative to the folder that is copied. Default: none. */
  readonly ignore?: ReadonlyArray<string> | undefined
  /** Permission bits of files (folders get the execute bits, too). Default: those on the host. */
  readonly mode?: number | undefined
  /** Default: root. */
  readonly owner?: Owner | undefined
}

/**
 * Options of {@link write}.
 *
 * **Example** (A private file)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const options: Snapshot.WriteOptions = { mode: 0o600, owner: "app" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface WriteOptions extends StepOptions {
  /** Permission bits. Default: 0o644. */
  readonly mode?: number | undefined
  /** Default: root. */
  readonly owner?: Owner | undefined
}

/**
 * Options of {@link step}.
 *
 * **Example** (A result that depends on more than the name)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const options: Snapshot.EffectStepOptions = { key: "schema-v7" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface EffectStepOptions extends StepOptions {
  /** What the step's result depends on, beside its name: a different key runs it again. Default: none. */
  readonly key?: string | undefined
}

interface StepCommon {
  /** The file and line that declared it. */
  readonly declaredAt: string | undefined
  readonly options: StepOptions
}

/**
 * One step of a definition.
 *
 * **Details**
 *
 * `Env` and `User` have effect on the steps after them; `Checkpoint` keeps the
 * result of the steps so far; `SkipCache` runs everything after it.
 *
 * **Example** (Counting commands)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const commands = (definition: Snapshot.Definition): number =>
 *   definition.steps.filter((step) => step._tag === "Shell" || step._tag === "Exec").length
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Step<E = never, R = never> =
  | (StepCommon & { readonly _tag: "Shell"; readonly script: string; readonly options: CommandStepOptions })
  | (StepCommon & {
      readonly _tag: "Exec"
      readonly argv: readonly [string, ...Array<Guest.Word>]
      readonly options: CommandStepOptions
    })
  | (StepCommon & {
      readonly _tag: "Copy"
      readonly from: string
      readonly to: string
      readonly options: CopyOptions
    })
  | (StepCommon & {
      readonly _tag: "Write"
      readonly path: string
      readonly content: string | Uint8Array
      readonly options: WriteOptions
    })
  | (StepCommon & { readonly _tag: "Workdir"; readonly path: string })
  | (StepCommon & {
      readonly _tag: "Effect"
      readonly name: string
      readonly run: (sandbox: Sandbox) => Effect.Effect<unknown, E, R>
      readonly options: EffectStepOptions
    })
  | (StepCommon & { readonly _tag: "Env"; readonly variables: { readonly [name: string]: string } })
  | (StepCommon & { readonly _tag: "User"; readonly user: string })
  | (StepCommon & { readonly _tag: "Checkpoint" })
  | (StepCommon & { readonly _tag: "SkipCache" })

const variance: Definition<never, never>[typeof TypeId] = {
  _E: (_) => _,
  _R: (_) => _
}

class DefinitionImpl<E, R> extends Pipeable.Class implements Definition<E, R> {
  readonly [TypeId]: { readonly _E: (_: never) => E; readonly _R: (_: never) => R } = variance
  readonly name: string
  readonly base: Base<E, R>
  readonly steps: ReadonlyArray<Step<E, R>>
  readonly options: BuilderOptions
  readonly labels: { readonly [key: string]: string }
  readonly verification: ((sandbox: Sandbox) => Effect.Effect<unknown, E, R>) | undefined

  constructor(fields: Omit<Definition<E, R>, typeof TypeId | "pipe">) {
    super()
    this.name = fields.name
    this.base = fields.base
    this.steps = fields.steps
    this.options = fields.options
    this.labels = fields.labels
    this.verification = fields.verification
  }
}

const withFields = <E, R, E2 = E, R2 = R>(
  self: Definition<E, R>,
  fields: Partial<Omit<Definition<E | E2, R | R2>, typeof TypeId | "pipe">>
): Definition<E | E2, R | R2> =>
  new DefinitionImpl<E | E2, R | R2>({
    name: self.name,
    base: self.base,
    steps: self.steps,
    options: self.options,
    labels: self.labels,
    verification: self.verification,
    ...fields
  })

const append = <E, R, E2 = never, R2 = never>(
  self: Definition<E, R>,
  step: Step<E2, R2>
): Definition<E | E2, R | R2> => {
  const steps: ReadonlyArray<Step<E, R> | Step<E2, R2>> = [...self.steps, step]
  return withFields<E, R, E2, R2>(self, { steps })
}

/**
 * Tells whether a value is a {@link Definition}.
 *
 * **Example** (Accepting a name or a definition)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const nameOf = (snapshot: string | Snapshot.Definition): string =>
 *   Snapshot.isDefinition(snapshot) ? snapshot.name : snapshot
 * ```
 *
 * @category guards
 * @since 0.1.0
 */
export const isDefinition = (u: unknown): u is Definition<unknown, unknown> =>
  typeof u === "object" && u !== null && TypeId in u

/**
 * A definition without steps, from an OCI image by tag or digest.
 *
 * **Details**
 *
 * The name is checked when the definition is planned or built: up to 128
 * letters, digits, dots, dashes and underscores.
 *
 * **Example** (An image under a name)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const tools = Snapshot.make("tools", "alpine:3.20")
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (name: string, image: string): Definition =>
  new DefinitionImpl({
    name,
    base: { _tag: "Image", reference: image },
    steps: [],
    options: {},
    labels: {},
    verification: undefined
  })

/**
 * A definition without steps that starts from another definition. Building it
 * builds the other first, as a part of itself: results are shared with all that
 * start from it, and the other's name is not touched.
 *
 * **Example** (Two snapshots on one base)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * const base = Snapshot.make("base", "debian:12").pipe(Snapshot.apt(["git"]))
 *
 * export const web = Snapshot.from("web", base).pipe(Snapshot.apt(["nginx"]))
 * export const worker = Snapshot.from("worker", base).pipe(Snapshot.apt(["ffmpeg"]))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const from = <E, R>(name: string, definition: Definition<E, R>): Definition<E, R> =>
  new DefinitionImpl({
    name,
    base: { _tag: "Definition", definition },
    steps: [],
    options: definition.options,
    labels: {},
    verification: undefined
  })

/**
 * A definition as a plain object: what {@link define} takes.
 *
 * **Example** (From a configuration file)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const config: Snapshot.PlainDefinition = {
 *   name: "node-ci",
 *   image: "node:22",
 *   env: { CI: "true" },
 *   setup: ["npm i -g pnpm@9", { kind: "exec", cmd: "node", args: ["--version"] }]
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface PlainDefinition {
  readonly name: string
  readonly image: string
  readonly resources?: SandboxConfig.Resources | undefined
  readonly workdir?: string | undefined
  readonly env?: { readonly [name: string]: string } | undefined
  /** A string is a script for the shell. */
  readonly setup?: ReadonlyArray<PlainStep> | undefined
  readonly labels?: { readonly [key: string]: string } | undefined
}

/**
 * A step in a {@link PlainDefinition}.
 *
 * **Example** (A described script)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const step: Snapshot.PlainStep = { kind: "shell", script: "npm ci", description: "install" }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type PlainStep =
  | string
  | { readonly kind: "shell"; readonly script: string; readonly description?: string | undefined }
  | {
      readonly kind: "exec"
      readonly cmd: string
      readonly args?: ReadonlyArray<string> | undefined
      readonly description?: string | undefined
    }

/**
 * A definition from a plain object, of the shape that lightbox's have. What it
 * says is checked when it is planned or built, like any definition's.
 *
 * **Details**
 *
 * Scripts run in a login shell, as lightbox runs them.
 *
 * **Example** (A definition in one piece)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const tools = Snapshot.define({ name: "tools", image: "alpine:3.20", setup: ["apk add git"] })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const define = (config: PlainDefinition): Definition => {
  const declaredAt = callSite()
  const steps: Array<Step> = []
  if (config.env !== undefined) steps.push({ _tag: "Env", variables: config.env, declaredAt, options: {} })
  if (config.workdir !== undefined) steps.push({ _tag: "Workdir", path: config.workdir, declaredAt, options: {} })
  for (const step of config.setup ?? []) {
    if (typeof step === "string") steps.push({ _tag: "Shell", script: step, declaredAt, options: { login: true } })
    else if (step.kind === "shell") {
      const { description, script } = step
      steps.push({ _tag: "Shell", script, declaredAt, options: { login: true, description } })
    } else {
      const argv: [string, ...Array<string>] = [step.cmd, ...(step.args ?? [])]
      steps.push({ _tag: "Exec", argv, declaredAt, options: { description: step.description } })
    }
  }
  return new DefinitionImpl({
    name: config.name,
    base: { _tag: "Image", reference: config.image },
    steps,
    options: { resources: config.resources },
    labels: config.labels ?? {},
    verification: undefined
  })
}

// =============================================================================
// Steps
// =============================================================================

const isDataFirst = (args: IArguments): boolean => isDefinition(args[0])

/** A function whose calls know where they stand in the caller's program. */
const declared = <F extends (...args: never) => unknown>(make: (declaredAt: string | undefined) => F): F =>
  new Proxy(make(undefined), { apply: (_, self, args) => Reflect.apply(make(callSite()), self, args) })

/**
 * Runs a script in the builder's shell.
 *
 * **Example** (Installing a package)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const tools = Snapshot.make("tools", "alpine").pipe(
 *   Snapshot.shell("apk add --no-cache git", { description: "git", timeout: "2 minutes" })
 * )
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const shell: {
  (script: string, options?: CommandStepOptions): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, script: string, options?: CommandStepOptions): Definition<E, R>
} = declared((declaredAt) =>
  dual(isDataFirst, <E, R>(self: Definition<E, R>, script: string, options: CommandStepOptions = {}) =>
    append(self, { _tag: "Shell", script, declaredAt, options })
  )
)

/**
 * Runs a program, without a shell. Redacted arguments appear nowhere but in the
 * guest; unlike a step's secrets, they are part of its key.
 *
 * **Example** (Arguments as they are)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const rust = Snapshot.make("rust-ci", "rust:1.82").pipe(
 *   Snapshot.exec("cargo", ["install", "cargo-nextest", "--locked"])
 * )
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const exec: {
  (
    command: string,
    args?: ReadonlyArray<Guest.Word>,
    options?: CommandStepOptions
  ): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(
    self: Definition<E, R>,
    command: string,
    args?: ReadonlyArray<Guest.Word>,
    options?: CommandStepOptions
  ): Definition<E, R>
} = declared((declaredAt) =>
  dual(
    isDataFirst,
    <E, R>(
      self: Definition<E, R>,
      command: string,
      args: ReadonlyArray<Guest.Word> = [],
      options: CommandStepOptions = {}
    ) => append(self, { _tag: "Exec", argv: [command, ...args], declaredAt, options })
  )
)

/**
 * Copies a file or a folder of the host into the guest. Permissions and symbolic
 * links are kept; the step runs again when content, permissions or names change.
 *
 * **Details**
 *
 * A relative path on the host is resolved against the current directory of the
 * build; it must exist. A folder's content goes into the folder `to`, which is
 * made; a file becomes the file `to`. Needs `tar` in the guest.
 *
 * **Example** (Baking sources in)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const app = Snapshot.make("app", "node:22").pipe(
 *   Snapshot.copy("./app", "/srv/app", { ignore: ["node_modules"], owner: "node" })
 * )
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const copy: {
  (from: string, to: string, options?: CopyOptions): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, from: string, to: string, options?: CopyOptions): Definition<E, R>
} = declared((declaredAt) =>
  dual(isDataFirst, <E, R>(self: Definition<E, R>, from: string, to: string, options: CopyOptions = {}) =>
    append(self, { _tag: "Copy", from, to, declaredAt, options })
  )
)

/**
 * Writes a file of the guest, and makes the folders above it.
 *
 * **Example** (A configuration file)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const tools = Snapshot.make("tools", "alpine").pipe(
 *   Snapshot.write("/etc/motd", "baked\n")
 * )
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const write: {
  (
    path: string,
    content: string | Uint8Array,
    options?: WriteOptions
  ): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, path: string, content: string | Uint8Array, options?: WriteOptions): Definition<E, R>
} = declared((declaredAt) =>
  dual(
    isDataFirst,
    <E, R>(self: Definition<E, R>, path: string, content: string | Uint8Array, options: WriteOptions = {}) =>
      append(self, { _tag: "Write", path, content, declaredAt, options })
  )
)

/**
 * Sets variables for the steps that follow. They are not set in sandboxes that
 * boot from the snapshot.
 *
 * **Example** (A non-interactive build)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const tools = Snapshot.make("tools", "debian:12").pipe(
 *   Snapshot.env({ DEBIAN_FRONTEND: "noninteractive" }),
 *   Snapshot.apt(["tzdata"])
 * )
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const env: {
  (variables: { readonly [name: string]: string }): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, variables: { readonly [name: string]: string }): Definition<E, R>
} = declared((declaredAt) =>
  dual(2, <E, R>(self: Definition<E, R>, variables: { readonly [name: string]: string }) =>
    append(self, { _tag: "Env", variables, declaredAt, options: {} })
  )
)

/**
 * Makes a folder, if it is not there, and runs the commands that follow in it.
 *
 * **Example** (Working in a folder)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const app = Snapshot.make("app", "node:22").pipe(
 *   Snapshot.workdir("/srv/app"),
 *   Snapshot.shell("npm init -y")
 * )
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const workdir: {
  (path: string): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, path: string): Definition<E, R>
} = declared((declaredAt) =>
  dual(2, <E, R>(self: Definition<E, R>, path: string) =>
    append(self, { _tag: "Workdir", path, declaredAt, options: {} })
  )
)

/**
 * Runs the commands that follow as another user: a name or an id, with a group
 * if wanted.
 *
 * **Example** (Leaving root)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const app = Snapshot.make("app", "node:22").pipe(
 *   Snapshot.user("node"),
 *   Snapshot.shell("npm config set update-notifier false")
 * )
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const user: {
  (user: string): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, user: string): Definition<E, R>
} = declared((declaredAt) =>
  dual(2, <E, R>(self: Definition<E, R>, user: string) => append(self, { _tag: "User", user, declaredAt, options: {} }))
)

/**
 * Runs any effect with the builder's sandbox. What it can fail with and needs
 * joins the definition's type.
 *
 * **Details**
 *
 * The step is known by its name: its result is used again until the name or the
 * `key` of its options changes. Give it a key if the effect depends on anything
 * else.
 *
 * **Example** (Seeding a database)
 *
 * ```ts
 * import { Config, Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const database = Snapshot.make("database", "postgres:17").pipe(
 *   Snapshot.step("seed", (sandbox) =>
 *     Effect.gen(function* () {
 *       const url = yield* Config.String("SEED_URL")
 *       yield* sandbox.exec("seed", [url], { check: true })
 *     })
 *   )
 * )
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const step: {
  <A, E2, R2>(
    name: string,
    run: (sandbox: Sandbox) => Effect.Effect<A, E2, R2>,
    options?: EffectStepOptions
  ): <E, R>(self: Definition<E, R>) => Definition<E | E2, R | R2>
  <E, R, A, E2, R2>(
    self: Definition<E, R>,
    name: string,
    run: (sandbox: Sandbox) => Effect.Effect<A, E2, R2>,
    options?: EffectStepOptions
  ): Definition<E | E2, R | R2>
} = declared((declaredAt) =>
  dual(
    isDataFirst,
    <E, R, A, E2, R2>(
      self: Definition<E, R>,
      name: string,
      run: (sandbox: Sandbox) => Effect.Effect<A, E2, R2>,
      options: EffectStepOptions = {}
    ) => append<E, R, E2, R2>(self, { _tag: "Effect", name, run, declaredAt, options })
  )
)

/**
 * Keeps the result of the steps so far, so that a later build can start there,
 * unless the build's policy is `"final"`.
 *
 * **Example** (After the slow part)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const app = Snapshot.make("app", "debian:12").pipe(
 *   Snapshot.apt(["build-essential"]),
 *   Snapshot.checkpoint,
 *   Snapshot.shell("make")
 * )
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const checkpoint: <E, R>(self: Definition<E, R>) => Definition<E, R> = declared(
  (declaredAt) =>
    <E, R>(self: Definition<E, R>) =>
      append(self, { _tag: "Checkpoint", declaredAt, options: {} })
)

/**
 * Runs every step that follows in every build.
 *
 * **Example** (Always the newest)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const nightly = Snapshot.make("nightly", "node:22").pipe(
 *   Snapshot.shell("npm i -g pnpm"),
 *   Snapshot.skipCache,
 *   Snapshot.shell("npm i -g my-tool@nightly")
 * )
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const skipCache: <E, R>(self: Definition<E, R>) => Definition<E, R> = declared(
  (declaredAt) =>
    <E, R>(self: Definition<E, R>) =>
      append(self, { _tag: "SkipCache", declaredAt, options: {} })
)

const quote = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)

const words = (all: ReadonlyArray<string>): string => all.map(quote).join(" ")

/**
 * Installs Debian packages, without recommended ones, and removes the package
 * lists afterwards.
 *
 * **Example** (Two packages)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const tools = Snapshot.make("tools", "debian:12").pipe(Snapshot.apt(["git", "ripgrep"]))
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const apt: {
  (packages: ReadonlyArray<string>, options?: CommandStepOptions): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, packages: ReadonlyArray<string>, options?: CommandStepOptions): Definition<E, R>
} = declared((declaredAt) =>
  dual(isDataFirst, <E, R>(self: Definition<E, R>, packages: ReadonlyArray<string>, options: CommandStepOptions = {}) =>
    append(self, {
      _tag: "Shell",
      script: `apt-get update && apt-get install -y --no-install-recommends ${words(packages)} && rm -rf /var/lib/apt/lists/*`,
      declaredAt,
      options: {
        description: `apt: ${packages.join(" ")}`,
        ...options,
        env: { DEBIAN_FRONTEND: "noninteractive", ...options.env }
      }
    })
  )
)

/**
 * Installs npm packages globally.
 *
 * **Example** (A package manager)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const node = Snapshot.make("node-ci", "node:22").pipe(Snapshot.npm(["pnpm@9"]))
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const npm: {
  (packages: ReadonlyArray<string>, options?: CommandStepOptions): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, packages: ReadonlyArray<string>, options?: CommandStepOptions): Definition<E, R>
} = declared((declaredAt) =>
  dual(isDataFirst, <E, R>(self: Definition<E, R>, packages: ReadonlyArray<string>, options: CommandStepOptions = {}) =>
    append(self, {
      _tag: "Shell",
      script: `npm install --global --no-fund --no-audit ${words(packages)}`,
      declaredAt,
      options: { description: `npm: ${packages.join(" ")}`, ...options }
    })
  )
)

/**
 * Installs Python packages, without keeping what was downloaded.
 *
 * **Example** (For data work)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const data = Snapshot.make("py-data", "python:3.12").pipe(Snapshot.pip(["numpy", "pandas"]))
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const pip: {
  (packages: ReadonlyArray<string>, options?: CommandStepOptions): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, packages: ReadonlyArray<string>, options?: CommandStepOptions): Definition<E, R>
} = declared((declaredAt) =>
  dual(isDataFirst, <E, R>(self: Definition<E, R>, packages: ReadonlyArray<string>, options: CommandStepOptions = {}) =>
    append(self, {
      _tag: "Shell",
      script: `python3 -m pip install --no-cache-dir ${words(packages)}`,
      declaredAt,
      options: { description: `pip: ${packages.join(" ")}`, ...options }
    })
  )
)

/**
 * Clones a git repository, without its history. `ref` is a branch or a tag;
 * default: the repository's own. Needs `git` in the guest.
 *
 * **Gotchas**
 *
 * A branch that moves does not run the step again: name a tag, or give the step a
 * cache key.
 *
 * **Example** (A tag)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const app = Snapshot.make("app", "node:22").pipe(
 *   Snapshot.gitClone("https://git.example.com/app.git", "/srv/app", { ref: "v1.2.0" })
 * )
 * ```
 *
 * @category steps
 * @since 0.1.0
 */
export const gitClone: {
  (
    url: string,
    path: string,
    options?: CommandStepOptions & { readonly ref?: string | undefined }
  ): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(
    self: Definition<E, R>,
    url: string,
    path: string,
    options?: CommandStepOptions & { readonly ref?: string | undefined }
  ): Definition<E, R>
} = declared((declaredAt) =>
  dual(
    isDataFirst,
    <E, R>(
      self: Definition<E, R>,
      url: string,
      path: string,
      { ref, ...options }: CommandStepOptions & { readonly ref?: string | undefined } = {}
    ) =>
      append(self, {
        _tag: "Exec",
        argv: ["git", "clone", "--depth", "1", ...(ref === undefined ? [] : ["--branch", ref]), "--", url, path],
        declaredAt,
        options: { description: `git clone ${url}`, ...options }
      })
  )
)

// =============================================================================
// Settings
// =============================================================================

/**
 * Sets processors, memory and root disk of the builder.
 *
 * **Example** (A bigger builder)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const rust = Snapshot.make("rust-ci", "rust:1.82").pipe(
 *   Snapshot.resources({ cpus: 4, memory: "4G", disk: "16G" })
 * )
 * ```
 *
 * @category settings
 * @since 0.1.0
 */
export const resources: {
  (resources: SandboxConfig.Resources): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, resources: SandboxConfig.Resources): Definition<E, R>
} = dual(2, <E, R>(self: Definition<E, R>, resources: SandboxConfig.Resources) =>
  withFields(self, { options: { ...self.options, resources: { ...self.options.resources, ...resources } } })
)

/**
 * Sets other options of the builder: network, mounts, pull policy, registry.
 *
 * **Example** (A shared download cache)
 *
 * ```ts
 * import { Mount, Snapshot } from "effect-lightbox"
 *
 * export const node = Snapshot.make("node-ci", "node:22").pipe(
 *   Snapshot.builder({ mounts: { "/root/.npm": Mount.volume("npm-cache") } }),
 *   Snapshot.npm(["pnpm@9"])
 * )
 * ```
 *
 * @category settings
 * @since 0.1.0
 */
export const builder: {
  (options: BuilderOptions): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, options: BuilderOptions): Definition<E, R>
} = dual(2, <E, R>(self: Definition<E, R>, options: BuilderOptions) =>
  withFields(self, { options: { ...self.options, ...options } })
)

/**
 * Adds labels to the snapshot. They do not make it build again.
 *
 * **Example** (Telling whose it is)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const tools = Snapshot.make("tools", "alpine").pipe(Snapshot.labels({ team: "platform" }))
 * ```
 *
 * @category settings
 * @since 0.1.0
 */
export const labels: {
  (labels: { readonly [key: string]: string }): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, labels: { readonly [key: string]: string }): Definition<E, R>
} = dual(2, <E, R>(self: Definition<E, R>, labels: { readonly [key: string]: string }) =>
  withFields(self, { labels: { ...self.labels, ...labels } })
)

/**
 * Boots the result, before the name leads to it, and runs an effect with it: if
 * that fails, the build fails and the name stays where it was.
 *
 * **Example** (Trying the tool that was baked in)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const tools = Snapshot.make("tools", "alpine").pipe(
 *   Snapshot.shell("apk add git"),
 *   Snapshot.verify((sandbox) => sandbox.exec("git", ["--version"], { check: true }))
 * )
 * ```
 *
 * @category settings
 * @since 0.1.0
 */
export const verify: {
  <A, E2, R2>(
    verification: (sandbox: Sandbox) => Effect.Effect<A, E2, R2>
  ): <E, R>(self: Definition<E, R>) => Definition<E | E2, R | R2>
  <E, R, A, E2, R2>(
    self: Definition<E, R>,
    verification: (sandbox: Sandbox) => Effect.Effect<A, E2, R2>
  ): Definition<E | E2, R | R2>
} = dual(
  2,
  <E, R, A, E2, R2>(
    self: Definition<E, R>,
    verification: (sandbox: Sandbox) => Effect.Effect<A, E2, R2>
  ): Definition<E | E2, R | R2> => {
    const first = self.verification
    return withFields<E, R, E2, R2>(self, {
      verification:
        first === undefined ? verification : (sandbox) => Effect.andThen(first(sandbox), verification(sandbox))
    })
  }
)

// =============================================================================
// Snapshots
// =============================================================================

/**
 * A snapshot under its name.
 *
 * **Details**
 *
 * `path` is the folder of this very result: a sandbox launched with the value
 * boots it, whatever the name leads to by then. Snapshots that another tool made
 * have no `key` and no `generation`.
 *
 * **Example** (Pinning what is booted)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox, Snapshot } from "effect-lightbox"
 *
 * export const sandbox = Effect.flatMap(Snapshot.get("node-ci"), (snapshot) => Sandbox.launch({ snapshot }))
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Snapshot {
  readonly name: string
  /** The folder that holds it, on the host. */
  readonly path: string
  /** Identity of this capture: two captures of the same content differ. */
  readonly digest: string
  /** Identity of what it was made from. */
  readonly key: string | undefined
  readonly generation: number | undefined
  readonly image: string
  readonly imageDigest: string
  /** Apparent size of the disk, in bytes. */
  readonly size: bigint | undefined
  /** What the disk takes on the host, in bytes, if the host can tell. */
  readonly allocated: number | undefined
  readonly labels: { readonly [key: string]: string }
  readonly createdAt: DateTime.Utc
}

/**
 * The service of a program's one snapshot, as {@link layer} provides it.
 *
 * **Example** (Launching from the snapshot of the context)
 *
 * ```ts
 * import { Sandbox, Snapshot } from "effect-lightbox"
 *
 * export const sandbox = Sandbox.launch({ snapshot: Snapshot.Snapshot })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const Snapshot: Context.Service<Snapshot, Snapshot> = Context.Service<Snapshot>("effect-lightbox/Snapshot")

/**
 * What a build has made or found, and what it cost.
 *
 * **Example** (Telling whether anything was done)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const wasCached = (built: Snapshot.Built): boolean => built.stepsRun === 0
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Built extends Snapshot {
  readonly stepsRun: number
  readonly stepsReused: number
  readonly durationMillis: number
}

/**
 * One of the results that a name has led to and that is kept.
 *
 * **Example** (Finding the current one)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const current = (all: ReadonlyArray<Snapshot.SnapshotGeneration>) => all.find(({ isCurrent }) => isCurrent)
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotGeneration {
  /** From 1. */
  readonly generation: number
  readonly key: string
  readonly labels: { readonly [key: string]: string }
  readonly createdAt: DateTime.Utc
  readonly isCurrent: boolean
}

/**
 * Options of {@link build}.
 *
 * **Example** (Running everything again)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const options: Snapshot.BuildOptions = { force: true, keep: 3 }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface BuildOptions {
  /**
   * Which results are kept, beside the last: those of steps that took more than keeping them costs and those before a
   * {@link checkpoint} (`"auto"`, the default), of every step, of none, or of those before a {@link checkpoint} only.
   * Always also what other builds that wait start from, and those before a change of the network, which takes another
   * builder. After a failure, `"auto"` also keeps what the failed step started from: for that, the
   * steps since the last kept result run once more, in a fresh builder, before the build fails.
   */
  readonly checkpoints?: "auto" | "every-step" | "final" | "marked" | undefined
  /**
   * How many times the cost of keeping a result steps must have taken, for `"auto"`. Default: 10, so that a first build
   * takes at most a tenth longer.
   */
  readonly checkpointFactor?: number | undefined
  /** Run all steps again, or those from a position (from 1) on, whatever is there. Default: `false`. */
  readonly force?: boolean | number | undefined
  /** `false` fails with `AlreadyExists` when the name is taken. Default: `true`, the name moves on. */
  readonly overwrite?: boolean | undefined
  /** Take the name from a snapshot that another tool made; it stays as an earlier generation. Default: `false`, fail. */
  readonly replaceForeign?: boolean | undefined
  /** How many generations are kept, the new one included. Default: 2. */
  readonly keep?: number | undefined
  /** Leave the builder running, as `<name>-builder`, after a failure and after a success. Default: `false`. */
  readonly keepBuilder?: boolean | undefined
  /**
   * Told what happens. It runs beside the build: it can be slow, or fail, without any effect on the steps. While 4,096
   * events wait for it, output of steps is not told; at its end, the build waits up to 2 seconds for it.
   */
  readonly onEvent?: ((event: BuildEvent) => Effect.Effect<void>) | undefined
}

/**
 * Builds a definition, unless its result is there already, and moves its name to
 * the result.
 *
 * **Details**
 *
 * Steps whose results are there are not run. What has to run, runs in one builder
 * sandbox from the deepest result on; results of costly steps are kept on the
 * way. The name moves in one step, after the result was captured, compared with
 * its checksum, and passed the definition's verification. Until then, and for
 * ever if the build fails, is interrupted or killed, it leads where it led.
 *
 * Of several builds that want the same result, here or in other processes of this
 * host, one makes it and the others wait for it and receive its events. When that
 * one dies, another takes over at once. So definitions that begin alike can be
 * built at once, with `Effect.all`: what they have in common is made once, and
 * each takes room from the process's budget as it needs it.
 *
 * Fails with the error of the step, which names definition, step, line and
 * attempt; with `InvalidConfig` before anything boots; with `SecretLeaked` when
 * the value of a secret is on the disk. Interrupting it ends the step, removes
 * the builder and keeps what was kept.
 *
 * **Example** (Building with a report)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { MicrosandboxLocal, Snapshot } from "effect-lightbox"
 *
 * const tools = Snapshot.make("tools", "alpine:3.20").pipe(Snapshot.shell("apk add git"))
 *
 * export const program = Snapshot.build(tools).pipe(
 *   Effect.tap((built) => Console.log(`${built.stepsRun} steps run, ${built.stepsReused} reused`)),
 *   Effect.provide(MicrosandboxLocal.layer())
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const build = <E, R>(
  definition: Definition<E, R>,
  options?: BuildOptions
): Effect.Effect<Built, LightboxError | E, Microsandbox.Microsandbox | R> => internalBuild.build(definition, options)

/**
 * Builds a definition for the life of a scope: under a name of its own, which
 * begins with the definition's and is removed with all that only it needs when
 * the scope closes, or by a sweep.
 *
 * What other builds have kept is reused, and what this one keeps can be reused as
 * long as it is there.
 *
 * **Example** (A snapshot for one test)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox, Snapshot } from "effect-lightbox"
 *
 * const fixture = Snapshot.make("fixture", "alpine").pipe(Snapshot.shell("apk add git"))
 *
 * export const test = Effect.scoped(
 *   Effect.gen(function* () {
 *     const snapshot = yield* Snapshot.scoped(fixture)
 *     return yield* Sandbox.run({ snapshot }, (sandbox) => sandbox.exec("git", ["--version"]))
 *   })
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const scoped = <E, R>(
  definition: Definition<E, R>,
  options?: Omit<BuildOptions, "overwrite" | "replaceForeign" | "keep">
): Effect.Effect<Built, LightboxError | E, Microsandbox.Microsandbox | R | Scope.Scope> =>
  internalBuild.scoped((name) => withFields(definition, { name }), definition.name, options)

/**
 * Tells what {@link build} would do, and why, without booting anything.
 *
 * **Example** (Looking before building)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Plan, Snapshot } from "effect-lightbox"
 *
 * export const show = <E, R>(definition: Snapshot.Definition<E, R>) =>
 *   Effect.flatMap(Snapshot.plan(definition), (plan) => Console.log(Plan.format(plan)))
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const plan = <E, R>(
  definition: Definition<E, R>,
  options?: Pick<BuildOptions, "force">
): Effect.Effect<Plan, LightboxError, Microsandbox.Microsandbox> => internalPlan.plan(definition, options)

/**
 * All snapshots by name. With `layers`, also the results that are kept for builds
 * and have no name.
 *
 * **Example** (Listing)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const names = Effect.map(Snapshot.list(), (all) => all.map((snapshot) => snapshot.name))
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const list = (options?: {
  readonly layers?: boolean | undefined
}): Effect.Effect<ReadonlyArray<Snapshot>, LightboxError, Microsandbox.Microsandbox> =>
  withStore((driver, store) => internalNames.list(driver, store, options))

/**
 * A snapshot by its name. Fails with `NotFound`, or `SnapshotDamaged` when a part
 * of it is missing.
 *
 * **Example** (Asking for its labels)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const labels = Effect.map(Snapshot.get("node-ci"), (snapshot) => snapshot.labels)
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const get = (name: string): Effect.Effect<Snapshot, LightboxError, Microsandbox.Microsandbox> =>
  withName("Snapshot.get", name, (driver, store) => internalNames.get(driver, store, name))

/**
 * Whether there is a snapshot of a name.
 *
 * **Example** (Building only once)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const isBuilt = Snapshot.exists("node-ci")
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const exists = (name: string): Effect.Effect<boolean, LightboxError, Microsandbox.Microsandbox> =>
  Effect.map(list(), (all) => all.some((snapshot) => snapshot.name === name))

/**
 * Removes a name, and the results that nothing else needs; what does not exist is
 * no failure. Sandboxes that were booted from it go on.
 *
 * **Example** (Removing)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const removed = Snapshot.remove("node-ci")
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const remove = (name: string): Effect.Effect<void, LightboxError, Microsandbox.Microsandbox> =>
  withName("Snapshot.remove", name, (driver, store) => internalNames.remove(driver, store, name))

/**
 * The generations of a name that are kept, oldest first. Fails with `NotFound`.
 *
 * **Example** (When was the last but one built?)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const before = Effect.map(Snapshot.generations("node-ci"), (all) => all.at(-2)?.createdAt)
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const generations = (
  name: string
): Effect.Effect<ReadonlyArray<SnapshotGeneration>, LightboxError, Microsandbox.Microsandbox> =>
  withName("Snapshot.generations", name, (driver, store) => internalGenerations.generations(driver, store, name))

/**
 * Moves a name back, to the generation before the current one or to the one
 * given. Fails with `NotFound` when it is not kept.
 *
 * **Example** (Undoing a build)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const undone = Snapshot.rollback("node-ci")
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const rollback = (
  name: string,
  to?: number
): Effect.Effect<Snapshot, LightboxError, Microsandbox.Microsandbox> =>
  withName("Snapshot.rollback", name, (driver, store) => internalNames.rollback(driver, store, name, to))

/**
 * What {@link prune} keeps.
 *
 * **Example** (At most 20 GB of what was not used for a month)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const options: Snapshot.PruneOptions = { olderThan: "30 days", maxBytes: 20_000_000_000 }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface PruneOptions {
  /** How many generations each name keeps, the current one included. Default: those it has. */
  readonly keep?: number | undefined
  /** Keep what was used within this time. Default: nothing for that. */
  readonly olderThan?: Duration.Input | undefined
  /** Keep what was used last as long as all snapshots together take no more bytes. Default: nothing for that. */
  readonly maxBytes?: number | undefined
  /** Only tell. Default: `false`. */
  readonly dryRun?: boolean | undefined
}

/**
 * What {@link prune} did with a snapshot, and why. `removable` is what a dry run
 * would remove.
 *
 * **Example** (Showing what goes)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const show = ({ definition, name, reason }: Snapshot.PruneVerdict) => `${definition ?? name}: ${reason}`
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface PruneVerdict {
  readonly name: string
  /** The definition that it was built for, if the library built it. */
  readonly definition: string | undefined
  readonly verdict: "removed" | "removable" | "kept"
  readonly reason: string
  /** What it takes on the host, in bytes. */
  readonly allocated: number | undefined
  readonly usedAt: DateTime.Utc
}

/**
 * The result of {@link prune}.
 *
 * **Example** (How much room was made)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const mebibytes = (report: Snapshot.PruneReport): number => Math.round(report.freed / 1_048_576)
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface PruneReport {
  readonly verdicts: ReadonlyArray<PruneVerdict>
  /** Bytes that were, or in a dry run would be, freed. */
  readonly freed: number
}

/**
 * Removes results that were kept for builds and that nothing needs: no name, no
 * kept generation, no build that runs, no limit of the options.
 *
 * Without options that is everything that is not under a name. Snapshots that
 * other tools made stay. A later {@link plan} says of a step whose result was
 * removed that it was `Evicted`.
 *
 * **Example** (Looking before)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const show = Effect.flatMap(Snapshot.prune({ olderThan: "30 days", dryRun: true }), ({ verdicts }) =>
 *   Console.table(verdicts)
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const prune = (options?: PruneOptions): Effect.Effect<PruneReport, LightboxError, Microsandbox.Microsandbox> =>
  withStore((driver, store) => internalPrune.prune(driver, store, options))

/**
 * Options of {@link save}.
 *
 * **Example** (Only what the name leads to now)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const options: Snapshot.SaveOptions = { generations: "current" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface SaveOptions {
  /** Default: `"all"` that are kept. */
  readonly generations?: "all" | "current" | undefined
  /** Save the base image, too, so that the snapshot works without a network. Default: `true`. */
  readonly withImage?: boolean | undefined
  /** Compress with Zstandard. Default: `true`. */
  readonly compress?: boolean | undefined
}

/**
 * Options of {@link load}.
 *
 * **Example** (Another name)
 *
 * ```ts
 * import type { Snapshot } from "effect-lightbox"
 *
 * export const options: Snapshot.LoadOptions = { name: "node-ci-from-build-host" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface LoadOptions {
  /** Default: the name that it was saved under. A file that another tool made does not say one. */
  readonly name?: string | undefined
  /** Let a name that is there lead to what is loaded; what it led to stays as a generation. Default: `false`, fail. */
  readonly overwrite?: boolean | undefined
}

/**
 * Saves a name with its generations to a file of this host, which {@link load}
 * reads on another. The file appears when it is complete.
 *
 * A snapshot that another tool made is saved as that tool would save it. Fails
 * with `NotFound`, `SnapshotDamaged`, `NoSpace` or `FileError`.
 *
 * **Example** (Moving a snapshot to a machine without a network)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const saved = Snapshot.save("node-ci", "./node-ci.lightbox")
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const save = (
  name: string,
  path: string,
  options?: SaveOptions
): Effect.Effect<void, LightboxError, Microsandbox.Microsandbox> =>
  withName("Snapshot.save", name, (driver, store) => internalTransfer.save(driver, store, name, path, options))

/**
 * Loads what {@link save}, or another tool, has saved. Everything is compared
 * with its checksums before the name leads to it; after a failure there is
 * nothing of it.
 *
 * Fails with `AlreadyExists` when the name is taken, and with `SnapshotDamaged`
 * when the file is not what it should be.
 *
 * **Example** (On the other machine)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const snapshot = Snapshot.load("./node-ci.lightbox", { overwrite: true })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const load = (
  path: string,
  options?: LoadOptions
): Effect.Effect<Snapshot, LightboxError, Microsandbox.Microsandbox> =>
  withStore((driver, store) => internalTransfer.load(driver, store, path, options))

/** A driver takes what is no name for a path. */
const withName = <A>(
  method: string,
  name: string,
  use: (driver: Microsandbox.Microsandbox["Service"], store: Store) => Effect.Effect<A, LightboxError>
): Effect.Effect<A, LightboxError, Microsandbox.Microsandbox> =>
  Effect.andThen(decoder(Name, method, "name")(name), withStore(use))

const withStore = <A>(
  use: (driver: Microsandbox.Microsandbox["Service"], store: Store) => Effect.Effect<A, LightboxError>
): Effect.Effect<A, LightboxError, Microsandbox.Microsandbox> =>
  Microsandbox.Microsandbox.use((driver) => use(driver, makeStore(driver)))

// =============================================================================
// Layers
// =============================================================================

/**
 * Provides {@link Snapshot}: built when first needed, which takes milliseconds
 * when the result is there.
 *
 * **Example** (A layer on the driver's)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { MicrosandboxLocal, Snapshot } from "effect-lightbox"
 *
 * const tools = Snapshot.make("tools", "alpine:3.20").pipe(Snapshot.shell("apk add git"))
 *
 * export const live = Snapshot.layer(tools).pipe(Layer.provide(MicrosandboxLocal.layer()))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <E, R>(
  definition: Definition<E, R>,
  options?: BuildOptions
): Layer.Layer<Snapshot, LightboxError | E, Microsandbox.Microsandbox | Exclude<R, Scope.Scope>> =>
  Layer.effect(Snapshot, build(definition, options))

/**
 * A service class for one snapshot of several: its own tag, with a `layer` that
 * builds it.
 *
 * **Example** (Two snapshots in one program)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Sandbox, Snapshot } from "effect-lightbox"
 *
 * class Node extends Snapshot.Service<Node>()("Node", Snapshot.make("node", "node:22")) {}
 * class Python extends Snapshot.Service<Python>()("Python", Snapshot.make("python", "python:3.12")) {}
 *
 * export const program = Effect.gen(function* () {
 *   const node = yield* Sandbox.launch({ snapshot: Node })
 *   const python = yield* Sandbox.launch({ snapshot: Python })
 *   return [node.name, python.name]
 * }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(Node.layer, Python.layer)))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const Service =
  <Self>() =>
  <const Id extends string, E, R>(
    id: Id,
    definition: Definition<E, R>,
    options?: BuildOptions
  ): Context.ServiceClass<Self, Id, Snapshot> & {
    readonly layer: Layer.Layer<Self, LightboxError | E, Microsandbox.Microsandbox | Exclude<R, Scope.Scope>>
  } => {
    const service = Context.Service<Self, Snapshot>()(id)
    return Object.assign(service, { layer: Layer.effect(service, build(definition, options)) })
  }
