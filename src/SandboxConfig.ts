/**
 * The options of a sandbox before it is created, and their schema.
 *
 * {@link Options} is what callers write. {@link SandboxConfig} checks it: sizes
 * become bytes, durations become `Duration`s, and whatever could not work is
 * refused with the name of the field, before anything boots.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import * as SchemaTransformation from "effect/SchemaTransformation"
import {
  Address,
  Bytes,
  checkGrowth,
  checkMountPath,
  CString,
  defaultBind,
  Env,
  failed,
  GuestPath,
  HostPath,
  ImageReference,
  intBetween,
  Labels,
  Mebibytes,
  Memory,
  Milliseconds,
  Name,
  optionsSchema,
  parsed,
  Port,
  recordOf,
  Rlimits,
  Seconds,
  User
} from "./internal/config/schemas.ts"
import * as Mount from "./Mount.ts"
import * as Network from "./Network.ts"

type WholeNumber = "0" | (`${bigint}` & `${"1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"}${string}`)

/**
 * A size in options: a whole number with the unit `K`, `M` or `G`, also written
 * `KiB`, `MiB` and `GiB`, or a number of bytes.
 *
 * **Details**
 *
 * `"1K"` is 1,024 bytes. `"1GB"` is refused, because some read it as a billion
 * bytes. So are fractions: write `"1536M"`, not `"1.5G"`. Results give sizes as
 * a number of bytes, which options take as it is.
 *
 * **Example** (The same size, five times)
 *
 * ```ts
 * import type { SandboxConfig } from "effect-lightbox"
 *
 * export const sizes: ReadonlyArray<SandboxConfig.Size> = ["4G", "4 GiB", "4096M", "4194304K", 4_294_967_296]
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export type Size = number | `${WholeNumber}${"" | " "}${"K" | "KiB" | "M" | "MiB" | "G" | "GiB" | "k" | "m" | "g"}`

/**
 * The schema of {@link Size}, which reads it from text or a number. It decodes to
 * a number of bytes.
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
 * **Example** (A machine with room to grow)
 *
 * ```ts
 * import type { SandboxConfig } from "effect-lightbox"
 *
 * export const resources: SandboxConfig.Resources = { cpus: 2, memory: "1G", maxMemory: "4G", disk: "16G" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface Resources {
  /** Processors, 1 to 255. Default: 1. */
  readonly cpus?: number | undefined
  /** Processors that the running sandbox can be grown to. Default: `cpus`. */
  readonly maxCpus?: number | undefined
  /** Memory in whole MiB, at least `"64M"`. Default: `"512M"`. */
  readonly memory?: Size | undefined
  /** Memory that the running sandbox can be grown to. Default: `memory`. */
  readonly maxMemory?: Size | undefined
  /** The root disk, which takes space on the host only as it fills. Not with a snapshot. Default: `"4G"`. */
  readonly disk?: Size | undefined
}

/**
 * Publishes a port of the guest on a port of the host.
 *
 * **Example** (Two free ports of the host, one open to the whole network)
 *
 * ```ts
 * import type { SandboxConfig } from "effect-lightbox"
 *
 * export const ports: ReadonlyArray<SandboxConfig.PortMapping> = [{ guest: 80 }, { guest: 443, bind: "0.0.0.0" }]
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface PortMapping {
  /** The port of the host. Default: 0, a free port, which the `ports` of the sandbox name. */
  readonly host?: number | undefined
  /** The port of the guest. */
  readonly guest: number
  /** Default: `"tcp"`. */
  readonly protocol?: "tcp" | "udp" | undefined
  /** The address of the host to listen on. Default: `"127.0.0.1"`. */
  readonly bind?: string | undefined
}

interface PatchOptions {
  /** Permissions, such as `0o755`. Default: 0o644 for files, 0o755 for folders. */
  readonly mode?: number | undefined
  /** Replace a file of the image. Default: `false`. */
  readonly replace?: boolean | undefined
}

/**
 * A change to the file system of an image, made before the guest boots. Not with
 * a snapshot, whose build has steps for it.
 *
 * **Gotchas**
 *
 * The runtime creates the folders above a path anew: they belong to root, with
 * permissions 0o755, whatever they were in the image. After a patch of
 * `/home/app/.profile`, the user `app` cannot write to `/home/app`. A file that
 * is appended to belongs to root as well, with permissions 0o644.
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
export type Patch =
  | ({ readonly _tag: "Write"; readonly path: string; readonly content: string | Uint8Array } & PatchOptions)
  | { readonly _tag: "Append"; readonly path: string; readonly content: string }
  | ({ readonly _tag: "CopyFile"; readonly hostPath: string; readonly path: string } & PatchOptions)
  | ({ readonly _tag: "CopyFolder"; readonly hostPath: string; readonly path: string } & Pick<PatchOptions, "replace">)
  | ({ readonly _tag: "Symlink"; readonly target: string; readonly path: string } & Pick<PatchOptions, "replace">)
  | ({ readonly _tag: "Mkdir"; readonly path: string } & Pick<PatchOptions, "mode">)
  | { readonly _tag: "Remove"; readonly path: string }

/**
 * An init system that becomes process 1 of the guest.
 *
 * @category options
 * @since 0.1.0
 */
