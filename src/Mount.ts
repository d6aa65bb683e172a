/**
 * Mounts: folders of the host, named volumes, memory and disk images, by guest
 * path.
 *
 * Mounts are plain data in the `mounts` of a sandbox. A string is a folder of the
 * host: `"./src"` is short for `{ bind: "./src" }`.
 *
 * **Example** (Mounting a project, a shared cache and scratch memory)
 *
 * ```ts
 * import { Sandbox } from "effect-lightbox"
 *
 * export const sandbox = Sandbox.launch({
 *   snapshot: "node-ci",
 *   mounts: {
 *     "/work": "./my-project",
 *     "/root/.npm": { volume: "npm-cache" },
 *     "/secrets": { bind: "./secrets", readonly: true },
 *     "/scratch": { tmpfs: "256M" }
 *   }
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import { failed, HostPath, intBetween, Mebibytes, Name, optionsSchema, parsed } from "./internal/config/schemas.ts"
import type { Size } from "./SandboxConfig.ts"

/**
 * Options of every kind of mount.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Reject writes from the guest. Default: `false`. */
  readonly readonly?: boolean | undefined
  /** Prevent programs from running from the mount. Default: `false`. */
  readonly noexec?: boolean | undefined
  /** Ignore set-user-id and set-group-id bits. Default: `false`. */
  readonly nosuid?: boolean | undefined
  /** Ignore device files. Default: `false`. */
  readonly nodev?: boolean | undefined
}

/**
 * Options of {@link Bind} and {@link Volume} mounts.
 *
 * @category options
 * @since 0.1.0
 */
export interface FolderOptions extends Options {
  /** Owner that the guest sees for files without a recorded guest owner. Default: root. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined
  /** How owners and modes set by the guest are recorded. Default: `"strict"`, in extended attributes. */
  readonly statVirtualization?: "strict" | "relaxed" | "off" | undefined
  /** `"mirror"`: modes set by the guest also apply to the host's files. `"private"` (default): they do not. */
  readonly hostPermissions?: "private" | "mirror" | undefined
}

/**
 * Mounts a folder or file of the host. Changes by the guest are visible on the
 * host.
 *
 * @category options
 * @since 0.1.0
 */
export interface Bind extends FolderOptions {
  /** A path on the host, resolved against the current directory at launch. It must exist then. */
  readonly bind: string
  /** How much the guest may add to the folder, such as `"1G"`. Default: a protective limit of the runtime. */
  readonly quota?: Size | undefined
}

/**
 * Mounts a named volume, which outlives the sandbox and can be shared.
 *
 * @category options
 * @since 0.1.0
 */
export interface Volume extends FolderOptions {
  readonly volume: string
  /** Create the volume, without quota and labels, if it does not exist. Default: `true`. */
  readonly create?: boolean | undefined
}

/**
 * Mounts guest memory. It is empty at boot; the content is lost when the sandbox
 * stops.
 *
 * @category options
 * @since 0.1.0
 */
export interface Tmpfs extends Options {
  /** Capacity, such as `"64M"`. `true`: half of the guest's memory. */
  readonly tmpfs: Size | true
}

/**
 * Mounts the file system of a disk image. Only one sandbox at a time can write to
 * it.
 *
 * @category options
 * @since 0.1.0
 */
export interface Disk extends Options {
  /** Path of the image on the host. */
  readonly disk: string
  /** Format of the image. Default: from the file's extension, else `"raw"`. */
  readonly format?: "raw" | "qcow2" | "vmdk" | undefined
  /** File system, such as `"ext4"`. Default: the guest tries those it supports. */
  readonly fstype?: string | undefined
}

/**
 * A mount, as passed in options: a path on the host, or one of the objects.
 *
 * @category options
 * @since 0.1.0
 */
export type MountInput = string | Bind | Volume | Tmpfs | Disk

const optionFields = {
  readonly: Schema.optional(Schema.Boolean),
  noexec: Schema.optional(Schema.Boolean),
  nosuid: Schema.optional(Schema.Boolean),
  nodev: Schema.optional(Schema.Boolean)
}

const Id = intBetween(0, 0xffff_fffe)

const folderFields = {
  ...optionFields,
  owner: Schema.optional(Schema.Struct({ uid: Id, gid: Id })),
  statVirtualization: Schema.optional(Schema.Literals(["strict", "relaxed", "off"])),
  hostPermissions: Schema.optional(Schema.Literals(["private", "mirror"]))
}

const members = {
  bind: optionsSchema<Bind>()(Schema.Struct({ bind: HostPath, quota: Schema.optional(Mebibytes(1)), ...folderFields })),
  volume: optionsSchema<Volume>()(
    Schema.Struct({ volume: Name, create: Schema.optional(Schema.Boolean), ...folderFields })
  ),
  tmpfs: optionsSchema<Tmpfs>()(
    Schema.Struct({ tmpfs: Schema.Union([Schema.Literal(true), Mebibytes(1, "memory")]), ...optionFields })
  ),
  disk: optionsSchema<Disk>()(
    Schema.Struct({
      disk: HostPath,
      format: Schema.optional(Schema.Literals(["raw", "qcow2", "vmdk"])),
      fstype: Schema.optional(Schema.NonEmptyString),
      ...optionFields
    })
  )
}

const decoders = [
  ["bind", SchemaParser.decodeUnknownEffect(members.bind)],
  ["volume", SchemaParser.decodeUnknownEffect(members.volume)],
  ["tmpfs", SchemaParser.decodeUnknownEffect(members.tmpfs)],
  ["disk", SchemaParser.decodeUnknownEffect(members.disk)]
] as const

/**
 * A checked mount. Strings are converted to {@link Bind}, and sizes to bytes.
 *
 * @category models
 * @since 0.1.0
 */
export type Mount = {
  [K in keyof typeof members]: (typeof members)[K]["Type"]
}[keyof typeof members]

/**
 * The schema of mounts, from {@link MountInput}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Mount: Schema.Codec<Mount, MountInput> = parsed<Mount, MountInput>(
  (input, options): Effect.Effect<Mount, SchemaIssue.Issue> => {
    if (typeof input === "string") {
      return Effect.map(SchemaParser.decodeEffect(HostPath)(input, options), (bind) => ({ bind }))
    }
    for (const [kind, decode] of decoders) if (Predicate.hasProperty(input, kind)) return decode(input, options)
    return failed(
      "expected a folder of the host, or one of { bind: path }, { volume: name }, { tmpfs: size } and { disk: path }"
    )
  }
)
