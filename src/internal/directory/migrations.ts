/** The tables of a directory. A migration that was released is never changed: others follow it. */
import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"

/** Times are milliseconds since 1970. */
const first = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE lightbox_hosts (
    id TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    seen_at DOUBLE PRECISION NOT NULL,
    state TEXT NOT NULL,
    version TEXT NOT NULL,
    architecture TEXT NOT NULL,
    labels TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    cpus DOUBLE PRECISION NOT NULL,
    memory DOUBLE PRECISION NOT NULL,
    used DOUBLE PRECISION NOT NULL,
    cordoned INTEGER NOT NULL,
    reason TEXT
  )`
  yield* sql`CREATE TABLE lightbox_sandboxes (
    name TEXT PRIMARY KEY,
    id TEXT,
    host TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    owner TEXT NOT NULL,
    request TEXT NOT NULL,
    memory DOUBLE PRECISION NOT NULL,
    detached INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    lease_until DOUBLE PRECISION,
    updated_at DOUBLE PRECISION NOT NULL
  )`
  yield* sql`CREATE INDEX lightbox_sandboxes_host ON lightbox_sandboxes (host)`
  yield* sql`CREATE TABLE lightbox_holdings (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    noted_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (kind, name, host)
  )`
  yield* sql`CREATE INDEX lightbox_holdings_host ON lightbox_holdings (host)`
  yield* sql`CREATE TABLE lightbox_links (
    name TEXT PRIMARY KEY,
    snapshot TEXT NOT NULL
  )`
  yield* sql`CREATE TABLE lightbox_records (
    path TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    modified_at DOUBLE PRECISION NOT NULL
  )`
  yield* sql`CREATE TABLE lightbox_locks (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    held_until DOUBLE PRECISION NOT NULL
  )`
})

/** The hosts that were away when a name was removed. */
const second = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE lightbox_unlinked (
    host TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (host, name)
  )`
})

/**
 * Jobs and their results, what all hosts agree on, when a host wants results to be pruned, and what holders of locks and those
 * that wait for them tell each other.
 */
const third = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE lightbox_jobs (
    id TEXT PRIMARY KEY,
    execution TEXT NOT NULL,
    architecture TEXT NOT NULL,
    spec TEXT NOT NULL,
    host TEXT,
    runs INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    submitted_at DOUBLE PRECISION NOT NULL,
    touched_at DOUBLE PRECISION NOT NULL,
    started_at DOUBLE PRECISION,
    ended_at DOUBLE PRECISION,
    result TEXT
  )`
  yield* sql`CREATE INDEX lightbox_jobs_ended ON lightbox_jobs (ended_at, touched_at)`
  yield* sql`CREATE TABLE lightbox_settings (
    name TEXT PRIMARY KEY,
    content TEXT NOT NULL
  )`
  yield* sql`ALTER TABLE lightbox_hosts ADD COLUMN prune TEXT`
  yield* sql`CREATE TABLE lightbox_lines (
    holder TEXT NOT NULL,
    number INTEGER NOT NULL,
    line TEXT NOT NULL,
    written_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (holder, number)
  )`
  yield* sql`CREATE INDEX lightbox_lines_written ON lightbox_lines (written_at)`
  yield* sql`CREATE TABLE lightbox_waiters (
    id TEXT PRIMARY KEY,
    lock_name TEXT NOT NULL,
    message TEXT NOT NULL,
    heard_at DOUBLE PRECISION NOT NULL
  )`
  yield* sql`CREATE INDEX lightbox_waiters_lock ON lightbox_waiters (lock_name)`
})

/** Creates the tables, or adds what this version needs. */
export const run = Migrator.make({})({
  loader: Migrator.fromRecord({ "0001_tables": first, "0002_unlinked": second, "0003_jobs": third }),
  table: "lightbox_migrations"
})
