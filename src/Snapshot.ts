/**
 * Snapshots: disks that are built once, from an image and typed steps, and booted
 * any number of times.
 *
 * {@link make} and the step functions describe a snapshot. {@link build} runs the
 * steps in a builder sandbox and stores the result under a name. Results are
 * reused: building an unchanged definition boots nothing, and changing the last of
 * ten steps runs one step. If a build fails, the name still points to the previous
 * result.
 *
 * Steps run in order, each on the disk that the previous one left. Only the disk is
 * passed on: after each step, processes are stopped and in-memory file systems
 * (such as `/tmp`) are emptied.
 *
 * **Example** (Building a snapshot and running a sandbox)
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
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import type * as Pipeable from "effect/Pipeable"
import type * as Redacted from "effect/Redacted"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Ownership from "./Ownership.ts"
import type { Services } from "./Driver.ts"
import type { BuildEvent } from "./BuildEvent.ts"
import type * as Cleanup from "./Cleanup.ts"
import type * as Guest from "./Guest.ts"
import { checkDefinition } from "./internal/definition/check.ts"
import { callSite } from "./internal/definition/callSite.ts"
import { aptInstall, quote } from "./internal/definition/scripts.ts"
import { BuildFields } from "./internal/build/context.ts"
import * as internalCapture from "./internal/build/capture.ts"
import * as internalBuild from "./internal/build/build.ts"
import * as Defaults from "./internal/config/defaults.ts"
import * as internalDiff from "./internal/build/diff.ts"
import * as internalGenerations from "./internal/store/generations.ts"
import * as internalNames from "./internal/store/names.ts"
import * as internalPlan from "./internal/plan/plan.ts"
import * as internalPrune from "./internal/store/prune.ts"
import { DurationFromWholeMillis, intBetween, SnapshotName, SnapshotReference } from "./internal/config/schemas.ts"
import * as internalCommits from "./internal/store/commits.ts"
import { make as makeStore, type Store } from "./internal/store/store.ts"
import * as internalTransfer from "./internal/store/transfer.ts"
import {
  callDecoder,
  decodeName,
  decoder,
  DefinitionTypeId as TypeId,
  invalid,
  optionsDecoder
} from "./internal/config/validation.ts"
import type { LightboxError } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"
import type * as Mount from "./Mount.ts"
import type * as Network from "./Network.ts"
import type { Plan } from "./Plan.ts"
import type { BootableSnapshot, Sandbox } from "./Sandbox.ts"
import * as SandboxConfig from "./SandboxConfig.ts"

// =============================================================================
// Definitions
// =============================================================================

/**
 * Describes how to build a snapshot: a base, steps and settings. It is an immutable
 * value; nothing runs until it is built. `E` and `R` are the errors and
 * requirements of the effects in its steps.
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
  /** Options of sandboxes that boot from the snapshot. */
  readonly defaults: SandboxConfig.LaunchDefaults
  readonly verification: ((sandbox: Sandbox) => Effect.Effect<unknown, E, R>) | undefined
  /** The file and line that created the definition. */
  readonly declaredAt: string | undefined
  /** Steps have the `/tmp` of the disk, as in Docker, and not memory. Default: only in those of {@link fromDockerfile}. */
  readonly keepsTmp?: boolean | undefined
  /** Never set. It makes the type error of `Sandbox.launch({ snapshot: definition })` say what to do. */
  readonly path?: "A definition is not a snapshot: build it first, with Snapshot.build(definition)"
}

/**
 * The base of a definition: an image, or another definition that is built first.
 *
 * @category models
 * @since 0.1.0
 */
export type Base<E = never, R = never> =
  | { readonly _tag: "Image"; readonly reference: string }
  | { readonly _tag: "Definition"; readonly definition: Definition<E, R> }

/**
 * Options of the builder, the sandbox that runs the steps.
 *
 * @category options
 * @since 0.1.0
 */
export interface BuilderOptions extends Pick<SandboxConfig.Options, "network" | "pullPolicy" | "registry"> {
  /** Processors and memory. Default: the driver's. */
  readonly resources?: SandboxConfig.Resources | undefined
  /** Folders and volumes to mount in the builder, by guest path. They are not part of the snapshot. */
  readonly mounts?: { readonly [path: string]: Mount.MountInput } | undefined
}

/**
 * A secret for one step.
 *
 * `"env"` (the default) sets a variable for the step's command only. `"file"`
 * creates the file `/run/secrets/<name>`, in memory, while the step runs. The value
 * never appears in events, errors or keys, and a changed value does not rerun the
 * step unless `inKey` is set.
 *
 * Before a disk is stored, it is searched for the trimmed value and for each line
 * of it. If one is found, the build fails with `SecretLeaked`. Not searched for:
 * values under 4 and lines under 8 characters, and what is encoded or compressed.
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
      /** Rerun the step when the value changes. Default: `false`. */
      readonly inKey?: boolean | undefined
    }

/**
 * Options that every step accepts.
 *
 * @category options
 * @since 0.1.0
 */
export interface StepOptions {
  /** Shown in events and plans. Default: the command, or a summary of the step. */
  readonly description?: string | undefined
  /** Time limit for each attempt. Default: none. */
  readonly timeout?: Duration.Input | undefined
  /**
   * Schedule for retrying a failed step. Its input is the failure; errors of a step's own effect are wrapped in
   * `Unknown`. Default: no retries.
   */
  readonly retry?: Schedule.Schedule<unknown, LightboxError> | undefined
  /**
   * The disk that a retry starts from. `"clean"` (default): the disk before the step, which costs a boot and the steps
   * since the last checkpoint. `"dirty"`: the disk that the failed attempt left.
   */
  readonly retryFrom?: "clean" | "dirty" | undefined
  /** The network while the step runs. Changing it costs a checkpoint and a boot. Default: the definition's. */
  readonly network?: Network.NetworkInput | undefined
  /**
   * `"auto"` (default): rerun the step if it, its environment or an earlier step changed. `"never"`: run it in every
   * build. A key is compared instead of arguments, environment and files.
   */
  readonly cache?: "auto" | "never" | { readonly key: string } | undefined
}

/**
 * Options of steps that run a command.
 *
 * @category options
 * @since 0.1.0
 */
export interface CommandStepOptions extends StepOptions {
  /** Additional variables. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Use a login shell for scripts. Default: `false`. */
  readonly login?: boolean | undefined
  /** Secrets by name. */
  readonly secrets?: { readonly [name: string]: StepSecret } | undefined
}

/**
 * The owner of files that a step writes: ids, or names that exist in the guest.
 *
 * @category options
 * @since 0.1.0
 */
export type Owner = Guest.Owner

/**
 * Options of {@link copy}.
 *
 * @category options
 * @since 0.1.0
 */
