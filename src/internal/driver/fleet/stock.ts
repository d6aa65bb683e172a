/** What the hosts of a fleet have: images, snapshots and volumes. */
import * as Effect from "effect/Effect"
import * as Path from "node:path"
import { AlreadyExists, HostUnavailable, InUse, LightboxError, NoCapacity, NotFound } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type { Directory, Host, Kind } from "../../directory/directory.ts"
import { isAlive } from "../../directory/directory.ts"
import { lock } from "../../ownership/files.ts"
import type { ImagePart, RemainsPart, SnapshotPart, VolumePart } from "../parts.ts"
import * as Elsewhere from "../remote/elsewhere.ts"
import type { Locks, Notes } from "./home.ts"
import { type Hosts, mayReturn } from "./hosts.ts"
import * as Place from "./place.ts"
import type { Routes } from "./sandboxes.ts"

type Driver = Microsandbox.Microsandbox["Service"]

const failure = (method: string, reason: LightboxError["reason"]) => new LightboxError({ method, reason })

const isMissing = ({ reason }: LightboxError): boolean => reason._tag === "NotFound"

/** Keeps the first of those with a name. */
const merged = <A>(all: ReadonlyArray<ReadonlyArray<A>>, nameOf: (item: A) => string): ReadonlyArray<A> => {
  const byName = new Map<string, A>()
  for (const item of all.flat()) if (!byName.has(nameOf(item))) byName.set(nameOf(item), item)
  return [...byName.values()]
}

export interface Stock {
  /** The hosts that are alive and have a snapshot. Fails if none has it, or those that have it are away. */
  readonly snapshotHolders: (method: string, name: string) => Effect.Effect<ReadonlyArray<string>, LightboxError>
  /** The hosts that are alive and have something, those that had it first before others. */
  readonly holders: (kind: Kind, name: string) => Effect.Effect<ReadonlyArray<string>, LightboxError>
  /** The snapshot that a name, link or path stands for. */
  readonly resolve: (name: string) => Effect.Effect<string, LightboxError>
  /** The host of a volume. */
  readonly hostOfVolume: (method: string, name: string) => Effect.Effect<string, LightboxError>
  /** Held while a volume is created. */
  readonly lockOf: (volume: string) => string
}

/** Finds a resource on the hosts that had it, of which some may be away. */
const holdersOf = (directory: Directory, hosts: Hosts) =>
  Effect.fnUntraced(function* (kind: Kind, name: string) {
    const held = yield* directory.holders(kind, [name])
    if (held.length === 0) return { alive: new Array<string>(), away: new Array<Host>() }
    const all = new Map((yield* hosts.all).map((host) => [host.id, host]))
    const known = held.flatMap(({ host }) => all.get(host) ?? [])
    return {
      alive: known.filter(isAlive).map(({ id }) => id),
      // What is in a volume cannot be made again.
      away: known.filter((host) => !isAlive(host) && (kind === "volume" || mayReturn(host)))
    }
  })

const awayError = (method: string, what: string, [host]: ReadonlyArray<Host>) =>
  failure(
    method,
    new HostUnavailable({
      host: host?.address ?? "the fleet",
      kind: "Unreachable",
      problem: `only it has ${what}, and it was last seen ${Math.round((host?.age ?? 0) / 1000)} s ago`
    })
  )

export const make = (directory: Directory, hosts: Hosts): Stock => {
  const holders = holdersOf(directory, hosts)
  /** The hosts that are alive and have something. Fails if there is none. */
  const found = Effect.fnUntraced(function* (
    method: string,
    kind: "snapshot" | "volume",
    name: string
  ): Effect.fn.Return<readonly [string, ...ReadonlyArray<string>], LightboxError> {
    const {
      alive: [first, ...others],
      away
    } = yield* holders(kind, name)
    if (first !== undefined) return [first, ...others]
    return yield* away.length > 0
      ? awayError(method, `${kind} "${name}"`, away)
      : failure(method, new NotFound({ resource: kind, name }))
  })
  return {
    holders: (kind, name) => Effect.map(holders(kind, name), ({ alive }) => alive),
    snapshotHolders: (method, name) => found(method, "snapshot", name),
    resolve: (name) => {
      // Paths differ between hosts. Names do not.
      const own = Path.isAbsolute(name) ? Path.basename(name) : name
      return Effect.map(directory.link(own), (snapshot) => snapshot ?? own)
    },
    hostOfVolume: (method, name) => Effect.map(found(method, "volume", name), ([first]) => first),
    lockOf: (volume) => `fleet-volume:${volume}`
  }
}

