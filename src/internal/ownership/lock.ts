/**
 * Locks between the processes of one host, which end with their process.
 *
 * A holder listens on a Unix socket, and a numbered link points to the socket. The lock is held while the socket
 * answers, and the kernel closes a socket with its process. Processes that find the lock free try to create the link
 * with the next number (symlink(2) fails if it exists). The winner holds the lock if the other numbers have not changed
 * meanwhile. A link is created whole or not at all, so neither a full disk nor a power cut leaves half of one.
 *
 * Waiting processes stay connected to the holder: they learn of its end at once, and read its lines meanwhile. Lock
 * libraries for Node.js renew a timestamp instead, which fails in a busy or suspended machine; file locks of the kernel
 * would need a native module.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import { unlessMissing } from "../host/durable.ts"
import { fileFailure } from "../host/fileFailure.ts"
import { dial, isAnswered, isCode, listen, type Listener } from "../host/socket.ts"

/** A held lock, with lines to and from waiting processes. */
export type Lock = Pick<Listener, "send" | "received">

/** The lines of the holder. Ends when the lock is released. */
export type Waiting = Stream.Stream<string>

const attempt = <A>(folder: string, run: () => Promise<A>): Effect.Effect<A, LightboxError> =>
  Effect.tryPromise({ try: run, catch: fileFailure("Lock", "lock", folder) })

/** Short, as the path of a socket is limited to about a hundred characters. */
const idOf = (name: string): string => Crypto.createHash("sha256").update(name).digest("hex").slice(0, 12)

/**
 * Acquires a lock for the scope if it is free. Otherwise returns the lines of its holder, which receives `message`
 * while the scope is open.
 */
export const tryAcquire = Effect.fnUntraced(function* (
  folder: string,
  name: string,
  message?: string
): Effect.fn.Return<{ readonly lock: Lock } | { readonly waiting: Waiting }, LightboxError, Scope.Scope> {
  const id = idOf(name)
  yield* attempt(folder, () => Fs.mkdir(folder, { recursive: true, mode: 0o700 }))
  for (;;) {
    const numbers = yield* read(folder, id)
    const waiting = yield* connect(folder, numbers, message)
    if (Option.isSome(waiting)) return { waiting: waiting.value }
    const lock = yield* takeOver(folder, id, numbers)
    if (Option.isSome(lock)) return { lock: lock.value }
  }
})

/** Acquires a lock that seemed free. Returns nothing if another process was faster. */
const takeOver = Effect.fnUntraced(function* (
  folder: string,
  id: string,
  seen: ReadonlyArray<Numbered>
): Effect.fn.Return<Option.Option<Lock>, LightboxError, Scope.Scope> {
  const number = Math.max(0, ...seen.map(({ number }) => number)) + 1
  const claimed = yield* claim(folder, id, number)
  if (Option.isNone(claimed)) return claimed
  // If others have acquired and released it since the numbers were read, this number proves nothing.
  const others = (yield* read(folder, id)).filter((other) => other.number !== number)
  const isUnchanged =
    others.length === seen.length &&
    others.every((other) => seen.some(({ number, socket }) => other.number === number && other.socket === socket))
  if (isUnchanged) {
    yield* attempt(folder, async () => {
      for (const { path, socket } of others) {
        if (socket !== undefined) await Fs.rm(socket, { force: true })
        await Fs.rm(path, { force: true })
      }
    })
    return claimed
  }
  yield* attempt(folder, claimed.value.close)
  return Option.none()
})

/** Repeats an attempt to acquire a lock for the scope until it is free. */
export const whenFree = Effect.fnUntraced(function* <Held, R>(
  tryLock: Effect.Effect<
    { readonly lock: Held } | { readonly waiting: Stream.Stream<string, LightboxError> },
    LightboxError,
    R
  >
): Effect.fn.Return<Held, LightboxError, Exclude<R, Scope.Scope> | Scope.Scope> {
  const scope = yield* Effect.scope
  for (;;) {
    const attempt = yield* Scope.fork(scope)
    const result = yield* Scope.provide(tryLock, attempt)
    if ("lock" in result) return result.lock
    yield* Stream.runDrain(result.waiting)
    yield* Scope.close(attempt, Exit.void)
  }
})

/** Acquires a lock for the scope, waiting until it is released. */
export const acquire = (folder: string, name: string): Effect.Effect<Lock, LightboxError, Scope.Scope> =>
  whenFree(tryAcquire(folder, name))

/** A number of a lock, and the path of its creator's socket, unless it does not point to one. */
interface Numbered {
  readonly number: number
  readonly path: string
  readonly socket: string | undefined
}

const read = (folder: string, id: string): Effect.Effect<ReadonlyArray<Numbered>, LightboxError> =>
  attempt(folder, async () => {
    for (;;) {
      const entries = (await Fs.readdir(folder)).filter((entry) => numberOf(id, entry) !== undefined)
      const numbers = await Promise.all(entries.map((entry) => readNumber(folder, entry)))
      // If one has been removed since, the listing may be incomplete.
      if (numbers.every((number) => number !== undefined)) return numbers
    }
  })