export interface CopyOptions extends StepOptions {
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
 * Options of {@link write}.
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
 * @category options
 * @since 0.1.0
 */
export interface EffectStepOptions extends StepOptions {
  /** Identifies the effect and its inputs. A different key reruns the step. Default: none. */
  readonly key?: string | undefined
}

/**
 * What a `COPY` or `ADD` of a Dockerfile copies: files of a folder on the host, of
 * another definition's result, of a URL, or texts.
 *
 * @category models
 * @since 0.1.0
 */
export type AddSource =
  | {
      readonly _tag: "Context"
      /** A folder of the host. */
      readonly root: string
      /** Relative to it, perhaps with wildcards. */
      readonly paths: ReadonlyArray<string>
      /** The lines of a `.dockerignore`. */
      readonly ignore: ReadonlyArray<string>
      /** Extract files that are archives. */
      readonly unpack: boolean
    }
  | { readonly _tag: "Snapshot"; readonly definition: Definition; readonly paths: ReadonlyArray<string> }
  | { readonly _tag: "Url"; readonly url: string; readonly checksum?: string | undefined }
  | { readonly _tag: "Texts"; readonly files: ReadonlyArray<{ readonly name: string; readonly content: string }> }

/**
 * A mount that a `RUN --mount` of a Dockerfile has while it runs.
 *
 * @category models
 * @since 0.1.0
 */
export type StepMount =
  | ({
      readonly _tag: "Cache"
      readonly target: string
      /** Name of the volume, which is created if needed. */
      readonly volume: string
      /** Only one step at a time uses it. */
      readonly isLocked: boolean
    } & MountAttributes)
  | { readonly _tag: "Tmpfs"; readonly target: string; readonly size: string | undefined }
  | ({
      readonly _tag: "Secret"
      /** Default: only `/run/secrets/<name>`. */
      readonly target: string | undefined
      readonly name: string
    } & MountAttributes)
  | { readonly _tag: "Bind"; readonly target: string; readonly from: AddSource; readonly isWritable: boolean }

interface MountAttributes {
  readonly mode: number | undefined
  readonly uid: number | undefined
  readonly gid: number | undefined
}

/**
 * A step of a definition. `Env` and `User` apply to later steps. `Checkpoint`
 * stores the result so far. `SkipCache` runs all later steps in every build.
 *
 * @category models
 * @since 0.1.0
 */
export type Step<E = never, R = never> = StepFields<E, R> & {
  /** The file and line that declared the step. */
  readonly declaredAt: string | undefined
  readonly options: StepOptions
}

type StepFields<E = never, R = never> =
  | { readonly _tag: "Shell"; readonly script: string; readonly options: CommandStepOptions }
  | {
      readonly _tag: "Exec"
      readonly argv: readonly [string, ...Array<Guest.Word>]
      /** Only in definitions of {@link fromDockerfile}. */
      readonly mounts?: ReadonlyArray<StepMount> | undefined
      /** Only there, too: variables that only the process sees. They are part of no key and no record. */
      readonly proxies?: { readonly [name: string]: Redacted.Redacted<string> } | undefined
      readonly options: CommandStepOptions
    }
  | { readonly _tag: "Copy"; readonly from: string; readonly to: string; readonly options: CopyOptions }
  | {
      readonly _tag: "Write"
      readonly path: string
      readonly content: string | Uint8Array
      readonly options: WriteOptions
    }
  | { readonly _tag: "Add"; readonly from: AddSource; readonly to: string; readonly options: CopyOptions }
  | {
      readonly _tag: "Workdir"
      readonly path: string
      /** Of a new folder; in definitions of {@link fromDockerfile} also the user of an image. Default: root. */
      readonly owner?: Owner | { readonly image: string } | undefined
    }
  | {
      readonly _tag: "Effect"
      readonly name: string
      readonly run: (sandbox: Sandbox) => Effect.Effect<unknown, E, R>
      readonly options: EffectStepOptions
    }
  | { readonly _tag: "Env"; readonly variables: { readonly [name: string]: string } }
  | { readonly _tag: "User"; readonly user: string }
  | { readonly _tag: "Checkpoint" }
  | { readonly _tag: "SkipCache" }

const variance: Definition<never, never>[typeof TypeId] = {
  _E: (_) => _,
  _R: (_) => _
}

type Fields<E, R> = Omit<Definition<E, R>, typeof TypeId | "pipe" | "path">

class DefinitionImpl<E, R> extends Data.Class<Fields<E, R>> implements Definition<E, R> {
  readonly [TypeId]: Definition<E, R>[typeof TypeId] = variance
}

const withFields = <E, R, E2 = E, R2 = R>(
  self: Definition<E, R>,
  fields: Partial<Fields<E | E2, R | R2>>
): Definition<E | E2, R | R2> => new DefinitionImpl<E | E2, R | R2>({ ...self, ...fields })

const append = <E, R, E2 = never, R2 = never>(
  self: Definition<E, R>,
  step: StepFields<E2, R2>,
  declaredAt: string | undefined
): Definition<E | E2, R | R2> => {
  const steps: ReadonlyArray<Step<E, R> | Step<E2, R2>> = [...self.steps, { options: {}, ...step, declaredAt }]
  return withFields<E, R, E2, R2>(self, { steps })
}

/** Passes the file and line of the call. */
const declared = <F extends (...args: never) => unknown>(make: (declaredAt: string | undefined) => F): F =>
  new Proxy(make(undefined), { apply: (_, self, args) => Reflect.apply(make(callSite()), self, args) })

/**
 * Checks whether a value is a {@link Definition}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isDefinition = (u: unknown): u is Definition<unknown, unknown> =>
  typeof u === "object" && u !== null && TypeId in u

/**
 * Creates a definition from an OCI image, given by tag or digest.
 *
 * The name has up to 128 letters, digits, dots, dashes and underscores. It is
 * checked when the definition is planned or built.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: (name: string, image: string) => Definition = declared(
  (declaredAt) =>
    (name: string, image: string): Definition =>
      new DefinitionImpl({
        name,
        base: { _tag: "Image", reference: image },
        steps: [],
        options: {},
        labels: {},
        defaults: {},
        verification: undefined,
        declaredAt
      })
)

/**
 * Creates a definition that starts from another definition and inherits its builder
 * options and launch defaults.
 *
 * The other definition's steps are built first; all definitions that start from it
 * share the results. Its name is not created or changed.
 *
 * **Example** (Two snapshots with one base)
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
export const from: <E, R>(name: string, definition: Definition<E, R>) => Definition<E, R> = declared(
  (declaredAt) =>
    <E, R>(name: string, definition: Definition<E, R>): Definition<E, R> =>
      new DefinitionImpl({
        name,
        base: { _tag: "Definition", definition },
        steps: [],
        options: isDefinition(definition) ? definition.options : {},
        labels: {},
        defaults: isDefinition(definition) ? definition.defaults : {},
        verification: undefined,
        declaredAt
      })
)

/**
 * Options of {@link fromDockerfile}.
 *
 * @category options
 * @since 0.1.0
 */
export interface DockerfileOptions {
  /** Folder of the host that `COPY` and `ADD` copy from. Default: that of the Dockerfile; none for a text. */
  readonly context?: string | undefined
  /** Name or number of the stage to build. Default: the last one. */
  readonly target?: string | undefined
  /**
   * Values of `ARG` instructions by name. A name without an `ARG` fails, except `HTTP_PROXY` and its like, which each
   * `RUN` sees and no key contains, as they may have a password. Default: none.
   */
  readonly args?: { readonly [name: string]: string } | undefined
  /** Values for `RUN --mount=type=secret` by id. They are not part of any key. Default: none. */
  readonly secrets?: { readonly [id: string]: Redacted.Redacted<string> } | undefined
}

/**
 * Creates a definition from a Dockerfile: the path of one, or its text. Its steps
 * run in microVMs, without Docker, and are planned, cached and retried as any other.
 *
 * **Details**
 *
 * The file is read when the effect runs; the files of the context, when the
 * definition is planned or built. Everything that is not supported fails with
 * `InvalidConfig`, which shows the line, before anything boots. So do a source
 * that does not exist and a required secret that is not given. Steps name their
 * line of the Dockerfile in plans and errors.
 *
 * - Each stage that is needed, and only those, is built. A stage that `COPY --from` or a bind mount names becomes a
 *   snapshot of its own, `<name>.<stage>`. Other names of `--from` are images.
 * - `RUN` sees the arguments declared before it, so they are part of its key; of other keys, only where they are
 *   expanded. An `ADD` of a URL reruns when the URL or `--checksum` changes.
 * - `ENV`, `WORKDIR`, `USER`, `SHELL`, `ENTRYPOINT` and `CMD` become launch defaults, `LABEL` labels of the snapshot.
 *   `EXPOSE` publishes the port on a free port of 127.0.0.1. With `EXPOSE` or `HEALTHCHECK`, entrypoint and command
 *   become the service `main`, which is ready once the health check succeeds. `STOPSIGNAL` has no effect: a sandbox
 *   is stopped by shutting it down.
 * - A cache mount is the volume `build-cache-<id>-<hash>`, shared by all builds with the same id.
 *
 * If the file refers to the configuration of its base image, such as `$PATH` or a
 * relative `WORKDIR`, the image is looked up, and pulled if it is not cached.
 *
 * Not supported: `FROM scratch`, `ONBUILD`, `MAINTAINER`, other platforms, ssh
 * mounts, git repositories, symbolic modes, and `COPY` with `--parents` or
 * `--exclude`. The shell and the triggers of a base image are ignored. Mounts need `mount` in the guest.
 *
 * Steps see the `/tmp` of the disk, as in Docker. A sandbox has memory there.
 *
 * **Example** (Building a Dockerfile)
 *
 * ```ts
 * import { Config, Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const program = Effect.gen(function* () {
 *   const definition = yield* Snapshot.fromDockerfile("app", "./Dockerfile", {
 *     args: { VERSION: "1.2.3" },
 *     secrets: { npm: yield* Config.Redacted("NPM_TOKEN") }
 *   })
 *   return yield* definition.pipe(Snapshot.resources({ memory: "2G" }), Snapshot.build)
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromDockerfile = (
  name: string,
  dockerfile: string | { readonly text: string },
  options?: DockerfileOptions
): Effect.Effect<Definition, LightboxError, Services> =>
  // Few programs need it.
  Effect.flatMap(
    Effect.promise(() => import("./internal/build/dockerfile.ts")),
    (internalDockerfile) =>
      internalDockerfile.fromDockerfile(
        ({ image, ...fields }) =>
          new DefinitionImpl({
            ...fields,
            base: { _tag: "Image", reference: image },
            options: {},
            verification: undefined,
            keepsTmp: true
          }),
        name,
        dockerfile,
        options
      )
  )

// =============================================================================
// Steps
// =============================================================================

const isDataFirst = (args: IArguments): boolean => isDefinition(args[0])

const isBuildDataFirst = (args: IArguments): boolean =>
  args.length > 1 ||
  isDefinition(args[0]) ||
  (args[0] !== undefined && !(Predicate.isObject(args[0]) && Object.keys(args[0]).every((key) => key in BuildFields)))

/**
 * Changes a definition, which is the first argument or, in a pipe, the last.
 *
 * @category models
 * @since 0.1.0
 */
export interface Change<Args extends ReadonlyArray<unknown>> {
  (...args: Args): <E, R>(self: Definition<E, R>) => Definition<E, R>
  <E, R>(self: Definition<E, R>, ...args: Args): Definition<E, R>
}

const change = <Args extends ReadonlyArray<unknown>>(
  apply: <E, R>(self: Definition<E, R>, ...args: Args) => Definition<E, R>
): Change<Args> => dual(isDataFirst, apply)

const adding = <Args extends ReadonlyArray<unknown>>(make: (...args: Args) => StepFields): Change<Args> =>
  declared((declaredAt) => change((self, ...args) => append(self, make(...args), declaredAt)))

/**
 * Runs a script in the builder's shell, `/bin/sh`.
 *
 * @category steps
 * @since 0.1.0
 */
export const shell: Change<[script: string, options?: CommandStepOptions]> = adding((script, options = {}) => ({
  _tag: "Shell",
  script,
  options
}))

/**
 * Runs a program without a shell. Redacted arguments appear as `<redacted>` outside
 * the guest, but unlike a step's secrets they are part of the cache key.
 *
 * @category steps
 * @since 0.1.0
 */
export const exec: Change<[command: string, args?: ReadonlyArray<Guest.Word>, options?: CommandStepOptions]> = adding(
  (command, args = [], options = {}) => ({ _tag: "Exec", argv: [command, ...listed("exec", "args", args)], options })
)

/**
 * Copies a file or folder from the host into the guest.
 *
 * A relative host path is resolved against the current directory of the build. The
 * content of a folder goes into the folder `to`, which is created if needed; a file
 * becomes the file `to`. Permissions and symbolic links are kept. The step reruns
 * when content, permissions or names change. The guest needs `tar`.
 *
 * On Linux, with ext4, XFS, btrfs, tmpfs or overlayfs, files that have not changed
 * since an earlier plan or build, by their size, times and inode, are not read again
 * until the machine restarts. Programs that write into memory mapped from a file may
 * change it without its times; the option `force` reads all files.
 *
 * Fails with `FileError` if a file, or on Linux a folder, was replaced since it was
 * listed; a link in its place is not followed.
 *
 * @category steps
 * @since 0.1.0
 */
export const copy: Change<[from: string, to: string, options?: CopyOptions]> = adding((from, to, options = {}) => ({
  _tag: "Copy",
  from,
  to,
  options
}))

/**
 * Writes a file in the guest, creating its parent folders.
 *
 * @category steps
 * @since 0.1.0
 */
export const write: Change<[path: string, content: string | Uint8Array, options?: WriteOptions]> = adding(
  (path, content, options = {}) => ({ _tag: "Write", path, content, options })
)

/**
 * Sets environment variables for later steps. Sandboxes that boot from the snapshot
 * do not get them: set those with {@link defaults}.
 *
 * @category steps
 * @since 0.1.0
 */
export const env: Change<[variables: { readonly [name: string]: string }]> = adding((variables) => ({
  _tag: "Env",
  variables
}))

/**
 * Sets the working directory of later steps, creating it if it does not exist.
 *
 * **Gotchas**
 *
 * A folder that it creates belongs to root, also after {@link user}. If that user
 * is to write there, create the folder before, with `Snapshot.exec("install", ["-d",
 * "-o", "node", "/app"])`.
 *
 * @category steps
 * @since 0.1.0
 */
export const workdir: Change<[path: string]> = adding((path) => ({ _tag: "Workdir", path }))

/**
 * Sets the user of later steps: a name or an id, optionally with a group (`"node"`,
 * `"1000:1000"`).
 *
 * @category steps
 * @since 0.1.0
 */
export const user: Change<[user: string]> = adding((user) => ({ _tag: "User", user }))

/**
 * Runs an effect with the builder's sandbox. The effect's errors and requirements
 * become part of the definition's type; {@link provide} satisfies requirements.
 *
 * **Gotchas**
 *
 * Changes to the code are not detected: the result is reused until the step's name
 * or its `key` changes. Set a `key` if the effect depends on anything else.
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
    ) => append<E, R, E2, R2>(self, { _tag: "Effect", name, run, options }, declaredAt)
  )
)

/**
 * Stores the result of the steps so far, so that later builds can start from it.
 * Does nothing if the build uses `checkpoints: "final"`.
 *
 * @category steps
 * @since 0.1.0
 */
export const checkpoint: <E, R>(self: Definition<E, R>) => Definition<E, R> = declared(
  (declaredAt) =>
    <E, R>(self: Definition<E, R>) =>
      append(self, { _tag: "Checkpoint" }, declaredAt)
)

/**
 * Runs all later steps in every build.
 *
 * @category steps
 * @since 0.1.0
 */
export const skipCache: <E, R>(self: Definition<E, R>) => Definition<E, R> = declared(
  (declaredAt) =>
    <E, R>(self: Definition<E, R>) =>
      append(self, { _tag: "SkipCache" }, declaredAt)
)

const given = <A>(step: string, field: string, value: A): A => {
  if (value === undefined || Predicate.isObject(value)) return value
  throw invalid(`Snapshot.${step}`, field, "expected an object")
}

const listed = <A>(step: string, field: string, values: ReadonlyArray<A>): ReadonlyArray<A> => {
  if (Array.isArray(values)) return values
  throw invalid(`Snapshot.${step}`, field, "expected an array")
}

type Install = Change<[packages: ReadonlyArray<string>, options?: CommandStepOptions]>

const installing = (tool: string, scriptOf: (packages: ReadonlyArray<string>) => string): Install =>
  adding((packages, options) => ({
    _tag: "Shell",
    script: scriptOf(listed(tool, "packages", packages)),
    options: { description: `${tool}: ${packages.join(" ")}`, ...given(tool, "options", options) }
  }))

/**
 * Installs Debian packages, without recommended packages, and removes the package
 * lists afterwards.
 *
 * @category steps
 * @since 0.1.0
 */
export const apt: Install = installing("apt", aptInstall)

/**
 * Installs npm packages globally.
 *
 * @category steps
 * @since 0.1.0
 */
export const npm: Install = installing(
  "npm",
  (packages) => `npm install --global --no-fund --no-audit ${quote(packages)}`
)

/**
 * Installs Python packages without caching downloads.
 *
 * @category steps
 * @since 0.1.0
 */
export const pip: Install = installing("pip", (packages) => `python3 -m pip install --no-cache-dir ${quote(packages)}`)

/**
 * Clones a git repository without its history. `ref` is a branch or tag (default:
 * the repository's default branch). The guest needs `git`.
 *
 * **Gotchas**
 *
 * New commits on a branch do not rerun the step. Use a tag, or set `cache` to a
 * key.
 *
 * @category steps
 * @since 0.1.0
 */
export const gitClone: Change<
  [url: string, path: string, options?: CommandStepOptions & { readonly ref?: string | undefined }]
> = adding((url, path, input = {}) => {
  const { ref, ...options } = given("gitClone", "options", input)
  return {
    _tag: "Exec",
    argv: ["git", "clone", "--depth", "1", ...(ref === undefined ? [] : ["--branch", ref]), "--", url, path],
    options: { description: `git clone ${url}`, ...options }
  }
})

// =============================================================================
// Settings
// =============================================================================

/**
 * Sets the builder's processors, memory and root disk.
 *
 * @category settings
 * @since 0.1.0
 */
export const resources: Change<[resources: SandboxConfig.Resources]> = change((self, resources) =>
  withOptions(self, (options) => ({
    ...options,
    resources: { ...options.resources, ...given("resources", "resources", resources) }
  }))
)

/** Changes the builder's options, also for the definitions that steps copy from, which stay the same for all steps. */
const withOptions = <E, R>(
  self: Definition<E, R>,
  update: (options: BuilderOptions) => BuilderOptions,
  known: Map<Definition, Definition> = new Map()
): Definition<E, R> => {
  const other = (definition: Definition): Definition => {
    const changed = known.get(definition) ?? withOptions(definition, update, known)
    known.set(definition, changed)
    return changed
  }
  const updated = (source: AddSource): AddSource =>
    source._tag === "Snapshot" ? { ...source, definition: other(source.definition) } : source
  return withFields(self, {
    options: update(self.options),
    steps: self.steps.map((step) => {
      if (step._tag === "Add") return { ...step, from: updated(step.from) }
      if (step._tag !== "Exec" || step.mounts === undefined) return step
      const mounts = step.mounts.map((mount) =>
        mount._tag === "Bind" ? { ...mount, from: updated(mount.from) } : mount
      )
      return { ...step, mounts }
    })
  })
}

/**
 * Sets the builder's network, mounts, pull policy and registry.
 *
 * **Example** (A shared download cache)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 *
 * export const node = Snapshot.make("node-ci", "node:22").pipe(
 *   Snapshot.builder({ mounts: { "/root/.npm": { volume: "npm-cache" } } }),
 *   Snapshot.npm(["pnpm@9"])
 * )
 * ```
 *
 * @category settings
 * @since 0.1.0
 */
export const builder: Change<[options: BuilderOptions]> = change((self, options) =>
  withOptions(self, (before) => ({ ...before, ...given("builder", "options", options) }))
)

/**
 * Adds labels to the snapshot. Changing labels does not rerun any step.
 *
 * @category settings
 * @since 0.1.0
 */
export const labels: Change<[labels: { readonly [key: string]: string }]> = change((self, labels) =>
  withFields(self, { labels: { ...self.labels, ...given("labels", "labels", labels) } })
)

/**
 * Sets launch defaults: options that sandboxes get when they boot from the snapshot,
 * such as the services that it was built for. A launch can override each of them:
 * `SandboxConfig.LaunchDefaults` says how.
 *
 * **Details**
 *
 * Repeated calls are merged, as a launch is with the defaults. A definition that
 * starts from this one inherits them. They apply wherever the snapshot is booted by
 * name or as the result of a build, and to {@link verify}, but not to steps: those
 * have {@link env}, {@link workdir} and {@link user}.
 *
 * Changing them does not rerun any step, but makes a new generation. They are stored
 * in clear text: pass secrets at launch.
 *
 * **Example** (A server that starts with its sandbox)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox, Snapshot } from "effect-lightbox"
 *
 * const web = Snapshot.make("web", "node:22").pipe(
 *   Snapshot.copy("./app", "/app"),
 *   Snapshot.defaults({
 *     cwd: "/app",
 *     env: { PORT: "3000" },
 *     ports: { 0: 3000 },
 *     services: { web: { command: "exec node server.js", ready: { http: 3000 } } }
 *   })
 * )
 *
 * export const program = Effect.gen(function* () {
 *   const sandbox = yield* Sandbox.launch({ snapshot: Snapshot.build(web), env: { LOG: "debug" } })
 *   return yield* sandbox.shell("wget -qO- http://localhost:$PORT")
 * }).pipe(Effect.scoped)
 * ```
 *
 * @category settings
 * @since 0.1.0
 */
export const defaults: Change<[defaults: SandboxConfig.LaunchDefaults]> = change((self, defaults) =>
  withFields(self, { defaults: Defaults.merge(self.defaults, given("defaults", "defaults", defaults)) })
)

/**
 * Boots the result, with its launch defaults except ports, and runs an effect in it
 * before the name points to it. If the effect fails, so does the build, and the name
 * keeps pointing to the previous result.
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

/**
 * Provides a layer to the effects of a definition and of its base: steps and
 * verifications. The layer is built anew for each effect that runs, and released
 * after it.
 *
 * **Example** (Reading a file of this machine in a step)
 *
 * ```ts
 * import { NodeFileSystem } from "@effect/platform-node"
 * import { Effect, FileSystem } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const database = Snapshot.make("database", "postgres:17").pipe(
 *   Snapshot.step("seed", (sandbox) =>
 *     Effect.gen(function* () {
 *       const fs = yield* FileSystem.FileSystem
 *       yield* sandbox.exec("seed", [yield* fs.readFileString("seed.sql")], { check: true })
 *     })
 *   ),
 *   Snapshot.provide(NodeFileSystem.layer)
 * )
 * ```
 *
 * @category settings
 * @since 0.1.0
 */
export const provide: {
  <ROut, E2, RIn>(
    layer: Layer.Layer<ROut, E2, RIn>
  ): <E, R>(self: Definition<E, R>) => Definition<E | E2, Exclude<R, ROut> | RIn>
  <E, R, ROut, E2, RIn>(
    self: Definition<E, R>,
    layer: Layer.Layer<ROut, E2, RIn>
  ): Definition<E | E2, Exclude<R, ROut> | RIn>
} = dual(
  2,
  <E, R, ROut, E2, RIn>(
    self: Definition<E, R>,
    layer: Layer.Layer<ROut, E2, RIn>
  ): Definition<E | E2, Exclude<R, ROut> | RIn> => mapEffects(self, Effect.provide(layer))
)

const mapEffects = <E, R, E2, R2>(
  self: Definition<E, R>,
  map: (effect: Effect.Effect<unknown, E, R>) => Effect.Effect<unknown, E2, R2>
): Definition<E2, R2> => {
  const { base, verification } = self
  return new DefinitionImpl<E2, R2>({
    ...self,
    base: base._tag === "Image" ? base : { ...base, definition: mapEffects(base.definition, map) },
    steps: self.steps.map((step): Step<E2, R2> =>
      step._tag === "Effect" ? { ...step, run: (sandbox) => map(step.run(sandbox)) } : step
    ),
    verification: verification === undefined ? undefined : (sandbox) => map(verification(sandbox))
  })
}

// =============================================================================
// Snapshots
// =============================================================================

/**
 * The schema of snapshots; encodes to JSON.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Snapshot = Schema.Struct({
  name: Schema.String,
  /** The folder of this result on the host. */
  path: Schema.String,
  /** Identifies this capture: two captures of the same content differ. */
  digest: Schema.String,
  /** Identifies the inputs of the build. Absent if another tool made the snapshot. */
  key: Schema.optionalKey(Schema.String),
  /** Absent if another tool made the snapshot. */
  generation: Schema.optionalKey(Schema.Int),
  image: Schema.String,
  imageDigest: Schema.String,
  /** Apparent size of the disk, in bytes. */
  size: Schema.optionalKey(Schema.Finite),
  /** Bytes that the disk occupies on the host, where known. */
  allocated: Schema.optionalKey(Schema.Finite),
  /** Bytes of the captured memory. Absent if the snapshot is only a disk. */
  memory: Schema.optionalKey(Schema.Finite),
  labels: Schema.Record(Schema.String, Schema.String),
  /** Absent if there are none. */
  defaults: Schema.optionalKey(SandboxConfig.LaunchDefaults),
  createdAt: Schema.DateTimeUtc
})

