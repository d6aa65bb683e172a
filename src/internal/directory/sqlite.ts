/**
 * SQLite as Effect's `SqlClient`, on `node:sqlite`. The published package for it does not run on the stable Effect yet.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import type { SQLInputValue, StatementSync } from "node:sqlite"

/** How long another process may keep the database from this one. Its transactions are short. */
const busyMillis = 5000

/**
 * The turns of this process, by file. A connection that waits for another blocks the process, so those of one process wait
 * for each other here.
 */
const turns = new Map<string, Semaphore.Semaphore>()

const turnOf = (path: string): Semaphore.Semaphore => {
  const turn = turns.get(path) ?? Semaphore.makeUnsafe(1)
  turns.set(path, turn)
  return turn
}

const isInput = (value: unknown): value is SQLInputValue =>
  value === null ||
  typeof value === "string" ||
  typeof value === "number" ||
  typeof value === "bigint" ||
  value instanceof Uint8Array

/** `node:sqlite` has the numeric code under a name of its own. */
const failureOf = (cause: unknown): SqlError => {
  const code = cause instanceof Error && "errcode" in cause ? cause.errcode : undefined
  return new SqlError({
    reason: classifySqliteError(Object.assign(new Error(String(cause), { cause }), { errno: code }), {
      message: cause instanceof Error ? cause.message : String(cause),
      operation: "execute"
    })
  })
}

const attempt = <A>(run: () => A): Effect.Effect<A, SqlError> => Effect.try({ try: run, catch: failureOf })

const make = Effect.fnUntraced(function* (path: string) {
  // Loaded only by those that use it: some versions of Node.js warn that it is new.
  const { DatabaseSync } = yield* Effect.promise(() => import("node:sqlite"))
  const database = yield* Effect.acquireRelease(
    attempt(() => new DatabaseSync(path, { timeout: busyMillis })),
    (database) => Effect.sync(() => database.close())
  )
  // Readers do not wait for writers, and a power cut loses no transaction that another machine has seen.
  yield* attempt(() => database.exec("PRAGMA journal_mode = WAL"))
  const prepared = new Map<string, StatementSync>()
  const prepare = (sql: string): StatementSync => {
    const statement = prepared.get(sql) ?? database.prepare(sql)
    prepared.set(sql, statement)
    return statement
  }
  const inputs = (params: ReadonlyArray<unknown> = []): Array<SQLInputValue> =>
    params.map((value) => (isInput(value) ? value : null))
  const run = (sql: string, params?: ReadonlyArray<unknown>) => attempt(() => prepare(sql).all(...inputs(params)))
  const values = (sql: string, params?: ReadonlyArray<unknown>) =>
    Effect.map(run(sql, params), (rows) => rows.map((row) => Object.values(row)))
  const connection: Connection = {
    execute: (sql, params, transform) =>
      Effect.map(run(sql, params), (rows) => (transform === undefined ? rows : transform(rows))),
    executeRaw: run,
    executeValues: values,
    executeValuesUnprepared: values,
    executeUnprepared: (sql, params, transform) =>
      Effect.map(run(sql, params), (rows) => (transform === undefined ? rows : transform(rows))),
    executeStream: (sql, params) => Stream.fromIterableEffect(run(sql, params))
  }
  const { acquirer, borrower, isTransaction, onCommitFailure, transactionAcquirer } = SqlClient.makeSqliteAcquirers({
    connection: Effect.succeed(connection),
    semaphore: turnOf(path),
    isTransaction: () => database.isTransaction
  })
  return yield* SqlClient.make({
    acquirer,
    borrower,
    transactionAcquirer,
    isTransaction,
    onCommitFailure,
    compiler: Statement.makeCompilerSqlite(),
    driver: "node:sqlite",
    // A reader that turns into a writer fails if another has written meanwhile.
    beginTransaction: "BEGIN IMMEDIATE",
    spanAttributes: [["db.system.name", "sqlite"]]
  })
})

/** Opens a file, or creates it. */
export const layer = (path: string): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.effect(SqlClient.SqlClient, make(path)).pipe(Layer.provide(Reactivity.layer))
