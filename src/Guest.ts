/**
 * The open channel to a running guest: commands, files and connections, as the
 * agent in the guest offers them.
 *
 * This is the narrow waist that drivers implement and `Sandbox` builds on. Most
 * programs use `Sandbox` instead.
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
import type { LightboxError } from "./LightboxError.ts"

/**
 * A word of a command line, or the value of a variable. Redacted words reach
 * the guest in clear and appear nowhere else.
 *
 * **Example** (A token as an argument)
 *
 * ```ts
 * import { Redacted } from "effect"
 * import type { Guest } from "effect-lightbox"
 *
 * export const words: ReadonlyArray<Guest.Word> = ["login", "--token", Redacted.make("s3cret")]
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Word = string | Redacted.Redacted<string>

/**
 * Who owns a file: ids, or names that the guest knows.
 *
 * **Example** (The user app and its group)
 *
 * ```ts
 * import type { Guest } from "effect-lightbox"
 *
 * export const owner: Guest.Owner = "app:app"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Owner = string | { readonly uid: number; readonly gid: number }

/**
 * A command to run in the guest. `argv` is executed as it is, without a shell.
 *
 * **Details**
 *
 * What is left out comes from the sandbox's own configuration. `terminal` gives
 * the command a terminal of that size; its two outputs then arrive as one.
 * `stdin` says whether `Process.stdin` is to be run (`"open"`, the default), or
 * the command finds the end of its input right away (`"empty"`), which is
 * quicker.
 *
 * **Example** (A command with surroundings of its own)
 *
 * ```ts
 * import type { Guest } from "effect-lightbox"
 *
 * export const command: Guest.Command = { argv: ["npm", "test"], cwd: "/work", env: { CI: "true" } }
 * ```
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
}

/**
 * The size of a terminal, in characters.
 *
 * **Example** (The usual one)
 *
 * ```ts
 * import type { Guest } from "effect-lightbox"
 *
 * export const size: Guest.TerminalSize = { rows: 24, columns: 80 }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface TerminalSize {
  readonly rows: number
  readonly columns: number
}

/**
 * What is done with output that is not read as fast as it comes.
 *
 * **Details**
 *
 * Up to `memoryBytes` (default 4 MiB) are held in memory. More is kept in a
 * temporary file of the host that has no name (`"spill"`, the default), or the
 * connection is held up until the reader has caught up (`"suspend"`): the guest
 * then waits, and so do all other commands of the same sandbox. `"discard"`
 * keeps nothing at all.
 *
 * **Example** (Running something whose output does not matter)
 *
 * ```ts
 * import type { Guest } from "effect-lightbox"
 *
 * export const policy: Guest.OutputPolicy = { overflow: "discard" }
 * ```
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
 * Output of a command.
 *
 * **Example** (Counting what is written to standard error)
 *
 * ```ts
 * import type { Guest } from "effect-lightbox"
 *
 * export const errorBytes = (output: Guest.Output): number => (output._tag === "Stderr" ? output.bytes.length : 0)
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Output =
  | { readonly _tag: "Stdout"; readonly bytes: Uint8Array }
  | { readonly _tag: "Stderr"; readonly bytes: Uint8Array }

/**
 * The signals of the guest's kernel, by name or number.
 *
 * **Example** (Asking politely)
 *
 * ```ts
 * import type { Guest } from "effect-lightbox"
 *
 * export const signal: Guest.Signal = "SIGTERM"
 * ```
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

/**
 * A command that runs in the guest.
 *
 * **Details**
 *
 * `output` can be read once. It ends when the command has closed both streams
 * and exited; `exitCode` is there at the same time (-1: ended by a signal). Both
 * fail with `GuestLost` when the sandbox goes away.
 *
 * `stdin` is open until it is run to its end: run it with the input, or with
 * `Stream.empty` for none. What is written after the command has closed its side
 * is dropped.
 *
 * **Gotchas**
 *
 * The guest's agent writes input to the command's pipe before it looks at the
 * next message. A command that never reads, given more than its pipe holds (64
 * KiB), holds up the other commands of the sandbox until it reads or ends.
 *
 * **Example** (Feeding a command and reading it)
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
   * Waits for the end, and gives the signal that ended the command, if one did and it is known. It is known if it was
   * sent through `signal`, or if the guest's kernel ended the command and logged it, as when memory runs out.
   */
  readonly endedBy: Effect.Effect<Signal | undefined, LightboxError>
  readonly stdin: Sink.Sink<void, Uint8Array, never, LightboxError>
  /** Sends a signal to the command and all that it started. No effect once it has exited. */
  readonly signal: (signal: Signal) => Effect.Effect<void, LightboxError>
  /** Changes the size of the terminal. No effect without one. */
  readonly resize: (size: TerminalSize) => Effect.Effect<void, LightboxError>
}

