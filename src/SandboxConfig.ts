/**
 * Options of a sandbox, and their schema.
 *
 * Callers pass {@link Options}. {@link SandboxConfig} checks them before anything
 * boots: sizes become bytes, durations become `Duration`s, and invalid values fail
 * with the name of the field.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import * as SchemaTransformation from "effect/SchemaTransformation"
import {
  Address,
  Bytes,
  checkGrowth,
  checkMountPath,
  checkOwnLabel,
  checkService,
  CommandLine,
  commandFields,
  CString,
  defaultBind,
  Env,
  failed,
  GuestPath,
  HostPath,
  HostPort,
  ImageReference,
  intBetween,
  Labels,
  Mebibytes,
  Memory,
  Milliseconds,
  Name,
  optionsSchema,
  optionsStruct,
  parsed,
  Port,
  recordOf,
  Rlimits,
  Seconds,
  User
} from "./internal/config/schemas.ts"
import { circular } from "./internal/config/validation.ts"
import type * as Guest from "./Guest.ts"
import type * as Plain from "./internal/config/plain.ts"
import * as Mount from "./Mount.ts"
import * as Network from "./Network.ts"
import * as Probe from "./Probe.ts"

/**
 * A size: a whole number with the unit `K`, `M` or `G` (or `KiB`, `MiB`, `GiB`), or
 * a number of bytes. Results have sizes in bytes, which options accept unchanged.
 *
 * `"1K"` is 1,024 bytes. `"1GB"` is rejected because it is ambiguous, and so are
 * fractions: write `"1536M"`, not `"1.5G"`.
 *
 * @category options
 * @since 0.1.0
 */
export type Size = Plain.Size

/**
 * Publishes a port of the guest on a port of the host.
 *
 * @category options
 * @since 0.1.0
 */
export type PortMapping = Plain.PortMapping

/**
 * The schema of {@link Size}. Decodes text or a number to a number of bytes.
 *
 * **Example** (Reading a size from the environment)
 *
 * ```ts
 * import { Config } from "effect"
 * import { MicrosandboxLocal, SandboxConfig } from "effect-lightbox"
 *
 * export const live = MicrosandboxLocal.layerConfig({ memory: Config.schema(SandboxConfig.Size, "SANDBOX_MEMORY") })
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const Size: Schema.Codec<number, number | string> = Schema.Union([Schema.Finite, Schema.String]).pipe(
  Schema.decodeTo(
    Schema.Finite,
    SchemaTransformation.transformEffect<number, number | string>({
      decode: (input, options) => SchemaParser.decodeUnknownEffect(Bytes)(input, options),
      encode: Effect.succeed
    })
  )
)

/**
 * Processors, memory and disk of a sandbox.
 *
 * @category options
 * @since 0.1.0
 */
export interface Resources {
  /** Processors, 1 to 255. Default: 1. */
  readonly cpus?: number | undefined
  /** Limit for adding processors while the sandbox runs. Default: `cpus`. */
  readonly maxCpus?: number | undefined
  /** Memory in whole MiB, at least `"64M"`. Default: `"512M"`. */
  readonly memory?: Size | undefined
  /** Limit for adding memory while the sandbox runs. Default: `memory`. */
  readonly maxMemory?: Size | undefined
  /**
   * Size of the root disk. It occupies space on the host only as it fills. Not allowed with a snapshot. Default:
   * `"4G"`.
   */
  readonly disk?: Size | undefined
}

/**
 * A job that starts with the sandbox.
 *
 * @category options
 * @since 0.1.0
 */