const numberOf = (id: string, entry: string): number | undefined => {
  const number = entry.startsWith(`${id}.`) ? entry.slice(id.length + 1) : ""
  return /^\d+$/.test(number) ? Number(number) : undefined
}

const readNumber = async (folder: string, entry: string): Promise<Numbered | undefined> => {
  const path = Path.join(folder, entry)
  const number = Number(entry.slice(entry.indexOf(".") + 1))
  try {
    const target = await Fs.readlink(path)
    return { number, path, socket: isSocketName(target) ? Path.join(folder, target) : undefined }
  } catch (cause) {
    if (isCode(cause, "ENOENT")) return undefined
    if (isCode(cause, "EINVAL")) return { number, path, socket: undefined }
    throw cause
  }
}

const isSocketName = (name: string): boolean => /^[0-9a-f]{12}-[0-9a-f]{8}$/.test(name)

/** Listens, and creates the link of the number. Returns nothing if it exists. */
const claim = Effect.fnUntraced(function* (
  folder: string,
  id: string,
  number: number
): Effect.fn.Return<Option.Option<Listener>, LightboxError, Scope.Scope> {
  const socket = Path.join(folder, `${id}-${Crypto.randomBytes(4).toString("hex")}`)
  const link = Path.join(folder, `${id}.${number}`)
  const claimed = yield* Effect.acquireRelease(
    attempt(folder, async () => {
      const listener = await listen(socket)
      try {
        await Fs.symlink(Path.basename(socket), link)
      } catch (cause) {
        await listener.close()
        if (isCode(cause, "EEXIST")) return undefined
        throw cause
      }
      // Only once: when the socket answers no more, the number may be another's.
      let closing: Promise<void> | undefined
      const close = () => (closing ??= Fs.rm(link, { force: true }).finally(listener.close))
      return { ...listener, close }
    }),
    (listener) =>
      Effect.ignore(
        attempt(folder, async () => listener?.close()),
        { log: "Warn" }
      )
  )
  return Option.fromUndefinedOr(claimed)
})

const connect = (
  folder: string,
  numbers: ReadonlyArray<Numbered>,
  message?: string
): Effect.Effect<Option.Option<Waiting>, LightboxError, Scope.Scope> =>
  Effect.acquireRelease(
    attempt(folder, async () => {
      for (const { socket } of numbers) {
        const holder = socket === undefined ? undefined : await dial(socket)
        if (holder === undefined) continue
        if (message !== undefined && holder !== "busy") holder.write(`${message}\n`)
        return Option.some(holder)
      }
      return Option.none()
    }),
    Option.match({
      onNone: () => Effect.void,
      onSome: (holder) => Effect.sync(() => holder !== "busy" && holder.destroy())
    })
  ).pipe(
    Effect.map(
      Option.map((holder) =>
        holder === "busy"
          ? Stream.fromEffectDrain(Effect.sleep(busyMillis))
          : Stream.fromAsyncIterable<Uint8Array, unknown>(holder, (cause) => cause).pipe(
              // A holder that dies resets the connection.
              Stream.catch(() => Stream.empty),
              Stream.decodeText,
              Stream.splitLines
            )
      )
    )
  )

/** A holder that accepts no connection, because it is stopped or very busy, is asked again after this time. */
const busyMillis = 50

/** Removes the files of locks that are not held, and returns their names. */
export const collect = Effect.fnUntraced(function* (
  folder: string,
  options: { readonly dryRun: boolean }
): Effect.fn.Return<ReadonlyArray<string>, LightboxError> {
  const entries = yield* attempt(folder, async () => (await unlessMissing(Fs.readdir(folder))) ?? [])
  const removed: Array<string> = []
  const ids = new Set(entries.flatMap((entry) => /^([0-9a-f]+)\.\d+$/.exec(entry)?.[1] ?? []))
  for (const id of ids) {
    yield* Effect.scoped(
      Effect.gen(function* () {
        const numbers = yield* read(folder, id)
        if (numbers.length === 0 || Option.isSome(yield* connect(folder, numbers))) return
        // A process that has read these numbers, but not yet created the next, will find them changed.
        if (!options.dryRun && Option.isNone(yield* takeOver(folder, id, numbers))) return
        removed.push(...numbers.map(({ path }) => Path.basename(path)))
      })
    )
  }
  // Left by a process killed while it acquired or released a lock. A socket may not answer yet when it is new.
  const now = Date.now()
  for (const entry of entries.filter(isSocketName)) {
    yield* attempt(folder, async () => {
      const path = Path.join(folder, entry)
      const stats = await unlessMissing(Fs.stat(path))
      if (stats === undefined || now - stats.mtimeMs < startupMillis || (await isAnswered(path))) return
      removed.push(entry)
      if (!options.dryRun) await Fs.rm(path, { force: true })
    })
  }
  return removed
})

const startupMillis = 10_000
