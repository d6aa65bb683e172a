/** Removes what dead processes left behind. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type * as Ownership from "../../Ownership.ts"
import { Report, type Verdict } from "../../Cleanup.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import { isEntryName } from "../config/schemas.ts"
import { unlessMissing } from "../host/durable.ts"
import { fileFailure } from "../host/fileFailure.ts"
import * as ListingCache from "../host/listingCache.ts"
import { because, generatedPrefix, instanceLabel, isGenerated, ownerLabel } from "../ownership/labels.ts"
import * as Lock from "../ownership/lock.ts"
import * as Owner from "../ownership/owner.ts"
import { sweeps, swept } from "../report/metrics.ts"
import * as Commits from "../store/commits.ts"
import * as Exports from "../store/exportFolder.ts"
import * as Generations from "../store/generations.ts"
import * as Links from "../store/links.ts"
import * as Names from "../store/names.ts"
import * as Pull from "../store/pullFolders.ts"
import * as Records from "../store/records.ts"
import * as RootDisk from "../driver/rootDisk.ts"
import * as VolumeFolder from "../driver/volumeFolder.ts"
import { readFolder } from "../driver/snapshotLinks.ts"
import { locksFolder } from "../ownership/files.ts"
import { captureLock, loadLock, make as makeStore, type Store } from "../store/store.ts"

/** A driver that cannot change volumes, which a sweep never touches. */
export type Driver = Omit<Microsandbox.Microsandbox["Service"], "createVolume" | "listVolumes" | "removeVolume">

interface Sweep {
  readonly driver: Driver
  readonly store: Store
  readonly dryRun: boolean
  /** Detached sandboxes, by instance. */
  readonly released: Effect.Success<ReturnType<typeof Owner.listReleased>>
  readonly report: (verdict: Verdict) => void
}

/** Removes something, unless in a dry run, and reports it. */
const removing = (
  { dryRun, report }: Sweep,
  resource: Verdict["resource"],
  name: string,
  reason: string,
  remove: Effect.Effect<unknown, LightboxError>
): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    if (dryRun) {
      report({ resource, name, verdict: "removable", reason })
      return Effect.succeed(true)
    }
    return Effect.match(remove, {
      onSuccess: (isRemoved) => {
        // It may already have been removed.
        if (isRemoved !== false) report({ resource, name, verdict: "removed", reason })
        return true
      },
      onFailure: (error) => {
        report({ resource, name, verdict: "failed", reason: `${reason}, but ${error.message}` })
        return false
      }
    })
  })

const endedReason = ({ pid }: Owner.Found): string =>
  pid === undefined ? "its process has ended" : `its process ${pid} has ended`