export interface Service {
  /** A script for the sandbox's shell, or a program and its arguments. It must stay in the foreground. */
  readonly command: string | readonly [program: string, ...args: ReadonlyArray<Guest.Word>]
  /** Working directory. Default: the sandbox's. */
  readonly cwd?: string | undefined
  /** User, by name or id. Default: the sandbox's. */
  readonly user?: string | undefined
  /** Variables added to the sandbox's. Redacted values are visible only in the guest. Default: none. */
  readonly env?: { readonly [name: string]: Guest.Word } | undefined
  /** Probe that succeeds once the service is ready. Default: it is ready once it has started. */
  readonly ready?: Probe.ProbeInput | undefined
  /**
   * When to start the command again, a second after it has exited: `"on-failure"`: after a nonzero exit code, or
   * `"always"`. Not if it cannot be started (codes 126 and 127), nor after SIGTERM, SIGINT, SIGHUP or SIGKILL to
   * the job. Default: `"no"`.
   */
  readonly restart?: "no" | "on-failure" | "always" | undefined
  /** Names of the services that must be ready before this one starts. Default: none. */
  readonly dependsOn?: ReadonlyArray<string> | undefined
}

/**
 * A change to the file system of an image before the guest boots. Not allowed with
 * a snapshot; use a build step instead.
 *
 * **Gotchas**
 *
 * The runtime recreates all parent folders of the path, owned by root and with mode
 * 0o755. After a patch of `/home/app/.profile`, the user `app` cannot write to
 * `/home/app`. A file with appended content also belongs to root, with mode 0o644.
 *
 * **Example** (A file and a folder)
 *
 * ```ts
 * import type { SandboxConfig } from "effect-lightbox"
 *
 * export const patches: ReadonlyArray<SandboxConfig.Patch> = [
 *   { _tag: "Mkdir", path: "/app", mode: 0o755 },
 *   { _tag: "Write", path: "/app/config.json", content: "{}" }
 * ]
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export type Patch = Plain.Patch

/**
 * An init system, which runs as process 1 of the guest.
 *
 * @category options
 * @since 0.1.0
 */
export type Init = Plain.Init

/**
 * Options for pulling from a registry.
 *
 * @category options
 * @since 0.1.0
 */
export interface Registry {
  /** Requires `password`. Default: no login. */
  readonly username?: string | undefined
  /** A password or token. Requires `username`. */
  readonly password?: Redacted.Redacted<string> | undefined
  /** Use HTTP without TLS. Default: `false`. */
  readonly insecure?: boolean | undefined
  /** A PEM file of certificate authorities on the host. Default: those of the system. */
  readonly caCerts?: string | undefined
}

