/** How statements of a directory are run: their times, their limits, and their errors. */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import { HostUnavailable, LightboxError, Unknown } from "../../LightboxError.ts"

export type Sql = Context.Service.Shape<typeof SqlClient.SqlClient>

/** The holders of locks without which something is not changed. */
export type Holders = ReadonlyArray<string>

/** A database that hangs, or cannot be reached any more, is given up after so long. */
const statementMillis = 5000

export const JsonOf = <A, I>(schema: Schema.Codec<A, I>) => Schema.fromJsonString(Schema.toCodecJson(schema))

/** `url` is shown in errors. */
export const make = (sql: Sql, url: string) => {
  const isPostgres = sql.onDialectOrElse({ pg: () => true, orElse: () => false })

  /** The time of the database. That of SQLite is the clock of this machine, on which it is. */
  const now: Effect.Effect<Fragment> = isPostgres
    ? Effect.succeed(sql.literal("(extract(epoch from clock_timestamp()) * 1000)::double precision"))
    : Effect.map(Clock.currentTimeMillis, (millis) => sql`${millis}`)

  const failed =
    (method: string, kind: "Unreachable" | "Lost") =>
    (cause: SqlError | Schema.SchemaError): LightboxError =>
      cause._tag === "SqlError"
        ? new LightboxError({
            method,
            reason: new HostUnavailable({ host: url, kind, problem: `the directory failed: ${cause.message}`, cause })
          })
        : new LightboxError({ method, reason: new Unknown({ problem: `${url} has a row of another version`, cause }) })

  const limited =
    (method: string, kind: "Unreachable" | "Lost") =>
    <A>(effect: Effect.Effect<A, LightboxError>): Effect.Effect<A, LightboxError> =>
      Effect.timeoutOrElse(effect, {
        duration: statementMillis,
        orElse: () => {
          const problem = `the directory has not answered for ${statementMillis / 1000} s`
          return Effect.fail(new LightboxError({ method, reason: new HostUnavailable({ host: url, kind, problem }) }))
        }
      })

  const rows = <A, I>(
    method: string,
    kind: "Unreachable" | "Lost",
    schema: Schema.Codec<A, I>,
    statement: (now: Fragment) => Effect.Effect<ReadonlyArray<unknown>, SqlError>
  ): Effect.Effect<ReadonlyArray<A>, LightboxError> => {
    const decode = Schema.decodeUnknownEffect(Schema.Array(schema))
    return now.pipe(
      Effect.flatMap(statement),
      Effect.flatMap((found) => decode(found)),
      Effect.mapError(failed(method, kind)),
      limited(method, kind)
    )
  }
  /** A failure of a reading has no effect; one of a change may. */
  const reading = <A, I>(
    method: string,
    schema: Schema.Codec<A, I>,
    statement: (now: Fragment) => Effect.Effect<ReadonlyArray<unknown>, SqlError>
  ) => rows(method, "Unreachable", schema, statement)
  const changing = <A, I>(
    method: string,
    schema: Schema.Codec<A, I>,
    statement: (now: Fragment) => Effect.Effect<ReadonlyArray<unknown>, SqlError>
  ) => rows(method, "Lost", schema, statement)
  /** Returns whether the statement returned a row: those that may find nothing to change end with `RETURNING`. */
  const changed = (method: string, statement: (now: Fragment) => Effect.Effect<ReadonlyArray<unknown>, SqlError>) =>
    Effect.map(changing(method, Schema.Unknown, statement), (found) => found.length > 0)
  const change = (method: string, statement: (now: Fragment) => Effect.Effect<ReadonlyArray<unknown>, SqlError>) =>
    Effect.asVoid(changing(method, Schema.Unknown, statement))

  /** Whether all of these holders have their locks. It is part of statements that need them. */
  const haveLocks = (now: Fragment, holders: Holders): Fragment =>
    holders.length === 0
      ? sql`1 = 1`
      : sql`(SELECT COUNT(*) FROM lightbox_locks WHERE ${sql.in("holder", holders)} AND held_until >= ${now})
          = ${holders.length}`

  return { reading, changing, changed, change, haveLocks }
}