interface Context {
  readonly directory: Directory
  readonly hosts: Hosts
  readonly notes: Notes
  readonly routes: Routes
  readonly stock: Stock
  readonly locks: Locks
  readonly wanted: Place.Wanted
  readonly home: Pick<Driver, "home" | "remoteHome">
  /** Where this program has loaded or created something last. What follows goes there too: a sandbox may need both. */
  readonly last: { host: string | undefined }
}

/** Asks hosts one after the other until one has something. */
const firstOf = Effect.fnUntraced(function* <A>(
  { hosts }: Context,
  method: string,
  ids: ReadonlyArray<string>,
  missing: LightboxError,
  use: (driver: Driver) => Effect.Effect<A, LightboxError>
): Effect.fn.Return<A, LightboxError> {
  let error = missing
  for (const id of ids) {
    const found = yield* Effect.result(hosts.at(method, id, ({ driver }) => use(driver)))
    if (found._tag === "Success") return found.success
    if (error === missing || !isMissing(found.failure)) error = found.failure
    if (!isMissing(found.failure) && found.failure.reason._tag !== "HostUnavailable") break
  }
  return yield* error
})

/** Does something on all hosts that are alive. Fails if all fail, or one fails for another reason than having nothing. */
const onAll = Effect.fnUntraced(function* <A>(
  { hosts }: Context,
  method: string,
  missing: LightboxError,
  use: (driver: Driver, id: string) => Effect.Effect<A, LightboxError>
): Effect.fn.Return<ReadonlyArray<A>, LightboxError> {
  const results = yield* hosts.everywhere(method, ({ driver, id }) => Effect.result(use(driver, id)))
  const failed = results.flatMap((result) => (result._tag === "Failure" ? [result.failure] : []))
  const other = failed.find((error) => !isMissing(error))
  if (other !== undefined) return yield* other
  const done = results.flatMap((result) => (result._tag === "Success" ? [result.success] : []))
  return done.length === 0 ? yield* failed[0] ?? missing : done
})

/** The host that takes something new. */
const placeOf = Effect.fnUntraced(function* (
  { hosts, last, wanted }: Context,
  method: string
): Effect.fn.Return<Host, LightboxError> {
  const all = yield* hosts.all
  const candidates = Place.order(all, wanted)
  const place = candidates.find(({ id }) => id === last.host) ?? candidates[0]
  if (place === undefined) return yield* failure(method, new NoCapacity({ problem: Place.explain(all, wanted) }))
  return place
})