/**
 * A snapshot, as found by name. A sandbox launched from it boots exactly this
 * result, even if the name has since been pointed to another.
 *
 * @category models
 * @since 0.1.0
 */
export type Snapshot = typeof Snapshot.Type

/**
 * The snapshot of a program that uses only one. Provided by {@link layer}.
 *
 * @category services
 * @since 0.1.0
 */
export class Current extends Context.Service<Current, Snapshot>()("effect-lightbox/Snapshot/Current") {}

class BuiltSnapshot extends Schema.Class<BuiltSnapshot>("effect-lightbox/Snapshot/Built")({
  ...Snapshot.fields,
  stepsRun: Schema.Int,
  stepsReused: Schema.Int,
  duration: DurationFromWholeMillis
}) {
  toJSON(): unknown {
    return encodeBuilt(this)
  }
}

/**
 * The schema of {@link build}'s results. In JSON, `duration` is `durationMillis`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Built = BuiltSnapshot.pipe(Schema.encodeKeys({ duration: "durationMillis" }))

/**
 * The result of {@link build}: the snapshot, the number of steps, and the time it
 * took.
 *
 * @category models
 * @since 0.1.0
 */
export interface Built extends BuiltSnapshot {}

const encodeBuilt = Schema.encodeSync(Schema.toCodecJson(Built))

