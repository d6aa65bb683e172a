/**
 * What a sandbox sees at a path of its own that is not part of its snapshot: a
 * folder of the host, a named volume, memory, or a disk image.
 *
 * Mounts are plain data, given by guest path in the `mounts` of a sandbox. A
 * string stands for {@link bind} with its defaults.
 *
 * **Example** (Mounting a project, a shared cache and scratch memory)
 *
 * ```ts
 * import { Mount, Sandbox } from "effect-lightbox"
 *
 * export const sandbox = Sandbox.launch({
 *   snapshot: "node-ci",
 *   mounts: {
 *     "/work": "./my-project",
 *     "/root/.npm": Mount.volume("npm-cache"),
 *     "/secrets": Mount.bind("./secrets", { readonly: true }),
 *     "/scratch": Mount.tmpfs({ size: "256M" })
 *   }
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { HostPath, Mebibytes, Name, intBetween } from "./internal/config/schemas.ts"

/**
 * Options that every kind of mount takes.
 *
 * **Example** (Refusing writes and programs)
 *
 * ```ts
 * import type { Mount } from "effect-lightbox"
 *
 * export const options: Mount.Options = { readonly: true, noexec: true }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Refuse writes from the guest. Default: `false`. */
  readonly readonly?: boolean | undefined
  /** Refuse to run programs from the mount. Default: `false`. */
  readonly noexec?: boolean | undefined
  /** Ignore set-user-id and set-group-id bits. Default: `false`. */
  readonly nosuid?: boolean | undefined
  /** Ignore device files. Default: `false`. */
  readonly nodev?: boolean | undefined
}

/**
 * Options of mounts that show a folder: {@link bind} and {@link volume}.
 *
 * **Example** (Showing host files as the guest's user)
 *
 * ```ts
 * import type { Mount } from "effect-lightbox"
 *
 * export const options: Mount.FolderOptions = { owner: { uid: 1000, gid: 1000 } }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface FolderOptions extends Options {
  /** The owner that the guest sees on files that the host knows no guest owner for. Default: root. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined
  /** How owners and modes that the guest sets are kept. Default: `"strict"`, in extended attributes. */
  readonly statVirtualization?: "strict" | "relaxed" | "off" | undefined
  /** Whether modes that the guest sets show on the host's files. Default: `"private"`, they do not. */
  readonly hostPermissions?: "private" | "mirror" | undefined
}

/**
 * Options of {@link bind}.
 *
 * **Example** (Bounding what the guest may write)
 *
 * ```ts
 * import type { Mount } from "effect-lightbox"
 *
 * export const options: Mount.BindOptions = { quota: "1G" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface BindOptions extends FolderOptions {
  /** How much the guest may add to the folder: `"1G"`, or MiB. Default: the runtime's protective limit. */
  readonly quota?: string | number | undefined
}

/**
 * Options of {@link volume}.
 *
 * **Example** (Refusing to create the volume)
 *
 * ```ts
 * import type { Mount } from "effect-lightbox"
 *
 * export const options: Mount.VolumeOptions = { create: false }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface VolumeOptions extends FolderOptions {
  /** Whether a volume that does not exist is created (without quota and labels). Default: `true`. */
  readonly create?: boolean | undefined
}

/**
 * Options of {@link tmpfs}.
 *
 * **Example** (Bounding memory)
 *
 * ```ts
 * import type { Mount } from "effect-lightbox"
 *
 * export const options: Mount.TmpfsOptions = { size: "64M" }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface TmpfsOptions extends Options {
  /** How much it can hold: `"64M"`, or MiB. Default: the guest kernel's, half of its memory. */
  readonly size?: string | number | undefined
}

/**
 * Options of {@link disk}.
 *
 * **Example** (Naming the format)
 *
 * ```ts
 * import type { Mount } from "effect-lightbox"
 *
 * export const options: Mount.DiskOptions = { format: "raw", fstype: "ext4", readonly: true }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface DiskOptions extends Options {
  /** The image's format. Default: from the file's extension, else `"raw"`. */
  readonly format?: "raw" | "qcow2" | "vmdk" | undefined
  /** The file system in it. Default: the guest tries those it knows. */
  readonly fstype?: string | undefined
}

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