export const images = (context: Context): ImagePart => {
  const { directory, hosts, stock } = context
  const missing = (method: string, name: string) => failure(method, new NotFound({ resource: "image", name }))
  /** Those that have an image, before those that have not. */
  const likely = (reference: string) =>
    Effect.map(Effect.all([stock.holders("image", reference), hosts.alive]), ([having, alive]) => [
      ...new Set([...having, ...alive.map(({ id }) => id)])
    ])
  const listed = Effect.map(
    hosts.everywhere("Microsandbox.listImages", ({ driver }) => driver.listImages()),
    (all) => merged(all, ({ reference }) => reference)
  )
  return {
    loadImage: Effect.fn("Microsandbox.loadImage")(function* (path, options) {
      const method = "Microsandbox.loadImage"
      // No registry may have it: every host that may boot from it needs it.
      const all = yield* hosts.all
      const fit = all.filter((host) => Place.unfit(host, context.wanted) === undefined)
      if (fit.length === 0) {
        return yield* failure(method, new NoCapacity({ problem: Place.explain(all, context.wanted) }))
      }
      const loaded = yield* Effect.forEach(fit, ({ id }) =>
        Effect.tap(
          hosts.at(method, id, ({ driver }) => driver.loadImage(path, options)),
          (images) =>
            directory.hold(
              id,
              images.map(({ reference }) => ({ kind: "image", name: reference }))
            )
        )
      )
      return loaded[0] ?? []
    }),
    saveImages: Effect.fn("Microsandbox.saveImages")(function* (references, path, options) {
      const method = "Microsandbox.saveImages"
      const ids = yield* likely(references[0] ?? "")
      yield* firstOf(context, method, ids, missing(method, references.join(", ")), (driver) =>
        driver.saveImages(references, path, options)
      )
    }),
    listImages: Effect.fn("Microsandbox.listImages")(() => listed),
    getImage: Effect.fn("Microsandbox.getImage")(function* (reference) {
      const method = "Microsandbox.getImage"
      return yield* firstOf(context, method, yield* likely(reference), missing(method, reference), (driver) =>
        driver.getImage(reference)
      )
    }),
    resolveImage: Effect.fn("Microsandbox.resolveImage")(function* (reference, options) {
      const method = "Microsandbox.resolveImage"
      return yield* firstOf(context, method, yield* likely(reference), missing(method, reference), (driver) =>
        driver.resolveImage(reference, options)
      )
    }),
    removeImage: Effect.fn("Microsandbox.removeImage")(function* (reference, options) {
      const method = "Microsandbox.removeImage"
      yield* onAll(context, method, missing(method, reference), (driver, id) =>
        Effect.andThen(driver.removeImage(reference, options), directory.drop(id, "image", reference, undefined))
      )
    }),
    pruneImages: Effect.fn("Microsandbox.pruneImages")(function* () {
      const before = yield* listed
      const all = yield* hosts.everywhere("Microsandbox.pruneImages", ({ driver }) => driver.pruneImages())
      return {
        // An image that several hosts had is one.
        images: Math.max(0, before.length - (yield* listed).length),
        layers: all.reduce((sum, { layers }) => sum + layers, 0),
        bytes: all.every(({ bytes }) => bytes === undefined)
          ? undefined
          : all.reduce((sum, { bytes = 0 }) => sum + bytes, 0)
      }
    })
  }
}

export const remains = ({ hosts }: Context): RemainsPart => ({
  listGhosts: Effect.fn("Microsandbox.listGhosts")(() =>
    Effect.map(
      hosts.everywhere("Microsandbox.listGhosts", ({ driver }) => driver.listGhosts()),
      (all) => [...new Set(all.flat())]
    )
  ),
  removeGhost: Effect.fn("Microsandbox.removeGhost")((name) =>
    Effect.map(
      hosts.everywhere("Microsandbox.removeGhost", ({ driver }) =>
        // A host without it has a sandbox of this name after all, or nothing.
        Effect.flatMap(driver.listGhosts(), (ghosts) =>
          ghosts.includes(name) ? driver.removeGhost(name) : Effect.undefined
        )
      ),
      (all) => all.includes(true)
    )
  ),
  removeRemains: Effect.fn("Microsandbox.removeRemains")((options) =>
    Effect.map(
      hosts.everywhere("Microsandbox.removeRemains", ({ driver }) => driver.removeRemains(options)),
      (all) => all.flat()
    )
  )
})