/**
 * Options of a sandbox, except its image or snapshot.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Up to 128 letters, digits, dots, dashes and underscores. Default: a generated name. */
  readonly name?: string | undefined
  /** Processors, memory and disk. Default: 1 processor, `"512M"` of memory. */
  readonly resources?: Resources | undefined
  /** Default working directory of commands. It must exist. Default: the image's, else `/`. */
  readonly cwd?: string | undefined
  /** Path of the shell for `shell` commands. Default: `"/bin/sh"`. */
  readonly shell?: string | undefined
  /** Default user of commands, such as `"app"` or `"1000:1000"`. Default: the image's, else root. */
  readonly user?: string | undefined
  /** Host name of the guest: up to 63 letters, digits and dashes. Default: the name of the sandbox. */
  readonly hostname?: string | undefined
  /** Environment variables of all commands, in addition to the image's. Default: none. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Replaces the image's entrypoint. */
  readonly entrypoint?: ReadonlyArray<string> | undefined
  /** Replaces the image's default command. */
  readonly cmd?: ReadonlyArray<string> | undefined
  /** Scripts by name, available on the guest's `PATH`. Default: none. */
  readonly scripts?: { readonly [name: string]: string } | undefined
  /** The init system that runs as process 1; `"auto"` detects one. Default: the runtime's own process. */
  readonly init?: "auto" | Init | undefined
  /** POSIX limits by name, such as `{ nofile: 1024 }` or `{ nofile: { soft: 1024, hard: 4096 } }`. Default: the kernel's. */
  readonly rlimits?: { readonly [name: string]: number | { readonly soft: number; readonly hard: number } } | undefined
  /** `"restricted"`: processes of the guest cannot mount. Default: `"default"`. */
  readonly security?: "default" | "restricted" | undefined
  /** `"multi-tenant"`: sandboxes of other users run on this machine too. Default: `"single-tenant"`. */
  readonly deployment?: "single-tenant" | "multi-tenant" | undefined
  /** Remove the sandbox when it stops. Default: `false`. */
  readonly ephemeral?: boolean | undefined
  /**
   * How to create the root disk from the snapshot's. `"copy"` copies it. `"overlay"` stores only changes, so that
   * launching from a large snapshot takes no longer; the disk of such a sandbox cannot be resized, and capturing it
   * boots a helper. `"auto"` (default) uses an overlay if the file system cannot share blocks, unless the sandbox is
   * detached or ephemeral or the snapshot's image is no longer cached.
   */
  readonly rootDisk?: "auto" | "copy" | "overlay" | undefined
  /** Stop the sandbox after this time without commands or traffic from the host, in whole seconds. Default: never. */
  readonly idleTimeout?: Duration.Input | undefined
  /** Kill the sandbox after this time, without flushing its disk, in whole seconds. Default: never. */
  readonly maxDuration?: Duration.Input | undefined
  /** When to pull the image. Default: that of the layer, `"if-missing"`. */
  readonly pullPolicy?: "always" | "if-missing" | "never" | undefined
  /** Options for pulling the image. Default: TLS, no login. */
  readonly registry?: Registry | undefined
  /**
   * Published ports: `{ host: guest }` for TCP on 127.0.0.1, or a list with protocol and address. Host port 0 takes a
   * free port, reported in the `ports` of the sandbox. Default: none.
   */
  readonly ports?: { readonly [host: number]: number } | ReadonlyArray<PortMapping> | undefined
  /**
   * Access to the network: `"none"`, `"public"`, `"all"`, or detailed rules. Default: `"public"`, the internet only.
   */
  readonly network?: Network.NetworkInput | undefined
  /** Secrets by environment variable. The guest can use them without seeing their values. Default: none. */
  readonly secrets?: { readonly [name: string]: Network.SecretInput } | undefined
  /** Changes to the image's files before the guest boots. Not allowed with a snapshot. Default: none. */
  readonly patches?: ReadonlyArray<Patch> | undefined
  /**
   * Mounts by guest path: a folder of the host such as `"./src"`, `{ bind: "./src", readonly: true }`,
   * `{ volume: "cache" }`, `{ tmpfs: "64M" }` or `{ disk: "./data.raw" }`. Default: none.
   */
  readonly mounts?: { readonly [path: string]: Mount.MountInput } | undefined
  /**
   * Jobs to start at launch, by id, and again at each later start of the sandbox. The launch returns when all are ready,
   * and fails with `NotReady` if one is not. Default: none.
   */
  readonly services?: { readonly [name: string]: Service } | undefined
  /**
   * Whether to resume the machine of a snapshot that was built with `warm`. `true` resumes it, and boots the disk if that
   * fails; the log and a metric say so, and `resumed` of the sandbox. `"required"` fails instead. `false` boots the disk.
   * Snapshots without memory always boot. Default: `true`.
   */
  readonly resume?: boolean | "required" | undefined
  /**
   * A script for the sandbox's shell, or a program and its arguments, that runs when the sandbox has resumed, before the
   * launch returns: to forget what a copy must not share, such as connections and tokens. It has the variables
   * `LIGHTBOX_SANDBOX`, the name, and `LIGHTBOX_INSTANCE`, an id that no other copy has. If it fails, the launch fails with
   * `CommandFailed`. Default: none.
   */
  readonly onResume?: string | readonly [program: string, ...args: ReadonlyArray<Guest.Word>] | undefined
  /** Labels to find the sandbox by. Default: none. */
  readonly labels?: { readonly [key: string]: string } | undefined
  /** Log level of the virtual machine. Default: the runtime's. */
  readonly logLevel?: "trace" | "debug" | "info" | "warn" | "error" | undefined
  /** Interval between metrics samples, in whole milliseconds, or `"off"`. Default: 1 second. */
  readonly metricsInterval?: Duration.Input | "off" | undefined
}

