/**
 * Everything that can be said about a sandbox before it is created, as checked
 * data.
 *
 * {@link Options} is what callers write. {@link SandboxConfig} is the schema
 * that checks it: sizes become MiB, durations become `Duration`s, and whatever
 * could not work is refused with the name of the field, before anything boots.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import {
  Address,
  checkGrowth,
  checkMountPath,
  CString,
  defaultBind,
  Env,
  GuestPath,
  HostPath,
  ImageReference,
  intBetween,
  Labels,
  Mebibytes,
  Milliseconds,
  Name,
  Port,
  recordOf,
  Rlimits,
  Seconds,
  User
} from "./internal/config/schemas.ts"
import * as Mount from "./Mount.ts"
import * as Network from "./Network.ts"

/**
 * Processors, memory and disk of a sandbox.
 *
 * **Details**
 *
 * Sizes are `"512M"`, `"2G"`, or a number of MiB. `maxCpus` and `maxMemory` are
 * what a running sandbox can be grown to.
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
  /** 1 to 255. Default: 1. */
  readonly cpus?: number | undefined
  /** Default: `cpus`. */
  readonly maxCpus?: number | undefined
  /** At least 64 MiB. Default: `"512M"`. */
  readonly memory?: string | number | undefined
  /** Default: `memory`. */
  readonly maxMemory?: string | number | undefined
  /** The root disk, which takes space on the host only as it fills. Default: `"4G"`. Not with a snapshot. */
  readonly disk?: string | number | undefined
}

/**
 * A port of the host that leads to a port of the guest.
 *
 * **Example** (Serving to the whole network)
 *
 * ```ts
 * import type { SandboxConfig } from "effect-lightbox"
 *
 * export const port: SandboxConfig.PortMapping = { host: 8080, guest: 80, bind: "0.0.0.0" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface PortMapping {
  readonly host: number
  readonly guest: number
  /** Default: `"tcp"`. */
  readonly protocol?: "tcp" | "udp" | undefined
  /** The address of the host to listen on. Default: `"127.0.0.1"`. */
  readonly bind?: string | undefined
}

/**
 * A change to the file system of an image, made before the guest boots. Not for
 * snapshots, whose builds have steps for it.
 *
 * **Gotchas**
 *
 * The runtime makes the folders above a path anew: they are root's then, with
 * permissions 0o755, whatever they were in the image. So after a patch of
 * `/home/app/.profile`, the user `app` can not write to `/home/app`. A file that
 * is appended to is root's as well, with permissions 0o644.
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
  | {
      readonly _tag: "Write"
      readonly path: string
      readonly content: string | Uint8Array
      readonly mode?: number | undefined
      /** Whether a file that the image has may be replaced. Default: `false`. */
      readonly replace?: boolean | undefined
    }
  | { readonly _tag: "Append"; readonly path: string; readonly content: string }
  | {
      readonly _tag: "CopyFile"
      readonly hostPath: string
      readonly path: string
      readonly mode?: number | undefined
      readonly replace?: boolean | undefined
    }
  | {
      readonly _tag: "CopyFolder"
      readonly hostPath: string
      readonly path: string
      readonly replace?: boolean | undefined
    }
  | {
      readonly _tag: "Symlink"
      readonly target: string
      readonly path: string
      readonly replace?: boolean | undefined
    }
  | { readonly _tag: "Mkdir"; readonly path: string; readonly mode?: number | undefined }
  | { readonly _tag: "Remove"; readonly path: string }

