/** A host in the directory of a fleet: what it says about itself, and what it finds there. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import type { Admission } from "../../Admission.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type * as Ownership from "../../Ownership.ts"
import * as Directory from "../directory/directory.ts"
import * as Directories from "../directory/open.ts"
import * as FleetDriver from "../driver/fleet/driver.ts"
import { withoutMemory } from "../driver/parts.ts"
import * as Keeper from "../fleet/keeper.ts"
import * as HomeFiles from "../ownership/files.ts"
import { randomId } from "../ownership/labels.ts"
import { compose } from "../reaper/compose.ts"
import { replaceFile, unlessMissing } from "../host/durable.ts"
import { fileFailure } from "../host/fileFailure.ts"

type Driver = Microsandbox.Microsandbox["Service"]

export interface Options {
  readonly directory: Redacted.Redacted<string>
  readonly labels: { readonly [name: string]: string }
  /** The host cordons itself after so many boots failed in a row, the first of them this long ago. */
  readonly bootFailures: { readonly count: number; readonly within: Duration.Duration }
  /** What the host uses the other hosts with. Without it, it does nothing for the fleet. */
  readonly token: Redacted.Redacted<string> | undefined
  /** Jobs that it conducts at once. */
  readonly jobs: number
  readonly prune: Keeper.Prune | undefined
}

export interface Member {
  /** The id of the host. */
  readonly id: string
  readonly join: (address: string) => Effect.Effect<void, LightboxError, Scope.Scope>
  readonly onBoot: (exit: Exit.Exit<unknown, LightboxError>) => Effect.Effect<void>
  /** Runs a creation, of which the directory learns from its program. */
  readonly whileCreating: <A>(name: string, effect: Effect.Effect<A, LightboxError>) => Effect.Effect<A, LightboxError>
}

/** How often a host looks at everything that it has. */
const inventoryMillis = 15_000

/** How often a host extends the leases of its sandboxes in the directory. */
const renewMillis = Directory.graceMillis / 3

/** A host that could not see the directory may not judge others before they had time to be seen. */
const settledMillis = 2 * Directory.aliveMillis

/** A creation that the directory knows reaches its host within this time, or its program is gone. */
const requestMillis = 120_000

/** A lost sandbox is remembered for so long by a host that knows that it does not have it. */
const lostMillis = 24 * 3_600_000

/** The persistent id of a host: readable, and its own. */
const readId = (method: string, home: string, stage: Ownership.Ownership["Service"]["stage"]) => {
  const path = Path.join(home, "lightbox", "host")
  const attempt = <A>(operation: string, run: () => Promise<A>) =>
    Effect.tryPromise({ try: run, catch: fileFailure(method, operation, path) })
  return Effect.gen(function* () {
    const known = (yield* attempt("read", () => unlessMissing(Fs.readFile(path, "utf8"))))?.trim()
    if (known !== undefined && /^[a-z0-9][a-z0-9.-]{0,99}$/.test(known)) return known
    const name = Os.hostname()
      .toLowerCase()
      .replaceAll(/[^a-z0-9-]+/g, "-")
      .replaceAll(/^-+|-+$/g, "")
      .slice(0, 40)
    const id = `${name === "" ? "host" : name}-${Crypto.randomBytes(4).toString("hex")}`
    const staged = yield* stage
    yield* attempt("write", () => replaceFile(path, staged, `${id}\n`))
    return id
  })
}

/** Whether a failure to boot says something about the host. */
const isHosts = ({ reason }: LightboxError): boolean =>
  ["BootFailed", "NoVirtualization", "RuntimeMissing"].includes(reason._tag)

const presentOf = (driver: Driver): Effect.Effect<ReadonlyArray<Directory.Present>, LightboxError> =>
  Effect.map(driver.listSandboxes(), (all) =>
    all.map(({ id, memory, name, status }) => ({
      name,
      id,
      memory,
      isRunning: status !== "stopped" && status !== "crashed"
    }))
  )

/** The entry of a sandbox whose name another host has got meanwhile. No sandbox can have such a name. */
const markedName = (name: string, host: string): string => `${name}~${host}`

