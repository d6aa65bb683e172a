/** The records and locks that the programs of a fleet share, and what a program owns on its hosts. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Report } from "../../../Cleanup.ts"
import { HostUnavailable, LightboxError, Unsupported } from "../../../LightboxError.ts"
import type * as Ownership from "../../../Ownership.ts"
import { type Directory, type Holders, type Kind, lockMillis } from "../../directory/directory.ts"
import { randomId } from "../../ownership/labels.ts"
import { concurrency, type Hosts, type Reached } from "./hosts.ts"
import * as Lines from "./lines.ts"

/** The locks of a program. What they protect must not go on when one is lost. */
export interface Locks {
  /** With a message, whoever waits tells it to the holder, and reads the lines that the holder sends. */
  readonly tryLock: (name: string, message?: string) => Effect.Effect<Ownership.LockAttempt, LightboxError, Scope.Scope>
  /** Fails while a lock that was lost is still held here. */
  readonly check: (method: string) => Effect.Effect<void, LightboxError>
  /**
   * Changes the directory only if all locks of this program are held at that moment. The change returns `false` if it was
   * not made.
   */
  readonly fenced: (
    method: string,
    change: (holders: Holders) => Effect.Effect<boolean, LightboxError>
  ) => Effect.Effect<void, LightboxError>
}

export const makeLocks = (directory: Directory): Locks => {
  /** When each lock was known to be held, by holder. Nothing that is late makes a lock younger than it is. */
  const held = new Map<string, number>()
  const isLost = (kept: number, now: number) => now - kept >= lockMillis
  const lostError = (method: string) => {
    const problem = "a lock was lost, because the directory was away for too long"
    return new LightboxError({ method, reason: new HostUnavailable({ host: directory.url, kind: "Ended", problem }) })
  }
  const check: Locks["check"] = (method) =>
    Effect.clockWith((clock) => {
      const now = clock.currentTimeMillisUnsafe()
      return [...held.values()].some((kept) => isLost(kept, now)) ? Effect.fail(lostError(method)) : Effect.void
    })
  /** Extends a lock until that fails, or could not be done for as long as it lasts. */
  const keep = (name: string, holder: string) =>
    Effect.gen(function* () {
      for (;;) {
        yield* Effect.sleep(Duration.millis(lockMillis / 4))
        const asked = yield* Clock.currentTimeMillis
        const is = yield* Effect.orElseSucceed(directory.keepLock(name, holder), () => undefined)
        if (is === true) held.set(holder, asked)
        if (is === false || isLost(held.get(holder) ?? 0, yield* Clock.currentTimeMillis)) break
      }
      held.set(holder, Number.NEGATIVE_INFINITY)
      yield* Effect.logWarning(`The lock "${name}" of the fleet was lost: the directory was away for too long`)
    })
  return {
    tryLock: Effect.fnUntraced(function* (name, message) {
      const holder = randomId()
      const asked = yield* Clock.currentTimeMillis
      const isHeld = yield* Effect.acquireRelease(directory.lock(name, holder), (isHeld) =>
        isHeld ? Effect.ignore(directory.unlock(name, holder)) : Effect.void
      )
      if (!isHeld) return { waiting: yield* Lines.waiting(directory, name, message) }
      yield* Effect.acquireRelease(
        Effect.sync(() => held.set(holder, asked)),
        () => Effect.sync(() => held.delete(holder))
      )
      yield* Effect.forkScoped(keep(name, holder))
      return { lock: message === undefined ? Lines.silent : yield* Lines.holding(directory, name, holder) }
    }),
    check,
    fenced: Effect.fnUntraced(function* (method, change) {
      yield* check(method)
      for (;;) {
        const holders = [...held.keys()]
        if (yield* change(holders)) return
        // There was nothing to remove.
        if (yield* directory.areLocked(holders)) return
        if (holders.every((holder) => held.has(holder))) return yield* lostError(method)
        // Another fiber has given its own lock back meanwhile.
      }
    })
  }
}

/** What this program owns on hosts. A note reaches a host before what it notes. */
export interface Notes {
  readonly ownership: Ownership.Ownership["Service"]
  /** Tells a host what this program is about to create there. */
  readonly tell: (host: Reached, kind: Ownership.Kind, name: string) => Effect.Effect<void, LightboxError>
}

/** The kinds that hosts remove. Names are shared by the fleet, which no host sweeps. */
const ofHosts: ReadonlySet<Ownership.Kind> = new Set(["sandbox", "disk", "capture", "load", "use"])

