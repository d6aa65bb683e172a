/**
 * The files of build records: one per build, of JSON lines, which its process appends. While a build runs, the name of
 * its file contains its owner, so that a dead owner's record is never taken for a running build. Of builds that reuse a
 * result without running a step, only the last one of each result is kept: they are frequent and say little.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as FsSync from "node:fs"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import { unlessMissing } from "../host/durable.ts"
import { fileFailure } from "../host/fileFailure.ts"
import { isCode } from "../host/socket.ts"
import * as Owner from "../ownership/owner.ts"

/** Whether builds are recorded. A driver's layer sets it. */
export const Recorded = Context.Reference<boolean>("effect-lightbox/internal/store/records/Recorded", {
  defaultValue: () => true
})

export interface Limits {
  /** Maximum number of records. */
  readonly count: number
  /** Maximum age, in milliseconds. */
  readonly ageMillis: number
  /** Maximum size of all records together. */
  readonly bytes: number
}

export const limits: Limits = { count: 200, ageMillis: 30 * 86_400_000, bytes: 64 * 1024 * 1024 }

/** A larger file is not one of ours. */
const maxFileBytes = 64 * 1024 * 1024

export const folderOf = (home: string): string => Path.join(home, "lightbox", "builds")

const reusedFolder = (home: string): string => Path.join(folderOf(home), "reused")

const end = ".jsonl"

const fileName = /^([0-9a-z]+-[0-9a-z]+-[0-9a-z]+)(?:\.([0-9a-f]+))?\.jsonl$/

/** The file of a build that runs, or has ended. */
export const pathOf = (home: string, id: string, owner?: string): string =>
  Path.join(folderOf(home), owner === undefined ? `${id}${end}` : `${id}.${owner}${end}`)

/** The file of the last build that reused a result. */
const reusedPath = (home: string, { family, key }: Reused): string =>
  Path.join(reusedFolder(home), `${Crypto.hash("sha256", `${family}\n${key}`).slice(0, 24)}${end}`)

/** Writes a new file, for this user only. */
export const createFile = (path: string, content: string): void => {
  const write = () => {
    try {
      FsSync.writeFileSync(path, content, { flag: "wx", mode: 0o600 })
    } catch (cause) {
      // A full disk leaves the beginning.
      if (isCode(cause, "ENOSPC", "EDQUOT")) FsSync.rmSync(path, { force: true })
      throw cause
    }
  }
  try {
    write()
  } catch (cause) {
    if (!isCode(cause, "ENOENT")) throw cause
    FsSync.mkdirSync(Path.dirname(path), { recursive: true, mode: 0o700 })
    write()
  }
}

/** Writes the record of a build that has ended. */
export const writeEnded = (home: string, id: string, content: string): void => createFile(pathOf(home, id), content)

/**
 * Writes the record of a build that reused a result over that of the last one: in place, because file systems flush what
 * is truncated or replaced. What an older, longer record leaves behind the end is not read. To cut it off could cut the
 * record that another process writes at the same time.
 */
export const writeReused = (home: string, build: Reused, content: string): void => {
  const path = reusedPath(home, build)
  let file: number
  try {
    file = FsSync.openSync(path, FsSync.constants.O_WRONLY)
  } catch (cause) {
    if (!isCode(cause, "ENOENT")) throw cause
    return createFile(path, content)
  }
  try {
    FsSync.writeSync(file, content, 0)
  } finally {
    FsSync.closeSync(file)
  }
}

/** A result, and the name that a build gives it. */
export interface Reused {
  /** Without the token of a scoped build. */
  readonly family: string
  readonly key: string
}

/** A file that a running build appends to. */
export interface Open {
  /** Throws if the file system refuses it. */
  readonly append: (content: string) => void
  /** Appends what the next call of either replaces. */
  readonly draft: (content: string) => void
  /** Marks the build as ended. */
  readonly close: () => void
}

export const open = (home: string, id: string, owner: string, content: string): Open => {
  const path = pathOf(home, id, owner)
  createFile(path, content)
  const file = FsSync.openSync(path, "a")
  /** Where a draft begins. */
  let size: number | undefined
  const append = (content: string): void => {
    if (size !== undefined) FsSync.ftruncateSync(file, size)
    size = undefined
    let rest = Buffer.from(content)
    // A disk that is almost full takes a part.
    while (rest.length > 0) rest = rest.subarray(FsSync.writeSync(file, rest))
  }
  return {
    append,
    draft: (content) => {
      const before = size ?? FsSync.fstatSync(file).size
      append(content)
      size = before
    },
    close: () => {
      FsSync.closeSync(file)
      FsSync.renameSync(path, pathOf(home, id))
    }
  }
}

// =============================================================================
// Reading
// =============================================================================

/** The file of a record. */
export interface Entry {
  readonly path: string
  /** Unknown for a reused result, whose file is named after the result. */
  readonly id: string | undefined
  /** Of a build that has not ended. */
  readonly owner: string | undefined
}

