/**
 * Sandboxes for LangChain's deepagents: a backend whose file tools use the guest's file interface, so that they work in
 * images without `find`, `grep` and `awk`. Nothing of deepagents is loaded; its types are met structurally.
 *
 * **Example** (An agent with a sandbox)
 *
 * ```ts
 * import { sandboxBackend } from "effect-lightbox/deepagents"
 * import { launchSandbox } from "effect-lightbox/promise"
 *
 * await using sandbox = await launchSandbox({ image: "python:3.12", network: "none" })
 * export const backend = await sandboxBackend(sandbox, { workdir: "/work" })
 * // createDeepAgent({ model, backend })
 * ```
 *
 * @since 0.1.0
 */
// @effect-diagnostics asyncFunction:off globalDate:off
import * as Schema from "effect/Schema"
import { isUtf8 } from "node:buffer"
import * as Path from "node:path"
import {
  baseOf,
  codeOf,
  exitCodeOf,
  isMissing,
  isReason,
  removeAll,
  unlessMissing,
  walk,
  withFolder
} from "./internal/adapters/guest.ts"
import { globPattern } from "./internal/adapters/glob.ts"
import { isText, mediaTypeOf } from "./internal/adapters/mediaTypes.ts"
import { Bytes, GuestPath, notBlank } from "./internal/config/schemas.ts"
import { callFields, checked, Millis, None } from "./internal/promise/input.ts"
import type * as Promises from "./promise.ts"

// =============================================================================
// Models
// =============================================================================

/**
 * Why one file could not be moved.
 *
 * @category models
 * @since 0.1.0
 */
export type FileOperationError = "file_not_found" | "permission_denied" | "is_directory" | "invalid_path"

/**
 * A file or folder. Paths of folders end with a slash in a listing. `size` is in bytes, `modified_at` as in ISO 8601.
 *
 * @category models
 * @since 0.1.0
 */
export interface FileInfo {
  path: string
  is_dir: boolean
  size: number
  modified_at?: string
}

/**
 * A line that contains the text that was searched for. Lines count from 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface GrepMatch {
  path: string
  line: number
  text: string
}

/**
 * Part of a file. Text has line numbers, as deepagents' own sandboxes show it; binary files are returned whole.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReadResult {
  error?: string
  content?: string | Uint8Array
  mimeType?: string
  /** Lines of the file. */
  totalLines?: number
  /** First and last line of `content`, from 1. */
  startLine?: number
  endLine?: number
  /** Offset, from 0, of the next line. Missing at the end of the file. */
  nextOffset?: number
}

/**
 * A change of a file. `filesUpdate` is `null`: the sandbox has the file, not the agent's state.
 *
 * @category models
 * @since 0.1.0
 */
export interface ChangeResult {
  error?: string
  path?: string
  filesUpdate?: null
  /** Replacements that an edit made. */
  occurrences?: number
}

/**
 * The sandbox as deepagents sees it: `SandboxBackendProtocolV2`. Relative paths start at the working directory.
 *
 * Methods resolve to an `error` for what a model can do something about, such as a missing file, and reject for the rest,
 * such as a sandbox that has ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxBackend {
  /** Name of the sandbox. */
  readonly id: string
  /** `false` once it is closed. */
  readonly isRunning: boolean
  /** Runs a command in a shell, and returns both outputs as one, in the order in which they were written. */
  execute(command: string): Promise<{ output: string; exitCode: number | null; truncated: boolean }>
  /** Lists a folder, sorted by name. One that does not exist is empty. */
  ls(path: string): Promise<{ error?: string; files?: Array<FileInfo> }>
  /** Reads up to `limit` lines (default: 500) from `offset` (default: 0) of a text file, or a whole binary file. */
  read(filePath: string, offset?: number, limit?: number): Promise<ReadResult>
  /** Reads a whole file. */
  readRaw(filePath: string): Promise<{
    error?: string
    data?: { content: string | Uint8Array; mimeType: string; created_at: string; modified_at: string }
  }>
  /**
   * Searches text files below `path` (default: the working directory) for a literal text. `glob` selects files by name.
   * `truncated` if there are more than `maxCount` matches, or files over 16 MiB, which are skipped.
   */
  grep(
    pattern: string,
    path?: string | null,
    glob?: string | null,
    maxCount?: number | null
  ): Promise<{ error?: string; matches?: Array<GrepMatch>; truncated?: boolean }>
  /**
   * Finds files and folders by a pattern relative to `path` (default: the working directory). Does not follow links.
   * `truncated` after 50,000 of them.
   */
  glob(pattern: string, path?: string): Promise<{ error?: string; files?: Array<FileInfo>; truncated?: boolean }>
  /** Writes a file, replacing it if it exists, and creates its folders. Content of binary files is base64. */
  write(filePath: string, content: string): Promise<ChangeResult>
  /** Replaces a text in a file, which must be in it once, unless `replaceAll`. */
  edit(filePath: string, oldString: string, newString: string, replaceAll?: boolean): Promise<ChangeResult>
  /** Removes a file, or a folder with its content. */
  delete(filePath: string): Promise<ChangeResult>
  /** Writes files, each with its own outcome. */
  uploadFiles(
    files: ReadonlyArray<readonly [path: string, content: Uint8Array]>
  ): Promise<Array<{ path: string; error: FileOperationError | null }>>
  /** Reads files, each with its own outcome. */
  downloadFiles(
    paths: ReadonlyArray<string>
  ): Promise<Array<{ path: string; content: Uint8Array | null; error: FileOperationError | null }>>
  /** Removes the sandbox, if this process launched it. */
  close(): Promise<void>
}