const Bind = Schema.TaggedStruct("Bind", {
  hostPath: HostPath,
  quota: Schema.optional(Mebibytes(1)),
  ...folderFields
})

const Volume = Schema.TaggedStruct("Volume", {
  name: Name,
  create: Schema.optional(Schema.Boolean),
  ...folderFields
})

const Tmpfs = Schema.TaggedStruct("Tmpfs", { size: Schema.optional(Mebibytes(1)), ...optionFields })

const Disk = Schema.TaggedStruct("Disk", {
  hostPath: HostPath,
  format: Schema.optional(Schema.Literals(["raw", "qcow2", "vmdk"])),
  fstype: Schema.optional(Schema.NonEmptyString),
  ...optionFields
})

/**
 * The schema of mounts. Sizes decode to MiB.
 *
 * **Example** (Reading mounts from a file)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Mount } from "effect-lightbox"
 *
 * export const decode = Schema.decodeUnknownEffect(Schema.Record(Schema.String, Mount.Mount))
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const Mount = Schema.Union([Bind, Volume, Tmpfs, Disk])

/**
 * A checked mount, sizes in MiB.
 *
 * **Example** (Telling mounts apart)
 *
 * ```ts
 * import type { Mount } from "effect-lightbox"
 *
 * export const keepsData = (mount: Mount.Mount): boolean => mount._tag !== "Tmpfs"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Mount = typeof Mount.Type

/**
 * A mount as callers write it; a string is a folder of the host.
 *
 * **Example** (Accepting a mount)
 *
 * ```ts
 * import { Sandbox, type Mount } from "effect-lightbox"
 *
 * export const launch = (work: Mount.Input) => Sandbox.launch({ snapshot: "node-ci", mounts: { "/work": work } })
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Input = string | typeof Mount.Encoded

/**
 * A folder of the host, shared with the guest: what the guest writes appears on
 * the host. A relative path is resolved against the current directory when the
 * sandbox is launched, and must exist then.
 *
 * **Example** (Sharing a folder read-only)
 *
 * ```ts
 * import { Mount } from "effect-lightbox"
 *
 * export const source = Mount.bind("./src", { readonly: true })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const bind = (hostPath: string, options?: BindOptions): typeof Mount.Encoded => ({
  _tag: "Bind",
  hostPath,
  ...options
})

/**
 * A named volume: it outlives the sandbox, and any number of sandboxes can share
 * it. It is created if it does not exist, unless `create` is `false`.
 *
 * **Example** (Sharing a cache)
 *
 * ```ts
 * import { Mount } from "effect-lightbox"
 *
 * export const cache = Mount.volume("npm-cache")
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const volume = (name: string, options?: VolumeOptions): typeof Mount.Encoded => ({
  _tag: "Volume",
  name,
  ...options
})

/**
 * Memory of the guest: empty at boot, gone when the sandbox stops.
 *
 * **Example** (Scratch space)
 *
 * ```ts
 * import { Mount } from "effect-lightbox"
 *
 * export const scratch = Mount.tmpfs({ size: "128M" })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const tmpfs = (options?: TmpfsOptions): typeof Mount.Encoded => ({ _tag: "Tmpfs", ...options })

/**
 * A disk image file of the host, as a block device with a file system on it.
 * Only one sandbox can write to it at a time.
 *
 * **Example** (Mounting a data set)
 *
 * ```ts
 * import { Mount } from "effect-lightbox"
 *
 * export const data = Mount.disk("./data.raw", { fstype: "ext4", readonly: true })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const disk = (hostPath: string, options?: DiskOptions): typeof Mount.Encoded => ({
  _tag: "Disk",
  hostPath,
  ...options
})