export const snapshots = (context: Context): SnapshotPart => {
  const { directory, hosts, locks, notes, routes, stock } = context
  const missing = (method: string, name: string) => failure(method, new NotFound({ resource: "snapshot", name }))
  const taken = (method: string, name: string) => failure(method, new AlreadyExists({ resource: "snapshot", name }))
  const holders = holdersOf(directory, hosts)

  /**
   * Does something with a snapshot on a host that has it. The directory does not know what is damaged, or was made a moment
   * ago by others: all hosts are asked for what nobody seems to have.
   */
  const withSnapshot = Effect.fnUntraced(function* <A>(
    method: string,
    given: string,
    use: (driver: Driver, name: string) => Effect.Effect<A, LightboxError>
  ): Effect.fn.Return<A, LightboxError> {
    const name = yield* stock.resolve(given)
    const { alive, away } = yield* holders("snapshot", name)
    if (alive.length === 0 && away.length > 0) return yield* awayError(method, `snapshot "${name}"`, away)
    const ids = alive.length > 0 ? alive : (yield* hosts.alive).map(({ id }) => id)
    return yield* firstOf(context, method, ids, missing(method, given), (driver) => use(driver, name))
  })

  const requireFree = Effect.fnUntraced(function* (method: string, name: string) {
    if ((yield* directory.link(name)) !== undefined) return yield* taken(method, name)
    if ((yield* stock.holders("snapshot", name)).length > 0) return yield* taken(method, name)
  })

  return {
    captureSnapshot: Effect.fn("Microsandbox.captureSnapshot")(function* (request) {
      const method = "Microsandbox.captureSnapshot"
      yield* requireFree(method, request.name)
      const id = yield* routes.hostOf(method, request.sandbox)
      const captured = yield* hosts.at(method, id, (host) =>
        Effect.andThen(notes.tell(host, "capture", request.name), host.driver.captureSnapshot(request))
      )
      yield* directory.hold(id, [{ kind: "snapshot", name: captured.name }])
      return captured
    }),
    getSnapshot: Effect.fn("Microsandbox.getSnapshot")((name) =>
      withSnapshot("Microsandbox.getSnapshot", name, (driver, name) => driver.getSnapshot(name))
    ),
    listSnapshots: Effect.fn("Microsandbox.listSnapshots")(() =>
      Effect.map(
        hosts.everywhere("Microsandbox.listSnapshots", ({ driver }) => driver.listSnapshots()),
        (all) => merged(all, ({ name }) => name)
      )
    ),
    listDamagedSnapshots: Effect.fn("Microsandbox.listDamagedSnapshots")(() =>
      Effect.map(
        hosts.everywhere("Microsandbox.listDamagedSnapshots", ({ driver }) => driver.listDamagedSnapshots()),
        (all) => [...new Set(all.flat())]
      )
    ),
    removeSnapshot: Effect.fn("Microsandbox.removeSnapshot")(function* (name) {
      const method = "Microsandbox.removeSnapshot"
      yield* locks.check(method)
      const fleet = new Map((yield* directory.links).map((link) => [link.name, link.snapshot]))
      if (fleet.has(name)) return yield* missing(method, name)
      yield* onAll(context, method, missing(method, name), (driver, id) =>
        Effect.gen(function* () {
          const links = Object.entries(yield* driver.listSnapshotLinks())
          for (const [link] of links.filter(([, snapshot]) => snapshot === name)) {
            // A name that was made on the host without the fleet, which has another snapshot of this name.
            if (!fleet.has(link) || fleet.get(link) === name) {
              return yield* failure(method, new InUse({ resource: "snapshot", name, usedBy: [link] }))
            }
            // The fleet has moved this one to another snapshot since.
            yield* driver.unlinkSnapshot(link)
          }
          yield* driver.removeSnapshot(name)
          return yield* directory.drop(id, "snapshot", name, undefined)
        })
      )
    }),
    verifySnapshot: Effect.fn("Microsandbox.verifySnapshot")((name) =>
      withSnapshot("Microsandbox.verifySnapshot", name, (driver, name) => driver.verifySnapshot(name))
    ),
    saveSnapshot: Effect.fn("Microsandbox.saveSnapshot")((name, path, options) =>
      withSnapshot("Microsandbox.saveSnapshot", name, (driver, name) => driver.saveSnapshot(name, path, options))
    ),
    removeStaging: Effect.fn("Microsandbox.removeStaging")((of, options) =>
      Effect.map(
        hosts.everywhere("Microsandbox.removeStaging", ({ driver }) => driver.removeStaging(of, options)),
        (all) => all.flat()
      )
    ),
    renameSnapshot: Effect.fn("Microsandbox.renameSnapshot")(function* (name, to) {
      const method = "Microsandbox.renameSnapshot"
      yield* locks.check(method)
      yield* requireFree(method, to)
      yield* onAll(context, method, missing(method, name), (driver, id) =>
        driver
          .renameSnapshot(name, to)
          .pipe(
            Effect.andThen(directory.hold(id, [{ kind: "snapshot", name: to }])),
            Effect.andThen(directory.drop(id, "snapshot", name, undefined))
          )
      )
    }),
    loadSnapshot: Effect.fn("Microsandbox.loadSnapshot")(function* (path, name) {
      const method = "Microsandbox.loadSnapshot"
      yield* requireFree(method, name)
      const { id } = yield* placeOf(context, method)
      const loaded = yield* hosts.at(method, id, (host) =>
        Effect.andThen(notes.tell(host, "load", name), host.driver.loadSnapshot(path, name))
      )
      context.last.host = id
      yield* directory.hold(id, [{ kind: "snapshot", name: loaded.name }])
      return loaded
    }),
    importSnapshot: Elsewhere.importSnapshot,
    listSnapshotLinks: Effect.fn("Microsandbox.listSnapshotLinks")(() =>
      Effect.map(directory.links, (links) => Object.fromEntries(links.map(({ name, snapshot }) => [name, snapshot])))
    ),
    readSnapshotLink: Effect.fn("Microsandbox.readSnapshotLink")((link) => directory.link(link)),
    linkSnapshot: Effect.fn("Microsandbox.linkSnapshot")(function* (link, name) {
      const method = "Microsandbox.linkSnapshot"
      yield* locks.check(method)
      const alive = yield* stock.snapshotHolders(method, name)
      if ((yield* stock.holders("snapshot", link)).length > 0) return yield* taken(method, link)
      // The hosts that have it get the name as well: what is pruned there keeps what the fleet needs.
      const path = `names/${link}.json`
      const record = yield* directory.readRecord(path)
      for (const id of alive) {
        yield* hosts.at(method, id, ({ driver }) =>
          Effect.andThen(
            record === undefined || driver.remoteHome === undefined
              ? Effect.void
              : driver.remoteHome.write(path, record),
            driver.linkSnapshot(link, name)
          )
        )
      }
      yield* locks.fenced(method, (holders) => directory.setLink(link, name, holders))
    }),
    unlinkSnapshot: Effect.fn("Microsandbox.unlinkSnapshot")(function* (link) {
      const method = "Microsandbox.unlinkSnapshot"
      yield* locks.check(method)
      if ((yield* directory.link(link)) === undefined) return yield* missing(method, link)
      // The directory last: hosts tell it the names that only they have.
      const reached = yield* hosts.everywhere(method, ({ driver, id }) =>
        driver.unlinkSnapshot(link).pipe(
          Effect.andThen(driver.remoteHome?.remove(`names/${link}.json`) ?? Effect.void),
          Effect.catchReason("LightboxError", "NotFound", () => Effect.void),
          Effect.as(id)
        )
      )
      // Those that are away remove it when they are back.
      const away = (yield* hosts.all).filter(({ id }) => !reached.includes(id))
      yield* directory.noteUnlinked(
        link,
        away.map(({ id }) => id)
      )
      yield* locks.fenced(method, (holders) => directory.removeLink(link, holders))
    })
  }
}

