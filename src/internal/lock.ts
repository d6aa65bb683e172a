/**
 * Locks between the processes of one host that a dead process can not keep.
 *
 * A holder listens on a Unix socket, and a file with the lock's next number says
 * where. The file with the highest number is the lock: it is held while its
 * socket answers, and the kernel closes a socket with its process, however that
 * ends. A number is made exclusively (link(2) fails if it is there) and the
 * highest is never removed, so of all who find the lock free one gets it.
 *
 * Those who wait stay connected to the holder: they learn of its end at once,
 * and read meanwhile what it tells them. Lock libraries for Node.js renew a
 * timestamp instead, which a busy or suspended machine fails to do in time; the
 * kernel's file locks would need a native module.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Timers from "node:timers/promises"
import { LightboxError, Unknown } from "../LightboxError.ts"

/** A lock that is held. */
export interface Lock {
  /** Tells all who wait a line of text. Those who do not read fast enough miss some. */
  readonly tell: (line: string) => void
}

/** What those who wait are told; it ends when the lock is let go. */
export type Waiting = Stream.Stream<string>

const attempt = <A>(run: () => Promise<A>): Effect.Effect<A, LightboxError> =>
  Effect.tryPromise({
    try: run,
    catch: (cause) =>
      new LightboxError({
        method: "Lock",
        reason: new Unknown({ problem: cause instanceof Error ? cause.message : String(cause), cause })
      })
  })

const isCode = (cause: unknown, ...codes: ReadonlyArray<string>): boolean =>
  Predicate.hasProperty(cause, "code") && codes.some((code) => cause.code === code)

/** Locks are files in a folder; a socket's path can have about a hundred characters only. */
const idOf = (name: string): string => Crypto.createHash("sha256").update(name).digest("hex").slice(0, 16)

/**
 * Takes a lock for the life of the scope if nobody holds it; otherwise gives
 * what its holder tells.
 */
export const tryAcquire = Effect.fnUntraced(function* (
  folder: string,
  name: string
): Effect.fn.Return<{ readonly lock: Lock } | { readonly waiting: Waiting }, LightboxError, Scope.Scope> {
  const id = idOf(name)
  yield* attempt(() => Fs.mkdir(folder, { recursive: true, mode: 0o700 }))
  for (;;) {
    const highest = yield* highestNumber(folder, id)
    const holder = yield* connect(folder, id, highest)
    if (Option.isSome(holder)) return { waiting: holder.value }

    const number = highest + 1
    const lock = yield* claim(folder, id, number)
    if (Option.isNone(lock)) continue
    if ((yield* highestNumber(folder, id)) === number) {
      yield* removeBelow(folder, id, number)
      return { lock: lock.value }
    }
    // Others came and went in between: the number is one of the past, and holds nothing.
    yield* attempt(() => Fs.rm(numbered(folder, id, number), { force: true }))
  }
})

/** Takes a lock for the life of the scope, waiting until it is let go. */
export const acquire = (
  folder: string,
  name: string,
  onLine: (line: string) => Effect.Effect<void> = () => Effect.void
): Effect.Effect<Lock, LightboxError, Scope.Scope> =>
  Effect.flatMap(tryAcquire(folder, name), (result) =>
    "lock" in result
      ? Effect.succeed(result.lock)
      : Effect.andThen(Stream.runForEach(result.waiting, onLine), acquire(folder, name, onLine))
  )

const numbered = (folder: string, id: string, number: number) => Path.join(folder, `${id}.${number}`)

const highestNumber = (folder: string, id: string): Effect.Effect<number, LightboxError> =>
  Effect.map(
    attempt(() => Fs.readdir(folder)),
    (entries) =>
      entries.reduce((highest, entry) => {
        const number = entry.startsWith(`${id}.`) ? Number(entry.slice(id.length + 1)) : Number.NaN
        return number > highest ? number : highest
      }, 0)
  )