/**
 * What the guest knows of a file.
 *
 * **Example** (Finding executables)
 *
 * ```ts
 * import type { Guest } from "effect-lightbox"
 *
 * export const isProgram = (file: Guest.FileInfo): boolean => file.type === "File" && (file.mode & 0o111) !== 0
 * ```
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
  /** When the content was last changed, in whole seconds. */
  readonly mtime: DateTime.Utc | undefined
  /** When it was last read, in whole seconds. */
  readonly atime: DateTime.Utc | undefined
}

/**
 * Attributes of a file to change; what is left out stays.
 *
 * **Example** (Handing a file over)
 *
 * ```ts
 * import type { Guest } from "effect-lightbox"
 *
 * export const attributes: Guest.FileAttributes = { uid: 1000, gid: 1000, mode: 0o600 }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface FileAttributes {
  readonly mode?: number | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  /** Cuts the file off, or fills it up with zeros. Bytes. */
  readonly size?: number | undefined
  /** In whole seconds. */
  readonly atime?: DateTime.Utc | undefined
  /** In whole seconds. */
  readonly mtime?: DateTime.Utc | undefined
}

/**
 * How a file is opened.
 *
 * **Example** (Creating a file that must not exist)
 *
 * ```ts
 * import type { Guest } from "effect-lightbox"
 *
 * export const options: Guest.OpenOptions = { write: true, createNew: true, mode: 0o600 }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface OpenOptions {
  readonly read?: boolean | undefined
  readonly write?: boolean | undefined
  readonly append?: boolean | undefined
  readonly create?: boolean | undefined
  readonly createNew?: boolean | undefined
  readonly truncate?: boolean | undefined
  /** Permission bits of a file that is created. Default: the agent's. */
  readonly mode?: number | undefined
}

/**
 * A part of a file: from `offset` (default 0), `bytesToRead` bytes (default: to
 * the end).
 *
 * @category options
 * @since 0.1.0
 */
export interface ReadRange {
  readonly offset?: number | undefined
  readonly bytesToRead?: number | undefined
}

/**
 * Options of writing a file. `flag`: `"w"` (the default) replaces what is there,
 * `"a"` appends; with an `"x"` the file must not exist. `mode`: permission bits
 * of the file, default `0o644`.
 *
 * @category options
 * @since 0.1.0
 */
export interface WriteOptions {
  readonly flag?: Exclude<FileSystem.OpenFlag, "r"> | undefined
  readonly mode?: number | undefined
}

/**
 * Operations on files, with the names of Effect's `FileSystem`. They fail with
 * `FileError`, which carries the errno.
 *
 * @category models
 * @since 0.1.0
 */