export interface Init {
  /** The path of the program in the guest. */
  readonly command: string
  /** Its arguments. Default: none. */
  readonly args?: ReadonlyArray<string> | undefined
  /** Its environment variables. Default: none. */
  readonly env?: { readonly [name: string]: string } | undefined
}

/**
 * How to reach the registry of an image.
 *
 * @category options
 * @since 0.1.0
 */
export interface Registry {
  /** The user to log in as, together with `password`. Default: no login. */
  readonly username?: string | undefined
  /** The password or token, together with `username`. */
  readonly password?: Redacted.Redacted<string> | undefined
  /** Use HTTP without TLS. Default: `false`. */
  readonly insecure?: boolean | undefined
  /** A file of certificate authorities (PEM) on the host. Default: those of the system. */
  readonly caCerts?: string | undefined
}

/**
 * Options of a sandbox, apart from what it boots from.
 *
 * **Example** (A web server)
 *
 * ```ts
 * import { Sandbox, type SandboxConfig } from "effect-lightbox"
 *
 * export const options: SandboxConfig.Options = {
 *   name: "web",
 *   resources: { cpus: 2, memory: "1G" },
 *   ports: { 8080: 80 },
 *   env: { NODE_ENV: "production" },
 *   labels: { team: "platform" }
 * }
 *
 * export const sandbox = Sandbox.launch({ snapshot: "web", ...options })
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Up to 128 letters, digits, dots, dashes and underscores. Default: a generated name. */
  readonly name?: string | undefined
  /** Processors, memory and disk. Default: 1 processor, `"512M"` of memory. */
  readonly resources?: Resources | undefined
  /** Where commands run unless they say otherwise. It must exist. Default: the image's, else `/`. */
  readonly cwd?: string | undefined
  /** The path of the shell that runs `shell` commands. Default: `"/bin/sh"`. */
  readonly shell?: string | undefined
  /** The user that commands run as unless they say otherwise, such as `"app"` or `"1000:1000"`. Default: the image's, else root. */
  readonly user?: string | undefined
  /** The guest's host name, of up to 63 letters, digits and dashes. Default: the name of the sandbox. */
  readonly hostname?: string | undefined
  /** Environment variables of all commands, added to those of the image. Default: none. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Replaces the image's entrypoint. */
  readonly entrypoint?: ReadonlyArray<string> | undefined
  /** Replaces the image's default command. */
  readonly cmd?: ReadonlyArray<string> | undefined
  /** Scripts by name, put on the guest's `PATH`. Default: none. */
  readonly scripts?: { readonly [name: string]: string } | undefined
  /** An init system for process 1; `"auto"` looks for one. Default: the runtime's own process. */
  readonly init?: "auto" | Init | undefined
  /** POSIX limits by name, such as `{ nofile: 1024 }` or `{ nofile: { soft: 1024, hard: 4096 } }`. Default: the kernel's. */
  readonly rlimits?: { readonly [name: string]: number | { readonly soft: number; readonly hard: number } } | undefined
  /** `"restricted"` denies the guest's processes the privilege to mount. Default: `"default"`. */
  readonly security?: "default" | "restricted" | undefined
  /** Whether sandboxes of others run on this machine. Default: `"single-tenant"`. */
  readonly deployment?: "single-tenant" | "multi-tenant" | undefined
  /** Let the runtime remove the sandbox once it has stopped. Default: `false`. */
  readonly ephemeral?: boolean | undefined
  /**
   * How the root disk is made from the snapshot's. `"copy"` copies it. `"overlay"` stores only what the sandbox changes,
   * so that a launch costs the same however much was baked in; such a sandbox cannot be captured or searched, and its
   * disk cannot be resized. `"auto"` is an overlay where a copy would copy every byte, unless the sandbox is detached or
   * ephemeral, or the image of the snapshot is no longer cached. Default: `"auto"`.
   */
  readonly rootDisk?: "auto" | "copy" | "overlay" | undefined
  /** Stop the sandbox after this time without commands or traffic from the host, in whole seconds. Default: never. */
  readonly idleTimeout?: Duration.Input | undefined
  /** End the sandbox after this time, without flushing its disk, in whole seconds. Default: never. */
  readonly maxDuration?: Duration.Input | undefined
  /** When to pull the image: `"always"`, `"if-missing"` or `"never"`. Default: the layer's, `"if-missing"`. */
  readonly pullPolicy?: "always" | "if-missing" | "never" | undefined
  /** How to reach the registry of the image. Default: with TLS and without login. */
  readonly registry?: Registry | undefined
  /**
   * Ports of the host that lead to ports of the guest: `{ host: guest }` for TCP on 127.0.0.1, or a list with protocol
   * and address. Host port 0 takes a free port, which the `ports` of the sandbox name. Default: none.
   */
  readonly ports?: { readonly [host: number]: number } | ReadonlyArray<PortMapping> | undefined
  /** What the guest can reach: `"none"`, `"public"`, `"all"`, or rules in detail. Default: `"public"`, the internet alone. */
  readonly network?: Network.NetworkInput | undefined
  /** Values that the guest can send to some hosts without seeing them, by environment variable. Default: none. */
  readonly secrets?: { readonly [name: string]: Network.SecretInput } | undefined
  /** Changes to the image's files before the guest boots. Not with a snapshot. Default: none. */
  readonly patches?: ReadonlyArray<Patch> | undefined
  /**
   * Mounts by guest path: a folder of the host such as `"./src"`, `{ bind: "./src", readonly: true }`,
   * `{ volume: "cache" }`, `{ tmpfs: "64M" }` or `{ disk: "./data.raw" }`. Default: none.
   */
  readonly mounts?: { readonly [path: string]: Mount.MountInput } | undefined
  /** Labels to find the sandbox by. Default: none. */
  readonly labels?: { readonly [key: string]: string } | undefined
  /** How much the virtual machine logs: `"trace"`, `"debug"`, `"info"`, `"warn"` or `"error"`. Default: the runtime's. */
  readonly logLevel?: "trace" | "debug" | "info" | "warn" | "error" | undefined
  /** How often metrics are sampled, in whole milliseconds, or `"off"`. Default: 1 second. */
  readonly metricsInterval?: Duration.Input | "off" | undefined
}

