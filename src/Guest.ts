/**
 * The open channel to a running guest: commands, files and connections, served by the agent in the guest.
 *
 * Drivers implement it and `Sandbox` builds on it. Most programs use `Sandbox` instead.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Sink from "effect/Sink"
import type * as Stream from "effect/Stream"
import type * as Plain from "./internal/config/plain.ts"
import type { LightboxError } from "./LightboxError.ts"

/**
 * A word of a command line, or the value of a variable. Redacted words reach the guest in clear text and are hidden
 * everywhere else.
 *
 * @category models
 * @since 0.1.0
 */
export type Word = string | Redacted.Redacted<string>

/**
 * The owner of a file: `"user"` or `"user:group"`, names or ids that the guest knows, or both ids.
 *
 * @category models
 * @since 0.1.0
 */
export type Owner = string | { readonly uid: number; readonly gid: number }

/**
 * A command to run in the guest. `argv` is executed directly, without a shell.
 *
 * Omitted fields default to the sandbox's. `terminal` gives the command a terminal of that size, which merges its two
 * outputs. With `stdin: "empty"` the command reads the end of its input immediately, which is faster; with `"open"`
 * (the default), run `Process.stdin`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Command {
  readonly argv: readonly [string, ...Array<Word>]
  readonly cwd?: string | undefined
  readonly user?: string | undefined
  readonly env?: { readonly [name: string]: Word } | undefined
  readonly rlimits?: { readonly [name: string]: number | { readonly soft: number; readonly hard: number } } | undefined
  readonly terminal?: TerminalSize | undefined
  /** Default: `"open"`. */
  readonly stdin?: "open" | "empty" | undefined
  /**
   * Wait for a process that the program leaves in the background, as `setsid` does, to close the outputs. Default:
   * `false`: that process is killed a second after the program has exited, or the command fails.
   */
  readonly detaches?: boolean | undefined
}

/**
 * The size of a terminal, in characters.
 *
 * @category models
 * @since 0.1.0
 */
export interface TerminalSize {
  readonly rows: number
  readonly columns: number
}

/**
 * The handling of output that arrives faster than it is read.
 *
 * Up to `memoryBytes` (default: 4 MiB) are buffered in memory. Beyond that, `overflow` decides:
 *
 * - `"spill"` (the default) writes to unnamed temporary files on the host. When 1 GiB is unread, it pauses the connection,
 *   as `"suspend"` does.
 * - `"suspend"` pauses the connection until the reader catches up. This blocks every command of the sandbox.
 * - `"discard"` drops all output, buffered or not.
 *
 * @category models
 * @since 0.1.0
 */
export interface OutputPolicy {
  /** Default: 4 MiB. */
  readonly memoryBytes?: number | undefined
  /** Default: `"spill"`. */
  readonly overflow?: "spill" | "suspend" | "discard" | undefined
}

/**
 * A piece of a command's output.
 *
 * @category models
 * @since 0.1.0
 */
export type Output =
  | { readonly _tag: "Stdout"; readonly bytes: Uint8Array }
  | { readonly _tag: "Stderr"; readonly bytes: Uint8Array }

/**
 * A signal of the guest's kernel, by name or number.
 *
 * @category models
 * @since 0.1.0
 */
export type Signal = Plain.Signal

/**
 * A command running in the guest.
 *
 * **Details**
 *
 * `output` can be read once. It ends when the command has exited and both its streams are closed; `exitCode` completes
 * at the same time (-1: ended by a signal). A background process that keeps them open for another second is killed,
 * unless it has its own session; then both fail. They also fail with `GuestLost` when the sandbox stops.
 *
 * `stdin` stays open until its sink completes: run it with the input, or with `Stream.empty`. Input sent after the
 * command closed its end is dropped.
 *
 * **Gotchas**
 *
 * The agent writes input to the command's pipe before it handles the next message. A command that does not read, given
 * more than its pipe holds (64 KiB), blocks the other commands of the sandbox until it reads or exits.
 *
 * **Example** (Feed a command and read its output)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import type { Guest } from "effect-lightbox"
 *
 * export const checksum = (guest: Guest.Guest, data: Uint8Array) =>
 *   Effect.gen(function* () {
 *     const process = yield* guest.spawn({ argv: ["sha256sum"] })
 *     yield* Stream.run(Stream.make(data), process.stdin)
 *     return yield* Stream.runCollect(process.output)
 *   })
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Process {
  readonly pid: number
  readonly output: Stream.Stream<Output, LightboxError>
  readonly exitCode: Effect.Effect<number, LightboxError>
  /**
   * Waits for the command to exit and returns the signal that ended it, if known: one sent through `signal`, or one
   * that the guest's kernel logged, as when memory runs out.
   */
  readonly endedBy: Effect.Effect<Signal | undefined, LightboxError>
  readonly stdin: Sink.Sink<void, Uint8Array, never, LightboxError>
  /** Sends a signal to the command's process group. No effect after it has exited. */
  readonly signal: (signal: Signal) => Effect.Effect<void, LightboxError>
  /** Resizes the terminal. No effect without one. */
  readonly resize: (size: TerminalSize) => Effect.Effect<void, LightboxError>
}

