/**
 * The library's files in a home: small records and locks. They are below the home's `lightbox` folder, on this machine or on
 * the one that a driver reaches.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { Lock as HeldLock, LockAttempt, Ownership, RemoteHome } from "../../Ownership.ts"
import { replaceFile, unlessMissing } from "../host/durable.ts"
import { fileFailure } from "../host/fileFailure.ts"
import * as Home from "../host/home.ts"
import * as Lock from "./lock.ts"
import * as Owner from "./owner.ts"

type Driver = Pick<Microsandbox.Microsandbox["Service"], "home" | "remoteHome">

export const locksFolder = (home: string): string => Path.join(home, "lightbox", "locks")

/** What both kinds of homes offer. */
export type Files = Pick<
  RemoteHome,
  "read" | "write" | "remove" | "list" | "modifiedAt" | "setModifiedAt" | "tryLock" | "inUse" | "copies"
>

const attemptAt = <A>(home: string, path: string, run: (at: string) => Promise<A>): Effect.Effect<A, LightboxError> => {
  const at = Path.join(home, "lightbox", path)
  return Effect.tryPromise({ try: () => run(at), catch: fileFailure("Store", "store", at) })
}

const readLocal = (home: string, path: string) => attemptAt(home, path, (at) => unlessMissing(Fs.readFile(at, "utf8")))

const removeLocal = (home: string, path: string) => attemptAt(home, path, (at) => Fs.rm(at, { force: true }))

/** The files of a home on this machine. */
export const local = (home: string, ownership: Ownership["Service"]): Files => {
  const attempt = <A>(path: string, run: (at: string) => Promise<A>) => attemptAt(home, path, run)
  const write = (path: string, content: string) =>
    Effect.flatMap(ownership.stage, (staged) => attempt(path, (at) => replaceFile(at, staged, content)))
  return {
    read: (path) => readLocal(home, path),
    write,
    remove: (path) => removeLocal(home, path),
    list: (folder) => attempt(folder, async (at) => (await unlessMissing(Fs.readdir(at))) ?? []),
    modifiedAt: (path) =>
      Effect.map(
        attempt(path, (at) => unlessMissing(Fs.stat(at))),
        (stats) => stats?.mtimeMs
      ),
    setModifiedAt: (path, millis) => {
      const set = attempt(path, (at) => Fs.utimes(at, millis / 1000, millis / 1000))
      return set.pipe(Effect.catch(() => Effect.andThen(write(path, ""), set)))
    },
    tryLock: (name, message) => Lock.tryAcquire(locksFolder(home), name, message),
    inUse: Effect.map(Owner.livingNotes(home, "use"), (notes) => notes.map(({ name }) => name)),
    copies: Effect.orElseSucceed(
      Effect.flatMap(ownership.stage, (staged) => Effect.promise(() => Home.probeCopies(staged))),
      () => "unknown"
    )
  }
}

/** The files of a driver's home. */
export const of = ({ home, remoteHome }: Driver, ownership: Ownership["Service"]): Files =>
  remoteHome ?? local(home, ownership)

/** Tries to acquire a lock of a driver's home. */
const tryLock = ({ home, remoteHome }: Driver, name: string): Effect.Effect<LockAttempt, LightboxError, Scope.Scope> =>
  remoteHome === undefined ? Lock.tryAcquire(locksFolder(home), name) : remoteHome.tryLock(name)

/** Acquires a lock of a driver's home for the scope, waiting until it is released. */
export const lock = (driver: Driver, name: string): Effect.Effect<HeldLock, LightboxError, Scope.Scope> =>
  Lock.whenFree(tryLock(driver, name))

/** Reads a record of a driver's home. */
export const read = ({ home, remoteHome }: Driver, path: string): Effect.Effect<string | undefined, LightboxError> =>
  remoteHome?.read(path) ?? readLocal(home, path)

/** Removes a record of a driver's home. */
export const remove = ({ home, remoteHome }: Driver, path: string): Effect.Effect<void, LightboxError> =>
  remoteHome?.remove(path) ?? removeLocal(home, path)

/** The home, if it is on this machine. */
export const onThisMachine = ({ home, remoteHome }: Driver): string | undefined =>
  remoteHome === undefined ? home : undefined

/** Finds an owner by id, even if it has no files. */
export const findOwner = ({ home, remoteHome }: Driver, id: string): Effect.Effect<Owner.Found, LightboxError> =>
  remoteHome === undefined ? Owner.find(home, id) : remoteHome.findOwner(id)