/**
 * A stored result of a name, current or earlier.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Generation = Schema.Struct({
  /** Counted from 1. */
  generation: Schema.Int,
  key: Schema.String,
  labels: Schema.Record(Schema.String, Schema.String),
  /** Absent if there are none. */
  defaults: Schema.optionalKey(SandboxConfig.LaunchDefaults),
  /** The base image and what the steps did, in their order. Absent unless a build made it. */
  build: Schema.optionalKey(Schema.Struct({ image: Schema.String, steps: Schema.Array(Schema.String) })),
  createdAt: Schema.DateTimeUtc,
  isCurrent: Schema.Boolean
})

/**
 * The type of {@link Generation}.
 *
 * @category models
 * @since 0.1.0
 */
export type Generation = typeof Generation.Type

/**
 * Options of {@link build}.
 *
 * @category options
 * @since 0.1.0
 */
export interface BuildOptions {
  /**
   * Intermediate results to store. `"auto"` (default): those of expensive steps, those before a {@link checkpoint}, and
   * the disk on which a step failed, as it was before the step; to get it, the steps since the last stored result run
   * again before the build fails. `"every-step"`: all. `"marked"`: those before a {@link checkpoint}. `"final"`: none.
   * Results that waiting builds need, and those before a change of the network, are always stored.
   */
  readonly checkpoints?: "auto" | "every-step" | "final" | "marked" | undefined
  /**
   * For `"auto"`: store a result if its steps took this many times as long as storing it. Default: 10, so that storing
   * adds at most a tenth to a first build.
   */
  readonly checkpointFactor?: number | undefined
  /** Rerun all steps, or those from this position (from 1) on, and read all copied files. Default: `false`. */
  readonly force?: boolean | number | undefined
  /**
   * Point an existing name to the new result. `false`: fail with `AlreadyExists` if the name is taken. Default: `true`.
   */
  readonly overwrite?: boolean | undefined
  /** Replace a snapshot made by another tool; it becomes an earlier generation. Default: `false`: fail. */
  readonly replaceForeign?: boolean | undefined
  /** Generations to keep, including the new one. Default: 2. */
  readonly keep?: number | undefined
  /** Leave the builder running as `<name>-builder`, whether the build succeeds or fails. Default: `false`. */
  readonly keepBuilder?: boolean | undefined
  /**
   * When to pull the base image. `"always"` asks the registry first: if the tag has not moved, nothing is pulled or
   * booted for it. Default: that of the definition, else of the layer.
   */
  readonly pullPolicy?: SandboxConfig.Options["pullPolicy"]
  /**
   * Capture the snapshot with its memory: once the steps are done, a sandbox boots from the disk, starts the services of
   * the {@link defaults}, and is captured when they are ready. `Sandbox.launch` then resumes that machine instead of
   * booting. Needs a driver that can do so, and fails with `Unsupported` on others. What runs in the machine is in every
   * copy: see `onResume` of `Sandbox.launch`. Default: `false`.
   */
  readonly warm?: boolean | undefined
  /**
   * Receives the build's events in its own fiber, so it can be slow or fail without affecting the build. While 4,096
   * events are waiting, step output is dropped. A finished build waits up to 2 seconds for it.
   */
  readonly onEvent?: ((event: BuildEvent) => Effect.Effect<void>) | undefined
}