/**
 * Options of {@link sandboxBackend}.
 *
 * @category options
 * @since 0.1.0
 */
export interface SandboxBackendOptions extends Promises.CallOptions {
  /** Working directory, created if it does not exist. Default: where the sandbox's commands start. */
  readonly workdir?: string | undefined
  /** Shell that runs commands, as `SHELL -c COMMAND`. Default: `"sh"`. */
  readonly shell?: string | undefined
  /** Time limit for a command, in milliseconds. Beyond it, the command is killed and its exit code is 124. Default: none. */
  readonly timeoutMs?: number | undefined
  /** Limit for the output of a command, such as `"1M"`. What is over it is dropped. Default: 1 MiB. */
  readonly maxOutput?: Promises.ExecOptions["maxOutput"]
}

const decode = checked(
  "sandboxBackend",
  None,
  Schema.Struct({
    ...callFields,
    workdir: Schema.optional(GuestPath),
    shell: Schema.optional(notBlank("the name of a shell")),
    timeoutMs: Schema.optional(Millis),
    maxOutput: Schema.optional(Bytes)
  })
)

// =============================================================================
// Backend
// =============================================================================

const maxFound = 50_000

const maxSearched = 16 * 1024 * 1024

/** Files that are read at a time. */
const batchSize = 32

/** What a search must not enter: files of the kernel that do not end, and those of this boot unless it starts there. */
const isLeftOut =
  (start: string) =>
  (path: string): boolean =>
    /^\/(?:proc|sys|dev)(?:\/|$)/.test(path) || (isOfThisBoot(path) && !isOfThisBoot(start))

const isOfThisBoot = (path: string): boolean => /^\/run(?:\/|$)/.test(path)

const operationError = (error: unknown): FileOperationError => {
  if (isReason(error, "InvalidConfig")) return "invalid_path"
  switch (codeOf(error)) {
    case "ENOENT":
      return "file_not_found"
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return "permission_denied"
    case "EISDIR":
      return "is_directory"
    case "ENOTDIR":
    case "EINVAL":
    case "ELOOP":
    case "ENAMETOOLONG":
      return "invalid_path"
    default:
      throw error
  }
}

/** The lines of a text; what ends with a line end has no empty line after it. */
const linesOf = (text: string): ReadonlyArray<string> => {
  const lines = text.split("\n")
  return lines.at(-1) === "" ? lines.slice(0, -1) : lines
}

const wholeNumber = (value: number): number => (Number.isFinite(value) ? Math.max(0, Math.floor(value)) : 0)

/**
 * Makes a backend of deepagents from a sandbox. The sandbox stays the caller's to remove, or `close` does.
 *
 * @category constructors
 * @since 0.1.0
 */