/** Removes the subject of a note, unless another now has its name. */
const sweepNote = (sweep: Sweep, owner: Owner.Found, note: Ownership.Note): Effect.Effect<boolean, LightboxError> => {
  const { driver, report } = sweep
  const reason = endedReason(owner)
  const disk = sweepDisk(sweep, note.token, `the disk of "${note.name}", ${reason}`)
  // An interrupted removal may have left its name, which nobody else can be creating.
  const freeName = sweep.dryRun || !isGenerated(note.name) ? Effect.void : Effect.asVoid(driver.removeGhost(note.name))
  const keep = (resource: Verdict["resource"], why: string) =>
    Effect.sync(() => {
      report({ resource, name: note.name, verdict: "kept", reason: why })
      return true
    })
  switch (note.kind) {
    case "sandbox":
      return driver.getSandbox(note.name).pipe(
        Effect.flatMap((sandbox) =>
          sandbox.labels[instanceLabel] !== note.token
            ? keep("sandbox", "another sandbox has this name")
            : sweep.released.has(note.token)
              ? keep("sandbox", "it was detached")
              : removing(
                  sweep,
                  "sandbox",
                  note.name,
                  reason,
                  because("swept", reason)(driver.removeSandbox(sandbox, { force: true }))
                )
        ),
        Effect.catchReason("LightboxError", "NotFound", () =>
          Effect.flatMap(listDeserted(driver), (ghosts) =>
            ghosts.includes(note.name)
              ? removing(sweep, "ghost", note.name, reason, driver.removeGhost(note.name))
              : Effect.as(freeName, true)
          )
        ),
        Effect.andThen((isResolved) => Effect.map(disk, (isDone) => isResolved && isDone))
      )
    case "disk":
      return Effect.tap(disk, freeName)
    case "capture":
      // Whoever makes the same result removes what is in its way.
      return ifFree(
        sweep,
        captureLock(note.name),
        true,
        removeStaged(sweep, note.name, reason, { snapshot: note.name })
      )
    case "load":
      return ifFree(
        sweep,
        loadLock,
        false,
        removeStaged(sweep, "load", reason, { loadsSince: Number(note.name) - clockMarginMillis })
      )
    case "unnamed":
      return removeUnnamed(sweep, note.name, reason)
    case "file":
      return isThere(note.name).pipe(
        Effect.flatMap((exists) =>
          exists ? removing(sweep, "staging", note.name, reason, removeFile(note.name)) : Effect.succeed(true)
        )
      )
    case "name":
      return Effect.flatMap(driver.readSnapshotLink(note.name), (artifact) =>
        artifact !== undefined
          ? removing(sweep, "snapshot", note.name, reason, Names.remove(driver, sweep.store, note.name))
          : Effect.succeed(true)
      )
    case "renamed":
      return sweep.dryRun
        ? Effect.succeed(true)
        : Effect.map(Commits.endRenaming(driver, sweep.store, note), (done) => {
            const why = "a build that was to take its name was cut short"
            if (done === "restored") report({ resource: "snapshot", name: note.name, verdict: "kept", reason: why })
            if (done === "removed") {
              const name = Commits.replacedName(note.name, note.token)
              report({ resource: "snapshot", name, verdict: "removed", reason })
            }
            return true
          })
    case "volume":
      return ifFree(sweep, VolumeFolder.lock(note.name), false, sweepVolumeFolder(sweep, note.name, reason))
    case "use":
      return Effect.succeed(true)
  }
}

/** Removes the disk made for a sandbox, unless a sandbox uses it. */
const sweepDisk = Effect.fnUntraced(function* (
  sweep: Sweep,
  instance: string,
  reason: string
): Effect.fn.Return<boolean, LightboxError> {
  const { driver } = sweep
  // It is a part of a file's name.
  if (!isEntryName(instance)) return true
  const folder = RootDisk.folderOf(driver.home, instance)
  if (!(yield* isThere(folder))) return true
  const sandboxes = yield* driver.listSandboxes({ labels: { [instanceLabel]: instance } })
  return sandboxes.length > 0 || (yield* removing(sweep, "staging", instance, reason, removeFile(folder)))
})

/** Removes the disks of sandboxes that another program removed. */
const sweepDisks = Effect.fnUntraced(function* (sweep: Sweep): Effect.fn.Return<void, LightboxError> {
  const { home } = sweep.driver
  const instances = (yield* readFolder("Reaper.sweep", RootDisk.foldersOf(home))).map(({ name }) => name)
  if (instances.length === 0) return
  // A disk is noted from before its creation until a sandbox uses it.
  const wanted = (yield* Owner.livingNotes(home, "sandbox", "disk")).map(({ token }) => token)
  for (const instance of instances) {
    if (!wanted.includes(instance)) yield* sweepDisk(sweep, instance, "its sandbox no longer exists")
  }
})

/** Removes the folder of a volume whose creation or removal was cut short: the runtime has no record of it. */
const sweepVolumeFolder = Effect.fnUntraced(function* (
  sweep: Sweep,
  name: string,
  reason: string
): Effect.fn.Return<boolean, LightboxError> {
  const folder = VolumeFolder.of(sweep.driver.home, name)
  if (folder === undefined || !(yield* isThere(folder))) return true
  return yield* sweep.driver.getVolume(name).pipe(
    Effect.as(true),
    Effect.catchReason("LightboxError", "NotFound", () =>
      removing(sweep, "staging", name, `the folder of a volume, ${reason}`, removeFile(folder))
    )
  )
})

/** Lists ghosts that no living owner is creating. Everything is noted before it is created. */
const listDeserted = Effect.fnUntraced(function* (
  driver: Driver
): Effect.fn.Return<ReadonlyArray<string>, LightboxError> {
  const ghosts = yield* driver.listGhosts()
  if (ghosts.length === 0) return ghosts
  const wanted = (yield* Owner.livingNotes(driver.home, "sandbox")).map(({ name }) => name)
  return ghosts.filter((name) => !wanted.includes(name))
})

