/** What `top` reads: the use of running sandboxes, who owns them, and the builds that run. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { BuildEvent } from "../../../BuildEvent.ts"
import type { LightboxError } from "../../../LightboxError.ts"
import * as Microsandbox from "../../../Microsandbox.ts"
import * as Sandbox from "../../../Sandbox.ts"
import type { Services } from "../../../Driver.ts"
import * as Events from "../../build/events.ts"
import * as HomeFiles from "../../ownership/files.ts"
import { instanceLabel, ownerLabel, roleLabel } from "../../ownership/labels.ts"
import * as Owner from "../../ownership/owner.ts"
import * as RecordLines from "../../store/recordLines.ts"
import * as Records from "../../store/records.ts"
import type * as Shapes from "../json.ts"

export type Usage = (typeof Shapes.Usages.Type)[number]

/** A running sandbox. */
export interface Reading {
  readonly info: Microsandbox.SandboxInfo
  /** Absent if it is not measured, or not yet. */
  readonly usage: Usage | undefined
}

/** What is read only of sandboxes that are on the screen. */
export interface Detail {
  /** The process that owns it. */
  readonly owner: string
  /** How long it stays. */
  readonly lease: string
  readonly jobs: number | undefined
}

export interface RunningBuild {
  readonly id: string
  readonly snapshot: string
  readonly startedAt: number
  readonly step: string
}

/** Sandboxes that are read at once. */
const concurrency = 16

/** A sandbox that does not answer must not hold up the others. */
const patience = "2 seconds"

/** Reads the use of a sandbox. */
export const read = (info: Microsandbox.SandboxInfo): Effect.Effect<Usage, LightboxError, Microsandbox.Microsandbox> =>
  Microsandbox.Microsandbox.use((driver) =>
    Effect.map(driver.readMetrics(info), ({ uptime, ...metrics }) => ({
      name: info.name,
      ...metrics,
      uptimeMillis: Duration.toMillis(uptime)
    }))
  )

/** Reads all running sandboxes, or those with the names. One that cannot be read is shown without its use. */
export const readAll = Effect.fnUntraced(function* (
  names: ReadonlyArray<string>
): Effect.fn.Return<ReadonlyArray<Reading>, LightboxError, Microsandbox.Microsandbox> {
  const wanted = new Set(names)
  const running = (yield* Sandbox.list()).filter(
    ({ name, status }) => status === "running" && (wanted.size === 0 || wanted.has(name))
  )
  return yield* Effect.forEach(
    running,
    (info) =>
      read(info).pipe(
        Effect.timeout(patience),
        Effect.orElseSucceed(() => undefined),
        Effect.map((usage) => ({ info, usage }))
      ),
    { concurrency }
  )
})

// =============================================================================
// Details
// =============================================================================