export const volumes = (context: Context): VolumePart => {
  const { directory, hosts, stock } = context
  const at = <A>(method: string, name: string, use: (driver: Driver, id: string) => Effect.Effect<A, LightboxError>) =>
    Effect.flatMap(stock.hostOfVolume(method, name), (id) => hosts.at(method, id, ({ driver }) => use(driver, id)))
  return {
    createVolume: Effect.fn("Microsandbox.createVolume")((request) =>
      Effect.scoped(
        Effect.gen(function* () {
          const method = "Microsandbox.createVolume"
          yield* lock(context.home, stock.lockOf(request.name))
          const held = yield* directory.holders("volume", [request.name])
          if (held.length > 0) {
            return yield* failure(method, new AlreadyExists({ resource: "volume", name: request.name }))
          }
          const { id } = yield* placeOf(context, method)
          const created = yield* hosts.at(method, id, ({ driver }) => driver.createVolume(request))
          context.last.host = id
          yield* directory.hold(id, [{ kind: "volume", name: request.name }])
          return created
        })
      )
    ),
    getVolume: Effect.fn("Microsandbox.getVolume")((name) =>
      at("Microsandbox.getVolume", name, (driver) => driver.getVolume(name))
    ),
    listVolumes: Effect.fn("Microsandbox.listVolumes")(() =>
      Effect.map(
        hosts.everywhere("Microsandbox.listVolumes", ({ driver }) => driver.listVolumes()),
        (all) => merged(all, ({ name }) => name)
      )
    ),
    removeVolume: Effect.fn("Microsandbox.removeVolume")((name) =>
      at("Microsandbox.removeVolume", name, (driver, id) =>
        Effect.andThen(driver.removeVolume(name), directory.drop(id, "volume", name, undefined))
      ).pipe(Effect.catchReason("LightboxError", "NotFound", () => Effect.void))
    )
  }
}