/**
 * Builds a definition, or reuses its result, and points the definition's name to
 * it. Pipeable, with or without options.
 *
 * Steps with stored results do not run. The others run in one builder sandbox that
 * starts from the last stored result. The name changes atomically, once the result
 * has been captured, its checksum compared and {@link verify} has passed. If the
 * build fails, is interrupted or is killed, the name still points to the previous
 * result.
 *
 * Concurrent builds of the same result run once, across fibers and processes of
 * this host. The others wait and receive the events of the running one; if it dies,
 * another takes over. To build definitions with common first steps, use
 * `Effect.all`: the common steps run once.
 *
 * Fails with the step's error, which names definition, step, line and attempt; with
 * `InvalidConfig` before anything boots; and with `SecretLeaked` if the disk or
 * the memory contains a secret. Interruption stops the step and removes the builder; results
 * stored so far are kept.
 *
 * Each build leaves a record of its steps, their output and reasons: see
 * `BuildRecord`.
 *
 * **Example** (Building, then rebuilding everything)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { MicrosandboxLocal, Snapshot } from "effect-lightbox"
 *
 * const tools = Snapshot.make("tools", "alpine:3.20").pipe(Snapshot.shell("apk add git"))
 *
 * export const program = Effect.gen(function* () {
 *   const built = yield* Snapshot.build(tools)
 *   yield* Console.log(`${built.stepsRun} steps run, ${built.stepsReused} reused`)
 *   return yield* tools.pipe(Snapshot.build({ force: true }))
 * }).pipe(Effect.provide(MicrosandboxLocal.layer()))
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const build: <Arg extends Definition<unknown, unknown> | BuildOptions | undefined = undefined>(
  definition?: Arg,
  options?: BuildOptions
) => [Arg] extends [Definition<infer E, infer R>]
  ? Effect.Effect<Built, LightboxError | E, Services | R>
  : <E, R>(self: Definition<E, R>) => Effect.Effect<Built, LightboxError | E, Services | R> = dual(
  isBuildDataFirst,
  <E, R>(self: Definition<E, R>, options?: BuildOptions) =>
    Effect.map(internalBuild.build(self, options), (built) => new BuiltSnapshot(built))
)

/**
 * Options of {@link buildScoped}.
 *
 * @category options
 * @since 0.1.0
 */
export interface BuildScopedOptions extends Omit<BuildOptions, "overwrite" | "replaceForeign" | "keep"> {}

/**
 * Builds a definition under a unique name that starts with the definition's. When
 * the scope closes, the name and all results that nothing else needs are removed.
 * Pipeable.
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
 *     const snapshot = yield* Snapshot.buildScoped(fixture)
 *     return yield* Sandbox.run({ snapshot }, (sandbox) => sandbox.exec("git", ["--version"]))
 *   })
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const buildScoped: <Arg extends Definition<unknown, unknown> | BuildScopedOptions | undefined = undefined>(
  definition?: Arg,
  options?: BuildScopedOptions
) => [Arg] extends [Definition<infer E, infer R>]
  ? Effect.Effect<Built, LightboxError | E, Services | R | Scope.Scope>
  : <E, R>(self: Definition<E, R>) => Effect.Effect<Built, LightboxError | E, Services | R | Scope.Scope> = dual(
  isBuildDataFirst,
  <E, R>(self: Definition<E, R>, options?: BuildScopedOptions) =>
    checkDefinition("Snapshot.buildScoped", "definition", self).pipe(
      Effect.flatMap(() => internalBuild.buildScoped((name) => withFields(self, { name }), self.name, options)),
      Effect.map((built) => new BuiltSnapshot(built))
    )
)

/**
 * Options of {@link capture}.
 *
 * @category options
 * @since 0.1.0
 */
export interface CaptureOptions {
  /** Name of the snapshot. */
  readonly name: string
  /** Labels of the generation. Default: none. */
  readonly labels?: { readonly [key: string]: string } | undefined
  /** Generations to keep, including the new one. Default: 2. */
  readonly keep?: number | undefined
  /**
   * Point an existing name to the capture. `false`: fail with `AlreadyExists` if the name is taken. Default: `true`.
   */
  readonly overwrite?: boolean | undefined
  /** Replace a snapshot made by another tool; it becomes an earlier generation. Default: `false`: fail. */
  readonly replaceForeign?: boolean | undefined
  /**
   * Values that must not be on the disk, by the name that an error shows. Those that a handle knows are searched for as
   * well: the redacted values in the options given to `launch` or `getOrCreate`, and the last 1,000 different ones in the
   * commands run with it. Default: none.
   */
  readonly secrets?: { readonly [name: string]: Redacted.Redacted<string> } | undefined
}