/** Removes a snapshot without a name. */
const removeUnnamed = (sweep: Sweep, name: string, reason: string): Effect.Effect<boolean, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { driver } = sweep
      const { store } = sweep
      if (!sweep.dryRun) yield* Links.lockNames(store)
      // A removal that was cut short leaves a folder that cannot be opened.
      const isLeft =
        ((yield* driver.listSnapshots()).some((snapshot) => snapshot.name === name) ||
          (yield* driver.listDamagedSnapshots()).includes(name)) &&
        !(yield* Generations.roots(driver, store)).has(name)
      // The note stays.
      if (isLeft && (yield* store.inUse).has(name)) return false
      return !isLeft || (yield* removing(sweep, "snapshot", name, reason, driver.removeSnapshot(name)))
    })
  )

/** Removes damaged results that no name needs. */
const sweepDamaged = (sweep: Sweep): Effect.Effect<void, LightboxError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { driver, dryRun, store } = sweep
      const looked = yield* Generations.damaged(driver, store)
      if (looked.length === 0) return
      if (!dryRun) yield* Links.lockNames(store)
      const found = dryRun ? looked : yield* Generations.damaged(driver, store)
      yield* Effect.forEach(
        found,
        (name) =>
          removing(
            sweep,
            "snapshot",
            name,
            "it is damaged, and no name points to it",
            Generations.removeDamaged(driver, store, name)
          ),
        { discard: true }
      )
    })
  )

/** Removes what broken pulls have received long ago. */
const sweepPulls = Effect.fnUntraced(function* (sweep: Sweep): Effect.fn.Return<void, LightboxError> {
  for (const { artifact, lock, path } of yield* Pull.listAbandoned(sweep.driver.home)) {
    const remove = removing(sweep, "staging", artifact, "a pull was not continued", removeFile(path))
    yield* ifFree(sweep, lock, true, remove)
  }
})

/** Removes what no other host has asked for lately. */
const sweepExports = Effect.fnUntraced(function* (sweep: Sweep): Effect.fn.Return<void, LightboxError> {
  const unused = yield* Exports.listUnused(sweep.driver.home)
  if (unused.length === 0) return
  const remove = Effect.forEach(unused, (path) =>
    removing(sweep, "staging", Path.basename(path), "no other host has asked for it for a day", removeFile(path))
  )
  yield* ifFree(sweep, Exports.exportLock, true, Effect.as(remove, true))
})

const isThere = (path: string): Effect.Effect<boolean, LightboxError> =>
  Effect.tryPromise({
    try: async () => (await unlessMissing(Fs.lstat(path))) !== undefined,
    catch: fileFailure("Reaper.sweep", "look at", path)
  })

const removeFile = (path: string): Effect.Effect<void, LightboxError> =>
  Effect.tryPromise({
    try: () => Fs.rm(path, { recursive: true, force: true }),
    catch: fileFailure("Reaper.sweep", "remove", path)
  })

/** The clock of a file system is a few milliseconds behind, and any clock may have been set meanwhile. */
const clockMarginMillis = 10_000

const removeStaged = (
  { dryRun, driver, report }: Sweep,
  name: string,
  reason: string,
  of: Parameters<Driver["removeStaging"]>[0]
): Effect.Effect<boolean> =>
  Effect.match(driver.removeStaging(of, { dryRun }), {
    onSuccess: (found) => {
      for (const path of found) {
        report({ resource: "staging", name: Path.basename(path), verdict: dryRun ? "removable" : "removed", reason })
      }
      return true
    },
    onFailure: (error) => {
      report({ resource: "staging", name, verdict: "failed", reason: `${reason}, but ${error.message}` })
      return false
    }
  })

/** Runs an effect unless the lock is held. Returns `otherwise` if it is. */
const ifFree = (
  { driver, dryRun }: Sweep,
  lock: string,
  otherwise: boolean,
  effect: Effect.Effect<boolean, LightboxError>
): Effect.Effect<boolean, LightboxError> =>
  dryRun
    ? effect
    : Effect.scoped(
        Effect.flatMap(Lock.tryAcquire(locksFolder(driver.home), lock), (result) =>
          "lock" in result ? effect : Effect.succeed(otherwise)
        )
      )