const attempt = <A>(method: string, path: string, run: () => Promise<A>): Effect.Effect<A, LightboxError> =>
  Effect.tryPromise({ try: run, catch: fileFailure(method, "read", path) })

export const entries = (method: string, home: string): Effect.Effect<ReadonlyArray<Entry>, LightboxError> =>
  attempt(method, folderOf(home), () => entriesIn(home))

const entriesIn = async (home: string): Promise<ReadonlyArray<Entry>> => {
  const [built, reused] = await Promise.all(
    [folderOf(home), reusedFolder(home)].map(async (folder) => (await unlessMissing(Fs.readdir(folder))) ?? [])
  )
  return [
    ...(built ?? []).flatMap((name): ReadonlyArray<Entry> => {
      const [, id, owner] = fileName.exec(name) ?? []
      return id === undefined ? [] : [{ path: Path.join(folderOf(home), name), id, owner }]
    }),
    ...(reused ?? []).flatMap((name): ReadonlyArray<Entry> =>
      name.endsWith(end) ? [{ path: Path.join(reusedFolder(home), name), id: undefined, owner: undefined }] : []
    )
  ]
}

/** The lines of a file. Of an incomplete text, those at its ends. */
export interface Lines {
  readonly lines: ReadonlyArray<string>
  readonly isWhole: boolean
}

/** The first and the last line of a record are shorter. */
const endBytes = 128 * 1024

/** Reads a record, or only its beginning and its end. Returns nothing if it was removed or is not a record. */
export const read = (
  method: string,
  home: string,
  { id, owner, path }: Entry,
  part: "all" | "ends"
): Effect.Effect<Lines | undefined, LightboxError> =>
  attempt(method, path, async () => {
    const file =
      (await unlessMissing(Fs.open(path))) ??
      // The build has ended since the folder was listed.
      (id === undefined || owner === undefined ? undefined : await unlessMissing(Fs.open(pathOf(home, id))))
    if (file === undefined) return undefined
    try {
      const { size } = await file.stat()
      if (size > maxFileBytes) return undefined
      if (part === "all" || size <= 2 * endBytes) {
        return { lines: (await file.readFile("utf8")).split("\n"), isWhole: true }
      }
      const at = async (position: number) =>
        (await file.read(Buffer.alloc(endBytes), 0, endBytes, position)).buffer.toString("utf8").split("\n")
      const [head, tail] = await Promise.all([at(0), at(size - endBytes)])
      // Both are cut in the middle of a line.
      return { lines: [...head.slice(0, -1), ...tail.slice(1)], isWhole: false }
    } finally {
      await file.close()
    }
  })

/** What became of a build whose record has no end. */
export const fateOf = (
  home: string,
  owner: string | undefined
): Effect.Effect<"running" | "lost" | "unknown", LightboxError> =>
  owner === undefined
    ? Effect.succeed("lost")
    : Effect.map(Owner.find(home, owner), ({ state }) =>
        // An owner exists before its first record.
        state === "alive" ? "running" : state === "elsewhere" ? "unknown" : "lost"
      )

// =============================================================================
// Pruning
// =============================================================================

/** Ends the records of dead processes, and removes those beyond the limits. What cannot be removed stays. */
export const prune = Effect.fnUntraced(function* (home: string, wanted: Limits = limits): Effect.fn.Return<void> {
  const quietly = <A>(run: () => Promise<A>) => Effect.orElseSucceed(Effect.tryPromise(run), () => undefined)
  const kept = yield* Effect.forEach(
    (yield* quietly(() => entriesIn(home))) ?? [],
    Effect.fnUntraced(function* ({ id, owner, path }) {
      const fate = owner === undefined ? "ended" : yield* Effect.orElseSucceed(fateOf(home, owner), () => "unknown")
      if (fate === "running") return []
      const ended = fate === "lost" && id !== undefined ? pathOf(home, id) : path
      if (ended !== path) yield* quietly(() => Fs.rename(path, ended))
      const stats = yield* quietly(() => Fs.stat(ended))
      return stats === undefined ? [] : [{ path: ended, size: stats.size, at: stats.mtimeMs }]
    }),
    { concurrency: 16 }
  )
  yield* Effect.promise(() => removeBeyond(wanted, kept.flat()))
})

/** A file, and when it was written last. */
interface Written {
  readonly path: string
  readonly size: number
  readonly at: number
}

/** Removes the oldest files beyond limits. What cannot be removed stays. */
export const removeBeyond = async (
  { ageMillis, bytes, count }: Limits,
  files: ReadonlyArray<Written>
): Promise<void> => {
  const now = Date.now()
  let size = 0
  for (const [position, file] of files.toSorted((a, b) => b.at - a.at).entries()) {
    size += file.size
    if (position < count && size <= bytes && now - file.at <= ageMillis) continue
    await Fs.rm(file.path, { force: true }).catch(() => {})
  }
}

/** Whether there are more records than are kept. */
export const isFull = (home: string): boolean => {
  try {
    return FsSync.readdirSync(folderOf(home)).length > limits.count
  } catch {
    return false
  }
}