/**
 * Captures the disk of a sandbox, running or stopped, as a new generation of a snapshot. Takes a handle or a name.
 *
 * A running sandbox is flushed, shut down, captured and booted again. Its disk survives that, and so do mounts, ports and
 * options. Processes, memory, `/tmp`, `/run` and other files in memory do not: commands that are running fail with
 * `GuestLost`, and jobs are `Lost`, but the services of the launch are started again. Those with secrets, and those that
 * depend on them, are started only through a handle that was given the secrets. The handle that was passed, and its
 * forwards, stay usable; other handles have to connect again. The snapshot has the disk only: no mounts, volumes or
 * options. Captures of one sandbox take turns, also those of other processes.
 *
 * The name moves atomically, once the sandbox runs again and the checksum of the captured disk has been compared. On
 * failure or interruption, the sandbox runs again, and the name still points to the previous result. If this process is
 * killed meanwhile, a detached sandbox stays stopped. A sandbox that another process has launched or started, and still
 * owns, is booted again detached from that process: if it is killed later, the sandbox runs until a sweep.
 *
 * A capture is no result of a build: {@link plan} and {@link build} never take it for one. The next build of a definition
 * with this name makes a new generation.
 *
 * Fails with `SecretLeaked` if the disk contains a secret that is known here. Values that other processes or handles
 * used, or that programs received in other ways, are not known: pass them as `secrets`. Fails with `NotFound`, and with
 * `Unsupported` for ephemeral sandboxes and in the cloud. A sandbox whose root disk is an overlay is captured through a
 * helper, which boots for a moment with 256 MiB.
 *
 * **Example** (Keeping what was installed by hand)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox, Snapshot } from "effect-lightbox"
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     const sandbox = yield* Sandbox.launch({ image: "alpine" })
 *     yield* sandbox.shell("apk add git", { check: true })
 *     return yield* Snapshot.capture(sandbox, { name: "with-git" })
 *   })
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const capture: (
  sandbox: Sandbox | string,
  options: CaptureOptions
) => Effect.Effect<Snapshot, LightboxError, Services> = internalCapture.capture

/**
 * Options of {@link tag}.
 *
 * @category options
 * @since 0.1.0
 */
export interface TagOptions {
  /** Point an existing name to the snapshot, as a new generation. Default: `false`: fail with `AlreadyExists`. */
  readonly overwrite?: boolean | undefined
}

/**
 * Points a name to an existing snapshot, or to one of its generations such as `"app@3"`. Both names share the disk, which
 * is removed once none needs it. Copies the labels and the launch defaults of the generation. Earlier generations of the
 * name stay.
 *
 * Fails with `NotFound`, and with `Unsupported` for a snapshot made by another tool.
 *
 * @category operations
 * @since 0.1.0
 */
export const tag = (
  reference: string,
  name: string,
  options?: TagOptions
): Effect.Effect<Snapshot, LightboxError, Services> =>
  withStore("Snapshot.tag", (driver, store) =>
    Effect.flatMap(decodeTag({ reference, name }, options), (checked) => internalCommits.tag(driver, store, checked))
  )

const decodeTag = callDecoder(
  "Snapshot.tag",
  Schema.Struct({ reference: SnapshotReference, name: SnapshotName }),
  Schema.Struct({ overwrite: Schema.optional(Schema.Boolean) })
)

const FileType = Schema.Literals([
  "File",
  "Directory",
  "SymbolicLink",
  "BlockDevice",
  "CharacterDevice",
  "FIFO",
  "Socket",
  "Unknown"
])

/**
 * The schema of a path that differs between two disks.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Difference = Schema.Struct({
  path: Schema.String,
  kind: Schema.Literals(["added", "changed", "removed"]),
  /** For a removed path, its former type and size. */
  type: FileType,
  /** Bytes; 0 for what is not a file. */
  size: Schema.Finite,
  /** The former type and size of a changed path. */
  before: Schema.optionalKey(Schema.Struct({ type: FileType, size: Schema.Finite })),
  /** What differs in a changed path. `time`: the time of a file larger than 1 MiB, whose content was not compared. */
  changes: Schema.Array(Schema.Literals(["type", "mode", "owner", "size", "content", "time", "target"]))
})

/**
 * A path that differs between two disks.
 *
 * @category models
 * @since 0.1.0
 */
export type Difference = typeof Difference.Type

/**
 * The schema of the result of {@link diff}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Diff = Schema.Struct({
  /** Sorted by path. */
  differences: Schema.Array(Difference),
  /** `false` if there are more differences, or more than 1,000,000 files to compare. */
  isComplete: Schema.Boolean
})

/**
 * The differences between two disks.
 *
 * @category models
 * @since 0.1.0
 */
export type Diff = typeof Diff.Type

/**
 * A side of {@link diff}: a snapshot, its name, one of its generations such as `"app@3"`, an image, or a running sandbox.
 *
 * @category options
 * @since 0.1.0
 */
export type DiffSource = string | BootableSnapshot | { readonly image: string } | Sandbox

/**
 * Options of {@link diff}.
 *
 * @category options
 * @since 0.1.0
 */
export interface DiffOptions {
  /** Maximum number of differences, up to 1,000,000. Default: 10,000. */
  readonly limit?: number | undefined
}

/**
 * Lists the paths that were added, changed and removed from one disk to another: between generations of a snapshot,
 * between snapshots, or between a snapshot and a running sandbox.
 *
 * Snapshots are booted for it, without a network, up to two at once; the guests need no programs. Left out are `/proc`,
 * `/sys`, `/dev`, `/run`, everything that is a mount on either side, such as `/tmp`, the files that every boot writes
 * (`/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`), and `/var/lib/lightbox`, where jobs and services keep their
 * state. All paths below an added or removed directory are listed.
 *
 * Compared are types, modes, owners, sizes, targets of links, and the contents of files up to 1 MiB whose times differ or
 * are within the last hour. Times are in whole seconds: another file with the same size and time counts as unchanged.
 *
 * Fails with `NotFound` (snapshot or generation), as `Sandbox.launch` does, and with `GuestLost` if a sandbox does not
 * run.
 *
 * **Example** (What the last build changed)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const added = Snapshot.diff("node-ci@3", "node-ci@4").pipe(
 *   Effect.map(({ differences }) => differences.filter(({ kind }) => kind === "added"))
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const diff: (
  before: DiffSource,
  after: DiffSource,
  options?: DiffOptions
) => Effect.Effect<Diff, LightboxError, Services> = internalDiff.diff

/**
 * Options of {@link plan}, as for {@link build}.
 *
 * @category options
 * @since 0.1.0
 */
export interface PlanOptions extends Pick<BuildOptions, "force" | "pullPolicy"> {}

/**
 * Describes what {@link build} would do, and why, without booting or pulling
 * anything. Pipeable.
 *
 * With the pull policy `"always"`, of the definition or the options, it asks the
 * registry for the base image. It then fails with `ImageUnavailable` if the
 * registry cannot be reached; a build then leaves the pull to the runtime. With other
 * policies, it needs no network, and asks only for an image that is not cached and that
 * the name was built from before.
 *
 * **Example** (Checking whether the base image has moved)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * const tools = Snapshot.make("tools", "alpine:3.20").pipe(Snapshot.shell("apk add git"))
 *
 * export const isUpToDate = Snapshot.plan(tools, { pullPolicy: "always" }).pipe(
 *   Effect.map(({ isCached }) => isCached)
 * )
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const plan: <Arg extends Definition<unknown, unknown> | PlanOptions | undefined = undefined>(
  definition?: Arg,
  options?: PlanOptions
) => [Arg] extends [Definition<unknown, unknown>]
  ? Effect.Effect<Plan, LightboxError, Services>
  : (self: Definition<unknown, unknown>) => Effect.Effect<Plan, LightboxError, Services> = dual(
  isBuildDataFirst,
  internalPlan.plan
)

/**
 * Lists all named snapshots. With `layers`, also the unnamed results stored for
 * later builds.
 *
 * @category operations
 * @since 0.1.0
 */
export const list = (options?: {
  readonly layers?: boolean | undefined
}): Effect.Effect<ReadonlyArray<Snapshot>, LightboxError, Services> =>
  withStore("Snapshot.list", (driver, store) =>
    Effect.flatMap(decodeList(options), (checked) => internalNames.list(driver, store, checked))
  )

const decodeList = optionsDecoder("Snapshot.list", Schema.Struct({ layers: Schema.optional(Schema.Boolean) }))

/**
 * Gets a snapshot by name. Fails with `NotFound`, or with `SnapshotDamaged` if
 * files are missing.
 *
 * @category operations
 * @since 0.1.0
 */
