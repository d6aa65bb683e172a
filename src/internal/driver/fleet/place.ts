/** Chooses the hosts for a sandbox: which may take it, and in which order they are asked. */
import * as Num from "effect/Number"
import * as Order from "effect/Order"
import { isAlive, takenOf, type Host } from "../../directory/directory.ts"
import { showSize } from "../../config/schemas.ts"

/** What a sandbox needs of its host. */
export interface Wanted {
  /** Bytes. */
  readonly memory: number
  readonly architecture: string | undefined
  readonly labels: { readonly [name: string]: string }
  /** The hosts that have what it boots from. `undefined`: any host can get it. */
  readonly sources: { readonly name: string; readonly hosts: ReadonlySet<string> } | undefined
  /** The hosts that have what else it needs, such as its volumes. */
  readonly needs: ReadonlyArray<{ readonly name: string; readonly hosts: ReadonlySet<string> }>
  /** The hosts that have its image already. */
  readonly images: ReadonlySet<string>
}

const freeOf = (host: Host): number => host.memory - takenOf(host)

/** A host without sandboxes may refuse one that is too large. It knows its memory better than the directory. */
export const hasRoom = (host: Host, memory: number): boolean => freeOf(host) >= memory

const seconds = (millis: number): string => `${Math.round(millis / 1000)} s`

/** Why a host cannot take a sandbox, whatever its load is. */
export const unfit = (host: Host, wanted: Wanted): string | undefined => {
  if (host.state === "stopped") return "it was stopped"
  if (!isAlive(host)) return `it was last seen ${seconds(host.age)} ago`
  if (host.cordoned !== 0) return `it is cordoned: ${host.reason ?? "no reason given"}`
  if (wanted.architecture !== undefined && wanted.architecture !== host.architecture)
    return `it is ${host.architecture}`
  const label = Object.entries(wanted.labels).find(([name, value]) => host.labels[name] !== value)
  if (label !== undefined) return `it lacks the label ${label.join("=")}`
  const missing = [...(wanted.sources === undefined ? [] : [wanted.sources]), ...wanted.needs].find(
    ({ hosts }) => !hosts.has(host.id)
  )
  return missing === undefined ? undefined : `it does not have ${missing.name}`
}

/** How much an image that is there already is worth, as a fraction of a host's memory. */
const imageBonus = 0.1

/** The order in which hosts are asked: those with room before others, and of these the emptiest. */
const byScore = ({ images, memory }: Wanted): Order.Order<Host> => {
  const score = (host: Host): number =>
    (hasRoom(host, memory) ? 1 : 0) +
    (host.memory > 0 ? Num.clamp(freeOf(host) / host.memory, { minimum: 0, maximum: 1 }) * 0.8 : 0) +
    (images.has(host.id) ? imageBonus : 0)
  return Order.combine(
    Order.mapInput(Order.flip(Order.Number), score),
    Order.mapInput(Order.String, ({ id }: Host) => id)
  )
}

/** At most so many hosts are asked for a sandbox at first, so that a burst does not ask all of them. */
const maxAsked = 8

/** The hosts to ask, best first. */
export const order = (hosts: ReadonlyArray<Host>, wanted: Wanted): ReadonlyArray<Host> =>
  hosts
    .filter((host) => unfit(host, wanted) === undefined)
    .toSorted(byScore(wanted))
    .slice(0, maxAsked)

/** Why no host can take a sandbox. */
export const explain = (hosts: ReadonlyArray<Host>, wanted: Wanted): string => {
  if (hosts.length === 0) return "the fleet has no hosts"
  const reasons = hosts.map((host) => `${host.id}: ${unfit(host, wanted) ?? "it refused"}`)
  const shown = reasons.slice(0, 5)
  const more = reasons.length > shown.length ? `, and ${reasons.length - shown.length} more` : ""
  return `no host of the fleet can take a sandbox of ${showSize(wanted.memory)} (${shown.join("; ")}${more})`
}