export interface Files {
  readonly readFile: (path: string) => Effect.Effect<Uint8Array, LightboxError>
  /** Decodes as UTF-8; invalid bytes become U+FFFD. */
  readonly readFileString: (path: string) => Effect.Effect<string, LightboxError>
  /** Reads a file in pieces, and holds a few MiB at a time. */
  readonly stream: (path: string, range?: ReadRange) => Stream.Stream<Uint8Array, LightboxError>
  /** The directory must exist. */
  readonly writeFile: (path: string, data: Uint8Array, options?: WriteOptions) => Effect.Effect<void, LightboxError>
  readonly writeFileString: (path: string, text: string, options?: WriteOptions) => Effect.Effect<void, LightboxError>
  /** Writes a file in pieces, and holds a few MiB at a time. */
  readonly sink: (path: string, options?: WriteOptions) => Sink.Sink<void, Uint8Array, never, LightboxError>
  /** Follows symbolic links: a dangling one does not exist. */
  readonly exists: (path: string) => Effect.Effect<boolean, LightboxError>
  readonly stat: (path: string) => Effect.Effect<FileInfo, LightboxError>
  /** Lists the names in a directory, sorted. */
  readonly readDirectory: (path: string) => Effect.Effect<ReadonlyArray<string>, LightboxError>
  /** Lists a directory with what `stat` tells of each entry, sorted by path. Links are not followed. */
  readonly readDirectoryEntries: (path: string) => Effect.Effect<ReadonlyArray<FileInfo>, LightboxError>
  /** Creates a directory and its parents. Succeeds if it exists. */
  readonly makeDirectory: (
    path: string,
    options?: { readonly mode?: number | undefined }
  ) => Effect.Effect<void, LightboxError>
  /** Removes a file, a link or a directory, `recursive` with its content. Succeeds if nothing is there. */
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
 * **Example** (Reading the head of a file)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import type { Guest } from "effect-lightbox"
 *
 * export const head = (guest: Guest.Guest, path: string) =>
 *   Effect.scoped(
 *     Effect.flatMap(guest.open(path, { read: true }), (file) =>
 *       Stream.runCollect(file.stream({ bytesToRead: 512 })))
 *   )
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface File {
  /** Reads from `offset` (default 0), `bytesToRead` bytes or to the end, in pieces. */
  readonly stream: (range?: ReadRange) => Stream.Stream<Uint8Array, LightboxError>
  /** Writes all pieces, one after the other, from `offset` (default 0). */
  readonly sink: (offset?: number) => Sink.Sink<void, Uint8Array, never, LightboxError>
  readonly stat: Effect.Effect<FileInfo, LightboxError>
  readonly setAttributes: (attributes: FileAttributes) => Effect.Effect<void, LightboxError>
}

/**
 * A TCP connection to a port of the guest, closed with its scope.
 *
 * **Example** (Talking to a server in the guest)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import type { Guest } from "effect-lightbox"
 *
 * export const ask = (guest: Guest.Guest) =>
 *   Effect.gen(function* () {
 *     const connection = yield* guest.connect("127.0.0.1", 6379)
 *     yield* Stream.run(Stream.encodeText(Stream.make("PING\r\n")), connection.write)
 *     return yield* Stream.mkString(Stream.decodeText(connection.read))
 *   })
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection {
  /** What the far end sends, until it closes its side. Read once. */
  readonly read: Stream.Stream<Uint8Array, LightboxError>
  /** Sends, and closes our side at the end. */
  readonly write: Sink.Sink<void, Uint8Array, never, LightboxError>
}

/**
 * The channel to a running guest.
 *
 * **Details**
 *
 * Everything runs concurrently. Paths are absolute; file operations run as root
 * and fail with a `FileError` that carries the guest's errno. All operations fail
 * with `GuestLost` once the sandbox is gone.
 *
 * **Example** (Running a command to its end)
 *
 * ```ts
 * import { Effect } from "effect"
 * import type { Guest } from "effect-lightbox"
 *
 * export const run = (guest: Guest.Guest) =>
 *   Effect.scoped(Effect.flatMap(guest.spawn({ argv: ["true"] }), (process) => process.exitCode))
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Guest extends Pick<
  Files,
  "copyFile" | "makeDirectory" | "readDirectoryEntries" | "readLink" | "realPath" | "rename" | "symlink"
> {
  /** Time from the guest kernel's start to the agent's readiness, in milliseconds. */
  readonly bootMillis: number
  /** Starts a command; it is killed, with all that it started, when the scope closes. */
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
  /** Time for one message there and back. */
  readonly ping: Effect.Effect<Duration.Duration, LightboxError>
  /** Puts off the idle timeout. */
  readonly touch: Effect.Effect<void, LightboxError>
  /** Waits until the channel is lost, and tells why. Never completes while it is open. */
  readonly lost: Effect.Effect<LightboxError>
}