/** Says in one unit how long something takes. */
export const short = (millis: number): string => {
  const seconds = Math.max(0, Math.floor(millis / 1000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`
}

const ownerOf = ({ pid, state }: Owner.Found): string =>
  pid === undefined ? "-" : state === "alive" ? `${pid}` : state === "dead" ? `${pid} (ended)` : `${pid} (elsewhere)`

const jobsOf = (name: string): Effect.Effect<number | undefined, never, Services> =>
  Effect.scoped(Effect.flatMap(Sandbox.connect(name), ({ jobs }) => jobs)).pipe(
    Effect.map((jobs) => jobs.filter(({ status }) => status._tag === "Running").length),
    Effect.timeout(patience),
    Effect.orElseSucceed(() => undefined)
  )

/** Reads the details of sandboxes, by id. What cannot be read is left out. */
export const readDetails = Effect.fnUntraced(function* (
  infos: ReadonlyArray<Microsandbox.SandboxInfo>,
  options: { readonly jobs: boolean }
): Effect.fn.Return<ReadonlyMap<string, Detail>, never, Services> {
  const driver = yield* Microsandbox.Microsandbox
  const now = yield* Clock.currentTimeMillis
  const ids = [...new Set(infos.flatMap(({ labels }) => labels[ownerLabel] ?? []))]
  const owners = new Map(
    yield* Effect.forEach(
      ids,
      (id) =>
        HomeFiles.findOwner(driver, id).pipe(
          Effect.timeout(patience),
          Effect.match({ onSuccess: ownerOf, onFailure: () => "-" }),
          Effect.map((owner) => [id, owner] as const)
        ),
      { concurrency: 4 }
    )
  )
  const home = HomeFiles.onThisMachine(driver)
  const leaseOf = Effect.fnUntraced(function* ({ labels }: Microsandbox.SandboxInfo) {
    const token = labels[instanceLabel]
    const released =
      home === undefined || token === undefined
        ? Option.none()
        : yield* Effect.orElseSucceed(Owner.findReleased(home, token), Option.none)
    if (Option.isNone(released)) return { isReleased: false, lease: labels[roleLabel] ?? "-" }
    const { expires } = released.value
    const left = expires === undefined ? "detached" : expires > now ? `${short(expires - now)} left` : "expired"
    return { isReleased: true, lease: left }
  })
  const details = yield* Effect.forEach(
    infos,
    Effect.fnUntraced(function* (info) {
      const { isReleased, lease } = yield* leaseOf(info)
      const owner = isReleased ? "-" : (owners.get(info.labels[ownerLabel] ?? "") ?? "-")
      const jobs = options.jobs ? yield* jobsOf(info.name) : undefined
      return [info.id, { owner, lease, jobs }] as const
    }),
    { concurrency: 8 }
  )
  return new Map(details)
})

// =============================================================================
// Builds
// =============================================================================

/** Builds that are read and shown. */
export const mostBuilds = 20

const method = "top"

/** Says what a build does after an event. */
const doing = (event: BuildEvent): string => {
  switch (event._tag) {
    case "Waiting":
      return "waiting for another build"
    case "Pulling":
      return event.phase === "Pulled" ? `pulled ${event.image}` : `pulling ${event.image}`
    case "Booting":
      return "booting"
    case "StepStarted":
    case "StepOutput":
      return `${event.index} ${event.description}`
    case "StepAttemptFailed":
      return `${event.index} ${event.description}, failed`
    case "Checkpointing":
      return "saving"
    default:
      return "working"
  }
}

/** The builds that run. */
export interface RunningBuilds {
  /** The first of them. */
  readonly builds: ReadonlyArray<RunningBuild>
  /** The number of all. */
  readonly count: number
}

/** Reads the builds that run. Of a long record, only its ends are read: the last event says what the build does. */
export const readBuilds = Effect.fnUntraced(function* (): Effect.fn.Return<
  RunningBuilds,
  LightboxError,
  Microsandbox.Microsandbox
> {
  const { home } = yield* Microsandbox.Microsandbox
  const entries = yield* Records.entries(method, home)
  // Many records of one process have one owner.
  const fates = new Map<string, boolean>()
  for (const { owner } of entries) {
    if (owner === undefined || fates.has(owner)) continue
    fates.set(owner, (yield* Records.fateOf(home, owner)) === "running")
  }
  const running = entries
    .filter(({ owner }) => owner !== undefined && fates.get(owner) === true)
    // Those that began first, by the time in their ids.
    .toSorted((a, b) => (a.path < b.path ? -1 : 1))
  const read = running.slice(0, mostBuilds)
  const builds = yield* Effect.forEach(
    read,
    Effect.fnUntraced(function* (entry) {
      const { lines = [] } = (yield* Records.read(method, home, entry, "ends")) ?? {}
      const head = Option.getOrUndefined(RecordLines.decodeHead(lines[0] ?? ""))
      if (head === undefined || lines.some(RecordLines.isEnd)) return []
      const { id, snapshot, startedAt } = head
      for (let at = lines.length - 1; at > 0; at--) {
        const event = Events.decode(lines[at] ?? "")
        if (Option.isSome(event)) return [{ id, snapshot, startedAt, step: doing(event.value) }]
      }
      return [{ id, snapshot, startedAt, step: "planning" }]
    }),
    { concurrency: 4 }
  )
  const found = builds.flat().toSorted((a, b) => a.startedAt - b.startedAt)
  return { builds: found, count: running.length - read.length + found.length }
})

/** The age of a sandbox. */
export const ageOf = ({ info, usage }: Reading, now: number): number | undefined =>
  info.createdAt === undefined ? usage?.uptimeMillis : now - DateTime.toEpochMillis(info.createdAt)
