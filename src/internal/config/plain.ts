/**
 * Public types that name nothing of Effect, so that the Promise API's declarations can use them.
 */

type WholeNumber = "0" | (`${bigint}` & `${"1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"}${string}`)

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
export type Size = number | `${WholeNumber}${"" | " "}${"K" | "KiB" | "M" | "MiB" | "G" | "GiB" | "k" | "m" | "g"}`

/**
 * Publishes a port of the guest on a port of the host.
 *
 * @category options
 * @since 0.1.0
 */
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

/**
 * Options of every kind of mount.
 *
 * @category options
 * @since 0.1.0
 */
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

/**
 * Options of bind and volume mounts.
 *
 * @category options
 * @since 0.1.0
 */
export interface FolderMountOptions extends MountOptions {
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
export interface BindMount extends FolderMountOptions {
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
export interface VolumeMount extends FolderMountOptions {
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
export interface TmpfsMount extends MountOptions {
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
export interface DiskMount extends MountOptions {
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
export type MountInput = string | BindMount | VolumeMount | TmpfsMount | DiskMount

/**
 * A port of the guest that is published on a port of the host.
 *
 * @category models
 * @since 0.1.0
 */
export interface PublishedPort {
  /** Port on the host. */
  readonly host: number
  /** Port in the guest. */
  readonly guest: number
  readonly protocol: "tcp" | "udp"
  /** Address on the host. */
  readonly bind: string
}

/**
 * A signal of the guest's kernel, by name or number.
 *
 * @category models
 * @since 0.1.0
 */
export type Signal =
  | "SIGHUP"
  | "SIGINT"
  | "SIGQUIT"
  | "SIGILL"
  | "SIGTRAP"
  | "SIGABRT"
  | "SIGBUS"
  | "SIGFPE"
  | "SIGKILL"
  | "SIGUSR1"
  | "SIGSEGV"
  | "SIGUSR2"
  | "SIGPIPE"
  | "SIGALRM"
  | "SIGTERM"
  | "SIGSTKFLT"
  | "SIGCHLD"
  | "SIGCONT"
  | "SIGSTOP"
  | "SIGTSTP"
  | "SIGTTIN"
  | "SIGTTOU"
  | "SIGURG"
  | "SIGXCPU"
  | "SIGXFSZ"
  | "SIGVTALRM"
  | "SIGPROF"
  | "SIGWINCH"
  | "SIGIO"
  | "SIGPWR"
  | "SIGSYS"
  | number
