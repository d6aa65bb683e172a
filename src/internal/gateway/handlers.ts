/** The operations of a host. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Headers from "effect/http/Headers"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Struct from "effect/Struct"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import type { Admission } from "../../Admission.ts"
import { LightboxError, Unsupported } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import type * as Ownership from "../../Ownership.ts"
import * as SandboxConfig from "../../SandboxConfig.ts"
import { decoder, invalid } from "../config/validation.ts"
import { mustAsk } from "../driver/imageReference.ts"
import { withoutMemory } from "../driver/parts.ts"
import * as Protocol from "../driver/remote/protocol.ts"
import { fromJson } from "../driver/remote/values.ts"
import * as HomeFiles from "../ownership/files.ts"
import { instanceLabel, ownerLabel } from "../ownership/labels.ts"
import { sweep } from "../reaper/sweep.ts"
import type { TransferProgress } from "../../Snapshot.ts"
import * as Reach from "../sandbox/peers.ts"
import * as Sources from "../store/sources.ts"
import * as Store from "../store/store.ts"
import { sizeOf } from "../volume/files.ts"
import * as Paths from "./paths.ts"
import * as Sessions from "./sessions.ts"
import type { Token } from "./tokens.ts"

type Driver = Microsandbox.Microsandbox["Service"]

interface Context {
  readonly driver: Driver
  readonly ownership: Ownership.Ownership["Service"]
  readonly admission: Admission["Service"]
  readonly sessions: Sessions.Sessions
  readonly rooms: Rooms
  readonly lease: Protocol.Opened["lease"]
  readonly host: Protocol.Opened["host"]
  readonly allowed: Paths.Allowed
  /** Hears whether sandboxes boot. */
  readonly onBoot: (exit: Exit.Exit<unknown, LightboxError>) => Effect.Effect<void>
  /** Runs the creation of a sandbox with a name. */
  readonly whileCreating: <A>(name: string, effect: Effect.Effect<A, LightboxError>) => Effect.Effect<A, LightboxError>
  readonly tokenOf: (headers: Headers.Headers) => Effect.Effect<Token, LightboxError>
}

/** The rooms of sandboxes in the budget of this host, by their ids. */
export type Rooms = Map<string, Scope.Closeable>

/** Gives back the room of a sandbox. */
export const leave =
  (rooms: Rooms) =>
  ({ id }: Microsandbox.SandboxRef): Effect.Effect<void> =>
    Effect.suspend(() => {
      const room = rooms.get(id)
      rooms.delete(id)
      return room === undefined ? Effect.void : Scope.close(room, Exit.void)
    })

/** A request for a sandbox, whose configuration is not checked yet. */
interface Wanted extends Omit<Microsandbox.CreateSandbox, "config" | "onPullProgress" | "proxy"> {
  readonly config: Schema.Json
  readonly peers?: ReadonlyArray<Microsandbox.ProxyPeer> | undefined
}

interface Request {
  readonly headers: Headers.Headers
}

const decodeConfig = decoder(SandboxConfig.SandboxConfig, "Microsandbox.createSandbox")
const decodeChange = decoder(Microsandbox.ModifySandbox, "Microsandbox.modifySandbox", "modify")
const decodeResolve = decoder(
  Schema.Struct({
    pullPolicy: SandboxConfig.SandboxConfig.fields.pullPolicy,
    registry: SandboxConfig.SandboxConfig.fields.registry,
    askIfMissing: Schema.optional(Schema.Boolean)
  }),
  "Microsandbox.resolveImage"
)

/** What a program may note of what it creates. The host notes disks itself, and files of the host are not a program's. */
const noted: ReadonlySet<Ownership.Kind> = new Set(["sandbox", "capture", "load", "unnamed", "name", "use", "renamed"])

const checkNote = ({ kind, name, token }: Ownership.Note): Effect.Effect<void, LightboxError> =>
  noted.has(kind)
    ? Effect.andThen(Paths.checkName("Ownership.note", name), Paths.checkName("Ownership.note", token, "token"))
    : Effect.fail(invalid("Ownership.note", "kind", "expected a note of what a program creates on a host"))

const maxLockName = 512