/** Listens, and makes the number say where; nothing if the number is there already. */
const claim = Effect.fnUntraced(function* (
  folder: string,
  id: string,
  number: number
): Effect.fn.Return<Option.Option<Lock>, LightboxError, Scope.Scope> {
  const socket = Path.join(folder, `${id}-${Crypto.randomBytes(6).toString("hex")}`)
  const lock = yield* Effect.acquireRelease(
    attempt(() => listen(socket)),
    ({ close }) => Effect.promise(close)
  )
  const isMade = yield* attempt(async () => {
    const draft = `${socket}.draft`
    await Fs.writeFile(draft, Path.basename(socket))
    try {
      await Fs.link(draft, numbered(folder, id, number))
      return true
    } catch (cause) {
      if (isCode(cause, "EEXIST")) return false
      throw cause
    } finally {
      await Fs.rm(draft, { force: true })
    }
  })
  return isMade ? Option.some(lock) : Option.none()
})

const slowReaderBytes = 1024 * 1024

const listen = (path: string): Promise<Lock & { readonly close: () => Promise<void> }> =>
  new Promise((resolve, reject) => {
    const readers = new Set<Net.Socket>()
    const server = Net.createServer((reader) => {
      readers.add(reader)
      // Holding a lock must not keep a process alive that has nothing else to do.
      reader.unref()
      reader.on("error", () => reader.destroy())
      reader.on("close", () => readers.delete(reader))
    })
    server.unref()
    server.on("error", reject)
    server.listen(path, () =>
      resolve({
        tell: (line) => {
          for (const reader of readers) if (reader.writableLength < slowReaderBytes) reader.write(`${line}\n`)
        },
        close: async () => {
          server.close()
          for (const reader of readers) reader.destroy()
          await Fs.rm(path, { force: true })
        }
      })
    )
  })

/** Connects to the holder of a number, if it lives. */
const connect = (
  folder: string,
  id: string,
  number: number
): Effect.Effect<Option.Option<Waiting>, LightboxError, Scope.Scope> =>
  number === 0
    ? Effect.succeedNone
    : Effect.acquireRelease(
        attempt(async () => {
          try {
            const socket = await Fs.readFile(numbered(folder, id, number), "utf8")
            return Option.some(await dialPatiently(Path.join(folder, socket)))
          } catch (cause) {
            if (isCode(cause, "ENOENT", "ECONNREFUSED", "ECONNRESET")) return Option.none()
            throw cause
          }
        }),
        (holder) => Effect.sync(() => Option.map(holder, (socket) => socket.destroy()))
      ).pipe(Effect.map(Option.map(linesOf)))

const dial = (path: string): Promise<Net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = Net.connect(path, () => {
      socket.off("error", reject)
      socket.on("error", () => socket.destroy())
      resolve(socket)
    })
    socket.once("error", reject)
  })

/** A holder that so many try to reach at once that its queue is full is alive. */
const dialPatiently = async (path: string): Promise<Net.Socket> => {
  try {
    return await dial(path)
  } catch (cause) {
    if (!isCode(cause, "EAGAIN")) throw cause
    await Timers.setTimeout(50)
    return dialPatiently(path)
  }
}

const linesOf = (socket: Net.Socket): Waiting =>
  Stream.fromAsyncIterable<Uint8Array, unknown>(socket, (cause) => cause).pipe(
    // A holder that dies resets the connection: for those who wait that is its end.
    Stream.catch(() => Stream.empty),
    Stream.decodeText,
    Stream.splitLines
  )

/** Removes the numbers of the past, with the sockets that dead holders left. */
const removeBelow = (folder: string, id: string, number: number): Effect.Effect<void, LightboxError> =>
  attempt(async () => {
    for (const entry of await Fs.readdir(folder)) {
      const other = entry.startsWith(`${id}.`) ? Number(entry.slice(id.length + 1)) : Number.NaN
      if (!(other < number)) continue
      const path = Path.join(folder, entry)
      const socket = await Fs.readFile(path, "utf8").catch(() => undefined)
      if (socket !== undefined && socket !== "") await Fs.rm(Path.join(folder, socket), { force: true })
      await Fs.rm(path, { force: true })
    }
  })
