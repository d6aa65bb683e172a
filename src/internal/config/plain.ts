/**
 * Public types that name nothing of Effect, so that the Promise API's declarations can use them.
 */
import type { SignalName } from "./signals.ts"

type WholeNumber = "0" | (`${bigint}` & `${"1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"}${string}`)

export type Size = number | `${WholeNumber}${"" | " "}${"K" | "KiB" | "M" | "MiB" | "G" | "GiB" | "k" | "m" | "g"}`

export interface PortMapping {
  /** Port on the host. Default: 0, a free port, reported in the `ports` of the sandbox. */
  readonly host?: number | undefined
  /** Port in the guest. */
  readonly guest: number
  /** Default: `"tcp"`. */
  readonly protocol?: "tcp" | "udp" | undefined
  /** Address on the host to listen on. Default: `"127.0.0.1"`. */
  readonly bind?: string | undefined
}

export interface MountOptions {
  /** Reject writes from the guest. Default: `false`. */
  readonly readonly?: boolean | undefined
  /** Prevent programs from running from the mount. Default: `false`. */
  readonly noexec?: boolean | undefined
  /** Ignore set-user-id and set-group-id bits. Default: `false`. */
  readonly nosuid?: boolean | undefined
  /** Ignore device files. Default: `false`. */
  readonly nodev?: boolean | undefined
}

export interface FolderMountOptions extends MountOptions {
  /** Owner that the guest sees for files without a recorded guest owner. Default: root. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined
  /** How owners and modes set by the guest are recorded. Default: `"strict"`, in extended attributes. */
  readonly statVirtualization?: "strict" | "relaxed" | "off" | undefined
  /** `"mirror"`: modes set by the guest also apply to the host's files. `"private"` (default): they do not. */
  readonly hostPermissions?: "private" | "mirror" | undefined
}

export interface BindMount extends FolderMountOptions {
  /** A path on the host, resolved against the current directory at launch. It must exist then. */
  readonly bind: string
  /** How much the guest may add to the folder, such as `"1G"`. Default: a protective limit of the runtime. */
  readonly quota?: Size | undefined
}

export interface VolumeMount extends FolderMountOptions {
  readonly volume: string
  /** Create the volume, without quota and labels, if it does not exist. Default: `true`. */
  readonly create?: boolean | undefined
}

export interface TmpfsMount extends MountOptions {
  /** Capacity, such as `"64M"`. `true`: half of the guest's memory. */
  readonly tmpfs: Size | true
}

export interface DiskMount extends MountOptions {
  /** Path of the image on the host. */
  readonly disk: string
  /** Format of the image. Default: from the file's extension, else `"raw"`. */
  readonly format?: "raw" | "qcow2" | "vmdk" | undefined
  /** File system, such as `"ext4"`. Default: the guest tries those it supports. */
  readonly fstype?: string | undefined
}

export type MountInput = string | BindMount | VolumeMount | TmpfsMount | DiskMount

export interface PublishedPort {
  /** Port on the host. */
  readonly host: number
  /** Port in the guest. */
  readonly guest: number
  readonly protocol: "tcp" | "udp"
  /** Address on the host. */
  readonly bind: string
}

export type Signal = SignalName | number