/** Compares what the directory says about the sandboxes of a host with what the host has. Removes no sandbox. */
const reconcile = Effect.fnUntraced(function* (
  directory: Directory.Directory,
  host: { readonly id: string; readonly incarnation: string },
  startedAt: number,
  present: ReadonlyArray<Directory.Present>,
  /** The names that are being created at this moment. */
  creating: ReadonlySet<string>
): Effect.fn.Return<void, LightboxError> {
  const byName = new Map(
    present.flatMap((sandbox) => [
      [sandbox.name, sandbox],
      [markedName(sandbox.name, host.id), sandbox]
    ])
  )
  const rows = yield* directory.sandboxesOf(host.id)
  const now = yield* directory.time
  for (const row of rows) {
    const found = byName.get(row.name)
    const isSame = found !== undefined && (row.id === null || row.id === found.id)
    // It changed while this host looked.
    if (now - row.age >= startedAt && row.incarnation === host.incarnation) continue
    if (found !== undefined && isSame) {
      const state = found.isRunning ? "running" : "stopped"
      // Whoever creates it tells that it exists.
      if (creating.has(row.name)) continue
      if (row.state !== state || row.incarnation !== host.incarnation) {
        yield* directory.observe(row, host.incarnation, found)
      }
    } else if (row.state === "creating") {
      const isGivenUp = row.age > requestMillis && !creating.has(row.name)
      if (row.incarnation !== host.incarnation || isGivenUp) yield* directory.forget(row.name, row.request)
    } else if (row.state === "lost") {
      if (row.age > lostMillis) yield* directory.forget(row.name, row.request)
    } else if (row.incarnation === host.incarnation) {
      yield* directory.forget(row.name, row.request)
    } else {
      yield* directory.lose(row, `its host ${host.id} was restarted without it`)
    }
  }
  const known = new Map(rows.map((row) => [row.name, row]))
  for (const sandbox of present) {
    if (known.has(sandbox.name)) continue
    const claim = {
      name: sandbox.name,
      host: host.id,
      incarnation: host.incarnation,
      owner: host.id,
      request: randomId(),
      memory: sandbox.memory,
      detached: true
    }
    const marked = known.get(markedName(sandbox.name, host.id))
    if (yield* directory.adopt(claim, sandbox)) {
      if (marked !== undefined) yield* directory.forget(marked.name, marked.request)
    } else if (marked === undefined) {
      // It is reached by its id, and counts where it is.
      yield* directory.adopt({ ...claim, name: markedName(sandbox.name, host.id) }, sandbox)
    }
  }
})

/** Tells the directory what a host has of each kind. */
const takeStock = Effect.fnUntraced(function* (
  driver: Driver,
  directory: Directory.Directory,
  host: string,
  startedAt: number
): Effect.fn.Return<void, LightboxError> {
  const { capabilities } = driver
  const none = Effect.succeed<ReadonlyArray<string>>([])
  const names = {
    snapshot: capabilities.snapshots ? Effect.map(driver.listSnapshots(), (all) => all.map(({ name }) => name)) : none,
    image: capabilities.images ? Effect.map(driver.listImages(), (all) => all.map(({ reference }) => reference)) : none,
    volume: capabilities.volumes ? Effect.map(driver.listVolumes(), (all) => all.map(({ name }) => name)) : none
  }
  const held = yield* directory.held(host)
  for (const kind of ["snapshot", "image", "volume"] as const) {
    const present = new Set(yield* names[kind])
    const known = new Set(held.flatMap((holding) => (holding.kind === kind ? [holding.name] : [])))
    yield* directory.hold(
      host,
      [...present].filter((name) => !known.has(name)).map((name) => ({ kind, name }))
    )
    for (const name of known) if (!present.has(name)) yield* directory.drop(host, kind, name, startedAt)
  }
})

/**
 * Tells the directory the names of snapshots that were made on this host without the fleet, so that it does not prune what
 * they need. Removes those that the fleet has removed while this host was away. Whoever removes a name holds the lock.
 */