/**
 * The attributes of a file.
 *
 * @category models
 * @since 0.1.0
 */
export interface FileInfo {
  readonly path: string
  readonly type: FileSystem.File.Type
  /** Bytes. */
  readonly size: number
  /** Permission bits, up to `0o7777`. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Last change of the content, in whole seconds. */
  readonly mtime: DateTime.Utc | undefined
  /** Last read, in whole seconds. */
  readonly atime: DateTime.Utc | undefined
}

/**
 * Attributes of a file to change. Omitted attributes stay as they are.
 *
 * @category models
 * @since 0.1.0
 */
export interface FileAttributes {
  readonly mode?: number | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  /** In bytes. Truncates the file, or extends it with zeros. */
  readonly size?: number | undefined
  /** In whole seconds. */
  readonly atime?: DateTime.Utc | undefined
  /** In whole seconds. */
  readonly mtime?: DateTime.Utc | undefined
}

/**
 * Options for opening a file.
 *
 * @category options
 * @since 0.1.0
 */
export interface OpenOptions {
  /** Allow reading. Default: `false`. */
  readonly read?: boolean | undefined
  /** Allow writing. Default: `false`. */
  readonly write?: boolean | undefined
  /** Write only at the end of the file. Default: `false`. */
  readonly append?: boolean | undefined
  /** Create the file if it does not exist. Default: `false`. */
  readonly create?: boolean | undefined
  /** Create the file, and fail if it exists. Default: `false`. */
  readonly createNew?: boolean | undefined
  /** Empty the file first. Default: `false`. */
  readonly truncate?: boolean | undefined
  /** Permission bits of a new file. Default: chosen by the agent. */
  readonly mode?: number | undefined
}

/**
 * A part of a file.
 *
 * @category options
 * @since 0.1.0
 */
export interface ReadRange {
  /** Position of the first byte. Default: 0. */
  readonly offset?: number | undefined
  /** Number of bytes. Default: to the end of the file. */
  readonly bytesToRead?: number | undefined
}

/**
 * Options for reading a whole file.
 *
 * @category options
 * @since 0.1.0
 */
export interface ReadOptions {
  /**
   * Limit of the size, such as `"1M"`: a guest can make its files as large as it likes. Default: 256 MiB, or 16 GiB for
   * `copyOut`.
   */
  readonly maxBytes?: Plain.Size | undefined
}

/**
 * Options for writing a file.
 *
 * @category options
 * @since 0.1.0
 */
export interface WriteOptions {
  /** `"w"` replaces the file, `"a"` appends; with an `"x"`, the file must not exist. Default: `"w"`. */
  readonly flag?: Exclude<FileSystem.OpenFlag, "r"> | undefined
  /** Permission bits of a new file. Default: `0o644`. */
  readonly mode?: number | undefined
}

/**
 * Operations on files, named as in Effect's `FileSystem`. They fail with `FileError`, which carries the errno.
 *
 * @category models
 * @since 0.1.0
 */
