/** Files for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off globalDate:off nodeBuiltinImport:off
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Sandboxes from "../../Sandbox.ts"
import { fileFailure, nameMissing } from "../host/fileFailure.ts"
import { watch } from "../guest/watch.ts"
import { Bytes, copyOptions, Func, optionsStruct } from "../config/schemas.ts"
import { optionsDecoder } from "../config/validation.ts"
import { callFields, checkArgs, checked, None, signalOf } from "./input.ts"
import type { CallOptions, FsReadOptions } from "./options.ts"
import * as Readers from "./reader.ts"
import type { Owner } from "./steps.ts"
import { acquire, type OpenScope, run, runNow, type Signals } from "./runtime.ts"

/**
 * The type of a file.
 *
 * @category models
 * @since 0.1.0
 */
export type FsEntryKind = "file" | "directory" | "symlink" | "other"

/**
 * An entry of a folder. `size` is in bytes, `mode` holds the permission bits.
 *
 * @category models
 * @since 0.1.0
 */
export interface FsEntry {
  readonly path: string
  readonly kind: FsEntryKind
  readonly size: number
  readonly mode: number
  readonly modified: Date | null
}

/**
 * The attributes of a file. `size` is in bytes, `mode` holds the permission bits.
 *
 * @category models
 * @since 0.1.0
 */
export interface FsMetadata {
  readonly kind: FsEntryKind
  readonly size: number
  readonly mode: number
  /** Whether no permission bit allows writing. */
  readonly readonly: boolean
  readonly modified: Date | null
  /** Always `null`: not available from guests. */
  readonly created: Date | null
}

const kinds: { readonly [type: string]: FsEntryKind } = {
  File: "file",
  Directory: "directory",
  SymbolicLink: "symlink"
}

const modified = ({ mtime }: Guest.FileInfo): Date | null => (mtime === undefined ? null : DateTime.toDateUtc(mtime))

const fsEntry = (info: Guest.FileInfo): FsEntry => ({
  path: info.path,
  kind: kinds[info.type] ?? "other",
  size: info.size,
  mode: info.mode,
  modified: modified(info)
})

const fsMetadata = (info: Guest.FileInfo): FsMetadata => ({
  kind: kinds[info.type] ?? "other",
  size: info.size,
  mode: info.mode,
  readonly: (info.mode & 0o222) === 0,
  modified: modified(info),
  created: null
})

/**
 * A file opened for streaming: read it with `for await`, piece by piece with `recv()`, or read the rest with
 * `collect()`.
 *
 * @category models
 * @since 0.1.0
 */
export class FsReadStream implements AsyncIterable<Uint8Array>, AsyncDisposable {
  readonly #reader: Readers.Reader<Uint8Array>

  /** @internal */
  constructor(source: Readers.Source<Uint8Array>, held: OpenScope) {
    this.#reader = new Readers.Reader(source, held)
  }
  /** Returns the next piece, or `null` at the end. */
  async recv(options?: CallOptions): Promise<Uint8Array | null> {
    return await this.#reader.next(signalOf("FsReadStream.recv", options))
  }
  /** Returns the rest of the file. */
  async collect(options?: CallOptions): Promise<Uint8Array> {
    const pieces: Array<Uint8Array> = []
    for (let piece = await this.recv(options); piece !== null; piece = await this.recv(options)) pieces.push(piece)
    return Buffer.concat(pieces)
  }
  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    try {
      for (let piece = await this.recv(); piece !== null; piece = await this.recv()) yield piece
    } finally {
      await this.#reader.close()
    }
  }
  /** Closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.close()
  }
}

/**
 * A file opened for writing in pieces.
 *
 * @category models
 * @since 0.1.0
 */
export class FsWriteSink implements AsyncDisposable {
  readonly #file: Guest.File
  readonly #held: OpenScope
  #offset = 0

