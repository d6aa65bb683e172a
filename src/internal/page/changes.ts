/** Tells a page what has changed: the sandboxes and the builds of a home. */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Record from "effect/Record"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Os from "node:os"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import * as Labels from "../ownership/labels.ts"
import type * as Builds from "./builds.ts"
import * as Protocol from "./protocol.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** How often a page is told what has changed. */
export const Interval = Context.Reference<Duration.Duration>("effect-lightbox/internal/page/changes/Interval", {
  defaultValue: () => Duration.seconds(1)
})

/** How long a sandbox may take to be measured. One that does not answer must not keep the others from the page. */
export const Patience = Context.Reference<Duration.Duration>("effect-lightbox/internal/page/changes/Patience", {
  defaultValue: () => Duration.seconds(2)
})

/** Sandboxes that are measured at once. */
const concurrency = 16

const millis = (time: DateTime.Utc | undefined): { readonly createdAt?: number } =>
  time === undefined ? {} : { createdAt: DateTime.toEpochMillis(time) }

const rowOf = (info: Microsandbox.SandboxInfo): Protocol.Sandbox => {
  const { cpus, cwd, id, image, labels: all, memory, name, ports, shell, status, volumes } = info
  const snapshot = all[Labels.snapshotLabel]
  // The others are the library's own.
  const labels = Record.filter(all, (_, key) => !key.startsWith("lightbox."))
  return {
    id,
    name,
    status,
    cpus,
    memory,
    ports,
    volumes,
    labels,
    shell,
    ...(snapshot === undefined ? {} : { snapshot }),
    ...(image === undefined ? {} : { image }),
    ...(cwd === undefined ? {} : { cwd }),
    ...millis(info.createdAt)
  }
}

const usageOf = (id: string, metrics: Microsandbox.Metrics): Protocol.Usage => {
  const { rootDiskUsed, timestamp: _, uptime, ...rest } = metrics
  return {
    ...rest,
    id,
    uptime: Duration.toMillis(uptime),
    ...(rootDiskUsed === undefined ? {} : { rootDiskUsed })
  }
}

interface Look {
  readonly rows: ReadonlyArray<Protocol.Sandbox>
  readonly usages: ReadonlyArray<Protocol.Usage>
}

/** Lists the sandboxes, and measures those that run. */
const look = Effect.fnUntraced(function* (driver: Driver): Effect.fn.Return<Look, LightboxError> {
  const patience = yield* Patience
  const found = yield* driver.listSandboxes()
  const running = driver.capabilities.metrics ? found.filter(({ status }) => status === "running") : []
  // Measuring can be off or have just begun, and a sandbox can end meanwhile.
  const usages = yield* Effect.forEach(
    running,
    (info) =>
      Effect.map(driver.readMetrics(info), (metrics) => [usageOf(info.id, metrics)]).pipe(
        Effect.timeout(patience),
        Effect.orElseSucceed((): ReadonlyArray<Protocol.Usage> => [])
      ),
    { concurrency }
  )
  return { rows: found.map(rowOf), usages: usages.flat() }
})

/** Finds what differs from what a page knows, in parts, and notes that it knows that now. */
const changesOf = <Row extends { readonly id: string }, A>(
  known: Map<string, string>,
  rows: ReadonlyArray<Row>,
  make: (part: { readonly changed: ReadonlyArray<Row>; readonly removed: ReadonlyArray<string> }) => A
): ReadonlyArray<A> => {
  const removed = new Set(known.keys())
  const changed = rows.filter((row) => {
    removed.delete(row.id)
    const text = JSON.stringify(row)
    if (known.get(row.id) === text) return false
    known.set(row.id, text)
    return true
  })
  for (const id of removed) known.delete(id)
  return [
    ...(removed.size === 0 ? [] : [make({ changed: [], removed: [...removed] })]),
    ...Arr.chunksOf(changed, Protocol.maxRows).map((changed) => make({ changed, removed: [] }))
  ]
}

/**
 * Makes the stream of changes, which any number of pages read. A page that reads slowly is told less often, and nothing
 * piles up for it.
 */
export const make = Effect.fnUntraced(function* (
  driver: Driver,
  builds: Builds.Builds
): Effect.fn.Return<Stream.Stream<Protocol.Change>> {
  const interval = yield* Interval
  // Several pages share a look.
  const shared = Duration.times(interval, 0.9)
  const sandboxes = yield* Effect.cachedWithTTL(look(driver), shared)
  const list = yield* Effect.cachedWithTTL(builds.list, shared)
  const { backend, capabilities, home, version } = driver
  const { logs, snapshots, volumes } = capabilities
  const hello = {
    _tag: "Hello",
    home,
    backend,
    version,
    ...(backend === "local" || backend === "memory" ? {} : { machine: Os.hostname() }),
    can: { logs, snapshots, volumes }
  } as const

  return Stream.suspend(() => {
    const known = {
      sandboxes: new Map<string, string>(),
      builds: new Map<string, string>(),
      usages: new Map<string, string>()
    }
    /** What the page is told that cannot be read. */
    const troubles = new Map<string, string>()
    const next = Effect.gen(function* () {
      const trouble =
        (of: "sandboxes" | "builds") =>
        ({ message: problem }: LightboxError): ReadonlyArray<Protocol.Change> => {
          if (troubles.get(of) === problem) return []
          troubles.set(of, problem)
          return [{ _tag: "Trouble", of, problem }]
        }
      const recovered = (of: "sandboxes" | "builds"): ReadonlyArray<Protocol.Change> =>
        troubles.delete(of) ? [{ _tag: "Recovered", of }] : []
      const [ofSandboxes, ofBuilds] = yield* Effect.all(
        [
          Effect.match(sandboxes, {
            onFailure: trouble("sandboxes"),
            onSuccess: ({ rows, usages }): ReadonlyArray<Protocol.Change> => [
              ...recovered("sandboxes"),
              ...changesOf(known.sandboxes, rows, (part) => ({ _tag: "Sandboxes" as const, ...part })),
              ...changesOf(known.usages, usages, ({ changed, removed }) => ({
                _tag: "Usages" as const,
                usages: changed,
                removed
              }))
            ]
          }),
          Effect.match(list, {
            onFailure: trouble("builds"),
            onSuccess: (rows): ReadonlyArray<Protocol.Change> => [
              ...recovered("builds"),
              ...changesOf(known.builds, rows, (part) => ({ _tag: "Builds" as const, ...part }))
            ]
          })
        ],
        { concurrency: 2 }
      )
      return [...ofBuilds, ...ofSandboxes]
    })
    return Stream.fromEffectSchedule(next, Schedule.spaced(interval)).pipe(
      Stream.map((changes, at) => (at === 0 ? [hello, ...changes, { _tag: "Ready" } as const] : changes)),
      Stream.flattenIterable,
      Stream.rechunk(1)
    )
  })
})