/**
 * Options of a sandbox, as callers write them, apart from what it boots from.
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
  /** Up to 128 letters, digits, dots, dashes and underscores. Default: a generated one. */
  readonly name?: string | undefined
  readonly resources?: Resources | undefined
  /** Where commands run unless told otherwise; it must exist. Default: the image's, else `/`. */
  readonly workdir?: string | undefined
  /** The shell of `shell` commands. Default: `/bin/sh`. */
  readonly shell?: string | undefined
  /** Who commands run as unless told otherwise. Default: the image's, else root. */
  readonly user?: string | undefined
  readonly hostname?: string | undefined
  readonly env?: { readonly [name: string]: string } | undefined
  /** Override the image's entrypoint. */
  readonly entrypoint?: ReadonlyArray<string> | undefined
  /** Override the image's default command. */
  readonly cmd?: ReadonlyArray<string> | undefined
  /** Scripts by name, put on the guest's `PATH`. */
  readonly scripts?: { readonly [name: string]: string } | undefined
  /** Hand process 1 to an init system: `"auto"` looks for one. Default: the runtime's own. */
  readonly init?:
    | "auto"
    | {
        readonly command: string
        readonly args?: ReadonlyArray<string> | undefined
        readonly env?: { readonly [name: string]: string } | undefined
      }
    | undefined
  /** POSIX limits by name, such as `nofile`. */
  readonly rlimits?: { readonly [name: string]: number | { readonly soft: number; readonly hard: number } } | undefined
  /** `"restricted"` takes the privilege to mount from the guest's processes. Default: `"default"`. */
  readonly security?: "default" | "restricted" | undefined
  /** Default: `"single-tenant"`. */
  readonly deployment?: "single-tenant" | "multi-tenant" | undefined
  /** Let the runtime remove the sandbox by itself once it has stopped. Default: `false`. */
  readonly ephemeral?: boolean | undefined
  /**
   * What the root disk is to that of the snapshot: a `"copy"`, or an `"overlay"`, which holds only what the sandbox
   * changes, so that a launch costs the same however much was baked in. A sandbox with an overlay can be neither
   * captured nor searched, and its disk can not be resized. `"auto"` is an overlay where the file system would copy every
   * byte, unless the sandbox is launched detached or is ephemeral, or the image of the snapshot is not in the cache any
   * more. Default: `"auto"`.
   */
  readonly rootDisk?: "auto" | "copy" | "overlay" | undefined
  /** Stop the sandbox after this long without commands or traffic from the host (whole seconds). Default: never. */
  readonly idleTimeout?: Duration.Input | undefined
  /** End the sandbox after this long, without flushing its disk (whole seconds). Default: never. */
  readonly maxDuration?: Duration.Input | undefined
  /** When to ask the registry for the image. Default: the layer's, `"if-missing"`. */
  readonly pullPolicy?: "always" | "if-missing" | "never" | undefined
  readonly registry?:
    | {
        readonly username?: string | undefined
        readonly password?: Redacted.Redacted<string> | undefined
        /** Speak HTTP without TLS. Default: `false`. */
        readonly insecure?: boolean | undefined
        /** Path of certificate authorities (PEM) on the host. */
        readonly caCerts?: string | undefined
      }
    | undefined
  /** TCP ports as `{ host: guest }`, or a list with more detail. */
  readonly ports?: { readonly [host: number]: number } | ReadonlyArray<PortMapping> | undefined
  readonly network?: Network.Input | undefined
  /** By the name of the environment variable that holds the placeholder. */
  readonly secrets?: { readonly [name: string]: typeof Network.Secret.Encoded } | undefined
  readonly patches?: ReadonlyArray<Patch> | undefined
  /** By guest path. */
  readonly mounts?: { readonly [path: string]: Mount.Input } | undefined
  readonly labels?: { readonly [key: string]: string } | undefined
  /** How much the virtual machine itself logs. Default: the runtime's. */
  readonly logLevel?: "trace" | "debug" | "info" | "warn" | "error" | undefined
  /** How often metrics are sampled (whole milliseconds); `"off"` for never. Default: 1 second. */
  readonly metricsInterval?: Duration.Input | "off" | undefined
}

const ResourcesSchema = Schema.Struct({
  cpus: Schema.optional(intBetween(1, 255)),
  maxCpus: Schema.optional(intBetween(1, 255)),
  memory: Schema.optional(Mebibytes(64)),
  maxMemory: Schema.optional(Mebibytes(64)),
  disk: Schema.optional(Mebibytes(16))
}).check(Schema.makeFilter(checkGrowth))

const Mode = intBetween(0, 0o7777)

const PatchSchema = Schema.Union([
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

const hostPortTwice = "each host port can be published only once"

const PortList = Schema.Array(
  Schema.Struct({
    host: Port,
    guest: Port,
    protocol: Schema.optional(Schema.Literals(["tcp", "udp"])),
    bind: Schema.optional(Address)
  })
).check(
  Schema.makeFilter((mappings) => {
    const ends = mappings.map(({ bind = defaultBind, host, protocol = "tcp" }) => `${protocol} ${bind} ${host}`)
    const doubled = ends.findIndex((end, index) => ends.indexOf(end) !== index)
    return doubled === -1 ? undefined : { path: [doubled, "host"], issue: hostPortTwice }
  })
)

const isPort = (n: number) => Number.isInteger(n) && n >= 1 && n <= 65535

const PortRecord = Schema.Record(Schema.String, Schema.Unknown).check(
  Schema.makeFilter((record: { readonly [host: string]: unknown }) => {
    // "080" and "0x50" are the same port as "80".
    const hosts = Object.keys(record).map(Number)
    return Object.entries(record).flatMap(([host, guest], index) =>
      !isPort(Number(host)) || typeof guest !== "number" || !isPort(guest)
        ? [{ path: [host], issue: `Invalid port mapping: ${Number(host)} → ${String(guest)}` }]
        : hosts.indexOf(Number(host)) !== index
          ? [{ path: [host], issue: hostPortTwice }]
          : []
    )
  })
)

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
export const SandboxConfig = Schema.Struct({
  name: Schema.optional(Name),
  resources: Schema.optional(ResourcesSchema),
  workdir: Schema.optional(GuestPath),
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
      Schema.Struct({
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
    Schema.Struct({
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
  mounts: Schema.optional(recordOf(Schema.Union([HostPath, Mount.Mount]), checkMountPath)),
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

/**
 * Checked options of a sandbox: sizes in MiB, durations as `Duration`s.
 *
 * **Example** (Reading a checked value)
 *
 * ```ts
 * import type { SandboxConfig } from "effect-lightbox"
 *
 * export const memoryMiB = (config: SandboxConfig.SandboxConfig): number => config.resources?.memory ?? 512
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxConfig = typeof SandboxConfig.Type

/**
 * What a sandbox boots from: an OCI image, or a snapshot by name or path.
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