  /** @internal */
  constructor(file: Guest.File, held: OpenScope) {
    this.#file = file
    this.#held = held
  }
  /** Writes data, and resolves when it is written. */
  async write(data: Uint8Array | string, options?: CallOptions): Promise<void> {
    checkArgs("FsWriteSink.write", { data })
    const signal = signalOf("FsWriteSink.write", options)
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data
    signal?.throwIfAborted()
    const offset = this.#offset
    this.#offset += bytes.length
    await run(Stream.run(Stream.make(bytes), this.#file.sink(offset)), signal)
  }
  /** Closes the file. */
  async close(): Promise<void> {
    await this.#held.close()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/**
 * A change of a file: its path relative to the watched folder.
 *
 * @category models
 * @since 0.1.0
 */
export interface FsWatchEvent {
  readonly kind: "create" | "update" | "remove"
  readonly path: string
}

/**
 * Options of `SandboxFs.watch`.
 *
 * @category options
 * @since 0.1.0
 */
export interface FsWatchOptions extends CallOptions {
  /** Watch the folders below, too. Default: `false`. */
  readonly recursive?: boolean | undefined
  /** Called once changes are seen from now on. Default: none. */
  readonly onReady?: (() => void) | undefined
}

/**
 * Options of `SandboxFs.write`.
 *
 * @category options
 * @since 0.1.0
 */
export interface FsWriteOptions extends CallOptions {
  /** Permission bits of a new file. Default: 0o644. */
  readonly mode?: number | undefined
  /** Add to the end of the file. Default: `false`, which replaces it. */
  readonly append?: boolean | undefined
}

/**
 * Options of `SandboxFs.copyFromHost`.
 *
 * @category options
 * @since 0.1.0
 */
export interface FsCopyOptions extends CallOptions {
  /**
   * Patterns to skip, as in a `.gitignore`, relative to the copied folder: lines, or the text of a whole file. Blank
   * lines and comments are skipped. Default: none.
   */
  readonly ignore?: ReadonlyArray<string> | undefined
  /** Permission bits of files; folders also get the execute bits. Default: those on the host. */
  readonly mode?: number | undefined
  /** Owner of the copies. Default: root. */
  readonly owner?: Owner | undefined
}

/**
 * The files of a running sandbox. Paths are absolute.
 *
 * **Example** (Write and read a file)
 *
 * ```ts
 * import type { Sandbox } from "effect-lightbox/promise"
 *
 * export const roundTrip = async (sb: Sandbox): Promise<string> => {
 *   await sb.fs().write("/root/note.txt", "hello")
 *   return await sb.fs().readToString("/root/note.txt")
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class SandboxFs {
  readonly #sandbox: Sandboxes.Sandbox

  /** @internal */
  constructor(sandbox: Sandboxes.Sandbox) {
    this.#sandbox = sandbox
  }
  /** Reads a file. Default of `maxBytes`: 256 MiB. */
  async read(path: string, options?: FsReadOptions): Promise<Uint8Array> {
    const { signal, ...rest } = readOptions("SandboxFs.read", options)
    return await run(this.#sandbox.readFile(path, rest), signal)
  }
  /** Reads a file as UTF-8. Default of `maxBytes`: 256 MiB. */
  async readToString(path: string, options?: FsReadOptions): Promise<string> {
    const { signal, ...rest } = readOptions("SandboxFs.readToString", options)
    return await run(this.#sandbox.readFileString(path, rest), signal)
  }
  /** Opens a file for streaming. */
  async readStream(path: string, options?: CallOptions): Promise<FsReadStream> {
    checkArgs("SandboxFs.readStream", { path })
    return await this.#open(path, { signal: signalOf("SandboxFs.readStream", options) })
  }
  /** Writes a file, replacing it if it exists. The folder must exist. */
  async write(path: string, data: Uint8Array | string, options?: FsWriteOptions): Promise<void> {
    checkArgs("SandboxFs.write", { path, data })
    const { append, mode, signal } = decodeWrite({}, options)
    const flags = { flag: append === true ? ("a" as const) : undefined, mode }
    const written =
      typeof data === "string"
        ? this.#sandbox.writeFileString(path, data, flags)
        : this.#sandbox.writeFile(path, data, flags)
    await run(written, signal)
  }
  /** Opens a file for writing in pieces, replacing it if it exists. The folder must exist. */
  async writeStream(path: string, options?: CallOptions): Promise<FsWriteSink> {
    checkArgs("SandboxFs.writeStream", { path })
    return await acquire(
      this.#sandbox.guest.open(path, { write: true, create: true, truncate: true, mode: 0o644 }),
      (file, held) => new FsWriteSink(file, held),
      { signal: signalOf("SandboxFs.writeStream", options) }
    )
  }
  /** Lists a folder, sorted by name. */
  async list(path: string, options?: CallOptions): Promise<Array<FsEntry>> {
    return (await run(this.#sandbox.readDirectoryEntries(path), signalOf("SandboxFs.list", options))).map(fsEntry)
  }
  /** Creates a folder and its parents. Succeeds if it exists. */
  async mkdir(path: string, options?: CallOptions): Promise<void> {
    await run(this.#sandbox.makeDirectory(path), signalOf("SandboxFs.mkdir", options))
  }
  /** Removes a folder and its content. */
  async removeDir(path: string, options?: CallOptions): Promise<void> {
    checkArgs("SandboxFs.removeDir", { path })
    await run(this.#sandbox.guest.removeDirectory(path, { recursive: true }), signalOf("SandboxFs.removeDir", options))
  }
  /** Removes a file or a symbolic link. */
  async remove(path: string, options?: CallOptions): Promise<void> {
    checkArgs("SandboxFs.remove", { path })
    await run(this.#sandbox.guest.removeFile(path), signalOf("SandboxFs.remove", options))
  }
  /** Copies one file inside the guest. */
  async copy(from: string, to: string, options?: CallOptions): Promise<void> {
    await run(this.#sandbox.copyFile(from, to), signalOf("SandboxFs.copy", options))
  }
  async rename(from: string, to: string, options?: CallOptions): Promise<void> {
    await run(this.#sandbox.rename(from, to), signalOf("SandboxFs.rename", options))
  }
  async stat(path: string, options?: CallOptions): Promise<FsMetadata> {
    return fsMetadata(await run(this.#sandbox.stat(path), signalOf("SandboxFs.stat", options)))
  }
  /** Checks whether a path exists. Follows symbolic links. */
  async exists(path: string, options?: CallOptions): Promise<boolean> {
    return await run(this.#sandbox.exists(path), signalOf("SandboxFs.exists", options))
  }
  /** Creates a symbolic link at `path`. */
  async symlink(target: string, path: string, options?: CallOptions): Promise<void> {
    checkArgs("SandboxFs.symlink", { target, path })
    await run(this.#sandbox.symlink(target, path), signalOf("SandboxFs.symlink", options))
  }
  /** Returns the target of a symbolic link. */
  async readLink(path: string, options?: CallOptions): Promise<string> {
    checkArgs("SandboxFs.readLink", { path })
    return await run(this.#sandbox.readLink(path), signalOf("SandboxFs.readLink", options))
  }
  /** Resolves all symbolic links of a path. */
  async realPath(path: string, options?: CallOptions): Promise<string> {
    checkArgs("SandboxFs.realPath", { path })
    return await run(this.#sandbox.realPath(path), signalOf("SandboxFs.realPath", options))
  }
  /**
   * Watches a file, or a folder and its content, until the loop is left or the signal aborts. Polls every 250 milliseconds
   * in the guest, and misses files that are created and removed in between. The guest needs `find` and `stat`.
   *
   * **Example** (Build on changes)
   *
   * ```ts
   * import type { Sandbox } from "effect-lightbox/promise"
   *
   * export const rebuild = async (sb: Sandbox): Promise<void> => {
   *   for await (const { kind, path } of sb.fs().watch("/src", { recursive: true })) {
   *     console.log(kind, path, (await sb.shell("make")).code)
   *   }
   * }
   * ```
   */
  async *watch(path: string, options?: FsWatchOptions): AsyncIterableIterator<FsWatchEvent> {
    checkArgs("SandboxFs.watch", { path })
    const { recursive, signal } = decodeWatch({}, options)
    const { guest } = this.#sandbox
    const onReady = options?.onReady
    const events = Stream.unwrap(
      Effect.map(guest.stat(path), (info) =>
        watch(guest, path, info, { recursive, ...(onReady === undefined ? {} : { onReady }) })
      )
    )
    for await (const { _tag, path } of Readers.iterate(events, signal)) yield { kind: watchKinds[_tag], path }
  }
  /**
   * Copies a file or a folder's content from the host to the guest, keeping permissions. For folders and for files with
   * `mode` or `owner`, creates parent folders, replaces files and links, and needs `tar` in the guest.
   */
  async copyFromHost(hostPath: string, guestPath: string, options?: FsCopyOptions): Promise<void> {
    checkArgs("SandboxFs.copyFromHost", { hostPath, guestPath })
    const { signal, ...rest } = decodeCopy({}, options)
    const path = Path.resolve(hostPath)
    const failed = hostFailure(path)
    const stats = Effect.tryPromise({ try: () => Fs.promises.stat(path), catch: failed }).pipe(
      nameMissing("SandboxFs.copyFromHost", "hostPath", path)
    )
    await run(
      Effect.flatMap(stats, (info) =>
        info.isDirectory() || rest.mode !== undefined || rest.owner !== undefined
          ? this.#sandbox.copyIn(path, guestPath, rest)
          : Stream.run(
              Stream.suspend(() =>
                Stream.fromAsyncIterable<Uint8Array, LightboxError>(Fs.createReadStream(path), failed)
              ),
              this.#sandbox.sink(guestPath, { mode: info.mode & 0o777 })
            )
      ),
      signal
    )
  }
  /**
   * Copies a file or a folder's content from the guest to the host, keeping permissions. Default of `maxBytes`: 16 GiB.
   * On failure, files already copied stay. The guest needs `tar` for folders.
   */
  async copyToHost(guestPath: string, hostPath: string, options?: FsReadOptions): Promise<void> {
    checkArgs("SandboxFs.copyToHost", { hostPath, guestPath })
    const { signal, ...rest } = readOptions("SandboxFs.copyToHost", options)
    await run(this.#sandbox.copyOut(guestPath, hostPath, rest), signal)
  }

  #open(path: string, signals: Signals): Promise<FsReadStream> {
    return acquire(
      Effect.flatMap(this.#sandbox.guest.open(path, { read: true }), (file) => Readers.open(file.stream())),
      (source, held) => new FsReadStream(source, held),
      signals
    )
  }
}

const ReadSchema = optionsStruct<FsReadOptions>()({ ...callFields, maxBytes: Schema.optional(Bytes) })

const readOptions = (method: string, options: FsReadOptions | undefined): typeof ReadSchema.Type =>
  runNow(optionsDecoder(method, ReadSchema)(options))

const { ignore, mode, owner } = copyOptions
const decodeWrite = checked(
  "SandboxFs.write",
  None,
  optionsStruct<FsWriteOptions>()({ ...callFields, mode, append: Schema.optional(Schema.Boolean) })
)
const decodeWatch = checked(
  "SandboxFs.watch",
  None,
  Schema.Struct({ ...callFields, recursive: Schema.optional(Schema.Boolean), onReady: Schema.optional(Func) })
)
const decodeCopy = checked(
  "SandboxFs.copyFromHost",
  None,
  optionsStruct<FsCopyOptions>()({ ...callFields, ignore, mode, owner })
)

const watchKinds = { Create: "create", Update: "update", Remove: "remove" } as const

const hostFailure = (path: string) => fileFailure("SandboxFs", "copy", path)