export interface Files {
  /** Reads a whole file. One larger than `maxBytes` fails with the code `EFBIG`; {@link Files.stream} has no limit. */
  readonly readFile: (path: string, options?: ReadOptions) => Effect.Effect<Uint8Array, LightboxError>
  /** Decodes as UTF-8; invalid bytes become U+FFFD. */
  readonly readFileString: (path: string, options?: ReadOptions) => Effect.Effect<string, LightboxError>
  /** Streams a file, buffering a few MiB at a time. */
  readonly stream: (path: string, range?: ReadRange) => Stream.Stream<Uint8Array, LightboxError>
  /** The directory must exist. */
  readonly writeFile: (path: string, data: Uint8Array, options?: WriteOptions) => Effect.Effect<void, LightboxError>
  readonly writeFileString: (path: string, text: string, options?: WriteOptions) => Effect.Effect<void, LightboxError>
  /** Writes a file from a stream, buffering a few MiB at a time. */
  readonly sink: (path: string, options?: WriteOptions) => Sink.Sink<void, Uint8Array, never, LightboxError>
  /** Follows symbolic links: returns `false` for a dangling one. */
  readonly exists: (path: string) => Effect.Effect<boolean, LightboxError>
  readonly stat: (path: string) => Effect.Effect<FileInfo, LightboxError>
  /** Lists the names in a directory, sorted. */
  readonly readDirectory: (path: string) => Effect.Effect<ReadonlyArray<string>, LightboxError>
  /** Lists a directory with the attributes of each entry, sorted by path. Does not follow links. */
  readonly readDirectoryEntries: (path: string) => Effect.Effect<ReadonlyArray<FileInfo>, LightboxError>
  /** Creates a directory and its parents. Succeeds if it exists. */
  readonly makeDirectory: (
    path: string,
    options?: { readonly mode?: number | undefined }
  ) => Effect.Effect<void, LightboxError>
  /** Removes a file, a link or a directory (with its content if `recursive`). Succeeds if the path does not exist. */
  readonly remove: (
    path: string,
    options?: { readonly recursive?: boolean | undefined }
  ) => Effect.Effect<void, LightboxError>
  readonly rename: (from: string, to: string) => Effect.Effect<void, LightboxError>
  readonly copyFile: (from: string, to: string) => Effect.Effect<void, LightboxError>
  readonly realPath: (path: string) => Effect.Effect<string, LightboxError>
  readonly readLink: (path: string) => Effect.Effect<string, LightboxError>
  readonly symlink: (target: string, path: string) => Effect.Effect<void, LightboxError>
}

/**
 * An open file of the guest, closed with its scope.
 *
 * @category models
 * @since 0.1.0
 */
export interface File {
  /** Streams `bytesToRead` bytes (default: to the end) from `offset` (default: 0). */
  readonly stream: (range?: ReadRange) => Stream.Stream<Uint8Array, LightboxError>
  /** Writes a stream sequentially from `offset` (default: 0). */
  readonly sink: (offset?: number) => Sink.Sink<void, Uint8Array, never, LightboxError>
  readonly stat: Effect.Effect<FileInfo, LightboxError>
  readonly setAttributes: (attributes: FileAttributes) => Effect.Effect<void, LightboxError>
}

/**
 * A TCP connection to a port of the guest, closed with its scope.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection {
  /** Data from the peer, until it closes its side. Can be read once. */
  readonly read: Stream.Stream<Uint8Array, LightboxError>
  /** Sends data, and closes this side at the end. */
  readonly write: Sink.Sink<void, Uint8Array, never, LightboxError>
}

/**
 * The channel to a running guest.
 *
 * All operations can run concurrently. Paths are absolute. File operations run as root and fail with `FileError`, which
 * carries the guest's errno. Every operation fails with `GuestLost` after the sandbox has stopped.
 *
 * @category models
 * @since 0.1.0
 */
export interface Guest extends Pick<
  Files,
  "copyFile" | "makeDirectory" | "readDirectoryEntries" | "readLink" | "realPath" | "rename" | "symlink"
> {
  /** Time from the start of the guest's kernel until the agent was ready, in milliseconds. */
  readonly bootMillis: number
  /** Starts a command. Closing the scope kills its process group, but no process in its own session. */
  readonly spawn: (command: Command, output?: OutputPolicy) => Effect.Effect<Process, LightboxError, Scope.Scope>
  readonly stat: (
    path: string,
    options?: { readonly followSymlinks?: boolean | undefined }
  ) => Effect.Effect<FileInfo, LightboxError>
  /** Removes a file or a symbolic link. */
  readonly removeFile: (path: string) => Effect.Effect<void, LightboxError>
  readonly removeDirectory: (
    path: string,
    options?: { readonly recursive?: boolean | undefined }
  ) => Effect.Effect<void, LightboxError>
  readonly setAttributes: (
    path: string,
    attributes: FileAttributes,
    options?: { readonly followSymlinks?: boolean | undefined }
  ) => Effect.Effect<void, LightboxError>
  readonly open: (path: string, options: OpenOptions) => Effect.Effect<File, LightboxError, Scope.Scope>
  /** Opens a TCP connection from inside the guest. */
  readonly connect: (host: string, port: number) => Effect.Effect<Connection, LightboxError, Scope.Scope>
  /** Measures the round trip of one message. */
  readonly ping: Effect.Effect<Duration.Duration, LightboxError>
  /** Resets the idle timeout. */
  readonly touch: Effect.Effect<void, LightboxError>
  /** Waits until the channel is lost and returns the reason. Never completes while it is open. */
  readonly lost: Effect.Effect<LightboxError>
}