const shareNames = Effect.fnUntraced(function* (
  driver: Driver,
  directory: Directory.Directory,
  host: string
): Effect.fn.Return<void, LightboxError> {
  if (!driver.capabilities.snapshots) return
  const look = Effect.gen(function* () {
    const names = new Set((yield* directory.links).map(({ name }) => name))
    const unknown = Object.entries(yield* driver.listSnapshotLinks()).filter(([name]) => !names.has(name))
    return { unknown, unlinked: yield* directory.unlinkedOf(host) }
  })
  const first = yield* look
  if (first.unknown.length + first.unlinked.length === 0) return
  const holder = randomId()
  const share = Effect.gen(function* () {
    const { unknown, unlinked } = yield* look
    for (const [name, snapshot] of unknown) {
      const path = `names/${name}.json`
      if (unlinked.includes(name)) {
        yield* driver.unlinkSnapshot(name)
        yield* HomeFiles.remove(driver, path)
      } else {
        yield* directory.addName(name, snapshot, yield* HomeFiles.read(driver, path), [holder])
      }
    }
    // The others this host does not have, or the fleet has them again.
    yield* Effect.forEach(unlinked, (name) => directory.forgetUnlinked(host, name), { discard: true })
  })
  yield* Effect.acquireUseRelease(
    directory.lock("names", holder),
    (isHeld) => (isHeld ? share : Effect.void),
    (isHeld) => (isHeld ? Effect.ignore(directory.unlock("names", holder)) : Effect.void)
  )
})