/** How often those that hold a lock are told what those that wait have sent. */
const receivedInterval = "200 millis"

/** How often a creation shows that it goes on. */
const waitingInterval = "1 minute"

export const make = (context: Context) => {
  const { admission, allowed, driver, ownership, rooms, sessions } = context
  const leaveRoom = leave(rooms)

  const sessionOf = ({ headers }: Request, scope: "read" | "write") =>
    Effect.gen(function* () {
      const token = yield* context.tokenOf(headers)
      yield* Sessions.requireScope(token, scope)
      return yield* sessions.find(headers[Protocol.headers.session], token)
    })

  /** An operation that changes nothing: it ends with the request. */
  const reading =
    <P, A>(run: (payload: P, session: Sessions.Session) => Effect.Effect<A, LightboxError>) =>
    (payload: P, request: Request): Effect.Effect<A, LightboxError> =>
      Effect.flatMap(sessionOf(request, "read"), (session) => run(payload, session))

  const changing = <P, A>(
    run: (payload: P, session: Sessions.Session) => Effect.Effect<A, LightboxError>,
    options: { readonly isEnding: boolean }
  ) => {
    const runs: Sessions.Runs<A> = new WeakMap()
    return (payload: P, request: Request): Effect.Effect<A, LightboxError> =>
      Effect.gen(function* () {
        const session = yield* sessionOf(request, "write")
        const id = request.headers[Protocol.headers.request]
        return yield* Sessions.resultOf(yield* sessions.once(session, id, runs, run(payload, session), options))
      })
  }

  /** An operation that changes something: it runs once, and goes on until it is cancelled. */
  const writing = <P, A>(run: (payload: P, session: Sessions.Session) => Effect.Effect<A, LightboxError>) =>
    changing(run, { isEnding: false })

  /** The same for one that ends something, which a host never has too many of. */
  const ending = <P, A>(run: (payload: P, session: Sessions.Session) => Effect.Effect<A, LightboxError>) =>
    changing(run, { isEnding: true })

  /** An operation that changes something, and tells how far it is. */
  const telling = <P, T, A, E>(
    run: (payload: P, session: Sessions.Session, tell: (progress: T) => void) => Effect.Effect<A, LightboxError>,
    events: { readonly waiting: E; readonly progress: (progress: T) => E; readonly done: (result: A) => E }
  ) => {
    type Listeners = Set<(progress: T) => void>
    const runs: Sessions.Runs<A> = new WeakMap()
    const listeners = new WeakMap<Fiber.Fiber<A, LightboxError>, Listeners>()
    return (payload: P, request: Request): Stream.Stream<E, LightboxError> =>
      Stream.callback<E, LightboxError>((queue) =>
        Effect.gen(function* () {
          const session = yield* sessionOf(request, "write")
          const heard: Listeners = new Set()
          const tell = (progress: T): void => {
            for (const listener of heard) listener(progress)
          }
          const id = request.headers[Protocol.headers.request]
          const fiber = yield* sessions.once(session, id, runs, run(payload, session, tell), { isEnding: false })
          const shared = listeners.get(fiber) ?? heard
          listeners.set(fiber, shared)
          const listener = (progress: T) => {
            Queue.offerUnsafe(queue, events.progress(progress))
          }
          yield* Effect.acquireRelease(
            Effect.sync(() => shared.add(listener)),
            () => Effect.sync(() => shared.delete(listener))
          )
          yield* Effect.sync(() => Queue.offerUnsafe(queue, events.waiting)).pipe(
            Effect.delay(waitingInterval),
            Effect.forever,
            Effect.forkScoped
          )
          yield* Queue.offer(queue, events.done(yield* Sessions.resultOf(fiber)))
          yield* Queue.end(queue)
        })
      )
  }

  // =============================================================================
  // Sandboxes
  // =============================================================================

  const enter = Effect.fnUntraced(function* (
    session: Sessions.Session,
    method: string,
    memory: number | undefined,
    wait: boolean
  ) {
    const room = yield* Scope.fork(session.scope)
    yield* Effect.onError(Scope.provide(admission.admit(method, memory, { wait }), room), (cause) =>
      Scope.close(room, Exit.failCause(cause))
    )
    return room
  })

  /** Boots within the budget. A sandbox that outlives the program leaves the budget at once. */
  const booting = Effect.fnUntraced(function* (
    session: Sessions.Session,
    method: string,
    memory: number | undefined,
    detached: boolean | undefined,
    boot: Effect.Effect<Microsandbox.SandboxInfo, LightboxError>,
    wait = true
  ) {
    const room = yield* enter(session, method, memory, wait)
    return yield* Effect.uninterruptibleMask((restore) =>
      restore(admission.boot(boot)).pipe(
        Effect.onExit((exit) => context.onBoot(exit)),
        Effect.onError((cause) => Scope.close(room, Exit.failCause(cause))),
        Effect.tap((info) => {
          if (detached === true) return Scope.close(room, Exit.void)
          session.attached.set(info.id, { name: info.name, id: info.id })
          rooms.set(info.id, room)
          return Effect.void
        })
      )
    )
  })

  const left = (session: Sessions.Session, sandbox: Microsandbox.SandboxRef) =>
    Effect.andThen(
      Effect.sync(() => session.attached.delete(sandbox.id)),
      leaveRoom(sandbox)
    )

  /** Reaches other sandboxes of this host, and connects anew for each request: they may have been restarted. */
  const proxyFor = (peers: ReadonlyArray<Microsandbox.ProxyPeer>) =>
    Effect.gen(function* () {
      const method = "Microsandbox.createSandbox"
      if (!peers.every(({ address }) => Reach.isReserved(address))) {
        return yield* invalid(method, "proxy.peers", "expected addresses of 198.18.0.0/15")
      }
      const reached = peers.map((peer): Reach.Peer => ({
        ...peer,
        guest: {
          connect: (host, port) => Effect.flatMap(driver.connect(peer.sandbox), (guest) => guest.connect(host, port))
        }
      }))
      return yield* Reach.serve(method, reached)
    })

  const requestOf = Effect.fnUntraced(function* (session: Sessions.Session, wanted: Wanted, kept: Scope.Scope) {
    const method = "Microsandbox.createSandbox"
    const { labels, name, source } = wanted
    yield* Paths.checkName(method, name)
    if (source._tag === "Snapshot") yield* Paths.checkSnapshot(driver.home, method, source.name)
    const instance = labels?.[instanceLabel]
    if (instance !== undefined) yield* Paths.checkName(method, instance, `labels.${instanceLabel}`)
    const config = yield* Paths.checkPaths(allowed, method, yield* decodeConfig(fromJson(wanted.config)))
    const { peers = [] } = wanted
    const proxy = peers.length === 0 ? undefined : yield* Scope.provide(proxyFor(peers), kept)
    const request: Microsandbox.CreateSandbox = {
      ...Struct.omit(wanted, ["peers", "config", "refuseIfFull"]),
      config,
      proxy,
      // Whoever it says that it is.
      ...(labels?.[ownerLabel] === undefined
        ? {}
        : { labels: { ...labels, [ownerLabel]: yield* session.ownership.id } })
    }
    return request
  })

  const createSandbox = telling<Wanted, Microsandbox.PullProgress, Microsandbox.SandboxInfo, Protocol.CreateEvent>(
    (wanted, session, onPullProgress) =>
      Effect.gen(function* () {
        const kept = yield* Scope.fork(session.scope)
        return yield* requestOf(session, wanted, kept).pipe(
          Effect.flatMap((checked) =>
            booting(
              session,
              "Sandbox.launch",
              checked.config.resources?.memory,
              checked.detached,
              driver.createSandbox({ ...checked, onPullProgress }),
              wanted.refuseIfFull !== true
            )
          ),
          Effect.onError((cause) => Scope.close(kept, Exit.failCause(cause))),
          Effect.tap(({ id }) => Effect.sync(() => session.kept.set(id, kept)))
        )
      }).pipe((creation) => context.whileCreating(wanted.name, creation)),
    {
      waiting: { _tag: "Waiting" },
      progress: (progress) => ({ _tag: "Pulling", progress }),
      done: (info) => ({ _tag: "Created", info })
    }
  )

  // =============================================================================
  // Locks
  // =============================================================================

  const filesOf = (session: Sessions.Session) => HomeFiles.of(driver, session.ownership)

  const unlock = (session: Sessions.Session, id: string) =>
    Effect.suspend(() => {
      const lock = session.locks.get(id)
      session.locks.delete(id)
      return lock === undefined ? Effect.void : Scope.close(lock.scope, Exit.void)
    })

  const heldBy = (lock: Sessions.SessionLock | undefined): Ownership.Lock | undefined =>
    lock?.attempt !== undefined && "lock" in lock.attempt ? lock.attempt.lock : undefined

  /** Tells that a lock is held, and then what others tell its holder, until it is released. */
  const listen = Effect.fnUntraced(function* (scope: Scope.Scope, held: Ownership.Lock) {
    const released = yield* Deferred.make<void>()
    yield* Scope.addFinalizer(scope, Deferred.succeed(released, undefined))
    const received = Stream.fromEffectRepeat(
      Effect.delay(
        Effect.sync(() => held.received()),
        receivedInterval
      )
    ).pipe(
      Stream.changesWith((a, b) => a.length === b.length && a.every((line, index) => line === b[index])),
      Stream.map((lines): Protocol.LockEvent => ({ _tag: "Received", lines })),
      Stream.interruptWhen(Deferred.await(released))
    )
    return Stream.concat(Stream.make<[Protocol.LockEvent]>({ _tag: "Held" }), received)
  })

  const lock = (
    { id, message, name }: { readonly id: string; readonly name: string; readonly message?: string | undefined },
    request: Request
  ): Stream.Stream<Protocol.LockEvent, LightboxError> =>
    Stream.unwrap(
      Effect.gen(function* () {
        const session = yield* sessionOf(request, "write")
        // This request was on its way when the program did not want the lock any more.
        if (session.unlocked.has(id)) return yield* invalid("Lock", "id", "expected a lock that was not released")
        const known = session.locks.get(id)
        if (name.length > maxLockName || (known !== undefined && known.attempt === undefined)) {
          return yield* invalid("Lock", "name", "expected another lock")
        }
        // The program asks again because its connection was lost: what it held it holds on, and what it waited for may
        // be free by now.
        const before = heldBy(known)
        if (known !== undefined && before !== undefined) return yield* listen(known.scope, before)
        yield* unlock(session, id)
        const entry: Sessions.SessionLock = { scope: yield* Scope.fork(session.scope), attempt: undefined, sent: 0 }
        session.locks.set(id, entry)
        const attempt = yield* filesOf(session)
          .tryLock(name, message)
          .pipe(
            Scope.provide(entry.scope),
            Effect.onError(() => unlock(session, id))
          )
        entry.attempt = attempt
        if ("waiting" in attempt) {
          const lines = Stream.map(attempt.waiting, (line): Protocol.LockEvent => ({ _tag: "Line", line }))
          return Stream.concat(Stream.make<[Protocol.LockEvent]>({ _tag: "Waiting" }), lines)
        }
        return yield* listen(entry.scope, attempt.lock)
      })
    )

  // =============================================================================
  // Archives
  // =============================================================================

  const fileOf = (method: string, session: Sessions.Session, id: string) => {
    const path = session.files.get(id)
    return path === undefined
      ? Effect.fail(new LightboxError({ method, reason: new Unsupported({ feature: id, problem: "it was not sent" }) }))
      : Effect.succeed(path)
  }

  const dropFile = (session: Sessions.Session, id: string) =>
    Effect.suspend(() => {
      const path = session.files.get(id)
      session.files.delete(id)
      return path === undefined ? Effect.void : Effect.promise(() => Fs.rm(path, { force: true, recursive: true }))
    })

  /** Makes an archive that the program then fetches. */
  const saving = Effect.fnUntraced(function* (
    session: Sessions.Session,
    save: (path: string) => Effect.Effect<void, LightboxError>
  ) {
    const path = yield* session.ownership.stage
    yield* save(path)
    const id = Crypto.randomBytes(12).toString("hex")
    session.files.set(id, path)
    return id
  })

  // =============================================================================
  // Transfers
  // =============================================================================

  const transferring = <P, A>(
    run: (
      payload: P,
      store: Store.Store,
      onProgress: (progress: TransferProgress) => Effect.Effect<void>
    ) => Effect.Effect<A, LightboxError>
  ) =>
    telling<P, TransferProgress, A, Protocol.TransferEvent<A>>(
      (payload, session, tell) =>
        run(payload, Store.make(driver, session.ownership), (progress) => Effect.sync(() => tell(progress))),
      {
        waiting: { _tag: "Waiting" },
        progress: (progress) => ({ _tag: "Moving", progress }),
        done: (result) => ({ _tag: "Moved", result })
      }
    )

  /** Logins and certificates for one transfer. Those of paths are of this host. */
  const accessOf = (method: string, access: Schema.Json) =>
    Effect.flatMap(decoder(Schema.Struct(Sources.access), method)(fromJson(access)), (given) =>
      Paths.checkPaths(allowed, method, given)
    )

  const pushing = Effect.promise(() => import("../store/push.ts"))
  const pulling = Effect.promise(() => import("../store/pull.ts"))

  const snapshotPath = (method: string, name: string) => Paths.checkSnapshot(driver.home, method, name)

  return Protocol.operations.of({
    open: Effect.fnUntraced(function* (_: void, { headers }) {
      const token = yield* context.tokenOf(headers)
      const { id } = yield* sessions.open(token)
      const { capabilities, version } = driver
      return {
        session: id,
        lease: context.lease,
        host: context.host,
        version,
        // Those of a volume are on this machine, which the program does not see.
        capabilities: { ...withoutMemory(capabilities), volumeFiles: false }
      }
    }),
    renew: reading(() => Effect.void),
    close: reading((_, session) => sessions.end(session)),
    cancel: reading(({ request }, session) => sessions.cancel(session, request)),

    ownerId: writing((_, session) => session.ownership.id),
    note: writing(({ note }, session) => Effect.andThen(checkNote(note), session.ownership.note(note))),
    forget: ending(({ note }, session) => Effect.andThen(checkNote(note), session.ownership.forget(note))),
    release: ending(({ expires, note }, session) =>
      Effect.andThen(checkNote(note), session.ownership.release(note, expires))
    ),
    readRecord: reading(({ path }, session) => Effect.andThen(Paths.checkRecord(path), filesOf(session).read(path))),
    writeRecord: writing(({ content, path }, session) =>
      Effect.andThen(Paths.checkRecord(path), filesOf(session).write(path, content))
    ),
    removeRecord: writing(({ path }, session) =>
      Effect.andThen(Paths.checkRecord(path), filesOf(session).remove(path))
    ),
    listRecords: reading(({ folder }, session) =>
      Effect.andThen(Paths.checkFolder(folder), filesOf(session).list(folder))
    ),
    recordTime: reading(({ path }, session) =>
      Effect.andThen(Paths.checkRecord(path), filesOf(session).modifiedAt(path))
    ),
    setRecordTime: writing(({ millis, path }, session) =>
      Effect.andThen(Paths.checkRecord(path), filesOf(session).setModifiedAt(path, millis))
    ),
    inUse: reading((_, session) => filesOf(session).inUse),
    copies: writing((_, session) => filesOf(session).copies),
    findOwner: reading(({ id }) =>
      Effect.andThen(Paths.checkName("Ownership.find", id, "id"), HomeFiles.findOwner(driver, id))
    ),
    volumeUsage: reading(({ name }) =>
      Effect.andThen(
        Paths.checkName("Volume.usage", name),
        driver.remoteHome?.volumeUsage(name) ??
          Effect.flatMap(driver.getVolume(name), ({ path }) => sizeOf("Volume.usage", path))
      )
    ),
    sweep: writing((limits) =>
      driver.remoteHome === undefined
        ? sweep(driver, ownership, { all: true, ...limits })
        : driver.remoteHome.sweep(limits)
    ),
    lock,
    // They are many, and their number tells which of them came before.
    sendLines: ({ first, id, lines }, request) =>
      Effect.map(sessionOf(request, "write"), ({ locks }) => {
        const lock = locks.get(id)
        const held = heldBy(lock)
        if (lock === undefined || held === undefined) return
        for (const line of lines.slice(Math.max(0, lock.sent - first))) held.send(line)
        lock.sent = Math.max(lock.sent, first + lines.length)
      }),
    unlock: ending(({ id }, session) =>
      Effect.suspend(() => {
        session.unlocked.add(id)
        const forget = Effect.sync(() => session.unlocked.delete(id))
        return Effect.andThen(Effect.forkIn(Effect.delay(forget, context.lease), session.scope), unlock(session, id))
      })
    ),

    loadImage: writing(({ file, tag }, session) =>
      Effect.flatMap(fileOf("Microsandbox.loadImage", session, file), (path) =>
        Effect.ensuring(driver.loadImage(path, { tag }), dropFile(session, file))
      )
    ),
    saveImages: writing(({ format, references }, session) =>
      saving(session, (path) => driver.saveImages(references, path, { format }))
    ),
    listImages: reading(() => driver.listImages()),
    getImage: reading(({ reference }) => driver.getImage(reference)),
    resolveImage: reading(({ options, reference }, { token }) =>
      Effect.gen(function* () {
        const { askIfMissing, pullPolicy, registry } = yield* decodeResolve(fromJson(options))
        yield* Paths.checkPaths(allowed, "Microsandbox.resolveImage", { registry })
        if (!token.scopes.includes("write")) {
          const cached = yield* driver.resolveImage(reference, { pullPolicy: "never" })
          // A registry is asked over the network of the host, and with its logins.
          if (mustAsk(reference, cached.digest, pullPolicy, askIfMissing)) yield* Sessions.requireScope(token, "write")
          return cached
        }
        return yield* driver.resolveImage(reference, { askIfMissing, pullPolicy, registry })
      })
    ),
    removeImage: ending(({ force, reference }) => driver.removeImage(reference, { force })),
    pruneImages: writing(() => driver.pruneImages()),

    createSandbox,
    getSandbox: reading(({ name }) => driver.getSandbox(name)),
    listSandboxes: reading(({ labels }) => driver.listSandboxes({ labels })),
    startSandbox: writing(({ detached, sandbox }, session) =>
      Effect.gen(function* () {
        const found = yield* driver.getSandbox(sandbox.name)
        // A sandbox that runs already has its room.
        const start = driver.startSandbox(sandbox, { detached })
        if (found.status === "running") return yield* start
        yield* left(session, sandbox)
        return yield* booting(session, "Sandbox.start", found.memory, detached, start)
      })
    ),
    stopSandbox: ending(({ sandbox, timeout }, session) =>
      Effect.andThen(driver.stopSandbox(sandbox, { timeout }), left(session, sandbox))
    ),
    killSandbox: ending(({ sandbox }, session) => Effect.andThen(driver.killSandbox(sandbox), left(session, sandbox))),
    getSandboxLifecycle: reading(({ sandbox }, session) =>
      Effect.map(driver.getSandboxLifecycle(sandbox), ({ isAttached, isEphemeral }) => ({
        isAttached: isAttached && session.attached.has(sandbox.id),
        isEphemeral
      }))
    ),
    detachSandbox: writing(({ sandbox }, session) =>
      Effect.andThen(driver.detachSandbox(sandbox), left(session, sandbox))
    ),
    removeSandbox: ending(({ force, sandbox }, session) =>
      driver.removeSandbox(sandbox, { force }).pipe(
        Effect.andThen(left(session, sandbox)),
        Effect.andThen(
          Effect.suspend(() => {
            const kept = session.kept.get(sandbox.id)
            session.kept.delete(sandbox.id)
            return kept === undefined ? Effect.void : Scope.close(kept, Exit.void)
          })
        )
      )
    ),
    modifySandbox: writing(({ change, sandbox }) =>
      Effect.flatMap(decodeChange(fromJson(change)), (checked) => driver.modifySandbox(sandbox, checked))
    ),
    readLogs: ({ sandbox, ...query }, request) =>
      Stream.unwrap(
        Effect.map(Effect.andThen(sessionOf(request, "read"), driver.readLogs(sandbox, query)), (entries) =>
          Stream.rechunk(Stream.fromIterable(entries), 256)
        )
      ),
    readMetrics: reading(({ sandbox }) => driver.readMetrics(sandbox)),
    searchSandbox: reading(({ needles, sandbox }) => driver.searchSandbox(sandbox, needles)),
    listGhosts: reading(() => driver.listGhosts()),
    removeGhost: writing(({ name }) =>
      Effect.andThen(Paths.checkName("Microsandbox.removeGhost", name), driver.removeGhost(name))
    ),
    removeRemains: writing(({ dryRun }) => driver.removeRemains({ dryRun })),

    captureSnapshot: writing((wanted) =>
      Effect.andThen(Paths.checkName("Microsandbox.captureSnapshot", wanted.name), driver.captureSnapshot(wanted))
    ),
    getSnapshot: reading(({ name }) =>
      Effect.andThen(snapshotPath("Microsandbox.getSnapshot", name), driver.getSnapshot(name))
    ),
    listSnapshots: reading(() => driver.listSnapshots()),
    listDamagedSnapshots: reading(() => driver.listDamagedSnapshots()),
    removeSnapshot: ending(({ name }) =>
      Effect.andThen(Paths.checkName("Microsandbox.removeSnapshot", name), driver.removeSnapshot(name))
    ),
    verifySnapshot: reading(({ name }) =>
      Effect.andThen(snapshotPath("Microsandbox.verifySnapshot", name), driver.verifySnapshot(name))
    ),
    saveSnapshot: writing(({ name, ...options }, session) =>
      Effect.andThen(
        snapshotPath("Microsandbox.saveSnapshot", name),
        saving(session, (path) => driver.saveSnapshot(name, path, options))
      )
    ),
    removeStaging: writing(({ dryRun, of }) =>
      Effect.andThen(
        "snapshot" in of ? Paths.checkName("Microsandbox.removeStaging", of.snapshot, "snapshot") : Effect.void,
        driver.removeStaging(of, { dryRun })
      )
    ),
    renameSnapshot: writing(({ name, to }) => driver.renameSnapshot(name, to)),
    loadSnapshot: writing(({ file, name }, session) =>
      Effect.flatMap(fileOf("Microsandbox.loadSnapshot", session, file), (path) =>
        Effect.ensuring(
          Effect.andThen(Paths.checkName("Microsandbox.loadSnapshot", name), driver.loadSnapshot(path, name)),
          dropFile(session, file)
        )
      )
    ),
    listSnapshotLinks: reading(() => driver.listSnapshotLinks()),
    readSnapshotLink: reading(({ link }) => driver.readSnapshotLink(link)),
    linkSnapshot: writing(({ link, name }) => driver.linkSnapshot(link, name)),
    unlinkSnapshot: ending(({ link }) => driver.unlinkSnapshot(link)),
    pushSnapshot: transferring(({ access, name, reference }, store, onProgress) =>
      Effect.gen(function* () {
        const { push } = yield* pushing
        return yield* push(driver, store, name, reference, yield* accessOf("Snapshot.push", access), onProgress)
      })
    ),
    pullSnapshot: transferring(({ access, name, reference, ...options }, store, onProgress) =>
      Effect.gen(function* () {
        const { pull } = yield* pulling
        const given = { ...options, ...(yield* accessOf("Snapshot.pull", access)) }
        return yield* pull(driver, store, name, fromJson(reference), given, onProgress)
      })
    ),
    pullResult: transferring(({ from, key }, store, onProgress) =>
      Effect.flatMap(pulling, ({ pullResult }) => pullResult(driver, store, { key, from: fromJson(from) }, onProgress))
    ),
    dropFile: ending(({ file }, session) => dropFile(session, file)),

    createVolume: writing((wanted) =>
      Effect.andThen(Paths.checkName("Microsandbox.createVolume", wanted.name), driver.createVolume(wanted))
    ),
    getVolume: reading(({ name }) =>
      Effect.andThen(Paths.checkName("Microsandbox.getVolume", name), driver.getVolume(name))
    ),
    listVolumes: reading(() => driver.listVolumes()),
    removeVolume: ending(({ name }) =>
      Effect.andThen(Paths.checkName("Microsandbox.removeVolume", name), driver.removeVolume(name))
    )
  })
}