/**
 * Launch defaults: options that a snapshot carries, and that sandboxes get when they boot from it.
 *
 * Options of a launch come first. `env`, `labels` and `services` are merged by name, and `services: {}` starts none;
 * every other option replaces the default, so `ports: {}` publishes none. With network `"none"`, default ports are not
 * published either.
 *
 * @category options
 * @since 0.1.0
 */
export type LaunchDefaults = Pick<
  Options,
  "env" | "cwd" | "user" | "shell" | "entrypoint" | "cmd" | "ports" | "services" | "onResume" | "labels"
>

const ResourcesSchema = optionsStruct<Resources>()({
  cpus: Schema.optional(intBetween(1, 255)),
  maxCpus: Schema.optional(intBetween(1, 255)),
  memory: Schema.optional(Memory),
  maxMemory: Schema.optional(Memory),
  disk: Schema.optional(Mebibytes(16))
}).check(Schema.makeFilter(checkGrowth))

const Mode = intBetween(0, 0o7777)

const PatchSchema = optionsSchema<Patch>()(
  Schema.Union([
    Schema.TaggedStruct("Write", {
      path: GuestPath,
      content: Schema.Union([Schema.String, Schema.Uint8Array]),
      mode: Schema.optional(Mode),
      replace: Schema.optional(Schema.Boolean)
    }),
    Schema.TaggedStruct("Append", { path: GuestPath, content: Schema.String }),
    Schema.TaggedStruct("CopyFile", {
      hostPath: HostPath,
      path: GuestPath,
      mode: Schema.optional(Mode),
      replace: Schema.optional(Schema.Boolean)
    }),
    Schema.TaggedStruct("CopyFolder", {
      hostPath: HostPath,
      path: GuestPath,
      replace: Schema.optional(Schema.Boolean)
    }),
    Schema.TaggedStruct("Symlink", { target: CString, path: GuestPath, replace: Schema.optional(Schema.Boolean) }),
    Schema.TaggedStruct("Mkdir", { path: GuestPath, mode: Schema.optional(Mode) }),
    Schema.TaggedStruct("Remove", { path: GuestPath })
  ])
)

const ServiceSchema = optionsStruct<Service>()({
  command: CommandLine,
  ...commandFields,
  ready: Schema.optional(Probe.Probe),
  restart: Schema.optional(Schema.Literals(["no", "on-failure", "always"])),
  dependsOn: Schema.optional(Schema.Array(Schema.String))
})

const Services = recordOf(ServiceSchema, checkService).check(
  Schema.makeFilter((services) => {
    const unknown = Object.entries(services).flatMap(([name, { dependsOn = [] }]) =>
      dependsOn.flatMap((other, index) =>
        Object.hasOwn(services, other)
          ? []
          : [{ path: [name, "dependsOn", index], issue: `there is no service "${other}"` }]
      )
    )
    if (unknown.length > 0) return unknown
    const name = circular(Object.entries(services).map(([name, { dependsOn = [] }]) => [name, dependsOn]))
    return name === undefined ? undefined : { path: [name, "dependsOn"], issue: "expected no circular dependencies" }
  })
)

const hostPortTwice = "each host port can be published only once"

const PortList = Schema.Array(
  optionsStruct<PortMapping>()({
    host: Schema.optional(HostPort),
    guest: Port,
    protocol: Schema.optional(Schema.Literals(["tcp", "udp"])),
    bind: Schema.optional(Address)
  })
).check(
  Schema.makeFilter((mappings) => {
    const ends = mappings.map(({ bind = defaultBind, host = 0, protocol = "tcp" }) => `${protocol} ${bind} ${host}`)
    const doubled = ends.findIndex((end, index) => mappings[index]?.host !== 0 && ends.indexOf(end) !== index)
    return doubled === -1 ? undefined : { path: [doubled, "host"], issue: hostPortTwice }
  })
)

const isPort = (n: unknown, least: 0 | 1): n is number =>
  typeof n === "number" && Number.isInteger(n) && n >= least && n <= 65535