const ResourcesSchema = optionsSchema<Resources>()(
  Schema.Struct({
    cpus: Schema.optional(intBetween(1, 255)),
    maxCpus: Schema.optional(intBetween(1, 255)),
    memory: Schema.optional(Memory),
    maxMemory: Schema.optional(Memory),
    disk: Schema.optional(Mebibytes(16))
  })
).check(Schema.makeFilter(checkGrowth))

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

const hostPortTwice = "each host port can be published only once"

const HostPort = intBetween(0, 65535)

const PortList = Schema.Array(
  optionsSchema<PortMapping>()(
    Schema.Struct({
      host: Schema.optional(HostPort),
      guest: Port,
      protocol: Schema.optional(Schema.Literals(["tcp", "udp"])),
      bind: Schema.optional(Address)
    })
  )
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
        ? `Invalid port mapping: ${host} → ${String(guest)}`
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
 * **Example** (Checking options without launching anything)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { SandboxConfig } from "effect-lightbox"
 *
 * export const check = Schema.decodeUnknownEffect(SandboxConfig.SandboxConfig)
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const SandboxConfig = optionsSchema<Options>()(
  Schema.Struct({
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
        optionsSchema<Init>()(
          Schema.Struct({
            command: CString.check(
              Schema.makeFilter((command) => (command === "" ? "expected the path of an init program" : undefined))
            ),
            args: Schema.optional(Schema.Array(CString)),
            env: Schema.optional(Env)
          })
        )
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
      optionsSchema<Registry>()(
        Schema.Struct({
          username: Schema.optional(Schema.NonEmptyString),
          password: Schema.optional(Schema.Redacted(Schema.String)),
          insecure: Schema.optional(Schema.Boolean),
          caCerts: Schema.optional(HostPath)
        })
      ).check(
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
    labels: Schema.optional(Labels),
    logLevel: Schema.optional(Schema.Literals(["trace", "debug", "info", "warn", "error"])),
    metricsInterval: Schema.optional(Schema.Union([Schema.Literal("off"), Milliseconds]))
  })
).check(
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

/**
 * Checked options of a sandbox: sizes in bytes, durations as `Duration`s.
 *
 * **Example** (Reading a checked value)
 *
 * ```ts
 * import type { SandboxConfig } from "effect-lightbox"
 *
 * export const memory = (config: SandboxConfig.SandboxConfig): number | undefined => config.resources?.memory
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxConfig = typeof SandboxConfig.Type

/**
 * The root of a sandbox: an OCI image, or a snapshot by name or path.
 *
 * **Example** (An image)
 *
 * ```ts
 * import type { SandboxConfig } from "effect-lightbox"
 *
 * export const source: SandboxConfig.Source = { _tag: "Image", reference: "alpine:3" }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Source = typeof Source.Type

/**
 * The schema of {@link Source}.
 *
 * **Example** (Checking a reference)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { SandboxConfig } from "effect-lightbox"
 *
 * export const check = Schema.decodeUnknownEffect(SandboxConfig.Source)
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const Source = Schema.Union([
  Schema.TaggedStruct("Image", { reference: ImageReference }),
  Schema.TaggedStruct("Snapshot", { name: CString })
])
