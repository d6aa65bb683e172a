/** Sandboxes of a fleet: where they are placed, and how they are found again. */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Struct from "effect/Struct"
import {
  AlreadyExists,
  HostUnavailable,
  LightboxError,
  NoCapacity,
  NotFound,
  Replaced,
  Unsupported
} from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type { Directory, Host, SandboxRow } from "../../directory/directory.ts"
import { lock } from "../../ownership/files.ts"
import * as Links from "../../store/links.ts"
import { keyLabel } from "../../store/store.ts"
import { checkCombination, requireBoot } from "../createChecks.ts"
import type { SandboxPart } from "../parts.ts"
import { randomId } from "../../ownership/labels.ts"
import * as Elsewhere from "../remote/elsewhere.ts"
import * as Failures from "../remote/failures.ts"
import type { Notes } from "./home.ts"
import type { Hosts } from "./hosts.ts"
import * as Place from "./place.ts"
import type { Stock } from "./stock.ts"

type Driver = Microsandbox.Microsandbox["Service"]

const createMethod = "Microsandbox.createSandbox"

const failure = (method: string, reason: LightboxError["reason"]) => new LightboxError({ method, reason })

const lostError = (method: string, { host, name, reason }: SandboxRow) =>
  failure(
    method,
    new HostUnavailable({ host, kind: "Ended", problem: `sandbox "${name}" is lost: ${reason ?? "its host is gone"}` })
  )

const notFound = (method: string, name: string) => failure(method, new NotFound({ resource: "sandbox", name }))

/** The host refused, and has done nothing: another may take the sandbox. */
const isRefusal = ({ reason }: LightboxError): boolean =>
  reason._tag === "NoCapacity" ||
  reason._tag === "NoSpace" ||
  // It cannot boot anything, and cordons itself soon.
  reason._tag === "NoVirtualization" ||
  reason._tag === "RuntimeMissing" ||
  (reason._tag === "HostUnavailable" && reason.kind !== "Lost" && reason.kind !== "Refused") ||
  // The directory knew more than the host has by now.
  (reason._tag === "NotFound" && reason.resource === "snapshot")

/** Ids are unique on a host. In the fleet, they also name the host. */
const idAt = (host: string, id: string): string => `${host}~${id}`

const seenAt = (info: Microsandbox.SandboxInfo, host: string): Microsandbox.SandboxInfo =>
  Struct.assign(info, { id: idAt(host, info.id) })

/** What a host calls a sandbox. */
const ownOf = ({ id }: Microsandbox.SandboxRef): { readonly host: string | undefined; readonly id: string } => {
  const end = id.indexOf("~")
  return end === -1 ? { host: undefined, id } : { host: id.slice(0, end), id: id.slice(end + 1) }
}

/** How often a creation tells the directory that it goes on, while it waits for a copy of its snapshot. */
const keepInterval = "30 seconds"

/** How long an interrupted creation waits for its host to say what became of it. */
const interruptLimit = "5 seconds"

/** Names of volumes that a configuration mounts. */
const volumesOf = ({ config }: Microsandbox.CreateSandbox): ReadonlyArray<string> => [
  ...new Set(Object.values(config.mounts ?? {}).flatMap((mount) => ("volume" in mount ? [mount.volume] : [])))
]

/** Finds the host of a sandbox. */
export interface Routes {
  readonly hostOf: (method: string, name: string) => Effect.Effect<string, LightboxError>
  readonly remember: (name: string, host: string) => void
  readonly forget: (name: string) => void
}

/** The hosts of sandboxes. Those that this program has used are reached while the directory is away. */
export const makeRoutes = (directory: Directory): Routes => {
  const known = new Map<string, string>()
  return {
    hostOf: (method, name) =>
      Effect.suspend(() => {
        const host = known.get(name)
        if (host !== undefined) return Effect.succeed(host)
        return Effect.flatMap(directory.find(name), (row) => {
          if (row === undefined) return Effect.fail(notFound(method, name))
          if (row.state === "lost") return Effect.fail(lostError(method, row))
          known.set(name, row.host)
          return Effect.succeed(row.host)
        })
      }),
    remember: (name, host) => {
      known.set(name, host)
    },
    forget: (name) => {
      known.delete(name)
    }
  }
}