export const makeNotes = (options: {
  readonly local: Ownership.Ownership["Service"]
  readonly hosts: Hosts
  /** The host of a sandbox. */
  readonly hostOf: (method: string, name: string) => Effect.Effect<string, LightboxError>
  /** The hosts that are alive and have something. */
  readonly holders: (kind: Kind, name: string) => Effect.Effect<ReadonlyArray<string>, LightboxError>
}): Notes => {
  const { hosts, local } = options
  /** What is noted, and for which owner on which hosts. A session that has ended takes its owner with it. */
  const pending = new Map<string, { readonly note: Ownership.Note; readonly at: Map<string, string> }>()
  const idOf = ({ kind, token }: Ownership.Note): string => `${kind}/${token}`

  const tell: Notes["tell"] = Effect.fnUntraced(function* (host, kind, name) {
    const isMeant = ({ note }: { readonly note: Ownership.Note }) => note.kind === kind && note.name === name
    if (![...pending.values()].some(isMeant)) return
    const owner = yield* host.ownership.id
    for (const entry of pending.values()) {
      const { at, note } = entry
      // What is in use stays so in a new session. What it has created is gone.
      const isKept = note.kind === "use" && at.has(host.id)
      if ((!isMeant(entry) && !isKept) || at.get(host.id) === owner) continue
      yield* host.ownership.note(note)
      at.set(host.id, owner)
    }
  })

  return {
    tell,
    ownership: {
      id: local.id,
      stage: local.stage,
      note: Effect.fnUntraced(function* (note) {
        if (note.kind === "file") return yield* local.note(note)
        if (!ofHosts.has(note.kind)) return
        pending.set(idOf(note), { note, at: new Map() })
        if (note.kind !== "use") return
        const holding = yield* options.holders("snapshot", note.name)
        yield* Effect.forEach(
          holding,
          (id) => hosts.at("Ownership.note", id, (host) => tell(host, note.kind, note.name)),
          { discard: true, concurrency }
        )
      }),
      forget: (note) =>
        Effect.suspend(() => {
          if (note.kind === "file") return local.forget(note)
          const entry = pending.get(idOf(note))
          pending.delete(idOf(note))
          return Effect.forEach(
            entry?.at.keys() ?? [],
            (id) => Effect.ignore(hosts.at("Ownership.forget", id, ({ ownership }) => ownership.forget(note))),
            { discard: true, concurrency }
          )
        }),
      release: Effect.fnUntraced(function* (note, expires) {
        const entry = pending.get(idOf(note))
        const method = "Ownership.release"
        const ids =
          entry !== undefined && entry.at.size > 0
            ? [...entry.at.keys()]
            : note.kind === "sandbox"
              ? [yield* options.hostOf(method, note.name)]
              : []
        yield* Effect.forEach(ids, (id) => hosts.at(method, id, ({ ownership }) => ownership.release(note, expires)), {
          discard: true
        })
        pending.delete(idOf(note))
      })
    }
  }
}

/** Of several hosts that were asked for an owner, the one that knows it. */
const weight = ({ notes, state }: Ownership.Owner): number =>
  (state === "alive" ? 4 : state === "dead" ? 0 : 2) + (notes.length > 0 ? 1 : 0)

/** A transfer belongs to a host, which has names of its own. */
const refuseTransfer = (method: string) => () =>
  Effect.fail(
    new LightboxError({
      method,
      reason: new Unsupported({
        feature: "pushes and pulls of a fleet",
        problem: "ask one of its hosts, as `lightbox --host URL` and MicrosandboxRemote do"
      })
    })
  )

const noHome = (method: string) =>
  new LightboxError({
    method,
    reason: new HostUnavailable({ host: "the fleet", kind: "Refused", problem: "its hosts have no homes" })
  })

/** The library's records and locks, in the directory. */
export const make = (options: {
  readonly directory: Directory
  readonly hosts: Hosts
  readonly locks: Locks
  readonly hostOfVolume: (method: string, name: string) => Effect.Effect<string, LightboxError>
}): Ownership.RemoteHome => {
  const { directory, hosts, locks } = options
  /** Asks the home of a host. */
  const ofHome = <A>(
    method: string,
    { driver }: Reached,
    use: (home: Ownership.RemoteHome) => Effect.Effect<A, LightboxError>
  ) => (driver.remoteHome === undefined ? Effect.fail(noHome(method)) : use(driver.remoteHome))
  return {
    read: (path) => directory.readRecord(path),
    write: (path, content) => locks.fenced("Store", (holders) => directory.writeRecord(path, content, holders)),
    remove: (path) => locks.fenced("Store", (holders) => directory.removeRecord(path, holders)),
    list: (folder) => directory.listRecords(folder),
    modifiedAt: (path) => directory.recordTime(path),
    setModifiedAt: (path, millis) => directory.setRecordTime(path, millis),
    tryLock: (name, message) => locks.tryLock(name, message),
    inUse: Effect.map(
      hosts.everywhere("Store", (host) => ofHome("Store", host, ({ inUse }) => inUse)),
      (all) => all.flat()
    ),
    copies: Effect.gen(function* () {
      const [first] = yield* hosts.alive
      if (first === undefined) return "unknown" as const
      return yield* hosts.at("Store", first.id, (host) => ofHome("Store", host, ({ copies }) => copies))
    }).pipe(Effect.orElseSucceed(() => "unknown" as const)),
    findOwner: (id) =>
      Effect.map(
        hosts.everywhere("Ownership.find", (host) => ofHome("Ownership.find", host, ({ findOwner }) => findOwner(id))),
        (found) =>
          found.toSorted((a, b) => weight(b) - weight(a))[0] ?? { id, state: "unknown", pid: undefined, notes: [] }
      ),
    push: refuseTransfer("Snapshot.push"),
    pull: refuseTransfer("Snapshot.pull"),
    pullResult: refuseTransfer("Snapshot.pull"),
    volumeUsage: (name) =>
      Effect.flatMap(options.hostOfVolume("Volume.usage", name), (id) =>
        hosts.at("Volume.usage", id, (host) => ofHome("Volume.usage", host, ({ volumeUsage }) => volumeUsage(name)))
      ),
    sweep: (limits) =>
      Effect.map(
        hosts.everywhere("Reaper.sweep", (host) => ofHome("Reaper.sweep", host, ({ sweep }) => sweep(limits))),
        (reports) =>
          Report.of(
            reports.flatMap(({ verdicts }) => verdicts),
            { dryRun: limits.dryRun, isComplete: reports.every(({ isComplete }) => isComplete) }
          )
      )
  }
}