/** Prepares a host for a directory. It joins when it listens. */
export const make = Effect.fnUntraced(function* (
  method: string,
  options: Options,
  context: {
    readonly driver: Driver
    readonly ownership: Ownership.Ownership["Service"]
    readonly admission: Admission["Service"]
    readonly lease: Duration.Duration
  }
): Effect.fn.Return<Member, LightboxError, Scope.Scope> {
  const { admission, driver } = context
  const { bootFailures } = options
  const directory = yield* Directories.open(method, "directory.url", options.directory)
  const id = yield* readId(method, driver.home, context.ownership.stage)
  const incarnation = Crypto.randomBytes(9).toString("base64url")
  const host = { id, incarnation }
  const architecture = process.arch === "x64" || process.arch === "arm64" ? process.arch : undefined
  const state = {
    isAway: false,
    since: 0,
    last: Number.NEGATIVE_INFINITY,
    renewed: Number.NEGATIVE_INFINITY,
    failures: new Array<number>()
  }

  /** The fleet as this host sees it, made when the host does something for it. */
  const scope = yield* Effect.scope
  const services = yield* Effect.cached(
    Effect.suspend(() =>
      FleetDriver.make(
        {
          directory: options.directory,
          token: options.token ?? Redacted.make(""),
          home: driver.home,
          ...(architecture === undefined ? {} : { architecture })
        },
        directory
      )
    ).pipe(
      // Each host sweeps what it has.
      Effect.flatMap((blueprint) => compose({ ...blueprint, sweep: false })),
      Scope.provide(scope)
    )
  )
  const keeper = Keeper.make({ directory, holder: incarnation, services, scope })

  const creating = new Map<string, number>()
  const whileCreating: Member["whileCreating"] = (name, effect) =>
    Effect.acquireUseRelease(
      Effect.sync(() => creating.set(name, (creating.get(name) ?? 0) + 1)),
      () => effect,
      () =>
        Effect.sync(() => {
          const left = (creating.get(name) ?? 1) - 1
          if (left === 0) creating.delete(name)
          else creating.set(name, left)
        })
    )

  const usage = Effect.gen(function* () {
    const present = yield* presentOf(driver)
    const used = present.reduce((sum, { isRunning, memory }) => (isRunning ? sum + memory : sum), 0)
    const limit = admission.limit === undefined ? Os.totalmem() : yield* admission.limit
    // Free memory cannot be measured beyond what a budget allows.
    return { memory: Number.isFinite(limit) ? limit : Os.totalmem(), used }
  })

  const inventory = Effect.gen(function* () {
    const startedAt = yield* directory.time
    yield* reconcile(directory, host, startedAt, yield* presentOf(driver), new Set(creating.keys()))
    yield* takeStock(driver, directory, id, startedAt)
    yield* shareNames(driver, directory, id)
  })

  const beat = Effect.gen(function* () {
    const isKnown = yield* directory.beat({ ...host, ...(yield* usage) })
    const now = yield* directory.time
    if (now - state.last > Directory.aliveMillis) state.since = now
    state.last = now
    // Less often than a beat, which writes one row.
    if (now - state.renewed >= renewMillis) {
      yield* directory.renew(host, Directory.graceMillis)
      state.renewed = now
    }
    // What this host has not seen itself for a while is no reason to give up others.
    if (isKnown) yield* keeper.tend({ now, isSettled: now - state.since >= settledMillis })
    return isKnown
  })

  const said = (away: boolean, message: string) =>
    Effect.suspend(() => {
      if (state.isAway === away) return Effect.void
      state.isAway = away
      return away ? Effect.logWarning(message) : Effect.logInfo(message)
    })

  const join = Effect.fnUntraced(function* (address: string): Effect.fn.Return<void, LightboxError, Scope.Scope> {
    const register = directory.register({
      ...host,
      address,
      version: driver.version,
      architecture: process.arch,
      labels: options.labels,
      capabilities: { ...withoutMemory(driver.capabilities), volumeFiles: false },
      cpus: Os.availableParallelism(),
      ...(options.prune === undefined ? {} : { prune: Keeper.encodePrune(options.prune) })
    })
    yield* Effect.acquireRelease(register, () =>
      keeper.leave.pipe(
        Effect.andThen(directory.leave(host)),
        Effect.timeout("5 seconds"),
        Effect.ignore({ log: "Warn", message: "Could not tell the directory that this host stops" })
      )
    )
    yield* beat
    yield* inventory
    // Registered again if someone has removed it; silent if another process has the home.
    const again = Effect.gen(function* () {
      const now = (yield* directory.hosts).find((other) => other.id === id)
      if (now === undefined) return yield* Effect.as(register, true)
      yield* Effect.logError(`Another process serves ${driver.home} as host ${id}: this one is no part of the fleet`)
      return false
    })
    const every = <A>(period: number, effect: Effect.Effect<A, LightboxError>) =>
      effect.pipe(
        Effect.tap(said(false, "The directory is back")),
        Effect.catchCause((cause) =>
          said(true, `The directory is away; sandboxes go on: ${Cause.pretty(cause).split("\n")[0]}`)
        ),
        Effect.delay(Duration.millis(period)),
        Effect.forever
      )
    const beating = Effect.flatMap(beat, (isKnown) => (isKnown ? Effect.succeed(true) : again))
    let isMember = true
    const working = yield* Scope.fork(yield* Effect.scope)
    if (options.jobs > 0 && options.token !== undefined && architecture !== undefined) {
      // Effect's cluster, which no other host needs.
      const { conduct } = yield* Effect.promise(() => import("../fleet/conduct.ts"))
      yield* Scope.provide(conduct({ directory, host: id, architecture, slots: options.jobs, services }), working)
    }
    yield* every(
      Directory.beatMillis,
      Effect.suspend(() =>
        isMember
          ? Effect.flatMap(beating, (is) => {
              isMember = is
              return is ? Effect.void : Scope.close(working, Exit.void)
            })
          : Effect.void
      )
    ).pipe(Effect.forkScoped)
    yield* every(
      inventoryMillis,
      Effect.suspend(() => (isMember ? inventory : Effect.void))
    ).pipe(Effect.forkScoped)
  })

  const onBoot = (exit: Exit.Exit<unknown, LightboxError>): Effect.Effect<void> =>
    Effect.gen(function* () {
      if (Exit.isSuccess(exit)) {
        state.failures = []
        return
      }
      const error = Cause.findErrorOption(exit.cause)
      if (error._tag === "None" || !isHosts(error.value)) return
      const now = yield* Clock.currentTimeMillis
      const since = now - Duration.toMillis(bootFailures.within)
      state.failures = [...state.failures.filter((at) => at > since), now]
      if (state.failures.length < bootFailures.count) return
      const reason = `${state.failures.length} boots in a row failed, the last one: ${error.value.message}`
      state.failures = []
      yield* Effect.logError(`This host takes no more sandboxes of the fleet: ${reason}`)
      yield* Effect.ignore(directory.cordon(id, reason))
    })

  return { id, join, onBoot, whileCreating }
})
