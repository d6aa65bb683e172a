/** What the modules for agent frameworks share. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off
import * as Path from "node:path"
import { signals } from "../config/signals.ts"
import type { ExecHandle, ExitStatus } from "../promise/exec.ts"
import type { FsEntry } from "../promise/files.ts"
import type { CallOptions } from "../promise/options.ts"
import type { Sandbox } from "../promise/sandbox.ts"
import { LightboxError } from "../../LightboxError.ts"

/** The exit code as a shell reports it: 128 and the signal's number, if one ended the command. */
export const exitCodeOf = ({ code, signal }: Pick<ExitStatus, "code" | "signal">): number =>
  signal === undefined ? code : 128 + (typeof signal === "number" ? signal : signals[signal])

/** The kernel's code of a failed file operation, such as `"ENOENT"`. */
export const codeOf = (error: unknown): string | undefined =>
  error instanceof LightboxError && error.reason._tag === "FileError" ? error.reason.code : undefined

/** Whether an error says that there is no such file. */
export const isMissing = (error: unknown): boolean => codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR"

/** Returns a value instead, if there is no such file. */
export const unlessMissing = async <A, B>(result: Promise<A>, instead: B): Promise<A | B> => {
  try {
    return await result
  } catch (error) {
    if (isMissing(error)) return instead
    throw error
  }
}

/** Creates the folder of a file if writing fails without it. */
export const withFolder = async <A>(
  sandbox: Sandbox,
  path: string,
  write: () => Promise<A>,
  options: CallOptions
): Promise<A> => {
  try {
    return await write()
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error
    await sandbox.fs().mkdir(Path.posix.dirname(path), options)
    return await write()
  }
}

/** Runs functions of the same key one after the other, whether or not those before have failed. */
export const makeTurns = () => {
  const last = new Map<unknown, Promise<unknown>>()
  return async <A>(key: unknown, run: () => Promise<A>): Promise<A> => {
    const turn = (last.get(key) ?? Promise.resolve()).then(() => run())
    const over = Promise.allSettled([turn])
    last.set(key, over)
    try {
      return await turn
    } finally {
      if (last.get(key) === over) last.delete(key)
    }
  }
}

/** Whether an error has one of these reasons. */
export const isReason = (error: unknown, ...tags: ReadonlyArray<LightboxError["reason"]["_tag"]>): boolean =>
  error instanceof LightboxError && tags.includes(error.reason._tag)

/** Removes a file, a link itself, or a folder with its content. */
export const removeAll = async (sandbox: Sandbox, path: string, options: CallOptions): Promise<void> => {
  const fs = sandbox.fs()
  try {
    await fs.remove(path, options)
  } catch (error) {
    if (isMissing(error) || codeOf(error) === undefined) throw error
    await fs.removeDir(path, options)
  }
}

/** The directory that commands start in. */
export const baseOf = async (sandbox: Sandbox, options: CallOptions): Promise<string> =>
  (await sandbox.exec("pwd", [], { ...options, check: true })).stdout().replace(/\n$/, "")

/** Streams of a running command, and its exit code. What is not read is kept; what is canceled is dropped. */
export const streamsOf = (handle: ExecHandle) => {
  const controllers = new Map<string, ReadableStreamDefaultController<Uint8Array>>()
  const open = (kind: "stdout" | "stderr") =>
    new ReadableStream<Uint8Array>({
      start: (controller) => void controllers.set(kind, controller),
      cancel: () => void controllers.delete(kind)
    })
  const streams = { stdout: open("stdout"), stderr: open("stderr") }
  const end = async (): Promise<number> => {
    try {
      let exitCode = -1
      for await (const event of handle) {
        if (event.kind === "exited") exitCode = exitCodeOf(event)
        else if (event.kind !== "started") controllers.get(event.kind)?.enqueue(event.data)
      }
      for (const controller of controllers.values()) controller.close()
      return exitCode
    } catch (error) {
      for (const controller of controllers.values()) controller.error(error)
      throw error
    }
  }
  const ended = end()
  // Whoever waits sees it; nobody has to.
  ended.catch(() => {})
  return { ...streams, ended }
}

/**
 * Walks the tree below a folder, without following links, folder by folder in the order of names. Folders that vanish or
 * cannot be read are left out, and so are those that `isLeftOut` says.
 */
export async function* walk(
  sandbox: Sandbox,
  folder: string,
  isLeftOut: (path: string) => boolean
): AsyncGenerator<FsEntry> {
  for (const entry of await sandbox.fs().list(folder)) {
    if (isLeftOut(entry.path)) continue
    yield entry
    if (entry.kind !== "directory") continue
    try {
      yield* walk(sandbox, entry.path, isLeftOut)
    } catch (error) {
      if (codeOf(error) === undefined) throw error
    }
  }
}