export const make = (options: {
  readonly directory: Directory
  readonly hosts: Hosts
  readonly notes: Notes
  readonly routes: Routes
  readonly stock: Stock
  /** What names this program in the directory. */
  readonly owner: string
  /** What every sandbox of this program needs. */
  readonly wanted: Place.Wanted
  /** The token of the hosts, for those that get a snapshot from another. */
  readonly token: Redacted.Redacted<string>
  /** Of the fleet, whose locks volumes need. */
  readonly home: Pick<Driver, "home" | "remoteHome">
}): SandboxPart => {
  const { directory, hosts, notes, routes, stock } = options

  const away = (name: string) => (error: LightboxError) =>
    Effect.sync(() => {
      // It may have been given up, or be on another host by now.
      if (["HostUnavailable", "NotFound", "Replaced"].includes(error.reason._tag)) routes.forget(name)
    })

  /** Why a host that was asked for a sandbox of its own has failed, as far as the directory knows more. */
  const explained = Effect.fnUntraced(function* (method: string, name: string, host: string, error: LightboxError) {
    const isMissing = error.reason._tag === "NotFound"
    if (!isMissing && error.reason._tag !== "HostUnavailable") return error
    const row = yield* directory.find(name)
    if (row === undefined) return error
    if (row.host === host) return row.state === "lost" ? lostError(method, row) : error
    // Another host has a sandbox of this name by now. One that does not answer may still have this one.
    const isGone = isMissing || (yield* hosts.all).every(({ id }) => id !== host)
    return isGone ? failure(method, new Replaced({ name })) : error
  })

  /**
   * Does something with a sandbox, on its host. The id says which that is, and the host judges the rest: the directory may
   * have forgotten the sandbox.
   */
  const on = <A, R = never>(
    method: string,
    sandbox: Microsandbox.SandboxRef,
    use: (driver: Driver, own: Microsandbox.SandboxRef, host: string) => Effect.Effect<A, LightboxError, R>
  ): Effect.Effect<A, LightboxError, R> => {
    const { name } = sandbox
    const own = ownOf(sandbox)
    const at = (id: string) => hosts.at(method, id, ({ driver }) => use(driver, { name, id: own.id }, id))
    const { host } = own
    return (
      host === undefined
        ? Effect.flatMap(routes.hostOf(method, name), at)
        : at(host).pipe(
            Effect.catch((error) =>
              Effect.flatMap(
                Effect.orElseSucceed(explained(method, name, host, error), () => error),
                Effect.fail
              )
            )
          )
    ).pipe(Effect.tapError(away(name)))
  }

  // =========================================================================
  // Placement
  // =========================================================================

  /** The host of all peers: their proxy is on it. */
  const peersOf = Effect.fnUntraced(function* (request: Microsandbox.CreateSandbox) {
    yield* Elsewhere.checkProxy(request)
    const peers = request.proxy?.peers ?? []
    const found = new Set(yield* Effect.forEach(peers, ({ sandbox }) => routes.hostOf(createMethod, sandbox.name)))
    if (found.size > 1) {
      const problem = `the sandboxes that it connects to are on different hosts (${[...found].join(", ")})`
      return yield* failure(createMethod, new Unsupported({ feature: "a group on several hosts", problem }))
    }
    return found
  })

  const wantedOf = Effect.fnUntraced(function* (request: Microsandbox.CreateSandbox, volumes: ReadonlyArray<string>) {
    const { config, source } = request
    const peers = yield* peersOf(request)
    const held = yield* directory.holders("volume", volumes)
    const needs = volumes.flatMap((name) => {
      const having = new Set(held.flatMap((holding) => (holding.name === name ? [holding.host] : [])))
      return having.size === 0 ? [] : [{ name: `volume "${name}"`, hosts: having }]
    })
    const wanted: Place.Wanted = {
      ...options.wanted,
      memory: config.resources?.memory ?? options.wanted.memory,
      needs: peers.size === 0 ? needs : [...needs, { name: "the sandboxes that it connects to", hosts: peers }]
    }
    const asked: Microsandbox.CreateSandbox =
      request.proxy?.peers === undefined
        ? request
        : {
            ...request,
            proxy: {
              ...request.proxy,
              peers: request.proxy.peers.map((peer) => ({
                ...peer,
                sandbox: { name: peer.sandbox.name, id: ownOf(peer.sandbox).id }
              }))
            }
          }
    if (source._tag === "Image") {
      const images = yield* directory.holders("image", [source.reference])
      return { request: asked, wanted: { ...wanted, images: new Set(images.map(({ host }) => host)) } }
    }
    const snapshot = yield* stock.resolve(source.name)
    const having = new Set(yield* stock.snapshotHolders(createMethod, snapshot))
    return {
      // A host's own link may be older than that of the fleet.
      request: { ...asked, source: { _tag: "Snapshot" as const, name: snapshot } },
      wanted: { ...wanted, sources: { name: `snapshot "${snapshot}"`, hosts: having } }
    }
  })

  /** Takes the name of a sandbox for this creation. */
  const claim = Effect.fnUntraced(function* (
    request: Microsandbox.CreateSandbox,
    key: string,
    host: Host,
    memory: number
  ): Effect.fn.Return<void, LightboxError> {
    const { name } = request
    const claiming = directory.claim({
      name,
      host: host.id,
      incarnation: host.incarnation,
      owner: options.owner,
      request: key,
      memory,
      detached: request.detached === true
    })
    const taken = failure(createMethod, new AlreadyExists({ resource: "sandbox", name }))
    for (let attempt = 0; attempt < 4; attempt++) {
      if (yield* claiming) return
      const row = yield* directory.find(name)
      if (row === undefined) continue
      // Nothing on a host is given up for a name: the host of a lost sandbox does not have it, or is gone.
      if (row.state !== "lost") {
        const found = yield* Effect.catchReason(
          hosts.at(createMethod, row.host, ({ driver }) => driver.getSandbox(name)),
          "LightboxError",
          "NotFound",
          () => Effect.undefined
        )
        // Somebody creates it at this moment. If nobody does, its host tells the directory so.
        if (found === undefined ? row.state === "creating" : request.onConflict !== "replace") return yield* taken
        if (found !== undefined) {
          yield* hosts.at(createMethod, row.host, ({ driver }) => driver.removeSandbox(found, { force: true }))
        }
      }
      yield* directory.forget(name, row.request)
    }
    return yield* taken
  })

  /** Copies a snapshot to a host that does not have it, from one that has. */
  const bring = Effect.fnUntraced(function* (
    snapshot: string,
    having: ReadonlySet<string>,
    to: Host
  ): Effect.fn.Return<void, LightboxError> {
    const from = (yield* hosts.alive).find(({ id }) => having.has(id))
    if (from === undefined) return yield* failure(createMethod, new NotFound({ resource: "snapshot", name: snapshot }))
    const info = yield* hosts.at(createMethod, from.id, ({ driver }) => driver.getSnapshot(snapshot))
    const key = Links.isResult(info) ? info.labels[keyLabel] : undefined
    if (key === undefined) {
      const problem = `only results of builds are copied to other hosts, and only ${from.id} has "${snapshot}"`
      return yield* failure(createMethod, new Unsupported({ feature: "the snapshot on another host", problem }))
    }
    yield* hosts.at(createMethod, to.id, ({ driver: { remoteHome } }) =>
      remoteHome === undefined
        ? Effect.void
        : remoteHome.pullResult({ key, from: { host: from.address, token: options.token } })
    )
    yield* directory.hold(to.id, [{ kind: "snapshot", name: snapshot }])
  })

  /** Creates it on a host that has been chosen. */
  const createOn = (host: Host, request: Microsandbox.CreateSandbox, refuseIfFull: boolean) =>
    hosts.at(createMethod, host.id, (reached) =>
      Effect.andThen(
        notes.tell(reached, "sandbox", request.name),
        reached.driver.createSandbox({ ...request, refuseIfFull })
      )
    )

  const create = Effect.fnUntraced(function* (
    given: Microsandbox.CreateSandbox,
    volumes: ReadonlyArray<string>
  ): Effect.fn.Return<Microsandbox.SandboxInfo, LightboxError> {
    yield* checkCombination(given)
    yield* requireBoot(given)
    const { request, wanted } = yield* wantedOf(given, volumes)
    const all = yield* hosts.all
    const { sources } = wanted
    const near = Place.order(all, wanted)
    // Others get a copy of the snapshot first. They are asked when those that have it can not take the sandbox.
    const others =
      sources === undefined
        ? []
        : Place.order(all, { ...wanted, sources: undefined }).filter(({ id }) => !sources.hosts.has(id))
    const roomy = others.filter((host) => Place.hasRoom(host, wanted.memory))
    // Without one that has the snapshot, the sandbox waits for room at another.
    const far = near.length === 0 && roomy.length === 0 ? others.slice(0, 1) : roomy
    const candidates = [...near, ...far]
    const [best] = candidates
    if (best === undefined) {
      // Naming those that will be back makes a caller wait for them.
      const problem = Place.explain(all, wanted)
      return yield* failure(createMethod, new NoCapacity({ problem }))
    }
    const key = randomId()
    yield* claim(request, key, best, wanted.memory)
    const forget = Effect.ignore(directory.forget(request.name, key), {
      log: "Debug",
      message: `The directory keeps the name of sandbox "${request.name}"`
    })
    let refusal: LightboxError | undefined
    let placed = best
    /** The first that has said that it is full. */
    let full: Host | undefined
    /** The one that has got a copy of the snapshot. */
    let copied: Host | undefined
    const giveTo = (host: Host) =>
      directory.move({ name: request.name, request: key, host: host.id, incarnation: host.incarnation })
    const attempt = Effect.fnUntraced(function* (host: Host, refuseIfFull: boolean) {
      const isFar = sources !== undefined && !sources.hosts.has(host.id)
      if (isFar && copied !== host && request.source._tag === "Snapshot") {
        // A copy takes its time, in which the directory may not give up this creation.
        const kept = giveTo(placed).pipe(Effect.ignore, Effect.delay(keepInterval), Effect.forever)
        const problem = yield* bring(request.source.name, sources.hosts, host).pipe(
          Effect.raceFirst(kept),
          Effect.flip,
          Effect.option
        )
        if (problem._tag === "Some") {
          refusal ??= problem.value
          return undefined
        }
        copied = host
      }
      // Whoever has the name by now keeps it.
      if (host !== placed && !(yield* giveTo(host))) yield* claim(request, key, host, wanted.memory)
      placed = host
      return yield* createOn(host, request, refuseIfFull).pipe(
        // Its session has ended, in which nothing was done.
        Effect.retry({ while: Failures.isEnded, times: 1 }),
        Effect.catchIf(isRefusal, (error) => {
          refusal = error
          if (error.reason._tag === "NoCapacity") full ??= host
          return Effect.undefined
        })
      )
    })
    const tried = Effect.gen(function* () {
      for (const host of candidates) {
        // One copy is enough: what it was made for has waited for it.
        if (copied !== undefined) break
        const info = yield* attempt(host, true)
        if (info !== undefined) return info
      }
      // Its turn comes at one that is full.
      const info = full === undefined ? undefined : yield* attempt(full, false)
      return info ?? (yield* refusal ?? failure(createMethod, new NoCapacity({ problem: Place.explain(all, wanted) })))
    })
    const info = yield* tried.pipe(
      // An outcome that is unknown keeps the name: the host tells what became of it.
      Effect.tapError(({ outcome }) => (outcome === "unknown" ? Effect.void : forget)),
      // So does one that was interrupted, unless its host says that it does not have it.
      Effect.onInterrupt(() =>
        hosts
          .at(createMethod, placed.id, ({ driver }) => driver.getSandbox(request.name))
          .pipe(
            Effect.catchReason("LightboxError", "NotFound", () => forget),
            Effect.timeout(interruptLimit),
            Effect.ignore
          )
      )
    )
    routes.remember(info.name, placed.id)
    // The sandbox exists, and its host tells the directory again.
    yield* Effect.ignore(
      Effect.andThen(
        directory.created(info.name, key, info.id),
        directory.hold(placed.id, [
          ...volumes.map((name) => ({ kind: "volume" as const, name })),
          ...(given.source._tag === "Image" && !wanted.images.has(placed.id)
            ? [{ kind: "image" as const, name: given.source.reference }]
            : [])
        ])
      ),
      { log: "Warn", message: `The directory does not know sandbox "${info.name}" yet` }
    )
    return seenAt(info, placed.id)
  })

  return {
    createSandbox: Effect.fn("Microsandbox.createSandbox")((request) => {
      const volumes = volumesOf(request)
      if (volumes.length === 0) return create(request, volumes)
      return Effect.scoped(
        Effect.gen(function* () {
          const held = new Set((yield* directory.holders("volume", volumes)).map(({ name }) => name))
          // One that does not exist is created with the sandbox: only on one host.
          for (const name of volumes.filter((name) => !held.has(name)).toSorted())
            yield* lock(options.home, stock.lockOf(name))
          return yield* create(request, volumes)
        })
      )
    }),
    getSandbox: Effect.fn("Microsandbox.getSandbox")((name) =>
      routes.hostOf("Microsandbox.getSandbox", name).pipe(
        Effect.flatMap((id) =>
          hosts.at("Microsandbox.getSandbox", id, ({ driver }) =>
            Effect.map(driver.getSandbox(name), (info) => seenAt(info, id))
          )
        ),
        Effect.tapError(away(name))
      )
    ),
    listSandboxes: Effect.fn("Microsandbox.listSandboxes")((filter) =>
      Effect.map(
        hosts.everywhere("Microsandbox.listSandboxes", ({ driver, id }) =>
          Effect.map(driver.listSandboxes(filter), (all) => all.map((info) => seenAt(info, id)))
        ),
        (all) => all.flat()
      )
    ),
    startSandbox: Effect.fn("Microsandbox.startSandbox")((sandbox, options) =>
      on("Microsandbox.startSandbox", sandbox, (driver, own, host) =>
        Effect.map(driver.startSandbox(own, options), (info) => seenAt(info, host))
      )
    ),
    stopSandbox: Effect.fn("Microsandbox.stopSandbox")((sandbox, options) =>
      on("Microsandbox.stopSandbox", sandbox, (driver, own) => driver.stopSandbox(own, options))
    ),
    killSandbox: Effect.fn("Microsandbox.killSandbox")((sandbox) =>
      on("Microsandbox.killSandbox", sandbox, (driver, own) => driver.killSandbox(own))
    ),
    getSandboxLifecycle: Effect.fn("Microsandbox.getSandboxLifecycle")((sandbox) =>
      on("Microsandbox.getSandboxLifecycle", sandbox, (driver, own) => driver.getSandboxLifecycle(own))
    ),
    detachSandbox: Effect.fn("Microsandbox.detachSandbox")(function* (sandbox) {
      const method = "Microsandbox.detachSandbox"
      const host = yield* on(method, sandbox, (driver, own, host) => Effect.as(driver.detachSandbox(own), host))
      yield* directory.detached(sandbox.name, host)
    }),
    removeSandbox: Effect.fn("Microsandbox.removeSandbox")(function* (sandbox, options) {
      const method = "Microsandbox.removeSandbox"
      yield* on(method, sandbox, (driver, own) => driver.removeSandbox(own, options)).pipe(
        // Its row is all that is left of it.
        Effect.catchReason("LightboxError", "NotFound", () => Effect.void),
        Effect.catchIf(Failures.isEnded, (error) =>
          Effect.flatMap(directory.find(sandbox.name), (row) =>
            row?.state === "lost" ? Effect.void : Effect.fail(error)
          )
        )
      )
      routes.forget(sandbox.name)
      const forget = Effect.flatMap(directory.find(sandbox.name), (row) =>
        row !== undefined && (row.id === null ? "" : idAt(row.host, row.id)) === sandbox.id
          ? directory.forget(sandbox.name, row.request)
          : Effect.void
      )
      yield* Effect.ignore(forget)
    }),
    modifySandbox: Effect.fn("Microsandbox.modifySandbox")((sandbox, change) =>
      on("Microsandbox.modifySandbox", sandbox, (driver, own) => driver.modifySandbox(own, change))
    ),
    connect: Effect.fn("Microsandbox.connect")((sandbox) =>
      on<Effect.Success<ReturnType<Driver["connect"]>>, Scope.Scope>("Microsandbox.connect", sandbox, (driver, own) =>
        driver.connect(own)
      )
    ),
    readLogs: Effect.fn("Microsandbox.readLogs")((sandbox, query) =>
      on("Microsandbox.readLogs", sandbox, (driver, own) => driver.readLogs(own, query))
    ),
    readMetrics: Effect.fn("Microsandbox.readMetrics")((sandbox) =>
      on("Microsandbox.readMetrics", sandbox, (driver, own) => driver.readMetrics(own))
    ),
    searchSandbox: Effect.fn("Microsandbox.searchSandbox")((sandbox, needles) =>
      on("Microsandbox.searchSandbox", sandbox, (driver, own) => driver.searchSandbox(own, needles))
    )
  }
}
