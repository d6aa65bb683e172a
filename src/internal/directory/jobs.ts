/**
 * The jobs of a fleet: what programs have asked for, who runs it, and what came of it. Whoever runs a job has its lock, and
 * changes it only while it has.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Statements from "./statements.ts"
import type { Sql } from "./statements.ts"

/** A job that nobody has touched for so long is given to the hosts again. Who has it touches it a few times meanwhile. */
export const abandonedMillis = 120_000

/** How often those that have a job say so. */
export const touchMillis = 20_000

/** A job, as the directory knows it. Times are milliseconds since 1970. */
export const JobRow = Schema.Struct({
  id: Schema.String,
  /** Names this record among all of the same id, of which earlier ones were forgotten. */
  execution: Schema.String,
  architecture: Schema.String,
  spec: Schema.String,
  host: Schema.NullOr(Schema.String),
  /** Runs that have begun. */
  runs: Schema.Finite,
  /** Runs that ended as the job's own failures. */
  failures: Schema.Finite,
  submitted: Schema.Finite,
  started: Schema.NullOr(Schema.Finite),
  ended: Schema.NullOr(Schema.Finite),
  result: Schema.NullOr(Schema.String)
})

export type JobRow = typeof JobRow.Type

const Begun = Schema.Struct({ runs: Schema.Finite, failures: Schema.Finite })
const Forgotten = Schema.Struct({ id: Schema.String, execution: Schema.String, architecture: Schema.String })

/** The lock of a job. */
export const lockOf = (id: string): string => `jobs/${id}`

export type Jobs = ReturnType<typeof of>

export const of = ({ sql, url }: { readonly sql: Sql; readonly url: string }) => {
  const { change, changed, changing, haveLocks, reading } = Statements.make(sql, url)
  const columns = sql.literal(`id, execution, architecture, spec, host, runs, failures, submitted_at AS submitted,
    started_at AS started, ended_at AS ended, result`)

  return {
    /** Adds a job, unless there is one of this id. */
    submit: (job: Pick<JobRow, "id" | "execution" | "architecture" | "spec">) =>
      change(
        "Fleet.submit",
        (now) => sql`INSERT INTO lightbox_jobs
          (id, execution, architecture, spec, runs, failures, submitted_at, touched_at)
          VALUES (${job.id}, ${job.execution}, ${job.architecture}, ${job.spec}, 0, 0, ${now}, ${now})
          ON CONFLICT (id) DO NOTHING`
      ),
    get: (id: string) =>
      Effect.map(
        reading("Fleet.get", JobRow, () => sql`SELECT ${columns} FROM lightbox_jobs WHERE id = ${id}`),
        (found) => found[0]
      ),
    /** The jobs of these ids that have ended. */
    endedOf: (ids: ReadonlyArray<string>) =>
      reading(
        "Fleet.wait",
        JobRow,
        () => sql`SELECT ${columns} FROM lightbox_jobs WHERE ${sql.in("id", ids)} AND ended_at IS NOT NULL`
      ),
    /** The jobs that were submitted last, the latest first. */
    list: (limit: number) =>
      reading(
        "Fleet.jobs",
        JobRow,
        () => sql`SELECT ${columns} FROM lightbox_jobs ORDER BY submitted_at DESC, id LIMIT ${limit}`
      ),

    /** Notes that a run begins. Returns `undefined` if the lock was lost, or the job has ended. */
    begin: (job: Pick<JobRow, "id" | "execution">, host: string, holder: string) =>
      Effect.map(
        changing(
          "Fleet.begin",
          Begun,
          (now) => sql`UPDATE lightbox_jobs
            SET runs = runs + 1, host = ${host}, touched_at = ${now}, started_at = COALESCE(started_at, ${now})
            WHERE id = ${job.id} AND execution = ${job.execution} AND ended_at IS NULL AND ${haveLocks(now, [holder])}
            RETURNING runs, failures`
        ),
        (found) => found[0]
      ),
    /** Says that a run did not take place after all. */
    takeBack: (job: Pick<JobRow, "id" | "execution">, holder: string) =>
      change(
        "Fleet.takeBack",
        (now) => sql`UPDATE lightbox_jobs
          SET runs = runs - 1, started_at = CASE WHEN runs = 1 THEN NULL ELSE started_at END
          WHERE id = ${job.id} AND execution = ${job.execution} AND ended_at IS NULL AND runs > 0
            AND ${haveLocks(now, [holder])}`
      ),
    /** Notes that a run ended as a failure of the job's own. */
    fail: (job: Pick<JobRow, "id" | "execution">, holder: string) =>
      change(
        "Fleet.fail",
        (now) => sql`UPDATE lightbox_jobs SET failures = failures + 1, touched_at = ${now}
          WHERE id = ${job.id} AND execution = ${job.execution} AND ended_at IS NULL AND ${haveLocks(now, [holder])}`
      ),
    /** Records the result, once. Returns `false` if the lock was lost, or the job has ended. */
    end: (job: Pick<JobRow, "id" | "execution">, holder: string, result: string) =>
      changed(
        "Fleet.end",
        (now) => sql`UPDATE lightbox_jobs SET result = ${result}, ended_at = ${now}, touched_at = ${now}
          WHERE id = ${job.id} AND execution = ${job.execution} AND ended_at IS NULL AND ${haveLocks(now, [holder])}
          RETURNING id`
      ),

    /** Says that somebody has these jobs in hand. */
    touch: (executions: ReadonlyArray<string>) =>
      executions.length === 0
        ? Effect.void
        : change(
            "Fleet.touch",
            (now) => sql`UPDATE lightbox_jobs SET touched_at = ${now}
              WHERE ended_at IS NULL AND ${sql.in("execution", executions)}`
          ),
    /** The jobs for hosts of an architecture that nobody has in hand. */
    abandoned: (architecture: string) =>
      reading(
        "Fleet.abandoned",
        JobRow,
        (now) => sql`SELECT ${columns} FROM lightbox_jobs
          WHERE ended_at IS NULL AND architecture = ${architecture} AND touched_at < ${now} - ${abandonedMillis}
          ORDER BY submitted_at LIMIT 100`
      ),
    /** Gives an abandoned job a new execution. Returns `false` if another has done so. */
    revive: (job: Pick<JobRow, "id" | "execution">, execution: string) =>
      changed(
        "Fleet.revive",
        (now) => sql`UPDATE lightbox_jobs SET execution = ${execution}, touched_at = ${now}
          WHERE id = ${job.id} AND execution = ${job.execution} AND ended_at IS NULL
            AND touched_at < ${now} - ${abandonedMillis} RETURNING id`
      ),
    /** Forgets jobs that ended long ago. Returns them. */
    forgetEnded: (millis: number) =>
      changing(
        "Fleet.forget",
        Forgotten,
        (now) => sql`DELETE FROM lightbox_jobs WHERE id IN (SELECT id FROM lightbox_jobs
            WHERE ended_at < ${now} - ${millis} ORDER BY ended_at LIMIT 100)
          RETURNING id, execution, architecture`
      )
  }
}
