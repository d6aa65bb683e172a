/** Asks the hosts of a fleet for jobs, and waits for their results. */
import * as Deferred from "effect/Deferred"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Fleet from "../../Fleet.ts"
import { AlreadyExists, HostUnavailable, LightboxError, Unknown } from "../../LightboxError.ts"
import { decoder, invalid } from "../config/validation.ts"
import { isAlive } from "../directory/directory.ts"
import * as JobsTable from "../directory/jobs.ts"
import * as Directories from "../directory/open.ts"
import { randomId } from "../ownership/labels.ts"
import * as Cluster from "./cluster.ts"
import * as Models from "./models.ts"

/** How often those that wait look for results. */
const lookInterval = Duration.millis(250)

/** Waiting goes on for so long while the directory is away. */
const awayMillis = 60_000

/** How many results one statement asks for. */
const batch = 500

/** The time limit of a run that has none. */
const defaultTimeout = Duration.hours(1)

const decodeJob = decoder(Models.Job, "Fleet.run", "job")
const encodeSpec = Schema.encodeEffect(Models.Spec)
const decodeSpec = Schema.decodeOption(Models.Spec)
const decodeResult = Schema.decodeEffect(Models.Recorded)

/** A checked job. */
export interface Checked {
  readonly id: string
  readonly spec: string
}

/** Checks a job, and writes it as the directory has it. `field` names it in errors. */
export const check = Effect.fnUntraced(function* (
  method: string,
  job: unknown,
  field?: string
): Effect.fn.Return<Checked, LightboxError> {
  const at = (error: LightboxError) => {
    const { reason } = error
    if (reason._tag !== "InvalidConfig") return error
    const name = field === undefined ? reason.field : reason.field === "job" ? field : `${field}.${reason.field}`
    return invalid(method, name, reason.problem)
  }
  const { id, timeout = defaultTimeout, ...rest } = yield* Effect.mapError(decodeJob(job), at)
  const whole = Duration.millis(Math.ceil(Duration.toMillis(timeout)))
  const spec = yield* Effect.orDie(encodeSpec({ ...rest, timeout: whole }))
  if (spec.length > Models.maxSpec) {
    return yield* at(invalid(method, "job", `expected at most ${Models.maxSpec} characters as JSON`))
  }
  return { id, spec }
})

const shownCommand = (command: Models.Spec["command"]): ReadonlyArray<string> =>
  typeof command === "string" ? [command] : command

const stateOf = (row: JobsTable.JobRow): Fleet.Info["state"] =>
  row.ended !== null ? "ended" : row.started === null ? "waiting" : "running"

const timeOf = (millis: number | null): DateTime.Utc | undefined =>
  millis === null ? undefined : DateTime.makeUnsafe(Math.round(millis))

const readResult = (url: string, row: JobsTable.JobRow): Effect.Effect<Fleet.JobResult, LightboxError> =>
  Effect.mapError(
    decodeResult(row.result ?? ""),
    (cause) =>
      new LightboxError({
        method: "Fleet.run",
        reason: new Unknown({ problem: `${url} has a result of job "${row.id}" of another version`, cause })
      })
  )

export const make = Effect.fnUntraced(function* (options: {
  readonly directory: Redacted.Redacted<string>
  readonly architecture: string | undefined
}): Effect.fn.Return<Fleet.Fleet["Service"], LightboxError, Scope.Scope> {
  const layerMethod = "Fleet.layer"
  const directory = yield* Directories.open(layerMethod, "directory", options.directory)
  const jobs = JobsTable.of(directory)
  yield* Cluster.agree(layerMethod, directory)
  const context = yield* Layer.build(Cluster.layer(directory))

  /** The architecture of the hosts that may run a job. */
  const architectureFor = Effect.fnUntraced(function* (method: string) {
    if (options.architecture !== undefined) return options.architecture
    const found = new Set((yield* directory.hosts).filter(isAlive).map(({ architecture }) => architecture))
    const [first, ...others] = found
    if (others.length > 0) {
      return yield* invalid(method, "architecture", "expected one, because the hosts of this fleet have several")
    }
    if (first !== undefined) return first
    const reason = new HostUnavailable({
      host: directory.url,
      kind: "Unreachable",
      problem: "the directory has no host that is alive"
    })
    return yield* new LightboxError({ method, reason })
  })

  const submit = Effect.fnUntraced(function* (method: string, { id, spec }: Checked) {
    const before = yield* jobs.get(id)
    if (before === undefined) {
      yield* jobs.submit({ id, execution: randomId(), spec, architecture: yield* architectureFor(method) })
    }
    const row = before ?? (yield* jobs.get(id))
    if (row === undefined || row.spec !== spec) {
      return yield* new LightboxError({ method, reason: new AlreadyExists({ resource: "job", name: id }) })
    }
    if (row.ended !== null) return row
    yield* Effect.provideContext(Cluster.dispatch(method, directory.url, row), context)
    return row
  })

  // One question for all that wait in this program.
  const waiting = new Map<string, Set<Deferred.Deferred<JobsTable.JobRow, LightboxError>>>()
  let awaySince: number | undefined
  const settle = (id: string, exit: Effect.Effect<JobsTable.JobRow, LightboxError>) =>
    Effect.suspend(() => {
      const all = waiting.get(id) ?? []
      waiting.delete(id)
      return Effect.forEach(all, (deferred) => Deferred.complete(deferred, exit), { discard: true })
    })
  const look = Effect.gen(function* () {
    const ids = [...waiting.keys()]
    for (let start = 0; start < ids.length; start += batch) {
      const found = yield* jobs.endedOf(ids.slice(start, start + batch))
      yield* Effect.forEach(found, (row) => settle(row.id, Effect.succeed(row)), { discard: true })
    }
    awaySince = undefined
  }).pipe(
    Effect.catch((error) =>
      Effect.clockWith((clock) => {
        const now = clock.currentTimeMillisUnsafe()
        awaySince ??= now
        if (now - awaySince < awayMillis) return Effect.void
        awaySince = undefined
        return Effect.forEach([...waiting.keys()], (id) => settle(id, Effect.fail(error)), { discard: true })
      })
    )
  )
  yield* look.pipe(Effect.delay(lookInterval), Effect.forever, Effect.forkScoped)

  const await_ = (id: string) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        const deferred = Deferred.makeUnsafe<JobsTable.JobRow, LightboxError>()
        const all = waiting.get(id) ?? new Set()
        waiting.set(id, all.add(deferred))
        return deferred
      }),
      Deferred.await,
      (deferred) =>
        Effect.sync(() => {
          const all = waiting.get(id)
          if (all?.delete(deferred) === true && all.size === 0) waiting.delete(id)
        })
    )

  return {
    run: Effect.fnUntraced(function* (method, job) {
      const row = yield* submit(method, job)
      return yield* readResult(directory.url, row.ended === null ? yield* await_(row.id) : row)
    }),
    jobs: Effect.fnUntraced(function* (limit) {
      return yield* Effect.forEach(yield* jobs.list(limit), (row) =>
        Effect.map(row.result === null ? Effect.undefined : readResult(directory.url, row), (result): Fleet.Info => {
          const spec = Option.getOrUndefined(decodeSpec(row.spec))
          return {
            id: row.id,
            state: stateOf(row),
            command: spec === undefined ? [] : shownCommand(spec.command),
            source: spec?.snapshot ?? spec?.image ?? "",
            runs: row.runs,
            submittedAt: DateTime.makeUnsafe(Math.round(row.submitted)),
            startedAt: timeOf(row.started),
            endedAt: timeOf(row.ended),
            result
          }
        })
      )
    })
  }
})