const sweepOwner = Effect.fnUntraced(function* (
  sweep: Sweep,
  owner: Owner.Found
): Effect.fn.Return<void, LightboxError> {
  const { home } = sweep.driver
  const fail = (name: string, error: LightboxError) =>
    Effect.as(
      Effect.sync(() => sweep.report(failed(name, error))),
      false
    )
  let isResolved = owner.problem === undefined || (yield* fail(owner.id, owner.problem))
  for (const note of owner.notes) {
    const isDone = yield* sweepNote(sweep, owner, note).pipe(Effect.catch((error) => fail(note.name, error)))
    if (isDone && !sweep.dryRun) yield* Owner.removeNote(home, owner.id, note)
    isResolved &&= isDone
  }
  if (isResolved) yield* removing(sweep, "owner", owner.id, endedReason(owner), Owner.remove(home, owner.id))
})

/** Checks all sandboxes, including those whose notes were lost and those detached for a limited time. */
const sweepSandboxes = Effect.fnUntraced(function* (
  sweep: Sweep,
  known: ReadonlyMap<string, Owner.Found>
): Effect.fn.Return<void, LightboxError> {
  const { driver, report } = sweep
  const now = yield* Clock.currentTimeMillis
  const present = new Set<string | undefined>()
  for (const sandbox of yield* driver.listSandboxes()) {
    const { name } = sandbox
    const instance = sandbox.labels[instanceLabel]
    const id = sandbox.labels[ownerLabel]
    const keep = (reason: string) => report({ resource: "sandbox", name, verdict: "kept", reason })
    const remove = (reason: string, cause: "expired" | "swept" = "swept") =>
      removing(sweep, "sandbox", name, reason, because(cause, reason)(driver.removeSandbox(sandbox, { force: true })))
    const detached = instance === undefined ? undefined : sweep.released.get(instance)
    if (detached !== undefined) {
      if (detached.expires === undefined) keep("it was detached")
      else if (detached.expires > now) keep("it was detached, and its time to live has not expired")
      else if (yield* remove("its time to live has expired", "expired")) continue
    } else if (id === undefined) keep("another program created it")
    else {
      const owner = known.get(id) ?? (yield* Owner.find(driver.home, id))
      if (owner.state !== "dead") {
        keep(
          owner.state === "alive"
            ? `its process ${owner.pid} is running`
            : "its process may be running on another machine"
        )
      } else if (instance !== undefined && (yield* Owner.listReleased(driver.home)).has(instance)) {
        // By a process that started and ended during the sweep.
        keep("it was detached")
      } else yield* remove(endedReason(owner))
    }
    present.add(instance)
  }
  for (const token of sweep.released.keys()) {
    if (!present.has(token) && !sweep.dryRun) yield* Owner.removeReleased(driver.home, token)
  }
  for (const name of yield* listDeserted(driver)) {
    if (!name.startsWith(generatedPrefix)) {
      report({ resource: "ghost", name, verdict: "kept", reason: "another program may have created it" })
    } else yield* removing(sweep, "ghost", name, "its creation failed", driver.removeGhost(name))
  }
})