export const sandboxBackend = async (
  sandbox: Promises.Sandbox,
  options?: SandboxBackendOptions
): Promise<SandboxBackend> => {
  const { maxOutput = 1024 * 1024, shell = "sh", signal, timeoutMs, workdir } = decode({}, options)
  const fs = sandbox.fs()
  if (workdir !== undefined) await fs.mkdir(workdir, { signal })
  const base = workdir ?? (await baseOf(sandbox, { signal }))
  const at = (path: string): string => Path.posix.resolve(base, path)
  let isRunning = true

  const infoOf = (
    path: string,
    { kind, modified, size }: Pick<Promises.FsEntry, "kind" | "modified" | "size">
  ): FileInfo => ({
    path,
    is_dir: kind === "directory",
    size,
    ...(modified === null ? {} : { modified_at: modified.toISOString() })
  })

  const bytesOf = async (path: string): Promise<Uint8Array | undefined> => {
    try {
      return await fs.read(at(path))
    } catch (error) {
      operationError(error)
      return undefined
    }
  }

  const store = async (path: string, data: Uint8Array): Promise<FileOperationError | null> => {
    try {
      await withFolder(sandbox, at(path), () => fs.write(at(path), data), {})
      return null
    } catch (error) {
      return operationError(error)
    }
  }

  const changed = async (path: string, data: Uint8Array, occurrences?: number): Promise<ChangeResult> => {
    const error = await store(path, data)
    if (error !== null) return { error: `Failed to write '${path}': ${error}` }
    return { path, filesUpdate: null, ...(occurrences === undefined ? {} : { occurrences }) }
  }

  /** Everything below a folder, and nothing below one that does not exist. */
  async function* below(folder: string): AsyncGenerator<Promises.FsEntry> {
    try {
      yield* walk(sandbox, folder, isLeftOut(folder))
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }

  /** A link is what it points to, unless that does not exist. */
  const targetOf = async (link: Promises.FsEntry): Promise<Promises.FsMetadata | Promises.FsEntry> => {
    try {
      return await fs.stat(link.path)
    } catch (error) {
      if (isMissing(error) || codeOf(error) === "ELOOP") return link
      throw error
    }
  }

  /** The files to search, and whether some are left out. */
  const searched = async (path: string, glob: string | null): Promise<readonly [ReadonlyArray<string>, boolean]> => {
    const info = await unlessMissing(fs.stat(path), undefined)
    if (info?.kind === "file") return [[path], false]
    const wanted = glob === null ? undefined : globPattern(glob)
    const files: Array<string> = []
    let leftOut = false
    for await (const { kind, path: file, size } of below(path)) {
      const isWanted = kind === "file" && isText(mediaTypeOf(file)) && wanted?.(Path.posix.basename(file)) !== false
      if (!isWanted) continue
      if (size > maxSearched) leftOut = true
      else files.push(file)
    }
    return [files, leftOut]
  }

  const matchesIn = async (path: string, pattern: string): Promise<ReadonlyArray<GrepMatch>> => {
    const bytes = await bytesOf(path)
    if (bytes === undefined || bytes.includes(0)) return []
    return linesOf(Buffer.from(bytes).toString()).flatMap((text, index) =>
      text.includes(pattern) ? [{ path, line: index + 1, text }] : []
    )
  }

  return {
    id: sandbox.name,
    get isRunning() {
      return isRunning
    },
    execute: async (command) => {
      // One pipe for both outputs keeps their order.
      const argv = ["-c", 'exec "$0" -c "$1" 2>&1', shell, command]
      const kept: Array<Uint8Array> = []
      let left = maxOutput
      let truncated = false
      let exitCode: number | null = null
      try {
        for await (const event of await sandbox.execStream(shell, argv, { cwd: base, timeoutMs })) {
          if (event.kind === "stdout" || event.kind === "stderr") {
            truncated ||= event.data.length > left
            kept.push(event.data.subarray(0, left))
            left = Math.max(0, left - event.data.length)
          }
          if (event.kind === "exited") exitCode = exitCodeOf(event)
        }
      } catch (error) {
        if (!isReason(error, "TimedOut")) throw error
        kept.push(Buffer.from(`\nThe command was killed after ${timeoutMs} ms.`))
        exitCode = 124
      }
      return { output: Buffer.concat(kept).toString(), exitCode, truncated }
    },
    ls: async (path) => {
      try {
        const entries = await fs.list(at(path))
        const files = entries.map(async (entry) => {
          const info = entry.kind === "symlink" ? await targetOf(entry) : entry
          return infoOf(info.kind === "directory" ? `${entry.path}/` : entry.path, info)
        })
        return { files: await Promise.all(files) }
      } catch (error) {
        const reason = operationError(error)
        return isMissing(error) ? { files: [] } : { error: `Cannot list '${path}': ${reason}` }
      }
    },
    read: async (filePath, offset = 0, limit = 500) => {
      const mimeType = mediaTypeOf(filePath)
      const bytes = await bytesOf(filePath)
      if (bytes === undefined) return { error: `File '${filePath}' not found` }
      if (!isText(mimeType)) return { content: bytes, mimeType }
      if (bytes.length === 0) return { content: "System reminder: File exists but has empty contents\n", mimeType }
      const lines = linesOf(Buffer.from(bytes).toString())
      const start = wholeNumber(offset)
      const end = Math.min(start + wholeNumber(limit), lines.length)
      const content = lines
        .slice(start, end)
        .map((line, index) => `${String(start + index + 1).padStart(6)}\t${line}\n`)
        .join("")
      if (end <= start) return { content, mimeType }
      return {
        content,
        mimeType,
        totalLines: lines.length,
        startLine: start + 1,
        endLine: end,
        ...(end < lines.length ? { nextOffset: end } : {})
      }
    },
    readRaw: async (filePath) => {
      const bytes = await bytesOf(filePath)
      if (bytes === undefined) return { error: `File '${filePath}' not found` }
      const mimeType = mediaTypeOf(filePath)
      const { modified } = await fs.stat(at(filePath))
      const time = (modified ?? new Date()).toISOString()
      const content = isText(mimeType) ? Buffer.from(bytes).toString() : bytes
      return { data: { content, mimeType, created_at: time, modified_at: time } }
    },
    grep: async (pattern, path, glob, maxCount) => {
      const [files, leftOut] = await searched(at(path ?? "."), glob ?? null)
      const most = maxCount ?? Number.POSITIVE_INFINITY
      const matches: Array<GrepMatch> = []
      for (let first = 0; first < files.length && matches.length <= most; first += batchSize) {
        const batch = files.slice(first, first + batchSize)
        matches.push(...(await Promise.all(batch.map((file) => matchesIn(file, pattern)))).flat())
      }
      const isCut = matches.length > most
      return { matches: isCut ? matches.slice(0, most) : matches, ...(isCut || leftOut ? { truncated: true } : {}) }
    },
    glob: async (pattern, path = ".") => {
      const folder = at(path)
      const wanted = globPattern(pattern)
      const files: Array<FileInfo> = []
      let seen = 0
      for await (const entry of below(folder)) {
        if (++seen > maxFound) break
        const relative = Path.posix.relative(folder, entry.path)
        if (wanted(relative)) files.push(infoOf(relative, entry))
      }
      return { files, truncated: seen > maxFound }
    },
    write: (filePath, content) =>
      changed(filePath, isText(mediaTypeOf(filePath)) ? Buffer.from(content) : Buffer.from(content, "base64")),
    edit: async (filePath, oldString, newString, replaceAll = false) => {
      const bytes = await bytesOf(filePath)
      if (bytes === undefined) return { error: `Error: File '${filePath}' not found` }
      if (!isUtf8(bytes)) return { error: `Error: File '${filePath}' is not text in UTF-8` }
      const text = Buffer.from(bytes).toString()
      if (oldString === "") {
        if (text !== "") return { error: "oldString must not be empty unless the file is empty" }
        if (newString === "") return { path: filePath, filesUpdate: null, occurrences: 0 }
        return await changed(filePath, Buffer.from(newString), 1)
      }
      const parts = text.split(oldString)
      const count = parts.length - 1
      if (count === 0) return { error: `String not found in file '${filePath}'` }
      if (oldString === newString) return { path: filePath, filesUpdate: null, occurrences: 1 }
      if (count > 1 && !replaceAll) {
        return { error: `Multiple occurrences found in '${filePath}'. Use replaceAll=true to replace all.` }
      }
      return await changed(filePath, Buffer.from(parts.join(newString)), count)
    },
    delete: async (filePath) => {
      const path = at(filePath)
      try {
        await removeAll(sandbox, path, {})
        return { path: filePath, filesUpdate: null }
      } catch (error) {
        if (isMissing(error)) return { error: `Error: '${filePath}' not found` }
        return { error: `Error deleting file '${filePath}': ${operationError(error)}` }
      }
    },
    uploadFiles: async (files) => {
      const outcomes: Array<{ path: string; error: FileOperationError | null }> = []
      // One after the other: a path may be the folder of a later one.
      for (const [path, content] of files) outcomes.push({ path, error: await store(path, content) })
      return outcomes
    },
    downloadFiles: (paths) =>
      Promise.all(
        paths.map(async (path) => {
          try {
            return { path, content: await fs.read(at(path)), error: null }
          } catch (error) {
            return { path, content: null, error: operationError(error) }
          }
        })
      ),
    close: async () => {
      isRunning = false
      await sandbox[Symbol.asyncDispose]()
    }
  }
}