const PortRecord = parsed<{ readonly [host: number]: number }, { readonly [host: number]: number }>((input) => {
  if (!Predicate.isObject(input)) return failed("expected ports as { host: guest }, or a list")
  const ports: { [host: number]: number } = {}
  for (const [key, guest] of Object.entries(input)) {
    const host = Number(key)
    const problem =
      !isPort(host, 0) || !isPort(guest, 1)
        ? `Invalid port mapping: ${key} → ${String(guest)}`
        : // "080" and "0x50" are the same port as "80".
          host in ports
          ? hostPortTwice
          : undefined
    if (problem !== undefined) return Effect.mapError(failed(problem), (issue) => new SchemaIssue.Pointer([key], issue))
    if (isPort(guest, 1)) ports[host] = guest
  }
  return Effect.succeed(ports)
})

/**
 * The schema of {@link Options}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SandboxConfig = optionsStruct<Options>()({
  name: Schema.optional(Name),
  resources: Schema.optional(ResourcesSchema),
  cwd: Schema.optional(GuestPath),
  shell: Schema.optional(GuestPath),
  user: Schema.optional(User),
  hostname: Schema.optional(
    Schema.String.check(
      Schema.makeFilter((name) =>
        /^(?=.{1,63}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$/.test(name)
          ? undefined
          : "expected 1 to 63 letters, digits and dashes; a dash cannot come first or last"
      )
    )
  ),
  env: Schema.optional(Env),
  entrypoint: Schema.optional(Schema.Array(CString)),
  cmd: Schema.optional(Schema.Array(CString)),
  scripts: Schema.optional(
    recordOf(Schema.String, (name) =>
      /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)
        ? undefined
        : "expected a script name of letters, digits, dots, dashes and underscores"
    )
  ),
  init: Schema.optional(
    Schema.Union([
      Schema.Literal("auto"),
      optionsStruct<Init>()({
        command: CString.check(
          Schema.makeFilter((command) => (command === "" ? "expected the path of an init program" : undefined))
        ),
        args: Schema.optional(Schema.Array(CString)),
        env: Schema.optional(Env)
      })
    ])
  ),
  rlimits: Schema.optional(Rlimits),
  security: Schema.optional(Schema.Literals(["default", "restricted"])),
  deployment: Schema.optional(Schema.Literals(["single-tenant", "multi-tenant"])),
  ephemeral: Schema.optional(Schema.Boolean),
  rootDisk: Schema.optional(Schema.Literals(["auto", "copy", "overlay"])),
  idleTimeout: Schema.optional(Seconds),
  maxDuration: Schema.optional(Seconds),
  pullPolicy: Schema.optional(Schema.Literals(["always", "if-missing", "never"])),
  registry: Schema.optional(
    optionsStruct<Registry>()({
      username: Schema.optional(Schema.NonEmptyString),
      password: Schema.optional(Schema.Redacted(Schema.String)),
      insecure: Schema.optional(Schema.Boolean),
      caCerts: Schema.optional(HostPath)
    }).check(
      Schema.makeFilter(({ password, username }) =>
        (username === undefined) === (password === undefined)
          ? undefined
          : {
              path: [username === undefined ? "username" : "password"],
              issue: "pass both username and password, or neither"
            }
      )
    )
  ),
  ports: Schema.optional(Schema.Union([PortList, PortRecord])),
  network: Schema.optional(Network.Network),
  secrets: Schema.optional(
    recordOf(Network.Secret, (name) =>
      /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? undefined : "expected the name of an environment variable"
    )
  ),
  patches: Schema.optional(Schema.Array(PatchSchema)),
  mounts: Schema.optional(recordOf(Mount.Mount, checkMountPath)),
  services: Schema.optional(Services),
  resume: Schema.optional(Schema.Union([Schema.Boolean, Schema.Literal("required")])),
  onResume: Schema.optional(CommandLine),
  labels: Schema.optional(Labels),
  logLevel: Schema.optional(Schema.Literals(["trace", "debug", "info", "warn", "error"])),
  metricsInterval: Schema.optional(Schema.Union([Schema.Literal("off"), Milliseconds]))
}).check(
  Schema.makeFilter((config) => {
    const paths = Object.keys(config.mounts ?? {}).map((path) => path.replace(/\/+$/, "").replace(/\/+/g, "/"))
    const doubled = paths.find((path, index) => paths.indexOf(path) !== index)
    const isOffline =
      config.network === "none" || (typeof config.network === "object" && config.network.policy === "none")
    const published = config.ports === undefined ? 0 : Object.keys(config.ports).length
    return [
      ...(doubled === undefined ? [] : [{ path: ["mounts", doubled], issue: "only one mount per path is allowed" }]),
      ...(isOffline && published > 0
        ? [{ path: ["ports"], issue: 'ports cannot be published with network "none"' }]
        : []),
      ...(isOffline && Object.keys(config.secrets ?? {}).length > 0
        ? [{ path: ["secrets"], issue: 'secrets cannot be used with network "none"' }]
        : [])
    ]
  })
)

const { cmd, cwd, entrypoint, env, onResume, ports, services, shell, user } = SandboxConfig.fields

/** The first secret of a value, as the path to it. */
const secretIn = (value: unknown): ReadonlyArray<string> | undefined => {
  if (Redacted.isRedacted(value)) return []
  if (!Predicate.isObjectOrArray(value)) return undefined
  for (const [key, inner] of Object.entries(value)) {
    const path = secretIn(inner)
    if (path !== undefined) return [key, ...path]
  }
  return undefined
}