export const get = (name: string): Effect.Effect<Snapshot, LightboxError, Services> =>
  withName("Snapshot.get", name, (driver, store) => internalNames.get(driver, store, name))

/**
 * Checks whether a snapshot with this name exists.
 *
 * @category operations
 * @since 0.1.0
 */
export const exists = (name: string): Effect.Effect<boolean, LightboxError, Services> =>
  decodeName("Snapshot.exists", name).pipe(
    Effect.andThen(list()),
    Effect.map((all) => all.some((snapshot) => snapshot.name === name)),
    Effect.withSpan("Snapshot.exists")
  )

/**
 * Removes a name and the results that nothing else needs, if the name exists.
 * Sandboxes booted from the snapshot keep running.
 *
 * @category operations
 * @since 0.1.0
 */
export const remove = (name: string): Effect.Effect<void, LightboxError, Services> =>
  withName("Snapshot.remove", name, (driver, store) => internalNames.remove(driver, store, name))

/**
 * Lists the stored generations of a name, oldest first. Fails with `NotFound`.
 *
 * @category operations
 * @since 0.1.0
 */
export const generations = (name: string): Effect.Effect<ReadonlyArray<Generation>, LightboxError, Services> =>
  withName("Snapshot.generations", name, (driver, store) => internalGenerations.generations(driver, store, name))

/**
 * Points a name back to the previous generation, or to the generation `to`. Fails
 * with `NotFound` if that generation is not stored.
 *
 * @category operations
 * @since 0.1.0
 */
export const rollback = (name: string, to?: number): Effect.Effect<Snapshot, LightboxError, Services> =>
  withName("Snapshot.rollback", name, (driver, store) =>
    Effect.flatMap(decodeTo(to), (checked) => internalNames.rollback(driver, store, name, checked))
  )

const decodeTo = decoder(Schema.UndefinedOr(intBetween(1, Number.MAX_SAFE_INTEGER)), "Snapshot.rollback", "to")

/**
 * Options of {@link prune}.
 *
 * @category options
 * @since 0.1.0
 */
export interface PruneOptions {
  /**
   * Generations that each name keeps, including the current one. Older generations that were loaded, or taken over from
   * another tool, are removed regardless of the other options. Default: all.
   */
  readonly keep?: number | undefined
  /** Keep results used within this duration. Default: none. */
  readonly olderThan?: Duration.Input | undefined
  /** Keep the most recently used results, up to this total size of all snapshots. Default: none. */
  readonly maxBytes?: SandboxConfig.Size | undefined
  /** Report what would be removed, without removing it. Default: `false`. */
  readonly dryRun?: boolean | undefined
}

/**
 * Removes results that were stored for later builds and that no name, generation or
 * running build needs. Without options, it removes every unnamed result. Snapshots
 * made by other tools are never removed, unless a name has taken one over and drops
 * it. {@link plan} reports a pruned result as `Evicted`.
 *
 * @category operations
 * @since 0.1.0
 */
export const prune = (options?: PruneOptions): Effect.Effect<Cleanup.Report, LightboxError, Services> =>
  withStore("Snapshot.prune", (driver, store) => internalPrune.prune(driver, store, options))

/**
 * Options of {@link save}.
 *
 * @category options
 * @since 0.1.0
 */
export interface SaveOptions {
  /** Generations to save. Default: `"all"`. */
  readonly generations?: "all" | "current" | undefined
  /** Include the base image, so that the snapshot boots without network access. Default: `true`. */
  readonly withImage?: boolean | undefined
  /** Compress with Zstandard. Default: `true`. */
  readonly compress?: boolean | undefined
}

/**
 * Options of {@link load}.
 *
 * @category options
 * @since 0.1.0
 */
export interface LoadOptions {
  /** Default: the name it was saved under. Required for files from other tools. */
  readonly name?: string | undefined
  /** Replace an existing snapshot with this name; it becomes an earlier generation. Default: `false`: fail. */
  readonly overwrite?: boolean | undefined
  /**
   * Let builds reuse the results in the file, and publish the ports of its launch defaults on the host ports that it
   * names. A file declares which steps made its disks, so set this only if you trust its author. Default: `false`: the
   * disks serve only this name, and its ports are published on free ports of 127.0.0.1.
   */
  readonly trusted?: boolean | undefined
}

/**
 * Saves a snapshot with its generations to a file, for {@link load} on another
 * host. The file appears only once it is complete. A snapshot made by another tool
 * is saved in that tool's format. Fails with `NotFound`, `SnapshotDamaged`,
 * `NoSpace` or `FileError`.
 *
 * @category operations
 * @since 0.1.0
 */
export const save = (name: string, path: string, options?: SaveOptions): Effect.Effect<void, LightboxError, Services> =>
  withName("Snapshot.save", name, (driver, store) => internalTransfer.save(driver, store, name, path, options))

/**
 * Loads a file written by {@link save} or by another tool. The name points to the
 * snapshot only after all checksums match; a failure leaves nothing behind. Fails
 * with `AlreadyExists` if the name is taken, and with `SnapshotDamaged` if the file
 * is incomplete or was changed.
 *
 * @category operations
 * @since 0.1.0
 */
export const load = (path: string, options?: LoadOptions): Effect.Effect<Snapshot, LightboxError, Services> =>
  withStore("Snapshot.load", (driver, store) => internalTransfer.load(driver, store, path, options))

/**
 * The schema of {@link TransferProgress}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TransferProgress = Schema.Struct({
  reference: Schema.String,
  /** Bytes of the disk that are where they should be, whether they were transferred or there already. */
  done: Schema.Finite,
  /** Bytes of the disk, without empty parts. */
  total: Schema.Finite,
  /** Bytes that were sent or received, compressed. */
  moved: Schema.Finite
})

/**
 * The progress of {@link push} and {@link pull}.
 *
 * @category models
 * @since 0.1.0
 */
export type TransferProgress = typeof TransferProgress.Type

/**
 * The schema of {@link Pushed}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Pushed = Schema.Struct({
  reference: Schema.String,
  /** Identifies what was pushed: pull it with `name@digest` to get exactly this. */
  digest: Schema.String,
  /** Bytes of the disk, without empty parts. */
  total: Schema.Finite,
  /** Bytes that were sent. The rest was there already. */
  moved: Schema.Finite
})

/**
 * The result of {@link push}.
 *
 * @category models
 * @since 0.1.0
 */
export type Pushed = typeof Pushed.Type

/**
 * How to reach a bucket, for references such as `s3://bucket/team/app:main`.
 *
 * @category options
 * @since 0.1.0
 */
export interface S3 {
  /**
   * Address of the service, such as `"https://minio.example.com"`. Default: `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` in
   * the environment, else AWS.
   */
  readonly endpoint?: string | undefined
  /** Default: `AWS_REGION` or `AWS_DEFAULT_REGION` in the environment, else `"us-east-1"`. */
  readonly region?: string | undefined
  /** Requires `secretAccessKey`. Default: `AWS_ACCESS_KEY_ID` in the environment. */
  readonly accessKeyId?: string | undefined
  /** Requires `accessKeyId`. Default: `AWS_SECRET_ACCESS_KEY` in the environment. */
  readonly secretAccessKey?: Redacted.Redacted<string> | undefined
  /** Belongs to a temporary `accessKeyId`. Default: `AWS_SESSION_TOKEN`, if the key is from the environment, too. */
  readonly sessionToken?: Redacted.Redacted<string> | undefined
}

/**
 * Options of {@link push}.
 *
 * @category options
 * @since 0.1.0
 */
export interface PushOptions {
  /** Access to buckets. Not used for registries. Default: that of the environment. */
  readonly s3?: S3 | undefined
  /**
   * Login and certificates. Default: those of the runtime's `config.json`, else of `docker login`. A registry on this
   * machine may do without TLS; for others, that takes `insecure: true`. Buckets use `caCerts`, too.
   */
  readonly registry?: SandboxConfig.Registry | undefined
  /**
   * Receives the progress in its own fiber, so it can be slow or fail without affecting the transfer. Default: none.
   */
  readonly onProgress?: ((progress: TransferProgress) => Effect.Effect<void>) | undefined
}

/**
 * A snapshot on another machine that runs `lightbox host` or `Gateway.serve`, for {@link pull}.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostReference {
  /** Address of the machine, such as `"https://kvm.example.com:7400"`. */
  readonly host: string
  /** A token of that machine. The scope `"read"` is enough. */
  readonly token: Redacted.Redacted<string>
  /** Name of the snapshot there, or one of its generations such as `"app@3"`. Default: the name that it gets here. */
  readonly snapshot?: string | undefined
}