/** Sweeps. With `all`, checks everything; otherwise only what dead owners have noted. */
export const sweep = Effect.fnUntraced(function* (
  driver: Driver,
  ownership: Ownership.Ownership["Service"],
  options: { readonly dryRun: boolean; readonly all: boolean; readonly timeout: Duration.Duration }
): Effect.fn.Return<Report> {
  const verdicts: Array<Verdict> = []
  const work = Effect.gen(function* () {
    const owners = yield* Owner.list(driver.home)
    if (!options.all && owners.every(({ state }) => state !== "dead")) return
    const sweep: Sweep = {
      driver,
      store: makeStore(driver, ownership),
      dryRun: options.dryRun,
      released: yield* Owner.listReleased(driver.home),
      report: (verdict) => {
        // A sandbox may appear twice: in its owner's notes and in the list.
        const isReported = verdicts.some(({ name, resource }) => name === verdict.name && resource === verdict.resource)
        if (!isReported) verdicts.push(verdict)
      }
    }
    const attempt = (name: string, effect: Effect.Effect<void, LightboxError>) =>
      effect.pipe(Effect.catch((error) => Effect.sync(() => sweep.report(failed(name, error)))))
    for (const owner of owners) {
      if (owner.state === "dead") yield* attempt(owner.id, sweepOwner(sweep, owner))
      else sweep.report({ resource: "owner", name: owner.id, verdict: "kept", reason: describe(owner) })
    }
    if (!options.all) return
    yield* attempt("all", sweepSandboxes(sweep, new Map(owners.map((owner) => [owner.id, owner]))))
    yield* attempt("disks", sweepDisks(sweep))
    yield* attempt("snapshots", sweepDamaged(sweep))
    yield* attempt("pulls", sweepPulls(sweep))
    yield* attempt("exports", sweepExports(sweep))
    if (!options.dryRun) {
      yield* Effect.ignore(Effect.tryPromise(() => ListingCache.evict(driver.home)))
      yield* Records.prune(driver.home)
    }
    const locks = Effect.map(Lock.collect(locksFolder(driver.home), options), (files) => {
      for (const name of files) {
        const verdict = options.dryRun ? "removable" : "removed"
        sweep.report({ resource: "lock", name, verdict, reason: "it is not held" })
      }
    })
    yield* attempt("locks", locks)
    const remains = Effect.map(driver.removeRemains(options), (folders) => {
      for (const name of folders) {
        const verdict = options.dryRun ? "removable" : "removed"
        sweep.report({ resource: "staging", name, verdict, reason: "its process has ended" })
      }
    })
    yield* attempt("remains", remains)
  })
  const isComplete = yield* work.pipe(
    Effect.as(true),
    Effect.catch((error) => {
      verdicts.push(failed("owners", error))
      return Effect.succeed(false)
    }),
    Effect.timeoutOrElse({ duration: options.timeout, orElse: () => Effect.succeed(false) })
  )
  if (!options.dryRun) yield* count(verdicts, isComplete)
  return Report.of(verdicts, { dryRun: options.dryRun, isComplete })
})

const count = (verdicts: ReadonlyArray<Verdict>, isComplete: boolean): Effect.Effect<void> =>
  Effect.andThen(
    Metric.update(Metric.withAttributes(sweeps, { outcome: isComplete ? "complete" : "incomplete" }), 1),
    Effect.forEach(
      verdicts.filter(({ verdict }) => verdict === "removed" || verdict === "failed"),
      ({ resource, verdict }) => Metric.update(Metric.withAttributes(swept, { resource, verdict }), 1),
      { discard: true }
    )
  )

const failed = (name: string, error: LightboxError): Verdict => ({
  resource: "owner",
  name,
  verdict: "failed",
  reason: error.message
})

const describe = ({ pid, state }: Owner.Found): string =>
  state === "alive"
    ? `its process ${pid} is running`
    : state === "elsewhere"
      ? "it is on another machine"
      : "it has just started"

/** Logs removed sandboxes and all failures. */
export const log = ({ verdicts }: Report): Effect.Effect<void> =>
  Effect.forEach(
    verdicts,
    ({ name, reason, resource, verdict }) =>
      verdict === "failed"
        ? Effect.logWarning(`Could not remove ${resource} "${name}": ${reason}`)
        : verdict === "removed" && (resource === "sandbox" || resource === "ghost")
          ? Effect.logInfo(`Removed ${resource} "${name}": ${reason}`)
          : Effect.void,
    { discard: true }
  )

/** The longest delay of a program's start. */
const startTimeout = Duration.seconds(10)

export const sweepAtStart = (driver: Driver, ownership: Ownership.Ownership["Service"]): Effect.Effect<void> =>
  Effect.flatMap(sweep(driver, ownership, { dryRun: false, all: false, timeout: startTimeout }), log)

/** While a process runs, it removes what others left within a minute of their end. */
const intervalMillis = 30_000

/** Sweeps at intervals, without keeping the process alive for it. */
export const sweepForever = (driver: Driver, ownership: Ownership.Ownership["Service"]): Effect.Effect<never> =>
  Effect.callback<void>((resume) => {
    const timer = setTimeout(() => resume(Effect.void), intervalMillis).unref()
    return Effect.sync(() => clearTimeout(timer))
  }).pipe(Effect.andThen(sweepAtStart(driver, ownership)), Effect.forever)