const decodeDefaults = SchemaParser.decodeUnknownResult(
  optionsStruct<LaunchDefaults>()({
    env,
    cwd,
    user,
    shell,
    entrypoint,
    cmd,
    ports,
    services,
    onResume,
    labels: Schema.optional(recordOf(CString, checkOwnLabel))
  }).check(
    Schema.makeFilter((defaults) => {
      const path = secretIn(defaults)
      return path === undefined
        ? undefined
        : { path, issue: "expected no secret: defaults are stored in clear text; pass it at launch" }
    })
  )
)

/** Turns durations into milliseconds, which options accept, and leaves out what is undefined. */
const toJson = (value: unknown): unknown => {
  if (Duration.isDuration(value)) return Duration.toMillis(value)
  if (Array.isArray(value)) return value.map(toJson)
  if (!Predicate.isObject(value)) return value
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, inner]) => (inner === undefined ? [] : [[key, toJson(inner)]]))
  )
}

const isDefaults = (u: unknown): u is LaunchDefaults => Result.isSuccess(decodeDefaults(u))

/**
 * The schema of {@link LaunchDefaults}. Decodes to a form that is JSON, with times in milliseconds.
 *
 * @category schemas
 * @since 0.1.0
 */
export const LaunchDefaults: Schema.Codec<LaunchDefaults> = parsed<LaunchDefaults, LaunchDefaults>((input, options) =>
  Effect.flatMap(Effect.fromResult(decodeDefaults(input, options)), (checked) => {
    const plain = toJson(checked)
    return isDefaults(plain) ? Effect.succeed(plain) : failed("expected launch defaults")
  })
).annotate({
  toCodecArbitrary: () =>
    Schema.link<LaunchDefaults>()(
      Schema.Literals(["serve", "test"]),
      SchemaTransformation.transform<LaunchDefaults, "serve" | "test">({
        decode: (cmd) => ({ cmd: [cmd] }),
        encode: ({ cmd }) => (cmd?.[0] === "serve" ? "serve" : "test")
      })
    )
})

/**
 * Checked options of a sandbox: sizes in bytes, times as `Duration`s.
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxConfig = typeof SandboxConfig.Type

/**
 * The source of a sandbox's root disk: an OCI image, or a snapshot by name or path.
 *
 * @category models
 * @since 0.1.0
 */
export type Source = typeof Source.Type

/**
 * The schema of {@link Source}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Source = Schema.Union([
  Schema.TaggedStruct("Image", { reference: ImageReference }),
  Schema.TaggedStruct("Snapshot", { name: CString })
])