/**
 * Options of {@link pull}.
 *
 * @category options
 * @since 0.1.0
 */
export interface PullOptions extends PushOptions {
  /**
   * Point an existing name to the snapshot. `false`: fail with `AlreadyExists` if the name is taken. Default: `true`.
   */
  readonly overwrite?: boolean | undefined
  /** Generations to keep, including the new one. Default: 2. */
  readonly keep?: number | undefined
  /**
   * Let builds reuse the snapshot as the result of the steps it was built from, and publish the ports of its launch
   * defaults on the host ports that it names. Whoever can push to the repository decides what these are, so pass `false`
   * for a repository of others: the disk then serves only this name, and its ports are published on free ports of
   * 127.0.0.1. Default: `true`.
   */
  readonly trusted?: boolean | undefined
}

/**
 * Pushes a snapshot, or one of its generations such as `"app@3"`, to a tag in an OCI registry, for {@link pull} on
 * another machine. `s3://bucket/team/app:main` is a tag in a bucket of S3, or of a service that speaks its protocol.
 *
 * Only parts of the disk that are not empty are sent, compressed, and only those that the repository does not have from
 * the snapshot under the same tag, or from others. The tag moves when all of it is there. Up to 4 parts of 8 MiB are sent
 * at once. A lost connection and an overloaded registry are tried again 5 times, within about 16 seconds. After a failure
 * or an interruption, the next push sends only what is missing. Pushes to the same reference take turns.
 *
 * The record of the generation travels along: key, labels, launch defaults, and what the build ran. The base image does
 * not: to boot the snapshot, a machine without the image pulls it by its digest.
 *
 * On a remote host, that machine pushes, with the login in `registry` or its own.
 *
 * Fails with `NotFound`, `SnapshotDamaged` or `TransferFailed`.
 *
 * **Example** (Sharing a build)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { MicrosandboxLocal, Snapshot } from "effect-lightbox"
 *
 * export const program = Effect.gen(function* () {
 *   const { moved, total } = yield* Snapshot.push("node-ci", "registry.example.com/ci/node:main")
 *   yield* Console.log(`sent ${moved} bytes for ${total}`)
 * }).pipe(Effect.provide(MicrosandboxLocal.layer()))
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const push = (
  name: string,
  reference: string,
  options?: PushOptions
): Effect.Effect<Pushed, LightboxError, Services> =>
  withStore("Snapshot.push", (driver, store) =>
    // Few programs need it.
    Effect.flatMap(
      Effect.promise(() => import("./internal/store/push.ts")),
      (internalPush) => internalPush.push(driver, store, name, reference, options, options?.onProgress)
    )
  )

/**
 * Pulls a snapshot as a new generation of a name: one that {@link push} has pushed, by a reference with a tag or a
 * digest, or one of another machine that runs `lightbox host`, directly from there.
 *
 * The name moves atomically, once all of it has been received and its checksums match. A snapshot that a build on this
 * machine has made, or that was pulled before, is not received again, and neither are the parts that the name's current
 * generation has. Concurrent pulls of a snapshot run once, across the processes of this host. After a failure, an
 * interruption or a crash, the name points to what it pointed to before. What was received is kept for a day, and the
 * next pull goes on from there.
 *
 * A later {@link build} of the same definition reuses the snapshot and boots nothing: see `trusted`. If the base image is
 * not cached, the build asks its registry whether the tag still stands for the same image.
 *
 * On a remote host, that machine pulls.
 *
 * Fails with `TransferFailed`; with `SnapshotDamaged` if the content does not match the checksums; with `AlreadyExists`
 * if another tool's snapshot has the name; and with `Unsupported` if the snapshot is for another type of machine.
 *
 * **Example** (A cache for CI)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * const tools = Snapshot.make("tools", "alpine:3.20").pipe(Snapshot.shell("apk add git"))
 * const cache = "registry.example.com/ci/tools:main"
 *
 * export const program = Effect.gen(function* () {
 *   // There is none on the first run.
 *   yield* Effect.catchReason(Snapshot.pull("tools", cache), "LightboxError", "TransferFailed", () => Effect.void)
 *   const built = yield* Snapshot.build(tools)
 *   if (built.stepsRun > 0) yield* Snapshot.push("tools", cache)
 *   return built
 * })
 * ```
 *
 * **Example** (From another machine)
 *
 * ```ts
 * import { Config, Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 *
 * export const program = Effect.gen(function* () {
 *   const token = yield* Config.Redacted("LIGHTBOX_TOKEN")
 *   return yield* Snapshot.pull("node-ci", { host: "https://kvm.example.com:7400", token })
 * })
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const pull = (
  name: string,
  reference: string | HostReference,
  options?: PullOptions
): Effect.Effect<Snapshot, LightboxError, Services> =>
  withStore("Snapshot.pull", (driver, store) =>
    // Few programs need it.
    Effect.flatMap(
      Effect.promise(() => import("./internal/store/pull.ts")),
      (internalPull) => internalPull.pull(driver, store, name, reference, options, options?.onProgress)
    )
  )

/** The driver would treat an invalid name as a path. */
const withName = <A>(
  method: string,
  name: string,
  use: (driver: Microsandbox.Microsandbox["Service"], store: Store) => Effect.Effect<A, LightboxError>
): Effect.Effect<A, LightboxError, Services> =>
  withStore(method, (driver, store) => Effect.andThen(decodeName(method, name), use(driver, store)))

const withStore = <A>(
  method: string,
  use: (driver: Microsandbox.Microsandbox["Service"], store: Store) => Effect.Effect<A, LightboxError>
): Effect.Effect<A, LightboxError, Services> =>
  Effect.gen(function* () {
    const driver = yield* Microsandbox.Microsandbox
    return yield* use(driver, makeStore(driver, yield* Ownership.Ownership))
  }).pipe(Effect.withSpan(method))

// =============================================================================
// Layers
// =============================================================================

/**
 * Provides {@link Current} by building a definition when the layer is built.
 * Pipeable.
 *
 * **Example** (A program with one snapshot)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { MicrosandboxLocal, Sandbox, Snapshot } from "effect-lightbox"
 *
 * const tools = Snapshot.make("tools", "alpine:3.20").pipe(Snapshot.shell("apk add git"))
 *
 * export const program = Sandbox.run({ snapshot: Snapshot.Current }, (sandbox) => sandbox.exec("git", ["--version"])).pipe(
 *   Effect.provide(Snapshot.layer(tools).pipe(Layer.provideMerge(MicrosandboxLocal.layer())))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: <Arg extends Definition<unknown, unknown> | BuildOptions | undefined = undefined>(
  definition?: Arg,
  options?: BuildOptions
) => [Arg] extends [Definition<infer E, infer R>]
  ? Layer.Layer<Current, LightboxError | E, Services | Exclude<R, Scope.Scope>>
  : <E, R>(self: Definition<E, R>) => Layer.Layer<Current, LightboxError | E, Services | Exclude<R, Scope.Scope>> =
  dual(isBuildDataFirst, <E, R>(self: Definition<E, R>, options?: BuildOptions) =>
    Layer.effect(Current, build(self, options))
  )

/**
 * Provides {@link Current} with build options from `Config`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: {
  (
    options: Config.Wrap<Omit<BuildOptions, "onEvent">>
  ): <E, R>(
    self: Definition<E, R>
  ) => Layer.Layer<Current, LightboxError | Config.ConfigError | E, Services | Exclude<R, Scope.Scope>>
  <E, R>(
    self: Definition<E, R>,
    options: Config.Wrap<Omit<BuildOptions, "onEvent">>
  ): Layer.Layer<Current, LightboxError | Config.ConfigError | E, Services | Exclude<R, Scope.Scope>>
} = dual(2, <E, R>(self: Definition<E, R>, options: Config.Wrap<Omit<BuildOptions, "onEvent">>) =>
  Layer.effect(
    Current,
    Effect.flatMap(Config.unwrap(options), (options) => build(self, options))
  )
)

/**
 * Creates a service class with a `layer` that builds its snapshot, for programs
 * with several snapshots.
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
    readonly layer: Layer.Layer<Self, LightboxError | E, Services | Exclude<R, Scope.Scope>>
  } => {
    const service = Context.Service<Self, Snapshot>()(id)
    return Object.assign(service, { layer: Layer.effect(service, build(definition, options)) })
  }
